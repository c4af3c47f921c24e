//! Why a call costs what it costs: which entry is meant and by which rule, for a person who asks.
//! Adds no rule of its own; knows no terminal.

use super::dimension::Unit;
use super::memo::Looked;
use super::moment::Moment;
use super::overrides::Charge;
use super::table::{Found, Priced, Provider, Tariff};
use super::{By, Call, ModelName, Override, Prices, Unpriced, Who, seller, tariff};
use crate::observe::observation::{Cost, NanoUsd};

/// How many similar names are offered.
const NEAREST: usize = 5;
/// The longest name that is compared for similarity, in bytes.
const LONGEST: usize = 128;

/// Where the table comes from, and how much is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The project whose table it is.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Its licence.
    pub licence: &'static str,
    /// The day on which our table was made of it.
    pub date: &'static str,
    /// How many providers it has.
    pub providers: usize,
    /// How many models they have.
    pub models: usize,
}

/// What is known of the price of a call, and why.
#[derive(Debug)]
pub struct Explanation {
    /// The provider of the table, and by what it was found; absent where the operator's price holds.
    pub seller: Option<(&'static str, By)>,
    /// The entry that is meant.
    pub entry: Option<Entry>,
    /// What the call costs.
    pub cost: Result<Cost, Unpriced>,
    /// Prices of the operator's that would cover it, but only from a later day on: entry and day.
    pub later: Vec<(String, String)>,
    /// Providers that sell a model of this name, where nothing says which is meant.
    pub sellers: Vec<&'static str>,
    /// Where nothing was found: what may have been meant, the nearest first.
    pub nearest: Vec<String>,
}

/// The entry that is meant.
#[derive(Debug)]
pub struct Entry {
    /// Its name: `openai/gpt-4o-mini`, or the override's.
    pub name: String,
    /// The condition that held, in words: ``is `gpt-4o-mini` ``.
    pub rule: String,
    /// Where the operator wrote it; absent: it is the table's.
    pub written: Option<String>,
    /// Where its prices are from, as the operator says it.
    pub source: Option<String>,
    /// What it charges.
    pub rates: Vec<RateStep>,
    /// From which day on, where it says.
    pub from: Option<String>,
    /// At which times of day, where its price changes with them.
    pub between: Option<String>,
    /// Service tiers with prices of their own.
    pub tiers: Vec<String>,
    /// Charges hidden in a call's totals that have no price here.
    pub unpriced: Vec<&'static str>,
    /// Prices that are not of the table: what they are for, whose page says them, when it was read.
    pub added: Vec<(&'static str, &'static str, &'static str)>,
}

/// One price of one dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateStep {
    /// As in `CostPart::dimension`.
    pub dimension: &'static str,
    /// Where it is a long-context price: above how many input tokens it holds.
    pub above: Option<u64>,
    /// The price.
    pub price: NanoUsd,
    /// For how much it is.
    pub unit: Unit,
}

impl Prices {
    /// Where the table comes from.
    pub fn source(&self) -> Source {
        Source {
            name: self.table.source,
            version: self.table.version,
            licence: self.table.licence,
            date: self.table.date,
            providers: self.table.providers.len(),
            models: self.table.providers.iter().map(|provider| provider.models.len()).sum(),
        }
    }

    /// The table's providers, and how many models each has.
    pub fn providers(&self) -> impl Iterator<Item = (&'static str, usize)> {
        self.table.providers.iter().map(|provider| (provider.id, provider.models.len()))
    }

    /// The operator's prices.
    pub fn overrides(&self) -> &[Override] {
        &self.overrides
    }

    /// Why a call costs what it costs, or what may have been meant instead.
    pub fn explain(&self, call: &Call<'_>) -> Explanation {
        let cost = self.price(call);
        let models = call.models();
        let names: Vec<_> = models.iter().map(String::as_str).collect();
        let later = self.later(call, &names);
        if let Some(own) = self.own(call, &names) {
            let entry = Some(Entry::own(own, call.tier));
            let (sellers, nearest) = (Vec::new(), Vec::new());
            return Explanation { seller: None, entry, cost, later, sellers, nearest };
        }
        let model = names.first().copied().unwrap_or_default();
        let seller = seller::find(self.table, call.who, model).ok().map(|(seller, _)| seller);
        let found = self.find(call.who, model).ok();
        let sellers = match call.who {
            Who::Unsaid if seller.is_none() => seller::sellers(self.table, model),
            _ => Vec::new(),
        };
        let is_known = found.is_some() || !sellers.is_empty();
        let nearest = if is_known { Vec::new() } else { self.nearest(call.who, model) };
        Explanation {
            seller: seller.map(|seller| (seller.provider.id, seller.by)),
            entry: found.map(|(seller, found)| Entry::new(&found, seller, call)),
            cost,
            later,
            sellers: sellers.into_iter().map(|provider| provider.id).collect(),
            nearest,
        }
    }

    /// What the operator has set for later.
    fn later(&self, call: &Call<'_>, models: &[&str]) -> Vec<(String, String)> {
        let day = Moment::from(call.at).day;
        let covers = self.overrides.iter().filter(|own| own.covers(call.who, models));
        let later = covers.filter(|own| !own.holds_on(&day));
        later.map(|own| (own.entry(), own.dated.clone().unwrap_or_default())).collect()
    }

