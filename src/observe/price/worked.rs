//! Worked examples: whole calls, each with the arithmetic of the price page that it comes from. Knows
//! only what the outside of this module offers.
//!
//! "T" is the table (genai-prices 0.2.3, 2026-11-21, which was checked against the providers' pages up
//! to 2026-11-04); "O" is the overlay, whose entries name their pages, read on 2026-11-21. Prices are
//! USD; the right-hand sides are nano-dollars, where a dollar for a million tokens is 1 000 a token, a
//! dollar for a thousand searches 1 000 000 a search, and a dollar for an hour 277 777.7 a second.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Call, Prices, Unpriced, Who};
use crate::observe::observation::{Cost, Units, Usage};

/// 2026-11-21 12:00 UTC.
const NOW: u64 = 1_795_262_400;

fn at(day_seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(day_seconds)
}

fn call<'a>(provider: &'a str, model: &'a str, tier: &'a str, usage: Usage) -> Call<'a> {
    let who = Who::Upstream { name: "up", provider, address: "gateway.example.com" };
    let tier = Some(tier);
    let usage = Some(usage);
    let answered = Some(model);
    Call { who, answered, asked: None, tier, place: None, usage, at: at(NOW), worked: None }
}

fn tokens(input: u64, output: u64) -> Usage {
    Usage { input: Some(input), output: Some(output), ..Usage::default() }
}

fn units(units: Units) -> Usage {
    Usage { units, ..Usage::default() }
}

fn seconds(seconds: f64) -> Option<Duration> {
    Some(Duration::from_secs_f64(seconds))
}

/// What it comes to, and what that leaves out.
fn sum(call: &Call<'_>) -> Result<(u64, Vec<&'static str>), Unpriced> {
    let parts = |cost: &Cost| cost.parts.iter().map(|part| part.amount.0).sum::<u64>();
    let cost = Prices::embedded().price(call)?;
    assert_eq!(cost.total.0, parts(&cost), "{cost:?}");
    Ok((cost.total.0, cost.unpriced))
}

fn exact(provider: &str, model: &str, tier: &str, usage: Usage, nanos: u64) {
    let told = sum(&call(provider, model, tier, usage));
    assert_eq!(told, Ok((nanos, vec![])), "{provider} {model} {tier} {usage:?}");
}

