//! Gemini's live sessions: each turn of the model is a call, from what the client said last, where it said
//! that it had ended, or else from the model's first word. Knows no other way to ask Gemini.
//!
//! Source: `LiveClientMessage`, `LiveServerMessage` and `UsageMetadata` of google-genai 3.4.0. That what was
//! counted may be told in several messages of a turn, of which the last holds, is as the API's other streams
//! do it; the types do not say.

use std::time::Duration;

use serde::de::{IgnoredAny, MapAccess, SeqAccess};

use super::super::{Answer, Content, Dialogue};
use super::usage::Counts;
use super::{MODEL, WORD, request};
use crate::observe::decode::Frame;
use crate::observe::observation::{Operation, RequestFacts, ResponseFacts};
use crate::observe::shapes::lenient::{
    Filled, Flag, Into, Length, Lenient, Object, Text, Unread, fields, read,
};
use crate::observe::turns::{Turn, Turns};

/// What is open on one connection.
#[derive(Debug, Default)]
pub(super) struct Live {
    facts: RequestFacts,
    // The client has said all that it had to say, and since then nothing came.
    asked: Option<Duration>,
    open: Option<u64>,
    // The open one is complete, but what it used was not told yet.
    is_complete: bool,
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
    struct Asked<'de> {
        setup: Raw<'de> = "setup",
        content: Said = "clientContent" | "client_content",
        input: Input = "realtimeInput" | "realtime_input",
        result: Filled = "toolResponse" | "tool_response",
    }
}

fields! {
    struct Setup<'de> {
        model: Text<'de> = "model",
    }
}

fields! {
    struct Said {
        complete: Flag = "turnComplete" | "turn_complete",
    }
}

fields! {
    struct Input {
        text: Filled = "text",
        end: Ended = "activityEnd" | "activity_end",
        stream_end: Flag = "audioStreamEnd" | "audio_stream_end",
    }
}

/// An object that says something by being there.
#[derive(Debug, Default)]
struct Ended(bool);

impl<'de> Lenient<'de> for Ended {
    fn object<A: MapAccess<'de>>(&mut self, mut object: A) -> Result<(), A::Error> {
        self.0 = true;
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

fields! {
    struct Answered<'de> {
        content: Object<Spoken<'de>> = "serverContent",
        call: Object<Called> = "toolCall",
        counts: Object<Counts> = "usageMetadata",
    }
}

fields! {
    struct Spoken<'de> {
        turn: Object<Parted> = "modelTurn",
        words: Object<Words> = "outputTranscription",
        complete: Flag = "turnComplete",
        interrupted: Flag = "interrupted",
        reason: Text<'de> = "turnCompleteReason",
    }
}

fields! {
    struct Words {
        text: Filled = "text",
    }
}

fields! {
    struct Parted {
        parts: Parts = "parts",
    }
}

fields! {
    struct Called {
        calls: Length = "functionCalls",
    }
}

/// Which kinds of content the parts of one message carry.
#[derive(Debug, Default)]
struct Parts(Content);

fields! {
    struct Part {
        text: Filled = "text",
        thought: Flag = "thought",
        data: Filled = "inlineData",
        code: Filled = "executableCode",
    }
}

impl<'de> Lenient<'de> for Parts {
    fn list<A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<(), A::Error> {
        loop {
            let mut part = Part::default();
            if list.next_element_seed(Into(&mut part))?.is_none() {
                return Ok(());
            }
            let is_thought = part.thought.0 == Some(true);
            self.0.text |= part.text.0 && !is_thought;
            self.0.reasoning |= part.text.0 && is_thought;
            self.0.other |= part.data.0 || part.code.0;
        }
    }
}

impl Spoken<'_> {
    /// The model said something, or was done with it.
    fn is_answer(&self) -> bool {
        let ended = self.complete.0 == Some(true) || self.interrupted.0 == Some(true);
        self.turn.0.is_some() || self.words.0.is_some() || ended
    }
}

