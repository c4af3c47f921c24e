//! Prices that the operator sets: `[[pricing.model]]`, and `[[model]]` of price files. Knows no table;
//! the first that covers a call wins over it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{Deserializer, Error};

use super::dimension::Dimension;
use super::moment::is_day;
use super::money::Usd;
use super::seller::{Who, table_id};
use super::table::{Priced, Rate};
use crate::observe::observation::NanoUsd;

/// One entry: which calls it covers, and what they cost.
///
/// ```toml
/// [[pricing.model]]        # in a price file: [[model]]
/// provider = "openai"      # or the upstream's name; left out: any
/// model = "gpt-4o-mini*"   # as asked for or as answered; a * stands for anything
/// input = 0.15             # USD per million tokens
/// cached_input = 0.075     # left out: as input
/// cache_write = 0.15       # left out: as input
/// output = 0.6             # [0.6, [200000, 1.2]]: 1.2 in calls with more than 200 000 input tokens
/// # reasoning, input_audio, cached_input_audio, output_audio, cache_write_1h (or _12h), input_image,
/// # cached_input_image, input_video, output_image: left out, as the whole
/// # beside tokens, USD for a thousand: request, web_search, file_search, rerank_search, page; for a
/// # million: character; for each: image, code_session, audio_hour, output_second
/// # tiers = { flex = { input = 0.07, output = 0.3 } }: instead, where that service tier answered
/// # per_hour = 1.2         # instead: USD per hour that the provider works on a call
/// # name = "our contract"  # what telemetry says of it
/// # dated = "2026-11-01"   # covers calls from this day (UTC) on
/// # source = "…"           # where the prices are from, for people
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// Provider or upstream, in lower case; absent: any.
    pub provider: Option<String>,
    /// The model's name in lower case.
    pub model: ModelName,
    /// What it charges.
    pub price: OverridePrice,
    /// What it charges instead where one of these service tiers (in lower case) answered.
    pub tiers: Vec<(String, TokenRates)>,
    /// What it is called in telemetry, else after its model.
    pub name: Option<String>,
    /// From which day it holds; absent: always.
    pub dated: Option<String>,
    /// Where its prices are from, as the operator says it.
    pub source: Option<String>,
    /// Where it is written: a file, maybe with a line.
    pub written: String,
}

/// Which models an override is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelName {
    /// This one.
    Exactly(String),
    /// Those like this, in which each `*` stands for anything.
    Like(String),
}

/// What an override charges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OverridePrice {
    /// By tokens and what is counted beside them.
    Tokens(TokenRates),
    /// By the hour that the provider works on a call.
    Hour(NanoUsd),
}

/// A rate for whatever has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRates(pub(super) Vec<Priced>);

impl Override {
    /// Whether it is for one of these models (in lower case) of this seller.
    pub(super) fn covers(&self, who: Who<'_>, models: &[&str]) -> bool {
        self.is_for(who) && models.iter().any(|model| self.model.is(model))
    }

    /// Whether it is in force on a day.
    pub(super) fn holds_on(&self, day: &str) -> bool {
        self.dated.as_deref().is_none_or(|from| from <= day)
    }

    /// What it charges where this service tier (in lower case) answered.
    pub(super) fn price_at(&self, tier: Option<&str>) -> Charge<'_> {
        let listed = self.tiers.iter().find(|(name, _)| Some(name.as_str()) == tier);
        match (&self.price, listed) {
            (_, Some((_, rates))) | (OverridePrice::Tokens(rates), None) => Charge::Tokens(rates),
            (OverridePrice::Hour(price), None) => Charge::Hour(*price),
        }
    }

    /// Whether it is for this seller.
    pub fn is_for(&self, who: Who<'_>) -> bool {
        let Some(own) = &self.provider else { return true };
        let same = |other: &str| table_id(own) == table_id(&other.to_lowercase());
        match who {
            Who::Upstream { name, provider, .. } => same(provider) || own == &name.to_lowercase(),
            Who::Named(provider) => same(provider),
            Who::Unsaid => true,
        }
    }

    /// What telemetry calls it.
    pub fn entry(&self) -> String {
        let of = |provider: &String| format!("{provider}/{}", self.model);
        let named = || self.provider.as_ref().map_or_else(|| self.model.to_string(), of);
        self.name.clone().unwrap_or_else(named)
    }
}

/// What one call is charged by.
pub(super) enum Charge<'a> {
    Tokens(&'a TokenRates),
    Hour(NanoUsd),
}

impl ModelName {
    fn is(&self, model: &str) -> bool {
        match self {
            Self::Exactly(name) => model == name,
            Self::Like(pattern) => is_like(model, pattern),
        }
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let lower = text.trim().to_lowercase();
        match (lower.is_empty(), lower.contains('*')) {
            (true, _) => Err("`model` is empty"),
            (false, true) => Ok(Self::Like(lower)),
            (false, false) => Ok(Self::Exactly(lower)),
        }
    }
}

