//! JSON as some servers write it, made JSON: what most clients read all the same must not cost the rest.
//! Knows no document's meaning.
//!
//! Looked for only where a strict reader gave up: half a surrogate pair (`"\ud83d"`, where a server cut an
//! emoji in two), bytes that are not UTF-8, raw control bytes, `NaN` and `Infinity` (Python's `json` and
//! C's `printf` write them), numbers beyond what a double holds (`1e400`), a byte order mark, bytes
//! behind the value.

use std::borrow::Cow;

use super::lenient::Unread;

const BOM: &[u8] = b"\xef\xbb\xbf";
/// What stands in the place of half a pair (RFC 8259 8.2 leaves open what a reader makes of it).
const REPLACED: &[u8] = b"\\ufffd";
/// An escape by code point, `\u` included, in bytes.
const ESCAPE: usize = 6;

/// What `read` makes of `json`, and what was read. Where that is no JSON, `read` gets it once more, mended.
pub fn reading<T>(
    json: &[u8],
    mut read: impl FnMut(&[u8]) -> Result<T, Unread>,
) -> (Result<T, Unread>, Cow<'_, [u8]>) {
    let result = read(json);
    let is_bad = matches!(result, Err(Unread::Bad));
    match is_bad.then(|| mended(json)).flatten() {
        Some(mended) => (read(&mended), Cow::Owned(mended)),
        None => (result, Cow::Borrowed(json)),
    }
}

/// The same as JSON, as far as it can be mended; none where there was nothing to mend. It is longer than
/// `json` by a third at most.
pub fn mended(json: &[u8]) -> Option<Vec<u8>> {
    let text = utf8(json.strip_prefix(BOM).unwrap_or(json));
    let mut to = Vec::with_capacity(text.len());
    let (mut rest, mut depth) = (&*text, 0_usize);
    while let Some((&byte, after)) = rest.split_first() {
        rest = match byte {
            b'"' => string(after, &mut to),
            b'-' | b'+' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => word(rest, &mut to),
            0..0x20 if !byte.is_ascii_whitespace() => spaced(after, &mut to),
            _ => {
                to.push(byte);
                after
            }
        };
        depth = match byte {
            b'{' | b'[' => depth + 1,
            b'}' | b']' => depth.saturating_sub(1),
            _ => depth,
        };
        if depth == 0 && matches!(byte, b'}' | b']') && !begins_another(rest) {
            break;
        }
    }
    // Blanks alone are no value that broke off.
    (to != json && !to.trim_ascii().is_empty()).then_some(to)
}

/// Two values are two documents: neither alone is what was meant.
fn begins_another(rest: &[u8]) -> bool {
    matches!(rest.trim_ascii_start().first(), Some(b'{' | b'['))
}

/// What is not UTF-8 becomes as many question marks: the text does not grow.
fn utf8(bytes: &[u8]) -> Cow<'_, [u8]> {
    if std::str::from_utf8(bytes).is_ok() {
        return Cow::Borrowed(bytes);
    }
    let mut to = Vec::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        to.extend_from_slice(chunk.valid().as_bytes());
        to.extend(chunk.invalid().iter().map(|_| b'?'));
    }
    Cow::Owned(to)
}

fn spaced<'a>(after: &'a [u8], to: &mut Vec<u8>) -> &'a [u8] {
    to.push(b' ');
    after
}

/// A number, `true`, `null`, …: what is no finite number becomes `null`.
fn word<'a>(rest: &'a [u8], to: &mut Vec<u8>) -> &'a [u8] {
    let is_part = |byte: &u8| matches!(byte, b'-' | b'+' | b'.') || byte.is_ascii_alphanumeric();
    let end = rest.iter().position(|byte| !is_part(byte)).unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    let number = std::str::from_utf8(word).ok().and_then(|word| word.parse::<f64>().ok());
    to.extend_from_slice(match number {
        Some(number) if !number.is_finite() => b"null",
        _ => word,
    });
    after
}

/// A text from behind its opening quote, to behind its closing one.
fn string<'a>(mut rest: &'a [u8], to: &mut Vec<u8>) -> &'a [u8] {
    to.push(b'"');
    loop {
        let is_plain = |byte: &u8| *byte >= 0x20 && *byte != b'"' && *byte != b'\\';
        let end = rest.iter().position(|byte| !is_plain(byte)).unwrap_or(rest.len());
        let (plain, after) = rest.split_at(end);
        to.extend_from_slice(plain);
        rest = match after.split_first() {
            None => return after,
            Some((b'"', after)) => {
                to.push(b'"');
                return after;
            }
            Some((b'\\', _)) => escape(after, to),
            Some((_, after)) => spaced(after, to),
        };
    }
}

