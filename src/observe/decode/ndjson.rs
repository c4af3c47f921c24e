//! Lines of JSON, pushed in any chunks. Knows no JSON: a line is bytes up to a newline.

use memchr::memchr;

use super::Frame;

/// Reassembles lines from chunks. A line longer than `limit` is skipped and counted; empty lines
/// are passed over. Holds at most `limit`, and nothing between lines.
#[derive(Debug)]
pub struct Ndjson {
    limit: usize,
    line: Vec<u8>,
    too_long: bool,
    // Bytes are missing: skip to the next newline.
    lost: bool,
    skipped: u64,
}

impl Ndjson {
    /// A parser at the beginning of a body.
    pub fn new(limit: usize) -> Self {
        Self { limit, line: Vec::new(), too_long: false, lost: false, skipped: 0 }
    }

    /// Feeds `chunk` and hands each completed line to `sink`.
    pub fn push(&mut self, chunk: &[u8], mut sink: impl FnMut(Frame<'_>)) {
        let mut rest = chunk;
        while let Some(end) = memchr(b'\n', rest) {
            let (part, after) = rest.split_at(end);
            rest = after.get(1..).unwrap_or_default();
            self.end_line(part, &mut sink);
        }
        if self.lost || self.too_long || self.line.len() + rest.len() > self.limit {
            self.too_long |= !rest.is_empty();
            self.line = Vec::new();
        } else {
            self.line.extend_from_slice(rest);
        }
    }

    /// The body ended: its last line counts without a newline.
    pub fn finish(&mut self, sink: impl FnMut(Frame<'_>)) {
        self.end_line(&[], sink);
    }

    /// Bytes are missing from here: skips to the next newline.
    pub fn resync(&mut self) {
        *self = Self { lost: true, skipped: self.skipped, ..Self::new(self.limit) };
    }

    /// Lines that were over the limit.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Bytes of its buffer.
    pub fn held(&self) -> usize {
        self.line.capacity()
    }

    fn end_line(&mut self, part: &[u8], mut sink: impl FnMut(Frame<'_>)) {
        let too_long = std::mem::take(&mut self.too_long);
        let mut line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.lost) {
            return;
        }
        if too_long || line.len() + part.len() > self.limit {
            self.skipped += 1;
            return;
        }
        let whole = if line.is_empty() {
            part
        } else {
            line.extend_from_slice(part);
            &line
        };
        let data = whole.trim_ascii();
        if !data.is_empty() {
            sink(Frame { name: &[], data });
        }
    }
}

/// The fuzz target, also run by a unit test: no input panics, memory stays under the limit, and
/// the chunking does not matter.
#[cfg(any(test, fuzzing))]
pub fn fuzz(input: &[u8]) {
    const LIMIT: usize = 32;
    let read = |size: usize| {
        let (mut parser, mut lines) = (Ndjson::new(LIMIT), Vec::new());
        for chunk in input.chunks(size) {
            parser.push(chunk, |frame| lines.push(frame.data.to_vec()));
            assert!(parser.line.len() <= LIMIT, "buffer over the limit");
        }
        parser.finish(|frame| lines.push(frame.data.to_vec()));
        (lines, parser.skipped())
    };
    let whole = read(input.len().max(1));
    assert!(read(5) == whole && read(1) == whole, "the chunking matters");
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] =
        b"{\"a\":1}\n\n{\"b\":\"\xc3\xa9\"}\r\n  \n{\"long\":\"0123456789\"}\n{\"c\":3}";

    fn lines<'a>(limit: usize, chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<String>, u64) {
        let (mut parser, mut lines) = (Ndjson::new(limit), Vec::new());
        let mut keep = |frame: Frame<'_>| lines.push(String::from_utf8_lossy(frame.data).into());
        chunks.into_iter().for_each(|chunk| parser.push(chunk, &mut keep));
        parser.finish(&mut keep);
        (lines, parser.skipped())
    }

    #[test]
    fn every_line_counts_the_last_also_without_a_newline() {
        let (found, skipped) = lines(64, [BODY]);
        assert_eq!(found, ["{\"a\":1}", "{\"b\":\"é\"}", "{\"long\":\"0123456789\"}", "{\"c\":3}"]);
        assert_eq!(skipped, 0);
    }

    #[test]
    fn a_line_over_the_limit_is_skipped_and_the_next_is_not() {
        assert_eq!(lines(12, [BODY]).0, ["{\"a\":1}", "{\"b\":\"é\"}", "{\"c\":3}"]);
        assert_eq!(lines(12, [BODY]).1, 1);
    }

    #[test]
    fn no_chunking_changes_the_lines() {
        for limit in [6, 12, 64] {
            let whole = lines(limit, [BODY]);
            for i in 0..=BODY.len() {
                assert_eq!(lines(limit, [&BODY[..i], &BODY[i..]]), whole, "{limit} {i}");
            }
            assert_eq!(lines(limit, BODY.chunks(1)), whole, "{limit}");
            for seed in 0..200 {
                let chunks = crate::observe::decode::chunking(seed, BODY);
                assert_eq!(lines(limit, chunks), whole, "{limit} {seed}");
            }
        }
    }

    #[test]
    fn after_a_gap_it_goes_on_at_the_next_line() {
        let (mut parser, mut found) = (Ndjson::new(64), Vec::new());
        let mut keep = |frame: Frame<'_>| found.push(frame.data.to_vec());
        parser.push(b"1\n{\"a\":", &mut keep);
        parser.resync();
        parser.push(b"x\"}\n2\n", &mut keep);
        parser.finish(&mut keep);
        assert_eq!(found, [b"1".to_vec(), b"2".to_vec()]);
        assert_eq!(parser.held(), 0);
    }

    #[test]
    fn exercise_fuzz() {
        for end in 0..BODY.len() {
            fuzz(&BODY[..end]);
        }
        fuzz(&[b'x'; 100]);
        fuzz(&b"0123456789012345678901234567890123456789\n".repeat(3));
    }
}
