//! Aggregation: the SDK's meter, one manual reader that serves both OTLP and `/metrics`, and what
//! is only read when collecting. Knows no exporter and no text format.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use opentelemetry::metrics::{Meter, MeterProvider as _};
use opentelemetry_proto::tonic::metrics::v1::{self as pb, metric::Data};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{
    self as sdk, Aggregation, Instrument, InstrumentKind, ManualReader, Pipeline, SdkMeterProvider,
    Stream,
};

use super::Sources;
use super::headroom::Headroom;
use super::labels::Labels;
use super::names::{self, Instruments, Metric, Readings};
use super::queue::{Counts, Queue};
use super::series::{Recorder, Shared};
use super::settings::{Histograms, Settings, Temporality};
use super::stdout::Lines;

/// One signal to one endpoint, as its metrics show it.
#[derive(Clone, Debug)]
pub(super) struct Export {
    pub(super) signal: &'static str,
    pub(super) address: String,
    pub(super) port: u16,
    pub(super) state: State,
}

/// Spans and log records wait in a queue; metrics are collected when they are due.
#[derive(Clone, Debug)]
pub(super) enum State {
    Queue(Arc<Queue>),
    Counts(Arc<Counts>),
}

impl State {
    pub(super) fn counts(&self) -> &Counts {
        match self {
            Self::Queue(queue) => &queue.counts,
            Self::Counts(counts) => counts,
        }
    }

    fn waiting(&self) -> u64 {
        match self {
            Self::Queue(queue) => queue.bytes() as u64,
            Self::Counts(_) => 0,
        }
    }
}

/// The aggregated metrics of the process.
#[derive(Debug)]
pub(super) struct Metrics {
    // Recording ends when the provider is dropped.
    _provider: SdkMeterProvider,
    reader: Reader,
    shared: Arc<Shared>,
}

impl Metrics {
    pub(super) fn new(
        settings: &Settings,
        sources: Sources,
        exports: Vec<Export>,
        lines: Option<Arc<Lines>>,
        readers: Vec<Reader>,
    ) -> Self {
        let reader = Reader::with(sdk::Temporality::Cumulative);
        let provider = provider(settings, std::iter::once(reader.clone()).chain(readers));
        let scope = opentelemetry::InstrumentationScope::builder(names::SCOPE)
            .with_version(env!("CARGO_PKG_VERSION"))
            .with_schema_url(names::SCHEMA_URL)
            .build();
        let meter = provider.meter_with_scope(scope);
        observe_sources(&meter, sources, lines);
        observe_exports(&meter, &exports);
        let series = settings.limits.series.max(1);
        let headroom = Arc::new(Headroom::new(series));
        observe_headroom(&meter, &headroom);
        let labels = || Labels::new(settings.limits.label_values);
        let shared = Shared {
            instruments: Instruments::new(&meter),
            cost_histogram: settings.cost_histogram,
            series,
            asked: labels(),
            answered: labels(),
            errors: labels(),
            headroom,
        };
        Self { _provider: provider, reader, shared: Arc::new(shared) }
    }

    /// A recorder for one worker.
    pub(super) fn recorder(&self) -> Recorder {
        Recorder::new(Arc::clone(&self.shared))
    }

    /// Everything recorded so far, cumulative.
    pub(super) fn collect(&self) -> ResourceMetrics {
        self.collect_by(&self.reader)
    }

    /// What there is for one of the readers it was made with.
    pub(super) fn collect_by(&self, reader: &Reader) -> ResourceMetrics {
        let mut collected = ResourceMetrics::default();
        if let Err(error) = reader.collect(&mut collected) {
            tracing::warn!("metrics could not be collected: {error}");
        }
        collected
    }
}

