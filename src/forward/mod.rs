//! HOT: bytes through, unchanged. Knows sockets, headers and times; no provider, no price, no
//! OpenTelemetry.
//!
//! `accept` takes connections, `exchange` shows a request's whole way: `route`, `ask`, `headers`, `send`
//! on a connection from `pool`, and the answer back through `tee`. `reply` has the few answers of our
//! own.

/// What forwarding needs to be told.
pub mod settings;
/// The settings in force and what stands on them.
mod live;
/// How hyper, sockets and the runtime are set up.
pub mod wire;
/// Sockets that clients connect to.
pub mod listen;
/// TLS towards clients.
pub mod server_tls;
/// Listeners and client connections.
pub mod accept;
/// What a client's connection speaks, and its exchanges.
pub mod protocol;
/// What an exchange and the client's connection tell each other.
mod client;
/// A client's connection, closed when it keeps us waiting.
mod client_io;
/// How a request's body comes in, and breaks off.
mod upload;
/// How many exchanges run at once.
pub mod admission;
/// One exchange, top to bottom.
mod exchange;
/// Which upstream a request addresses.
pub mod route;
/// Ids from a client's `traceparent`, or drawn.
mod trace_context;
/// Which header fields cross the proxy.
mod headers;
/// Usage of a stream, asked for in the client's stead.
pub mod ask;
/// A request on a leased connection.
mod send;
/// Connections that wait for their next exchange.
mod pool;
/// Connections that exchanges share.
mod shared;
/// A new connection to an upstream, top to bottom.
mod connect;
/// How an upstream is reached, as settings say it.
mod reach;
/// A connection to a place.
mod dial;
/// Whether it leads back to ourselves.
mod own;
/// What bytes go through below TLS.
mod socket;
/// TLS, one configuration for all that are alike.
mod upstream_tls;
/// How HTTP begins on it.
mod handshake;
/// An upstream connection that knows when it wrote.
mod upstream_io;
/// A request's body on a connection that others share.
mod attempts;
/// Bodies that let a pen look.
pub mod tee;
/// An upgraded connection: bytes both ways.
mod tunnel;
/// The answers we make ourselves.
mod reply;
/// What can go wrong, and whose fault it is.
mod error;
/// Routing and fields, for any request.
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use admission::{Admission, Slot};
use arc_swap::ArcSwap;
use ask::Asking;
use live::Live;
use settings::{Endpoint, Settings};

use crate::tape::Tapes;

/// How often connections that are idle for too long are closed.
const SWEEP: Duration = Duration::from_secs(1);

/// Everything that exchanges share.
pub struct Forward {
    live: ArcSwap<Live>,
    tapes: Tapes,
    admission: Arc<Admission>,
    asking: Asking,
    // Heads that hyper refused (400, 414, 431): they never become an exchange.
    unread: Arc<AtomicU64>,
}

impl std::fmt::Debug for Forward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forward").field("settings", &self.live().settings).finish_non_exhaustive()
    }
}

impl Forward {
    /// Ready to forward. `own`: the addresses that we listen on, which are never called.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(
        settings: Settings,
        tapes: Tapes,
        own: Vec<Endpoint>,
    ) -> Result<Arc<Self>, rustls::Error> {
        Ok(Arc::new(Self {
            admission: Admission::new(settings.limits.exchanges),
            asking: Asking::new(&settings.limits),
            unread: Arc::default(),
            tapes,
            live: ArcSwap::from_pointee(Live::new(settings, own.into())?),
        }))
    }

    /// From the next exchange on these settings hold; those that run keep what they began with.
    /// What was bound at the start stays: listeners, and how many connections are accepted.
    ///
    /// # Errors
    /// When TLS cannot be set up; the old settings stay.
    pub fn replace(&self, settings: Settings) -> Result<(), rustls::Error> {
        let exchanges = settings.limits.exchanges;
        let old = self.live();
        self.live.store(Arc::new(old.succeeded_by(settings)?));
        self.admission.set_limit(exchanges);
        old.retire_all_but(&self.live());
        Ok(())
    }

    /// The settings in force now.
    fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// Closes idle upstream connections in time, for as long as it is polled.
    pub async fn sweep(self: Arc<Self>) {
        let mut due = tokio::time::interval(SWEEP);
        loop {
            due.tick().await;
            self.live().sweep();
        }
    }

    /// How many exchanges run.
    pub fn admission(&self) -> Arc<Admission> {
        Arc::clone(&self.admission)
    }

    /// Heads that hyper refused (400, 414, 431): they never become an exchange.
    pub fn unread(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.unread)
    }
}
