//! The beginning of HTTP on a new upstream connection, and the task that drives it from then on.
//! Knows no address and no exchange.

use std::sync::Arc;

use hyper::client::conn::http2::SendRequest;

use super::attempts::Attempt;
use super::connect::Connection;
use super::error::Error;
use super::headers::Hop;
use super::settings::Limits;
use super::shared::{Peer, Tasks, drive};
use super::upstream_io::{Stamps, Transport, UpstreamIo};
use super::wire;

/// HTTP/1: a connection on which one exchange at a time can run.
pub(super) async fn http1(transport: Transport, hop: Hop) -> Result<Connection, Error> {
    let stamps = Arc::new(Stamps::new());
    let io = UpstreamIo::new(transport, Arc::clone(&stamps));
    let (sender, connection) = wire::client().handshake(io).await.map_err(Error::Upstream)?;
    // Its errors reach the exchange that holds the sender.
    match hop {
        Hop::Upgrade => tokio::spawn(connection.with_upgrades()),
        Hop::Exchange | Hop::Last | Hop::Stream => tokio::spawn(connection),
    };
    Ok(Connection { sender, stamps })
}

/// HTTP/2: a connection that carries many.
pub(super) async fn http2(
    transport: Transport,
    limits: &Limits,
    peer: Arc<Peer>,
) -> Result<SendRequest<Attempt>, Error> {
    let io = UpstreamIo::new(transport, Arc::new(Stamps::new()));
    let client = wire::http2_client(Tasks(Arc::clone(&peer)), limits);
    let (sender, connection) = client.handshake(io).await.map_err(Error::Upstream)?;
    tokio::spawn(drive(connection, peer));
    Ok(sender)
}
