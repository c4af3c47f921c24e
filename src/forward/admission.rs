//! How many exchanges run at once. Knows no exchange.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The places that exchanges take.
#[derive(Debug)]
pub struct Admission {
    limit: AtomicUsize,
    taken: AtomicUsize,
}

impl Admission {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit: AtomicUsize::new(limit), taken: AtomicUsize::new(0) })
    }

    /// From now on so many places; who has one keeps it.
    pub(super) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Relaxed);
    }

    /// A place for an exchange, if there is one.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Slot> {
        if self.taken.fetch_add(1, Relaxed) >= self.limit.load(Relaxed) {
            self.taken.fetch_sub(1, Relaxed);
            return None;
        }
        Some(Slot(Arc::clone(self)))
    }

    /// Exchanges that run now.
    pub fn running(&self) -> u64 {
        self.taken.load(Relaxed) as u64
    }
}

/// An exchange's place, given back when dropped.
#[derive(Debug)]
pub(super) struct Slot(Arc<Admission>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_given_back() {
        let admission = Admission::new(2);
        let first = admission.enter();
        let second = admission.enter();
        assert!(first.is_some() && second.is_some() && admission.enter().is_none());
        drop(first);
        assert_eq!(admission.running(), 1);
        assert!(admission.enter().is_some());
    }

    #[test]
    fn fewer_places_take_none_away() {
        let admission = Admission::new(2);
        let first = admission.enter();
        let second = admission.enter();
        admission.set_limit(1);
        drop(second);
        assert!(admission.enter().is_none());
        assert_eq!(admission.running(), 1);
        admission.set_limit(2);
        assert!(first.is_some() && admission.enter().is_some());
    }
}
