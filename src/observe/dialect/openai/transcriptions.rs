//! Text that OpenAI's transcription and translation routes hear: in JSON, streamed, or as plain text
//! (`text`, `srt`, `vtt`), which tells no usage. Knows no other part of the API.
//!
//! Source: the types of the provider's SDK for Python 3.52 (`Transcription`, `TranscriptionVerbose`,
//! `TranscriptionTextDoneEvent`); for vLLM its `TranscriptionStreamResponse`, which ends as chat does.

use std::time::Duration;

use super::super::{Answer, Content, Context, Model};
use super::tail;
use crate::observe::decode::Frame;
use crate::observe::observation::{Operation, RequestFacts, ResponseFacts, Units, Usage};
use crate::observe::shapes::failure::{Failure, Word};
use crate::observe::shapes::lenient::{
    Filled, Flag, List, Number, Object, Text, Unread, fields, read,
};
use crate::observe::shapes::tokens::{Counting, Tokens};

/// Sound is written down, translated or not.
pub(super) const MAKE: Model =
    Model { operation: Operation::Transcription, request, answer: begin, asks: false };

/// Longest names that are kept.
const MODEL: usize = 256;
const ID: usize = 128;

fields! {
    struct Request<'de> {
        model: Text<'de> = "model",
        stream: Flag = "stream",
        response_format: Text<'de> = "response_format",
        temperature: Number = "temperature",
    }
}

/// Of a form's fields.
fn request(body: &[u8], facts: &mut RequestFacts) -> Result<(), Unread> {
    let mut request = Request::default();
    let result = read(body, &mut request);
    facts.model = request.model.bounded(MODEL);
    facts.stream = request.stream.0 == Some(true);
    // Of a body that breaks off the rest may be half a number.
    result?;
    facts.temperature = request.temperature.0;
    facts.output_type = match request.response_format.as_str() {
        "text" | "srt" | "vtt" => Some("text"),
        "json" | "verbose_json" | "diarized_json" => Some("json"),
        _ => None,
    };
    Ok(())
}

fn begin(context: Context) -> Box<dyn Answer> {
    Box::new(Heard { context, done: false })
}

#[derive(Debug)]
struct Heard {
    context: Context,
    done: bool,
}

fields! {
    /// One event, or the whole answer.
    struct Told<'de> {
        delta: Filled = "delta",
        text: Filled = "text",
        /// vLLM's.
        id: Text<'de> = "id",
        choices: List<'de, Choice<'de>> = "choices",
        usage: Object<Tokens> = "usage",
        /// Of `verbose_json` and `diarized_json`, in seconds.
        duration: Number = "duration",
        model: Text<'de> = "model",
        error: Failure<'de> = "error",
        code: Word = "code",
        kind: Text<'de> = "type",
    }
}

fields! {
    struct Choice<'de> {
        delta: Piece = "delta",
        finish_reason: Text<'de> = "finish_reason",
    }
}

fields! {
    struct Piece {
        content: Filled = "content",
    }
}

impl Told<'_> {
    /// Tokens or seconds, as they are billed; where neither is told, how long the sound is.
    fn usage(&self) -> Option<Usage> {
        let tokens = self.usage.0.unwrap_or_default();
        let length = self.duration.0.and_then(|it| Duration::try_from_secs_f64(it).ok());
        let counted = tokens.usage(Counting::default());
        let billed = counted.map_or_else(|| tokens.units(), |usage| usage.units);
        let units = match counted {
            Some(_) => billed,
            None => Units { input_audio_time: billed.input_audio_time.or(length), ..billed },
        };
        let usage = Usage { units, ..counted.unwrap_or_default() };
        (usage != Usage::default()).then_some(usage)
    }
}

impl Heard {
    fn apply(&mut self, told: &Told<'_>, named: bool, facts: &mut ResponseFacts) {
        told.model.replace(&mut facts.model, MODEL);
        told.id.replace(&mut facts.id, ID);
        for choice in told.choices.iter() {
            facts.finish_reasons.resize(1, None);
            facts.finish_reasons.iter_mut().for_each(|it| choice.finish_reason.replace(it, ID));
        }
        facts.usage = told.usage().or(facts.usage);
        if told.error.is_some || named || self.context.is_error() {
            told.error.tell(&told.code, &told.kind, &self.context.error(), facts);
        }
    }
}

