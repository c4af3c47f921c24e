//! What is left of a document whose beginning was not kept, as a document of its own. Knows that usage
//! stands at the top of OpenAI's answers, near the end.

use std::borrow::Cow;

use memchr::memmem;

use crate::observe::shapes::lenient::{Filled, read};

/// All of it, where after a long upload a short answer stands there whole; else its last `usage` and what
/// follows. If that closes one object, `usage` stood at the top.
pub(super) fn document(tail: &[u8]) -> Option<Cow<'_, [u8]>> {
    let is_one = |json: &[u8]| read(json, &mut Filled::default()).is_ok();
    if tail.trim_ascii_start().starts_with(b"{") && is_one(tail) {
        return Some(Cow::Borrowed(tail));
    }
    // Within a text the quotes would have a backslash before them.
    let rest = memmem::rfind(tail, b"\"usage\"").and_then(|at| tail.get(at..))?;
    Some([b"{", rest].concat()).filter(|json| is_one(json)).map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_document_stays_and_of_another_usage_is_left() {
        for (tail, expected) in [
            (
                r#" {"text":"x","usage":{"seconds":1}}"#,
                Some(r#" {"text":"x","usage":{"seconds":1}}"#),
            ),
            (r#"{"a":1}],"usage":{"x":1},"b":2}"#, Some(r#"{"usage":{"x":1},"b":2}"#)),
            (r#"AAAA"}],"svg_usage":{"x":1}}"#, None),
            (r#"a \"usage\" of","usage":null}"#, Some(r#"{"usage":null}"#)),
            (r#"{"choices":[{"usage":{"x":1},"model":"nested"}],"id":1}"#.get(1..).unwrap(), None),
            ("", None),
        ] {
            let found = document(tail.as_bytes());
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{tail}");
        }
    }
}
