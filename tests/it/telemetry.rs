//! What is reported of each exchange, value by value, read back from a collector and from
//! `/metrics`. Knows the names of the conventions and our own; a time is only known to be there.

use serde_json::{Map, Value, json};

use crate::support::client::{Client, get, post, post_with};
use crate::support::collector::{Collector, Mode, Received};
use crate::support::origin::{Connection, Nobody, Origin};
use crate::support::proxy::{Proxy, Start, export, upstream};
use crate::support::signals::Span;
use crate::support::wire::chunk;

/// Attributes whose values are times, prices' dates, or ports that the system chose.
const VARYING: &[&str] = &[
    "gen_ai.response.time_to_first_chunk",
    "clearspan.time_to_first_chunk",
    "clearspan.chunk_gap.longest",
    "clearspan.overhead",
    "clearspan.cost.dated",
    "server.port",
];

/// A proxy between a client and an upstream that the test plays, and a collector behind it.
struct Scene {
    provider: &'static str,
    origin: Origin,
    collector: Collector,
    proxy: Proxy,
}

impl Scene {
    /// With an upstream of this provider, on a listener of its own.
    fn of(provider: &'static str) -> Self {
        Self::with(provider, "")
    }

    fn with(provider: &'static str, config: &str) -> Self {
        let (origin, collector) = (Origin::bind(), Collector::start(Mode::Well));
        let proxy = Start::new(
            upstream(provider, &origin.url(), "listen = \"127.0.0.1:0\"")
                + &export(collector.endpoint())
                + config,
        )
        .start();
        Self { provider, origin, collector, proxy }
    }

    /// A client whose request reached the upstream.
    fn ask(&self, request: impl AsRef<[u8]>) -> (Client, Connection) {
        let mut client = Client::connect(self.proxy.own(self.provider));
        client.send(request);
        let (upstream, _) = self.origin.accept_request();
        (client, upstream)
    }

    /// A whole exchange.
    fn exchange(&self, request: impl AsRef<[u8]>, answer: impl AsRef<[u8]>) {
        let method = request.as_ref().split(|&byte| byte == b' ').next().unwrap().to_vec();
        let (mut client, mut upstream) = self.ask(request);
        upstream.send(answer);
        drop(upstream);
        client.response(&crate::support::wire::text(&method));
    }

    /// Ends the proxy, so that everything is flushed, and gives what was reported.
    fn told(self) -> Told {
        self.proxy.finish();
        Told(self.collector.received())
    }
}

/// What was reported.
struct Told(Received);

impl Told {
    /// The only span of this kind.
    fn span(&self, kind: &str) -> &Span {
        let spans = self.0.of_kind(kind);
        assert_eq!(spans.len(), 1, "{kind} spans: {spans:#?}");
        spans[0]
    }

    /// Asserts what both spans say, and that they belong together.
    fn assert_spans(&self, server: Value, client: Value) {
        let (outer, inner) = (self.span("SERVER"), self.span("CLIENT"));
        assert_span(outer, server);
        assert_span(inner, client);
        assert_eq!((&inner.trace, &inner.parent), (&outer.trace, &outer.id));
        assert!(outer.start <= inner.start && inner.end <= outer.end);
        self.assert_log(outer, inner);
    }

    /// One log record for the exchange, in its trace, with the same ending.
    fn assert_log(&self, server: &Span, client: &Span) {
        let [log] = self.0.logs.as_slice() else { panic!("one log record: {:#?}", self.0.logs) };
        assert_eq!(log.event, "clearspan.exchange");
        assert_eq!((&log.trace, &log.span), (&server.trace, &server.id));
        assert_eq!(log.attributes["clearspan.ending"], server.attributes["clearspan.ending"]);
        assert!(log.body.as_str().is_some_and(|line| line.contains(" → ")), "{log:?}");
        assert_eq!(log.resource, server.resource);
        assert_eq!(log.attributes.get("error.type"), client.attributes.get("error.type"));
        let severity = if client.status == "error" { 13..=17 } else { 9..=9 };
        assert!(severity.contains(&log.severity), "{log:?}");
    }

    /// The sum of a metric's points whose attributes hold all of `of`.
    fn sum(&self, metric: &str, of: &[(&str, &str)]) -> f64 {
        self.points(metric, of).map(|(value, _)| value).sum()
    }

    /// How many measurements a histogram holds.
    fn count(&self, metric: &str, of: &[(&str, &str)]) -> u64 {
        self.points(metric, of).map(|(_, count)| count.expect("a histogram")).sum()
    }

    fn points(
        &self,
        metric: &str,
        of: &[(&str, &str)],
    ) -> impl Iterator<Item = (f64, Option<u64>)> {
        let points = self.0.metric(metric);
        let all = points.into_iter().filter(move |point| {
            of.iter().all(|(name, value)| point.attributes.get(*name) == Some(&json!(value)))
        });
        all.map(|point| (point.value, point.count)).collect::<Vec<_>>().into_iter()
    }
}

/// Asserts a span's name, status and every attribute. A varying value is `"…"`.
fn assert_span(span: &Span, expected: Value) {
    let mut seen = Map::new();
    seen.insert("span".into(), json!(format!("{} | {}", span.name, span.status)));
    for (name, value) in &span.attributes {
        if VARYING.contains(&name.as_str()) {
            let is_there = value.as_f64().is_none_or(|number| number >= 0.0);
            assert!(is_there, "{name} is {value}");
            seen.insert(name.clone(), json!("…"));
        } else {
            seen.insert(name.clone(), value.clone());
        }
    }
    let (seen, expected) = (Value::Object(seen), expected);
    let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap();
    assert_eq!(pretty(&seen), pretty(&expected));
}

