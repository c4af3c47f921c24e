//! Sends batches and metrics to OTLP endpoints, from a thread of its own. Knows no span, no metric and
//! no protocol; whatever an endpoint does, whoever fills the queues never waits for it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use http::Uri;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::connect::Means;
use super::deliver::{Endpoint, deliver};
use super::metrics::Metrics;
use super::queue::{BATCH_BYTES, Counts, Queue};
use super::settings::{Exporter, Protocol};
use super::{Form, names, pieces, protobuf};

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
    /// `what` names the records in messages: `spans`. An export may take no longer than the exporter
    /// and `timeout` allow.
    pub(super) fn new(
        uri: &Uri,
        what: &'static str,
        exporter: &Exporter,
        timeout: Option<Duration>,
        means: &Means,
        stop: Stop,
    ) -> Self {
        Self {
            endpoint: Endpoint::new(uri, exporter, means),
            url: shown(uri, exporter.protocol),
            what,
            timeout: timeout.map_or(exporter.timeout, |it| it.min(exporter.timeout)),
            stop,
            healthy: true,
        }
    }

    /// Where it sends, for a person.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Sends `records` records, counts what became of them, and says so when that changes.
    async fn send(&mut self, body: Vec<u8>, records: usize, counts: &Counts) {
        let body = self.endpoint.encode(body);
        let mut last = "no answer in time".to_owned();
        let (until, stop) = (Instant::now() + self.timeout, self.stop.clone());
        let delivered = tokio::select! {
            delivered = deliver(&mut self.endpoint, body, until, &mut last) => delivered.map_err(Some),
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
            && let Some(batch) = queue.take()
        {
            let (body, records) = (envelope.wrap(&batch.bytes), batch.records);
            queue.recycle(batch);
            sender.send(body, records, &queue.counts).await;
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
    (reader, histograms): Form,
    counts: Arc<Counts>,
    interval: Duration,
) {
    let mut last = false;
    while !last {
        if !sender.stopping() {
            tokio::select! {
                () = sleep(interval) => (),
                _ = sender.stop.changed() => (),
            }
        }
        last = sender.stopping();
        let collected = match &reader {
            Some(reader) => metrics.collect_by(reader),
            None => metrics.collect(),
        };
        for (body, points) in pieces::of(&collected, histograms, BATCH_BYTES) {
            sender.send(body, points, &counts).await;
        }
    }
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

/// The URL without what may be secret: user, password, query; and without a method that gRPC prescribes.
fn shown(uri: &Uri, protocol: Protocol) -> String {
    let scheme = uri.scheme_str().unwrap_or("http");
    let port = uri.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
    let path = if protocol == Protocol::Grpc { "" } else { uri.path() };
    format!("{scheme}://{}{port}{path}", uri.host().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write};
    use std::net::{SocketAddr, TcpListener};
    use std::sync::Mutex;

    use flate2::bufread::GzDecoder;
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
    };

    use super::super::receiver::{Answer, Got, PATIENCE, Receiver, exporter};
    use super::super::settings::Secret;
    use super::super::whole::{nowhere, settings, sources};
    use super::super::{Handle, Reporter, literals, start};
    use super::*;

    /// Spans alone, to one endpoint.
    fn traces(address: SocketAddr, timeout: Duration) -> Exporter {
        Exporter { metrics: None, logs: None, timeout, ..exporter(address) }
    }

    fn started(exporter: Exporter) -> (Reporter, Handle) {
        start(settings(vec![exporter]), sources(), nowhere()).unwrap()
    }

    fn requests(got: &Got) -> ExportTraceServiceRequest {
        ExportTraceServiceRequest::decode(&got.body[..]).unwrap()
    }

    fn spans(got: &Got) -> usize {
        let request = requests(got);
        let scopes = request.resource_spans.iter().flat_map(|it| &it.scope_spans);
        scopes.map(|it| it.spans.len()).sum()
    }

    /// Sent, dropped and failed of one signal.
    fn counts(handle: &Handle, signal: &str) -> [u64; 3] {
        let (_, text) = handle.metrics_text(None);
        ["sent", "dropped", "failed"].map(|name| {
            let start = format!("clearspan_export_{name}_total{{clearspan_signal=\"{signal}\"");
            let line = text.lines().find(|it| it.starts_with(&start)).unwrap();
            line.rsplit(' ').next().unwrap().parse().unwrap()
        })
    }

    /// Waits until `true_of` holds.
    fn wait(handle: &Handle, true_of: impl Fn([u64; 3]) -> bool) -> [u64; 3] {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let now = counts(handle, "traces");
            if true_of(now) {
                return now;
            }
            assert!(std::time::Instant::now() < deadline, "{now:?}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn all_that_is_reported_arrives_once_with_its_resource_and_headers() {
        let receiver = Receiver::start(|_| Answer::status(200));
        let key = ("x-key".parse().unwrap(), Secret(http::HeaderValue::from_static("k")));
        let exporter = Exporter { headers: vec![key], gzip: true, ..receiver.exporter() };
        let (reporter, handle) = started(exporter);
        let clone = reporter.clone();
        for _ in 0..300 {
            reporter.report(&literals::streamed_chat());
            clone.report(&literals::no_route());
        }
        handle.flush(PATIENCE);
        let (mut spans_seen, mut records, mut points) = (0, 0, 0);
        let mut connections = std::collections::BTreeSet::new();
        for mut got in receiver.all() {
            connections.insert(got.connection);
            assert!(got.headers.contains("content-encoding: gzip\r\n"), "{}", got.headers);
            assert!(got.headers.contains("content-type: application/x-protobuf\r\n"));
            assert!(got.headers.contains("x-key: k\r\n"));
            let mut body = Vec::new();
            GzDecoder::new(&got.body[..]).read_to_end(&mut body).unwrap();
            got.body = body;
            match got.path.as_str() {
                "/v1/traces" => {
                    assert!(spans(&got) <= 512);
                    spans_seen += spans(&got);
                    let resource = &requests(&got).resource_spans[0];
                    let attributes = &resource.resource.as_ref().unwrap().attributes;
                    assert_eq!(literals::told(attributes), ["service.name=\"clearspan\""]);
                    let scope = &resource.scope_spans[0];
                    assert_eq!(scope.schema_url, names::SCHEMA_URL);
                    assert_eq!(scope.scope.as_ref().unwrap().name, "clearspan");
                }
                "/v1/logs" => {
                    let request = ExportLogsServiceRequest::decode(&got.body[..]).unwrap();
                    records += request.resource_logs[0].scope_logs[0].log_records.len();
                }
                _ => points += 1,
            }
        }
        assert_eq!((spans_seen, records, points), (900, 600, 1));
        assert_eq!(connections.len(), 3, "one kept connection for each signal");
        assert_eq!(counts(&handle, "traces"), [900, 0, 0]);
        assert_eq!(counts(&handle, "logs"), [600, 0, 0]);
    }

    #[test]
    fn an_endpoint_that_hangs_blocks_nobody_and_is_given_up_in_time() {
        let receiver = Receiver::start(|_| Answer::Hang);
        let (reporter, handle) = started(traces(receiver.address, Duration::from_millis(50)));
        reporter.report(&literals::streamed_chat());
        receiver.next();
        // It hangs now. Reporting goes on, and the next batch gets its turn.
        (0..5000).for_each(|_| reporter.report(&literals::streamed_chat()));
        assert_eq!(wait(&handle, |[_, _, failed]| failed > 2)[0], 0);
        receiver.next();
        let began = Instant::now();
        handle.flush(Duration::from_millis(100));
        assert!(began.elapsed() < Duration::from_secs(5));
        let [sent, dropped, failed] = wait(&handle, |it| it.iter().sum::<u64>() == 10_002);
        assert_eq!((sent, dropped + failed), (0, 10_002), "each span is accounted for");
    }

    #[test]
    fn a_reset_is_tried_again() {
        let mut calls = 0;
        let receiver = Receiver::start(move |_| {
            calls += 1;
            if calls == 1 { Answer::Reset } else { Answer::status(200) }
        });
        let (reporter, handle) = started(traces(receiver.address, PATIENCE));
        reporter.report(&literals::streamed_chat());
        assert_eq!(spans(&receiver.next()), 2);
        assert_eq!(wait(&handle, |[sent, ..]| sent > 0), [2, 0, 0]);
    }

    #[test]
    fn retry_after_is_honoured() {
        let mut calls = 0;
        let receiver = Receiver::start(move |_| {
            calls += 1;
            if calls > 1 {
                Answer::status(200)
            } else {
                Answer::Http(503, "retry-after: 1\r\n", vec![])
            }
        });
        let (reporter, handle) = started(traces(receiver.address, PATIENCE));
        reporter.report(&literals::streamed_chat());
        let (first, second) = (receiver.next(), receiver.next());
        assert_eq!(first.body, second.body);
        let pause = second.at - first.at;
        assert!(pause >= Duration::from_secs(1), "{pause:?}");
        assert_eq!(wait(&handle, |[sent, ..]| sent > 0), [2, 0, 0]);
    }

    #[test]
    fn partial_success_is_counted() {
        let partial =
            ExportTracePartialSuccess { rejected_spans: 2, error_message: "too old".to_owned() };
        let body = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
        let receiver = Receiver::start(move |_| Answer::Http(200, "", body.clone()));
        let (reporter, handle) = started(traces(receiver.address, PATIENCE));
        (0..3).for_each(|_| reporter.report(&literals::streamed_chat()));
        handle.flush(PATIENCE);
        let requests = receiver.all().len() as u64;
        assert_eq!(counts(&handle, "traces"), [6 - 2 * requests, 0, 2 * requests]);
    }

    #[test]
    fn an_endpoint_that_is_down_costs_spans_but_never_time() {
        // Bound and let go: nobody listens there.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut bounded = settings(vec![traces(address, PATIENCE)]);
        bounded.limits.queue = 100_000;
        let (reporter, handle) = start(bounded, sources(), nowhere()).unwrap();
        (0..1000).for_each(|_| reporter.report(&literals::streamed_chat()));
        let [_, dropped, _] = counts(&handle, "traces");
        assert!(dropped > 0, "the queue is bounded by bytes");
        let began = Instant::now();
        handle.flush(Duration::from_millis(50));
        assert!(began.elapsed() < Duration::from_secs(5));
        let [sent, dropped, failed] = wait(&handle, |it| it.iter().sum::<u64>() == 2000);
        assert_eq!((sent, dropped + failed), (0, 2000), "each span is accounted for");
    }

    #[test]
    fn a_refusal_for_good_is_not_tried_again() {
        let receiver = Receiver::start(|_| Answer::status(400));
        let (reporter, handle) = started(traces(receiver.address, PATIENCE));
        reporter.report(&literals::streamed_chat());
        assert_eq!(wait(&handle, |[_, _, failed]| failed > 0), [0, 0, 2]);
        handle.flush(PATIENCE);
        assert_eq!(receiver.all().len(), 1);
    }

    #[derive(Clone, Default)]
    struct Said(Arc<Mutex<Vec<u8>>>);

    impl Write for Said {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn failing_is_said_once_and_working_again_too() {
        let said = Said::default();
        let to = said.clone();
        let log = tracing_subscriber::fmt().with_writer(move || to.clone()).with_ansi(false);
        // With one subscriber alone `tracing` lets other threads, which have none, decide that a
        // message interests nobody.
        let _second = tracing::Dispatch::new(tracing_subscriber::fmt().finish());
        let _guard =
            tracing::subscriber::set_default(log.without_time().with_target(false).finish());
        let mut calls = 0;
        let receiver = Receiver::start(move |_| {
            calls += 1;
            Answer::status(if calls <= 2 { 403 } else { 200 })
        });
        let address = receiver.address;
        let uri: Uri = format!("http://me:secret@{address}/v1/traces?key=secret").parse().unwrap();
        let (_stop, stopped) = watch::channel(None);
        let exporter = exporter(address);
        let mut sender = Sender::new(&uri, "spans", &exporter, None, &Means::default(), stopped);
        let counts = Counts::default();
        for _ in 0..4 {
            sender.send(vec![0], 2, &counts).await;
        }
        let said = String::from_utf8(said.0.lock().unwrap().clone()).unwrap();
        let url = format!("http://{address}/v1/traces");
        let expected = format!(
            " WARN telemetry export to {url} fails: it answers 403 Forbidden; 2 spans lost so far\n \
             INFO telemetry export to {url} works again; 4 spans were lost\n"
        );
        assert_eq!(said, expected);
    }
}
