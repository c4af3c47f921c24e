//! What reporting needs to be told. Built by `config`, or from literals in a test.

use std::time::Duration;

pub use super::protobuf::{AttributeLimits, LONGEST_VALUE};
pub use super::sampler::{Root, Sampler};
pub use super::tls::{BadPem, Tls};
pub use crate::egress::Proxy;

/// Everything that reporting needs to be told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The resource all telemetry belongs to: `service.name` and what `OTEL_RESOURCE_ATTRIBUTES` says.
    pub resource: Vec<(String, String)>,
    /// Where telemetry is sent; none: only `/metrics` and the lines.
    pub exporters: Vec<Exporter>,
    /// Record the histogram `gen_ai.usage.cost` (`telemetry.cost_histogram`, true).
    pub cost_histogram: bool,
    /// Emit a span for each phase of an exchange too (`telemetry.phase_spans`, false).
    pub phase_spans: bool,
    /// Which exchanges get spans (`OTEL_TRACES_SAMPLER`, `parentbased_always_on`).
    pub sampler: Sampler,
    /// Bounds of a span's attributes (`OTEL_SPAN_ATTRIBUTE_*`).
    pub span_attributes: AttributeLimits,
    /// Bounds of a log record's attributes (`OTEL_LOGRECORD_ATTRIBUTE_*`).
    pub log_attributes: AttributeLimits,
    /// One line for each exchange on standard output.
    pub lines: Lines,
    /// The bounds of reporting.
    pub limits: Limits,
}

/// One OTLP destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exporter {
    /// How it is spoken to.
    pub protocol: Protocol,
    /// Full URL for spans (`http://127.0.0.1:4318/v1/traces`; over gRPC the method's); absent: spans
    /// are not sent.
    pub traces: Option<http::Uri>,
    /// Full URL for metrics.
    pub metrics: Option<http::Uri>,
    /// Full URL for log records.
    pub logs: Option<http::Uri>,
    /// Sent with each export: name and value.
    pub headers: Vec<(http::HeaderName, Secret)>,
    /// Bodies are gzipped.
    pub gzip: bool,
    /// The longest that one export may take, its retries included (`OTEL_EXPORTER_OTLP_TIMEOUT`, 10 s).
    pub timeout: Duration,
    /// From when the sums count that it gets.
    pub temporality: Temporality,
    /// What the histograms that it gets are made of.
    pub histograms: Histograms,
    /// Trust where a URL is https.
    pub tls: Tls,
    /// The egress proxy before its host.
    pub proxy: Option<Proxy>,
}

impl Exporter {
    /// Where it sends, for a person: without the methods' names, which gRPC prescribes.
    pub fn destinations(&self) -> Vec<String> {
        let signals = [("traces", &self.traces), ("metrics", &self.metrics), ("logs", &self.logs)];
        let signals = signals.into_iter().filter_map(|(name, uri)| Some((name, uri.as_ref()?)));
        match self.protocol {
            Protocol::Http => signals.map(|(_, uri)| uri.to_string()).collect(),
            Protocol::Grpc => {
                let host = |uri: &http::Uri| {
                    let (scheme, authority) = (uri.scheme_str(), uri.authority());
                    let authority = authority.map(http::uri::Authority::as_str);
                    format!("{}://{}", scheme.unwrap_or_default(), authority.unwrap_or_default())
                };
                let (names, hosts): (Vec<_>, Vec<_>) =
                    signals.map(|(name, uri)| (name, host(uri))).unzip();
                let place = hosts.into_iter().next().unwrap_or_default();
                vec![format!("{place} (gRPC: {})", names.join(", "))]
            }
        }
    }
}

/// What carries OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `http/protobuf`.
    Http,
    /// `grpc`.
    Grpc,
}

/// From when sums and histograms count
/// (`OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE`); `/metrics` is cumulative in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Temporality {
    /// From the start of the process.
    Cumulative,
    /// From the export before.
    Delta,
    /// As delta where that saves the process memory: counters and histograms, not observed sums.
    LowMemory,
}

/// What histograms are made of (`OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION`); those of
/// `/metrics` are explicit in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Histograms {
    /// Buckets with the bounds that `names` says.
    Explicit,
    /// Buckets of base 2: at most 160, as fine as the values allow. Each series is then kept twice.
    Exponential,
}

/// A value that prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub http::HeaderValue);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// How an exchange is told on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// One line for a person, where standard output is a terminal.
    Terminal,
    /// One JSON object a line.
    Json,
    /// Nothing.
    Off,
}

/// Bounds of reporting.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes that may wait for one exporter and signal (`export_queue`, 32 MiB).
    pub queue: usize,
    /// How spans are gathered (`OTEL_BSP_*`).
    pub spans: Batching,
    /// How log records are gathered (`OTEL_BLRP_*`).
    pub logs: Batching,
    /// Between exports of metrics (`OTEL_METRIC_EXPORT_INTERVAL`, 60 s).
    pub metric_interval: Duration,
    /// The longest that one export of metrics may take, beside what its exporter allows
    /// (`OTEL_METRIC_EXPORT_TIMEOUT`; without it no further limit).
    pub metric_timeout: Option<Duration>,
    /// Different values of a label that clients choose (model names) before the rest is `_other`
    /// (`label_values`, 200).
    pub label_values: usize,
    /// Attribute sets for one instrument (`series`, 2000).
    pub series: usize,
    /// Attribute sets for one histogram, each of which is as many lines of `/metrics` as it has buckets,
    /// and three more (`histogram_series`, 500).
    pub histogram_series: usize,
    /// From the end of the drain until what is still unsent is given up (`flush_seconds`, 2).
    pub flush: Duration,
}

/// How the records of a signal are gathered into exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batching {
    /// Records in one export (`…_MAX_EXPORT_BATCH_SIZE`, 512).
    pub records: usize,
    /// Records that may wait (`…_MAX_QUEUE_SIZE`; without it only their bytes are limited).
    pub queue: usize,
    /// How long records may wait for a batch to fill (`…_SCHEDULE_DELAY`; without it 1 s, for spans
    /// shorter than the specification's 5 s so that a person sees them come).
    pub delay: Duration,
    /// The longest that one export may take, beside what its exporter allows (`…_EXPORT_TIMEOUT`;
    /// without it no further limit).
    pub timeout: Option<Duration>,
}

impl Default for Batching {
    fn default() -> Self {
        Self { records: 512, queue: usize::MAX, delay: Duration::from_secs(1), timeout: None }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue: 32 << 20,
            spans: Batching::default(),
            logs: Batching::default(),
            metric_interval: Duration::from_secs(60),
            metric_timeout: None,
            label_values: 200,
            series: 2000,
            histogram_series: 500,
            flush: Duration::from_secs(2),
        }
    }
}
