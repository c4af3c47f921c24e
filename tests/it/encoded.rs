//! Requests that come compressed, prompts of megabytes, events of tens of megabytes: the bytes pass, and
//! what they say is read from the copy, up to a bound that is noted. Knows how each is sent.

use std::io::Write;
use std::time::Instant;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use serde_json::{Value, json};

use crate::support::client::{exchange, post_with};
use crate::support::collector::{Collector, Mode};
use crate::support::origin::Answering;
use crate::support::proxy::{Start, export, upstream};
use crate::support::signals::Span;

const RESPONSES: &str = "/v1/responses";
const CHAT: &str = "/v1/chat/completions";
const MIB: usize = 1 << 20;

/// What is asked, as Codex asks it.
const ASKED: &str =
    r#"{"model":"m","stream":true,"max_output_tokens":9,"input":"Say hello to the world"}"#;
/// The same in brotli, made with Node's `zlib.brotliCompressSync`: we have no encoder for it.
const BROTLI: &[u8] = b"\x1b\x51\x00\x50\x2c\x0e\x78\x13\x73\xd5\x40\x0b\x2b\x91\x09\x67\xe8\x6b\x91\xb0\x9c\xbd\x35\xd5\x96\x3a\x2c\x7d\x85\x97\xd7\x22\x5f\x20\x73\x61\x03\x0e\x1c\x87\xed\x44\xb7\x87\x0d\x38\xc3\xf7\x93\x69\xe3\x39\xf9\x28\x19\x18\xa8\x89\x75\xed\x73\x16\x7f\xa1\x7b\x71\x84\xc7";

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn zlib(body: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn deflate(body: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn zstd(body: &[u8]) -> Vec<u8> {
    zstd::encode_all(body, 3).unwrap()
}

/// The CLIENT span of one exchange under these limits, of which every byte reached the other side.
fn recorded(limits: &str, path: &str, fields: &str, body: &[u8], answer: &[u8]) -> Span {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {}\r\n\r\n",
        answer.len()
    );
    let answering = Answering::always([head.as_bytes(), answer].concat());
    let collector = Collector::start(Mode::Well);
    let config = upstream("openai", &answering.url(), "paths = [\"/v1/\"]")
        + &export(collector.endpoint())
        + &format!("[limits]\n{limits}\n");
    let proxy = Start::new(config).reports_at_once().start();
    let response = exchange(proxy.address, post_with(path, fields, body));
    assert!(response.body.complete && response.body.bytes == answer, "the answer passes");
    assert!(answering.request().body.bytes == body, "the request passes");
    collector.spans("CLIENT", 1).remove(0)
}

fn notes(span: &Span) -> Vec<&str> {
    let notes = span.attributes.get("clearspan.notes").and_then(Value::as_array);
    notes.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The events of a whole response that used so many tokens.
fn response() -> String {
    let done = json!({"type": "response.completed", "response": {"status": "completed", "model": "m-1",
        "usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}}});
    format!("event: response.completed\ndata: {done}\n\n")
}

#[test]
fn a_compressed_request_is_read_whatever_the_encoding() {
    let asked = ASKED.as_bytes();
    for (encoding, body) in [
        ("zstd", zstd(asked)),
        ("gzip", gzip(asked)),
        ("x-gzip", gzip(asked)),
        ("deflate", zlib(asked)),
        ("deflate", deflate(asked)),
        ("br", BROTLI.to_vec()),
        ("gzip, zstd", zstd(&gzip(asked))),
    ] {
        let fields = format!("Content-Encoding: {encoding}\r\n");
        let span = recorded("", RESPONSES, &fields, &body, response().as_bytes());
        assert_eq!(notes(&span), [""; 0], "{encoding}");
        for (key, value) in [
            ("gen_ai.request.model", json!("m")),
            ("gen_ai.request.stream", json!(true)),
            ("gen_ai.request.max_tokens", json!(9)),
            ("clearspan.request.messages", json!(1)),
            ("gen_ai.usage.input_tokens", json!(3)),
        ] {
            assert_eq!(span.attributes[key], value, "{encoding} {key}");
        }
    }
}

#[test]
fn a_compressed_request_beyond_its_bound_or_broken_is_noted_and_passes() {
    let long = ASKED.replace("hello", &"hello ".repeat(20_000));
    let cut = |mut body: Vec<u8>| {
        body.truncate(body.len() / 2);
        body
    };
    for (encoding, body, note, model) in [
        ("zstd", zstd(long.as_bytes()), "encoding_too_large", Some("m")),
        ("gzip", gzip(long.as_bytes()), "encoding_too_large", Some("m")),
        ("deflate", zlib(long.as_bytes()), "encoding_too_large", Some("m")),
        ("zstd", ASKED.into(), "encoding_broken", None),
        ("gzip", cut(gzip(ASKED.as_bytes())), "encoding_broken", Some("m")),
        ("aes128gcm", ASKED.into(), "encoding_unknown", None),
    ] {
        let fields = format!("Content-Encoding: {encoding}\r\n");
        let limits = "decoded_bytes = \"64KiB\"\nevent_bytes = \"64KiB\"";
        let span = recorded(limits, RESPONSES, &fields, &body, response().as_bytes());
        assert_eq!(notes(&span), [note], "{encoding}");
        // What stood before the bound stands.
        let found = span.attributes.get("gen_ai.request.model").and_then(Value::as_str);
        assert_eq!(found, model, "{encoding} {note}");
        assert_eq!(span.attributes["gen_ai.usage.output_tokens"], 4, "{encoding} {note}");
    }
}

#[test]
fn a_prompt_of_four_megabytes_is_read_and_estimated_by_a_sample() {
    let prose = "The quick brown fox jumps over the lazy dog, and nobody minds. ";
    let long = prose.repeat(4 * MIB / prose.len());
    let asked = json!({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user",
        "content": long}], "stream": true, "model": "gpt-4o", "max_tokens": 5});
    let (asked, done) = (asked.to_string(), "data: [DONE]\n\n");
    assert!(asked.len() >= 4 * MIB);
    for (fields, body) in
        [("", asked.clone().into_bytes()), ("Content-Encoding: zstd\r\n", zstd(asked.as_bytes()))]
    {
        let started = Instant::now();
        // Not asked for usage: the answer's is estimated.
        // A sentence that repeats itself is compressed as no prompt is.
        let limits = "ask_body_bytes = \"1KiB\"\ndecoded_ratio = 100000";
        let span = recorded(limits, CHAT, fields, &body, done.as_bytes());
        println!("4 MiB, {} as sent: {:?}", body.len(), started.elapsed());
        assert_eq!(notes(&span), [""; 0], "{fields}");
        assert_eq!(span.attributes["clearspan.request.messages"], 2);
        assert_eq!(span.attributes["gen_ai.request.max_tokens"], 5);
        assert_eq!(span.attributes["clearspan.usage.estimated.sampled"], true);
        let estimate = span.attributes["clearspan.usage.estimated.input_tokens"].as_f64().unwrap();
        // The sentence is 14 tokens.
        let exact = (4 * MIB / prose.len() * 14) as f64;
        assert!((estimate / exact - 1.0).abs() < 0.1, "{estimate} {exact}");
    }
}

#[test]
fn an_event_of_tens_of_megabytes_passes_and_is_read_up_to_its_bound() {
    let picture = "QUJD".repeat(6 * MIB);
    let event = json!({"type": "response.image_generation_call.partial_image",
        "partial_image_b64": picture});
    let answer = format!("data: {event}\n\n{}", response());
    assert!(answer.len() > 24 * MIB);
    for (limits, expected) in [
        ("tape_exchange = \"64MiB\"", &["event_too_long"][..]),
        ("tape_exchange = \"64MiB\"\nevent_bytes = \"32MiB\"\ndecoded_bytes = \"64MiB\"", &[]),
    ] {
        let span = recorded(limits, RESPONSES, "", ASKED.as_bytes(), answer.as_bytes());
        assert_eq!(notes(&span), expected);
        let chunks = i64::from(expected.is_empty());
        assert_eq!(span.attributes["clearspan.chunks"], chunks, "{limits}");
        assert_eq!(span.attributes["gen_ai.usage.output_tokens"], 4, "{limits}");
        assert_eq!(span.attributes["clearspan.ending"], "complete");
    }
}
