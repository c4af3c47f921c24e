//! A form (`multipart/form-data`, RFC 7578), pushed in any chunks: its short fields become one JSON object,
//! so that a form is read as JSON is. Knows no field's meaning; files are passed over as they come.

use memchr::memchr;

/// The longest boundary that RFC 2046 (5.1.1) allows.
const BOUNDARY: usize = 70;
/// The longest line of a part's head that is read, and the longest rest of a border's line.
const LINE: usize = 1024;
/// The longest name of a field that is kept.
const NAME: usize = 64;
/// The longest value that is kept.
const VALUE: usize = 1024;
/// All fields that are kept, as JSON.
const FIELDS: usize = 16 << 10;

/// The boundary that a `Content-Type` names, where it is a form's.
pub fn boundary(content_type: &[u8]) -> Option<Vec<u8>> {
    let (media, parameters) = split(content_type, b';');
    let is_form = media.trim_ascii().eq_ignore_ascii_case(b"multipart/form-data");
    let named = |(name, _): &(Vec<u8>, Vec<u8>)| name == b"boundary";
    let (_, boundary) = Parameters(parameters).find(named).filter(|_| is_form)?;
    let is_allowed = |byte: &u8| (b' '..0x7f).contains(byte);
    let good = (1..=BOUNDARY).contains(&boundary.len()) && boundary.iter().all(is_allowed);
    good.then_some(boundary)
}

/// Reads a form. Holds at most one short value, one line, and the JSON of what was found.
#[derive(Debug)]
pub struct Multipart {
    // What stands before each part and after the last: CR LF, two dashes, the boundary.
    border: Vec<u8>,
    // How many of its bytes the last bytes were.
    matched: usize,
    place: Place,
    line: Vec<u8>,
    // The part's name, once its head told it, if it is a field.
    name: Option<String>,
    // What came of the value, where it is kept.
    value: Option<Vec<u8>>,
    found: Vec<u8>,
    torn: bool,
}

/// Where the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In a part's content, or in what is no part's.
    Content,
    /// On the line of a border, after it.
    Border,
    /// In a part's head.
    Head,
    /// After the last part, or after what is no form.
    After {
        /// The last border was seen.
        whole: bool,
    },
}

impl Multipart {
    /// A form whose parts stand between borders of this name.
    pub fn new(boundary: &[u8]) -> Self {
        Self {
            border: [b"\r\n--", boundary].concat(),
            // The first border may be the body's first bytes.
            matched: 2,
            place: Place::Content,
            line: Vec::new(),
            name: None,
            value: None,
            found: Vec::new(),
            torn: false,
        }
    }

    /// Feeds `chunk`.
    pub fn push(&mut self, chunk: &[u8]) {
        let mut rest = chunk;
        while !rest.is_empty() {
            rest = match self.place {
                Place::Content => self.content(rest),
                Place::Border => self.border_line(rest),
                Place::Head => self.head(rest),
                Place::After { .. } => return,
            };
        }
    }

    /// Bytes are missing from here: what they cut is dropped, and the next border begins a part.
    pub fn resync(&mut self) {
        self.torn = true;
        self.matched = 0;
        self.line = Vec::new();
        (self.name, self.value) = (None, None);
        if !matches!(self.place, Place::After { .. }) {
            self.place = Place::Content;
        }
    }

    /// The body ended: what was found, as a JSON object, which is left open where the form broke off.
    pub fn finish(&mut self) -> Vec<u8> {
        let mut found = std::mem::take(&mut self.found);
        if found.is_empty() {
            found.push(b'{');
        }
        if self.torn || self.place == (Place::After { whole: true }) {
            found.push(b'}');
        }
        found
    }

    /// Bytes of its buffers.
    pub fn held(&self) -> usize {
        let value = self.value.as_ref().map_or(0, Vec::capacity);
        self.border.capacity() + self.line.capacity() + value + self.found.capacity()
    }

