//! The last that each upstream said of its limits, for gauges. Knows the labels, and no header.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;

use super::labels::Label;
use super::names::{self, Readings};
use crate::observe::observation::{Observation, RateLimit};

/// How long a value stands after the answer that told it: a limit of which nobody speaks any more is
/// not known.
const KEPT: Duration = Duration::from_mins(5);

/// Which limit: of an upstream (by its name), a model and a kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    upstream: String,
    model: Label,
    kind: &'static str,
}

#[derive(Clone, Debug)]
struct Told {
    at: Instant,
    limit: RateLimit,
    // The text of the key's label.
    model: Option<String>,
}

/// The last values, at most so many of them; each is forgotten five minutes after it was told.
#[derive(Debug)]
pub(super) struct Headroom {
    most: usize,
    told: Mutex<HashMap<Key, Told>>,
}

impl Headroom {
    pub(super) fn new(most: usize) -> Self {
        Self { most, told: Mutex::default() }
    }

    /// Takes what an exchange says, which ended at `now`. `model`: the label of the model asked for.
    pub(super) fn see(&self, of: &Observation, model: Label, now: Instant) {
        let Some(upstream) = of.upstream.as_ref().filter(|_| !of.http.rate_limits.is_empty())
        else {
            return;
        };
        // They were told with the head.
        let head = of.times.head.unwrap_or(of.times.end);
        let at = now.checked_sub(of.times.end.saturating_sub(head)).unwrap_or(now);
        let text = model.text(of.request.model.as_deref());
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        for limit in &of.http.rate_limits {
            let key = Key { upstream: upstream.name.clone(), model, kind: limit.kind };
            if told.len() >= self.most && !told.contains_key(&key) {
                told.retain(|_, told| now.saturating_duration_since(told.at) < KEPT);
            }
            // What was told earlier may end later: a long stream's head says nothing new.
            let is_news = told.get(&key).is_none_or(|old| old.at <= at);
            if is_news && (told.len() < self.most || told.contains_key(&key)) {
                let model = text.map(str::to_owned);
                told.insert(key, Told { at, limit: *limit, model });
            }
        }
    }

    /// What is allowed, at `now`.
    pub(super) fn limits(&self, now: Instant) -> Readings {
        self.read(now, |told| told.limit.limit)
    }

    /// What of it was left at the last answer.
    pub(super) fn remaining(&self, now: Instant) -> Readings {
        self.read(now, |told| told.limit.remaining)
    }

    /// Whole seconds from `now` until all of it is there again, rounded up.
    pub(super) fn resets(&self, now: Instant) -> Readings {
        let left = |told: &Told| {
            let passed = now.saturating_duration_since(told.at);
            Some(told.limit.reset?.saturating_sub(passed).as_secs_f64().ceil() as u64)
        };
        self.read(now, left)
    }

    fn read(&self, now: Instant, value: impl Fn(&Told) -> Option<u64>) -> Readings {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, told| now.saturating_duration_since(told.at) < KEPT);
        told.iter().filter_map(|(key, told)| Some((value(told)?, labels(key, told)))).collect()
    }
}

fn labels(key: &Key, told: &Told) -> Vec<KeyValue> {
    let model = told.model.clone().map(|model| names::REQUEST_MODEL.of(model));
    [names::UPSTREAM.of(key.upstream.clone()), names::LIMIT_KIND.of(key.kind)]
        .into_iter()
        .chain(model)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::labels::Labels;
    use super::super::literals;
    use super::*;

    /// `model kind value`, sorted.
    fn told(readings: Readings) -> Vec<String> {
        let text = |(value, labels): &(u64, Vec<KeyValue>)| {
            let label = |of: names::Attribute| {
                let label = labels.iter().find(|it| of.is(it));
                label.map_or("-".into(), |it| it.value.to_string())
            };
            format!("{} {} {value}", label(names::REQUEST_MODEL), label(names::LIMIT_KIND))
        };
        let mut told: Vec<_> = readings.iter().map(text).collect();
        told.sort();
        told
    }

    /// An exchange that says what is left of its requests.
    fn left(model: &str, remaining: u64) -> Observation {
        let mut of = literals::rate_limited();
        of.request.model = Some(model.to_owned());
        of.http.rate_limits.truncate(1);
        of.http.rate_limits[0].remaining = Some(remaining);
        of.http.rate_limits[0].reset = Some(Duration::from_secs(3600));
        of
    }

    #[test]
    fn the_last_value_stands_for_five_minutes() {
        let (headroom, labels) = (Headroom::new(9), Labels::new(9));
        let begin = Instant::now() + Duration::from_secs(100);
        let at = |seconds| begin + Duration::from_secs(seconds);
        let see = |of: &Observation, now| {
            headroom.see(of, labels.label(of.request.model.as_deref()), now);
        };
        see(&left("a", 7), at(0));
        see(&left("a", 6), at(10));
        see(&left("b", 3), at(200));
        assert_eq!(told(headroom.remaining(at(200))), ["a requests 6", "b requests 3"]);
        assert_eq!(told(headroom.limits(at(200))), ["a requests 500", "b requests 500"]);
        // An hour from the head, which came a second before the end.
        assert_eq!(told(headroom.resets(at(200))), ["a requests 3409", "b requests 3599"]);
        assert_eq!(told(headroom.remaining(at(308))).len(), 2);
        assert_eq!(told(headroom.remaining(at(310))), ["b requests 3"]);
        assert_eq!(told(headroom.resets(at(600))), [""; 0]);
    }

    #[test]
    fn a_stream_that_ends_late_says_nothing_new() {
        let (headroom, label) = (Headroom::new(9), Labels::new(9).label(Some("a")));
        let now = Instant::now() + Duration::from_secs(100);
        headroom.see(&left("a", 5), label, now);
        let mut long = left("a", 9);
        long.times.end = Duration::from_secs(30);
        headroom.see(&long, label, now + Duration::from_secs(1));
        assert_eq!(told(headroom.remaining(now)), ["a requests 5"]);
    }

    #[test]
    fn there_are_no_more_values_than_the_limit() {
        let (headroom, labels) = (Headroom::new(2), Labels::new(9));
        let now = Instant::now() + Duration::from_secs(100);
        for model in ["a", "b", "c"] {
            headroom.see(&left(model, 1), labels.label(Some(model)), now);
        }
        assert_eq!(told(headroom.remaining(now)), ["a requests 1", "b requests 1"]);
        headroom.see(&left("a", 0), labels.label(Some("a")), now);
        assert_eq!(told(headroom.remaining(now)), ["a requests 0", "b requests 1"]);
        let later = now + Duration::from_secs(301);
        headroom.see(&left("c", 1), labels.label(Some("c")), later);
        assert_eq!(told(headroom.remaining(later)), ["c requests 1"], "the others were too old");
    }
}
