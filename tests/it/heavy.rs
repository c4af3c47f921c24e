//! Too much of everything: large bodies, many streams, bombs, depth, no file descriptors left. What
//! passes is whole, memory stays within its bound, and the record says what was not read. Knows
//! sizes; the bounds of memory are of a debug build on a loaded machine.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::faults::documented;
use crate::support::PATIENCE;
use crate::support::client::{Client, exchange, get, post, post_with};
use crate::support::collector::{Collector, Mode};
use crate::support::origin::{Answering, Connection, Origin};
use crate::support::proxy::{Proxy, Start, export, upstream};
use crate::support::stage::OK;
use crate::support::wire::chunk;

const MIB: usize = 1 << 20;
const CHAT: &str = "/v1/chat/completions";
const ASKED: &str = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#;

/// A proxy before `url` that has served one request, and how much memory that took at most.
fn warm(url: &str, more: &str) -> (Proxy, usize) {
    let config = upstream("openai", url, "paths = [\"/v1/\"]");
    let proxy = Start::new(config + more).reports_at_once().start();
    let memory = proxy.peak_memory_kib();
    (proxy, memory)
}

/// How much more memory it took at most since then, in MiB.
fn growth_mib(proxy: &Proxy, before: usize) -> usize {
    (proxy.peak_memory_kib() - before).div_ceil(1024)
}

/// Accepts one connection, reads a head, and leaves the rest to `serve`.
fn serve_one(
    serve: impl FnOnce(TcpStream) -> u64 + Send + 'static,
) -> (SocketAddr, thread::JoinHandle<u64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serving = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        read_head(&mut stream);
        serve(stream)
    });
    (address, serving)
}

/// Reads up to the end of a head, and not a byte further.
fn read_head(stream: &mut TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    head
}

/// Reads and counts up to `count` bytes, all of which must be `x`.
fn count_x(stream: &mut impl Read, count: u64) -> u64 {
    let (mut block, mut read) = (vec![0; 256 * 1024], 0);
    while read < count {
        let got = stream.read(&mut block).unwrap();
        if got == 0 {
            break;
        }
        assert!(block[..got].iter().all(|&byte| byte == b'x'));
        read += got as u64;
    }
    read
}

fn write_x(stream: &mut TcpStream, count: u64) {
    let block = vec![b'x'; 256 * 1024];
    let mut left = count;
    while left > 0 {
        let part = &block[..left.min(block.len() as u64) as usize];
        stream.write_all(part).unwrap();
        left -= part.len() as u64;
    }
}

/// The one exchange ended well, and its record says what was not kept.
fn assert_torn(collector: &Collector, note: &str) {
    let span = collector.spans("CLIENT", 1).remove(0);
    assert_eq!(span.attributes["clearspan.ending"], "complete");
    let notes = span.attributes["clearspan.notes"].as_array().unwrap();
    assert!(notes.iter().any(|it| it == note), "{notes:?}");
}

const LARGE: u64 = 100_000_000;
/// What one exchange may take: its tape (16 MiB), what is read of it, and buffers.
const ONE_EXCHANGE_MIB: usize = 64;

#[test]
fn a_hundred_megabytes_go_up_at_constant_memory() {
    let (address, serving) = serve_one(|mut stream| {
        let read = count_x(&mut stream, LARGE);
        stream.write_all(OK.as_bytes()).unwrap();
        read
    });
    let collector = Collector::start(Mode::Well);
    let (proxy, before) = warm(&format!("http://{address}"), &export(collector.endpoint()));
    let mut stream = TcpStream::connect(proxy.address).unwrap();
    let begun = Instant::now();
    write!(stream, "POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Length: {LARGE}\r\n\r\n")
        .unwrap();
    write_x(&mut stream, LARGE);
    assert!(read_head(&mut stream).starts_with(b"HTTP/1.1 200 OK"));
    assert_eq!(serving.join().unwrap(), LARGE);
    let growth = growth_mib(&proxy, before);
    println!("100 MB up: {growth} MiB, {:?}", begun.elapsed());
    assert!(growth < ONE_EXCHANGE_MIB, "{growth} MiB");
    assert_torn(&collector, "request_torn");
    documented(&["A request of 100 MB", "200, whole", "`complete`", "`request_torn`"]);
}

