//! Shapes on which two parsers may disagree about where a message begins or ends, as raw bytes from
//! clients and from upstreams: what goes on is one unambiguous message or none. Knows HTTP/1 syntax;
//! the shapes of lengths and codings in requests are `transparency`'s.

use crate::support::client::{Client, Response, exchange, get};
use crate::support::origin::{Answering, Origin};
use crate::support::proxy::{Proxy, Start, upstream};
use crate::support::stage::OK;
use crate::support::wire::{Framing, Head, text};

/// What a hidden request would be.
const HIDDEN: &str = "GET /v1/hidden HTTP/1.1\r\nHost: x\r\nX-Key: stolen\r\n\r\n";

/// A proxy that soon ends connections on which nothing comes, and the upstream behind it.
fn scene() -> (Proxy, Answering) {
    let answering = Answering::always(OK);
    // A client that ends the connection itself would be taken to leave: the proxy ends it.
    let limits = "[limits]\nheader_seconds = 0.2\nclient_idle_seconds = 0.2\n";
    let config = upstream("openai", &answering.url(), "paths = [\"/v1/\"]");
    (Start::new(config + limits).start(), answering)
}

/// What the client and the upstream see of these bytes, sent in one go.
fn sent((proxy, upstream): &(Proxy, Answering), bytes: impl AsRef<[u8]>) -> (String, Vec<String>) {
    let mut client = Client::connect(proxy.address);
    // It may be refused before its end.
    client.wire.try_send(bytes);
    client.wire.until_ended();
    // What came before this has arrived by now.
    assert_eq!(exchange(proxy.address, get("/v1/last")).head.status(), 200);
    let seen = text(&client.wire.seen);
    let lines = upstream.requests().into_iter().map(|request| {
        assert!(request.body.complete, "{:?}", request.head);
        assert_eq!(request.head.all("host").collect::<Vec<_>>(), [upstream.address.to_string()]);
        assert_plain(&request.head);
        format!("{} {}", request.head.start, text(&request.body.bytes)).trim().to_owned()
    });
    let mut lines: Vec<_> = lines.collect();
    assert_eq!(lines.pop().as_deref(), Some("GET /v1/last HTTP/1.1"));
    (seen, lines)
}

/// No field that another parser could read as two.
fn assert_plain(head: &Head) {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    for (name, value) in &head.fields {
        assert!(name.bytes().all(is_token) && !value.contains(['\r', '\n', '\0']), "{head:?}");
    }
}

#[test]
fn a_head_that_is_no_head_reaches_nobody() {
    let scene = scene();
    for shape in [
        // HTTP/0.9, other versions, other protocols.
        "GET /v1/x\r\n\r\n",
        "GET /v1/x\r\nHost: x\r\n\r\n",
        "GET /v1/x HTTP/2.0\r\nHost: x\r\n\r\n",
        "GET /v1/x HTTP/1.2\r\nHost: x\r\n\r\n",
        "GET /v1/x http/1.1\r\nHost: x\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        // Whitespace where none may be.
        "GET  /v1/x HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /v1/x y HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET\t/v1/x\tHTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /v1/x HTTP/1.1 \r\nHost: x\r\n\r\n",
        "GET /v1/x HTTP/1.1\r\n Host: x\r\n\r\n",
        "GET /v1/x HTTP/1.1\r\nHost : x\r\n\r\n",
        "GET /v1/x HTTP/1.1\r\nHost\t: x\r\n\r\n",
        // A value on two lines, a name of none, a bare CR, a NUL, bytes that no name has.
        "GET /v1/x HTTP/1.1\r\nHost: x\r\nA: b\r\n c: d\r\n\r\n",
        "GET /v1/x HTTP/1.1\r\nHost: x\r\n: b\r\n\r\n",
        "GET /v1/x HTTP/1.1\r\nHost: x\r\nA: b\rC: d\r\n\r\n",
        "GET /v1/x HTTP/1.1\rHost: x\r\r",
        "GET /v1/x HTTP/1.1\r\nHost: x\r\nA: b\0\r\n\r\n",
        "GET /v1/\0x HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /v1/x HTTP/1.1\r\nHost: x\r\nA\u{e9}: b\r\n\r\n",
        "GET /v1/x HTTP/1.1\r\nHost: x\r\nA(b): c\r\n\r\n",
        "GET /v1/x HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
        "G@T /v1/x\u{7f} HTTP/1.1\r\nHost: x\r\n\r\n",
        // Lengths and codings that are not on `transparency`'s lists.
        "POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 5;\r\n\r\nhello",
        "POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1e1\r\n\r\nhellohello",
        "POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: \u{b2}\r\n\r\nhe",
        "POST /v1/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
        "POST /v1/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
        "POST /v1/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        "POST /v1/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chun ked\r\n\r\n0\r\n\r\n",
        "POST /v1/x HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let bytes: Vec<u8> = format!("{shape}{HIDDEN}").chars().map(|it| it as u8).collect();
        let (seen, requests) = sent(&scene, bytes);
        assert_eq!(requests, [""; 0], "{shape:?}");
        assert!(
            seen.is_empty() || seen.starts_with("HTTP/1.1 4"),
            "{shape:?} is answered {seen:?}"
        );
        assert!(!seen.contains(" 200 "), "{shape:?} is answered {seen:?}");
    }
}

