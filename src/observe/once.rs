//! Each answer is counted once, however often it is read: a bounded memory of answers that the
//! provider keeps. Knows no dialect, no clock and no price.
//!
//! The usage of an answer counts where it is first told: by the call that made it, else (a response
//! made in the background, a batch, a run) by the first that fetches it whole. The memory is this
//! process's own: after a restart, or in another replica, an answer made in the background that is
//! fetched again counts again. What several connections hear that joined one call counts where it is first
//! told. One that was not is never counted by fetching it, unless it was made
//! here and its usage was not told then.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, PoisonError};

use super::observation::{COUNTED_BEFORE, Known, Observation, Operation};

/// The last so many answers are remembered at least, and at most twice as many. What is asked for
/// again is kept longer.
const ANSWERS: usize = 65_536;

/// Why a fetched answer's usage does not count: whoever made the call was told it.
const ELSEWHERE: &str = "not_made_here";

/// What is known of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// It was made here, and its usage not told.
    Owed,
    /// Its usage was told by the call that made it.
    Made,
    /// Its usage was told by a call that fetched it.
    Fetched,
}

/// The answers whose usage was counted, or is still to be.
#[derive(Debug)]
pub struct Once(Mutex<Memory>);

impl Default for Once {
    fn default() -> Self {
        Self::new(ANSWERS)
    }
}

impl Once {
    fn new(limit: usize) -> Self {
        Self(Mutex::new(Memory { limit, young: HashMap::new(), old: HashMap::new() }))
    }

    /// Takes the usage off an observation whose answer was counted before, with the reason.
    pub fn settle(&self, observation: &mut Observation) {
        let fetched = observation.operation == Some(Operation::FetchResponse);
        let joined = observation.request.joined;
        if !fetched && !joined && !observation.request.stored {
            return;
        }
        let told = observation.usage.value().is_some();
        // What was estimated counts too: it is not counted again when it is fetched.
        let counted = told || observation.estimate.is_some();
        let refusal = match key(observation) {
            Some(key) => {
                let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                let seen = memory.recall(key);
                if fetched {
                    let background = observation.response.background;
                    memory.fetch(key, seen, told, background)
                } else if joined && seen == Some(Seen::Made) {
                    Some(COUNTED_BEFORE)
                } else {
                    memory.make(key, seen, counted)
                }
            }
            None => fetched.then_some(ELSEWHERE),
        };
        if let Some(reason) = refusal.filter(|_| counted) {
            observation.usage = Known::Unknown(reason);
            observation.estimate = None;
        }
    }
}

/// Who answered, and its id of the answer.
fn key(observation: &Observation) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    observation.upstream.as_ref()?.name.hash(&mut hasher);
    observation.response.id.as_ref()?.hash(&mut hasher);
    Some(hasher.finish())
}

/// Two generations: where the young one is full it becomes the old one, and that is forgotten.
#[derive(Debug)]
struct Memory {
    limit: usize,
    young: HashMap<u64, Seen>,
    old: HashMap<u64, Seen>,
}

impl Memory {
    fn recall(&mut self, key: u64) -> Option<Seen> {
        if let Some(seen) = self.young.get(&key) {
            return Some(*seen);
        }
        let seen = self.old.remove(&key)?;
        self.keep(key, seen);
        Some(seen)
    }

