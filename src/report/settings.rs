//! What reporting needs to be told. Built by `config`, or from literals in a test.

use std::time::Duration;

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
    /// One line for each exchange on standard output.
    pub lines: Lines,
    /// The bounds of reporting.
    pub limits: Limits,
}

/// One OTLP destination over http/protobuf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exporter {
    /// Full URL for spans (`http://127.0.0.1:4318/v1/traces`); absent: spans are not sent.
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
    /// Spans or log records in one export (`OTEL_BSP_MAX_EXPORT_BATCH_SIZE`, 512).
    pub batch: usize,
    /// How long spans and log records may wait for a batch to fill (`OTEL_BSP_SCHEDULE_DELAY`;
    /// without it 1 s, shorter than the specification's 5 s so that a person sees them come).
    pub delay: Duration,
    /// Between exports of metrics (`OTEL_METRIC_EXPORT_INTERVAL`, 60 s).
    pub metric_interval: Duration,
    /// Different values of a label that clients choose (model names) before the rest is `_other`
    /// (`label_values`, 200).
    pub label_values: usize,
    /// Attribute sets for one instrument (`series`, 2000).
    pub series: usize,
    /// From the end of the drain until what is still unsent is given up (`flush_seconds`, 2).
    pub flush: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue: 32 << 20,
            batch: 512,
            delay: Duration::from_secs(1),
            metric_interval: Duration::from_secs(60),
            label_values: 200,
            series: 2000,
            flush: Duration::from_secs(2),
        }
    }
}
