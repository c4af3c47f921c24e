//! Bodies that let a pen look: same bytes, same length, same trailers, same end.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep};

use super::client::Client;
use super::error::Error;
use super::exchange::Running;
use super::send::Lease;
use crate::tape::{Cause, RequestPen};

/// What hyper is told when a body breaks.
pub(super) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The request's body on its way up.
#[derive(Debug)]
pub(super) struct RequestTee {
    inner: Incoming,
    pen: RequestPen,
    client: Arc<Client>,
}

impl RequestTee {
    pub(super) fn new(inner: Incoming, mut pen: RequestPen, client: Arc<Client>) -> Self {
        if inner.is_end_stream() {
            pen.end();
        }
        Self { inner, pen, client }
    }

    fn end(&mut self) {
        self.pen.end();
        self.client.uploaded();
    }
}

impl HttpBody for RequestTee {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) else {
            self.client.upload().awaited();
            return Poll::Pending;
        };
        self.client.upload().moved();
        if let Some(Ok(frame)) = &frame
            && let Some(chunk) = frame.data_ref()
        {
            self.pen.data(chunk);
        }
        if let Some(Err(error)) = &frame {
            self.client.upload().broke(error);
        } else if frame.is_none() || self.inner.is_end_stream() {
            self.end();
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for RequestTee {
    fn drop(&mut self) {
        // Nobody waits for the rest any more.
        self.client.upload().moved();
    }
}

/// What the client is sent: the upstream's body, or one of our own.
#[derive(Debug)]
pub enum Body {
    /// The upstream's, taped as it passes.
    Tee(Box<ResponseTee>),
    /// Ours.
    Own(Full<Bytes>),
}

/// The response's body on its way down. Dropped before its end, it breaks the upstream's connection.
#[derive(Debug)]
pub struct ResponseTee {
    inner: Incoming,
    running: Running,
    lease: Option<Lease>,
    silence: Option<Silence>,
    // How the upstream broke, until hyper has flushed what came before.
    broken: Option<Broken>,
}

/// The time that a stream's last bytes have to be written before it is reset.
const FLUSH: Duration = Duration::from_millis(10);

/// How the upstream broke, and the time until that is told, where others share the connection.
#[derive(Debug)]
struct Broken {
    error: BodyError,
    flush: Option<Pin<Box<Sleep>>>,
}

/// Ends a body in which nothing came for too long.
#[derive(Debug)]
struct Silence {
    limit: Duration,
    sleep: Pin<Box<Sleep>>,
    // Since when the upstream owes the next bytes; not while the client does not read.
    since: Option<Instant>,
}

impl ResponseTee {
    /// `silence`: the longest that nothing may come; zero is no limit.
    pub(super) fn new(inner: Incoming, running: Running, lease: Lease, silence: Duration) -> Self {
        let silence = (!silence.is_zero()).then(|| Silence {
            limit: silence,
            sleep: Box::pin(sleep(silence)),
            since: None,
        });
        let mut tee = Self { inner, running, lease: Some(lease), silence, broken: None };
        if tee.inner.is_end_stream() {
            tee.complete();
        }
        tee
    }

    fn complete(&mut self) {
        // With its request still on the way, the connection is not ready for another.
        let reusable = !self.running.is_uploading();
        self.running.end(Cause::Complete);
        if let Some(lease) = self.lease.take().filter(|_| reusable) {
            lease.finish();
        }
    }

    /// An error once the upstream has been silent for too long.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        let Some(silence) = &mut self.silence else { return Poll::Pending };
        let since = *silence.since.get_or_insert_with(Instant::now);
        loop {
            let due = self.running.upload().silence_due(since, silence.limit);
            if silence.sleep.deadline() < due {
                silence.sleep.as_mut().reset(due);
            }
            ready!(silence.sleep.as_mut().poll(cx));
            if due <= Instant::now() {
                break;
            }
        }
        let error = Error::Silent;
        self.running.end(error.cause());
        Poll::Ready(error.into())
    }

    fn see(&mut self, frame: Option<&Result<Frame<Bytes>, hyper::Error>>) {
        match frame {
            Some(Ok(frame)) => {
                let last = self.inner.is_end_stream();
                if let Some(chunk) = frame.data_ref() {
                    self.running.data(chunk, last);
                }
                if last {
                    self.complete();
                }
            }
            Some(Err(_)) => self.running.end_broken(),
            None => self.complete(),
        }
    }
}

impl HttpBody for ResponseTee {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.running.turn_to_read(false);
        if let Some(flush) = self.broken.as_mut().and_then(|broken| broken.flush.as_mut()) {
            ready!(flush.as_mut().poll(cx));
        }
        if let Some(broken) = self.broken.take() {
            return Poll::Ready(Some(Err(broken.error)));
        }
        let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) else {
            return self.poll_silence(cx).map(|error| Some(Err(error)));
        };
        if let Some(silence) = &mut self.silence {
            silence.since = None;
        }
        self.see(frame.as_ref());
        let Some(Err(error)) = frame else {
            self.running.turn_to_read(frame.is_some());
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        };
        // Told of an error, hyper drops what it has not written yet, the head too. It flushes when
        // a body has nothing to give: at once on HTTP/1, and in another task on HTTP/2.
        let flush = self.running.is_stream().then(|| Box::pin(sleep(FLUSH)));
        self.broken = Some(Broken { error: error.into(), flush });
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Tee(tee) => Pin::new(&mut **tee).poll_frame(cx),
            Self::Own(own) => Pin::new(own).poll_frame(cx).map_err(|never| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Tee(tee) => tee.is_end_stream(),
            Self::Own(own) => own.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Tee(tee) => tee.size_hint(),
            Self::Own(own) => own.size_hint(),
        }
    }
}
