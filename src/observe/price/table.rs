//! The price table that the program carries, as `refresh.py` wrote it. Knows no calls: only which
//! names its providers and models have, and what they charge when.

use std::borrow::Cow;
use std::sync::OnceLock;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::dimension::Dimension;
use super::moment::{Hours, Moment};
use super::money::Usd;
use super::name::{Clause, with_dashed_dates};
use super::overlay::{self, Origin};
use crate::observe::observation::NanoUsd;

static TEXT: &str = include_str!("table.json");

/// The whole table. Its texts are borrowed from the program's own bytes.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    pub(super) source: &'static str,
    pub(super) version: &'static str,
    pub(super) licence: &'static str,
    /// The day on which it was made.
    pub(super) date: &'static str,
    pub(super) providers: Box<[Provider]>,
}

/// Who sells.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Provider {
    pub(super) id: &'static str,
    /// What `https://` and its host look like.
    pub(super) url: Clause,
    /// Other names of it.
    pub(super) names: Option<Clause>,
    /// Names of models that are its own.
    pub(super) makes: Option<Clause>,
    /// Whose prices hold for models that it does not list.
    #[serde(default)]
    pub(super) fallback: Box<[&'static str]>,
    /// In order: the first that matches a name is meant.
    pub(super) models: Vec<Model>,
    /// What the overlay adds to every model that it sells.
    #[serde(skip)]
    pub(super) added: Vec<Row>,
}

/// What is sold.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Model {
    pub(super) id: &'static str,
    #[serde(rename = "match")]
    pub(super) names: Clause,
    /// The last that holds counts, else the first.
    pub(super) prices: Vec<Row>,
    /// What service tiers charge instead; for each dimension the first that holds counts.
    #[serde(default)]
    pub(super) tiers: Vec<Row>,
    /// What the overlay adds at any tier, each that holds, or says instead.
    #[serde(skip)]
    pub(super) added: Vec<Row>,
}

/// One set of prices and when it holds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    tier: Option<&'static str>,
    pub(super) from: Option<&'static str>,
    between: Option<Hours>,
    /// It holds on weekends only.
    #[serde(default)]
    weekend: bool,
    pub(super) usd: Rates,
    #[serde(default)]
    unpriced: Box<[&'static str]>,
    #[serde(default)]
    terms: Terms,
    /// Where it is from, if not from the table.
    #[serde(skip)]
    origin: Option<Origin>,
}

/// How counts are charged, where that is not one price for each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Terms {
    /// Charged once in a call, however many.
    #[serde(default)]
    pub(super) once: Vec<Dimension>,
    /// Every call has some, so that not to tell how many is not to have none.
    #[serde(default)]
    pub(super) always: Vec<Dimension>,
    /// The price is the lowest of several, and what chooses among them is not told.
    #[serde(default)]
    pub(super) at_least: Vec<Dimension>,
    /// Any sound is charged as so many seconds at least.
    pub(super) least_seconds: Option<u64>,
    /// The provider says that it costs nothing, whatever is used.
    #[serde(default)]
    pub(super) free: bool,
}

impl Terms {
    fn add(&mut self, more: &Self) {
        self.once.extend(&more.once);
        self.always.extend(&more.always);
        self.at_least.extend(&more.at_least);
        self.least_seconds = self.least_seconds.or(more.least_seconds);
        self.free |= more.free;
    }
}

/// The price of one dimension, for as much of it as its unit says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    base: NanoUsd,
    /// Above so many input tokens in the call, ascending, all tokens cost this.
    cliffs: Box<[(u64, NanoUsd)]>,
}

impl Rate {
    pub(super) fn flat(base: NanoUsd) -> Self {
        Self { base, cliffs: Box::default() }
    }

    /// What it costs in a call with so many input tokens.
    pub(super) fn at(&self, input_tokens: u64) -> NanoUsd {
        let passed = self.cliffs.iter().rev().find(|(start, _)| input_tokens > *start);
        passed.map_or(self.base, |(_, price)| *price)
    }

