//! The question put into a request's body: where, or not at all. Pure: bytes in, a position out.

use memchr::memmem;

use super::object::Object;

/// The two forms of the question.
const OPTIONS: &[u8] = br#""stream_options":{"include_usage":true},"#;
const OPTION: &[u8] = br#""include_usage":true,"#;
/// In an object that is empty.
const ONLY_OPTION: &[u8] = br#""include_usage":true"#;

/// Bytes to put into a body, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Splice<'a> {
    /// So many bytes of the body come before it.
    pub at: usize,
    /// What is put there: whole members, with the comma that they need.
    pub text: &'static [u8],
    /// The model asked for, as the body spells it; empty where it names none.
    pub model: &'a [u8],
}

/// Where the question goes into `body`; nothing where it must be left alone: not one JSON object
/// that every parser reads alike, not `"stream": true`, or the client said something about usage.
pub fn find(body: &[u8]) -> Option<Splice<'_>> {
    // Most bodies that are large say nothing of a stream, and need not be read for that.
    memmem::find(body, b"\"stream\"")?;
    let request = Object::read(body)?;
    if request.value(body, "stream")? != b"true" {
        return None;
    }
    let model = request.value(body, "model").unwrap_or_default();
    let Some(options) = request.find(body, "stream_options") else {
        return Some(Splice { at: request.inside, text: OPTIONS, model });
    };
    let place = options.member.value.clone();
    let text = body.get(place.clone())?;
    let options = Object::read(text)?;
    if options.find(text, "include_usage").is_some() {
        return None;
    }
    let at = place.start + options.inside;
    Some(Splice { at, text: if options.is_empty() { ONLY_OPTION } else { OPTION }, model })
}

/// `body` with the question in it.
#[cfg(any(test, fuzzing))]
pub fn apply(body: &[u8], splice: &Splice<'_>) -> Vec<u8> {
    let (before, after) = body.split_at(splice.at.min(body.len()));
    [before, splice.text, after].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(body: &str) -> Option<String> {
        let splice = find(body.as_bytes())?;
        Some(String::from_utf8(apply(body.as_bytes(), &splice)).unwrap())
    }

    #[test]
    fn the_question_is_put_in_place_and_nothing_else_changes() {
        for (body, with) in [
            (
                r#"{"model":"m","stream":true}"#,
                r#"{"stream_options":{"include_usage":true},"model":"m","stream":true}"#,
            ),
            (
                "\n{ \"stream\" : true , \"stream_options\" : {} }\n",
                "\n{ \"stream\" : true , \"stream_options\" : {\"include_usage\":true} }\n",
            ),
            (
                r#"{"stream_options":{ "include_obfuscation":false },"stream":true}"#,
                r#"{"stream_options":{"include_usage":true, "include_obfuscation":false },"stream":true}"#,
            ),
        ] {
            assert_eq!(asked(body).as_deref(), Some(with));
            let read: serde_json::Value = serde_json::from_str(with).unwrap();
            assert_eq!(read["stream_options"]["include_usage"], true);
        }
    }

    #[test]
    fn what_the_client_decided_or_nobody_can_read_is_left_alone() {
        for body in [
            r#"{"stream":false}"#,
            r#"{"stream":"true"}"#,
            r#"{"stream":1}"#,
            r#"{"stream":null}"#,
            r#"{"model":"m"}"#,
            r#"{"a":{"stream":true}}"#,
            r#"{"stream":true,"stream_options":{"include_usage":true}}"#,
            r#"{"stream":true,"stream_options":{"include_usage":false}}"#,
            r#"{"stream":true,"stream_options":{"include_usage":null}}"#,
            r#"{"stream":true,"stream_options":{"include_us\u0061ge":false}}"#,
            r#"{"stream":true,"stream_options":{"a":1,"a":2}}"#,
            r#"{"stream":true,"stream_options":null}"#,
            r#"{"stream":true,"stream_options":[]}"#,
            r#"{"stream":true,"stre\u0061m_options":{}}"#,
            r#"{"stream":true,"stre\u0061m":false}"#,
            r#"{"stream":true,"stream":true}"#,
            r#"{"stream":true,"a":1,"a":1}"#,
            r#"{"stream":true}x"#,
            r#"{"stream":true"#,
            r#"[{"stream":true}]"#,
            "",
        ] {
            assert_eq!(asked(body), None, "{body}");
        }
    }

    #[test]
    fn the_model_is_told_as_spelled() {
        let model = |body: &'static str| find(body.as_bytes()).unwrap().model;
        assert_eq!(model(r#"{"stream":true,"model":"gpt-4o"}"#), b"\"gpt-4o\"");
        assert_eq!(model(r#"{"stream":true}"#), b"");
    }

    #[test]
    fn a_body_of_megabytes_is_read_at_once() {
        let body = format!(r#"{{"messages":["{}"],"stream":true}}"#, "wörd\\n ".repeat(500_000));
        assert_eq!(find(body.as_bytes()).unwrap().at, 1);
    }

    #[test]
    fn whatever_is_asked_is_json_that_differs_in_the_question_alone() {
        let mut random = fastrand::Rng::with_seed(5);
        let pieces = [
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            " ",
            "\"stream\"",
            "true",
            "\"stream_options\"",
            "{}",
            "\"include_usage\"",
            "\"a\"",
            "1",
            "null",
            "\"\\u0061\"",
            "\"stream\":true",
            "\n",
        ];
        let mut asked = 0;
        for _ in 0..200_000 {
            let mut body = String::from("{\"stream\":true");
            (0..random.usize(0..8)).for_each(|_| body.push_str(random.choice(pieces).unwrap()));
            body.push('}');
            let Some(splice) = find(body.as_bytes()) else { continue };
            asked += 1;
            let with = apply(body.as_bytes(), &splice);
            let mut read: serde_json::Value = serde_json::from_slice(&with).unwrap();
            let options = read["stream_options"].as_object_mut().unwrap();
            assert_eq!(options.remove("include_usage"), Some(true.into()));
            let mut plain: serde_json::Value = serde_json::from_str(&body).unwrap();
            if plain.get("stream_options").is_none() {
                plain["stream_options"] = serde_json::json!({});
            }
            assert_eq!(read, plain, "{body}");
        }
        assert!(asked > 100, "{asked}");
    }
}
