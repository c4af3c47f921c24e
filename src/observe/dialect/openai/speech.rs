//! Sound that OpenAI's speech route makes of a text: bytes of sound, which are the answer itself, or
//! events. Knows no other part of the API.
//!
//! Source: the types of the provider's SDK for Python 3.52 (`SpeechCreateParams`), and for the events its
//! API reference (`speech.audio.delta`, `speech.audio.done`); for Together those of its SDK 3.1
//! (`AudioSpeechStreamChunk`).

use super::super::{Answer, Content, Context, Model};
use crate::observe::decode::Frame;
use crate::observe::observation::{MediaRequest, Operation, RequestFacts, ResponseFacts};
use crate::observe::shapes::failure::{Failure, Word};
use crate::observe::shapes::lenient::{Filled, Flag, Lenient, Object, Text, Unread, fields, read};
use crate::observe::shapes::tokens::{Counting, Tokens};

/// A text is spoken.
pub(super) const MAKE: Model =
    Model { operation: Operation::Speech, request, answer: begin, asks: false };

/// Longest names that are kept.
const MODEL: usize = 256;

fields! {
    struct Request<'de> {
        model: Text<'de> = "model",
        input: Characters = "input",
        stream_format: Text<'de> = "stream_format",
        /// Together.
        stream: Flag = "stream",
    }
}

/// How many characters a text has.
#[derive(Clone, Copy, Debug, Default)]
struct Characters(Option<u64>);

impl Lenient<'_> for Characters {
    fn text(&mut self, text: &str) {
        self.0 = Some(text.chars().count() as u64);
    }
}

fn request(body: &[u8], facts: &mut RequestFacts) -> Result<(), Unread> {
    let mut request = Request::default();
    let result = read(body, &mut request);
    facts.output_type = Some("speech");
    facts.model = request.model.bounded(MODEL);
    facts.stream = request.stream_format.as_str() == "sse" || request.stream.0 == Some(true);
    facts.media =
        Some(Box::new(MediaRequest { characters: request.input.0, ..MediaRequest::default() }));
    result
}

fn begin(context: Context) -> Box<dyn Answer> {
    Box::new(Speech { context, done: false })
}

#[derive(Debug)]
struct Speech {
    context: Context,
    done: bool,
}

fields! {
    /// One event, or an error instead of sound.
    struct Told<'de> {
        /// Together's second name, and its model.
        audio: Filled = "audio" | "b64",
        model: Text<'de> = "model",
        usage: Object<Tokens> = "usage",
        error: Failure<'de> = "error",
        code: Word = "code",
        kind: Text<'de> = "type",
    }
}

impl Speech {
    fn read(
        &mut self,
        json: &[u8],
        named: bool,
        facts: &mut ResponseFacts,
    ) -> Result<bool, Unread> {
        let mut told = Told::default();
        read(json, &mut told)?;
        told.model.replace(&mut facts.model, MODEL);
        if let Some(tokens) = told.usage.0 {
            facts.usage = tokens.usage(Counting::default()).or(facts.usage);
        }
        let kind = told.kind.as_str();
        self.done |= kind == "speech.audio.done";
        if told.error.is_some || named || kind == "error" || self.context.is_error() {
            told.error.tell(&told.code, &told.kind, &self.context.error(), facts);
        }
        Ok(told.audio.0)
    }
}

impl Answer for Speech {
    fn frame(&mut self, frame: Frame<'_>, facts: &mut ResponseFacts) -> Result<Content, Unread> {
        if frame.data.trim_ascii() == b"[DONE]" {
            self.done = true;
            return Ok(Content::default());
        }
        let other = self.read(frame.data, frame.name == b"error", facts)?;
        Ok(Content { other, ..Content::default() })
    }

    fn document(&mut self, body: &[u8], facts: &mut ResponseFacts) -> Result<(), Unread> {
        self.read(body, false, facts).map(|_| ())
    }

    fn is_terminated(&self, _: &ResponseFacts) -> bool {
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spoken_is_counted_in_characters() {
        let mut facts = RequestFacts::default();
        let body = r#"{"model":"tts-1","input":"Gr\u00fc\u00dfe, \ud83d\ude00!","voice":{"id":"v"},"stream_format":"sse"}"#;
        request(body.as_bytes(), &mut facts).unwrap();
        assert_eq!((facts.media.unwrap().characters, facts.stream), (Some(9), true));
        assert_eq!((facts.model.as_deref(), facts.output_type), (Some("tts-1"), Some("speech")));
        let mut cut = RequestFacts::default();
        assert_eq!(request(br#"{"model":"tts-1","input":"Gr"#, &mut cut), Err(Unread::Short));
        assert_eq!(cut.media.unwrap().characters, None);
    }

    #[test]
    fn togethers_chunks_are_sound_and_end_as_its_others_do() {
        let context = Context { operation: Some(Operation::Speech), ..Context::of(200) };
        let (mut answer, mut facts) = (begin(context), ResponseFacts::default());
        let mut see =
            |data: &[u8]| answer.frame(Frame { name: b"", data }, &mut facts).unwrap().other;
        assert!(see(br#"{"object":"audio.tts.chunk","model":"cartesia/sonic","b64":"SUQz"}"#));
        assert!(!see(b"[DONE]"));
        assert!(answer.is_terminated(&facts));
        assert_eq!(facts.model.as_deref(), Some("cartesia/sonic"));
        let mut asked = RequestFacts::default();
        request(br#"{"model":"cartesia/sonic","input":"x","stream":true}"#, &mut asked).unwrap();
        assert!(asked.stream);
    }

    #[test]
    fn events_carry_sound_and_the_last_one_the_usage() {
        let context = Context { operation: Some(Operation::Speech), ..Context::of(200) };
        let (mut answer, mut facts) = (begin(context), ResponseFacts::default());
        let mut see =
            |data: &[u8]| answer.frame(Frame { name: b"", data }, &mut facts).unwrap().other;
        assert!(see(br#"{"type":"speech.audio.delta","audio":"SUQz"}"#));
        assert!(!see(br#"{"type":"speech.audio.delta","audio":""}"#));
        let end = br#"{"type":"speech.audio.done","usage":{"input_tokens":14,"output_tokens":101,"total_tokens":115}}"#;
        assert!(!see(end));
        let usage = facts.usage.unwrap();
        assert_eq!((usage.input, usage.output), (Some(14), Some(101)));
        assert!(answer.is_terminated(&facts));
    }
}
