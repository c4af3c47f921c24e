//! Heads as they stand on the tape: a first line, then one header a line, its name in lower case. Knows
//! which headers say something of an exchange, and no body.

use std::time::{Duration, SystemTime};

use memchr::memchr;

use super::decode::body::{Body, Limits};
use super::decode::media::Media;
use super::decode::multipart;
use super::dialect::Reads;
use super::gateway::Gateway;
use super::limits;
use super::observation::{ClaimedDurations, RateLimit};
use super::until::until;

/// Longest texts that are kept.
const PATH: usize = 1024;
const METHOD: usize = 32;
const USER_AGENT: usize = 256;
const REQUEST_ID: usize = 128;
const CLIENT_ID: usize = 128;

/// Headers in which upstreams tell their id of an exchange; the first that is there counts. Last are
/// those of the gateways before them.
const REQUEST_IDS: [&[u8]; 14] = [
    b"x-request-id",
    b"request-id",
    b"apim-request-id",
    b"x-ms-request-id",
    b"x-amzn-requestid",
    b"mistral-correlation-id",
    b"x-ds-trace-id",
    // OpenRouter, Cohere, NVIDIA, xAI.
    b"x-generation-id",
    b"x-debug-trace-id",
    b"nvcf-reqid",
    b"x-trace-id",
    b"x-kong-request-id",
    b"x-vercel-id",
    b"cf-ray",
];

/// Headers in which servers, or gateways before them, tell how long all of it took, in milliseconds;
/// the first that is there counts.
const DURATIONS: [&[u8]; 3] =
    [b"openai-processing-ms", b"x-metrics-e2e-ms", b"x-envoy-upstream-service-time"];

/// Headers in which known agents, and apps that follow no one, name the conversation; the first that is
/// there counts. A thread is the conversation where a session has several.
const CONVERSATIONS: [&[u8]; 6] = [
    b"x-claude-code-session-id",
    b"x-qwen-code-session-id",
    b"thread-id",
    b"session-id",
    b"session_id",
    b"x-session-id",
];
/// Those that anybody may use for anything else: they count only beside `originator`, as Codex sends it.
const CODEX: std::ops::Range<usize> = 2..5;

/// What a request's head says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RequestHead {
    /// As sent.
    pub method: String,
    /// Without the query.
    pub path: String,
    /// `1.0`, `1.1` or `2`; empty where it is none of them.
    pub version: &'static str,
    /// What `Content-Type` promises of the body.
    pub media: Media,
    /// Where it promises a form: what stands between its parts.
    pub boundary: Option<Vec<u8>>,
    /// `Content-Encoding`, several joined with commas.
    pub content_encoding: String,
    /// `Content-Length`, in bytes; 0 where it says none.
    pub content_length: usize,
    /// `User-Agent`.
    pub user_agent: Option<String>,
    /// The conversation that it belongs to, where a header names it.
    pub conversation: Option<String>,
    /// The call of OpenAI's Realtime that it joins (`call_id`), in which others may be already.
    ///
    /// Source: `RealtimeConnectParams` of the provider's SDK for Python 3.52.
    pub joined_call: Option<String>,
    /// What the query names as the model (`model`, or Azure's `deployment`), for the few paths that have it there.
    ///
    /// Source: `RealtimeConnectParams`, and `_configure_realtime` for Azure, of the provider's SDK for Python 3.52.
    pub model: Option<String>,
    /// `Idempotency-Key`: the same on each attempt of one operation.
    pub idempotency_key: Option<String>,
    /// How often it was sent before, as its SDK says.
    pub resend_count: Option<u32>,
}

/// What a response's head says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status; 0 where it is unreadable.
    pub status: u16,
    /// What `Content-Type` promises of the body.
    pub media: Media,
    /// `Content-Encoding`, several joined with commas.
    pub content_encoding: String,
    /// `Content-Length`, in bytes; 0 where it says none.
    pub content_length: usize,
    /// The upstream's id of the exchange.
    pub request_id: Option<String>,
    /// What gateways say of the answer.
    pub gateway: Gateway,
    /// What the server says of its own work.
    pub claimed: ClaimedDurations,
    /// What it says of its limits.
    pub rate_limits: Vec<RateLimit>,
    /// `Retry-After`, or finer `retry-after-ms`.
    pub retry_after: Option<Duration>,
    /// `x-should-retry`.
    pub should_retry: Option<bool>,
    /// The answer is our own.
    pub is_ours: bool,
    /// From here on the connection speaks WebSocket.
    pub is_websocket: bool,
    /// `Sec-WebSocket-Extensions`, several joined with commas.
    pub extensions: String,
}

