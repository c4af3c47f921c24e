//! One reel: bytes of one direction, and beside them when each chunk came. Knows no exchange.

use std::sync::Arc;
use std::time::Duration;

use super::Account;

/// A reel's first size, and the most that it grows to.
const FIRST: usize = 1024;
const FULL: usize = 16 * 1024;
/// Chunks closer than this to the mark before them join it.
const JOIN: Duration = Duration::from_micros(50);

/// One thing that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A moment of the connection or the request.
    At(Milestone),
    /// The response's head: `STATUS VERSION` and the header fields, one a line.
    Head(&'a [u8]),
    /// Bytes of a body.
    Body(Direction, &'a [u8]),
    /// So many bytes of a body were not kept.
    Gap(Direction, u64),
}

/// Which body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the upstream.
    Request,
    /// From the upstream to the client.
    Response,
}

/// Moments that have no bytes of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Milestone {
    /// The search for a connection began.
    Lease,
    /// A new connection's TCP handshake was done.
    Tcp,
    /// A new connection's TLS handshake was done.
    Tls,
    /// A connection was leased or made.
    Connected,
    /// First byte written upstream.
    Sent,
    /// Last request byte written upstream.
    SentAll,
    /// The request's body ended.
    RequestEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    At(Milestone),
    Head,
    Body(Direction),
    Gap(Direction),
}

/// Bytes of `length` that came `micros` after zero. A gap's length stands in eight bytes of its own.
#[derive(Clone, Copy, Debug)]
struct Mark {
    kind: Kind,
    length: u32,
    micros: u64,
}

/// Bytes and marks, charged to the account for as long as the reel lives.
#[derive(Debug)]
pub struct Reel {
    bytes: Vec<u8>,
    marks: Vec<Mark>,
    charged: usize,
    account: Arc<Account>,
}

impl Reel {
    /// An empty reel; it holds nothing until something is written.
    pub(super) fn new(account: Arc<Account>) -> Self {
        Self { bytes: Vec::new(), marks: Vec::new(), charged: 0, account }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// Since zero: when the first entry came.
    pub(super) fn began(&self) -> Option<Duration> {
        self.marks.first().map(|mark| Duration::from_micros(mark.micros))
    }

    /// Whether the reel should be handed over before more is written.
    pub(super) fn is_full(&self) -> bool {
        self.size() >= FULL
    }

    fn size(&self) -> usize {
        self.bytes.len() + self.marks.len() * size_of::<Mark>()
    }

    /// Room for bytes before the reel is full.
    pub(super) fn room(&self) -> usize {
        FULL.saturating_sub(self.size() + size_of::<Mark>())
    }

    pub(super) fn milestone(&mut self, milestone: Milestone, at: Duration) -> bool {
        self.write(Kind::At(milestone), &[], at)
    }

    pub(super) fn head(&mut self, head: &[u8], at: Duration) -> bool {
        self.write(Kind::Head, head, at)
    }

    pub(super) fn body(&mut self, direction: Direction, chunk: &[u8], at: Duration) -> bool {
        self.write(Kind::Body(direction), chunk, at)
    }

    pub(super) fn gap(&mut self, direction: Direction, bytes: u64, at: Duration) -> bool {
        self.write(Kind::Gap(direction), &bytes.to_le_bytes(), at)
    }

    /// Bytes of bodies in it.
    pub(super) fn body_bytes(&self) -> u64 {
        let bodies = self.marks.iter().filter(|mark| matches!(mark.kind, Kind::Body(_)));
        bodies.map(|mark| u64::from(mark.length)).sum()
    }

    /// Appends, or answers false when the account has no room.
    fn write(&mut self, kind: Kind, bytes: &[u8], at: Duration) -> bool {
        if !self.reserve(bytes.len()) {
            return false;
        }
        self.bytes.extend_from_slice(bytes);
        let micros = at.as_micros() as u64;
        let length = bytes.len() as u32;
        match self.marks.last_mut() {
            Some(last)
                if last.kind == kind
                    && matches!(kind, Kind::Body(_))
                    && micros.saturating_sub(last.micros) < JOIN.as_micros() as u64 =>
            {
                last.length += length;
            }
            _ => self.marks.push(Mark { kind, length, micros }),
        }
        true
    }

    /// Charges the account before memory is taken, doubling from `FIRST`.
    fn reserve(&mut self, more: usize) -> bool {
        let needed = self.size() + more + size_of::<Mark>();
        if needed <= self.charged {
            return true;
        }
        let grown = needed.next_power_of_two().max(FIRST);
        if !self.account.take(grown - self.charged) {
            return false;
        }
        self.charged = grown;
        // A quarter of a small reel is marks: streams come in short chunks.
        if self.bytes.capacity() == 0 {
            self.marks.reserve_exact(8);
            self.bytes.reserve_exact(grown - 8 * size_of::<Mark>());
        }
        true
    }

    /// What was written, in order, with its time since zero.
    pub fn entries(&self) -> Entries<'_> {
        Entries { bytes: &self.bytes, marks: self.marks.iter() }
    }
}

impl Drop for Reel {
    fn drop(&mut self) {
        self.account.release(self.charged);
    }
}

/// Iterates over a reel.
#[derive(Debug)]
pub struct Entries<'a> {
    bytes: &'a [u8],
    marks: std::slice::Iter<'a, Mark>,
}

impl<'a> Iterator for Entries<'a> {
    type Item = (Duration, Entry<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let mark = self.marks.next()?;
        let (bytes, rest) = self.bytes.split_at(mark.length as usize);
        self.bytes = rest;
        let count = || bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
        let entry = match mark.kind {
            Kind::At(milestone) => Entry::At(milestone),
            Kind::Head => Entry::Head(bytes),
            Kind::Body(direction) => Entry::Body(direction, bytes),
            Kind::Gap(direction) => Entry::Gap(direction, count()),
        };
        Some((Duration::from_micros(mark.micros), entry))
    }
}

#[cfg(test)]
mod tests {
    use super::Direction::Response;
    use super::*;

    fn at(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    #[test]
    fn what_was_written_is_read_back() {
        let account = Arc::new(Account::new(1 << 20));
        let mut reel = Reel::new(Arc::clone(&account));
        assert!(reel.milestone(Milestone::Sent, at(3)));
        assert!(reel.head(b"200 1.1\n", at(5)));
        assert!(reel.body(Response, b"ab", at(7)));
        assert!(reel.body(Response, b"cd", at(20)));
        assert!(reel.body(Response, b"e", at(100)));
        assert!(reel.gap(Response, 300, at(101)));
        assert!(reel.body(Response, b"f", at(102)));
        let entries: Vec<_> = reel.entries().collect();
        assert_eq!(
            entries,
            [
                (at(3), Entry::At(Milestone::Sent)),
                (at(5), Entry::Head(b"200 1.1\n")),
                (at(7), Entry::Body(Response, b"abcd")),
                (at(100), Entry::Body(Response, b"e")),
                (at(101), Entry::Gap(Response, 300)),
                (at(102), Entry::Body(Response, b"f")),
            ]
        );
        assert!(account.held() >= 1024);
        drop(reel);
        assert_eq!(account.held(), 0);
    }

    #[test]
    fn a_reel_over_the_account_refuses_and_keeps_what_it_has() {
        let account = Arc::new(Account::new(1500));
        let mut reel = Reel::new(Arc::clone(&account));
        assert!(reel.body(Response, &[b'x'; 500], at(0)));
        assert!(!reel.body(Response, &[b'y'; 900], at(1)));
        assert_eq!(reel.entries().count(), 1);
        assert_eq!(account.held(), 1024);
    }
}