impl Dialogue for Live {
    fn asked(&mut self, message: &[u8], turns: &mut Turns) -> Result<(), Unread> {
        let mut asked = Asked::default();
        read(message, &mut asked)?;
        if !asked.setup.0.is_empty() {
            return self.configure(asked.setup.0);
        }
        let is_said = asked.content.complete.0 == Some(true);
        if is_said || (asked.result.0 && self.open.is_none()) {
            self.leave_complete(turns);
            if self.open.is_none() {
                self.begin(turns.now(), turns);
            }
        }
        let input = &asked.input;
        if input.text.0 || input.end.0 || input.stream_end.0 == Some(true) {
            self.asked = Some(turns.now());
        }
        Ok(())
    }

    fn answered(&mut self, message: &[u8], turns: &mut Turns) -> Result<(), Unread> {
        let mut answered = Answered::default();
        read(message, &mut answered)?;
        let spoken = answered.content.0.as_ref();
        let is_answer = spoken.is_some_and(Spoken::is_answer) || answered.call.0.is_some();
        if is_answer {
            self.leave_complete(turns);
        }
        let is_told = answered.counts.0.as_ref().is_some_and(|it| it.usage().is_some());
        let number = match self.open {
            Some(number) => number,
            None if is_answer => {
                let asked = self.asked.take();
                let number = self.begin(asked.unwrap_or(turns.now()), turns);
                // When the model heard that it was its turn, nobody told.
                let unasked = turns.get(number).filter(|_| asked.is_none());
                unasked.into_iter().for_each(Turn::forget_asking);
                number
            }
            None => return Ok(()),
        };
        if !is_answer && !is_told {
            return Ok(());
        }
        self.asked = None;
        let result = turns.read(number, message);
        self.is_complete |= spoken.is_some_and(|it| it.complete.0 == Some(true));
        // Told before the turn was complete, a count may be followed by its last: the turn is over with that, or
        // when the next begins.
        if self.is_complete && is_told {
            self.leave_complete(turns);
        }
        result
    }
}

impl Live {
    /// What the session's first message says holds for each turn.
    fn configure(&mut self, setup: &str) -> Result<(), Unread> {
        let mut named = Setup::default();
        read(setup.as_bytes(), &mut named)?;
        let mut facts = RequestFacts::default();
        let result = request::generate(setup.as_bytes(), &mut facts);
        // `models/NAME`, and on Vertex with what stands before it.
        let model = named.model.bounded(MODEL);
        facts.model = model.and_then(|it| it.rsplit('/').next().map(str::to_owned));
        facts.messages = None;
        self.facts = facts;
        result
    }

    fn begin(&mut self, at: Duration, turns: &mut Turns) -> u64 {
        let turn: &mut Turn = turns.begin(Operation::Realtime, Box::new(Speaking::default()), at);
        turn.request = self.facts.clone();
        let number = turn.number;
        (self.open, self.is_complete) = (Some(number), false);
        number
    }

    /// The open turn is over, where it said so.
    fn leave_complete(&mut self, turns: &mut Turns) {
        if let Some(number) = self.open.take_if(|_| self.is_complete) {
            turns.leave(number);
            self.is_complete = false;
        }
    }
}

#[derive(Debug, Default)]
struct Speaking {
    counts: Counts,
    is_interrupted: bool,
    done: bool,
}

impl Answer for Speaking {
    fn frame(&mut self, frame: Frame<'_>, facts: &mut ResponseFacts) -> Result<Content, Unread> {
        let mut answered = Answered::default();
        read(frame.data, &mut answered)?;
        if let Some(counts) = &answered.counts.0 {
            self.counts.merge(counts);
            counts.tell_tier(facts);
            facts.usage = self.counts.usage().or(facts.usage);
        }
        let mut content = Content::default();
        if let Some(called) = &answered.call.0 {
            let calls = called.calls.0.unwrap_or(0);
            facts.tool_calls = facts.tool_calls.saturating_add(calls);
            content.tool_call = calls > 0;
        }
        let Some(spoken) = &answered.content.0 else { return Ok(content) };
        if let Some(turn) = &spoken.turn.0 {
            content = Content { tool_call: content.tool_call, ..turn.parts.0 };
        }
        content.other |= spoken.words.0.as_ref().is_some_and(|words| words.text.0);
        self.is_interrupted |= spoken.interrupted.0 == Some(true);
        if spoken.complete.0 == Some(true) {
            self.done = true;
            let word = if self.is_interrupted { "interrupted" } else { "turn_complete" };
            let reason = spoken.reason.bounded(WORD).unwrap_or_else(|| word.to_owned());
            facts.finish_reasons = vec![Some(reason)];
        }
        Ok(content)
    }