/// What a body is whose bytes are the answer itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bytes {
    /// A text, which is told at once.
    Text,
    /// Sound or a picture, made as it comes.
    Stream,
}

impl RequestHead {
    /// The body that it promises.
    pub fn body(&self, limits: Limits) -> Body {
        let body = match &self.boundary {
            Some(boundary) => Body::form(boundary, &self.content_encoding, limits),
            None => Body::new(self.media, &self.content_encoding, limits),
        };
        body.announced(self.content_length)
    }

    /// Of `METHOD target VERSION` and the headers.
    pub fn read(head: &[u8]) -> Self {
        let (first, headers) = lines(head);
        let first = String::from_utf8_lossy(first);
        let mut words = first.split(' ');
        let method = words.next().unwrap_or_default();
        let target = words.next().unwrap_or_default();
        let (path, joined_call) = (path(target), parameter(target, "call_id"));
        let model = parameter(target, "model").or_else(|| parameter(target, "deployment"));
        let version = match words.next() {
            Some("1.0") => "1.0",
            Some("1.1") => "1.1",
            Some("2") => "2",
            _ => "",
        };
        let (method, path) = (cut(method, METHOD), cut(path, PATH));
        let mut read = Self { method, path, version, joined_call, model, ..Self::default() };
        let (mut conversations, mut is_codex) = (Found::of(&CONVERSATIONS), false);
        for (name, value) in headers {
            match name {
                b"content-type" => {
                    read.media = media(value);
                    read.boundary = multipart::boundary(value);
                }
                b"content-encoding" => join(&mut read.content_encoding, value),
                b"content-length" => read.content_length = number(value).unwrap_or(0),
                b"user-agent" => read.user_agent = Some(bounded(value, USER_AGENT)),
                b"idempotency-key" => read.idempotency_key = id(value),
                b"originator" => is_codex = true,
                b"x-stainless-retry-count" => read.resend_count = number(value),
                b"amz-sdk-request" => read.resend_count = attempt(value),
                _ => conversations.see(name, value),
            }
        }
        let mut named = conversations.values.into_iter().enumerate();
        read.conversation = named.find_map(|(place, value)| {
            value.filter(|_| is_codex || !CODEX.contains(&place)).and_then(id)
        });
        read
    }
}

impl ResponseHead {
    /// The body that it promises, where it is read so; bytes that are the answer itself are not.
    pub fn body(&self, reads: Reads, limits: Limits) -> Body {
        let media = match (reads, self.media) {
            (Reads::Elements, Media::Json) => Media::Elements,
            _ if self.content(reads).is_some() => Media::Opaque,
            (_, media) => media,
        };
        let body = Body::new(media, &self.content_encoding, limits);
        let body = if reads == Reads::Media { body.cut() } else { body };
        body.announced(self.content_length)
    }

    /// What the body's bytes are, where they are what was asked for and no message that tells of it.
    pub fn content(&self, reads: Reads) -> Option<Bytes> {
        let is_answer = (200..300).contains(&self.status) && !self.is_ours;
        match self.media {
            _ if reads != Reads::Media || !is_answer => None,
            Media::Text => Some(Bytes::Text),
            Media::Opaque => Some(Bytes::Stream),
            _ => None,
        }
    }

    /// Of `STATUS VERSION` and the headers, which came at `now`.
    pub fn read(head: &[u8], now: SystemTime) -> Self {
        let (first, headers) = lines(head);
        let status = first.split(|&byte| byte == b' ').next().and_then(number).unwrap_or(0);
        let mut read = Self { status, ..Self::default() };
        let (mut ids, mut durations) = (Found::of(&REQUEST_IDS), Found::of(&DURATIONS));
        // Moments are by the clock of who wrote them.
        let now = || date(head).unwrap_or(now);
        for (name, value) in headers {
            match name {
                b"content-type" => read.media = media(value),
                b"content-encoding" => join(&mut read.content_encoding, value),
                b"content-length" => read.content_length = number(value).unwrap_or(0),
                b"clearspan-error" => read.is_ours = true,
                b"upgrade" => {
                    read.is_websocket = status == 101 && value.eq_ignore_ascii_case(b"websocket");
                }
                b"sec-websocket-extensions" => join(&mut read.extensions, value),
                // The finer one counts.
                b"retry-after-ms" => read.retry_after = milliseconds(value).or(read.retry_after),
                b"retry-after" => read.retry_after = read.retry_after.or_else(|| until(value, now)),
                b"x-should-retry" => read.should_retry = number(value),
                _ => {
                    ids.see(name, value);
                    durations.see(name, value);
                    read.gateway.see(name, value);
                    read.claim(name, value);
                    limits::read(&mut read.rate_limits, name, value, now);
                }
            }
        }
        read.request_id = ids.first().map(|id| bounded(id, REQUEST_ID));
        let total = durations.values.into_iter().flatten().find_map(milliseconds);
        read.claimed.total = total.or(read.claimed.total);
        read
    }

