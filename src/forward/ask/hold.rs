//! A request's body held until it is whole, or until a limit. Knows nothing of what it says.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame};
use memchr::memmem;
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
    /// It is whole, and what is looked for is not in it: the body as it came, for all of it was taped.
    Without(RequestTee),
    /// A limit was passed, or the client broke off: what was held, and then the rest.
    Cut(RequestTee),
}

/// A whole body, in one piece. Its bytes count as held until the last of them is sent.
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
    pub(super) fn body_of(
        &self,
        frames: impl IntoIterator<Item = Bytes>,
        client: Arc<Client>,
    ) -> RequestTee {
        RequestTee::read(frames, self.sized, self.trailers.clone(), client)
    }
}

/// Frames as they came, charged for as long as one of them lives.
#[derive(Debug)]
struct Store {
    frames: Vec<Bytes>,
    length: usize,
    // What they are charged for.
    cost: usize,
    // What the client announced; it is charged for once the first of it comes.
    announced: usize,
    share: Share,
}

/// Bytes that are charged for.
#[derive(Debug)]
struct Charged {
    bytes: Bytes,
    _share: Arc<Share>,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// What a frame costs at least: one byte in it takes about as much.
const FRAME: usize = 128;

impl Store {
    /// Adds `chunk`, unless that were more than `limit` or than all together may hold.
    fn add(&mut self, chunk: &Bytes, limit: usize) -> bool {
        if chunk.is_empty() {
            return true;
        }
        let (length, cost) = (self.length + chunk.len(), self.cost + chunk.len().max(FRAME));
        let fits = length <= limit && self.share.resize(cost.max(self.announced));
        if fits {
            (self.length, self.cost) = (length, cost);
            self.frames.push(chunk.clone());
        }
        fits
    }

    /// Whether `text` stands in it, also across frames.
    fn contains(&self, text: &[u8]) -> bool {
        let finder = memmem::Finder::new(text);
        // What the frames so far end with: the beginning of a `text` that goes on.
        let mut end = Vec::new();
        self.frames.iter().any(|frame| {
            if finder.find(frame).is_some() {
                return true;
            }
            let head = frame.get(..text.len() - 1).unwrap_or(frame);
            end.extend_from_slice(head);
            let found = finder.find(&end).is_some();
            let tail = if frame.len() < text.len() { &end } else { &**frame };
            end = tail
                .get((tail.len() + 1).saturating_sub(text.len())..)
                .unwrap_or_default()
                .to_vec();
            found
        })
    }

    /// All of it in one piece.
    fn joined(self) -> Bytes {
        let bytes = self.frames.concat().into();
        Bytes::from_owner(Charged { bytes, _share: Arc::new(self.share) })
    }

    fn into_frames(self) -> impl Iterator<Item = Bytes> {
        let share = Arc::new(self.share);
        let charged = move |bytes| Charged { bytes, _share: Arc::clone(&share) };
        self.frames.into_iter().map(move |bytes| Bytes::from_owner(charged(bytes)))
    }
}

/// Reads `body` until it is whole, longer than `ask_body`, more than `share` may be, or slower than
/// `ask_wait` from its first byte on. It is put together only if `text` stands in it.
pub(super) async fn hold(mut body: RequestTee, text: &[u8], limits: &Limits, share: Share) -> Held {
    let hint = body.size_hint();
    let announced = usize::try_from(hint.lower()).unwrap_or(usize::MAX);
    if announced > limits.ask_body {
        return Held::Cut(body);
    }
    let mut store = Store { frames: Vec::new(), length: 0, cost: 0, announced, share };
    let (mut due, mut trailers) = (None, None);
    while let Some(frame) = match next(&mut body, due).await {
        Ok(frame) => frame,
        Err(Late) => return Held::Cut(body.behind(store.into_frames())),
    } {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => return Held::Cut(body.broken(store.into_frames(), error)),
        };
        match frame.into_data() {
            Ok(chunk) => {
                due.get_or_insert_with(|| Instant::now() + limits.ask_wait);
                if !store.add(&chunk, limits.ask_body) {
                    return Held::Cut(body.behind(store.into_frames().chain([chunk])));
                }
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    let sized = hint.exact().is_some();
    if !store.contains(text) {
        let client = body.client();
        return Held::Without(RequestTee::read(store.into_frames(), sized, trailers, client));
    }
    Held::Whole(Whole { bytes: store.joined(), sized, trailers })
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

#[cfg(test)]
mod tests {
    use super::super::memory::Memory;
    use super::*;

    fn store(frames: &[&'static str]) -> Store {
        let share = Memory::new(1 << 20).share();
        let mut store = Store { frames: Vec::new(), length: 0, cost: 0, announced: 0, share };
        frames
            .iter()
            .for_each(|frame| assert!(store.add(&Bytes::from_static(frame.as_bytes()), 100)));
        store
    }

    #[test]
    fn a_text_is_found_wherever_frames_end_in_it() {
        const BODY: &str = r#"{"a":1,"stream":true}"#;
        for one in 0..=BODY.len() {
            for two in one..=BODY.len() {
                for end in two..=BODY.len() {
                    let frames = [&BODY[..one], &BODY[one..two], &BODY[two..end], &BODY[end..]];
                    let store = store(&frames);
                    assert!(store.contains(br#""stream""#), "{frames:?}");
                    assert!(!store.contains(br#""stream":false"#), "{frames:?}");
                    assert_eq!(store.joined(), BODY);
                }
            }
        }
        let bytes: Vec<_> = BODY.split_inclusive(|_| true).collect();
        assert!(store(&bytes).contains(br#""stream""#));
        assert!(!store(&[r#"{"strea"#, r#"ms":1,"#, r#""strea"#, "m"]).contains(br#""stream""#));
    }
}
