//! Connections to upstreams that wait for their next exchange. Knows no HTTP.
//!
//! Of our own because an exchange must know when it leased a connection and when that wrote, which
//! hyper-util's client does not tell, and because a path must go out exactly as it came in.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::connect::{Connection, Connector, Steps};
use super::error::Error;
use super::headers::Hop;
use super::settings::{Limits, Upstream};
use super::shared::Shared;

/// Idle connections to one upstream. The one that was used last is used next, so that the others can
/// grow old and go.
#[derive(Debug)]
pub(super) struct Pool {
    // None once it is retired: then no connection is kept.
    idle: Mutex<Option<Vec<Idle>>>,
    idle_for: Duration,
    limit: usize,
    /// Connections that exchanges share (HTTP/2).
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

/// A leased connection, and the steps to it where it is new.
pub(super) type Leased = (Connection, Option<Steps>);

impl Pool {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            idle: Mutex::new(Some(Vec::new())),
            idle_for: limits.upstream_idle,
            limit: limits.upstream_idle_connections,
            shared: Arc::new(Shared::new(limits)),
        }
    }

    /// An idle connection that is still open, or a new one.
    pub(super) async fn lease(
        &self,
        connector: &Connector,
        upstream: &Upstream,
    ) -> Result<Leased, Error> {
        while let Some(mut connection) = self.take() {
            // Ready at once, or as soon as hyper has seen the last answer's end.
            if connection.sender.is_ready() || connection.sender.ready().await.is_ok() {
                connection.stamps.reset();
                return Ok((connection, None));
            }
        }
        self.connect(connector, upstream, Hop::Exchange).await
    }

    /// A new connection.
    pub(super) async fn connect(
        &self,
        connector: &Connector,
        upstream: &Upstream,
        hop: Hop,
    ) -> Result<Leased, Error> {
        // In memory of its own: an exchange that connects to nothing need not be as large.
        let (connection, steps) = Box::pin(connector.connect(upstream, hop)).await?;
        Ok((connection, Some(steps)))
    }

    /// Keeps a connection whose exchange is over.
    pub(super) fn keep(&self, connection: Connection) {
        if connection.sender.is_closed() {
            return;
        }
        if let Some(idle) = self.idle().as_mut().filter(|idle| idle.len() < self.limit) {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }

    /// Closes what is idle, and later each connection whose exchange is over.
    pub(super) fn retire(&self) {
        *self.idle() = None;
        self.shared.retire();
    }

    /// Whether it keeps connections as these limits say.
    pub(super) fn keeps_to(&self, limits: &Limits) -> bool {
        (self.idle_for, self.limit) == (limits.upstream_idle, limits.upstream_idle_connections)
            && self.shared.keeps_to(limits)
    }

    /// Closes connections that have been idle for too long.
    pub(super) fn sweep(&self) {
        if let Some(idle) = self.idle().as_mut() {
            idle.retain(|idle| idle.since.elapsed() < self.idle_for);
        }
        self.shared.sweep();
    }

    fn take(&self) -> Option<Connection> {
        let mut idle = self.idle();
        let idle = idle.as_mut()?;
        let last = idle.pop()?;
        if last.since.elapsed() < self.idle_for {
            return Some(last.connection);
        }
        // The youngest is too old: so are all.
        idle.clear();
        None
    }

    fn idle(&self) -> MutexGuard<'_, Option<Vec<Idle>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
