//! How the request's body of the running exchange comes in: whose turn it is, and how it broke off.
//! Knows no upstream.

use std::error::Error as _;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

/// One client connection's uploads.
#[derive(Debug)]
pub(super) struct Upload {
    opened: Instant,
    // Nanoseconds since `opened` when the last bytes went on.
    moved: AtomicU64,
    // The client owes the next bytes.
    awaited: AtomicBool,
    broken: OnceLock<Broken>,
}

/// How a request's body ended before its end. Its connection serves no other request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// The client's connection is gone.
    Gone,
    /// What came is not in the framing that it claims.
    Malformed,
}

impl Upload {
    pub(super) fn new() -> Self {
        Self {
            opened: Instant::now(),
            moved: AtomicU64::new(0),
            awaited: AtomicBool::new(false),
            broken: OnceLock::new(),
        }
    }

    /// Bytes went on, or the request began or ended: the next move is the upstream's.
    pub(super) fn moved(&self) {
        self.moved.store(self.opened.elapsed().as_nanos() as u64, Relaxed);
        self.awaited.store(false, Relaxed);
    }

    /// The next move is the client's.
    pub(super) fn awaited(&self) {
        self.awaited.store(true, Relaxed);
    }

    /// Since when the next move has been the client's, where it is.
    pub(super) fn awaited_since(&self) -> Option<Instant> {
        self.awaited.load(Relaxed).then(|| self.last_move())
    }

    fn last_move(&self) -> Instant {
        self.opened + Duration::from_nanos(self.moved.load(Relaxed))
    }

    /// The body broke off.
    pub(super) fn broke(&self, error: &hyper::Error) {
        let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
        let malformed = cause.is_some_and(|cause| {
            matches!(cause.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)
        });
        // Only the first break counts.
        let _first = self.broken.set(if malformed { Broken::Malformed } else { Broken::Gone });
    }

    /// How it broke off, if it did.
    pub(super) fn broken(&self) -> Option<Broken> {
        self.broken.get().copied()
    }

    /// When an upstream that is silent since `since` has been so for `limit`: always later while it
    /// waits for the client.
    pub(super) fn silence_due(&self, since: Instant, limit: Duration) -> Instant {
        if self.awaited.load(Relaxed) {
            return Instant::now() + limit;
        }
        since.max(self.last_move()) + limit
    }
}
