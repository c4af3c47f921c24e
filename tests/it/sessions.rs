//! Calls on a WebSocket, told one by one: a real WebSocket client and server, the program between them, a
//! collector behind it. Knows the names that are reported; a time is only known to be there.

use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest as _;
use tungstenite::{Message, WebSocket};

use crate::support::PATIENCE;
use crate::support::client::Client;
use crate::support::collector::{Collector, Mode, Received};
use crate::support::frames::Framer;
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Start, export, upstream};
use crate::support::signals::Span;
use crate::support::wire::{Body, Framing};

/// What the client says, and what it is answered.
type Said<'a> = (Value, Vec<Value>);

/// A server that takes one connection and answers the messages in order.
fn serve(answers: Vec<Vec<Value>>) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut socket = tungstenite::accept(stream).unwrap();
        for answers in answers {
            socket.read().unwrap();
            answers.iter().for_each(|it| socket.send(text(it)).unwrap());
        }
        // The closing handshake.
        while socket.read().is_ok() {}
    });
    (url, server)
}

fn text(message: &Value) -> Message {
    Message::text(message.to_string())
}

fn connect(proxy: &Proxy, path: &str, headers: &[(&'static str, &str)]) -> WebSocket<TcpStream> {
    let mut request = format!("ws://{}{path}", proxy.address).into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let stream = TcpStream::connect(proxy.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    tungstenite::client(request, stream).unwrap().0
}

fn start(url: &str, collector: &Collector, more: &str) -> Proxy {
    let config = upstream("openai", url, "paths = [\"/v1/\"]") + &export(collector.endpoint());
    Start::new(config + more).start()
}

/// The whole of a conversation, and what was reported of it.
fn talk(path: &str, headers: &[(&'static str, &str)], said: &[Said<'_>]) -> Received {
    let (url, server) = serve(said.iter().map(|it| it.1.clone()).collect());
    let collector = Collector::start(Mode::Well);
    let proxy = start(&url, &collector, "");
    let mut client = connect(&proxy, path, headers);
    for (message, answers) in said {
        client.send(text(message)).unwrap();
        for answer in answers {
            assert_eq!(client.read().unwrap(), text(answer), "it arrives as it was sent");
        }
    }
    client.close(None).unwrap();
    while client.read().is_ok() {}
    drop(client);
    server.join().unwrap();
    collector.spans("SERVER", 1);
    proxy.finish();
    collector.received()
}

/// The SERVER span, and the CLIENT spans beneath it in their order.
fn spans(received: &Received) -> (Span, Vec<Span>) {
    let server = received.of_kind("SERVER");
    assert_eq!(server.len(), 1, "{server:#?}");
    let mut calls: Vec<_> = received.of_kind("CLIENT").into_iter().cloned().collect();
    calls.sort_by_key(|it| it.attributes.get("clearspan.turn").and_then(Value::as_u64));
    (server[0].clone(), calls)
}

fn assert_says(span: &Span, expected: Value) {
    for (key, value) in expected.as_object().unwrap() {
        let told = span.attributes.get(key).unwrap_or(&Value::Null);
        assert_eq!(told, value, "{key} of {:#?}", span.attributes);
    }
}

fn create(more: Value) -> Value {
    let mut create = json!({"type": "response.create", "model": "gpt-4o-mini", "input": "hi"});
    create.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    create
}

fn answer(id: &str, input: u64, output: u64) -> Vec<Value> {
    let model = "gpt-4o-mini-2024-07-18";
    let usage =
        json!({"input_tokens": input, "output_tokens": output, "total_tokens": input + output});
    vec![
        json!({"type": "response.created", "response": {"id": id, "model": model, "status": "in_progress"}}),
        json!({"type": "response.output_text.delta", "delta": "Hello"}),
        json!({"type": "response.completed", "response":
            {"id": id, "model": model, "status": "completed", "output": [], "usage": usage}}),
    ]
}

#[test]
fn two_responses_on_one_socket_are_two_calls_under_one_exchange() {
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let codex = [("originator", "codex_cli_rs"), ("session-id", "session-1")];
    let named = json!({"client_metadata": {"ws_request_header_traceparent": parent}});
    let received = talk(
        "/v1/responses",
        &codex,
        &[
            (create(json!({})), answer("resp_1", 1000, 100)),
            (create(named), answer("resp_2", 40, 9)),
        ],
    );
    let (server, calls) = spans(&received);
    assert_eq!((server.name.as_str(), calls.len()), ("GET /v1/responses", 2));
    assert_says(
        &server,
        json!({"http.response.status_code": 101, "clearspan.turns": 2, "clearspan.ending": "complete",
            "clearspan.websocket.close_code": 1005}),
    );
    for (call, id, input, output) in
        [(&calls[0], "resp_1", 1000, 100), (&calls[1], "resp_2", 40, 9)]
    {
        assert_eq!((call.name.as_str(), call.status), ("chat gpt-4o-mini", "unset"));
        assert!(server.start <= call.start && call.start < call.end && call.end <= server.end);
        assert!(call.attributes["gen_ai.response.time_to_first_chunk"].as_f64() > Some(0.0));
        assert_says(
            call,
            json!({"gen_ai.response.id": id, "gen_ai.usage.input_tokens": input,
                "gen_ai.usage.output_tokens": output, "gen_ai.conversation.id": "session-1",
                "gen_ai.response.finish_reasons": ["completed"], "openai.api.type": "responses",
                "clearspan.ending": "complete"}),
        );
    }
    assert_eq!(calls[0].attributes["gen_ai.usage.cost"], 0.00021, "1000 at 0.15, 100 at 0.60");
    assert_eq!((&calls[0].trace, &calls[0].parent), (&server.trace, &server.id));
    let own = (calls[1].trace.as_str(), calls[1].parent.as_str());
    assert_eq!(
        own,
        ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"),
        "as the call names it"
    );
    let durations = received.metric("gen_ai.client.operation.duration");
    assert_eq!(durations.iter().map(|it| it.count.unwrap()).sum::<u64>(), 2);
    let requests = received.metric("clearspan.requests");
    assert_eq!(requests.iter().map(|it| it.value).sum::<f64>(), 1.0, "one request, of HTTP");
    assert_eq!(received.logs.len(), 3);
}

#[test]
fn a_call_is_told_while_its_socket_stays_open() {
    let (url, server) = serve(vec![answer("resp_1", 3, 2)]);
    let collector = Collector::start(Mode::Well);
    let proxy = start(&url, &collector, "");
    let mut client = connect(&proxy, "/v1/responses", &[]);
    client.send(text(&create(json!({})))).unwrap();
    (0..3).for_each(|_| drop(client.read().unwrap()));
    let calls = collector.spans("CLIENT", 1);
    assert_eq!(calls[0].attributes["gen_ai.response.id"], "resp_1");
    assert_eq!(collector.received().of_kind("SERVER").len(), 0, "nobody hung up");
    drop(client);
    server.join().unwrap();
}

#[test]
fn an_error_in_a_responses_stead_is_an_error_of_its_call_alone() {
    let refusal = json!({"type": "error", "status": 429,
        "error": {"type": "usage_limit_reached", "message": "m"}});
    let said = [(create(json!({})), vec![refusal]), (create(json!({})), answer("resp_1", 3, 2))];
    let received = talk("/v1/responses", &[], &said);
    let (server, calls) = spans(&received);
    assert_eq!([server.status, calls[0].status, calls[1].status], ["unset", "error", "unset"]);
    assert_says(
        &calls[0],
        json!({"error.type": "usage_limit_reached", "http.response.status_code": 429,
            "clearspan.rate_limit.cause": "quota", "clearspan.ending": "error_status"}),
    );
}

#[test]
fn a_spoken_session_tells_each_response_and_each_transcription() {
    let session = json!({"type": "session.updated", "session": {"model": "gpt-realtime",
        "audio": {"input": {"transcription": {"model": "whisper-1"}}}}});
    let usage = json!({"input_tokens": 132, "output_tokens": 121, "total_tokens": 253,
        "input_token_details": {"text_tokens": 119, "audio_tokens": 13, "cached_tokens": 64,
            "cached_tokens_details": {"text_tokens": 60, "audio_tokens": 4}},
        "output_token_details": {"text_tokens": 30, "audio_tokens": 91}});
    let heard = "conversation.item.input_audio_transcription.completed";
    let answers = vec![
        session,
        json!({"type": "input_audio_buffer.committed", "item_id": "i"}),
        json!({"type": "response.created", "response": {"id": "r", "status": "in_progress"}}),
        json!({"type": "response.output_audio.delta", "response_id": "r", "delta": "aGk="}),
        json!({"type": heard, "item_id": "i", "usage": {"type": "duration", "seconds": 60}}),
        json!({"type": "response.done", "response": {"id": "r", "status": "completed", "usage": usage}}),
    ];
    let sound = json!({"type": "input_audio_buffer.append", "audio": "aGVsbG8="});
    let received = talk("/v1/realtime?model=gpt-realtime", &[], &[(sound, answers)]);
    let (server, calls) = spans(&received);
    assert_eq!(server.attributes["clearspan.turns"], 2);
    let names: Vec<_> = calls.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["realtime gpt-realtime", "transcription whisper-1"]);
    assert_says(
        &calls[0],
        json!({"gen_ai.usage.input_tokens": 132, "gen_ai.usage.output_tokens": 121,
            "gen_ai.usage.cache_read.input_tokens": 64, "clearspan.cost.basis": "computed"}),
    );
    assert_eq!(calls[1].attributes["gen_ai.usage.cost"], 0.006, "a minute of whisper-1");
    let kinds = received.metric("clearspan.tokens");
    let of = |kind: &str| {
        let of = kinds.iter().filter(|it| it.attributes["clearspan.token.kind"] == kind);
        of.map(|it| it.value).sum::<f64>()
    };
    assert_eq!((of("input_audio"), of("output_audio")), (13.0, 91.0));
}

#[test]
fn what_two_sockets_hear_of_one_call_counts_once() {
    let heard = "conversation.item.input_audio_transcription.completed";
    let call = json!({"type": "function_call", "name": "f"});
    let usage = json!({"input_tokens": 5, "output_tokens": 7});
    let events = [
        json!({"type": "session.updated", "session": {"model": "gpt-realtime"}}),
        json!({"type": "response.created", "response": {"id": "r", "status": "in_progress"}}),
        json!({"type": "response.done", "response":
            {"id": "r", "status": "completed", "output": [call], "usage": usage}}),
        json!({"type": heard, "item_id": "i", "usage": {"input_tokens": 2, "output_tokens": 1}}),
    ];
    let (origin, collector) = (Origin::bind(), Collector::start(Mode::Well));
    let proxy = start(&origin.url(), &collector, "");
    let listen = |path: &str, before: usize| {
        let (mut client, mut server) = upgraded(&origin, &proxy, path, "");
        let mut down = Framer::new(false, "");
        let frames: Vec<_> = events.iter().map(|it| down.text(&it.to_string())).collect();
        let frames = frames.concat();
        server.send(&frames);
        client.wire.until(&mut Body::new(Framing::Length(frames.len() as u64)), frames.len());
        drop((client, server));
        collector.spans("SERVER", before + 1);
        let metrics = proxy.metrics();
        let output = metrics.sum("clearspan_tokens_total", &["clearspan_token_kind=\"output\""]);
        let missed = metrics.sum("clearspan_usage_missing_total", &[]);
        (output, metrics.sum("clearspan_tool_calls_total", &[]), missed)
    };
    assert_eq!(listen("/v1/realtime?call_id=rtc_1", 0), (8.0, 1.0, 0.0));
    assert_eq!(listen("/v1/realtime?call_id=rtc_1", 1), (8.0, 1.0, 0.0), "the same once more");
    assert_eq!(listen("/v1/realtime?model=gpt-realtime", 2), (16.0, 2.0, 0.0), "its own");
    proxy.finish();
}

/// Both sides of a socket whose frames a test writes itself.
fn upgraded(
    origin: &Origin,
    proxy: &Proxy,
    path: &str,
    agreed: &str,
) -> (Client, crate::support::origin::Connection) {
    let mut client = Client::connect(proxy.address);
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13";
    client.send(format!(
        "GET {path} HTTP/1.1\r\nHost: proxy\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{key}\r\n\
         Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
    ));
    let (mut upstream, _) = origin.accept_request();
    upstream.send(format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n{agreed}\r\n"
    ));
    assert_eq!(client.wire.head().status(), 101);
    (client, upstream)
}

#[test]
fn deflated_messages_are_read_and_passed_on_to_the_byte() {
    let (origin, collector) = (Origin::bind(), Collector::start(Mode::Well));
    let proxy = start(&origin.url(), &collector, "");
    let agreed = "permessage-deflate; server_max_window_bits=12";
    let header = format!("Sec-WebSocket-Extensions: {agreed}\r\n");
    let (mut client, mut upstream) = upgraded(&origin, &proxy, "/v1/responses", &header);
    let (mut up, mut down) = (Framer::new(true, agreed), Framer::new(false, agreed));
    let (mut from_client, mut to_client) = (Body::new(Framing::Close), Body::new(Framing::Close));
    let (mut asked, mut answered) = (Vec::new(), Vec::new());
    for id in ["resp_1", "resp_2"] {
        let frames = up.text(&create(json!({})).to_string());
        client.send(&frames);
        asked.extend(frames);
        upstream.wire.until(&mut from_client, asked.len());
        let frames: Vec<_> =
            answer(id, 1000, 100).iter().flat_map(|it| down.text(&it.to_string())).collect();
        upstream.send(&frames);
        answered.extend(frames);
        client.wire.until(&mut to_client, answered.len());
    }
    assert!(from_client.bytes == asked && to_client.bytes == answered);
    drop((client, upstream));
    collector.spans("SERVER", 1);
    proxy.finish();
    let received = collector.received();
    let (_, calls) = spans(&received);
    let ids: Vec<_> = calls.iter().map(|it| it.attributes["gen_ai.response.id"].clone()).collect();
    assert_eq!(ids, ["resp_1", "resp_2"]);
    assert!(calls.iter().all(|it| it.attributes["gen_ai.usage.input_tokens"] == 1000));
}

#[test]
fn what_nobody_agreed_on_is_not_guessed_at() {
    let (origin, collector) = (Origin::bind(), Collector::start(Mode::Well));
    let proxy = start(&origin.url(), &collector, "");
    let header = "Sec-WebSocket-Extensions: novelty\r\n";
    let (mut client, mut upstream) = upgraded(&origin, &proxy, "/v1/responses", header);
    let frames = Framer::new(true, "").text(&create(json!({})).to_string());
    client.send(&frames);
    upstream.wire.until(&mut Body::new(Framing::Close), frames.len());
    drop((client, upstream));
    collector.spans("SERVER", 1);
    proxy.finish();
    let (server, calls) = spans(&collector.received());
    assert_eq!(server.attributes["clearspan.turns"], 0);
    let client: Vec<_> = calls.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(client, ["GET"], "no call of a model");
    assert_eq!(calls[0].attributes["clearspan.notes"], json!(["encoding_unknown"]));
}

#[test]
fn a_long_socket_is_read_to_its_end() {
    const ROUNDS: usize = 40;
    let (origin, collector) = (Origin::bind(), Collector::start(Mode::Well));
    let proxy = start(&origin.url(), &collector, "");
    let (mut client, mut upstream) = upgraded(&origin, &proxy, "/v1/responses", "");
    let (mut up, mut down) = (Framer::new(true, ""), Framer::new(false, ""));
    let long = "x".repeat(1 << 20);
    let frames = up.text(&create(json!({"input": long})).to_string());
    let answers: Vec<_> =
        answer("resp_1", 3, 2).iter().map(|it| down.text(&it.to_string())).collect();
    let answers = answers.concat();
    let mut buffer = vec![0; frames.len()];
    for round in 1..=ROUNDS {
        client.send(&frames);
        read_exact(&mut upstream, &mut buffer);
        assert!(buffer == frames);
        upstream.send(&answers);
        client.wire.until(&mut Body::new(Framing::Length(answers.len() as u64)), answers.len());
        // The worker has read what came before, as it would have in the minutes that this takes.
        proxy.wait_for_metric("the call's usage", |metrics| {
            metrics.sum("clearspan_tokens_total", &["clearspan_token_kind=\"input\""])
                == 3.0 * round as f64
        });
    }
    drop((client, upstream));
    collector.spans("SERVER", 1);
    proxy.finish();
    let (server, calls) = spans(&collector.received());
    assert_eq!(server.attributes["clearspan.turns"], ROUNDS);
    assert_eq!(calls.len(), ROUNDS);
    assert!(server.attributes["http.request.body.size"].as_u64() > Some(40 << 20));
    assert!(calls.iter().all(|it| !it.attributes.contains_key("clearspan.notes")));
}

fn read_exact(upstream: &mut crate::support::origin::Connection, buffer: &mut [u8]) {
    let mut body = Body::new(Framing::Length(buffer.len() as u64));
    upstream.wire.until(&mut body, buffer.len());
    buffer.copy_from_slice(&body.bytes);
}
