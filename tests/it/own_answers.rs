//! Answers of our own: few, said to be ours, readable by the SDK that asked, and never in place of
//! an upstream's. Knows the reasons and the shapes; what upstreams answer is `transparency`'s.

use serde_json::Value;

use crate::support::client::{Client, Response, exchange, get, post, post_with};
use crate::support::origin::{Answering, Nobody, Origin};
use crate::support::proxy::{Proxy, Start, upstream};
use crate::support::stage::OK;

/// Asserts that `response` is ours for this reason.
fn assert_ours(response: &Response, status: u16, reason: &str) {
    assert_eq!(response.head.status(), status, "{:?}", response.text());
    assert_eq!(response.head.field("clearspan-error"), Some(reason));
    assert_eq!(response.head.field("content-type"), Some("application/json"));
    assert!(response.body.complete);
}

fn message<'a>(body: &'a Value, pointer: &str) -> &'a str {
    body.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer} in {body}"))
}

#[test]
fn a_path_that_addresses_nobody_gets_the_list_of_those_it_can() {
    let answering = Answering::always(OK);
    let proxy = Start::new(
        upstream("openai", &answering.url(), "paths = [\"/v1/\"]\nmount = \"/openai\"")
            + &upstream("ollama", &answering.url(), "paths = [\"/api/\"]\nmount = \"/ollama\""),
    )
    .start();
    let response = exchange(proxy.address, get("/v2/models?key=sk-secret"));
    assert_ours(&response, 404, "no_route");
    let body = response.json();
    let said = message(&body, "/error/message");
    for place in ["/v1/", "/openai/", "/api/", "/ollama/"] {
        assert!(said.contains(place), "{place} in {said}");
    }
    assert!(!response.text().contains("sk-secret"));
    assert_eq!(message(&body, "/error/code"), "no_route");
    assert_eq!(answering.requests().len(), 0);
}

