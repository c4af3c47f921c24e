//! A client's connection that is closed when the client keeps us waiting too long: idle, with half a
//! head, with half a body, or not reading. Knows no HTTP beyond these four, and how HTTP/2 begins.
//!
//! hyper has one timer for idle and for slow heads; they need different limits.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until};

use super::client::Client;
use super::settings::Limits;

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
    // It carries many exchanges side by side: each has its own limits then.
    streams: bool,
    // What was read to see what the client speaks.
    ahead: Ahead,
}

/// How HTTP/2 begins (RFC 9113 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The first bytes, until they are read again.
#[derive(Debug, Default)]
struct Ahead {
    bytes: [u8; PREFACE.len()],
    filled: usize,
    given: usize,
}

impl Ahead {
    /// Whether these bytes begin HTTP/2, as soon as that is certain.
    fn is_http2(&self) -> Option<bool> {
        let (seen, preface) = (self.bytes.get(..self.filled)?, PREFACE.get(..self.filled)?);
        if seen != preface { Some(false) } else { (seen.len() == PREFACE.len()).then_some(true) }
    }

    /// Gives what has not been given yet, as far as there is room.
    fn give(&mut self, buffer: &mut ReadBufCursor<'_>) -> bool {
        let rest = self.bytes.get(self.given..self.filled).unwrap_or_default();
        let now = rest.get(..buffer.remaining()).unwrap_or(rest);
        buffer.put_slice(now);
        self.given += now.len();
        !now.is_empty()
    }
}

impl<S> ClientIo<S> {
    pub(super) fn new(stream: S, client: Arc<Client>, limits: &Limits) -> Self {
        Self {
            io: TokioIo::new(stream),
            last_active: client.opened(),
            client,
            idle: limits.client_idle,
            header: limits.header,
            stall: limits.client_stall,
            head_since: None,
            read_timer: Timer::default(),
            write_since: None,
            write_timer: Timer::default(),
            streams: false,
            ahead: Ahead::default(),
        }
    }

    /// From now on exchanges run side by side on it, each with its own limits.
    pub(super) fn carries_streams(&mut self) {
        self.streams = true;
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
        if self.client.is_busy() {
            self.head_since = None;
            let stall = self.client.is_uploading() && !self.stall.is_zero();
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
        if self.client.is_busy() {
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
        self.client.stall();
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

impl<S: AsyncRead + Unpin> ClientIo<S> {
    /// Reads until it is certain whether the client speaks HTTP/2: for HTTP/1 that is its first read.
    pub(super) async fn look(&mut self) -> io::Result<bool> {
        loop {
            if let Some(is_http2) = self.ahead.is_http2() {
                return Ok(is_http2);
            }
            let mut bytes = self.ahead.bytes;
            let mut buffer = ReadBuf::new(bytes.get_mut(self.ahead.filled..).unwrap_or_default());
            poll_fn(|cx| self.poll_socket(cx, buffer.unfilled())).await?;
            let count = buffer.filled().len();
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.ahead.bytes = bytes;
            self.ahead.filled += count;
        }
    }

    fn poll_socket(
        &mut self,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.io).poll_read(cx, buffer);
        if outcome.is_ready() {
            self.bytes_came();
            return outcome;
        }
        if self.streams {
            return Poll::Pending;
        }
        let due = self.read_due();
        ready!(self.read_timer.poll_at(cx, due));
        Poll::Ready(Err(self.give_up()))
    }
}

impl<S: AsyncRead + Unpin> Read for ClientIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let io = &mut *self;
        if !io.ahead.give(&mut buffer) {
            return io.poll_socket(cx, buffer);
        }
        // What followed is likely to be here already: one read is enough for both.
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        match io.poll_socket(cx, buffer) {
            Poll::Pending => Poll::Ready(Ok(())),
            outcome => outcome,
        }
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
    use tokio::sync::{Semaphore, watch};

    use super::*;
    use crate::forward::accept::Phase;

    fn ahead(text: &[u8]) -> Ahead {
        let mut ahead = Ahead { filled: text.len(), ..Ahead::default() };
        ahead.bytes[..text.len()].copy_from_slice(text);
        ahead
    }

    #[test]
    fn what_is_spoken_is_certain_at_the_first_other_byte() {
        for length in 0..PREFACE.len() {
            assert_eq!(ahead(&PREFACE[..length]).is_http2(), None, "{length}");
            let mut other = PREFACE[..=length].to_vec();
            other[length] ^= 1;
            assert_eq!(ahead(&other).is_http2(), Some(false), "{length}");
        }
        assert_eq!(ahead(PREFACE).is_http2(), Some(true));
    }

    #[test]
    fn what_was_read_ahead_is_given_once_in_whatever_pieces() {
        let mut ahead = ahead(b"GET / HTTP");
        let mut bytes = [0; 4];
        let mut given = Vec::new();
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            if !ahead.give(&mut buffer.unfilled()) {
                break;
            }
            given.extend_from_slice(buffer.filled());
        }
        assert_eq!(given, b"GET / HTTP");
    }

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
