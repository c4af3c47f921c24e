//! Pictures and sound through the proxy: megabytes in forms, prompts and answers pass whole, are read at
//! constant memory, and their facts are right. Knows sizes; the bounds of memory are of a debug build.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use crate::real::{Installed, Server};
use crate::support::client::{Client, exchange, post, post_with};
use crate::support::collector::{Collector, Mode};
use crate::support::origin::{Answering, Origin};
use crate::support::proxy::{Proxy, Start, export, upstream};
use crate::support::signals::Span;
use crate::support::wire::chunk;

const MB: usize = 1_000_000;
/// What one exchange may take at most: what stands on its tape at one time, and buffers.
const SMALL_MIB: usize = 24;

fn proxy(url: &str, collector: &Collector) -> (Proxy, usize) {
    let config = upstream("openai", url, "paths = [\"/v1/\"]");
    let proxy = Start::new(config + &export(collector.endpoint())).reports_at_once().start();
    let memory = proxy.peak_memory_kib();
    (proxy, memory)
}

fn answer(content_type: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// Sends `request`, which is answered so, and gives the CLIENT span and how many MiB that took at most.
fn observed(what: &str, request: &[u8], reply: &[u8]) -> (Span, usize) {
    let (answering, collector) = (Answering::always(reply), Collector::start(Mode::Well));
    let (proxy, before) = proxy(&answering.url(), &collector);
    let response = exchange(proxy.address, request);
    assert!(response.body.complete && reply.ends_with(&response.body.bytes), "{what}");
    assert!(request.ends_with(&answering.request().body.bytes), "{what}");
    let span = collector.spans("CLIENT", 1).remove(0);
    let growth = (proxy.peak_memory_kib() - before).div_ceil(1024);
    println!("{what}: {growth} MiB, {:?}", span.attributes);
    (span, growth)
}

/// Base64 that no picture is.
fn base64(length: usize) -> Vec<u8> {
    b"iVBORw0KGgoAAAANSUhEUgAA".iter().copied().cycle().take(length).collect()
}

const BOUNDARY: &str = "----WebKitFormBoundary7MA4YWxkTrZu0gW";

/// The border of a form's part and its head.
fn part(disposition: &str) -> String {
    format!("--{BOUNDARY}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n")
}

#[test]
fn a_form_of_60_mb_goes_up_at_constant_memory_and_its_fields_are_read_on_both_sides_of_the_file() {
    let collector = Collector::start(Mode::Well);
    let told = r#"{"text":"I see.","usage":{"type":"duration","seconds":3600}}"#;
    let answering = Answering::always(answer("application/json", told.as_bytes()));
    let (proxy, before) = proxy(&answering.url(), &collector);
    let first = part("name=\"temperature\"") + "0.25\r\n";
    let file = first + &part("name=\"file\"; filename=\"model.wav\"");
    let model = part("name=\"model\"") + "whisper-1\r\n";
    let format = part("name=\"response_format\"") + "verbose_json\r\n";
    let end = format!("\r\n{model}{format}--{BOUNDARY}--\r\n");
    let length = file.len() + 60 * MB + end.len();
    let mut stream = TcpStream::connect(proxy.address).unwrap();
    write!(
        stream,
        "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\n\
         Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {length}\r\n\r\n{file}"
    )
    .unwrap();
    // What the file holds looks like a form in which another model is named.
    let block = format!("\r\n--{}\r\nname=\"model\"\r\n\r\n", &BOUNDARY[..BOUNDARY.len() - 1]);
    let block: Vec<u8> = block.bytes().cycle().take(MB).collect();
    (0..60).for_each(|_| stream.write_all(&block).unwrap());
    stream.write_all(end.as_bytes()).unwrap();
    let mut client = Client { wire: crate::support::wire::Wire::new(stream) };
    assert_eq!(client.response("POST").text(), told);
    assert_eq!(answering.request().body.bytes.len(), length);
    let span = collector.spans("CLIENT", 1).remove(0);
    let growth = (proxy.peak_memory_kib() - before).div_ceil(1024);
    println!("60 MB up in a form: {growth} MiB, {:?}", span.attributes);
    assert!(growth < SMALL_MIB, "{growth} MiB");
    assert_eq!(span.name, "transcription whisper-1");
    assert_eq!(span.attributes["gen_ai.request.temperature"], 0.25);
    assert_eq!(span.attributes["gen_ai.output.type"], "json");
    assert_eq!(span.attributes["clearspan.usage.input_audio_seconds"], 3600.0);
    assert_eq!(span.attributes["clearspan.ending"], "complete");
    assert!(span.attributes["clearspan.notes"].to_string().contains("request_torn"));
}

#[test]
fn a_prompt_of_4_mb_with_pictures_is_read_right() {
    let picture = |mb: usize| String::from_utf8(base64(mb * MB)).unwrap();
    let image = |mb| {
        format!(
            r#"{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{}"}}}}"#,
            picture(mb)
        )
    };
    let body = format!(
        r#"{{"messages":[{{"role":"user","content":[{},{},{{"type":"text","text":"What is it?"}}]}},{{"role":"user","content":"x"}}],
        "temperature":0.5,"model":"gpt-4o","max_tokens":7}}"#,
        image(3),
        image(1)
    );
    let told = br#"{"id":"c","model":"gpt-4o","choices":[{"index":0,"message":{"content":"A hat."},"finish_reason":"stop"}],
        "usage":{"prompt_tokens":1500,"completion_tokens":3,"total_tokens":1503}}"#;
    let request = post("/v1/chat/completions", body);
    let (span, growth) = observed("a prompt of 4 MB", &request, &answer("application/json", told));
    assert_eq!(span.name, "chat gpt-4o");
    assert_eq!(span.attributes["clearspan.request.messages"], 2);
    assert_eq!(span.attributes["gen_ai.request.max_tokens"], 7);
    assert_eq!(span.attributes["gen_ai.usage.input_tokens"], 1500);
    assert!(!span.attributes.contains_key("clearspan.notes"));
    assert!(growth < SMALL_MIB + 8, "{growth} MiB");
}

