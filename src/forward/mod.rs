//! HOT: bytes through, unchanged. Knows sockets, headers and times; no provider, no price, no
//! OpenTelemetry.

/// What forwarding needs to be told.
pub mod settings;
