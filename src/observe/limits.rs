//! What a response's headers say of the upstream's limits. Knows the names that providers give them, and
//! no body.

use std::time::SystemTime;

use memchr::{memchr, memrchr};

use super::observation::RateLimit;
use super::until::until;

/// What is limited, by the ends of headers' names. Limits of several periods stand beside each other.
const KINDS: [(&str, &str); 19] = [
    ("requests", "requests"),
    ("tokens", "tokens"),
    ("input-tokens", "input_tokens"),
    ("output-tokens", "output_tokens"),
    // Fireworks.
    ("tokens-prompt", "input_tokens"),
    ("tokens-generated", "output_tokens"),
    // OpenAI: pictures, and what is counted only once it was used.
    ("input-images", "input_images"),
    ("tokens_usage_based", "tokens_usage_based"),
    ("tokens-usage-based", "tokens_usage_based"),
    // Mistral, Cerebras.
    ("req-10-second", "requests_10_seconds"),
    ("req-minute", "requests_minute"),
    ("requests-minute", "requests_minute"),
    ("requests-hour", "requests_hour"),
    ("requests-day", "requests_day"),
    ("tokens-minute", "tokens_minute"),
    ("tokens-hour", "tokens_hour"),
    ("tokens-day", "tokens_day"),
    ("tokens-month", "tokens_month"),
    // OpenRouter, Together: a name without an end.
    ("", "requests"),
];

/// The part of a limit that a header tells.
#[derive(Clone, Copy)]
enum Part {
    Limit,
    Remaining,
    Reset,
}

/// Adds what one header, its name in lower case, says of a limit, if it does: at most one entry of each kind.
pub fn read(
    limits: &mut Vec<RateLimit>,
    name: &[u8],
    value: &[u8],
    now: impl FnOnce() -> SystemTime,
) {
    let Some((kind, part)) = meaning(name) else { return };
    let mut limit = RateLimit { kind, limit: None, remaining: None, reset: None };
    let entry = limits.iter_mut().find(|it| it.kind == kind);
    let is_new = entry.is_none();
    let to = entry.unwrap_or(&mut limit);
    match part {
        Part::Limit => to.limit = to.limit.or(count(value)),
        Part::Remaining => to.remaining = to.remaining.or(count(value)),
        Part::Reset => to.reset = to.reset.or_else(|| until(value, now)),
    }
    let says = limit.limit.is_some() || limit.remaining.is_some() || limit.reset.is_some();
    if is_new && says {
        limits.push(limit);
    }
}

/// `x-ratelimit-PART-KIND`, `x-tokenlimit-PART`, `anthropic-ratelimit-KIND-PART`.
fn meaning(name: &[u8]) -> Option<(&'static str, Part)> {
    if let Some(rest) = name.strip_prefix(b"x-ratelimit-") {
        let (part, kind) = match memchr(b'-', rest) {
            Some(at) => apart(rest, at)?,
            None => (rest, &b""[..]),
        };
        return Some((known(kind)?, part_of(part)?));
    }
    if let Some(part) = name.strip_prefix(b"x-tokenlimit-") {
        return Some(("tokens", part_of(part)?));
    }
    let rest = name.strip_prefix(b"anthropic-ratelimit-")?;
    let (kind, part) = apart(rest, memrchr(b'-', rest)?)?;
    Some((known(kind)?, part_of(part)?))
}

/// What stands before a byte, and what behind it.
fn apart(text: &[u8], at: usize) -> Option<(&[u8], &[u8])> {
    Some((text.get(..at)?, text.get(at + 1..)?))
}

fn known(end: &[u8]) -> Option<&'static str> {
    KINDS.iter().find(|(known, _)| known.as_bytes() == end).map(|(_, kind)| *kind)
}

fn part_of(word: &[u8]) -> Option<Part> {
    match word {
        b"limit" => Some(Part::Limit),
        b"remaining" => Some(Part::Remaining),
        b"reset" => Some(Part::Reset),
        _ => None,
    }
}

