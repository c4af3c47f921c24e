//! Server-sent events, pushed in any chunks, by the WHATWG rules. Knows no JSON and no provider.
//!
//! Where it differs from a browser: an event that the body's end cuts off before its blank line
//! is handed over too. It was sent, and it may be the one with the usage. Of an event whose beginning
//! is lost or that is too long, the end is handed over: usage stands there.

use memchr::memchr2;

use super::Frame;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// The end of a cut event's last line that is kept, in bytes: as much as of a torn tape.
const TAIL: usize = 16 << 10;

/// What comes out of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole event.
    Whole(Frame<'a>),
    /// The end of an event's last line; the rest of the event was not kept.
    Tail(&'a [u8]),
}

/// Reassembles events from chunks. Never fails: what it does not know is passed over, and of an
/// event of which a line or the data is longer than `limit` only the tail is kept, and it is counted.
/// Holds at most twice `limit`, and nothing between events.
#[derive(Debug)]
pub struct Sse {
    limit: usize,
    // What earlier chunks left of the line and the event being read.
    line: Vec<u8>,
    name: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    // A line or the data is over the limit; skip to the event's end.
    too_long: bool,
    // The line being read is not empty, though nothing of it is kept.
    in_line: bool,
    // Bytes are missing: skip to the next blank line.
    lost: bool,
    after_cr: bool,
    first_line: bool,
    skipped: u64,
    tail: Tail,
}

/// The last bytes of one line.
#[derive(Debug)]
struct Tail {
    longest: usize,
    bytes: Vec<u8>,
}

impl Tail {
    fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Appends bytes of the same line. What is too much goes now and then, not each time.
    fn push(&mut self, bytes: &[u8]) {
        let kept = bytes.split_at(bytes.len().saturating_sub(self.longest)).1;
        if self.bytes.len() + kept.len() > 2 * self.longest {
            let over = (self.bytes.len() + kept.len()).saturating_sub(self.longest);
            self.bytes.drain(..over.min(self.bytes.len()));
        }
        self.bytes.extend_from_slice(kept);
    }

    fn take(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.drain(..bytes.len().saturating_sub(self.longest));
        bytes
    }
}

/// The event being read, as far as this chunk holds it: most events lie within one chunk and are
/// handed on without a copy.
#[derive(Default)]
struct Here<'a> {
    name: Option<&'a [u8]>,
    data: Option<&'a [u8]>,
}

