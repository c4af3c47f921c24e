//! Posts batches and metrics to OTLP endpoints over http/protobuf, from a thread of its own. Knows
//! no span and no metric; whatever an endpoint does, whoever fills the queues never waits for it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Uri};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_rustls::TlsConnector;

use super::metrics::{self, Metrics};
use super::names;
use super::post::{self, Endpoint};
use super::protobuf;
use super::queue::{Batch, Counts, Queue};
use super::settings::{Exporter, Settings};

/// The first pause before another try; each is half as long again, and a third shorter or longer.
const PAUSE: Duration = Duration::from_millis(300);
/// No pause is longer, unless `Retry-After` asks for it.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// When to end: absent while running, then the moment at which what is unsent is given up.
pub(super) type Stop = watch::Receiver<Option<Instant>>;

/// What surrounds each batch: the resource and the scope, encoded once.
#[derive(Clone, Debug)]
pub(super) struct Envelope {
    resource: Vec<u8>,
    scope: Vec<u8>,
}

impl Envelope {
    pub(super) fn new(resource: &[(String, String)]) -> Self {
        let scope = InstrumentationScope {
            name: names::SCOPE.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        Self {
            resource: Resource::from(&names::resource(resource)).encode_to_vec(),
            scope: scope.encode_to_vec(),
        }
    }

    /// `ExportTraceServiceRequest` or `ExportLogsServiceRequest`: their field numbers are the same.
    /// Repeated fields concatenate, so the batch's bytes stand as they are.
    fn wrap(&self, records: &[u8]) -> Vec<u8> {
        let schema = names::SCHEMA_URL.as_bytes();
        let scope = protobuf::size(self.scope.len()) + records.len() + protobuf::size(schema.len());
        let resource = protobuf::size(self.resource.len()) + protobuf::size(scope);
        let mut body = Vec::with_capacity(protobuf::size(resource));
        protobuf::length(&mut body, 1, resource);
        protobuf::bytes(&mut body, 1, &self.resource);
        protobuf::length(&mut body, 2, scope);
        protobuf::bytes(&mut body, 1, &self.scope);
        body.extend_from_slice(records);
        protobuf::bytes(&mut body, 3, schema);
        body
    }
}

/// One signal to one endpoint.
pub(super) struct Sender {
    endpoint: Endpoint,
    url: String,
    what: &'static str,
    timeout: Duration,
    stop: Stop,
    healthy: bool,
}

impl Sender {
    /// `what` names the records in messages: `spans`.
    pub(super) fn new(
        uri: &Uri,
        what: &'static str,
        exporter: &Exporter,
        tls: Option<&TlsConnector>,
        stop: Stop,
    ) -> Self {
        let headers = exporter.headers.iter().map(|(name, value)| (name.clone(), value.0.clone()));
        let headers: HeaderMap = headers.collect();
        Self {
            endpoint: Endpoint::new(uri, headers, exporter.gzip, tls),
            url: shown(uri),
            what,
            timeout: exporter.timeout,
            stop,
            healthy: true,
        }
    }

    /// Sends `records` records, counts what became of them, and says so when that changes.
    async fn send(&mut self, body: Vec<u8>, records: usize, counts: &Counts) {
        let body = self.endpoint.encode(body);
        let mut last = "no answer in time".to_owned();
        let (until, stop) = (Instant::now() + self.timeout, self.stop.clone());
        let delivered = tokio::select! {
            delivered = deliver(&mut self.endpoint, body, &mut last) => delivered,
            () = expired(stop, until) => Err(None),
        };
        let records = records as u64;
        let (refused, reason) = match delivered {
            Ok((0, _)) => (0, None),
            Ok((refused, why)) => (refused.min(records), Some(format!("refused some: {why}"))),
            Err(reason) => (records, Some(reason.unwrap_or(last))),
        };
        counts.sent.fetch_add(records - refused, Relaxed);
        counts.failed.fetch_add(refused, Relaxed);
        self.tell(reason, counts);
    }

    /// Once when it begins to fail, once when it works again.
    fn tell(&mut self, failure: Option<String>, counts: &Counts) {
        let lost = counts.failed.load(Relaxed) + counts.dropped.load(Relaxed);
        let (url, what) = (&self.url, self.what);
        match &failure {
            Some(reason) if self.healthy => tracing::warn!(
                "telemetry export to {url} fails: {reason}; {lost} {what} lost so far"
            ),
            None if !self.healthy => {
                tracing::info!("telemetry export to {url} works again; {lost} {what} were lost");
            }
            _ => (),
        }
        self.healthy = failure.is_none();
    }

