//! A tape that an input writes, through observing, pricing and reporting: whatever comes in whatever
//! order, torn or not, nothing panics, buffers stay small, and cutting bytes otherwise tells the same.
//!
//! An input is records that end with the byte 1e. Each begins with what it is and how long after the
//! one before it comes (`0` at once, `1` to `9` ten to the power of so many microseconds, anything
//! else an age):
//!
//! ```text
//! u0DIALECT PROVIDER   who answers; where the target does not say the dialect
//! hNHEAD               the request's head, of whose path N bytes only address the upstream
//! >TBYTES  <TBYTES     of the request's body, of the response's
//! (T       )T          a gap in the request's body, in the response's
//! =THEAD               a response's head
//! .TN                  milestone N (`:` is the eleventh)
//! !TN                  the end: cause N
//! ?TN                  torn: 1 the request, 2 the response, 3 both
//! ```

use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use super::input::Input;
use crate::observe::Settings;
use crate::observe::observation::{CostBasis, Ending, Known, Note, Observation, Part};
use crate::observe::observer::Observer;
use crate::observe::price::Prices;
use crate::report;
use crate::tape::{Cause, Direction, End, Entry, Ids, Milestone, Start, Upstream, Vitals};

/// Ends a record: ASCII's record separator, which stands in no JSON.
const END: u8 = 0x1e;
/// Small, so that inputs reach them.
const SETTINGS: Settings = Settings {
    event_bytes: 2 << 10,
    decoded_bytes: 8 << 10,
    decoded_ratio: 2,
    estimate_bytes: 1 << 10,
    estimates_stand_in: true,
    raw_usage: true,
    stall: Duration::from_secs(1),
    stop_sequences: true,
    client_ids: true,
};
/// What an observer's buffers may hold: two bodies, each in a buffer that doubles.
const PLAIN: usize = 40 << 10;
/// The same of a session: two messages, two inflaters, and as many calls as there are records.
const TALKING: usize = PLAIN + 2 * (44 << 10) + RECORDS * (4 << 10);
/// The same with stacked encodings, of which zstd's window is the largest.
const ENCODED: usize = PLAIN + 2 * 4 * (10 << 20);
/// The longest that an observation may become, written out: no text from outside is kept whole.
const OBSERVATION: usize = 64 << 10;
/// Records that are read.
const RECORDS: usize = 256;

static PRICES: LazyLock<Prices> = LazyLock::new(Prices::embedded);

const CAUSES: [Cause; 6] = [
    Cause::Complete,
    Cause::ClientGone,
    Cause::ClientStalled,
    Cause::UpstreamTimeout("silent"),
    Cause::UpstreamReset("reset"),
    Cause::Refused("shutdown"),
];

const MILESTONES: [Milestone; 14] = [
    Milestone::Lease,
    Milestone::Tcp,
    Milestone::Tls,
    Milestone::Connected,
    Milestone::Sent,
    Milestone::SentAll,
    Milestone::RequestEnd,
    Milestone::HoldBegan,
    Milestone::HoldEnded,
    Milestone::Asked,
    Milestone::AskRefused,
    Milestone::AskPaused,
    Milestone::AskGivenUp,
    Milestone::AskLeft,
];

/// What an input writes.
struct Script<'a> {
    upstream: Upstream,
    head: &'a [u8],
    mount: usize,
    entries: Vec<(Duration, Entry<'a>)>,
    torn: u8,
    end: End,
}

/// A tape of an upstream that the input names.
pub(super) fn fuzz(input: &[u8]) {
    check(&Script::read(None, input));
}

/// A tape of an upstream that speaks `dialect`.
pub(super) fn spoken(dialect: &str, input: &[u8]) {
    check(&Script::read(Some(dialect), input));
}

impl<'a> Script<'a> {
    fn read(dialect: Option<&str>, input: &'a [u8]) -> Self {
        let mut script = Self {
            upstream: upstream(dialect.unwrap_or("openai"), dialect.unwrap_or("openai")),
            head: b"POST /v1/chat/completions 1.1\n",
            mount: 0,
            entries: Vec::new(),
            torn: 0,
            end: End { at: Duration::ZERO, cause: Cause::Complete },
        };
        let mut rest = Input(input);
        for _ in 0..RECORDS {
            let mut record = Input(rest.until(END));
            let (kind, step) = (record.byte(), record.byte());
            script.end.at = script.end.at.saturating_add(pause(step));
            script.add(kind, step, record.0, dialect);
        }
        script
    }