/// What every SERVER span says, and `more`.
fn server(span: &str, path: &str, status: u16, sizes: [u64; 2], more: Value) -> Value {
    let mut all = json!({
        "span": span,
        "http.request.method": span.split(' ').next().unwrap(),
        "url.path": path,
        "url.scheme": "http",
        "http.response.status_code": status,
        "network.protocol.version": "1.1",
        "client.address": "127.0.0.1",
        "server.address": "127.0.0.1",
        "server.port": "…",
        "http.request.body.size": sizes[0],
        "http.response.body.size": sizes[1],
        "clearspan.ending": "complete",
    });
    extend(&mut all, more);
    all
}

/// What every CLIENT span of a model call says, and `more`.
fn client(span: &str, provider: &str, status: u16, more: Value) -> Value {
    let mut all = json!({
        "span": span,
        "gen_ai.operation.name": span.split(' ').next().unwrap(),
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": span.split(' ').nth(1).unwrap(),
        "server.address": "127.0.0.1",
        "server.port": "…",
        "http.response.status_code": status,
        "clearspan.upstream": provider,
        "clearspan.ending": "complete",
        "clearspan.overhead": "…",
    });
    extend(&mut all, more);
    all
}

fn extend(all: &mut Value, more: Value) {
    let Value::Object(more) = more else { panic!("an object") };
    all.as_object_mut().unwrap().extend(more);
    // Null: what is usual is absent.
    all.as_object_mut().unwrap().retain(|_, value| !value.is_null());
}

