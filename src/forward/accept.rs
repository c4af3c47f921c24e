//! Listeners and client connections, until the drain is over. Knows no upstream.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use super::Forward;
use super::client::Client;
use super::exchange::Arrival;
use super::listen::{Listener, Stream};
use super::protocol::{self, Speaks};
use super::route::Scope;
use super::server_tls::{self, Refused, ServerTls};
use super::settings::TlsFiles;

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

/// A listener, and how its clients are met.
#[derive(Debug)]
pub struct Door {
    /// Where they come in.
    pub listener: Listener,
    /// With TLS from these files; absent: plain.
    pub files: Option<TlsFiles>,
    /// Where their requests can go.
    pub scope: Scope,
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
        let limit = forward.live().settings.limits.connections.min(Semaphore::MAX_PERMITS);
        Self {
            forward,
            phase: watch::Sender::new(Phase::Serving),
            connections: Arc::new(Semaphore::new(limit)),
            limit,
        }
    }

    /// Serves the clients of `doors` until the drain begins.
    ///
    /// # Errors
    /// When TLS cannot be had; nothing is served then.
    pub fn listen(&self, doors: Vec<Door>) -> Result<(), server_tls::Error> {
        let mut all = Vec::new();
        let mut tls = Vec::new();
        for Door { listener, files, scope } in doors {
            let own =
                files.map(|files| ServerTls::new(&listener, files)).transpose()?.map(Arc::new);
            tls.extend(own.clone());
            all.push((listener, self.accepting(scope, own)));
        }
        if !tls.is_empty() {
            let mut phase = self.phase.subscribe();
            let fresh = server_tls::keep_fresh(tls)?;
            tokio::spawn(async move {
                tokio::select! {
                    () = fresh => (),
                    _ = phase.changed() => (),
                }
            });
        }
        for (listener, accepting) in all {
            tokio::spawn(accepting.run(listener));
        }
        Ok(())
    }

    fn accepting(&self, scope: Scope, tls: Option<Arc<ServerTls>>) -> Accepting {
        Accepting {
            forward: Arc::clone(&self.forward),
            phase: self.phase.subscribe(),
            connections: Arc::clone(&self.connections),
            scope,
            tls,
        }
    }

    /// Whether new requests are taken.
    pub fn is_serving(&self) -> bool {
        *self.phase.borrow() == Phase::Serving
    }

    /// Lets running exchanges end, then cuts off those that have not within the limit.
    pub async fn drain(&self) {
        self.phase.send_replace(Phase::Draining);
        let deadline = self.forward.live().settings.limits.drain;
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
    tls: Option<Arc<ServerTls>>,
}

impl Accepting {
    async fn run(self, listener: Listener) {
        let mut phase = self.phase.clone();
        loop {
            tokio::select! {
                accepted = self.accept(&listener) => match accepted {
                    Ok((stream, peer, permit)) => self.spawn(stream, peer, permit),
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
        &self,
        listener: &Listener,
    ) -> io::Result<(Stream, Option<SocketAddr>, OwnedSemaphorePermit)> {
        let permit = Arc::clone(&self.connections).acquire_owned().await;
        let permit = permit.map_err(io::Error::other)?;
        let (stream, peer) = listener.accept().await?;
        Ok((stream, peer, permit))
    }

    /// Serves a client on a task of its own: nobody waits for another's handshake.
    fn spawn(&self, stream: Stream, peer: Option<SocketAddr>, place: OwnedSemaphorePermit) {
        let (forward, phase) = (Arc::clone(&self.forward), self.phase.clone());
        let arrival = |scheme| Arrival {
            scope: self.scope.clone(),
            peer,
            scheme,
            client: Arc::new(Client::new(place, phase.clone())),
        };
        let Some(tls) = self.tls.clone() else {
            let arrival = arrival("http");
            tokio::spawn(protocol::serve(forward, stream, arrival, phase, Speaks::Look));
            return;
        };
        let arrival = arrival("https");
        tokio::spawn(async move {
            if let Some(stream) = greet(&forward, &tls, stream, phase.clone()).await {
                let speaks = Speaks::agreed(stream.get_ref().1.alpn_protocol());
                protocol::serve(forward, stream, arrival, phase, speaks).await;
            }
        });
    }
}

/// The handshake, unless it takes too long or the drain begins.
async fn greet(
    forward: &Forward,
    tls: &ServerTls,
    stream: Stream,
    mut phase: watch::Receiver<Phase>,
) -> Option<TlsStream<Stream>> {
    let greeted = tokio::select! {
        greeted = timeout(forward.live().settings.limits.handshake, tls.accept(stream)) => greeted,
        _ = phase.changed() => return None,
    };
    match greeted {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => {
            if matches!(error, Refused::Plain) {
                forward.unread.fetch_add(1, Relaxed);
            }
            tracing::debug!(%error, "a client could not be greeted");
        }
        Err(_) => tracing::debug!("a client took too long to greet"),
    }
    None
}
