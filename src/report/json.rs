//! One exchange, or one call within a session, as one line of JSON. Knows no OpenTelemetry and no output.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};

use super::outcome::Outcome;
use super::{outcome, timing, tokens};
use crate::observe::observation::{Known, LimitHit, Note, Observation, Side, Units, Usage};

/// The main facts. What is not known is absent, never 0.
#[derive(Serialize)]
struct Facts<'a> {
    #[serde(serialize_with = "rfc3339")]
    time: SystemTime,
    level: &'static str,
    event: &'static str,
    #[serde(serialize_with = "hex")]
    trace_id: [u8; 16],
    #[serde(serialize_with = "hex")]
    span_id: [u8; 8],
    #[serde(skip_serializing_if = "Option::is_none")]
    turn: Option<i64>,
    ending: &'static str,
    method: &'a str,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_side: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit_cause: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_model: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    finish_reasons: Vec<&'a str>,
    stream: bool,
    #[serde(flatten)]
    tokens: Tokens,
    #[serde(skip_serializing_if = "Option::is_none")]
    images: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    characters: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_audio_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage_missing: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    estimated_input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    estimated_output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_usd: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_estimated_usd: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_basis: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unpriced: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_to_first_chunk_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<&'static str>,
}

/// Each kind of tokens that is known, by its name.
struct Tokens(Usage);

impl Serialize for Tokens {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(tokens::counts(&self.0).map(|(kind, count)| (kind.field, count)))
    }
}

/// One JSON object without a line feed, appended to `to`. `time` is the exchange's end.
pub(super) fn line(of: &Observation, outcome: &Outcome<'_>, to: &mut Vec<u8>) {
    // Plain strings and numbers into memory: nothing here can fail.
    drop(serde_json::to_writer(to, &facts(of, outcome)));
}

fn facts<'a>(of: &'a Observation, outcome: &Outcome<'_>) -> Facts<'a> {
    let call = of.operation.is_some();
    let usage = of.usage.value().copied();
    let Units { images, characters, input_audio_time, .. } = usage.unwrap_or_default().units;
    let cost = of.cost.value().filter(|_| call);
    let usd = cost.map(|it| it.total.usd());
    let is_told = outcome::is_cost_told(of);
    let upstream = of.upstream.as_deref();
    let (event, span) = super::spans::event(of);
    Facts {
        time: of.started + of.times.end,
        level: outcome.severity.as_str(),
        event,
        trace_id: of.ids.trace,
        span_id: *span,
        turn: super::spans::turn(of),
        ending: of.ending.as_str(),
        method: &of.http.method,
        path: &of.http.path,
        status: of.http.status,
        error_type: of.error_type.as_deref(),
        error_side: of.error_side.map(Side::as_str),
        rate_limit_cause: of.limit_hit.map(LimitHit::as_str),
        retry_after_seconds: of.http.retry_after.map(|it| it.as_secs_f64()),
        upstream: upstream.map(|it| it.name.as_str()),
        operation: of.operation.map(|it| it.as_str()),
        provider: upstream.filter(|_| call || usage.is_some()).map(|it| it.provider.as_str()),
        request_model: of.request.model.as_deref(),
        response_model: of.response.model.as_deref(),
        finish_reasons: outcome::finish_reasons(of).collect(),
        stream: of.response.streamed,
        tokens: Tokens(usage.unwrap_or_default()),
        images,
        characters,
        input_audio_seconds: input_audio_time.map(|it| it.as_secs_f64()),
        usage_missing: reason(&of.usage).filter(|_| call),
        estimated_input_tokens: of.estimate.and_then(|it| it.usage.input),
        estimated_output_tokens: of.estimate.and_then(|it| it.usage.output),
        cost_usd: usd.filter(|_| is_told),
        cost_estimated_usd: usd.filter(|_| !is_told),
        cost_basis: cost.map(|it| it.basis.as_str()),
        unpriced: reason(&of.cost).filter(|_| call),
        time_to_first_chunk_seconds: timing::time_to_first_chunk(of).map(|it| it.as_secs_f64()),
        duration_seconds: timing::duration(of).map(|it| it.as_secs_f64()),
        notes: of.notes.iter().copied().map(Note::as_str).collect(),
    }
}

/// Why a value is not known.
fn reason<T>(known: &Known<T>) -> Option<&'static str> {
    match known {
        Known::Value(_) => None,
        Known::Unknown(reason) => Some(reason),
    }
}

fn hex<const N: usize, S: Serializer>(id: &[u8; N], to: S) -> Result<S::Ok, S::Error> {
    let wide = id.iter().fold(0_u128, |sum, &byte| sum << 8 | u128::from(byte));
    to.collect_str(&format_args!("{wide:0width$x}", width = 2 * N))
}

/// UTC with milliseconds: `2026-11-21T05:04:03.002Z`.
fn rfc3339<S: Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
    let since: Duration = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, millis) = (since.as_secs(), since.subsec_millis());
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    to.collect_str(&format_args!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"
    ))
}

