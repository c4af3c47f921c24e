//! Long texts of JSON lose their middle as the bytes come, so that pictures and sound in base64 are never
//! gathered. Works before any framing: of one document, and of events and lines alike. Knows no keys.

use memchr::{memchr, memchr3};

/// So much of each text is kept before any of it is dropped.
const KEPT: u16 = 2048;
/// And then until so many bytes in a row were base64: none of an escape or of a letter beyond ASCII is
/// open after them.
const RUN: u8 = 16;

/// Passes bytes on, but for the middle of long texts in base64. Holds nothing.
#[derive(Debug, Default)]
pub struct Cut {
    place: Place,
    // Bytes of this text that were passed on, and how many of the last were base64.
    // Small: each body of each exchange has a place for them.
    kept: u16,
    run: u8,
}

/// Where the next byte stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// In no text.
    #[default]
    Outside,
    /// In a text.
    Inside,
    /// After its backslash.
    Escaped,
    /// In a text whose rest is dropped.
    Dropped,
    /// After a backslash of that.
    DroppedEscape,
    /// Bytes are missing: nothing is dropped before the next line.
    Lost,
}

impl Cut {
    /// Feeds `bytes` and passes on what is kept of them.
    pub fn push(&mut self, bytes: &[u8], sink: &mut dyn FnMut(&[u8])) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (length, passes) = self.step(rest);
            let (now, later) = rest.split_at(length.min(rest.len()));
            if passes {
                sink(now);
            }
            rest = later;
        }
    }

    /// Bytes are missing from here.
    pub fn resync(&mut self) {
        self.place = Place::Lost;
    }

    /// How many of these bytes, at least one, are passed on or not.
    fn step(&mut self, bytes: &[u8]) -> (usize, bool) {
        match self.place {
            Place::Outside => (self.until(memchr(b'"', bytes), bytes, Place::Inside), true),
            Place::Lost => (self.until(memchr(b'\n', bytes), bytes, Place::Outside), true),
            Place::Inside => (self.inside(bytes), true),
            Place::Dropped => self.dropped(bytes),
            Place::Escaped | Place::DroppedEscape => self.escaped(bytes),
        }
    }

    /// Up to what ends this place, if it is here, and that byte.
    fn until(&mut self, end: Option<usize>, bytes: &[u8], next: Place) -> usize {
        (self.kept, self.run) = (0, 0);
        self.place = if end.is_some() { next } else { self.place };
        end.map_or(bytes.len(), |end| end + 1)
    }

    fn inside(&mut self, bytes: &[u8]) -> usize {
        let border = memchr3(b'"', b'\\', b'\n', bytes);
        let plain = bytes.get(..border.unwrap_or(bytes.len())).unwrap_or(bytes);
        if let Some(length) = self.last_kept(plain) {
            self.place = Place::Dropped;
            return length;
        }
        self.kept = self.kept.saturating_add(u16::try_from(plain.len()).unwrap_or(u16::MAX));
        let Some(border) = border else {
            return bytes.len();
        };
        self.run = 0;
        // No text of JSON holds a line's end: whatever this was, it is over.
        let is_escape = bytes.get(border) == Some(&b'\\');
        self.place = if is_escape { Place::Escaped } else { Place::Outside };
        border + 1
    }

    /// How many of these bytes of a text are still kept, if the rest is dropped.
    fn last_kept(&mut self, plain: &[u8]) -> Option<usize> {
        let free = usize::from(KEPT.saturating_sub(self.kept)).min(plain.len());
        for (index, byte) in plain.iter().enumerate().skip(free) {
            let is_base64 = byte.is_ascii_alphanumeric() || b"+/-_=".contains(byte);
            self.run = if is_base64 { self.run + 1 } else { 0 };
            if self.run >= RUN {
                return Some(index + 1);
            }
        }
        None
    }

    fn dropped(&mut self, bytes: &[u8]) -> (usize, bool) {
        match memchr3(b'"', b'\\', b'\n', bytes) {
            Some(0) if bytes.first() == Some(&b'\\') => {
                self.place = Place::DroppedEscape;
                (1, false)
            }
            Some(0) => {
                self.place = Place::Outside;
                (1, true)
            }
            border => (border.unwrap_or(bytes.len()), false),
        }
    }

    fn escaped(&mut self, bytes: &[u8]) -> (usize, bool) {
        let (was_kept, ends) = (self.place == Place::Escaped, bytes.first() == Some(&b'\n'));
        self.place = match (ends, was_kept) {
            (true, _) => Place::Outside,
            (false, true) => Place::Inside,
            (false, false) => Place::Dropped,
        };
        (1, was_kept || ends)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// What is left of a long text in base64.
    const LEFT: usize = KEPT as usize + RUN as usize;

    fn cut<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
        let (mut cut, mut kept) = (Cut::default(), Vec::new());
        for chunk in chunks {
            cut.push(chunk, &mut |bytes| kept.extend_from_slice(bytes));
        }
        kept
    }

    fn sample() -> String {
        let base64 = "iVBORw0KGgo/+A==".repeat(1000);
        let prose = r#"\u00e9\\\"é \ud83d\ude00 "#.repeat(300);
        format!(
            "{{\"data\":[{{\"b64_json\":\"{base64}\",\"prompt\":\"{prose}\"}}],\n\
            \"url\":\"data:x;base64,{base64}\\\\\\\"tail\",\"usage\":{{\"input_tokens\":7}},\"{prose}{base64}\":1}}"
        )
    }

    #[test]
    fn only_the_middle_of_base64_is_dropped_and_json_it_stays() {
        let (sample, kept) = (sample(), cut([sample().as_bytes()]));
        let whole: Value = serde_json::from_str(&sample).unwrap();
        let found: Value = serde_json::from_slice(&kept).unwrap();
        assert_eq!(found["usage"], whole["usage"]);
        assert_eq!(found["data"][0]["prompt"], whole["data"][0]["prompt"]);
        let picture = found["data"][0]["b64_json"].as_str().unwrap();
        assert_eq!(picture.len(), LEFT);
        assert!(whole["data"][0]["b64_json"].as_str().unwrap().starts_with(picture));
        assert!(found["url"].as_str().unwrap().len() < LEFT + RUN as usize);
        assert!(kept.len() < 25_000, "{}", kept.len());
    }

    #[test]
    fn no_chunking_changes_what_is_kept() {
        let sample = sample();
        let whole = cut([sample.as_bytes()]);
        for seed in 0..100 {
            let chunks = crate::observe::decode::chunking(seed, sample.as_bytes());
            assert_eq!(cut(chunks), whole, "{seed}");
        }
        assert_eq!(cut(sample.as_bytes().chunks(1)), whole);
    }

    #[test]
    fn a_lines_end_ends_any_text_so_that_events_stay_apart() {
        let base64 = "A".repeat(100_000);
        let events = format!(
            ": it's \"odd\nevent: x\ndata: {{\"b\":\"{base64}\"}}\n\ndata: \"{base64}\\\ndata: {{}}\n\n"
        );
        let kept = cut([events.as_bytes()]);
        let short = "A".repeat(LEFT);
        let expected = format!(
            ": it's \"odd\nevent: x\ndata: {{\"b\":\"{short}\"}}\n\ndata: \"{short}\ndata: {{}}\n\n"
        );
        assert_eq!(String::from_utf8(kept).unwrap(), expected);
    }

    #[test]
    fn after_a_gap_nothing_is_dropped_before_the_next_line() {
        let (mut cut, mut kept) = (Cut::default(), Vec::new());
        let base64 = "A".repeat(10_000);
        cut.push(b"{\"b\":\"AAAA", &mut |_| ());
        cut.resync();
        let tail = format!("{base64}\",\"usage\":{{}}}}\n{{\"b\":\"{base64}\"}}");
        cut.push(tail.as_bytes(), &mut |bytes| kept.extend_from_slice(bytes));
        let short = "A".repeat(LEFT);
        assert_eq!(
            String::from_utf8(kept).unwrap(),
            format!("{base64}\",\"usage\":{{}}}}\n{{\"b\":\"{short}\"}}")
        );
    }
}
