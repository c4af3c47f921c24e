//! Bytes become frames: content encoding off, then SSE, NDJSON, a list's elements, a form or one JSON document;
//! or the messages of a WebSocket. Knows no provider and never fails.

/// Content encodings off, with a limit.
pub mod encoding;
/// Server-sent events.
pub mod sse;
/// JSON, one a line.
pub mod ndjson;
/// JSON, one an element of a list.
pub mod elements;
/// One JSON document.
pub mod json;
/// Long texts in JSON, without their middle.
pub mod cut;
/// Forms, without their files.
pub mod multipart;
/// What a body is: by its content type, and by its first bytes.
pub mod media;
/// One body, from bytes on the wire to frames.
pub mod body;
/// Messages of a WebSocket.
pub mod websocket;

/// One event of a stream, one line, or one element of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The event's name; empty where it has none, and for lines and elements.
    pub name: &'a [u8],
    /// Its data: usually JSON.
    pub data: &'a [u8],
}

/// Cuts `body` at random places, the same for the same seed.
#[cfg(test)]
pub(crate) fn chunking(seed: u64, body: &[u8]) -> Vec<&[u8]> {
    let (mut random, mut rest, mut chunks) = (fastrand::Rng::with_seed(seed), body, Vec::new());
    let longest = 1 << random.u32(0..8);
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(random.usize(1..=longest).min(rest.len()));
        chunks.push(chunk);
        rest = after;
    }
    chunks
}
