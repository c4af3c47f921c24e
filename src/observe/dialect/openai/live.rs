//! OpenAI's live sessions: one call for as long as the connection stands, billed by the second, and beside
//! it the calls of the model that it delegates to. Knows no other part of the API but Responses, whose
//! events those are.
//!
//! Source: `types/live` of the provider's SDK for Python 3.52.

use std::time::Duration;

use super::super::{Answer, Content, Dialogue, ID, MODEL, WORD};
use super::responses::Socket;
use crate::observe::decode::Frame;
use crate::observe::observation::{Operation, RequestFacts, ResponseFacts, Units, Usage};
use crate::observe::shapes::failure::Failure;
use crate::observe::shapes::lenient::{Lenient, Number, Text, Unread, fields, read};
use crate::observe::turns::Turns;

/// What is open on one connection.
#[derive(Debug, Default)]
pub(super) struct Live {
    session: Option<u64>,
    delegated: Socket,
}

/// The text of a value.
#[derive(Debug, Default)]
struct Raw<'de>(&'de str);

impl<'de> Lenient<'de> for Raw<'de> {
    const RAW: bool = true;

    fn raw(&mut self, text: &'de str) {
        self.0 = text;
    }
}

fields! {
    struct Said<'de> {
        kind: Text<'de> = "type",
        session: Settings<'de> = "session",
        delegation: Text<'de> = "delegation_id",
    }
}

fields! {
    struct Delegated<'de> {
        event: Raw<'de> = "event",
    }
}

fields! {
    struct Settings<'de> {
        id: Text<'de> = "id",
        model: Text<'de> = "model",
    }
}

impl Dialogue for Live {
    fn asked(&mut self, message: &[u8], turns: &mut Turns) -> Result<(), Unread> {
        let mut said = Said::default();
        read(message, &mut said)?;
        if said.kind.as_str() == "session.start" && self.session.is_none() {
            self.begin(&said, turns);
        }
        Ok(())
    }

    fn answered(&mut self, message: &[u8], turns: &mut Turns) -> Result<(), Unread> {
        let mut said = Said::default();
        read(message, &mut said)?;
        let kind = said.kind.as_str();
        if kind == "response.event" {
            let mut delegated = Delegated::default();
            read(message, &mut delegated)?;
            let lane = said.delegation.bounded(ID).unwrap_or_default();
            return self.delegated.answer(Some(&lane), delegated.event.0.as_bytes(), turns);
        }
        if kind == "session.started" && self.session.is_none() {
            self.begin(&said, turns);
        }
        let Some(number) = self.session else { return Ok(()) };
        let result = turns.read(number, message);
        if kind == "session.closed" {
            self.session = None;
            turns.end(number);
        }
        result
    }
}

impl Live {
    fn begin(&mut self, said: &Said<'_>, turns: &mut Turns) {
        let turn = turns.begin(Operation::Realtime, Box::new(Talking::default()), turns.now());
        let model = said.session.model.bounded(MODEL);
        turn.request = RequestFacts { model, ..RequestFacts::default() };
        self.session = Some(turn.number);
    }
}

/// What was told of a session. Seconds are of all of it up to then: the last that were told were used,
/// however it ends.
#[derive(Debug, Default)]
struct Talking {
    told: bool,
}

fields! {
    struct Event<'de> {
        kind: Text<'de> = "type",
        session: Settings<'de> = "session",
        usage: Spent = "usage",
        reason: Text<'de> = "reason",
        error: Failure<'de> = "error",
    }
}

fields! {
    struct Spent {
        seconds: Number = "seconds",
    }
}

impl Answer for Talking {
    fn frame(&mut self, frame: Frame<'_>, facts: &mut ResponseFacts) -> Result<Content, Unread> {
        let mut event = Event::default();
        read(frame.data, &mut event)?;
        event.session.id.replace(&mut facts.id, ID);
        event.session.model.replace(&mut facts.model, MODEL);
        let seconds = event.usage.seconds.0;
        if let Some(time) = seconds.and_then(|it| Duration::try_from_secs_f64(it).ok()) {
            let units = Units { input_audio_time: Some(time), ..Units::default() };
            facts.usage = Some(Usage { units, ..Usage::default() });
            self.told = true;
        }
        match event.kind.as_str() {
            "session.closed" => facts.finish_reasons = vec![event.reason.bounded(WORD)],
            // It ends no session, but one that has not begun.
            "error" if facts.id.is_none() => {
                event.error.tell_alone("error_in_stream", facts);
            }
            _ => (),
        }
        // Pauses between what is said are those of a talk, not of the model.
        Ok(Content::default())
    }

    fn document(&mut self, _: &[u8], _: &mut ResponseFacts) -> Result<(), Unread> {
        Err(Unread::Bad)
    }

    fn is_terminated(&self, _: &ResponseFacts) -> bool {
        self.told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Settings;
    use crate::tape::Cause;

    #[test]
    fn the_last_seconds_count_and_delegated_calls_beside_them() {
        let (mut live, mut turns) = (Live::default(), Turns::new(&Settings::default()));
        live.asked(br#"{"type":"session.start","session":{"model":"gpt-live-1"}}"#, &mut turns)
            .unwrap();
        for event in [
            r#"{"type":"session.started","session":{"id":"sess_1","model":"gpt-live-1"}}"#,
            r#"{"type":"session.output_audio.delta","delta":"aGk="}"#,
            r#"{"type":"response.event","delegation_id":"d","event":{"type":"response.created","response":{"id":"resp_1","model":"gpt-5","status":"in_progress"}}}"#,
            r#"{"type":"session.usage.updated","usage":{"seconds":10.0}}"#,
            r#"{"type":"response.event","delegation_id":"d","event":{"type":"response.completed","response":{"id":"resp_1","model":"gpt-5","status":"completed","usage":{"input_tokens":5,"output_tokens":6}}}}"#,
            r#"{"type":"session.usage.updated","usage":{"seconds":12.5}}"#,
        ] {
            live.answered(event.as_bytes(), &mut turns).unwrap();
        }
        turns.close(Cause::ClientGone, turns.now(), None);
        let ended = turns.ended();
        let usage = |place: usize| ended[place].turn.response.usage.unwrap();
        assert_eq!((usage(0).input, usage(0).output), (Some(5), Some(6)));
        assert_eq!(ended[0].turn.response.model.as_deref(), Some("gpt-5"));
        assert_eq!(usage(1).units.input_audio_time, Some(Duration::from_millis(12_500)));
        assert_eq!(ended[1].turn.response.chunks, 0);
        assert_eq!((ended.len(), ended[1].turn.operation), (2, Operation::Realtime));
    }

    #[test]
    fn a_session_that_does_not_begin_has_failed() {
        let (mut live, mut turns) = (Live::default(), Turns::new(&Settings::default()));
        live.asked(br#"{"type":"session.start","session":{"model":"m"}}"#, &mut turns).unwrap();
        live.answered(
            br#"{"type":"error","error":{"type":"invalid_request_error","code":"bad_model"}}"#,
            &mut turns,
        )
        .unwrap();
        turns.close(Cause::Complete, turns.now(), None);
        assert_eq!(turns.ended()[0].turn.response.error.as_deref(), Some("bad_model"));
    }
}
