//! Reporting as a whole: what is declared is what is emitted, and `/metrics` says what it should.
//! Knows no endpoint's faults.

use std::collections::BTreeSet;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use prost::Message as _;

use super::receiver::{Answer, Receiver};
use super::settings::{AttributeLimits, Batching, Exporter, Limits, Sampler};
use super::*;
use crate::observe::observation::{Known, Note};

pub(super) fn settings(exporters: Vec<Exporter>) -> Settings {
    let soon = Batching { delay: Duration::from_millis(10), ..Batching::default() };
    Settings {
        resource: vec![("service.name".to_owned(), "clearspan".to_owned())],
        exporters,
        cost_histogram: true,
        phase_spans: false,
        lines: Lines::Off,
        sampler: Sampler::default(),
        span_attributes: AttributeLimits::default(),
        log_attributes: AttributeLimits::default(),
        limits: Limits { spans: soon, logs: soon, ..Limits::default() },
    }
}

pub(super) fn sources() -> Sources {
    Sources {
        listen: Some(("127.0.0.1".to_owned(), Some(4319))),
        active: Box::new(|| 3),
        unread: Box::new(|| 7),
        torn: Box::new(|| 4),
        dropped: Box::new(|| 5),
        lost: Box::new(|| 6),
        reloads_taken: Box::new(|| 8),
        reloads_refused: Box::new(|| 9),
        configured_at: Box::new(|| 10),
    }
}

pub(super) fn nowhere() -> Output {
    Output { to: Box::new(io::sink()), colour: false }
}

fn started(settings: Settings) -> (Reporter, Handle) {
    start(settings, sources(), nowhere()).unwrap()
}

/// Samples but those of buckets, without comments.
fn samples(handle: &Handle) -> Vec<String> {
    let (_, text) = handle.metrics_text(None);
    let kept = |line: &&str| !line.starts_with('#') && !line.contains("_bucket{");
    text.lines().filter(kept).map(str::to_owned).collect()
}

fn with_prefix(handle: &Handle, prefix: &str) -> Vec<String> {
    samples(handle).into_iter().filter(|it| it.starts_with(prefix)).collect()
}

#[test]
fn what_is_declared_is_what_is_emitted() {
    let receiver = Receiver::start(|_| Answer::status(200));
    let (reporter, handle) = start(
        Settings { lines: Lines::Json, ..settings(vec![receiver.exporter()]) },
        sources(),
        nowhere(),
    )
    .unwrap();
    let all = literals::all().into_iter().chain([
        literals::resold(),
        literals::estimated_chat(),
        literals::media(literals::units()),
        Observation { usage: Known::Value(literals::kinds()), ..literals::embeddings() },
        literals::session(),
        literals::turn(),
    ]);
    all.for_each(|it| reporter.report(&it));
    handle.flush(Duration::from_secs(10));
    let mut keys = BTreeSet::new();
    let mut metrics = BTreeSet::new();
    for got in receiver.all() {
        match got.path.as_str() {
            "/v1/traces" => keys.extend(span_keys(&got.body)),
            "/v1/logs" => keys.extend(log_keys(&got.body)),
            _ => metric_names(&got.body, &mut metrics, &mut keys),
        }
    }
    let declared: BTreeSet<_> = names::ATTRIBUTES.iter().map(|it| it.0.to_owned()).collect();
    assert_eq!(keys, declared);
    let declared: BTreeSet<_> = names::METRICS
        .iter()
        .map(|it| (it.name.to_owned(), it.unit.to_owned(), it.meaning.to_owned()))
        .collect();
    assert_eq!(metrics, declared);
    assert_eq!(declared.len(), names::METRICS.len(), "no name twice");
}

fn span_keys(body: &[u8]) -> Vec<String> {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    let scopes = request.resource_spans.into_iter().flat_map(|it| it.scope_spans);
    let spans = scopes.flat_map(|it| it.spans);
    spans.flat_map(|it| it.attributes).map(|it| it.key).collect()
}

fn log_keys(body: &[u8]) -> Vec<String> {
    let request = ExportLogsServiceRequest::decode(body).unwrap();
    let scopes = request.resource_logs.into_iter().flat_map(|it| it.scope_logs);
    let records = scopes.flat_map(|it| it.log_records);
    records.flat_map(|it| it.attributes).map(|it| it.key).collect()
}