const USAGE: &str = r#""usage":{"input_tokens":50,"input_tokens_details":{"image_tokens":40,"text_tokens":10},"output_tokens":6208,"total_tokens":6258}"#;

#[test]
fn pictures_of_any_size_are_read_without_keeping_them() {
    let asked = r#"{"model":"gpt-image-2","prompt":"a hat","n":2,"size":"1024x1536"}"#;
    // On the tape as a whole, and torn.
    for (mb, images, note) in [(6, Some(2), None), (15, None, Some("response_torn"))] {
        let picture = [&b"{\"b64_json\":\""[..], &base64(mb * MB), b"\"}"].concat();
        let body = [
            &b"{\"created\":1,\"data\":["[..],
            &picture,
            b",",
            &picture,
            b"],",
            USAGE.as_bytes(),
            b"}",
        ]
        .concat();
        let what = format!("an answer with two pictures of {mb} MB");
        let request = post("/v1/images/generations", asked);
        let (span, growth) = observed(&what, &request, &answer("application/json", &body));
        assert_eq!(span.name, "image_generation gpt-image-2");
        assert_eq!(span.attributes["gen_ai.output.type"], "image");
        assert_eq!(span.attributes["clearspan.request.image.size"], "1024x1536");
        assert_eq!(span.attributes["gen_ai.usage.output_tokens"], 6208);
        let made = span.attributes.get("clearspan.usage.images").and_then(|it| it.as_u64());
        assert_eq!(made, images, "{what}");
        let notes = span.attributes.get("clearspan.notes").map(ToString::to_string);
        assert_eq!(notes, note.map(|note| format!("[\"{note}\"]")), "{what}");
        assert!(growth < SMALL_MIB, "{what}: {growth} MiB");
    }
}

#[test]
fn an_event_with_a_picture_above_the_limit_of_events_is_read() {
    let event = |kind: &str, more: &str| {
        let head = format!("event: {kind}\ndata: {{\"type\":\"{kind}\",\"b64_json\":\"");
        [head.as_bytes(), &base64(10 * MB), b"\"", more.as_bytes(), b"}\n\n"].concat()
    };
    let body = event("image_generation.completed", &format!(",{USAGE}"));
    let asked = r#"{"model":"gpt-image-2","prompt":"a hat","stream":true}"#;
    let request = post("/v1/images/generations", asked);
    let (span, growth) =
        observed("a picture of 10 MB in one event", &request, &answer("text/event-stream", &body));
    assert_eq!(span.attributes["clearspan.ending"], "complete");
    assert_eq!(span.attributes["clearspan.chunks"], 1);
    assert_eq!(span.attributes["gen_ai.usage.output_tokens"], 6208);
    assert!(!span.attributes.contains_key("clearspan.notes"));
    assert!(growth < SMALL_MIB, "{growth} MiB");
}

