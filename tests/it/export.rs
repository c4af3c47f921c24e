//! Where telemetry is sent, and how: the same over gRPC as over HTTP, over TLS, and as the standard
//! variables say; what cannot be delivered is counted and delays nobody. Knows OTLP's protocols.

use std::time::{Duration, Instant};

use base64::Engine as _;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message;

use crate::support::client::{exchange, post};
use crate::support::collector::{Collector, Export, Mode, Received};
use crate::support::egress::{Egress, Verdict};
use crate::support::origin::{Answering, Nobody};
use crate::support::otlp_server::{self, Reply, Speaks};
use crate::support::proxy::{Metrics, Proxy, Start, export, upstream};
use crate::support::secured;
use crate::support::tls::Authority;

const CHAT: &str = "/v1/chat/completions";
const ASKED: &str = r#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}]}"#;
const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

fn answering() -> Answering {
    let body = r#"{"model":"gpt-4o-mini","choices":[{"index":0,"message":{"role":"assistant","content":"x"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":4}}"#;
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    Answering::always(head + body)
}

fn start(answering: &Answering, config: &str) -> Start {
    Start::new(upstream("openai", &answering.url(), "paths = [\"/v1/\"]") + config)
}

fn ask(proxy: &Proxy) {
    let response = exchange(proxy.address, post(CHAT, ASKED));
    assert_eq!(response.head.status(), 200);
    assert!(response.body.complete);
}

/// A `[[telemetry.export]]` over gRPC; `more` holds further keys.
fn grpc(endpoint: &str, more: &str) -> String {
    format!("{}protocol = \"grpc\"\n{more}\n", export(endpoint))
}

