//! Where the pieces of a response go: to the dialect, to the marks, to what is kept. Knows no framing, and
//! no end.

use std::time::Duration;

use super::decode::Frame;
use super::decode::body::Piece;
use super::decode::json::Document;
use super::dialect::Answer;
use super::kept::{Came, Kept};
use super::marks::Marks;
use super::notes::Notes;
use super::observation::{Note, ResponseFacts};
use super::shapes::lenient::Unread;
use super::shapes::mend;

/// Where the pieces of a response go.
pub(super) struct Reader<'a> {
    pub(super) answer: &'a mut dyn Answer,
    pub(super) facts: &'a mut ResponseFacts,
    pub(super) kept: &'a mut Kept,
    pub(super) marks: &'a mut Marks,
    pub(super) notes: &'a mut Notes,
    pub(super) document: &'a mut Option<Result<(), Unread>>,
    pub(super) too_long: &'a mut bool,
    // The body ended.
    pub(super) is_end: bool,
}

impl Reader<'_> {
    /// One piece, which came whole at `at`.
    pub(super) fn read(&mut self, piece: Piece<'_>, at: Duration) {
        match piece {
            Piece::Frame(frame) => {
                let before = self.facts.usage;
                let Frame { name, data } = frame;
                let look = |data: &[u8]| self.answer.frame(Frame { name, data }, self.facts);
                let (read, data) = mend::reading(data, look);
                // What the body's end cuts off is a piece of an event, and none that is unreadable.
                if read.is_err() && self.is_end {
                    return;
                }
                self.facts.events += 1;
                let says = matches!(read, Ok(content) if content.is_some());
                let more_than_text = matches!(read, Ok(content) if content.other);
                let since = self.facts.usage;
                self.kept.answer(&data, Came { says, more_than_text, before, since });
                match read {
                    Ok(content) if says => {
                        self.facts.chunks += 1;
                        self.marks.content(content, at);
                    }
                    Ok(_) => (),
                    Err(_) => self.notes.add(Note::EventUnreadable),
                }
            }
            Piece::Document(Document::Whole(body)) => {
                let before = self.facts.usage;
                let look = |body: &[u8]| self.answer.document(body, self.facts);
                let (read, body) = mend::reading(body, look);
                *self.document = Some(read);
                let since = self.facts.usage;
                self.kept.answer(&body, Came { says: true, more_than_text: false, before, since });
            }
            Piece::Document(Document::Tail(body)) => self.answer.tail(body, self.facts),
            Piece::Document(Document::TooLong) => *self.too_long = true,
        }
    }
}
