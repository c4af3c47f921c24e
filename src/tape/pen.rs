//! The two pens that the hot path writes with. They never wait: what cannot be kept is counted.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::reel::Direction;
use super::tail::Tail;
use super::{Cause, End, Exchange, Ids, Milestone, Reel};

/// A reel whose first byte is older than this is handed over with the next chunk, so that the cold
/// path sees a slow stream while it runs.
const STALE: Duration = Duration::from_secs(1);

/// Writes the request's body. Dropped before `end`, the body was not read to its end.
#[derive(Debug)]
pub struct RequestPen {
    pen: Pen,
    ended: bool,
}

/// Writes everything else, and the end. Dropped before `end`, the client is gone.
#[derive(Debug)]
pub struct ResponsePen {
    pen: Pen,
    chunks: u32,
}

/// What both have in common: one direction's reel, or its tail after a tear.
#[derive(Debug)]
struct Pen {
    direction: Direction,
    exchange: Arc<Exchange>,
    reel: Reel,
    tail: Option<Tail>,
}

impl Pen {
    fn new(direction: Direction, exchange: Arc<Exchange>) -> Self {
        let reel = Reel::new(Arc::clone(&exchange.tapes.account));
        Self { direction, exchange, reel, tail: None }
    }

    /// Keeps `chunk`, in the reel or, after a tear, in the tail.
    fn data(&mut self, mut chunk: &[u8], at: Duration) {
        while self.tail.is_none() && !chunk.is_empty() {
            if !self.exchange.within_bounds() {
                self.tear(0);
            } else if self.reel.room() == 0 {
                self.hand_over(false);
            } else {
                let (now, later) = chunk.split_at(chunk.len().min(self.reel.room()));
                if self.reel.body(self.direction, now, at) {
                    chunk = later;
                } else {
                    self.tear(0);
                }
            }
        }
        if let Some(tail) = &mut self.tail {
            tail.push(chunk);
        }
    }

    /// From here on only the last bytes are kept; `lost` bytes before them are lost already.
    fn tear(&mut self, lost: u64) {
        if self.tail.is_none() {
            self.tail = Some(Tail::after(lost));
            self.exchange.tear(self.direction);
        }
    }

    /// Hands over what there is; a worker that cannot take it tears the tape.
    fn hand_over(&mut self, last: bool) {
        let reel = self.take_reel();
        let bytes = reel.body_bytes();
        let reel = (!reel.is_empty()).then_some(reel);
        if !self.exchange.hand_over(reel, last) {
            self.tear(bytes);
        }
    }

    /// Puts what a torn body ended with into the reel. Above the account's limit it is lost too.
    fn finish_tail(&mut self, at: Duration) {
        if let Some(tail) = self.tail.take() {
            let (dropped, kept) = tail.finish();
            let _fits = self.reel.gap(self.direction, dropped, at)
                && self.reel.body(self.direction, &kept, at);
        }
    }

    fn take_reel(&mut self) -> Reel {
        std::mem::replace(&mut self.reel, Reel::new(Arc::clone(&self.exchange.tapes.account)))
    }
}

impl RequestPen {
    pub(super) fn new(exchange: Arc<Exchange>) -> Self {
        Self { pen: Pen::new(Direction::Request, exchange), ended: false }
    }

    /// Tapes a chunk of the request's body.
    pub fn data(&mut self, chunk: &[u8]) {
        let exchange = &self.pen.exchange;
        let at = exchange.now();
        exchange.vitals.request_bytes.fetch_add(chunk.len() as u64, Relaxed);
        self.pen.data(chunk, at);
    }

    /// The body ended. Only the first end counts.
    pub fn end(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            let at = self.pen.exchange.now();
            self.pen.finish_tail(at);
            self.pen.reel.milestone(Milestone::RequestEnd, at);
            self.leave();
        }
    }

    /// Leaves the reel for the response's head to take along, or hands it over if that has passed.
    fn leave(&mut self) {
        let reel = self.pen.take_reel();
        if let Some(reel) = self.pen.exchange.leave(reel) {
            self.pen.exchange.hand_over(Some(reel), false);
        }
    }
}

impl Drop for RequestPen {
    fn drop(&mut self) {
        if !self.ended {
            self.pen.finish_tail(self.pen.exchange.now());
            self.leave();
        }
    }
}

impl ResponsePen {
    pub(super) fn new(exchange: Arc<Exchange>) -> Self {
        Self { pen: Pen::new(Direction::Response, exchange), chunks: 0 }
    }

    /// The exchange's ids.
    pub fn ids(&self) -> &Ids {
        &self.pen.exchange.ids
    }

    /// Tapes a moment; one before zero counts as zero.
    pub fn milestone(&mut self, milestone: Milestone, at: Instant) {
        let at = at.saturating_duration_since(self.pen.exchange.zero);
        // Without room for a moment there is none for the head either, which tears the tape.
        let _fits = self.pen.reel.milestone(milestone, at);
    }

    /// Tapes the response's head, as `Entry::Head` describes it, and hands over what there is.
    pub fn head(&mut self, head: &[u8]) {
        if !self.pen.reel.head(head, self.pen.exchange.now()) {
            self.pen.tear(0);
        }
        self.pen.exchange.response_begins();
        self.pen.hand_over(false);
    }

    /// Tapes a chunk of the response's body. `last`: the body ends with it, and the end will take
    /// it along.
    pub fn data(&mut self, chunk: &[u8], last: bool) {
        let exchange = &self.pen.exchange;
        let at = exchange.now();
        exchange.vitals.response_bytes.fetch_add(chunk.len() as u64, Relaxed);
        exchange.vitals.last_chunk_micros.store(at.as_micros() as u64, Relaxed);
        self.chunks = self.chunks.saturating_add(1);
        self.pen.data(chunk, at);
        let early = matches!(self.chunks, 1 | 2 | 4);
        let stale = self.pen.reel.began().is_some_and(|began| at.saturating_sub(began) > STALE);
        if !last && self.pen.tail.is_none() && (early || stale || self.pen.reel.is_full()) {
            self.pen.hand_over(false);
        }
    }

    /// The exchange is over. Only the first end counts.
    pub fn end(&mut self, cause: Cause) {
        let at = self.pen.exchange.now();
        if self.pen.exchange.end(End { at, cause }) {
            self.pen.finish_tail(at);
            self.pen.hand_over(true);
        }
    }

    /// Whether the end was written.
    pub fn ended(&self) -> bool {
        self.pen.exchange.vitals.end().is_some()
    }
}

impl Drop for ResponsePen {
    fn drop(&mut self) {
        self.end(Cause::ClientGone);
    }
}