type Described = BTreeSet<(String, String, String)>;

fn metric_names(body: &[u8], names: &mut Described, keys: &mut BTreeSet<String>) {
    let request = ExportMetricsServiceRequest::decode(body).unwrap();
    let scopes = request.resource_metrics.into_iter().flat_map(|it| it.scope_metrics);
    for metric in scopes.flat_map(|it| it.metrics) {
        let attributes: Vec<KeyValue> = match metric.data.unwrap() {
            Data::Gauge(it) => it.data_points.into_iter().flat_map(|it| it.attributes).collect(),
            Data::Sum(it) => it.data_points.into_iter().flat_map(|it| it.attributes).collect(),
            Data::Histogram(it) => {
                it.data_points.into_iter().flat_map(|it| it.attributes).collect()
            }
            other => panic!("{other:?}"),
        };
        keys.extend(attributes.into_iter().map(|it| it.key));
        names.insert((metric.name, metric.unit, metric.description));
    }
}

#[test]
fn metrics_say_what_each_exchange_was() {
    let (reporter, handle) = started(settings(vec![]));
    literals::all().iter().for_each(|it| reporter.report(it));
    // All samples but those of buckets.
    let expected: Vec<_> = include_str!("whole.txt").lines().collect();
    assert_eq!(samples(&handle), expected);
}

/// What was written so far, kept for the test.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What reporting two exchanges writes.
fn written(lines: Lines, colour: bool) -> String {
    let kept = Kept::default();
    let output = Output { to: Box::new(kept.clone()), colour };
    let settings = Settings { lines, ..settings(vec![]) };
    let (reporter, handle) = start(settings, sources(), output).unwrap();
    reporter.report(&literals::no_route());
    reporter.clone().report(&literals::unknown_path());
    handle.flush(Duration::from_secs(10));
    reporter.report(&literals::no_route());
    let text = kept.0.lock().unwrap().clone();
    String::from_utf8(text).unwrap()
}

#[test]
fn lines_are_written_as_they_were_asked_for_and_none_after_the_flush() {
    let person = "POST /v2/nowhere → 404 no_route  0.4 ms\nPURGE /v1/files/abc → 200  1.2 s\n";
    assert_eq!(written(Lines::Terminal, false), person);
    let coloured = written(Lines::Terminal, true);
    assert_eq!(coloured.matches("\u{1b}[0m").count(), 2, "{coloured}");
    assert_eq!(written(Lines::Off, true), "");
    let json = written(Lines::Json, true);
    let lines: Vec<serde_json::Value> =
        json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["error_type"], "no_route");
    assert_eq!(lines[1]["status"], 200);
}

#[test]
fn gaps_are_recorded_each_and_one_fewer_than_chunks() {
    let (reporter, handle) = started(settings(vec![]));
    let chat = literals::streamed_chat();
    reporter.report(&chat);
    let name = "gen_ai_client_operation_time_per_output_chunk_seconds_count";
    let counts = with_prefix(&handle, name);
    assert_eq!(counts.len(), 1);
    assert!(counts[0].ends_with(&format!(" {}", chat.response.chunks - 1)), "{counts:?}");
}

#[test]
fn a_gap_counts_on_its_side_of_the_objective() {
    let (reporter, handle) = started(settings(vec![]));
    let mut chat = literals::embeddings();
    for gap in [2_900, 3_000, 3_100, 3_200] {
        chat.gaps.add(Duration::from_millis(gap));
    }
    reporter.report(&chat);
    let (_, text) = handle.metrics_text(None);
    let name = "gen_ai_client_operation_time_per_output_chunk_seconds_bucket";
    let below = text.lines().find(|it| it.starts_with(name) && it.contains("le=\"3\""));
    let below = below.unwrap_or_else(|| panic!("{text}"));
    assert!(below.ends_with(" 2"), "{below}");
}

