//! How it ends: what runs is finished within the drain, what does not end is cut, telemetry is
//! flushed, and a start that cannot be is said clearly. Knows signals and exit codes.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::PATIENCE;
use crate::support::client::{Client, exchange, get, post};
use crate::support::collector::{Collector, Mode};
use crate::support::origin::{Answering, Connection, Origin};
use crate::support::proxy::{Proxy, Start, export, upstream};
use crate::support::stage::OK;
use crate::support::wire::{Body, chunk};

/// A proxy with an open stream of which the client has read the first chunk.
fn streaming(config: &str) -> (Proxy, Client, Connection, Body) {
    let origin = Origin::bind();
    let proxy =
        Start::new(upstream("openai", &origin.url(), "paths = [\"/v1/\"]") + config).start();
    let mut client = Client::connect(proxy.address);
    client.send(post("/v1/chat/completions", "{\"model\":\"m\",\"stream\":true}"));
    let (mut upstream, _) = origin.accept_request();
    upstream.send(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    let (_, mut body) = client.begin_response("POST");
    upstream.send(chunk(b"data: 1\n\n"));
    client.wire.until(&mut body, 9);
    (proxy, client, upstream, body)
}

/// Waits until nobody listens there any more.
fn wait_until_closed(proxy: &Proxy) {
    let deadline = Instant::now() + PATIENCE;
    while let Ok(stream) = TcpStream::connect(proxy.address) {
        drop(stream);
        assert!(Instant::now() < deadline, "it still accepts");
        std::thread::yield_now();
    }
}

#[test]
fn a_stream_that_ends_within_the_drain_is_whole_and_reported() {
    for signal in ["TERM", "INT"] {
        let collector = Collector::start(Mode::Well);
        let (mut proxy, mut client, mut upstream, mut body) =
            streaming(&export(collector.endpoint()));
        proxy.signal(signal);
        wait_until_closed(&proxy);
        upstream.send(chunk(b"data: 2\n\n"));
        client.wire.until(&mut body, 18);
        upstream.send([&chunk(b"data: [DONE]\n\n"), &b"0\r\n\r\n"[..]].concat());
        client.wire.finish(&mut body);
        assert!(body.complete);
        let status = proxy.wait(PATIENCE).expect("it ends once nothing runs");
        assert_eq!(status.code(), Some(0), "{signal}: {:?}", proxy.stderr());
        let spans = collector.received();
        assert_eq!(spans.of_kind("SERVER").len(), 1, "{signal}");
        assert_eq!(spans.of_kind("SERVER")[0].attributes["clearspan.ending"], "complete");
        assert!(!spans.metric("clearspan.requests").is_empty(), "metrics are flushed too");
    }
}

#[test]
fn a_stream_that_does_not_end_is_cut_off_after_the_drain() {
    let collector = Collector::start(Mode::Well);
    let config = format!("{}[limits]\ndrain_seconds = 1\n", export(collector.endpoint()));
    let (mut proxy, mut client, _upstream, mut body) = streaming(&config);
    let told = Instant::now();
    proxy.signal("TERM");
    client.wire.finish(&mut body);
    assert!(!body.complete, "a cut is not a clean end");
    assert!(told.elapsed() >= Duration::from_millis(900), "{:?}", told.elapsed());
    assert_eq!(proxy.wait(PATIENCE).expect("it ends").code(), Some(0));
    assert!(told.elapsed() < Duration::from_secs(6), "{:?}", told.elapsed());
    let received = collector.received();
    let ending = &received.of_kind("SERVER")[0].attributes["clearspan.ending"];
    assert_eq!(ending, "proxy_error");
}

#[test]
fn an_idle_connection_does_not_hold_up_the_end() {
    let upstream = Answering::always(OK);
    let mut proxy = Proxy::before(&upstream.url());
    let mut client = Client::connect(proxy.address);
    client.send(get("/v1/models"));
    client.response("GET");
    let _silent = Client::connect(proxy.address);
    let told = Instant::now();
    proxy.signal("TERM");
    assert_eq!(proxy.wait(PATIENCE).expect("it ends").code(), Some(0));
    assert!(told.elapsed() < Duration::from_secs(5), "{:?}", told.elapsed());
}

#[test]
fn a_collector_that_hangs_does_not_hold_up_the_end() {
    let collector = Collector::start(Mode::Hanging);
    let upstream_ = Answering::always(OK);
    let config = upstream("openai", &upstream_.url(), "paths = [\"/v1/\"]");
    let mut proxy = Start::new(config + &export(collector.endpoint())).start();
    exchange(proxy.address, get("/v1/models"));
    let told = Instant::now();
    proxy.signal("TERM");
    assert_eq!(proxy.wait(PATIENCE).expect("it ends").code(), Some(0));
    assert!(told.elapsed() < Duration::from_secs(8), "{:?}", told.elapsed());
}

#[test]
fn a_second_one_on_the_same_port_says_so_and_fails() {
    let upstream_ = Answering::always(OK);
    let proxy = Proxy::before(&upstream_.url());
    for (listen, admin) in [
        (proxy.address.to_string(), "127.0.0.1:0".to_owned()),
        ("127.0.0.1:0".to_owned(), proxy.admin.to_string()),
    ] {
        let server = format!("[server]\nlisten = \"{listen}\"\nadmin = \"{admin}\"\n");
        let config = server + &upstream("openai", &upstream_.url(), "paths = [\"/v1/\"]");
        let (status, printed) = Start::new(config).fail();
        assert_eq!(status.code(), Some(1), "{printed}");
        let taken = if listen.ends_with(":0") { &admin } else { &listen };
        assert!(printed.contains(taken.as_str()), "{printed}");
        assert!(printed.to_lowercase().contains("in use"), "{printed}");
    }
    assert_eq!(exchange(proxy.address, get("/v1/models")).body.bytes, b"ok", "the first goes on");
}
