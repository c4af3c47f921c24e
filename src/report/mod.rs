//! COLD: observations leave as spans, metrics, logs and lines. The only module that knows
//! OpenTelemetry; it knows no tape, no dialect and no forwarding.

/// What reporting needs to be told.
pub mod settings;
/// Every attribute key and instrument.
pub mod names;
/// Which exchanges get spans.
mod sampler;
/// What an ending means for status and severity.
mod outcome;
/// The written definition of each duration.
mod timing;
/// A small protobuf writer.
mod protobuf;
/// One exchange as OTLP spans.
mod spans;
/// One exchange as an OTLP log record.
mod logs;
/// One exchange as a line for a person.
mod line;
/// One exchange as a line of JSON.
mod json;
/// A limit on values of labels.
mod labels;
/// What upstreams last said of their limits.
mod headroom;
/// Instruments bound to their labels.
mod bound;
/// The metrics of one exchange.
mod series;
/// The kinds of tokens, and their names.
mod tokens;
/// What is billed beside tokens.
mod units;
/// Usage and cost of one call.
mod usage;
/// Aggregated metrics, and what is read when collecting them.
mod metrics;
/// Metrics as text for Prometheus.
mod prometheus;
/// Encoded records that wait for an endpoint.
mod queue;
/// Trust in an endpoint.
mod tls;
/// A connection to an endpoint.
mod connect;
/// What became of one attempt.
mod attempt;
/// OTLP over HTTP.
mod post;
/// OTLP over gRPC.
mod grpc;
/// One export, tried until it is settled.
mod deliver;
/// Metrics as requests of bounded size.
mod pieces;
/// Batches and metrics leave to OTLP endpoints.
mod otlp;
/// What there was no room for is said.
mod losses;
/// Lines leave to standard output.
mod stdout;
/// Observations written by hand.
#[cfg(test)]
mod literals;
/// Every writer, for any observation.
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
/// An endpoint for tests.
#[cfg(test)]
mod receiver;
/// What is declared is what is emitted.
#[cfg(test)]
mod whole;

use std::io::{self, Write};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::observe::observation::Observation;
use losses::{Loss, Losses};
use metrics::{Export, Metrics, Reader, State};
use otlp::{Envelope, Sender, Stop};
use prometheus::Format;
use queue::{Counts, Queue};
use series::Recorder;
use settings::{AttributeLimits, Histograms, Lines, Sampler, Settings};
use spans::Spans;

/// A number that another part of the program counts.
pub type Count = Box<dyn Fn() -> u64 + Send + Sync>;

/// What only the rest of the program knows. Counts are read at each collection of metrics.
pub struct Sources {
    /// The address that clients call, or a socket's path, and the port where there is one; for
    /// `server.address` of SERVER spans.
    pub listen: Option<(String, Option<u16>)>,
    /// Exchanges under way now.
    pub active: Count,
    /// Tapes torn since the start.
    pub torn: Count,
    /// Hand-overs dropped since the start.
    pub dropped: Count,
    /// Requests whose head could not be read, since the start.
    pub unread: Count,
    /// Exchanges of which no observation was made, since the start.
    pub lost: Count,
    /// Reloads of the configuration that were taken, since the start.
    pub reloads_taken: Count,
    /// Reloads of the configuration that were refused, since the start.
    pub reloads_refused: Count,
    /// When the settings in force were read, in seconds since 1970.
    pub configured_at: Count,
}

/// Where lines go.
pub struct Output {
    /// Standard output, unless in a test.
    pub to: Box<dyn Write + Send>,
    /// Whether a person's lines may be coloured.
    pub colour: bool,
}

