//! OpenAI's Realtime: each response is a call, whether the client asked for it or the server heard that it
//! was its turn; each transcription of what was heard is one of another model. Knows no other part of the
//! API.
//!
//! Source: `types/realtime` of the provider's SDK for Python 3.52; beta names from earlier versions of it.

/// What one response, or one transcription, tells.
mod answer;
/// What was counted.
mod usage;
/// Spoken translations.
mod translations;

pub(super) use translations::Translations;

use std::collections::VecDeque;
use std::time::Duration;

use serde::de::SeqAccess;

use super::super::{Dialogue, ID, MODEL, WORD};
use crate::observe::observation::{Operation, RateLimit, RequestFacts};
use crate::observe::shapes::lenient::{Count, Into, Lenient, Number, Text, Unread, fields, read};
use crate::observe::turns::{OPEN, Turn, Turns};

/// Calls that may wait for a response, and pieces of sound for a transcription; past it the oldest is
/// forgotten.
const WAITING: usize = 64;

/// What is open on one connection.
#[derive(Debug, Default)]
pub(super) struct Realtime {
    model: Option<String>,
    transcriber: Option<String>,
    // Asked for, and no response made yet: what the client calls it.
    asked: VecDeque<(Option<String>, u64)>,
    // By the id of the response, or of the item that is transcribed.
    open: Vec<(String, u64)>,
    // Sound that may be transcribed, and since when.
    heard: VecDeque<(String, Duration)>,
    limits: Vec<RateLimit>,
}

fields! {
    struct Said<'de> {
        kind: Text<'de> = "type",
        id: Text<'de> = "event_id",
        response: Named<'de> = "response",
        response_id: Text<'de> = "response_id",
        item_id: Text<'de> = "item_id",
        session: Settings<'de> = "session",
        error: Caused<'de> = "error",
        limits: Limits = "rate_limits",
    }
}

fields! {
    struct Named<'de> {
        id: Text<'de> = "id",
    }
}

fields! {
    /// An error, and which of the client's events caused it.
    struct Caused<'de> {
        id: Text<'de> = "event_id",
    }
}

fields! {
    struct Settings<'de> {
        model: Text<'de> = "model",
        audio: Audio<'de> = "audio",
        /// As the beta has it.
        transcription: Transcriber<'de> = "input_audio_transcription",
    }
}

fields! {
    struct Audio<'de> {
        input: Input<'de> = "input",
    }
}

fields! {
    struct Input<'de> {
        transcription: Transcriber<'de> = "transcription",
    }
}

fields! {
    struct Transcriber<'de> {
        model: Text<'de> = "model",
    }
}

/// What is left of each limit.
#[derive(Debug, Default)]
struct Limits(Vec<RateLimit>);

fields! {
    struct Limit<'de> {
        name: Text<'de> = "name",
        limit: Count = "limit",
        remaining: Count = "remaining",
        reset: Number = "reset_seconds",
    }
}

impl<'de> Lenient<'de> for Limits {
    fn list<A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<(), A::Error> {
        loop {
            let mut limit = Limit::default();
            if list.next_element_seed(Into(&mut limit))?.is_none() {
                return Ok(());
            }
            let kind = match limit.name.as_str() {
                "requests" => "requests",
                "tokens" => "tokens",
                _ => continue,
            };
            let reset = limit.reset.0.and_then(|it| Duration::try_from_secs_f64(it).ok());
            let (limit, remaining) = (limit.limit.0, limit.remaining.0);
            if self.0.iter().all(|it| it.kind != kind) {
                self.0.push(RateLimit { kind, limit, remaining, reset });
            }
        }
    }
}

const TRANSCRIPTION: &str = "conversation.item.input_audio_transcription.";

impl Dialogue for Realtime {
    fn asked(&mut self, message: &[u8], turns: &mut Turns) -> Result<(), Unread> {
        let mut said = Said::default();
        read(message, &mut said)?;
        if said.kind.as_str() == "response.create" {
            let number = self.begin(turns).number;
            put(&mut self.asked, (said.id.bounded(ID), number));
        }
        Ok(())
    }

