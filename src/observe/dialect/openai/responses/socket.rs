//! Responses on a WebSocket: each `response.create` is a call, answered by the events that a stream has.
//! Knows which message belongs to which call, and leaves reading it to the request's and the answer's own
//! readers.
//!
//! Source: `responses_client_event` and `response_steer_*_event` of the provider's SDK for Python 3.52;
//! errors in a response's stead and `client_metadata` as Codex 0.169 reads and writes them.

use super::super::super::{Context, Dialogue};
use super::{answer, request};
use crate::observe::observation::{Operation, RequestFacts};
use crate::observe::shapes::lenient::{Count, Flag, Text, Unread, fields, read};
use crate::observe::shapes::mend;
use crate::observe::turns::Turns;
use crate::tape::trace_context;

/// The longest name of a lane, of which the provider sets none.
const LANE: usize = 128;

/// What is open on one socket. In a lane, calls are answered one after the other.
#[derive(Debug, Default)]
pub(in super::super) struct Socket {
    open: Vec<Waiting>,
    // What a response that follows from another by itself inherits.
    last: RequestFacts,
}

/// A call that is not over.
#[derive(Debug)]
struct Waiting {
    lane: String,
    number: u64,
    // Its response, once that was made.
    id: Option<String>,
}

fields! {
    struct Asked<'de> {
        kind: Text<'de> = "type",
        lane: Text<'de> = "stream_id",
        generate: Flag = "generate",
        cache: Cache = "prompt_cache_options",
        metadata: Metadata<'de> = "client_metadata",
    }
}

fields! {
    struct Cache {
        prewarm: Flag = "prewarm",
    }
}

fields! {
    struct Metadata<'de> {
        traceparent: Text<'de> = "ws_request_header_traceparent",
    }
}

fields! {
    struct Answered<'de> {
        kind: Text<'de> = "type",
        lane: Text<'de> = "stream_id",
        response: Named<'de> = "response",
        status: Count = "status",
    }
}

fields! {
    struct Named<'de> {
        id: Text<'de> = "id",
    }
}

impl Dialogue for Socket {
    fn asked(&mut self, message: &[u8], turns: &mut Turns) -> Result<(), Unread> {
        let mut asked = Asked::default();
        read(message, &mut asked)?;
        if asked.kind.as_str() != "response.create" {
            return Ok(());
        }
        let mut facts = RequestFacts::default();
        // Mended before the call begins, which it does once.
        let (result, message) = mend::reading(message, |message| {
            facts = RequestFacts::default();
            request::read_stored(message, &mut facts)
        });
        facts.warm_up = asked.generate.0 == Some(false) || asked.cache.prewarm.0 == Some(true);
        self.begin(asked.lane.bounded(LANE).unwrap_or_default(), facts, turns);
        let context = trace_context::parse(asked.metadata.traceparent.as_str().as_bytes());
        let newest = self.open.last().and_then(|it| turns.get(it.number));
        if let Some(turn) = newest {
            turn.context = context;
            turn.kept.ask(&message, result.is_ok());
        }
        result
    }

    fn answered(&mut self, message: &[u8], turns: &mut Turns) -> Result<(), Unread> {
        self.answer(None, message, turns)
    }
}

impl Socket {
    /// Reads an event of `lane`, or of the one that it names itself.
    pub(in super::super) fn answer(
        &mut self,
        lane: Option<&str>,
        message: &[u8],
        turns: &mut Turns,
    ) -> Result<(), Unread> {
        let mut answered = Answered::default();
        read(message, &mut answered)?;
        let named = answered.lane.bounded(LANE).unwrap_or_default();
        let lane = lane.unwrap_or(&named);
        match answered.kind.as_str() {
            "response.created" => self.created(lane, &answered.response.id, turns),
            "error" => return self.failed(lane, answered.status, message, turns),
            kind if !kind.starts_with("response.") || kind.starts_with("response.steer.") => {
                return Ok(());
            }
            _ => (),
        }
        let Some(place) = self.first(lane) else { return Ok(()) };
        let number = self.number(place);
        let result = turns.read(number, message);
        let ends = ["response.completed", "response.incomplete", "response.failed"];
        if ends.contains(&answered.kind.as_str()) {
            self.open.remove(place);
            turns.end(number);
        }
        result
    }

