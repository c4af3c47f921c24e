//! Usage of a stream, asked for in the client's stead: the upstream sees the question, the spans have
//! the answer, and the client reads what it would have read. Knows four kinds of upstreams: such as
//! honour the question, refuse it, ignore it, and answer compressed whatever was asked.

use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::PATIENCE;
use crate::support::client::{Client, Response, exchange, post, post_with};
use crate::support::collector::{Collector, Mode};
use crate::support::origin::{Answer, Answering, Connection, Origin, Request};
use crate::support::proxy::{Proxy, Start, export, upstream};
use crate::support::signals::Span;
use crate::support::wire::{Ended, chunk, chunked, text};

const CHAT: &str = "/v1/chat/completions";
const BODY: &str = r#"{"model":"gpt-4o","stream":true}"#;
const ASKING: &str = r#"{"stream_options":{"include_usage":true},"model":"gpt-4o","stream":true}"#;
const EVENTS: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
const BAD_REQUEST: &str = r#"{"error":{"message":"unknown field stream_options","code":null}}"#;

/// A proxy before `url` that asks, with these limits; with telemetry where there is a collector.
fn proxy_with(url: &str, limits: &str, collector: Option<&Collector>) -> Proxy {
    let config = upstream("openai", url, "paths = [\"/v1/\"]\nstream_usage = \"ask\"");
    let export = collector.map_or_else(String::new, |it| export(it.endpoint()));
    Start::new(format!("{config}{export}[limits]\n{limits}")).start()
}

fn proxy(url: &str) -> Proxy {
    proxy_with(url, "", None)
}

fn is_asked(request: &Request) -> bool {
    text(&request.body.bytes).contains("\"include_usage\":true")
}