    fn answered(&mut self, message: &[u8], turns: &mut Turns) -> Result<(), Unread> {
        let mut said = Said::default();
        read(message, &mut said)?;
        let kind = said.kind.as_str();
        match kind {
            "session.created"
            | "session.updated"
            | "transcription_session.created"
            | "transcription_session.updated" => self.configure(&said.session),
            "rate_limits.updated" => self.limits = said.limits.0,
            "input_audio_buffer.committed" => {
                let item = said.item_id.bounded(ID).unwrap_or_default();
                put(&mut self.heard, (item, turns.now()));
            }
            "response.created" => self.created(&said.response.id, turns),
            "error" => return self.failed(&said.error.id, message, turns),
            _ => (),
        }
        if let Some(phase) = kind.strip_prefix(TRANSCRIPTION) {
            return self.transcribed(&said.item_id, phase, message, turns);
        }
        if !kind.starts_with("response.") {
            return Ok(());
        }
        let id = if kind == "response.done" { &said.response.id } else { &said.response_id };
        let id = if kind == "response.created" { &said.response.id } else { id };
        let Some(number) = self.find(id) else { return Ok(()) };
        let result = turns.read(number, message);
        if kind == "response.done" {
            let limits = std::mem::take(&mut self.limits);
            turns.get(number).into_iter().for_each(|turn| turn.rate_limits.clone_from(&limits));
            self.end(number, turns);
        }
        result
    }
}

impl Realtime {
    fn configure(&mut self, session: &Settings<'_>) {
        session.model.replace(&mut self.model, MODEL);
        for of in [&session.audio.input.transcription, &session.transcription] {
            of.model.replace(&mut self.transcriber, MODEL);
        }
    }

    /// A response is asked for, or begins without. The session says of which model.
    fn begin<'a>(&self, turns: &'a mut Turns) -> &'a mut Turn {
        let turn = turns.begin(Operation::Realtime, answer::response(), turns.now());
        turn.request = RequestFacts { model: self.model.clone(), ..RequestFacts::default() };
        turn.response.model.clone_from(&self.model);
        turn
    }

    /// A response was made: the first that was asked for, or one that nobody asked for.
    fn created(&mut self, id: &Text<'_>, turns: &mut Turns) {
        let number = match self.asked.pop_front() {
            Some((_, number)) => number,
            None => self.begin(turns).number,
        };
        self.keep(id, number, turns);
    }

    fn keep(&mut self, id: &Text<'_>, number: u64, turns: &mut Turns) {
        if self.open.len() >= OPEN {
            self.open.retain(|(_, number)| turns.get(*number).is_some());
        }
        self.open.push((id.bounded(ID).unwrap_or_default(), number));
    }

    fn find(&self, id: &Text<'_>) -> Option<u64> {
        let named = |it: &&(String, u64)| it.0 == id.as_str();
        self.open.iter().find(named).map(|(_, number)| *number)
    }

    fn end(&mut self, number: u64, turns: &mut Turns) {
        self.open.retain(|it| it.1 != number);
        turns.end(number);
    }

    /// An error ends no session. It is a call's where it names the event that asked for that; where the
    /// client gave that no name, the first nameless one's.
    fn failed(&mut self, id: &Text<'_>, message: &[u8], turns: &mut Turns) -> Result<(), Unread> {
        let id = id.bounded(ID);
        let Some(place) = self.asked.iter().position(|it| it.0 == id) else { return Ok(()) };
        let Some((_, number)) = self.asked.remove(place) else { return Ok(()) };
        let result = turns.read(number, message);
        turns.end(number);
        result
    }

    /// A transcription goes on from when its sound was complete, where that was seen.
    fn transcribed(
        &mut self,
        item: &Text<'_>,
        phase: &str,
        message: &[u8],
        turns: &mut Turns,
    ) -> Result<(), Unread> {
        let number = match self.find(item) {
            Some(number) => number,
            None => {
                let heard = self.heard.iter().position(|it| it.0 == item.as_str());
                let since = heard.and_then(|place| self.heard.remove(place));
                let since = since.map_or(turns.now(), |(_, since)| since);
                let turn = turns.begin(Operation::Transcription, answer::transcription(), since);
                turn.request.model.clone_from(&self.transcriber);
                turn.response.model.clone_from(&self.transcriber);
                let number = turn.number;
                self.keep(item, number, turns);
                number
            }
        };
        let result = turns.read(number, message);
        if matches!(phase, "completed" | "failed") {
            self.end(number, turns);
        }
        result
    }
}