    fn keep(&mut self, key: u64, seen: Seen) {
        if self.young.len() >= self.limit && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, seen);
    }

    /// A call that makes an answer ended. Some servers give every answer the same id: only what was
    /// fetched meanwhile, while a stream of it was still open, is known to be the same one.
    fn make(&mut self, key: u64, seen: Option<Seen>, told: bool) -> Option<&'static str> {
        match seen {
            Some(Seen::Fetched) => return Some(COUNTED_BEFORE),
            _ if told => self.keep(key, Seen::Made),
            None => self.keep(key, Seen::Owed),
            Some(Seen::Owed | Seen::Made) => (),
        }
        None
    }

    /// A call that fetches an answer ended.
    fn fetch(
        &mut self,
        key: u64,
        seen: Option<Seen>,
        told: bool,
        background: bool,
    ) -> Option<&'static str> {
        match seen {
            Some(Seen::Made | Seen::Fetched) => Some(COUNTED_BEFORE),
            None if !background => Some(ELSEWHERE),
            None | Some(Seen::Owed) => {
                if told {
                    self.keep(key, Seen::Fetched);
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use super::*;
    use crate::observe::gaps::Gaps;
    use crate::observe::observation::*;
    use crate::tape::{Ids, Upstream};

    fn call(operation: Operation, id: &str, told: bool) -> Observation {
        let upstream = Upstream {
            name: "openai".into(),
            provider: "openai".into(),
            dialect: "openai".into(),
            address: "api.openai.com".into(),
            port: Some(443),
        };
        let usage = Usage { input: Some(3), ..Usage::default() };
        Observation {
            part: Part::Exchange,
            ids: Ids {
                trace: [1; 16],
                parent: None,
                server_span: [2; 8],
                client_span: [3; 8],
                flags: 1,
            },
            started: SystemTime::UNIX_EPOCH,
            client: None,
            upstream: Some(Arc::new(upstream)),
            http: HttpFacts::default(),
            operation: Some(operation),
            request: RequestFacts { stored: true, ..RequestFacts::default() },
            response: ResponseFacts { id: Some(id.to_owned()), ..ResponseFacts::default() },
            times: Times::default(),
            gaps: Gaps::default(),
            stalls: 0,
            ending: Ending::Complete,
            error_type: None,
            error_side: None,
            limit_hit: None,
            usage: if told { Known::Value(usage) } else { Known::Unknown("pending") },
            estimate: None,
            cost: Known::Unknown("not_priced"),
            stream_usage: None,
            notes: Vec::new(),
        }
    }

    /// What is left of the usage of each call in turn.
    fn settled(once: &Once, calls: impl IntoIterator<Item = Observation>) -> Vec<&'static str> {
        let settle = |mut call: Observation| {
            once.settle(&mut call);
            match call.usage {
                Known::Value(_) => "counts",
                Known::Unknown(reason) => reason,
            }
        };
        calls.into_iter().map(settle).collect()
    }

    fn made(id: &str) -> Observation {
        call(Operation::Chat, id, true)
    }

    fn asked(id: &str) -> Observation {
        call(Operation::Chat, id, false)
    }

    fn fetched(id: &str) -> Observation {
        call(Operation::FetchResponse, id, true)
    }

    fn polled(id: &str) -> Observation {
        call(Operation::FetchResponse, id, false)
    }

    fn in_background(mut call: Observation) -> Observation {
        call.response.background = true;
        call
    }

    #[test]
    fn what_was_counted_when_it_was_made_is_not_counted_when_it_is_fetched() {
        let calls = [made("a"), fetched("a"), in_background(fetched("a")), made("b")];
        let found = settled(&Once::default(), calls);
        assert_eq!(found, ["counts", "counted_before", "counted_before", "counts"]);
    }

    #[test]
    fn what_is_made_in_the_background_counts_when_it_is_first_fetched_whole() {
        let calls = [asked("a"), polled("a"), fetched("a"), fetched("a"), polled("a")];
        let found = settled(&Once::default(), calls.map(in_background));
        assert_eq!(found, ["pending", "pending", "counts", "counted_before", "pending"]);
        let unseen = [fetched("b"), fetched("b")].map(in_background);
        assert_eq!(settled(&Once::default(), unseen), ["counts", "counted_before"]);
    }

    #[test]
    fn what_is_fetched_while_its_stream_is_open_counts_once() {
        let calls = [polled("a"), fetched("a"), made("a"), fetched("a")].map(in_background);
        let found = settled(&Once::default(), calls);
        assert_eq!(found, ["pending", "counts", "counted_before", "counted_before"]);
    }

    #[test]
    fn what_was_made_elsewhere_counted_there() {
        let once = Once::default();
        assert_eq!(settled(&once, [fetched("a"), fetched("a")]), ["not_made_here"; 2]);
        let mut nameless = fetched("a");
        nameless.response.id = None;
        assert_eq!(settled(&once, [nameless]), ["not_made_here"]);
        let found = settled(&once, [asked("b"), fetched("b"), fetched("b")]);
        assert_eq!(found, ["pending", "counts", "counted_before"], "its stream broke off here");
    }

    #[test]
    fn two_calls_make_two_answers_whatever_their_ids() {
        let once = Once::default();
        assert_eq!(settled(&once, [made("a"), made("a"), asked("a")])[..2], ["counts"; 2]);
        let mut other = fetched("a");
        Arc::make_mut(other.upstream.as_mut().unwrap()).name = "other".into();
        assert_eq!(settled(&once, [in_background(other)]), ["counts"], "another upstream's id");
        let mut unstored = made("c");
        unstored.request.stored = false;
        let found = settled(&once, [unstored, in_background(fetched("c"))]);
        assert_eq!(found, ["counts", "counts"], "what nobody can fetch is not remembered");
    }

    #[test]
    fn what_two_connections_hear_of_one_call_counts_once() {
        let heard = |mut call: Observation| {
            call.operation = Some(Operation::Realtime);
            (call.request.stored, call.request.joined) = (false, true);
            call
        };
        let calls = [asked("a"), made("a"), made("a"), made("b")].map(heard);
        let found = settled(&Once::default(), calls);
        assert_eq!(found, ["pending", "counts", "counted_before", "counts"]);
    }

    #[test]
    fn only_so_many_answers_are_remembered_and_the_latest_longest() {
        let once = Once::new(4);
        for number in 0..100 {
            let found = settled(&once, [made(&number.to_string()), fetched("0")]);
            assert_eq!(found, ["counts", "counted_before"], "{number}");
            let memory = once.0.lock().unwrap();
            assert!(memory.young.len() <= 4 && memory.old.len() <= 4);
        }
        let found = settled(&once, ["99", "96", "50"].map(fetched));
        assert_eq!(found, ["counted_before", "counted_before", "not_made_here"]);
    }

    #[test]
    fn what_was_estimated_counts_once_too() {
        let usage = Usage { input: Some(3), ..Usage::default() };
        let guessed = |mut call: Observation| {
            let (tokenizer, own, sampled, stands_in) = ("o200k_base", true, false, false);
            call.estimate = Some(Estimate { usage, tokenizer, own, sampled, stands_in });
            call
        };
        let once = Once::default();
        let mut first = guessed(asked("a"));
        once.settle(&mut first);
        assert!(first.estimate.is_some());
        assert_eq!(settled(&once, [fetched("a")]), ["counted_before"]);
        let mut again = guessed(polled("a"));
        once.settle(&mut again);
        assert_eq!(
            (again.estimate.is_none(), again.usage),
            (true, Known::Unknown("counted_before"))
        );
    }
}