/// Why reporting could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No thread, or no runtime for it.
    #[error("cannot start a thread for telemetry: {0}")]
    Thread(#[from] io::Error),
    /// TLS to an endpoint cannot be set up.
    #[error("cannot set up TLS for telemetry: {0}")]
    Tls(#[from] rustls::Error),
}

/// Starts reporting: threads for the endpoints and the lines, where there are any. Clone the
/// `Reporter` for each worker.
pub fn start(
    settings: Settings,
    mut sources: Sources,
    output: Output,
) -> Result<(Reporter, Handle), Error> {
    let lines = match settings.lines {
        Lines::Off => None,
        Lines::Terminal | Lines::Json => Some(stdout::Lines::start(output.to)?),
    };
    let (stop, stopped) = watch::channel(None);
    let mut plan = Plan::new(&settings, stopped.clone())?;
    let dropped = Arc::new(sources.dropped);
    let counted = Arc::clone(&dropped);
    sources.dropped = Box::new(move || counted());
    plan.losses.push(Loss::new(Box::new(move || dropped()), HANDOVERS, OVERLOADED));
    if let Some(lines) = lines.clone() {
        plan.losses.push(Loss::new(Box::new(move || lines.dropped()), LINES, UNREAD));
    }
    let listen = sources.listen.clone();
    let exports = std::mem::take(&mut plan.exports);
    let readers = plan.metrics.iter().filter_map(|(_, _, (reader, _))| reader.clone()).collect();
    let metrics = Arc::new(Metrics::new(&settings, sources, exports, lines.clone(), readers));
    let (spans, logs) = (plan.queues(names::TRACES), plan.queues(names::LOGS));
    let done = plan.spawn(&settings, &metrics, stopped)?;
    let shared = Shared {
        spans,
        logs,
        lines: lines.clone(),
        style: settings.lines,
        colour: output.colour,
        phases: settings.phase_spans,
        sampler: settings.sampler,
        span_attributes: settings.span_attributes,
        log_attributes: settings.log_attributes,
        listen,
        metrics: Arc::clone(&metrics),
    };
    let handle = Handle { metrics, stop, done: Mutex::new(done), lines };
    Ok((Reporter::new(Arc::new(shared)), handle))
}

/// What is lost without a failure, and what helps.
const HANDOVERS: &str = "pieces of the traffic's copy";
const OVERLOADED: &str = "the workers that read it do not keep up; no request was affected, but telemetry lacks \
     what was in them (more of limits.workers may help)";
const LINES: &str = "lines";
const UNREAD: &str =
    "nobody reads standard output fast enough (telemetry.lines = \"off\" writes none)";
const RUSH: &str = "they come faster than the endpoint takes them, and the queue is full (limits.export_queue \
     is its size, and OTEL_BSP_MAX_QUEUE_SIZE or OTEL_BLRP_MAX_QUEUE_SIZE if set; a larger one bridges a rush)";

/// What all reporters share.
struct Shared {
    spans: Vec<Arc<Queue>>,
    logs: Vec<Arc<Queue>>,
    lines: Option<Arc<stdout::Lines>>,
    style: Lines,
    colour: bool,
    phases: bool,
    sampler: Sampler,
    span_attributes: AttributeLimits,
    log_attributes: AttributeLimits,
    listen: Option<(String, Option<u16>)>,
    metrics: Arc<Metrics>,
}

/// Reports observations. A clone shares queues and sums, but has buffers of its own: one for each
/// worker, so that its lock is never waited for.
pub struct Reporter {
    shared: Arc<Shared>,
    own: Mutex<Own>,
}

/// Buffers that are used again, and one worker's bound metrics.
struct Own {
    recorder: Recorder,
    spans: Spans,
    line: String,
    scratch: Vec<u8>,
    record: Vec<u8>,
}

impl Clone for Reporter {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.shared))
    }
}

impl Reporter {
    fn new(shared: Arc<Shared>) -> Self {
        let own = Own {
            recorder: shared.metrics.recorder(),
            spans: Spans::new(shared.phases, shared.listen.clone(), shared.span_attributes),
            line: String::new(),
            scratch: Vec::new(),
            record: Vec::new(),
        };
        Self { shared, own: Mutex::new(own) }
    }

    /// Reports one exchange: never waits, never fails; what finds no room is counted.
    pub fn report(&self, observation: &Observation) {
        let own = &mut *self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = &*self.shared;
        let outcome = outcome::of(observation);
        own.recorder.record(observation, &outcome);
        let flags = shared.sampler.flags(&observation.ids);
        if !shared.spans.is_empty() {
            own.record.clear();
            let count = own.spans.write(observation, &outcome, flags, &mut own.record);
            shared.spans.iter().for_each(|queue| queue.push(&own.record, count));
        }
        let for_a_person = shared.lines.is_some() && shared.style == Lines::Terminal;
        own.line.clear();
        if for_a_person || !shared.logs.is_empty() {
            line::person(observation, &outcome, false, &mut own.line);
        }
        if !shared.logs.is_empty() {
            own.record.clear();
            let how = (flags, shared.log_attributes);
            let Own { line, scratch, record, .. } = own;
            logs::write(observation, &outcome, line, how, scratch, record);
            shared.logs.iter().for_each(|queue| queue.push(&own.record, 1));
        }
        if let Some(lines) = &shared.lines {
            own.record.clear();
            match shared.style {
                Lines::Json => json::line(observation, &outcome, &mut own.record),
                _ if shared.colour => {
                    own.line.clear();
                    line::person(observation, &outcome, true, &mut own.line);
                    own.record.extend_from_slice(own.line.as_bytes());
                }
                _ => own.record.extend_from_slice(own.line.as_bytes()),
            }
            own.record.push(b'\n');
            lines.push(&own.record);
        }
    }
}

/// What the program keeps of reporting.
pub struct Handle {
    metrics: Arc<Metrics>,
    stop: watch::Sender<Option<tokio::time::Instant>>,
    // Says nothing; it is closed when the endpoints' thread has ended.
    done: Mutex<Receiver<()>>,
    lines: Option<Arc<stdout::Lines>>,
}

