//! A response as it is read: its body, who reads it, and how far that came. Knows no tape.

use std::time::Duration;

use super::super::decode::body::Body;
use super::super::decode::encoding::Fault;
use super::super::decode::media::Shape;
use super::super::dialect::Answer;
use super::super::head::Bytes;
use super::super::observation::ResponseFacts;
use super::super::shapes::lenient::Unread;
use crate::tape::Cause;

/// The response, from its head on.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) body: Body,
    pub(super) answer: Option<Box<dyn Answer>>,
    pub(super) content: Option<Bytes>,
    // A body must come, and end with a terminator.
    pub(super) is_due: bool,
    pub(super) is_ours: bool,
    pub(super) document: Option<Result<(), Unread>>,
    pub(super) too_long: bool,
    // Told before a gap, behind which the last word on it may have stood.
    pub(super) forgot_usage: bool,
    pub(super) last_bytes: Duration,
}

impl Response {
    /// All of it that came was read, up to where it broke off.
    pub(super) fn is_read(&self) -> bool {
        let decoded = matches!(self.body.fault(), None | Some(Fault::Short));
        let read = !matches!(self.document, Some(Err(_)));
        decoded && read && self.body.skipped() == 0 && !self.too_long && !self.is(Shape::Opaque)
    }

    /// Something came, of this shape.
    pub(super) fn is(&self, shape: Shape) -> bool {
        self.body.shape() == Some(shape) && !self.body.is_empty()
    }

    pub(super) fn is_whole(&self, facts: &ResponseFacts, cause: Cause) -> bool {
        match (self.body.shape(), &self.answer) {
            (Some(shape), Some(answer)) if shape.is_stream() => match cause {
                Cause::Complete => answer.may_end(facts),
                _ => answer.is_terminated(facts),
            },
            (Some(shape), None) if shape.is_stream() => false,
            _ => self.document == Some(Ok(())),
        }
    }
}
