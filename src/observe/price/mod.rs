//! Usage × table → cost, or the reason why there is none. Knows no clock, no file and no
//! OpenTelemetry: the table is part of the program, the day is that of the call.
//!
//! The table is made from genai-prices (see `refresh.py`), what that lacks is laid over it from a list
//! of our own (`overlay.json`), and its rules are kept: the first model
//! of a provider whose condition holds for the name; a second try with compact dates written out;
//! then, one step, the providers whose models it offers. The last price that holds at the call's
//! moment counts, and a service tier's price before it. Above a threshold of input tokens the whole
//! call costs more. Where the rules would guess, there is no price, but a reason.

/// Prices as a price list writes them, read exactly.
mod money;
/// From which day on, at which time of day.
mod moment;
/// Which names a provider or a model answers to.
mod name;
/// What a price can be for.
mod dimension;
/// The table in the program.
mod table;
/// What the table lacks.
mod overlay;
/// What a service tier's name means.
mod tier;
/// Where a call ran.
mod place;
/// Who sold a call.
mod seller;
/// Prices that the operator sets.
mod overrides;
/// Usage × tariff → parts.
mod sum;
/// What is billed beside tokens.
mod units;
/// What other models did within a call.
mod others;
/// What was looked up lately.
mod memo;
/// Why a call costs what it costs, for a person.
mod explain;
/// Pricing, for any call and any prices of the operator.
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

use std::time::{Duration, SystemTime};

pub use dimension::Unit;
pub use explain::{Entry, Explanation, RateStep, Source};
pub use overrides::{ModelName, Override, OverridePrice, TokenRates};
pub use seller::{By, Who, is_private};

use memo::{Looked, Memo};
use moment::Moment;
use overrides::Charge;
use seller::Seller;
use table::{Found, Table, Tariff};
use tier::Tier;

use crate::observe::observation::{Cost, CostBasis, Known, Observation, Operation, Usage};

/// What fine-tuned models of OpenAI are called: `ft:gpt-4o-2024-08-06:org::id`.
const FINE_TUNED: &str = "ft:";
/// What a lower bound leaves out where the place of a call may have changed its price.
const RESIDENCY: &str = "residency";

/// Why a call has no cost. A fixed vocabulary, so that it can be a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unpriced {
    /// It was no call of a model.
    NotAModelCall,
    /// Neither request nor answer named a model.
    NoModel,
    /// The upstream is no provider of the table.
    ProviderUnknown,
    /// The provider is in the table, the model is not.
    ModelUnknown,
    /// A fine-tuned model, whose own price is not in the table.
    FineTuneUnknown,
    /// The model is in the table, but no price of what its usage counts.
    PriceUnknown,
    /// The service tier that answered has no price.
    TierUnknown,
    /// Capacity that was bought beforehand answered: the call costs nothing of its own.
    Committed,
    /// The operator's own compute, for which no price is set.
    Local,
    /// No usage was reported.
    NoUsage,
    /// Some part of the usage is more than its whole.
    UsageInconsistent,
}

impl Unpriced {
    /// The name in telemetry.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotAModelCall => "not_a_model_call",
            Self::NoModel => "no_model",
            Self::ProviderUnknown => "provider_unknown",
            Self::ModelUnknown => "model_unknown",
            Self::FineTuneUnknown => "fine_tune_unknown",
            Self::PriceUnknown => "price_unknown",
            Self::TierUnknown => "tier_unknown",
            Self::Committed => "committed",
            Self::Local => "local",
            Self::NoUsage => "no_usage",
            Self::UsageInconsistent => "usage_inconsistent",
        }
    }
}

/// The prices in force: the operator's, then the table's.
#[derive(Clone, Debug)]
pub struct Prices {
    table: &'static Table,
    overrides: Vec<Override>,
    memo: Memo,
}

/// What pricing needs to know of a call.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Who answered.
    pub who: Who<'a>,
    /// The model that answered.
    pub answered: Option<&'a str>,
    /// The model asked for.
    pub asked: Option<&'a str>,
    /// The service tier that answered.
    pub tier: Option<&'a str>,
    /// Where the answer says that it was computed.
    pub place: Option<&'a str>,
    /// Tokens and what is counted beside them.
    pub usage: Option<Usage>,
    /// When it was made.
    pub at: SystemTime,
    /// How long the provider worked on it.
    pub worked: Option<Duration>,
}

impl Prices {
    /// The table in the program, and nothing set by the operator.
    pub fn embedded() -> Self {
        Self::with_overrides(Vec::new())
    }

    /// The operator's prices before the table's; the first that covers a call counts.
    pub fn with_overrides(overrides: Vec<Override>) -> Self {
        Self { table: Table::embedded(), overrides, memo: Memo::default() }
    }