    fn document(&mut self, _: &[u8], _: &mut ResponseFacts) -> Result<(), Unread> {
        Err(Unread::Bad)
    }

    fn is_terminated(&self, _: &ResponseFacts) -> bool {
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Settings;
    use crate::tape::Cause;

    const SETUP: &str = r#">{"setup":{"model":"models/gemini-live","generationConfig":{"temperature":0.5,"responseModalities":["AUDIO"]}}}"#;
    const SAID: &str = r#">{"clientContent":{"turns":[{"role":"user","parts":[{"text":"hi"}]}],"turnComplete":true}}"#;
    const SOUND: &str = r#"<{"serverContent":{"modelTurn":{"parts":[{"inlineData":{"mimeType":"audio/pcm","data":"aGk="}}]}}}"#;
    const USED: &str = r#"<{"serverContent":{"turnComplete":true},"usageMetadata":{"promptTokenCount":9,"responseTokenCount":4,"totalTokenCount":13,"responseTokensDetails":[{"modality":"AUDIO","tokenCount":4}]}}"#;

    /// Model, reason, input tokens, beginning and length in milliseconds.
    fn told(messages: &[&str]) -> Vec<String> {
        let (mut live, mut turns) = (Live::default(), Turns::new(&Settings::default()));
        for (millis, message) in messages.iter().enumerate() {
            turns.at(Duration::from_millis(millis as u64));
            let (side, json) = message.split_at(1);
            match side {
                ">" => live.asked(json.as_bytes(), &mut turns),
                _ => live.answered(json.as_bytes(), &mut turns),
            }
            .unwrap();
        }
        turns.close(Cause::ClientGone, turns.now(), None);
        let one = |it: &crate::observe::turns::Ended| {
            let facts = &it.turn.response;
            let input = facts.usage.and_then(|usage| usage.input);
            let reason = facts.finish_reasons.first().cloned().flatten();
            let (reason, model) = (reason.unwrap_or("-".into()), it.turn.request.model.clone());
            let (began, took) = (it.turn.began.as_millis(), it.at.as_millis());
            format!("{} {reason} {input:?} {began}+{took}", model.unwrap_or("-".into()))
        };
        turns.ended().iter().map(one).collect()
    }

    #[test]
    fn a_turn_lasts_until_the_model_is_done() {
        let ready = r#"<{"setupComplete":{}}"#;
        let found = told(&[SETUP, ready, SAID, SOUND, SOUND, USED, SAID, SOUND, USED]);
        let expected =
            ["gemini-live turn_complete Some(9) 2+3", "gemini-live turn_complete Some(9) 6+2"];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_was_used_may_be_told_after_the_turn() {
        let done = r#"<{"serverContent":{"turnComplete":true}}"#;
        let used = r#"<{"usageMetadata":{"promptTokenCount":9,"totalTokenCount":9}}"#;
        assert_eq!(told(&[SAID, SOUND, done, used]), ["- turn_complete Some(9) 0+3"]);
        let found = told(&[SAID, SOUND, done, SAID, SOUND, USED]);
        assert_eq!(found, ["- turn_complete None 0+2", "- turn_complete Some(9) 3+2"]);
    }

    #[test]
    fn speech_is_answered_from_its_end_where_that_was_said_and_tools_are_part_of_the_turn() {
        let sound = r#">{"realtimeInput":{"audio":{"data":"aGk="}}}"#;
        let end = r#">{"realtimeInput":{"activityEnd":{}}}"#;
        let call = r#"<{"toolCall":{"functionCalls":[{"id":"1","name":"f"}]}}"#;
        let result = r#">{"toolResponse":{"functionResponses":[{"id":"1"}]}}"#;
        let found = told(&[sound, end, sound, call, result, SOUND, USED, SOUND]);
        assert_eq!(found, ["- turn_complete Some(9) 1+5", "- - None 7+0"]);
        let stopped = r#"<{"serverContent":{"interrupted":true}}"#;
        assert_eq!(told(&[SOUND, stopped, USED]), ["- interrupted Some(9) 0+2"]);
    }
}
