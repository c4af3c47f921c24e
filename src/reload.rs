//! Takes a changed configuration while the proxy runs: all of it, or nothing and why. Knows no
//! exchange; those that run keep what they began with.
//!
//! One thread looks at the files every two seconds and is told of SIGHUP. What changed is taken when
//! two looks in a row saw the same, so that a file that is half written is not read.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::config::{self, Changes, Files, Loaded};
use crate::forward::Forward;
use crate::observe::price::Prices;
use crate::{systemd, worker};

/// Between two looks at the files, and until the second look once something has changed.
const LOOK: Duration = Duration::from_secs(2);
const SETTLE: Duration = Duration::from_secs(1);

/// Asks for a reload. Cloned into whoever hears of a reason.
#[derive(Clone, Debug)]
pub struct Ask(SyncSender<()>);

impl Ask {
    /// One that reaches `asked`.
    pub fn new() -> (Self, Asked) {
        // One that waits stands for all: it reads whatever is there by then.
        let (sender, receiver) = sync_channel(1);
        (Self(sender), Asked(receiver))
    }

    /// Asks, without waiting for what comes of it.
    pub fn ask(&self) {
        match self.0.try_send(()) {
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => (),
        }
    }
}

/// Where asking arrives.
#[derive(Debug)]
pub struct Asked(Receiver<()>);

/// What became of reloads so far.
#[derive(Debug, Default)]
pub struct Counts {
    /// The new configuration was taken, or said nothing new.
    pub taken: AtomicU64,
    /// It was refused.
    pub refused: AtomicU64,
    /// When the settings in force were read, in seconds since 1970.
    pub read_at: AtomicU64,
}

/// What two looks at the files saw.
#[derive(Debug)]
struct Looks<T> {
    // When the configuration was last read, for better or worse.
    tried: T,
    last: T,
}

impl<T: PartialEq + Clone> Looks<T> {
    fn new(tried: T) -> Self {
        Self { last: tried.clone(), tried }
    }

    /// How long to wait before the next one.
    fn pause(&self) -> Duration {
        if self.last == self.tried { LOOK } else { SETTLE }
    }

    /// Whether what is seen now is new, and was the same at the last look.
    fn is_due(&mut self, seen: T) -> bool {
        let due = seen != self.tried && seen == self.last;
        self.last = seen;
        due
    }
}

/// What a configuration is taken into.
#[derive(Debug)]
pub struct Reload {
    loaded: Loaded,
    looks: Looks<Files>,
    forward: Arc<Forward>,
    cold: Arc<worker::Shared>,
    counts: Arc<Counts>,
}

impl Reload {
    /// Of a proxy that runs with `loaded`.
    pub fn new(loaded: Loaded, forward: Arc<Forward>, cold: Arc<worker::Shared>) -> Self {
        let counts = Arc::new(Counts::default());
        counts.read_at.store(now_seconds(), Relaxed);
        Self { looks: Looks::new(loaded.files.clone()), loaded, forward, cold, counts }
    }

    /// What becomes of reloads.
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Watches on a thread of its own until nobody can ask any more: a file system that hangs holds
    /// up nothing else, not even the end of the process.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn watch(self, asked: Asked) -> io::Result<()> {
        thread::Builder::new().name("reload".into()).spawn(move || self.run(&asked)).map(drop)
    }

    fn run(mut self, asked: &Asked) {
        loop {
            match asked.0.recv_timeout(self.looks.pause()) {
                Ok(()) => self.reload(),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    if self.looks.is_due(self.loaded.files_now()) {
                        self.reload();
                    }
                }
            }
        }
    }

    /// Reads the configuration and takes it, or says why not.
    fn reload(&mut self) {
        systemd::reloading();
        let (files, loaded) = self.loaded.again();
        self.looks = Looks::new(files);
        match loaded.map_err(|error| error.to_string()).and_then(|loaded| self.take(loaded)) {
            Ok(changed) => {
                self.counts.taken.fetch_add(1, Relaxed);
                self.counts.read_at.store(now_seconds(), Relaxed);
                tracing::info!("configuration reloaded: {changed}");
            }
            Err(why) => {
                self.counts.refused.fetch_add(1, Relaxed);
                tracing::error!("configuration not reloaded, what was in force stays: {why}");
            }
        }
        systemd::ready();
    }

    /// What changed, in words, or the keys that a running proxy cannot take.
    fn take(&mut self, loaded: Loaded) -> Result<String, String> {
        let Changes { live, restart } = Changes::between(&self.loaded, &loaded);
        if !restart.is_empty() {
            return Err(format!("{} can only change with a restart", restart.join(", ")));
        }
        if live.is_empty() {
            return Ok("nothing changed".to_owned());
        }
        let settings = &loaded.settings;
        let old = &self.loaded.settings.warnings;
        for warning in settings.warnings.iter().filter(|it| !old.contains(it)) {
            tracing::warn!("{warning}");
        }
        let replaced = self.forward.replace(settings.forward.clone());
        replaced.map_err(|error| format!("TLS to upstreams cannot be set up: {error}"))?;
        self.cold.settings.store(Arc::new(cold(settings)));
        self.loaded = loaded;
        Ok(live.join(", "))
    }
}

/// What the cold path is told of a configuration.
pub fn cold(settings: &config::Settings) -> worker::Settings {
    let prices = Prices::with_overrides(settings.prices.clone());
    worker::Settings::new(settings.observe.clone(), prices)
}

fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_due_once_it_has_settled() {
        let mut looks = Looks::new(1);
        assert!(!looks.is_due(1));
        assert_eq!(looks.pause(), LOOK);
        // Half written, then whole.
        assert!(!looks.is_due(2));
        assert_eq!(looks.pause(), SETTLE);
        assert!(!looks.is_due(3));
        assert!(looks.is_due(3));
        // It came and went between two looks.
        let mut looks = Looks::new(3);
        assert!(!looks.is_due(4));
        assert!(!looks.is_due(3));
        assert_eq!(looks.pause(), LOOK);
        assert!(!looks.is_due(3));
    }

    #[test]
    fn many_who_ask_at_once_are_one() {
        let (ask, asked) = Ask::new();
        (0..100).for_each(|_| ask.ask());
        assert_eq!(asked.0.try_iter().count(), 1);
        drop(asked);
        ask.ask();
    }
}