/// A 200 answer with a JSON body, as OpenAI sends it.
fn json_answer(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nx-request-id: req_1\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

const STREAM: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A streamed event of OpenAI's chat format; `rest` follows the model.
fn event(rest: &str) -> String {
    format!(
        "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\
         \"model\":\"gpt-4o-mini-2024-07-18\",{rest}}}\n\n"
    )
}

fn delta(delta: &str, finish: &str) -> String {
    event(&format!(
        "\"choices\":[{{\"index\":0,\"delta\":{{{delta}}},\"finish_reason\":{finish}}}]"
    ))
}

/// Events as one chunked body; cut off before the last chunk where it is not `whole`.
fn stream(events: &[String], whole: bool) -> Vec<u8> {
    let mut bytes = STREAM.as_bytes().to_vec();
    events.iter().for_each(|event| bytes.extend(chunk(event.as_bytes())));
    if whole {
        bytes.extend_from_slice(b"0\r\n\r\n");
    }
    bytes
}

fn length(events: &[String]) -> u64 {
    events.iter().map(|event| event.len() as u64).sum()
}

const ASKED: &str = r#"{"model":"gpt-4o-mini","stream":true,"temperature":0.5,"max_tokens":256,"messages":[{"role":"system","content":"be brief"},{"role":"user","content":"hi"}]}"#;
const ASKED_WITH_USAGE: &str = r#"{"model":"gpt-4o-mini","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"hi"}]}"#;
const CHAT: &str = "/v1/chat/completions";

#[test]
fn a_streamed_chat_with_usage() {
    let events = [
        delta("\"role\":\"assistant\",\"content\":\"\"", "null"),
        delta("\"content\":\"Hel\"", "null"),
        delta("\"content\":\"lo\"", "null"),
        delta("", "\"stop\""),
        event(
            "\"choices\":[],\"service_tier\":\"default\",\"system_fingerprint\":\"fp_1\",\
             \"usage\":{\"prompt_tokens\":1200,\"completion_tokens\":310,\"total_tokens\":1510,\
             \"prompt_tokens_details\":{\"cached_tokens\":1024},\
             \"completion_tokens_details\":{\"reasoning_tokens\":64}}",
        ),
        "data: [DONE]\n\n".into(),
    ];
    let scene = Scene::of("openai");
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let fields = format!("User-Agent: OpenAI/Python 3.52.0\r\ntraceparent: {traceparent}\r\n");
    scene.exchange(post_with(CHAT, &fields, ASKED_WITH_USAGE), stream(&events, true));
    let told = scene.told();
    let sizes = [ASKED_WITH_USAGE.len() as u64, length(&events)];
    told.assert_spans(
        server(
            "POST /v1/chat/completions | unset",
            CHAT,
            200,
            sizes,
            json!({"http.route": CHAT, "user_agent.original": "OpenAI/Python 3.52.0"}),
        ),
        client(
            "chat gpt-4o-mini | unset",
            "openai",
            200,
            json!({
                "gen_ai.request.stream": true,
                "clearspan.request.messages": 1,
                "gen_ai.response.id": "chatcmpl-1",
                "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
                "gen_ai.response.finish_reasons": ["stop"],
                "gen_ai.response.time_to_first_chunk": "…",
                "clearspan.time_to_first_chunk": "…",
                "clearspan.chunk_gap.longest": "…",
                "clearspan.chunks": 2,
                "clearspan.stalls": 0,
                "openai.api.type": "chat_completions",
                "openai.response.service_tier": "default",
                "openai.response.system_fingerprint": "fp_1",
                "gen_ai.usage.input_tokens": 1200,
                "gen_ai.usage.output_tokens": 310,
                "gen_ai.usage.cache_read.input_tokens": 1024,
                "gen_ai.usage.reasoning.output_tokens": 64,
                // 176 × 0.15 + 1024 × 0.075 + 310 × 0.60 USD per million.
                "gen_ai.usage.cost": 0.000_289_2,
                "clearspan.cost.basis": "computed",
                "clearspan.cost.entry": "openai/gpt-4o-mini",
                "clearspan.cost.dated": "…",
            }),
        ),
    );
    let span = told.span("SERVER");
    assert_eq!(span.trace, "0af7651916cd43dd8448eb211c80319c", "the client's trace goes on");
    assert_eq!(span.parent, "b7ad6b7169203331");
    assert_eq!(span.resource["service.name"], "clearspan");
    assert!(span.schema.starts_with("https://opentelemetry.io/schemas/1.41"), "{}", span.schema);
    assert_metrics_of_a_streamed_chat(&told);
}

fn assert_metrics_of_a_streamed_chat(told: &Told) {
    let model = ("gen_ai.request.model", "gpt-4o-mini");
    let token = |kind| [model, ("gen_ai.token.type", kind)];
    assert_eq!(told.count("gen_ai.client.operation.duration", &[model]), 1);
    assert_eq!(told.sum("gen_ai.client.token.usage", &token("input")), 1200.0);
    assert_eq!(told.sum("gen_ai.client.token.usage", &token("output")), 310.0);
    assert_eq!(told.count("gen_ai.client.token.usage", &[]), 2);
    assert_eq!(told.count("gen_ai.client.operation.time_to_first_chunk", &[model]), 1);
    assert_eq!(told.count("gen_ai.client.operation.time_per_output_chunk", &[model]), 1);
    assert_eq!(told.count("clearspan.time_to_first_chunk", &[model]), 1);
    assert_eq!(told.count("http.server.request.duration", &[("http.route", CHAT)]), 1);
    assert_eq!(told.count("http.client.request.duration", &[]), 1);
    assert_eq!(told.count("clearspan.overhead", &[]), 1);
    assert_eq!(told.sum("clearspan.requests", &[("clearspan.upstream", "openai")]), 1.0);
    assert_eq!(told.sum("clearspan.endings", &[("clearspan.ending", "complete")]), 1.0);
    for (kind, tokens) in
        [("input", 1200.0), ("output", 310.0), ("cache_read", 1024.0), ("reasoning", 64.0)]
    {
        assert_eq!(told.sum("clearspan.tokens", &[("clearspan.token.kind", kind)]), tokens);
    }
    let near = |cost: f64| (cost - 0.000_289_2).abs() < 1e-12;
    assert!(near(told.sum("clearspan.cost", &[])));
    assert!(near(told.sum("gen_ai.usage.cost", &[])));
    assert_eq!(told.count("gen_ai.usage.cost", &[model]), 1);
    assert_eq!(told.sum("clearspan.unpriced", &[]), 0.0);
    for (metric, unit) in [
        ("clearspan.cost", "USD"),
        ("clearspan.requests", "{request}"),
        ("clearspan.overhead", "s"),
    ] {
        let points = told.0.metric(metric);
        assert!(points.iter().all(|it| it.unit == unit), "{points:?}");
        assert!(points.iter().all(|it| it.resource["service.name"] == "clearspan"), "{points:?}");
    }
    let bounds = &told.0.metric("gen_ai.client.operation.duration")[0].bounds;
    assert!(bounds.contains(&3.0) && bounds.last() >= Some(&600.0), "{bounds:?}");
}

#[test]
fn a_streamed_chat_whose_usage_was_not_asked_for() {
    let events =
        [delta("\"content\":\"Hi\"", "null"), delta("", "\"length\""), "data: [DONE]\n\n".into()];
    let scene = Scene::of("openai");
    scene.exchange(post(CHAT, ASKED), stream(&events, true));
    let told = scene.told();
    let sizes = [ASKED.len() as u64, length(&events)];
    told.assert_spans(
        server("POST /v1/chat/completions | unset", CHAT, 200, sizes, json!({"http.route": CHAT})),
        client(
            "chat gpt-4o-mini | unset",
            "openai",
            200,
            json!({
                "gen_ai.request.stream": true,
                "gen_ai.request.temperature": 0.5,
                "gen_ai.request.max_tokens": 256,
                "clearspan.request.messages": 2,
                "gen_ai.response.id": "chatcmpl-1",
                "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
                "gen_ai.response.finish_reasons": ["length"],
                "gen_ai.response.time_to_first_chunk": "…",
                "clearspan.time_to_first_chunk": "…",
                "clearspan.chunks": 1,
                "clearspan.stalls": 0,
                "openai.api.type": "chat_completions",
                "clearspan.usage.missing": "not_asked",
                "clearspan.usage.estimated.input_tokens": 12,
                "clearspan.usage.estimated.output_tokens": 1,
                "clearspan.usage.estimated.tokenizer": "o200k_base",
                "clearspan.usage.estimated.own_tokenizer": true,
                // 12 tokens at 0.15 USD a million, 1 at 0.6.
                "clearspan.cost.estimated": 2.4e-6,
                "clearspan.cost.basis": "estimated",
                "clearspan.cost.entry": "openai/gpt-4o-mini",
                "clearspan.cost.dated": "…",
            }),
        ),
    );
    assert_eq!(told.count("gen_ai.client.token.usage", &[]), 0, "unknown is not zero");
    assert_eq!(told.sum("clearspan.usage_missing", &[]), 1.0);
    assert_eq!(told.sum("clearspan.tokens.estimated", &[]), 13.0);
    assert_eq!(told.sum("clearspan.cost", &[("clearspan.cost.basis", "estimated")]), 2.4e-6);
}

#[test]
fn a_chat_in_one_piece() {
    let asked = r#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}],"n":2,"seed":7,"stop":["END"],"top_p":0.9,"frequency_penalty":0.1,"presence_penalty":0.2,"response_format":{"type":"json_object"},"service_tier":"flex","max_completion_tokens":99}"#;
    let body = r#"{"id":"chatcmpl-2","object":"chat.completion","model":"gpt-4o-mini-2024-07-18","choices":[{"index":0,"message":{"role":"assistant","content":"{}"},"finish_reason":"stop"},{"index":1,"message":{"role":"assistant","content":null,"refusal":"no"},"finish_reason":"content_filter"}],"usage":{"prompt_tokens":10,"completion_tokens":4,"total_tokens":14},"service_tier":"default"}"#;
    let scene = Scene::of("openai");
    let answer = json_answer("200 OK\r\nopenai-processing-ms: 190", body);
    scene.exchange(post(CHAT, asked), answer);
    let told = scene.told();
    let sizes = [asked.len() as u64, body.len() as u64];
    told.assert_spans(
        server("POST /v1/chat/completions | unset", CHAT, 200, sizes, json!({"http.route": CHAT})),
        client(
            "chat gpt-4o-mini | unset",
            "openai",
            200,
            json!({
                "gen_ai.request.choice.count": 2,
                "gen_ai.request.seed": 7,
                "gen_ai.request.top_p": 0.9,
                "gen_ai.request.frequency_penalty": 0.1,
                "gen_ai.request.presence_penalty": 0.2,
                "gen_ai.request.max_tokens": 99,
                "gen_ai.output.type": "json",
                "openai.request.service_tier": "flex",
                "clearspan.request.messages": 1,
                "gen_ai.response.id": "chatcmpl-2",
                "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
                "gen_ai.response.finish_reasons": ["stop", "content_filter"],
                "clearspan.refused": true,
                "clearspan.claimed.total": 0.19,
                "clearspan.upstream.request_id": "req_1",
                "openai.api.type": "chat_completions",
                "openai.response.service_tier": "default",
                "gen_ai.usage.input_tokens": 10,
                "gen_ai.usage.output_tokens": 4,
                // 10 × 0.15 + 4 × 0.60 USD per million.
                "gen_ai.usage.cost": 0.000_003_9,
                "clearspan.cost.basis": "computed",
                "clearspan.cost.entry": "openai/gpt-4o-mini",
                "clearspan.cost.dated": "…",
            }),
        ),
    );
    assert_eq!(told.count("gen_ai.client.operation.time_to_first_chunk", &[]), 0);
}

#[test]
fn a_streamed_tool_call() {
    let call = "\"tool_calls\":[{\"index\":0,\"id\":\"call_1\",\"type\":\"function\",\
                \"function\":{\"name\":\"get_weather\",\"arguments\":\"\"}}]";
    let arguments = "\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{}\"}}]";
    let events = [
        delta(call, "null"),
        delta(arguments, "null"),
        delta("", "\"tool_calls\""),
        "data: [DONE]\n\n".into(),
    ];
    let asked = r#"{"model":"gpt-4o-mini","stream":true,"messages":[],"tools":[{"type":"function","function":{"name":"get_weather"}}]}"#;
    let scene = Scene::of("openai");
    scene.exchange(post(CHAT, asked), stream(&events, true));
    let told = scene.told();
    let span = told.span("CLIENT");
    assert_eq!(span.attributes["clearspan.request.tools"], 1);
    assert_eq!(span.attributes["clearspan.tool_calls"], 1);
    assert_eq!(span.attributes["clearspan.chunks"], 2);
    assert_eq!(span.attributes["gen_ai.response.finish_reasons"], json!(["tool_calls"]));
    assert!(span.attributes.contains_key("gen_ai.response.time_to_first_chunk"));
    assert_eq!(told.sum("clearspan.tool_calls", &[]), 1.0);
}

#[test]
fn an_answer_that_says_too_many_requests() {
    let body = r#"{"error":{"message":"slow down","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#;
    let scene = Scene::of("openai");
    let fields = "x-stainless-retry-count: 1\r\nIdempotency-Key: stainless-1\r\n";
    let answer = "429 Too Many Requests\r\nretry-after-ms: 1250\r\nx-should-retry: true\r\n\
        x-ratelimit-limit-tokens: 30000\r\nx-ratelimit-remaining-tokens: 12\r\n\
        x-ratelimit-reset-tokens: 1h1m";
    scene.exchange(post_with(CHAT, fields, ASKED), json_answer(answer, body));
    let limit = |name: &str| format!("clearspan_rate_limit_{name}");
    let labels = [
        "clearspan_upstream=\"openai\"",
        "gen_ai_request_model=\"gpt-4o-mini\"",
        "clearspan_rate_limit_kind=\"tokens\"",
    ];
    scene.proxy.wait_for_metric("a limit", |page| page.sum(&limit("limit"), &labels) == 30_000.0);
    let page = scene.proxy.metrics();
    assert_eq!(page.sum(&limit("remaining"), &labels), 12.0);
    let reset = page.sum(&limit("reset_seconds"), &labels);
    assert!((3500.0..=3660.0).contains(&reset), "{reset}");
    let cause = ["clearspan_rate_limit_cause=\"rate_limit\""];
    assert_eq!(page.sum(&limit("hits_total"), &cause), 1.0);
    let told = scene.told();
    let [log] = &told.0.logs[..] else { panic!("one log record") };
    assert_eq!(log.attributes["clearspan.error.side"], "client");
    assert_eq!(log.attributes["clearspan.retry_after"], 1.25);
    let hits = [("clearspan.rate_limit.cause", "rate_limit")];
    assert_eq!(told.sum("clearspan.rate_limit.hits", &hits), 1.0);
    let kind = [("clearspan.rate_limit.kind", "tokens")];
    assert_eq!(told.sum("clearspan.rate_limit.remaining", &kind), 12.0);
    let side = [("clearspan.error.side", "client")];
    assert_eq!(told.sum("clearspan.endings", &side), 1.0);
    let sizes = [ASKED.len() as u64, body.len() as u64];
    told.assert_spans(
        server(
            "POST /v1/chat/completions | unset",
            CHAT,
            429,
            sizes,
            json!({
                "http.route": CHAT,
                "clearspan.ending": "error_status",
                "clearspan.error.side": "client",
            }),
        ),
        client(
            "chat gpt-4o-mini | error",
            "openai",
            429,
            json!({
                "clearspan.error.side": "client",
                "clearspan.rate_limit.cause": "rate_limit",
                "clearspan.retry_after": 1.25,
                "clearspan.should_retry": true,
                "http.request.resend_count": 1,
                "clearspan.request.idempotency_key": "stainless-1",
                "gen_ai.request.stream": true,
                "gen_ai.request.temperature": 0.5,
                "gen_ai.request.max_tokens": 256,
                "clearspan.request.messages": 2,
                "clearspan.upstream.request_id": "req_1",
                "openai.api.type": "chat_completions",
                "error.type": "rate_limit_exceeded",
                "clearspan.usage.missing": "error",
                "clearspan.cost.unpriced": "no_usage",
                "clearspan.ending": "error_status",
            }),
        ),
    );
    let error = [("error.type", "rate_limit_exceeded")];
    assert_eq!(told.count("gen_ai.client.operation.duration", &error), 1);
}

/// What one exchange with these headers tells of ids that clients make.
fn ids(config: &str) -> [Option<Value>; 2] {
    let body =
        r#"{"model":"claude-opus","content":[],"usage":{"input_tokens":3,"output_tokens":1}}"#;
    let scene = Scene::with("anthropic", config);
    let fields = "x-claude-code-session-id: session-1\r\nIdempotency-Key: key-1\r\n";
    let asked = r#"{"model":"claude-opus","max_tokens":9,"messages":[]}"#;
    scene.exchange(post_with("/v1/messages", fields, asked), json_answer("200 OK", body));
    let told = scene.told();
    let attributes = &told.span("CLIENT").attributes;
    ["gen_ai.conversation.id", "clearspan.request.idempotency_key"]
        .map(|name| attributes.get(name).cloned())
}

#[test]
fn ids_that_clients_make_are_reported_unless_the_operator_says_no() {
    assert_eq!(ids(""), [Some(json!("session-1")), Some(json!("key-1"))]);
    assert_eq!(ids("[telemetry]\nclient_ids = false\n"), [None, None]);
}

#[test]
fn the_words_at_which_generation_stops_are_reported_only_if_the_operator_says_so() {
    let told = |config: &str| {
        let body = r#"{"model":"gpt-4o-mini","choices":[]}"#;
        let scene = Scene::with("openai", config);
        let asked = r#"{"model":"gpt-4o-mini","messages":[],"stop":["Anna:"]}"#;
        scene.exchange(post(CHAT, asked), json_answer("200 OK", body));
        scene.told().span("CLIENT").attributes.get("gen_ai.request.stop_sequences").cloned()
    };
    assert_eq!(told(""), None);
    assert_eq!(told("[telemetry]\nstop_sequences = true\n"), Some(json!(["Anna:"])));
}

#[test]
fn the_servers_own_measure_of_its_tokens() {
    let body = r#"{"model":"gpt-4o-mini","choices":[{"index":0,"message":{"content":"x"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#;
    let scene = Scene::of("openai");
    let answer = "200 OK\r\nx-metrics-ttft-ms: 250\r\nx-metrics-mean-itl-ms: 8\r\n\
        x-metrics-e2e-ms: 1500\r\nx-envoy-upstream-service-time: 1600";
    let asked = ASKED.replace("true", "false");
    scene.exchange(post(CHAT, &asked), json_answer(answer, body));
    let told = scene.told();
    let attributes = &told.span("CLIENT").attributes;
    for (name, seconds) in [("total", 1.5), ("first_token", 0.25), ("per_token", 0.008)] {
        assert_eq!(attributes[&format!("clearspan.claimed.{name}")], seconds, "{name}");
    }
    assert_eq!(told.sum("gen_ai.server.request.duration", &[]), 1.5);
    assert_eq!(told.sum("gen_ai.server.time_to_first_token", &[]), 0.25);
    assert_eq!(told.sum("gen_ai.server.time_per_output_token", &[]), 0.008);
}

#[test]
fn an_upstream_that_fails() {
    let scene = Scene::of("openai");
    let page =
        "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>";
    scene.exchange(post(CHAT, ASKED), page);
    let told = scene.told();
    let (outer, inner) = (told.span("SERVER"), told.span("CLIENT"));
    assert_eq!((outer.status, inner.status), ("error", "error"));
    assert_eq!(outer.attributes["error.type"], "502");
    assert_eq!(inner.attributes["error.type"], "502");
    assert_eq!(inner.attributes["clearspan.ending"], "error_status");
    assert_eq!(outer.message, "");
}

#[test]
fn an_error_inside_a_stream() {
    let events = [
        delta("\"content\":\"Hi\"", "null"),
        "data: {\"error\":{\"message\":\"x\",\"type\":\"server_error\",\"code\":\"overloaded\"}}\n\n"
            .into(),
    ];
    let scene = Scene::of("openai");
    scene.exchange(post(CHAT, ASKED), stream(&events, true));
    let told = scene.told();
    let (outer, inner) = (told.span("SERVER"), told.span("CLIENT"));
    assert_eq!((outer.status, inner.status), ("unset", "error"));
    assert_eq!(inner.attributes["clearspan.ending"], "error_in_stream");
    assert_eq!(inner.attributes["error.type"], "overloaded");
    assert!(!outer.attributes.contains_key("error.type"));
}

#[test]
fn a_stream_without_its_terminator() {
    let scene = Scene::of("openai");
    let events = [delta("\"content\":\"Hi\"", "null")];
    scene.exchange(post(CHAT, ASKED), stream(&events, true));
    let told = scene.told();
    let inner = told.span("CLIENT");
    assert_eq!(inner.attributes["clearspan.ending"], "truncated");
    assert_eq!(inner.attributes["error.type"], "truncated");
    assert_eq!(inner.attributes["gen_ai.response.finish_reasons"], json!(["error"]));
    assert_eq!(inner.status, "error");
    assert_eq!(told.span("SERVER").status, "unset");
}

#[test]
fn a_stream_that_the_upstream_breaks() {
    let scene = Scene::of("openai");
    let events = [delta("\"content\":\"Hi\"", "null")];
    scene.exchange(post(CHAT, ASKED), stream(&events, false));
    let told = scene.told();
    let (outer, inner) = (told.span("SERVER"), told.span("CLIENT"));
    assert_eq!((outer.status, inner.status), ("error", "error"));
    assert_eq!(inner.attributes["clearspan.ending"], "upstream_reset");
    assert_eq!(outer.attributes["http.response.status_code"], 200);
    assert!(inner.attributes.contains_key("error.type"));
    assert_eq!(told.sum("clearspan.endings", &[("clearspan.ending", "upstream_reset")]), 1.0);
}

#[test]
fn a_client_that_leaves_within_a_stream_is_no_error() {
    let scene = Scene::of("openai");
    let (mut client, mut upstream) = scene.ask(post(CHAT, ASKED));
    upstream.send(stream(&[delta("\"content\":\"Hi\"", "null")], false));
    let (_, mut body) = client.begin_response("POST");
    client.wire.until(&mut body, 10);
    drop(client);
    upstream.wire.until_ended();
    let told = scene.told();
    let (outer, inner) = (told.span("SERVER"), told.span("CLIENT"));
    assert_eq!((outer.status, inner.status), ("unset", "unset"));
    assert!(!inner.attributes.contains_key("error.type"));
    assert_eq!(inner.attributes["clearspan.ending"], "client_canceled");
    assert_eq!(inner.attributes["clearspan.usage.missing"], "cut");
    // What came is counted, and told apart from what is reported.
    assert_eq!(inner.attributes["clearspan.usage.estimated.input_tokens"], 12);
    assert_eq!(inner.attributes["clearspan.usage.estimated.output_tokens"], 1);
    assert_eq!(inner.attributes["clearspan.cost.basis"], "estimated");
    assert!(!inner.attributes.keys().any(|key| key.starts_with("gen_ai.usage.")));
    for (name, labels) in [
        ("clearspan.tokens.estimated", [("clearspan.token.kind", "output")].as_slice()),
        (
            "clearspan.tokens.discarded",
            &[
                ("clearspan.token.kind", "output"),
                ("clearspan.usage.basis", "estimated"),
                ("clearspan.ending", "client_canceled"),
            ],
        ),
    ] {
        assert_eq!(told.sum(name, labels), 1.0, "{name}");
    }
}

#[test]
fn an_upstream_that_is_not_there() {
    let (nobody, collector) = (Nobody::bind(), Collector::start(Mode::Well));
    let config = upstream("openai", &nobody.url(), "paths = [\"/v1/\"]");
    let proxy = Start::new(config + &export(collector.endpoint())).start();
    let response = crate::support::client::exchange(proxy.address, post(CHAT, ASKED));
    proxy.finish();
    let told = Told(collector.received());
    let (outer, inner) = (told.span("SERVER"), told.span("CLIENT"));
    assert_span(
        outer,
        server(
            "POST /v1/chat/completions | error",
            CHAT,
            502,
            // Nobody took the body.
            [0, response.body.bytes.len() as u64],
            json!({
                "http.route": CHAT,
                "clearspan.ending": "upstream_reset",
                "clearspan.error.side": "network",
                "error.type": "502",
            }),
        ),
    );
    assert_eq!(inner.status, "error");
    assert_eq!(inner.attributes["error.type"], "connection_refused");
    assert!(!inner.attributes.contains_key("http.response.status_code"), "the 502 is ours");
}

#[test]
fn a_request_that_addresses_nobody_has_a_server_span_only() {
    let scene = Scene::of("openai");
    let body = crate::support::client::exchange(scene.proxy.address, get("/nowhere?key=sk-1"));
    let told = scene.told();
    assert_eq!(told.0.of_kind("CLIENT").len(), 0);
    assert_span(
        told.span("SERVER"),
        server(
            "GET | unset",
            "/nowhere",
            404,
            [0, body.body.bytes.len() as u64],
            json!({
                "clearspan.ending": "proxy_error",
                "clearspan.error.side": "client",
                "clearspan.reason": "no_route",
            }),
        ),
    );
    assert_eq!(told.sum("clearspan.requests.refused", &[]), 1.0);
}

#[test]
fn embeddings() {
    let asked = r#"{"model":"text-embedding-3-small","input":["a","b"],"dimensions":3,"encoding_format":"float"}"#;
    let body = r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1,0.2,0.3]}],"model":"text-embedding-3-small","usage":{"prompt_tokens":2,"total_tokens":2}}"#;
    let scene = Scene::of("openai");
    scene.exchange(post("/v1/embeddings", asked), json_answer("200 OK", body));
    let told = scene.told();
    let sizes = [asked.len() as u64, body.len() as u64];
    told.assert_spans(
        server(
            "POST /v1/embeddings | unset",
            "/v1/embeddings",
            200,
            sizes,
            json!({"http.route": "/v1/embeddings"}),
        ),
        client(
            "embeddings text-embedding-3-small | unset",
            "openai",
            200,
            json!({
                "gen_ai.request.encoding_formats": ["float"],
                "gen_ai.embeddings.dimension.count": 3,
                "clearspan.request.messages": 2,
                "gen_ai.response.model": "text-embedding-3-small",
                "clearspan.upstream.request_id": "req_1",
                "gen_ai.usage.input_tokens": 2,
                // 2 × 0.02 USD per million.
                "gen_ai.usage.cost": 0.000_000_04,
                "clearspan.cost.basis": "computed",
                "clearspan.cost.entry": "openai/text-embedding-3-small",
                "clearspan.cost.dated": "…",
            }),
        ),
    );
}