impl Answer for Heard {
    fn frame(&mut self, frame: Frame<'_>, facts: &mut ResponseFacts) -> Result<Content, Unread> {
        if frame.data.trim_ascii() == b"[DONE]" {
            self.done = true;
            return Ok(Content::default());
        }
        let mut told = Told::default();
        read(frame.data, &mut told)?;
        let kind = told.kind.as_str();
        let is_end = kind == "transcript.text.done";
        self.done |= is_end;
        self.apply(&told, kind == "error" || frame.name == b"error", facts);
        // The last event says all of it once more.
        let pieces = told.choices.iter().any(|choice| choice.delta.content.0);
        let text = told.delta.0 || pieces || (told.text.0 && !is_end);
        Ok(Content { text, ..Content::default() })
    }

    fn document(&mut self, body: &[u8], facts: &mut ResponseFacts) -> Result<(), Unread> {
        let mut told = Told::default();
        read(body, &mut told)?;
        self.apply(&told, false, facts);
        Ok(())
    }

    fn tail(&mut self, body: &[u8], facts: &mut ResponseFacts) {
        if let Some(document) = tail::document(body) {
            self.document(&document, facts).ok();
        }
    }

    fn is_terminated(&self, _: &ResponseFacts) -> bool {
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Box<dyn Answer> {
        begin(Context { operation: Some(Operation::Transcription), ..Context::of(200) })
    }

    fn usage(body: &str) -> Option<Usage> {
        let mut facts = ResponseFacts::default();
        answer().document(body.as_bytes(), &mut facts).unwrap();
        facts.usage
    }

    #[test]
    fn usage_is_tokens_or_seconds_or_the_length_of_the_sound() {
        let tokens = usage(
            r#"{"text":"x","usage":{"type":"tokens","input_tokens":37,
            "input_token_details":{"text_tokens":2,"audio_tokens":35},"output_tokens":144,"total_tokens":181}}"#,
        );
        let tokens = tokens.unwrap();
        assert_eq!(
            (tokens.input, tokens.input_audio, tokens.output),
            (Some(37), Some(35), Some(144))
        );
        assert_eq!(tokens.units, Units::default());
        let seconds = |body| usage(body).unwrap().units.input_audio_time;
        let billed = r#"{"text":"x","duration":3.3,"usage":{"type":"duration","seconds":4}}"#;
        assert_eq!(seconds(billed), Some(Duration::from_secs(4)));
        let verbose =
            r#"{"task":"transcribe","language":"english","duration":3.3,"text":"x","segments":[]}"#;
        assert_eq!(seconds(verbose), Some(Duration::from_millis(3300)));
        for nothing in [r#"{"text":"x"}"#, r#"{"text":"x","usage":null,"duration":-1}"#] {
            assert_eq!(usage(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn a_stream_is_heard_in_pieces_and_ends_with_its_usage() {
        let (mut answer, mut facts) = (answer(), ResponseFacts::default());
        let mut see =
            |data: &[u8]| answer.frame(Frame { name: b"", data }, &mut facts).unwrap().text;
        assert!(see(br#"{"type":"transcript.text.delta","delta":"I"}"#));
        assert!(see(
            br#"{"type":"transcript.text.segment","id":"s","text":"I see","start":0,"end":1}"#
        ));
        let end = br#"{"type":"transcript.text.done","text":"I see","usage":{"type":"tokens","input_tokens":14,"output_tokens":45,"total_tokens":59}}"#;
        assert!(!see(end));
        assert_eq!(facts.usage.unwrap().output, Some(45));
        assert!(answer.is_terminated(&facts));
    }

    #[test]
    fn an_answer_after_a_long_upload_tells_its_usage_whole_or_from_its_end() {
        for tail in [
            r#"{"duration":3.3,"text":"I see."}"#,
            r#"see."}],"usage":{"type":"duration","seconds":3.3}}"#,
        ] {
            let mut facts = ResponseFacts::default();
            answer().tail(tail.as_bytes(), &mut facts);
            let heard = facts.usage.unwrap().units.input_audio_time;
            assert_eq!(heard, Some(Duration::from_millis(3300)), "{tail}");
        }
    }

    #[test]
    fn the_format_that_was_asked_for_is_the_output_type() {
        for (format, expected) in
            [("srt", Some("text")), ("verbose_json", Some("json")), ("new", None)]
        {
            let mut facts = RequestFacts::default();
            let body =
                format!(r#"{{"model":"whisper-1","stream":false,"response_format":"{format}"}}"#);
            request(body.as_bytes(), &mut facts).unwrap();
            assert_eq!((facts.output_type, facts.model.as_deref()), (expected, Some("whisper-1")));
        }
    }
}
