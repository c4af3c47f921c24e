//! One limit on all memory that asking holds: bodies of requests, and events of answers. Knows no
//! bytes, only how many.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes that all exchanges together hold, and may hold.
#[derive(Debug)]
pub(super) struct Memory {
    held: AtomicUsize,
    limit: usize,
}

/// One holder's share, given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Memory {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { held: AtomicUsize::new(0), limit })
    }

    /// A share of nothing yet.
    pub(super) fn share(self: &Arc<Self>) -> Share {
        Share { memory: Arc::clone(self), bytes: 0 }
    }
}

impl Share {
    /// Makes the share so large, if it fits under the limit.
    pub(super) fn resize(&mut self, bytes: usize) -> bool {
        let Some(more) = bytes.checked_sub(self.bytes) else {
            self.memory.held.fetch_sub(self.bytes - bytes, Relaxed);
            self.bytes = bytes;
            return true;
        };
        if more == 0 {
            return true;
        }
        let before = self.memory.held.fetch_add(more, Relaxed);
        let fits = before.saturating_add(more) <= self.memory.limit;
        if fits {
            self.bytes = bytes;
        } else {
            self.memory.held.fetch_sub(more, Relaxed);
        }
        fits
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.memory.held.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_fit_under_one_limit_and_are_given_back() {
        let memory = Memory::new(100);
        let (mut one, mut other) = (memory.share(), memory.share());
        assert!(one.resize(60) && other.resize(40) && !other.resize(41));
        assert!(one.resize(10) && other.resize(90) && !one.resize(11));
        drop(other);
        assert!(one.resize(100));
        drop(one);
        assert_eq!(memory.held.load(Relaxed), 0);
    }
}