fn put<T>(queue: &mut VecDeque<T>, value: T) {
    if queue.len() >= WAITING {
        queue.pop_front();
    }
    queue.push_back(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Settings;
    use crate::observe::turns::Ended;
    use crate::tape::Cause;

    const SESSION: &str = r#"<{"type":"session.created","session":{"model":"gpt-realtime","audio":{"input":{"transcription":{"model":"whisper-1"}}}}}"#;

    /// `>` is said by the client, `<` by the upstream, a millisecond after the one before.
    fn talk(messages: &[&str]) -> Vec<Ended> {
        let (mut realtime, mut turns) = (Realtime::default(), Turns::new(&Settings::default()));
        for (millis, message) in messages.iter().enumerate() {
            turns.at(Duration::from_millis(millis as u64));
            let (side, json) = message.split_at(1);
            match side {
                ">" => realtime.asked(json.as_bytes(), &mut turns),
                _ => realtime.answered(json.as_bytes(), &mut turns),
            }
            .unwrap();
        }
        turns.close(Cause::ClientGone, turns.now(), None);
        turns.ended()
    }

    fn told(messages: &[&str]) -> Vec<String> {
        let one = |it: &Ended| {
            let facts = &it.turn.response;
            let reason = facts.finish_reasons.first().cloned().flatten().or(facts.error.clone());
            let (began, took) = (it.turn.began.as_millis(), it.at.as_millis());
            let (operation, model) = (it.turn.operation.as_str(), &it.turn.request.model);
            let reason = reason.unwrap_or("-".to_owned());
            format!("{operation} {} {reason} {began}+{took}", model.as_deref().unwrap_or("-"))
        };
        talk(messages).iter().map(one).collect()
    }

    fn made(id: &str) -> String {
        format!(
            r#"<{{"type":"response.created","response":{{"id":"{id}","status":"in_progress"}}}}"#
        )
    }

    fn done(id: &str) -> String {
        format!(r#"<{{"type":"response.done","response":{{"id":"{id}","status":"completed"}}}}"#)
    }

    #[test]
    fn a_response_is_a_call_asked_for_or_not() {
        let create = r#">{"type":"response.create"}"#;
        let (one, two) = (made("a"), made("b"));
        let found = told(&[SESSION, create, &one, &done("a"), &two, &done("b")]);
        let expected =
            ["realtime gpt-realtime completed 1+2", "realtime gpt-realtime completed 4+1"];
        assert_eq!(found, expected);
        let side_by_side = told(&[create, create, &one, &two, &done("b"), &done("a")]);
        assert_eq!(side_by_side, ["realtime - completed 1+3", "realtime - completed 0+5"]);
    }

    #[test]
    fn an_error_is_the_calls_whose_event_it_names() {
        let create = |id: &str| format!(r#">{{"type":"response.create","event_id":"{id}"}}"#);
        let error =
            |id: &str| format!(r#"<{{"type":"error","error":{{"code":"bad","event_id":"{id}"}}}}"#);
        let found = told(&[
            &create("x"),
            &create("y"),
            &error("y"),
            &error("other"),
            &made("a"),
            &done("a"),
        ]);
        assert_eq!(found, ["realtime - bad 1+1", "realtime - completed 0+5"]);
        let nameless = r#"<{"type":"error","error":{"code":"bad","event_id":null}}"#;
        let found = told(&[r#">{"type":"response.create"}"#, nameless, nameless]);
        assert_eq!(found, ["realtime - bad 0+1"]);
    }

    #[test]
    fn a_transcription_is_a_call_of_its_own_model() {
        let of = |phase: &str, more: &str| {
            format!(r#"<{{"type":"{TRANSCRIPTION}{phase}","item_id":"i"{more}}}"#)
        };
        let committed = r#"<{"type":"input_audio_buffer.committed","item_id":"i"}"#;
        let usage = r#","usage":{"type":"duration","seconds":2.5}"#;
        let messages = [
            SESSION,
            committed,
            &made("a"),
            &of("delta", r#","delta":"hi""#),
            &of("completed", usage),
        ];
        let ended = talk(&messages);
        let heard = ended[0].turn.response.usage.unwrap().units.input_audio_time;
        assert_eq!(heard, Some(Duration::from_millis(2500)));
        let found = told(&messages);
        assert_eq!(found[0], "transcription whisper-1 - 1+3");
        assert_eq!(found.len(), 2);
        let failed = of("failed", r#","error":{"code":"audio_unintelligible"}"#);
        assert_eq!(told(&[SESSION, &failed]), ["transcription whisper-1 audio_unintelligible 1+0"]);
    }

    #[test]
    fn what_is_left_of_limits_goes_with_the_next_response() {
        let limits = r#"<{"type":"rate_limits.updated","rate_limits":[{"name":"tokens","limit":100,"remaining":7,"reset_seconds":1.5},{"name":"novelty"}]}"#;
        let ended = talk(&[&made("a"), limits, &done("a"), &made("b"), &done("b")]);
        let expected = RateLimit {
            kind: "tokens",
            limit: Some(100),
            remaining: Some(7),
            reset: Some(Duration::from_millis(1500)),
        };
        assert_eq!(ended[0].turn.rate_limits, [expected]);
        assert_eq!(ended[1].turn.rate_limits, []);
    }
}