    /// The base price, then each price with the input tokens above which it holds.
    pub(super) fn steps(&self) -> impl Iterator<Item = (Option<u64>, NanoUsd)> + '_ {
        let cliffs = self.cliffs.iter().map(|(start, price)| (Some(*start), *price));
        std::iter::once((None, self.base)).chain(cliffs)
    }
}

/// A dimension and its rate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Priced(pub(super) Dimension, pub(super) Rate);

/// A rate for each dimension that has one.
#[derive(Debug)]
pub(super) struct Rates(pub(super) Box<[Priced]>);

/// What a model charges at one moment, at one tier.
#[derive(Debug, Default)]
pub(super) struct Tariff<'a> {
    pub(super) rates: Vec<&'a Priced>,
    /// Charges that every call has or that hide in its totals, and that have no price here.
    pub(super) unpriced: Vec<&'static str>,
    /// How counts are charged, where that is not one price for each.
    pub(super) terms: Terms,
    /// Where prices are from that are not the table's.
    pub(super) origins: Vec<(Dimension, Origin)>,
    /// The day from which it holds, where the table says one.
    pub(super) from: Option<&'static str>,
    /// The times of day at which it holds, where it changes with them.
    pub(super) between: Option<Hours>,
}

impl<'a> Tariff<'a> {
    pub(super) fn rate(&self, dimension: Dimension) -> Option<&'a Rate> {
        self.rates.iter().find(|priced| priced.0 == dimension).map(|priced| &priced.1)
    }

    /// Adds what `row` says of dimensions that have no rate yet.
    fn add(&mut self, row: &'a Row) {
        for priced in &row.usd.0 {
            if self.rate(priced.0).is_none() {
                self.rates.push(priced);
                self.origins.extend(row.origin.map(|origin| (priced.0, origin)));
            }
        }
        let known = &mut self.unpriced;
        for name in &row.unpriced {
            if !known.contains(name) {
                known.push(name);
            }
        }
        self.terms.add(&row.terms);
        self.from = self.from.max(row.from);
        self.between = self.between.or(row.between);
    }
}

impl Table {
    /// The table in the program, read at its first use. It is the same bytes in every run, and a
    /// test reads them; were they unreadable, nothing would have a price.
    pub(super) fn embedded() -> &'static Self {
        static TABLE: OnceLock<Table> = OnceLock::new();
        TABLE.get_or_init(|| {
            let mut table = serde_json::from_str(TEXT).unwrap_or_default();
            overlay::lay(overlay::embedded(), &mut table);
            table
        })
    }

    pub(super) fn provider(&self, id: &str) -> Option<&Provider> {
        self.providers.iter().find(|provider| provider.id == id)
    }

    /// The model that `seller` sells under a name in lower case, and whose entry it is: its own,
    /// or that of a provider whose models it offers, too.
    pub(super) fn find<'a>(&'a self, seller: &'a Provider, name: &str) -> Option<Found<'a>> {
        let dashed = with_dashed_dates(name);
        self.find_as_written(seller, name).or_else(|| match dashed {
            Cow::Borrowed(_) => None,
            Cow::Owned(dashed) => self.find_as_written(seller, &dashed),
        })
    }

    fn find_as_written<'a>(&'a self, seller: &'a Provider, name: &str) -> Option<Found<'a>> {
        let others = seller.fallback.iter().filter_map(|id| self.provider(id));
        std::iter::once(seller).chain(others).find_map(|owner| {
            let model = owner.models.iter().find(|model| model.names.holds(name))?;
            Some(Found { owner, model, name: name.to_owned() })
        })
    }
}

/// An entry of the table.
#[derive(Debug)]
pub(super) struct Found<'a> {
    /// In whose list it stands.
    pub(super) owner: &'a Provider,
    pub(super) model: &'a Model,
    /// The name as it matched.
    pub(super) name: String,
}

