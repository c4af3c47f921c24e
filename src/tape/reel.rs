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
    /// A new connection to the upstream was there: TCP's handshake was done, or an egress proxy's
    /// tunnel stood.
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
    /// The request's body began to be held, to ask for the stream's usage in the client's stead.
    HoldBegan,
    /// The body was whole, or holding it passed a limit.
    HoldEnded,
    /// The request goes upstream with the question.
    Asked,
    /// The upstream refused it; the request goes once more as the client wrote it.
    AskRefused,
    /// The request goes without the question, since its upstream refused that lately.
    AskPaused,
    /// The request goes without the question, since holding it passed a limit.
    AskGivenUp,
    /// Something of the answer could not be looked at: the client may see what the question caused.
    AskLeft,
}

impl Milestone {
    /// In the order of their declaration.
    const ALL: [Self; 14] = [
        Self::Lease,
        Self::Tcp,
        Self::Tls,
        Self::Connected,
        Self::Sent,
        Self::SentAll,
        Self::RequestEnd,
        Self::HoldBegan,
        Self::HoldEnded,
        Self::Asked,
        Self::AskRefused,
        Self::AskPaused,
        Self::AskGivenUp,
        Self::AskLeft,
    ];
}

/// What stands before a chunk's bytes in the reel.
#[derive(Clone, Copy, Debug)]
struct Mark {
    kind: u8,
    length: u32,
    micros: u64,
}

/// Bytes of one mark: kind and length in four, time in eight.
const MARK: usize = 12;
/// The longest chunk of one mark: its length has 24 bits.
const LONGEST: usize = (1 << 24) - 1;

const HEAD: u8 = 0;
const BODY: [u8; 2] = [1, 2];
const GAP: [u8; 2] = [3, 4];
const MILESTONES: u8 = 5;

impl Mark {
    fn encode(self) -> [u8; MARK] {
        let mut bytes = [0; MARK];
        bytes[..4].copy_from_slice(&(u32::from(self.kind) << 24 | self.length).to_le_bytes());
        bytes[4..].copy_from_slice(&self.micros.to_le_bytes());
        bytes
    }

    /// The mark at the front, and what follows it.
    fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (word, rest) = bytes.split_first_chunk::<4>()?;
        let (micros, rest) = rest.split_first_chunk::<8>()?;
        let word = u32::from_le_bytes(*word);
        let mark = Self {
            kind: (word >> 24) as u8,
            length: word & LONGEST as u32,
            micros: u64::from_le_bytes(*micros),
        };
        Some((mark, rest))
    }
}

/// Chunks, each behind its mark, in one buffer that is charged to the account for as long as the
/// reel lives.
#[derive(Debug)]
pub struct Reel {
    buffer: Vec<u8>,
    // Where the last mark stands, and when it and the first one were made.
    last: Option<(usize, Mark)>,
    began_micros: u64,
    body_bytes: u64,
    charged: usize,
    account: Arc<Account>,
}