/// A whole number; some write `1000.0`, and -1 where there is no limit.
fn count(value: &[u8]) -> Option<u64> {
    let number: f64 = std::str::from_utf8(value).ok()?.trim().parse().ok()?;
    (0.0..9e15).contains(&number).then_some(number as u64)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    /// `kind limit/remaining reset`, of headers as they stand on the tape.
    fn told(headers: &[(&str, &str)]) -> Vec<String> {
        let mut limits = Vec::new();
        let now = || UNIX_EPOCH + Duration::from_secs(1_795_249_800);
        for (name, value) in headers {
            read(&mut limits, name.as_bytes(), value.as_bytes(), now);
        }
        let number = |it: Option<u64>| it.map_or("-".to_owned(), |it| it.to_string());
        let text = |it: &RateLimit| {
            let reset = it.reset.map_or("-".to_owned(), |it| format!("{it:?}"));
            format!("{} {}/{} {reset}", it.kind, number(it.limit), number(it.remaining))
        };
        limits.iter().map(text).collect()
    }

    #[test]
    fn the_limits_of_openai_and_those_who_follow_it_are_read() {
        let found = told(&[
            ("x-ratelimit-limit-requests", "10000"),
            ("x-ratelimit-remaining-requests", "9999"),
            ("x-ratelimit-reset-requests", "6ms"),
            ("x-ratelimit-limit-tokens", "200000"),
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-tokens", "1m30s"),
            ("x-ratelimit-limit-input-images", "50000"),
            ("x-ratelimit-limit-tokens_usage_based", "1000.0"),
        ]);
        let expected = [
            "requests 10000/9999 6ms",
            "tokens 200000/0 90s",
            "input_images 50000/- -",
            "tokens_usage_based 1000/- -",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn anthropics_limits_end_at_moments() {
        let found = told(&[
            ("anthropic-ratelimit-requests-limit", "4000"),
            ("anthropic-ratelimit-requests-remaining", "3999"),
            ("anthropic-ratelimit-requests-reset", "2026-11-21T08:30:01Z"),
            ("anthropic-ratelimit-input-tokens-remaining", "400000"),
            ("anthropic-ratelimit-output-tokens-reset", "2026-11-21T08:29:59Z"),
        ]);
        let expected =
            ["requests 4000/3999 1s", "input_tokens -/400000 -", "output_tokens -/- 0ns"];
        assert_eq!(found, expected);
    }

    #[test]
    fn limits_of_several_periods_stand_beside_each_other() {
        let found = told(&[
            ("x-ratelimit-limit-req-minute", "360"),
            ("x-ratelimit-limit-tokens-minute", "20000000"),
            ("x-ratelimit-remaining-tokens-month", "199999999445"),
            ("x-ratelimit-limit", "600"),
            ("x-ratelimit-reset", "1795249810000"),
            ("x-tokenlimit-remaining", "7"),
        ]);
        let expected = [
            "requests_minute 360/- -",
            "tokens_minute 20000000/- -",
            "tokens_month -/199999999445 -",
            "requests 600/- 10s",
            "tokens -/7 -",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_no_limit_makes_no_entry() {
        let found = told(&[
            ("x-ratelimit-limit-requests", "-1"),
            ("x-ratelimit-reset-tokens", "later"),
            ("x-ratelimit-key", "gpt-5-nano"),
            ("x-ratelimit-renewalperiod-tokens", "60"),
            ("x-ratelimit-limit-anything-else", "3"),
            ("x-ratelimit-tokens-query-cost", "3"),
            ("anthropic-ratelimit-unified-status", "allowed"),
            ("anthropic-ratelimit-", "1"),
            ("x-ratelimit", "1"),
            ("\u{e9}", "1"),
        ]);
        assert_eq!(found, [""; 0]);
    }
}
