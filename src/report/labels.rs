//! A limit on the values of labels that others choose: model names, error codes. Knows no metric.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use opentelemetry::KeyValue;

use super::names::OTHER;

/// Longer values are `_other` at once.
const LONGEST: usize = 128;

/// One value of one label, as a number that is quick to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Label(u32);

impl Label {
    const ABSENT: Self = Self(0);
    const PAST_LIMIT: Self = Self(1);

    /// The text of a label that was made of `value`.
    pub(super) fn text(self, value: Option<&str>) -> Option<&str> {
        if self == Self::PAST_LIMIT { Some(OTHER) } else { value }
    }
}

/// The first `limit` different values; every other is `_other`.
#[derive(Debug)]
pub(super) struct Labels {
    limit: usize,
    known: RwLock<HashMap<Box<str>, Label>>,
}

impl Labels {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, known: RwLock::default() }
    }

    /// The number of `value`, the same for as long as the process runs.
    pub(super) fn label(&self, value: Option<&str>) -> Label {
        let Some(value) = value else { return Label::ABSENT };
        {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(label) = known.get(value) {
                return *label;
            }
            if known.len() >= self.limit || value.len() > LONGEST {
                return Label::PAST_LIMIT;
            }
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        // Another worker may have been quicker.
        let next = Label(known.len() as u32 + 2);
        if known.len() >= self.limit {
            return known.get(value).copied().unwrap_or(Label::PAST_LIMIT);
        }
        *known.entry(value.into()).or_insert(next)
    }
}

/// These labels and more.
pub(super) fn with(labels: &[KeyValue], more: impl IntoIterator<Item = KeyValue>) -> Vec<KeyValue> {
    labels.iter().cloned().chain(more).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_past_the_limit_are_other() {
        let labels = Labels::new(2);
        let text = |value: &'static str| labels.label(Some(value)).text(Some(value));
        assert_eq!(["a", "b", "c", "a"].map(text), [Some("a"), Some("b"), Some(OTHER), Some("a")]);
        assert_ne!(labels.label(Some("a")), labels.label(Some("b")));
        assert_eq!(labels.label(None).text(None), None);
    }

    #[test]
    fn a_long_value_takes_no_place() {
        let labels = Labels::new(1);
        let long = "x".repeat(129);
        assert_eq!(labels.label(Some(&long)).text(Some(&long)), Some(OTHER));
        assert_eq!(labels.label(Some("a")).text(Some("a")), Some("a"));
    }
}
