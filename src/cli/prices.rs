//! `clearspan prices`: what the program knows of prices, and why a call costs what it costs. Knows
//! no rule of pricing: it writes out what `observe::price` explains.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use crate::observe::observation::{Cost, NanoUsd, Usage};
use crate::observe::price::{By, Call, Entry, Explanation, Override, Prices, Unpriced, Who};

/// Show the price table, or the price of a model and what a call of it costs
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
    /// Input tokens, cached ones included
    #[arg(long, requires = "model", value_name = "N")]
    pub input: Option<u64>,
    /// Input tokens read from the provider's cache
    #[arg(long, requires = "input", value_name = "N")]
    pub cached: Option<u64>,
    /// Input tokens written to the provider's cache
    #[arg(long, requires = "input", value_name = "N")]
    pub cache_write: Option<u64>,
    /// Input tokens that are audio
    #[arg(long, requires = "input", value_name = "N")]
    pub input_audio: Option<u64>,
    /// Output tokens, reasoning included
    #[arg(long, requires = "model", value_name = "N")]
    pub output: Option<u64>,
    /// Output tokens that are reasoning
    #[arg(long, requires = "output", value_name = "N")]
    pub reasoning: Option<u64>,
    /// Output tokens that are audio
    #[arg(long, requires = "output", value_name = "N")]
    pub output_audio: Option<u64>,
    /// How long the provider works on the call, for prices per hour
    #[arg(long, requires = "model", value_name = "N")]
    pub seconds: Option<u32>,
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
    let usage = (args.input.is_some() || args.output.is_some()).then(|| Usage {
        input: Some(args.input.unwrap_or(0)),
        output: Some(args.output.unwrap_or(0)),
        cache_read: args.cached,
        cache_write: args.cache_write,
        reasoning: args.reasoning,
        input_audio: args.input_audio,
        output_audio: args.output_audio,
        ..Usage::default()
    });
    Call {
        who: args.provider.as_deref().map_or(Who::Unsaid, Who::Named),
        answered: Some(model),
        asked: None,
        tier: args.tier.as_deref(),
        usage,
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
        ("may be added", entry.beside.join(", ")),
    ];
    for (name, text) in optional.iter().filter(|(_, text)| !text.is_empty()) {
        line(name, text)?;
    }
    Ok(())
}

fn show_rates(entry: &Entry, out: &mut dyn Write) -> io::Result<()> {
    let unit = if entry.rates.iter().any(|step| step.dimension == "hour") {
        "hour"
    } else {
        "million tokens"
    };
    writeln!(out, "\nUSD per {unit}")?;
    for step in &entry.rates {
        let above = step.above.map(|tokens| format!("  above {tokens} input tokens"));
        let (price, above) = (usd(step.price), above.unwrap_or_default());
        writeln!(out, "  {:<17} {}{above}", step.dimension, by_point(&price, above.is_empty()))?;
    }
    Ok(())
}

fn show_sum(cost: &Cost, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\n{:<18} {:>12}  {:>5}{:<11}{:>5}", "this call", "count", "at", "", "USD")?;
    for part in &cost.parts {
        let (price, amount) = (usd(part.per_million), usd(part.amount));
        let (price, amount) = (by_point(&price, false), by_point(&amount, true));
        writeln!(out, "  {:<16} {:>12}  {price} {amount}", part.dimension, part.count)?;
    }
    let (total, basis) = (usd(cost.total), cost.basis.as_str());
    writeln!(out, "  {:<46} {}  ({basis})", "total", by_point(&total, true))?;
    if !cost.unpriced.is_empty() {
        writeln!(out, "at least so much; not priced on its own: {}", cost.unpriced.join(", "))?;
    }
    Ok(())
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
        By::Prefix => "by the model's prefix",
    }
}

fn in_words(reason: Unpriced) -> &'static str {
    match reason {
        Unpriced::NotAModelCall => "it is no call of a model",
        Unpriced::NoModel => "no model is named",
        Unpriced::ProviderUnknown => "the table does not know who sells it",
        Unpriced::ModelUnknown => "the provider's list does not have it",
        Unpriced::PriceUnknown => "the table has no price of its tokens",
        Unpriced::TierUnknown => "the service tier has no price",
        Unpriced::Local => "it runs on your own compute",
        Unpriced::NoUsage => "no tokens are given",
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
            "may be added  web_search, file_search",
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
    fn a_model_that_others_sell_names_them() {
        let (found, text) = say("llama-3.3-70b-versatile");
        assert!(!found);
        assert!(text.contains("\n  groq/llama-3.3-70b-versatile\n"), "{text}");
    }

    #[test]
    fn a_tier_without_a_price_shows_the_entry_but_no_sum() {
        let (found, text) = say("gpt-4o --provider api.openai.com --tier scale --input 5");
        assert!(!found);
        assert!(text.contains("openai, by its address"), "{text}");
        assert!(
            text.ends_with("no cost: the service tier has no price (tier_unknown)\n"),
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
