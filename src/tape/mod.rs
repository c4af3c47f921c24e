//! The seam: what the hot path tells the cold path about one exchange. Knows bytes and times, and
//! nothing of their meaning; never waits, and bounds what it holds by one counter of bytes.
//!
//! `Tapes::start` gives two pens, one for the request and one for the response. Each writes into a
//! reel of its own; a full reel goes to the cold worker as a `Handover`. What does not fit is not
//! kept: the tape is *torn*, but totals and the end still come.

/// One reel: bytes of one direction, and when each chunk came.
mod reel;
/// The two pens that the hot path writes with.
mod pen;
/// The last bytes of a torn body.
mod tail;
/// A `traceparent`, read.
pub mod trace_context;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;

pub use pen::{RequestPen, ResponsePen};
pub use reel::{Direction, Entries, Entry, Milestone, Reel};

/// Bounds of all tapes. Each is a key of `[limits]`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes that all tapes and the cold path together may hold (`tape_memory`, 256 MiB); the cold path
    /// at most three quarters of them, so that there is always room for new copies.
    pub memory: usize,
    /// Bytes of one exchange that are kept in each direction, so that a large request costs its answer
    /// nothing; of an upgraded connection, those that wait for their worker (`tape_exchange`, 16 MiB).
    pub exchange: u64,
    /// Cold workers (`workers`, one for every four cores).
    pub workers: usize,
    /// Hand-overs that may wait for one worker.
    pub queue: usize,
}

/// Trace and span ids of one exchange, as W3C Trace Context defines them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// The trace: the client's, or drawn.
    pub trace: [u8; 16],
    /// The client's span, where it sent a valid `traceparent`.
    pub parent: Option<[u8; 8]>,
    /// Our SERVER span.
    pub server_span: [u8; 8],
    /// Our CLIENT span, its child.
    pub client_span: [u8; 8],
    /// Trace flags: the client's, or `01` (sampled).
    pub flags: u8,
}

/// What the cold path needs to know of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Its name in `proxy.toml`.
    pub name: String,
    /// Who answers, in the conventions' spelling (`openai`, `azure.ai.openai`, `ollama`).
    pub provider: String,
    /// Whose format it speaks (`openai`, `ollama`, `unknown`).
    pub dialect: String,
    /// Host name, address or path of a Unix socket that requests are sent to; behind an egress
    /// proxy, if there is one.
    pub address: String,
    /// Port that requests are sent to; a Unix socket has none.
    pub port: Option<u16>,
}

/// The first thing a worker hears of an exchange.
#[derive(Debug)]
pub struct Start {
    /// Ids of the trace and its spans.
    pub ids: Ids,
    /// Where the request goes; absent when no upstream was addressed.
    pub upstream: Option<Arc<Upstream>>,
    /// The wall clock at zero.
    pub started: SystemTime,
    /// The client's address, where it has one.
    pub client: Option<SocketAddr>,
    /// What the client speaks to us: `http` or `https`.
    pub scheme: &'static str,
    /// Bytes at the front of the path that only address the upstream (`/ollama`) and are taken off.
    pub mount: usize,
    /// `METHOD target VERSION` and the header fields, one a line; values of credentials are `***`.
    pub head: Vec<u8>,
}

