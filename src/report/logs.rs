//! One exchange, or one call within a session, as one OTLP log record. Knows how it is encoded, not how it is sent.

use std::time::UNIX_EPOCH;

use super::names;
use super::outcome::{Outcome, Severity};
use super::protobuf::{self, AttributeLimits, Attributes};
use super::timing::{self, nanos};
use super::{spans, usage};
use crate::observe::observation::Observation;

/// `ScopeLogs.log_records`.
const RECORDS: u32 = 2;
/// Field numbers of `LogRecord`.
const TIME: u32 = 1;
const SEVERITY_NUMBER: u32 = 2;
const SEVERITY_TEXT: u32 = 3;
const BODY: u32 = 5;
const ATTRIBUTES: u32 = 6;
const DROPPED: u32 = 7;
const FLAGS: u32 = 8;
const TRACE_ID: u32 = 9;
const SPAN_ID: u32 = 10;
const OBSERVED: u32 = 11;
const EVENT_NAME: u32 = 12;

/// Appends the record as one element of `ScopeLogs.log_records`. Its body is `line`, its trace
/// context the SERVER span's (a turn's: its CLIENT span's) with these trace flags, its time the end.
pub(super) fn write(
    of: &Observation,
    outcome: &Outcome<'_>,
    line: &str,
    (flags, limits): (u8, AttributeLimits),
    scratch: &mut Vec<u8>,
    to: &mut Vec<u8>,
) {
    scratch.clear();
    let end = of.started.duration_since(UNIX_EPOCH).unwrap_or_default() + of.times.end;
    let number = match outcome.severity {
        Severity::Info => 9,
        Severity::Warn => 13,
        Severity::Error => 17,
    };
    protobuf::fixed64(scratch, TIME, nanos(end));
    protobuf::number(scratch, SEVERITY_NUMBER, number);
    protobuf::bytes(scratch, SEVERITY_TEXT, outcome.severity.as_str().as_bytes());
    protobuf::length(scratch, BODY, protobuf::size(line.len()));
    protobuf::bytes(scratch, 1, line.as_bytes());
    let mut written = Attributes::new(scratch, ATTRIBUTES, limits);
    attributes(&mut written, of, outcome);
    written.finish(DROPPED);
    protobuf::fixed32(scratch, FLAGS, u32::from(flags));
    protobuf::bytes(scratch, TRACE_ID, &of.ids.trace);
    let (event, span) = spans::event(of);
    protobuf::bytes(scratch, SPAN_ID, span);
    protobuf::fixed64(scratch, OBSERVED, nanos(end));
    protobuf::bytes(scratch, EVENT_NAME, event.as_bytes());
    protobuf::bytes(to, RECORDS, scratch);
}