    /// Whether the order to stop says that it is too late for what is left.
    fn gave_up(&self) -> bool {
        self.stop.borrow().is_some_and(|at| at <= Instant::now())
            || self.stop.has_changed().is_err()
    }

    fn stopping(&self) -> bool {
        self.stop.borrow().is_some() || self.stop.has_changed().is_err()
    }
}

/// Sends what stands in `queue`, a batch when it is full or `delay` has passed, until the order to
/// stop; then the rest, until that is given up.
pub(super) async fn send_records(
    mut sender: Sender,
    queue: Arc<Queue>,
    envelope: Envelope,
    delay: Duration,
) {
    loop {
        let stopping = sender.stopping();
        while !sender.gave_up()
            && let Some(Batch { bytes, records }) = queue.take()
        {
            sender.send(envelope.wrap(&bytes), records, &queue.counts).await;
        }
        if stopping {
            return queue.close();
        }
        tokio::select! {
            () = queue.full() => (),
            () = sleep(delay) => (),
            // An error means that nobody is left who could give the order: the same as one.
            _ = sender.stop.changed() => (),
        }
    }
}

/// Sends all metrics each `interval`, and once more at the end.
pub(super) async fn send_metrics(
    mut sender: Sender,
    metrics: Arc<Metrics>,
    counts: Arc<Counts>,
    interval: Duration,
) {
    while !sender.stopping() {
        tokio::select! {
            () = sleep(interval) => (),
            _ = sender.stop.changed() => (),
        }
        let collected = metrics.collect();
        let points = metrics::points(&collected);
        let body = ExportMetricsServiceRequest::from(&collected).encode_to_vec();
        sender.send(body, points, &counts).await;
    }
}

/// Tries until the endpoint takes the body or refuses it for good: how many records it refused, and
/// its words. Ends by itself only so; `last` is why the latest try failed.
async fn deliver(
    endpoint: &mut Endpoint,
    body: Bytes,
    last: &mut String,
) -> Result<(u64, String), Option<String>> {
    let mut pause = PAUSE;
    loop {
        let asked = match endpoint.post(body.clone()).await {
            Ok(answer) if answer.status.is_success() => return Ok(refusals(&answer.body)),
            Ok(answer) if matches!(answer.status.as_u16(), 429 | 502..=504) => {
                *last = format!("it answers {}", answer.status);
                answer.retry_after
            }
            Ok(answer) => return Err(Some(format!("it answers {}", answer.status))),
            Err(error) => {
                *last = error.to_string();
                None
            }
        };
        let jittered = pause.mul_f64(2.0 / 3.0 + fastrand::f64() * 2.0 / 3.0);
        sleep(asked.unwrap_or(jittered)).await;
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}

/// `partial_success`: rejected records and why. Its field numbers are the same for each signal.
fn refusals(body: &[u8]) -> (u64, String) {
    let answer = ExportTraceServiceResponse::decode(body).unwrap_or_default();
    let partial = answer.partial_success.unwrap_or_default();
    (u64::try_from(partial.rejected_spans).unwrap_or_default(), partial.error_message)
}

/// Returns at `until`, or earlier when the order to stop says so.
async fn expired(mut stop: Stop, until: Instant) {
    loop {
        let end = stop.borrow_and_update().map_or(until, |at| at.min(until));
        tokio::select! {
            () = sleep_until(end) => return,
            changed = stop.changed() => if changed.is_err() { return },
        }
    }
}

/// The URL without what may be secret: user, password, query.
fn shown(uri: &Uri) -> String {
    let scheme = uri.scheme_str().unwrap_or("http");
    let port = uri.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{scheme}://{}{port}{}", uri.host().unwrap_or_default(), uri.path())
}

/// Whether any endpoint needs TLS.
pub(super) fn needs_tls(settings: &Settings) -> bool {
    let uris = settings.exporters.iter().flat_map(|it| [&it.traces, &it.metrics, &it.logs]);
    uris.flatten().any(|uri| uri.scheme_str() == Some("https"))
}

/// The name an endpoint's own metrics are labelled with.
pub(super) fn address(uri: &Uri) -> String {
    post::host_name(uri).to_owned()
}
