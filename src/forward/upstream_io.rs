//! An upstream connection that knows when it wrote. Knows no HTTP.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio_rustls::client::TlsStream;

use super::socket::Socket;

/// When the exchange that holds the connection first and last wrote to it.
#[derive(Debug)]
pub(super) struct Stamps {
    made: Instant,
    // Nanoseconds since `made`; 0: not yet.
    first: AtomicU64,
    last: AtomicU64,
}

impl Stamps {
    pub(super) fn new() -> Self {
        Self { made: Instant::now(), first: AtomicU64::new(0), last: AtomicU64::new(0) }
    }

    /// A new exchange holds the connection.
    pub(super) fn reset(&self) {
        self.first.store(0, Relaxed);
        self.last.store(0, Relaxed);
    }

    /// First byte written, and last byte so far.
    pub(super) fn written(&self) -> Option<(Instant, Instant)> {
        let at = |nanos| self.made + Duration::from_nanos(nanos);
        match self.first.load(Relaxed) {
            0 => None,
            first => Some((at(first), at(self.last.load(Relaxed)))),
        }
    }

    /// Something was written now.
    pub(super) fn now(&self) {
        self.stamp(self.elapsed());
    }

    /// The time of a write that begins now: taken before it, since the upstream may answer before
    /// this thread runs again.
    fn elapsed(&self) -> u64 {
        (self.made.elapsed().as_nanos() as u64).max(1)
    }

    fn stamp(&self, now: u64) {
        if self.first.load(Relaxed) == 0 {
            self.first.store(now, Relaxed);
        }
        self.last.store(now, Relaxed);
    }
}

/// Plain or TLS.
#[derive(Debug)]
pub(super) enum Transport {
    Plain(TokioIo<Socket>),
    Tls(Box<TokioIo<TlsStream<Socket>>>),
}

/// A transport whose writes are stamped.
#[derive(Debug)]
pub(super) struct UpstreamIo {
    transport: Transport,
    stamps: Arc<Stamps>,
    // It takes no more bytes. What it said before can still be read, an answer perhaps: the rest of
    // the request goes nowhere, until reading tells how it ended.
    deaf: bool,
}

impl UpstreamIo {
    pub(super) fn new(transport: Transport, stamps: Arc<Stamps>) -> Self {
        Self { transport, stamps, deaf: false }
    }

    /// Stamps what was written of `length` bytes, or hears that the upstream takes no more.
    fn written(
        &mut self,
        began: u64,
        length: usize,
        written: io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        if matches!(written, Ok(1..)) {
            self.stamps.stamp(began);
        }
        Poll::Ready(match written {
            Err(error) if has_hung_up(&error) => {
                self.deaf = true;
                Ok(length)
            }
            written => written,
        })
    }
}

fn has_hung_up(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// Runs `$call` on whichever transport it is.
macro_rules! transport {
    ($io:expr, $inner:ident => $call:expr) => {
        match &mut $io.transport {
            Transport::Plain($inner) => {
                let $inner = Pin::new($inner);
                $call
            }
            Transport::Tls($inner) => {
                let $inner = Pin::new(&mut **$inner);
                $call
            }
        }
    };
}

impl Read for UpstreamIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        transport!(self, io => io.poll_read(cx, buffer))
    }
}

impl Write for UpstreamIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.deaf {
            return Poll::Ready(Ok(bytes.len()));
        }
        let began = self.stamps.elapsed();
        let written = ready!(transport!(self, io => io.poll_write(cx, bytes)));
        self.written(began, bytes.len(), written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = slices.iter().map(|slice| slice.len()).sum();
        if self.deaf {
            return Poll::Ready(Ok(length));
        }
        let began = self.stamps.elapsed();
        let written = ready!(transport!(self, io => io.poll_write_vectored(cx, slices)));
        self.written(began, length, written)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Plain(io) => io.is_write_vectored(),
            Transport::Tls(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(transport!(self, io => io.poll_flush(cx))) {
            Err(error) if has_hung_up(&error) => self.deaf = true,
            flushed => return Poll::Ready(flushed),
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        transport!(self, io => io.poll_shutdown(cx))
    }
}