    /// Content up to the next border, or one step on the way; what is left.
    fn content<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.matched == 0 {
            let plain = memchr(b'\r', bytes).unwrap_or(bytes.len());
            let (plain, rest) = bytes.split_at(plain);
            self.keep(plain);
            self.matched = usize::from(!rest.is_empty());
            return rest.get(1..).unwrap_or_default();
        }
        let Some((byte, rest)) = bytes.split_first() else {
            return bytes;
        };
        if self.border.get(self.matched) != Some(byte) {
            // Only a border's first byte is a CR, so that none can begin within what was matched.
            let matched = std::mem::take(&mut self.matched);
            let border = std::mem::take(&mut self.border);
            self.keep(border.get(..matched).unwrap_or_default());
            self.border = border;
            return bytes;
        }
        self.matched += 1;
        if self.matched == self.border.len() {
            self.matched = 0;
            self.end_part();
            self.place = Place::Border;
        }
        rest
    }

    fn keep(&mut self, bytes: &[u8]) {
        let fits = |value: &Vec<u8>| value.len() + bytes.len() <= VALUE;
        self.value = self.value.take().filter(fits);
        if let Some(value) = &mut self.value {
            value.extend_from_slice(bytes);
        }
    }

    /// A line up to its end, if that is here.
    fn line<'a>(&mut self, bytes: &'a [u8]) -> (bool, &'a [u8]) {
        let end = memchr(b'\n', bytes);
        let (part, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
        let room = LINE.saturating_sub(self.line.len());
        self.line.extend_from_slice(part.get(..room).unwrap_or(part));
        (end.is_some(), rest)
    }

    /// One byte of a border's line. The last border need not be the end of one.
    fn border_line<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some((&byte, rest)) = bytes.split_first() else {
            return bytes;
        };
        self.line.push(byte);
        let is_line = byte == b'\n';
        let place = match self.line.trim_ascii() {
            b"--" if self.line == b"--" => Place::After { whole: true },
            b"" if is_line => Place::Head,
            _ if is_line || self.line.len() >= LINE => Place::After { whole: false },
            _ => return rest,
        };
        self.line.clear();
        self.place = place;
        rest
    }

    /// The next line of a part's head.
    fn head<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (ended, rest) = self.line(bytes);
        if !ended {
            return rest;
        }
        let line = std::mem::take(&mut self.line);
        let (header, value) = split(&line, b':');
        if line.trim_ascii().is_empty() {
            self.value = self.name.is_some().then(Vec::new);
            self.place = Place::Content;
        } else if header.trim_ascii().eq_ignore_ascii_case(b"content-disposition") {
            self.name = field(value).filter(|_| line.len() < LINE);
        }
        self.line = line;
        self.line.clear();
        rest
    }

    /// A part ended. One that was kept whole is a field.
    fn end_part(&mut self) {
        let (Some(name), Some(value)) = (self.name.take(), self.value.take()) else {
            return;
        };
        let Some(value) = str::from_utf8(&value).ok().map(json) else {
            return;
        };
        let first = if self.found.is_empty() { "{" } else { "," };
        let field = format!("{first}{}:{value}", quoted(&name));
        if self.found.len() + field.len() < FIELDS {
            self.found.extend_from_slice(field.as_bytes());
        }
    }
}

/// Forms know texts alone: what can only be meant as a flag or a number becomes one.
fn json(value: &str) -> String {
    let is_number = || value.len() < 20 && value.parse::<serde_json::Number>().is_ok();
    if matches!(value, "true" | "false") || is_number() {
        return value.to_owned();
    }
    quoted(value)
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The name of a part that is a field and no file (RFC 7578, 4.2).
fn field(disposition: &[u8]) -> Option<String> {
    let (kind, parameters) = split(disposition, b';');
    let mut name = None;
    for (key, value) in Parameters(parameters) {
        match key.as_slice() {
            b"filename" | b"filename*" => return None,
            b"name" => name = Some(value),
            _ => (),
        }
    }
    let short = |name: &Vec<u8>| name.len() <= NAME;
    let name = name.filter(short).and_then(|name| String::from_utf8(name).ok());
    name.filter(|_| kind.trim_ascii().eq_ignore_ascii_case(b"form-data"))
}

/// What stands before the first such byte, and after it.
fn split(bytes: &[u8], at: u8) -> (&[u8], &[u8]) {
    let mut parts = bytes.splitn(2, |&byte| byte == at);
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

/// A header's parameters: names in lower case, values without their quotes (RFC 9110, 5.6.6).
struct Parameters<'a>(&'a [u8]);

impl Iterator for Parameters<'_> {
    type Item = (Vec<u8>, Vec<u8>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let name_end = self.0.iter().position(|byte| matches!(byte, b'=' | b';'));
        let (name, rest) = self.0.split_at(name_end.unwrap_or(self.0.len()));
        let name = name.trim_ascii().to_ascii_lowercase();
        let value = rest.strip_prefix(b"=").unwrap_or_default().trim_ascii_start();
        let Some(quoted) = value.strip_prefix(b"\"") else {
            let rest = rest.strip_prefix(b"=").unwrap_or(rest);
            let (value, rest) = split(rest, b';');
            self.0 = rest;
            return Some((name, value.trim_ascii().to_vec()));
        };
        let (value, rest) = unquoted(quoted);
        self.0 = split(rest, b';').1;
        Some((name, value))
    }
}