/// Why the hot path stopped, as far as bytes can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The response's framing ended as it should.
    Complete,
    /// The client was gone before the end.
    ClientGone,
    /// The client neither sent nor read for longer than we allow.
    ClientStalled,
    /// The upstream took longer than we allow; the reason (`connect_timeout`, `silent`).
    UpstreamTimeout(&'static str),
    /// A transport error, or incomplete framing; the reason (`connection_refused`, `dns`, `reset`).
    UpstreamReset(&'static str),
    /// We answered or stopped on our own; the reason (`no_route`, `busy`, `loop`, `shutdown`).
    Refused(&'static str),
}

/// The end of an exchange. It always reaches the worker, whatever was torn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Since zero.
    pub at: Duration,
    /// Why the hot path stopped.
    pub cause: Cause,
}

/// What the cold path can see of an exchange at any moment, without asking the hot path.
#[derive(Debug, Default)]
pub struct Vitals {
    /// Body bytes from the client so far.
    pub request_bytes: AtomicU64,
    /// Body bytes to the client so far.
    pub response_bytes: AtomicU64,
    /// When the last response chunk came, in microseconds since zero; 0 before the first.
    pub last_chunk_micros: AtomicU64,
    /// Some bytes of the request, of the response, were not kept.
    pub request_torn: AtomicBool,
    /// See `request_torn`.
    pub response_torn: AtomicBool,
    end: OnceLock<End>,
}

impl Vitals {
    /// Those of an exchange that is over: what a replayed tape begins with.
    pub fn ended(end: End) -> Self {
        Self { end: OnceLock::from(end), ..Self::default() }
    }

    /// The end, once there was one.
    pub fn end(&self) -> Option<End> {
        self.end.get().copied()
    }
}

/// One exchange as both paths share it.
#[derive(Debug)]
pub struct Exchange {
    /// Its number, unique in this process.
    pub id: u64,
    /// What can be seen of it from outside.
    pub vitals: Vitals,
    ids: Ids,
    zero: Instant,
    tapes: Arc<Shared>,
    start: Mutex<Option<Start>>,
    waiting: Mutex<Waiting>,
    // It is among those counted as torn.
    counted: AtomicBool,
}

/// What waits for the next hand-over, whoever makes it.
#[derive(Debug, Default)]
struct Waiting {
    // The finished request's reel, kept back to travel with the response head.
    request: Option<Reel>,
    response_began: bool,
}

/// What one worker receives.
#[derive(Debug)]
pub struct Handover {
    /// Whose it is.
    pub exchange: Arc<Exchange>,
    /// Bytes and marks; the request's before the response's.
    pub reels: [Option<Reel>; 2],
    /// The exchange is over; `exchange.vitals.end()` says how.
    pub last: bool,
}

/// Counts since the start of the process.
#[derive(Debug, Default)]
pub struct Counts {
    /// Tapes of which some bytes were not kept, or not kept until they were read.
    pub torn: AtomicU64,
    /// Hand-overs that found their worker's channel full.
    pub dropped: AtomicU64,
}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    workers: Vec<mpsc::Sender<Handover>>,
    next: AtomicU64,
    account: Arc<Account>,
    readers: Arc<Account>,
    counts: Counts,
}

/// Bytes held by reels and by the cold path: one number, one limit.
#[derive(Debug)]
pub struct Account {
    held: AtomicUsize,
    limit: usize,
    // What is taken here is taken there too.
    within: Option<Arc<Self>>,
}

impl Account {
    fn new(limit: usize) -> Self {
        Self { held: AtomicUsize::new(0), limit, within: None }
    }

    /// A part of `whole` with a limit of its own.
    fn part(whole: &Arc<Self>, limit: usize) -> Self {
        Self { within: Some(Arc::clone(whole)), ..Self::new(limit) }
    }

    /// Takes `bytes` if they fit under the limit.
    pub fn take(&self, bytes: usize) -> bool {
        let before = self.held.fetch_add(bytes, Relaxed);
        let fits = before.saturating_add(bytes) <= self.limit
            && self.within.as_ref().is_none_or(|whole| whole.take(bytes));
        if !fits {
            self.held.fetch_sub(bytes, Relaxed);
        }
        fits
    }

    /// Gives `bytes` back.
    pub fn release(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Relaxed);
        if let Some(whole) = &self.within {
            whole.release(bytes);
        }
    }

    /// Bytes held now.
    pub fn held(&self) -> usize {
        self.held.load(Relaxed)
    }
}

/// All tapes of the process.
#[derive(Clone, Debug)]
pub struct Tapes(Arc<Shared>);

