//! Bodies that let a pen look: same bytes, same length, same trailers, same end.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep};

use super::arriving::Arriving;
use super::ask::Answer;
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
    // What was read while we held the body.
    ahead: VecDeque<Bytes>,
    rest: Rest,
    client: Arc<Client>,
}

/// What comes after that.
#[derive(Debug)]
enum Rest {
    /// The client's body, taped as it passes.
    Taped { inner: Incoming, pen: RequestPen },
    /// The body was read to its end: what comes last, and whether it had a length.
    Read { last: Option<Result<HeaderMap, BodyError>>, sized: bool },
}

impl RequestTee {
    pub(super) fn new(inner: Incoming, mut pen: RequestPen, client: Arc<Client>) -> Self {
        if inner.is_end_stream() {
            pen.end();
        }
        Self { ahead: VecDeque::new(), rest: Rest::Taped { inner, pen }, client }
    }

    /// A body that was read to its end.
    pub(super) fn read<const N: usize>(
        frames: [Bytes; N],
        sized: bool,
        trailers: Option<HeaderMap>,
        client: Arc<Client>,
    ) -> Self {
        let rest = Rest::Read { last: trailers.map(Ok), sized };
        Self { ahead: VecDeque::new(), rest, client }.behind(frames)
    }

    /// With what was read of it in front again.
    pub(super) fn behind<const N: usize>(mut self, frames: [Bytes; N]) -> Self {
        self.ahead.extend(frames.into_iter().filter(|frame| !frame.is_empty()));
        self.client.uploads_again();
        self
    }

    /// What was read of it, and how it broke then.
    pub(super) fn broken<const N: usize>(mut self, frames: [Bytes; N], error: BodyError) -> Self {
        let sized = self.size_hint().exact().is_some();
        self.rest = Rest::Read { last: Some(Err(error)), sized };
        self.behind(frames)
    }

    pub(super) fn client(&self) -> Arc<Client> {
        Arc::clone(&self.client)
    }
}

impl HttpBody for RequestTee {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Some(frame) = this.ahead.pop_front() {
            if this.is_end_stream() {
                this.client.uploaded();
            }
            return Poll::Ready(Some(Ok(Frame::data(frame))));
        }
        let frame = match &mut this.rest {
            Rest::Taped { inner, pen } => ready!(poll_taped(inner, pen, &this.client, cx)),
            Rest::Read { last, .. } => last.take().map(|last| last.map(Frame::trailers)),
        };
        let broken = matches!(frame, Some(Err(_)));
        if !broken && (frame.is_none() || this.is_end_stream()) {
            this.client.uploaded();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.is_empty()
            && match &self.rest {
                Rest::Taped { inner, .. } => inner.is_end_stream(),
                Rest::Read { last, .. } => last.is_none(),
            }
    }

    fn size_hint(&self) -> SizeHint {
        let rest = match &self.rest {
            Rest::Taped { inner, .. } => inner.size_hint(),
            Rest::Read { sized: true, .. } => SizeHint::with_exact(0),
            Rest::Read { sized: false, .. } => SizeHint::default(),
        };
        let ahead: u64 = self.ahead.iter().map(|frame| frame.len() as u64).sum();
        rest.exact().map_or(rest, |rest| SizeHint::with_exact(rest + ahead))
    }
}

impl Drop for RequestTee {
    fn drop(&mut self) {
        // Nobody waits for the rest any more.
        self.client.upload().moved();
    }
}

type Polled = Option<Result<Frame<Bytes>, BodyError>>;

fn poll_taped(
    inner: &mut Incoming,
    pen: &mut RequestPen,
    client: &Client,
    cx: &mut Context<'_>,
) -> Poll<Polled> {
    let Poll::Ready(frame) = Pin::new(&mut *inner).poll_frame(cx) else {
        client.upload().awaited();
        return Poll::Pending;
    };
    client.upload().moved();
    if let Some(Ok(frame)) = &frame
        && let Some(chunk) = frame.data_ref()
    {
        pen.data(chunk);
    }
    if let Some(Err(error)) = &frame {
        client.upload().broke(error);
    } else if frame.is_none() || inner.is_end_stream() {
        pen.end();
    }
    Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
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
    inner: Arriving,
    running: Running,
    lease: Option<Lease>,
    silence: Option<Silence>,
    // Where we asked for usage: what that caused is taken out.
    asked: Option<Box<Answer>>,
    then: Option<Then>,
}

/// The time that a stream's last bytes have to be written before it is reset.
const FLUSH: Duration = Duration::from_millis(10);

