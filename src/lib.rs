//! Clearspan: a transparent reverse proxy between any app and its LLM endpoints.
//!
//! Read the modules in this order: it is the way of the data.

/// Our own listener: `/metrics`, `/healthz`, `/readyz`.
pub mod admin;
/// What a person types: one file per subcommand.
pub mod cli;
/// `proxy.toml`, the environment and flags become each stage's settings.
pub mod config;
/// HOT: bytes through, unchanged.
pub mod forward;
/// The seam: what the hot path tells the cold path.
pub mod tape;
/// COLD and PURE: taped bytes become one `Observation`.
pub mod observe;
/// COLD: observations leave as spans, metrics and logs.
pub mod report;
/// Drives the cold path.
pub mod worker;