/// Whether a name begins as the pattern does, ends so, and has the parts between in their order.
fn is_like(name: &str, pattern: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return name == pattern };
    let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
    let between = name.strip_prefix(start).and_then(|name| name.strip_suffix(end));
    let after = |left: Option<&str>, part: &str| {
        let left = left?;
        left.get(left.find(part)? + part.len()..).map(str::len)
    };
    let mut left = between;
    for part in middle.split('*') {
        let rest = after(left, part);
        left = left.and_then(|left| left.get(left.len() - rest?..));
    }
    left.is_some()
}

impl std::fmt::Display for ModelName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exactly(name) | Self::Like(name) => formatter.write_str(name),
        }
    }
}

/// As written in a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    provider: Option<String>,
    model: String,
    input: Option<Rate>,
    cached_input: Option<Rate>,
    cache_write: Option<Rate>,
    cache_write_1h: Option<Rate>,
    input_audio: Option<Rate>,
    cached_input_audio: Option<Rate>,
    output: Option<Rate>,
    reasoning: Option<Rate>,
    output_audio: Option<Rate>,
    cache_write_12h: Option<Rate>,
    input_image: Option<Rate>,
    cached_input_image: Option<Rate>,
    input_video: Option<Rate>,
    output_image: Option<Rate>,
    request: Option<Rate>,
    web_search: Option<Rate>,
    file_search: Option<Rate>,
    rerank_search: Option<Rate>,
    page: Option<Rate>,
    character: Option<Rate>,
    image: Option<Rate>,
    code_session: Option<Rate>,
    audio_hour: Option<Rate>,
    output_second: Option<Rate>,
    #[serde(default)]
    tiers: BTreeMap<String, BTreeMap<Kind, Rate>>,
    per_hour: Option<Usd>,
    name: Option<String>,
    dated: Option<String>,
    source: Option<String>,
}

/// What a price is for, as an entry names it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Input,
    CachedInput,
    CacheWrite,
    #[serde(rename = "cache_write_1h")]
    CacheWriteHour,
    InputAudio,
    CachedInputAudio,
    Output,
    Reasoning,
    OutputAudio,
    #[serde(rename = "cache_write_12h")]
    CacheWriteHalfDay,
    InputImage,
    CachedInputImage,
    InputVideo,
    OutputImage,
    Request,
    WebSearch,
    FileSearch,
    RerankSearch,
    Page,
    Character,
    Image,
    CodeSession,
    AudioHour,
    OutputSecond,
}

impl Kind {
    fn dimension(self) -> Dimension {
        match self {
            Self::Input => Dimension::Input,
            Self::CachedInput => Dimension::CacheRead,
            Self::CacheWrite => Dimension::CacheWrite,
            Self::CacheWriteHour => Dimension::CacheWriteHour,
            Self::InputAudio => Dimension::InputAudio,
            Self::CachedInputAudio => Dimension::CacheReadAudio,
            Self::Output => Dimension::Output,
            Self::Reasoning => Dimension::Reasoning,
            Self::OutputAudio => Dimension::OutputAudio,
            Self::CacheWriteHalfDay => Dimension::CacheWriteHalfDay,
            Self::InputImage => Dimension::InputImage,
            Self::CachedInputImage => Dimension::CacheReadImage,
            Self::InputVideo => Dimension::InputVideo,
            Self::OutputImage => Dimension::OutputImage,
            Self::Request => Dimension::Request,
            Self::WebSearch => Dimension::WebSearch,
            Self::FileSearch => Dimension::FileSearch,
            Self::RerankSearch => Dimension::RerankSearch,
            Self::Page => Dimension::Page,
            Self::Character => Dimension::Character,
            Self::Image => Dimension::Image,
            Self::CodeSession => Dimension::CodeSession,
            Self::AudioHour => Dimension::AudioHour,
            Self::OutputSecond => Dimension::OutputSecond,
        }
    }
}

impl Written {
    fn rates(&self) -> BTreeMap<Kind, Rate> {
        let rates = [
            (Kind::Input, &self.input),
            (Kind::CachedInput, &self.cached_input),
            (Kind::CacheWrite, &self.cache_write),
            (Kind::CacheWriteHour, &self.cache_write_1h),
            (Kind::InputAudio, &self.input_audio),
            (Kind::CachedInputAudio, &self.cached_input_audio),
            (Kind::Output, &self.output),
            (Kind::Reasoning, &self.reasoning),
            (Kind::OutputAudio, &self.output_audio),
            (Kind::CacheWriteHalfDay, &self.cache_write_12h),
            (Kind::InputImage, &self.input_image),
            (Kind::CachedInputImage, &self.cached_input_image),
            (Kind::InputVideo, &self.input_video),
            (Kind::OutputImage, &self.output_image),
            (Kind::Request, &self.request),
            (Kind::WebSearch, &self.web_search),
            (Kind::FileSearch, &self.file_search),
            (Kind::RerankSearch, &self.rerank_search),
            (Kind::Page, &self.page),
            (Kind::Character, &self.character),
            (Kind::Image, &self.image),
            (Kind::CodeSession, &self.code_session),
            (Kind::AudioHour, &self.audio_hour),
            (Kind::OutputSecond, &self.output_second),
        ];
        rates.into_iter().filter_map(|(kind, rate)| Some((kind, rate.clone()?))).collect()
    }