/// Behind the name of a histogram's exponential twin: the SDK knows a stream by its name, not by what
/// it is made of.
const EXPONENTIAL: &str = "/exponential";
/// The specification's defaults:
/// <https://opentelemetry.io/docs/specs/otel/metrics/sdk/#base2-exponential-bucket-histogram-aggregation>
const BUCKETS: u32 = 160;
const SCALE: i8 = 20;

/// What aggregates, for all readers: each instrument with a limit on its label sets, and where somebody
/// wants it, each histogram twice.
fn provider(settings: &Settings, readers: impl Iterator<Item = Reader>) -> SdkMeterProvider {
    let limits = &settings.limits;
    let (series, histogram_series) = (limits.series.max(1), limits.histogram_series.max(1));
    let kinds = settings.exporters.iter().filter(|it| it.metrics.is_some());
    let exponential = kinds.map(|it| it.histograms).any(|it| it == Histograms::Exponential);
    let provider = SdkMeterProvider::builder()
        .with_resource(names::resource(&settings.resource))
        .with_view(move |of: &Instrument| {
            let is_histogram = of.kind() == InstrumentKind::Histogram;
            let limit = if is_histogram { histogram_series } else { series };
            Stream::builder().with_cardinality_limit(limit).build().ok()
        })
        .with_view(move |of: &Instrument| {
            exponential.then(|| twin(of, histogram_series)).flatten()
        });
    readers.fold(provider, |provider, reader| provider.with_reader(reader)).build()
}

/// A second stream of a histogram.
fn twin(instrument: &Instrument, series: usize) -> Option<Stream> {
    let aggregation = Aggregation::Base2ExponentialHistogram {
        max_size: BUCKETS,
        max_scale: SCALE,
        record_min_max: true,
    };
    let twin = Stream::builder()
        .with_name(format!("{}{EXPONENTIAL}", instrument.name()))
        .with_aggregation(aggregation)
        .with_cardinality_limit(series);
    twin.build().ok().filter(|_| instrument.kind() == InstrumentKind::Histogram)
}

impl Histograms {
    /// Takes of two twins the one that is meant, by the histogram's name.
    pub(super) fn take(self, mut metric: pb::Metric) -> Option<pb::Metric> {
        match (self, &metric.data) {
            (Self::Explicit, Some(Data::ExponentialHistogram(_)))
            | (Self::Exponential, Some(Data::Histogram(_))) => None,
            _ => {
                let name = metric.name.strip_suffix(EXPONENTIAL);
                metric.name = name.map_or(metric.name.clone(), ToOwned::to_owned);
                Some(metric)
            }
        }
    }
}

fn observe_sources(meter: &Meter, sources: Sources, lines: Option<Arc<Lines>>) {
    let Sources { listen: _, active, unread, torn, dropped, lost, .. } = sources;
    let Sources { reloads_taken, reloads_refused, configured_at, .. } = sources;
    names::ACTIVE.gauge(meter, move || vec![(active(), vec![])]);
    names::TORN.observe(meter, move || vec![(torn(), vec![])]);
    names::DROPPED.observe(meter, move || vec![(dropped(), vec![])]);
    names::UNREAD.observe(meter, move || vec![(unread(), vec![])]);
    names::LOST.observe(meter, move || vec![(lost(), vec![])]);
    let result = |result: &'static str| vec![names::RESULT.of(result)];
    names::RELOADS.observe(meter, move || {
        vec![(reloads_taken(), result("taken")), (reloads_refused(), result("refused"))]
    });
    names::CONFIGURED.gauge(meter, move || vec![(configured_at(), vec![])]);
    if let Some(lines) = lines {
        names::LINES_DROPPED.observe(meter, move || vec![(lines.dropped(), vec![])]);
    }
    let version = names::VERSION.of(env!("CARGO_PKG_VERSION"));
    names::BUILD.gauge(meter, move || vec![(1, vec![version.clone()])]);
}

