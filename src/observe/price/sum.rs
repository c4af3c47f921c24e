//! Usage × tariff → parts. Knows counts and rates; no model, no provider, no clock.
//!
//! Parts of a total that have a rate of their own are taken out of it, the most special first; what
//! is left is charged at the total's rate. Parts without one stay in the total: the sum is then a
//! lower bound where they may cost more, and their names say why.

use std::time::Duration;

use super::Unpriced;
use super::dimension::{Dimension, Unit};
use super::table::{Priced, Tariff};
use super::units;
use crate::observe::observation::{Cost, CostBasis, CostPart, NanoUsd, Usage};

/// The parts of a sum, and the parts of the usage that have no price.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) total: NanoUsd,
    pub(super) parts: Vec<CostPart>,
    pub(super) unpriced: Vec<&'static str>,
}

impl Sum {
    pub(super) fn into_cost(self, entry: String, dated: String) -> Cost {
        let exact = self.unpriced.is_empty();
        let basis = if exact { CostBasis::Computed } else { CostBasis::LowerBound };
        Cost {
            total: self.total,
            computed: None,
            parts: self.parts,
            entry,
            dated,
            basis,
            unpriced: self.unpriced,
        }
    }
}

/// What a time costs at a price for an hour.
pub(super) fn hours(worked: Duration, price: NanoUsd) -> Result<Sum, Unpriced> {
    let count = nanos(worked)?;
    let per = Unit::Hour.per();
    let total = amount(count, price, per)?;
    let part = CostPart { dimension: "hour", count, price, per, amount: total };
    Ok(Sum { total, parts: vec![part], unpriced: Vec::new() })
}

/// What costs nothing.
pub(super) fn nothing() -> Sum {
    Sum { total: NanoUsd(0), parts: Vec::new(), unpriced: Vec::new() }
}

/// What `usage` costs at `tariff`.
pub(super) fn sum(usage: &Usage, tariff: &Tariff<'_>) -> Result<Sum, Unpriced> {
    if tariff.rates.is_empty() {
        return Err(Unpriced::PriceUnknown);
    }
    let mut ledger = Ledger { tariff, counts: Vec::new(), unpriced: tariff.unpriced.clone() };
    let is_by_tokens = ledger.has(Dimension::Input) || ledger.has(Dimension::Output);
    let is_silent = is_by_tokens && usage.input.is_none() && usage.output.is_none();
    ledger.count_input(usage)?;
    ledger.count_output(usage)?;
    units::count(&mut ledger, usage)?;
    // How long the input of each was is not told: the base price is the least.
    if usage.units.calls.is_some_and(|calls| calls > 1) {
        ledger.miss_cliffs();
        return ledger.add_up(0);
    }
    ledger.add_up(usage.input.unwrap_or(0)).map_err(|reason| match reason {
        // Other units were told, which are not what it is charged by.
        Unpriced::PriceUnknown if is_silent => Unpriced::NoUsage,
        reason => reason,
    })
}

/// A time as it is counted.
pub(super) fn nanos(time: Duration) -> Result<u64, Unpriced> {
    u64::try_from(time.as_nanos()).map_err(|_| Unpriced::UsageInconsistent)
}

/// `count × price ÷ per`, rounded half up.
fn amount(count: u64, price: NanoUsd, per: u64) -> Result<NanoUsd, Unpriced> {
    let nanos = (u128::from(count) * u128::from(price.0) + u128::from(per / 2)) / u128::from(per);
    // More than 18 billion dollars: the count is no count.
    u64::try_from(nanos).map(NanoUsd).map_err(|_| Unpriced::UsageInconsistent)
}

/// What is left of a total once its special parts are out.
fn rest(total: u64, special: &[u64]) -> Result<u64, Unpriced> {
    let left = special.iter().try_fold(total, |left, &part| left.checked_sub(part));
    left.ok_or(Unpriced::UsageInconsistent)
}

/// What is charged so far.
pub(super) struct Ledger<'a> {
    pub(super) tariff: &'a Tariff<'a>,
    counts: Vec<(Dimension, u64)>,
    unpriced: Vec<&'static str>,
}