    fn add(&mut self, kind: u8, step: u8, bytes: &'a [u8], dialect: Option<&str>) {
        let digit = bytes.first().map_or(0, |byte| usize::from(byte.wrapping_sub(b'0')));
        let entry = match kind {
            b'>' => Entry::Body(Direction::Request, bytes),
            b'<' => Entry::Body(Direction::Response, bytes),
            b'(' => Entry::Gap(Direction::Request, 1),
            b')' => Entry::Gap(Direction::Response, 1),
            b'=' => Entry::Head(bytes),
            b'.' => Entry::At(MILESTONES[digit % MILESTONES.len()]),
            b'!' => return self.end.cause = CAUSES[digit % CAUSES.len()],
            b'?' => return self.torn = digit as u8,
            b'h' => {
                self.head = bytes;
                return self.mount = usize::from(step.wrapping_sub(b'0'));
            }
            b'u' => {
                let text = String::from_utf8_lossy(bytes);
                let (spoken, provider) = text.split_once(' ').unwrap_or((&text, &text));
                return self.upstream = upstream(dialect.unwrap_or(spoken), provider);
            }
            _ => return,
        };
        self.entries.push((self.end.at, entry));
    }

    /// The same with other entries.
    fn with(&self, entries: Vec<(Duration, Entry<'a>)>) -> Self {
        Self { entries, upstream: self.upstream.clone(), ..*self }
    }

    /// What the cold path begins with. Its clock is one that pricing knows.
    fn start(&self) -> Start {
        let ids = Ids {
            trace: [1; 16],
            parent: None,
            server_span: [2; 8],
            client_span: [3; 8],
            flags: 1,
        };
        Start {
            ids,
            upstream: Some(Arc::new(self.upstream.clone())),
            started: SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_262_400),
            client: None,
            scheme: "http",
            mount: self.mount,
            head: self.head.to_vec(),
        }
    }

    /// What the hot path counts beside the tape.
    fn vitals(&self) -> Vitals {
        let vitals = Vitals::ended(self.end);
        for (at, entry) in &self.entries {
            let (counted, length) = match entry {
                Entry::Body(Direction::Request, bytes) => (&vitals.request_bytes, bytes.len()),
                Entry::Body(Direction::Response, bytes) => {
                    vitals.last_chunk_micros.store(at.as_micros() as u64, Relaxed);
                    (&vitals.response_bytes, bytes.len())
                }
                _ => continue,
            };
            counted.fetch_add(length as u64, Relaxed);
        }
        vitals.request_torn.store(self.torn & 1 != 0, Relaxed);
        vitals.response_torn.store(self.torn & 2 != 0, Relaxed);
        vitals
    }

    /// What is observed when bodies come in chunks of at most `size` bytes: the exchange, and each call
    /// within it.
    fn observed(&self, size: usize) -> Observed {
        let limit = match self {
            _ if self.is_encoded() => ENCODED,
            _ if self.says(b"websocket") => TALKING,
            _ => PLAIN,
        };
        let mut turns = Vec::new();
        let mut observer = Observer::new(self.start(), Arc::new(SETTINGS));
        for &(at, entry) in &self.entries {
            if let Entry::Body(direction, bytes) = entry {
                for chunk in bytes.chunks(size) {
                    observer.see(at, Entry::Body(direction, chunk));
                    assert!(observer.held() <= limit, "{} bytes held", observer.held());
                }
            } else {
                observer.see(at, entry);
            }
            turns.extend(observer.turns());
        }
        let vitals = self.vitals();
        observer.close(&vitals);
        turns.extend(observer.turns());
        let mut exchange = observer.finish(&vitals);
        for it in turns.iter_mut().chain([&mut exchange]) {
            it.cost = PRICES.cost(it);
        }
        Observed { exchange, turns }
    }

    fn is_encoded(&self) -> bool {
        self.says(b"content-encoding")
    }

    /// Whether a head has this word.
    fn says(&self, word: &[u8]) -> bool {
        let heads = self.entries.iter().filter_map(|(_, entry)| match entry {
            Entry::Head(head) => Some(*head),
            _ => None,
        });
        heads
            .chain([self.head])
            .any(|head| head.to_ascii_lowercase().windows(word.len()).any(|it| it == word))
    }
}

/// What a tape tells.
#[derive(Debug)]
struct Observed {
    exchange: Observation,
    turns: Vec<Observation>,
}

fn upstream(dialect: &str, provider: &str) -> Upstream {
    Upstream {
        name: "up".to_owned(),
        provider: provider.to_owned(),
        dialect: dialect.to_owned(),
        address: "gateway.example.com".to_owned(),
        port: Some(443),
    }
}

fn pause(step: u8) -> Duration {
    match step {
        b'0' => Duration::ZERO,
        b'1'..=b'9' => Duration::from_micros(10_u64.pow(u32::from(step - b'0'))),
        _ => Duration::from_secs(100 * 365 * 86_400),
    }
}

