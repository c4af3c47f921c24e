//! Listeners and client connections, until the drain is over. Knows no upstream.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::client::Client;
use super::exchange::Arrival;
use super::protocol::{self, Speaks};
use super::route::Scope;
use super::{Forward, wire};

/// How long to wait when the system has no file descriptors left.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// Where the process is on its way out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Accepting.
    #[default]
    Serving,
    /// No new connections and exchanges; running ones go on.
    Draining,
    /// What still runs is cut off.
    Cut,
}

/// All client connections.
#[derive(Debug)]
pub struct Server {
    forward: Arc<Forward>,
    phase: watch::Sender<Phase>,
    connections: Arc<Semaphore>,
    limit: usize,
}

impl Server {
    /// A server that has no listener yet.
    pub fn new(forward: Arc<Forward>) -> Self {
        let limit = forward.limits.connections.min(Semaphore::MAX_PERMITS);
        Self {
            forward,
            phase: watch::Sender::new(Phase::Serving),
            connections: Arc::new(Semaphore::new(limit)),
            limit,
        }
    }

    /// Serves `listener`'s clients until the drain begins.
    pub fn listen(&self, listener: TcpListener, scope: Scope) {
        let accepting = Accepting {
            forward: Arc::clone(&self.forward),
            phase: self.phase.subscribe(),
            connections: Arc::clone(&self.connections),
            scope,
        };
        tokio::spawn(accepting.run(listener));
    }

    /// Whether new requests are taken.
    pub fn is_serving(&self) -> bool {
        *self.phase.borrow() == Phase::Serving
    }

    /// Lets running exchanges end, then cuts off those that have not within the limit.
    pub async fn drain(&self) {
        self.phase.send_replace(Phase::Draining);
        let deadline = self.forward.limits.drain;
        if tokio::time::timeout(deadline, self.closed()).await.is_err() {
            self.phase.send_replace(Phase::Cut);
            self.closed().await;
        }
    }

    async fn closed(&self) {
        let all = u32::try_from(self.limit).unwrap_or(u32::MAX);
        // Never closed, so the only answer is that all permits are back.
        drop(self.connections.acquire_many(all).await);
    }
}

struct Accepting {
    forward: Arc<Forward>,
    phase: watch::Receiver<Phase>,
    connections: Arc<Semaphore>,
    scope: Scope,
}

impl Accepting {
    async fn run(mut self, listener: TcpListener) {
        let mut phase = self.phase.clone();
        loop {
            tokio::select! {
                accepted = self.accept(&listener) => match accepted {
                    Ok((stream, permit)) => self.spawn(stream, permit),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(EXHAUSTED).await;
                    }
                },
                _ = phase.changed() => return,
            }
        }
    }

    async fn accept(
        &mut self,
        listener: &TcpListener,
    ) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
        let permit = Arc::clone(&self.connections).acquire_owned().await;
        let permit = permit.map_err(io::Error::other)?;
        let (stream, _) = listener.accept().await?;
        Ok((stream, permit))
    }

    fn spawn(&self, stream: TcpStream, place: OwnedSemaphorePermit) {
        let arrival = Arrival {
            scope: self.scope,
            peer: stream.peer_addr().ok(),
            client: Arc::new(Client::new(place, self.phase.clone())),
        };
        // A socket that is gone already fails at its first read.
        drop(wire::socket(&stream));
        let (forward, phase) = (Arc::clone(&self.forward), self.phase.clone());
        tokio::spawn(protocol::serve(forward, stream, arrival, phase, Speaks::Look));
    }
}