    /// What an exchange cost, or why that is not known. What the answer itself says that it cost goes
    /// before our sum, which is kept beside it.
    pub fn cost(&self, observation: &Observation) -> Known<Cost> {
        let others = observation.response.others.as_deref();
        let others = others.map(|others| others.0.as_slice()).unwrap_or_default();
        let computed = Call::of(observation)
            .and_then(|call| self.price(&call).map(|cost| self.with_others(cost, &call, others)));
        let computed = computed.map(|cost| estimated(cost, observation));
        let reported = observation.response.reported_cost;
        match (computed, reported.filter(|_| observation.operation.is_some())) {
            (Ok(cost), Some(total)) => Known::Value(Cost {
                total,
                computed: Some(cost.total),
                basis: CostBasis::Reported,
                ..cost
            }),
            (Err(_), Some(total)) => Known::Value(Cost::reported(total)),
            (Ok(cost), None) => Known::Value(cost),
            (Err(reason), None) => Known::Unknown(reason.as_str()),
        }
    }

    /// What a call cost.
    fn price(&self, call: &Call<'_>) -> Result<Cost, Unpriced> {
        let models = call.models();
        let model = models.first().ok_or(Unpriced::NoModel)?;
        let names: Vec<_> = models.iter().map(String::as_str).collect();
        match self.own(call, &names) {
            Some(own) => own_price(own, call),
            None => self.table_price(call, model),
        }
    }

    /// The operator's price for a call of one of these models: the first that covers it that day.
    fn own(&self, call: &Call<'_>, models: &[&str]) -> Option<&Override> {
        let holds = |own: &&Override| own.holds_on(&Moment::from(call.at).day);
        self.overrides.iter().filter(|own| own.covers(call.who, models)).find(holds)
    }

    fn table_price(&self, call: &Call<'_>, model: &str) -> Result<Cost, Unpriced> {
        let look = || self.find(call.who, model).map(|(seller, found)| Looked::new(seller, &found));
        let found = self.memo.find(call.who, model, look)?;
        let tariff = tariff(found, call)?;
        let sum = match call.usage {
            // What one provider gives away another may sell.
            _ if tariff.terms.free && found.seller.provider.id == found.owner.id => sum::nothing(),
            Some(usage) => sum::sum(&usage, &tariff)?,
            None => return Err(Unpriced::NoUsage),
        };
        let entry = format!("{}/{}", found.owner.id, found.model.id);
        let dated = tariff.from.unwrap_or(self.table.date).to_owned();
        Ok(sum.into_cost(entry, dated))
    }

    /// The entry of the table that is meant by a model's name in lower case.
    fn find(
        &self,
        who: Who<'_>,
        model: &str,
    ) -> Result<(Seller<'static>, Found<'static>), Unpriced> {
        let (seller, model) = seller::find(self.table, who, model)?;
        let tuned = model.starts_with(FINE_TUNED);
        let reason = if tuned { Unpriced::FineTuneUnknown } else { Unpriced::ModelUnknown };
        let unknown = || seller::unknown(who, reason);
        Ok((seller, self.table.find(seller.provider, model).ok_or_else(unknown)?))
    }
}