#[test]
fn a_line_that_ends_with_lf_alone_is_read_as_one() {
    let shape = "POST /v1/x HTTP/1.1\nHost: x\nA: b\r\nContent-Length: 5\n\nhello";
    let (_, requests) = sent(&scene(), shape);
    assert_eq!(requests, ["POST /v1/x HTTP/1.1 hello"]);
}

#[test]
fn chunks_are_read_as_they_are_written_or_not_at_all() {
    let head = "POST /v1/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (chunks, body) in [
        ("5;name=value;a=\"b\"\r\nhello\r\n0\r\n\r\n", Some("hello")),
        ("0005\r\nhello\r\n000\r\n\r\n", Some("hello")),
        ("5 \r\nhello\r\n0\r\n\r\n", Some("hello")),
        ("A\r\nhellohello\r\n0\r\n\r\n", Some("hellohello")),
        (" 5\r\nhello\r\n0\r\n\r\n", None),
        ("5\r\nhello0\r\n\r\n", None),
        ("5\nhello\r\n0\r\n\r\n", None),
        ("5\rhello\r\n0\r\n\r\n", None),
        ("+5\r\nhello\r\n0\r\n\r\n", None),
        ("5_\r\nhello\r\n0\r\n\r\n", None),
        ("\r\nhello\r\n0\r\n\r\n", None),
        ("10000000000000005\r\nhello\r\n0\r\n\r\n", None),
        ("5\r\nhelloXX0\r\n\r\n", None),
        ("5\r\nhello\r\n0\rX\r\n", None),
    ] {
        let upstream = Origin::bind();
        let proxy = Proxy::before(&upstream.url());
        let mut client = Client::connect(proxy.address);
        client.send(format!("{head}{chunks}"));
        match body {
            Some(body) => {
                let (mut upstream, request) = upstream.accept_request();
                assert_eq!(
                    (text(&request.body.bytes).as_str(), request.body.complete),
                    (body, true)
                );
                upstream.send(OK);
                assert_eq!(client.response("POST").head.status(), 200, "{chunks:?}");
            }
            None => {
                let seen = client.response("POST");
                assert_eq!(seen.head.status(), 400, "{chunks:?}");
                // The upstream may have heard of it, but never of an end.
                assert_eq!(client.wire.until_ended(), client.wire.ended.unwrap());
                for _ in 0..upstream.connections() {
                    let unended = upstream.accept().request().is_none_or(|it| !it.body.complete);
                    assert!(unended, "{chunks:?} became a whole request");
                }
            }
        }
    }
}

#[test]
fn a_trailer_is_no_field_of_the_head() {
    let head =
        "POST /v1/x HTTP/1.1\r\nHost: x\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n";
    for field in ["Content-Length: 60", "Transfer-Encoding: chunked", "Host: evil", "Connection: x"]
    {
        let upstream = Answering::always(OK);
        let proxy = Proxy::before(&upstream.url());
        let mut client = Client::connect(proxy.address);
        client.send(format!("{head}3\r\nabc\r\n0\r\n{field}\r\nx-sum: 3\r\n\r\n"));
        client.response("POST");
        let Some(request) = upstream.requests().pop() else { continue };
        assert!(request.head.field("content-length").is_none(), "{field}");
        assert_eq!(request.head.all("host").count(), 1, "{field}");
        assert!(request.body.trailers.iter().all(|(name, _)| name == "x-sum"), "{field}");
    }
}

