//! What scenarios are made of: raw sockets on both sides of the real binary, and a collector
//! behind it. Knows nothing of the program's inside.

/// HTTP/1 as bytes: heads, bodies, and how they are delimited.
pub(crate) mod wire;
/// A client that sends exact bytes.
pub(crate) mod client;
/// Certificates, and a client that speaks TLS.
pub(crate) mod tls;
/// An upstream that answers with exact bytes.
pub(crate) mod origin;
/// An upstream that speaks TLS.
pub(crate) mod secured;
/// Egress proxies.
pub(crate) mod egress;
/// Takes the telemetry in, or fails to.
pub(crate) mod collector;
/// A collector that speaks gRPC, or TLS.
pub(crate) mod otlp_server;
/// What the collector received, as plain values.
pub(crate) mod signals;
/// Clients and upstreams of either version, in hyper.
pub(crate) mod http2;
/// The binary as a child process.
pub(crate) mod proxy;
/// What a PromQL expression names.
pub(crate) mod promql;
/// What may differ between what was sent and what arrived.
pub(crate) mod compare;
/// Exchanges of our own making, in files.
pub(crate) mod fixture;
/// WebSocket frames, and conversations of our own making.
pub(crate) mod frames;
/// Both sides of a proxy, and the check that each saw what the other sent.
pub(crate) mod stage;

use std::time::Duration;

/// Longer than anything takes on a loaded machine: what is waited for by a test comes, or the test
/// fails here instead of hanging.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
