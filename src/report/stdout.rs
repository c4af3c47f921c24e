//! Lines to standard output from a thread of its own, behind a bounded buffer: a blocked terminal
//! or pipe never blocks a worker. Knows no exchange.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes that may wait for the output.
const LIMIT: usize = 1 << 20;
/// How long lines are gathered before they are written at once: a person sees no difference, and a
/// worker wakes the writer a hundred times a second at most.
const GATHER: Duration = Duration::from_millis(10);

/// Lines that wait. What does not fit is dropped and counted.
#[derive(Debug, Default)]
pub(super) struct Lines {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    text: Vec<u8>,
    closed: bool,
    done: bool,
}

impl Lines {
    /// Starts the thread that writes to `output`.
    pub(super) fn start(output: Box<dyn Write + Send>) -> std::io::Result<Arc<Self>> {
        let lines = Arc::new(Self::default());
        let writer = Arc::clone(&lines);
        std::thread::Builder::new().name("lines".to_owned()).spawn(move || writer.run(output))?;
        Ok(lines)
    }

    /// Adds one line, its line feed included.
    pub(super) fn push(&self, line: &[u8]) {
        let mut waiting = self.waiting();
        if waiting.closed || waiting.text.len() + line.len() > LIMIT {
            self.dropped.fetch_add(1, Relaxed);
            return;
        }
        let wake = waiting.text.is_empty();
        waiting.text.extend_from_slice(line);
        drop(waiting);
        if wake {
            self.changed.notify_all();
        }
    }

    /// Lines that were not written because the output was too slow.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Waits until everything is written, but not past `deadline`; takes no line after.
    pub(super) fn close(&self, deadline: Instant) {
        let mut waiting = self.waiting();
        waiting.closed = true;
        self.changed.notify_all();
        while !waiting.done {
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return;
            }
            waiting =
                self.changed.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Writes all that waits at once, again and again.
    fn run(&self, mut output: Box<dyn Write + Send>) {
        let mut text = Vec::new();
        while self.take(&mut text) {
            // A closed pipe is no reason to end: the exchanges go on.
            if output.write_all(&text).and_then(|()| output.flush()).is_err() {
                let lines = text.iter().filter(|&&byte| byte == b'\n').count();
                self.dropped.fetch_add(lines as u64, Relaxed);
            }
        }
        self.waiting().done = true;
        self.changed.notify_all();
    }

    /// Swaps what waits with the emptied `text`; false once closed and empty.
    fn take(&self, text: &mut Vec<u8>) -> bool {
        text.clear();
        let mut waiting = self.waiting();
        while waiting.text.is_empty() {
            if waiting.closed {
                return false;
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        let gathering = self.changed.wait_timeout_while(waiting, GATHER, |it| !it.closed);
        waiting = gathering.unwrap_or_else(PoisonError::into_inner).0;
        std::mem::swap(&mut waiting.text, text);
        true
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // A poisoned lock still holds whole lines.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    /// Tells when a write began, and blocks until it is let go.
    struct Stuck(SyncSender<Vec<u8>>, Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.send(bytes.to_vec()).unwrap();
            self.1.recv().map_err(std::io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_blocked_output_drops_and_counts_but_never_blocks() {
        let (written, writes) = sync_channel(16);
        let (release, released) = sync_channel(16);
        let lines = Lines::start(Box::new(Stuck(written, released))).unwrap();
        lines.push(b"first\n");
        assert_eq!(writes.recv().unwrap(), b"first\n");
        // The output hangs; a mebibyte may wait, and no more.
        let long = [b'x'; 1024];
        (0..1030).for_each(|_| lines.push(&long));
        assert_eq!(lines.dropped(), 6);
        release.send(()).unwrap();
        assert_eq!(writes.recv().unwrap().len(), LIMIT, "all that waited in one write");
        release.send(()).unwrap();
        lines.close(soon());
        lines.push(b"late\n");
        assert_eq!(lines.dropped(), 7);
    }

    #[test]
    fn closing_gives_up_at_the_deadline() {
        let (written, writes) = sync_channel(16);
        let (release, released) = sync_channel(16);
        let lines = Lines::start(Box::new(Stuck(written, released))).unwrap();
        lines.push(b"first\n");
        writes.recv().unwrap();
        lines.close(Instant::now() + Duration::from_millis(20));
        assert!(!lines.waiting().done);
        // A broken pipe counts what it lost.
        drop(release);
        lines.close(soon());
        assert_eq!(lines.dropped(), 1);
    }
}
