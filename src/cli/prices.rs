//! `clearspan prices`: what the program knows of prices, and why a call costs what it costs. Knows
//! no rule of pricing: it writes out what `observe::price` explains.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use crate::observe::observation::{Cost, CostPart, NanoUsd, Units, Usage};
use crate::observe::price::{
    By, Call, Entry, Explanation, Override, Prices, RateStep, Unit, Unpriced, Who,
};

/// Nanoseconds in a second: parts that are times count them.
const SECOND: u64 = 1_000_000_000;

/// Show the price table, or the price of a model and what a call of it costs
///
/// Without MODEL: where the table is from, and which providers it knows. With it: the entry that is
/// meant and by which rule, and what it charges. With counts: the sum of a call made now, part by part;
/// what is left out of it is named, and the sum then is a lower bound.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Args {
    /// The model, as in a request or an answer; without it the table's providers are listed
    pub model: Option<String>,
    /// Who sells it: a provider as in proxy.toml, or its host; else the model's name tells
    #[arg(long, requires = "model")]
    pub provider: Option<String>,
    /// The service tier that answered: flex, priority, batch, …
    #[arg(long, requires = "model")]
    pub tier: Option<String>,
    /// The call's usage
    #[command(flatten)]
    pub counts: Counts,
    /// How long the provider works on the call, for machines of one's own that cost by the hour
    #[arg(long, requires = "model", value_name = "N")]
    pub seconds: Option<u32>,
}

/// What one call uses
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Tokens of a call")]
pub(super) struct Counts {
    /// Input tokens, all of those below included
    #[arg(long, requires = "model", value_name = "N")]
    pub input: Option<u64>,
    /// Input tokens read from the provider's cache
    #[arg(long, requires = "input", value_name = "N")]
    pub cached: Option<u64>,
    /// Input tokens written to the provider's cache
    #[arg(long, requires = "input", value_name = "N")]
    pub cache_write: Option<u64>,
    /// Of these, written for the longer lifetime: Anthropic's hour, OpenAI's twelve hours
    #[arg(long, requires = "cache_write", value_name = "N")]
    #[arg(visible_aliases = ["cache-write-1h", "cache-write-12h"])]
    pub cache_write_long: Option<u64>,
    /// Input tokens that are audio
    #[arg(long, requires = "input", value_name = "N")]
    pub input_audio: Option<u64>,
    /// Input tokens that are pictures
    #[arg(long, requires = "input", value_name = "N")]
    pub input_image: Option<u64>,
    /// Input tokens that are moving pictures
    #[arg(long, requires = "input", value_name = "N")]
    pub input_video: Option<u64>,
    /// Audio tokens among those read from the cache
    #[arg(long, requires = "cached", value_name = "N")]
    pub cached_audio: Option<u64>,
    /// Picture tokens among those read from the cache
    #[arg(long, requires = "cached", value_name = "N")]
    pub cached_image: Option<u64>,
    /// Output tokens, all of those below included
    #[arg(long, requires = "model", value_name = "N")]
    pub output: Option<u64>,
    /// Output tokens that are reasoning
    #[arg(long, requires = "output", value_name = "N")]
    pub reasoning: Option<u64>,
    /// Output tokens that are audio
    #[arg(long, requires = "output", value_name = "N")]
    pub output_audio: Option<u64>,
    /// Output tokens that are pictures
    #[arg(long, requires = "output", value_name = "N")]
    pub output_image: Option<u64>,
    /// Searches of the web
    #[arg(long, requires = "model", value_name = "N", help_heading = BESIDE)]
    pub web_searches: Option<u64>,
    /// Searches of files
    #[arg(long, requires = "model", value_name = "N", help_heading = BESIDE)]
    pub file_searches: Option<u64>,
    /// Containers of a code interpreter
    #[arg(long, requires = "model", value_name = "N", help_heading = BESIDE)]
    pub code_sessions: Option<u64>,
    /// Pictures made
    #[arg(long, requires = "model", value_name = "N", help_heading = BESIDE)]
    pub images: Option<u64>,
    /// Characters spoken or embedded
    #[arg(long, requires = "model", value_name = "N", help_heading = BESIDE)]
    pub characters: Option<u64>,
    /// Pages read, or a reranker's searches
    #[arg(long, requires = "model", value_name = "N", help_heading = BESIDE)]
    pub documents: Option<u64>,
    /// Seconds of sound that were heard
    #[arg(long, requires = "model", value_name = "N", help_heading = BESIDE, value_parser = seconds)]
    pub input_seconds: Option<Duration>,
    /// Seconds of sound or of moving pictures that were made
    #[arg(long, requires = "model", value_name = "N", help_heading = BESIDE, value_parser = seconds)]
    pub output_seconds: Option<Duration>,
}