#[test]
fn the_target_decides_not_the_host() {
    let scene = scene();
    let (_, requests) =
        sent(&scene, "GET http://evil.example/v1/x HTTP/1.1\r\nHost: other\r\n\r\n");
    assert_eq!(requests, ["GET /v1/x HTTP/1.1"]);
    let (_, requests) =
        sent(&scene, "GET http://evil.example:80@other/v1/x HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(requests.iter().all(|line| line == "GET /v1/x HTTP/1.1"), "{requests:?}");
    for target in ["evil.example:443", "http://evil.example", "//evil.example/v1/x", "*", "v1/x"] {
        let (seen, requests) =
            sent(&scene, format!("CONNECT {target} HTTP/1.1\r\nHost: x\r\n\r\n{HIDDEN}"));
        assert_eq!(requests.iter().filter(|it| it.contains("evil")).count(), 0, "{target}");
        assert!(!seen.starts_with("HTTP/1.1 200"), "{target}: {seen}");
    }
}

#[test]
fn a_client_of_http_1_0_may_keep_its_connection() {
    let upstream = Answering::always(OK);
    let proxy = Proxy::before(&upstream.url());
    let mut client = Client::connect(proxy.address);
    for _ in 0..3 {
        client.send("GET /v1/x HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n");
        let response = client.response("GET");
        assert_eq!((response.head.status(), response.body.framing), (200, Framing::Length(2)));
    }
    client.send("GET /v1/x HTTP/1.0\r\nHost: x\r\n\r\n");
    assert_eq!(client.response("GET").head.status(), 200);
    client.wire.until_ended();
}

/// What the client sees when the upstream answers `GET` with these bytes, and what the next client
/// sees, whom the upstream answers well.
fn answered(method: &str, bytes: impl AsRef<[u8]>) -> (Option<Response>, Response) {
    let upstream = Origin::bind();
    let proxy = Proxy::before(&upstream.url());
    let mut client = Client::connect(proxy.address);
    client.send(format!("{method} /v1/first HTTP/1.1\r\nHost: x\r\n\r\n"));
    let (mut first, _) = upstream.accept_request();
    first.wire.try_send(bytes);
    let response = client.response(method);
    // The upstream says no more, and its answer to what comes on this connection is a good one.
    let serving = std::thread::spawn(move || {
        let next = first.request().is_some() && first.wire.try_send(OK);
        (next, upstream, first)
    });
    let mut other = Client::connect(proxy.address);
    other.send(get("/v1/next"));
    let next = loop {
        if serving.is_finished() {
            let (answered, upstream, _first) = serving.join().unwrap();
            if !answered {
                let (mut second, _) = upstream.accept_request();
                second.send(OK);
            }
            break other.response("GET");
        }
        std::thread::yield_now();
    };
    (Some(response), next)
}

/// Bytes that a lax proxy would give to the next client as its answer.
const POISON: &str = "HTTP/1.1 203 Poison\r\nContent-Length: 6\r\n\r\npoison";

#[test]
fn bytes_after_an_answer_are_nobodys_answer() {
    for (method, answer) in [
        ("GET", format!("{OK}{POISON}")),
        ("HEAD", format!("HTTP/1.1 200 OK\r\nContent-Length: 57\r\n\r\n{POISON}")),
        ("GET", format!("HTTP/1.1 204 No Content\r\n\r\n{POISON}")),
        ("GET", format!("HTTP/1.1 204 No Content\r\nContent-Length: 57\r\n\r\n{POISON}")),
        ("GET", format!("HTTP/1.1 304 Not Modified\r\nContent-Length: 57\r\n\r\n{POISON}")),
        ("GET", format!("HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n{POISON}")),
        ("GET", format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{POISON}")),
    ] {
        let (first, next) = answered(method, &answer);
        let first = first.unwrap();
        assert!(!first.text().contains("poison"), "{method} {answer:?}: {:?}", first.text());
        assert!(first.body.complete, "{method} {answer:?}");
        assert_eq!((next.head.status(), next.text().as_str()), (200, "ok"), "{method} {answer:?}");
    }
}

#[test]
fn an_answer_is_unambiguous_or_ours() {
    let upstream = Origin::bind();
    let proxy = Proxy::before(&upstream.url());
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 57\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 57\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nA\0: b\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nA: b\0\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/3.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "ICY 200 OK\r\n\r\nok",
    ] {
        let mut client = Client::connect(proxy.address);
        client.send(get("/v1/x"));
        let (mut first, _) = upstream.accept_request();
        first.send(answer);
        drop(first);
        let response = client.response("GET");
        assert_eq!(response.head.status(), 502, "{answer:?}");
        assert_eq!(response.head.field("clearspan-error"), Some("bad_response"), "{answer:?}");
    }
}

#[test]
fn what_a_lax_upstream_writes_goes_on_strict() {
    let upstream = Origin::bind();
    let proxy = Proxy::before(&upstream.url());
    for (fields, shown) in [
        ("Content-Length: 2\r\nContent-Length: 2\r\n", Framing::Length(2)),
        ("A: b\r\n c\r\nContent-Length: 2\r\n", Framing::Length(2)),
        ("A : b\r\nContent-Length: 2\r\n", Framing::Length(2)),
        ("A: b\nContent-Length: 2\n", Framing::Length(2)),
    ] {
        let mut client = Client::connect(proxy.address);
        client.send(get("/v1/x"));
        let (mut first, _) = upstream.accept_request();
        first.send(format!("HTTP/1.1 200 OK\r\n{fields}\r\nok"));
        drop(first);
        let response = client.response("GET");
        assert_plain(&response.head);
        assert_eq!(response.head.all("content-length").count(), 1, "{fields:?}");
        assert_eq!((response.body.framing, response.text().as_str()), (shown, "ok"), "{fields:?}");
    }
}

#[test]
fn an_answer_nobody_asked_for_is_nobodys() {
    let upstream = Origin::bind();
    let proxy = Proxy::before(&upstream.url());
    let mut client = Client::connect(proxy.address);
    client.send(get("/v1/x"));
    let (mut first, _) = upstream.accept_request();
    first.send(OK);
    assert_eq!(client.response("GET").text(), "ok");
    // On the idle connection, as some servers tell of a timeout before they close.
    first.send(POISON);
    first.wire.until_ended();
    client.send(get("/v1/x"));
    let (mut second, _) = upstream.accept_request();
    second.send(OK);
    assert_eq!(client.response("GET").text(), "ok");
}

#[test]
fn interim_answers_do_not_stand_for_the_final_one() {
    let upstream = Origin::bind();
    let proxy = Proxy::before(&upstream.url());
    let mut client = Client::connect(proxy.address);
    client.send(get("/v1/x"));
    let (mut first, _) = upstream.accept_request();
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
    first.send(interim.repeat(50));
    first.send(OK);
    assert_eq!(client.response("GET").text(), "ok");
}

#[test]
fn a_switch_of_protocols_that_nobody_wished_for_is_not_one() {
    let upstream = Origin::bind();
    let proxy = Proxy::before(&upstream.url());
    let mut client = Client::connect(proxy.address);
    client.send(get("/v1/x"));
    let (mut first, _) = upstream.accept_request();
    first.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nraw");
    drop(first);
    let head = client.wire.try_head();
    assert!(head.is_some_and(|head| head.status() == 502));
}

#[test]
fn fields_of_a_connection_cannot_be_named_away() {
    // `Connection: host` and the like would leave the upstream with another request than the client's.
    let keys = "paths = [\"/v1/\"]\npropagate = true";
    let upstream_ = Answering::always(OK);
    let proxy = Start::new(upstream("openai", &upstream_.url(), keys)).start();
    let named = "Connection: close, host, content-length, traceparent, x-mine\r\n";
    let mut client = Client::connect(proxy.address);
    client.send(format!(
        "POST /v1/x HTTP/1.1\r\nHost: x\r\n{named}X-Mine: 1\r\nContent-Length: 2\r\n\r\n{{}}"
    ));
    assert_eq!(client.response("POST").head.status(), 200);
    let request = upstream_.request();
    assert_eq!(request.body.bytes, b"{}");
    assert_eq!(request.head.all("host").count(), 1);
    assert_eq!(request.head.all("traceparent").count(), 1);
    assert_eq!(request.head.field("x-mine"), None);
}

#[test]
fn floods_of_fields_are_refused_and_the_proxy_serves_on() {
    let upstream = Answering::always(OK);
    let proxy = Proxy::before(&upstream.url());
    let floods = [
        "X-A: b\r\n".repeat(10_000),
        (0..10_000).map(|at| format!("X-{at}: b\r\n")).collect(),
        format!("X-Long: {}\r\n", "x".repeat(1 << 20)),
        format!("{}: y\r\n", "x".repeat(1 << 20)),
    ];
    for flood in floods {
        let mut client = Client::connect(proxy.address);
        client.wire.try_send(format!("GET /v1/x HTTP/1.1\r\nHost: x\r\n{flood}\r\n"));
        // A reset may overtake the answer, since the rest of the head is never read.
        client.wire.until_ended();
        let seen = text(&client.wire.seen);
        assert!(seen.is_empty() || seen.starts_with("HTTP/1.1 431 "), "{seen:?}");
        assert_eq!(exchange(proxy.address, get("/v1/last")).head.status(), 200);
        assert_eq!(upstream.requests().len(), 1);
    }
    let mut client = Client::connect(proxy.address);
    client.wire.try_send(format!("GET /v1/{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(100_000)));
    client.wire.until_ended();
    assert_eq!(upstream.requests().len(), 0, "a target of 100 kB");
}

#[test]
fn chunk_by_chunk_a_flood_of_extensions_ends() {
    let upstream = Origin::bind();
    let proxy = Proxy::before(&upstream.url());
    let mut client = Client::connect(proxy.address);
    client.send("POST /v1/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    let long = format!("1;{}\r\nx\r\n", "a=b;".repeat(1000));
    let mut sent = 0;
    while client.wire.try_send(&long) && client.wire.ended.is_none() && sent < 200 {
        sent += 1;
    }
    client.wire.until_ended();
    let seen = text(&client.wire.seen);
    assert!(seen.is_empty() || seen.starts_with("HTTP/1.1 400 "), "{seen:?}");
}