    fn begin(&mut self, lane: String, facts: RequestFacts, turns: &mut Turns) {
        let operation = Operation::Chat;
        let context = Context { status: 200, operation: Some(operation), choices: None };
        let turn = turns.begin(operation, answer::begin(context), turns.now());
        self.last = RequestFacts { warm_up: false, messages: None, ..facts.clone() };
        turn.request = facts;
        let number = turn.number;
        self.open.retain(|it| turns.get(it.number).is_some());
        self.open.push(Waiting { lane, number, id: None });
    }

    /// The first open call of a lane.
    fn first(&self, lane: &str) -> Option<usize> {
        self.open.iter().position(|it| it.lane == lane)
    }

    fn number(&self, place: usize) -> u64 {
        self.open.get(place).map_or(0, |it| it.number)
    }

    /// A response begins: that of the lane's first call that has none. Nobody may have asked for it,
    /// where the one before it was steered; what is known of that, holds for it too.
    fn created(&mut self, lane: &str, id: &Text<'_>, turns: &mut Turns) {
        let id = id.bounded(LANE);
        while let Some(place) = self.first(lane) {
            let Some(first) = self.open.get_mut(place) else { return };
            if first.id.is_none() || first.id == id {
                first.id = id;
                return;
            }
            // Its end was not seen.
            turns.leave(first.number);
            self.open.remove(place);
        }
        self.begin(lane.to_owned(), self.last.clone(), turns);
        self.open.last_mut().into_iter().for_each(|it| it.id.clone_from(&id));
    }