/// The prices of an entry at the call's moment, tier and place.
fn tariff(found: Looked, call: &Call<'_>) -> Result<Tariff<'static>, Unpriced> {
    let Looked { seller: Seller { provider, .. }, owner, model } = found;
    let name = call.tier.map(str::to_lowercase);
    let tier = Tier::of(name.as_deref());
    let asked = match tier {
        Tier::Own(tier) => Some(tier),
        Tier::Base | Tier::Committed => name.as_deref(),
    };
    // Another provider's tiers are not this one's.
    let asked = asked.filter(|_| provider.id == owner.id);
    let (mut tariff, listed) = model.tariff(provider, &Moment::from(call.at), asked);
    if let Who::Upstream { address, .. } = call.who
        && place::may_cost_more(provider.id, address, call.place)
    {
        tariff.unpriced.push(RESIDENCY);
    }
    match tier {
        _ if listed => Ok(tariff),
        Tier::Own("priority") if provider.id == "anthropic" => Err(Unpriced::Committed),
        Tier::Base => Ok(tariff),
        Tier::Own(_) => Err(Unpriced::TierUnknown),
        Tier::Committed => Err(Unpriced::Committed),
    }
}

fn own_price(own: &Override, call: &Call<'_>) -> Result<Cost, Unpriced> {
    let tier = call.tier.map(str::to_lowercase);
    let sum = match own.price_at(tier.as_deref()) {
        Charge::Hour(price) => sum::hours(call.worked.ok_or(Unpriced::NoUsage)?, price),
        Charge::Tokens(rates) => {
            let tariff = Tariff { rates: rates.0.iter().collect(), ..Tariff::default() };
            sum::sum(&call.usage.ok_or(Unpriced::NoUsage)?, &tariff)
        }
    };
    Ok(sum?.into_cost(own.entry(), own.dated.clone().unwrap_or_default()))
}

impl<'a> Call<'a> {
    fn of(observation: &'a Observation) -> Result<Self, Unpriced> {
        let operation = observation.operation.ok_or(Unpriced::NotAModelCall)?;
        let upstream = observation.upstream.as_ref().ok_or(Unpriced::ProviderUnknown)?;
        let (provider, address) = match cloud(observation) {
            Some(host) => (host, host),
            None => (upstream.provider.as_str(), upstream.address.as_str()),
        };
        Ok(Self {
            who: Who::Upstream { name: &upstream.name, provider, address },
            answered: observation.response.model.as_deref(),
            asked: observation.request.model.as_deref(),
            tier: observation.response.service_tier.as_deref(),
            place: observation.response.place.as_deref(),
            usage: used(observation).map(|usage| whole(usage, operation)),
            at: observation.started,
            worked: worked(observation),
        })
    }

    /// Its models in lower case, the one that answered first.
    fn models(&self) -> Vec<String> {
        let named = |model: &&str| !model.trim().is_empty();
        [self.answered, self.asked]
            .into_iter()
            .flatten()
            .filter(named)
            .map(|model| model.trim().to_lowercase())
            .collect()
    }
}

/// The host of a model that Ollama serves but does not run.
fn cloud(observation: &Observation) -> Option<&str> {
    let upstream = observation.upstream.as_ref().filter(|it| it.provider == "ollama")?;
    let told = observation.response.served_by.as_deref();
    let models = [&observation.response.model, &observation.request.model];
    // Its routes in others' formats do not tell the host.
    let is_cloud = |model: &String| model.ends_with(":cloud") || model.ends_with("-cloud");
    let named = models.into_iter().flatten().any(is_cloud) || upstream.address == "ollama.com";
    told.or(named.then_some("ollama.com"))
}

/// The usage that was reported, else what its texts come to.
fn used(observation: &Observation) -> Option<&Usage> {
    let estimate = observation.estimate.as_ref().map(|estimate| &estimate.usage);
    observation.usage.value().or(estimate)
}

/// What was computed from an estimate is one. A price of time asks for no usage.
fn estimated(cost: Cost, observation: &Observation) -> Cost {
    let of_time = cost.parts.iter().any(|part| part.per == Unit::Hour.per());
    let basis = match observation.estimate {
        Some(_) if !of_time && observation.usage.value().is_none() => CostBasis::Estimated,
        _ => cost.basis,
    };
    Cost { basis, ..cost }
}

/// Usage as it stands for pricing: embeddings and rankings have no output to report.
fn whole(usage: &Usage, operation: Operation) -> Usage {
    let none = matches!(operation, Operation::Embeddings | Operation::Rerank).then_some(0);
    Usage { output: usage.output.or(none), ..*usage }
}

/// What the provider claims, else from the first byte sent to the end.
fn worked(observation: &Observation) -> Option<Duration> {
    let times = &observation.times;
    let ours = || times.sent.map(|sent| times.end.saturating_sub(sent));
    observation.response.claimed.total.or_else(ours)
}

/// Worked examples.
#[cfg(test)]
mod worked;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::observe::gaps::Gaps;
    use crate::observe::observation::*;
    use crate::tape::{Ids, Upstream};

    /// 2025-09-01 12:00 UTC.
    const LATE_2025: u64 = 1_756_728_000;
    /// 2026-07-01 12:00 UTC.
    const MID_2026: u64 = 1_782_907_200;
    /// 2026-11-21 12:00 UTC.
    const NOW: u64 = 1_795_262_400;
    /// 2026-11-20 02:00 UTC, a Friday, in DeepSeek's peak hours.
    const PEAK: u64 = 1_795_140_000;
    /// 2026-11-20 04:00 UTC, their end.
    const PEAK_OVER: u64 = 1_795_147_200;

    fn observation(provider: &str, address: &str, model: &str, usage: Usage) -> Observation {
        let ids = Ids {
            trace: [1; 16],
            parent: None,
            server_span: [2; 8],
            client_span: [3; 8],
            flags: 1,
        };
        Observation {
            part: Part::Exchange,
            ids,
            started: UNIX_EPOCH + Duration::from_secs(NOW),
            client: None,
            upstream: Some(Arc::new(Upstream {
                name: "up".into(),
                provider: provider.into(),
                dialect: "openai".into(),
                address: address.into(),
                port: Some(443),
            })),
            http: HttpFacts::default(),
            operation: Some(Operation::Chat),
            request: RequestFacts::default(),
            stream_usage: None,
            response: ResponseFacts { model: Some(model.into()), ..ResponseFacts::default() },
            times: Times::default(),
            gaps: Gaps::default(),
            stalls: 0,
            ending: Ending::Complete,
            error_type: None,
            error_side: None,
            limit_hit: None,
            usage: Known::Value(usage),
            estimate: None,
            cost: Known::Unknown("no_usage"),
            notes: Vec::new(),
        }
    }

    fn remote(provider: &str, model: &str, usage: Usage) -> Observation {
        observation(provider, "gateway.example.com", model, usage)
    }

    fn tokens(input: u64, output: u64) -> Usage {
        Usage { input: Some(input), output: Some(output), ..Usage::default() }
    }

    fn cached(input: u64, cache_read: u64, output: u64) -> Usage {
        Usage { cache_read: Some(cache_read), ..tokens(input, output) }
    }

    fn written(input: u64, cache_read: u64, cache_write: u64, output: u64) -> Usage {
        Usage { cache_write: Some(cache_write), ..cached(input, cache_read, output) }
    }

    fn short_lived(usage: Usage) -> Usage {
        Usage { cache_write_long: Some(0), ..usage }
    }

    fn cost(observation: &Observation) -> Result<Cost, &'static str> {
        match Prices::embedded().cost(observation) {
            Known::Value(cost) => Ok(cost),
            Known::Unknown(reason) => Err(reason),
        }
    }

    #[test]
    fn a_cloud_model_behind_ollama_is_not_local() {
        let reason = |address, model, served_by: Option<&str>| {
            let mut observation = observation("ollama", address, model, tokens(10, 3));
            observation.response.served_by = served_by.map(str::to_owned);
            Prices::embedded().cost(&observation)
        };
        let (local, unknown) = (Known::Unknown("local"), Known::Unknown("provider_unknown"));
        assert_eq!(reason("localhost", "llama3.2", None), local);
        assert_eq!(reason("localhost", "my-model", Some("https://ollama.com:443")), unknown);
        assert_eq!(reason("localhost", "gpt-oss:120b-cloud", None), unknown);
        assert_eq!(reason("localhost", "qwen3-coder:cloud", None), unknown);
        // Another server may call a model what it likes.
        let other = observation("vllm", "localhost", "our-cloud", tokens(10, 3));
        assert_eq!(Prices::embedded().cost(&other), local);
        assert_eq!(reason("ollama.com", "gpt-oss:120b", None), unknown);
    }

    #[test]
    fn what_an_estimate_costs_is_an_estimate() {
        let estimate = |usage| Estimate {
            usage,
            tokenizer: "o200k_base",
            own: true,
            sampled: false,
            stands_in: false,
        };
        let reported = remote("openai", "gpt-4o", tokens(1000, 500));
        let exact = cost(&reported).unwrap();
        let mut cut = Observation {
            usage: Known::Unknown("cut"),
            estimate: Some(estimate(tokens(1000, 500))),
            ..reported
        };
        let found = cost(&cut).unwrap();
        assert_eq!((found.total, found.basis), (exact.total, CostBasis::Estimated));
        cut.estimate = Some(estimate(Usage { input: None, ..tokens(0, 500) }));
        let found = cost(&cut).unwrap();
        assert_eq!((found.basis, found.unpriced), (CostBasis::Estimated, vec!["input"]));
        cut.response.reported_cost = Some(NanoUsd(7));
        assert_eq!(cost(&cut).unwrap().basis, CostBasis::Reported);
        cut.response.reported_cost = None;
        // What was reported is no estimate, whatever else was counted.
        let both = Observation { usage: Known::Value(tokens(1000, 500)), ..cut.clone() };
        assert_eq!(cost(&both).unwrap().basis, CostBasis::Computed);
        cut.estimate = None;
        assert_eq!(cost(&cut), Err("no_usage"));
    }

    #[test]
    fn of_several_calls_together_nobody_knows_which_was_long() {
        let together = |calls, model| {
            let units = Units { calls: Some(calls), ..Units::default() };
            let usage = Usage { units, ..tokens(300_000, 1_000) };
            let cost = cost(&remote("openai", model, usage)).unwrap();
            (cost.total.0, cost.unpriced)
        };
        let base = 300_000 * 2_500 + 1_000 * 15_000;
        assert_eq!(together(2, "gpt-5.4"), (base, vec!["long_input"]));
        let long = 300_000 * 5_000 + 1_000 * 22_500;
        assert_eq!(together(1, "gpt-5.4"), (long, vec![]));
        assert_eq!(together(2, "gpt-5.4-mini").1, [""; 0]);
    }

    /// A dollar for a million tokens is 1000 nano-dollars a token. The prices stand here as the
    /// providers list them; the sums are worked out by hand.
    #[test]
    fn list_prices_come_out_to_the_nano_dollar() {
        #[rustfmt::skip]
        let worked = [
            // $0.15, cached $0.075, $0.60
            ("openai", "gpt-4o-mini", None, NOW, tokens(1_000, 500), 1_000 * 150 + 500 * 600),
            ("openai", "gpt-4o-mini-2024-07-18", None, NOW, cached(2_048, 1_024, 7), 1_024 * 150 + 1_024 * 75 + 7 * 600),
            // $2.50, cached $1.25, $10
            ("openai", "gpt-4o", None, NOW, cached(10_000, 9_984, 300), 16 * 2_500 + 9_984 * 1_250 + 300 * 10_000),
            ("openai", "gpt-4o-2024-08-06", Some("default"), NOW, tokens(9, 2), 9 * 2_500 + 2 * 10_000),
            // priority $4.25, cached $2.125, $17; batch $1.25, $5, cached as standard
            ("openai", "gpt-4o", Some("priority"), NOW, cached(100, 40, 10), 60 * 4_250 + 40 * 2_125 + 10 * 17_000),
            ("openai", "gpt-4o", Some("batch"), NOW, cached(100, 40, 10), 60 * 1_250 + 40 * 1_250 + 10 * 5_000),
            // $1.25, cached $0.125, $10; reasoning is output
            ("openai", "gpt-5-2025-08-07", None, NOW, Usage { reasoning: Some(640), ..cached(1_500, 1_024, 700) },
                476 * 1_250 + 1_024 * 125 + 700 * 10_000),
            // flex: half
            ("openai", "gpt-5", Some("flex"), NOW, cached(1_500, 1_024, 700), 476 * 625 + 1_024 * 62 + 1_024 / 2 + 700 * 5_000),
            // $2.50 → $5, $15 → $22.50, cached $0.25 → $0.50 above 272 000 input tokens
            ("openai", "gpt-5.4", None, NOW, tokens(272_000, 1_000), 272_000 * 2_500 + 1_000 * 15_000),
            ("openai", "gpt-5.4", None, NOW, cached(272_001, 272_000, 1_000), 5_000 + 272_000 * 500 + 1_000 * 22_500),
            ("openai", "gpt-5.4-2026-03-05", Some("flex"), NOW, tokens(300_000, 10), 300_000 * 2_500 + 10 * 11_250),
            // $4, cached $0.40, written $5, $20; before 2026-08-21 $5, $0.50, $6.25, $30
            ("openai", "gpt-5.6-sol", None, NOW, short_lived(written(5_000, 2_000, 1_000, 100)),
                2_000 * 4_000 + 2_000 * 400 + 1_000 * 5_000 + 100 * 20_000),
            ("openai", "gpt-5.6-sol", None, MID_2026, short_lived(written(5_000, 2_000, 1_000, 100)),
                2_000 * 5_000 + 2_000 * 500 + 1_000 * 6_250 + 100 * 30_000),
            // $2, $8 since 2025-06-10; priority $3.50, $14
            ("openai", "o3", None, NOW, tokens(1_000, 2_000), 1_000 * 2_000 + 2_000 * 8_000),
            ("openai", "o3-2025-04-16", Some("priority"), NOW, tokens(1_000, 2_000), 1_000 * 3_500 + 2_000 * 14_000),
            // flex $0.55, cached $0.138, $2.20
            ("openai", "o4-mini", Some("flex"), NOW, cached(101, 1, 3), 100 * 550 + 138 + 3 * 2_200),
            // flex $0.025, cached $0.0025, $0.20: 3 × 2.5 is rounded up
            ("openai", "gpt-5-nano", Some("flex"), NOW, cached(3, 3, 0), 8),
            // $0.02
            ("openai", "text-embedding-3-small", None, NOW, tokens(8, 0), 8 * 20),
            // a compact date is written out
            ("openai", "gpt-4o-20240806", None, NOW, tokens(9, 2), 9 * 2_500 + 2 * 10_000),
            // $3, cached $0.30, $15
            ("anthropic", "claude-3-5-sonnet-20241022", None, NOW, cached(3_000, 1_000, 50),
                2_000 * 3_000 + 1_000 * 300 + 50 * 15_000),
            // $5, cached $0.50, $25; batch half; fast double
            ("anthropic", "claude-opus-5-20260310", Some("standard"), NOW, cached(3_000, 1_000, 50),
                2_000 * 5_000 + 1_000 * 500 + 50 * 25_000),
            ("anthropic", "claude-opus-5", Some("batch"), NOW, tokens(3_000, 50), 3_000 * 2_500 + 50 * 12_500),
            ("anthropic", "claude-opus-5", Some("fast"), NOW, tokens(3_000, 50), 3_000 * 10_000 + 50 * 50_000),
            // $1.25 → $2.50, cached $0.125 → $0.25, $10 → $15 above 200 000
            ("gcp.gemini", "gemini-2.5-pro", None, NOW, tokens(200_000, 10), 200_000 * 1_250 + 10 * 10_000),
            ("gcp.vertex_ai", "gemini-2.5-pro", None, NOW, cached(200_001, 1, 10), 200_000 * 2_500 + 250 + 10 * 15_000),
            // $0.30, audio $1, $2.50
            ("gcp.gemini", "gemini-2.5-flash", None, NOW, Usage { input_audio: Some(400), ..tokens(1_000, 10) },
                600 * 300 + 400 * 1_000 + 10 * 2_500),
            // $2.50, $10, audio $32, $64
            ("openai", "gpt-audio", None, NOW,
                Usage { input_audio: Some(40), output_audio: Some(80), ..tokens(60, 100) },
                20 * 2_500 + 20 * 10_000 + 40 * 32_000 + 80 * 64_000),
            // $0.59, $0.79
            ("groq", "llama-3.3-70b-versatile", Some("on_demand"), NOW, tokens(1_234, 567), 1_234 * 590 + 567 * 790),
            // $0.66, cached $0.022, $1.98; twice that from 01:00 to 04:00 UTC
            ("deepseek", "deepseek-v4-pro", None, NOW, cached(900, 800, 70), 100 * 660 + 800 * 22 + 70 * 1_980),
            ("deepseek", "deepseek-v4-pro", None, PEAK, cached(900, 800, 70), 100 * 1_320 + 800 * 44 + 70 * 3_960),
            ("deepseek", "deepseek-v4-pro", None, PEAK_OVER, cached(900, 800, 70), 100 * 660 + 800 * 22 + 70 * 1_980),
            // $0.435, cached $0.003625, $0.87 at first: 3.625 nano-dollars are 4
            ("deepseek", "deepseek-v4-pro", None, MID_2026, cached(1, 1, 0), 4),
            // $1.00, $5.00 each million, a million of each
            ("openai", "gpt-4o-mini", None, LATE_2025, tokens(1_000_000, 1_000_000), 150_000_000 + 600_000_000),
        ];
        for (provider, model, tier, at, usage, nanos) in worked {
            let mut observation = remote(provider, model, usage);
            observation.started = UNIX_EPOCH + Duration::from_secs(at);
            observation.response.service_tier = tier.map(str::to_owned);
            let cost = cost(&observation).expect(model);
            assert_eq!(
                cost.total,
                NanoUsd(nanos),
                "{provider} {model} {tier:?} {usage:?} {cost:?}"
            );
            assert_eq!(cost.basis, CostBasis::Computed, "{model} {cost:?}");
            assert_eq!(cost.total.0, cost.parts.iter().map(|part| part.amount.0).sum::<u64>());
        }
    }

    #[test]
    fn a_cost_names_its_parts_its_entry_and_its_day() {
        let observation = remote("openai", "gpt-5.6-sol-2026-09-01", written(10, 4, 3, 2));
        let cost = cost(&observation).expect("a cost");
        let part = |dimension, count, per_token: u64, amount| CostPart {
            dimension,
            count,
            price: NanoUsd(per_token * 1_000_000),
            per: 1_000_000,
            amount: NanoUsd(amount),
        };
        assert_eq!(
            cost.parts,
            [
                part("input", 3, 4_000, 12_000),
                part("cache_read", 4, 400, 1_600),
                part("cache_write", 3, 5_000, 15_000),
                part("output", 2, 20_000, 40_000),
            ]
        );
        assert_eq!(cost.entry, "openai/gpt-5.6-sol");
        assert_eq!(cost.dated, "2026-08-21");
        assert_eq!(
            Table::embedded().date,
            self::cost(&remote("openai", "gpt-4", tokens(1, 1))).expect("a cost").dated
        );
    }

    #[test]
    fn a_lower_bound_names_what_has_no_price() {
        #[rustfmt::skip]
        let worked = [
            // $3, cached $0.30, written for five minutes $3.75 (for an hour $6), $15
            ("anthropic", "claude-3-7-sonnet-20250219", written(3_000, 1_000, 500, 50),
                1_500 * 3_000 + 1_000 * 300 + 500 * 3_750 + 50 * 15_000, "cache_write_1h"),
            // $10, $30, no price of audio
            ("openai", "gpt-4-turbo", Usage { input_audio: Some(5), ..tokens(10, 1) },
                10 * 10_000 + 30_000, "input_audio"),
            // $1, $1, and $5 for a thousand requests with the smallest search context
            ("perplexity", "sonar", tokens(10, 10), 20 * 1_000 + 5_000_000, "request"),
            // Azure sells OpenAI's models at OpenAI's prices, but in a region: $2.50, $10
            ("azure.ai.openai", "gpt-4o-2024-11-20", tokens(9, 2), 9 * 2_500 + 2 * 10_000, "residency"),
            // $0.30, $2.50, images dearer
            ("gcp.gemini", "gemini-2.5-flash-image", tokens(10, 10), 10 * 300 + 10 * 2_500, "output_image"),
        ];
        for (provider, model, usage, nanos, unpriced) in worked {
            let cost = cost(&remote(provider, model, usage)).expect(model);
            assert_eq!(
                (cost.total, cost.basis),
                (NanoUsd(nanos), CostBasis::LowerBound),
                "{model}"
            );
            assert_eq!(cost.unpriced, [unpriced], "{model}");
        }
    }

    #[test]
    fn what_has_no_price_has_a_reason_instead() {
        let usage = tokens(10, 5);
        for (provider, address, model, reason) in [
            ("openai", "api.openai.com", "gpt-99-ultra", "model_unknown"),
            ("openai", "api.openai.com", "ft:gpt-99-ultra:acme::x1", "fine_tune_unknown"),
            ("openai", "10.0.0.5", "my-finetune", "local"),
            ("acme", "llm.acme.example", "gpt-4o", "provider_unknown"),
            ("acme", "192.168.1.20", "gpt-4o", "local"),
            ("ollama", "ollama.example.com", "llama3.2", "local"),
            ("vllm", "gpu.example.com", "gpt-4o", "local"),
            ("openai", "api.openai.com", "whisper-1", "price_unknown"),
            ("openrouter", "openrouter.ai", "qwen/qwq-32b:free", "price_unknown"),
            ("openai", "api.openai.com", "  ", "no_model"),
        ] {
            assert_eq!(
                cost(&observation(provider, address, model, usage)),
                Err(reason),
                "{provider} {model}"
            );
        }
        // A mock or a gateway of the own network that is said to be OpenAI is priced as it.
        assert!(cost(&observation("openai", "127.0.0.1", "gpt-4o", usage)).is_ok());
    }

    #[test]
    fn no_call_no_usage_no_upstream_are_told_apart() {
        let whole = remote("openai", "gpt-4o", tokens(1, 1));
        let not_a_call = Observation { operation: None, ..whole.clone() };
        assert_eq!(cost(&not_a_call), Err("not_a_model_call"));
        let no_usage = Observation { usage: Known::Unknown("not_reported"), ..whole.clone() };
        assert_eq!(cost(&no_usage), Err("no_usage"));
        assert_eq!(cost(&Observation { upstream: None, ..whole }), Err("provider_unknown"));
    }

    #[test]
    fn a_tier_without_a_price_has_no_cost() {
        let mut observation = remote("openai", "gpt-4o", tokens(1, 1));
        for (tier, reason) in [
            ("default", None),
            ("standard", None),
            ("auto", None),
            ("on_demand", None),
            ("", None),
            ("PRIORITY", None),
            ("scale", Some("committed")),
            ("PROVISIONED_THROUGHPUT", Some("committed")),
            ("ultrafast", Some("tier_unknown")),
            ("flex", Some("tier_unknown")),
        ] {
            observation.response.service_tier = Some(tier.into());
            assert_eq!(cost(&observation).err(), reason, "{tier}");
        }
        // Priority has a price only since 2026-10-12.
        observation.response.service_tier = Some("priority".into());
        observation.started = UNIX_EPOCH + Duration::from_secs(MID_2026);
        assert_eq!(cost(&observation), Err("tier_unknown"));
        // OpenAI's tiers are not Azure's.
        let mut azure = remote("azure.ai.openai", "gpt-4o", tokens(1, 1));
        azure.response.service_tier = Some("priority".into());
        assert_eq!(cost(&azure), Err("tier_unknown"));
    }

    #[test]
    fn the_model_that_answered_is_priced_else_the_one_asked_for() {
        let mut observation = remote("openai", "gpt-4o-mini", tokens(1_000, 0));
        observation.request.model = Some("gpt-4o".into());
        assert_eq!(cost(&observation).map(|cost| cost.total), Ok(NanoUsd(150_000)));
        observation.response.model = None;
        assert_eq!(cost(&observation).map(|cost| cost.total), Ok(NanoUsd(2_500_000)));
        observation.request.model = Some(" GPT-4o\n".into());
        assert_eq!(cost(&observation).map(|cost| cost.total), Ok(NanoUsd(2_500_000)));
    }

    #[test]
    fn embeddings_have_no_output_to_miss() {
        let usage = Usage { input: Some(1_000), ..Usage::default() };
        let mut observation = remote("openai", "gpt-4o", usage);
        assert_eq!(cost(&observation).map(|cost| cost.unpriced), Ok(vec!["output"]));
        observation.operation = Some(Operation::Embeddings);
        let found = cost(&observation).expect("a cost");
        assert_eq!((found.total, found.basis), (NanoUsd(1_000 * 2_500), CostBasis::Computed));
    }

    #[test]
    fn where_the_answer_was_made_may_cost_more() {
        let mut observation = remote("anthropic", "claude-opus-5", tokens(1_000, 10));
        assert_eq!(cost(&observation).map(|cost| cost.unpriced), Ok(vec![]));
        observation.response.place = Some("us".into());
        assert_eq!(cost(&observation).map(|cost| cost.unpriced), Ok(vec!["residency"]));
    }

    #[test]
    fn what_the_answer_says_that_it_cost_goes_before_our_sum_which_stands_beside_it() {
        let mut observation = remote("openrouter", "openai/gpt-4o-mini", tokens(1_000, 500));
        let ours = cost(&observation).expect("a cost").total;
        observation.response.reported_cost = Some(NanoUsd(123_456));
        let told = cost(&observation).expect("a cost");
        assert_eq!((told.total, told.basis), (NanoUsd(123_456), CostBasis::Reported));
        assert_eq!(told.computed, Some(ours));
        assert_eq!(told.entry, "openrouter/openai/gpt-4o-mini");
        observation.response.model = Some("openai/no-such".into());
        assert_eq!(cost(&observation), Ok(Cost::reported(NanoUsd(123_456))));
        observation.operation = None;
        assert_eq!(cost(&observation), Err("not_a_model_call"));
    }

    fn own(toml: &str) -> Prices {
        let own: Vec<Override> =
            toml.split("---").map(|entry| toml::from_str(entry).expect(entry)).collect();
        Prices::with_overrides(own)
    }

    #[test]
    fn the_operators_price_wins_and_the_first_that_covers_counts() {
        let prices = own(
            "provider = \"openai\"\nmodel = \"GPT-4o*\"\ninput = 1\ncached_input = \"0.5\"\noutput = 2.5\nname = \"deal\"\ndated = \"2026-11-01\"
            ---
            model = \"*\"\ninput = 7",
        );
        let mut observation = remote("openai", "gpt-4o-2024-08-06", cached(100, 40, 10));
        observation.response.service_tier = Some("scale".into());
        let Known::Value(cost) = prices.cost(&observation) else { panic!("no cost") };
        assert_eq!(cost.total, NanoUsd(60 * 1_000 + 40 * 500 + 10 * 2_500));
        assert_eq!((cost.entry.as_str(), cost.dated.as_str()), ("deal", "2026-11-01"));
        let Known::Value(cost) = prices.cost(&remote("ollama", "llama3", tokens(10, 3))) else {
            panic!("no cost")
        };
        // It has no price of the output.
        assert_eq!((cost.total, cost.basis), (NanoUsd(70_000), CostBasis::LowerBound));
        assert_eq!((cost.entry.as_str(), cost.unpriced), ("*", vec!["output"]));
    }

    #[test]
    fn the_operators_price_holds_from_its_day_on_and_for_its_tier() {
        let prices = own(
            "model = \"gpt-4o\"\ninput = 9\noutput = 9\ndated = \"2026-11-22\"
            ---
            model = \"gpt-4o\"\ninput = [1, [100, 2]]\noutput = 3\ndated = \"2026-11-21\"\ntiers = { flex = { output = 2 } }",
        );
        let mut observation = remote("openai", "gpt-4o", tokens(100, 10));
        let total = |observation: &Observation| match prices.cost(observation) {
            Known::Value(cost) => cost.total.0,
            Known::Unknown(reason) => panic!("{reason}"),
        };
        assert_eq!(total(&observation), 100 * 1_000 + 10 * 3_000);
        observation.response.service_tier = Some("Flex".into());
        assert_eq!(total(&observation), 100 * 1_000 + 10 * 2_000);
        observation.usage = Known::Value(tokens(101, 10));
        assert_eq!(total(&observation), 101 * 2_000 + 10 * 2_000);
        // Before both days the table's price holds, after both the first.
        observation.response.service_tier = None;
        observation.started = UNIX_EPOCH + Duration::from_secs(MID_2026);
        assert_eq!(total(&observation), 101 * 2_500 + 10 * 10_000);
        observation.started = UNIX_EPOCH + Duration::from_secs(NOW + 86_400);
        assert_eq!(total(&observation), 101 * 9_000 + 10 * 9_000);
    }

    #[test]
    fn an_override_is_for_its_provider_or_upstream_and_for_either_name_of_the_model() {
        let mut observation = remote("azure.ai.openai", "gpt-4o-2024-08-06", tokens(1, 1));
        observation.request.model = Some("my-deployment".into());
        for (head, covers) in [
            ("provider = \"azure\"", true),
            ("provider = \"Azure.AI.OpenAI\"", true),
            ("provider = \"up\"", true),
            ("", true),
            ("provider = \"openai\"", false),
        ] {
            for (model, is) in
                [("my-deployment", true), ("gpt-4o-2024-08-06", true), ("gpt-4o", false)]
            {
                let prices = own(&format!(
                    "{head}\nmodel = \"{model}\"\ninput = 1\noutput = 1\nname = \"own\""
                ));
                let Known::Value(cost) = prices.cost(&observation) else { panic!("no cost") };
                assert_eq!(cost.entry == "own", covers && is, "{head} {model}");
            }
        }
    }

    #[test]
    fn an_hours_price_takes_the_claimed_duration_else_from_sent_to_the_end() {
        let prices = own("provider = \"ollama\"\nmodel = \"*\"\nper_hour = 1.8");
        let mut observation = remote("ollama", "llama3.2", tokens(10, 3));
        assert_eq!(prices.cost(&observation), Known::Unknown("no_usage"));
        observation.usage = Known::Unknown("not_reported");
        observation.times.sent = Some(Duration::from_millis(500));
        observation.times.end = Duration::from_millis(2_500);
        // $1.80 for 3600 s are 500 000 nano-dollars for a second.
        let Known::Value(cost) = prices.cost(&observation) else { panic!("no cost") };
        assert_eq!(cost.total, NanoUsd(2 * 500_000));
        assert_eq!((cost.parts[0].dimension, cost.parts[0].count), ("hour", 2_000_000_000));
        assert_eq!(cost.entry, "ollama/*");
        observation.response.claimed.total = Some(Duration::from_micros(1));
        let Known::Value(cost) = prices.cost(&observation) else { panic!("no cost") };
        // Half a nano-dollar is rounded up.
        assert_eq!(cost.total, NanoUsd(1));
        // No token stands in it, so none that was estimated does.
        observation.estimate = Some(Estimate {
            usage: tokens(10, 3),
            tokenizer: "o200k_base",
            own: false,
            sampled: false,
            stands_in: false,
        });
        let Known::Value(cost) = prices.cost(&observation) else { panic!("no cost") };
        assert_eq!(cost.basis, CostBasis::Computed);
    }
}
