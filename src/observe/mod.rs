//! The cold path's pure half: taped bytes in, one `Observation` out. No sockets, no clock, no files.

use std::time::Duration;

use self::decode::encoding::Inflation;
use self::observation::RequestFacts;

/// Bytes become frames.
pub mod decode;
/// What several dialects have in common.
pub mod shapes;
/// Frames become facts; one file per wire format.
pub mod dialect;
/// Taped entries become an observation.
pub mod observer;
/// The pieces of a response, each where it belongs.
pub mod reader;
/// A WebSocket: of each call within it an observation.
pub mod session;
/// The calls of a session.
pub mod turns;
/// Heads, as they stand on the tape.
pub mod head;
/// What gateways' headers say of an answer.
pub mod gateway;
/// What a response's headers say of the upstream's limits.
pub mod limits;
/// How long it is until a moment that a header names.
pub mod until;
/// When things happened.
pub mod marks;
/// How it ended, what went wrong, and what is known of the usage.
pub mod verdict;
/// Whether a reported usage can be right.
pub mod doubts;
/// Whose fault an error was, and which limit it met.
pub mod blame;
/// What could not be read, each said once.
pub mod notes;
/// What is kept of an answer beside the facts, until its end.
pub mod kept;
/// What a call used where nobody told, counted from its texts.
pub mod estimate;
/// Times between content chunks.
pub mod gaps;
/// The one plain struct.
pub mod observation;
/// Each answer is counted once, however often it is read.
pub mod once;
/// Usage × table → cost, or the reason why there is none.
pub mod price;

/// What observing is told: its bounds, each a key of `[limits]`, and what it may keep.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The longest event or line that is read (`event_bytes`, 8 MiB); a longer one is skipped, noted.
    pub event_bytes: usize,
    /// The most of a body that is read once its content encoding is off (`decoded_bytes`, 32 MiB).
    pub decoded_bytes: usize,
    /// The most that is read for each byte of a body with a content encoding, once a MiB came out
    /// (`decoded_ratio`, 200).
    pub decoded_ratio: usize,
    /// Of a prompt, and of an answer, so much text is kept and counted should nobody tell the usage
    /// (`estimate_bytes`, 8 KiB); of a longer one an even sample. 0: nothing is estimated.
    pub estimate_bytes: usize,
    /// Estimates stand in for what was not reported (`telemetry.estimates_as_usage`, false).
    pub estimates_stand_in: bool,
    /// Keep a usage object as it came (`telemetry.raw_usage`, false).
    pub raw_usage: bool,
    /// A gap between content chunks above this is a stall (`stall_seconds`, 10).
    pub stall: Duration,
    /// Keep the sequences at which a client has generation stop (`telemetry.stop_sequences`, false).
    pub stop_sequences: bool,
    /// Keep ids that clients make: of a conversation, and `Idempotency-Key` (`telemetry.client_ids`, true).
    pub client_ids: bool,
}

impl Settings {
    /// Leaves what a client wrote out of `request` where it is not to be kept. The conversation is the one
    /// that `named` is where the body names none.
    fn keep(&self, request: &mut RequestFacts, named: Option<String>) {
        let named = request.conversation.take().or(named);
        request.conversation = named.filter(|_| self.client_ids);
        if !self.stop_sequences {
            request.stop_sequences.clear();
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            event_bytes: 8 << 20,
            decoded_bytes: 32 << 20,
            decoded_ratio: 200,
            estimate_bytes: 8 << 10,
            estimates_stand_in: false,
            raw_usage: false,
            stall: Duration::from_secs(10),
            stop_sequences: false,
            client_ids: true,
        }
    }
}

impl Settings {
    /// What may come out of what is compressed.
    fn inflation(&self) -> Inflation {
        Inflation { most: self.decoded_bytes, ratio: self.decoded_ratio }
    }
}
