//! Instruments bound to their labels when they are first used: what never happened leaves no series of
//! zeros. Knows no observation.

use std::cell::OnceCell;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundCounter, BoundHistogram, Counter, Histogram};

/// A histogram bound when it is first used: what never happened leaves no series of zeros.
#[derive(Debug, Default)]
pub(super) struct Records(OnceCell<BoundHistogram<f64>>);

impl Records {
    pub(super) fn record(
        &self,
        to: &Histogram<f64>,
        labels: impl FnOnce() -> Vec<KeyValue>,
        value: f64,
    ) {
        self.0.get_or_init(|| to.bind(&labels())).record(value);
    }
}

/// A counter bound when it is first used.
#[derive(Debug)]
pub(super) struct Adds<T>(OnceCell<BoundCounter<T>>);

// Derived, it would ask for a default of what is counted.
impl<T> Default for Adds<T> {
    fn default() -> Self {
        Self(OnceCell::new())
    }
}

impl<T> Adds<T> {
    pub(super) fn add(&self, to: &Counter<T>, labels: impl FnOnce() -> Vec<KeyValue>, value: T) {
        self.0.get_or_init(|| to.bind(&labels())).add(value);
    }
}
