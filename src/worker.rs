//! Drives the cold path: what tapes hand over goes through an `Observer` each, and what it observed,
//! priced, to a sink. Knows neither sockets nor OpenTelemetry.
//!
//! A worker looks at its channel at intervals instead of being woken: the hot path never makes a
//! system call for it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rustc_hash::FxHashMap;
use tokio::sync::mpsc;

use crate::observe;
use crate::observe::observation::Observation;
use crate::observe::observer::Observer;
use crate::observe::once::Once;
use crate::observe::price::Prices;
use crate::tape::{Account, Exchange, Handover, Start};

/// Between looks at the channel while there is traffic, and after a second without any.
const BUSY: Duration = Duration::from_millis(10);
const IDLE: Duration = Duration::from_millis(100);
/// Between looks at the exchanges that are open. One that ended longer ago than this lost its last
/// hand-over to a full channel.
const SWEEP: Duration = Duration::from_secs(1);
/// Hand-overs between two looks at the clock.
const BATCH: usize = 1024;

/// What an exchange is read and priced by, from when a worker first hears of it until its end.
#[derive(Debug)]
pub struct Settings {
    /// Bounds of observing.
    pub observe: Arc<observe::Settings>,
    /// What calls cost.
    pub prices: Prices,
}

impl Settings {
    /// Those that a configuration says.
    pub fn new(observe: observe::Settings, prices: Prices) -> Self {
        Self { observe: Arc::new(observe), prices }
    }
}

/// What all workers share.
#[derive(Debug)]
pub struct Shared {
    /// In force for exchanges that begin; a reload replaces them.
    pub settings: ArcSwap<Settings>,
    /// The bytes that observers hold together, a part of those of all tapes.
    pub account: Arc<Account>,
    /// Set when no exchange runs any more: workers empty their channels and end.
    pub stop: AtomicBool,
    /// Observations that a panic cost.
    pub lost: AtomicU64,
    /// Which answers were counted.
    pub once: Once,
}

/// One cold worker.
pub struct Worker<S> {
    shared: Arc<Shared>,
    receiver: mpsc::Receiver<Handover>,
    sink: S,
    // By the exchange's id.
    open: FxHashMap<u64, Open>,
}

/// One exchange that has not ended.
struct Open {
    exchange: Arc<Exchange>,
    observer: Observer,
    settings: Arc<Settings>,
    // What the account knows of the observer's buffers.
    held: usize,
    ended: Option<Instant>,
}

impl<S: FnMut(Observation)> Worker<S> {
    /// A worker that reads from `receiver` and gives each observation to `sink`.
    pub fn new(shared: Arc<Shared>, receiver: mpsc::Receiver<Handover>, sink: S) -> Self {
        Self { shared, receiver, sink, open: FxHashMap::default() }
    }

    /// Works until told to stop, and then until nothing is left.
    pub fn run(mut self) {
        let (mut last_seen, mut last_sweep) = (Instant::now(), Instant::now());
        loop {
            let stopping = self.shared.stop.load(Relaxed);
            let taken = self.take_batch();
            if taken > 0 {
                last_seen = Instant::now();
            } else if stopping {
                break;
            }
            if last_sweep.elapsed() > SWEEP {
                last_sweep = Instant::now();
                self.sweep();
            }
            if taken < BATCH && !stopping {
                thread::sleep(if last_seen.elapsed() < SWEEP { BUSY } else { IDLE });
            }
        }
        let left: Vec<u64> = self.open.keys().copied().collect();
        left.into_iter().for_each(|id| self.finish(id));
    }

    /// Takes what there is, at most a batch, and says how much it was.
    fn take_batch(&mut self) -> usize {
        for taken in 0..BATCH {
            match self.receiver.try_recv() {
                Ok(handover) => self.take(handover),
                Err(_) => return taken,
            }
        }
        BATCH
    }

    fn take(&mut self, handover: Handover) {
        let Handover { exchange, reels, last } = handover;
        let id = exchange.id;
        if let Some(start) = exchange.start() {
            self.open.insert(id, Open::new(exchange, start, self.shared.settings.load_full()));
        }
        // What is not open was lost before.
        let Self { shared, sink, open, .. } = self;
        let Some(open) = open.get_mut(&id) else { return };
        let seeing = catch_unwind(AssertUnwindSafe(|| {
            for reel in reels.iter().flatten() {
                reel.entries().for_each(|(at, entry)| open.observer.see(at, entry));
            }
            open.tell_turns(&shared.once, sink);
        }));
        if seeing.is_err() {
            self.lose(id);
            return;
        }
        drop(reels);
        self.weigh(id);
        if last {
            self.finish(id);
        }
    }