#[test]
fn a_chat_with_ollama_in_its_own_format() {
    let line = |rest: &str| {
        format!("{{\"model\":\"qwen3:8b\",\"created_at\":\"2026-08-01T10:00:00.1Z\",{rest}}}\n")
    };
    let lines = [
        line("\"message\":{\"role\":\"assistant\",\"content\":\"Hel\"},\"done\":false"),
        line("\"message\":{\"role\":\"assistant\",\"content\":\"lo\"},\"done\":false"),
        line(
            "\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\
             \"done_reason\":\"stop\",\"total_duration\":4883583458,\"load_duration\":1334875,\
             \"prompt_eval_count\":26,\"prompt_eval_duration\":342546000,\"eval_count\":282,\
             \"eval_duration\":4535599000",
        ),
    ];
    let asked = r#"{"model":"qwen3:8b","messages":[{"role":"user","content":"hi"}],"options":{"temperature":0.5,"num_predict":9}}"#;
    let scene = Scene::of("ollama");
    let answer = String::from_utf8(stream(&lines, true)).unwrap();
    let answer = answer.replace("text/event-stream", "application/x-ndjson");
    scene.exchange(post("/api/chat", asked), answer);
    let told = scene.told();
    let sizes = [asked.len() as u64, length(&lines)];
    told.assert_spans(
        server(
            "POST /api/chat | unset",
            "/api/chat",
            200,
            sizes,
            json!({"http.route": "/api/chat"}),
        ),
        client(
            "chat qwen3:8b | unset",
            "ollama",
            200,
            json!({
                "gen_ai.request.stream": true,
                "gen_ai.request.temperature": 0.5,
                "gen_ai.request.max_tokens": 9,
                "clearspan.request.messages": 1,
                "gen_ai.response.model": "qwen3:8b",
                "gen_ai.response.finish_reasons": ["stop"],
                "gen_ai.response.time_to_first_chunk": "…",
                "clearspan.time_to_first_chunk": "…",
                "clearspan.chunk_gap.longest": "…",
                "clearspan.chunks": 2,
                "clearspan.stalls": 0,
                "clearspan.claimed.total": 4.883_583_458,
                "clearspan.claimed.load": 0.001_334_875,
                "clearspan.claimed.prompt": 0.342_546,
                "clearspan.claimed.output": 4.535_599,
                "gen_ai.usage.input_tokens": 26,
                "gen_ai.usage.output_tokens": 282,
                "clearspan.cost.unpriced": "local",
            }),
        ),
    );
    assert_eq!(told.count("gen_ai.server.request.duration", &[]), 1);
}