#[test]
fn sound_is_timed_as_it_comes_and_its_text_is_counted() {
    let (origin, collector) = (Origin::bind(), Collector::start(Mode::Well));
    let (proxy, _) = proxy(&origin.url(), &collector);
    let mut client = Client::connect(proxy.address);
    client.send(post_with(
        "/v1/audio/speech",
        "Accept: */*\r\n",
        r#"{"model":"tts-1","input":"Gr\u00fc\u00dfe","voice":"alloy"}"#,
    ));
    let (mut upstream, _) = origin.accept_request();
    upstream
        .send("HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nTransfer-Encoding: chunked\r\n\r\n");
    let (_, mut body) = client.begin_response("POST");
    for count in 1..=3 {
        // Long enough that no two of them are one moment.
        std::thread::sleep(Duration::from_millis(20));
        upstream.send(chunk(b"ID3 sound"));
        client.wire.until(&mut body, count * 9);
    }
    upstream.send("0\r\n\r\n");
    client.wire.finish(&mut body);
    let span = collector.spans("CLIENT", 1).remove(0);
    assert_eq!(span.name, "speech tts-1");
    assert_eq!(span.attributes["clearspan.chunks"], 3);
    assert!(span.attributes["clearspan.chunk_gap.longest"].as_f64().unwrap() >= 0.02);
    assert!(span.attributes["gen_ai.response.time_to_first_chunk"].as_f64().unwrap() >= 0.02);
    assert_eq!(span.attributes["clearspan.usage.characters"], 5);
    assert_eq!(span.attributes["clearspan.ending"], "complete");
}

/// What each call of `tests/real/openai_media.py` is told as: the span's name, and attributes.
const CALLS: [(&str, &[(&str, f64)]); 12] = [
    (
        "image_generation gpt-image-2",
        &[("gen_ai.request.choice.count", 2.0), ("clearspan.usage.images", 2.0), (OUTPUT, 272.0)],
    ),
    ("image_generation gpt-image-2", &[("clearspan.chunks", 2.0), (OUTPUT, 272.0)]),
    ("image_generation gpt-image-1.5", &[("clearspan.usage.images", 1.0), (OUTPUT, 272.0)]),
    ("image_generation gpt-image-2", &[("clearspan.chunks", 2.0), (OUTPUT, 272.0)]),
    ("speech tts-1", &[("clearspan.usage.characters", 5.0), (COST, 0.000_075)]),
    ("speech gpt-4o-mini-tts", &[("clearspan.chunks", 1.0), (OUTPUT, 101.0)]),
    ("transcription gpt-4o-transcribe", &[(OUTPUT, 144.0), (COST, 0.001_662)]),
    ("transcription whisper-1", &[(HEARD, 4.0), (COST, 0.000_4)]),
    ("transcription whisper-1", &[]),
    ("transcription gpt-4o-mini-transcribe", &[("clearspan.chunks", 1.0), (OUTPUT, 144.0)]),
    ("transcription whisper-1", &[(HEARD, 4.0)]),
    ("moderation", &[(COST, 0.0)]),
];
const OUTPUT: &str = "gen_ai.usage.output_tokens";
const COST: &str = "gen_ai.usage.cost";
const HEARD: &str = "clearspan.usage.input_audio_seconds";

#[test]
fn the_openai_sdk_sees_pictures_and_sound_as_without_the_proxy_and_each_call_is_told() {
    let Some(installed) = Installed::find() else { return };
    let server = Server::start(&mut installed.python("media_server.py"));
    let collector = Collector::start(Mode::Well);
    let (proxy, _) = proxy(&server.url, &collector);
    let run = |url: &str| installed.run("openai_media.py", "OPENAI_BASE_URL", &format!("{url}/v1"));
    let direct = run(&server.url);
    let through = run(&format!("http://{}", proxy.address));
    assert_eq!(direct, through);
    let mut spans = collector.spans("CLIENT", CALLS.len());
    spans.sort_by_key(|span| span.start);
    assert_eq!((spans.len(), through.len()), (CALLS.len(), CALLS.len()));
    for ((span, call), (name, told)) in spans.iter().zip(through).zip(CALLS) {
        println!("{}: {} {:?}", call["call"], span.name, span.attributes);
        assert_eq!(span.name, name, "{}", call["call"]);
        assert_eq!(span.attributes["clearspan.ending"], "complete", "{}", call["call"]);
        assert!(!span.attributes.contains_key("clearspan.notes"), "{}", call["call"]);
        for (key, value) in told {
            assert_eq!(span.attributes[*key].as_f64(), Some(*value), "{}: {key}", call["call"]);
        }
    }
    let subtitles = &spans[8].attributes;
    assert_eq!(subtitles["clearspan.usage.missing"], "not_reported");
    assert_eq!(subtitles["clearspan.cost.unpriced"], "no_usage");
}