/// A text up to its closing quote, and what stands after that.
fn unquoted(bytes: &[u8]) -> (Vec<u8>, &[u8]) {
    let (mut text, mut rest) = (Vec::new(), bytes);
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after.split_first()) {
            (b'"', _) => break,
            (b'\\', Some((&escaped, after))) => {
                text.push(escaped);
                rest = after;
            }
            _ => text.push(byte),
        }
    }
    (text, rest)
}

/// The fuzz target, also run by a unit test: the first line is the boundary, the rest the form. No input
/// panics, buffers stay small, no chunking changes what is found, a gap makes nothing up, and what is
/// found is JSON.
#[cfg(any(test, fuzzing))]
pub fn fuzz(input: &[u8]) {
    let (boundary, form) = split(input, b'\n');
    let boundary = boundary.get(..BOUNDARY).unwrap_or(boundary);
    let read = |size: usize| {
        let mut parser = Multipart::new(boundary);
        for chunk in form.chunks(size) {
            parser.push(chunk);
            assert!(parser.held() <= 2 * (BOUNDARY + LINE + VALUE + FIELDS), "too much is held");
        }
        parser.finish()
    };
    let whole = read(form.len().max(1));
    assert!(read(1) == whole && read(7) == whole, "the chunking matters");
    let closed = if whole.ends_with(b"}") { whole } else { [&whole[..], b"}"].concat() };
    assert!(serde_json::from_slice::<serde_json::Value>(&closed).is_ok(), "it is no JSON");
    fuzz_gap(boundary, form);
}

