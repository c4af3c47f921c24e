//! A connection that changes its protocol: bytes both ways, one upstream connection of its own, and an
//! upgrade that the upstream refuses. Knows no WebSocket frames.

use std::time::{Duration, Instant};

use crate::support::client::{Client, Response, get};
use crate::support::collector::{Collector, Mode};
use crate::support::origin::{Answering, Connection, Origin, Request};
use crate::support::proxy::{Proxy, Start, export, upstream};
use crate::support::stage::OK;
use crate::support::wire::{Body, Framing};

const WISH: &str = "GET /v1/realtime?model=m HTTP/1.1\r\nHost: proxy\r\nConnection: keep-alive, Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
    Authorization: Bearer sk-1\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn start(origin: &Origin, more: &str) -> Proxy {
    Start::new(upstream("openai", &origin.url(), "paths = [\"/v1/\"]") + more).start()
}

/// A client and an upstream that are joined, and what each has read of the other.
struct Joined {
    client: Client,
    upstream: Connection,
    from_client: Body,
    from_upstream: Body,
}

fn join(proxy: &Proxy, origin: &Origin) -> (Joined, Request, Response) {
    let mut client = Client::connect(proxy.address);
    client.send(WISH);
    let (mut upstream, request) = origin.accept_request();
    upstream.send(SWITCH);
    let response = Response { head: client.wire.head(), body: Body::new(Framing::Length(0)) };
    let raw = || Body::new(Framing::Close);
    (Joined { client, upstream, from_client: raw(), from_upstream: raw() }, request, response)
}

impl Joined {
    /// Sends both ways and asserts that both arrive.
    fn talk(&mut self, up: &[u8], down: &[u8]) {
        let (from_client, from_upstream) =
            (self.from_client.bytes.len(), self.from_upstream.bytes.len());
        self.client.send(up);
        self.upstream.wire.until(&mut self.from_client, from_client + up.len());
        assert!(self.from_client.bytes[from_client..] == *up);
        self.upstream.send(down);
        self.client.wire.until(&mut self.from_upstream, from_upstream + down.len());
        assert!(self.from_upstream.bytes[from_upstream..] == *down);
    }
}

