//! Says what is lost while nothing fails: records, copies and lines for which there was no room. Knows
//! only how to count them and what helps.

use std::time::{Duration, Instant};

use super::Count;

/// Between two looks at the counts.
const LOOK: Duration = Duration::from_secs(1);
/// At least so long between two lines about one loss, twice as long after each, up to an hour; from
/// the beginning again once nothing was lost for so long.
const PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// At the end, what waits is lost too.
const END: &str = "the program ended before (limits.flush_seconds gives it more time)";

/// Something that can be lost.
pub(super) struct Loss {
    count: Count,
    what: String,
    why: &'static str,
    told: u64,
    quiet_until: Option<Instant>,
    pause: Duration,
}

impl Loss {
    /// `what` names what `count` counts; `why` says why it is lost, and what helps.
    pub(super) fn new(count: Count, what: impl Into<String>, why: &'static str) -> Self {
        Self { count, what: what.into(), why, told: 0, quiet_until: None, pause: PAUSE }
    }

    /// What there is to say at `now`.
    fn look(&mut self, now: Instant) -> Option<String> {
        let is_quiet = self.quiet_until.is_some_and(|until| now < until);
        if is_quiet {
            return None;
        }
        let said = self.rest(self.why);
        if said.is_some() {
            self.quiet_until = Some(now + self.pause);
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        } else {
            self.pause = PAUSE;
        }
        said
    }

    /// What was lost since it was last said.
    fn rest(&mut self, why: &str) -> Option<String> {
        let count = (self.count)();
        let new = count.saturating_sub(std::mem::replace(&mut self.told, count));
        (new > 0).then(|| format!("{new} {} lost: {why}", self.what))
    }
}

/// Everything that can be lost.
pub(super) struct Losses(pub(super) Vec<Loss>);

impl Losses {
    /// Says what is lost, for as long as it is let.
    pub(super) async fn watch(&mut self) {
        loop {
            tokio::time::sleep(LOOK).await;
            let now = Instant::now();
            self.0.iter_mut().filter_map(|it| it.look(now)).for_each(|it| tracing::warn!("{it}"));
        }
    }

    /// Says what is left to say: nothing is sent any more.
    pub(super) fn end(&mut self) {
        let last = |it: &mut Loss| it.rest(&format!("{}, or {END}", it.why));
        self.0.iter_mut().filter_map(last).for_each(|it| tracing::warn!("{it}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use super::*;

    #[test]
    fn a_loss_is_said_at_once_then_seldom_and_all_of_it() {
        let count = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&count);
        let mut loss = Loss::new(Box::new(move || counted.load(Relaxed)), "spans", "no room");
        let zero = Instant::now();
        let mut at = |seconds: u64, more: u64| {
            count.fetch_add(more, Relaxed);
            loss.look(zero + Duration::from_secs(seconds))
        };
        assert_eq!(at(0, 0), None);
        assert_eq!(at(1, 3).as_deref(), Some("3 spans lost: no room"));
        assert_eq!(at(2, 4), None);
        assert_eq!(at(60, 1), None);
        assert_eq!(at(61, 0).as_deref(), Some("5 spans lost: no room"));
        assert_eq!(at(122, 2), None, "the pause is twice as long");
        assert_eq!(at(181, 0).as_deref(), Some("2 spans lost: no room"));
        assert_eq!(at(421, 0), None);
        assert_eq!(at(422, 1).as_deref(), Some("1 spans lost: no room"));
        assert_eq!(at(482, 1).as_deref(), Some("1 spans lost: no room"), "as at first");
    }

    #[test]
    fn no_pause_is_longer_than_an_hour() {
        let mut loss = Loss::new(Box::new(|| 1), "lines", "");
        for _ in 0..20 {
            loss.quiet_until = None;
            loss.told = 0;
            assert!(loss.look(Instant::now()).is_some());
        }
        assert_eq!(loss.pause, LONGEST_PAUSE);
    }
}
