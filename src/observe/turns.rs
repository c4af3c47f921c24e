//! The calls of one session: those that are open, and those that have ended. Knows when messages come,
//! and neither their format nor which call they belong to.

use std::collections::VecDeque;
use std::time::Duration;

use super::Settings;
use super::decode::Frame;
use super::dialect::Answer;
use super::kept::Kept;
use super::marks::Marks;
use super::notes::Notes;
use super::observation::{Note, Operation, RateLimit, RequestFacts, ResponseFacts};
use super::reader::Events;
use super::shapes::lenient::Unread;
use super::verdict::Reading;
use crate::tape::Cause;

/// Calls of one session that may be open at once. Past it the oldest is forgotten, and that is noted.
pub const OPEN: usize = 256;
/// Bytes that one of them holds, about.
const HELD: usize = 2 << 10;

/// One call, as it comes. Its times count from its own beginning.
#[derive(Debug)]
pub struct Turn {
    /// Its place in the session, from 1.
    pub number: u64,
    /// What is asked for.
    pub operation: Operation,
    /// What the client asked for.
    pub request: RequestFacts,
    /// What was answered.
    pub response: ResponseFacts,
    /// The status that an error in the answer's stead names.
    pub status: Option<u16>,
    /// The trace, parent span and flags that the call itself names.
    pub context: Option<([u8; 16], [u8; 8], u8)>,
    /// What was said of the upstream's limits meanwhile.
    pub rate_limits: Vec<RateLimit>,
    /// When it began, since the session's zero.
    pub began: Duration,
    /// When things happened, since it began.
    pub marks: Marks,
    /// What could not be read.
    pub notes: Notes,
    /// Its texts, and its usage as it came.
    pub kept: Kept,
    answer: Box<dyn Answer>,
    // Of its last event, since the session's zero.
    last: Duration,
    // What may be missing of it.
    lost: Option<Reading>,
}

/// A call that is over.
#[derive(Debug)]
pub struct Ended {
    /// The call.
    pub turn: Turn,
    /// Why it ended, as far as can be told from outside.
    pub cause: Cause,
    /// When, since it began.
    pub at: Duration,
}

/// The calls of one session.
#[derive(Debug)]
pub struct Turns {
    settings: Settings,
    now: Duration,
    count: u64,
    // Of those, the ones that nobody will tell.
    untold: u64,
    forgotten: bool,
    // How often something was done.
    steps: u64,
    open: VecDeque<Turn>,
    ended: Vec<Ended>,
}

impl Turn {
    /// What was read of its answer.
    pub fn reading(&self) -> Reading {
        if self.answer.is_terminated(&self.response) {
            Reading::Whole
        } else {
            self.lost.unwrap_or(Reading::Short)
        }
    }

    /// All of its answer that came was read.
    pub fn is_read(&self) -> bool {
        self.lost.is_none() && !self.notes.has(Note::EventUnreadable)
    }

    /// When it was asked for is not known: how long its first word took is not either.
    pub fn forget_asking(&mut self) {
        (self.marks.times.sent, self.marks.times.sent_all) = (None, None);
    }

    /// It had begun before anything of it was seen: how long it took is not known.
    pub fn unseen(&mut self) -> &mut Self {
        self.forget_asking();
        self.marks.tear();
        self.notes.add(Note::BeginningUnseen);
        self
    }

    fn read(&mut self, data: &[u8], now: Duration) -> Result<(), Unread> {
        let at = now.saturating_sub(self.began);
        self.last = now;
        self.marks.bytes(at);
        let Self { answer, response: facts, kept, marks, notes, .. } = self;
        let mut events = Events { answer: &mut **answer, facts, kept, marks, notes };
        events.read(Frame { name: b"", data }, at, false)
    }

    fn end(self, cause: Cause, at: Duration) -> Ended {
        Ended { cause, at: at.saturating_sub(self.began), turn: self }
    }
}

impl Turns {
    /// None yet.
    pub fn new(settings: &Settings) -> Self {
        Self {
            settings: settings.clone(),
            now: Duration::ZERO,
            count: 0,
            untold: 0,
            forgotten: false,
            steps: 0,
            open: VecDeque::new(),
            ended: Vec::new(),
        }
    }

    /// What happens from here on happens now, since the session's zero.
    pub fn at(&mut self, now: Duration) {
        self.now = self.now.max(now);
    }

