//! A connection that became a WebSocket: its messages read, and of each call within it an observation.
//! Knows no format: a dialect's dialogue says which message belongs to which call.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Settings;
use super::decode::websocket::{Extensions, Limits, Message, Messages, NO_CODE};
use super::dialect::Dialogue;
use super::estimate::Grounds;
use super::notes::Notes;
use super::observation::{Estimate, HttpFacts, Known, Note, Observation, Part};
use super::shapes::lenient::Unread;
use super::shapes::mend;
use super::turns::{Ended, Turn, Turns};
use super::verdict::{Evidence, Reading, Verdict};
use crate::tape::{Cause, Direction, Ids, Upstream};

/// Close codes that name an error (RFC 6455 7.4.1, and the registry it began).
const ERRORS: std::ops::RangeInclusive<u16> = 1002..=1015;

/// Both directions of a session, and its calls.
#[derive(Debug)]
pub struct Session {
    dialogue: Box<dyn Dialogue>,
    client: Messages,
    server: Messages,
    turns: Turns,
    closed: Option<(Direction, u16)>,
}

/// What the calls of a session have in common.
#[derive(Debug)]
pub struct Common<'a> {
    /// Ids of the session's own spans.
    pub ids: &'a Ids,
    /// The wall clock at the session's zero.
    pub started: SystemTime,
    /// The client's address.
    pub client: Option<SocketAddr>,
    /// Where the session was sent.
    pub upstream: Option<&'a Arc<Upstream>>,
    /// What HTTP says of the request that began it.
    pub http: &'a HttpFacts,
    /// The conversation, as that request's head names it.
    pub conversation: Option<&'a str>,
    /// Others may hear the same answers.
    pub joined: bool,
    /// What is kept of it, and how.
    pub settings: &'a Settings,
}

impl Session {
    /// A session in which this is said, with what both sides agreed on.
    pub fn new(dialogue: Box<dyn Dialogue>, agreed: Extensions, settings: &Settings) -> Self {
        let limits = Limits { message: settings.event_bytes, inflated: settings.inflation() };
        let (client, server) = match agreed {
            Extensions::Deflate { client, server } => (Some(client), Some(server)),
            Extensions::Plain | Extensions::Unknown => (None, None),
        };
        let mut session = Self {
            dialogue,
            client: Messages::new(client, limits),
            server: Messages::new(server, limits),
            turns: Turns::new(settings),
            closed: None,
        };
        if agreed == Extensions::Unknown {
            session.client.refuse();
            session.server.refuse();
        }
        session
    }

    /// Bytes of one direction came.
    pub fn see(&mut self, direction: Direction, bytes: &[u8], at: Duration, notes: &mut Notes) {
        // What is asked when no answer can be read any more has neither end nor usage.
        if self.server.fault().is_some() {
            return notes.fault(self.server.fault());
        }
        let Self { dialogue, client, server, turns, closed } = self;
        turns.at(at);
        let is_answer = direction == Direction::Response;
        let messages = if is_answer { &mut *server } else { client };
        messages.at(at);
        messages.push(bytes, &mut |message| match message {
            Message::Data(data) => {
                let before = turns.steps();
                let (read, _) = mend::reading(data, |data| match direction {
                    // What did something counts once, however much of it could be read.
                    _ if turns.steps() > before => Err(Unread::Bad),
                    Direction::Request => dialogue.asked(data, turns),
                    Direction::Response => dialogue.answered(data, turns),
                });
                if read.is_err() {
                    notes.add(Note::EventUnreadable);
                }
            }
            Message::TooLong => {
                notes.add(Note::EventTooLong);
                if is_answer {
                    turns.lose(Reading::Unread);
                }
            }
            Message::Close(code) => _ = closed.get_or_insert((direction, code)),
        });
        notes.fault(messages.fault());
        if turns.forgot() {
            notes.add(Note::TurnsForgotten);
        }
        if server.fault().is_some() {
            turns.lose(Reading::Unread);
            turns.leave_all();
        }
    }

    /// Bytes of one direction are missing: it is not read any more.
    pub fn tear(&mut self, direction: Direction) {
        match direction {
            Direction::Request => self.client.tear(),
            Direction::Response => {
                self.server.tear();
                self.turns.lose(Reading::Torn);
                self.turns.leave_all();
            }
        }
    }

    /// There is no room for what it holds: lets go of the texts of its calls, and says how many bytes
    /// messages that have not come to their end take: the client's, the server's.
    pub fn let_go(&mut self) -> (usize, usize) {
        self.turns.let_go();
        (self.client.held(), self.server.held())
    }

