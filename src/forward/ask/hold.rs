//! A request's body held until it is whole, or until a limit. Knows nothing of what it says.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame};
use tokio::time::{Instant, timeout_at};

use super::memory::Share;
use crate::forward::client::Client;
use crate::forward::settings::Limits;
use crate::forward::tee::{BodyError, RequestTee};

/// How holding ended.
#[derive(Debug)]
pub(super) enum Held {
    /// The body is whole.
    Whole(Whole),
    /// A limit was passed, or the client broke off: what was held, and then the rest.
    Cut(RequestTee),
}

/// A whole body. Its bytes count as held until the last of them is sent.
#[derive(Clone, Debug)]
pub(super) struct Whole {
    pub(super) bytes: Bytes,
    // It came with a length, rather than in chunks.
    sized: bool,
    trailers: Option<HeaderMap>,
}

impl Whole {
    /// The body again, as it came.
    pub(super) fn into_body(self, client: Arc<Client>) -> RequestTee {
        self.body_of([self.bytes.clone()], client)
    }

    /// `frames`, delimited as the body was, with its trailers.
    pub(super) fn body_of<const N: usize>(
        &self,
        frames: [Bytes; N],
        client: Arc<Client>,
    ) -> RequestTee {
        RequestTee::read(frames, self.sized, self.trailers.clone(), client)
    }
}

/// Bytes in one place, charged for as long as they live.
#[derive(Debug)]
struct Store {
    bytes: Vec<u8>,
    // What the client announced; it is charged for once the first of it comes.
    announced: usize,
    share: Share,
}

impl Store {
    /// Adds `chunk`, unless that were more than `limit` or than all together may hold.
    fn add(&mut self, chunk: &[u8], limit: usize) -> bool {
        let needed = self.bytes.len() + chunk.len();
        if needed > limit {
            return false;
        }
        if needed > self.bytes.capacity() {
            let capacity = needed.max(self.bytes.capacity() * 2).max(self.announced).min(limit);
            if !self.share.resize(capacity) {
                return false;
            }
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(chunk);
        true
    }

    fn into_bytes(self) -> Bytes {
        if self.bytes.is_empty() { Bytes::new() } else { Bytes::from_owner(self) }
    }
}

impl AsRef<[u8]> for Store {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reads `body` until it is whole, longer than `ask_body`, more than `share` may be, or slower than
/// `ask_wait` from its first byte on.
pub(super) async fn hold(mut body: RequestTee, limits: &Limits, share: Share) -> Held {
    let hint = body.size_hint();
    let announced = usize::try_from(hint.lower()).unwrap_or(usize::MAX);
    if announced > limits.ask_body {
        return Held::Cut(body);
    }
    let mut store = Store { bytes: Vec::new(), announced, share };
    let (mut due, mut trailers) = (None, None);
    while let Some(frame) = match next(&mut body, due).await {
        Ok(frame) => frame,
        Err(Late) => return Held::Cut(body.behind([store.into_bytes()])),
    } {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => return Held::Cut(body.broken([store.into_bytes()], error)),
        };
        match frame.into_data() {
            Ok(chunk) => {
                due.get_or_insert_with(|| Instant::now() + limits.ask_wait);
                if !store.add(&chunk, limits.ask_body) {
                    return Held::Cut(body.behind([store.into_bytes(), chunk]));
                }
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Held::Whole(Whole { bytes: store.into_bytes(), sized: hint.exact().is_some(), trailers })
}

/// The body was too slow.
struct Late;

type Next = Option<Result<Frame<Bytes>, BodyError>>;

async fn next(body: &mut RequestTee, due: Option<Instant>) -> Result<Next, Late> {
    let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx));
    match due {
        None => Ok(frame.await),
        Some(due) => timeout_at(due, frame).await.map_err(|_| Late),
    }
}
