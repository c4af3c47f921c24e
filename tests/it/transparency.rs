//! Both sides see what the other sent: every byte of bodies, and of heads all but what the program
//! declares (`support::compare`). Knows no provider: a body is bytes here.

use crate::support::client::{Client, exchange, get, post, post_with};
use crate::support::fixture::{Fixture, fixtures};
use crate::support::origin::{Answer, Answering, Origin, Request};
use crate::support::proxy::{Proxy, Start, upstream};
use crate::support::stage::{OK, Stage};
use crate::support::wire::{Framing, Head, chunk, chunked};

/// Bytes that look like nothing, the same in every run.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(count).collect()
}

fn answer(head: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn chunked_answer(fields: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\n{fields}Transfer-Encoding: chunked\r\n\r\n");
    [head.as_bytes(), &chunked(body, 3)].concat()
}

#[test]
fn names_keep_their_case_their_order_and_every_duplicate() {
    let stage = Stage::new();
    let request = "POST /v1/chat/completions HTTP/1.1\r\nx-first: 1\r\nHost: localhost\r\n\
                   X-Dup: a\r\nAUTHORIZATION: Bearer sk-x\r\nX-dup: b\r\nCookie: a=1\r\n\
                   cookie: b=2\r\nx-empty:\r\nX-Dup: a\r\nContent-Length: 2\r\nZ: last\r\n\r\n{}";
    let response = "HTTP/1.1 200 OK\r\nSeRvEr: odd\r\nset-cookie: a=1\r\nVary: Origin\r\n\
                    Set-Cookie: b=2\r\nVary: Accept\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
                    X-Bytes: caf\u{e9}\r\nContent-Length: 2\r\nx-last: 1\r\n\r\nok";
    let response: Vec<u8> = response.chars().map(|it| it as u8).collect();
    stage.check(request, response);
}

#[test]
fn nothing_is_added_to_what_has_nothing() {
    let stage = Stage::new();
    let (request, response) = stage.check("GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n", OK);
    assert_eq!(request.head.fields.len(), 1, "{:?}", request.head);
    assert_eq!(response.head.fields.len(), 1, "{:?}", response.head);
    stage.check("POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", OK);
    stage.check("DELETE /v1/x HTTP/1.1\r\nHost: x\r\n\r\n", OK);
}

#[test]
fn every_method_status_and_reason_passes() {
    let stage = Stage::new();
    for method in ["GET", "DELETE", "OPTIONS", "PUT", "PATCH", "POST", "PROPFIND", "get"] {
        stage.check(format!("{method} /v1/x HTTP/1.1\r\nHost: x\r\n\r\n"), OK);
    }
    for status in [
        "200 Fine By Me",
        "200 ",
        "201 Created",
        "206 Partial Content",
        "299 What",
        "302 Found",
        "400 Bad Request",
        "401 No",
        "404 Not Found",
        "413 Payload Too Large",
        "429 Slow Down",
        "500 Oh",
        "503 Busy",
        "529 Site is overloaded",
        "599 x",
    ] {
        stage.check(post("/v1/x", "{}"), answer(status, "{\"error\":{}}"));
    }
}

#[test]
fn answers_without_a_body_have_none() {
    let stage = Stage::new();
    let head = "HEAD /v1/x HTTP/1.1\r\nHost: x\r\n\r\n";
    stage.check(head, "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nETag: \"a\"\r\n\r\n");
    stage.check(head, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n");
    stage.check(get("/v1/x"), "HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n");
    stage.check(get("/v1/x"), "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n");
    stage.check(get("/v1/x"), "HTTP/1.1 304 Not Modified\r\nContent-Length: 12\r\n\r\n");
    stage.check(get("/v1/x"), answer("200 OK", ""));
}

#[test]
fn bodies_pass_in_both_framings_both_ways() {
    let stage = Stage::new();
    let body = noise(5000);
    for method in ["POST", "GET", "DELETE", "PUT"] {
        let head = format!("{method} /v1/x HTTP/1.1\r\nHost: x\r\n");
        let counted = format!("{head}Content-Length: {}\r\n\r\n", body.len());
        let chunks = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
        stage.check([counted.as_bytes(), &body].concat(), answer("200 OK", &body));
        stage.check(
            [chunks.as_bytes(), &chunked(&body, 777)].concat(),
            chunked_answer("X-A: 1\r\n", &body),
        );
        stage.check([chunks.as_bytes(), b"0\r\n\r\n"].concat(), chunked_answer("", b""));
    }
}

#[test]
fn an_answer_with_a_length_beside_chunks_is_chunked() {
    for fields in [
        "Content-Length: 9\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 9\r\n",
    ] {
        // A connection that ends behind an answer that promised more must not be leased again.
        let stage = Stage::new();
        let head = format!("HTTP/1.1 200 OK\r\n{fields}X-A: 1\r\n\r\n");
        let answer = [head.as_bytes(), &chunked(b"abc", 2)].concat();
        let (_, response) = stage.check(get("/v1/x"), Answer::closing(answer));
        assert_eq!(response.body.bytes, b"abc");
    }
}

#[test]
fn an_answer_delimited_by_close_stays_so() {
    for version in ["HTTP/1.1", "HTTP/1.0"] {
        let stage = Stage::new();
        let head = format!("{version} 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
        let bytes = [head.as_bytes(), b"data: 1\n\n"].concat();
        let (_, response) = stage.check(get("/v1/x"), Answer::closing(bytes));
        assert_eq!(response.body.framing, Framing::Close);
    }
    let stage = Stage::new();
    let counted = "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok";
    stage.check(get("/v1/x"), Answer::closing(counted));
}

#[test]
fn a_client_of_http_1_0_is_served() {
    let stage = Stage::new();
    let plain = "GET /v1/x HTTP/1.0\r\nX-A: 1\r\n\r\n";
    let (_, response) = stage.check(plain, OK);
    assert!(response.head.start.starts_with("HTTP/1.0 "), "{:?}", response.head);
    let (_, response) = stage.check(plain, chunked_answer("", b"abcdef"));
    assert_eq!(response.body.framing, Framing::Close);
    let posted = "POST /v1/x HTTP/1.0\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";
    stage.check(posted, OK);
}

#[test]
fn announced_trailers_pass_both_ways_to_those_who_want_them() {
    let stage = Stage::new();
    let answer = "HTTP/1.1 200 OK\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n\
                  3\r\nabc\r\n0\r\nx-sum: 3\r\n\r\n";
    let asking = "GET /v1/x HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nConnection: TE\r\n\r\n";
    let (_, response) = stage.check(asking, answer);
    assert_eq!(response.body.trailers, [("x-sum".to_owned(), "3".to_owned())]);
    let (_, response) = stage.check(get("/v1/x"), answer);
    assert_eq!(response.body.trailers, []);
    let request = "POST /v1/x HTTP/1.1\r\nHost: x\r\nTrailer: x-sum\r\n\
                   Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 3\r\n\r\n";
    stage.check(request, OK);
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it() {
    let stage = Stage::new();
    let mut client = Client::connect(stage.proxy.address);
    let head =
        "POST /v1/x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    client.send(head);
    assert_eq!(client.wire.head().start, "HTTP/1.1 100 Continue");
    client.send("{}");
    assert_eq!(client.response("POST").body.bytes, b"ok");
    let request = stage.upstream.request();
    assert_eq!(request.body.bytes, b"{}");
    assert_eq!(request.head.field("expect"), Some("100-continue"));
}

#[test]
fn without_an_upstream_nobody_is_told_to_continue() {
    let stage = Stage::new();
    let mut client = Client::connect(stage.proxy.address);
    client.send(
        "POST /nowhere HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\
                 Content-Length: 2\r\n\r\n",
    );
    assert_eq!(client.wire.head().status(), 404);
}

#[test]
fn a_final_answer_before_the_body_is_relayed() {
    let origin = Origin::bind();
    let proxy = Proxy::before(&origin.url());
    let mut client = Client::connect(proxy.address);
    client.send("POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nbegin");
    let mut upstream = origin.accept();
    upstream.wire.head();
    upstream.send("HTTP/1.1 413 Too Much\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
    let response = client.response("POST");
    assert_eq!(response.head.start, "HTTP/1.1 413 Too Much");
    assert_eq!(response.body.bytes, b"no");
}

#[test]
fn heads_of_200_fields_pass_both_ways() {
    let stage = Stage::new();
    let fields: String = (0..200).map(|at| format!("X-Field-{at}: value {at}\r\n")).collect();
    let request = format!("GET /v1/x HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
    let answer = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok");
    stage.check(request, answer);
    let long = "x".repeat(60_000);
    stage.check(
        format!("GET /v1/x HTTP/1.1\r\nHost: x\r\nX-Long: {long}\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\nX-Long: {long}\r\nContent-Length: 2\r\n\r\nok"),
    );
}

#[test]
fn targets_are_forwarded_as_written() {
    let stage = Stage::new();
    for target in [
        "/v1",
        "/v1/",
        "/v1/models?",
        "/v1/models?a=1&b=%2F%2f&&c==;&a=1",
        "/v1/x?q=[x]{y}|z^'~:@!$,/?%%%zz",
        "/v1//double//slashes",
        "/v1/%2F%2f%41/%zz;v=1",
        "/v1/models/ft:gpt-4o:org::id",
        "/v1/a+b,c=d&e@f!'()*~_-.",
        "/v1/x?key=a#fragment",
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        let seen = target.split('#').next().unwrap();
        stage.check_as(seen, &[request.as_bytes()], OK);
    }
}

#[test]
fn a_target_in_absolute_form_becomes_a_path() {
    let stage = Stage::new();
    let request = "GET http://somewhere.example/v1/models?a=1 HTTP/1.1\r\nHost: y\r\n\r\n";
    stage.check_as("/v1/models?a=1", &[request.as_bytes()], OK);
}

#[test]
fn an_own_listener_sends_every_path_to_its_upstream() {
    let answering = Answering::always(OK);
    let keys = "listen = \"127.0.0.1:0\"";
    let proxy = Start::new(upstream("ollama", &answering.url(), keys)).start();
    for target in ["/", "/api/chat", "/v1/x/../y", "//double//slashes", "/%2e%2e/x"] {
        let response = exchange(proxy.own("ollama"), get(target));
        assert_eq!(response.head.status(), 200, "{target}");
        assert_eq!(answering.request().head.target(), target);
    }
    let options = "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(exchange(proxy.own("ollama"), options).head.status(), 200);
    assert_eq!(answering.request().head.start, "OPTIONS * HTTP/1.1");
}

#[test]
fn mounts_come_off_and_base_paths_go_in_front() {
    let answering = Answering::always(OK);
    let url = format!("{}/base/path/", answering.url());
    let keys = "paths = [\"/v1/\"]\nmount = \"/here\"";
    let proxy = Start::new(upstream("openai", &url, keys)).start();
    for (target, expected) in [
        ("/v1/models?a=1", "/base/path/v1/models?a=1"),
        ("/here/v1/models?a=%20", "/base/path/v1/models?a=%20"),
        ("/here/other//x", "/base/path/other//x"),
    ] {
        assert_eq!(exchange(proxy.address, get(target)).body.bytes, b"ok", "{target}");
        assert_eq!(answering.request().head.target(), expected);
    }
}

#[test]
fn traceparent_is_ours_only_where_we_propagate() {
    let theirs = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = format!(
        "GET /v1/x HTTP/1.1\r\nHost: x\r\ntraceparent: {theirs}\r\n\
                           tracestate: a=b\r\nbaggage: c=d\r\nX-A: 1\r\n\r\n"
    );
    let (seen, _) = Stage::new().check(&request, OK);
    assert_eq!(seen.head.field("traceparent"), Some(theirs));
    let propagating = Stage::with("paths = [\"/v1/\"]\npropagate = true");
    let (seen, _) = propagating.check(&request, OK);
    let ours = seen.head.field("traceparent").unwrap().to_owned();
    assert_eq!(&ours[..36], &theirs[..36], "the client's trace goes on");
    assert_ne!(&ours[36..52], &theirs[36..52], "our span is the parent");
    assert_eq!(&ours[52..], "-01");
    let (seen, _) = propagating.check(get("/v1/x"), OK);
    assert_eq!(seen.head.field("traceparent").map(str::len), Some(55));
}

#[test]
fn a_connection_serves_one_request_after_the_other() {
    let stage = Stage::new();
    let mut client = Client::connect(stage.proxy.address);
    for number in 0..5 {
        client.send(post("/v1/x", format!("{{\"n\":{number}}}")));
        assert_eq!(client.response("POST").body.bytes, b"ok");
        assert_eq!(stage.upstream.request().body.bytes, format!("{{\"n\":{number}}}").as_bytes());
    }
    client.send([get("/v1/a"), get("/v1/b")].concat());
    for target in ["/v1/a", "/v1/b"] {
        assert_eq!(client.response("GET").body.bytes, b"ok");
        assert_eq!(stage.upstream.request().head.target(), target);
    }
    assert_eq!(stage.upstream.connections(), 1, "and so does ours to the upstream");
}

#[test]
fn a_request_is_the_same_wherever_its_writes_are_cut() {
    let stage = Stage::new();
    let counted = post_with("/v1/x?a=1", "X-A: 1\r\n", "{\"a\":[1,2]}");
    let head = b"POST /v1/x?a=1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunks = [&head[..], &chunk(b"{\"a\":"), &chunk(b"[1,2]}"), b"0\r\n\r\n"].concat();
    for request in [counted, chunks] {
        for cut in 1..request.len() {
            let (before, after) = request.split_at(cut);
            stage.check_as("/v1/x?a=1", &[before, after], OK);
        }
    }
}

#[test]
fn an_answer_is_the_same_wherever_its_writes_are_cut() {
    let stage = Stage::new();
    let stream = b"data: {\"a\":1}\n\ndata: [DONE]\n\n";
    let fields = "Content-Type: text/event-stream\r\n";
    let close = [format!("HTTP/1.1 200 OK\r\n{fields}\r\n").as_bytes(), stream].concat();
    for (bytes, close) in [
        (answer("200 OK\r\nX-A: 1", stream), false),
        (chunked_answer(fields, stream), false),
        (close, true),
    ] {
        for cut in 1..bytes.len() {
            let (before, after) = bytes.split_at(cut);
            let parts = vec![before.to_vec(), after.to_vec()];
            stage.check(get("/v1/x"), Answer { parts, close });
        }
    }
}

#[test]
fn megabytes_pass_unchanged_both_ways() {
    let stage = Stage::new();
    let body = noise(8 << 20);
    let fields = "Content-Type: application/octet-stream\r\n";
    stage.check(post_with("/v1/x", fields, &body), answer("200 OK", &body));
    let head = b"POST /v1/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let head_back = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunks = chunked(&body, 100_000);
    stage.check([&head[..], &chunks].concat(), [&head_back[..], &chunks].concat());
    let close = [b"HTTP/1.1 200 OK\r\n\r\n", &body[..]].concat();
    stage.check(get("/v1/x"), Answer::closing(close));
}

#[test]
fn encoded_bodies_are_not_touched() {
    let stage = Stage::new();
    for encoding in ["gzip", "br", "zstd", "x-unknown", "gzip, br"] {
        let fields = format!("Content-Encoding: {encoding}\r\n");
        let answer = format!("200 OK\r\nContent-Type: application/json\r\n{}", fields.trim());
        let sent = post_with("/v1/chat/completions", &fields, noise(300));
        stage.check(sent, self::answer(&answer, noise(400)));
    }
}

/// A message of these lines and this body, in one framing or the other.
fn framed(start: &str, fields: &[(String, String)], body: &[u8], is_chunked: bool) -> Vec<u8> {
    let mut head = format!("{start}\r\n");
    for (name, value) in fields.iter().filter(|(name, _)| name != "content-length") {
        head += &format!("{name}: {value}\r\n");
    }
    if is_chunked {
        head += "Transfer-Encoding: chunked\r\n\r\n";
        return [head.as_bytes(), &chunked(body, 100)].concat();
    }
    head += &format!("Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

#[test]
fn every_fixture_passes_in_both_framings() {
    let stage = Stage::own();
    let mut passed = 0;
    for Fixture { request, response, .. } in fixtures() {
        // What has no body stands in tests of its own.
        let bodiless = request.method == "HEAD";
        let Some(response) = response.filter(|it| !bodiless && it.status != 204) else { continue };
        let asked = format!("{} {} HTTP/1.1\r\nHost: x", request.method, request.target);
        let answered = format!("HTTP/1.1 {} {}", response.status, response.reason);
        for is_chunked in [false, true] {
            let asked = framed(&asked, &request.headers, &request.body, is_chunked);
            stage.check(asked, framed(&answered, &response.headers, &response.body, is_chunked));
        }
        passed += 1;
    }
    assert!(passed >= 50, "{passed}");
}

/// Shapes on which two HTTP parsers may disagree about where a request ends.
const AMBIGUOUS: &[&str] = &[
    "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "Content-Length: 65\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "X: y\0Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Content-Length: 5, 5\r\n\r\nhello",
    "Content-Length: 5\r\nContent-Length: 0\r\n\r\nhello",
    "Content-Length: 0\r\nContent-Length: 5\r\n\r\nhello",
    "Content-Length: +5\r\n\r\nhello",
    "Content-Length: -5\r\n\r\nhello",
    "Content-Length: 0x5\r\n\r\nhello",
    "Content-Length: 5 0\r\n\r\nhello",
    "Content-Length: 99999999999999999999999\r\n\r\nhello",
    "Content-Length:\r\n\r\nhello",
    "Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff0\r\nx\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n1;a=\"\n\"\r\nx\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n",
];

/// Shapes that are odd, but end where they end; a second request may follow on the connection.
const ODD: &[&str] = &[
    "Host: other\r\n\r\n",
    "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "Connection: content-length\r\nContent-Length: 5\r\n\r\nhello",
    "Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Connection: host\r\n\r\n",
    // RFC 9112 2.2 lets LF alone end a line; what goes on has CRLF.
    "X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
];

#[test]
fn the_upstream_receives_one_unambiguous_request_or_none() {
    let upstream_ = Answering::always(OK);
    // A client that ends the connection itself would be taken to leave: the proxy ends it.
    let limits =
        "[limits]\nheader_seconds = 0.2\nclient_idle_seconds = 0.2\nclient_stall_seconds = 0.2\n";
    let config = upstream("openai", &upstream_.url(), "paths = [\"/v1/\"]");
    let proxy = Start::new(config + limits).start();
    let shapes = [(AMBIGUOUS, 1), (ODD, 2)];
    let shapes = shapes.iter().flat_map(|(shapes, most)| shapes.iter().map(move |it| (it, *most)));
    let versions = ["HTTP/1.1", "HTTP/1.0"];
    let cases: Vec<_> =
        versions.iter().flat_map(|it| shapes.clone().map(move |case| (it, case))).collect();
    for (number, (version, (shape, _))) in cases.iter().enumerate() {
        smuggle(&proxy, number, version, shape);
    }
    proxy.wait_for_metric("nothing runs", |metrics| {
        metrics.sum("clearspan_requests_active", &[]) == 0.0
    });
    // What came before this has arrived by now.
    assert_eq!(exchange(proxy.address, get("/v1/last")).head.status(), 200);
    let requests = upstream_.requests();
    let faults = cases.iter().enumerate().filter_map(|(number, (version, (shape, most)))| {
        let of_case = |request: &&Request| request.head.target().ends_with(&format!("/{number}"));
        let heads: Vec<_> = requests.iter().filter(of_case).map(|request| &request.head).collect();
        let good = heads.len() <= *most && heads.iter().all(|head| is_unambiguous(head));
        (!good).then(|| format!("{version} {shape:?} became {heads:?}"))
    });
    let faults: Vec<_> = faults.collect();
    assert!(faults.is_empty(), "{faults:#?}");
    let told = |request: &Request| request.head.target().starts_with("/v1/");
    assert!(requests.iter().all(told), "{requests:?}");
}

/// Sends a request in this shape, and another that hides behind it; both name their case.
fn smuggle(proxy: &Proxy, number: usize, version: &str, shape: &str) {
    let hidden = format!("GET /v1/hidden/{number} HTTP/1.1\r\nHost: x\r\nX-Key: stolen\r\n\r\n");
    let mut client = Client::connect(proxy.address);
    client.send(format!("POST /v1/first/{number} {version}\r\nHost: x\r\n{shape}{hidden}"));
    client.wire.until_ended();
}

/// One length or one coding, one host, and no field that another parser could read as two.
fn is_unambiguous(head: &Head) -> bool {
    let lengths = head.all("content-length").count();
    let codings: Vec<_> = head.all("transfer-encoding").collect();
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let is_plain = |(name, value): &(String, String)| {
        name.bytes().all(is_token) && !value.contains(['\r', '\n', '\0'])
    };
    lengths + codings.len() <= 1
        && codings.iter().all(|it| it.ends_with("chunked") && it.matches("chunked").count() == 1)
        && head.all("host").count() == 1
        && head.fields.iter().all(is_plain)
}