    /// What a header says of the server's own work, beside all of it; that only where no other does.
    fn claim(&mut self, name: &[u8], value: &[u8]) {
        let claimed = &mut self.claimed;
        match name {
            b"x-metrics-ttft-ms" => claimed.first_token = milliseconds(value),
            b"x-metrics-mean-itl-ms" => claimed.per_token = milliseconds(value),
            b"server-timing" => claimed.total = claimed.total.or_else(|| server_timing(value)),
            _ => (),
        }
    }
}

/// The first value of each of several headers.
struct Found<'a, const N: usize> {
    names: &'static [&'static [u8]; N],
    values: [Option<&'a [u8]>; N],
}

impl<'a, const N: usize> Found<'a, N> {
    fn of(names: &'static [&'static [u8]; N]) -> Self {
        Self { names, values: [None; N] }
    }

    fn see(&mut self, name: &[u8], value: &'a [u8]) {
        let place = self.names.iter().position(|it| name == *it);
        let value = Some(value).filter(|value| !value.is_empty());
        if let Some(old) = place.and_then(|place| self.values.get_mut(place)) {
            *old = old.or(value);
        }
    }

    fn first(&self) -> Option<&'a [u8]> {
        self.values.iter().copied().flatten().next()
    }
}

/// When the answer was made, as it says.
fn date(head: &[u8]) -> Option<SystemTime> {
    let (_, mut headers) = lines(head);
    let (_, value) = headers.find(|(name, _)| *name == b"date")?;
    httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()
}

/// How often a request was sent before, as the SDKs of AWS count it: `attempt=2; max=3`.
fn attempt(value: &[u8]) -> Option<u32> {
    let value = value.strip_prefix(b"attempt=")?;
    let attempt = value.split(|&byte| byte == b';').next().and_then(number::<u32>)?;
    Some(attempt.saturating_sub(1))
}

/// An id that a client made: whole or not at all, and never what has another look, since it may be a
/// sentence or a credential.
fn id(value: &[u8]) -> Option<String> {
    let is_id = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(byte);
    let secret = [&b"sk-"[..], b"eyJ"].iter().any(|begin| value.starts_with(begin));
    let good = (1..=CLIENT_ID).contains(&value.len()) && value.iter().all(is_id) && !secret;
    good.then(|| String::from_utf8_lossy(value).into_owned())
}

/// `dur` of an entry that is known to be the whole work: of Anthropic's gateway or Google's.
fn server_timing(value: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?;
    text.split(',').find_map(|entry| {
        let mut parts = entry.split(';').map(str::trim);
        parts.next().filter(|name| matches!(*name, "x-originResponse" | "gfet4t7"))?;
        parts.find_map(|part| milliseconds(part.strip_prefix("dur=")?.as_bytes()))
    })
}

/// The first line, and the headers' names and values.
fn lines(head: &[u8]) -> (&[u8], impl Iterator<Item = (&[u8], &[u8])>) {
    let (first, mut rest) = split(head, b'\n').unwrap_or((head, &[]));
    let headers = std::iter::from_fn(move || {
        while !rest.is_empty() {
            let (line, after) = split(rest, b'\n').unwrap_or((rest, &[]));
            rest = after;
            if let Some((name, value)) = split(line, b':') {
                return Some((name.trim_ascii(), value.trim_ascii()));
            }
        }
        None
    });
    (first.trim_ascii(), headers)
}

/// What stands before the first `at`, and what after it.
fn split(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let (before, rest) = bytes.split_at(memchr(at, bytes)?);
    Some((before, rest.get(1..).unwrap_or_default()))
}

/// The path of a target: also of one with scheme and authority.
fn path(target: &str) -> &str {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    match path.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => {
            rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/")
        }
        _ => path,
    }
}

/// An id in the query.
fn parameter(target: &str, name: &str) -> Option<String> {
    let (_, query) = target.split_once('?')?;
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).and_then(|(_, value)| id(&unescaped(value)?))
}

/// What percent escapes stand for; none where one is broken.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    Some(bytes)
}

