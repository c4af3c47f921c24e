//! What one response of Realtime tells, or one transcription of what it heard. Knows no session, and keeps
//! nothing of what was said.

use serde::de::SeqAccess;

use super::super::super::{Answer, Content};
use super::usage::Spent;
use super::{ID, WORD};
use crate::observe::decode::Frame;
use crate::observe::observation::ResponseFacts;
use crate::observe::shapes::failure::Failure;
use crate::observe::shapes::lenient::{Filled, Into, Lenient, Object, Text, Unread, fields, read};

/// The word for an error that has none of its own.
pub(super) const ERROR: &str = "error_in_stream";

/// Begins to read a response.
pub(super) fn response() -> Box<dyn Answer> {
    Box::new(Speaking { done: false })
}

/// Begins to read a transcription.
pub(super) fn transcription() -> Box<dyn Answer> {
    Box::new(Transcribing { done: false })
}

#[derive(Debug)]
struct Speaking {
    done: bool,
}

fields! {
    struct Event<'de> {
        kind: Text<'de> = "type",
        response: Object<Response<'de>> = "response",
        item: Item<'de> = "item",
        delta: Filled = "delta",
        error: Failure<'de> = "error",
    }
}

fields! {
    struct Response<'de> {
        id: Text<'de> = "id",
        status: Text<'de> = "status",
        details: Details<'de> = "status_details",
        output: Calls = "output",
        usage: Object<Spent> = "usage",
    }
}

fields! {
    /// Why it is not complete.
    struct Details<'de> {
        reason: Text<'de> = "reason",
        error: Failure<'de> = "error",
    }
}

fields! {
    struct Item<'de> {
        kind: Text<'de> = "type",
    }
}

/// How many of the items are calls of tools that the client runs.
#[derive(Debug, Default)]
struct Calls(u32);

impl<'de> Lenient<'de> for Calls {
    fn list<A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<(), A::Error> {
        loop {
            let mut item = Item::default();
            if list.next_element_seed(Into(&mut item))?.is_none() {
                return Ok(());
            }
            self.0 = self.0.saturating_add(u32::from(item.kind.as_str() == "function_call"));
        }
    }
}

impl Event<'_> {
    /// The generated content that it carries. Words that are spoken count with the sound.
    fn content(&self) -> Content {
        let mut content = Content::default();
        match self.kind.as_str() {
            // The second as the beta has it.
            "response.output_text.delta" | "response.text.delta" => content.text = self.delta.0,
            "response.function_call_arguments.delta" | "response.mcp_call_arguments.delta" => {
                content.tool_call = self.delta.0;
            }
            "response.output_item.added" => {
                content.tool_call = self.item.kind.as_str() == "function_call";
            }
            kind if kind.ends_with(".delta") => content.other = self.delta.0,
            _ => (),
        }
        content
    }
}

impl Speaking {
    fn finish(&mut self, response: &Response<'_>, facts: &mut ResponseFacts) {
        self.done = true;
        let details = &response.details;
        let reason = match details.reason.as_str() {
            "" => &response.status,
            _ => &details.reason,
        };
        facts.finish_reasons = vec![reason.bounded(WORD)];
        facts.tool_calls = response.output.0;
        facts.usage = response.usage.0.and_then(Spent::usage).or(facts.usage);
        if response.status.as_str() == "failed" {
            fail(&details.error, facts);
        }
    }
}

fn fail(error: &Failure<'_>, facts: &mut ResponseFacts) {
    error.tell_alone(ERROR, facts);
}

impl Answer for Speaking {
    fn frame(&mut self, frame: Frame<'_>, facts: &mut ResponseFacts) -> Result<Content, Unread> {
        let mut event = Event::default();
        read(frame.data, &mut event)?;
        if let Some(response) = &event.response.0 {
            response.id.replace(&mut facts.id, ID);
            if facts.finish_reasons.is_empty() {
                facts.finish_reasons.push(None);
            }
            if event.kind.as_str() == "response.done" {
                self.finish(response, facts);
            }
        }
        if event.kind.as_str() == "error" {
            fail(&event.error, facts);
        }
        Ok(event.content())
    }

    fn document(&mut self, _: &[u8], _: &mut ResponseFacts) -> Result<(), Unread> {
        Err(Unread::Bad)
    }

    fn is_terminated(&self, _: &ResponseFacts) -> bool {
        self.done
    }
}

#[derive(Debug)]
struct Transcribing {
    done: bool,
}

fields! {
    struct Heard<'de> {
        item: Text<'de> = "item_id",
        kind: Text<'de> = "type",
        delta: Filled = "delta",
        usage: Object<Spent> = "usage",
        error: Failure<'de> = "error",
    }
}

