//! The answer to a question: whether it is read at all, and its frames as they pass. Knows no JSON.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};

use super::memory::Share;
use super::unsplice::Unsplice;

/// What of an answer to a question has to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The question causes nothing in it.
    Other,
    /// A stream of events that we can read.
    Events,
    /// A stream of events that we cannot: encoded, or of a length that must stay.
    Closed,
}

impl Kind {
    pub(super) fn of(status: StatusCode, fields: &HeaderMap) -> Self {
        if !status.is_success() || !is_event_stream(fields) {
            return Self::Other;
        }
        let closed = is_encoded(fields) || fields.contains_key(CONTENT_LENGTH);
        if closed { Self::Closed } else { Self::Events }
    }
}

/// Whether its bytes are not those of its text.
pub(super) fn is_encoded(fields: &HeaderMap) -> bool {
    let mut encodings = fields.get_all(CONTENT_ENCODING).iter();
    encodings.any(|it| !it.as_bytes().eq_ignore_ascii_case(b"identity"))
}

fn is_event_stream(fields: &HeaderMap) -> bool {
    let kind = fields.get(CONTENT_TYPE).map(|value| value.as_bytes()).unwrap_or_default();
    let kind = kind.split(|&byte| byte == b';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
}

/// A stream from which what the question caused is taken out.
#[derive(Debug)]
pub(in crate::forward) struct Answer {
    unsplice: Unsplice,
    share: Share,
}

/// What of a chunk goes on.
#[derive(Debug)]
pub(in crate::forward) struct Passed {
    pub(in crate::forward) bytes: Bytes,
    /// Bytes that are gone for good.
    pub(in crate::forward) taken_out: u64,
    /// For the first time an event goes on that could not be looked at.
    pub(in crate::forward) left: bool,
}

impl Answer {
    pub(super) fn new(longest: usize, share: Share) -> Self {
        Self { unsplice: Unsplice::new(longest), share }
    }

    /// What is held back still, once nothing more comes.
    pub(in crate::forward) fn rest(&mut self) -> Bytes {
        let mut out = Vec::new();
        self.unsplice.finish(&mut out);
        out.into()
    }

    /// What may go on now. `last`: nothing comes after `chunk`.
    pub(in crate::forward) fn pass(&mut self, chunk: &[u8], last: bool) -> Passed {
        let unsplice = &mut self.unsplice;
        let (before, was_too_long) = (unsplice.taken_out(), unsplice.was_too_long());
        let mut out = Vec::with_capacity(chunk.len());
        unsplice.push(chunk, &mut out);
        if last {
            unsplice.finish(&mut out);
        } else if !self.share.resize(unsplice.held()) {
            unsplice.let_go(&mut out);
        }
        Passed {
            bytes: out.into(),
            taken_out: unsplice.taken_out() - before,
            left: unsplice.was_too_long() && !was_too_long,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;

    fn kind(status: u16, fields: &[(&str, &str)]) -> Kind {
        let mut response = Response::builder().status(status);
        for (name, value) in fields {
            response = response.header(*name, *value);
        }
        let head = response.body(()).unwrap().into_parts().0;
        Kind::of(head.status, &head.headers)
    }

    #[test]
    fn only_a_plain_successful_stream_of_events_is_read() {
        let events = ("content-type", "Text/Event-Stream; charset=utf-8");
        assert_eq!(kind(200, &[events]), Kind::Events);
        assert_eq!(kind(200, &[events, ("content-encoding", "identity")]), Kind::Events);
        assert_eq!(kind(200, &[events, ("content-encoding", "gzip")]), Kind::Closed);
        assert_eq!(kind(200, &[events, ("content-length", "9")]), Kind::Closed);
        assert_eq!(kind(500, &[events]), Kind::Other);
        assert_eq!(kind(200, &[("content-type", "application/json")]), Kind::Other);
        assert_eq!(kind(200, &[]), Kind::Other);
    }
}