    /// Since the session's zero.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// A call begins, now or at an earlier time.
    pub fn begin(
        &mut self,
        operation: Operation,
        answer: Box<dyn Answer>,
        at: Duration,
    ) -> &mut Turn {
        if self.open.len() >= OPEN {
            self.open.pop_front();
            self.untold += 1;
            self.forgotten = true;
        }
        self.count += 1;
        self.steps += 1;
        let began = at.min(self.now);
        let mut marks = Marks::new(self.settings.stall);
        (marks.times.sent, marks.times.sent_all) = (Some(Duration::ZERO), Some(Duration::ZERO));
        let response = ResponseFacts { streamed: true, ..ResponseFacts::default() };
        self.open.push_back_mut(Turn {
            number: self.count,
            operation,
            request: RequestFacts::default(),
            response,
            status: None,
            context: None,
            rate_limits: Vec::new(),
            began,
            marks,
            notes: Notes::default(),
            kept: Kept::new(Some(operation), &self.settings),
            answer,
            last: began,
            lost: None,
        })
    }

    /// The open call of this number.
    pub fn get(&mut self, number: u64) -> Option<&mut Turn> {
        self.open.iter_mut().find(|turn| turn.number == number)
    }

    /// Reads an event of the call's answer.
    pub fn read(&mut self, number: u64, data: &[u8]) -> Result<(), Unread> {
        let now = self.now;
        self.steps += 1;
        self.get(number).map_or(Ok(()), |turn| turn.read(data, now))
    }

    /// The call ends with the message that came now.
    pub fn end(&mut self, number: u64) {
        let now = self.now;
        self.take(number, |_| now);
    }

    /// The call ended with the last of its events that was seen.
    pub fn leave(&mut self, number: u64) {
        self.take(number, |turn| turn.last);
    }

    fn take(&mut self, number: u64, at: impl FnOnce(&Turn) -> Duration) {
        self.steps += 1;
        if let Some(place) = self.open.iter().position(|turn| turn.number == number) {
            let ended = self.open.remove(place).map(|turn| {
                let at = at(&turn);
                turn.end(Cause::Complete, at)
            });
            self.ended.extend(ended);
        }
    }

    /// Something of the open calls' answers was not read.
    pub fn lose(&mut self, reading: Reading) {
        self.open.iter_mut().for_each(|turn| turn.lost = Some(reading));
    }

    /// Nothing more of any answer will be read: when the open calls end nobody can tell, and of those of which
    /// nothing was seen nothing at all.
    pub fn leave_all(&mut self) {
        let before = self.open.len();
        self.open.retain(|turn| turn.response.events > 0);
        self.untold += (before - self.open.len()) as u64;
        let left = self.open.drain(..).map(|turn| {
            let last = turn.last;
            turn.end(Cause::Complete, last)
        });
        self.ended.extend(left);
    }

    /// The session is over, for this reason, at `at`; `word` names it where it is an error.
    pub fn close(&mut self, cause: Cause, at: Duration, word: Option<&str>) {
        for mut turn in self.open.drain(..) {
            let last = turn.last;
            let is_over = turn.response.error.is_some() || turn.reading() != Reading::Short;
            self.ended.push(if is_over {
                turn.end(Cause::Complete, last)
            } else {
                turn.response.error = word.map(str::to_owned);
                turn.end(cause, at)
            });
        }
    }

    /// Those that ended since this was last asked.
    pub fn ended(&mut self) -> Vec<Ended> {
        std::mem::take(&mut self.ended)
    }

    /// How many there were, without those that nobody tells.
    pub fn count(&self) -> u64 {
        self.count - self.untold
    }

    /// How often a call began, was read of or ended: more than before, where a message did something.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// There is no room for what they hold: their texts are let go, and with them any estimate.
    pub fn let_go(&mut self) {
        let ended = self.ended.iter_mut().map(|it| &mut it.turn);
        self.open.iter_mut().chain(ended).for_each(|turn| turn.kept.texts = None);
    }

    /// Whether some were forgotten.
    pub fn forgot(&self) -> bool {
        self.forgotten
    }