/// The civil date of a day since 1970 (Howard Hinnant, "chrono-compatible low-level date
/// algorithms"): years begin in March, so that the leap day is the last.
fn date(day: u64) -> (u64, u64, u64) {
    let shifted = day + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, of_year - (153 * march_month + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::super::{literals, outcome};
    use super::*;

    fn told(of: &Observation) -> String {
        let mut to = Vec::new();
        line(of, &outcome::of(of), &mut to);
        String::from_utf8(to).unwrap()
    }

    #[test]
    fn a_model_call_is_told_with_its_ids_usage_and_cost() {
        let expected = concat!(
            r#"{"time":"2025-11-05T00:00:01.200Z","level":"INFO","event":"clearspan.exchange","#,
            r#""trace_id":"abababababababababababababababab","span_id":"0101010101010101","#,
            r#""ending":"complete","method":"POST","path":"/v1/chat/completions","status":200,"#,
            r#""upstream":"openai","operation":"chat","provider":"openai","#,
            r#""request_model":"gpt-4o-mini","response_model":"gpt-4o-mini-2024-07-18","#,
            r#""finish_reasons":["stop"],"stream":true,"input_tokens":412,"#,
            r#""output_tokens":96,"cache_read_tokens":128,"cache_write_tokens":64,"reasoning_tokens":32,"#,
            r#""input_audio_tokens":5,"output_audio_tokens":6,"cost_usd":0.00012,"cost_basis":"computed","#,
            r#""time_to_first_chunk_seconds":0.31,"duration_seconds":1.2,"#,
            r#""notes":["request_torn","usage_suspicious"]}"#,
        );
        assert_eq!(told(&literals::streamed_chat()), expected);
    }

    #[test]
    fn what_is_billed_beside_tokens_is_told() {
        let found = told(&literals::media(literals::units()));
        let expected =
            r#""stream":false,"images":2,"characters":25,"input_audio_seconds":3.3,"cost"#;
        assert!(found.contains(expected), "{found}");
    }

    #[test]
    fn an_estimate_of_a_cost_stands_apart() {
        let found = told(&literals::estimated_chat());
        let expected = r#""estimated_output_tokens":37,"cost_estimated_usd":0.000084,"cost_basis":"estimated""#;
        assert!(found.contains(expected) && !found.contains("cost_usd"), "{found}");
        let mut stands_in = literals::estimated_chat();
        stands_in.estimate.as_mut().unwrap().stands_in = true;
        let found = told(&stands_in);
        assert!(found.contains(r#""cost_usd":0.000084"#) && !found.contains("cost_estimated"));
    }

    #[test]
    fn every_kind_of_tokens_that_is_known_is_told() {
        let found =
            told(&Observation { usage: Known::Value(literals::kinds()), ..literals::embeddings() });
        let expected = concat!(
            r#""stream":false,"input_tokens":100,"output_tokens":50,"cache_read_tokens":40,"#,
            r#""cache_write_tokens":30,"reasoning_tokens":20,"input_audio_tokens":10,"#,
            r#""output_audio_tokens":9,"cache_write_long_tokens":8,"cache_read_audio_tokens":7,"#,
            r#""cache_read_image_tokens":6,"input_image_tokens":5,"input_video_tokens":4,"#,
            r#""output_image_tokens":3,"cost"#,
        );
        assert!(found.contains(expected), "{found}");
    }

    #[test]
    fn usage_of_what_nobody_knows_is_told() {
        let found = told(&literals::unnamed());
        let expected = concat!(
            r#""upstream":"openai","provider":"openai","request_model":"new-1","#,
            r#""response_model":"new-1-large","stream":false,"input_tokens":3,"output_tokens":4,"#,
            r#""duration_seconds":1.2}"#,
        );
        assert!(found.ends_with(expected), "{found}");
    }

    #[test]
    fn a_call_within_a_session_names_its_place_and_its_own_span() {
        let expected = concat!(
            r#""event":"clearspan.turn","trace_id":"abababababababababababababababab","#,
            r#""span_id":"0707070707070707","turn":2,"ending":"complete","method":"GET","#,
        );
        assert!(told(&literals::turn()).contains(expected), "{}", told(&literals::turn()));
        assert!(told(&literals::session()).contains(r#""span_id":"0101010101010101","ending""#));
        let mut late = literals::turn();
        assert!(told(&late).contains("duration_seconds"));
        late.notes = vec![Note::BeginningUnseen];
        assert!(!told(&late).contains("duration_seconds"), "when it began nobody saw");
    }

    #[test]
    fn what_is_not_a_model_call_says_nothing_of_usage() {
        let expected = concat!(
            r#"{"time":"2025-11-05T00:00:00.000Z","level":"WARN","event":"clearspan.exchange","#,
            r#""trace_id":"abababababababababababababababab","span_id":"0101010101010101","#,
            r#""ending":"proxy_error","method":"POST","path":"/v2/nowhere","status":404,"#,
            r#""error_type":"no_route","error_side":"client","stream":false,"duration_seconds":0.0004}"#,
        );
        assert_eq!(told(&literals::no_route()), expected);
    }

    #[test]
    fn dates_are_right_around_leap_days() {
        let days = [0, 59, 60, 789, 790, 11_016, 20_762].map(date);
        let expected = [
            (1970, 1, 1),
            (1970, 3, 1),
            (1970, 3, 2),
            (1972, 2, 29),
            (1972, 3, 1),
            (2000, 2, 29),
            (2026, 11, 5),
        ];
        assert_eq!(days, expected);
    }
}