/// Heads the counts that are no tokens in `--help`.
const BESIDE: &str = "Beside tokens";

/// Seconds with a fraction.
fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "not a number of seconds")?;
    Duration::try_from_secs_f64(number).map_err(|error| error.to_string())
}

impl Counts {
    /// The usage; absent where nothing is given.
    fn usage(&self) -> Option<Usage> {
        let units = Units {
            web_searches: self.web_searches,
            file_searches: self.file_searches,
            code_sessions: self.code_sessions,
            images: self.images,
            characters: self.characters,
            documents: self.documents,
            input_audio_time: self.input_seconds,
            output_time: self.output_seconds,
            ..Units::default()
        };
        let tokens = self.input.is_some() || self.output.is_some();
        // Of a call that is told in full, what is not given is not there.
        let all = |count: Option<u64>| count.or(tokens.then_some(0));
        (tokens || units != Units::default()).then(|| Usage {
            input: all(self.input),
            output: all(self.output),
            cache_read: self.cached,
            cache_write: self.cache_write,
            cache_write_long: self.cache_write_long,
            cache_read_audio: self.cached_audio,
            cache_read_image: self.cached_image,
            reasoning: self.reasoning,
            input_audio: self.input_audio,
            input_image: self.input_image,
            input_video: self.input_video,
            output_audio: self.output_audio,
            output_image: self.output_image,
            is_uneven: false,
            units,
        })
    }
}

/// Writes what was asked for. False: the model has no price, or the call none.
pub(super) fn run(args: &Args, prices: &Prices, out: &mut dyn Write) -> io::Result<bool> {
    match &args.model {
        Some(model) => show_model(args, model, prices, out),
        None => list(prices, out).map(|()| true),
    }
}

fn list(prices: &Prices, out: &mut dyn Write) -> io::Result<()> {
    let source = prices.source();
    writeln!(out, "{} {} ({}), {}", source.name, source.version, source.licence, source.date)?;
    writeln!(out, "{} providers, {} models", source.providers, source.models)?;
    let own = prices.overrides();
    if !own.is_empty() {
        writeln!(out, "before it, the first that covers a call:")?;
        let width = own.iter().map(|own| own.entry().len()).max().unwrap_or(0);
        let line = |own: &Override| format!("  {:width$}  {}", own.entry(), own.written);
        own.iter().try_for_each(|own| writeln!(out, "{}", line(own)))?;
    }
    writeln!(out)?;
    let width = prices.providers().map(|(id, _)| id.len()).max().unwrap_or(0);
    writeln!(out, "{:width$}  models", "provider")?;
    for (id, models) in prices.providers() {
        writeln!(out, "{id:width$}  {models:6}")?;
    }
    Ok(())
}

fn show_model(args: &Args, model: &str, prices: &Prices, out: &mut dyn Write) -> io::Result<bool> {
    let explanation = prices.explain(&call(args, model));
    let Some(entry) = &explanation.entry else {
        show_unknown(args, model, &explanation, out)?;
        return Ok(false);
    };
    show_entry(entry, explanation.seller, prices, out)?;
    for (later, day) in &explanation.later {
        writeln!(out, "{:<13} {later}", format!("from {day}"))?;
    }
    show_rates(entry, out)?;
    match &explanation.cost {
        Ok(cost) => show_sum(cost, out).map(|()| true),
        // Nobody asked for a sum.
        Err(Unpriced::NoUsage) => Ok(true),
        Err(reason) => {
            writeln!(out, "\nno cost: {} ({})", in_words(*reason), reason.as_str())?;
            Ok(false)
        }
    }
}

/// The call that the arguments describe, made now.
fn call<'a>(args: &'a Args, model: &'a str) -> Call<'a> {
    Call {
        who: args.provider.as_deref().map_or(Who::Unsaid, Who::Named),
        answered: Some(model),
        asked: None,
        tier: args.tier.as_deref(),
        place: None,
        usage: args.counts.usage(),
        at: SystemTime::now(),
        worked: args.seconds.map(|seconds| Duration::from_secs(seconds.into())),
    }
}