    /// What may have been meant: names like it.
    fn nearest(&self, who: Who<'_>, model: &str) -> Vec<String> {
        match (who, seller::find(self.table, who, model)) {
            (_, Ok((seller, model))) => {
                let others = seller.provider.fallback.iter();
                let others = others.filter_map(|id| self.table.provider(id));
                like(
                    model,
                    models(std::iter::once(seller.provider).chain(others)).chain(self.own_names()),
                )
            }
            (Who::Unsaid, Err(_)) => {
                like(model, models(self.table.providers.iter()).chain(self.own_names()))
            }
            (Who::Named(name) | Who::Upstream { provider: name, .. }, Err(_)) => {
                like(name, self.table.providers.iter().map(|known| (known.id.to_owned(), known.id)))
            }
        }
    }

    /// The models that the operator has a price for, by their entries and their own names.
    fn own_names(&self) -> impl Iterator<Item = (String, &str)> {
        self.overrides.iter().filter_map(|own| match &own.model {
            ModelName::Exactly(name) => Some((own.entry(), name.as_str())),
            ModelName::Like(_) => None,
        })
    }
}

/// The models of some providers, by their full names and their own.
fn models<'t>(
    providers: impl Iterator<Item = &'t Provider>,
) -> impl Iterator<Item = (String, &'t str)> {
    providers.flat_map(|provider| {
        let full = |id| (format!("{}/{id}", provider.id), id);
        provider.models.iter().map(move |model| full(model.id)).collect::<Vec<_>>()
    })
}

/// The names nearest to one, where they are near at all: at most a third of it differs.
fn like<'n>(name: &str, known: impl Iterator<Item = (String, &'n str)>) -> Vec<String> {
    if name.len() > LONGEST {
        return Vec::new();
    }
    let mut near: Vec<_> = known
        .map(|(full, own)| (distance(name, own), full))
        .filter(|(distance, _)| *distance <= name.len().div_ceil(3))
        .collect();
    near.sort();
    near.dedup();
    near.into_iter().take(NEAREST).map(|(_, full)| full).collect()
}

/// How many bytes must be put in, taken out or changed to make one name of another (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, byte) in from.bytes().enumerate() {
        let mut above = line;
        let mut left = line + 1;
        for (cell, other) in row.iter_mut().skip(1).zip(to.bytes()) {
            left = (above + usize::from(byte != other)).min(*cell + 1).min(left + 1);
            above = std::mem::replace(cell, left);
        }
        if let Some(first) = row.first_mut() {
            *first = line + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

impl Entry {
    fn new(found: &Found<'static>, seller: seller::Seller<'static>, call: &Call<'_>) -> Self {
        // A tier without a price leaves the standard prices to show.
        let looked = Looked::new(seller, found);
        let tariff = tariff(looked, call)
            .or_else(|_| tariff(looked, &Call { tier: None, ..*call }))
            .unwrap_or_default();
        let origins = tariff.origins.iter();
        let own_tiers = seller.provider.id == found.owner.id;
        Self {
            name: format!("{}/{}", found.owner.id, found.model.id),
            rule: found.model.names.in_words(&found.name),
            written: None,
            source: None,
            rates: steps(&tariff),
            from: tariff.from.map(str::to_owned),
            between: tariff.between.map(|hours| hours.to_string()),
            tiers: if own_tiers { names(found.model.tiers(&call.at.into())) } else { Vec::new() },
            added: origins.map(|(of, it)| (of.as_str(), it.source, it.seen)).collect(),
            unpriced: tariff.unpriced,
        }
    }

    /// The operator's entry as it is for a service tier.
    pub fn own(own: &Override, tier: Option<&str>) -> Self {
        let tier = tier.map(str::to_lowercase);
        let rates = match own.price_at(tier.as_deref()) {
            Charge::Hour(price) => {
                vec![RateStep { dimension: "hour", above: None, price, unit: Unit::Hour }]
            }
            Charge::Tokens(rates) => rates.0.iter().flat_map(rate_steps).collect(),
        };
        let rule = match &own.model {
            ModelName::Exactly(name) => format!("is `{name}`"),
            ModelName::Like(pattern) => format!("is like `{pattern}`"),
        };
        Self {
            name: own.entry(),
            rule,
            written: Some(own.written.clone()),
            source: own.source.clone(),
            rates,
            from: own.dated.clone(),
            between: None,
            tiers: own.tiers.iter().map(|(name, _)| name.clone()).collect(),
            unpriced: Vec::new(),
            added: Vec::new(),
        }
    }
}

fn names(names: Vec<&str>) -> Vec<String> {
    names.into_iter().map(str::to_owned).collect()
}

fn steps(tariff: &Tariff<'_>) -> Vec<RateStep> {
    tariff.rates.iter().copied().flat_map(rate_steps).collect()
}

fn rate_steps(Priced(dimension, rate): &Priced) -> impl Iterator<Item = RateStep> {
    let (dimension, unit) = (dimension.as_str(), dimension.unit());
    rate.steps().map(move |(above, price)| RateStep { dimension, above, price, unit })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_what_differs() {
        for (from, to, differs) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("gpt-4o", "gpt-4o", 0),
            ("gtp-4o", "gpt-4o", 2),
            ("sonet", "sonnet", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(from, to), differs, "{from} {to}");
        }
    }
}