    /// An error with a status stands in a response's stead. One without is told within a response,
    /// which may fail in words of its own after it.
    fn failed(
        &mut self,
        lane: &str,
        status: Count,
        message: &[u8],
        turns: &mut Turns,
    ) -> Result<(), Unread> {
        let mut of_lane = self.open.iter().enumerate().filter(|(_, it)| it.lane == lane);
        let first = of_lane.clone().next();
        let refused = of_lane.find(|(_, it)| it.id.is_none());
        let chosen = if status.0.is_some() { refused.or(first) } else { first };
        let Some((place, waiting)) = chosen else { return Ok(()) };
        let (number, is_over) = (waiting.number, waiting.id.is_none() || status.0.is_some());
        let result = turns.read(number, message);
        if is_over {
            let status = status.0.and_then(|it| u16::try_from(it).ok()).filter(|it| *it >= 400);
            turns.get(number).into_iter().for_each(|turn| turn.status = status);
            self.open.remove(place);
            turns.end(number);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::observe::Settings;
    use crate::observe::turns::Ended;
    use crate::tape::Cause;

    /// `>` is said by the client, `<` by the upstream, a millisecond after the one before.
    fn talk(messages: &[&str]) -> Vec<Ended> {
        let (mut socket, mut turns) = (Socket::default(), Turns::new(&Settings::default()));
        for (millis, message) in messages.iter().enumerate() {
            turns.at(Duration::from_millis(millis as u64));
            let (side, json) = message.split_at(1);
            match side {
                ">" => socket.asked(json.as_bytes(), &mut turns),
                _ => socket.answered(json.as_bytes(), &mut turns),
            }
            .unwrap();
        }
        turns.close(Cause::Complete, turns.now(), None);
        let mut ended = turns.ended();
        ended.sort_by_key(|it| it.turn.number);
        ended
    }

    /// Model, id, reason, input tokens, beginning and length in milliseconds.
    fn told(messages: &[&str]) -> Vec<String> {
        let one = |it: &Ended| {
            let facts = &it.turn.response;
            let text = |text: &Option<String>| text.clone().unwrap_or("-".to_owned());
            let reason = facts.finish_reasons.first().cloned().flatten().or(facts.error.clone());
            let input = facts.usage.and_then(|usage| usage.input).unwrap_or(0);
            let (began, took) = (it.turn.began.as_millis(), it.at.as_millis());
            let (model, id) = (text(&it.turn.request.model), text(&facts.id));
            format!("{model} {id} {} {input} {began}+{took}", text(&reason))
        };
        talk(messages).iter().map(one).collect()
    }

    const ASK: &str = r#">{"type":"response.create","model":"m","input":"hi"}"#;
    const MADE: &str =
        r#"<{"type":"response.created","response":{"id":"a","status":"in_progress"}}"#;
    const DONE: &str = r#"<{"type":"response.completed","response":{"id":"a","status":"completed","usage":{"input_tokens":3,"output_tokens":1}}}"#;

    #[test]
    fn each_create_is_a_call_in_the_order_of_its_lane() {
        let again = DONE.replace("\"a\"", "\"b\"").replace('3', "9");
        let made = MADE.replace("\"a\"", "\"b\"");
        let found = told(&[ASK, ASK, MADE, DONE, &made, &again]);
        assert_eq!(found, ["m a completed 3 0+3", "m b completed 9 1+4"]);
        let lane =
            |text: &str, lane: &str| text.replacen('{', &format!("{{\"stream_id\":\"{lane}\","), 1);
        let found = told(&[
            &lane(ASK, "one"),
            &lane(ASK, "two"),
            &lane(&made, "two"),
            &lane(MADE, "one"),
            &lane(&again, "two"),
            &lane(DONE, "one"),
        ]);
        assert_eq!(found, ["m a completed 3 0+5", "m b completed 9 1+3"]);
    }

    #[test]
    fn a_steered_response_has_a_successor_that_nobody_asked_for() {
        let steered = DONE
            .replace("completed", "incomplete")
            .replace("\"usage\"", r#""incomplete_details":{"reason":"steered"},"usage""#);
        let steer = r#">{"type":"response.steer","previous_response_id":"a","input":"no"}"#;
        let accepted = r#"<{"type":"response.steer.accepted","steer":{"id":"s"}}"#;
        let next = MADE.replace("\"a\"", "\"b\"");
        let found = told(&[ASK, MADE, steer, accepted, &steered, &next]);
        assert_eq!(found, ["m a steered 3 0+4", "m b - 0 5+0"]);
    }

    #[test]
    fn an_error_with_a_status_stands_in_a_responses_stead() {
        let refused = r#"<{"type":"error","status":429,"error":{"type":"usage_limit_reached","message":"m"}}"#;
        let found = talk(&[ASK, refused]);
        assert_eq!(found[0].turn.status, Some(429));
        assert_eq!(found[0].turn.response.error.as_deref(), Some("usage_limit_reached"));
        let found = told(&[ASK, MADE, ASK, refused, DONE]);
        assert_eq!(found, ["m a completed 3 0+4", "m - usage_limit_reached 0 2+1"]);
        assert_eq!(told(&[refused]), [""; 0], "it is about no call");
    }

    #[test]
    fn an_error_within_a_response_and_its_failure_are_one() {
        let error = r#"<{"type":"error","code":"server_error","message":"m"}"#;
        let failed = r#"<{"type":"response.failed","response":{"id":"a","status":"failed","error":{"code":"server_error"}}}"#;
        assert_eq!(told(&[ASK, MADE, error, failed]), ["m a failed 0 0+3"]);
        let next = MADE.replace("\"a\"", "\"b\"");
        let found = told(&[ASK, MADE, error, ASK, &next]);
        assert_eq!(found, ["m a server_error 0 0+2", "m b - 0 3+1"]);
    }

    #[test]
    fn a_warm_up_is_told_apart_and_a_call_may_name_its_trace() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let asked = format!(
            r#">{{"type":"response.create","model":"m","generate":false,"client_metadata":{{"ws_request_header_traceparent":"{parent}"}}}}"#
        );
        let found = talk(&[
            &asked,
            ASK,
            &ASK.replace("\"hi\"", r#""hi","prompt_cache_options":{"prewarm":true}"#),
        ]);
        let warm: Vec<_> = found.iter().map(|it| it.turn.request.warm_up).collect();
        assert_eq!(warm, [true, false, true]);
        let context = found[0].turn.context.unwrap();
        assert_eq!((context.0[0], context.1[0], context.2), (0x0a, 0xb7, 1));
        assert_eq!(found[1].turn.context, None);
    }
}