/// An escape, or both of a pair.
fn escape<'a>(rest: &'a [u8], to: &mut Vec<u8>) -> &'a [u8] {
    let Some(unit) = unit(rest) else {
        let (plain, after) = rest.split_at(rest.len().min(2));
        to.extend_from_slice(plain);
        return after;
    };
    let (escape, after) = rest.split_at(ESCAPE.min(rest.len()));
    match unit {
        0xd800..0xdc00 if matches!(self::unit(after), Some(0xdc00..0xe000)) => {
            let (low, after) = after.split_at(ESCAPE.min(after.len()));
            to.extend_from_slice(escape);
            to.extend_from_slice(low);
            return after;
        }
        0xd800..0xe000 => to.extend_from_slice(REPLACED),
        _ => to.extend_from_slice(escape),
    }
    after
}

/// The UTF-16 unit that an escape writes.
fn unit(rest: &[u8]) -> Option<u16> {
    let digits = rest.get(..ESCAPE)?.strip_prefix(b"\\u")?;
    let hex = digits.iter().all(u8::is_ascii_hexdigit);
    let digits = std::str::from_utf8(digits).ok().filter(|_| hex)?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(json: &[u8]) -> Option<String> {
        mended(json).map(|json| String::from_utf8(json).unwrap())
    }

    #[test]
    fn what_is_json_stays_as_it_is() {
        for json in [
            r#"{"a":["\ud83d\ude00\\ud83d\"\u00e9é",-1.5e3,true,null,{}],"b":"NaN"}"#,
            "[1,2]",
            "\"x\"",
            "12",
            "",
        ] {
            assert_eq!(told(json.as_bytes()), None, "{json}");
        }
    }

    #[test]
    fn what_most_clients_read_all_the_same_is_mended() {
        for (json, expected) in [
            (br#"{"a":"x\ud83d","b":"\ude00y"}"#.as_slice(), r#"{"a":"x\ufffd","b":"\ufffdy"}"#),
            (br#"["\ud83d\ud83d\ude00","\ud83d\n"]"#, r#"["\ufffd\ud83d\ude00","\ufffd\n"]"#),
            (b"[NaN,-Infinity,Infinity,-nan,inf]", "[null,null,null,null,null]"),
            (b"{\"a\":1e400,\"b\":-1E999}", r#"{"a":null,"b":null}"#),
            (b"{\"a\":\"\xff\xc3x\"}", r#"{"a":"??x"}"#),
            (b"{\"a\":\"\x00\x1f\t\"}\x00\x00", r#"{"a":"   "}"#),
            (b"{\"a\":\x001}", r#"{"a": 1}"#),
            (b"\xef\xbb\xbf{\"a\":1}", r#"{"a":1}"#),
            (b"{\"a\":[{}]} </html> \xff", r#"{"a":[{}]}"#),
        ] {
            assert_eq!(told(json).as_deref(), Some(expected), "{json:?}");
            assert_eq!(told(expected.as_bytes()), None);
        }
    }

    #[test]
    fn what_is_no_json_is_not_made_one() {
        for json in
            ["\0\0", "<html>", "{\"a\":1} {\"b\":2}", "{'a':1}", r#"{"a":"\x"}"#, r#"{"a":"\u12"#]
        {
            let found = mended(json.as_bytes()).unwrap_or(json.as_bytes().to_vec());
            assert!(serde_json::from_slice::<serde_json::Value>(&found).is_err(), "{json}");
        }
    }

    #[test]
    fn no_bytes_are_a_fault_and_what_is_mended_stays_so() {
        let pieces: [&[u8]; 12] = [
            b"{", b"}", b"[", b"\"", b"\\", b"\\ud83d", b"\\ude00", b"NaN", b",", b"\xff", b"\x00",
            b"1e999",
        ];
        let mut random = fastrand::Rng::with_seed(9);
        for _ in 0..20_000 {
            let json: Vec<u8> = (0..random.usize(..14))
                .flat_map(|_| *random.choice(&pieces).unwrap())
                .copied()
                .collect();
            let Some(once) = mended(&json) else { continue };
            assert!(once.len() <= json.len() + json.len() / 3, "{json:?}");
            assert_eq!(mended(&once), None, "{json:?}");
        }
    }

    #[test]
    fn a_second_look_is_taken_only_at_what_is_no_json() {
        let looks = |json: &'static [u8], result: Result<(), Unread>| {
            let mut count = 0;
            let (_, read) = reading(json, |_| {
                count += 1;
                result
            });
            (count, read.into_owned())
        };
        assert_eq!(looks(b"[NaN]", Ok(())), (1, b"[NaN]".to_vec()));
        assert_eq!(looks(b"[NaN", Err(Unread::Short)), (1, b"[NaN".to_vec()));
        assert_eq!(looks(b"[NaN]", Err(Unread::Bad)), (2, b"[null]".to_vec()));
        assert_eq!(looks(b"<>", Err(Unread::Bad)), (1, b"<>".to_vec()));
    }
}