/// Events as OpenAI sends them, unasked or asked.
fn openai(asked: bool) -> String {
    let null = if asked { ",\"usage\":null" } else { "" };
    let head = r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","model":"gpt-4o-2024-08-06""#;
    let chunk = |delta: &str, finish: &str, pad: &str| {
        format!(
            "data: {head},\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]{null},\"obfuscation\":\"{pad}\"}}\n\n"
        )
    };
    let usage = format!(
        "data: {head},\"choices\":[],\"usage\":{{\"prompt_tokens\":9,\"completion_tokens\":2,\"total_tokens\":11}},\"obfuscation\":\"b\"}}\n\n"
    );
    [
        chunk(r#"{"role":"assistant","content":""}"#, "null", "ab"),
        chunk(r#"{"content":"Hi \"usage\":null \u00fc"}"#, "null", "c"),
        chunk("{}", "\"stop\"", ""),
        if asked { usage } else { String::new() },
        "data: [DONE]\n\n".to_owned(),
    ]
    .concat()
}

/// Events as vLLM and Azure send them: no null, other orders, spaces, what belongs to them alone.
fn others(asked: bool) -> String {
    let usage = "data: {\"id\": \"c\", \"choices\": [], \"usage\": {\"prompt_tokens\": 9, \"completion_tokens\": 2}}\n\n";
    [
        ": keep-alive\n\n",
        "data: {\"choices\":[],\"model\":\"\",\"prompt_filter_results\":[{\"prompt_index\":0}]}\n\n",
        "data: {\"id\": \"c\", \"choices\": [{\"index\": 0, \"delta\": {\"content\": \"a\"}}]}\n\n",
        if asked {
            "data: {\"usage\": null, \"choices\": [{\"index\": 0, \"finish_reason\": \"stop\"}]}\n\n"
        } else {
            "data: {\"choices\": [{\"index\": 0, \"finish_reason\": \"stop\"}]}\n\n"
        },
        // Beside choices it is nobody's answer to the question.
        "data: {\"choices\":[{\"index\":0}],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2}}\n\n",
        if asked { usage } else { "" },
        "data: [DONE]\n\n",
    ]
    .concat()
}

/// A streamed answer in pieces of `size` bytes, a chunk and a write each.
fn streamed(events: &str, size: usize) -> Answer {
    let mut parts = vec![EVENTS.as_bytes().to_vec()];
    parts.extend(events.as_bytes().chunks(size).map(chunk));
    parts.push(b"0\r\n\r\n".to_vec());
    Answer { parts, close: false }
}

fn refusal(status: u16) -> Answer {
    let head = format!("HTTP/1.1 {status} No\r\nContent-Type: application/json\r\n");
    Answer::from(format!("{head}Content-Length: {}\r\n\r\n{BAD_REQUEST}", BAD_REQUEST.len()))
}

/// As `streamed`, compressed though nobody asked for that.
fn compressed(events: &str) -> Answer {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(events.as_bytes()).unwrap();
    let head = EVENTS.replace("Transfer", "Content-Encoding: gzip\r\nTransfer");
    Answer::from([head.as_bytes(), &chunked(&encoder.finish().unwrap(), 50)].concat())
}

/// An upstream that answers by whether it was asked.
fn upstream_that(answer: impl Fn(bool) -> Answer + Send + Sync + 'static) -> Answering {
    Answering::with(move |request| answer(is_asked(request)))
}

fn assert_same(direct: &Response, through: &Response) {
    assert_eq!(direct.text(), through.text());
    assert_eq!(direct.head, through.head);
    assert_eq!(direct.body.trailers, through.body.trailers);
    assert!(through.body.complete);
}

#[test]
fn the_client_reads_what_an_upstream_that_honours_the_question_would_have_sent_unasked() {
    let kinds: [fn(bool) -> String; 2] = [openai, others];
    for events in kinds {
        for end in ["\n", "\r\n", "\r"] {
            for size in [7, 60, 100_000] {
                let answer = move |asked| streamed(&events(asked).replace('\n', end), size);
                let upstream = upstream_that(answer);
                let proxy = proxy(&upstream.url());
                let direct = exchange(upstream.address, post(CHAT, BODY));
                let through = exchange(proxy.address, post(CHAT, BODY));
                assert_same(&direct, &through);
                let asked: Vec<_> = upstream.requests().iter().map(is_asked).collect();
                assert_eq!(asked, [false, true]);
            }
        }
    }
}

#[test]
fn an_upstream_that_ignores_the_question_or_does_not_stream_is_read_as_it_is() {
    for answer in [
        streamed(&openai(false), 60),
        Answer::from("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"a\":[]} "),
        Answer::closing(format!(
            "HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n{}",
            openai(false)
        )),
        Answer::from(
            "HTTP/1.1 500 Oh\r\nContent-Type: text/event-stream\r\nContent-Length: 2\r\n\r\n\n\n",
        ),
    ] {
        let upstream = Answering::with(move |_| answer.clone());
        let proxy = proxy(&upstream.url());
        let direct = exchange(upstream.address, post(CHAT, BODY));
        let through = exchange(proxy.address, post(CHAT, BODY));
        assert_eq!(direct.text(), through.text());
        assert_eq!(direct.head.status(), through.head.status());
        assert!(is_asked(upstream.requests().last().unwrap()));
    }
}

#[test]
fn exactly_two_edits_reach_the_upstream() {
    let upstream = upstream_that(|asked| streamed(&openai(asked), 60));
    let proxy = proxy(&upstream.url());
    let host = upstream.address.to_string();
    for (path, body, asking) in [
        (CHAT, BODY, ASKING),
        (
            "/v1/completions?x=1",
            "{ \"stream\":true,\r\n\"stream_options\" : { \"include_obfuscation\" : false } }\n",
            "{ \"stream\":true,\r\n\"stream_options\" : {\"include_usage\":true, \"include_obfuscation\" : false } }\n",
        ),
        (
            CHAT,
            "{\"stream_options\":{},\"stream\":true}",
            "{\"stream_options\":{\"include_usage\":true},\"stream\":true}",
        ),
    ] {
        let fields = "X-Before: 1\r\nAccept-Encoding: gzip, br\r\nAuthorization: Bearer sk-1\r\n";
        exchange(proxy.address, post_with(path, fields, body));
        let request = upstream.request();
        assert_eq!(request.head.start, format!("POST {path} HTTP/1.1"));
        let length = asking.len().to_string();
        let expected = [
            ("Host", host.as_str()),
            ("Content-Type", "application/json"),
            ("X-Before", "1"),
            ("Accept-Encoding", "identity"),
            ("Authorization", "Bearer sk-1"),
            ("Content-Length", &length),
        ];
        let fields: Vec<_> =
            request.head.fields.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(fields, expected);
        assert_eq!(text(&request.body.bytes), asking);

        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nTrailer: x-sum\r\nTE: trailers\r\n");
        let chunks = chunked(body.as_bytes(), 5);
        let chunks = [&chunks[..chunks.len() - 2], b"X-Sum: 7\r\n\r\n"].concat();
        let head = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
        exchange(proxy.address, [head.as_bytes(), &chunks].concat());
        let request = upstream.request();
        let names: Vec<_> = request.head.fields.iter().map(|(name, _)| &**name).collect();
        let expected =
            ["Host", "Trailer", "TE", "Transfer-Encoding", "accept-encoding", "connection"];
        assert_eq!(names, expected);
        assert_eq!(text(&request.body.bytes), asking);
        assert_eq!(request.body.trailers.len(), 1, "{:?}", request.body.trailers);
    }
}

#[test]
fn a_request_in_which_the_client_decided_or_that_must_not_change_is_left_alone() {
    let upstream = Answering::always("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let proxy = proxy(&upstream.url());
    let deep = format!("{{\"stream\":true,\"a\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
    let bodies: [&[u8]; 12] = [
        br#"{"stream":true,"stream_options":{"include_usage":true}}"#,
        br#"{"stream":true,"stream_options":{"include_usage":false}}"#,
        br#"{"stream":true,"stream_options":{"include_usage":null}}"#,
        br#"{"stream":true,"stream_options":null}"#,
        br#"{"stream":false}"#,
        br#"{"messages":[{"stream":true}]}"#,
        br#"{"stream":true,"model":"a","model":"b"}"#,
        br#"{"stream":true,"stre\u0061m":false}"#,
        b"{\"stream\":true,\"a\":\"\xff\"}",
        b"{\"stream\":true",
        b"",
        deep.as_bytes(),
    ];
    let unchanged = |path: &str, fields: &str, body: &[u8]| {
        let fields = format!("Accept-Encoding: gzip\r\n{fields}");
        exchange(proxy.address, post_with(path, &fields, body));
        let request = upstream.request();
        assert_eq!(text(&request.body.bytes), text(body));
        assert_eq!(request.head.field("accept-encoding"), Some("gzip"));
        assert_eq!(request.head.field("content-length"), Some(&*body.len().to_string()));
    };
    bodies.iter().for_each(|body| unchanged(CHAT, "", body));
    unchanged("/v1/responses", "", BODY.as_bytes());
    unchanged("/v1/chat/completions/chatcmpl-1", "", BODY.as_bytes());
    unchanged(CHAT, "Content-Encoding: gzip\r\n", BODY.as_bytes());
    unchanged(CHAT, "Content-Digest: sha-256=:x:\r\n", BODY.as_bytes());
}

#[test]
fn openai_and_azure_are_asked_and_all_others_only_where_the_file_says_so() {
    for (provider, key, asked) in [
        ("openai", "", true),
        ("azure", "", true),
        ("openai", "stream_usage = \"observe\"", false),
        ("vllm", "", false),
        ("vllm", "stream_usage = \"ask\"", true),
    ] {
        let upstream = upstream_that(|asked| streamed(&openai(asked), 60));
        let proxy = Start::new(format!(
            "[[upstream]]\nname = \"up\"\nurl = \"{}\"\nprovider = \"{provider}\"\npaths = [\"/v1/\"]\n{key}",
            upstream.url()
        ))
        .start();
        let through = exchange(proxy.address, post(CHAT, BODY));
        assert_eq!(through.text(), openai(false));
        assert_eq!(is_asked(&upstream.request()), asked, "{provider} {key}");
    }
}

#[test]
fn a_refused_question_is_put_once_and_not_again_for_a_while() {
    for status in [400, 422] {
        let upstream =
            upstream_that(
                move |asked| {
                    if asked { refusal(status) } else { streamed(&openai(false), 60) }
                },
            );
        let proxy = proxy_with(&upstream.url(), "ask_pause_seconds = 1", None);
        let direct = exchange(upstream.address, post(CHAT, BODY));
        upstream.request();
        let ask = |body: &str| {
            assert_same(&direct, &exchange(proxy.address, post(CHAT, body)));
            upstream.requests().iter().map(|it| text(&it.body.bytes)).collect::<Vec<_>>()
        };
        let first = Instant::now();
        assert_eq!(ask(BODY), [ASKING, BODY], "{status}");
        let again = ask(BODY);
        assert!(again == [BODY] || first.elapsed() > Duration::from_secs(1), "{again:?}");
        let other = BODY.replace("gpt-4o", "other");
        assert_eq!(ask(&other).len(), 2, "another model is asked");
        while ask(BODY) == [BODY] {
            assert!(first.elapsed() < PATIENCE, "the pause ends");
        }
        assert!(first.elapsed() > Duration::from_secs(1));
        let said = proxy.stderr();
        let said: Vec<_> = said.iter().filter(|line| line.contains("gpt-4o")).collect();
        assert!(said.len() <= 2 && said[0].contains("include_usage"), "{said:?}");
    }
}

#[test]
fn what_is_refused_without_the_question_too_is_read_as_it_is_and_asked_again() {
    let upstream = Answering::with(|_| refusal(400));
    let proxy = proxy(&upstream.url());
    let direct = exchange(upstream.address, post(CHAT, BODY));
    upstream.request();
    for _ in 0..2 {
        assert_same(&direct, &exchange(proxy.address, post(CHAT, BODY)));
        let requests = upstream.requests();
        let bodies: Vec<_> = requests.iter().map(|it| text(&it.body.bytes)).collect();
        assert_eq!(bodies, [ASKING, BODY]);
        assert_eq!(requests[1].head.field("accept-encoding"), None);
        assert_eq!(requests[1].head.field("content-length"), Some(&*BODY.len().to_string()));
    }
    assert_eq!(upstream.connections(), 2, "a refusal that was read leaves its connection usable");
}

/// A refusal for a reason of the request's own, in every framing there is.
fn ordinary_refusals() -> [Answer; 3] {
    let said = r#"{"error":{"message":"This model's maximum context length is 10 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#;
    let head = "HTTP/1.1 400 Too Long\r\nX-Request-Id: 7\r\nContent-Type: application/json\r\n";
    let chunks = chunked(said.as_bytes(), 40);
    let trailed = [&chunks[..chunks.len() - 2], b"x-sum: 7\r\n\r\n"].concat();
    let chunked = |fields: &str, body: &[u8]| {
        [format!("{head}{fields}Transfer-Encoding: chunked\r\n\r\n").as_bytes(), body].concat()
    };
    [
        Answer::from(format!("{head}Content-Length: {}\r\n\r\n{said}", said.len())),
        Answer::from(chunked("", &chunks)),
        Answer::from(chunked("Trailer: X-Sum\r\n", &trailed)),
    ]
}

#[test]
fn what_is_refused_for_another_reason_is_called_once_and_read_as_it_is() {
    for answer in ordinary_refusals() {
        let upstream = Answering::with(move |_| answer.clone());
        let proxy = proxy(&upstream.url());
        let ask = post_with(CHAT, "TE: trailers\r\nConnection: TE\r\n", BODY);
        let direct = exchange(upstream.address, ask.clone());
        for _ in 0..3 {
            assert_same(&direct, &exchange(proxy.address, ask.clone()));
        }
        let asked: Vec<_> = upstream.requests().iter().map(is_asked).collect();
        assert_eq!(asked, [false, true, true, true]);
    }
    let [answer, ..] = ordinary_refusals();
    let (_, server, client) = observed(move |_| answer.clone(), "");
    assert_eq!(client["clearspan.stream_usage"], "asked");
    assert_eq!(client["error.type"], "context_length_exceeded");
    assert_eq!(server["http.response.status_code"], 400);
}

#[test]
fn a_refusal_that_cannot_be_read_may_be_about_the_question() {
    let said = "temperature must be between 0 and 2";
    let head = "HTTP/1.1 400 No\r\nContent-Type: text/plain\r\n";
    let long = format!("{head}Content-Length: {}\r\n\r\n{}", 2000 * said.len(), said.repeat(2000));
    let encoded = format!("{head}Content-Encoding: br\r\nContent-Length: 35\r\n\r\n{said}");
    let broken = format!("{head}Content-Length: 99\r\n\r\n{said}");
    for refusal in [Answer::from(long), Answer::from(encoded), Answer::closing(broken)] {
        let upstream =
            upstream_that(
                move |asked| {
                    if asked { refusal.clone() } else { streamed(&openai(false), 60) }
                },
            );
        let proxy = proxy(&upstream.url());
        assert_eq!(exchange(proxy.address, post(CHAT, BODY)).text(), openai(false));
        assert_eq!(upstream.requests().len(), 2);
    }
}

#[test]
fn a_body_at_the_limit_is_held_and_one_above_it_is_not() {
    let upstream = upstream_that(|asked| streamed(&openai(asked), 60));
    let limits = "ask_body_bytes = \"64KiB\"\nask_memory = \"64KiB\"";
    let proxy = proxy_with(&upstream.url(), limits, None);
    let fill = |length: usize| {
        let frame = r#"{"stream":true,"a":""}"#;
        frame.replace("\"\"", &format!("\"{}\"", "x".repeat(length - frame.len())))
    };
    let chunked_post = |body: &str| {
        let head = format!("POST {CHAT} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        [head.as_bytes(), &chunked(body.as_bytes(), 5000)].concat()
    };
    for (length, asked) in [(64 << 10, true), ((64 << 10) + 1, false), (1 << 20, false)] {
        let body = fill(length);
        for request in [post(CHAT, &body), chunked_post(&body)] {
            assert_eq!(exchange(proxy.address, request).text(), openai(false));
            let request = upstream.request();
            assert_eq!(is_asked(&request), asked, "{length}");
            assert!(asked || request.body.bytes == body.as_bytes());
        }
    }
}

/// Sends a request to `proxy` and takes it at the upstream.
fn begin(proxy: &Proxy, origin: &Origin, body: &str) -> (Client, Connection, Request) {
    let mut client = Client::connect(proxy.address);
    client.send(post(CHAT, body));
    let (upstream, request) = origin.accept_request();
    (client, upstream, request)
}

#[test]
fn what_all_hold_together_has_a_limit() {
    let origin = Origin::bind();
    let proxy = proxy_with(&origin.url(), "ask_memory = 1000", None);
    let body = BODY.replace("gpt-4o", &"x".repeat(600));
    let (mut client, mut upstream, request) = begin(&proxy, &origin, &body);
    assert!(is_asked(&request));
    let (_second, _upstream, request) = begin(&proxy, &origin, &body);
    assert_eq!(text(&request.body.bytes), body, "the first is held until its answer begins");
    upstream.send(EVENTS);
    client.begin_response("POST");
    let (_third, _upstream, request) = begin(&proxy, &origin, &body);
    assert!(is_asked(&request));
}

#[test]
fn a_slow_body_goes_on_as_it_is_once_it_took_too_long() {
    let (origin, collector) = (Origin::bind(), Collector::start(Mode::Well));
    let proxy = proxy_with(&origin.url(), "ask_wait_seconds = 0.1", Some(&collector));
    let mut client = Client::connect(proxy.address);
    let request = post(CHAT, BODY);
    let (first, rest) = request.split_at(request.len() - 5);
    client.send(first);
    let mut upstream = origin.accept();
    let head = upstream.wire.head();
    assert_eq!(head.field("content-length"), Some(&*BODY.len().to_string()));
    let mut body = crate::support::wire::Body::new(head.request_framing());
    upstream.wire.until(&mut body, BODY.len() - 5);
    client.send(rest);
    upstream.wire.finish(&mut body);
    assert_eq!(text(&body.bytes), BODY);
    upstream.send([EVENTS.as_bytes(), &chunked(openai(false).as_bytes(), 50)].concat());
    assert_eq!(client.response("POST").text(), openai(false));
    let span = client_span(&collector);
    assert_eq!(span["clearspan.stream_usage"], "over_limit");
    assert_eq!(span["clearspan.usage.missing"], "not_asked");
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it_while_the_body_is_held() {
    let upstream = upstream_that(|asked| streamed(&openai(asked), 60));
    let proxy = proxy(&upstream.url());
    let request = post_with(CHAT, "Expect: 100-continue\r\n", BODY);
    let (head, body) = request.split_at(request.len() - BODY.len());
    let mut client = Client::connect(proxy.address);
    client.send(head);
    assert_eq!(client.wire.head().status(), 100);
    client.send(body);
    assert_eq!(client.response("POST").text(), openai(false));
    assert!(is_asked(&upstream.request()));
}

#[test]
fn a_client_that_leaves_while_its_body_is_held_is_gone_and_nothing_failed() {
    let (origin, collector) = (Origin::bind(), Collector::start(Mode::Well));
    let proxy = proxy_with(&origin.url(), "", Some(&collector));
    let mut client = Client::connect(proxy.address);
    let request = post(CHAT, BODY);
    client.send(&request[..request.len() - 5]);
    drop(client);
    let spans = collector.spans("SERVER", 1);
    assert_eq!(spans[0].attributes["clearspan.ending"], "client_canceled");
    assert!(!spans[0].attributes.contains_key("error.type"), "{spans:?}");
}

#[test]
fn each_event_is_out_as_soon_as_it_is_whole_and_the_rest_before_a_break() {
    let origin = Origin::bind();
    let proxy = proxy(&origin.url());
    let usage = "data: {\"choices\":[],\"usage\":{}}\n\n";
    for breaks in [false, true] {
        let (mut client, mut upstream, _) = begin(&proxy, &origin, BODY);
        upstream.send(EVENTS);
        let (_, mut body) = client.begin_response("POST");
        for number in 1..10 {
            upstream.send(chunk(usage.as_bytes()));
            upstream.send(chunk(format!("data: {number}\n\n").as_bytes()));
            client.wire.until(&mut body, number * 9);
        }
        // Half of an event is held until the answer ends, well or not.
        upstream.send(chunk(&usage.as_bytes()[..20]));
        assert!(client.wire.is_silent(Duration::from_millis(50)));
        if breaks {
            drop(upstream);
        } else {
            upstream.send("0\r\n\r\n");
        }
        client.wire.finish(&mut body);
        assert_eq!(body.bytes.len(), 9 * 9 + 20);
        assert!(body.bytes.ends_with(&usage.as_bytes()[..20]));
        assert_eq!(body.complete, !breaks);
        if breaks {
            assert_ne!(client.wire.until_ended(), Ended::Reset);
        }
    }
}

#[test]
fn trailers_come_after_what_was_held() {
    let answer = |_| {
        let half = "data: {\"choices\":[]";
        let head = EVENTS.replace("Transfer", "Trailer: X-Sum\r\nTransfer");
        let body = [chunk(half.as_bytes()), b"0\r\nX-Sum: 7\r\n\r\n".to_vec()].concat();
        Answer::from([head.as_bytes(), &body].concat())
    };
    let upstream = upstream_that(answer);
    let proxy = proxy(&upstream.url());
    let request = post_with(CHAT, "TE: trailers\r\nConnection: TE\r\n", BODY);
    let through = exchange(proxy.address, request);
    assert_eq!(through.text(), "data: {\"choices\":[]");
    assert_eq!(through.body.trailers.len(), 1);
}

fn client_span(collector: &Collector) -> Value {
    json!(last(collector, 1).attributes)
}

/// The newest CLIENT span once there are `count`.
fn last(collector: &Collector, count: usize) -> Span {
    collector.spans("CLIENT", count).into_iter().max_by_key(|span| span.start).unwrap()
}

/// Calls through a proxy with telemetry; what the client read, and the spans of the call.
fn observed(
    answer: impl Fn(bool) -> Answer + Send + Sync + 'static,
    limits: &str,
) -> (Response, Value, Value) {
    let (upstream, collector) = (upstream_that(answer), Collector::start(Mode::Well));
    let proxy = proxy_with(&upstream.url(), limits, Some(&collector));
    let response = exchange(proxy.address, post(CHAT, BODY));
    let server = json!(collector.spans("SERVER", 1)[0].attributes);
    (response, server, client_span(&collector))
}

#[test]
fn the_span_has_the_usage_that_the_client_did_not_see() {
    let (response, server, client) = observed(|asked| streamed(&openai(asked), 60), "");
    assert_eq!(client["clearspan.stream_usage"], "asked");
    assert_eq!(client["gen_ai.usage.input_tokens"], 9);
    assert_eq!(client["gen_ai.usage.output_tokens"], 2);
    assert_eq!(client["gen_ai.response.finish_reasons"], json!(["stop"]));
    assert!(client.get("clearspan.usage.missing").is_none());
    assert_eq!(server["http.response.body.size"], response.body.bytes.len());
    assert_eq!(server["http.request.body.size"], BODY.len());
}

#[test]
fn a_refusal_is_told_beside_the_answer_that_counts() {
    let answer = |asked| if asked { refusal(400) } else { streamed(&openai(false), 60) };
    let (_, server, client) = observed(answer, "");
    assert_eq!(client["clearspan.stream_usage"], "refused");
    assert_eq!(client["clearspan.usage.missing"], "not_asked");
    assert_eq!(client["clearspan.ending"], "complete");
    assert_eq!(server["http.response.status_code"], 200);
}

#[test]
fn a_pause_is_told() {
    let collector = Collector::start(Mode::Well);
    let upstream = upstream_that(|asked| if asked { refusal(400) } else { streamed("", 1) });
    let proxy = proxy_with(&upstream.url(), "", Some(&collector));
    exchange(proxy.address, post(CHAT, BODY));
    exchange(proxy.address, post(CHAT, BODY));
    assert_eq!(last(&collector, 2).attributes["clearspan.stream_usage"], "paused");
}

#[test]
fn what_cannot_be_looked_at_goes_on_untouched_and_is_told() {
    let (response, _, client) = observed(|asked| compressed(&openai(asked)), "");
    assert_eq!(response.head.field("content-encoding"), Some("gzip"));
    let mut decoder = flate2::write::GzDecoder::new(Vec::new());
    decoder.write_all(&response.body.bytes).unwrap();
    assert_eq!(text(&decoder.finish().unwrap()), openai(true));
    assert_eq!(client["clearspan.stream_usage"], "asked_visibly");
    assert_eq!(client["gen_ai.usage.output_tokens"], 2);

    let counted = |asked: bool| {
        let events = openai(asked);
        let head = format!("Content-Type: text/event-stream\r\nContent-Length: {}", events.len());
        Answer::from(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{events}"))
    };
    let (response, _, client) = observed(counted, "");
    assert_eq!(response.text(), openai(true));
    assert_eq!(client["clearspan.stream_usage"], "asked_visibly");

    let long = |asked: bool| streamed(&openai(asked).replace("Hi", &"x".repeat(1000)), 60);
    let (response, _, client) = observed(long, "ask_event_bytes = 1000");
    let first = openai(false).replace("Hi", &"x".repeat(1000));
    let expected = first.replace(r#"{}],"usage":null"#, "{}]");
    let events: Vec<_> = expected.split_inclusive("\n\n").collect();
    let through = response.text();
    let through: Vec<_> = through.split_inclusive("\n\n").collect();
    assert_eq!((through.len(), through[0], through[2]), (4, events[0], events[2]));
    assert!(through[1].contains("\"usage\":null,\"obfuscation\""), "{}", through[1]);
    assert_eq!(client["clearspan.stream_usage"], "asked_visibly");
}

#[test]
fn a_client_that_is_slow_to_send_is_not_our_overhead() {
    let collector = Collector::start(Mode::Well);
    let upstream = upstream_that(|asked| streamed(&openai(asked), 60));
    let proxy = proxy_with(&upstream.url(), "", Some(&collector));
    let mut client = Client::connect(proxy.address);
    let request = post(CHAT, BODY);
    let (first, rest) = request.split_at(request.len() - 5);
    client.send(first);
    // The time itself is what is measured.
    std::thread::sleep(Duration::from_millis(1500));
    client.send(rest);
    client.response("POST");
    let span = last(&collector, 1);
    let overhead = span.attributes["clearspan.overhead"].as_f64().unwrap();
    assert!(overhead < 1.0, "{overhead}");
}

#[test]
fn many_at_once_each_read_their_own() {
    let upstream = upstream_that(|asked| streamed(&openai(asked), 33));
    let proxy = proxy(&upstream.url());
    let address: SocketAddr = proxy.address;
    std::thread::scope(|scope| {
        let call = || {
            for _ in 0..5 {
                assert_eq!(exchange(address, post(CHAT, BODY)).text(), openai(false));
            }
        };
        (0..16).for_each(|_| drop(scope.spawn(call)));
    });
    assert!(upstream.requests().iter().all(is_asked));
}
