//! Models that are not asked about for a while, since their upstream refused the question. Knows
//! neither request nor answer.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Pauses at once. Above it the one that ends first ends early.
const PAUSES: usize = 1024;
/// The longest name of a model that a pause is kept for; a longer one shares it with all that begin
/// alike.
const NAME: usize = 256;

/// An upstream's name, and the model as the request spells it.
type Key = (String, Vec<u8>);

/// Until when whom not to ask.
#[derive(Debug, Default)]
pub(super) struct Pauses(Mutex<HashMap<Key, Instant>>);

impl Pauses {
    /// Whether asking this upstream about this model pauses at `now`.
    pub(super) fn hold_at(&self, now: Instant, upstream: &str, model: &[u8]) -> bool {
        let pauses = self.lock();
        // Most programs never see one.
        !pauses.is_empty() && pauses.get(&key(upstream, model)).is_some_and(|until| *until > now)
    }

    /// Begins a pause at `now`; whether there was none.
    pub(super) fn begin(
        &self,
        now: Instant,
        length: Duration,
        upstream: &str,
        model: &[u8],
    ) -> bool {
        let mut pauses = self.lock();
        if pauses.len() >= PAUSES {
            pauses.retain(|_, until| *until > now);
        }
        if pauses.len() >= PAUSES {
            let first = pauses.iter().min_by_key(|(_, until)| **until);
            if let Some(first) = first.map(|(key, _)| key.clone()) {
                pauses.remove(&first);
            }
        }
        let before = pauses.insert(key(upstream, model), now + length);
        before.is_none_or(|until| until <= now)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(upstream: &str, model: &[u8]) -> Key {
    (upstream.to_owned(), model.get(..NAME).unwrap_or(model).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_pause_is_of_one_upstream_and_model_and_ends() {
        let (pauses, now) = (Pauses::default(), Instant::now());
        assert!(!pauses.hold_at(now, "a", b"m"));
        assert!(pauses.begin(now, HOUR, "a", b"m"));
        assert!(!pauses.begin(now, HOUR, "a", b"m"), "it is said once");
        assert!(pauses.hold_at(now, "a", b"m"));
        assert!(!pauses.hold_at(now, "b", b"m") && !pauses.hold_at(now, "a", b"n"));
        assert!(!pauses.hold_at(now + HOUR, "a", b"m"));
        assert!(pauses.begin(now + HOUR, HOUR, "a", b"m"));
    }

    #[test]
    fn pauses_are_bounded_and_the_oldest_goes() {
        let (pauses, now) = (Pauses::default(), Instant::now());
        for model in 0..=PAUSES {
            let later = now + Duration::from_millis(model as u64);
            assert!(pauses.begin(later, HOUR, "a", model.to_string().as_bytes()));
        }
        assert_eq!(pauses.lock().len(), PAUSES);
        assert!(!pauses.hold_at(now, "a", b"0") && pauses.hold_at(now, "a", b"1"));
        let long = [b'x'; 10_000];
        assert!(pauses.begin(now, HOUR, "a", &long));
        assert!(pauses.lock().keys().all(|(_, model)| model.len() <= NAME));
    }

    #[test]
    fn pauses_that_are_over_make_room_for_others() {
        let (pauses, now) = (Pauses::default(), Instant::now());
        for model in 0..PAUSES {
            assert!(pauses.begin(now, HOUR, "a", model.to_string().as_bytes()));
        }
        assert!(pauses.begin(now + HOUR, HOUR, "a", b"new"));
        assert_eq!(pauses.lock().len(), 1);
    }
}
