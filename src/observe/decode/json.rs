//! A whole JSON body, gathered from any chunks. Knows no JSON: reading it is the dialect's work.

/// Bytes for which there is room as soon as more are announced: what that costs who lies is little.
const BELIEVED: usize = 256 << 10;

/// Gathers a body of at most `limit` bytes. Of a longer one nothing is kept. After a gap the bytes
/// before it are let go, and those after it are gathered: usage stands at the end.
#[derive(Debug)]
pub struct Json {
    limit: usize,
    announced: usize,
    bytes: Vec<u8>,
    too_long: bool,
    torn: bool,
}

/// What was gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Document<'a> {
    /// All bytes of the body.
    Whole(&'a [u8]),
    /// The bytes after a gap.
    Tail(&'a [u8]),
    /// There were more bytes than the limit; none is kept.
    TooLong,
}

impl Json {
    /// A body of which nothing came yet, and `announced` bytes are to come; 0: nobody knows.
    pub fn new(limit: usize, announced: usize) -> Self {
        Self { limit, announced, bytes: Vec::new(), too_long: false, torn: false }
    }

    /// Keeps `chunk`.
    pub fn push(&mut self, chunk: &[u8]) {
        if self.too_long || self.bytes.len() + chunk.len() > self.limit {
            self.too_long = true;
            self.bytes = Vec::new();
        } else {
            self.make_room(chunk.len());
            self.bytes.extend_from_slice(chunk);
        }
    }

    /// Grows in few steps to what is announced, so that a long body is not copied at each of many.
    fn make_room(&mut self, more: usize) {
        let (length, capacity) = (self.bytes.len(), self.bytes.capacity());
        if length + more > capacity && length + more < self.announced {
            let step = capacity.saturating_mul(4).max(BELIEVED).max(length + more);
            let room = step.min(self.announced).min(self.limit) - length;
            self.bytes.reserve_exact(room);
        }
    }

    /// Bytes are missing from here.
    pub fn resync(&mut self) {
        *self = Self { torn: true, ..Self::new(self.limit, 0) };
    }

    /// The body ended: lends what was gathered to `read`, and lets it go.
    pub fn finish<T>(&mut self, read: impl FnOnce(Document<'_>) -> T) -> T {
        let bytes = std::mem::take(&mut self.bytes);
        read(match (self.too_long, self.torn) {
            (true, _) => Document::TooLong,
            (false, true) => Document::Tail(&bytes),
            (false, false) => Document::Whole(&bytes),
        })
    }

    /// Bytes of its buffer.
    pub fn held(&self) -> usize {
        self.bytes.capacity()
    }
}

/// The fuzz target, also run by a unit test: memory stays under the limit, and the chunking does
/// not matter.
#[cfg(any(test, fuzzing))]
pub fn fuzz(input: &[u8]) {
    const LIMIT: usize = 32;
    for size in [1, 7, LIMIT + 1] {
        let mut json = Json::new(LIMIT, size);
        for chunk in input.chunks(size) {
            json.push(chunk);
            assert!(json.bytes.len() <= LIMIT, "buffer over the limit");
        }
        let same = json.finish(|document| match document {
            Document::Whole(bytes) => bytes == input,
            Document::Tail(_) => false,
            Document::TooLong => input.len() > LIMIT,
        });
        assert!(same, "the chunking matters");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_kept_whole_up_to_the_limit() {
        for length in 0..100 {
            fuzz(&vec![b'x'; length]);
        }
    }

    #[test]
    fn random_chunkings_give_the_same_body() {
        let body: Vec<u8> = (0..3000_u32).map(|i| i as u8).collect();
        for seed in 0..200 {
            let mut json = Json::new(3000, 0);
            crate::observe::decode::chunking(seed, &body).into_iter().for_each(|c| json.push(c));
            assert!(json.finish(|document| document == Document::Whole(&body)), "{seed}");
            assert_eq!(json.held(), 0);
        }
    }

    #[test]
    fn after_a_gap_only_what_follows_is_kept() {
        let mut json = Json::new(8, 100);
        json.push(b"12345678");
        json.resync();
        json.push(b"abc");
        assert!(json.finish(|document| document == Document::Tail(b"abc")));
    }
}
