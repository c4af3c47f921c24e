//! Prices that the operator sets: `[[pricing.model]]`. Knows no table; the first that covers a call
//! wins over it.

use serde::Deserialize;
use serde::de::{Deserializer, Error};

use super::moment::is_day;
use super::money::Usd;
use super::seller::{Who, table_id};
use super::table::{Dimension, Priced, Rate};
use crate::observe::observation::NanoUsd;

/// One `[[pricing.model]]`: which calls it covers, and what they cost, whatever their service tier.
///
/// ```toml
/// [[pricing.model]]
/// provider = "openai"      # or the upstream's name; left out: any
/// model = "gpt-4o-mini"    # as asked for or as answered; a trailing * stands for any ending
/// input = 0.15             # USD per million tokens
/// cached_input = 0.075     # left out: as input
/// cache_write = 0.15       # left out: as input
/// output = 0.6
/// # per_hour = 1.2         # instead: USD per hour that the provider works on a call
/// # name = "our contract", dated = "2026-11-01": what telemetry says of it
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// Provider or upstream, in lower case; absent: any.
    pub provider: Option<String>,
    /// The model's name in lower case.
    pub model: ModelName,
    /// What it charges.
    pub price: OverridePrice,
    /// What it is called in telemetry, else after its model.
    pub name: Option<String>,
    /// From which day it holds, as the operator says it.
    pub dated: Option<String>,
}

/// Which models an override is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelName {
    /// This one.
    Exactly(String),
    /// Those that start so.
    Starting(String),
}

/// What an override charges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OverridePrice {
    /// By tokens.
    Tokens(TokenRates),
    /// By the hour that the provider works on a call.
    Hour(NanoUsd),
}

/// A rate for each kind of token that has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRates(pub(super) Vec<Priced>);

impl Override {
    /// Whether it is for one of these models (in lower case) of this seller.
    pub(super) fn covers(&self, who: Who<'_>, models: &[&str]) -> bool {
        self.is_for(who) && models.iter().any(|model| self.model.is(model))
    }

    fn is_for(&self, who: Who<'_>) -> bool {
        let Some(own) = &self.provider else { return true };
        let same = |other: &str| table_id(own) == table_id(&other.to_lowercase());
        match who {
            Who::Upstream { name, provider, .. } => same(provider) || own == &name.to_lowercase(),
            Who::Named(provider) => same(provider),
            Who::Unsaid => true,
        }
    }

    /// What telemetry calls it.
    pub(super) fn entry(&self) -> String {
        let of = |provider: &String| format!("{provider}/{}", self.model);
        let named = || self.provider.as_ref().map_or_else(|| self.model.to_string(), of);
        self.name.clone().unwrap_or_else(named)
    }
}

impl ModelName {
    fn is(&self, model: &str) -> bool {
        match self {
            Self::Exactly(name) => model == name,
            Self::Starting(start) => model.starts_with(start.as_str()),
        }
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let lower = text.trim().to_lowercase();
        let (start, starting) = match lower.strip_suffix('*') {
            Some(start) => (start.to_owned(), true),
            None => (lower, false),
        };
        match (start.contains('*'), starting, start.is_empty()) {
            (true, _, _) => Err("`model` may have a `*` only at its end"),
            (false, false, true) => Err("`model` is empty"),
            (false, true, _) => Ok(Self::Starting(start)),
            (false, false, false) => Ok(Self::Exactly(start)),
        }
    }
}

impl std::fmt::Display for ModelName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exactly(name) => formatter.write_str(name),
            Self::Starting(start) => write!(formatter, "{start}*"),
        }
    }
}

/// As written in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    provider: Option<String>,
    model: String,
    input: Option<Usd>,
    cached_input: Option<Usd>,
    cache_write: Option<Usd>,
    output: Option<Usd>,
    per_hour: Option<Usd>,
    name: Option<String>,
    dated: Option<String>,
}

impl Written {
    fn price(&self) -> Result<OverridePrice, &'static str> {
        let tokens: Vec<_> = [
            (Dimension::Input, self.input),
            (Dimension::CacheRead, self.cached_input),
            (Dimension::CacheWrite, self.cache_write.or(self.input)),
            (Dimension::Output, self.output),
        ]
        .into_iter()
        .filter_map(|(dimension, usd)| Some(Priced(dimension, Rate::flat(usd?.0))))
        .collect();
        match (self.per_hour, tokens.is_empty()) {
            (Some(usd), true) => Ok(OverridePrice::Hour(usd.0)),
            (None, false) => Ok(OverridePrice::Tokens(TokenRates(tokens))),
            (Some(_), false) => {
                Err("`per_hour` stands alone: a call costs by tokens or by the hour")
            }
            (None, true) => Err("no price: give `input` and `output`, or `per_hour`"),
        }
    }
}

impl TryFrom<Written> for Override {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, &'static str> {
        if written.dated.as_ref().is_some_and(|day| !is_day(day)) {
            return Err("`dated` is not a day like \"2026-11-21\"");
        }
        Ok(Self {
            model: ModelName::parse(&written.model)?,
            price: written.price()?,
            provider: written.provider.map(|provider| provider.trim().to_lowercase()),
            name: written.name,
            dated: written.dated,
        })
    }
}

impl<'de> Deserialize<'de> for Override {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Written::deserialize(deserializer)?.try_into().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_override_is_refused_in_words() {
        for (toml, why) in [
            ("input = 1", "missing field `model`"),
            ("model = \"m\"", "no price"),
            ("model = \"\"\ninput = 1", "`model` is empty"),
            ("model = \"a*b\"\ninput = 1", "only at its end"),
            ("model = \"m\"\ninput = -1", "not negative"),
            ("model = \"m\"\noutput = 2000000", "above 1000000"),
            ("model = \"m\"\noutput = \"cheap\"", "not a price"),
            ("model = \"m\"\noutput = inf", "not a price"),
            ("model = \"m\"\noutput = true", "a price in USD"),
            ("model = \"m\"\ninput = 1\nper_hour = 1", "stands alone"),
            ("model = \"m\"\ninput = 1\ndated = \"soon\"", "not a day"),
            ("model = \"m\"\ninptu = 1", "unknown field `inptu`"),
        ] {
            let message = toml::from_str::<Override>(toml).expect_err(toml).to_string();
            assert!(message.contains(why), "{toml}: {message}");
        }
    }

    #[test]
    fn without_a_price_for_writing_to_the_cache_it_costs_what_input_costs() {
        let own: Override = toml::from_str("model = \"m\"\ninput = 3").expect("an override");
        let OverridePrice::Tokens(TokenRates(rates)) = own.price else { panic!("{own:?}") };
        let three = || Rate::flat(NanoUsd(3_000_000_000));
        assert_eq!(
            rates,
            [Priced(Dimension::Input, three()), Priced(Dimension::CacheWrite, three())]
        );
    }
}