impl Handle {
    /// The body of `/metrics` and its content type, as `Accept` asks for it.
    pub fn metrics_text(&self, accept: Option<&str>) -> (&'static str, String) {
        let format = Format::of(accept);
        (format.content_type(), prometheus::write(&self.metrics.collect(), format))
    }

    /// Sends what waits, the metrics once more, and writes what lines wait; blocks until that is
    /// done, but no longer than `within`. What is unsent then is dropped and counted. The last thing
    /// to call: what is reported after it goes nowhere.
    pub fn flush(&self, within: Duration) {
        let deadline = Instant::now() + within;
        self.stop.send_replace(Some(deadline.into()));
        if let Some(lines) = &self.lines {
            lines.close(deadline);
        }
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        // A moment more than the deadline: the thread ends by it, and says so after.
        let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(100);
        done.recv_timeout(left).ok();
    }
}

/// How metrics are read for one endpoint: by a reader of its own, if it has one, and which histograms.
type Form = (Option<Reader>, Histograms);

/// What the endpoints' thread will do.
#[derive(Default)]
struct Plan {
    exports: Vec<Export>,
    records: Vec<(Sender, Arc<Queue>, Duration)>,
    metrics: Vec<(Sender, Arc<Counts>, Form)>,
    signals: Vec<(&'static str, Arc<Queue>)>,
    losses: Vec<Loss>,
}

impl Plan {
    fn new(settings: &Settings, stop: Stop) -> Result<Self, Error> {
        let mut plan = Self::default();
        let limits = &settings.limits;
        for exporter in &settings.exporters {
            let means = deliver::means(exporter)?;
            let sender = |uri: &_, what, timeout| {
                Sender::new(uri, what, exporter, timeout, &means, stop.clone())
            };
            let records = [
                (names::TRACES, "spans", &exporter.traces, limits.spans),
                (names::LOGS, "records", &exporter.logs, limits.logs),
            ];
            for (signal, what, uri, batching) in records {
                let Some(uri) = uri else { continue };
                let queue = Arc::new(Queue::new(limits.queue, batching));
                plan.export(signal, uri, State::Queue(Arc::clone(&queue)));
                plan.signals.push((signal, Arc::clone(&queue)));
                let sender = sender(uri, what, batching.timeout);
                let (lost, what) = (Arc::clone(&queue), format!("{what} for {}", sender.url()));
                let count = Box::new(move || lost.counts.dropped.load(Relaxed));
                plan.losses.push(Loss::new(count, what, RUSH));
                plan.records.push((sender, queue, batching.delay));
            }
            if let Some(uri) = &exporter.metrics {
                let counts = Arc::new(Counts::default());
                plan.export(names::METRIC_POINTS, uri, State::Counts(Arc::clone(&counts)));
                let sender = sender(uri, "points", limits.metric_timeout);
                let form = (Reader::of(exporter.temporality), exporter.histograms);
                plan.metrics.push((sender, counts, form));
            }
        }
        Ok(plan)
    }

    fn export(&mut self, signal: &'static str, uri: &http::Uri, state: State) {
        let (address, port) = (connect::host_name(uri).to_owned(), connect::port(uri));
        self.exports.push(Export { signal, address, port, state });
    }

    fn queues(&self, of: &str) -> Vec<Arc<Queue>> {
        let of = self.signals.iter().filter(|(signal, _)| *signal == of);
        of.map(|(_, queue)| Arc::clone(queue)).collect()
    }

    /// One thread for all endpoints, each signal a task of its own: a slow one delays no other.
    fn spawn(
        self,
        settings: &Settings,
        metrics: &Arc<Metrics>,
        mut stop: Stop,
    ) -> io::Result<Receiver<()>> {
        let (ended, done) = sync_channel(1);
        let envelope = Envelope::new(&settings.resource);
        let interval = settings.limits.metric_interval;
        let metrics = Arc::clone(metrics);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let work = async move {
            let mut tasks = tokio::task::JoinSet::new();
            for (sender, queue, delay) in self.records {
                tasks.spawn(otlp::send_records(sender, queue, envelope.clone(), delay));
            }
            for (sender, counts, form) in self.metrics {
                let metrics = Arc::clone(&metrics);
                tasks.spawn(otlp::send_metrics(sender, metrics, form, counts, interval));
            }
            // Where there is no endpoint, something may be lost all the same.
            tasks.spawn(async move { drop(stop.wait_for(Option::is_some).await) });
            let mut losses = Losses(self.losses);
            tokio::select! {
                _ = tasks.join_all() => losses.end(),
                () = losses.watch() => (),
            }
        };
        std::thread::Builder::new().name("telemetry".to_owned()).spawn(move || {
            runtime.block_on(work);
            // A name being resolved must not hold up the end.
            runtime.shutdown_background();
            drop(ended);
        })?;
        Ok(done)
    }
}
