//! What the question caused in one event of an answer. Pure; knows OpenAI's stream chunks, and no
//! stream around them.
//!
//! Asked, an upstream sends one event more, whose `choices` are empty and whose `usage` is an object,
//! and may write `"usage":null` into the others. Only these two are recognised: usage beside
//! choices, as some send with every chunk or the last, is what they send unasked too. What cannot
//! be told apart is the same two sent unasked.

use std::borrow::Cow;
use std::ops::Range;

use memchr::{memchr2_iter, memmem};

use super::object::Object;

/// What of an event would not be there without the question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Caused {
    Nothing,
    /// These bytes of it: a member and the comma that it needs.
    Member(Range<usize>),
    /// All of it.
    Event,
}

/// Looks at one event: whole lines, each with its end.
pub(super) fn caused(event: &[u8]) -> Caused {
    if memmem::find(event, b"\"usage\"").is_none() {
        return Caused::Nothing;
    }
    let payload = Payload::of(event);
    judge(&payload).unwrap_or(Caused::Nothing)
}

fn judge(payload: &Payload<'_>) -> Option<Caused> {
    let text = &*payload.text;
    let chunk = Object::read(text)?;
    let choices = chunk.value(text, "choices")?;
    let usage = chunk.find(text, "usage")?;
    // An error is never taken away.
    let errs = chunk.value(text, "error").is_some_and(|error| error != b"null");
    match text.get(usage.member.value.clone())? {
        _ if errs || !choices.starts_with(b"[") => None,
        b"null" => {
            let range = match (usage.before, usage.after) {
                (Some(before), _) => before.value.end..usage.member.value.end,
                (None, Some(after)) => usage.member.start()..after.start(),
                (None, None) => return None,
            };
            Some(Caused::Member(payload.raw(range.start)..payload.raw(range.end)))
        }
        value if value.starts_with(b"{") && is_empty(choices) => Some(Caused::Event),
        _ => None,
    }
}

fn is_empty(array: &[u8]) -> bool {
    array.strip_prefix(b"[").is_some_and(|rest| rest.trim_ascii_start() == b"]")
}

/// The values of an event's `data` lines, joined by line feeds, and where each came from.
#[derive(Debug)]
struct Payload<'a> {
    text: Cow<'a, [u8]>,
    // Where each line begins in the text and in the event.
    lines: Vec<(usize, usize)>,
}

impl<'a> Payload<'a> {
    fn of(event: &'a [u8]) -> Self {
        let mut payload = Self { text: Cow::Borrowed(&[]), lines: Vec::with_capacity(1) };
        let mut at = 0;
        for end in memchr2_iter(b'\n', b'\r', event).chain([event.len()]) {
            if let Some(value) = event.get(at..end).and_then(data) {
                payload.add(value, end - value.len());
            }
            at = end + 1;
        }
        payload
    }

    fn add(&mut self, value: &'a [u8], at: usize) {
        if self.lines.is_empty() {
            self.text = Cow::Borrowed(value);
            self.lines.push((0, at));
            return;
        }
        let text = self.text.to_mut();
        text.push(b'\n');
        self.lines.push((text.len(), at));
        text.extend_from_slice(value);
    }

    /// Where in the event a byte of the text stands; a joining line feed stands where its line ends.
    fn raw(&self, at: usize) -> usize {
        let line = self.lines.iter().rev().find(|(start, _)| *start <= at);
        line.map_or(at, |(start, raw)| raw + (at - start))
    }
}

