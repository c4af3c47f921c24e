//! What is sent: requests, answers and stream events with the shape and size that the OpenAI API and
//! its SDK give them. Knows no socket and no proxy.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use memchr::memmem;
use serde::{Deserialize, Serialize};

/// Where calls go.
pub(crate) const PATH: &str = "/v1/chat/completions";
/// Where they go that Clearspan must not ask in (`stream_usage = "observe"`).
pub(crate) const OBSERVED_PATH: &str = "/observed/v1/chat/completions";
/// Of the upstream to which proxies speak HTTP/2.
pub(crate) const HTTP2_PATH: &str = "/http2/v1/chat/completions";
/// Tells the upstream to stream this many content chunks; absent: a unary answer.
pub(crate) const CHUNKS_HEADER: &str = "bench-chunks";
/// Tells the upstream the time from one chunk to the next, in microseconds; 0: no pause.
pub(crate) const GAP_HEADER: &str = "bench-gap-us";
/// In a request's body: the client asks for usage itself.
pub(crate) const ASKS_FOR_USAGE: &[u8] = br#""include_usage":true"#;

/// The headers of the OpenAI SDK for Python.
pub(crate) const REQUEST_HEADERS: [(&str, &str); 13] = [
    ("Accept", "application/json"),
    ("Accept-Encoding", "gzip, deflate"),
    ("Content-Type", "application/json"),
    ("User-Agent", "OpenAI/Python 1.99.9"),
    ("X-Stainless-Lang", "python"),
    ("X-Stainless-Package-Version", "1.99.9"),
    ("X-Stainless-OS", "Linux"),
    ("X-Stainless-Arch", "x64"),
    ("X-Stainless-Runtime", "CPython"),
    ("X-Stainless-Runtime-Version", "3.12.3"),
    ("x-stainless-retry-count", "0"),
    ("x-stainless-read-timeout", "600"),
    ("Authorization", "Bearer sk-bench-000000000000000000000000000000000000"),
];

/// The headers of an answer, without those that frame it.
pub(crate) const RESPONSE_HEADERS: &str = "Date: Tue, 19 Aug 2025 00:00:00 GMT\r\n\
    Connection: keep-alive\r\n\
    access-control-expose-headers: X-Request-ID\r\n\
    openai-organization: bench\r\n\
    openai-processing-ms: 312\r\n\
    openai-version: 2020-10-01\r\n\
    x-envoy-upstream-service-time: 330\r\n\
    x-ratelimit-limit-requests: 10000\r\n\
    x-ratelimit-limit-tokens: 30000000\r\n\
    x-ratelimit-remaining-requests: 9999\r\n\
    x-ratelimit-remaining-tokens: 29999993\r\n\
    x-ratelimit-reset-requests: 6ms\r\n\
    x-ratelimit-reset-tokens: 0s\r\n\
    x-request-id: req_00000000000000000000000000000000\r\n\
    CF-Cache-Status: DYNAMIC\r\n\
    X-Content-Type-Options: nosniff\r\n\
    Server: cloudflare\r\n";

/// The body of a unary answer.
pub(crate) const ANSWER: &str = concat!(
    r#"{"id":"chatcmpl-C5uVn0000000000000000000000","object":"chat.completion","#,
    r#""created":1755561600,"model":"gpt-4o-2024-08-06","choices":[{"index":0,"message":"#,
    r#"{"role":"assistant","content":"The three largest moons of Jupiter are Ganymede, "#,
    r#"Callisto and Io.","refusal":null,"annotations":[]},"logprobs":null,"#,
    r#""finish_reason":"stop"}],"usage":{"prompt_tokens":211,"completion_tokens":17,"#,
    r#""total_tokens":228,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"#,
    r#""completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"#,
    r#""accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"#,
    r#""service_tier":"default","system_fingerprint":"fp_a288987b44"}"#
);

const TURN: &str = "Please look at the log below and tell me what went wrong.\\n\\n\
    08:14:02 INFO  scheduler: job \\\"nightly\\\" started\\n08:14:09 WARN  store: slow query, 2113 ms\\n\
    08:14:11 ERROR worker-3: connection reset by peer (attempt 2 of 5)\\n\\nBe brief.";

/// How a request wants its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// In one piece.
    Unary(To),
    /// As a stream, and who asks for its usage.
    Stream(Asks),
}

/// Where a unary request goes: each is the same model's stand-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum To {
    /// An upstream that Clearspan asks about usage where it can: requests are held for that.
    Asked,
    /// One that it does not ask.
    Observed,
    /// One that is not asked either, and speaks HTTP/2.
    Http2,
}

/// Who asks for a stream's usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Asks {
    Client,
    /// Clearspan, in the client's stead; the other proxies do not.
    Proxy,
    Nobody,
}

impl Want {
    /// Where such a request goes.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Stream(Asks::Nobody) | Self::Unary(To::Observed) => OBSERVED_PATH,
            Self::Unary(To::Http2) => HTTP2_PATH,
            Self::Stream(_) | Self::Unary(To::Asked) => PATH,
        }
    }
}

