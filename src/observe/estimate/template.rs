//! Where the text stood in the event before: most events of a stream differ in nothing else. Knows bytes,
//! and no key.

use std::ops::Range;

use memchr::memchr2;

/// The longest beginning that is remembered, in bytes.
const LONGEST: usize = 512;
/// By how much what follows the text may grow and hold no further text: padding does, a tool call does not.
const PADDING: usize = 64;

/// An event's bytes up to its only text, and how many followed it.
#[derive(Debug, Default)]
pub(super) struct Template {
    before: Vec<u8>,
    after: usize,
}

impl Template {
    /// The text of an event that begins as the one before did: it stands at the same place, in the same
    /// object. Nothing where it is empty, or not as it stands.
    pub(super) fn text<'a>(&self, json: &'a [u8]) -> Option<&'a str> {
        if self.before.is_empty() {
            return None;
        }
        let rest = json.strip_prefix(self.before.as_slice())?;
        let end = memchr2(b'"', b'\\', rest).filter(|&end| end > 0)?;
        let (text, after) = rest.split_at_checked(end)?;
        let is_like = after.first() == Some(&b'"') && after.len() <= self.after + PADDING;
        is_like.then(|| std::str::from_utf8(text).ok())?
    }

    /// Remembers an event, of which the only text stands there.
    pub(super) fn learn(&mut self, json: &[u8], only: Option<Range<usize>>) {
        let only = only.filter(|only| only.start <= LONGEST);
        let parts = only.and_then(|only| Some((json.get(..only.start)?, json.get(only.end..)?)));
        // What came otherwise may be alone in that.
        if let Some((before, after)) = parts {
            self.before.clear();
            self.before.extend_from_slice(before);
            self.after = after.len();
        }
    }

    /// Bytes of its buffer.
    pub(super) fn held(&self) -> usize {
        self.before.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"id":"c","delta":{"content":"Hel"},"x":null,"pad":"ab"}"#;

    fn learned() -> Template {
        let mut template = Template::default();
        let at = EVENT.find("Hel").unwrap();
        template.learn(EVENT.as_bytes(), Some(at..at + 3));
        template
    }

    #[test]
    fn the_text_of_an_event_that_begins_alike_stands_where_it_stood() {
        let text = |event: &str| learned().text(event.as_bytes()).map(str::to_owned);
        assert_eq!(text(EVENT).unwrap(), "Hel");
        let padded = EVENT.replace("Hel", "né, {}[]").replace("ab", "abcdefgh");
        assert_eq!(text(&padded).unwrap(), "né, {}[]");
        for other in [
            EVENT.replace("Hel", ""),
            EVENT.replace("Hel", "\\n"),
            EVENT.replace("Hel", "a\\n"),
            EVENT.replace("content", "contents"),
            EVENT.replace("null", r#"[{"function":{"arguments":"{}"},"and":"what makes it much longer than padding does"}]"#),
            EVENT[..31].to_owned(),
            String::new(),
        ] {
            assert_eq!(text(&other), None, "{other}");
        }
        assert_eq!(Template::default().text(EVENT.as_bytes()), None);
    }

    #[test]
    fn what_is_not_alone_or_stands_late_is_not_remembered() {
        let mut template = learned();
        template.learn(EVENT.as_bytes(), None);
        assert_eq!(template.text(EVENT.as_bytes()), Some("Hel"), "as before");
        let mut late = Template::default();
        let event = format!(r#"{{"x":"{}","content":"a"}}"#, "x".repeat(600));
        let at = event.len() - 3;
        late.learn(event.as_bytes(), Some(at..at + 1));
        assert_eq!((late.text(event.as_bytes()), late.held()), (None, 0));
    }
}