impl Sse {
    /// A parser at the beginning of a body.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            name: Vec::new(),
            data: Vec::new(),
            has_data: false,
            too_long: false,
            in_line: false,
            lost: false,
            after_cr: false,
            first_line: true,
            skipped: 0,
            tail: Tail { longest: TAIL.min(limit), bytes: Vec::new() },
        }
    }

    /// Feeds `chunk` and hands each completed event to `sink`.
    pub fn push(&mut self, chunk: &[u8], mut sink: impl FnMut(Event<'_>)) {
        let mut here = Here::default();
        let mut rest = chunk;
        if !chunk.is_empty() && std::mem::take(&mut self.after_cr) {
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        while let Some(end) = memchr2(b'\n', b'\r', rest) {
            let (line, after) = rest.split_at(end);
            rest = match after {
                [b'\r', b'\n', after @ ..] => after,
                [b'\r'] => {
                    self.after_cr = true;
                    &[]
                }
                [_, after @ ..] => after,
                [] => &[],
            };
            self.end_line(line, &mut here, &mut sink);
        }
        self.keep(here, rest);
    }

    /// The body ended: hands over the event that no blank line ended.
    pub fn finish(&mut self, mut sink: impl FnMut(Event<'_>)) {
        let mut here = Here::default();
        if self.in_line {
            self.end_line(&[], &mut here, &mut sink);
        }
        self.end_event(&mut here, &mut sink);
    }

    /// Bytes are missing from here: skips to the next blank line.
    pub fn resync(&mut self) {
        *self =
            Self { lost: true, first_line: false, skipped: self.skipped, ..Self::new(self.limit) };
    }

    /// Events that were over the limit.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Bytes of its buffers.
    pub fn held(&self) -> usize {
        let kept = self.line.capacity() + self.name.capacity() + self.data.capacity();
        kept + self.tail.bytes.capacity()
    }

    /// A line ends; `part` is what this chunk holds of it.
    fn end_line<'a>(
        &mut self,
        part: &'a [u8],
        here: &mut Here<'a>,
        sink: &mut impl FnMut(Event<'_>),
    ) {
        let whole = !std::mem::take(&mut self.in_line);
        if whole && part.is_empty() {
            self.end_event(here, sink);
        } else if self.lost || self.too_long || self.line.len() + part.len() > self.limit {
            self.cut(whole, part);
        } else if whole {
            self.field(part, here);
        } else {
            let mut line = std::mem::take(&mut self.line);
            line.extend_from_slice(part);
            self.owned_field(&line, here);
        }
        self.first_line = false;
    }

    /// A field whose line lies within the chunk.
    fn field<'a>(&mut self, line: &'a [u8], here: &mut Here<'a>) {
        let line = if self.first_line { line.strip_prefix(BOM).unwrap_or(line) } else { line };
        match split(line) {
            (b"data", value) if !self.has_data && here.data.is_none() => {
                here.data = Some(value);
            }
            (b"data", value) => {
                self.keep_data(here);
                self.more_data(value);
            }
            (b"event", value) => here.name = Some(value),
            _ => (),
        }
    }

    /// A field whose line began in an earlier chunk.
    fn owned_field(&mut self, line: &[u8], here: &mut Here<'_>) {
        let line = if self.first_line { line.strip_prefix(BOM).unwrap_or(line) } else { line };
        match split(line) {
            (b"data", value) => {
                self.keep_data(here);
                self.more_data(value);
            }
            (b"event", value) => {
                here.name = None;
                self.name = value.to_vec();
            }
            _ => (),
        }
    }

    /// Appends a line to the data kept so far.
    fn more_data(&mut self, value: &[u8]) {
        if self.too_long {
            return;
        }
        if std::mem::replace(&mut self.has_data, true) {
            self.data.push(b'\n');
        }
        if self.data.len() + value.len() > self.limit {
            self.too_long = true;
            self.data = Vec::new();
            self.tail.clear();
            self.tail.push(value);
        } else {
            self.data.extend_from_slice(value);
        }
    }

    fn keep_data(&mut self, here: &mut Here<'_>) {
        if let Some(data) = here.data.take() {
            self.more_data(data);
        }
    }

    /// The event is not kept: of the line, which may begin with `part`, the end is.
    fn cut(&mut self, begins: bool, part: &[u8]) {
        self.too_long = true;
        self.data = Vec::new();
        let line = std::mem::take(&mut self.line);
        if begins || !line.is_empty() {
            self.tail.clear();
        }
        self.tail.push(&line);
        self.tail.push(part);
    }

    /// A blank line, or the body's end.
    fn end_event(&mut self, here: &mut Here<'_>, sink: &mut impl FnMut(Event<'_>)) {
        let here = std::mem::take(here);
        let name = std::mem::take(&mut self.name);
        let data = std::mem::take(&mut self.data);
        let has_data = std::mem::take(&mut self.has_data) || here.data.is_some();
        let too_long = std::mem::take(&mut self.too_long);
        let tail = self.tail.take();
        let lost = std::mem::take(&mut self.lost);
        if too_long || lost {
            self.skipped += u64::from(!lost);
            if !tail.is_empty() {
                sink(Event::Tail(&tail));
            }
        } else if has_data {
            let (name, data) = (here.name.unwrap_or(&name), here.data.unwrap_or(&data));
            sink(Event::Whole(Frame { name, data }));
        }
    }

    /// The chunk ends: copies what it leaves of the event, and of the line.
    fn keep(&mut self, mut here: Here<'_>, rest: &[u8]) {
        if let Some(name) = here.name.take() {
            self.name = name.to_vec();
        }
        self.keep_data(&mut here);
        if rest.is_empty() {
            return;
        }
        let begins = !std::mem::replace(&mut self.in_line, true);
        if self.lost || self.too_long || self.line.len() + rest.len() > self.limit {
            self.cut(begins, rest);
        } else {
            self.line.extend_from_slice(rest);
        }
    }
}

/// A line's field and its value, less the one space after the colon.
fn split(line: &[u8]) -> (&[u8], &[u8]) {
    // `data:` and `event:` are nearly all there is: no search for the colon.
    let colon = match line {
        [b'd', b'a', b't', b'a', b':', ..] => 4,
        _ => memchr::memchr(b':', line).unwrap_or(line.len()),
    };
    let (field, rest) = line.split_at(colon);
    let value = rest.strip_prefix(b":").unwrap_or(rest);
    (field, value.strip_prefix(b" ").unwrap_or(value))
}