fn check(script: &Script<'_>) {
    let whole = script.observed(usize::MAX);
    let told = format!("{whole:?}");
    let all = whole.turns.iter().chain([&whole.exchange]);
    let longest = all.clone().map(|it| format!("{it:?}").len()).max().unwrap_or_default();
    assert!(longest <= OBSERVATION, "an observation of {longest} bytes");
    // Of what is no call of a model, nothing is noted.
    let is_broken = |of: &Observation| {
        let unnoted = of.operation.is_none() && script.is_encoded();
        unnoted || of.notes.contains(&Note::EncodingBroken)
    };
    for size in [1, 7] {
        let cut = script.observed(size);
        // How far a decoder gets before it sees that bytes are broken depends on how they come.
        let broken = is_broken(&cut.exchange) || is_broken(&whole.exchange);
        let same = format!("{cut:?}") == told || broken;
        assert!(same, "in chunks of {size}: {cut:?}\ninstead of {told}");
    }
    judge(&whole.exchange, script.end.cause);
    whole.turns.iter().for_each(|turn| judge(turn, Cause::Complete));
    check_turns(&whole);
    check_tear(script, &whole.exchange);
    all.for_each(report::fuzz::write);
}

/// Each call is told once, under an id of its own, and none that the session does not count.
fn check_turns(of: &Observed) {
    let numbers: BTreeSet<_> = of.turns.iter().map(|it| format!("{:?}", it.part)).collect();
    let ids: BTreeSet<_> = of.turns.iter().map(|it| it.ids.client_span).collect();
    assert!(numbers.len() == of.turns.len() && ids.len() == of.turns.len(), "a call twice");
    let counted = match of.exchange.part {
        Part::Session { turns, .. } => turns,
        Part::Exchange | Part::Turn { .. } => 0,
    };
    assert_eq!(counted, of.turns.len() as u64, "calls that nobody tells");
}

/// Across a gap nothing is put together: what had begun before it is forgotten, and no time behind it
/// is told.
fn check_tear(script: &Script<'_>, torn: &Observation) {
    let is_gap = |entry: &Entry<'_>| matches!(entry, Entry::Gap(Direction::Response, _));
    let entries = &script.entries;
    let Some(gap) = entries.iter().position(|(_, entry)| is_gap(entry)) else { return };
    let before = script.with(entries[..gap].to_vec()).observed(usize::MAX).exchange;
    assert!(torn.gaps.count() <= before.gaps.count(), "a time between chunks across a gap");
    // Bytes of which nobody can tell yet what they are, as those before a head, may be anything.
    let last = entries[..gap].iter().rev().find_map(|(_, entry)| match entry {
        Entry::Body(Direction::Response, bytes) => Some(bytes.starts_with(b"data: ")),
        Entry::Head(_) => Some(false),
        _ => None,
    });
    let is_begun = last == Some(true);
    // Of sound each piece is a chunk, whatever it says.
    let is_sound = torn.response.chunks > torn.response.events;
    if script.is_encoded() || is_sound || !is_begun {
        return;
    }
    let mut more = entries.clone();
    more.insert(gap, (entries[gap - 1].0, Entry::Body(Direction::Response, b"[\"no")));
    let more = script.with(more).observed(usize::MAX).exchange;
    let facts = |of: &Observation| format!("{:?} {:?} {:?}", of.response, of.usage, of.ending);
    assert_eq!(facts(&more), facts(torn), "put together across a gap");
}

/// What holds for each observation.
fn judge(of: &Observation, cause: Cause) {
    let mut notes = of.notes.clone();
    notes.dedup();
    assert_eq!(notes, of.notes, "a note twice");
    let may_be_whole = matches!(cause, Cause::Complete | Cause::ClientGone);
    assert!(of.ending != Ending::Complete || may_be_whole, "made-up completeness");
    assert!(of.gaps.count() < of.response.chunks.max(1), "more gaps than between chunks");
    assert!(u64::from(of.stalls) <= of.gaps.count(), "more stalls than gaps");
    let times = &of.times;
    let firsts = [times.first_text, times.first_reasoning, times.first_tool_call];
    assert!(firsts.iter().flatten().all(|first| Some(*first) >= times.first_chunk), "a first");
    assert!(times.first_chunk <= times.last_chunk, "the last chunk before the first");
    let spoken = of.usage.value().and_then(|usage| usage.units.characters);
    let reported = of.usage.value().is_none() || of.response.usage.is_some();
    assert!(reported || spoken.is_some(), "usage nobody reported");
    assert!(of.usage.value().is_none() || of.estimate.is_none(), "estimated what is reported");
    let Known::Value(cost) = &of.cost else { return };
    let sum = cost.parts.iter().map(|part| part.amount.0).sum::<u64>();
    assert!(cost.basis == CostBasis::Reported || sum == cost.total.0, "parts are not the sum");
    if cost.basis == CostBasis::Estimated {
        return assert!(of.estimate.is_some(), "estimated by nothing");
    }
    assert_eq!(cost.basis == CostBasis::LowerBound, !cost.unpriced.is_empty(), "the basis");
}
