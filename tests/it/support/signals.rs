//! What the collector received, as plain values a test can compare. Knows OTLP's messages, and
//! nothing of who sent them.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{metric, number_data_point};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1 as otlp;
use serde_json::{Value, json};

/// Attributes by key; a test reads them as JSON.
pub(crate) type Attributes = BTreeMap<String, Value>;

/// A span.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) name: String,
    /// `SERVER`, `CLIENT`, `INTERNAL`.
    pub(crate) kind: &'static str,
    /// Lower-case hex.
    pub(crate) trace: String,
    /// Lower-case hex.
    pub(crate) id: String,
    /// Lower-case hex, empty for a root.
    pub(crate) parent: String,
    /// Nanoseconds since 1970.
    pub(crate) start: u64,
    /// Nanoseconds since 1970.
    pub(crate) end: u64,
    /// `unset`, `ok`, `error`.
    pub(crate) status: &'static str,
    /// The status' description.
    pub(crate) message: String,
    pub(crate) attributes: Attributes,
    pub(crate) resource: Attributes,
    pub(crate) schema: String,
}

/// One point of a metric.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    pub(crate) metric: String,
    pub(crate) unit: String,
    pub(crate) attributes: Attributes,
    /// A sum's or gauge's value, a histogram's sum.
    pub(crate) value: f64,
    /// A histogram's count.
    pub(crate) count: Option<u64>,
    /// An exponential histogram's scale.
    pub(crate) scale: Option<i32>,
    /// A histogram's bounds.
    pub(crate) bounds: Vec<f64>,
    /// Whether it counts from the export before, not from the start.
    pub(crate) delta: bool,
    pub(crate) resource: Attributes,
}

/// A log record.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    pub(crate) event: String,
    pub(crate) severity: i32,
    pub(crate) body: Value,
    pub(crate) trace: String,
    pub(crate) span: String,
    pub(crate) attributes: Attributes,
    pub(crate) resource: Attributes,
}

/// Spans of one export.
pub(crate) fn spans(export: ExportTraceServiceRequest) -> Vec<Span> {
    let mut spans = Vec::new();
    for group in export.resource_spans {
        let resource = resource(group.resource);
        for scope in group.scope_spans {
            let schema =
                if scope.schema_url.is_empty() { &group.schema_url } else { &scope.schema_url };
            spans.extend(scope.spans.into_iter().map(|it| span(it, &resource, schema)));
        }
    }
    spans
}

fn span(span: otlp::Span, resource: &Attributes, schema: &str) -> Span {
    let status = span.status.clone().unwrap_or_default();
    Span {
        kind: match span.kind() {
            otlp::span::SpanKind::Server => "SERVER",
            otlp::span::SpanKind::Client => "CLIENT",
            otlp::span::SpanKind::Internal => "INTERNAL",
            _ => "other",
        },
        name: span.name,
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        start: span.start_time_unix_nano,
        end: span.end_time_unix_nano,
        status: match status.code() {
            otlp::status::StatusCode::Unset => "unset",
            otlp::status::StatusCode::Ok => "ok",
            otlp::status::StatusCode::Error => "error",
        },
        message: status.message,
        attributes: attributes(span.attributes),
        resource: resource.clone(),
        schema: schema.to_owned(),
    }
}

/// `AggregationTemporality`.
const DELTA: i32 = 1;

/// Points of one export.
pub(crate) fn points(export: ExportMetricsServiceRequest) -> Vec<Point> {
    let mut points = Vec::new();
    for group in export.resource_metrics {
        let resource = resource(group.resource);
        let metrics = group.scope_metrics.into_iter().flat_map(|scope| scope.metrics);
        for metric in metrics {
            let base = |given| Point {
                metric: metric.name.clone(),
                unit: metric.unit.clone(),
                attributes: attributes(given),
                value: 0.0,
                count: None,
                bounds: Vec::new(),
                scale: None,
                delta: false,
                resource: resource.clone(),
            };
            let number = |it: opentelemetry_proto::tonic::metrics::v1::NumberDataPoint| Point {
                value: match it.value {
                    Some(number_data_point::Value::AsInt(value)) => value as f64,
                    Some(number_data_point::Value::AsDouble(value)) => value,
                    None => f64::NAN,
                },
                ..base(it.attributes)
            };
            match metric.data.clone() {
                Some(metric::Data::Sum(sum)) => {
                    let delta = sum.aggregation_temporality == DELTA;
                    let sums = sum.data_points.into_iter().map(number);
                    points.extend(sums.map(|it| Point { delta, ..it }));
                }
                Some(metric::Data::Gauge(gauge)) => {
                    points.extend(gauge.data_points.into_iter().map(number));
                }
                Some(metric::Data::Histogram(histogram)) => {
                    points.extend(histogram.data_points.into_iter().map(|it| Point {
                        value: it.sum.unwrap_or(f64::NAN),
                        count: Some(it.count),
                        bounds: it.explicit_bounds,
                        delta: histogram.aggregation_temporality == DELTA,
                        ..base(it.attributes)
                    }));
                }
                Some(metric::Data::ExponentialHistogram(histogram)) => {
                    points.extend(histogram.data_points.into_iter().map(|it| Point {
                        value: it.sum.unwrap_or(f64::NAN),
                        count: Some(it.count),
                        scale: Some(it.scale),
                        delta: histogram.aggregation_temporality == DELTA,
                        ..base(it.attributes)
                    }));
                }
                other => panic!("a metric of an unexpected kind: {other:?}"),
            }
        }
    }
    points
}

/// Log records of one export.
pub(crate) fn logs(export: ExportLogsServiceRequest) -> Vec<Log> {
    let mut logs = Vec::new();
    for group in export.resource_logs {
        let resource = resource(group.resource);
        for record in group.scope_logs.into_iter().flat_map(|scope| scope.log_records) {
            logs.push(Log {
                event: record.event_name,
                severity: record.severity_number,
                body: record.body.map_or(Value::Null, value),
                trace: hex(&record.trace_id),
                span: hex(&record.span_id),
                attributes: attributes(record.attributes),
                resource: resource.clone(),
            });
        }
    }
    logs
}

fn resource(resource: Option<Resource>) -> Attributes {
    attributes(resource.unwrap_or_default().attributes)
}

fn attributes(pairs: Vec<KeyValue>) -> Attributes {
    let count = pairs.len();
    let attributes: Attributes =
        pairs.into_iter().map(|pair| (pair.key, pair.value.map_or(Value::Null, value))).collect();
    assert_eq!(attributes.len(), count, "an attribute stands twice: {attributes:?}");
    attributes
}

fn value(any: AnyValue) -> Value {
    match any.value {
        Some(any_value::Value::StringValue(it)) => json!(it),
        Some(any_value::Value::BoolValue(it)) => json!(it),
        Some(any_value::Value::IntValue(it)) => json!(it),
        Some(any_value::Value::DoubleValue(it)) => json!(it),
        Some(any_value::Value::ArrayValue(it)) => it.values.into_iter().map(value).collect(),
        Some(any_value::Value::KvlistValue(it)) => {
            let pairs = it.values.into_iter();
            pairs.map(|pair| (pair.key, pair.value.map_or(Value::Null, value))).collect()
        }
        other => panic!("an attribute of an unexpected kind: {other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
