//! A usage object as it came, whatever the names in it. Knows where providers put it, and no count.

use super::lenient::{Lenient, List, fields, read};

/// The longest usage object that is kept, in bytes: those that are known are far below.
const LONGEST: usize = 2 << 10;

/// A value as it stands in the document.
#[derive(Clone, Copy, Debug, Default)]
pub struct Raw<'de>(pub &'de str);

impl<'de> Lenient<'de> for Raw<'de> {
    const RAW: bool = true;

    fn raw(&mut self, text: &'de str) {
        self.0 = text;
    }
}

impl<'de> Raw<'de> {
    fn object(self) -> Option<&'de str> {
        (self.0.starts_with('{') && self.0.len() <= LONGEST).then_some(self.0)
    }
}

fields! {
    /// An event, or a whole answer.
    struct Answer<'de> {
        usage: Raw<'de> = "usage" | "usageMetadata",
        /// Cohere's v1.
        meta: Raw<'de> = "meta",
        /// Responses, and Cohere's v1.
        response: Inner<'de> = "response",
        /// Gemini's interactions.
        interaction: Inner<'de> = "interaction",
        /// Cohere's v2.
        delta: Inner<'de> = "delta",
        /// Groq's corner.
        groq: Inner<'de> = "x_groq",
        /// Moonshot's streams.
        choices: List<'de, Inner<'de>> = "choices",
        /// Where Anthropic's streams begin.
        message: Inner<'de> = "message",
    }
}

fields! {
    struct Inner<'de> {
        usage: Raw<'de> = "usage",
        meta: Raw<'de> = "meta",
    }
}

impl<'de> Inner<'de> {
    fn object(&self) -> Option<&'de str> {
        self.usage.object().or(self.meta.object())
    }
}

/// The last usage object so far; beside it the one that Anthropic's streams begin with, of which the last
/// may repeat only a part.
#[derive(Debug, Default)]
pub struct RawUsage {
    begun: Option<String>,
    last: Option<String>,
}

impl RawUsage {
    /// Takes the usage out of an event or an answer, if it holds any.
    pub fn see(&mut self, json: &[u8]) {
        let may_tell = |word: &[u8]| memchr::memmem::find(json, word).is_some();
        if !may_tell(b"\"usage") && !may_tell(b"\"meta\"") {
            return;
        }
        let mut answer = Answer::default();
        // Of what breaks off, what came before the break stands.
        let _read = read(json, &mut answer);
        let inner = [&answer.response, &answer.interaction, &answer.delta, &answer.groq];
        let inner = inner.into_iter().chain(answer.choices.iter());
        let last = answer.usage.object().or_else(|| inner.filter_map(Inner::object).next());
        let last = last.or(answer.meta.object());
        if let Some(last) = last {
            self.last = Some(last.to_owned());
        } else if let Some(begun) = answer.message.object() {
            self.begun = Some(begun.to_owned());
        }
    }

    /// What was told: an object, or a list of two.
    pub fn told(&self) -> Option<String> {
        match (&self.begun, &self.last) {
            (Some(begun), Some(last)) => Some(format!("[{begun},{last}]")),
            (begun, last) => last.as_ref().or(begun.as_ref()).cloned(),
        }
    }

    /// Bytes of its buffers.
    pub fn held(&self) -> usize {
        [&self.begun, &self.last].into_iter().flatten().map(String::capacity).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(events: &[&str]) -> Option<String> {
        let mut raw = RawUsage::default();
        events.iter().for_each(|event| raw.see(event.as_bytes()));
        raw.told()
    }

    #[test]
    fn usage_is_kept_as_it_came_wherever_it_stands() {
        for (event, expected) in [
            (
                r#"{"id":"c","usage":{"prompt_tokens":9, "new":{"x":1}}}"#,
                r#"{"prompt_tokens":9, "new":{"x":1}}"#,
            ),
            (
                r#"{"usageMetadata":{"promptTokenCount":5},"candidates":[]}"#,
                r#"{"promptTokenCount":5}"#,
            ),
            (
                r#"{"type":"response.completed","response":{"usage":{"input_tokens":3}}}"#,
                r#"{"input_tokens":3}"#,
            ),
            (
                r#"{"type":"message-end","delta":{"usage":{"billed_units":{}}}}"#,
                r#"{"billed_units":{}}"#,
            ),
            (
                r#"{"text":"x","meta":{"billed_units":{"input_tokens":3}}}"#,
                r#"{"billed_units":{"input_tokens":3}}"#,
            ),
            (r#"{"choices":[],"x_groq":{"usage":{"queue_time":1}}}"#, r#"{"queue_time":1}"#),
            (r#"{"choices":[{"usage":{"prompt_tokens":1}}]}"#, r#"{"prompt_tokens":1}"#),
            (r#"{"interaction":{"usage":{"total_tokens":1}}}"#, r#"{"total_tokens":1}"#),
        ] {
            assert_eq!(told(&[event]).as_deref(), Some(expected), "{event}");
        }
        for nothing in [r#"{"usage":null}"#, r#"{"usage":"x"}"#, "{}", "usage", r#""usage""#] {
            assert_eq!(told(&[nothing]), None, "{nothing}");
        }
    }

    #[test]
    fn the_last_object_counts_and_anthropics_two_stand_beside_each_other() {
        let zeros = r#"{"usage":{"n":0}}"#;
        assert_eq!(
            told(&[zeros, r#"{"usage":null}"#, r#"{"usage":{"n":2}}"#]).unwrap(),
            r#"{"n":2}"#
        );
        let begun = r#"{"type":"message_start","message":{"usage":{"input_tokens":9}}}"#;
        assert_eq!(told(&[begun]).unwrap(), r#"{"input_tokens":9}"#);
        let both =
            told(&[begun, r#"{"type":"message_delta","delta":{},"usage":{"output_tokens":2}}"#]);
        assert_eq!(both.unwrap(), r#"[{"input_tokens":9},{"output_tokens":2}]"#);
    }

    #[test]
    fn what_is_too_long_to_be_usage_is_not_kept() {
        let long = format!(r#"{{"usage":{{"x":"{}"}}}}"#, "x".repeat(LONGEST));
        assert_eq!(told(&[&long]), None);
        assert_eq!(told(&[r#"{"usage":{"n":1}}"#, &long]).unwrap(), r#"{"n":1}"#);
    }
}