impl Answer for Transcribing {
    fn frame(&mut self, frame: Frame<'_>, facts: &mut ResponseFacts) -> Result<Content, Unread> {
        let mut heard = Heard::default();
        read(frame.data, &mut heard)?;
        // It has no id but that of what was heard.
        heard.item.replace(&mut facts.id, ID);
        let kind = heard.kind.as_str();
        if kind.ends_with(".failed") {
            fail(&heard.error, facts);
        }
        self.done |= kind.ends_with(".completed");
        facts.usage = heard.usage.0.and_then(Spent::usage).or(facts.usage);
        Ok(Content { text: heard.delta.0, ..Content::default() })
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

    fn told(events: &[&str]) -> (ResponseFacts, Vec<[bool; 4]>, bool) {
        let (mut answer, mut facts) = (response(), ResponseFacts::default());
        let mut contents = Vec::new();
        for event in events {
            let frame = Frame { name: b"", data: event.as_bytes() };
            let content = answer.frame(frame, &mut facts).unwrap();
            contents.push([content.text, content.reasoning, content.tool_call, content.other]);
        }
        let done = answer.is_terminated(&facts);
        (facts, contents, done)
    }

    #[test]
    fn the_end_tells_why_and_what_was_used() {
        let done = |status: &str, details: &str| {
            told(&[
                r#"{"type":"response.created","response":{"id":"r","status":"in_progress"}}"#,
                &format!(
                    r#"{{"type":"response.done","response":{{"id":"r","status":"{status}","status_details":{details},
                    "output":[{{"type":"function_call"}},{{"type":"message"}}],"usage":{{"input_tokens":5,"output_tokens":6}}}}}}"#
                ),
            ])
        };
        let (facts, _, is_done) = done("completed", "null");
        assert_eq!((facts.finish_reasons, is_done), (vec![Some("completed".to_owned())], true));
        assert_eq!((facts.tool_calls, facts.usage.unwrap().input), (1, Some(5)));
        let turned = done("cancelled", r#"{"type":"cancelled","reason":"turn_detected"}"#).0;
        assert_eq!(turned.finish_reasons, [Some("turn_detected".to_owned())]);
        assert_eq!(turned.error, None);
        let failed = done(
            "failed",
            r#"{"type":"failed","error":{"type":"tokens","code":"rate_limit_exceeded"}}"#,
        )
        .0;
        assert_eq!(failed.error.as_deref(), Some("rate_limit_exceeded"));
        assert_eq!(done("failed", "null").0.error.as_deref(), Some(ERROR));
    }

    #[test]
    fn only_what_was_generated_is_content() {
        let of = |event: &str| told(&[event]).1[0];
        let delta = |kind: &str| of(&format!(r#"{{"type":"response.{kind}.delta","delta":"x"}}"#));
        for kind in ["output_text", "text"] {
            assert_eq!(delta(kind), [true, false, false, false], "{kind}");
        }
        for kind in ["function_call_arguments", "mcp_call_arguments"] {
            assert_eq!(delta(kind), [false, false, true, false], "{kind}");
        }
        for kind in ["output_audio", "audio", "output_audio_transcript"] {
            assert_eq!(delta(kind), [false, false, false, true], "{kind}");
        }
        for none in [
            r#"{"type":"response.output_audio.delta","delta":""}"#,
            r#"{"type":"response.output_item.added","item":{"type":"message"}}"#,
            r#"{"type":"response.output_text.done","text":"x"}"#,
        ] {
            assert_eq!(of(none), [false; 4], "{none}");
        }
    }

    #[test]
    fn a_transcript_ends_when_it_is_complete_and_tells_its_usage() {
        let (mut answer, mut facts) = (transcription(), ResponseFacts::default());
        let mut told = |kind: &str, rest: &str| {
            let event =
                format!(r#"{{"type":"conversation.item.input_audio_transcription.{kind}"{rest}}}"#);
            let frame = Frame { name: b"", data: event.as_bytes() };
            let content = answer.frame(frame, &mut facts).unwrap();
            (content.text, answer.is_terminated(&facts), facts.error.is_some())
        };
        assert_eq!(told("delta", r#","delta":"a""#), (true, false, false));
        assert_eq!(told("failed", ""), (false, false, true));
        let usage = r#","usage":{"type":"tokens","input_tokens":5,"output_tokens":6}"#;
        assert_eq!(told("completed", usage), (false, true, true));
        assert_eq!(facts.usage.and_then(|usage| usage.input), Some(5));
    }
}
