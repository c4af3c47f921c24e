//! Errors as providers write them, and the bounded word they become. Knows no dialect.

use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use serde::de::{IgnoredAny, MapAccess, SeqAccess};

use super::lenient::{Into, Lenient, Text, fields};
use crate::observe::observation::ResponseFacts;
use crate::observe::until::until;

/// The longest word of the vocabulary.
const LONGEST: usize = 64;
/// The type of errors that are the request's fault, whatever their code: OpenAI's, of HTTP and of all its
/// sockets, and Anthropic's.
///
/// Source: `RealtimeError`, `ResponseSteerFailedEvent` of OpenAI's SDK for Python 3.52,
/// `InvalidRequestError` of Anthropic's 2.11.
const REQUESTS: &str = "invalid_request_error";

/// The value of `error`: an object, or a text beside which a code may stand.
#[derive(Debug, Default)]
pub struct Failure<'de> {
    /// There is an error: not `null`, `false` or empty.
    pub is_some: bool,
    code: Word,
    kind: Text<'de>,
    status: Text<'de>,
    details: Details<'de>,
}

/// What stands in `details`: Anthropic's finer code, or Gemini's list, of which one tells how long to wait.
#[derive(Debug, Default)]
struct Details<'de> {
    code: Word,
    retry_delay: Text<'de>,
}

fields! {
    struct Detail<'de> {
        code: Word = "error_code",
        retry_delay: Text<'de> = "retryDelay",
    }
}

impl<'de> Lenient<'de> for Details<'de> {
    fn object<A: MapAccess<'de>>(&mut self, object: A) -> Result<(), A::Error> {
        let mut detail = Detail::default();
        let result = detail.object(object);
        if !detail.code.0.is_empty() {
            self.code = detail.code;
        }
        if !detail.retry_delay.as_str().is_empty() {
            self.retry_delay = detail.retry_delay;
        }
        result
    }

    fn list<A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Into(self))?.is_some() {}
        Ok(())
    }
}

/// A code: a text, or a number written out.
#[derive(Debug, Default)]
pub struct Word(String);

impl Lenient<'_> for Word {
    fn text(&mut self, text: &str) {
        self.0 = text[..text.floor_char_boundary(2 * LONGEST)].to_owned();
    }

    fn number(&mut self, number: f64) {
        self.0.clear();
        // Writing to a string does not fail.
        let _written = write!(self.0, "{number}");
    }
}

impl Word {
    fn is_number(&self) -> bool {
        self.0.bytes().all(|byte| byte.is_ascii_digit())
    }
}

impl<'de> Lenient<'de> for Failure<'de> {
    fn flag(&mut self, flag: bool) {
        self.is_some = flag;
    }

    fn number(&mut self, number: f64) {
        self.is_some = number != 0.0;
    }

    fn text(&mut self, text: &str) {
        self.is_some = !text.is_empty();
    }

    fn object<A: MapAccess<'de>>(&mut self, mut object: A) -> Result<(), A::Error> {
        let mut key = Text::default();
        while object.next_key_seed(Into(&mut key))?.is_some() {
            self.is_some = true;
            match key.as_str() {
                "code" => object.next_value_seed(Into(&mut self.code))?,
                "type" => object.next_value_seed(Into(&mut self.kind))?,
                "status" => object.next_value_seed(Into(&mut self.status))?,
                "details" => object.next_value_seed(Into(&mut self.details))?,
                _ => object.next_value::<IgnoredAny>().map(|_| ())?,
            }
        }
        Ok(())
    }
}

impl Failure<'_> {
    /// The provider's word for the error: its code, else its type. A number says no more than the
    /// status does, so it comes last. `beside` are the words outside of the error's own object.
    fn word(&self, code: &Word, kind: &Text<'_>) -> Option<String> {
        let Self { code: own, kind: own_kind, status, .. } = self;
        let kind = if kind.as_str() == "error" { "" } else { kind.as_str() };
        let texts = |word: &Word| if word.is_number() { String::new() } else { word.0.clone() };
        let words = [
            texts(own),
            texts(&self.details.code),
            own_kind.as_str().to_owned(),
            status.as_str().to_owned(),
            texts(code),
            kind.to_owned(),
            own.0.clone(),
            code.0.clone(),
        ];
        words.iter().find_map(|word| bounded(word))
    }

    /// Tells of the error, of which words stand beside it too. Where it has none, an earlier one stands, or
    /// else what is said `otherwise`.
    pub fn tell(&self, code: &Word, kind: &Text<'_>, otherwise: &str, facts: &mut ResponseFacts) {
        facts.retry_after = self.retry_after().or(facts.retry_after);
        if let Some(word) = self.word(code, kind) {
            // An error may be told twice (Responses), and what kind it is of only once.
            facts.error_is_requests &= facts.error.as_ref() == Some(&word);
            facts.error_is_requests |= self.kind.as_str() == REQUESTS;
            facts.error = Some(word);
        }
        facts.error.get_or_insert_with(|| otherwise.to_owned());
    }

    /// The same, where no words stand beside it.
    pub fn tell_alone(&self, otherwise: &str, facts: &mut ResponseFacts) {
        self.tell(&Word::default(), &Text::default(), otherwise, facts);
    }

    /// How long it asks to wait.
    fn retry_after(&self) -> Option<Duration> {
        // A duration, not a moment: no clock is asked.
        until(self.details.retry_delay.as_str().as_bytes(), || UNIX_EPOCH)
    }
}

