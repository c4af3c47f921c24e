//! A request's body on its way up a connection that others share (HTTP/2): it tells when it was
//! taken, can be sent again while it is short, and ends with its exchange. Knows no connection.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::tee::{BodyError, RequestTee};
use super::upstream_io::Stamps;

/// The body. Dropped, what is still on its way is broken off: an upstream that has answered wants
/// no more, and one whose answer nobody waits for must not go on.
#[derive(Debug)]
pub(super) struct Attempts(Arc<Shared>);

/// One attempt to send it, from its beginning.
#[derive(Debug)]
pub(super) struct Attempt {
    shared: Arc<Shared>,
    number: u32,
    // Bytes given so far, of those that are kept.
    given: usize,
    trailers_given: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    stamps: Stamps,
    hint: SizeHint,
    limit: usize,
}

#[derive(Debug)]
struct State {
    // None once the exchange is over.
    tee: Option<RequestTee>,
    // What was given so far; none where that was too much to keep.
    kept: Option<Vec<u8>>,
    trailers: Option<HeaderMap>,
    ended: bool,
    attempt: u32,
    waker: Option<Waker>,
}

/// The exchange is over, or another attempt has begun.
#[derive(Debug, thiserror::Error)]
#[error("nobody waits for the rest of this body")]
struct Over;

impl Attempts {
    /// `limit`: bytes that are kept to be sent again.
    pub(super) fn new(tee: RequestTee, limit: usize) -> Self {
        let (hint, ended) = (tee.size_hint(), tee.is_end_stream());
        let kept = Some(Vec::new());
        let (tee, trailers, waker) = (Some(tee), None, None);
        let state = Mutex::new(State { tee, kept, trailers, ended, attempt: 0, waker });
        Self(Arc::new(Shared { state, stamps: Stamps::new(), hint, limit }))
    }

    /// The body from its beginning; an earlier attempt is broken off. Counts as written now.
    pub(super) fn next(&self) -> Attempt {
        self.0.stamps.reset();
        self.0.stamps.now();
        let mut state = self.0.state();
        state.attempt += 1;
        let number = state.attempt;
        Attempt { shared: Arc::clone(&self.0), number, given: 0, trailers_given: false }
    }

    /// Whether another attempt would find all of it.
    pub(super) fn can_repeat(&self) -> bool {
        self.0.state().kept.is_some()
    }

    /// When the attempt began, and when a piece of the body was last taken.
    pub(super) fn written(&self) -> Option<(Instant, Instant)> {
        self.0.stamps.written()
    }
}

impl Drop for Attempts {
    fn drop(&mut self) {
        let mut state = self.0.state();
        let (tee, waker) = (state.tee.take(), state.waker.take());
        drop(state);
        drop(tee);
        waker.into_iter().for_each(Waker::wake);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The next frame that was not given before.
    fn poll(
        &mut self,
        limit: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(tee) = &mut self.tee else { return Poll::Ready(Some(Err(Over.into()))) };
        self.waker = Some(cx.waker().clone());
        let frame = ready!(Pin::new(&mut *tee).poll_frame(cx));
        self.ended = frame.is_none() || tee.is_end_stream();
        if let Some(Ok(frame)) = &frame {
            if let Some(data) = frame.data_ref() {
                self.keep(data, limit);
            }
            self.trailers = frame.trailers_ref().cloned();
        }
        Poll::Ready(frame)
    }

    fn keep(&mut self, data: &[u8], limit: usize) {
        match &mut self.kept {
            Some(kept) if kept.len() + data.len() <= limit => kept.extend_from_slice(data),
            kept => *kept = None,
        }
    }
}

impl Body for Attempt {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let me = &mut *self;
        let mut state = me.shared.state();
        if state.attempt != me.number {
            return Poll::Ready(Some(Err(Over.into())));
        }
        let known = state.kept.as_ref().and_then(|kept| kept.get(me.given..));
        if let Some(rest) = known.filter(|rest| !rest.is_empty()) {
            me.given += rest.len();
            me.shared.stamps.now();
            return Poll::Ready(Some(Ok(Frame::data(Bytes::copy_from_slice(rest)))));
        }
        if state.ended {
            let trailers = state.trailers.clone().filter(|_| !me.trailers_given);
            me.trailers_given = true;
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let frame = ready!(state.poll(me.shared.limit, cx));
        if let Some(Ok(frame)) = &frame {
            me.given += frame.data_ref().map_or(0, Bytes::len);
            me.trailers_given = frame.is_trailers();
        }
        me.shared.stamps.now();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let state = self.shared.state();
        let all_given = state.kept.as_ref().is_none_or(|kept| kept.len() <= self.given);
        state.ended && all_given && (self.trailers_given || state.trailers.is_none())
    }

    fn size_hint(&self) -> SizeHint {
        if self.given == 0 { self.shared.hint } else { SizeHint::default() }
    }
}
