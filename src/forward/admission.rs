//! How many exchanges run at once, in all and for each upstream. Knows no exchange.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// The places that exchanges take.
#[derive(Debug)]
pub struct Admission {
    limit: usize,
    taken: AtomicUsize,
    upstreams: Vec<AtomicUsize>,
}

impl Admission {
    pub(super) fn new(limit: usize, upstreams: usize) -> Arc<Self> {
        let upstreams = (0..upstreams).map(|_| AtomicUsize::new(0)).collect();
        Arc::new(Self { limit, taken: AtomicUsize::new(0), upstreams })
    }

    /// A place for an exchange with the upstream of this index, if there is one.
    pub(super) fn enter(self: &Arc<Self>, upstream: usize) -> Option<Slot> {
        if self.taken.fetch_add(1, Relaxed) >= self.limit {
            self.taken.fetch_sub(1, Relaxed);
            return None;
        }
        self.upstreams[upstream].fetch_add(1, Relaxed);
        Some(Slot { admission: Arc::clone(self), upstream })
    }

    /// Exchanges that run now, by the upstream's index.
    pub fn running(&self) -> impl Iterator<Item = usize> + '_ {
        self.upstreams.iter().map(|count| count.load(Relaxed))
    }
}

/// An exchange's place, given back when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    admission: Arc<Admission>,
    upstream: usize,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.admission.taken.fetch_sub(1, Relaxed);
        self.admission.upstreams[self.upstream].fetch_sub(1, Relaxed);
    }
}

/// Why requests were refused, and how often.
#[derive(Debug, Default)]
pub struct Refusals {
    no_route: AtomicU64,
    busy: AtomicU64,
    call_of_itself: AtomicU64,
    bad_request: AtomicU64,
}

impl Refusals {
    /// Requests that hyper answers itself (400, 414, 431) count as `bad_request`.
    pub(super) fn count(&self, reason: &str) {
        let counter = match reason {
            "no_route" => &self.no_route,
            "busy" => &self.busy,
            "loop" => &self.call_of_itself,
            _ => &self.bad_request,
        };
        counter.fetch_add(1, Relaxed);
    }

    /// Each reason and its count.
    pub fn counts(&self) -> [(&'static str, u64); 4] {
        [
            ("no_route", self.no_route.load(Relaxed)),
            ("busy", self.busy.load(Relaxed)),
            ("loop", self.call_of_itself.load(Relaxed)),
            ("bad_request", self.bad_request.load(Relaxed)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_given_back() {
        let admission = Admission::new(2, 2);
        let first = admission.enter(0);
        let second = admission.enter(1);
        assert!(first.is_some() && second.is_some() && admission.enter(0).is_none());
        drop(first);
        assert_eq!(admission.running().collect::<Vec<_>>(), [0, 1]);
        assert!(admission.enter(0).is_some());
    }
}