#[test]
fn a_hundred_megabytes_come_down_at_constant_memory() {
    let (address, serving) = serve_one(|mut stream| {
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n").unwrap();
        write_x(&mut stream, LARGE);
        LARGE
    });
    let collector = Collector::start(Mode::Well);
    let (proxy, before) = warm(&format!("http://{address}"), &export(collector.endpoint()));
    let mut stream = TcpStream::connect(proxy.address).unwrap();
    let begun = Instant::now();
    stream.write_all(&get("/v1/files/1/content")).unwrap();
    assert!(read_head(&mut stream).starts_with(b"HTTP/1.1 200 OK"));
    assert_eq!(count_x(&mut stream, LARGE), LARGE);
    serving.join().unwrap();
    let growth = growth_mib(&proxy, before);
    println!("100 MB down: {growth} MiB, {:?}", begun.elapsed());
    assert!(growth < ONE_EXCHANGE_MIB, "{growth} MiB");
    assert_torn(&collector, "response_torn");
    documented(&["An answer of 100 MB", "200, whole", "`complete`", "`response_torn`"]);
}

#[test]
fn a_slow_reader_costs_buffers_not_bodies() {
    let (address, serving) = serve_one(|mut stream| {
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n").unwrap();
        stream.set_write_timeout(Some(Duration::from_millis(700))).unwrap();
        let (block, mut sent) = (vec![b'x'; 64 * 1024], 0);
        while let Ok(count) = stream.write(&block) {
            sent += count as u64;
        }
        sent
    });
    let (proxy, before) = warm(&format!("http://{address}"), "");
    let mut stream = TcpStream::connect(proxy.address).unwrap();
    stream.write_all(&get("/v1/files/1/content")).unwrap();
    read_head(&mut stream);
    let sent = serving.join().unwrap();
    let growth = growth_mib(&proxy, before);
    println!("a client that does not read: {sent} bytes left the upstream, {growth} MiB");
    assert!(sent < LARGE, "the upstream is held back");
    assert!(growth < ONE_EXCHANGE_MIB, "{growth} MiB");
}

