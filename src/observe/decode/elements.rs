//! A stream that is one JSON list, pushed in any chunks: each top-level element is a frame. Knows
//! where values begin and end, and not what they mean.

use memchr::memchr2;

use super::Frame;

/// Cuts a list into its elements, each handed over with its last byte. An element longer than `limit`
/// is skipped and counted, one that the body's end cuts off is dropped. Holds at most `limit`, and
/// nothing between elements.
#[derive(Debug)]
pub struct Elements {
    limit: usize,
    element: Vec<u8>,
    place: Place,
    too_long: bool,
    // The last byte was a newline; after a gap it tells where elements begin.
    after_newline: bool,
    skipped: u64,
}

/// Where in the list the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the list.
    Before,
    /// Between two elements.
    Between,
    /// In an element, in so many of its lists and objects: a number, a word or a text in none.
    Inside(u32),
    /// In a text of an element, in so many of its lists and objects.
    Quoted(u32),
    /// After a text's backslash.
    Escaped(u32),
    /// Bytes are missing: skip to the next element.
    Lost,
    /// After the list.
    After,
}

/// What a byte does to the element that it stands in or beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Nothing begins or ends.
    On,
    /// It is the element's first.
    Begins,
    /// It is the element's last.
    Ends,
    /// It stands after the element's last.
    Ended,
}