impl Tapes {
    /// The tapes, and for each worker the end it reads from.
    pub fn new(settings: Settings) -> (Self, Vec<mpsc::Receiver<Handover>>) {
        let (workers, receivers) =
            (0..settings.workers.max(1)).map(|_| mpsc::channel(settings.queue.max(1))).unzip();
        let account = Arc::new(Account::new(settings.memory));
        let for_readers = settings.memory - settings.memory / 4;
        let readers = Arc::new(Account::part(&account, for_readers));
        let shared = Shared {
            settings,
            workers,
            next: AtomicU64::new(0),
            account,
            readers,
            counts: Counts::default(),
        };
        (Self(Arc::new(shared)), receivers)
    }

    /// Begins the tape of an exchange whose head was read at `zero`.
    pub fn start(&self, zero: Instant, start: Start) -> (RequestPen, ResponsePen) {
        let exchange = Arc::new(Exchange {
            id: self.0.next.fetch_add(1, Relaxed),
            vitals: Vitals::default(),
            ids: start.ids,
            zero,
            tapes: Arc::clone(&self.0),
            start: Mutex::new(Some(start)),
            waiting: Mutex::default(),
            counted: AtomicBool::new(false),
        });
        (RequestPen::new(Arc::clone(&exchange)), ResponsePen::new(exchange))
    }

    /// What was lost so far.
    pub fn counts(&self) -> &Counts {
        &self.0.counts
    }

    /// Bytes held by all tapes and the cold path.
    pub fn account(&self) -> &Arc<Account> {
        &self.0.account
    }

    /// The cold path's part of it, from which it takes what it holds.
    pub fn readers(&self) -> &Arc<Account> {
        &self.0.readers
    }
}

impl Exchange {
    /// Since zero.
    fn now(&self) -> Duration {
        self.zero.elapsed()
    }

    /// Whether this many bytes of this direction may be kept.
    fn within_bounds(&self, direction: Direction) -> bool {
        let seen = match direction {
            Direction::Request => &self.vitals.request_bytes,
            Direction::Response => &self.vitals.response_bytes,
        };
        seen.load(Relaxed) <= self.tapes.settings.exchange
    }

    /// What the exchange began with; once, for the worker that first hears of it.
    pub fn start(&self) -> Option<Start> {
        lock(&self.start).take()
    }

    /// Some bytes of this direction are not kept.
    fn tear(&self, direction: Direction) {
        let torn = match direction {
            Direction::Request => &self.vitals.request_torn,
            Direction::Response => &self.vitals.response_torn,
        };
        torn.store(true, Relaxed);
    }

    /// Notes the end, and whether it is the first.
    fn end(&self, end: End) -> bool {
        let first = self.vitals.end.set(end).is_ok();
        let torn = &self.vitals;
        if first && (torn.request_torn.load(Relaxed) || torn.response_torn.load(Relaxed)) {
            self.count_torn();
        }
        first
    }

    /// Counts it as torn, once: for the cold path, which had no room for what it read.
    pub fn count_torn(&self) {
        if !self.counted.swap(true, Relaxed) {
            self.tapes.counts.torn.fetch_add(1, Relaxed);
        }
    }

    fn response_begins(&self) {
        lock(&self.waiting).response_began = true;
    }

    /// Keeps the finished request's reel for the next hand-over, or gives it back if the response
    /// has begun and there may be none for long.
    fn leave(&self, reel: Reel) -> Option<Reel> {
        let mut waiting = lock(&self.waiting);
        if waiting.response_began {
            return Some(reel);
        }
        waiting.request = Some(reel);
        None
    }

    /// Hands `reel` to the worker; false when its channel is full, and the reel is lost.
    fn hand_over(self: &Arc<Self>, reel: Option<Reel>, last: bool) -> bool {
        let request = lock(&self.waiting).request.take();
        let takes_request = request.is_some();
        let handover = Handover { exchange: Arc::clone(self), reels: [request, reel], last };
        let worker = self.id as usize % self.tapes.workers.len();
        let accepted = self.tapes.workers[worker].try_send(handover).is_ok();
        if !accepted {
            self.tapes.counts.dropped.fetch_add(1, Relaxed);
            if takes_request {
                self.tear(Direction::Request);
            }
        }
        accepted
    }
}

/// A poisoned lock still holds what was put there.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
