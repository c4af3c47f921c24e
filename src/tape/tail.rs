//! The last bytes of a torn body: usage stands at the end of every provider's answer. Knows no reel.

/// Bytes kept of the end.
pub(super) const KEPT: usize = 16 * 1024;

/// Keeps the last `KEPT` bytes of what is pushed, and counts the rest.
#[derive(Debug)]
pub(super) struct Tail {
    // At most twice KEPT: the front half is dropped when the buffer is full.
    bytes: Vec<u8>,
    dropped: u64,
}

impl Tail {
    /// An empty tail, before which `dropped` bytes were lost already.
    pub(super) fn after(dropped: u64) -> Self {
        Self { bytes: Vec::new(), dropped }
    }

    pub(super) fn push(&mut self, chunk: &[u8]) {
        let useful = chunk.len().saturating_sub(KEPT);
        self.dropped += useful as u64;
        for part in chunk[useful..].chunks(KEPT) {
            if self.bytes.len() + part.len() > 2 * KEPT {
                self.trim();
            }
            self.bytes.extend_from_slice(part);
        }
    }

    fn trim(&mut self) {
        let extra = self.bytes.len().saturating_sub(KEPT);
        self.bytes.drain(..extra);
        self.dropped += extra as u64;
    }

    /// How many bytes went by unkept, and those that were kept.
    pub(super) fn finish(mut self) -> (u64, Vec<u8>) {
        self.trim();
        (self.dropped, self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bytes_are_kept_whatever_the_chunks() {
        let all: Vec<u8> = (0..100_000_u32).map(|i| (i % 251) as u8).collect();
        for size in [1, 7, 1000, KEPT, KEPT + 1, 100_000] {
            let mut tail = Tail::after(0);
            for chunk in all.chunks(size) {
                tail.push(chunk);
                assert!(tail.bytes.len() <= 2 * KEPT, "{size}");
            }
            let (dropped, kept) = tail.finish();
            assert_eq!(dropped as usize + kept.len(), all.len(), "{size}");
            assert_eq!(kept, all[all.len() - KEPT..], "{size}");
        }
    }

    #[test]
    fn a_short_body_is_kept_whole() {
        let mut tail = Tail::after(0);
        tail.push(b"abc");
        assert_eq!(tail.finish(), (0, b"abc".to_vec()));
    }
}