impl Elements {
    /// A parser at the beginning of a body.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            element: Vec::new(),
            place: Place::Before,
            too_long: false,
            after_newline: false,
            skipped: 0,
        }
    }

    /// Feeds `chunk` and hands each completed element to `sink`.
    pub fn push(&mut self, chunk: &[u8], mut sink: impl FnMut(Frame<'_>)) {
        // Where in this chunk the element begins, and where the next byte stands.
        let (mut begin, mut at) = (0, 0);
        while let Some(&byte) = chunk.get(at) {
            if let Place::Quoted(_) = self.place {
                // Most bytes are in texts, and most of those end nothing.
                let rest = chunk.get(at..).unwrap_or_default();
                let plain = memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
                if plain > 0 {
                    at += plain;
                    continue;
                }
            }
            let step = self.step(byte);
            let end = if step == Step::Ends { at + 1 } else { at };
            match step {
                Step::On => (),
                Step::Begins => begin = at,
                Step::Ends | Step::Ended => {
                    self.end(chunk.get(begin..end).unwrap_or_default(), &mut sink);
                }
            }
            at += 1;
        }
        if self.is_inside() {
            self.keep(chunk.get(begin..).unwrap_or_default());
        }
    }

    /// The body ended.
    pub fn finish(&mut self) {
        self.skipped += u64::from(self.too_long);
        *self = Self { place: Place::After, skipped: self.skipped, ..Self::new(self.limit) };
    }

    /// Bytes are missing from here: skips to the next line that begins with a comma, as none does
    /// within an element.
    pub fn resync(&mut self) {
        *self = Self { place: Place::Lost, skipped: self.skipped, ..Self::new(self.limit) };
    }

    /// Elements that were over the limit.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Bytes of its buffer.
    pub fn held(&self) -> usize {
        self.element.capacity()
    }

    fn is_inside(&self) -> bool {
        matches!(self.place, Place::Inside(_) | Place::Quoted(_) | Place::Escaped(_))
    }

    /// Takes one byte.
    fn step(&mut self, byte: u8) -> Step {
        let after_newline = std::mem::replace(&mut self.after_newline, byte == b'\n');
        let (place, step) = match self.place {
            Place::Before if byte == b'[' => (Place::Between, Step::On),
            Place::Lost if after_newline && byte == b',' => (Place::Between, Step::On),
            Place::Before | Place::Lost | Place::After => return Step::On,
            Place::Between => between(byte),
            Place::Inside(depth) => inside(depth, byte),
            Place::Quoted(depth) if byte == b'\\' => (Place::Escaped(depth), Step::On),
            Place::Quoted(depth) if byte == b'"' => (Place::Inside(depth), Step::On),
            Place::Quoted(depth) | Place::Escaped(depth) => (Place::Quoted(depth), Step::On),
        };
        self.place = place;
        step
    }

    /// An element ends; `part` is what this chunk holds of it.
    fn end(&mut self, part: &[u8], sink: &mut impl FnMut(Frame<'_>)) {
        let mut element = std::mem::take(&mut self.element);
        if std::mem::take(&mut self.too_long) || element.len() + part.len() > self.limit {
            self.skipped += 1;
        } else if element.is_empty() {
            sink(Frame { name: &[], data: part });
        } else {
            element.extend_from_slice(part);
            sink(Frame { name: &[], data: &element });
        }
    }

    /// The chunk ends within an element.
    fn keep(&mut self, part: &[u8]) {
        if self.too_long || self.element.len() + part.len() > self.limit {
            self.too_long = true;
            self.element = Vec::new();
        } else {
            self.element.extend_from_slice(part);
        }
    }
}

/// A byte between two elements.
fn between(byte: u8) -> (Place, Step) {
    match byte {
        b',' | b' ' | b'\t' | b'\r' | b'\n' => (Place::Between, Step::On),
        b']' => (Place::After, Step::On),
        b'{' | b'[' => (Place::Inside(1), Step::Begins),
        b'"' => (Place::Quoted(0), Step::Begins),
        _ => (Place::Inside(0), Step::Begins),
    }
}

/// A byte in an element, and in none of its texts.
fn inside(depth: u32, byte: u8) -> (Place, Step) {
    match (depth, byte) {
        (0, b',' | b' ' | b'\t' | b'\r' | b'\n') => (Place::Between, Step::Ended),
        (0, b']') => (Place::After, Step::Ended),
        (1, b'}' | b']') => (Place::Between, Step::Ends),
        (_, b'"') => (Place::Quoted(depth), Step::On),
        (_, b'{' | b'[') => (Place::Inside(depth.saturating_add(1)), Step::On),
        (_, b'}' | b']') => (Place::Inside(depth.saturating_sub(1)), Step::On),
        _ => (Place::Inside(depth), Step::On),
    }
}

/// The fuzz target, also run by a unit test: no input panics, memory stays under the limit, the
/// chunking does not matter, and of a list that is JSON the elements are what `serde_json` reads.
#[cfg(any(test, fuzzing))]
pub fn fuzz(input: &[u8]) {
    const LIMIT: usize = 32;
    let read = |limit: usize, size: usize| {
        let (mut parser, mut elements) = (Elements::new(limit), Vec::new());
        for chunk in input.chunks(size) {
            parser.push(chunk, |frame| elements.push(frame.data.to_vec()));
            assert!(parser.element.len() <= limit, "buffer over the limit");
        }
        parser.finish();
        (elements, parser.skipped())
    };
    let size = input.len().max(1);
    let whole = read(LIMIT, size);
    assert!(read(LIMIT, 5) == whole && read(LIMIT, 1) == whole, "the chunking matters");
    if let Ok(list) = serde_json::from_slice::<Vec<serde_json::Value>>(input) {
        let found = read(size, 3).0;
        let same = |(bytes, value): (&Vec<u8>, &serde_json::Value)| {
            serde_json::from_slice::<serde_json::Value>(bytes).is_ok_and(|found| found == *value)
        };
        assert!(found.len() == list.len(), "there are more or fewer elements");
        assert!(found.iter().zip(&list).all(same), "the elements are others");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] =
        b" [{\"a\":[1,{}]}\r\n,\n{\"b\":\"}]\\\"\xc3\xa9\\\\\"} , 12,\"x,]\",null,[[]]\n,\r\n\
        {\"long\":\"0123456789\"}\n,\n{\"c\":3}] x";

    fn elements<'a>(
        limit: usize,
        chunks: impl IntoIterator<Item = &'a [u8]>,
    ) -> (Vec<String>, u64) {
        let (mut parser, mut found) = (Elements::new(limit), Vec::new());
        let mut keep = |frame: Frame<'_>| found.push(String::from_utf8_lossy(frame.data).into());
        chunks.into_iter().for_each(|chunk| parser.push(chunk, &mut keep));
        parser.finish();
        (found, parser.skipped())
    }

    #[test]
    fn each_element_of_the_list_is_a_frame() {
        let (found, skipped) = elements(64, [BODY]);
        let expected = [
            r#"{"a":[1,{}]}"#,
            r#"{"b":"}]\"é\\"}"#,
            "12",
            r#""x,]""#,
            "null",
            "[[]]",
            r#"{"long":"0123456789"}"#,
            r#"{"c":3}"#,
        ];
        assert_eq!((found, skipped), (expected.map(str::to_owned).to_vec(), 0));
        for nothing in ["", "[", "[]", "[ , ]", "{\"a\":[1]", "[{\"a\":1", "[\"cut"] {
            let many = usize::from(nothing.starts_with('{'));
            assert_eq!(elements(64, [nothing.as_bytes()]).0.len(), many, "{nothing}");
        }
    }

    #[test]
    fn an_element_is_handed_over_with_its_last_byte() {
        let (mut parser, mut found) = (Elements::new(64), 0);
        for (chunk, expected) in [("[{\"a\":\"}\"", 0), ("}", 1), ("\n,\n", 1), ("{}", 2)] {
            parser.push(chunk.as_bytes(), |_| found += 1);
            assert_eq!(found, expected, "{chunk}");
        }
        assert_eq!(parser.held(), 0, "nothing is held between elements");
    }

    #[test]
    fn an_element_over_the_limit_is_skipped_and_the_next_is_not() {
        let (found, skipped) = elements(16, [BODY]);
        assert_eq!((found.len(), found.last().unwrap().as_str(), skipped), (7, r#"{"c":3}"#, 1));
        assert_eq!(elements(4, [&b"[{\"a\":12345"[..]]), (vec![], 1), "cut off, it was too long");
    }

    #[test]
    fn no_chunking_changes_the_elements() {
        for limit in [6, 16, 64] {
            let whole = elements(limit, [BODY]);
            for i in 0..=BODY.len() {
                assert_eq!(elements(limit, [&BODY[..i], &BODY[i..]]), whole, "{limit} {i}");
            }
            assert_eq!(elements(limit, BODY.chunks(1)), whole, "{limit}");
            for seed in 0..200 {
                let chunks = crate::observe::decode::chunking(seed, BODY);
                assert_eq!(elements(limit, chunks), whole, "{limit} {seed}");
            }
        }
    }

    #[test]
    fn after_a_gap_it_goes_on_at_the_next_element() {
        for tail in ["x\"}\n,\r\n{\"b\":[1,\n2]}]", ",{}\n}\n,{\"b\":[1,\n2]}\n]"] {
            let (mut parser, mut found) = (Elements::new(64), Vec::new());
            let mut keep = |frame: Frame<'_>| found.push(frame.data.to_vec());
            parser.push(b"[1\n,{\"a\":", &mut keep);
            parser.resync();
            parser.push(tail.as_bytes(), &mut keep);
            parser.finish();
            assert_eq!(found, [b"1".to_vec(), b"{\"b\":[1,\n2]}".to_vec()]);
        }
    }

    #[test]
    fn exercise_fuzz() {
        for end in 0..BODY.len() {
            fuzz(&BODY[..end]);
        }
        fuzz(&BODY[1..BODY.len() - 2]);
        fuzz(&b"[".repeat(100));
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..5000 {
            let inner: String = (0..random.usize(..60))
                .map(|_| *random.choice(b"[]{},\"\\: 1\n").unwrap() as char)
                .collect();
            fuzz(inner.as_bytes());
            fuzz(format!("[{inner}]").as_bytes());
        }
    }
}