#[test]
fn what_is_no_model_call_is_a_plain_http_exchange() {
    let scene = Scene::of("openai");
    scene.exchange(get("/v1/models?limit=2"), json_answer("200 OK", "{\"data\":[]}"));
    let told = scene.told();
    let (outer, inner) = (told.span("SERVER"), told.span("CLIENT"));
    assert_eq!(outer.name, "GET /v1/models");
    assert_eq!(outer.attributes["url.path"], "/v1/models");
    assert_eq!(inner.name, "GET");
    assert_eq!(inner.attributes["http.request.method"], "GET");
    let keys = inner.attributes.keys().filter(|key| key.starts_with("gen_ai."));
    assert_eq!(keys.count(), 0, "{:#?}", inner.attributes);
    assert_eq!(told.count("gen_ai.client.operation.duration", &[]), 0);
    assert_eq!(told.sum("clearspan.requests", &[]), 1.0);
    assert_eq!(told.sum("clearspan.usage_missing", &[]), 0.0);
}

#[test]
fn phases_where_they_are_asked_for() {
    let scene = Scene::with("openai", "[telemetry]\nphase_spans = true\n");
    let events = [delta("\"content\":\"Hi\"", "\"stop\""), "data: [DONE]\n\n".into()];
    scene.exchange(post(CHAT, ASKED), stream(&events, true));
    let told = scene.told();
    let outer = told.span("SERVER");
    let phases = told.0.of_kind("INTERNAL");
    let names: Vec<_> = phases.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["connect", "wait", "stream"]);
    for phase in &phases {
        assert_eq!((&phase.trace, &phase.parent), (&outer.trace, &outer.id));
        assert!(outer.start <= phase.start && phase.start <= phase.end && phase.end <= outer.end);
    }
}