fn show_unknown(
    args: &Args,
    model: &str,
    explanation: &Explanation,
    out: &mut dyn Write,
) -> io::Result<()> {
    let reason = explanation.cost.as_ref().err().copied().unwrap_or(Unpriced::ModelUnknown);
    let at = args.provider.as_ref().map(|name| format!(" at {name}")).unwrap_or_default();
    writeln!(out, "no price for {model}{at}: {} ({})", in_words(reason), reason.as_str())?;
    if let Some((seller, by)) = explanation.seller {
        writeln!(out, "looked in the list of {seller}, found {}", found_by(by))?;
    }
    if !explanation.sellers.is_empty() {
        writeln!(out, "say which of those that sell it is meant:")?;
        let flag = |seller| writeln!(out, "  clearspan prices {model} --provider {seller}");
        explanation.sellers.iter().try_for_each(flag)?;
    }
    if !explanation.nearest.is_empty() {
        writeln!(out, "nearest:")?;
        explanation.nearest.iter().try_for_each(|name| writeln!(out, "  {name}"))?;
    }
    writeln!(out, "a price of your own: [[pricing.model]] in proxy.toml")
}

fn show_entry(
    entry: &Entry,
    seller: Option<(&str, By)>,
    prices: &Prices,
    out: &mut dyn Write,
) -> io::Result<()> {
    let source = prices.source();
    let table = || format!("{} {}, {}", source.name, source.version, source.date);
    let origin = entry.written.clone().unwrap_or_else(table);
    let mut line = |name: &str, text: &str| writeln!(out, "{name:<13} {text}");
    line("entry", &format!("{} ({origin})", entry.name))?;
    if let Some((seller, by)) = seller {
        line("provider", &format!("{seller}, {}", found_by(by)))?;
    }
    line("rule", &format!("the model's name {}", entry.rule))?;
    let optional = [
        ("source", entry.source.clone().unwrap_or_default()),
        ("holds from", entry.from.clone().unwrap_or_default()),
        ("holds between", entry.between.clone().unwrap_or_default()),
        ("tiers", entry.tiers.join(", ")),
        ("not priced", entry.unpriced.join(", ")),
    ];
    for (name, text) in optional.iter().filter(|(_, text)| !text.is_empty()) {
        line(name, text)?;
    }
    for (of, source, seen) in &entry.added {
        line("added", &format!("{of}, from {source}, read {seen}"))?;
    }
    Ok(())
}

fn show_rates(entry: &Entry, out: &mut dyn Write) -> io::Result<()> {
    let mut units: Vec<Unit> = entry.rates.iter().map(|step| step.unit).collect();
    units.sort_unstable();
    units.dedup();
    for unit in units {
        writeln!(out, "\nUSD per {}", unit.as_str())?;
        let of = entry.rates.iter().filter(|step| step.unit == unit);
        of.clone().try_for_each(|step| show_rate(step, out))?;
    }
    Ok(())
}

fn show_rate(step: &RateStep, out: &mut dyn Write) -> io::Result<()> {
    let above = step.above.map(|tokens| format!("  above {tokens} input tokens"));
    let (price, above) = (usd(step.price), above.unwrap_or_default());
    writeln!(out, "  {:<17} {}{above}", step.dimension, by_point(&price, above.is_empty()))
}

fn show_sum(cost: &Cost, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\n{:<18} {:>12}  {:>5}{:<11}{:>5}", "this call", "count", "at", "", "USD")?;
    for part in &cost.parts {
        let (price, amount) = (usd(part.price), usd(part.amount));
        let (price, amount) = (by_point(&price, false), by_point(&amount, true));
        writeln!(out, "  {:<16} {:>12}  {price} {amount}", part.dimension, counted(part))?;
    }
    let (total, basis) = (usd(cost.total), cost.basis.as_str());
    writeln!(out, "  {:<46} {}  ({basis})", "total", by_point(&total, true))?;
    if !cost.unpriced.is_empty() {
        writeln!(out, "at least so much; not priced in full: {}", cost.unpriced.join(", "))?;
    }
    Ok(())
}

/// How many there were; of a time, the seconds.
fn counted(part: &CostPart) -> String {
    match part.per {
        per if per >= SECOND => format!("{} s", usd(NanoUsd(part.count))),
        _ => part.count.to_string(),
    }
}