impl Ledger<'_> {
    pub(super) fn has(&self, dimension: Dimension) -> bool {
        self.tariff.rate(dimension).is_some()
    }

    /// Names what is not charged, or not charged in full.
    pub(super) fn miss(&mut self, name: &'static str) {
        if !self.unpriced.contains(&name) {
            self.unpriced.push(name);
        }
    }

    /// Counts `count` apart if it has a rate of its own, and says how much left the total.
    pub(super) fn take(&mut self, dimension: Dimension, count: u64) -> u64 {
        if count == 0 || !self.has(dimension) {
            return 0;
        }
        if self.tariff.terms.at_least.contains(&dimension) {
            self.miss(dimension.as_str());
        }
        self.counts.push((dimension, count));
        count
    }

    /// As `take`; without a rate of its own it may cost more than the total's.
    pub(super) fn take_or_miss(&mut self, dimension: Dimension, count: u64) -> u64 {
        if count > 0 && !self.has(dimension) {
            self.miss(dimension.as_str());
        }
        self.take(dimension, count)
    }

    /// A part of a total that was not told, where its rate is not below the total's.
    fn miss_untold(&mut self, dimension: Dimension, told: Option<u64>, total: u64) {
        if told.is_none() && total > 0 && self.has(dimension) {
            self.miss(dimension.as_str());
        }
    }

    fn count_input(&mut self, usage: &Usage) -> Result<(), Unpriced> {
        use Dimension::{Input, InputAudio, InputImage, InputVideo};
        let total = usage.input.unwrap_or(0);
        let read = usage.cache_read.unwrap_or(0);
        let written = self.count_written(usage)?;
        let [audio, image, video] = [usage.input_audio, usage.input_image, usage.input_video]
            .map(Option::unwrap_or_default);
        if read.checked_add(usage.cache_write.unwrap_or(0)).is_none_or(|cached| cached > total) {
            return Err(Unpriced::UsageInconsistent);
        }
        if rest(total, &[audio, image, video]).is_err() {
            return Err(Unpriced::UsageInconsistent);
        }
        self.miss_untold(InputImage, usage.input_image, total);
        self.miss_untold(InputVideo, usage.input_video, total);
        let (cached, [cached_audio, cached_image]) = self.count_read(usage)?;
        let left = |of: u64, cached: u64| of.checked_sub(cached).ok_or(Unpriced::UsageInconsistent);
        let special = [
            written,
            cached,
            self.take_or_miss(InputAudio, left(audio, cached_audio)?),
            // Without rates of their own, pictures cost what any input token costs.
            self.take(InputImage, left(image, cached_image)?),
            self.take(InputVideo, video),
        ];
        self.take_total(Input, usage.input.map(|_| rest(total, &special)).transpose()?);
        Ok(())
    }

    /// What was written to the cache, by how long it is to last.
    fn count_written(&mut self, usage: &Usage) -> Result<u64, Unpriced> {
        use Dimension::{CacheWrite, CacheWriteHalfDay, CacheWriteHour};
        let longer = if self.has(CacheWriteHalfDay) { CacheWriteHalfDay } else { CacheWriteHour };
        let written = usage.cache_write.unwrap_or(0);
        let long = usage.cache_write_long.unwrap_or(0);
        let short = written.checked_sub(long).ok_or(Unpriced::UsageInconsistent)?;
        // Where it is not told how long the cache is to last, the shortest is the cheapest.
        self.miss_untold(longer, usage.cache_write_long, written);
        Ok(self.take_or_miss(CacheWrite, short) + self.take_or_miss(longer, long))
    }

    /// What was read from the cache, and how much of it was audio and how much pictures.
    fn count_read(&mut self, usage: &Usage) -> Result<(u64, [u64; 2]), Unpriced> {
        use Dimension::{CacheRead, CacheReadAudio, CacheReadImage, InputAudio, InputImage};
        let mut left = usage.cache_read.unwrap_or(0);
        let mut cached = [0; 2];
        let kinds = [
            (CacheReadAudio, InputAudio, usage.cache_read_audio, usage.input_audio),
            (CacheReadImage, InputImage, usage.cache_read_image, usage.input_image),
        ];
        for (own, (dimension, uncached, told, whole)) in cached.iter_mut().zip(kinds) {
            let most = left.min(whole.unwrap_or(0));
            // Untold, all that can have been is the cheapest case: the table has no model whose audio
            // gains less from the cache than pictures, or these less than text.
            *own = told.unwrap_or(if self.has(dimension) { most } else { 0 });
            if *own > most {
                return Err(Unpriced::UsageInconsistent);
            }
            let unlike = !self.has(dimension) && self.has(uncached);
            if *own > 0 && (told.is_none() || unlike) {
                self.miss(dimension.as_str());
            }
            left -= self.take(dimension, *own);
        }
        // Without a rate of its own a cached token costs what any input token costs.
        let taken = usage.cache_read.unwrap_or(0) - left + self.take(CacheRead, left);
        Ok((taken, cached))
    }

    fn count_output(&mut self, usage: &Usage) -> Result<(), Unpriced> {
        use Dimension::{Output, OutputAudio, OutputImage, Reasoning};
        let total = usage.output.unwrap_or(0);
        let [audio, image] =
            [usage.output_audio, usage.output_image].map(Option::unwrap_or_default);
        let plain = rest(total, &[audio, image])?;
        // Where reasoning has a rate of its own, the cheapest case is that all of it was reasoning.
        self.miss_untold(Reasoning, usage.reasoning, total);
        self.miss_untold(OutputImage, usage.output_image, total);
        let unsplit = if self.has(Reasoning) { plain } else { 0 };
        let reasoning = usage.reasoning.unwrap_or(unsplit);
        if reasoning > total {
            return Err(Unpriced::UsageInconsistent);
        }
        let special = [
            // Without rates of their own, these cost what any output token costs.
            self.take(Reasoning, reasoning),
            self.take(OutputImage, image),
            self.take_or_miss(OutputAudio, audio),
        ];
        self.take_total(Output, usage.output.map(|_| rest(total, &special)).transpose()?);
        Ok(())
    }

    /// A longer input may cost more.
    fn miss_cliffs(&mut self) {
        if self.tariff.rates.iter().any(|Priced(_, rate)| rate.steps().nth(1).is_some()) {
            self.miss("long_input");
        }
    }

    /// Counts what is left of a total; one that was not reported is missed where it has a price.
    fn take_total(&mut self, dimension: Dimension, rest: Option<u64>) {
        match rest {
            Some(rest) => {
                self.take_or_miss(dimension, rest);
            }
            None if self.has(dimension) => self.miss(dimension.as_str()),
            None => {}
        }
    }

    fn add_up(mut self, input_tokens: u64) -> Result<Sum, Unpriced> {
        self.counts.sort_unstable();
        let priced = |&(dimension, count): &(Dimension, u64)| {
            let price = self.tariff.rate(dimension)?.at(input_tokens);
            let per = dimension.unit().per();
            let part =
                |amount| CostPart { dimension: dimension.as_str(), count, price, per, amount };
            Some(amount(count, price, per).map(part))
        };
        let parts = self.counts.iter().filter_map(priced).collect::<Result<Vec<_>, _>>()?;
        if parts.is_empty() && !self.unpriced.is_empty() {
            return Err(Unpriced::PriceUnknown);
        }
        let total = parts.iter().try_fold(0_u64, |total, part| total.checked_add(part.amount.0));
        let total = NanoUsd(total.ok_or(Unpriced::UsageInconsistent)?);
        Ok(Sum { total, parts, unpriced: self.unpriced })
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::Rate;
    use super::*;
    use crate::observe::observation::Units;
    use Dimension::{
        AudioHour, CacheRead, CacheReadAudio, CacheWrite, CacheWriteHour, Input, InputAudio,
        InputAudioHour, InputImage, InputVideo, Message, Output, OutputAudio, Reasoning,
    };

    /// Sums at rates in nano-dollars a token.
    fn at(rates: &[(Dimension, u64)], usage: Usage) -> Result<(u64, Vec<&'static str>), Unpriced> {
        let rates: Vec<_> = rates
            .iter()
            .map(|&(dimension, nanos)| Priced(dimension, Rate::flat(NanoUsd(nanos * 1_000_000))))
            .collect();
        let tariff = Tariff { rates: rates.iter().collect(), ..Tariff::default() };
        sum(&usage, &tariff).map(|sum| (sum.total.0, sum.unpriced))
    }

    fn text_only() -> Usage {
        Usage { input: Some(100), output: Some(50), ..Usage::default() }
    }

    #[test]
    fn a_part_without_a_rate_of_its_own_stays_in_its_total() {
        let plain = [(Input, 10), (Output, 20)];
        let whole = 100 * 10 + 50 * 20;
        for (usage, unpriced) in [
            (text_only(), vec![]),
            (Usage { cache_read: Some(60), ..text_only() }, vec![]),
            (Usage { reasoning: Some(50), ..text_only() }, vec![]),
            (Usage { cache_write: Some(60), ..text_only() }, vec!["cache_write"]),
            (Usage { input_audio: Some(60), ..text_only() }, vec!["input_audio"]),
            (Usage { output_audio: Some(9), ..text_only() }, vec!["output_audio"]),
        ] {
            assert_eq!(at(&plain, usage), Ok((whole, unpriced)), "{usage:?}");
        }
    }

    #[test]
    fn a_part_with_a_rate_of_its_own_leaves_its_total() {
        let rates = [(Input, 10), (CacheRead, 1), (CacheWrite, 12), (Output, 20), (Reasoning, 5)];
        let usage = Usage {
            cache_read: Some(30),
            cache_write: Some(20),
            reasoning: Some(40),
            ..text_only()
        };
        assert_eq!(at(&rates, usage), Ok((50 * 10 + 30 + 20 * 12 + 10 * 20 + 40 * 5, vec![])));
    }

    #[test]
    fn output_that_may_all_have_been_reasoning_is_a_lower_bound() {
        let rates = [(Input, 10), (Output, 20), (Reasoning, 5)];
        assert_eq!(at(&rates, text_only()), Ok((100 * 10 + 50 * 5, vec!["reasoning"])));
        let none = Usage { reasoning: Some(0), ..text_only() };
        assert_eq!(at(&rates, none), Ok((100 * 10 + 50 * 20, vec![])));
    }

    #[test]
    fn audio_that_may_have_been_cached_is_a_lower_bound() {
        let rates =
            [(Input, 4), (CacheRead, 1), (InputAudio, 32), (CacheReadAudio, 1), (Output, 16)];
        let usage = Usage { cache_read: Some(30), input_audio: Some(80), ..text_only() };
        // 30 of the audio cached, 50 not, 20 of text.
        let most = 20 * 4 + 30 + 50 * 32 + 50 * 16;
        assert_eq!(at(&rates, usage), Ok((most, vec!["cache_read_audio"])));
    }

    #[test]
    fn a_cache_written_for_who_knows_how_long_is_a_lower_bound() {
        let rates = [(Input, 4), (CacheWrite, 5), (CacheWriteHour, 8), (Output, 16)];
        let usage = Usage { cache_write: Some(30), ..text_only() };
        assert_eq!(at(&rates, usage), Ok((70 * 4 + 30 * 5 + 50 * 16, vec!["cache_write_1h"])));
        assert_eq!(at(&rates, text_only()), Ok((100 * 4 + 50 * 16, vec![])));
    }

    #[test]
    fn each_lifetime_of_the_cache_has_its_price() {
        let rates = [(Input, 4), (CacheWrite, 5), (CacheWriteHour, 8), (Output, 16)];
        let usage = Usage { cache_write: Some(30), cache_write_long: Some(10), ..text_only() };
        assert_eq!(at(&rates, usage), Ok((70 * 4 + 20 * 5 + 10 * 8 + 50 * 16, vec![])));
        let long = Usage { cache_write: Some(9), cache_write_long: Some(10), ..text_only() };
        assert_eq!(at(&rates, long), Err(Unpriced::UsageInconsistent));
    }

    #[test]
    fn what_is_used_beside_tokens_makes_a_lower_bound() {
        let rates = [(Input, 4), (Output, 16)];
        let units = |web_searches| Units { web_searches, ..Units::default() };
        let usage = |searches| Usage { units: units(searches), ..text_only() };
        assert_eq!(at(&rates, usage(Some(2))), Ok((100 * 4 + 50 * 16, vec!["web_search"])));
        assert_eq!(at(&rates, usage(Some(0))), Ok((100 * 4 + 50 * 16, vec![])));
    }

    #[test]
    fn a_total_that_was_not_reported_or_has_no_rate_is_missed() {
        let both = [(Input, 4), (Output, 16)];
        let input = [(Input, 4)];
        assert_eq!(at(&both, Usage { input: None, ..text_only() }), Ok((800, vec!["input"])));
        assert_eq!(at(&both, Usage { output: None, ..text_only() }), Ok((400, vec!["output"])));
        assert_eq!(at(&input, text_only()), Ok((400, vec!["output"])));
        assert_eq!(at(&input, Usage { output: None, ..text_only() }), Ok((400, vec![])));
        assert_eq!(at(&[(OutputAudio, 4)], text_only()), Err(Unpriced::PriceUnknown));
        let spoken = Units { characters: Some(25), ..Units::default() };
        let spoken = Usage { units: spoken, ..Usage::default() };
        assert_eq!(at(&both, spoken), Err(Unpriced::NoUsage), "tokens were not told");
        assert_eq!(at(&[(Dimension::Character, 15)], spoken), Ok((25 * 15, vec![])));
        assert_eq!(at(&[], text_only()), Err(Unpriced::PriceUnknown));
    }

    #[test]
    fn a_part_above_its_whole_is_no_usage() {
        let rates = [(Input, 10), (CacheRead, 1), (CacheWrite, 2), (Output, 20), (InputAudio, 9)];
        for usage in [
            Usage { cache_read: Some(101), ..text_only() },
            Usage { cache_read: Some(60), cache_write: Some(41), ..text_only() },
            Usage { cache_read: Some(60), input_audio: Some(41), ..text_only() },
            Usage { cache_read: Some(u64::MAX), cache_write: Some(1), ..text_only() },
            Usage { input_audio: Some(101), ..text_only() },
            Usage { output_audio: Some(51), ..text_only() },
            Usage { reasoning: Some(51), ..text_only() },
            Usage { cache_read: Some(1), input: None, ..text_only() },
            Usage { input: Some(u64::MAX), ..text_only() },
        ] {
            assert_eq!(at(&rates, usage), Err(Unpriced::UsageInconsistent), "{usage:?}");
        }
    }

    #[test]
    fn each_part_is_rounded_half_up() {
        for (count, price, nanos) in
            [(1, 499_999, 0), (1, 500_000, 1), (3, 500_000, 2), (2, 2_250_000, 5)]
        {
            assert_eq!(
                amount(count, NanoUsd(price), 1_000_000),
                Ok(NanoUsd(nanos)),
                "{count} {price}"
            );
        }
    }

    #[test]
    fn parts_that_exceed_their_whole_are_no_usage_though_none_has_a_rate() {
        for usage in [
            Usage { cache_read: Some(60), cache_write: Some(41), ..text_only() },
            Usage { input_audio: Some(60), input_image: Some(41), ..text_only() },
            Usage { input_video: Some(101), ..text_only() },
            Usage { output_image: Some(51), ..text_only() },
            Usage { cache_read: Some(30), cache_read_audio: Some(31), ..text_only() },
        ] {
            let plain = at(&[(Input, 10), (Output, 20)], usage);
            assert_eq!(plain, Err(Unpriced::UsageInconsistent), "{usage:?}");
        }
        // More audio out of the cache than there was, and than came out of it.
        let rates = [(Input, 4), (CacheRead, 1), (CacheReadAudio, 1), (Output, 16)];
        for (cache_read, input_audio) in [(30, 9), (9, 30)] {
            let (cache_read, input_audio) = (Some(cache_read), Some(input_audio));
            let usage =
                Usage { cache_read, input_audio, cache_read_audio: Some(10), ..text_only() };
            assert_eq!(at(&rates, usage), Err(Unpriced::UsageInconsistent), "{usage:?}");
        }
    }

    #[test]
    fn input_that_may_have_been_pictures_or_moving_ones_is_a_lower_bound() {
        let rates = [(Input, 4), (InputImage, 8), (InputVideo, 12), (Output, 16)];
        let untold = at(&rates, text_only());
        assert_eq!(untold, Ok((100 * 4 + 50 * 16, vec!["input_image", "input_video"])));
        let told = Usage { input_image: Some(10), input_video: Some(20), ..text_only() };
        assert_eq!(at(&rates, told), Ok((70 * 4 + 10 * 8 + 20 * 12 + 50 * 16, vec![])));
        let one = Usage { input: Some(1), output: Some(0), ..Usage::default() };
        assert_eq!(at(&rates, one), Ok((4, vec!["input_image", "input_video"])));
    }

    #[test]
    fn cached_audio_without_a_rate_of_its_own_is_missed_where_audio_has_one() {
        let usage = |cached| Usage {
            cache_read: Some(30),
            cache_read_audio: Some(cached),
            input_audio: Some(80),
            ..text_only()
        };
        let rates = [(Input, 4), (CacheRead, 1), (InputAudio, 32), (Output, 16)];
        let rest = 50 * 16;
        let missed = vec!["cache_read_audio"];
        assert_eq!(at(&rates, usage(10)), Ok((30 + 70 * 32 + rest, missed.clone())), "no text");
        assert_eq!(
            at(&rates, usage(1)).map(|(_, unpriced)| unpriced),
            Err(Unpriced::UsageInconsistent)
        );
        let whole = Usage { input: Some(109), ..usage(1) };
        assert_eq!(at(&rates, whole), Ok((30 + 79 * 32 + rest, missed)));
        let plain = [(Input, 4), (CacheRead, 1), (Output, 16)];
        assert_eq!(at(&plain, usage(10)), Ok((30 + 70 * 4 + rest, vec!["input_audio"])));
    }

    #[test]
    fn nothing_costs_nothing_where_there_is_a_price_and_is_unknown_where_there_is_none() {
        let none = Usage { input: Some(0), output: Some(0), ..Usage::default() };
        assert_eq!(at(&[(Input, 4), (Output, 16)], none), Ok((0, vec![])));
        assert_eq!(at(&[], none), Err(Unpriced::PriceUnknown));
        assert_eq!(at(&[(InputAudioHour, 4)], Usage::default()), Err(Unpriced::PriceUnknown));
        assert_eq!(at(&[(Message, 4)], Usage::default()), Err(Unpriced::PriceUnknown));
        let rates = [(Input, 4), (Output, 16), (Message, 1)];
        assert_eq!(at(&rates, text_only()), Ok((100 * 4 + 50 * 16, vec!["message"])));
    }

    #[test]
    fn a_total_that_was_not_reported_is_not_missed_for_its_parts_too() {
        let rates = [(Input, 10), (Output, 20), (Reasoning, 5)];
        let untold = Usage { output: None, ..text_only() };
        assert_eq!(at(&rates, untold), Ok((100 * 10, vec!["output"])));
        let spoken = Units { characters: Some(25), ..Units::default() };
        let spoken = Usage { units: spoken, ..Usage::default() };
        for rate in [Input, Output] {
            assert_eq!(at(&[(rate, 4)], spoken), Err(Unpriced::NoUsage), "{rate:?}");
        }
    }

    #[test]
    fn what_other_models_did_is_missed() {
        let with = |other_models| {
            let units = Units { other_models, ..Units::default() };
            at(&[(Input, 4), (Output, 16)], Usage { units, ..text_only() })
        };
        assert_eq!(with(Some(1)), Ok((100 * 4 + 50 * 16, vec!["other_models"])));
        assert_eq!(with(Some(0)), Ok((100 * 4 + 50 * 16, vec![])));
    }

    #[test]
    fn sound_is_missed_where_neither_hours_nor_tokens_pay_for_it() {
        let sound = |heard, made| {
            let seconds = |time: Option<u64>| time.map(Duration::from_secs);
            let (input_audio_time, output_time) = (seconds(heard), seconds(made));
            Units { input_audio_time, output_time, ..Units::default() }
        };
        let tokens = [(Input, 4), (Output, 16)];
        let beside = |heard, made| {
            let units = sound(heard, made);
            at(&tokens, Usage { units, ..text_only() }).map(|(_, unpriced)| unpriced)
        };
        assert_eq!(beside(Some(1), Some(1)), Ok(vec!["input_audio_hour"]));
        assert_eq!(beside(Some(0), None), Ok(vec![]));
        let counted = Usage { input_audio: Some(9), units: sound(Some(1), None), ..text_only() };
        assert_eq!(at(&tokens, counted).map(|(_, unpriced)| unpriced), Ok(vec!["input_audio"]));
        // A session is at least as long as what is told of it.
        let hours = |heard, made| {
            let usage = Usage { units: sound(heard, made), ..Usage::default() };
            at(&[(AudioHour, 3_600)], usage)
        };
        assert_eq!(hours(Some(2), None), Ok((2_000_000, vec![])));
        assert_eq!(hours(None, Some(3)), Ok((3_000_000, vec![])));
        assert_eq!(hours(Some(2), Some(3)), Ok((3_000_000, vec!["audio_hour"])));
    }

    #[test]
    fn what_is_missed_twice_is_named_once() {
        let rates =
            [Priced(Input, Rate::flat(NanoUsd(4))), Priced(Output, Rate::flat(NanoUsd(16)))];
        let unpriced = vec!["web_search"];
        let tariff = Tariff { rates: rates.iter().collect(), unpriced, ..Tariff::default() };
        let units = Units { web_searches: Some(2), ..Units::default() };
        let sum = sum(&Usage { units, ..text_only() }, &tariff).expect("a sum");
        assert_eq!(sum.unpriced, ["web_search"]);
    }

    #[test]
    fn a_time_is_one_part_that_is_all_of_its_sum() {
        let sum = hours(Duration::from_secs(1_800), NanoUsd(3_000)).expect("a sum");
        assert_eq!((sum.total, sum.parts[0].amount), (NanoUsd(1_500), NanoUsd(1_500)));
    }
}
