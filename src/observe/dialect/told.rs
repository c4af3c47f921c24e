//! What answers tell, for the tests of dialects. Knows no dialect.

use super::{Answer, Content};
use crate::observe::decode::Frame;
use crate::observe::observation::ResponseFacts;

/// By a stream of events without names: what is known then, the content of each, and whether that was all.
pub(super) fn by_events(
    mut answer: Box<dyn Answer>,
    events: &[&str],
) -> (ResponseFacts, Vec<Content>, bool) {
    let mut facts = ResponseFacts::default();
    let frames = events.iter().map(|event| Frame { name: b"", data: event.as_bytes() });
    let contents = frames.map(|frame| answer.frame(frame, &mut facts).unwrap()).collect();
    let is_all = answer.is_terminated(&facts);
    (facts, contents, is_all)
}

/// By one document.
pub(super) fn by_document(mut answer: Box<dyn Answer>, body: &str) -> ResponseFacts {
    let mut facts = ResponseFacts::default();
    answer.document(body.as_bytes(), &mut facts).unwrap();
    facts
}