    /// Tells the account what an observer holds now. Where that is more than there is room for, it is
    /// the one that holds most that lets go, so that who holds little is read; else this one, too.
    fn weigh(&mut self, id: u64) {
        let account = &self.shared.account;
        if self.open.get_mut(&id).is_none_or(|open| open.weigh(account)) {
            return;
        }
        let held = |(key, it): &(&u64, &Open)| {
            if **key == id { it.observer.held() } else { it.held }
        };
        let largest = self.open.iter().max_by_key(held).map(|(&key, _)| key);
        largest.into_iter().for_each(|largest| self.let_go(largest));
        let account = &self.shared.account;
        if self.open.get_mut(&id).is_some_and(|open| !open.weigh(account)) {
            self.let_go(id);
        }
    }

    /// Lets go of what an observer holds.
    fn let_go(&mut self, id: u64) {
        let Self { shared, sink, open, .. } = self;
        let Some(open) = open.get_mut(&id) else { return };
        open.exchange.count_torn();
        let letting_go = catch_unwind(AssertUnwindSafe(|| {
            open.observer.let_go();
            // The calls that this ends: nothing more may be heard of their connection for hours.
            open.tell_turns(&shared.once, sink);
        }));
        if letting_go.is_err() {
            return self.lose(id);
        }
        open.weigh(&self.shared.account);
    }

    /// Ends the exchanges whose last hand-over was lost.
    fn sweep(&mut self) {
        let mut over = Vec::new();
        for (&id, open) in &mut self.open {
            if open.exchange.vitals.end().is_some() {
                let ended = *open.ended.get_or_insert_with(Instant::now);
                if ended.elapsed() > SWEEP {
                    over.push(id);
                }
            }
        }
        over.into_iter().for_each(|id| self.finish(id));
    }

    fn finish(&mut self, id: u64) {
        let Some(open) = self.close(id) else { return };
        let Self { shared, sink, .. } = self;
        let finishing = catch_unwind(AssertUnwindSafe(|| open.finish(&shared.once, sink)));
        if finishing.is_err() {
            self.count_lost();
        }
    }

    fn lose(&mut self, id: u64) {
        drop(self.close(id));
        self.count_lost();
    }

    /// No exchange that is open any more, nor on the account.
    fn close(&mut self, id: u64) -> Option<Open> {
        let open = self.open.remove(&id)?;
        self.shared.account.release(open.held);
        Some(open)
    }

    fn count_lost(&self) {
        if self.shared.lost.fetch_add(1, Relaxed) == 0 {
            tracing::error!("a panic while observing cost an observation; no request was affected");
        }
    }
}

impl Open {
    fn new(exchange: Arc<Exchange>, start: Start, settings: Arc<Settings>) -> Self {
        let observer = Observer::new(start, Arc::clone(&settings.observe));
        Self { exchange, observer, settings, held: 0, ended: None }
    }

    /// Tells each call that ended within the exchange, and what it cost.
    fn tell_turns(&mut self, once: &Once, sink: &mut impl FnMut(Observation)) {
        for turn in self.observer.turns() {
            sink(settled(turn, once, &self.settings.prices));
        }
    }

    /// Tells what is left: the calls that were open, and the exchange itself.
    fn finish(mut self, once: &Once, sink: &mut impl FnMut(Observation)) {
        self.observer.close(&self.exchange.vitals);
        self.tell_turns(once, sink);
        let exchange = self.observer.finish(&self.exchange.vitals);
        sink(settled(exchange, once, &self.settings.prices));
    }

    /// Tells the account how much the observer holds now; false where there is no room for it.
    fn weigh(&mut self, account: &Account) -> bool {
        let held = self.observer.held();
        let fits = held <= self.held || account.take(held - self.held);
        account.release(self.held.saturating_sub(held));
        if fits {
            self.held = held;
        }
        fits
    }
}

/// Counted once, and with what it cost.
fn settled(mut observation: Observation, once: &Once, prices: &Prices) -> Observation {
    once.settle(&mut observation);
    observation.cost = prices.cost(&observation);
    observation
}
