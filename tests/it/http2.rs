//! HTTP/2, from clients and to upstreams: what holds for HTTP/1 holds for it, and what the versions
//! say differently is said the other's way. Knows what each version calls things.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use hyper::body::Incoming;
use tokio::sync::{Notify, mpsc};

use crate::support::PATIENCE;
use crate::support::client::{Client, exchange, get};
use crate::support::collector::{Collector, Mode};
use crate::support::http2::{
    Fed, Feed, Sender, Serve, Server, empty, fed, piece, pieces, request, whole, within,
};
use crate::support::origin::{Answer, Answering, Origin};
use crate::support::proxy::{Proxy, Start, export, upstream};
use crate::support::stage::OK;
use crate::support::wire::{Body, Framing, chunk};

const ONE: Version = Version::HTTP_11;
const TWO: Version = Version::HTTP_2;
const PATHS: &str = "paths = [\"/v1/\"]\n";

/// A limit of one second is met between these.
const ABOUT_A_SECOND: std::ops::Range<Duration> =
    Duration::from_millis(900)..Duration::from_secs(6);

/// A proxy before an upstream of this version.
fn before(url: &str, version: Version, config: &str) -> Proxy {
    let http = if version == TWO { "http = \"2\"\n" } else { "" };
    Start::new(upstream("openai", url, &format!("{PATHS}{http}")) + config).start()
}

fn ok(body: Fed) -> Response<Fed> {
    Response::new(body)
}

fn text(bytes: &str) -> Fed {
    pieces(bytes.as_bytes(), None)
}

/// Bytes without a pattern that cuts could hide in.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 7_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

fn post(proxy: &Proxy, body: Fed) -> Request<Fed> {
    request(TWO, proxy.address, "POST", "/v1/x").body(body).unwrap()
}

fn get_two(proxy: &Proxy) -> Request<Fed> {
    request(TWO, proxy.address, "GET", "/v1/models").body(empty()).unwrap()
}

/// An upstream that hands each request to the test, which feeds the answer.
async fn played(serve: Serve) -> (Server, mpsc::Receiver<(Request<Incoming>, Feed)>) {
    let (tell, told) = mpsc::channel(64);
    let server = serve
        .with(move |request| {
            let tell = tell.clone();
            async move {
                let (feed, body) = fed();
                tell.send((request, feed)).await.unwrap();
                ok(body)
            }
        })
        .await;
    (server, told)
}

