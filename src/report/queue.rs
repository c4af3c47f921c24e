//! Encoded records that wait for one endpoint, bounded by bytes. Knows no OTLP and no socket; never
//! waits, and counts exactly what became of each record.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::settings::Batching;

/// A batch is closed before it grows above this, whatever the count of its records: gRPC servers
/// refuse messages of more than 4 MiB unless told otherwise.
pub(super) const BATCH_BYTES: usize = 3 << 20;

/// What became of records.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// The endpoint accepted them.
    pub(super) sent: AtomicU64,
    /// The queue was full, or the process ended.
    pub(super) dropped: AtomicU64,
    /// The endpoint refused them, or never took them in time.
    pub(super) failed: AtomicU64,
}

/// Records that are sent together: their encodings, one after the other.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) records: usize,
}

/// The queue. When it is full the *newest* record is dropped: what waits is never disturbed, and a
/// trace that began to arrive is not torn in its middle.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) counts: Counts,
    waiting: Mutex<Waiting>,
    full: Notify,
    bytes: usize,
    batching: Batching,
}

#[derive(Debug, Default)]
struct Waiting {
    batches: VecDeque<Batch>,
    bytes: usize,
    records: usize,
    closed: bool,
    // A sent batch's buffer, used again for the next.
    spare: Vec<u8>,
}

impl Queue {
    /// Holds at most `bytes` bytes, in batches as `batching` says.
    pub(super) fn new(bytes: usize, batching: Batching) -> Self {
        Self {
            counts: Counts::default(),
            waiting: Mutex::default(),
            full: Notify::new(),
            bytes,
            batching,
        }
    }

    /// Adds `records` records that belong together, encoded.
    pub(super) fn push(&self, bytes: &[u8], records: usize) {
        let mut waiting = self.waiting();
        let full = waiting.bytes + bytes.len() > self.bytes
            || waiting.records + records > self.batching.queue;
        if waiting.closed || full {
            self.counts.dropped.fetch_add(records as u64, Relaxed);
            self.full.notify_one();
            return;
        }
        waiting.bytes += bytes.len();
        waiting.records += records;
        let fits = |batch: &&mut Batch| {
            batch.records + records <= self.batching.records
                && batch.bytes.len() + bytes.len() <= BATCH_BYTES
        };
        if let Some(last) = waiting.batches.back_mut().filter(fits) {
            last.bytes.extend_from_slice(bytes);
            last.records += records;
            return;
        }
        // The batch before it is closed: it can be sent, and its spare room given back.
        let closed = waiting.batches.back_mut().map(|batch| batch.bytes.shrink_to_fit()).is_some();
        let mut next = std::mem::take(&mut waiting.spare);
        next.extend_from_slice(bytes);
        waiting.batches.push_back(Batch { bytes: next, records });
        drop(waiting);
        if closed {
            self.full.notify_one();
        }
    }

    /// The oldest batch.
    pub(super) fn take(&self) -> Option<Batch> {
        let mut waiting = self.waiting();
        let batch = waiting.batches.pop_front()?;
        waiting.bytes -= batch.bytes.len();
        waiting.records -= batch.records;
        Some(batch)
    }

    /// Gives a sent batch's buffer back.
    pub(super) fn recycle(&self, mut batch: Batch) {
        batch.bytes.clear();
        self.waiting().spare = batch.bytes;
    }

    /// Returns when a batch is full, or the queue.
    pub(super) async fn full(&self) {
        self.full.notified().await;
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.waiting().bytes
    }

    /// Takes nothing any more; what waits is dropped.
    pub(super) fn close(&self) {
        let waiting = &mut *self.waiting();
        waiting.closed = true;
        (waiting.bytes, waiting.records) = (0, 0);
        let left: usize = waiting.batches.drain(..).map(|batch| batch.records).sum();
        self.counts.dropped.fetch_add(left as u64, Relaxed);
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // A poisoned lock still holds whole records.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(bytes: usize, records: usize) -> Queue {
        Queue::new(bytes, Batching { records, ..Batching::default() })
    }

    fn batch(bytes: &[u8], records: usize) -> Option<Batch> {
        Some(Batch { bytes: bytes.to_vec(), records })
    }

    #[test]
    fn records_leave_in_batches_and_in_order() {
        let queue = queue(100, 4);
        for pair in ["ab", "cd", "ef", "gh", "ij"] {
            queue.push(pair.as_bytes(), 2);
        }
        assert_eq!(queue.bytes(), 10);
        assert_eq!(queue.take(), batch(b"abcd", 4));
        assert_eq!(queue.take(), batch(b"efgh", 4));
        assert_eq!(queue.take(), batch(b"ij", 2));
        assert_eq!(queue.take(), None);
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn a_buffer_that_is_used_again_is_empty() {
        let queue = queue(100, 4);
        queue.push(b"abc", 1);
        let sent = queue.take().unwrap();
        queue.recycle(sent);
        queue.push(b"d", 1);
        assert_eq!(queue.take(), batch(b"d", 1));
    }

    #[test]
    fn a_full_queue_drops_the_newest_and_counts_each_record() {
        let queue = queue(5, 10);
        queue.push(b"abc", 2);
        queue.push(b"def", 3);
        queue.push(b"gh", 1);
        assert_eq!(queue.counts.dropped.load(Relaxed), 3);
        assert_eq!(queue.take(), batch(b"abcgh", 3));
        queue.push(b"ij", 2);
        queue.close();
        queue.push(b"kl", 4);
        assert_eq!(queue.counts.dropped.load(Relaxed), 3 + 2 + 4);
        assert_eq!(queue.take(), None);
    }

    #[test]
    fn a_queue_may_be_bounded_by_records_too() {
        let queue = Queue::new(100, Batching { queue: 3, ..Batching::default() });
        queue.push(b"ab", 2);
        queue.push(b"cd", 2);
        queue.push(b"e", 1);
        assert_eq!(queue.counts.dropped.load(Relaxed), 2);
        assert_eq!(queue.take(), batch(b"abe", 3));
        queue.push(b"fgh", 3);
        assert_eq!(queue.take(), batch(b"fgh", 3));
    }

    #[test]
    fn a_batch_is_bounded_by_bytes_too() {
        let queue = queue(64 << 20, 512);
        let large = vec![0; 3 << 20];
        queue.push(&large, 1);
        queue.push(&large, 1);
        assert_eq!(queue.take().map(|batch| batch.records), Some(1));
    }

    #[tokio::test]
    async fn a_full_batch_wakes_the_sender() {
        let queue = queue(100, 1);
        queue.push(b"a", 1);
        queue.push(b"b", 1);
        queue.full().await;
    }
}
