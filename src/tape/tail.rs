//! The last bytes of a torn body: usage stands at the end of every provider's answer. Knows no reel.

use std::sync::Arc;

use super::Account;

/// Bytes kept of the end.
pub(super) const KEPT: usize = 16 * 1024;

/// The most that it holds: the front half is dropped when the buffer is full.
const FULL: usize = 2 * KEPT;

/// Keeps the last `KEPT` bytes of what is pushed, and counts the rest. While the account has no room for
/// that, it keeps nothing.
#[derive(Debug)]
pub(super) struct Tail {
    bytes: Vec<u8>,
    dropped: u64,
    is_charged: bool,
    account: Arc<Account>,
}

impl Tail {
    /// An empty tail, before which `dropped` bytes were lost already.
    pub(super) fn after(dropped: u64, account: Arc<Account>) -> Self {
        Self { bytes: Vec::new(), dropped, is_charged: false, account }
    }

    pub(super) fn push(&mut self, chunk: &[u8]) {
        if !self.is_charged && self.account.take(FULL) {
            self.is_charged = true;
            self.bytes.reserve_exact(FULL);
        }
        if !self.is_charged {
            self.dropped += chunk.len() as u64;
            return;
        }
        let useful = chunk.len().saturating_sub(KEPT);
        self.dropped += useful as u64;
        for part in chunk[useful..].chunks(KEPT) {
            if self.bytes.len() + part.len() > FULL {
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
        (self.dropped, std::mem::take(&mut self.bytes))
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        if self.is_charged {
            self.account.release(FULL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bytes_are_kept_whatever_the_chunks() {
        let all: Vec<u8> = (0..100_000_u32).map(|i| (i % 251) as u8).collect();
        for size in [1, 7, 1000, KEPT, KEPT + 1, 100_000] {
            let account = Arc::new(Account::new(FULL));
            let mut tail = Tail::after(0, Arc::clone(&account));
            for chunk in all.chunks(size) {
                tail.push(chunk);
                assert!(tail.bytes.capacity() <= account.held(), "{size}");
            }
            let (dropped, kept) = tail.finish();
            assert_eq!(dropped as usize + kept.len(), all.len(), "{size}");
            assert_eq!(kept, all[all.len() - KEPT..], "{size}");
            assert_eq!(account.held(), 0);
        }
    }

    #[test]
    fn a_short_body_is_kept_whole() {
        let mut tail = Tail::after(0, Arc::new(Account::new(FULL)));
        tail.push(b"abc");
        assert_eq!(tail.finish(), (0, b"abc".to_vec()));
    }

    #[test]
    fn without_room_nothing_is_kept_until_there_is_some() {
        let account = Arc::new(Account::new(FULL));
        assert!(account.take(1));
        let mut tail = Tail::after(7, Arc::clone(&account));
        tail.push(b"lost");
        account.release(1);
        tail.push(b"kept");
        assert_eq!(tail.finish(), (11, b"kept".to_vec()));
        assert_eq!(account.held(), 0);
    }
}
