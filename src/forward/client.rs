//! What an exchange and the client's connection under it tell each other: whether an exchange runs,
//! whose turn it is, and who kept whom waiting. Knows no bytes.
//!
//! On HTTP/1 the connection's own `Client` serves its one exchange. On HTTP/2 each exchange has a
//! `Client` of its own, a stream, which counts at the connection's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until};

use super::accept::Phase;
use super::upload::Upload;

/// A client's connection, or one stream of it.
#[derive(Debug)]
pub(super) struct Client {
    opened: Instant,
    // Exchanges that run.
    running: AtomicUsize,
    // Those whose request's body has not ended.
    uploading: AtomicUsize,
    upload: Upload,
    // It kept us waiting longer than we allow, with an exchange running.
    stalled: AtomicBool,
    // Nanoseconds since `opened` when the last exchange ended.
    quiet_since: AtomicU64,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Connection {
        // Where the process is on its way out.
        phase: watch::Receiver<Phase>,
        // The connection's place among all, given back when nothing of it is left.
        _place: OwnedSemaphorePermit,
    },
    Stream {
        connection: Arc<Client>,
        // Since when the client owes us room for more of its answer: nanoseconds since `opened`;
        // 0: it is not its turn.
        to_read: AtomicU64,
    },
}

impl Client {
    /// A connection without an exchange.
    pub(super) fn new(place: OwnedSemaphorePermit, phase: watch::Receiver<Phase>) -> Self {
        Self::of(Kind::Connection { phase, _place: place })
    }

    /// One exchange's stream on this connection.
    pub(super) fn stream(self: &Arc<Self>) -> Self {
        Self::of(Kind::Stream { connection: Arc::clone(self), to_read: AtomicU64::new(0) })
    }

    fn of(kind: Kind) -> Self {
        Self {
            opened: Instant::now(),
            running: AtomicUsize::new(0),
            uploading: AtomicUsize::new(0),
            upload: Upload::new(),
            stalled: AtomicBool::new(false),
            quiet_since: AtomicU64::new(0),
            kind,
        }
    }

    fn connection(&self) -> Option<&Self> {
        match &self.kind {
            Kind::Connection { .. } => None,
            Kind::Stream { connection, .. } => Some(connection),
        }
    }

    /// Whether others run on the same connection.
    pub(super) fn is_stream(&self) -> bool {
        self.connection().is_some()
    }

    /// An exchange begins.
    pub(super) fn begin(&self, uploading: bool) {
        self.upload.moved();
        self.uploading.fetch_add(usize::from(uploading), Relaxed);
        self.running.fetch_add(1, Relaxed);
        self.connection().into_iter().for_each(|connection| connection.begin(false));
    }

    /// The request's body was read, and has yet to be sent upstream.
    pub(super) fn uploads_again(&self) {
        self.uploading.store(1, Relaxed);
    }

    /// The request's body ended.
    pub(super) fn uploaded(&self) {
        self.upload.moved();
        self.uploading.store(0, Relaxed);
    }

    /// How the request's body comes in.
    pub(super) fn upload(&self) -> &Upload {
        &self.upload
    }

    /// The exchange is over.
    pub(super) fn end(&self) {
        self.quiet_since.store(self.now(), Relaxed);
        self.uploading.store(0, Relaxed);
        self.running.fetch_sub(1, Relaxed);
        self.connection().into_iter().for_each(Self::end);
    }

    /// Whether an exchange runs.
    pub(super) fn is_busy(&self) -> bool {
        self.running.load(Relaxed) > 0
    }

    /// Whether the running exchange's request has more to come.
    pub(super) fn is_uploading(&self) -> bool {
        self.uploading.load(Relaxed) > 0
    }

    /// The client stalled: what runs here is ended for that.
    pub(super) fn stall(&self) {
        if self.is_busy() {
            self.stalled.store(true, Relaxed);
        }
    }

    /// Whether the exchange is ended because the client stalled it, or its connection.
    pub(super) fn stalled(&self) -> bool {
        self.stalled.load(Relaxed) || self.connection().is_some_and(Self::stalled)
    }

