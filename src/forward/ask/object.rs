//! The top level of a JSON object, by position, in one strict pass. Knows no key, keeps no text, and
//! says nothing about an object that two parsers could read in two ways.

use std::ops::Range;

use memchr::memchr2;

/// Members of one object. One with more is not read: no API has as many, and each is compared with
/// all before it.
const MEMBERS: usize = 256;
/// Arrays and objects within each other. What is deeper is not read.
const DEPTH: usize = 1024;

/// Where the members of an object stand in its text.
#[derive(Debug)]
pub(super) struct Object {
    /// Behind the opening brace.
    pub(super) inside: usize,
    members: Vec<Member>,
}

/// One member: positions in the text.
#[derive(Debug)]
pub(super) struct Member {
    /// The key without its quotes.
    key: Range<usize>,
    /// The value, quotes and brackets included.
    pub(super) value: Range<usize>,
}

impl Member {
    /// Where the key's opening quote stands.
    pub(super) fn start(&self) -> usize {
        self.key.start.saturating_sub(1)
    }
}

impl Object {
    /// Reads `text`, which is one object and white space around it. Nothing where it is anything
    /// else, is not JSON (RFC 8259) in UTF-8, has a key twice, or spells a key with an escape.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        let mut scanner = Scanner { text, at: 0, is_plain: is_text(text) };
        scanner.space();
        scanner.take(b'{')?;
        let mut object = Self { inside: scanner.at, members: Vec::new() };
        scanner.space();
        if scanner.take(b'}').is_none() {
            loop {
                object.add(text, scanner.member()?)?;
                scanner.space();
                if scanner.take(b'}').is_some() {
                    break;
                }
                scanner.take(b',')?;
            }
        }
        scanner.space();
        (scanner.at == text.len()).then_some(object)
    }

    fn add(&mut self, text: &[u8], member: Member) -> Option<()> {
        let key = text.get(member.key.clone());
        let twice = self.members.iter().any(|it| text.get(it.key.clone()) == key);
        (!twice && self.members.len() < MEMBERS).then(|| self.members.push(member))
    }

    /// Whether there are no members.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The member of this name in `text`, with those beside it.
    pub(super) fn find<'a>(&'a self, text: &[u8], key: &str) -> Option<Found<'a>> {
        let is = |it: &Member| text.get(it.key.clone()) == Some(key.as_bytes());
        let at = self.members.iter().position(is)?;
        let (before, rest) = self.members.split_at_checked(at)?;
        let (member, after) = rest.split_first()?;
        Some(Found { before: before.last(), member, after: after.first() })
    }

    /// The text of the value of this name.
    pub(super) fn value<'t>(&self, text: &'t [u8], key: &str) -> Option<&'t [u8]> {
        text.get(self.find(text, key)?.member.value.clone())
    }
}

/// A member between its neighbours.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) before: Option<&'a Member>,
    pub(super) member: &'a Member,
    pub(super) after: Option<&'a Member>,
}

/// Reads on from a position; nothing once the text is not JSON.
#[derive(Debug)]
struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    // All of it can stand in a string: no piece need be looked at again.
    is_plain: bool,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// A member whose key is spelled plainly.
    fn member(&mut self) -> Option<Member> {
        self.space();
        let start = self.at + 1;
        let plain = self.string()?;
        let key = start..self.at - 1;
        self.colon()?;
        let start = self.at;
        self.value()?;
        plain.then_some(Member { key, value: start..self.at })
    }

    fn colon(&mut self) -> Option<()> {
        self.space();
        self.take(b':')?;
        self.space();
        Some(())
    }

    /// A value of any depth, without recursion.
    fn value(&mut self) -> Option<()> {
        // What closes each array and object around here.
        let mut closers = Vec::new();
        loop {
            if let Some(closer) = self.scalar_or_opening()? {
                if closers.len() == DEPTH {
                    return None;
                }
                closers.push(closer);
                continue;
            }
            // A value has ended, and perhaps what is around it.
            loop {
                let Some(&closer) = closers.last() else { return Some(()) };
                self.space();
                if self.take(b',').is_some() {
                    self.space();
                    self.key_of(closer)?;
                    break;
                }
                self.take(closer)?;
                closers.pop();
            }
        }
    }

    /// A whole value without members; or the beginning of one with members, up to its first value,
    /// and what closes it.
    fn scalar_or_opening(&mut self) -> Option<Option<u8>> {
        let closer = match self.peek()? {
            b'{' => b'}',
            b'[' => b']',
            b'"' => return self.string().map(|_| None),
            b't' => return self.word(b"true"),
            b'f' => return self.word(b"false"),
            b'n' => return self.word(b"null"),
            _ => return self.number().map(|()| None),
        };
        self.at += 1;
        self.space();
        if self.take(closer).is_some() {
            return Some(None);
        }
        self.key_of(closer)?;
        Some(Some(closer))
    }

    /// In an object a key comes before each value.
    fn key_of(&mut self, closer: u8) -> Option<()> {
        if closer == b'}' {
            self.string()?;
            self.colon()?;
        }
        Some(())
    }

    fn word(&mut self, word: &[u8]) -> Option<Option<u8>> {
        let rest = self.text.get(self.at..)?;
        self.at += rest.starts_with(word).then_some(word.len())?;
        Some(None)
    }

    /// A string; whether it is spelled without escapes.
    fn string(&mut self) -> Option<bool> {
        self.take(b'"')?;
        let mut plain = true;
        loop {
            let rest = self.text.get(self.at..)?;
            let stop = memchr2(b'"', b'\\', rest)?;
            rest.get(..stop).filter(|piece| self.is_plain || is_text(piece))?;
            self.at += stop;
            if self.take(b'"').is_some() {
                return Some(plain);
            }
            plain = false;
            self.escape()?;
        }
    }

    fn escape(&mut self) -> Option<()> {
        self.take(b'\\')?;
        let kind = self.peek()?;
        self.at += 1;
        if kind == b'u' {
            let digits = self.text.get(self.at..self.at + 4)?;
            self.at += digits.iter().all(u8::is_ascii_hexdigit).then_some(4)?;
            return Some(());
        }
        b"\"\\/bfnrt".contains(&kind).then_some(())
    }

    fn number(&mut self) -> Option<()> {
        let _sign = self.take(b'-');
        if self.take(b'0').is_none() {
            self.digits()?;
        }
        if self.take(b'.').is_some() {
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            let _sign = self.take(b'+').or_else(|| self.take(b'-'));
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }
}

