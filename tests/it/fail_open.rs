//! Faults of the cold path stay there: whatever happens to telemetry, requests are served, bytes are
//! equal, and what is lost is counted. Knows how collectors, tapes and terminals fail.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::support::client::{Response, exchange, get, post};
use crate::support::collector::{Collector, Mode};
use crate::support::origin::{Answering, Nobody};
use crate::support::proxy::{Metrics, Proxy, Start, export, upstream};

const ASKED: &str = r#"{"model":"gpt-4o-mini","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"hi"}]}"#;
const CHAT: &str = "/v1/chat/completions";

/// A stream of `count` chunks of content, and its usage at the end.
fn stream(count: usize) -> Vec<u8> {
    let words = "x".repeat(200);
    let chunk =
        |rest: &str| format!("data: {{\"id\":\"c\",\"model\":\"gpt-4o-mini\",\"choices\":[{rest}");
    let content = chunk(&format!(
        "{{\"index\":0,\"delta\":{{\"content\":\"{words}\"}},\"finish_reason\":null}}]}}\n\n"
    ));
    let stop = chunk("{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n");
    let usage = chunk("],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":500}}\n\n");
    [content.repeat(count), stop, usage, "data: [DONE]\n\n".to_owned()].concat().into_bytes()
}

fn answer(fields: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

const EVENTS: &str = "Content-Type: text/event-stream\r\n";

fn start(upstream_: &Answering, config: &str) -> Start {
    Start::new(upstream("openai", &upstream_.url(), "paths = [\"/v1/\"]") + config)
}

fn ask(proxy: &Proxy) -> Response {
    exchange(proxy.address, post(CHAT, ASKED))
}

#[test]
fn requests_are_served_whatever_the_collector_does() {
    let body = stream(20);
    let upstream = Answering::always(answer(EVENTS, &body));
    let nobody = Nobody::bind();
    let faulty = [Mode::Hanging, Mode::Resetting, Mode::Unavailable].map(Collector::start);
    let endpoints = faulty.iter().map(|it| it.endpoint().to_owned()).chain([nobody.url()]);
    for endpoint in endpoints {
        let proxy = start(&upstream, &export(&endpoint)).start();
        for _ in 0..20 {
            let response = ask(&proxy);
            assert_eq!(response.head.status(), 200);
            assert!(response.body.complete && response.body.bytes == body, "{endpoint}");
        }
        assert_eq!(proxy.admin_get("/healthz").head.status(), 200);
        let all = |metrics: &Metrics| metrics.sum("clearspan_requests_total", &[]) == 20.0;
        proxy.wait_for_metric("20 requests", all);
    }
}

#[test]
fn one_collector_that_fails_does_not_keep_telemetry_from_another() {
    let upstream = Answering::always(answer(EVENTS, &stream(1)));
    let (hanging, well) = (Collector::start(Mode::Hanging), Collector::start(Mode::Well));
    let config = export(hanging.endpoint()) + &export(well.endpoint());
    let proxy = start(&upstream, &config).start();
    for _ in 0..5 {
        ask(&proxy);
    }
    assert_eq!(well.spans("SERVER", 5).len(), 5);
}

#[test]
fn telemetry_of_a_collector_that_comes_back_arrives() {
    let upstream = Answering::always(answer(EVENTS, &stream(1)));
    let collector = Collector::start(Mode::Unavailable);
    let proxy = start(&upstream, &export(collector.endpoint())).start();
    ask(&proxy);
    collector.wait_for("an attempt", |received| (!received.exports.is_empty()).then_some(()));
    collector.set(Mode::Well);
    assert_eq!(collector.spans("SERVER", 1).len(), 1);
}

#[test]
fn what_a_collector_never_takes_is_counted() {
    let upstream = Answering::always(answer(EVENTS, &stream(1)));
    let collector = Collector::start(Mode::Unavailable);
    let proxy = start(&upstream, &export(collector.endpoint()))
        .env("OTEL_EXPORTER_OTLP_TIMEOUT", "1000")
        .start();
    ask(&proxy);
    let failed = |metrics: &Metrics| {
        metrics.sum("clearspan_export_failed_total", &["clearspan_signal=\"traces\""]) == 2.0
    };
    proxy.wait_for_metric("two spans that were not taken", failed);
}

#[test]
fn a_tape_over_its_bound_costs_neither_bytes_nor_usage() {
    // Some 250 KiB, far above both bounds.
    let body = stream(1000);
    let upstream = Answering::always(answer(EVENTS, &body));
    for limits in ["tape_exchange = \"1KiB\"", "tape_exchange = \"64KiB\""] {
        let collector = Collector::start(Mode::Well);
        let config = format!("[limits]\n{limits}\n{}", export(collector.endpoint()));
        let proxy = start(&upstream, &config).start();
        let response = ask(&proxy);
        assert!(response.body.complete && response.body.bytes == body, "{limits}");
        let torn = |metrics: &Metrics| metrics.sum("clearspan_tape_torn_total", &[]) == 1.0;
        proxy.wait_for_metric("a torn tape", torn);
        proxy.finish();
        let received = collector.received();
        let span = received.of_kind("CLIENT")[0];
        assert_eq!(span.attributes["gen_ai.usage.input_tokens"], 9, "{limits}");
        assert_eq!(span.attributes["gen_ai.usage.output_tokens"], 500, "{limits}");
        assert_eq!(span.attributes["clearspan.ending"], "complete");
        let notes = span.attributes["clearspan.notes"].as_array().unwrap();
        assert!(notes.iter().any(|note| note == "response_torn"), "{notes:?}");
        let server = received.of_kind("SERVER")[0];
        assert_eq!(server.attributes["http.response.body.size"], body.len());
    }
}

#[test]
fn without_memory_for_tapes_bytes_still_pass_and_ends_are_told() {
    let body = stream(200);
    let upstream = Answering::always(answer(EVENTS, &body));
    let collector = Collector::start(Mode::Well);
    let config = format!("[limits]\ntape_memory = \"1KiB\"\n{}", export(collector.endpoint()));
    let proxy = start(&upstream, &config).start();
    for _ in 0..5 {
        let response = ask(&proxy);
        assert!(response.body.complete && response.body.bytes == body);
    }
    proxy.finish();
    let received = collector.received();
    assert_eq!(received.of_kind("SERVER").len(), 5);
}

#[test]
fn bodies_that_lie_about_themselves_pass_and_are_noted() {
    let mut broken = GzEncoder::new(Vec::new(), Compression::default());
    broken.write_all(&stream(10)).unwrap();
    let mut broken = broken.finish().unwrap();
    broken[20..].fill(0xff);
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    bomb.write_all(&vec![b' '; 64 << 20]).unwrap();
    let bomb = bomb.finish().unwrap();
    let gzip = "Content-Type: application/json\r\nContent-Encoding: gzip\r\n";
    let json = "Content-Type: application/json\r\n";
    let unknown = "Content-Type: application/json\r\nContent-Encoding: x-odd\r\n";
    let long = format!("data: {}\n\n", "x".repeat(9 << 20)).into_bytes();
    for (fields, body, note) in [
        (gzip, broken, "encoding_broken"),
        (gzip, bomb, "encoding_too_large"),
        (unknown, b"{}".to_vec(), "encoding_unknown"),
        (json, b"{\"model\": nonsense}".to_vec(), "response_unreadable"),
        (json, b"\xff\xfe{}".to_vec(), "response_unreadable"),
        (EVENTS, b"data: {\"choices\":[nonsense\n\ndata: [DONE]\n\n".to_vec(), "event_unreadable"),
        (EVENTS, long, "event_too_long"),
    ] {
        let upstream = Answering::always(answer(fields, &body));
        let collector = Collector::start(Mode::Well);
        let proxy = start(&upstream, &export(collector.endpoint())).start();
        let response = ask(&proxy);
        assert!(response.body.complete && response.body.bytes == body, "{note}");
        proxy.finish();
        let received = collector.received();
        let span = received.of_kind("CLIENT")[0];
        let notes = span.attributes.get("clearspan.notes").and_then(|it| it.as_array());
        let noted = notes.is_some_and(|notes| notes.iter().any(|it| it == note));
        assert!(noted, "{note}: {:#?}", span.attributes);
        assert!(!span.attributes.contains_key("gen_ai.usage.input_tokens"));
    }
}

#[test]
fn an_answer_that_ends_within_its_json_is_truncated() {
    let upstream =
        Answering::always(answer("Content-Type: application/json\r\n", b"{\"model\": tru"));
    let collector = Collector::start(Mode::Well);
    let proxy = start(&upstream, &export(collector.endpoint())).start();
    assert_eq!(ask(&proxy).body.bytes, b"{\"model\": tru");
    proxy.finish();
    let received = collector.received();
    assert_eq!(received.of_kind("CLIENT")[0].attributes["clearspan.ending"], "truncated");
}

#[test]
fn a_request_that_is_not_json_passes_and_is_noted() {
    let upstream = Answering::always(answer(EVENTS, &stream(1)));
    let collector = Collector::start(Mode::Well);
    let proxy = start(&upstream, &export(collector.endpoint())).start();
    let response = exchange(proxy.address, post(CHAT, "{not json"));
    assert!(response.body.complete);
    assert_eq!(upstream.request().body.bytes, b"{not json");
    proxy.finish();
    let received = collector.received();
    let notes = &received.of_kind("CLIENT")[0].attributes["clearspan.notes"];
    assert!(notes.as_array().unwrap().iter().any(|note| note == "request_unreadable"), "{notes}");
}

#[test]
fn a_standard_output_that_nobody_reads_holds_nothing_up_and_what_it_costs_is_said() {
    let body = stream(1);
    let upstream = Answering::always(answer(EVENTS, &body));
    let config = "[telemetry]\nlines = \"json\"\n";
    let proxy = start(&upstream, config).stdout_unread().start();
    // Far more lines than a pipe takes, and more than wait for one: a MiB.
    let asked = ASKED.replace("gpt-4o-mini", &"m".repeat(200));
    let mut client = crate::support::client::Client::connect(proxy.address);
    for number in 0..2500 {
        client.send(post(CHAT, &asked));
        let response = client.response("POST");
        assert!(response.body.complete && response.body.bytes == body, "{number}");
    }
    let all = |metrics: &Metrics| metrics.sum("clearspan_requests_total", &[]) == 2500.0;
    proxy.wait_for_metric("2500 requests", all);
    // Also where nothing is exported.
    proxy.wait_until_said("lines lost: nobody reads standard output");
    let mut proxy = proxy;
    proxy.signal("TERM");
    let status = proxy.wait(crate::support::PATIENCE).expect("it ends all the same");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_line_for_each_exchange_is_printed_as_json() {
    let upstream = Answering::always(answer(EVENTS, &stream(2)));
    let proxy = start(&upstream, "[telemetry]\nlines = \"json\"\n").start();
    ask(&proxy);
    let line = proxy.wait_for_line(|line| line.contains("gpt-4o-mini"));
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["trace_id"].as_str().unwrap().len(), 32, "{line}");
    assert_eq!(line["span_id"].as_str().unwrap().len(), 16, "{line}");
}

#[test]
fn a_scrape_without_exporters_works() {
    let upstream = Answering::always(answer(EVENTS, &stream(2)));
    let proxy = start(&upstream, "").env("OTEL_SDK_DISABLED", "false").start();
    ask(&proxy);
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(exchange(proxy.admin, get(path)).head.status(), 200, "{path}");
    }
    assert_eq!(exchange(proxy.admin, get("/nowhere")).head.status(), 404);
}
