//! A client's connection that is closed when the client keeps us waiting too long: idle, with half a
//! head, with half a body, or not reading. Knows no HTTP beyond these four.
//!
//! hyper has one timer for idle and for slow heads; they need different limits.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, Sleep, sleep_until};

use super::accept::Phase;
use super::settings::Limits;
use super::upload::Upload;

/// What the exchange and the connection under it tell each other.
#[derive(Debug)]
pub(super) struct Client {
    opened: Instant,
    // An exchange runs.
    busy: AtomicBool,
    // Its request's body has not ended.
    uploading: AtomicBool,
    upload: Upload,
    // It kept us waiting longer than we allow, with an exchange running.
    stalled: AtomicBool,
    // Nanoseconds since `opened` when the last exchange ended.
    quiet_since: AtomicU64,
    // Where the process is on its way out.
    phase: watch::Receiver<Phase>,
    // The connection's place among all, given back when nothing of it is left.
    _place: OwnedSemaphorePermit,
}

impl Client {
    pub(super) fn new(place: OwnedSemaphorePermit, phase: watch::Receiver<Phase>) -> Self {
        Self {
            opened: Instant::now(),
            busy: AtomicBool::new(false),
            uploading: AtomicBool::new(false),
            upload: Upload::new(),
            stalled: AtomicBool::new(false),
            quiet_since: AtomicU64::new(0),
            phase,
            _place: place,
        }
    }

    /// An exchange begins.
    pub(super) fn begin(&self, uploading: bool) {
        self.uploading.store(uploading, Relaxed);
        self.upload.moved();
        self.busy.store(true, Relaxed);
    }

    /// The request's body was read, and has yet to be sent upstream.
    pub(super) fn uploads_again(&self) {
        self.uploading.store(true, Relaxed);
    }

    /// The request's body ended.
    pub(super) fn uploaded(&self) {
        self.upload.moved();
        self.uploading.store(false, Relaxed);
    }

    /// How the request's body comes in.
    pub(super) fn upload(&self) -> &Upload {
        &self.upload
    }

    /// The exchange is over.
    pub(super) fn end(&self) {
        self.quiet_since.store(self.opened.elapsed().as_nanos() as u64, Relaxed);
        self.uploading.store(false, Relaxed);
        self.busy.store(false, Relaxed);
    }

    /// Whether the running exchange's request has more to come.
    pub(super) fn is_uploading(&self) -> bool {
        self.uploading.load(Relaxed)
    }

    /// Whether the connection was closed because the client stalled an exchange.
    pub(super) fn stalled(&self) -> bool {
        self.stalled.load(Relaxed)
    }

    /// Whether the drain's deadline has passed.
    pub(super) fn is_cut(&self) -> bool {
        *self.phase.borrow() == Phase::Cut
    }

    /// Ready once the drain's deadline has passed.
    pub(super) async fn cut(&self) {
        let mut phase = self.phase.clone();
        // The server outlives its connections.
        drop(phase.wait_for(|phase| *phase == Phase::Cut).await);
    }

    fn quiet_since(&self) -> Instant {
        self.opened + Duration::from_nanos(self.quiet_since.load(Relaxed))
    }
}

/// The connection.
#[derive(Debug)]
pub(super) struct ClientIo<S> {
    io: TokioIo<S>,
    client: Arc<Client>,
    idle: Duration,
    header: Duration,
    stall: Duration,
    // When bytes last came, or could go again after waiting.
    last_active: Instant,
    // When the head that is not complete began.
    head_since: Option<Instant>,
    read_timer: Timer,
    // When writing began to wait.
    write_since: Option<Instant>,
    write_timer: Timer,
}

impl<S> ClientIo<S> {
    pub(super) fn new(stream: S, client: Arc<Client>, limits: &Limits) -> Self {
        Self {
            io: TokioIo::new(stream),
            last_active: client.opened,
            client,
            idle: limits.client_idle,
            header: limits.header,
            stall: limits.client_stall,
            head_since: None,
            read_timer: Timer::default(),
            write_since: None,
            write_timer: Timer::default(),
        }
    }

