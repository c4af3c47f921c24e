//! What was looked up lately: a few models make up nearly all calls, and the table's rules are many.
//! Knows no rule.

use std::sync::{Mutex, PoisonError};

use super::seller::{Seller, Who};
use super::table::{Found, Model, Provider};

/// Look-ups kept; above it the oldest goes.
const KEPT: usize = 64;

/// The entry that a model's name means, and who sells it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Looked {
    pub(super) seller: Seller<'static>,
    pub(super) owner: &'static Provider,
    pub(super) model: &'static Model,
}

impl Looked {
    pub(super) fn new(seller: Seller<'static>, found: &Found<'static>) -> Self {
        Self { seller, owner: found.owner, model: found.model }
    }
}

/// The look-ups of one set of prices.
#[derive(Debug, Default)]
pub(super) struct Memo(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    lookups: Vec<([String; 4], Looked)>,
    oldest: usize,
}

impl Memo {
    /// What was found before for an upstream and a model, else what `find` finds now. Only upstreams
    /// are kept: people ask once.
    pub(super) fn find<E>(
        &self,
        who: Who<'_>,
        model: &str,
        find: impl FnOnce() -> Result<Looked, E>,
    ) -> Result<Looked, E> {
        let Who::Upstream { name, provider, address } = who else { return find() };
        let key = [model, name, provider, address];
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = kept.lookups.iter().find(|(lookup, _)| *lookup == key) {
            return Ok(*known);
        }
        let known = find()?;
        let lookup = (key.map(str::to_owned), known);
        if kept.lookups.len() < KEPT {
            kept.lookups.push(lookup);
        } else {
            let oldest = kept.oldest;
            kept.lookups[oldest] = lookup;
            kept.oldest = (oldest + 1) % KEPT;
        }
        Ok(known)
    }
}

impl Clone for Memo {
    /// A clone begins empty: it fills soon enough.
    fn clone(&self) -> Self {
        Self::default()
    }
}