#[test]
fn nothing_that_was_said_or_secret_is_reported() {
    let scene = Scene::of("openai");
    let asked = r#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"PROMPT-0451"}]}"#;
    let body = r#"{"model":"gpt-4o-mini","choices":[{"index":0,"message":{"role":"assistant","content":"ANSWER-0451"},"finish_reason":"stop"}]}"#;
    let fields = "Authorization: Bearer sk-KEY-0451\r\nX-Api-Key: KEY-0451\r\nCookie: KEY-0451\r\n\
        x-session-id: Bearer KEY-0451\r\nsession-id: KEY-0451\r\nidempotency-key: sk-KEY-0451\r\n";
    let target = "/v1/chat/completions?key=KEY-0451";
    let (mut client, mut upstream) = scene.ask(post_with(target, fields, asked));
    let answer = "200 OK\r\nSet-Cookie: KEY-0451\r\nopenai-organization: ORG-0451";
    upstream.send(json_answer(answer, body));
    client.response("POST");
    scene.proxy.wait_for_line(|line| line.contains("gpt-4o-mini"));
    let metrics = scene.proxy.metrics().0;
    let printed = [scene.proxy.stdout(), scene.proxy.stderr(), vec![metrics]].concat();
    let told = scene.told();
    assert_eq!(told.0.spans.len(), 2);
    for text in [printed.join("\n"), format!("{:?}", told.0)] {
        assert!(!text.contains("0451"), "{text}");
    }
}

