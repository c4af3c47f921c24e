//! An OTLP collector (http/protobuf, gzip too) inside the test, which can also fail in the ways
//! that collectors do. Knows nothing of what the telemetry means.

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use prost::Message;

use super::PATIENCE;
use super::origin::{Connection, Origin, Request};
use super::signals::{self, Log, Point, Span};

/// How the collector behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Takes everything.
    Well,
    /// Reads requests and never answers.
    Hanging,
    /// Resets each connection once a request came.
    Resetting,
    /// Answers 503.
    Unavailable,
}

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Export {
    /// `/v1/traces`.
    pub(crate) path: String,
    /// Header fields in order.
    pub(crate) fields: Vec<(String, String)>,
}

/// All that came so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received {
    pub(crate) spans: Vec<Span>,
    /// Of every export, the latest last.
    pub(crate) points: Vec<Point>,
    pub(crate) logs: Vec<Log>,
    /// Every request, also those that were not taken.
    pub(crate) exports: Vec<Export>,
}

impl Received {
    /// The latest points of a metric, one for each attribute set.
    pub(crate) fn metric(&self, name: &str) -> Vec<&Point> {
        let mut latest: Vec<&Point> = Vec::new();
        for point in self.points.iter().filter(|point| point.metric == name) {
            match latest.iter_mut().find(|it| it.attributes == point.attributes) {
                Some(older) => *older = point,
                None => latest.push(point),
            }
        }
        latest
    }

    /// Spans of this kind.
    pub(crate) fn of_kind(&self, kind: &str) -> Vec<&Span> {
        self.spans.iter().filter(|span| span.kind == kind).collect()
    }
}

pub(super) type Store = Arc<(Mutex<Received>, Condvar)>;

/// A running collector.
#[derive(Debug)]
pub(crate) struct Collector {
    endpoint: String,
    store: Store,
    mode: Arc<Mutex<Mode>>,
}

impl Collector {
    /// A collector that behaves as `mode` says.
    pub(crate) fn start(mode: Mode) -> Self {
        let origin = Origin::bind();
        let endpoint = origin.url();
        let store = Store::default();
        let mode = Arc::new(Mutex::new(mode));
        let (shared, behavior) = (Arc::clone(&store), Arc::clone(&mode));
        thread::spawn(move || {
            while let Some(connection) = origin.try_accept() {
                let (store, mode) = (Arc::clone(&shared), Arc::clone(&behavior));
                thread::spawn(move || serve(connection, &store, &mode));
            }
        });
        Self { endpoint, store, mode }
    }

    /// A collector that something else serves: what it adds to the store was received.
    pub(super) fn served_at(endpoint: String) -> (Self, Store) {
        let store = Store::default();
        let mode = Arc::new(Mutex::new(Mode::Well));
        (Self { endpoint, store: Arc::clone(&store), mode }, store)
    }

    /// For `endpoint = …`, without the signal's path.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// From now on behaves so.
    pub(crate) fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    /// What came so far.
    pub(crate) fn received(&self) -> Received {
        self.store.0.lock().unwrap().clone()
    }

    /// Waits until `found` finds what it looks for, and fails the test when it never does.
    pub(crate) fn wait_for<T>(&self, what: &str, found: impl Fn(&Received) -> Option<T>) -> T {
        self.wait_until(PATIENCE, found).unwrap_or_else(|| {
            let received = self.received();
            let names = received.spans.iter().map(|span| &span.name);
            panic!(
                "{what} never came; spans {:?}, exports {}",
                names.collect::<Vec<_>>(),
                received.exports.len()
            )
        })
    }

