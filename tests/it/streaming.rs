//! Each chunk when it comes, each ending as it was. Nothing here waits for a clock: the upstream
//! sends the next chunk only after the client has the one before, so a proxy that holds bytes back
//! never ends these tests well.

use std::time::{Duration, Instant};

use crate::support::client::{Client, get, post};
use crate::support::origin::{Connection, Origin};
use crate::support::proxy::Proxy;
use crate::support::wire::{Body, Ended, chunk};

/// How soon the other side hears that one side is gone. Generous to a loaded machine; far below
/// every limit of the program.
const AT_ONCE: Duration = Duration::from_secs(3);

const CHUNKED: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
const COUNTED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n";
const CLOSED: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";

/// A client whose request has reached the upstream.
fn begun(proxy: &Proxy, origin: &Origin) -> (Client, Connection) {
    let mut client = Client::connect(proxy.address);
    client.send(post("/v1/chat/completions", "{\"stream\":true}"));
    let (upstream, _) = origin.accept_request();
    (client, upstream)
}

/// As `begun`, and the answer's head with these first bytes of its body reached the client.
fn streaming(
    proxy: &Proxy,
    origin: &Origin,
    head: &str,
    first: &[u8],
) -> (Client, Connection, Body) {
    let (mut client, mut upstream) = begun(proxy, origin);
    upstream.send(head);
    let (_, mut body) = client.begin_response("POST");
    upstream.send(first);
    client.wire.until(&mut body, 1);
    (client, upstream, body)
}

#[test]
fn each_chunk_of_an_answer_arrives_before_the_next_is_sent() {
    let origin = Origin::bind();
    let proxy = Proxy::before(&origin.url());
    for head in [CHUNKED, COUNTED, CLOSED] {
        let (mut client, mut upstream) = begun(&proxy, &origin);
        upstream.send(head);
        let (_, mut body) = client.begin_response("POST");
        for number in 0..20 {
            let data = format!("data: {number:02}\n\n");
            let sent = if head == CHUNKED { chunk(data.as_bytes()) } else { data.into_bytes() };
            upstream.send(sent);
            client.wire.until(&mut body, (number + 1) * 10);
        }
        if head == CHUNKED {
            upstream.send("0\r\n\r\n");
        }
        drop(upstream);
        client.wire.finish(&mut body);
        assert!(body.complete, "{head}");
        assert_eq!(body.bytes.len(), 200);
    }
}

#[test]
fn each_chunk_of_a_request_arrives_before_the_next_is_sent() {
    let origin = Origin::bind();
    let proxy = Proxy::before(&origin.url());
    for framing in ["Transfer-Encoding: chunked", "Content-Length: 20"] {
        let mut client = Client::connect(proxy.address);
        client.send(format!("POST /v1/x HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n"));
        let mut upstream = origin.accept();
        let head = upstream.wire.head();
        let mut body = Body::new(head.request_framing());
        for number in 0..10 {
            let data = format!("{number:02}");
            let is_chunked = framing.ends_with("chunked");
            client.send(if is_chunked { chunk(data.as_bytes()) } else { data.into_bytes() });
            upstream.wire.until(&mut body, (number + 1) * 2);
        }
        if framing.ends_with("chunked") {
            client.send("0\r\n\r\n");
        }
        upstream.wire.finish(&mut body);
        assert_eq!(body.bytes, b"00010203040506070809");
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        assert_eq!(client.response("POST").body.bytes, b"ok");
    }
}

#[test]
fn an_answer_may_begin_before_the_request_has_ended() {
    let origin = Origin::bind();
    let proxy = Proxy::before(&origin.url());
    let mut client = Client::connect(proxy.address);
    client.send("POST /v1/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n");
    let mut upstream = origin.accept();
    let mut asked = Body::new(upstream.wire.head().request_framing());
    upstream.wire.until(&mut asked, 2);
    upstream.send([CHUNKED.as_bytes(), &chunk(b"AB")].concat());
    let (_, mut answered) = client.begin_response("POST");
    client.wire.until(&mut answered, 2);
    client.send("2\r\ncd\r\n0\r\n\r\n");
    upstream.wire.finish(&mut asked);
    upstream.send([&chunk(b"CD"), &b"0\r\n\r\n"[..]].concat());
    client.wire.finish(&mut answered);
    assert_eq!((asked.bytes, answered.bytes), (b"abcd".to_vec(), b"ABCD".to_vec()));
}

#[test]
fn many_streams_run_side_by_side() {
    let origin = Origin::bind();
    let proxy = Proxy::before(&origin.url());
    let mut streams: Vec<_> =
        (0..60).map(|_| streaming(&proxy, &origin, CHUNKED, &chunk(b"0"))).collect();
    for round in 1..5 {
        for (_, upstream, _) in &mut streams {
            upstream.send(chunk(b"x"));
        }
        for (client, _, body) in &mut streams {
            client.wire.until(body, round + 1);
        }
    }
}