#[test]
fn metrics_say_the_same_when_scraped() {
    let scene = Scene::of("openai");
    let body = r#"{"model":"gpt-4o-mini","choices":[{"index":0,"message":{"role":"assistant","content":"x"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":4}}"#;
    for _ in 0..3 {
        scene.exchange(post(CHAT, ASKED.replace("true", "false")), json_answer("200 OK", body));
    }
    let requests = |metrics: &crate::support::proxy::Metrics| {
        metrics.sum("clearspan_requests_total", &["clearspan_upstream=\"openai\""])
    };
    scene.proxy.wait_for_metric("three requests", |metrics| requests(metrics) == 3.0);
    let page = scene.proxy.metrics();
    let model = "gen_ai_request_model=\"gpt-4o-mini\"";
    let input = [model, "gen_ai_token_type=\"input\""];
    assert_eq!(page.sum("gen_ai_client_token_usage_sum", &input), 30.0);
    assert_eq!(page.sum("gen_ai_client_token_usage_count", &input), 3.0);
    assert_eq!(page.sum("gen_ai_client_operation_duration_seconds_count", &[model]), 3.0);
    assert_eq!(page.sum("clearspan_endings_total", &["clearspan_ending=\"complete\""]), 3.0);
    assert_eq!(page.sum("clearspan_requests_active", &[]), 0.0);
    assert!((page.sum("clearspan_cost_USD_total", &[]) - 0.000_011_7).abs() < 1e-12);
    let told = scene.told();
    assert_eq!(told.sum("clearspan.requests", &[]), 3.0);
    assert_eq!(told.sum("gen_ai.client.token.usage", &[("gen_ai.token.type", "input")]), 30.0);
}

