//! Whether a refusal may be about the question. Pure: what the refusal says in, a verdict out.

use memchr::memmem;

/// What the question is called.
const QUESTION: [&str; 5] =
    ["stream_options", "include_usage", "stream options", "streamoptions", "includeusage"];
/// Words of a refusal that may mean the question without its name: a field that is not known, a body
/// that is wrong as a whole, or a place in its text, which the question has moved.
const PERHAPS: [&str; 25] = [
    "unknown",
    "unrecognized",
    "unrecognised",
    "unexpected",
    "unsupported",
    "not supported",
    "extra",
    "additional propert",
    "not permitted",
    "not allowed",
    "forbidden",
    "malformed",
    "bad request",
    "unprocessable",
    "invalid request",
    "invalid argument",
    "invalid param",
    "invalid_param",
    "parameter error",
    "schema",
    "validation",
    "deserializ",
    "column",
    "position",
    "offset",
];
/// Fewer words say no more than the status does.
const WORDS: usize = 4;

/// Whether the refusal may be about the question, as far as `text` tells: it names the question, or may
/// mean it, or says nothing that can be read. What is wrong with another member is not ours.
pub(super) fn may_be_about_the_question(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return true };
    let text = text.to_ascii_lowercase();
    let says = |words: &[&str]| {
        words.iter().any(|it| memmem::find(text.as_bytes(), it.as_bytes()).is_some())
    };
    says(&QUESTION) || !names_a_member(&text) && (says(&PERHAPS) || !says_something(&text))
}

/// OpenAI's errors name the member that they are about: `"param": "messages"`.
fn names_a_member(text: &str) -> bool {
    text.split("\"param\"").skip(1).any(|rest| {
        let value = rest.trim_start().strip_prefix(':').unwrap_or_default().trim_start();
        value.strip_prefix('"').is_some_and(|value| !value.starts_with('"'))
    })
}

/// Whether there is a sentence in it. An id of a request and a page's address are one word each.
fn says_something(text: &str) -> bool {
    let has_letters = |word: &&str| word.chars().any(char::is_alphabetic);
    let words = |piece: &str| piece.split_whitespace().filter(has_letters).count();
    text.split(['"', '<', '>']).any(|piece| words(piece) >= WORDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repeated(text: &str) -> bool {
        may_be_about_the_question(text.as_bytes())
    }

    #[test]
    fn what_names_the_question_or_a_field_that_is_not_known_may_be_about_it() {
        for text in [
            // Azure, Mistral, vLLM, Google, a Java server.
            r#"{"error":{"message":"Unrecognized request argument supplied: stream_options","param":null,"code":null}}"#,
            r#"{"detail":[{"type":"extra_forbidden","loc":["body","stream_options"],"msg":"Extra inputs are not permitted"}]}"#,
            r#"{"error":{"message":"stream_options is wrong in every way","param":"messages"}}"#,
            r#"{"error":{"message":"Invalid JSON payload received. Unknown name \"x\": Cannot find field."}}"#,
            r#"{"message":"streamOptions must not be used with this model"}"#,
            r#"{"error":{"message":"additional properties are not welcome here","param":null}}"#,
            r#"{"error":"missing field `messages` at line 1 column 58, which was moved"}"#,
        ] {
            assert!(repeated(text), "{text}");
        }
    }

    #[test]
    fn what_says_no_more_than_its_status_may_be_about_it() {
        for text in [
            "",
            "no",
            "400",
            "Bad Request",
            r#"{"detail":"There was an error parsing"}"#.get(..22).unwrap(),
            r#"{"error":{"message":"","type":"invalid_request_error","param":null,"code":null}}"#,
            r#"{"error":{"message":"wrong","type":"invalid_request_error","param":"","code":"400"}}"#,
            r#"{"error":"wrong","request_id":"550e8400-e29b-41d4-a716-446655440000"}"#,
            r#"{"code":"wrong","docs":"https://platform.example/docs/api/errors/bad"}"#,
            r#"{"code":"InvalidParameter","message":"One of the values given is an invalid parameter"}"#,
            r#"{"error":{"code":400,"message":"Request contains an invalid argument.","status":"INVALID_ARGUMENT"}}"#,
            "<html><head><title>400 Bad Request</title></head><body><h1>400 Bad Request</h1></body></html>",
        ] {
            assert!(repeated(text), "{text}");
        }
        assert!(may_be_about_the_question(b"\x1f\x8b four words of it \xff"), "not legible");
    }

    #[test]
    fn what_says_that_something_else_is_wrong_is_not() {
        for text in [
            r#"{"error":{"message":"This model's maximum context length is 128000 tokens. However, your messages resulted in 130001 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
            r#"{"object":"error","message":"This model's maximum context length is 4096 tokens.","type":"BadRequestError","param":null,"code":400}"#,
            r#"{"error":{"message":"Unsupported parameter: 'max_tokens' is not supported with this model.","type":"invalid_request_error","param" : "max_tokens","code":"unsupported_parameter"}}"#,
            r#"{"error":{"message":"The response was filtered due to the prompt triggering content management policy.","code":"content_filter","param":"prompt"}}"#,
            "temperature must be between 0 and 2",
        ] {
            assert!(!repeated(text), "{text}");
        }
    }
}