    fn price(&self) -> Result<OverridePrice, &'static str> {
        let rates = self.rates();
        match (self.per_hour, rates.is_empty() && self.tiers.is_empty()) {
            (Some(usd), true) => Ok(OverridePrice::Hour(usd.0)),
            (None, _) if !rates.is_empty() => Ok(OverridePrice::Tokens(TokenRates::new(rates))),
            (Some(_), false) => {
                Err("`per_hour` stands alone: a call costs by tokens or by the hour")
            }
            (None, _) => Err("no price: give `input` and `output`, or `per_hour`"),
        }
    }

    /// A tier's rates, and the others' for what it does not say.
    fn tier(&self, rates: &BTreeMap<Kind, Rate>) -> TokenRates {
        let mut all = self.rates();
        all.extend(rates.clone());
        TokenRates::new(all)
    }
}

impl TokenRates {
    /// Writing to the cache costs what input costs, unless it is said.
    fn new(mut rates: BTreeMap<Kind, Rate>) -> Self {
        if let Some(input) = rates.get(&Kind::Input).cloned() {
            rates.entry(Kind::CacheWrite).or_insert(input);
        }
        Self(rates.into_iter().map(|(kind, rate)| Priced(kind.dimension(), rate)).collect())
    }
}

impl TryFrom<Written> for Override {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, &'static str> {
        if written.dated.as_ref().is_some_and(|day| !is_day(day)) {
            return Err("`dated` is not a day like \"2026-11-21\"");
        }
        let tiers = written.tiers.iter();
        let tiers = tiers.map(|(name, rates)| (name.trim().to_lowercase(), written.tier(rates)));
        Ok(Self {
            model: ModelName::parse(&written.model)?,
            price: written.price()?,
            tiers: tiers.collect(),
            provider: written.provider.map(|provider| provider.trim().to_lowercase()),
            name: written.name,
            dated: written.dated,
            source: written.source,
            written: "proxy.toml".to_owned(),
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
            ("model = \"m\"\ninput = [1, [200000, 2], [100, 3]]", "thresholds out of order"),
            ("model = \"m\"\ninput = []", "no price"),
            ("model = \"m\"\ntiers.flex.input = 1", "no price"),
            ("model = \"m\"\nper_hour = 1\ntiers.flex.input = 1", "stands alone"),
            ("model = \"m\"\ninput = 1\ntiers.flex.inptu = 1", "unknown variant `inptu`"),
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

    #[test]
    fn a_star_stands_for_anything_anywhere() {
        for (pattern, yes, no) in [
            ("*", "", None),
            ("gpt*", "gpt", Some("xgpt")),
            ("*-mini", "o4-mini", Some("o4-mini-x")),
            ("a*b", "ab", Some("a")),
            ("a*a", "aa", Some("a")),
            ("a*b*c", "a-b-c", Some("a-c-b")),
            ("*claude*sonnet*", "eu.anthropic.claude-3-sonnet-v1", Some("sonnet claude")),
            ("*a*a*", "xaxa", Some("xa")),
            ("ä**ü", "äöü", Some("äö")),
        ] {
            assert!(is_like(yes, pattern), "{pattern} {yes}");
            assert!(no.is_none_or(|no| !is_like(no, pattern)), "{pattern} {no:?}");
        }
    }

    #[test]
    fn a_tier_has_its_own_rates_and_the_others_for_what_it_does_not_say() {
        let own: Override = toml::from_str(
            "model = \"m\"\ninput = 4\ncached_input = 1\noutput = [8, [100, 9]]\n\
             tiers = { FLEX = { input = 2 }, batch = { output = 3 } }",
        )
        .expect("an override");
        let at = |tier| {
            let Charge::Tokens(TokenRates(rates)) = own.price_at(tier) else { panic!("{own:?}") };
            rates.iter().map(|it| (it.0.as_str(), it.1.at(101).0 / 1_000_000_000)).collect()
        };
        let of = |input, output| -> Vec<(&str, u64)> {
            vec![("input", input), ("cache_read", 1), ("cache_write", input), ("output", output)]
        };
        let all: [Vec<_>; 4] = [None, Some("flex"), Some("batch"), Some("scale")].map(at);
        assert_eq!(all, [of(4, 9), of(2, 9), of(4, 3), of(4, 9)]);
    }
}