    /// When a client that sends nothing now has kept us waiting long enough; always later while it
    /// is we who keep it waiting.
    fn read_due(&mut self) -> Instant {
        // Nobody polls us again when it is the client's turn: without a look later on, the
        // connection would have no limit from then on.
        let later = Instant::now() + self.idle;
        if self.write_since.is_some() {
            return later;
        }
        if self.client.busy.load(Relaxed) {
            self.head_since = None;
            let stall = self.client.uploading.load(Relaxed) && !self.stall.is_zero();
            return if stall { self.last_active + self.stall } else { later };
        }
        let quiet = self.client.quiet_since();
        match self.head_since.filter(|&since| since > quiet) {
            Some(since) => since + self.header,
            None => self.last_active.max(quiet) + self.idle,
        }
    }

    fn bytes_came(&mut self) {
        self.last_active = Instant::now();
        if self.client.busy.load(Relaxed) {
            self.head_since = None;
        } else if self.head_since.is_none_or(|since| since <= self.client.quiet_since()) {
            self.head_since = Some(self.last_active);
        }
    }

    /// Passes a write's outcome on, or gives up on a client that has not read for too long.
    fn after_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            if self.write_since.take().is_some() {
                self.last_active = Instant::now();
            }
            return outcome;
        }
        if self.stall.is_zero() {
            return outcome;
        }
        let since = *self.write_since.get_or_insert_with(Instant::now);
        ready!(self.write_timer.poll_at(cx, since + self.stall));
        Poll::Ready(Err(self.give_up()))
    }

    fn give_up(&self) -> io::Error {
        if self.client.busy.load(Relaxed) {
            self.client.stalled.store(true, Relaxed);
        }
        io::ErrorKind::TimedOut.into()
    }
}

/// A timer that is allocated on first use, and moved only when it fires too early or too late.
#[derive(Debug, Default)]
struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    fn poll_at(&mut self, cx: &mut Context<'_>, due: Instant) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if sleep.deadline() > due {
            sleep.as_mut().reset(due);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= due {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
    }
}

impl<S: AsyncRead + Unpin> Read for ClientIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.io).poll_read(cx, buffer);
        if outcome.is_ready() {
            self.bytes_came();
            return outcome;
        }
        let due = self.read_due();
        ready!(self.read_timer.poll_at(cx, due));
        Poll::Ready(Err(self.give_up()))
    }
}

impl<S: AsyncWrite + Unpin> Write for ClientIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.after_write(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.after_write(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS holds bytes back that the socket does not take.
        let outcome = Pin::new(&mut self.io).poll_flush(cx);
        self.after_write(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.io).poll_shutdown(cx);
        self.after_write(cx, outcome)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::sync::Semaphore;

    use super::*;

    /// Takes every byte and gets none of them away, as TLS over a full socket.
    struct Stuck;

    impl AsyncWrite for Stuck {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_of_what_is_held_back_has_stalled() {
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let client = Arc::new(Client::new(place, watch::Sender::new(Phase::Serving).subscribe()));
        client.begin(false);
        let limits = Limits { client_stall: Duration::from_millis(30), ..Limits::default() };
        let mut io = ClientIo::new(Stuck, Arc::clone(&client), &limits);
        let written = poll_fn(|cx| Pin::new(&mut io).poll_write(cx, b"token")).await;
        assert_eq!(written.unwrap(), 5);
        let flushed = poll_fn(|cx| Pin::new(&mut io).poll_flush(cx)).await;
        assert_eq!(flushed.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(client.stalled());
        let closed = poll_fn(|cx| Pin::new(&mut io).poll_shutdown(cx)).await;
        assert_eq!(closed.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