impl Model {
    /// What it charges at a moment; `tier` is one that the table may know, in lower case. The
    /// second value says whether the table does.
    pub(super) fn tariff<'a>(
        &'a self,
        seller: &'a Provider,
        moment: &Moment,
        tier: Option<&str>,
    ) -> (Tariff<'a>, bool) {
        let mut tariff = Tariff::default();
        let mut listed = false;
        for row in &self.tiers {
            if tier.is_some() && row.tier == tier && row.holds(moment) {
                tariff.add(row);
                listed = true;
            }
        }
        let standard = self.prices.iter().rev().find(|row| row.holds(moment));
        let standard = standard.or(self.prices.first());
        // What is added to all that a provider sells is of tools, which only those have that read.
        let reads = standard.is_some_and(|row| row.usd.0.iter().any(|it| it.0 == Dimension::Input));
        let of_seller: &[Row] = if reads { &seller.added } else { &[] };
        let added = self.added.iter().chain(of_seller);
        added.filter(|row| row.holds(moment)).for_each(|row| tariff.add(row));
        standard.into_iter().for_each(|row| tariff.add(row));
        tariff.rates.sort_by_key(|priced| priced.0);
        (tariff, listed)
    }

    /// The tiers that the table knows for it at a moment.
    pub(super) fn tiers(&self, moment: &Moment) -> Vec<&'static str> {
        let mut tiers: Vec<_> =
            self.tiers.iter().filter(|row| row.holds(moment)).filter_map(|row| row.tier).collect();
        tiers.sort_unstable();
        tiers.dedup();
        tiers
    }
}

impl Row {
    pub(super) fn with_origin(self, origin: Origin) -> Self {
        Self { origin: Some(origin), ..self }
    }

    fn holds(&self, moment: &Moment) -> bool {
        self.from.is_none_or(|day| day <= moment.day.as_str())
            && self.between.is_none_or(|hours| hours.contain(moment.minute))
            && (!self.weekend || moment.weekend)
    }
}

impl<'de> Deserialize<'de> for Rates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RatesMap)
    }
}

struct RatesMap;

impl<'de> Visitor<'de> for RatesMap {
    type Value = Rates;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a rate for each dimension")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Rates, A::Error> {
        let mut rates = Vec::new();
        while let Some((dimension, rate)) = map.next_entry()? {
            rates.push(Priced(dimension, rate));
        }
        Ok(Rates(rates.into()))
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RateText)
    }
}

struct RateText;