#[test]
fn exports_carry_their_headers_and_only_their_signals() {
    let (origin, collector) = (Origin::bind(), Collector::start(Mode::Well));
    let config = upstream("openai", &origin.url(), "listen = \"127.0.0.1:0\"")
        + &export(collector.endpoint())
        + "compression = \"gzip\"\nsignals = [\"traces\"]\nheaders = { x-key = { env = \"EXPORT_KEY\" } }\n\
           [telemetry]\nservice_name = \"my-proxy\"\n";
    let proxy = Start::new(config)
        .env("EXPORT_KEY", "KEY-0451")
        .env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        .start();
    let scene = Scene { provider: "openai", origin, collector, proxy };
    scene.exchange(post(CHAT, ASKED), json_answer("200 OK", "{}"));
    let told = scene.told();
    assert!(!told.0.exports.is_empty());
    for export in &told.0.exports {
        assert_eq!(export.path, "/v1/traces");
        let field = |name: &str| {
            let mut fields = export.fields.iter();
            fields.find(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
        };
        assert_eq!(field("x-key"), Some("KEY-0451"));
        assert_eq!(field("content-encoding"), Some("gzip"));
    }
    let resource = &told.span("SERVER").resource;
    assert_eq!(resource["service.name"], "my-proxy");
    assert_eq!(resource["deployment.environment.name"], "test");
}

#[test]
fn otel_variables_are_enough() {
    let (origin, collector) = (Origin::bind(), Collector::start(Mode::Well));
    let proxy = Start::new(upstream("openai", &origin.url(), "listen = \"127.0.0.1:0\""))
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint())
        .env("OTEL_SERVICE_NAME", "from-env")
        .start();
    let scene = Scene { provider: "openai", origin, collector, proxy };
    scene.exchange(post(CHAT, ASKED), json_answer("200 OK", "{}"));
    assert_eq!(scene.told().span("SERVER").resource["service.name"], "from-env");
}