#[tokio::test(flavor = "multi_thread")]
async fn all_four_ways_carry_the_same_bytes_and_trailers() {
    let (up, down) = (noise(1_000_000), noise(700_001));
    let trailers = |value: &'static str| {
        HeaderMap::from_iter([("x-sum".parse().unwrap(), HeaderValue::from_static(value))])
    };
    for (client, server) in [(ONE, ONE), (ONE, TWO), (TWO, ONE), (TWO, TWO)] {
        let (expected, answer) = (up.clone(), down.clone());
        let behind = Serve::of(server).with(move |request: Request<Incoming>| {
            let (expected, answer) = (expected.clone(), answer.clone());
            async move {
                assert_eq!(request.version(), server);
                let fields = request.headers().clone();
                assert!(fields.contains_key("host") != (server == TWO), "{fields:?}");
                assert_eq!(fields["te"], "trailers");
                assert_eq!(fields.contains_key("connection"), server == ONE);
                assert_eq!(fields.contains_key("transfer-encoding"), server == ONE);
                let (body, sum) = whole(request.into_body()).await.unwrap();
                assert!(body == expected, "{server:?}");
                assert_eq!(sum.unwrap()["x-sum"], "up", "{server:?}");
                let body = pieces(&answer, Some(trailers("down")));
                Response::builder().header("trailer", "x-sum").body(body).unwrap()
            }
        });
        let behind = behind.await;
        let proxy = before(&behind.url(), server, "");
        let mut sender = Sender::connect(proxy.address, client).await;
        let request = request(client, proxy.address, "POST", "/v1/x")
            .header("te", "trailers")
            .header("trailer", "x-sum")
            .body(pieces(&up, Some(trailers("up"))));
        let response = sender.ask(request.unwrap()).await;
        assert_eq!((response.status().as_u16(), response.version()), (200, client));
        assert_eq!(response.headers().contains_key("transfer-encoding"), client == ONE);
        assert!(!response.headers().contains_key("connection"));
        let (body, sum) = whole(response.into_body()).await.unwrap();
        assert!(body == down, "{client:?} {server:?}: {}", body.len());
        assert_eq!(sum.expect("trailers")["x-sum"], "down", "{client:?} {server:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lengths_and_heads_without_bodies_are_kept_both_ways() {
    for (client, server) in [(ONE, TWO), (TWO, ONE), (TWO, TWO)] {
        let behind = Serve::of(server).with(move |request: Request<Incoming>| async move {
            let length = request.headers().get("content-length").cloned();
            let path = request.uri().path().to_owned();
            let (body, _) = whole(request.into_body()).await.unwrap();
            let response = Response::builder();
            match path.as_str() {
                "/v1/head" => response.header("content-length", "1234").body(empty()),
                "/v1/204" => response.status(204).body(empty()),
                "/v1/304" => response.status(304).header("etag", "\"x\"").body(empty()),
                _ => {
                    assert_eq!(length.expect("a length"), body.len().to_string());
                    response.header("content-length", body.len()).body(pieces(&body, None))
                }
            }
            .unwrap()
        });
        let behind = behind.await;
        let proxy = before(&behind.url(), server, "");
        let mut sender = Sender::connect(proxy.address, client).await;
        for (method, path, status, length) in [
            ("HEAD", "/v1/head", 200, Some("1234")),
            ("GET", "/v1/204", 204, None),
            ("GET", "/v1/304", 304, None),
            ("POST", "/v1/echo", 200, Some("5")),
        ] {
            let mut sent = request(client, proxy.address, method, path);
            let mut body = empty();
            if method == "POST" {
                (sent, body) = (sent.header("content-length", "5"), text("12345"));
            }
            let response = sender.ask(sent.body(body).unwrap()).await;
            assert_eq!(response.status(), status, "{client:?} {server:?} {path}");
            let told = response.headers().get("content-length").map(|it| it.to_str().unwrap());
            assert_eq!(told, length, "{client:?} {server:?} {path}");
            let expected: &[u8] = if method == "POST" { b"12345" } else { b"" };
            assert_eq!(whole(response.into_body()).await.unwrap().0, expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cookie_crumbs_are_joined_for_http1_and_hop_by_hop_fields_stay_behind() {
    let origin = Answering::with(|_| {
        let head = "HTTP/1.1 200 Fine\r\nKeep-Alive: timeout=5\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n";
        format!("{head}X-End: 1\r\nContent-Length: 2\r\n\r\nok")
    });
    let proxy = Proxy::before(&origin.url());
    let mut sender = Sender::connect(proxy.address, TWO).await;
    let request = request(TWO, proxy.address, "GET", "/v1/models?a=%20b")
        .header("cookie", "a=1")
        .header("x-a", "1")
        .header("cookie", "b=2; c=3")
        .header("cookie", "d=4");
    let response = sender.ask(request.body(empty()).unwrap()).await;
    let fields: Vec<_> = response.headers().keys().map(|name| name.as_str().to_owned()).collect();
    assert_eq!(fields, ["x-end", "content-length"]);
    assert_eq!(whole(response.into_body()).await.unwrap().0, "ok");
    let seen = origin.request().head;
    assert_eq!(seen.start, "GET /v1/models?a=%20b HTTP/1.1");
    assert_eq!(seen.all("cookie").collect::<Vec<_>>(), ["a=1; b=2; c=3; d=4"]);
    assert_eq!(seen.all("host").collect::<Vec<_>>(), [origin.address.to_string()]);
    assert_eq!(seen.field("x-a"), Some("1"));
    assert_eq!(seen.fields.len(), 3, "{seen:?}");
}

#[test]
fn curl_with_prior_knowledge_is_served() {
    let origin = Answering::always("HTTP/1.1 200 OK\r\nX-Up: 1\r\nContent-Length: 2\r\n\r\nok");
    let proxy = Proxy::before(&origin.url());
    let url = format!("http://{}/v1/models", proxy.address);
    let Ok(curl) = Command::new("curl").args(["-si", "--http2-prior-knowledge", &url]).output()
    else {
        println!("skipped: no curl here");
        return;
    };
    let printed = String::from_utf8_lossy(&curl.stdout).into_owned();
    assert!(printed.starts_with("HTTP/2 200"), "{printed:?} {curl:?}");
    assert!(printed.contains("x-up: 1") && printed.ends_with("\r\n\r\nok"), "{printed:?}");
}

#[test]
fn what_does_not_begin_as_http2_is_http1_at_its_first_other_byte() {
    let origin = Answering::always(OK);
    let proxy = before(&origin.url(), ONE, "");
    // Byte by byte, and with a method that begins like the preface.
    let mut client = Client::connect(proxy.address);
    for byte in b"PROPFIND /v1/models HTTP/1.1\r\nHost: x\r\n\r\n" {
        client.send([*byte]);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(client.response("PROPFIND").body.bytes, b"ok");
    assert_eq!(origin.request().head.method(), "PROPFIND");
    // A wrong preface is a wrong HTTP/1 request, answered at once.
    let mut client = Client::connect(proxy.address);
    client.send("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n");
    client.wire.until_ended();
    // Half a preface is a slow head.
    let proxy = before(&origin.url(), ONE, "[limits]\nheader_seconds = 1\n");
    let begun = Instant::now();
    let mut client = Client::connect(proxy.address);
    client.send("PRI * HTTP/2.0\r\n");
    client.wire.until_ended();
    assert!(ABOUT_A_SECOND.contains(&begun.elapsed()), "{:?}", begun.elapsed());
}

#[test]
fn what_a_client_sends_amiss_is_no_line_of_the_programs() {
    let origin = Answering::always(OK);
    let proxy = before(&origin.url(), ONE, "");
    let frame = |kind: u8, flags: u8, payload: &[u8]| {
        [&[0, 0, payload.len() as u8, kind, flags, 0, 0, 0, 0], payload].concat()
    };
    let (settings, ping) = (frame(4, 0, b""), frame(6, 0, b"answered"));
    let unasked = frame(6, 1, b"no ping!");
    for _ in 0..3 {
        let mut client = TcpStream::connect(proxy.address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        client.write_all(&[&preface[..], &settings, &unasked, &ping].concat()).unwrap();
        // What came before the ping was read before its answer.
        let (mut read, mut byte) = (Vec::new(), [0]);
        while !read.ends_with(b"answered") {
            client.read_exact(&mut byte).unwrap();
            read.extend(byte);
        }
    }
    let said = proxy.stderr();
    assert!(!said.iter().any(|line| line.to_lowercase().contains("ping")), "{said:?}");
}

/// Waits until a count has not grown for a while.
async fn until_still(count: &AtomicUsize) {
    let (mut last, mut since) = (usize::MAX, Instant::now());
    while since.elapsed() < Duration::from_millis(300) {
        let now = count.load(SeqCst);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_clients_that_never_read_do_not_slow_an_eleventh() {
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    let behind = Serve::of(TWO).with(move |request: Request<Incoming>| {
        let count = Arc::clone(&count);
        async move {
            let is_last = request.uri().path() == "/v1/last";
            let (feed, body) = fed();
            tokio::spawn(async move {
                let block = Bytes::from(vec![b'x'; 16 * 1024]);
                let mut left = if is_last { 512 } else { usize::MAX };
                while left > 0 && feed.data(block.clone()).await {
                    count.fetch_add(1, SeqCst);
                    left -= 1;
                }
            });
            ok(body)
        }
    });
    let behind = behind.await;
    let proxy = before(&behind.url(), TWO, "");
    let mut held = Vec::new();
    for _ in 0..10 {
        let mut sender = Sender::connect(proxy.address, TWO).await;
        let response = sender.ask(get_two(&proxy)).await;
        held.push((sender, response));
    }
    until_still(&written).await;
    let mut sender = Sender::connect(proxy.address, TWO).await;
    let begun = Instant::now();
    let last = request(TWO, proxy.address, "GET", "/v1/last").body(empty()).unwrap();
    let (body, _) = whole(sender.ask(last).await.into_body()).await.unwrap();
    assert_eq!(body.len(), 8 << 20);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(behind.connections(), 1, "all eleven share one connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_streams_are_taken_another_connection_is_opened() {
    for (peer, ours) in [(Some(2), 100), (None, 2)] {
        let (behind, mut told) = played(Serve { streams: peer, ..Serve::of(TWO) }).await;
        let config = format!("[limits]\nhttp2_upstream_streams = {ours}\n");
        let proxy = before(&behind.url(), TWO, &config);
        let mut sender = Sender::connect(proxy.address, TWO).await;
        let mut held = Vec::new();
        for expected in [1, 1, 2, 2, 3] {
            let (answer, got) = tokio::join!(sender.ask(get_two(&proxy)), within(told.recv()));
            held.push((answer, got.unwrap()));
            assert_eq!(behind.connections(), expected, "{peer:?} {ours}");
        }
        // A stream that ends makes room on the connection it was on.
        let (answer, _) = held.remove(0);
        whole(answer.into_body()).await.unwrap();
        let (_answer, _got) = tokio::join!(sender.ask(get_two(&proxy)), within(told.recv()));
        assert_eq!(behind.connections(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_come_at_once_share_the_first_connection() {
    let behind = Serve::of(TWO).with(|_| async { ok(text("ok")) }).await;
    let proxy = before(&behind.url(), TWO, "");
    let asking = (0..50).map(|_| {
        let (address, request) = (proxy.address, get_two(&proxy));
        tokio::spawn(async move {
            let mut sender = Sender::connect(address, TWO).await;
            whole(sender.ask(request).await.into_body()).await.unwrap().0
        })
    });
    for asked in asking.collect::<Vec<_>>() {
        assert_eq!(within(asked).await.unwrap(), "ok");
    }
    assert_eq!(behind.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_upstream_connection_is_closed_and_replaced() {
    let behind = Serve::of(TWO).with(|_| async { ok(text("ok")) }).await;
    let config = "[limits]\nupstream_idle_seconds = 0.1\n";
    let proxy = before(&behind.url(), TWO, config);
    let mut sender = Sender::connect(proxy.address, TWO).await;
    let deadline = Instant::now() + PATIENCE;
    // The sweep comes once a second, and needs a connection that is idle by then.
    while behind.connections() < 3 {
        whole(sender.ask(get_two(&proxy)).await.into_body()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert!(Instant::now() < deadline, "it keeps its idle connection");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_tells_us_to_leave_loses_nothing() {
    let behind = Serve::of(TWO).with(|request: Request<Incoming>| async {
        let (body, _) = whole(request.into_body()).await.unwrap();
        ok(pieces(&body, None))
    });
    let behind = Arc::new(behind.await);
    let proxy = before(&behind.url(), TWO, "");
    let mut asking = Vec::new();
    for number in 0..8 {
        let mut sender = Sender::connect(proxy.address, TWO).await;
        let at = proxy.address;
        asking.push(tokio::spawn(async move {
            for turn in 0..60 {
                let body = format!("{number} {turn} ").repeat(2000);
                let request = request(TWO, at, "POST", "/v1/x").body(text(&body)).unwrap();
                let response = sender.ask(request).await;
                let (head, answer) = response.into_parts();
                let answer = whole(answer).await.unwrap().0;
                assert_eq!(head.status, 200, "{number} {turn}: {head:?} {answer:?}");
                assert!(answer == body);
            }
        }));
    }
    while !asking.iter().all(|it| it.is_finished()) {
        behind.tell_to_leave();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for asked in asking {
        asked.await.unwrap();
    }
    assert!(behind.connections() > 2, "it told nobody to leave");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_resets_its_stream_ends_the_upstreams_work_at_once() {
    let collector = Collector::start(Mode::Well);
    for version in [ONE, TWO] {
        let (behind, mut told) = played(Serve::of(version)).await;
        let proxy = before(&behind.url(), version, &export(collector.endpoint()));
        let mut sender = Sender::connect(proxy.address, TWO).await;
        // Within the answer, and before it.
        let mut response = {
            let asking = sender.ask(get_two(&proxy));
            let feeding = async {
                let (request, feed) = within(told.recv()).await.unwrap();
                feed.data("first").await;
                (request, feed)
            };
            let (response, fed) = tokio::join!(asking, feeding);
            (response.into_body(), fed)
        };
        assert_eq!(piece(&mut response.0).await.unwrap().unwrap(), "first");
        let (body, (_request, feed)) = response;
        drop(body);
        feed.unread().await;
        let (asked, noticed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (heard, notice) = (Arc::clone(&asked), Arc::clone(&noticed));
        let silent = Serve::of(version).with(move |_| {
            heard.notify_one();
            let gone = Gone(Arc::clone(&notice));
            async move {
                let _gone = gone;
                std::future::pending().await
            }
        });
        let silent = silent.await;
        let other = before(&silent.url(), version, &export(collector.endpoint()));
        let mut second = Sender::connect(other.address, TWO).await;
        let asking = second.send(get_two(&other));
        tokio::select! {
            answer = asking => panic!("{answer:?}"),
            () = within(asked.notified()) => (),
        }
        within(noticed.notified()).await;
        // The connection is as good as before.
        let again = sender.send(get_two(&proxy));
        let feeding = async { drop(within(told.recv()).await.unwrap()) };
        let answer = tokio::join!(again, feeding).0.unwrap();
        whole(answer.into_body()).await.unwrap();
        other.finish();
        proxy.finish();
    }
    let received = collector.received();
    let endings: Vec<_> = received
        .of_kind("SERVER")
        .iter()
        .map(|span| {
            let version = span.attributes["network.protocol.version"].as_str().unwrap();
            let ending = span.attributes["clearspan.ending"].as_str().unwrap();
            format!("{version} {ending}")
        })
        .collect();
    assert_eq!(endings.iter().filter(|it| *it == "2 client_canceled").count(), 4, "{endings:?}");
    assert_eq!(endings.len(), 6, "{endings:?}");
}

/// Tells when an answer is not wanted any more.
struct Gone(Arc<Notify>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_breaks_off_is_seen_to_break_off() {
    // A length that is not kept, and chunks without an end.
    let half =
        [&b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"[..], &chunk(b"half")].concat();
    for answer in [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf".to_vec(), half] {
        let origin = Answering::with(move |_| Answer::closing(&answer));
        let proxy = Proxy::before(&origin.url());
        for _ in 0..20 {
            let mut sender = Sender::connect(proxy.address, TWO).await;
            let mut body = sender.ask(get_two(&proxy)).await.into_body();
            assert_eq!(
                piece(&mut body).await.unwrap().expect("what came before the break"),
                "half"
            );
            let broken = piece(&mut body).await.expect("no clean end");
            broken.expect_err("a break");
        }
    }
    // An upstream's stream that is reset, to both kinds of client.
    let (behind, mut told) = played(Serve::of(TWO)).await;
    let proxy = before(&behind.url(), TWO, "");
    for version in [ONE, TWO] {
        let mut sender = Sender::connect(proxy.address, version).await;
        let asked = request(version, proxy.address, "GET", "/v1/models").body(empty()).unwrap();
        let feeding = async {
            let (_, feed) = within(told.recv()).await.unwrap();
            feed.data("half").await;
            feed
        };
        let (answer, feed) = tokio::join!(sender.ask(asked), feeding);
        let mut body = answer.into_body();
        assert_eq!(piece(&mut body).await.unwrap().unwrap(), "half");
        feed.break_off().await;
        piece(&mut body).await.expect("no clean end").expect_err("a break");
    }
    assert_eq!(behind.connections(), 1, "a stream's break is not its connection's");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_ends_by_closing_ends_its_stream() {
    let origin =
        Answering::with(|_| Answer::closing("HTTP/1.0 200 OK\r\nX: 1\r\n\r\nuntil the end"));
    let proxy = Proxy::before(&origin.url());
    let mut sender = Sender::connect(proxy.address, TWO).await;
    for _ in 0..2 {
        let response = sender.ask(get_two(&proxy)).await;
        assert_eq!(response.headers().len(), 1, "{response:?}");
        assert_eq!(whole(response.into_body()).await.unwrap().0, "until the end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_lets_streams_end_and_closes_their_connections() {
    let (behind, mut told) = played(Serve::of(ONE)).await;
    let mut proxy = before(&behind.url(), ONE, "");
    let mut idle = Sender::connect(proxy.address, TWO).await;
    let mut sender = Sender::connect(proxy.address, TWO).await;
    let (answer, got) = tokio::join!(sender.ask(get_two(&proxy)), within(told.recv()));
    let (_request, feed) = got.unwrap();
    feed.data("1").await;
    proxy.signal("TERM");
    idle.until_closed().await;
    feed.data("2").await;
    drop(feed);
    assert_eq!(whole(answer.into_body()).await.unwrap().0, "12");
    let status = proxy.wait(PATIENCE).expect("it ends once nothing runs");
    assert_eq!(status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_does_not_end_within_the_drain_is_cut_and_reported() {
    let collector = Collector::start(Mode::Well);
    let (behind, mut told) = played(Serve::of(TWO)).await;
    let config = format!("{}[limits]\ndrain_seconds = 1\n", export(collector.endpoint()));
    let mut proxy = before(&behind.url(), TWO, &config);
    let mut sender = Sender::connect(proxy.address, TWO).await;
    let (answer, got) = tokio::join!(sender.ask(get_two(&proxy)), within(told.recv()));
    let (_request, feed) = got.unwrap();
    feed.data("1").await;
    let begun = Instant::now();
    proxy.signal("TERM");
    whole(answer.into_body()).await.expect_err("a cut is not a clean end");
    assert!(ABOUT_A_SECOND.contains(&begun.elapsed()), "{:?}", begun.elapsed());
    assert_eq!(proxy.wait(PATIENCE).expect("it ends").code(), Some(0));
    let spans = collector.received();
    assert_eq!(spans.of_kind("SERVER")[0].attributes["clearspan.ending"], "proxy_error");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_told_to_leave_and_a_waiting_one_is_not() {
    let (behind, mut told) = played(Serve::of(ONE)).await;
    let config =
        "[limits]\nclient_idle_seconds = 1\nheader_seconds = 1\nclient_stall_seconds = 1\n";
    let proxy = before(&behind.url(), ONE, config);
    let mut idle = Sender::connect(proxy.address, TWO).await;
    let mut waiting = Sender::connect(proxy.address, TWO).await;
    let (answer, got) = tokio::join!(waiting.ask(get_two(&proxy)), within(told.recv()));
    let (_request, feed) = got.unwrap();
    let begun = Instant::now();
    idle.until_closed().await;
    assert!(begun.elapsed() < ABOUT_A_SECOND.end, "{:?}", begun.elapsed());
    // One that came after the waiting one is through its idle second, too: all limits have passed.
    Sender::connect(proxy.address, TWO).await.until_closed().await;
    feed.data("late").await;
    drop(feed);
    assert_eq!(whole(answer.into_body()).await.unwrap().0, "late");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_its_client_stalls_is_reset_and_the_others_go_on() {
    let collector = Collector::start(Mode::Well);
    let (behind, mut told) = played(Serve::of(TWO)).await;
    let limits = "[limits]\nclient_stall_seconds = 1\n";
    let proxy = before(&behind.url(), TWO, &(export(collector.endpoint()) + limits));
    let mut sender = Sender::connect(proxy.address, TWO).await;
    // One that never reads its answer.
    let (unread, got) = tokio::join!(sender.ask(get_two(&proxy)), within(told.recv()));
    let (_request, flooding) = got.unwrap();
    tokio::spawn(async move { while flooding.data(vec![b'x'; 16 * 1024]).await {} });
    // One that never ends its request.
    let (owed, body) = fed();
    let (_half, got) = tokio::join!(sender.ask(post(&proxy, body)), within(told.recv()));
    let (_request, unanswered) = got.unwrap();
    // And one that is only slow, as its upstream is.
    let (slow, got) = tokio::join!(sender.ask(get_two(&proxy)), within(told.recv()));
    let (_request, feed) = got.unwrap();
    let begun = Instant::now();
    unanswered.unread().await;
    owed.unread().await;
    assert!(begun.elapsed() < ABOUT_A_SECOND.end, "{:?}", begun.elapsed());
    collector.wait_for("two stalls", |received| {
        let stalled = |it: &&&_| -> bool { ending(it) == "client_timeout" };
        (received.of_kind("SERVER").iter().filter(stalled).count() == 2).then_some(())
    });
    feed.data("slow").await;
    drop(feed);
    assert_eq!(whole(slow.into_body()).await.unwrap().0, "slow");
    drop(unread);
}

fn ending(span: &crate::support::signals::Span) -> &str {
    span.attributes["clearspan.ending"].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_has_only_so_many_streams_and_heads_only_so_long() {
    let (behind, mut told) = played(Serve::of(ONE)).await;
    let proxy =
        before(&behind.url(), ONE, "[limits]\nhttp2_client_streams = 2\nhttp2_head = 1024\n");
    let mut sender = Sender::connect(proxy.address, TWO).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let (answer, got) = tokio::join!(sender.ask(get_two(&proxy)), within(told.recv()));
        held.push((answer, got.unwrap()));
    }
    let third = sender.send(get_two(&proxy));
    let first = async {
        let ahead = tokio::time::timeout(Duration::from_millis(300), told.recv()).await;
        ahead.expect_err("no third one before one of the two ends");
        let (answer, got) = held.remove(0);
        drop(got);
        whole(answer.into_body()).await.unwrap();
        drop(within(told.recv()).await.unwrap());
    };
    assert_eq!(tokio::join!(third, first).0.unwrap().status(), 200);
    let long = request(TWO, proxy.address, "GET", "/v1/models").header("x", "y".repeat(2000));
    let refused = sender.send(long.body(empty()).unwrap()).await;
    assert_eq!(refused.unwrap().status(), 431);
}

#[tokio::test(flavor = "multi_thread")]
async fn above_max_exchanges_streams_get_a_503_and_a_tunnel_is_refused() {
    let (behind, mut told) = played(Serve::of(ONE)).await;
    let proxy = before(&behind.url(), ONE, "[limits]\nmax_exchanges = 1\n");
    let mut sender = Sender::connect(proxy.address, TWO).await;
    let (_answer, _got) = tokio::join!(sender.ask(get_two(&proxy)), within(told.recv()));
    let refused = sender.ask(get_two(&proxy)).await;
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["clearspan-error"], "busy");
    let tunnel = Request::connect("example.com:443").version(TWO).body(empty()).unwrap();
    let refused = sender.ask(tunnel).await;
    assert_eq!(refused.status(), 501);
    assert_eq!(refused.headers()["clearspan-error"], "no_tunnels");
}

/// A TLS upstream of a certificate of its own, with these protocols in its handshake.
fn tls(protocols: &[&[u8]]) -> (tokio_rustls::TlsAcceptor, tempfile::NamedTempFile) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), made.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    (tokio_rustls::TlsAcceptor::from(Arc::new(config)), file)
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_http2_is_agreed_on_and_a_refusal_is_said() {
    let cases: [(&[&[u8]], bool); 3] =
        [(&[b"h2", b"http/1.1"], true), (&[b"http/1.1"], false), (&[], false)];
    for (protocols, speaks) in cases {
        let (acceptor, certificate) = tls(protocols);
        let serve = Serve { tls: Some(acceptor), ..Serve::of(TWO) };
        let behind = serve.with(|request: Request<Incoming>| async move {
            ok(text(request.uri().scheme_str().unwrap_or_default()))
        });
        let behind = behind.await;
        let url = format!("https://localhost:{}", behind.address.port());
        let proxy = Start::new(upstream("openai", &url, &format!("{PATHS}http = \"2\"\n")))
            .env("SSL_CERT_FILE", certificate.path().to_str().unwrap())
            .start();
        let response =
            tokio::task::spawn_blocking(move || exchange(proxy.address, get("/v1/models")));
        let response = response.await.unwrap();
        if speaks {
            assert_eq!((response.head.status(), response.text().as_str()), (200, "https"));
        } else {
            assert_eq!(response.head.status(), 502, "{protocols:?}");
            assert_eq!(response.head.field("clearspan-error"), Some("no_http2"));
            assert!(response.text().contains("http = \\\"2\\\""), "{}", response.text());
        }
    }
}

#[test]
fn an_upgrade_has_an_http1_connection_of_its_own_whatever_the_upstream_speaks() {
    let origin = Origin::bind();
    let proxy = before(&origin.url(), TWO, "");
    let mut client = Client::connect(proxy.address);
    client.send(
        "GET /v1/realtime HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
    let (mut connection, seen) = origin.accept_request();
    assert_eq!(seen.head.start, "GET /v1/realtime HTTP/1.1");
    connection.send(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhi",
    );
    assert_eq!(client.wire.head().status(), 101);
    let mut body = Body::new(Framing::Close);
    client.wire.until(&mut body, 2);
    assert_eq!(body.bytes, b"hi");
}

#[tokio::test(flavor = "multi_thread")]
async fn times_and_versions_are_reported_for_shared_connections_too() {
    let collector = Collector::start(Mode::Well);
    let behind = Serve::of(TWO).with(|request: Request<Incoming>| async {
        whole(request.into_body()).await.unwrap();
        ok(text("ok"))
    });
    let behind = behind.await;
    let config = export(collector.endpoint());
    let proxy = before(&behind.url(), TWO, &config);
    let mut sender = Sender::connect(proxy.address, TWO).await;
    for _ in 0..2 {
        let response = sender.ask(post(&proxy, text("{}"))).await;
        whole(response.into_body()).await.unwrap();
    }
    proxy.finish();
    let received = collector.received();
    let servers = received.of_kind("SERVER");
    assert_eq!(servers.len(), 2);
    for span in servers {
        assert_eq!(span.attributes["network.protocol.version"], "2");
        assert_eq!(ending(span), "complete");
    }
    for span in received.of_kind("CLIENT") {
        assert!(span.attributes["clearspan.overhead"].as_f64().unwrap() >= 0.0);
    }
}