/// What follows the last bytes.
#[derive(Debug)]
enum Then {
    Trailers(Frame<Bytes>),
    /// How the upstream broke, and whether hyper has flushed what came before.
    Break {
        error: BodyError,
        flush: Flush,
    },
    End,
}

/// Told of an error, hyper drops what it has not written yet, the head too. It flushes when a body
/// has nothing to give: at once on HTTP/1, and in another task on HTTP/2.
#[derive(Debug)]
enum Flush {
    Due,
    Until(Pin<Box<Sleep>>),
    Done,
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
    /// `asked`: takes out what our question caused. `silence`: the longest that nothing may come;
    /// zero is no limit.
    pub(super) fn new(
        inner: Arriving,
        running: Running,
        lease: Lease,
        asked: Option<Box<Answer>>,
        silence: Duration,
    ) -> Self {
        let silence = (!silence.is_zero()).then(|| Silence {
            limit: silence,
            sleep: Box::pin(sleep(silence)),
            since: None,
        });
        let mut tee = Self { inner, running, lease: Some(lease), silence, asked, then: None };
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

    /// The next of the upstream's frames; or its end, or our limit on its silence.
    fn poll_upstream(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame<Bytes>, Then>> {
        let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) else {
            ready!(self.poll_silence(cx));
            let error = Error::Silent;
            self.running.end(error.cause());
            return Poll::Ready(Err(break_with(error.into())));
        };
        if let Some(silence) = &mut self.silence {
            silence.since = None;
        }
        Poll::Ready(match frame {
            Some(Ok(frame)) => Ok(frame),
            Some(Err(error)) => {
                self.running.end_broken();
                Err(break_with(error.into()))
            }
            None => {
                self.complete();
                Err(Then::End)
            }
        })
    }

    /// Ready once the upstream has been silent for too long.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(silence) = &mut self.silence else { return Poll::Pending };
        let since = *silence.since.get_or_insert_with(Instant::now);
        loop {
            let due = self.running.upload().silence_due(since, silence.limit);
            if silence.sleep.deadline() < due {
                silence.sleep.as_mut().reset(due);
            }
            ready!(silence.sleep.as_mut().poll(cx));
            if due <= Instant::now() {
                return Poll::Ready(());
            }
        }
    }

    /// What goes on of a frame.
    fn see(&mut self, frame: Frame<Bytes>) -> Result<Bytes, Then> {
        let chunk = frame.into_data().map_err(Then::Trailers)?;
        let last = self.inner.is_end_stream();
        self.running.data(&chunk, last);
        let passed = match &mut self.asked {
            None => chunk,
            Some(asked) => {
                let passed = asked.pass(&chunk, last);
                self.running.withhold(passed.taken_out, passed.left);
                passed.bytes
            }
        };
        if last {
            self.complete();
        }
        Ok(passed)
    }

    /// The trailers, the break or the end, after everything else.
    fn poll_then(&mut self, then: Then, cx: &mut Context<'_>) -> Poll<Polled> {
        match then {
            Then::Trailers(trailers) => Poll::Ready(Some(Ok(trailers))),
            Then::Break { error, flush: Flush::Done } => Poll::Ready(Some(Err(error))),
            Then::Break { error, flush: Flush::Due } => {
                let is_stream = self.running.is_stream();
                let until = || Flush::Until(Box::pin(sleep(FLUSH)));
                let flush = if is_stream { until() } else { Flush::Done };
                self.then = Some(Then::Break { error, flush });
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Then::Break { error, flush: Flush::Until(mut sleep) } => {
                if sleep.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Some(Err(error)));
                }
                self.then = Some(Then::Break { error, flush: Flush::Until(sleep) });
                Poll::Pending
            }
            Then::End => {
                self.then = Some(Then::End);
                Poll::Ready(None)
            }
        }
    }
}

fn break_with(error: BodyError) -> Then {
    Then::Break { error, flush: Flush::Due }
}

impl HttpBody for ResponseTee {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.running.turn_to_read(false);
        let this = &mut *self;
        loop {
            if let Some(then) = this.then.take() {
                return this.poll_then(then, cx);
            }
            let frame = ready!(this.poll_upstream(cx));
            let bytes = frame.and_then(|frame| this.see(frame)).unwrap_or_else(|then| {
                this.then = Some(then);
                this.asked.as_mut().map(|asked| asked.rest()).unwrap_or_default()
            });
            if !bytes.is_empty() {
                this.running.turn_to_read(true);
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream() && matches!(self.then, None | Some(Then::End))
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