    /// The connection is over, for this reason. Who said first that nothing more will be said left the
    /// other's words unheard.
    pub fn close(&mut self, cause: Cause, at: Duration) {
        match self.closed {
            Some((Direction::Request, _)) => self.turns.close(Cause::ClientGone, at, None),
            Some((Direction::Response, code)) if ERRORS.contains(&code) && code != NO_CODE => {
                self.turns.close(Cause::Complete, at, Some(&format!("close_{code}")));
            }
            _ => self.turns.close(cause, at, None),
        }
    }

    /// Observations of the calls that ended since this was last asked.
    pub fn ended(&mut self, of: &Common<'_>) -> Vec<Observation> {
        self.turns.ended().into_iter().map(|ended| of.observe(ended)).collect()
    }

    /// What the session itself is.
    pub fn part(&self) -> Part {
        let close_code = self.closed.map(|(_, code)| code);
        Part::Session { turns: self.turns.count(), close_code }
    }

    /// Bytes of its buffers, about.
    pub fn held(&self) -> usize {
        self.client.held() + self.server.held() + self.turns.held()
    }
}

impl Common<'_> {
    /// Judges a call that ended.
    fn observe(&self, ended: Ended) -> Observation {
        let Ended { mut turn, cause, at } = ended;
        turn.marks.end(at, None);
        let verdict = Verdict::of(&self.evidence(&turn, cause));
        let estimate = if verdict.is_never_told { self.estimate(&turn) } else { None };
        turn.response.raw_usage = turn.kept.raw_usage();
        if turn.reading() == Reading::Torn {
            turn.notes.add(Note::ResponseTorn);
        }
        turn.request.joined = self.joined;
        self.settings.keep(&mut turn.request, self.conversation.map(str::to_owned));
        // Where the call itself was answered with a status, that came when it ended.
        turn.marks.times.head = turn.status.map(|_| at);
        let http = HttpFacts {
            status: turn.status,
            retry_after: turn.response.retry_after,
            rate_limits: turn.rate_limits,
            request_bytes: 0,
            response_bytes: 0,
            ..self.http.clone()
        };
        Observation {
            part: Part::Turn { number: turn.number, session: turn.context.map(|_| self.ids.trace) },
            ids: self.ids(turn.number, turn.context),
            started: self.started + turn.began,
            client: self.client,
            upstream: self.upstream.cloned(),
            http,
            operation: Some(turn.operation),
            request: turn.request,
            stream_usage: None,
            response: turn.response,
            times: turn.marks.times,
            gaps: turn.marks.gaps,
            stalls: turn.marks.stalls,
            ending: verdict.ending,
            error_type: verdict.error_type,
            error_side: verdict.error_side,
            limit_hit: verdict.limit_hit,
            usage: verdict.usage,
            estimate,
            cost: Known::Unknown("not_priced"),
            notes: turn.notes.into_vec(),
        }
    }

    fn evidence<'t>(&self, turn: &'t Turn, cause: Cause) -> Evidence<'t> {
        Evidence {
            cause,
            status: turn.status.or(self.http.status),
            from_upstream: true,
            error: turn.response.error.as_deref(),
            error_is_requests: turn.response.error_is_requests,
            is_call: true,
            streamed: true,
            generated: turn.response.chunks > 0,
            reading: match turn.reading() {
                // Its end may be what could not be read.
                Reading::Short if turn.notes.has(Note::EventUnreadable) => Reading::Unreadable,
                reading => reading,
            },
            asked: true,
            pending: turn.response.pending,
            background: turn.response.background,
            usage: turn.response.usage,
        }
    }

    /// What the texts of a call come to.
    fn estimate(&self, turn: &Turn) -> Option<Estimate> {
        turn.kept.texts.as_ref()?.estimate(Grounds {
            operation: turn.operation,
            request: &turn.request,
            response: &turn.response,
            answer_is_read: turn.is_read(),
            stands_in: self.settings.estimates_stand_in,
        })
    }

    /// A turn's ids: the same whenever its tape is read again.
    fn ids(&self, number: u64, context: Option<([u8; 16], [u8; 8], u8)>) -> Ids {
        let drawn = u64::from_be_bytes(self.ids.client_span);
        let client_span = mixed(drawn ^ mixed(number)).max(1).to_be_bytes();
        match context {
            Some((trace, parent, flags)) => {
                Ids { trace, parent: Some(parent), flags, client_span, ..*self.ids }
            }
            None => Ids { client_span, ..*self.ids },
        }
    }
}

/// Sebastiano Vigna's splitmix64: another number for each number, without a pattern.
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}
