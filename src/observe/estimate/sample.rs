//! An even sample of a text as it grows: all of it up to a limit, then every second block, every
//! fourth, … Knows no tokenizer but what it hands its sample to.

use super::tokenizer::Tokenizer;

/// A block, in bytes: long enough that its borders, at which a token may be cut in two, hardly count.
const BLOCK: usize = 256;

/// A text, or what is kept of it.
#[derive(Debug)]
pub(super) struct Sample {
    // Blocks that are kept at most: an even number.
    blocks: usize,
    kept: Vec<u8>,
    // All bytes that came.
    seen: u64,
    // Of so many blocks the first is kept.
    stride: u64,
    // Tokens that came as such.
    numbers: u64,
}

impl Sample {
    /// Nothing yet; about `limit` bytes are kept, and no fewer than two blocks.
    pub(super) fn new(limit: usize) -> Self {
        let blocks = (limit / BLOCK).max(2) & !1;
        Self { blocks, kept: Vec::new(), seen: 0, stride: 1, numbers: 0 }
    }

    /// The text goes on with this.
    pub(super) fn push(&mut self, text: &str) {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let place = self.seen % BLOCK as u64;
            let (part, after) = rest.split_at((BLOCK - place as usize).min(rest.len()));
            if (self.seen / BLOCK as u64).is_multiple_of(self.stride) {
                self.kept.extend_from_slice(part);
            }
            self.seen += part.len() as u64;
            rest = after;
            if self.kept.len() >= self.blocks * BLOCK {
                self.thin();
            }
        }
    }

    /// A sample of a text that is there as a whole.
    pub(super) fn of(text: &[u8], limit: usize) -> Self {
        let mut sample = Self::new(limit);
        let (blocks, mut stride) = (text.len().div_ceil(BLOCK), 1);
        while blocks.div_ceil(stride) > sample.blocks {
            stride *= 2;
        }
        sample.kept.reserve_exact(blocks.div_ceil(stride) * BLOCK);
        for block in text.chunks(BLOCK).step_by(stride) {
            sample.kept.extend_from_slice(block);
        }
        Self { seen: text.len() as u64, stride: stride as u64, ..sample }
    }

    /// Some came as tokens already.
    pub(super) fn add_token(&mut self) {
        self.numbers = self.numbers.saturating_add(1);
    }

    /// Lets every second block go.
    fn thin(&mut self) {
        self.kept = self.kept.chunks(BLOCK).step_by(2).flatten().copied().collect();
        self.stride = self.stride.saturating_mul(2);
    }

    /// What is kept.
    pub(super) fn blocks(&self) -> impl Iterator<Item = &[u8]> {
        self.kept.chunks(BLOCK)
    }

    /// How much came so far, in bytes.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    /// Not all of it was kept.
    pub(super) fn is_sampled(&self) -> bool {
        self.stride > 1
    }

    /// Bytes of its buffer.
    pub(super) fn held(&self) -> usize {
        self.kept.capacity()
    }

    /// The tokens of the text: those of the sample, times how much longer the text is.
    pub(super) fn tokens(&self, by: Tokenizer) -> u64 {
        // What the borders of blocks cut in two is left out on both sides.
        let valid = self.kept.utf8_chunks().map(|chunk| by.count(chunk.valid()));
        let counted = u128::from(valid.fold(0, u64::saturating_add));
        let kept = (self.kept.len() as u128).max(1);
        let scaled = (counted * u128::from(self.seen) + kept / 2) / kept;
        u64::try_from(scaled).unwrap_or(u64::MAX).saturating_add(self.numbers)
    }
}

#[cfg(test)]
impl Sample {
    /// What is kept.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.kept).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(limit: usize, texts: &[&str]) -> Sample {
        let mut sample = Sample::new(limit);
        texts.iter().for_each(|text| sample.push(text));
        sample
    }

    #[test]
    fn up_to_the_limit_all_of_a_text_is_kept_however_it_comes() {
        let text = "Every word of it counts, né? ".repeat(100);
        let mut cut = Sample::new(8192);
        text.chars().for_each(|c| cut.push(c.encode_utf8(&mut [0; 4])));
        let whole = sample(8192, &[&text]);
        assert_eq!((&cut.kept, cut.seen), (&whole.kept, whole.seen));
        assert_eq!(whole.kept, text.as_bytes());
        assert!(!whole.is_sampled());
        assert_eq!(whole.tokens(Tokenizer::O200k), Tokenizer::O200k.count(&text));
    }

    #[test]
    fn a_longer_text_is_sampled_evenly_and_the_memory_stays_small() {
        let limit = 4096;
        let numbered: String = (0..200_000_u32).map(|number| format!("{:>15}\n", number)).collect();
        let found = sample(limit, &[&numbered]);
        assert!(found.is_sampled() && found.kept.len() <= limit);
        assert!(found.held() <= 2 * limit, "{}", found.held());
        let firsts = found.kept.chunks(BLOCK).map(|block| &block[..15]);
        let firsts: Vec<u64> =
            firsts.map(|text| std::str::from_utf8(text).unwrap().trim().parse().unwrap()).collect();
        assert!(firsts.len() >= limit / BLOCK / 2);
        let step = found.stride * BLOCK as u64 / 16;
        let expected: Vec<_> = (0..firsts.len() as u64).map(|place| place * step).collect();
        assert_eq!(firsts, expected);
    }

    #[test]
    fn the_tokens_of_a_long_text_are_those_of_its_sample_in_proportion() {
        let prose = "The quick brown fox jumps over the lazy dog, and nobody minds. ".repeat(500);
        let code =
            "for (let i = 0; i < rows.length; i++) {\n    sum += rows[i].amount;\n}\n".repeat(500);
        let text = prose + &code;
        let exact = Tokenizer::O200k.count(&text) as f64;
        let found = sample(8192, &[&text]).tokens(Tokenizer::O200k) as f64;
        assert!((found / exact - 1.0).abs() < 0.05, "{found} {exact}");
    }

    #[test]
    fn tokens_that_come_as_numbers_are_counted() {
        let mut found = sample(8192, &["hello"]);
        (0..3).for_each(|_| found.add_token());
        assert_eq!(found.tokens(Tokenizer::O200k), 4);
        assert_eq!(Sample::new(0).tokens(Tokenizer::O200k), 0);
    }
}