/// The fuzz target, also run by a unit test: no input panics, memory stays under twice the limit,
/// and the chunking does not matter.
#[cfg(any(test, fuzzing))]
pub fn fuzz(input: &[u8]) {
    const LIMIT: usize = 64;
    let read = |size: usize| {
        let (mut sse, mut events) = (Sse::new(LIMIT), Vec::new());
        let mut keep = |event: Event<'_>| {
            let (name, data) = match event {
                Event::Whole(frame) => (Some(frame.name.to_vec()), frame.data),
                Event::Tail(tail) => (None, tail),
            };
            assert!(data.len() <= LIMIT, "an event over the limit");
            events.push((name, data.to_vec()));
        };
        for chunk in input.chunks(size) {
            sse.push(chunk, &mut keep);
            let held = sse.line.len() + sse.data.len() + sse.tail.bytes.len();
            assert!(held <= 2 * LIMIT, "buffers over the limit");
        }
        sse.finish(&mut keep);
        (events, sse.skipped())
    };
    let whole = read(input.len().max(1));
    assert!(read(7) == whole && read(1) == whole, "the chunking matters");
}

#[cfg(test)]
mod tests {
    use super::*;

    type Events = Vec<(String, String)>;

    fn events<'a>(limit: usize, chunks: impl IntoIterator<Item = &'a [u8]>) -> (Events, u64) {
        let (mut sse, mut events) = (Sse::new(limit), Vec::new());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut keep = |event: Event<'_>| {
            events.push(match event {
                Event::Whole(frame) => (text(frame.name), text(frame.data)),
                Event::Tail(tail) => ("(tail)".to_owned(), text(tail)),
            });
        };
        chunks.into_iter().for_each(|chunk| sse.push(chunk, &mut keep));
        sse.finish(&mut keep);
        (events, sse.skipped())
    }

    fn one(input: &[u8]) -> Vec<(String, String)> {
        events(1024, [input]).0
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|&(name, data)| (name.to_owned(), data.to_owned())).collect()
    }

    #[test]
    fn lines_end_with_lf_or_cr_or_both() {
        let expected = pairs(&[("a", "1\n2"), ("", "x"), ("", "y")]);
        for end in ["\n", "\r", "\r\n"] {
            let body = ["event: a", "data: 1", "data: 2", "", ": hi", "", "data:x", "", "data: y"];
            let body = body.join(end);
            assert_eq!(one(body.as_bytes()), expected, "{end:?}");
        }
        assert_eq!(one(b"data: 1\n\r\n"), pairs(&[("", "1")]));
    }

    #[test]
    fn fields_are_read_as_the_standard_says() {
        assert_eq!(one(b"\xef\xbb\xbfdata: bom\n\n"), pairs(&[("", "bom")]));
        assert_eq!(one(b"data:  two\n\n"), pairs(&[("", " two")]), "one space is taken off");
        assert_eq!(one(b"data\n\ndata\ndata\n\n"), pairs(&[("", ""), ("", "\n")]));
        assert_eq!(one(b"event: a\n\ndata: 1\n\n"), pairs(&[("", "1")]), "a name without data");
        assert_eq!(one(b"id: 7\nretry: 1\nfoo\ndata: 1\n: c\n\n"), pairs(&[("", "1")]));
        assert_eq!(one(b"event: a\nevent: b\ndata: 1\n\n"), pairs(&[("b", "1")]));
        assert_eq!(one(b"datax: 1\n\n:data: 1\n\n"), pairs(&[]));
    }

    #[test]
    fn the_last_event_counts_without_its_blank_line() {
        assert_eq!(one(b"data: 1\n\ndata: [DONE]\n"), pairs(&[("", "1"), ("", "[DONE]")]));
        assert_eq!(one(b"data: 1\n\nevent: e\ndata: 2"), pairs(&[("", "1"), ("e", "2")]));
    }

    const MIXED: &[u8] = b"\xef\xbb\xbfevent: a\r\ndata: 1\r\ndata: 2\r\n\r\n: hi\n\ndata:x\n\n\
        data: {\"y\":\"\xc3\xa9\"}\r\revent: long-name\ndata: 0123456789abcdef\n\n\n\ndata: end";

    #[test]
    fn no_chunking_changes_the_events() {
        for limit in [4, 8, 12, 20, 1024] {
            let whole = events(limit, [MIXED]);
            for i in 0..MIXED.len() {
                for j in i..MIXED.len() {
                    let cut = events(limit, [&MIXED[..i], &MIXED[i..j], &MIXED[j..]]);
                    assert_eq!(cut, whole, "{limit} {i} {j}");
                }
            }
            assert_eq!(events(limit, MIXED.chunks(1)), whole, "{limit}");
        }
    }

    #[test]
    fn random_chunkings_give_the_same_events() {
        let body = MIXED.repeat(30);
        let whole = events(1024, [&body[..]]);
        for seed in 0..200 {
            let chunks = crate::observe::decode::chunking(seed, &body);
            assert_eq!(events(1024, chunks), whole, "{seed}");
        }
    }

    #[test]
    fn an_event_over_the_limit_is_skipped_and_the_next_is_not() {
        let body = b"data: 0123456789\n\ndata:x\n\ndata: 12345\ndata: 6789\n\ndata: y\n\n";
        let (found, skipped) = events(12, [&body[..]]);
        let expected =
            pairs(&[("(tail)", ": 0123456789"), ("", "x"), ("", "12345\n6789"), ("", "y")]);
        assert_eq!((found, skipped), (expected, 1));
        let (found, skipped) = events(11, [&body[..]]);
        assert_eq!((found.len(), skipped), (4, 1));
        let (found, skipped) = events(9, [&b"data:1234\ndata:5678\ndata:9\n\ndata:x\n\n"[..]]);
        let expected = pairs(&[("(tail)", "9"), ("", "x")]);
        assert_eq!((found, skipped), (expected, 1), "lines together");
    }

    #[test]
    fn of_what_is_cut_the_end_of_the_last_line_is_handed_over() {
        let long = format!("data: {}\"usage\":1}}\n\ndata: next\n\n", "x".repeat(100));
        let (found, _) = events(16, [long.as_bytes()]);
        assert_eq!(found, pairs(&[("(tail)", "xxxxxx\"usage\":1}"), ("", "next")]));
        let mut sse = Sse::new(16);
        sse.resync();
        let mut tails = Vec::new();
        let mut keep = |event: Event<'_>| tails.push(format!("{event:?}"));
        for byte in b"f it\n: c\ny\":1}" {
            sse.push(&[*byte], &mut keep);
            assert!(sse.held() <= 64);
        }
        sse.finish(&mut keep);
        assert_eq!(tails, [format!("{:?}", Event::Tail(b"y\":1}"))]);
        assert_eq!(sse.held(), 0);
    }

    #[test]
    fn after_a_gap_it_goes_on_at_the_next_blank_line() {
        for tail in ["st of it\ndata: no\n\ndata: 2\n\n", "\ndata: 2\n\n", "\n\ndata: 2\n\n"] {
            let (mut sse, mut found) = (Sse::new(64), Vec::new());
            let mut keep = |event: Event<'_>| {
                if let Event::Whole(frame) = event {
                    found.push(frame.data.to_vec());
                }
            };
            sse.push(b"data: 1\n\nevent: x\ndata: lo", &mut keep);
            sse.resync();
            sse.push(tail.as_bytes(), &mut keep);
            sse.finish(&mut keep);
            assert_eq!(found, [b"1".to_vec(), b"2".to_vec()], "{tail}");
            assert_eq!(sse.skipped(), 0);
        }
    }

    #[test]
    fn nothing_is_held_between_events() {
        let mut sse = Sse::new(1024);
        for byte in b"event: a\ndata: 1\ndata: 2\n\n" {
            sse.push(&[*byte], |_| ());
        }
        assert_eq!(sse.held(), 0);
    }

    #[test]
    fn exercise_fuzz() {
        for end in 0..MIXED.len() {
            fuzz(&MIXED[..end]);
        }
        fuzz(&[b'd'; 1000]);
        fuzz(&b"data:aaaaaaaaaaaaaaaaaaaa\n".repeat(20));
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..2000 {
            let length = random.usize(..200);
            let alphabet = b"data:event: \r\n\n\xef\xbb\xbfx";
            let input: Vec<u8> = (0..length).map(|_| *random.choice(alphabet).unwrap()).collect();
            fuzz(&input);
        }
    }
}
