//! OpenAI's spoken translations: one call for as long as the connection stands. It is billed by the minute, and
//! nothing on the wire tells how many there were. Knows no other part of the API.
//!
//! Source: `RealtimeTranslationServerEvent` of the provider's SDK for Python 3.52.

use super::super::super::{Answer, Content, Dialogue};
use super::{ID, MODEL};
use crate::observe::decode::Frame;
use crate::observe::observation::{Operation, ResponseFacts};
use crate::observe::shapes::failure::Failure;
use crate::observe::shapes::lenient::{Text, Unread, fields, read};
use crate::observe::turns::Turns;

/// What is open on one connection.
#[derive(Debug, Default)]
pub(in super::super) struct Translations {
    session: Option<u64>,
    // As the URL names it.
    model: Option<String>,
}

fields! {
    struct Event<'de> {
        kind: Text<'de> = "type",
        session: Settings<'de> = "session",
        error: Failure<'de> = "error",
    }
}

fields! {
    struct Settings<'de> {
        id: Text<'de> = "id",
        model: Text<'de> = "model",
    }
}

impl Translations {
    /// A connection whose URL names this model.
    pub(in super::super) fn of(model: Option<&str>) -> Self {
        Self { session: None, model: model.map(str::to_owned) }
    }
}

impl Dialogue for Translations {
    /// Sound, and how it is to be translated.
    fn asked(&mut self, _: &[u8], _: &mut Turns) -> Result<(), Unread> {
        Ok(())
    }

    fn answered(&mut self, message: &[u8], turns: &mut Turns) -> Result<(), Unread> {
        let mut event = Event::default();
        read(message, &mut event)?;
        let kind = event.kind.as_str();
        if kind == "session.created" && self.session.is_none() {
            let answer = Box::new(Translating::default());
            let turn = turns.begin(Operation::Realtime, answer, turns.now());
            turn.request.model = event.session.model.bounded(MODEL).or(self.model.take());
            self.session = Some(turn.number);
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

#[derive(Debug, Default)]
struct Translating {
    closed: bool,
}

impl Answer for Translating {
    fn frame(&mut self, frame: Frame<'_>, facts: &mut ResponseFacts) -> Result<Content, Unread> {
        let mut event = Event::default();
        read(frame.data, &mut event)?;
        event.session.id.replace(&mut facts.id, ID);
        event.session.model.replace(&mut facts.model, MODEL);
        match event.kind.as_str() {
            "session.closed" => self.closed = true,
            "error" => event.error.tell_alone(super::answer::ERROR, facts),
            _ => (),
        }
        // Pauses between what is said are those of who speaks, not of the model.
        Ok(Content::default())
    }

    fn document(&mut self, _: &[u8], _: &mut ResponseFacts) -> Result<(), Unread> {
        Err(Unread::Bad)
    }

    fn is_terminated(&self, _: &ResponseFacts) -> bool {
        self.closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Settings;
    use crate::tape::Cause;

    #[test]
    fn a_session_is_one_call_from_its_first_word_to_its_last() {
        let (mut dialogue, mut turns) =
            (Translations::of(Some("asked")), Turns::new(&Settings::default()));
        for event in [
            r#"{"type":"session.created","session":{"id":"sess_1","model":"gpt-realtime-translate","type":"translation"}}"#,
            r#"{"type":"session.output_audio.delta","delta":"aGk="}"#,
            r#"{"type":"session.output_transcript.delta","delta":"hi"}"#,
            r#"{"type":"session.closed"}"#,
            r#"{"type":"novelty"}"#,
        ] {
            dialogue.answered(event.as_bytes(), &mut turns).unwrap();
        }
        turns.close(Cause::Complete, turns.now(), None);
        let ended = turns.ended();
        let facts = &ended[0].turn.response;
        assert_eq!((ended.len(), facts.events, facts.chunks), (1, 4, 0));
        assert_eq!(facts.model.as_deref(), Some("gpt-realtime-translate"));
        assert_eq!(ended[0].turn.request.model, facts.model, "the session's own word wins");
        assert_eq!((facts.id.as_deref(), facts.usage), (Some("sess_1"), None));
        assert_eq!(ended[0].turn.reading(), crate::observe::verdict::Reading::Whole);
    }
}
