//! What pricing keeps, for any call and whatever the operator wrote: the same each time, parts that add
//! up, and never more tokens than were reported. Knows no price.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::{Call, Override, Prices, Who, overrides::OverridePrice};
use crate::fuzz::input::Input;
use crate::observe::observation::{Cost, CostBasis, Units, Usage};

/// For how many tokens a price is.
const MILLION: u64 = 1_000_000;

static TABLE: LazyLock<Prices> = LazyLock::new(Prices::embedded);

/// A call by the table's prices: name, provider, address, models and tier, a line each, then counts.
pub(crate) fn table(input: &[u8]) {
    let call = call(input);
    check(&TABLE, &call);
    let cost = TABLE.price(&call);
    assert_eq!(cost, Prices::embedded().price(&call), "what was looked up before changes it");
    let shouted = call.answered.map(str::to_ascii_uppercase);
    let shouted = Call { answered: shouted.as_deref(), ..call };
    assert_eq!(cost, TABLE.price(&shouted), "the case of a name changes it");
}

/// `[pricing]` in TOML, and behind a zero byte a call.
pub(crate) fn own(input: &[u8]) {
    #[derive(Deserialize)]
    struct Pricing {
        model: Vec<Override>,
    }
    let mut input = Input(input);
    let Ok(text) = std::str::from_utf8(input.until(0)) else { return };
    let written = match toml::from_str::<Pricing>(text) {
        Ok(written) => written.model,
        Err(error) => return assert!(!error.message().is_empty(), "refused without a word"),
    };
    for own in &written {
        assert!(!own.entry().is_empty() || own.name.is_some(), "nameless");
        let named = own.model.to_string();
        assert_eq!(named, named.trim_start().to_lowercase(), "never looked up");
        if let OverridePrice::Tokens(rates) = &own.price {
            assert!(!rates.0.is_empty(), "no price");
        }
    }
    check(&Prices::with_overrides(written), &call(input.0));
}

fn call(input: &[u8]) -> Call<'_> {
    let mut input = Input(input);
    let [name, provider, address] = [(); 3].map(|()| input.line());
    let [answered, asked, tier] = [(); 3].map(|()| Some(input.line()).filter(|it| !it.is_empty()));
    let who = match name {
        "?" => Who::Unsaid,
        "!" => Who::Named(provider),
        name => Who::Upstream { name, provider, address },
    };
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(input.count().min(1 << 40));
    let worked = input.some_count().map(Duration::from_secs);
    let place = Some(input.line()).filter(|it| !it.is_empty());
    let usage = usage(&mut input);
    Call { who, answered, asked, tier, place, usage, at, worked }
}

fn usage(input: &mut Input<'_>) -> Option<Usage> {
    if input.0.is_empty() {
        return None;
    }
    let mut count = || input.some_count();
    Some(Usage {
        input: count(),
        output: count(),
        cache_read: count(),
        cache_write: count(),
        reasoning: count(),
        input_audio: count(),
        output_audio: count(),
        cache_write_long: count(),
        cache_read_audio: count(),
        cache_read_image: count(),
        input_image: count(),
        input_video: count(),
        output_image: count(),
        is_uneven: false,
        units: Units {
            web_searches: count(),
            other_models: count(),
            file_searches: count(),
            code_sessions: count(),
            images: count(),
            characters: count(),
            documents: count(),
            calls: count(),
            input_audio_time: count().map(Duration::from_millis),
            output_time: count().map(Duration::from_millis),
        },
    })
}

fn check(prices: &Prices, call: &Call<'_>) {
    let cost = prices.price(call);
    let explained = prices.explain(call);
    assert_eq!(explained.cost, cost, "explained otherwise than counted");
    assert!(cost.is_err() || explained.entry.is_some(), "a cost of no entry");
    if let Ok(cost) = &cost {
        check_sum(cost, &call.usage.unwrap_or_default());
    }
}

fn check_sum(cost: &Cost, usage: &Usage) {
    assert_eq!(cost.basis == CostBasis::LowerBound, !cost.unpriced.is_empty(), "the basis");
    assert!(cost.basis != CostBasis::Reported, "nobody reported it");
    let (mut total, mut tokens) = (0, 0);
    for part in &cost.parts {
        let per = u128::from(part.per);
        let is_tokens = part.per == MILLION && part.dimension != "character";
        tokens += if is_tokens { u128::from(part.count) } else { 0 };
        let exact = u128::from(part.count) * u128::from(part.price.0);
        let amount = u128::from(part.amount.0);
        assert!(
            (amount * per).abs_diff(exact) * 2 <= per,
            "{part:?} is not rounded to the nearest"
        );
        total += amount;
    }
    assert_eq!(total, u128::from(cost.total.0), "parts are not the sum");
    let [input, output] = [usage.input, usage.output].map(|it| u128::from(it.unwrap_or_default()));
    assert!(tokens <= input + output, "more tokens than were reported");
}