/// A header of an export.
fn field<'a>(export: &'a Export, name: &str) -> Option<&'a str> {
    let mut fields = export.fields.iter();
    fields.find(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// Everything received but when and how often metrics came, as text.
fn told(received: &Received) -> (Vec<String>, Vec<String>, Vec<String>) {
    let sorted = |mut lines: Vec<String>| {
        lines.sort();
        lines
    };
    let about_exports = |name: &str| name.starts_with("clearspan.export.");
    let points = received.points.iter().filter(|it| !about_exports(&it.metric));
    (
        sorted(received.spans.iter().map(|it| format!("{it:?}")).collect()),
        sorted(received.logs.iter().map(|it| format!("{it:?}")).collect()),
        sorted(points.map(|it| format!("{it:?}")).collect()),
    )
}

/// Sent, dropped and failed spans.
fn counts(metrics: &Metrics) -> [f64; 3] {
    ["sent", "dropped", "failed"].map(|name| {
        let name = format!("clearspan_export_{name}_total");
        metrics.sum(&name, &["clearspan_signal=\"traces\""])
    })
}

#[test]
fn the_same_arrives_over_grpc_as_over_http() {
    let upstream = answering();
    let over_http = Collector::start(Mode::Well);
    let over_grpc = otlp_server::taking(Speaks::Grpc, None);
    let config = export(over_http.endpoint()) + &grpc(over_grpc.endpoint(), "");
    let proxy = start(&upstream, &config).start();
    (0..3).for_each(|_| ask(&proxy));
    proxy.finish();
    let (one, other) = (over_http.received(), over_grpc.received());
    assert_eq!((one.spans.len(), one.logs.len()), (6, 3));
    assert_eq!(told(&one), told(&other));
    let paths: Vec<_> =
        other.exports.iter().map(|it| it.path.rsplit('.').next().unwrap()).collect();
    for method in ["TraceService/Export", "MetricsService/Export", "LogsService/Export"] {
        assert!(paths.contains(&method), "{paths:?}");
    }
}

#[test]
fn a_private_authority_and_a_client_certificate_are_enough() {
    let upstream = answering();
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    authority.write(&path("ca.crt"));
    authority.issue().write(folder.path());
    let files = format!(
        "ca = {:?}\ncert = {:?}\nkey = {:?}\nsignals = [\"traces\"]\n",
        path("ca.crt"),
        path("tls.crt"),
        path("tls.key")
    );
    for (speaks, alpn, protocol) in
        [(Speaks::Grpc, &b"h2"[..], "grpc"), (Speaks::Http, b"http/1.1", "http/protobuf")]
    {
        let collector = otlp_server::taking(speaks, Some(authority.server(alpn, true)));
        let protocol = format!("protocol = \"{protocol}\"\n");
        let proxy = start(&upstream, &(export(collector.endpoint()) + &protocol + &files)).start();
        ask(&proxy);
        assert_eq!(collector.spans("CLIENT", 1).len(), 1, "{speaks:?}");
    }
}

#[test]
fn a_certificate_that_is_not_trusted_gets_nothing_and_that_is_told() {
    let upstream = answering();
    let (authority, stranger) = (Authority::new(), Authority::new());
    let collector = otlp_server::taking(Speaks::Grpc, Some(stranger.server(b"h2", false)));
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.crt");
    authority.write(&ca);
    let proxy = start(&upstream, "")
        .env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", collector.endpoint())
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        .env("OTEL_EXPORTER_OTLP_CERTIFICATE", ca.display().to_string())
        .env("OTEL_EXPORTER_OTLP_TIMEOUT", "500")
        .start();
    ask(&proxy);
    proxy.wait_for_metric("two spans that failed", |it| counts(it) == [0.0, 0.0, 2.0]);
    proxy.wait_until_said("fails: cannot connect: invalid peer certificate");
    assert!(collector.received().exports.is_empty());
}

#[test]
fn grpc_messages_are_compressed_and_carry_their_headers() {
    let upstream = answering();
    let collector = otlp_server::taking(Speaks::Grpc, None);
    let more = "compression = \"gzip\"\nheaders = { x-key = { env = \"EXPORT_KEY\" } }\ntimeout_seconds = 7";
    let proxy =
        start(&upstream, &grpc(collector.endpoint(), more)).env("EXPORT_KEY", "KEY-0451").start();
    ask(&proxy);
    collector.spans("SERVER", 1);
    for export in collector.received().exports {
        assert_eq!(field(&export, "grpc-encoding"), Some("gzip"));
        assert_eq!(field(&export, "x-key"), Some("KEY-0451"));
        let timeout = field(&export, "grpc-timeout").and_then(|it| it.strip_suffix('m')).unwrap();
        assert!((1..=7000).contains(&timeout.parse::<u32>().unwrap()), "{timeout}");
        assert!(field(&export, "user-agent").unwrap().starts_with("clearspan/"));
    }
}

#[test]
fn variables_alone_send_over_grpc() {
    let upstream = answering();
    let collector = otlp_server::taking(Speaks::Grpc, None);
    let bare = collector.endpoint().trim_start_matches("http://");
    let proxy = start(&upstream, "")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", bare)
        .env("OTEL_EXPORTER_OTLP_INSECURE", "true")
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-team=a%20b")
        .start();
    ask(&proxy);
    assert_eq!(collector.spans("CLIENT", 1).len(), 1);
    assert_eq!(field(&collector.received().exports[0], "x-team"), Some("a b"));
}

#[test]
fn a_grpc_collector_that_never_answers_is_given_up_at_the_deadline() {
    let upstream = answering();
    // The exporter's own, or that of all spans, whichever is shorter.
    for (seconds, millis) in [("0.3", "9000"), ("9", "300")] {
        let collector = otlp_server::start(Speaks::Grpc, None, |_| Reply::Hang);
        let more = format!("timeout_seconds = {seconds}\nsignals = [\"traces\"]");
        let proxy = start(&upstream, &grpc(collector.endpoint(), &more))
            .env("OTEL_BSP_EXPORT_TIMEOUT", millis)
            .start();
        ask(&proxy);
        proxy.wait_for_metric("two spans that failed", |it| counts(it) == [0.0, 0.0, 2.0]);
        let exports = collector.received().exports;
        assert_eq!(exports.len(), 1, "it was asked once");
        let timeout = field(&exports[0], "grpc-timeout").unwrap();
        assert!(timeout.strip_suffix('m').unwrap().parse::<u32>().unwrap() <= 300, "{timeout}");
    }
}

/// `grpc-status-details-bin` of a status with `RetryInfo { retry_delay }`, encoded by hand.
fn retry_after(seconds: u8) -> (&'static str, String) {
    let url = b"type.googleapis.com/google.rpc.RetryInfo";
    let info = [0x0a, 2, 0x08, seconds];
    let any = [&[0x0a, url.len() as u8], &url[..], &[0x12, info.len() as u8], &info].concat();
    let status = [&[0x08, 14, 0x1a, any.len() as u8], &any[..]].concat();
    let engine = base64::engine::general_purpose::STANDARD_NO_PAD;
    ("grpc-status-details-bin", engine.encode(status))
}

#[test]
fn a_grpc_collector_that_is_busy_is_asked_again_when_it_said() {
    for reply in
        [Reply::Status(8, vec![retry_after(1)]), Reply::StatusInHead(14, vec![retry_after(1)])]
    {
        let upstream = answering();
        let mut first = true;
        let (sender, asked) = std::sync::mpsc::sync_channel(10);
        let collector = otlp_server::start(Speaks::Grpc, None, move |_| {
            sender.send(Instant::now()).unwrap();
            let taken = Reply::Taken(Vec::new());
            if std::mem::take(&mut first) { reply.clone() } else { taken }
        });
        let config = grpc(collector.endpoint(), "signals = [\"traces\"]");
        let proxy = start(&upstream, &config).start();
        ask(&proxy);
        proxy.wait_for_metric("two spans", |it| counts(it) == [2.0, 0.0, 0.0]);
        let first = asked.recv().unwrap();
        let pause = (asked.recv().unwrap() - first).as_secs_f64();
        assert!(pause >= 1.0, "{pause}");
        assert_eq!(collector.received().spans.len(), 2);
    }
}

#[test]
fn a_grpc_collector_that_refuses_is_not_asked_again() {
    let exhausted = Reply::Status(8, vec![("grpc-message", "no%20quota".to_owned())]);
    for (reply, words) in [
        (exhausted, "it answers RESOURCE_EXHAUSTED: no quota"),
        (Reply::StatusInHead(16, vec![]), "it answers UNAUTHENTICATED"),
        (Reply::Http(404), "it answers UNIMPLEMENTED"),
    ] {
        let upstream = answering();
        let collector = otlp_server::start(Speaks::Grpc, None, move |_| reply.clone());
        let config = grpc(collector.endpoint(), "signals = [\"traces\"]");
        let proxy = start(&upstream, &config).start();
        ask(&proxy);
        proxy.wait_for_metric("two spans that failed", |it| counts(it) == [0.0, 0.0, 2.0]);
        assert_eq!(collector.received().exports.len(), 1, "{words}");
        proxy.wait_until_said(words);
    }
}

#[test]
fn what_a_grpc_collector_rejects_of_a_batch_is_counted() {
    let upstream = answering();
    let partial = ExportTracePartialSuccess { rejected_spans: 1, error_message: "too old".into() };
    let answer = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    let collector = otlp_server::start(Speaks::Grpc, None, move |_| Reply::Taken(answer.clone()));
    let config = grpc(collector.endpoint(), "signals = [\"traces\"]");
    let proxy = start(&upstream, &config).start();
    ask(&proxy);
    proxy.wait_for_metric("one span of two", |it| counts(it) == [1.0, 0.0, 1.0]);
    proxy.wait_until_said("refused some: too old");
}

#[test]
fn requests_are_served_whatever_a_grpc_collector_does() {
    let upstream = answering();
    let nobody = Nobody::bind();
    let replies =
        [Reply::Hang, Reply::Status(14, vec![]), Reply::Http(503), Reply::Status(3, vec![])];
    let faulty =
        replies.map(|reply| otlp_server::start(Speaks::Grpc, None, move |_| reply.clone()));
    // One that speaks no HTTP/2 at all, and one that hangs up.
    let odd = [Mode::Well, Mode::Resetting].map(Collector::start);
    let endpoints = faulty.iter().chain(&odd).map(|it| it.endpoint().to_owned());
    for endpoint in endpoints.chain([nobody.url()]) {
        let proxy = start(&upstream, &grpc(&endpoint, "")).start();
        let began = Instant::now();
        (0..20).for_each(|_| ask(&proxy));
        assert!(began.elapsed() < Duration::from_secs(5), "{endpoint}");
        assert_eq!(proxy.admin_get("/healthz").head.status(), 200);
    }
}

#[test]
fn one_export_that_hangs_does_not_hold_up_another_of_either_protocol() {
    let upstream = answering();
    let hanging = otlp_server::start(Speaks::Grpc, None, |_| Reply::Hang);
    let (over_grpc, over_http) =
        (otlp_server::taking(Speaks::Grpc, None), Collector::start(Mode::Well));
    let config = grpc(hanging.endpoint(), "")
        + &grpc(over_grpc.endpoint(), "signals = [\"traces\"]")
        + &export(over_http.endpoint());
    let proxy = start(&upstream, &config).start();
    (0..5).for_each(|_| ask(&proxy));
    assert_eq!(over_grpc.spans("SERVER", 5).len(), 5);
    assert_eq!(over_http.spans("SERVER", 5).len(), 5);
    // All three are on one host: what became of records is told for each.
    for (collector, sent) in [(&hanging, 0.0), (&over_grpc, 10.0), (&over_http, 10.0)] {
        let port = collector.endpoint().rsplit(':').next().unwrap();
        let labels = ["clearspan_signal=\"traces\"", &format!("server_port=\"{port}\"")];
        let said = |it: &Metrics| it.sum("clearspan_export_sent_total", &labels) == sent;
        proxy.wait_for_metric("what was sent to each", said);
    }
}

/// The sum of all points of a metric that ever came.
fn sum(received: &Received, metric: &str) -> f64 {
    received.points.iter().filter(|it| it.metric == metric).map(|it| it.value).sum()
}

#[test]
fn deltas_add_up_and_a_scrape_stays_cumulative() {
    let upstream = answering();
    let (deltas, sums) = (Collector::start(Mode::Well), otlp_server::taking(Speaks::Grpc, None));
    let config = export(deltas.endpoint())
        + "temporality = \"delta\"\n"
        + &grpc(sums.endpoint(), "temporality = \"cumulative\"");
    let proxy = start(&upstream, &config).env("OTEL_METRIC_EXPORT_INTERVAL", "50").start();
    for count in 1..=3 {
        ask(&proxy);
        let all = f64::from(count);
        let name = "clearspan.requests";
        deltas.wait_for("the request", |it| (sum(it, name) == all).then_some(()));
        sums.wait_for("all requests", |it| {
            it.metric(name).iter().any(|it| it.value == all).then_some(())
        });
        assert_eq!(proxy.metrics().sum("clearspan_requests_total", &[]), all);
    }
    proxy.finish();
    let received = deltas.received();
    assert_eq!(sum(&received, "clearspan.requests"), 3.0);
    let of = |received: &Received, name: &str| {
        received.metric(name).iter().map(|it| it.delta).collect::<Vec<_>>()
    };
    for name in ["clearspan.requests", "http.server.request.duration", "clearspan.export.sent"] {
        assert!(of(&received, name).iter().all(|it| *it), "{name}");
        assert!(of(&sums.received(), name).iter().all(|it| !*it), "{name}");
    }
    let durations = received.points.iter().filter(|it| it.metric == "http.server.request.duration");
    assert_eq!(durations.filter_map(|it| it.count).sum::<u64>(), 3);
}

#[test]
fn histograms_are_exponential_where_that_is_asked_for_and_explicit_beside_it() {
    let upstream = answering();
    let [fine, deltas, plain] = [(); 3].map(|()| Collector::start(Mode::Well));
    let exponential = "histograms = \"exponential\"\n";
    let config = [
        export(fine.endpoint()) + exponential,
        export(deltas.endpoint()) + "temporality = \"delta\"\n" + exponential,
        export(plain.endpoint()),
    ];
    let proxy = start(&upstream, &config.concat()).start();
    (0..3).for_each(|_| ask(&proxy));
    let name = "http.server.request.duration";
    let bucket = "http_server_request_duration_seconds_bucket";
    proxy.wait_for_metric("three", |it| it.sum(bucket, &["le=\"+Inf\""]) == 3.0);
    assert!(!proxy.admin_get("/metrics").text().contains("xponential"));
    proxy.finish();
    for (collector, is_delta) in [(&fine, false), (&deltas, true)] {
        let received = collector.received();
        let points = received.metric(name);
        let [point] = points[..] else { panic!("{points:?}") };
        assert_eq!((point.count, point.delta, point.unit.as_str()), (Some(3), is_delta, "s"));
        assert!(point.scale.is_some_and(|it| (1..=20).contains(&it)) && point.bounds.is_empty());
        assert!(received.points.iter().all(|it| !it.metric.contains("exponential")));
        assert!(received.points.iter().all(|it| it.bounds.is_empty()));
        assert_eq!(received.metric("clearspan.requests")[0].value, 3.0);
    }
    let received = plain.received();
    assert!(received.metric(name)[0].bounds.contains(&3.0));
    assert!(received.points.iter().all(|it| it.scale.is_none()));
    let names = |it: &Collector| {
        let points = it.received().points;
        points.into_iter().map(|it| it.metric).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(names(&fine), names(&plain));
}

#[test]
fn what_a_slow_collector_has_no_room_for_is_said_once_and_the_rest_at_the_end() {
    let upstream = answering();
    let slow = Answering::with(|_| {
        std::thread::sleep(Duration::from_millis(300));
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    });
    let config = format!(
        "{}signals = [\"traces\"]\n[limits]\nexport_queue = \"16KiB\"\n",
        export(&slow.url())
    );
    let proxy = start(&upstream, &config).reports_at_once().start();
    let is_said = |why: &str| {
        let words = format!(" spans for {}/v1/traces lost: {why}", slow.url());
        let stderr = proxy.stderr();
        let lines = stderr.iter().filter(|line| line.contains(&words));
        lines.inspect(|line| assert!(line.contains("\"WARN\""), "{line}")).count()
    };
    let deadline = Instant::now() + crate::support::PATIENCE;
    while is_said("they come faster") == 0 {
        assert!(Instant::now() < deadline, "{:#?}", proxy.stderr());
        ask(&proxy);
    }
    let [_, before, _] = counts(&proxy.metrics());
    let more = |metrics: &Metrics| {
        (0..50).for_each(|_| ask(&proxy));
        counts(metrics)[1] > before
    };
    proxy.wait_for_metric("more that is lost", more);
    proxy.signal("TERM");
    proxy.wait_until_said("or the program ended before (limits.flush_seconds");
    assert_eq!(is_said("they come faster"), 2);
    assert!(!proxy.stderr().iter().any(|line| line.contains("fails")), "{:#?}", proxy.stderr());
}

#[test]
fn what_is_not_sampled_has_no_spans_but_counts() {
    let upstream = answering();
    let collector = Collector::start(Mode::Well);
    let proxy = start(&upstream, &export(collector.endpoint()))
        .env("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
        .env("OTEL_TRACES_SAMPLER_ARG", "0")
        .start();
    ask(&proxy);
    let parent = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
    let asked = crate::support::client::post_with(CHAT, parent, ASKED);
    assert_eq!(exchange(proxy.address, asked).head.status(), 200);
    proxy.finish();
    let received = collector.received();
    let traces: Vec<_> = received.of_kind("SERVER").iter().map(|it| it.trace.clone()).collect();
    assert_eq!(traces, ["0af7651916cd43dd8448eb211c80319c"]);
    assert_eq!(received.logs.len(), 2);
    assert_eq!(received.metric("clearspan.requests").iter().map(|it| it.value).sum::<f64>(), 2.0);
}

#[test]
fn limits_of_attributes_hold_for_spans_and_log_records_each() {
    let upstream = answering();
    let collector = Collector::start(Mode::Well);
    let proxy = start(&upstream, &export(collector.endpoint()))
        .env("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "3")
        .env("OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT", "4")
        .start();
    ask(&proxy);
    proxy.finish();
    let received = collector.received();
    assert_eq!(received.spans.iter().map(|it| it.attributes.len()).collect::<Vec<_>>(), [3, 3]);
    let log = &received.logs[0].attributes;
    assert_eq!(log["gen_ai.request.model"], "gpt-");
    assert!(log.len() > 3);
}

#[test]
fn the_log_level_is_what_the_program_says_of_itself() {
    let upstream = answering();
    let collector = otlp_server::start(Speaks::Grpc, None, |_| Reply::Status(3, vec![]));
    for (level, says) in [("error", false), ("warn", true)] {
        let config = grpc(collector.endpoint(), "signals = [\"traces\"]");
        let proxy = start(&upstream, &config).env("OTEL_LOG_LEVEL", level).start();
        ask(&proxy);
        proxy.wait_for_metric("two spans that failed", |it| counts(it)[2] == 2.0);
        if says {
            proxy.wait_until_said("telemetry export to");
        } else {
            let said = proxy.stderr().join("\n");
            assert!(!said.contains("telemetry export to"), "{said}");
        }
    }
    assert_eq!(collector.received().exports.iter().filter(|it| it.path == TRACES).count(), 2);
}

/// `me:s@cret`, as a URL and as `Proxy-Authorization` say it.
const USER: (&str, &str) = ("me:s%40cret@", "Basic bWU6c0BjcmV0");

/// Where a collector listens.
fn address_of(collector: &Collector) -> std::net::SocketAddr {
    let (_, place) = collector.endpoint().split_once("://").unwrap();
    place.replace("localhost", "127.0.0.1").parse().unwrap()
}

#[test]
fn an_egress_proxy_of_the_environment_leads_to_a_collector_that_only_it_knows() {
    let upstream = answering();
    let authority = secured::Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let ca = secured::file(folder.path(), "ca.pem", &authority.pem());
    let config = secured::config(&authority.identity(&["otel.test"]), None);
    let collector = otlp_server::taking(Speaks::Http, Some(config));
    let to = address_of(&collector);
    let egress = Egress::with(move |head| match head.field("proxy-authorization") {
        Some(it) if it == USER.1 => Verdict::Tunnel(to),
        _ => Verdict::answer("HTTP/1.1 407 No\r\n\r\n"),
    });
    let config =
        export("https://otel.test:4318") + &format!("ca = {ca:?}\nsignals = [\"traces\"]\n");
    let beside = start(&upstream, &config).reports_at_once();
    let proxy = beside.env("HTTPS_PROXY", egress.url("http", USER.0)).start();
    ask(&proxy);
    assert_eq!(collector.spans("CLIENT", 1).len(), 1);
    let asked = egress.asked();
    assert_eq!(asked.start, "CONNECT otel.test:4318 HTTP/1.1");
    let seen = &collector.received().exports[0];
    assert_eq!((seen.path.as_str(), field(seen, "host")), ("/v1/traces", Some("otel.test:4318")));
    assert_eq!(field(seen, "proxy-authorization"), None);
    // It is told when it does not let us through, and by its name only.
    let refused = start(&upstream, &config).reports_at_once();
    let proxy = refused.env("https_proxy", egress.url("http", "")).start();
    ask(&proxy);
    proxy.wait_until_said("the egress proxy wants other credentials (407)");
}

#[test]
fn an_endpoint_without_tls_is_asked_for_in_absolute_form_and_one_of_grpc_through_a_tunnel() {
    let upstream = answering();
    let collector = otlp_server::taking(Speaks::Grpc, None);
    let to = address_of(&collector);
    let egress = Egress::with(move |head| match head.method() {
        "CONNECT" => Verdict::Tunnel(to),
        _ => Verdict::answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    });
    let traces = "signals = [\"traces\"]\n";
    let over_http = export("http://otel.test:4318/base") + traces;
    let start = |config: &str| start(&upstream, config).reports_at_once();
    let proxy = start(&over_http).env("HTTP_PROXY", egress.url("http", USER.0)).start();
    ask(&proxy);
    let asked = egress.asked();
    assert_eq!(asked.start, "POST http://otel.test:4318/base/v1/traces HTTP/1.1");
    assert_eq!(asked.field("host"), Some("otel.test:4318"));
    assert_eq!(asked.field("proxy-authorization"), Some(USER.1));
    let said = format!("{:?}", proxy.stderr());
    assert!(!said.contains("cret"), "{said}");
    let proxy = start(&grpc("http://otel.test:4317", traces));
    let proxy = proxy.env("ALL_PROXY", egress.url("http", "")).start();
    ask(&proxy);
    assert_eq!(collector.spans("CLIENT", 1).len(), 1);
    assert_eq!(egress.asked().start, "CONNECT otel.test:4317 HTTP/1.1");
}

#[test]
fn an_exports_own_egress_proxy_goes_before_the_environments() {
    let upstream = answering();
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    authority.write(&folder.path().join("ca.crt"));
    let collector = otlp_server::taking(Speaks::Grpc, Some(authority.server(b"h2", false)));
    let egress = Egress::socks5("me", "s@cret", address_of(&collector));
    let keys = format!("ca = {:?}\nproxy = {{ env = \"EGRESS\" }}", folder.path().join("ca.crt"));
    let config = grpc("https://localhost:4317", &format!("{keys}\nsignals = [\"traces\"]"));
    let beside = start(&upstream, &config).env("HTTPS_PROXY", "http://nobody.invalid");
    let proxy = beside.reports_at_once().env("EGRESS", egress.url("socks5", USER.0)).start();
    ask(&proxy);
    assert_eq!(collector.spans("CLIENT", 1).len(), 1);
    assert_eq!(egress.asked().start, "SOCKS localhost:4317 me s@cret");
    // `none` is no proxy, and neither is one for this machine.
    for keys in ["proxy = \"none\"", "signals = [\"traces\"]"] {
        let collector = Collector::start(Mode::Well);
        let config = format!("{}{keys}\n", export(collector.endpoint()));
        let beside = start(&upstream, &config).reports_at_once();
        let proxy = beside.env("ALL_PROXY", "http://nobody.invalid").start();
        ask(&proxy);
        assert_eq!(collector.spans("CLIENT", 1).len(), 1);
    }
}