/// The body of a request: a conversation of turns, `bytes` long.
pub(crate) fn request_body(bytes: usize, want: Want) -> Bytes {
    let tail = match want {
        Want::Unary(_) => r#""}],"model":"gpt-4o","temperature":0.7}"#,
        Want::Stream(Asks::Client) => {
            r#""}],"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true}}"#
        }
        Want::Stream(Asks::Proxy | Asks::Nobody) => r#""}],"model":"gpt-4o","stream":true}"#,
    };
    let mut body = String::with_capacity(bytes);
    body.push_str(r#"{"messages":[{"role":"system","content":"You are a helpful assistant."}"#);
    let turn = [r#",{"role":"user","content":""#, TURN, r#""}"#].concat();
    let last = r#",{"role":"user","content":""#;
    while body.len() + turn.len() + last.len() + tail.len() <= bytes {
        body.push_str(&turn);
    }
    body.push_str(last);
    while body.len() + tail.len() < bytes {
        body.push('x');
    }
    body.push_str(tail);
    Bytes::from(body)
}

/// Nanoseconds of the machine's clock, the same in every process.
pub(crate) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

const STAMP_DIGITS: usize = 20;
const STAMP_KEY: &str = r#""obfuscation":""#;

/// One content chunk, ready to write with the chunked coding around it, but for the time of sending.
/// The time stands in `obfuscation`, a member of arbitrary text that the API itself sends.
pub(crate) struct Chunk {
    wire: Vec<u8>,
    stamp_at: usize,
}

impl Chunk {
    /// With usage asked for, each event says `"usage":null`, as the API does.
    pub(crate) fn new(with_usage: bool) -> Self {
        let wire = chunked(&event(
            r#"{"content":" moons"}"#,
            "null",
            if with_usage { r#","usage":null"# } else { "" },
            &format!(r#",{STAMP_KEY}{}""#, "0".repeat(STAMP_DIGITS)),
        ));
        let key = memmem::find(&wire, STAMP_KEY.as_bytes()).unwrap_or_default();
        Self { wire, stamp_at: key + STAMP_KEY.len() }
    }

    /// The bytes to write, saying that they were sent now.
    pub(crate) fn stamped(&mut self) -> &[u8] {
        let mut rest = now_ns();
        let digits = self.wire.iter_mut().skip(self.stamp_at).take(STAMP_DIGITS);
        for digit in digits.rev() {
            *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
        }
        &self.wire
    }
}

/// When this event was sent; `None` for one that is not a content chunk.
pub(crate) fn stamp(event: &[u8]) -> Option<u64> {
    let at = memmem::rfind(event, STAMP_KEY.as_bytes())? + STAMP_KEY.len();
    std::str::from_utf8(event.get(at..at + STAMP_DIGITS)?).ok()?.parse().ok()
}

/// The event before the first content chunk, which names the role.
pub(crate) fn opening(with_usage: bool) -> Vec<u8> {
    let usage = if with_usage { r#","usage":null"# } else { "" };
    chunked(&event(r#"{"role":"assistant","content":"","refusal":null}"#, "null", usage, ""))
}

/// What follows the last content chunk: the reason, the usage if asked for, `[DONE]`, the last chunk.
pub(crate) fn closing(chunks: usize, with_usage: bool) -> Vec<u8> {
    let null = if with_usage { r#","usage":null"# } else { "" };
    let mut wire = chunked(&event("{}", "\"stop\"", null, ""));
    if with_usage {
        wire.extend(chunked(&usage_event(chunks)));
    }
    wire.extend(chunked("data: [DONE]\n\n"));
    wire.extend_from_slice(b"0\r\n\r\n");
    wire
}

const EVENT_HEAD: &str = concat!(
    r#"data: {"id":"chatcmpl-C5uVn0000000000000000000000","object":"chat.completion.chunk","#,
    r#""created":1755561600,"model":"gpt-4o-2024-08-06","service_tier":"default","#,
    r#""system_fingerprint":"fp_a288987b44","#
);

fn event(delta: &str, finish: &str, usage: &str, stamp: &str) -> String {
    format!(
        "{EVENT_HEAD}\"choices\":[{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\
         \"finish_reason\":{finish}}}]{usage}{stamp}}}\n\n"
    )
}

fn usage_event(chunks: usize) -> String {
    let total = 211 + chunks;
    format!(
        "{EVENT_HEAD}\"choices\":[],\"usage\":{{\"prompt_tokens\":211,\"completion_tokens\":{chunks},\
         \"total_tokens\":{total},\"prompt_tokens_details\":{{\"cached_tokens\":0}},\
         \"completion_tokens_details\":{{\"reasoning_tokens\":0}}}}}}\n\n"
    )
}

/// One chunk of the chunked coding.
fn chunked(text: &str) -> Vec<u8> {
    let mut wire = String::with_capacity(text.len() + 16);
    // Writing to a String cannot fail.
    write!(wire, "{:x}\r\n{text}\r\n", text.len()).unwrap_or_default();
    wire.into_bytes()
}