    /// Whether the drain's deadline has passed.
    pub(super) fn is_cut(&self) -> bool {
        match &self.kind {
            Kind::Connection { phase, .. } => *phase.borrow() == Phase::Cut,
            Kind::Stream { connection, .. } => connection.is_cut(),
        }
    }

    /// Ready once the drain's deadline has passed.
    pub(super) async fn cut(&self) {
        let mut client = self;
        while let Some(connection) = client.connection() {
            client = connection;
        }
        if let Kind::Connection { phase, .. } = &client.kind {
            // The server outlives its connections.
            drop(phase.clone().wait_for(|phase| *phase == Phase::Cut).await);
        }
    }

    /// When the connection was made.
    pub(super) fn opened(&self) -> Instant {
        self.opened
    }

    /// Since when no exchange has run, where none runs.
    pub(super) fn quiet_since(&self) -> Instant {
        self.opened + Duration::from_nanos(self.quiet_since.load(Relaxed))
    }

    fn now(&self) -> u64 {
        (self.opened.elapsed().as_nanos() as u64).max(1)
    }

    /// Whether it is the client who must make room for more of its answer. On HTTP/1 the connection
    /// sees that by itself.
    pub(super) fn turn_to_read(&self, theirs: bool) {
        let Kind::Stream { to_read, .. } = &self.kind else { return };
        if !theirs {
            to_read.store(0, Relaxed);
        } else if to_read.load(Relaxed) == 0 {
            to_read.store(self.now(), Relaxed);
        }
    }

    /// Ready once it has been the client's turn for `limit`, and no byte came or went.
    pub(super) async fn keeps_us_waiting(&self, limit: Duration) {
        loop {
            let due = self.waiting_since().unwrap_or_else(Instant::now) + limit;
            if due <= Instant::now() {
                return;
            }
            sleep_until(due).await;
        }
    }

    fn waiting_since(&self) -> Option<Instant> {
        let Kind::Stream { to_read, .. } = &self.kind else { return None };
        let unread = Some(to_read.load(Relaxed)).filter(|&since| since > 0);
        let unread = unread.map(|since| self.opened + Duration::from_nanos(since));
        unread.into_iter().chain(self.upload.awaited_since()).min()
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(50);

    fn connection() -> Arc<Client> {
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let (_, phase) = watch::channel(Phase::Serving);
        Arc::new(Client::new(place, phase))
    }

    #[test]
    fn a_connection_is_busy_until_its_last_stream_has_ended() {
        let connection = connection();
        let (first, second) = (connection.stream(), connection.stream());
        first.begin(true);
        second.begin(false);
        assert!(first.is_uploading() && !second.is_uploading() && !connection.is_uploading());
        first.end();
        assert!(connection.is_busy() && !first.is_busy());
        second.end();
        assert!(!connection.is_busy() && connection.quiet_since() > connection.opened());
    }

    #[test]
    fn a_stall_of_the_connection_is_one_of_its_streams_and_not_the_other_way_round() {
        let connection = connection();
        let (first, second) = (connection.stream(), connection.stream());
        first.begin(true);
        second.begin(true);
        first.stall();
        assert!(first.stalled() && !second.stalled() && !connection.stalled());
        connection.stall();
        assert!(second.stalled());
    }

    #[tokio::test]
    async fn a_stream_keeps_us_waiting_only_in_its_turn() {
        let stream = connection().stream();
        tokio::time::timeout(3 * LIMIT, stream.keeps_us_waiting(LIMIT)).await.unwrap_err();
        let begun = Instant::now();
        stream.turn_to_read(true);
        let read = async {
            tokio::time::sleep(LIMIT / 2).await;
            stream.turn_to_read(false);
            stream.turn_to_read(true);
        };
        tokio::join!(stream.keeps_us_waiting(LIMIT), read);
        assert!(begun.elapsed() >= LIMIT * 3 / 2);
    }
}