/// Lower case, `[a-z0-9_.-]` only, at most 64 bytes: fit for a metric's label.
fn bounded(word: &str) -> Option<String> {
    let clean = |c: char| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9' | '_' | '.' | '-') => c,
        _ => '_',
    };
    let word: String = word.chars().take(LONGEST).map(clean).collect();
    word.contains(|c: char| c.is_ascii_alphanumeric()).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::shapes::lenient::{fields, read};

    fields! {
        struct Answer<'de> {
            error: Failure<'de> = "error",
            code: Word = "code",
            kind: Text<'de> = "type",
        }
    }

    fn word(json: &str) -> Option<String> {
        let mut answer = Answer::default();
        read(json.as_bytes(), &mut answer).unwrap();
        answer.error.is_some.then(|| {
            answer.error.word(&answer.code, &answer.kind).unwrap_or_else(|| "none".to_owned())
        })
    }

    #[test]
    fn an_error_told_twice_is_one_and_keeps_its_kind() {
        let mut facts = ResponseFacts::default();
        for (json, is_requests) in [
            (r#"{"error":{"code":"x","type":"invalid_request_error"}}"#, true),
            (r#"{"error":{"code":"x"}}"#, true),
            (r#"{"error":{"message":"m"},"type":"error"}"#, true),
            (r#"{"error":{"type":"y"}}"#, false),
        ] {
            let mut answer = Answer::default();
            read(json.as_bytes(), &mut answer).unwrap();
            answer.error.tell(&answer.code, &answer.kind, "none", &mut facts);
            assert_eq!(facts.error_is_requests, is_requests, "{json}");
        }
        assert_eq!(facts.error.as_deref(), Some("y"));
    }

    #[test]
    fn the_code_comes_first_then_the_type_then_a_number() {
        for (json, expected) in [
            (
                r#"{"error":{"message":"m","type":"tokens","code":"rate_limit_exceeded"}}"#,
                "rate_limit_exceeded",
            ),
            (
                r#"{"error":{"message":"m","type":"invalid_request_error","code":null}}"#,
                "invalid_request_error",
            ),
            (
                r#"{"error":{"code":503,"message":"Loading","type":"unavailable_error"}}"#,
                "unavailable_error",
            ),
            (r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED"}}"#, "resource_exhausted"),
            (r#"{"error":{"code":"401","message":"m"}}"#, "401"),
            (r#"{"error":{"code":429,"message":"m"}}"#, "429"),
            (
                r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#,
                "overloaded_error",
            ),
            (
                r#"{"code":"Client specified an invalid argument","error":"text"}"#,
                "client_specified_an_invalid_argument",
            ),
            (
                r#"{"error":{"type":"invalid_request_error","details":{"error_code":"spend_limit_reached"}}}"#,
                "spend_limit_reached",
            ),
            (r#"{"error":{"code":"DeploymentNotFound","details":"text"}}"#, "deploymentnotfound"),
            (
                r#"{"object":"error","type":"invalid_model","code":1500,"error":{"x":1}}"#,
                "invalid_model",
            ),
            (
                r#"{"error":{"status":"UNAVAILABLE","details":[{"reason":"x"},[],7]}}"#,
                "unavailable",
            ),
            (r#"{"error":"model 'x' not found"}"#, "none"),
            (r#"{"error":{"code":"\u00e9\u00e9"}}"#, "none"),
        ] {
            assert_eq!(word(json).as_deref(), Some(expected), "{json}");
        }
    }

    #[test]
    fn an_empty_error_is_none() {
        for json in
            [r#"{"error":null}"#, r#"{"error":""}"#, r#"{"error":false}"#, r#"{"error":{}}"#, "{}"]
        {
            assert_eq!(word(json), None, "{json}");
        }
    }

    #[test]
    fn an_error_may_ask_to_wait() {
        let wait = |details: &str| {
            let mut answer = Answer::default();
            let json = format!(r#"{{"error":{{"code":429,"details":{details}}}}}"#);
            read(json.as_bytes(), &mut answer).unwrap();
            answer.error.retry_after()
        };
        let gemini = r#"[{"@type":"QuotaFailure","violations":[]},{"@type":"RetryInfo","retryDelay":"48.5s"},{}]"#;
        assert_eq!(wait(gemini), Some(Duration::from_millis(48_500)));
        for nothing in
            ["[]", "{}", "7", "null", r#"[{"retryDelay":{}}]"#, r#"[{"retryDelay":"soon"}]"#]
        {
            assert_eq!(wait(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn a_word_is_bounded() {
        let long = word(&format!(r#"{{"error":{{"code":"{}"}}}}"#, "Ä b".repeat(50))).unwrap();
        assert_eq!(long.len(), LONGEST);
        assert!(long.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-')));
    }
}