/// `"2.5"`, or `["2.5", [272000, "5"]]` where a longer input changes it.
impl<'de> Visitor<'de> for RateText {
    type Value = Rate;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .write_str("a price in USD, or a list of a price and pairs of input tokens and a price")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Rate, E> {
        let text = serde::de::value::StrDeserializer::new(text);
        Usd::deserialize(text).map(|usd| Rate::flat(usd.0))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Rate, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Rate, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Rate, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Rate, A::Error> {
        let base: Usd = list.next_element()?.ok_or_else(|| A::Error::custom("no price"))?;
        let mut cliffs = Vec::new();
        while let Some((start, price)) = list.next_element::<(u64, Usd)>()? {
            cliffs.push((start, price.0));
        }
        if !cliffs.is_sorted() {
            return Err(A::Error::custom("thresholds out of order"));
        }
        Ok(Rate { base: base.0, cliffs: cliffs.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nobody() -> Provider {
        serde_json::from_str(r#"{"id":"p","url":{"is":"p"},"models":[]}"#).expect("a provider")
    }

    fn moment(day: &str) -> Moment {
        Moment { day: day.into(), minute: 0, weekend: false }
    }

    #[test]
    fn the_table_in_the_program_is_read_whole() {
        let table: Table = serde_json::from_str(TEXT).expect("table.json");
        assert_eq!((table.source, table.licence), ("genai-prices", "MIT"));
        assert!(super::super::moment::is_day(table.date), "{}", table.date);
        assert!(table.providers.len() > 40, "{}", table.providers.len());
        for provider in &table.providers {
            for other in &provider.fallback {
                assert!(table.provider(other).is_some(), "{} falls back to {other}", provider.id);
            }
            for model in &provider.models {
                assert!(!model.prices.is_empty(), "{} {}", provider.id, model.id);
            }
        }
    }

    /// What `sum` takes for granted when the split of cached audio is not reported.
    #[test]
    fn audio_and_cache_prices_stand_beside_one_for_cached_audio() {
        let table = Table::embedded();
        let rows = table.providers.iter().flat_map(|provider| &provider.models);
        let (mut seen, nobody) = (0, nobody());
        for model in rows {
            let (tariff, _) = model.tariff(&nobody, &moment("2026-11-21"), None);
            let has = |dimension| tariff.rate(dimension).is_some();
            if has(Dimension::InputAudio) && has(Dimension::CacheRead) {
                assert!(has(Dimension::CacheReadAudio), "{}", model.id);
                seen += 1;
            }
        }
        assert!(seen > 0);
    }

    #[test]
    fn a_models_own_list_comes_before_the_fallback_and_dates_are_tried_last() {
        let table = Table::embedded();
        let azure = table.provider("azure").expect("azure");
        let entry = |name| table.find(azure, name).map(|found| (found.owner.id, found.model.id));
        assert_eq!(entry("o3"), Some(("azure", "o3-2025-04-16")));
        assert_eq!(entry("gpt-4o"), Some(("openai", "gpt-4o")));
        assert_eq!(entry("gpt-4o-20240806"), Some(("openai", "gpt-4o")));
        assert_eq!(entry("gpt-4o-20240807"), None);
        // One step only: OpenAI's own fallbacks would not be Azure's.
        assert_eq!(entry("llama-3.3-70b-versatile"), None);
    }

    #[test]
    fn the_last_price_that_holds_counts_and_a_tier_may_change_some_of_it() {
        let model: Model = serde_json::from_str(
            r#"{"id":"m","match":{"is":"m"},"prices":[
                {"usd":{"input":"1","output":"1"}},
                {"from":"2026-02-01","usd":{"input":["2",[100,"4"]],"output":"2"},"unpriced":["request"]},
                {"from":"2026-03-01","usd":{"input":"3","output":"3"}}],
                "tiers":[{"tier":"flex","from":"2026-02-15","usd":{"input":"0.5"}},
                         {"tier":"flex","usd":{"input":"0.7","output":"0.7"}}]}"#,
        )
        .expect("a model");
        let nobody = nobody();
        let at = |day, tier, dimension, tokens| {
            let (tariff, listed) = model.tariff(&nobody, &moment(day), tier);
            (tariff.rate(dimension).map(|rate| rate.at(tokens).0 / 1_000_000), tariff.from, listed)
        };
        assert_eq!(at("2026-01-31", None, Dimension::Input, 0), (Some(1_000), None, false));
        let february = Some("2026-02-01");
        assert_eq!(at("2026-02-01", None, Dimension::Input, 100), (Some(2_000), february, false));
        assert_eq!(at("2026-02-28", None, Dimension::Input, 101), (Some(4_000), february, false));
        let march = Some("2026-03-01");
        assert_eq!(at("2027-01-01", None, Dimension::Output, 0), (Some(3_000), march, false));
        assert_eq!(
            at("2026-02-14", Some("flex"), Dimension::Input, 0),
            (Some(700), february, true)
        );
        let middle = Some("2026-02-15");
        assert_eq!(at("2026-02-15", Some("flex"), Dimension::Input, 0), (Some(500), middle, true));
        assert_eq!(at("2026-02-15", Some("flex"), Dimension::Output, 0), (Some(700), middle, true));
        assert_eq!(
            at("2026-02-15", Some("scale"), Dimension::Output, 0),
            (Some(2_000), february, false)
        );
        assert_eq!(model.tiers(&moment("2026-02-14")), ["flex"]);
        let (tariff, _) = model.tariff(&nobody, &moment("2026-02-15"), Some("flex"));
        assert_eq!(tariff.rates.len(), 2, "one rate for a dimension");
        assert_eq!(tariff.unpriced, ["request"]);
    }

    #[test]
    fn a_table_out_of_order_is_refused() {
        for json in [
            r#"{"input":["1",[200,"2"],[100,"3"]]}"#,
            r#"{"input":[]}"#,
            r#"{"input":"-1"}"#,
            r#"{"inptu":"1"}"#,
        ] {
            assert!(serde_json::from_str::<Rates>(json).is_err(), "{json}");
        }
    }
}