fn at_least(provider: &str, model: &str, usage: Usage, nanos: u64, left_out: &[&'static str]) {
    let told = sum(&call(provider, model, "", usage));
    assert_eq!(told, Ok((nanos, left_out.to_vec())), "{provider} {model} {usage:?}");
}

#[test]
fn openais_tiers_and_lifetimes_of_the_cache() {
    let usage = Usage {
        cache_read: Some(600),
        cache_write: Some(300),
        cache_write_long: Some(100),
        ..tokens(1_000, 50)
    };
    // O, gpt-6.1-sol, ultrafast: $12, read $0.60, written $15, for twelve hours $30, output $60.
    let nanos = 100 * 12_000 + 600 * 600 + 200 * 15_000 + 100 * 30_000 + 50 * 60_000;
    exact("openai", "gpt-6.1-sol", "ultrafast", usage, nanos);
    // T: $2, $0.10, $2.50, $10; O: twelve hours $5.
    let nanos = 100 * 2_000 + 600 * 100 + 200 * 2_500 + 100 * 5_000 + 50 * 10_000;
    exact("openai", "gpt-6.1-sol", "default", usage, nanos);
    // T, flex since 2026-10-12, half of it: $1, $0.05, $1.25, $5; O: $2.50.
    exact("openai", "gpt-6.1-sol", "flex", usage, nanos / 2);
    // T, priority, twice: $4, $0.20, $5, $20; O: $10.
    exact("openai", "gpt-6.1-sol", "priority", usage, nanos * 2);
    // O, gpt-6-astra, ultrafast above 272 000: $120, output $450.
    let nanos = 300_000 * 120_000 + 10 * 450_000;
    exact("openai", "gpt-6-astra", "ultrafast", tokens(300_000, 10), nanos);
    // Without the split it may have been written for twelve hours. T, gpt-5.6-luna since 2026-07-30: $0.20,
    // written $0.25, $1.20.
    let unsplit = Usage { cache_write: Some(400), ..tokens(1_000, 50) };
    let nanos = 600 * 200 + 400 * 250 + 50 * 1_200;
    at_least("openai", "gpt-5.6-luna", unsplit, nanos, &["cache_write_12h"]);
}

#[test]
fn capacity_that_was_bought_beforehand_has_no_price_of_a_call() {
    let scale = call("openai", "gpt-6-sol", "scale", tokens(1, 1));
    assert_eq!(sum(&scale), Err(Unpriced::Committed));
    let vertex = call("gcp.vertex_ai", "gemini-2.5-pro", "PROVISIONED_THROUGHPUT", tokens(1, 1));
    assert_eq!(sum(&vertex), Err(Unpriced::Committed));
}

#[test]
fn fine_tuned_models_have_their_own_price_or_none() {
    let usage = Usage { cache_read: Some(400), ..tokens(1_000, 100) };
    // O, ft:gpt-4.1: $3, cached $0.75, $12; batch $1.50, $0.50, $6.
    let name = "ft:gpt-4.1-2025-04-14:acme::a1B2";
    exact("openai", name, "default", usage, 600 * 3_000 + 400 * 750 + 100 * 12_000);
    exact("openai", name, "batch", usage, 600 * 1_500 + 400 * 500 + 100 * 6_000);
    // T, ft:gpt-4o-mini: $0.30, $1.20; O: cached $0.15.
    let name = "ft:gpt-4o-mini-2024-07-18:acme:mail:a1";
    exact("openai", name, "", usage, 600 * 300 + 400 * 150 + 100 * 1_200);
    let unknown = call("openai", "ft:gpt-5-2025-08-07:acme::a1", "", usage);
    assert_eq!(sum(&unknown), Err(Unpriced::FineTuneUnknown));
}

#[test]
fn searches_files_and_containers() {
    let with = |units| Usage { units, ..tokens(1_000, 100) };
    // T, gpt-5.4: $2.50, $15; $10 and $2.50 for a thousand searches of the web and of files.
    let searches = Units { web_searches: Some(3), file_searches: Some(2), ..Units::default() };
    let nanos = 1_000 * 2_500 + 100 * 15_000 + 3 * 10_000_000 + 2 * 2_500_000;
    exact("openai", "gpt-5.4", "", with(searches), nanos);
    // O, a container of the smallest size: $0.03.
    let container = Units { code_sessions: Some(1), ..Units::default() };
    let nanos = 1_000 * 2_500 + 100 * 15_000 + 30_000_000;
    at_least("openai", "gpt-5.4", with(container), nanos, &["code_session"]);
    // T, claude-opus-5: $5, $25; $10 for a thousand searches. None was used where none is told.
    let one = Units { web_searches: Some(1), ..Units::default() };
    exact(
        "anthropic",
        "claude-opus-5",
        "standard",
        with(one),
        1_000 * 5_000 + 100 * 25_000 + 10_000_000,
    );
    exact(
        "anthropic",
        "claude-opus-5",
        "standard",
        tokens(1_000, 100),
        1_000 * 5_000 + 100 * 25_000,
    );
    // T, gemini-3-flash-preview: $0.50, $3, $14 for a thousand queries, each of which is billed.
    let three = Units { web_searches: Some(3), ..Units::default() };
    let flash = Usage { input_audio: Some(0), ..with(three) };
    exact(
        "gcp.gemini",
        "gemini-3-flash-preview",
        "",
        flash,
        1_000 * 500 + 100 * 3_000 + 3 * 14_000_000,
    );
    // T, gemini-2.5-flash: $0.30, $2.50, $35 for a thousand grounded requests; O: one a call, whatever it asks.
    exact("gcp.gemini", "gemini-2.5-flash", "", flash, 1_000 * 300 + 100 * 2_500 + 35_000_000);
    // O, gpt-4o-search-preview: $2.50, $10 (T), $25 for a thousand searches, of which each call has some.
    let nanos = 1_000 * 2_500 + 100 * 10_000;
    at_least("openai", "gpt-4o-search-preview", tokens(1_000, 100), nanos, &["web_search"]);
    exact("openai", "gpt-4o-search-preview", "", with(one), nanos + 25_000_000);
    // T, groq: no price of a search.
    let nanos = 1_000 * 590 + 100 * 790;
    at_least("groq", "llama-3.3-70b-versatile", with(one), nanos, &["web_search"]);
}

#[test]
fn requests_and_reasoning_of_searching_models() {
    // T, sonar-pro: $3, $15; O: $6, $10 or $14 for a thousand requests, by the search context.
    let nanos = 1_000 * 3_000 + 100 * 15_000 + 6_000_000;
    at_least("perplexity", "sonar-pro", tokens(1_000, 100), nanos, &["request"]);
    // T, sonar-deep-research: $2, $8, reasoning $3, $5 for a thousand searches, citations $2 that nothing tells.
    let searches = Units { web_searches: Some(30), ..Units::default() };
    let usage = Usage { reasoning: Some(600), units: searches, ..tokens(40, 1_000) };
    let nanos = 40 * 2_000 + 400 * 8_000 + 600 * 3_000 + 30 * 5_000_000;
    at_least("perplexity", "sonar-deep-research", usage, nanos, &["citation"]);
}

#[test]
fn pictures_in_and_out() {
    let usage = Usage {
        input_image: Some(300),
        output_image: Some(4_000),
        units: Units { images: Some(1), ..Units::default() },
        ..tokens(350, 4_160)
    };
    // T, gpt-image-1.5: text $5, pictures $8; text out $10, pictures $32.
    exact(
        "openai",
        "gpt-image-1.5",
        "",
        usage,
        50 * 5_000 + 300 * 8_000 + 160 * 10_000 + 4_000 * 32_000,
    );
    // T, batch since 2026-10-14: $2.50, $4, $5, $16.
    exact(
        "openai",
        "gpt-image-1.5",
        "batch",
        usage,
        50 * 2_500 + 300 * 4_000 + 160 * 5_000 + 4_000 * 16_000,
    );
    // T, gpt-image-1: $5, $10; all output $40. Read from the cache: $1.25, pictures $2.50.
    let cached = Usage { cache_read: Some(200), cache_read_image: Some(150), ..usage };
    let nanos = 50 * 1_250 + 150 * 2_500 + 150 * 10_000 + 4_160 * 40_000;
    exact("openai", "gpt-image-1", "", cached, nanos);
    // T, gemini-2.5-flash-image: $0.30, text $2.50, pictures $30: one of 1 290 tokens is $0.0387.
    let one = Usage { output_image: Some(1_290), ..tokens(10, 1_300) };
    exact("gcp.gemini", "gemini-2.5-flash-image", "", one, 10 * 300 + 10 * 2_500 + 38_700_000);
    // O, xAI: $0.05 each. Imagen 3 fast: $0.02 each.
    let two = units(Units { images: Some(2), ..Units::default() });
    exact("x_ai", "grok-imagine-image-quality", "", two, 100_000_000);
    exact("gcp.gemini", "imagen-3.0-fast-generate-001", "", two, 40_000_000);
    // O, grok-imagine-image-2.0: $0.04 at the lowest quality.
    at_least("x_ai", "grok-imagine-image-2.0", two, 80_000_000, &["image"]);
}

#[test]
fn moving_pictures() {
    let eight = units(Units { output_time: seconds(8.0), ..Units::default() });
    // O, sora-2: $0.10 a second; sora-2-pro: $0.30 at the least.
    exact("openai", "sora-2", "", eight, 800_000_000);
    at_least("openai", "sora-2-pro", eight, 2_400_000_000, &["output_second"]);
    // T, gemini-embedding-2: $0.20, pictures $0.45, moving ones $12.
    let usage = Usage {
        input_image: Some(20),
        input_video: Some(30),
        input_audio: Some(0),
        ..tokens(100, 0)
    };
    exact("gcp.gemini", "gemini-embedding-2", "", usage, 50 * 200 + 20 * 450 + 30 * 12_000);
}

#[test]
fn pictures_speech_and_moderation_by_what_the_answers_tell() {
    // T, gpt-image-1.5: $5, pictures $8; out $10, pictures $32.
    let drawn = Usage { input_image: Some(40), output_image: Some(12_416), ..tokens(50, 12_480) };
    exact(
        "openai",
        "gpt-image-1.5",
        "",
        drawn,
        10 * 5_000 + 40 * 8_000 + 64 * 10_000 + 12_416 * 32_000,
    );
    // Its answers that are not streamed may not tell how much of the output was pictures.
    let unsplit = Usage { output_image: None, ..drawn };
    let nanos = 10 * 5_000 + 40 * 8_000 + 12_480 * 10_000;
    at_least("openai", "gpt-image-1.5", unsplit, nanos, &["output_image"]);
    // O, grok-imagine-image: $0.02 a picture.
    let one = units(Units { images: Some(1), ..Units::default() });
    exact("x_ai", "grok-imagine-image", "", one, 20_000_000);
    // T, tts-1: $15 a million characters; orpheus at Groq: $22.
    let spoken = units(Units { characters: Some(25), ..Units::default() });
    exact("openai", "tts-1", "", spoken, 25 * 15_000);
    exact("groq", "canopylabs/orpheus-v1-english", "", spoken, 25 * 22_000);
    // T, gpt-4o-mini-tts: $0.60 and $12 a million tokens, which sound alone does not tell.
    let tokens_told = Usage { units: spoken.units, ..tokens(14, 101) };
    exact("openai", "gpt-4o-mini-tts", "", tokens_told, 14 * 600 + 101 * 12_000);
    let sound = call("openai", "gpt-4o-mini-tts", "", spoken);
    assert_eq!(sum(&sound), Err(Unpriced::NoUsage));
    // DALL·E was retired in May 2026, and is in neither.
    assert_eq!(sum(&call("openai", "dall-e-3", "", one)), Err(Unpriced::ModelUnknown));
    // O: OpenAI's page of omni-moderation says that it is free; none says so of those before it.
    for (model, expected) in [
        ("omni-moderation-latest", Ok((0, vec![]))),
        ("omni-moderation-2024-09-26", Ok((0, vec![]))),
        ("text-moderation-007", Err(Unpriced::NoUsage)),
    ] {
        let moderation = Call { usage: None, ..call("openai", model, "", Usage::default()) };
        assert_eq!(sum(&moderation), expected, "{model}");
    }
    let elsewhere = call("azure.ai.openai", "omni-moderation-latest", "", Usage::default());
    assert!(sum(&elsewhere).is_err(), "its page says nothing of others");
}

#[test]
fn sound_by_tokens_and_by_the_hour() {
    // T, gpt-realtime: $4, sound $32, pictures $5; cached $0.40 (pictures $0.50); out $16, sound $64.
    let usage = Usage {
        cache_read: Some(60),
        cache_read_audio: Some(40),
        cache_read_image: Some(5),
        input_audio: Some(100),
        input_image: Some(20),
        output_audio: Some(44),
        ..tokens(200, 63)
    };
    let nanos = 65 * 4_000
        + 15 * 400
        + 40 * 400
        + 5 * 500
        + 60 * 32_000
        + 15 * 5_000
        + 19 * 16_000
        + 44 * 64_000;
    exact("openai", "gpt-realtime", "", usage, nanos);
    // T, gpt-4o-transcribe: $2.50, sound $6, $10.
    let heard = Usage { input_audio: Some(37), ..tokens(37, 144) };
    exact("openai", "gpt-4o-transcribe", "", heard, 37 * 6_000 + 144 * 10_000);
    let heard = |time| units(Units { input_audio_time: seconds(time), ..Units::default() });
    // T, whisper-1: $0.36 an hour, which is $0.0001 a second.
    exact("openai", "whisper-1", "", heard(3.3), 330_000);
    exact("openai", "whisper-1", "", heard(0.5), 50_000);
    // T, Groq: $0.04 an hour, ten seconds at the least: 111 111.1 nano-dollars.
    exact("groq", "whisper-large-v3-turbo", "", heard(3.0), 111_111);
    exact("groq", "whisper-large-v3-turbo", "", heard(0.0), 0);
    exact("groq", "whisper-large-v3-turbo", "", heard(36.0), 400_000);
    exact("groq", "whisper-large-v3-turbo", "batch", heard(36.0), 200_000);
    // T, voxtral-small: $0.10, $0.40 and $0.24 an hour beside them, where there was sound.
    let both = Usage { units: heard(30.0).units, ..tokens(100, 10) };
    exact("mistral_ai", "voxtral-small-24b-2507", "", both, 100 * 100 + 10 * 400 + 2_000_000);
    exact("mistral_ai", "voxtral-small-24b-2507", "", tokens(100, 10), 100 * 100 + 10 * 400);
    // T, gpt-live-1: $3 an hour of session, which is at least as long as what was said in it.
    let said =
        Units { input_audio_time: seconds(12.0), output_time: seconds(36.0), ..Units::default() };
    at_least("openai", "gpt-live-1", units(said), 30_000_000, &["audio_hour"]);
}

#[test]
fn characters_pages_and_ranked_documents() {
    // T, tts-1: $15 for a million characters.
    let text = units(Units { characters: Some(4_096), ..Units::default() });
    exact("openai", "tts-1", "", text, 4_096 * 15_000);
    // T, mistral-ocr-2503: $1 for a thousand pages. Later ones charge more for annotated pages, which are not told apart.
    let pages = units(Units { documents: Some(12), ..Units::default() });
    exact("mistral_ai", "mistral-ocr-2503", "", pages, 12 * 1_000_000);
    at_least("mistral_ai", "mistral-ocr-2512", pages, 12 * 2_000_000, &["annotated_page"]);
    // O, Cohere: $2.50 for a thousand searches.
    exact(
        "cohere",
        "rerank-v4.0-pro",
        "",
        units(Units { documents: Some(1), ..Units::default() }),
        2_500_000,
    );
    // Without the count there is nothing to charge.
    let untold = call("openai", "tts-1", "", Usage::default());
    assert_eq!(sum(&untold), Err(Unpriced::PriceUnknown));
}

#[test]
fn anthropics_lifetimes_and_speed_and_place() {
    let usage = Usage {
        cache_read: Some(1_000),
        cache_write: Some(500),
        cache_write_long: Some(200),
        ..tokens(2_000, 300)
    };
    // T, claude-opus-5: $5, read $0.50, five minutes $6.25, an hour $10, $25.
    let nanos = 500 * 5_000 + 1_000 * 500 + 300 * 6_250 + 200 * 10_000 + 300 * 25_000;
    exact("anthropic", "claude-opus-5", "standard", usage, nanos);
    // T, `speed: fast`: twice.
    exact("anthropic", "claude-opus-5", "fast", usage, nanos * 2);
    // T, batch: half.
    exact("anthropic", "claude-opus-5", "batch", usage, nanos / 2);
    let mut us = call("anthropic", "claude-opus-5", "standard", usage);
    us.place = Some("us");
    assert_eq!(sum(&us), Ok((nanos, vec!["residency"])));
    us.place = Some("global");
    assert_eq!(sum(&us), Ok((nanos, vec![])));
}

#[test]
fn vertex_ais_tiers_are_the_tables() {
    // T, gemini-3.8-flash-tts until 2027: $0.50, $9; since 2026-10-15 flex half of it, priority 1.8 times.
    let nanos = 100 * 500 + 10 * 9_000;
    exact("gcp.vertex_ai", "gemini-3.8-flash-tts", "ON_DEMAND", tokens(100, 10), nanos);
    exact("gcp.vertex_ai", "gemini-3.8-flash-tts", "ON_DEMAND_FLEX", tokens(100, 10), nanos / 2);
    exact(
        "gcp.vertex_ai",
        "gemini-3.8-flash-tts",
        "ON_DEMAND_PRIORITY",
        tokens(100, 10),
        nanos * 9 / 5,
    );
    // A region may cost more.
    let mut vertex = call("gcp.vertex_ai", "gemini-3.8-flash-tts", "", tokens(100, 10));
    let address = "europe-west1-aiplatform.googleapis.com";
    vertex.who = Who::Upstream { name: "up", provider: "gcp.vertex_ai", address };
    assert_eq!(sum(&vertex), Ok((nanos, vec!["residency"])));
}

#[test]
fn deepseeks_dearer_hours_are_those_of_working_days() {
    let usage = Usage { cache_read: Some(400), ..tokens(1_000, 100) };
    let cost = |seconds| {
        let call = call("deepseek", "deepseek-v4-flash", "", usage);
        sum(&Call { at: at(seconds), ..call }).map(|(nanos, _)| nanos)
    };
    // O and T, deepseek-v4-flash since 2026-09-10: $0.15, $0.003, $0.60; T, from 06:00 to 10:00 UTC twice that.
    let nanos = 600 * 150 + 400 * 3 + 100 * 600;
    let (friday, hours) = (1_795_132_800, 3_600);
    assert_eq!(cost(friday + 7 * hours), Ok(nanos * 2));
    assert_eq!(cost(friday + 11 * hours), Ok(nanos));
    assert_eq!(cost(friday + 31 * hours), Ok(nanos), "at seven on Saturday");
}
