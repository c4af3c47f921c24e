//! Where the pieces of an answer go: to the dialect, to the marks, to what is kept. Knows no framing.

use std::time::Duration;

use super::decode::Frame;
use super::decode::body::Piece;
use super::decode::json::Document;
use super::dialect::{Answer, Content};
use super::kept::{Came, Kept};
use super::marks::Marks;
use super::notes::Notes;
use super::observation::{Note, ResponseFacts};
use super::shapes::lenient::Unread;
use super::shapes::mend;

/// Where the events of an answer go.
pub(super) struct Events<'a> {
    pub(super) answer: &'a mut dyn Answer,
    pub(super) facts: &'a mut ResponseFacts,
    pub(super) kept: &'a mut Kept,
    pub(super) marks: &'a mut Marks,
    pub(super) notes: &'a mut Notes,
}

impl Events<'_> {
    /// One event, which came at `at`. `cut`: it is the last, and may be but a piece of one, which is
    /// then none that is unreadable.
    pub(super) fn read(&mut self, frame: Frame<'_>, at: Duration, cut: bool) -> Result<(), Unread> {
        let before = self.facts.usage;
        let Frame { name, data } = frame;
        let look = |data: &[u8]| self.answer.frame(Frame { name, data }, self.facts);
        let (read, data) = mend::reading(data, look);
        if read.is_err() && cut {
            return Ok(());
        }
        self.facts.events += 1;
        let says = read.is_ok_and(Content::is_some);
        let more_than_text = read.is_ok_and(|content| content.other);
        let since = self.facts.usage;
        self.kept.answer(&data, Came { says, more_than_text, before, since });
        let content = read.inspect_err(|_| self.notes.add(Note::EventUnreadable))?;
        if says {
            self.facts.chunks += 1;
            self.marks.content(content, at);
        }
        Ok(())
    }
}

/// Where the pieces of a response's body go.
pub(super) struct Reader<'a> {
    pub(super) events: Events<'a>,
    pub(super) document: &'a mut Option<Result<(), Unread>>,
    pub(super) too_long: &'a mut bool,
    // The body ended.
    pub(super) is_end: bool,
}

impl Reader<'_> {
    /// One piece, which came whole at `at`.
    pub(super) fn read(&mut self, piece: Piece<'_>, at: Duration) {
        let Events { answer, facts, kept, .. } = &mut self.events;
        match piece {
            // What is wrong with it is noted.
            Piece::Frame(frame) => {
                self.events.read(frame, at, self.is_end).ok();
            }
            Piece::Document(Document::Whole(body)) => {
                let before = facts.usage;
                let (read, body) = mend::reading(body, |body| answer.document(body, facts));
                *self.document = Some(read);
                let since = facts.usage;
                kept.answer(&body, Came { says: true, more_than_text: false, before, since });
            }
            Piece::Document(Document::Tail(body)) => answer.tail(body, facts),
            Piece::Document(Document::TooLong) => *self.too_long = true,
        }
    }
}
