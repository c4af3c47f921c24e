//! COLD: observations leave as spans, metrics, logs and lines. The only module that knows
//! OpenTelemetry.

/// What reporting needs to be told.
pub mod settings;
