//! When things happened: marks, gaps and stalls. Knows no bytes.

use std::time::Duration;

use super::dialect::Content;
use super::gaps::Gaps;
use super::observation::Times;
use crate::tape::Milestone;

/// Marks of one exchange.
#[derive(Debug)]
pub struct Marks {
    /// Since zero.
    pub times: Times,
    /// Between consecutive content chunks.
    pub gaps: Gaps,
    /// Gaps above the limit.
    pub stalls: u32,
    stall: Duration,
    hold_began: Option<Duration>,
    // Bytes of the answer are missing: what follows came at times that are not known.
    torn: bool,
}

impl Marks {
    /// No mark; a gap above `stall` is a stall.
    pub fn new(stall: Duration) -> Self {
        let (times, gaps) = (Times::default(), Gaps::default());
        Self { times, gaps, stalls: 0, stall, hold_began: None, torn: false }
    }

    /// A moment of the connection or the request; the first of each kind counts.
    pub fn milestone(&mut self, milestone: Milestone, at: Duration) {
        let times = &mut self.times;
        let mark = match milestone {
            Milestone::Lease => &mut times.lease,
            Milestone::Tcp => &mut times.tcp,
            Milestone::Tls => &mut times.tls,
            Milestone::Connected => &mut times.connected,
            Milestone::Sent => &mut times.sent,
            Milestone::SentAll => &mut times.sent_all,
            Milestone::HoldBegan => &mut self.hold_began,
            Milestone::HoldEnded => {
                let held = self.hold_began.map(|began| at.saturating_sub(began));
                times.held = times.held.or(held);
                return;
            }
            // What is sent now is another request.
            Milestone::AskRefused => {
                *times = Times { held: times.held, ..Times::default() };
                return;
            }
            _ => return,
        };
        mark.get_or_insert(at);
    }

    /// Bytes of the response's body came.
    pub fn bytes(&mut self, at: Duration) {
        if !self.torn {
            self.times.first_byte.get_or_insert(at);
        }
    }

    /// An event with generated content came.
    pub fn content(&mut self, content: Content, at: Duration) {
        let times = &mut self.times;
        let last = times.last_chunk.replace(at);
        if self.torn {
            return;
        }
        times.first_chunk.get_or_insert(at);
        if content.reasoning {
            times.first_reasoning.get_or_insert(at);
        }
        if content.text {
            times.first_text.get_or_insert(at);
        }
        if content.tool_call {
            times.first_tool_call.get_or_insert(at);
        }
        if let Some(last) = last {
            let gap = at.saturating_sub(last);
            self.gaps.add(gap);
            self.stalls = self.stalls.saturating_add(u32::from(gap > self.stall));
        }
    }

    /// A piece of sound came. What comes at one moment is one: says whether it was the first.
    pub fn piece(&mut self, at: Duration) -> bool {
        let is_first = self.times.last_chunk != Some(at);
        if is_first {
            self.content(Content { other: true, ..Content::default() }, at);
        }
        is_first
    }

    /// Bytes of the answer are missing from here.
    pub fn tear(&mut self) {
        self.torn = true;
    }

    /// The exchange is over; its last bytes came at `last_bytes`, where that is known.
    pub fn end(&mut self, at: Duration, last_bytes: Option<Duration>) {
        self.times.end = at;
        if self.torn {
            let known = |last: Duration| last_bytes.map_or(last, |bytes| last.min(bytes));
            self.times.last_chunk = self.times.last_chunk.map(known);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: Content = Content { text: true, reasoning: false, tool_call: false, other: false };

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_refused_question_leaves_only_the_time_that_the_body_was_waited_for() {
        let mut marks = Marks::new(at(100));
        for (milestone, millis) in [
            (Milestone::HoldBegan, 1),
            (Milestone::HoldEnded, 31),
            (Milestone::Lease, 32),
            (Milestone::Connected, 33),
            (Milestone::AskRefused, 90),
            (Milestone::Lease, 91),
        ] {
            marks.milestone(milestone, at(millis));
        }
        let times = marks.times;
        assert_eq!((times.held, times.lease, times.connected), (Some(at(30)), Some(at(91)), None));
    }

    #[test]
    fn gaps_lie_between_chunks_and_long_ones_are_stalls() {
        let mut marks = Marks::new(at(100));
        [10, 30, 130, 231].iter().for_each(|&millis| marks.content(TEXT, at(millis)));
        assert_eq!((marks.gaps.count(), marks.gaps.longest()), (3, Some(at(101))));
        assert_eq!(marks.stalls, 1, "a gap of exactly the limit is none");
        assert_eq!(
            (marks.times.first_chunk, marks.times.last_chunk),
            (Some(at(10)), Some(at(231)))
        );
    }

    #[test]
    fn each_kind_of_content_has_a_first() {
        let mut marks = Marks::new(at(100));
        marks.content(Content { other: true, ..Content::default() }, at(1));
        marks.content(Content { reasoning: true, ..Content::default() }, at(2));
        marks.content(TEXT, at(3));
        marks.content(Content { tool_call: true, text: true, ..Content::default() }, at(4));
        let times = marks.times;
        assert_eq!((times.first_chunk, times.first_reasoning), (Some(at(1)), Some(at(2))));
        assert_eq!((times.first_text, times.first_tool_call), (Some(at(3)), Some(at(4))));
    }

    #[test]
    fn after_a_tear_no_gap_and_no_first_is_made_up() {
        let mut marks = Marks::new(at(100));
        marks.content(TEXT, at(1));
        marks.tear();
        marks.content(Content { tool_call: true, ..TEXT }, at(900));
        marks.end(at(900), Some(at(700)));
        assert_eq!((marks.gaps.count(), marks.stalls), (0, 0));
        assert_eq!((marks.times.first_tool_call, marks.times.last_chunk), (None, Some(at(700))));
    }

    #[test]
    fn a_first_byte_after_a_tear_is_not_the_first() {
        let first = |torn| {
            let mut marks = Marks::new(at(100));
            if torn {
                marks.tear();
            }
            marks.bytes(at(5));
            marks.bytes(at(6));
            marks.end(at(9), Some(at(7)));
            (marks.times.first_byte, marks.times.last_chunk)
        };
        assert_eq!(first(false), (Some(at(5)), None));
        assert_eq!(first(true), (None, None));
        let mut whole = Marks::new(at(100));
        whole.content(TEXT, at(8));
        whole.end(at(9), Some(at(7)));
        assert_eq!(whole.times.last_chunk, Some(at(8)), "it was seen");
    }
}