#[test]
fn an_answer_within_a_large_upload_reaches_the_client() {
    let origin = Origin::bind();
    let (proxy, _) = warm(&origin.url(), "");
    let mut seen = std::collections::BTreeMap::new();
    for _ in 0..40 {
        let mut stream = TcpStream::connect(proxy.address).unwrap();
        let mut sending = stream.try_clone().unwrap();
        let upload = thread::spawn(move || {
            let length = 20 * MIB;
            let head =
                format!("POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
            sending.write_all(head.as_bytes()).unwrap();
            // It may be cut short: that is how the client hears that its bytes are not wanted.
            sending.write_all(&vec![b'x'; length]).is_ok()
        });
        let mut upstream = origin.accept();
        upstream.wire.head();
        upstream.send("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
        drop(upstream);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = Vec::new();
        // After the answer the connection ends, maybe with a reset.
        let _end = stream.read_to_end(&mut answer);
        upload.join().unwrap();
        let answer = crate::support::wire::text(&answer);
        let status = answer.split(' ').nth(1).unwrap_or("nothing").to_owned();
        *seen.entry((status, answer.ends_with("no"))).or_insert(0) += 1;
    }
    println!("{seen:?}");
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [(("413".to_owned(), true), 40)]);
}

/// A stream that is open and silent.
fn open_stream(address: SocketAddr, origin: &Origin) -> (Client, Connection) {
    let mut client = Client::connect(address);
    client.send(post(CHAT, ASKED));
    let (mut upstream, _) = origin.accept_request();
    upstream.send(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    upstream.send(chunk(b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\n"));
    let (_, mut body) = client.begin_response("POST");
    client.wire.until(&mut body, 1);
    (client, upstream)
}

#[test]
fn a_thousand_silent_streams_take_little_and_all_of_them_end() {
    silent_streams(1000);
}

#[test]
#[ignore = "by hand: it takes some seconds, and 20,000 descriptors"]
fn five_thousand_silent_streams_take_no_more_each() {
    silent_streams(5000);
}

fn silent_streams(streams: usize) {
    // Two sockets for each on this side.
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let origin = Origin::bind();
    let (proxy, _) = warm(&origin.url(), "");
    let ended = |count: usize| {
        move |metrics: &crate::support::proxy::Metrics| {
            metrics.sum("clearspan_requests_total", &[]) == count as f64
        }
    };
    // The first ones fill what all share.
    drop((0..20).map(|_| open_stream(proxy.address, &origin)).collect::<Vec<_>>());
    proxy.wait_for_metric("20 requests", ended(20));
    let before = proxy.memory_kib();
    let mut open: Vec<_> = (0..streams).map(|_| open_stream(proxy.address, &origin)).collect();
    let each = (settled_memory_kib(&proxy) - before) as f64 / streams as f64;
    println!("{streams} silent streams: {each:.1} KiB each");
    assert!(each < 80.0, "{each} KiB for each stream");
    for (_, upstream) in &mut open {
        upstream.send([&chunk(b"data: [DONE]\n\n"), &b"0\r\n\r\n"[..]].concat());
    }
    for (client, _) in &mut open {
        let mut body = crate::support::wire::Body::new(crate::support::wire::Framing::Chunked);
        client.wire.finish(&mut body);
        assert!(body.complete);
    }
    proxy.wait_for_metric("all requests", ended(20 + streams));
}

#[test]
fn without_file_descriptors_streams_go_on_and_newcomers_wait() {
    let origin = Origin::bind();
    let config = upstream("openai", &origin.url(), "paths = [\"/v1/\"]");
    let proxy = Start::new(config).open_files(80).start();
    let address = proxy.address;
    let clients: Vec<_> =
        (0..60).map(|_| thread::spawn(move || exchange(address, post(CHAT, ASKED)))).collect();
    let mut open: Vec<_> = (0..8).map(|_| origin.accept_request().0).collect();
    let ninth = origin.accept_within(Duration::from_millis(300));
    assert!(ninth.is_none(), "two for each beside those of the program");
    // Those that run go on to their end, and each makes room for another.
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    for served in 0..60 {
        let mut upstream = open.pop().unwrap();
        upstream.send(answer);
        if served < 52 {
            open.insert(0, origin.accept_request().0);
        }
    }
    for client in clients {
        let response = client.join().unwrap();
        assert_eq!((response.head.status(), response.text().as_str()), (200, "ok"));
    }
    assert_eq!(origin.connections(), 60);
}

/// 64 MiB of zeros in brotli, which we have no encoder for.
const BROTLI_BOMB: &str = "cbffff3ff82700e2b14020f7fe8fffff7ff04f00c4611180eefd1fffffffe09f0088c30200\
    ddfb3ffeffffc13f0110870500baf77ffcffff837f02200e0b0074effff8ffff07ff04401c1600e8defff1ffff0f\
    fe0980382c00d0bdffcbffff3ffc1300715800a07bff07";

fn brotli_bomb() -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
    BROTLI_BOMB.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn gzip_bomb() -> Vec<u8> {
    // Members that follow each other are one body.
    gzip(&vec![0; MIB]).repeat(32)
}

fn zstd_bomb() -> Vec<u8> {
    zstd::encode_all(&vec![0; 64 * MIB][..], 1).unwrap()
}

fn deep(open: &str, close: &str) -> Vec<u8> {
    let (open, close) = (open.repeat(100_000), close.repeat(100_000));
    format!("{{\"model\":\"m\",\"choices\":{open}1{close}}}").into_bytes()
}

/// An answer, what it is told as, and what is said of it.
struct Large {
    what: &'static str,
    fields: &'static str,
    body: fn() -> Vec<u8>,
    ending: &'static str,
    note: &'static str,
}

const JSON: &str = "Content-Type: application/json\r\n";
const EVENTS: &str = "Content-Type: text/event-stream\r\n";
const DONE: &[u8] = b"data: [DONE]\n\n";

const LARGES: &[Large] = &[
    Large {
        what: "A gzip bomb",
        fields: "Content-Type: application/json\r\nContent-Encoding: gzip\r\n",
        body: gzip_bomb,
        ending: "complete",
        note: "encoding_too_large",
    },
    Large {
        what: "A gzip bomb within a gzip bomb",
        fields: "Content-Type: application/json\r\nContent-Encoding: gzip, gzip\r\n",
        body: || gzip(&gzip_bomb()),
        ending: "complete",
        note: "encoding_too_large",
    },
    Large {
        what: "A brotli bomb",
        fields: "Content-Type: text/event-stream\r\nContent-Encoding: br\r\n",
        body: brotli_bomb,
        ending: "complete",
        note: "encoding_too_large",
    },
    Large {
        what: "A zstd bomb",
        fields: "Content-Type: application/json\r\nContent-Encoding: zstd\r\n",
        body: zstd_bomb,
        ending: "complete",
        note: "encoding_too_large",
    },
    Large {
        what: "An event of 50 MB",
        fields: EVENTS,
        body: || [b"data: ", &b"x".repeat(50_000_000)[..], b"\n\n", DONE].concat(),
        ending: "complete",
        note: "response_torn",
    },
    Large {
        what: "An event of 12 MB",
        fields: EVENTS,
        body: || [b"data: ", &b"x".repeat(12_000_000)[..], b"\n\n", DONE].concat(),
        ending: "complete",
        note: "event_too_long",
    },
    Large {
        what: "A document of 50 MB",
        fields: JSON,
        body: || [b"{\"model\":\"", &b"x".repeat(50_000_000)[..], b"\"}"].concat(),
        ending: "complete",
        note: "response_torn",
    },
    Large {
        what: "A document of 100,000 brackets",
        fields: JSON,
        body: || deep("[", "]"),
        ending: "complete",
        note: "",
    },
    Large {
        what: "A document of 100,000 braces",
        fields: JSON,
        body: || deep("{\"a\":", "}"),
        ending: "complete",
        note: "",
    },
    Large {
        what: "An event of 100,000 brackets",
        fields: EVENTS,
        body: || [b"data: ", &deep("[", "]")[..], b"\n\n", DONE].concat(),
        ending: "complete",
        note: "",
    },
    Large {
        what: "A document that is not UTF-8",
        fields: JSON,
        body: || b"{\"model\":\"\xff\xfe\xc0\x80\",\"choices\":[]}".to_vec(),
        ending: "complete",
        note: "",
    },
    Large {
        what: "A document of NUL bytes",
        fields: JSON,
        body: || vec![0; 1000],
        ending: "complete",
        note: "response_unreadable",
    },
    Large {
        what: "A page in an answer's stead",
        fields: JSON,
        body: || b"<html>Please log in.</html>".to_vec(),
        ending: "error_in_stream",
        note: "",
    },
    Large {
        what: "Events with NUL bytes",
        fields: EVENTS,
        body: || [b"data: \0\0\0{\"choices\":[]}\n\n\0\n\n", DONE].concat(),
        ending: "complete",
        note: "",
    },
    Large {
        what: "Events that are no JSON",
        fields: EVENTS,
        body: || [b"data: {'choices':[]}\n\n", DONE].concat(),
        ending: "complete",
        note: "event_unreadable",
    },
    Large {
        what: "A stream of a million empty lines",
        fields: EVENTS,
        body: || [&b"\n".repeat(1_000_000)[..], DONE].concat(),
        ending: "complete",
        note: "",
    },
];

/// Lets `request` be answered so before a proxy of its own, which must stay within its bound.
fn check(what: &str, request: &[u8], answer: &[u8], ending: &str, note: &str) {
    let answering = Answering::always(answer);
    let collector = Collector::start(Mode::Well);
    // Less than by default, which a debug build takes long to decompress.
    let limits = "[limits]\ndecoded_bytes = \"8MiB\"\n";
    let (proxy, before) = warm(&answering.url(), &(export(collector.endpoint()) + limits));
    let response = exchange(proxy.address, request);
    assert!(response.body.complete && answer.ends_with(&response.body.bytes), "{what}");
    assert!(request.ends_with(&answering.request().body.bytes), "{what}");
    let span = collector.spans("CLIENT", 1).remove(0);
    let growth = growth_mib(&proxy, before);
    let notes = span.attributes.get("clearspan.notes").and_then(|it| it.as_array().cloned());
    let notes: Vec<_> = notes.iter().flatten().map(|it| it.as_str().unwrap()).collect();
    println!("{what}: {growth} MiB, {notes:?}");
    assert_eq!(span.attributes["clearspan.ending"], ending, "{what}: {notes:?}");
    assert!(
        if note.is_empty() { notes.is_empty() } else { notes.contains(&note) },
        "{what}: {notes:?}"
    );
    assert!(growth < ONE_EXCHANGE_MIB, "{what}: {growth} MiB");
    let note = if note.is_empty() { "—".into() } else { format!("`{note}`") };
    documented(&[what, "200, whole", &format!("`{ending}`"), &note]);
}

#[test]
fn answers_that_are_too_much_pass_and_are_read_up_to_a_bound() {
    for Large { what, fields, body, ending, note } in LARGES {
        let body = body();
        let head = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n", body.len());
        check(what, &post(CHAT, ASKED), &[head.as_bytes(), &body].concat(), ending, note);
    }
}

#[test]
fn requests_that_are_too_much_pass_and_are_read_up_to_a_bound() {
    let answer = format!("HTTP/1.1 200 OK\r\n{JSON}Content-Length: 14\r\n\r\n{{\"choices\":[]}}");
    for (what, fields, body, note) in [
        ("A request of 100,000 brackets", "", deep("[", "]"), ""),
        (
            "A request that is a gzip bomb",
            "Content-Encoding: gzip\r\n",
            gzip_bomb(),
            "encoding_too_large",
        ),
        ("A request that is not UTF-8", "", b"{\"model\":\"\xff\"}".to_vec(), ""),
        ("A request of NUL bytes", "", vec![0; 1000], "request_unreadable"),
    ] {
        let request = post_with(CHAT, fields, &body);
        check(what, &request, answer.as_bytes(), "complete", note);
    }
}

/// The memory once it no longer moves: the cold path has read what there was.
fn settled_memory_kib(proxy: &Proxy) -> usize {
    let (deadline, mut last) = (Instant::now() + PATIENCE, 0);
    loop {
        let now = proxy.memory_kib();
        if now == last {
            return now;
        }
        assert!(Instant::now() < deadline, "memory never settles: {now} KiB");
        last = now;
        thread::sleep(Duration::from_millis(100));
    }
}