#[test]
fn usage_of_what_nobody_knows_is_told() {
    let (reporter, handle) = started(settings(vec![]));
    reporter.report(&literals::unnamed());
    let told = with_prefix(&handle, "clearspan_tokens_total");
    assert_eq!(told.len(), 2);
    let labels = "clearspan_upstream=\"openai\",gen_ai_provider_name=\"openai\",\
        gen_ai_request_model=\"new-1\",gen_ai_response_model=\"new-1-large\"}";
    assert_eq!(
        told[0],
        format!("clearspan_tokens_total{{clearspan_token_kind=\"input\",{labels} 3")
    );
    // The conventions' histogram is of operations that have a name.
    assert_eq!(with_prefix(&handle, "gen_ai_client"), [""; 0]);
    assert_eq!(with_prefix(&handle, "clearspan_unpriced"), [""; 0]);
}

#[test]
fn what_was_not_answered_was_not_left_unpriced() {
    for (missing, count) in [("error", 0), ("no_answer", 0), ("cut", 1)] {
        let (reporter, handle) = started(settings(vec![]));
        let failed = Observation { usage: Known::Unknown(missing), ..literals::rate_limited() };
        reporter.report(&failed);
        assert_eq!(with_prefix(&handle, "clearspan_unpriced").len(), count, "{missing}");
        assert_eq!(with_prefix(&handle, "clearspan_usage_missing").len(), 1);
    }
}

#[test]
fn notes_are_counted_by_upstream() {
    let (reporter, handle) = started(settings(vec![]));
    (0..3).for_each(|_| reporter.report(&literals::streamed_chat()));
    let expected = ["request_torn", "usage_suspicious"].map(|note| {
        format!(
            "clearspan_notes_total{{clearspan_note=\"{note}\",clearspan_upstream=\"openai\"}} 3"
        )
    });
    assert_eq!(with_prefix(&handle, "clearspan_notes_total"), expected);
}

#[test]
fn a_call_whose_beginning_nobody_saw_has_no_duration() {
    for (notes, count) in [(vec![], 1), (vec![Note::BeginningUnseen], 0)] {
        let (reporter, handle) = started(settings(vec![]));
        reporter.report(&Observation { notes, ..literals::turn() });
        let name = "gen_ai_client_operation_duration_seconds_count";
        assert_eq!(with_prefix(&handle, name).len(), count);
        assert!(!with_prefix(&handle, "clearspan_tokens_total").is_empty());
    }
}

#[test]
fn model_names_past_the_limit_share_one_series() {
    let mut bounded = settings(vec![]);
    bounded.limits.label_values = 2;
    let (reporter, handle) = started(bounded);
    let other = reporter.clone();
    for model in ["a", "b", "c", "d"] {
        let mut limited = literals::rate_limited();
        limited.request.model = Some(model.to_owned());
        reporter.report(&limited);
        other.report(&limited);
    }
    let counts = with_prefix(&handle, "gen_ai_client_operation_duration_seconds_count");
    let models: Vec<_> = counts
        .iter()
        .map(|it| {
            let model = it.split("request_model=\"").nth(1).and_then(|it| it.split('"').next());
            (model.unwrap(), it.rsplit(' ').next().unwrap())
        })
        .collect();
    assert_eq!(models, [("_other", "4"), ("a", "2"), ("b", "2")]);
}

#[test]
fn a_worker_that_sees_more_series_than_it_keeps_bound_still_adds_up() {
    let mut bounded = settings(vec![]);
    bounded.limits.series = 2;
    let (reporter, handle) = started(bounded);
    for _ in 0..10 {
        literals::all().iter().for_each(|it| reporter.report(it));
    }
    let sum: u64 = with_prefix(&handle, "clearspan_requests_total")
        .iter()
        .map(|it| it.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(sum, 70);
    let overflow = with_prefix(&handle, "clearspan_requests_total{otel_metric_overflow");
    assert_eq!(overflow.len(), 1, "the limit on series holds");
}

#[test]
fn without_the_cost_histogram_only_the_counter_is_there() {
    let (reporter, handle) = started(Settings { cost_histogram: false, ..settings(vec![]) });
    reporter.report(&literals::streamed_chat());
    assert_eq!(with_prefix(&handle, "gen_ai_usage_cost").len(), 0);
    assert_eq!(with_prefix(&handle, "clearspan_cost_USD_total").len(), 1);
}