/// What is found around a gap is JSON, too, and is closed.
#[cfg(any(test, fuzzing))]
fn fuzz_gap(boundary: &[u8], form: &[u8]) {
    let (before, after) = form.split_at(form.len() / 2);
    let mut parser = Multipart::new(boundary);
    parser.push(before);
    parser.resync();
    parser.push(after.get(after.len() / 4..).unwrap_or_default());
    let found = parser.finish();
    assert!(serde_json::from_slice::<serde_json::Value>(&found).is_ok(), "it is no JSON");
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &[u8] =
        b"--b-1\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.mp3\"\r\n\
        Content-Type: audio/mpeg\r\n\r\nID3\r\n--b\r\n\r--b-\r\n-\x00\xff\"model\"\r\n--b-1\r\n\
        content-disposition: Form-Data; Name=model\r\n\r\nwhisper-1\r\n--b-1  \r\n\
        X-Other: y\r\nContent-Disposition: form-data; name=\"stream\"\r\n\r\ntrue\r\n--b-1\r\n\
        Content-Disposition: form-data; name=\"a\\\"b\"\r\n\r\n\r\nx\"\xc3\xa9\r\n\r\n--b-1\r\n\
        Content-Disposition: form-data; name=\"temperature\"\r\n\r\n0.5\r\n--b-1--\r\nepilogue";
    const FOUND: &str =
        r#"{"model":"whisper-1","stream":true,"a\"b":"\r\nx\"é\r\n","temperature":0.5}"#;

    fn read<'a>(boundary: &str, chunks: impl IntoIterator<Item = &'a [u8]>) -> String {
        let mut parser = Multipart::new(boundary.as_bytes());
        chunks.into_iter().for_each(|chunk| parser.push(chunk));
        String::from_utf8(parser.finish()).unwrap()
    }

    fn part(head: &str, value: &str) -> String {
        format!("--b\r\n{head}\r\n\r\n{value}\r\n--b--")
    }

    #[test]
    fn the_fields_are_found_at_any_split_and_the_file_is_passed_over() {
        assert_eq!(read("b-1", [FORM]), FOUND);
        for cut in 0..FORM.len() {
            assert_eq!(read("b-1", [&FORM[..cut], &FORM[cut..]]), FOUND, "{cut}");
        }
        assert_eq!(read("b-1", FORM.chunks(1)), FOUND);
        for seed in 0..200 {
            assert_eq!(read("b-1", crate::observe::decode::chunking(seed, FORM)), FOUND, "{seed}");
        }
    }

    #[test]
    fn a_form_that_breaks_off_is_left_open() {
        let end = FORM.len() - b"--\r\nepilogue".len();
        for (cut, found) in [
            (0, "{"),
            (3, "{"),
            (FORM.len() / 2, r#"{"model":"whisper-1""#),
            (end, FOUND.trim_end_matches('}')),
        ] {
            assert_eq!(read("b-1", [&FORM[..cut]]), found, "{cut}");
        }
        assert_eq!(read("other", [FORM]), "{", "no border of this name");
        assert_eq!(read("b", [&b"--bx\r\nContent-Disposition"[..]]), "{", "another border");
        assert_eq!(read("b", [&b"--b--"[..]]), "{}", "a form without fields");
    }

    #[test]
    fn after_a_gap_only_whole_fields_count() {
        let whole: serde_json::Value = serde_json::from_str(FOUND).unwrap();
        for begin in 0..FORM.len() {
            for end in [begin + 1, begin + 9, begin + 200] {
                let mut parser = Multipart::new(b"b-1");
                parser.push(&FORM[..begin]);
                parser.resync();
                parser.push(FORM.get(end..).unwrap_or_default());
                let found = parser.finish();
                let found: serde_json::Map<_, _> = serde_json::from_slice(&found).unwrap();
                for (name, value) in found {
                    assert_eq!(value, whole[&name], "{begin} {end} {name}");
                }
            }
        }
    }

    #[test]
    fn what_is_long_or_no_field_is_not_kept() {
        let name = "Content-Disposition: form-data; name=";
        let long = "x".repeat(VALUE + 1);
        for (head, value) in [
            (format!("{name}\"a\""), long.as_str()),
            (format!("{name}\"{long}\""), "1"),
            (format!("{name}a; filename*=utf-8''x"), "1"),
            (format!("{name}a; FileName=\"\""), "1"),
            ("Content-Disposition: attachment; name=a".to_owned(), "1"),
            ("Content-Type: text/plain".to_owned(), "1"),
            (format!("{name}a; x=\"{long}\"; filename=y"), "1"),
        ] {
            assert_eq!(read("b", [part(&head, value).as_bytes()]), "{}", "{head:.60}");
        }
        let longest = "x".repeat(VALUE);
        let found = read("b", [part(&format!("{name}a"), &longest).as_bytes()]);
        assert_eq!(found, format!(r#"{{"a":"{longest}"}}"#));
    }

    #[test]
    fn a_file_of_any_size_holds_nothing() {
        let mut parser = Multipart::new(b"b");
        parser.push(b"--b\r\nContent-Disposition: form-data; name=file; filename=x\r\n\r\n");
        for _ in 0..1000 {
            parser.push(&[b'\r'; 1000]);
            parser.push(b"\r\n--");
            assert!(parser.held() < 2 * LINE, "{}", parser.held());
        }
        let many = part("Content-Disposition: form-data; name=a", &"y".repeat(VALUE));
        let mut parser = Multipart::new(b"b");
        let body = many.trim_end_matches("--b--");
        (0..100).for_each(|_| parser.push(body.as_bytes()));
        parser.push(b"--b--");
        assert!(parser.held() < 3 * FIELDS && parser.finish().len() <= FIELDS);
    }

    #[test]
    fn a_boundary_is_taken_from_a_forms_type_alone() {
        for (content_type, expected) in [
            ("multipart/form-data; boundary=abc", Some("abc")),
            ("Multipart/Form-Data;charset=x; Boundary=\"a;b\\\"c\" ; x=y", Some("a;b\"c")),
            ("multipart/form-data;boundary= abc ;x", Some("abc")),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=", None),
            ("multipart/mixed; boundary=abc", None),
            ("application/json; boundary=abc", None),
        ] {
            let found = boundary(content_type.as_bytes());
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{content_type}");
        }
        let long = format!("multipart/form-data; boundary={}", "x".repeat(BOUNDARY + 1));
        assert_eq!(boundary(long.as_bytes()), None);
    }

    #[test]
    fn exercise_fuzz() {
        let input = [b"b-1\n", FORM].concat();
        for end in 0..input.len() {
            fuzz(&input[..end]);
        }
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..3000 {
            let mut made = input.clone();
            for _ in 0..random.usize(1..5) {
                let at = random.usize(4..made.len());
                made[at] = *random.choice(b"\r\n-b1:;=\"\\").unwrap();
            }
            fuzz(&made);
        }
    }
}
