//! A limit on everything that another side could use up: time of slow heads, idle connections,
//! stalled bodies, silent upstreams, connections at once. Knows the keys of `[limits]`.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::client::{Client, exchange, get, post};
use crate::support::origin::{Answering, Origin};
use crate::support::proxy::{Proxy, Start, upstream};
use crate::support::stage::OK;
use crate::support::wire::{Body, chunk};

/// A limit of one second is met between these.
const ABOUT_A_SECOND: std::ops::Range<Duration> =
    Duration::from_millis(900)..Duration::from_secs(6);

fn limited(url: &str, limits: &str) -> Proxy {
    let config = upstream("openai", url, "paths = [\"/v1/\"]");
    Start::new(format!("{config}[limits]\n{limits}\n")).start()
}

#[test]
fn a_slow_head_is_closed() {
    let upstream = Answering::always(OK);
    let proxy = limited(&upstream.url(), "header_seconds = 1");
    let mut client = Client::connect(proxy.address);
    let begun = Instant::now();
    client.send("GET /v1/models HTTP/1.1\r\nHost:");
    client.wire.until_ended();
    assert!(ABOUT_A_SECOND.contains(&begun.elapsed()), "{:?}", begun.elapsed());
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn a_head_that_drips_is_closed_too() {
    let upstream = Answering::always(OK);
    let proxy = limited(&upstream.url(), "header_seconds = 1");
    let mut client = Client::connect(proxy.address);
    let begun = Instant::now();
    client.send("GET /v1/models HTTP/1.1\r\n");
    while client.wire.is_silent(Duration::from_millis(100)) && client.wire.try_send("a: b\r\n") {
        assert!(begun.elapsed() < ABOUT_A_SECOND.end);
    }
    assert!(ABOUT_A_SECOND.contains(&begun.elapsed()), "{:?}", begun.elapsed());
}

#[test]
fn an_idle_connection_is_closed_and_a_slow_head_is_another_thing() {
    let upstream = Answering::always(OK);
    let proxy = limited(&upstream.url(), "client_idle_seconds = 1");
    let mut client = Client::connect(proxy.address);
    // From before whatever begins the second: who is slow to see that would see less of it.
    let begun = Instant::now();
    client.send(get("/v1/models"));
    client.response("GET");
    client.wire.until_ended();
    assert!(ABOUT_A_SECOND.contains(&begun.elapsed()), "{:?}", begun.elapsed());
    let patient = limited(&upstream.url(), "header_seconds = 1");
    let mut client = Client::connect(patient.address);
    client.send(get("/v1/models"));
    client.response("GET");
    assert!(client.wire.is_silent(Duration::from_millis(1500)), "idle, but within its limit");
    client.send(get("/v1/models"));
    assert_eq!(client.response("GET").body.bytes, b"ok");
}

#[test]
fn a_client_that_stops_within_its_body_is_closed() {
    let origin = Origin::bind();
    let proxy = limited(&origin.url(), "client_stall_seconds = 1");
    let mut client = Client::connect(proxy.address);
    let begun = Instant::now();
    client.send("POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf");
    let mut upstream = origin.accept();
    client.wire.until_ended();
    assert!(ABOUT_A_SECOND.contains(&begun.elapsed()), "{:?}", begun.elapsed());
    upstream.wire.until_ended();
}

#[test]
fn a_client_that_waits_for_a_slow_answer_is_not_stalled() {
    let origin = Origin::bind();
    let limits = "client_stall_seconds = 1\nclient_idle_seconds = 1\nheader_seconds = 1";
    let proxy = limited(&origin.url(), limits);
    let mut client = Client::connect(proxy.address);
    client.send(get("/v1/models"));
    let (mut upstream, _) = origin.accept_request();
    assert!(client.wire.is_silent(Duration::from_millis(1500)));
    upstream.send(OK);
    assert_eq!(client.response("GET").body.bytes, b"ok");
}

#[test]
fn a_client_that_stops_reading_is_closed() {
    let origin = Origin::bind();
    let proxy = limited(&origin.url(), "client_stall_seconds = 1");
    let mut client = Client::connect(proxy.address);
    client.send(get("/v1/models"));
    let (mut upstream, _) = origin.accept_request();
    upstream.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 1_u64 << 40));
    upstream.wire.flood();
    let flooded = Instant::now();
    upstream.wire.until_ended();
    assert!(flooded.elapsed() < ABOUT_A_SECOND.end);
    drop(client);
}