fn media(value: &[u8]) -> Media {
    Media::of(&String::from_utf8_lossy(value))
}

fn join(list: &mut String, value: &[u8]) {
    if !list.is_empty() {
        list.push(',');
    }
    list.push_str(&String::from_utf8_lossy(value));
}

fn bounded(value: &[u8], longest: usize) -> String {
    cut(&String::from_utf8_lossy(value), longest)
}

fn cut(text: &str, longest: usize) -> String {
    text[..text.floor_char_boundary(longest)].to_owned()
}

fn number<T: std::str::FromStr>(value: &[u8]) -> Option<T> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn milliseconds(value: &[u8]) -> Option<Duration> {
    Duration::try_from_secs_f64(number::<f64>(value)? / 1e3).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read() {
        let head = RequestHead::read(
            b"POST /openai/v1/chat/completions?api-version=1 1.1\nhost: x\ncontent-type: application/json\n\
            content-encoding: gzip\ncontent-encoding: zstd\nuser-agent: python/3\n",
        );
        let expected = RequestHead {
            method: "POST".to_owned(),
            path: "/openai/v1/chat/completions".to_owned(),
            version: "1.1",
            media: Media::Json,
            content_encoding: "gzip,zstd".to_owned(),
            user_agent: Some("python/3".to_owned()),
            ..RequestHead::default()
        };
        assert_eq!(head, expected);
    }

    #[test]
    fn a_response_is_read_and_the_best_id_counts() {
        let head = response(
            "apim-request-id: c\nx-request-id: a\nrequest-id: b\ncf-ray: d\nx-request-id: e\n",
        );
        assert_eq!((head.status, head.request_id.as_deref()), (429, Some("a")));
        assert!(!head.is_ours);
        assert!(response("clearspan-error: dns\n").is_ours);
        for last in ["x-generation-id: d\ncf-ray: c\n", "cf-ray: d\n", "x-request-id:\ncf-ray: d\n"]
        {
            assert_eq!(response(last).request_id.as_deref(), Some("d"), "{last}");
        }
    }

    fn response(headers: &str) -> ResponseHead {
        ResponseHead::read(format!("429 1.1\n{headers}").as_bytes(), SystemTime::UNIX_EPOCH)
    }

    fn request(headers: &str) -> RequestHead {
        RequestHead::read(format!("POST / 1.1\n{headers}").as_bytes())
    }

    #[test]
    fn the_servers_own_claim_goes_before_its_gateways() {
        let total = |headers: &str| response(headers).claimed.total.map(|it| it.as_millis());
        let all = "server-timing: x-originResponse;dur=253\nx-envoy-upstream-service-time: 24\n\
            openai-processing-ms: 215\n";
        assert_eq!(total(all), Some(215));
        assert_eq!(total(&all.replace("openai-", "x-")), Some(24));
        assert_eq!(total("server-timing: cfL4;desc=\"x\", gfet4t7; dur=1532\n"), Some(1532));
        for nothing in
            ["server-timing: db;dur=53\n", "server-timing: gfet4t7\n", "openai-processing-ms: -1\n"]
        {
            assert_eq!(total(nothing), None, "{nothing}");
        }
        let xai =
            "x-metrics-ttft-ms: 234.1\nx-metrics-mean-itl-ms: 7.0\nx-metrics-e2e-ms: 1032.6\n";
        let millis = |it: Option<Duration>| it.map(|it| it.as_secs_f64() * 1e3);
        let ClaimedDurations { total, first_token, per_token, .. } = response(xai).claimed;
        assert_eq!(
            [total, first_token, per_token].map(millis),
            [Some(1032.6), Some(234.1), Some(7.0)]
        );
    }

    #[test]
    fn advice_to_try_again_is_read() {
        let told = |headers: &str| {
            let head = response(headers);
            (head.retry_after.map(|it| it.as_millis()), head.should_retry)
        };
        assert_eq!(told("retry-after: 15\nx-should-retry: true\n"), (Some(15_000), Some(true)));
        assert_eq!(told("retry-after: 1\nretry-after-ms: 250\n"), (Some(250), None));
        assert_eq!(told("retry-after-ms: 250\nretry-after: 1\n"), (Some(250), None));
        // By the clock of who answers, whatever ours says.
        let date =
            "retry-after: Sat, 21 Nov 2026 08:30:20 GMT\ndate: Sat, 21 Nov 2026 08:30:00 GMT\n";
        assert_eq!(told(date), (Some(20_000), None));
        assert_eq!(told("retry-after: soon\nx-should-retry: maybe\n"), (None, None));
    }

    #[test]
    fn limits_count_from_the_answers_own_date() {
        let [limit] = &response(
            "anthropic-ratelimit-tokens-reset: 2026-11-21T08:30:48Z\ndate: Sat, 21 Nov 2026 08:30:00 GMT\n",
        )
        .rate_limits[..] else {
            panic!("one limit")
        };
        assert_eq!((limit.kind, limit.reset), ("tokens", Some(Duration::from_secs(48))));
    }

    #[test]
    fn a_call_that_is_joined_is_named_in_the_query() {
        let joined =
            |target: &str| RequestHead::read(format!("GET {target} 1.1\n").as_bytes()).joined_call;
        let found = joined("/v1/realtime?x&model=&call_id=rtc_1");
        assert_eq!(found.as_deref(), Some("rtc_1"));
        for other in ["/v1/realtime", "/v1/realtime?call_id=", "/v1/realtime?my_call_id=rtc_1"] {
            assert_eq!(joined(other), None, "{other}");
        }
    }

    #[test]
    fn the_query_may_name_a_model_or_a_deployment() {
        let named = |query: &str| {
            RequestHead::read(format!("GET /v1/realtime?{query} 1.1\n").as_bytes()).model
        };
        for (query, model) in [
            ("model=gpt-realtime", Some("gpt-realtime")),
            ("api-version=1&deployment=my-voice", Some("my-voice")),
            ("model=ft%3Agpt-realtime:org%3a%3aid", Some("ft:gpt-realtime:org::id")),
            ("model=&deployment=", None),
            ("model=a%0ab", None),
            ("model=a%2", None),
            ("model=a%zz", None),
            ("call_id=rtc_1", None),
        ] {
            assert_eq!(named(query).as_deref(), model, "{query}");
        }
        assert_eq!(named(&format!("model={}", "m".repeat(CLIENT_ID + 1))), None);
    }

    #[test]
    fn a_known_agent_names_the_conversation() {
        let conversation = |headers: &str| request(headers).conversation;
        for (headers, id) in [
            ("x-claude-code-session-id: 0198-ab\n", Some("0198-ab")),
            ("x-qwen-code-session-id: q\n", Some("q")),
            ("x-session-id: s\nx-claude-code-session-id: c\n", Some("c")),
            ("session-id: s\nthread-id: t\noriginator: codex_cli_rs\n", Some("t")),
            ("session_id: s\noriginator: codex_vscode\n", Some("s")),
            ("session_id: s\n", None),
            ("thread-id: t\nx-session-id: x\n", Some("x")),
            ("x-session-id: Bearer abc\n", None),
            ("x-session-id: sk-abc\n", None),
            ("x-session-id: eyJhbGciOi.e30.x\n", None),
            ("x-session-id:\n", None),
        ] {
            assert_eq!(conversation(headers).as_deref(), id, "{headers}");
        }
        let long = |length| format!("x-session-id: {}\n", "x".repeat(length));
        assert!(conversation(&long(128)).is_some() && conversation(&long(129)).is_none());
    }

    #[test]
    fn an_sdk_says_how_often_it_tried() {
        for (headers, count) in [
            ("x-stainless-retry-count: 0\n", Some(0)),
            ("x-stainless-retry-count: 2\n", Some(2)),
            ("amz-sdk-request: attempt=3; max=5\n", Some(2)),
            ("x-stainless-retry-count: many\n", None),
            ("amz-sdk-request: max=5\n", None),
            ("x-retry: attempt=3\n", None),
        ] {
            assert_eq!(request(headers).resend_count, count, "{headers}");
        }
        let key = request("idempotency-key: stainless-node-retry-1\n").idempotency_key;
        assert_eq!(key.as_deref(), Some("stainless-node-retry-1"));
    }

    #[test]
    fn any_bytes_are_some_head() {
        for bytes in [
            &b""[..],
            b"\n",
            b"\xff\xfe",
            b"GET",
            b"GET /\n:\nx",
            b"200",
            b"no 1.1\nopenai-processing-ms: -1",
        ] {
            RequestHead::read(bytes);
            ResponseHead::read(bytes, SystemTime::UNIX_EPOCH);
        }
        assert_eq!(path("http://host:1/v1/models?x"), "/v1/models");
        assert_eq!(path("http://host"), "/");
        assert_eq!(path("/a://b"), "/a://b");
        let long = RequestHead::read(format!("GET /{} 2\n", "é".repeat(2000)).as_bytes());
        assert!(long.path.len() <= PATH && long.version == "2");
    }
}
