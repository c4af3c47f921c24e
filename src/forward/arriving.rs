//! An answer's body as it arrives, of which the beginning may have been read already: the same frames,
//! in the same framing. Knows no exchange and no text.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// The upstream's body.
#[derive(Debug)]
pub(super) struct Arriving {
    // None in almost every exchange.
    ahead: Option<Box<Ahead>>,
    rest: Incoming,
}

/// What was read of it.
#[derive(Debug, Default)]
struct Ahead {
    frames: VecDeque<Frame<Bytes>>,
    // Nothing comes after them.
    ended: bool,
}

impl Arriving {
    pub(super) fn new(body: Incoming) -> Self {
        Self { ahead: None, rest: body }
    }

    /// Reads on to the end, if that is within `limit` bytes and comes before `wait` is over. Whatever
    /// was read is still to come, but for a break.
    pub(super) async fn read_ahead(&mut self, limit: usize, wait: Duration) {
        let ahead = self.ahead.get_or_insert_default();
        let rest = &mut self.rest;
        let reading = async {
            let mut left = limit;
            while let Some(frame) = poll_fn(|cx| Pin::new(&mut *rest).poll_frame(cx)).await {
                let frame = frame.ok()?;
                let length = frame.data_ref().map_or(0, Bytes::len);
                ahead.frames.push_back(frame);
                left = left.checked_sub(length)?;
            }
            Some(())
        };
        ahead.ended = matches!(tokio::time::timeout(wait, reading).await, Ok(Some(())));
    }

    /// Whether it was read to its end.
    pub(super) fn is_whole(&self) -> bool {
        self.ahead.as_ref().is_some_and(|ahead| ahead.ended)
    }

    /// All of its bytes, once it was read to its end.
    pub(super) fn whole(&self) -> Option<Vec<u8>> {
        let ahead = self.ahead.as_ref().filter(|ahead| ahead.ended)?;
        Some(ahead.chunks().flatten().copied().collect())
    }
}

impl Ahead {
    fn chunks(&self) -> impl Iterator<Item = &Bytes> {
        self.frames.iter().filter_map(Frame::data_ref)
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some(ahead) = &mut self.ahead {
            let frame = ahead.frames.pop_front();
            if frame.is_some() || ahead.ended {
                return Poll::Ready(frame.map(Ok));
            }
        }
        Pin::new(&mut self.rest).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        match &self.ahead {
            None => self.rest.is_end_stream(),
            Some(ahead) => ahead.frames.is_empty() && (ahead.ended || self.rest.is_end_stream()),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let hint = self.rest.size_hint();
        let Some(ahead) = &self.ahead else { return hint };
        let read: u64 = ahead.chunks().map(|chunk| chunk.len() as u64).sum();
        hint.exact().map_or(hint, |rest| SizeHint::with_exact(rest + read))
    }
}