fn observe_headroom(meter: &Meter, headroom: &Arc<Headroom>) {
    let gauge = |metric: Metric, read: fn(&Headroom, Instant) -> Readings| {
        let headroom = Arc::clone(headroom);
        metric.gauge(meter, move || read(&headroom, Instant::now()));
    };
    gauge(names::LIMIT, Headroom::limits);
    gauge(names::LIMIT_REMAINING, Headroom::remaining);
    gauge(names::LIMIT_RESET, Headroom::resets);
}

fn observe_exports(meter: &Meter, exports: &[Export]) {
    let counted = |metric: Metric, of: fn(&Counts) -> &AtomicU64| {
        let exports = exports.to_vec();
        metric.observe(meter, move || {
            let count = |it: &Export| (of(it.state.counts()).load(Relaxed), labels(it));
            exports.iter().map(count).collect()
        });
    };
    if exports.is_empty() {
        return;
    }
    counted(names::EXPORT_SENT, |counts| &counts.sent);
    counted(names::EXPORT_DROPPED, |counts| &counts.dropped);
    counted(names::EXPORT_FAILED, |counts| &counts.failed);
    let exports = exports.to_vec();
    names::EXPORT_QUEUE
        .gauge(meter, move || exports.iter().map(|it| (it.state.waiting(), labels(it))).collect());
}

fn labels(export: &Export) -> Vec<opentelemetry::KeyValue> {
    vec![
        names::SIGNAL.of(export.signal),
        names::SERVER_ADDRESS.of(export.address.clone()),
        names::SERVER_PORT.of(i64::from(export.port)),
    ]
}

/// What sums are read through: what was read of a delta is not read again, so each destination that
/// asks for deltas has one of its own. The SDK takes a reader for itself; this one is shared.
#[derive(Clone, Debug)]
pub(super) struct Reader(Arc<ManualReader>);

impl Reader {
    /// A reader for one destination; none where it can share the one that `/metrics` has.
    pub(super) fn of(temporality: Temporality) -> Option<Self> {
        match temporality {
            Temporality::Cumulative => None,
            Temporality::Delta => Some(Self::with(sdk::Temporality::Delta)),
            Temporality::LowMemory => Some(Self::with(sdk::Temporality::LowMemory)),
        }
    }

    fn with(temporality: sdk::Temporality) -> Self {
        Self(Arc::new(ManualReader::builder().with_temporality(temporality).build()))
    }
}

impl MetricReader for Reader {
    fn register_pipeline(&self, pipeline: Weak<Pipeline>) {
        self.0.register_pipeline(pipeline);
    }

    fn collect(&self, into: &mut ResourceMetrics) -> OTelSdkResult {
        self.0.collect(into)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self, kind: InstrumentKind) -> sdk::Temporality {
        self.0.temporality(kind)
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;

    use super::super::{literals, outcome, receiver, whole};
    use super::*;

    #[test]
    fn an_exponential_histogram_has_no_more_label_sets_than_one_with_buckets() {
        let mut exporter = receiver::exporter(([127, 0, 0, 1], 1).into());
        exporter.histograms = Histograms::Exponential;
        let mut settings = whole::settings(vec![exporter]);
        settings.limits.histogram_series = 7;
        let metrics = Metrics::new(&settings, whole::sources(), vec![], None, vec![]);
        let mut recorder = metrics.recorder();
        for number in 0..50 {
            let mut of = literals::streamed_chat();
            of.request.model = Some(format!("asked-{number}"));
            recorder.record(&of, &outcome::of(&of));
        }
        let all = ExportMetricsServiceRequest::from(&metrics.collect());
        let scopes = all.resource_metrics.into_iter().flat_map(|it| it.scope_metrics);
        let points = scopes.flat_map(|it| it.metrics).filter_map(|it| match it.data? {
            Data::ExponentialHistogram(it) => Some(it.data_points.len()),
            _ => None,
        });
        // Those past the limit are one more.
        assert_eq!(points.max(), Some(8));
    }
}