fn attributes(to: &mut Attributes<'_>, of: &Observation, outcome: &Outcome<'_>) {
    to.text(names::ENDING, of.ending.as_str());
    to.some_int(names::TURN, spans::turn(of));
    to.some_text(names::ERROR_TYPE, outcome.client);
    spans::trouble(to, of);
    to.text(names::METHOD, spans::method(&of.http.method).unwrap_or(names::UNKNOWN_METHOD));
    to.some_text(names::ROUTE, of.http.route);
    to.text(names::URL_PATH, &of.http.path);
    to.some_int(names::STATUS, of.http.status);
    spans::notes(to, of);
    let Some(upstream) = of.upstream.as_deref() else { return };
    to.text(names::UPSTREAM, &upstream.name);
    let Some(operation) = of.operation else { return usage::of_unknown(to, of, upstream) };
    to.text(names::OPERATION, operation.as_str());
    to.text(names::PROVIDER, &upstream.provider);
    to.some_text(names::REQUEST_MODEL, of.request.model.as_deref());
    to.some_text(names::RESPONSE_MODEL, of.response.model.as_deref());
    let first = timing::time_to_first_chunk(of).map(|it| it.as_secs_f64());
    to.some_double(names::TIME_TO_FIRST_CHUNK, first);
    usage::and_cost(to, of);
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    use opentelemetry_proto::tonic::logs::v1::{LogRecord, ScopeLogs};
    use prost::Message as _;

    use super::super::{literals, outcome};
    use super::*;

    fn record(of: &Observation) -> LogRecord {
        let (mut scratch, mut to) = (vec![1, 2, 3], Vec::new());
        let how = (of.ids.flags, AttributeLimits::default());
        write(of, &outcome::of(of), "the line", how, &mut scratch, &mut to);
        let mut records = ScopeLogs::decode(&to[..]).unwrap().log_records;
        assert_eq!(records.len(), 1);
        records.remove(0)
    }

    #[test]
    fn a_record_stands_in_its_trace_and_says_the_line() {
        let record = record(&literals::rate_limited());
        assert_eq!(record.event_name, "clearspan.exchange");
        assert_eq!((record.severity_number, record.severity_text.as_str()), (13, "WARN"));
        assert_eq!(record.body.unwrap().value, Some(Value::StringValue("the line".to_owned())));
        assert_eq!((record.trace_id, record.span_id), (vec![0xab; 16], vec![1; 8]));
        assert_eq!(record.flags, 1);
        assert_eq!(record.time_unix_nano, 1_762_300_801_200_000_000);
        assert_eq!(record.observed_time_unix_nano, record.time_unix_nano);
        let expected = [
            r#"clearspan.ending="error_status""#,
            r#"error.type="rate_limit_exceeded""#,
            r#"clearspan.error.side="client""#,
            r#"clearspan.rate_limit.cause="rate_limit""#,
            "clearspan.retry_after=1.5",
            "clearspan.should_retry=false",
            r#"http.request.method="POST""#,
            r#"http.route="/v1/chat/completions""#,
            r#"url.path="/v1/chat/completions""#,
            "http.response.status_code=429",
            r#"clearspan.upstream="openai""#,
            r#"gen_ai.operation.name="chat""#,
            r#"gen_ai.provider.name="openai""#,
            r#"gen_ai.request.model="gpt-4o""#,
            r#"clearspan.usage.missing="error""#,
            r#"clearspan.cost.unpriced="no_usage""#,
        ];
        assert_eq!(literals::told(&record.attributes), expected);
    }

    #[test]
    fn a_call_within_a_session_has_a_record_that_stands_in_its_own_span() {
        let record = record(&literals::turn());
        assert_eq!((record.event_name.as_str(), record.span_id), ("clearspan.turn", vec![7; 8]));
        assert!(literals::told(&record.attributes).contains(&"clearspan.turn=2".to_owned()));
    }

    #[test]
    fn usage_of_what_nobody_knows_and_notes_are_told() {
        let told = |of: &Observation| literals::told(&record(of).attributes);
        let usage = "gen_ai.usage.output_tokens=4".to_owned();
        assert_eq!(told(&literals::unnamed()).last(), Some(&usage));
        let notes = r#"clearspan.notes=["request_torn","usage_suspicious"]"#.to_owned();
        assert!(told(&literals::streamed_chat()).contains(&notes));
    }

    #[test]
    fn a_refusal_of_our_own_says_its_reason() {
        let record = record(&literals::no_route());
        let expected = [
            r#"clearspan.ending="proxy_error""#,
            r#"error.type="no_route""#,
            r#"clearspan.error.side="client""#,
            r#"http.request.method="POST""#,
            r#"url.path="/v2/nowhere""#,
            "http.response.status_code=404",
        ];
        assert_eq!(literals::told(&record.attributes), expected);
    }

    #[test]
    fn the_model_that_answered_is_told_beside_the_one_that_was_asked_for() {
        let told = literals::told(&record(&literals::streamed_chat()).attributes);
        let model = |name: &str| told.iter().any(|it| it.starts_with(name));
        assert!(model("gen_ai.request.model=") && model("gen_ai.response.model="), "{told:?}");
    }
}