/// An amount in full, without trailing zeros: `0.15`.
fn usd(amount: NanoUsd) -> String {
    let (dollars, nanos) = (amount.0 / 1_000_000_000, amount.0 % 1_000_000_000);
    let text = format!("{dollars}.{nanos:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// With its decimal point in one column with those of the other lines.
fn by_point(amount: &str, last: bool) -> String {
    let (whole, fraction) = match amount.find('.') {
        Some(point) => amount.split_at(point),
        None => (amount, ""),
    };
    let aligned = format!("{whole:>5}{fraction:<10}");
    if last { aligned.trim_end().to_owned() } else { aligned }
}

fn found_by(by: By) -> &'static str {
    match by {
        By::Address => "by its address",
        By::Name => "by its name",
        By::LikeName => "by a part of its name",
        By::Model => "by the model's name",
        By::Only => "which alone sells a model of this name",
        By::Prefix => "by the model's prefix",
    }
}

fn in_words(reason: Unpriced) -> &'static str {
    match reason {
        Unpriced::NotAModelCall => "it is no call of a model",
        Unpriced::NoModel => "no model is named",
        Unpriced::ProviderUnknown => "nothing says who sells it",
        Unpriced::ModelUnknown => "the provider's list does not have it",
        Unpriced::FineTuneUnknown => "it is fine-tuned, and has no price of its own in the table",
        Unpriced::PriceUnknown => "it has no price of what is counted here",
        Unpriced::TierUnknown => "the service tier has no price",
        Unpriced::Committed => "the service tier is bought beforehand",
        Unpriced::Local => "it runs on your own compute",
        Unpriced::NoUsage => "no usage is given",
        Unpriced::UsageInconsistent => "a part of the tokens is more than the whole",
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::observe::price::Override;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn say_with(prices: &Prices, line: &str) -> (bool, String) {
        let words = std::iter::once("prices").chain(line.split_whitespace());
        let args = Command::try_parse_from(words).expect(line).args;
        let mut out = Vec::new();
        let found = run(&args, prices, &mut out).expect("written");
        (found, String::from_utf8(out).expect("text"))
    }

    fn say(line: &str) -> (bool, String) {
        say_with(&Prices::embedded(), line)
    }

    #[test]
    fn a_model_shows_its_entry_its_prices_and_the_sum_part_by_part() {
        let (found, text) = say("gpt-4o-mini --input 1000 --cached 400 --output 500");
        assert!(found, "{text}");
        for line in [
            "provider      openai, by the model's name",
            "rule          the model's name is `gpt-4o-mini`",
            "tiers         batch, default, fast, priority",
            "USD per thousand",
            "  web_search           10",
            "  cache_read            0.075",
            "  input                     600      0.15            0.00009",
            "  cache_read                400      0.075           0.00003",
            "  output                    500      0.6             0.0003",
            "  total                                              0.00042  (computed)",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
        }
        assert!(text.starts_with("entry         openai/gpt-4o-mini (genai-prices "), "{text}");
    }

    #[test]
    fn what_is_billed_beside_tokens_shows_with_its_unit_and_its_source() {
        let line = "gpt-5.4 --provider openai --input 1000 --cache-write 0 --output 100 \
                    --web-searches 3 --code-sessions 1";
        let (found, text) = say(line);
        assert!(found, "{text}");
        for line in [
            "added         code_session, from https://github.com/BerriAI/litellm/blob/main/model_prices_and_context_window.json, read 2026-11-21",
            "USD per piece",
            "  code_session          0.03",
            "  web_search                  3     10               0.03",
            "  code_session                1      0.03            0.03",
            "  total                                              0.064  (lower_bound)",
            "at least so much; not priced in full: code_session",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
        }
        let (_, text) = say("whisper-1 --input-seconds 3.3");
        let line = "  input_audio_hour        3.3 s      0.36            0.00033";
        assert!(text.lines().any(|shown| shown == line), "{text}");
        assert!(!text.contains("code_session"), "what hears runs no code: {text}");
        let line = "claude-opus-5 --input 9 --cache-write 5 --cache-write-1h 2 --output 1";
        let (_, text) = say(line);
        let line = "  cache_write_1h              2     10               0.00002";
        assert!(text.lines().any(|shown| shown == line), "{text}");
    }

    #[test]
    fn without_tokens_there_is_no_sum() {
        let (found, text) = say("gemini-2.5-pro --provider gemini");
        assert!(found && !text.contains("this call"), "{text}");
        assert!(
            text.contains("  input                 2.5          above 200000 input tokens"),
            "{text}"
        );
    }

    #[test]
    fn an_unknown_model_is_said_to_be_so_with_the_nearest_names() {
        let (found, text) = say("gpt-4o-minni --provider openai");
        assert!(!found);
        assert!(text.starts_with("no price for gpt-4o-minni at openai: the provider's list does not have it (model_unknown)"), "{text}");
        assert!(text.contains("nearest:\n  openai/gpt-4o-mini\n"), "{text}");
    }

    #[test]
    fn a_model_that_one_alone_sells_needs_no_provider() {
        for (model, entry) in [
            ("text-embedding-3-small", "openai/text-embedding-3-small"),
            ("sora-2", "openai/sora-2"),
            ("sonar-pro", "perplexity/sonar-pro"),
            ("llama-3.3-70b-versatile", "groq/llama-3.3-70b-versatile"),
        ] {
            let (found, text) = say(model);
            assert!(found && text.starts_with(&format!("entry         {entry} ")), "{text}");
            assert!(text.contains(", which alone sells a model of this name\n"), "{text}");
        }
        let (found, text) = say("ft:gpt-4o-2024-08-06:org::id");
        assert!(found && text.contains("openai"), "{text}");
    }

    #[test]
    fn of_a_model_that_several_sell_the_flags_are_shown() {
        let (found, text) = say("openai/gpt-oss-120b");
        assert!(!found);
        assert!(
            text.starts_with("no price for openai/gpt-oss-120b: nothing says who sells it"),
            "{text}"
        );
        let flag = "\n  clearspan prices openai/gpt-oss-120b --provider groq\n";
        assert!(text.contains(flag) && !text.contains("nearest"), "{text}");
    }

    #[test]
    fn a_tier_without_a_price_shows_the_entry_but_no_sum() {
        let (found, text) = say("gpt-4o --provider api.openai.com --tier scale --input 5");
        assert!(!found);
        assert!(text.contains("openai, by its address"), "{text}");
        assert!(
            text.ends_with("no cost: the service tier is bought beforehand (committed)\n"),
            "{text}"
        );
    }

    #[test]
    fn the_list_names_the_source_the_operators_prices_and_every_provider() {
        let own: Override =
            toml::from_str("model = \"llama*\"\nper_hour = 1.5").expect("an override");
        let prices = Prices::with_overrides(vec![own]);
        let (found, text) = say_with(&prices, "");
        assert!(found && text.contains("covers a call:\n  llama*  proxy.toml\n"), "{text}");
        assert!(prices.providers().all(|(id, _)| text.contains(&format!("\n{id} "))), "{text}");
        let (_, text) = say_with(&prices, "llama3");
        assert!(text.contains("USD per hour\n  hour                  1.5\n"), "{text}");
        let (_, text) = say_with(&prices, "llama3 --seconds 1200");
        assert!(
            text.contains(
                "\n  total                                              0.5  (computed)\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn an_entry_of_ones_own_says_where_it_stands_since_when_and_what_comes_later() {
        let toml = |rest: &str| format!("provider = \"openai\"\nmodel = \"gpt*mini\"\n{rest}");
        let later: Override =
            toml::from_str(&toml("input = 1\nname = \"next\"\ndated = \"2999-01-01\""))
                .expect("an override");
        let now: Override = toml::from_str(&toml(
            "input = [0.1, [1000, 0.2]]\noutput = 0.4\nreasoning = 0.3\ndated = \"2026-01-01\"\n\
             source = \"contract 7\"\ntiers = { batch = { output = 0.2 } }",
        ))
        .expect("an override");
        let now = Override { written: "/etc/own.toml, line 3".to_owned(), ..now };
        let prices = Prices::with_overrides(vec![later, now]);
        let line = "gpt-4o-mini --tier batch --input 2000 --output 10 --reasoning 4";
        let (found, text) = say_with(&prices, line);
        assert!(found, "{text}");
        for line in [
            "entry         openai/gpt*mini (/etc/own.toml, line 3)",
            "rule          the model's name is like `gpt*mini`",
            "source        contract 7",
            "holds from    2026-01-01",
            "tiers         batch",
            "from 2999-01-01 next",
            "  input                 0.2          above 1000 input tokens",
            "  reasoning                   4      0.3             0.0000012",
            "  output                      6      0.2             0.0000012",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
        }
        let (_, text) = say_with(&prices, "no-such-model --provider openai");
        assert!(!text.contains("next"), "{text}");
    }

    #[test]
    fn nearest_names_are_those_of_ones_own_too() {
        let own = toml::from_str("model = \"house-blend\"\ninput = 1").expect("an override");
        let (found, text) = say_with(&Prices::with_overrides(vec![own]), "hose-blend");
        assert!(!found && text.contains("nearest:\n  house-blend\n"), "{text}");
    }

    #[test]
    fn an_amount_is_written_in_full() {
        for (nanos, text) in
            [(0, "0"), (1, "0.000000001"), (150_000_000, "0.15"), (12_000_000_000, "12")]
        {
            assert_eq!(usd(NanoUsd(nanos)), text);
        }
    }
}