/// No control character, and UTF-8.
fn is_text(piece: &[u8]) -> bool {
    // Without an early end, so that it is done many bytes at a time.
    let control = piece.iter().fold(false, |found, &byte| found | (byte < b' '));
    !control && std::str::from_utf8(piece).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Option<Vec<(&str, &str)>> {
        let object = Object::read(text.as_bytes())?;
        let members = object.members.iter();
        Some(members.map(|it| (&text[it.key.clone()], &text[it.value.clone()])).collect())
    }

    #[test]
    fn members_are_found_where_they_stand() {
        let text = " {\"a\" : [1, {\"b\":\"}\"}] ,\n\"\":\"\\\"\\u00e9é\",\"c\":-1.5e+3}\r\n";
        let found = [("a", "[1, {\"b\":\"}\"}]"), ("", "\"\\\"\\u00e9é\""), ("c", "-1.5e+3")];
        assert_eq!(keys(text).unwrap(), found);
        assert_eq!(keys("{ }").unwrap(), []);
        let object = Object::read(text.as_bytes()).unwrap();
        let found = object.find(text.as_bytes(), "").unwrap();
        assert_eq!(&text[found.member.start()..=found.member.start() + 1], "\"\"");
        assert_eq!(&text[found.before.unwrap().key.clone()], "a");
        assert_eq!(&text[found.after.unwrap().key.clone()], "c");
        assert!(object.find(text.as_bytes(), "b").is_none());
    }

    #[test]
    fn what_is_read_is_what_serde_reads() {
        let values = [
            "0",
            "-0",
            "10",
            "01",
            "1.",
            ".5",
            "1.5",
            "-",
            "1e5",
            "1E-5",
            "1e",
            "+1",
            "true",
            "tru",
            "false",
            "null",
            "nul",
            "\"\"",
            "\"a",
            "\"\\n\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\\u00e9\"",
            "\"\t\"",
            "\"\\",
            "[]",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[[],[{}]]",
            "{}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{1:2}",
            "[}",
            "{]",
            "[1}",
            "{\"a\":[}]",
            "",
            "NaN",
            "1 1",
            "\u{feff}1",
        ];
        for value in values {
            let text = format!("{{\"k\": {value} }}");
            let theirs = serde_json::from_str::<serde_json::Value>(&text).is_ok();
            assert_eq!(Object::read(text.as_bytes()).is_some(), theirs, "{text}");
            let theirs = serde_json::from_str::<serde_json::Map<_, _>>(value).is_ok();
            assert_eq!(Object::read(value.as_bytes()).is_some(), theirs, "{value}");
        }
        for text in
            ["{\"k\":1}x", "{\"k\":1", "{\"k\":1}{", "\u{feff}{}", "[{}]", "{\"k\":\"\u{1}\"}"]
        {
            assert!(Object::read(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn two_readings_are_none() {
        assert!(keys(r#"{"a":1,"b":2,"a":3}"#).is_none());
        assert!(keys(r#"{"stre\u0061m":1}"#).is_none());
        // Within a value both are its own affair.
        assert!(keys(r#"{"v":{"a":1,"a":2,"\u0061":3}}"#).is_some());
    }

    #[test]
    fn bytes_that_are_no_text_are_not_read() {
        for bad in [&b"\xff"[..], b"\xc3", b"\xed\xa0\x80", b"\xc0\xaf"] {
            let text = [b"{\"a\":\"", bad, b"\"}"].concat();
            assert!(Object::read(&text).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn depth_and_members_have_a_limit_and_no_stack() {
        let nested =
            |depth: usize| format!("{{\"a\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(keys(&nested(DEPTH)).is_some());
        assert!(keys(&nested(DEPTH + 1)).is_none());
        assert!(keys(&nested(4_000_000)).is_none());
        let many = |count: usize| {
            let members: Vec<_> = (0..count).map(|it| format!("\"{it}\":0")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert_eq!(keys(&many(MEMBERS)).unwrap().len(), MEMBERS);
        assert!(keys(&many(MEMBERS + 1)).is_none());
    }
}