#[test]
fn an_upstream_that_is_silent_for_too_long_is_a_504_or_a_break() {
    let origin = Origin::bind();
    let proxy = limited(&origin.url(), "upstream_silence_seconds = 1");
    let mut client = Client::connect(proxy.address);
    let begun = Instant::now();
    client.send(get("/v1/models"));
    let (_waiting, _) = origin.accept_request();
    let response = client.response("GET");
    assert!(ABOUT_A_SECOND.contains(&begun.elapsed()), "{:?}", begun.elapsed());
    assert_eq!(response.head.status(), 504);
    assert_eq!(response.head.field("clearspan-error"), Some("upstream_silent"));
    let mut client = Client::connect(proxy.address);
    client.send(get("/v1/models"));
    let (mut upstream, _) = origin.accept_request();
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    upstream.send([head.as_bytes(), &chunk(b"half")].concat());
    let (head, _) = client.begin_response("GET");
    let mut body = Body::new(head.response_framing("GET"));
    client.wire.finish(&mut body);
    assert!(!body.complete);
    assert_eq!(body.bytes, b"half");
}

#[test]
fn an_upstream_that_accepts_nobody_is_a_504() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let _entered = runtime.enter();
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // Once the backlog is full the kernel leaves further attempts unanswered.
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
    let _waiting: Vec<_> = std::iter::from_fn(connect).collect();
    let proxy = limited(&format!("http://{address}"), "connect_seconds = 1");
    let begun = Instant::now();
    let response = exchange(proxy.address, get("/v1/models"));
    assert!(ABOUT_A_SECOND.contains(&begun.elapsed()), "{:?}", begun.elapsed());
    assert_eq!(response.head.status(), 504);
    assert_eq!(response.head.field("clearspan-error"), Some("connect_timeout"));
}

#[test]
fn above_max_connections_clients_wait_for_one_to_leave() {
    let upstream = Answering::always(OK);
    let proxy = limited(&upstream.url(), "max_connections = 1");
    let mut first = Client::connect(proxy.address);
    first.send(get("/v1/models"));
    assert_eq!(first.response("GET").body.bytes, b"ok");
    let mut second = Client::connect(proxy.address);
    second.send(get("/v1/models"));
    assert!(second.wire.is_silent(Duration::from_millis(300)));
    drop(first);
    assert_eq!(second.response("GET").body.bytes, b"ok");
}

#[test]
fn a_head_that_is_too_long_is_refused() {
    let upstream = Answering::always(OK);
    let proxy = limited(&upstream.url(), "");
    let mut client = Client::connect(proxy.address);
    client.wire.try_send("GET /v1/models HTTP/1.1\r\nHost: x\r\nX-Long: ");
    client.wire.flood();
    client.wire.until_ended();
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn an_upstream_that_closes_idle_connections_costs_no_request() {
    let origin = Origin::bind();
    let proxy = limited(&origin.url(), "");
    let mut client = Client::connect(proxy.address);
    for number in 0..50 {
        client.send(post("/v1/x", "{}"));
        let (mut upstream, _) = origin.accept_request();
        upstream.send(OK);
        // Without a word; the next request comes after this has reached the proxy's side.
        drop(upstream);
        let response = client.response("POST");
        assert_eq!(response.body.bytes, b"ok", "{number}: {:?}", response.head);
    }
}