/// The value of a `data` field.
fn data(line: &[u8]) -> Option<&[u8]> {
    let value = line.strip_prefix(b"data:")?;
    Some(value.strip_prefix(b" ").unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of an event of one `data` line.
    fn left(json: &str) -> String {
        left_of(&format!("data: {json}\n\n"))
            .strip_prefix("data: ")
            .unwrap_or_default()
            .trim_end()
            .to_owned()
    }

    fn left_of(event: &str) -> String {
        let mut left = event.to_owned();
        match caused(event.as_bytes()) {
            Caused::Nothing => (),
            Caused::Member(range) => left.replace_range(range, ""),
            Caused::Event => left.clear(),
        }
        left
    }

    #[test]
    fn a_null_is_taken_out_with_its_comma_wherever_it_stands() {
        for (with, without) in [
            (r#"{"choices":[{}],"usage":null}"#, r#"{"choices":[{}]}"#),
            (
                r#"{"choices":[{}],"usage":null,"obfuscation":"x"}"#,
                r#"{"choices":[{}],"obfuscation":"x"}"#,
            ),
            (r#"{"usage":null,"choices":[]}"#, r#"{"choices":[]}"#),
            (r#"{"choices": [{}], "usage": null}"#, r#"{"choices": [{}]}"#),
            (r#"{"choices": [{}], "usage": null, "a": 1}"#, r#"{"choices": [{}], "a": 1}"#),
            (r#"{ "usage" : null , "choices" : [] }"#, r#"{ "choices" : [] }"#),
            (r#"{ "choices" : [] , "usage" : null }"#, r#"{ "choices" : [] }"#),
            (
                r#"{"a":{"usage":null},"choices":[],"usage":null}"#,
                r#"{"a":{"usage":null},"choices":[]}"#,
            ),
        ] {
            assert_eq!(left(with), without);
        }
    }

    #[test]
    fn the_usage_event_goes_whole() {
        for event in [
            r#"{"id":"c","choices":[],"usage":{"prompt_tokens":1},"obfuscation":"b"}"#,
            r#"{"choices": [ ], "usage": {}}"#,
            r#"{"usage":{"a":1},"choices":[],"timings":{}}"#,
            r#"{"choices":[],"usage":{},"error":null}"#,
        ] {
            assert_eq!(left(event), "", "{event}");
        }
    }

    #[test]
    fn what_comes_unasked_stays() {
        for event in [
            // Usage beside choices: xAI, Mistral, DeepSeek, OpenRouter, continuous statistics.
            r#"{"choices":[{"delta":{}}],"usage":{"prompt_tokens":1}}"#,
            r#"{"choices":[{}],"x_groq":{"usage":{}}}"#,
            // Azure's first event.
            r#"{"choices":[],"prompt_filter_results":[]}"#,
            r#"{"usage":{}}"#,
            r#"{"usage":null}"#,
            r#"{"choices":null,"usage":{}}"#,
            r#"{"choices":{},"usage":null}"#,
            r#"{"choices":[],"usage":5}"#,
            r#"{"choices":[],"usage":{},"error":{"message":"m"}}"#,
            r#"{"choices":[],"usage":null,"error":"m"}"#,
            r#"{"choices":[],"usage":{},"usage":null}"#,
            r#"{"choices":[],"us\u0061ge":null,"a":"\"usage\""}"#,
            r#"{"choices":[{"delta":{"content":"\"usage\":null"}}]}"#,
            r#"{"choices":[],"usage":null"#,
            "[DONE] \"usage\"",
        ] {
            assert_eq!(left(event), event);
        }
    }

    #[test]
    fn an_event_of_many_lines_is_read_as_one() {
        for end in ["\n", "\r\n", "\r"] {
            let lines = |lines: &[&str]| lines.join(end) + end + end;
            let with = [
                "event: x",
                "data: {",
                "data:   \"choices\": [],",
                "data:   \"usage\": null",
                "id: 7",
                "data: }",
            ];
            let without = ["event: x", "data: {", "data:   \"choices\": []", "id: 7", "data: }"];
            assert_eq!(left_of(&lines(&with)), lines(&without));
            let with =
                ["data: {", "data:\"usage\": null,", "data:\"choices\": []", "data", "data:}"];
            let without = ["data: {", "data:\"choices\": []", "data", "data:}"];
            assert_eq!(left_of(&lines(&with)), lines(&without));
            let usage = ["data: {\"choices\":", "data: [", "data: ],", "data: \"usage\":{}}"];
            assert_eq!(left_of(&lines(&usage)), "");
            let other = ["data: {\"choices\":[],\"usage\":{}}", "data: {}"];
            assert_eq!(left_of(&lines(&other)), lines(&other));
        }
    }
}
