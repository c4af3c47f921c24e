//! Many who hold: what is read of copies is bounded by `tape_memory` together, whatever comes out of how
//! little. Knows the bound, and that an allocator needs some more.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use crate::support::client::{Client, exchange, post, post_with};
use crate::support::collector::{Collector, Mode};
use crate::support::origin::{Answer, Answering};
use crate::support::proxy::{Metrics, Proxy, Start, export, upstream};
use crate::support::signals::Span;
use crate::support::wire::Framing;

const CHAT: &str = "/v1/chat/completions";
/// How many hold, each so many bytes that came out of a few; and what of these they may together.
const HOLDERS: usize = 24;
const HELD_MIB: usize = 3;
const MEMORY_MIB: usize = 16;

fn gzip(parts: &[&[u8]]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    parts.iter().for_each(|part| encoder.write_all(part).unwrap());
    encoder.finish().unwrap()
}

/// A document of `HELD_MIB`, most of which stands in its first few bytes. So many more follow them that
/// these are handed over before the end.
fn document(before: &str, after: &str) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(11);
    let noise: Vec<u8> = (0..60_000).map(|_| random.alphanumeric() as u8).collect();
    let long = vec![b'x'; HELD_MIB << 20];
    gzip(&[before.as_bytes(), &long, &noise, after.as_bytes()])
}

fn proxy(url: &str, collector: &Collector) -> Proxy {
    // An estimate would load the tokenizer, which is memory of another kind.
    let limits = format!(
        "[limits]\ntape_memory = \"{MEMORY_MIB}MiB\"\ndecoded_ratio = 1000000\nestimate_bytes = 0\n"
    );
    let config = upstream("openai", url, "paths = [\"/v1/\"]");
    Start::new(config + &export(collector.endpoint()) + &limits).reports_at_once().start()
}

fn torn(metrics: &Metrics) -> usize {
    metrics.sum("clearspan_tape_torn_total", &[]) as usize
}

/// All that hold but those for which there is room.
fn most_are_torn(proxy: &Proxy) {
    let room = MEMORY_MIB * 3 / 4 / HELD_MIB;
    proxy.wait_for_metric("torn tapes", |metrics| torn(metrics) >= HOLDERS - room);
}

fn notes(span: &Span) -> Vec<&str> {
    let notes = span.attributes.get("clearspan.notes").and_then(Value::as_array);
    notes.into_iter().flatten().filter_map(Value::as_str).collect()
}

fn count(spans: &[Span], noted: &str) -> usize {
    spans.iter().filter(|span| notes(span).contains(&noted)).count()
}

fn assert_bounded(proxy: &Proxy, before: usize) {
    let growth = (proxy.peak_memory_kib() - before).div_ceil(1024);
    println!("{HOLDERS} holders of {HELD_MIB} MiB: {growth} MiB more");
    // Without the bound it is what all hold, and more, since buffers double.
    assert!(growth < 3 * MEMORY_MIB, "{growth} MiB");
}

const ANSWER: &str =
    r#"{"model":"m","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#;

fn answer(body: &[u8], fields: &str, more: usize) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{fields}Content-Length: {}\r\n\r\n",
        body.len() + more
    );
    [head.as_bytes(), body].concat()
}

/// While most of the memory is held by others: who holds little is read in full.
fn assert_read(proxy: &Proxy, collector: &Collector) {
    let response = exchange(proxy.address, post(CHAT, r#"{"model":"small"}"#));
    assert!(response.body.complete);
    let is_small = |span: &Span| {
        span.attributes.get("gen_ai.request.model").is_some_and(|model| model == "small")
    };
    let small = collector.wait_for("the small call", move |received| {
        received.of_kind("CLIENT").into_iter().find(|span| is_small(span)).cloned()
    });
    assert_eq!(notes(&small), [""; 0]);
    assert_eq!(small.attributes["gen_ai.usage.input_tokens"], 3);
}

#[test]
fn requests_that_are_held_open_take_no_more_than_tape_memory_and_others_are_read() {
    let answering = Answering::always(answer(ANSWER.as_bytes(), "", 0));
    let collector = Collector::start(Mode::Well);
    let proxy = proxy(&answering.url(), &collector);
    let before = proxy.peak_memory_kib();
    let body = document(r#"{"model":"held","messages":[{"content":""#, r#""}]}"#);
    let request = post_with(CHAT, "Content-Encoding: gzip\r\n", &body);
    let holders: Vec<_> = (0..HOLDERS)
        .map(|_| {
            let mut client = Client::connect(proxy.address);
            client.send(&request[..request.len() - 1]);
            client
        })
        .collect();
    most_are_torn(&proxy);
    assert_read(&proxy, &collector);
    // The last byte is all that was missing: the bytes pass, whatever was kept of them.
    for mut client in holders {
        client.send(&request[request.len() - 1..]);
        assert_eq!(client.response("POST").text(), ANSWER);
    }
    let spans = collector.spans("CLIENT", HOLDERS + 1);
    let (short, torn) = (count(&spans, "memory_short"), count(&spans, "request_torn"));
    assert!((HOLDERS - 4..=HOLDERS).contains(&short) && torn == short, "{short} {torn}");
    let known = spans.iter().filter(|span| span.attributes["gen_ai.request.model"] == "held");
    assert_eq!(known.count(), HOLDERS, "what stood before the tear is told");
    assert_bounded(&proxy, before);
}

#[test]
fn answers_that_are_held_open_take_no_more_than_tape_memory_and_others_are_read() {
    let body = document(r#"{"model":"m","choices":[{"message":{"content":""#, r#""}}]}"#);
    let whole = body.clone();
    let answering = Answering::with(move |request| {
        let is_small = request.body.bytes.len() < 20;
        Answer::from(match is_small {
            true => answer(ANSWER.as_bytes(), "", 0),
            false => answer(&whole, "Content-Encoding: gzip\r\n", 1),
        })
    });
    let collector = Collector::start(Mode::Well);
    let proxy = proxy(&answering.url(), &collector);
    let before = proxy.peak_memory_kib();
    let holders: Vec<_> = (0..HOLDERS)
        .map(|_| {
            let mut client = Client::connect(proxy.address);
            client.send(post(CHAT, r#"{"model":"held","messages":[]}"#));
            let (_, mut read) = client.begin_response("POST");
            assert_eq!(read.framing, Framing::Length(body.len() as u64 + 1));
            client.wire.until(&mut read, body.len());
            assert!(read.bytes == body);
            client
        })
        .collect();
    most_are_torn(&proxy);
    assert_read(&proxy, &collector);
    drop(holders);
    let spans = collector.spans("CLIENT", HOLDERS + 1);
    let (short, torn) = (count(&spans, "memory_short"), count(&spans, "response_torn"));
    assert!((HOLDERS - 4..=HOLDERS).contains(&short) && torn == short, "{short} {torn}");
    assert_bounded(&proxy, before);
}
