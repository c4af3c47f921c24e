//! Drives the cold path: what tapes hand over goes through an `Observer` each, and what it observed
//! to a sink. Knows neither sockets nor OpenTelemetry.
//!
//! A worker looks at its channel at intervals instead of being woken: the hot path never makes a
//! system call for it.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::observe::Settings;
use crate::observe::observation::Observation;
use crate::observe::observer::Observer;
use crate::tape::{Account, Exchange, Handover};

/// Between looks at the channel while there is traffic, and after a second without any.
const BUSY: Duration = Duration::from_millis(10);
const IDLE: Duration = Duration::from_millis(100);
/// Between looks at the open sessions. An exchange that ended longer ago than this lost its last
/// hand-over to a full channel.
const SWEEP: Duration = Duration::from_secs(1);
/// Hand-overs between two looks at the clock.
const TURN: usize = 1024;

/// What all workers share.
#[derive(Debug)]
pub struct Shared {
    /// Bounds of observing.
    pub settings: Arc<Settings>,
    /// The bytes that tapes and observers hold together.
    pub account: Arc<Account>,
    /// Set when no exchange runs any more: workers empty their channels and end.
    pub stop: AtomicBool,
    /// Observations that a panic cost.
    pub lost: AtomicU64,
}

/// One cold worker.
pub struct Worker<S> {
    shared: Arc<Shared>,
    receiver: mpsc::Receiver<Handover>,
    sink: S,
    sessions: HashMap<u64, Session>,
}

/// One exchange that has not ended.
struct Session {
    exchange: Arc<Exchange>,
    observer: Observer,
    // What the account knows of the observer's buffers.
    held: usize,
    ended: Option<Instant>,
}

impl<S: FnMut(Observation)> Worker<S> {
    /// A worker that reads from `receiver` and gives each observation to `sink`.
    pub fn new(shared: Arc<Shared>, receiver: mpsc::Receiver<Handover>, sink: S) -> Self {
        Self { shared, receiver, sink, sessions: HashMap::new() }
    }

    /// Works until told to stop, and then until nothing is left.
    pub fn run(mut self) {
        let (mut last_seen, mut last_sweep) = (Instant::now(), Instant::now());
        loop {
            let stopping = self.shared.stop.load(Relaxed);
            let taken = self.turn();
            if taken > 0 {
                last_seen = Instant::now();
            } else if stopping {
                break;
            }
            if last_sweep.elapsed() > SWEEP {
                last_sweep = Instant::now();
                self.sweep();
            }
            if taken < TURN && !stopping {
                thread::sleep(if last_seen.elapsed() < SWEEP { BUSY } else { IDLE });
            }
        }
        let left: Vec<u64> = self.sessions.keys().copied().collect();
        left.into_iter().for_each(|id| self.finish(id));
    }

    /// Takes what there is, at most a turn's worth, and says how much it was.
    fn turn(&mut self) -> usize {
        for taken in 0..TURN {
            match self.receiver.try_recv() {
                Ok(handover) => self.take(handover),
                Err(_) => return taken,
            }
        }
        TURN
    }

    fn take(&mut self, handover: Handover) {
        let Handover { exchange, reels, last } = handover;
        let id = exchange.id;
        if let Some(start) = exchange.start() {
            let observer = Observer::new(start, Arc::clone(&self.shared.settings));
            self.sessions.insert(id, Session { exchange, observer, held: 0, ended: None });
        }
        // Without a session: the exchange's observation was lost before.
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let seeing = catch_unwind(AssertUnwindSafe(|| {
            for reel in reels.iter().flatten() {
                reel.entries().for_each(|(at, entry)| session.observer.see(at, entry));
            }
        }));
        if seeing.is_err() {
            self.lose(id);
            return;
        }
        drop(reels);
        session.settle(&self.shared.account);
        if last {
            self.finish(id);
        }
    }

    /// Ends the exchanges whose last hand-over was lost.
    fn sweep(&mut self) {
        let mut over = Vec::new();
        for (&id, session) in &mut self.sessions {
            if session.exchange.vitals.end().is_some() {
                let ended = *session.ended.get_or_insert_with(Instant::now);
                if ended.elapsed() > SWEEP {
                    over.push(id);
                }
            }
        }
        over.into_iter().for_each(|id| self.finish(id));
    }

    fn finish(&mut self, id: u64) {
        let Some(session) = self.sessions.remove(&id) else { return };
        self.shared.account.release(session.held);
        let Session { exchange, observer, .. } = session;
        let finishing =
            catch_unwind(AssertUnwindSafe(|| (self.sink)(observer.finish(&exchange.vitals))));
        if finishing.is_err() {
            self.count_lost();
        }
    }

    fn lose(&mut self, id: u64) {
        if let Some(session) = self.sessions.remove(&id) {
            self.shared.account.release(session.held);
        }
        self.count_lost();
    }

    fn count_lost(&self) {
        if self.shared.lost.fetch_add(1, Relaxed) == 0 {
            tracing::error!("a panic while observing cost an observation; no request was affected");
        }
    }
}

impl Session {
    /// Tells the account how much the observer holds now.
    fn settle(&mut self, account: &Account) {
        let held = self.observer.held();
        if held > self.held {
            account.hold(held - self.held);
        } else {
            account.release(self.held - held);
        }
        self.held = held;
    }
}
