//! The two pens that the hot path writes with. They never wait: what cannot be kept is counted.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::reel::Direction;
use super::tail::Tail;
use super::{Account, Cause, End, Exchange, Ids, Milestone, Reel};

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
    // Of an upgraded connection: what it may hold at once, however much it carries in all.
    session: Option<Arc<Account>>,
}

impl Pen {
    fn new(direction: Direction, exchange: Arc<Exchange>) -> Self {
        let reel = Reel::new(Arc::clone(&exchange.tapes.account));
        Self { direction, exchange, reel, tail: None, session: None }
    }

    /// Keeps `chunk`, in the reel or, after a tear, in the tail.
    fn data(&mut self, mut chunk: &[u8], at: Duration) {
        while self.tail.is_none() && !chunk.is_empty() {
            if self.session.is_none() && !self.exchange.within_bounds(self.direction) {
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
            self.tail = Some(Tail::after(lost, Arc::clone(self.account())));
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
        let reel = Reel::new(Arc::clone(self.account()));
        std::mem::replace(&mut self.reel, reel)
    }

    /// Where what is held is counted.
    fn account(&self) -> &Arc<Account> {
        self.session.as_ref().unwrap_or(&self.exchange.tapes.account)
    }

    /// From here on what waits for the worker is bounded, not what was ever written.
    fn upgrade(&mut self, session: Arc<Account>) {
        self.session = Some(session);
        // An empty reel on the new account: what stood in the old one went with the head.
        self.hand_over_any();
        self.take_reel();
    }

    /// Hands over what there is, if there is anything.
    fn hand_over_any(&mut self) {
        if !self.reel.is_empty() {
            self.hand_over(false);
        }
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

    /// Hands over what there is. In an upgraded connection both sides take turns for as long as they
    /// like: what the client said must not reach the worker after what it was answered.
    pub fn hand_over(&mut self) {
        self.pen.hand_over_any();
    }

    /// Leaves the reel for the response's head to take along, or hands it over if that has passed.
    fn leave(&mut self) {
        let reel = self.pen.take_reel();
        if let Some(reel) = self.pen.exchange.leave(reel)
            && !self.pen.exchange.hand_over(Some(reel), false)
        {
            self.pen.exchange.tear(Direction::Request);
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

    /// The connection was upgraded: a pen for what the client sends from here on. Its request has ended,
    /// its bytes have not. Both pens together hold no more than `tape_exchange` that no worker has read,
    /// and this one hands over each chunk: it may be the last for hours.
    pub fn upgraded(&mut self) -> RequestPen {
        let tapes = &self.pen.exchange.tapes;
        let limit = usize::try_from(tapes.settings.exchange).unwrap_or(usize::MAX);
        let session = Arc::new(Account::part(&tapes.account, limit));
        let mut request = RequestPen::new(Arc::clone(&self.pen.exchange));
        request.pen.upgrade(Arc::clone(&session));
        self.pen.upgrade(session);
        request
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
        let due = early || stale || self.pen.session.is_some() || self.pen.reel.is_full();
        if !last && self.pen.tail.is_none() && due {
            self.pen.hand_over(false);
        }
    }

    /// So many of the taped bytes do not reach the client: they are what we asked for in its stead.
    pub fn withhold(&self, bytes: u64) {
        self.pen.exchange.vitals.response_bytes.fetch_sub(bytes, Relaxed);
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

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use tokio::sync::mpsc::Receiver;

    use super::*;
    use crate::tape::{Entry, Handover, Settings, Start, Tapes};

    const SETTINGS: Settings =
        Settings { memory: 1 << 20, exchange: 1 << 20, workers: 1, queue: 1000 };

    fn start(settings: Settings) -> (Tapes, Receiver<Handover>, RequestPen, ResponsePen) {
        start_at(Instant::now(), settings)
    }

    fn start_at(
        zero: Instant,
        settings: Settings,
    ) -> (Tapes, Receiver<Handover>, RequestPen, ResponsePen) {
        let (tapes, mut receivers) = Tapes::new(settings);
        let ids = Ids {
            trace: [1; 16],
            parent: None,
            server_span: [2; 8],
            client_span: [3; 8],
            flags: 1,
        };
        let start = Start {
            ids,
            upstream: None,
            started: SystemTime::UNIX_EPOCH,
            client: None,
            scheme: "http",
            mount: 0,
            head: b"POST / 1.1\n".to_vec(),
        };
        let (request, response) = tapes.start(zero, start);
        (tapes, receivers.remove(0), request, response)
    }

    /// What the worker reads: bodies with gaps as `…`, and how many hand-overs it took.
    fn read(receiver: &mut Receiver<Handover>) -> (Vec<u8>, Vec<u8>, u64, usize) {
        let (mut request, mut response, mut gap, mut handovers) = (vec![], vec![], 0, 0);
        let mut last = false;
        while let Ok(handover) = receiver.try_recv() {
            assert_eq!(handover.exchange.start().is_some(), handovers == 0, "there is one start");
            assert!(!last, "nothing comes after the last");
            last = handover.last;
            handovers += 1;
            for reel in handover.reels.iter().flatten() {
                for (_, entry) in reel.entries() {
                    match entry {
                        Entry::Body(Direction::Request, bytes) => request.extend(bytes),
                        Entry::Body(Direction::Response, bytes) => response.extend(bytes),
                        Entry::Gap(_, bytes) => gap += bytes,
                        Entry::At(_) | Entry::Head(_) => (),
                    }
                }
            }
        }
        assert!(last, "the end comes");
        (request, response, gap, handovers)
    }

    #[test]
    fn a_unary_exchange_takes_two_hand_overs() {
        let (tapes, mut receiver, mut request, mut response) = start(SETTINGS);
        request.data(b"question");
        request.end();
        response.head(b"200 1.1\n");
        response.data(b"answer", true);
        response.end(Cause::Complete);
        drop((request, response));
        let read = read(&mut receiver);
        assert_eq!(read, (b"question".to_vec(), b"answer".to_vec(), 0, 2));
        assert_eq!(tapes.account().held(), 0);
        assert_eq!(tapes.counts().torn.load(Relaxed), 0);
    }

    #[test]
    fn a_stream_takes_a_hand_over_for_each_full_reel() {
        let (tapes, mut receiver, mut request, mut response) = start(SETTINGS);
        request.end();
        response.head(b"200 1.1\n");
        let chunk = [b'x'; 250];
        (0..1000).for_each(|_| response.data(&chunk, false));
        response.end(Cause::Complete);
        drop((request, response));
        let held = tapes.account().held();
        assert!((250_000..400_000).contains(&held), "{held}");
        let (_, body, gap, handovers) = read(&mut receiver);
        assert_eq!((body.len(), gap), (250_000, 0));
        // The head, the end, the 1st, 2nd and 4th chunk; the rest by 16 KiB of bytes and marks.
        assert!(handovers <= 1000 * (250 + 12) / (16 * 1024) + 7, "{handovers}");
        assert_eq!(tapes.account().held(), 0);
    }

    #[test]
    fn a_body_over_the_bound_keeps_its_beginning_and_its_end() {
        let settings = Settings { exchange: 100_000, ..SETTINGS };
        let (tapes, mut receiver, mut request, mut response) = start(settings);
        request.end();
        response.head(b"200 1.1\n");
        let body: Vec<u8> = (0..500_000_u32).map(|i| (i % 251) as u8).collect();
        body.chunks(1000).for_each(|chunk| response.data(chunk, false));
        response.end(Cause::Complete);
        let (_, kept, gap, _) = read(&mut receiver);
        let front = kept.len() - 16 * 1024;
        assert_eq!(kept.len() as u64 + gap, 500_000);
        assert_eq!(kept[..front], body[..front]);
        assert_eq!(kept[front..], body[500_000 - 16 * 1024..]);
        assert_eq!(tapes.counts().torn.load(Relaxed), 1);
        assert_eq!(response.pen.exchange.vitals.response_bytes.load(Relaxed), 500_000);
    }

    #[test]
    fn a_request_over_the_bound_costs_its_answer_nothing() {
        let settings = Settings { exchange: 100_000, ..SETTINGS };
        let (_tapes, mut receiver, mut request, mut response) = start(settings);
        (0..300).for_each(|_| request.data(&[b'q'; 1000]));
        request.end();
        response.head(b"200 1.1\n");
        (0..100).for_each(|_| response.data(&[b'a'; 1000], false));
        response.end(Cause::Complete);
        let (asked, answered, gap, _) = read(&mut receiver);
        assert_eq!((asked.len() as u64 + gap, answered.len()), (300_000, 100_000));
        assert!(gap > 0 && !response.pen.exchange.vitals.response_torn.load(Relaxed));
    }

    #[test]
    fn a_full_channel_tears_the_tape_but_totals_and_end_are_known() {
        let settings = Settings { queue: 1, ..SETTINGS };
        let (tapes, mut receiver, mut request, mut response) = start(settings);
        request.end();
        response.head(b"200 1.1\n");
        response.data(b"one", false);
        response.data(b"two", false);
        response.end(Cause::UpstreamReset("reset"));
        let first = receiver.try_recv().unwrap();
        assert!(first.exchange.start().is_some() && receiver.try_recv().is_err());
        let vitals = &first.exchange.vitals;
        assert_eq!(vitals.end().map(|end| end.cause), Some(Cause::UpstreamReset("reset")));
        assert_eq!(vitals.response_bytes.load(Relaxed), 6);
        assert!(vitals.response_torn.load(Relaxed));
        assert_eq!(tapes.counts().dropped.load(Relaxed), 2);
    }

    #[test]
    fn an_upgraded_connection_is_bounded_by_what_no_worker_has_read() {
        let settings = Settings { exchange: 256 << 10, ..SETTINGS };
        let (tapes, mut receiver, mut request, mut response) = start(settings);
        request.end();
        response.head(b"101 1.1\n");
        let mut client = response.upgraded();
        let chunk = [b'x'; 8 << 10];
        let (mut up, mut down) = (0, 0);
        for _ in 0..5000 {
            client.data(&chunk);
            client.hand_over();
            response.data(&chunk, false);
            while let Ok(handover) = receiver.try_recv() {
                for (_, entry) in handover.reels.iter().flatten().flat_map(Reel::entries) {
                    match entry {
                        Entry::Body(Direction::Request, bytes) => up += bytes.len(),
                        Entry::Body(Direction::Response, bytes) => down += bytes.len(),
                        Entry::Gap(..) => panic!("a gap"),
                        Entry::At(_) | Entry::Head(_) => (),
                    }
                }
            }
            assert_eq!(tapes.account().held(), 0, "an idle connection holds nothing");
        }
        assert_eq!((up, down), (40_960_000, 40_960_000));
        (0..100).for_each(|_| response.data(&chunk, false));
        assert!(tapes.account().held() <= 256 << 10, "nobody reads");
        let vitals = &response.pen.exchange.vitals;
        assert!(vitals.response_torn.load(Relaxed) && !vitals.request_torn.load(Relaxed));
    }

    #[test]
    fn no_memory_left_tears_the_tape() {
        let settings = Settings { memory: 2000, ..SETTINGS };
        let (tapes, mut receiver, mut request, mut response) = start(settings);
        request.end();
        response.head(b"200 1.1\n");
        (0..100).for_each(|_| response.data(&[b'x'; 100], false));
        assert!(tapes.account().held() <= 2000);
        response.end(Cause::Complete);
        drop((request, response));
        let (_, body, _, _) = read(&mut receiver);
        assert!(body.len() < 10_000);
        assert_eq!(tapes.counts().torn.load(Relaxed), 1);
    }

    #[test]
    fn a_pen_dropped_before_the_end_says_that_the_client_is_gone() {
        let (_tapes, mut receiver, request, response) = start(SETTINGS);
        drop(request);
        drop(response);
        let handover = receiver.try_recv().unwrap();
        assert_eq!(handover.exchange.vitals.end().map(|end| end.cause), Some(Cause::ClientGone));
        assert!(handover.last && handover.exchange.start().is_some());
    }

    #[test]
    fn a_request_that_ends_after_the_response_began_is_handed_over_too() {
        let (_tapes, mut receiver, mut request, mut response) = start(SETTINGS);
        request.data(b"first ");
        response.head(b"200 1.1\n");
        request.data(b"second");
        request.end();
        let entries: Vec<_> = std::iter::from_fn(|| receiver.try_recv().ok())
            .flat_map(|handover| handover.reels)
            .flatten()
            .flat_map(|reel| {
                reel.entries().map(|(_, entry)| format!("{entry:?}")).collect::<Vec<_>>()
            })
            .collect();
        let ended = format!("{:?}", Entry::At(Milestone::RequestEnd));
        assert_eq!(entries.last(), Some(&ended), "it does not wait for the response's end");
        assert_eq!(response.pen.exchange.vitals.request_bytes.load(Relaxed), 12);
    }

    #[test]
    fn a_request_over_the_bound_keeps_its_beginning_and_its_end() {
        let settings = Settings { exchange: 100_000, ..SETTINGS };
        let (tapes, mut receiver, mut request, mut response) = start(settings);
        let body: Vec<u8> = (0..500_000_u32).map(|i| (i % 251) as u8).collect();
        body.chunks(1000).for_each(|chunk| request.data(chunk));
        request.end();
        response.end(Cause::Complete);
        let (kept, _, gap, _) = read(&mut receiver);
        assert_eq!(kept.len() as u64 + gap, 500_000);
        assert_eq!(kept[kept.len() - 16 * 1024..], body[500_000 - 16 * 1024..]);
        let vitals = &response.pen.exchange.vitals;
        assert!(vitals.request_torn.load(Relaxed) && !vitals.response_torn.load(Relaxed));
        assert_eq!(tapes.counts().torn.load(Relaxed), 1);
    }

    #[test]
    fn an_exchange_may_be_as_long_as_its_bound() {
        for (length, torn) in [(8, false), (9, true)] {
            let (_tapes, mut receiver, mut request, mut response) =
                start(Settings { exchange: 8, ..SETTINGS });
            request.end();
            response.head(b"200 1.1\n");
            response.data(&vec![b'x'; length], true);
            response.end(Cause::Complete);
            assert_eq!(response.pen.exchange.vitals.response_torn.load(Relaxed), torn, "{length}");
            assert_eq!(read(&mut receiver).1.len(), length, "the end is kept");
        }
    }

    #[test]
    fn a_request_that_breaks_off_is_kept_without_an_end() {
        let (_tapes, mut receiver, mut request, mut response) = start(SETTINGS);
        request.data(b"half");
        drop(request);
        response.end(Cause::Complete);
        let handover = receiver.try_recv().unwrap();
        let reels: Vec<_> = handover.reels.iter().flatten().collect();
        let entries: Vec<_> = reels.iter().flat_map(|reel| reel.entries()).collect();
        let body = entries.iter().map(|(_, entry)| *entry).collect::<Vec<_>>();
        assert_eq!(body, [Entry::Body(Direction::Request, b"half")]);
    }

    #[test]
    fn the_first_chunks_are_handed_over_and_those_after_a_silence() {
        let (_tapes, mut receiver, mut request, mut response) = start(SETTINGS);
        request.end();
        response.head(b"200 1.1\n");
        assert!(receiver.try_recv().is_ok(), "the head");
        let mut came = [false; 6];
        for came in &mut came {
            response.data(b"x", false);
            *came = receiver.try_recv().is_ok();
        }
        assert_eq!(came, [true, true, false, true, false, false]);
    }

    #[test]
    fn what_waited_longer_than_a_second_goes_with_the_next_chunk() {
        let zero = Instant::now() - 2 * STALE;
        for (waits, goes) in [(Duration::ZERO, true), (2 * STALE, false)] {
            let (_tapes, mut receiver, mut request, mut response) = start_at(zero, SETTINGS);
            request.end();
            (0..4).for_each(|_| response.data(b"x", false));
            while receiver.try_recv().is_ok() {}
            response.pen.data(b"old", waits);
            response.data(b"new", false);
            assert_eq!(receiver.try_recv().is_ok(), goes, "{waits:?}");
            let last = response.pen.exchange.vitals.last_chunk_micros.load(Relaxed);
            assert!(last >= 2_000_000, "{last}");
        }
    }

    #[test]
    fn a_head_without_room_tears_the_tape() {
        let (_tapes, _receiver, mut request, mut response) =
            start(Settings { memory: 0, ..SETTINGS });
        request.end();
        response.head(b"200 1.1\n");
        assert!(response.pen.exchange.vitals.response_torn.load(Relaxed));
    }

    #[test]
    fn what_a_full_channel_loses_is_torn_and_counted_in_the_gap() {
        let (_tapes, mut receiver, mut request, mut response) =
            start(Settings { queue: 1, ..SETTINGS });
        response.head(b"200 1.1\n");
        request.data(b"lost with its end");
        request.end();
        let vitals = |response: &ResponsePen| {
            let vitals = &response.pen.exchange.vitals;
            (vitals.request_torn.load(Relaxed), vitals.response_torn.load(Relaxed))
        };
        assert_eq!(vitals(&response), (true, false));
        response.data(b"one", false);
        assert_eq!(vitals(&response), (true, true));
        response.data(b"two", false);
        assert!(receiver.try_recv().is_ok());
        response.end(Cause::Complete);
        let handover = receiver.try_recv().unwrap();
        let entries: Vec<_> = handover.reels.iter().flatten().flat_map(Reel::entries).collect();
        let entries: Vec<_> = entries.into_iter().map(|(_, entry)| entry).collect();
        let expected =
            [Entry::Gap(Direction::Response, 3), Entry::Body(Direction::Response, b"two")];
        assert_eq!(entries, expected);
    }
}