    /// As `wait_for`, within `time`.
    pub(crate) fn wait_until<T>(
        &self,
        time: Duration,
        found: impl Fn(&Received) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + time;
        let (received, changed) = &*self.store;
        let mut received = received.lock().unwrap();
        loop {
            if let Some(it) = found(&received) {
                return Some(it);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            received = changed.wait_timeout(received, left).unwrap().0;
        }
    }

    /// Waits until there are `count` spans of a kind.
    pub(crate) fn spans(&self, kind: &str, count: usize) -> Vec<Span> {
        self.wait_for(&format!("{count} {kind} spans"), |received| {
            let spans: Vec<Span> = received.of_kind(kind).into_iter().cloned().collect();
            (spans.len() >= count).then_some(spans)
        })
    }
}

fn serve(mut connection: Connection, store: &Store, mode: &Mutex<Mode>) {
    connection.wire.wait_for_ever();
    while let Some(request) = connection.request() {
        let mode = *mode.lock().unwrap();
        note(&request, store, mode == Mode::Well);
        match mode {
            Mode::Well => {
                let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n";
                connection.wire.try_send(format!("{head}Content-Length: 0\r\n\r\n"));
            }
            Mode::Unavailable => {
                let head = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n";
                connection.wire.try_send(format!("{head}Content-Length: 0\r\n\r\n"));
            }
            Mode::Resetting => return connection.wire.reset(),
            Mode::Hanging => {
                connection.wire.until_ended();
                return;
            }
        }
    }
}

fn note(request: &Request, store: &Store, take: bool) {
    let export =
        Export { path: request.head.target().to_owned(), fields: request.head.fields.clone() };
    if take {
        assert_eq!(request.head.field("content-type"), Some("application/x-protobuf"));
    }
    let body = take.then(|| {
        let encoding = request.head.field("content-encoding");
        plain(encoding, &request.body.bytes)
    });
    add(store, export, body.as_deref());
}

/// Adds a request, and what it held where it was taken.
pub(super) fn add(store: &Store, export: Export, body: Option<&[u8]>) {
    let (received, changed) = &**store;
    let mut received = received.lock().unwrap();
    if let Some(body) = body {
        match export.path.as_str() {
            "/v1/traces" | "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => {
                received.spans.extend(signals::spans(decode(body)));
            }
            "/v1/metrics" | "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => {
                received.points.extend(signals::points(decode(body)));
            }
            "/v1/logs" | "/opentelemetry.proto.collector.logs.v1.LogsService/Export" => {
                received.logs.extend(signals::logs(decode(body)));
            }
            other => panic!("an export to {other}"),
        }
    }
    received.exports.push(export);
    changed.notify_all();
}

fn decode<M: Message + Default>(body: &[u8]) -> M {
    M::decode(body).expect("an OTLP message")
}

/// A body without its encoding.
pub(super) fn plain(encoding: Option<&str>, body: &[u8]) -> Vec<u8> {
    match encoding {
        None => body.to_vec(),
        Some("gzip") => {
            let mut decoder = flate2::write::GzDecoder::new(Vec::new());
            decoder.write_all(body).unwrap();
            decoder.finish().unwrap()
        }
        Some(other) => panic!("an export in {other}"),
    }
}

mod tests {
    use std::net::SocketAddr;

    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

    use super::*;
    use crate::support::client::Client;

    /// An export of one span of this name.
    fn export(name: &str, gzip: bool) -> Vec<u8> {
        let span = Span { name: name.into(), kind: 3, ..Span::default() };
        let scope = ScopeSpans { spans: vec![span], ..ScopeSpans::default() };
        let resource = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
        let mut body = ExportTraceServiceRequest { resource_spans: vec![resource] }.encode_to_vec();
        let mut encoding = "";
        if gzip {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
            encoder.write_all(&body).unwrap();
            body = encoder.finish().unwrap();
            encoding = "Content-Encoding: gzip\r\n";
        }
        let head = format!(
            "POST /v1/traces HTTP/1.1\r\nContent-Type: application/x-protobuf\r\n{encoding}\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), &body].concat()
    }

    fn address(collector: &Collector) -> SocketAddr {
        collector.endpoint().trim_start_matches("http://").parse().unwrap()
    }

    #[test]
    fn exports_are_taken_plain_and_compressed() {
        let collector = Collector::start(Mode::Well);
        let mut client = Client::connect(address(&collector));
        for gzip in [false, true] {
            client.send(export("chat m", gzip));
            assert_eq!(client.response("POST").head.status(), 200);
        }
        let spans = collector.spans("CLIENT", 2);
        assert!(spans.iter().all(|span| span.name == "chat m"));
        assert!(collector.wait_until(Duration::ZERO, |it| it.logs.first().map(|_| ())).is_none());
    }

    #[test]
    fn it_fails_as_it_is_told_and_recovers() {
        let collector = Collector::start(Mode::Unavailable);
        let mut client = Client::connect(address(&collector));
        client.send(export("lost", false));
        assert_eq!(client.response("POST").head.status(), 503);
        collector.set(Mode::Hanging);
        client.send(export("lost", false));
        assert!(client.wire.is_silent(Duration::from_millis(100)));
        collector.set(Mode::Resetting);
        let mut client = Client::connect(address(&collector));
        client.send(export("lost", false));
        assert_eq!(client.wire.until_ended(), crate::support::wire::Ended::Reset);
        assert_eq!(collector.received().spans.len(), 0);
        collector.set(Mode::Well);
        let mut client = Client::connect(address(&collector));
        client.send(export("kept", false));
        client.response("POST");
        assert_eq!(collector.received().spans[0].name, "kept");
    }
}