#[test]
fn bytes_go_both_ways_once_the_upstream_has_switched() {
    let origin = Origin::bind();
    let proxy = start(&origin, "");
    let (mut joined, request, response) = join(&proxy, &origin);
    let fields = |head: &crate::support::wire::Head, names: &[&str]| {
        names.iter().map(|name| head.field(name).map(str::to_owned)).collect::<Vec<_>>()
    };
    assert_eq!(request.head.target(), "/v1/realtime?model=m");
    let told =
        fields(&request.head, &["Connection", "Upgrade", "Sec-WebSocket-Key", "Authorization"]);
    let expected = ["Upgrade", "websocket", "dGhlIHNhbXBsZSBub25jZQ==", "Bearer sk-1"];
    assert_eq!(told, expected.map(|it| Some(it.to_owned())));
    assert_eq!(response.head.start, "HTTP/1.1 101 Switching Protocols");
    let told = fields(&response.head, &["Connection", "Upgrade", "Sec-WebSocket-Accept"]);
    let expected = ["Upgrade", "websocket", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="];
    assert_eq!(told, expected.map(|it| Some(it.to_owned())));
    joined.talk(b"\x81\x05hello", b"\x81\x02hi");
    let every_byte: Vec<u8> = (0..=255).cycle().take(1_000_000).collect();
    joined.talk(&every_byte, &every_byte);
    joined.talk(b"\x88\x00", b"\x88\x00");
}

#[test]
fn bytes_sent_right_behind_the_switch_are_not_lost() {
    let origin = Origin::bind();
    let proxy = start(&origin, "");
    let mut client = Client::connect(proxy.address);
    client.send(format!("{WISH}early"));
    let (mut upstream, _) = origin.accept_request();
    upstream.send(format!("{SWITCH}at once"));
    let (mut up, mut down) = (Body::new(Framing::Close), Body::new(Framing::Close));
    assert_eq!(client.wire.head().status(), 101);
    client.wire.until(&mut down, 7);
    upstream.wire.until(&mut up, 5);
    assert_eq!((&*up.bytes, &*down.bytes), (&b"early"[..], &b"at once"[..]));
}

#[test]
fn each_side_may_end_while_the_other_goes_on() {
    let origin = Origin::bind();
    let proxy = start(&origin, "");
    let (mut joined, ..) = join(&proxy, &origin);
    joined.client.send("last words");
    joined.client.wire.shut_write();
    joined.upstream.wire.finish(&mut joined.from_client);
    assert_eq!(joined.from_client.bytes, b"last words");
    joined.upstream.send("still here");
    drop(joined.upstream);
    joined.client.wire.finish(&mut joined.from_upstream);
    assert_eq!(joined.from_upstream.bytes, b"still here");
}

#[test]
fn a_refused_upgrade_is_relayed_and_the_connection_goes_on() {
    let answer = "HTTP/1.1 426 Upgrade Required\r\nContent-Type: application/json\r\n\
        Content-Length: 13\r\n\r\n{\"error\":\"x\"}";
    let upstream = Answering::always(answer);
    let origin = super::support::proxy::upstream("openai", &upstream.url(), "paths = [\"/v1/\"]");
    let proxy = Start::new(origin).start();
    let mut client = Client::connect(proxy.address);
    for _ in 0..2 {
        client.send(WISH.replace("/v1/realtime?model=m", "/v1/responses"));
        let response = client.response("GET");
        assert_eq!((response.head.status(), response.text()), (426, "{\"error\":\"x\"}".into()));
    }
    client.send(get("/v1/models"));
    assert_eq!(client.response("GET").head.status(), 426);
    assert_eq!(upstream.connections(), 3, "a wish has a connection of its own");
}

#[test]
fn only_a_whole_wish_is_passed_on() {
    let upstream = Answering::always(OK);
    let origin = super::support::proxy::upstream("openai", &upstream.url(), "paths = [\"/v1/\"]");
    let proxy = Start::new(origin).start();
    for (wish, connection) in [
        (WISH.replace("keep-alive, Upgrade", "keep-alive"), Some("keep-alive")),
        (WISH.replace("Upgrade: websocket", "Upgrade: h2c"), None),
        (WISH.replace("HTTP/1.1", "HTTP/1.0"), None),
    ] {
        let mut client = Client::connect(proxy.address);
        client.send(&wish);
        assert_eq!(client.response("GET").body.bytes, b"ok");
        let head = upstream.request().head;
        assert_eq!((head.field("Upgrade"), head.field("Connection")), (None, connection), "{wish}");
    }
}

#[test]
fn an_upgraded_connection_is_one_exchange_with_the_bytes_of_both_sides() {
    let collector = Collector::start(Mode::Well);
    let origin = Origin::bind();
    let proxy = start(&origin, &export(collector.endpoint()));
    let (mut joined, ..) = join(&proxy, &origin);
    joined.talk(&[b'u'; 300], &[b'd'; 50_000]);
    drop(joined);
    let spans = collector.spans("SERVER", 1);
    let told = &spans[0].attributes;
    assert_eq!(told["http.response.status_code"], 101);
    assert_eq!(told["clearspan.ending"], "complete");
    assert_eq!(told["http.request.body.size"], 300);
    assert_eq!(told["http.response.body.size"], 50_000);
    assert!(proxy.metrics().sum("clearspan_requests_active", &[]) == 0.0);
}

#[test]
fn a_reset_on_one_side_ends_the_other_and_is_told_apart() {
    for (breaks, ending) in [("client", "client_canceled"), ("upstream", "upstream_reset")] {
        let collector = Collector::start(Mode::Well);
        let origin = Origin::bind();
        let proxy = start(&origin, &export(collector.endpoint()));
        let (mut joined, ..) = join(&proxy, &origin);
        joined.talk(b"a", b"b");
        if breaks == "client" {
            joined.client.wire.reset();
            joined.upstream.wire.until_ended();
        } else {
            joined.upstream.wire.reset();
            joined.client.wire.until_ended();
        }
        assert_eq!(collector.spans("SERVER", 1)[0].attributes["clearspan.ending"], ending);
    }
}

#[test]
fn an_upgraded_connection_in_which_nothing_moves_is_closed() {
    let origin = Origin::bind();
    let proxy = start(&origin, "[limits]\ntunnel_idle_seconds = 2\nclient_idle_seconds = 0.5\n");
    let (mut joined, ..) = join(&proxy, &origin);
    let begun = Instant::now();
    let mut last = begun;
    // Longer than the limit, and no pause as long as it: the connection must stay.
    while begun.elapsed() < Duration::from_millis(2500) {
        last = Instant::now();
        joined.talk(b"ping", b"");
        std::thread::sleep(Duration::from_millis(100));
    }
    joined.client.wire.until_ended();
    joined.upstream.wire.until_ended();
    assert!(last.elapsed() > Duration::from_millis(1800), "{:?}", last.elapsed());
}

#[test]
fn a_drain_waits_for_an_upgraded_connection_and_then_cuts_it() {
    for lasts in [false, true] {
        let origin = Origin::bind();
        let mut proxy = start(&origin, "[limits]\ndrain_seconds = 1\n");
        let (mut joined, ..) = join(&proxy, &origin);
        proxy.signal("TERM");
        joined.talk(b"still", b"going");
        if lasts {
            joined.client.wire.until_ended();
        } else {
            drop(joined);
        }
        let status = proxy.wait(crate::support::PATIENCE).expect("it ends");
        assert_eq!(status.code(), Some(0), "{:?}", proxy.stderr());
    }
}