impl Reel {
    /// An empty reel; it holds nothing until something is written.
    pub(super) fn new(account: Arc<Account>) -> Self {
        Self { buffer: Vec::new(), last: None, began_micros: 0, body_bytes: 0, charged: 0, account }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Since zero: when the first entry came.
    pub(super) fn began(&self) -> Option<Duration> {
        (!self.is_empty()).then(|| Duration::from_micros(self.began_micros))
    }

    /// Whether the reel should be handed over before more is written.
    pub(super) fn is_full(&self) -> bool {
        self.room() == 0
    }

    /// Room for bytes before the reel is full.
    pub(super) fn room(&self) -> usize {
        FULL.saturating_sub(self.buffer.len() + MARK)
    }

    /// Bytes of bodies in it.
    pub(super) fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    pub(super) fn milestone(&mut self, milestone: Milestone, at: Duration) -> bool {
        self.write(MILESTONES + milestone as u8, &[], at)
    }

    pub(super) fn head(&mut self, head: &[u8], at: Duration) -> bool {
        self.write(HEAD, head, at)
    }

    /// `chunk` is at most `room` long.
    pub(super) fn body(&mut self, direction: Direction, chunk: &[u8], at: Duration) -> bool {
        let kind = BODY[direction as usize];
        let fits = self.join(kind, chunk, at) || self.write(kind, chunk, at);
        self.body_bytes += if fits { chunk.len() as u64 } else { 0 };
        fits
    }

    pub(super) fn gap(&mut self, direction: Direction, bytes: u64, at: Duration) -> bool {
        self.write(GAP[direction as usize], &bytes.to_le_bytes(), at)
    }

    /// Appends to the last chunk, if that is of this kind and just came.
    fn join(&mut self, kind: u8, chunk: &[u8], at: Duration) -> bool {
        let Some((place, mut mark)) = self.last.filter(|(_, mark)| mark.kind == kind) else {
            return false;
        };
        let close = (at.as_micros() as u64).saturating_sub(mark.micros) < JOIN.as_micros() as u64;
        if !close || !self.reserve(chunk.len()) {
            return false;
        }
        mark.length += chunk.len() as u32;
        self.last = Some((place, mark));
        self.buffer[place..place + MARK].copy_from_slice(&mark.encode());
        self.buffer.extend_from_slice(chunk);
        true
    }

    /// Appends behind a mark of its own, or answers false when the account has no room.
    fn write(&mut self, kind: u8, bytes: &[u8], at: Duration) -> bool {
        if bytes.len() > LONGEST || !self.reserve(MARK + bytes.len()) {
            return false;
        }
        let micros = at.as_micros() as u64;
        if self.buffer.is_empty() {
            self.began_micros = micros;
        }
        let mark = Mark { kind, length: bytes.len() as u32, micros };
        self.last = Some((self.buffer.len(), mark));
        self.buffer.extend_from_slice(&mark.encode());
        self.buffer.extend_from_slice(bytes);
        true
    }

    /// Charges the account before memory is taken, doubling from `FIRST`.
    fn reserve(&mut self, more: usize) -> bool {
        let needed = self.buffer.len() + more;
        if needed <= self.charged {
            return true;
        }
        let grown = needed.next_power_of_two().max(FIRST);
        if !self.account.take(grown - self.charged) {
            return false;
        }
        self.charged = grown;
        self.buffer.reserve_exact(grown - self.buffer.len());
        true
    }

    /// What was written, in order, with its time since zero.
    pub fn entries(&self) -> Entries<'_> {
        Entries { buffer: &self.buffer }
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
    buffer: &'a [u8],
}

impl<'a> Iterator for Entries<'a> {
    type Item = (Duration, Entry<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (mark, rest) = Mark::decode(self.buffer)?;
        let (bytes, rest) = rest.split_at_checked(mark.length as usize)?;
        self.buffer = rest;
        let gap = || bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
        let entry = match mark.kind {
            HEAD => Entry::Head(bytes),
            kind if kind == BODY[0] => Entry::Body(Direction::Request, bytes),
            kind if kind == BODY[1] => Entry::Body(Direction::Response, bytes),
            kind if kind == GAP[0] => Entry::Gap(Direction::Request, gap()),
            kind if kind == GAP[1] => Entry::Gap(Direction::Response, gap()),
            kind => Entry::At(*Milestone::ALL.get(usize::from(kind - MILESTONES))?),
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
    fn every_milestone_is_read_back() {
        let mut reel = Reel::new(Arc::new(Account::new(1 << 20)));
        for milestone in Milestone::ALL {
            assert!(reel.milestone(milestone, at(1)));
        }
        let read: Vec<_> = reel.entries().map(|(_, entry)| entry).collect();
        assert_eq!(read, Milestone::ALL.map(Entry::At));
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

    #[test]
    fn chunks_that_come_together_are_one_whenever_they_come() {
        let mut reel = Reel::new(Arc::new(Account::new(1 << 20)));
        for (micros, chunk) in [(5_000, b"a"), (5_049, b"b"), (5_050, b"c"), (5_099, b"d")] {
            assert!(reel.body(Response, chunk, at(micros)));
        }
        let entries: Vec<_> = reel.entries().collect();
        assert_eq!(entries.len(), 2, "{entries:?}");
        assert_eq!(entries[0], (at(5_000), Entry::Body(Response, b"ab")));
        assert_eq!(entries[1], (at(5_050), Entry::Body(Response, b"cd")));
        assert_eq!(reel.body_bytes(), 4);
    }

    #[test]
    fn a_full_reel_fills_its_buffer_and_an_account_can_be_used_up() {
        let account = Arc::new(Account::new(FULL));
        let mut reel = Reel::new(Arc::clone(&account));
        let chunk = vec![b'x'; reel.room()];
        assert!(reel.body(Response, &chunk, at(0)) && reel.is_full());
        assert_eq!((account.held(), reel.buffer.len()), (FULL, FULL));
        assert!(!reel.body(Response, b"y", at(0)), "nothing is left of the account");
    }
}