#[test]
fn paths_that_climb_are_not_forwarded() {
    let answering = Answering::always(OK);
    let proxy = Proxy::before(&answering.url());
    for path in ["/v1/../admin", "/v1/./x", "/v1/%2e%2e/x", "/v1/.%2E", "/v1/x/..", "/../v1/x"] {
        assert_ours(&exchange(proxy.address, get(path)), 404, "no_route");
    }
    let response = exchange(proxy.address, "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(response.head.status(), 404);
    assert_eq!(answering.requests().len(), 0);
}

#[test]
fn an_upstream_that_cannot_be_reached_is_a_502_with_its_reason() {
    let nobody = Nobody::bind();
    let refused = Proxy::before(&nobody.url());
    let response = exchange(refused.address, post("/v1/chat/completions", "{}"));
    assert_ours(&response, 502, "connection_refused");
    let unnamed = Proxy::before("http://nobody.invalid:80");
    let response = exchange(unnamed.address, post("/v1/chat/completions", "{}"));
    assert_ours(&response, 502, "name_not_resolved");
}

#[test]
fn an_upstream_that_breaks_before_its_answer_is_a_502() {
    let origin = Origin::bind();
    let proxy = Proxy::before(&origin.url());
    for (answer, reset, reason) in [
        ("", false, "connection_broken"),
        ("", true, "connection_broken"),
        ("HTTP/1.1 200 OK\r\nContent-", false, "connection_broken"),
        ("this is not HTTP\r\n\r\n", false, "bad_response"),
    ] {
        let mut client = Client::connect(proxy.address);
        client.send(post("/v1/chat/completions", "{}"));
        let (mut upstream, _) = origin.accept_request();
        upstream.send(answer);
        if reset {
            upstream.wire.reset()
        } else {
            drop(upstream)
        }
        assert_ours(&client.response("POST"), 502, reason);
    }
    assert_eq!(origin.connections(), 4, "what reached the upstream is not sent again");
}

#[test]
fn our_errors_have_the_shape_that_the_providers_sdk_reads() {
    let nobody = Nobody::bind();
    let keys = |name: &str| format!("mount = \"/{name}\"");
    let names = ["openai", "anthropic", "gemini", "ollama", "vllm"];
    let config = names.map(|name| upstream(name, &nobody.url(), &keys(name))).concat();
    let proxy = Start::new(config).start();
    let ask = |name: &str| {
        let response = exchange(proxy.address, post(&format!("/{name}/v1/x"), "{}"));
        assert_ours(&response, 502, "connection_refused");
        response.json()
    };
    for name in ["openai", "vllm"] {
        let body = ask(name);
        assert!(message(&body, "/error/message").starts_with("clearspan: "));
        assert_eq!(message(&body, "/error/code"), "connection_refused");
        assert!(body.pointer("/error/type").is_some_and(Value::is_string), "{body}");
        assert!(body["error"].as_object().unwrap().contains_key("param"), "{body}");
    }
    let body = ask("anthropic");
    assert_eq!(body["type"], "error");
    assert!(message(&body, "/error/message").starts_with("clearspan: "));
    assert!(body.pointer("/error/type").is_some_and(Value::is_string), "{body}");
    assert!(message(&ask("ollama"), "/error").starts_with("clearspan: "));
    assert!(message(&ask("gemini"), "/error/message").starts_with("clearspan: "));
}

#[test]
fn above_max_exchanges_a_client_is_told_to_come_back() {
    let origin = Origin::bind();
    let config = upstream("openai", &origin.url(), "paths = [\"/v1/\"]");
    let proxy = Start::new(config + "[limits]\nmax_exchanges = 1\n").start();
    let mut first = Client::connect(proxy.address);
    first.send(get("/v1/first"));
    let (mut at_work, _) = origin.accept_request();
    let refused = exchange(proxy.address, get("/v1/second"));
    assert_ours(&refused, 503, "busy");
    let again: u32 = refused.head.field("retry-after").expect("Retry-After").parse().unwrap();
    assert!(again >= 1);
    at_work.send(OK);
    assert_eq!(first.response("GET").body.bytes, b"ok");
    let mut third = Client::connect(proxy.address);
    third.send(get("/v1/third"));
    at_work.request().expect("the place is free again");
    at_work.send(OK);
    assert_eq!(third.response("GET").body.bytes, b"ok");
}

#[test]
fn the_proxy_does_not_call_itself() {
    let config = |host: &str| {
        let port = Nobody::bind().address.port();
        let url = format!("http://{host}:{port}");
        format!("[server]\nlisten = \"127.0.0.1:{port}\"\nadmin = \"127.0.0.1:0\"\n")
            + &upstream("openai", &url, "paths = [\"/v1/\"]")
    };
    let (status, printed) = Start::new(config("127.0.0.1")).fail();
    assert_eq!(status.code(), Some(78), "{printed}");
    assert!(printed.contains("itself"), "{printed}");
    // Which addresses a name has is only known when connecting.
    let proxy = Start::new(config("localhost")).start();
    assert_ours(&exchange(proxy.address, get("/v1/models")), 508, "loop");
}

#[test]
fn a_browser_can_read_our_errors() {
    let nobody = Nobody::bind();
    let proxy = Proxy::before(&nobody.url());
    for (path, status) in [("/v1/x", 502), ("/nowhere", 404)] {
        let request = post_with(path, "Origin: http://app.example\r\n", "{}");
        let response = exchange(proxy.address, request);
        assert_eq!(response.head.status(), status);
        let allowed = response.head.field("access-control-allow-origin");
        assert_eq!(allowed, Some("http://app.example"));
        assert_eq!(response.head.field("vary"), Some("Origin"));
    }
    let plain = exchange(proxy.address, get("/nowhere"));
    assert_eq!(plain.head.field("access-control-allow-origin"), None);
}

#[test]
fn our_answer_to_head_has_no_body_and_the_connection_goes_on() {
    let answering = Answering::always(OK);
    let proxy = Proxy::before(&answering.url());
    let mut client = Client::connect(proxy.address);
    client.send("HEAD /nowhere HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.response("HEAD").head.status(), 404);
    client.send(get("/nowhere"));
    assert_ours(&client.response("GET"), 404, "no_route");
    client.send(get("/v1/models"));
    assert_eq!(client.response("GET").body.bytes, b"ok");
}

/// An upstream that says which it is.
fn named(name: &'static str) -> Answering {
    Answering::with(move |_| {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len())
    })
}

#[test]
fn a_request_goes_to_nobody_but_the_provider_it_was_addressed_to() {
    let [openai, anthropic, gemini, ollama] =
        ["openai", "anthropic", "gemini", "ollama"].map(named);
    let config = [
        "[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nroot = \"ollama\"\n".into(),
        upstream("openai", &openai.url(), "paths = [\"/v1/\"]\nmount = \"/openai\""),
        upstream("anthropic", &anthropic.url(), "paths = [\"/v1/messages\", \"/v1/complete\"]"),
        upstream("gemini", &gemini.url(), "paths = [\"/v1beta/\"]"),
        upstream("ollama", &ollama.url(), "paths = [\"/api/\"]\nmount = \"/ollama\""),
    ]
    .concat();
    let proxy = Start::new(config).start();
    let anthropics = "anthropic-version: 2023-06-01\r\n";
    let googles = "x-goog-api-key: AIza\r\n";
    for (path, fields, whose) in [
        ("/v1/chat/completions", "", "openai"),
        ("/v1/models", "", "openai"),
        ("/v1/models", anthropics, "anthropic"),
        ("/v1/messages", "", "anthropic"),
        ("/v1/messages/count_tokens?beta=true", anthropics, "anthropic"),
        ("/v1/messagesx", "", "openai"),
        ("/v1beta/models/x:generateContent", "", "gemini"),
        ("/v1/models/x:generateContent", googles, "gemini"),
        ("/v1/models/x:generateContent?alt=sse&key=AIza", "", "gemini"),
        ("/ws/google.ai.generativelanguage?key=AIza", "", "gemini"),
        ("/v1/models?key=1", "Authorization: Bearer sk-1\r\n", "openai"),
        ("/gemini/v1/models?key=AIza", "", "gemini"),
        ("/elsewhere", googles, "gemini"),
        ("/elsewhere", anthropics, "anthropic"),
        ("/api/chat", "", "ollama"),
        ("/ollama/v1/chat/completions", "", "ollama"),
        ("/openai/v1/models", anthropics, "openai"),
    ] {
        let response = exchange(proxy.address, post_with(path, fields, "{}"));
        assert_eq!(response.text(), whose, "{path} {fields}");
    }
    assert_eq!(exchange(proxy.address, get("/")).text(), "ollama");
    for path in ["/v1x", "/openaix/v1/models", "/v1betax/models", "//v1/models"] {
        assert_ours(&exchange(proxy.address, get(path)), 404, "no_route");
    }
    assert_ours(&exchange(proxy.address, post("/", "{}")), 404, "no_route");
}

#[test]
fn what_bears_a_marker_of_a_provider_that_is_not_there_is_only_sent_by_its_path() {
    let openai = named("openai");
    let proxy = Proxy::before(&openai.url());
    let request = post_with("/elsewhere", "anthropic-version: 2023-06-01\r\n", "{}");
    assert_ours(&exchange(proxy.address, request), 404, "no_route");
}

#[test]
fn a_preflight_is_the_upstreams_to_answer() {
    let answering =
        Answering::always("HTTP/1.1 204 No Content\r\nAccess-Control-Allow-Origin: *\r\n\r\n");
    let proxy = Proxy::before(&answering.url());
    let request = "OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: x\r\nOrigin: http://a\r\n\
                   Access-Control-Request-Method: POST\r\n\r\n";
    let response = exchange(proxy.address, request);
    assert_eq!(response.head.status(), 204);
    assert_eq!(response.head.field("access-control-allow-origin"), Some("*"));
}
