//! What other models did within a call, which its totals leave out: each is priced by its own entry.
//! Knows no price.

use super::tier::Tier;
use super::{Call, Prices};
use crate::observe::observation::{Cost, CostBasis, NanoUsd, OtherModel};

/// What a sum without them leaves out.
pub(super) const OTHER_MODELS: &str = "other_models";

impl Prices {
    /// `cost` with what the `others` used, where each of them has a price; else it stays a lower bound.
    pub(super) fn with_others(&self, cost: Cost, call: &Call<'_>, others: &[OtherModel]) -> Cost {
        let told = call.usage.and_then(|usage| usage.units.other_models).unwrap_or(0);
        let is_all = tokens(others) == told;
        // What a tier makes of another model's price is not told.
        let tier = call.tier.map(str::to_lowercase);
        let is_base = Tier::of(tier.as_deref()) == Tier::Base;
        if others.is_empty() || !is_all || !is_base {
            return cost;
        }
        let one = |other: &OtherModel| {
            let (answered, usage) = (Some(other.model.as_str()), Some(other.usage));
            // A machine's time is already charged.
            self.price(&Call { answered, usage, asked: None, worked: None, ..*call })
        };
        let priced: Result<Vec<_>, _> = others.iter().map(one).collect();
        priced.map_or_else(|_| cost.clone(), |priced| priced.into_iter().fold(whole(&cost), add))
    }
}

fn tokens(others: &[OtherModel]) -> u64 {
    let counts = others.iter().flat_map(|other| [other.usage.input, other.usage.output]);
    counts.flatten().fold(0, u64::saturating_add)
}

fn whole(cost: &Cost) -> Cost {
    let left_out = cost.unpriced.iter().copied().filter(|name| *name != OTHER_MODELS).collect();
    with_basis(Cost { unpriced: left_out, ..cost.clone() })
}

fn add(mut cost: Cost, more: Cost) -> Cost {
    cost.total = NanoUsd(cost.total.0.saturating_add(more.total.0));
    cost.parts.extend(more.parts);
    let new = more.unpriced.into_iter().filter(|name| !cost.unpriced.contains(name));
    let new: Vec<_> = new.collect();
    cost.unpriced.extend(new);
    with_basis(cost)
}

fn with_basis(cost: Cost) -> Cost {
    let basis = if cost.unpriced.is_empty() { CostBasis::Computed } else { CostBasis::LowerBound };
    Cost { basis, ..cost }
}