    /// Bytes of its buffers, about.
    pub fn held(&self) -> usize {
        let turns = self.open.iter().chain(self.ended.iter().map(|it| &it.turn));
        turns.map(|turn| HELD + turn.kept.held()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::dialect::{Content, Dialogue};
    use crate::observe::observation::Usage;

    /// Each letter is an event: `t` text, `e` the end, `u` usage.
    #[derive(Debug, Default)]
    struct Letters(bool);

    impl Answer for Letters {
        fn frame(
            &mut self,
            frame: Frame<'_>,
            facts: &mut ResponseFacts,
        ) -> Result<Content, Unread> {
            match frame.data {
                b"t" => return Ok(Content { text: true, ..Content::default() }),
                b"u" => facts.usage = Some(Usage { input: Some(1), ..Usage::default() }),
                b"e" => self.0 = true,
                _ => return Err(Unread::Bad),
            }
            Ok(Content::default())
        }

        fn document(&mut self, _: &[u8], _: &mut ResponseFacts) -> Result<(), Unread> {
            Err(Unread::Bad)
        }

        fn is_terminated(&self, _: &ResponseFacts) -> bool {
            self.0
        }
    }

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn turns() -> Turns {
        Turns::new(&Settings { stall: at(100), ..Settings::default() })
    }

    fn begin(turns: &mut Turns, millis: u64) -> u64 {
        turns.at(at(millis));
        let now = turns.now();
        turns.begin(Operation::Chat, Box::new(Letters::default()), now).number
    }

    #[test]
    fn times_count_from_the_calls_own_beginning() {
        let mut turns = turns();
        let number = begin(&mut turns, 1000);
        for (millis, event) in [(1010, "t"), (1150, "t"), (1160, "e")] {
            turns.at(at(millis));
            turns.read(number, event.as_bytes()).unwrap();
        }
        turns.end(number);
        let ended = turns.ended();
        let times = ended[0].turn.marks.times;
        assert_eq!((times.first_chunk, times.last_chunk), (Some(at(10)), Some(at(150))));
        assert_eq!((ended[0].at, ended[0].turn.marks.stalls), (at(160), 1));
        assert_eq!((turns.ended().len(), turns.count(), turns.held()), (0, 1, 0));
    }

    #[test]
    fn what_is_open_at_the_end_ends_with_it_unless_it_was_over() {
        let mut turns = turns();
        let [open, done, failed] = [10, 20, 30].map(|millis| begin(&mut turns, millis));
        turns.at(at(40));
        turns.read(done, b"e").unwrap();
        turns.get(failed).unwrap().response.error = Some("bad".to_owned());
        turns.close(Cause::ClientGone, at(50), None);
        let told: Vec<_> =
            turns.ended().iter().map(|it| (it.turn.number, it.cause, it.at)).collect();
        let expected = [
            (open, Cause::ClientGone, at(40)),
            (done, Cause::Complete, at(20)),
            (failed, Cause::Complete, at(0)),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn only_so_many_calls_are_kept_open() {
        let mut turns = turns();
        let numbers: Vec<_> = (0..OPEN as u64).map(|millis| begin(&mut turns, millis)).collect();
        assert_eq!(numbers.last(), Some(&(OPEN as u64)));
        assert!(!turns.forgot());
        begin(&mut turns, 1000);
        assert!(turns.forgot() && turns.get(1).is_none() && turns.get(2).is_some());
        assert_eq!(turns.held(), OPEN * HELD);
    }

    /// A dialogue in letters is what a dialect's is.
    #[derive(Debug)]
    struct Spelled;

    impl Dialogue for Spelled {
        fn asked(&mut self, _: &[u8], turns: &mut Turns) -> Result<(), Unread> {
            let now = turns.now();
            turns.begin(Operation::Chat, Box::new(Letters::default()), now);
            Ok(())
        }

        fn answered(&mut self, message: &[u8], turns: &mut Turns) -> Result<(), Unread> {
            turns.read(1, message)
        }
    }

    #[test]
    fn what_cannot_be_read_is_noted_on_its_call() {
        let mut turns = turns();
        Spelled.asked(b"", &mut turns).unwrap();
        assert_eq!(Spelled.answered(b"?", &mut turns), Err(Unread::Bad));
        assert!(turns.get(1).unwrap().notes.has(Note::EventUnreadable));
        turns.lose(Reading::Unread);
        turns.leave_all();
        assert_eq!(turns.ended()[0].turn.reading(), Reading::Unread);
    }
}