#[test]
fn the_upstream_hears_at_once_that_the_client_is_gone() {
    let origin = Origin::bind();
    let proxy = Proxy::before(&origin.url());
    let gone = |what: &str, mut upstream: Connection, leave: &dyn Fn()| {
        let left = Instant::now();
        leave();
        upstream.wire.until_ended();
        assert!(left.elapsed() < AT_ONCE, "{what}: {:?}", left.elapsed());
    };
    for reset in [false, true] {
        let leave = |client: Client| {
            let client = std::cell::Cell::new(Some(client));
            move || {
                let client = client.take().unwrap();
                if reset { client.wire.reset() } else { drop(client) }
            }
        };
        let (client, upstream) = begun(&proxy, &origin);
        gone("before the head", upstream, &leave(client));
        let (client, upstream, _) = streaming(&proxy, &origin, CHUNKED, &chunk(b"data"));
        gone("within a stream", upstream, &leave(client));
        let (client, upstream, _) = streaming(&proxy, &origin, COUNTED, b"half");
        gone("within a counted body", upstream, &leave(client));
        let (client, upstream, _) = streaming(&proxy, &origin, CLOSED, b"half");
        gone("within a body delimited by close", upstream, &leave(client));
        let mut client = Client::connect(proxy.address);
        client.send("POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf");
        let mut upstream = origin.accept();
        upstream.wire.head();
        gone("within its own body", upstream, &leave(client));
    }
}

#[test]
fn a_break_of_the_upstream_is_never_a_clean_end() {
    let origin = Origin::bind();
    let proxy = Proxy::before(&origin.url());
    for (head, first) in [(CHUNKED, chunk(b"half")), (COUNTED, b"half".to_vec())] {
        for reset in [false, true] {
            let (mut client, upstream, mut body) = streaming(&proxy, &origin, head, &first);
            client.wire.until(&mut body, 4);
            if reset {
                upstream.wire.reset()
            } else {
                drop(upstream)
            }
            let broken = Instant::now();
            client.wire.finish(&mut body);
            assert!(!body.complete, "{head}");
            assert!(client.wire.ended.is_some(), "the client hears of it");
            assert_eq!(body.bytes, b"half", "and has what came before");
            assert!(broken.elapsed() < AT_ONCE);
        }
    }
}

#[test]
fn what_came_before_a_break_arrives_however_soon_it_breaks() {
    // Many at once, so that head, bytes and break often reach the proxy in one go.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let origin = Origin::bind();
                let proxy = Proxy::before(&origin.url());
                (0..50).for_each(|_| break_soon(&proxy, &origin));
            });
        }
    });
}

fn break_soon(proxy: &Proxy, origin: &Origin) {
    let (mut client, mut upstream) = begun(proxy, origin);
    upstream.send([CHUNKED.as_bytes(), &chunk(b"half")].concat());
    drop(upstream);
    let (head, mut body) = client.begin_response("POST");
    assert_eq!(head.status(), 200);
    client.wire.finish(&mut body);
    assert_eq!((body.bytes.as_slice(), body.complete), (&b"half"[..], false));
}

#[test]
fn a_chunk_cut_in_two_by_a_break_is_not_completed() {
    let origin = Origin::bind();
    let proxy = Proxy::before(&origin.url());
    let (mut client, upstream, mut body) =
        streaming(&proxy, &origin, CHUNKED, b"4\r\ndata\r\n10\r\nonly-this");
    drop(upstream);
    client.wire.finish(&mut body);
    assert!(!body.complete);
}

#[test]
fn a_client_that_does_not_read_holds_the_upstream_back() {
    let origin = Origin::bind();
    let proxy = Proxy::before(&origin.url());
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 1_u64 << 40);
    let (mut client, mut upstream, mut body) = streaming(&proxy, &origin, &head, b"x");
    let sent = upstream.wire.flood();
    assert!(sent < 64 << 20, "{sent} bytes are somewhere");
    client.wire.until(&mut body, sent);
    assert!(upstream.wire.try_send("y"), "and goes on once it reads");
}

#[test]
fn an_upstream_that_does_not_read_holds_the_client_back() {
    let origin = Origin::bind();
    let proxy = Proxy::before(&origin.url());
    let mut client = Client::connect(proxy.address);
    let length = 1_u64 << 40;
    client.send(format!("POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"));
    let mut upstream = origin.accept();
    let mut body = Body::new(upstream.wire.head().request_framing());
    let sent = client.wire.flood();
    assert!(sent < 64 << 20, "{sent} bytes are somewhere");
    upstream.wire.until(&mut body, sent);
}

#[test]
fn a_stream_that_ends_leaves_the_connection_usable() {
    let origin = Origin::bind();
    let proxy = Proxy::before(&origin.url());
    let (mut client, mut upstream, mut body) = streaming(&proxy, &origin, CHUNKED, &chunk(b"data"));
    upstream.send("0\r\n\r\n");
    client.wire.finish(&mut body);
    client.send(get("/v1/models"));
    upstream.request().expect("on the same connection");
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.response("GET").body.bytes, b"ok");
    assert_eq!(origin.connections(), 1);
    drop(upstream);
    drop(client);
}

#[test]
fn a_client_that_asks_to_close_gets_its_answer_first() {
    let origin = Origin::bind();
    let proxy = Proxy::before(&origin.url());
    let mut client = Client::connect(proxy.address);
    client.send("GET /v1/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let (mut upstream, _) = origin.accept_request();
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.response("GET").body.bytes, b"ok");
    assert_eq!(client.wire.until_ended(), Ended::Closed);
}
