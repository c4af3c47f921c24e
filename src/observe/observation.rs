//! The one plain struct: everything known about one exchange. Knows no bytes, no provider and no
//! OpenTelemetry; nothing here computes.

/// What a call used.
mod usage;
/// What that costs.
mod cost;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use self::cost::{Cost, CostBasis, CostPart, NanoUsd};
pub use self::usage::{Estimate, Units, Usage};
use crate::observe::gaps::Gaps;
use crate::tape::{Ids, Upstream};

/// A value, or the reason why there is none. Unknown is never zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known<T> {
    /// The value is known.
    Value(T),
    /// Why it is not: one of a fixed vocabulary, so that it can be a metric's label.
    Unknown(&'static str),
}

/// Why the usage of an answer is not told that is read once more: it was told before.
pub const COUNTED_BEFORE: &str = "counted_before";

impl<T> Known<T> {
    /// The value, where it is known.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Unknown(_) => None,
        }
    }
}

/// What of an exchange an observation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it: one request and its answer.
    Exchange,
    /// All of a connection on which a model may be called again and again (a WebSocket), but for those
    /// calls, of which each is a turn.
    Session {
        /// How many there were.
        turns: u64,
        /// Why the first of both sides to say so would say nothing more (RFC 6455 7.4).
        close_code: Option<u16>,
    },
    /// One call within a session. Its zero is when it was asked for, or where nobody asked, when its
    /// answer began.
    Turn {
        /// Its place among them, from 1.
        number: u64,
        /// The trace of the session's own span, where the call names another, and in it its parent.
        session: Option<[u8; 16]>,
    },
}

/// Everything known about one exchange, or one call within it, after its end.
#[derive(Clone, Debug)]
pub struct Observation {
    /// What it is about.
    pub part: Part,
    /// Trace and span ids, drawn when the request head was read. Of a turn, `client_span` follows from
    /// the session's and its number, and where the call names a trace of its own, `trace` and `parent`
    /// are those.
    pub ids: Ids,
    /// The wall clock at zero, the moment the request head was read.
    pub started: SystemTime,
    /// The client's address, absent on a unix socket.
    pub client: Option<SocketAddr>,
    /// Where the request was sent; absent when no upstream was addressed.
    pub upstream: Option<Arc<Upstream>>,
    /// What HTTP says of it.
    pub http: HttpFacts,
    /// What kind of call the dialect recognised; absent where it is no model call (`GET /v1/models`).
    pub operation: Option<Operation>,
    /// What the client asked for.
    pub request: RequestFacts,
    /// What we did to learn the stream's usage, where the client had not asked for it.
    pub stream_usage: Option<StreamUsage>,
    /// What the upstream answered.
    pub response: ResponseFacts,
    /// When things happened, since zero.
    pub times: Times,
    /// Times between consecutive content chunks.
    pub gaps: Gaps,
    /// Gaps longer than `[limits] stall_seconds`.
    pub stalls: u32,
    /// How it ended.
    pub ending: Ending,
    /// What went wrong, in a bounded vocabulary; absent when nothing did. A provider's own code
    /// (`rate_limit_exceeded`) where it gave one, else the status (`429`), else our reason
    /// (`connection_refused`).
    pub error_type: Option<String>,
    /// Whose fault it was; absent where nothing went wrong.
    pub error_side: Option<Side>,
    /// The limit that the upstream turned the call away for.
    pub limit_hit: Option<LimitHit>,
    /// Tokens, as the provider reported them, or why there are none.
    pub usage: Known<Usage>,
    /// Where none were reported: what its texts come to.
    pub estimate: Option<Estimate>,
    /// What it cost, or why that is not known.
    pub cost: Known<Cost>,
    /// What could not be read, and why. Never shown to the client.
    pub notes: Vec<Note>,
}

/// What HTTP says of an exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpFacts {
    /// As sent, case and all.
    pub method: String,
    /// The path as the client sent it (mount included), without the query.
    pub path: String,
    /// A low-cardinality name of the path (`/v1/chat/completions`, `/v1/models/{id}`), for
    /// `http.route`; absent where the dialect does not know the path.
    pub route: Option<&'static str>,
    /// `http` or `https`: how the client reached us.
    pub scheme: &'static str,
    /// `1.0`, `1.1` or `2`: what the client spoke.
    pub version: &'static str,
    /// The status the client got, ours or the upstream's; absent when it left before one.
    pub status: Option<u16>,
    /// Body bytes from the client, as on the wire (before content decoding).
    pub request_bytes: u64,
    /// Body bytes to the client, as on the wire.
    pub response_bytes: u64,
    /// `User-Agent`, at most 256 bytes.
    pub user_agent: Option<String>,
    /// The upstream's id of the exchange (`x-request-id`, `request-id`, …), at most 128 bytes.
    pub request_id: Option<String>,
    /// How often the client's SDK had sent it before (`x-stainless-retry-count`), where it says so.
    pub resend_count: Option<u32>,
    /// `Idempotency-Key`, at most 128 bytes: the same on each attempt of one operation.
    pub idempotency_key: Option<String>,
    /// How long the upstream asks to wait: `retry-after-ms`, `Retry-After`, or Gemini's `RetryInfo`.
    pub retry_after: Option<Duration>,
    /// `x-should-retry`: whether the upstream wants to be tried again.
    pub should_retry: Option<bool>,
    /// The upstream's limits, one of each kind.
    pub rate_limits: Vec<RateLimit>,
}

/// What a response says of one limit of its upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// What is limited: `requests`, `tokens`, `input_tokens`, `tokens_minute`, …: of a fixed vocabulary.
    pub kind: &'static str,
    /// So much is allowed.
    pub limit: Option<u64>,
    /// So much of it is left.
    pub remaining: Option<u64>,
    /// From the answer until all of it is there again.
    pub reset: Option<Duration>,
}

/// Why an upstream does not take more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitHit {
    /// Too much at once: a pause helps.
    RateLimit,
    /// What was paid for or allowed is used up: a pause does not help.
    Quota,
    /// The upstream itself has too much to do (503, 529).
    Overloaded,
}

impl LimitHit {
    /// The name in `clearspan.rate_limit.cause`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RateLimit => "rate_limit",
            Self::Quota => "quota",
            Self::Overloaded => "overloaded",
        }
    }
}

/// Whose fault an error was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Who called: what was asked for is wrong, not allowed, or more than was paid for.
    Client,
    /// This proxy: a limit of its own, or its end.
    Proxy,
    /// The way to the upstream.
    Network,
    /// The upstream, and the gateways before it.
    Provider,
}

impl Side {
    /// The name in `clearspan.error.side`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Proxy => "proxy",
            Self::Network => "network",
            Self::Provider => "provider",
        }
    }
}

/// The kinds of model calls, by the GenAI conventions' `gen_ai.operation.name`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `chat`: messages in, a message out.
    Chat,
    /// `text_completion`: a prompt in, text out.
    TextCompletion,
    /// `embeddings`: text in, vectors out.
    Embeddings,
    /// `generate_content`: parts of any kind in and out (Gemini's own routes).
    GenerateContent,
    /// `fetch_response`: an answer that was generated by another call.
    FetchResponse,
    /// `image_generation`: pictures out. The conventions have no name for this and those below.
    ImageGeneration,
    /// `video_generation`: moving pictures out.
    VideoGeneration,
    /// `speech`: text in, sound out.
    Speech,
    /// `transcription`: sound in, text out, translated or not.
    Transcription,
    /// `moderation`: whether a text may be said.
    Moderation,
    /// `rerank`: documents in, their order out.
    Rerank,
    /// `realtime`: one turn of a spoken session.
    Realtime,
}

impl Operation {
    /// The conventions' name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::TextCompletion => "text_completion",
            Self::Embeddings => "embeddings",
            Self::GenerateContent => "generate_content",
            Self::FetchResponse => "fetch_response",
            Self::ImageGeneration => "image_generation",
            Self::VideoGeneration => "video_generation",
            Self::Speech => "speech",
            Self::Transcription => "transcription",
            Self::Moderation => "moderation",
            Self::Rerank => "rerank",
            Self::Realtime => "realtime",
        }
    }
}

/// What became of the question about a stream's usage that we put in the client's stead. Absent:
/// there was none to put.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamUsage {
    /// Asked, and what that caused was taken out of the answer.
    Asked,
    /// Asked, but not all of the answer could be looked at: the client may see the usage.
    AskedVisibly,
    /// The upstream refused it, and got the request once more as the client wrote it.
    Refused,
    /// Not asked, since the upstream refused it lately.
    Paused,
    /// Not asked, since the body was too long or too slow to be held.
    OverLimit,
}

impl StreamUsage {
    /// The name in `clearspan.stream_usage`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::AskedVisibly => "asked_visibly",
            Self::Refused => "refused",
            Self::Paused => "paused",
            Self::OverLimit => "over_limit",
        }
    }

    /// Whether the answer comes from a request that asks.
    pub fn is_asked(self) -> bool {
        matches!(self, Self::Asked | Self::AskedVisibly)
    }
}

/// What the client asked for. Absent means that the request did not say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RequestFacts {
    /// The model asked for, as sent.
    pub model: Option<String>,
    /// Whether a stream was asked for (Ollama streams unless told not to).
    pub stream: bool,
    /// `stream_options.include_usage`, where the client set it.
    pub include_usage: Option<bool>,
    /// `temperature`.
    pub temperature: Option<f64>,
    /// `top_p`.
    pub top_p: Option<f64>,
    /// `top_k`.
    pub top_k: Option<f64>,
    /// `frequency_penalty`.
    pub frequency_penalty: Option<f64>,
    /// `presence_penalty`.
    pub presence_penalty: Option<f64>,
    /// `max_completion_tokens`, `max_tokens` or `num_predict`.
    pub max_tokens: Option<i64>,
    /// `seed`.
    pub seed: Option<i64>,
    /// `n`, where it is not 1.
    pub choice_count: Option<i64>,
    /// `stop`, as a list; at most 16 of at most 128 bytes. Empty unless the operator wants them.
    pub stop_sequences: Vec<String>,
    /// `reasoning_effort`, or Ollama's `think` level.
    pub reasoning_level: Option<String>,
    /// The conventions' `gen_ai.output.type` (`text`, `json`, `image`, `speech`), or `video`, for which they have
    /// no word; where a format was asked for.
    pub output_type: Option<&'static str>,
    /// `service_tier` asked for.
    pub service_tier: Option<String>,
    /// `encoding_format` of embeddings.
    pub encoding_format: Option<String>,
    /// `dimensions` of embeddings.
    pub dimensions: Option<i64>,
    /// What calls for pictures and sound say beside.
    pub media: Option<Box<MediaRequest>>,
    /// How many messages were sent (chat), or inputs (embeddings, completions).
    pub messages: Option<u32>,
    /// How many tools were offered.
    pub tools: u32,
    /// The conversation that the call continues, where the client named it; at most 128 bytes.
    pub conversation: Option<String>,
    /// The provider keeps the answer, so that it can be fetched later.
    pub stored: bool,
    /// Nothing is to be generated: what was sent is only made ready for the next call.
    pub warm_up: bool,
    /// Others may hear the same answer: the connection joined a call that was there before.
    pub joined: bool,
}

/// What a call for pictures or sound asks for. Absent means that the request did not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MediaRequest {
    /// The size of the pictures to make, as sent (`1024x1536`, `auto`); at most 64 bytes.
    pub size: Option<String>,
    /// Their quality, as sent (`high`, `auto`); at most 64 bytes.
    pub quality: Option<String>,
    /// How often an unfinished picture is to be shown in a stream.
    pub partial_images: Option<i64>,
    /// Characters of the text to speak: Unicode's scalar values.
    pub characters: Option<u64>,
}

/// What the upstream answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResponseFacts {
    /// The provider's id of the answer.
    pub id: Option<String>,
    /// The model that answered.
    pub model: Option<String>,
    /// Who answered in the upstream's stead, as it says: a provider (OpenRouter's `provider`), or the
    /// host behind a cloud model (Ollama's `remote_host`), or Azure's deployment that took over from
    /// the one that was asked; at most 128 bytes.
    pub served_by: Option<String>,
    /// One per choice, in order of index; `None` where a choice never finished.
    pub finish_reasons: Vec<Option<String>>,
    /// The service tier that answered.
    pub service_tier: Option<String>,
    /// Where the answer was computed, where it says so (Anthropic's `inference_geo`).
    pub place: Option<String>,
    /// OpenAI's `system_fingerprint`.
    pub system_fingerprint: Option<String>,
    /// The last usage object that was not null. Input includes cached, output includes reasoning.
    pub usage: Option<Usage>,
    /// What other models used on the way, where it tells them.
    pub others: Option<Box<OtherModels>>,
    /// The usage object as it came, in JSON of at most 5 KiB, where the operator wants it.
    pub raw_usage: Option<Box<str>>,
    /// What the provider itself says that the call cost (OpenRouter, Perplexity, xAI).
    pub reported_cost: Option<NanoUsd>,
    /// How many tool calls the answer holds.
    pub tool_calls: u32,
    /// Whether the model refused in words of its own (OpenAI's `refusal`).
    pub refused: bool,
    /// Whether the answer came as a stream: of events, or of sound as it is made.
    pub streamed: bool,
    /// Events (SSE) or lines (NDJSON) in the answer.
    pub events: u64,
    /// Events that carried generated content; of sound, pieces that came at one moment each.
    pub chunks: u64,
    /// An error inside the answer (an error body, or an error event in a 200 stream):
    /// the provider's code or type, lower case, at most 64 bytes of `[a-z0-9_.-]`.
    pub error: Option<String>,
    /// Its type says that it is the request's fault (`invalid_request_error`), whatever its code.
    pub error_is_requests: bool,
    /// How long the error's own body asks to wait (Gemini's `RetryInfo`).
    pub retry_after: Option<Duration>,
    /// Durations the provider claims (Ollama, `openai-processing-ms`, …).
    pub claimed: ClaimedDurations,
    /// The answer is not there yet: the provider still works on it.
    pub pending: bool,
    /// It was made apart from the call that asked for it, which may have ended before (OpenAI's
    /// background responses, batches, runs of assistants).
    pub background: bool,
}

/// What another model used within a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherModel {
    /// Its name; at most 256 bytes.
    pub model: String,
    /// What it used: no part of the call's usage but for `Units::other_models`.
    pub usage: Usage,
}

/// Other models of one call; at most 16 of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OtherModels(pub Vec<OtherModel>);

impl OtherModels {
    /// The first of them; none where there is none.
    pub fn first_of(all: impl Iterator<Item = OtherModel>) -> Option<Box<Self>> {
        let first: Vec<_> = all.take(16).collect();
        (!first.is_empty()).then(|| Box::new(Self(first)))
    }
}

/// Durations that the provider claims of its own work; kept beside ours, never instead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClaimedDurations {
    /// All of it: Ollama's `total_duration`, Groq's and Cerebras' `total_time`, Azure's
    /// `total_duration_ms`, `openai-processing-ms`, xAI's `x-metrics-e2e-ms`, or what a
    /// gateway before it says (`x-envoy-upstream-service-time`, `server-timing`).
    pub total: Option<Duration>,
    /// Loading the model: Ollama's `load_duration`.
    pub load: Option<Duration>,
    /// Reading the prompt: Ollama's `prompt_eval_duration`, Groq's `prompt_time`, llama.cpp's
    /// `prompt_ms`.
    pub prompt: Option<Duration>,
    /// Generating: Ollama's `eval_duration`, Groq's `completion_time`, llama.cpp's `predicted_ms`.
    pub output: Option<Duration>,
    /// Until the first token: xAI's `x-metrics-ttft-ms`, Azure's `engine_ttft_ms`, GPUStack's
    /// `time_to_first_token_ms`.
    pub first_token: Option<Duration>,
    /// Between two tokens, on average: xAI's `x-metrics-mean-itl-ms`, GPUStack's
    /// `time_per_output_token_ms`.
    pub per_token: Option<Duration>,
}

/// When things happened, since zero: the moment the request head was read. Absent: it did not happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// How long the request's body was waited for before any of it was sent, so that usage could be
    /// asked for.
    pub held: Option<Duration>,
    /// The search for a connection began.
    pub lease: Option<Duration>,
    /// A new connection's TCP handshake was done (after name resolution); absent on a reused one.
    pub tcp: Option<Duration>,
    /// A new connection's TLS handshake was done.
    pub tls: Option<Duration>,
    /// A connection was leased or made.
    pub connected: Option<Duration>,
    /// First byte written upstream.
    pub sent: Option<Duration>,
    /// Last request byte written upstream.
    pub sent_all: Option<Duration>,
    /// The response head was read.
    pub head: Option<Duration>,
    /// First byte of the response's body.
    pub first_byte: Option<Duration>,
    /// First event that carried generated content of any kind.
    pub first_chunk: Option<Duration>,
    /// First event that carried reasoning.
    pub first_reasoning: Option<Duration>,
    /// First event that carried text for the user.
    pub first_text: Option<Duration>,
    /// First event that carried a tool call.
    pub first_tool_call: Option<Duration>,
    /// Last event that carried generated content.
    pub last_chunk: Option<Duration>,
    /// The end of the exchange.
    pub end: Duration,
}

/// How an exchange ended: the first that holds, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// Our refusal, our limit other than time, or the drain's deadline.
    ProxyError,
    /// Our limit on a client that neither sends nor reads.
    ClientTimeout,
    /// The client was gone before the end.
    ClientCanceled,
    /// Our limit on the upstream.
    UpstreamTimeout,
    /// A transport error, or incomplete framing.
    UpstreamReset,
    /// 4xx or 5xx.
    ErrorStatus,
    /// An error inside a 2xx answer.
    ErrorInStream,
    /// The framing ended well, but none of the dialect's terminators was seen.
    Truncated,
    /// Everything came.
    Complete,
}

impl Ending {
    /// The name in `clearspan.ending`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ProxyError => "proxy_error",
            Self::ClientTimeout => "client_timeout",
            Self::ClientCanceled => "client_canceled",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::UpstreamReset => "upstream_reset",
            Self::ErrorStatus => "error_status",
            Self::ErrorInStream => "error_in_stream",
            Self::Truncated => "truncated",
            Self::Complete => "complete",
        }
    }
}

/// Something that could not be read or kept. Observing never fails; it leaves notes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Note {
    /// The request's tape was torn: part of its body was not kept.
    RequestTorn,
    /// The response's tape was torn: part of its body was not kept.
    ResponseTorn,
    /// The request's JSON could not be read.
    RequestUnreadable,
    /// The response's JSON could not be read.
    ResponseUnreadable,
    /// An event or line was not JSON of the expected shape.
    EventUnreadable,
    /// An event or line was longer than the limit and skipped.
    EventTooLong,
    /// A content encoding we do not know.
    EncodingUnknown,
    /// Bytes that are not of the encoding they claim.
    EncodingBroken,
    /// Decompressed bytes above the limit, in all or for each byte that was sent, were not read.
    EncodingTooLarge,
    /// There was no memory left for what was read (`tape_memory`): it was let go.
    MemoryShort,
    /// The reported usage cannot be right: many chunks and one token, a prompt and no input, a total that
    /// is not its parts' sum, parts beyond their whole (`observe::doubts`).
    UsageSuspicious,
    /// More calls were open at once on one connection than are kept: some are not told.
    TurnsForgotten,
    /// Of a call on a connection only the end was seen: when it began, and how long it took, is not known.
    BeginningUnseen,
}

impl Note {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::RequestTorn,
        Self::ResponseTorn,
        Self::RequestUnreadable,
        Self::ResponseUnreadable,
        Self::EventUnreadable,
        Self::EventTooLong,
        Self::EncodingUnknown,
        Self::EncodingBroken,
        Self::EncodingTooLarge,
        Self::MemoryShort,
        Self::UsageSuspicious,
        Self::TurnsForgotten,
        Self::BeginningUnseen,
    ];

    /// The name in `clearspan.notes`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequestTorn => "request_torn",
            Self::ResponseTorn => "response_torn",
            Self::RequestUnreadable => "request_unreadable",
            Self::ResponseUnreadable => "response_unreadable",
            Self::EventUnreadable => "event_unreadable",
            Self::EventTooLong => "event_too_long",
            Self::EncodingUnknown => "encoding_unknown",
            Self::EncodingBroken => "encoding_broken",
            Self::EncodingTooLarge => "encoding_too_large",
            Self::MemoryShort => "memory_short",
            Self::UsageSuspicious => "usage_suspicious",
            Self::TurnsForgotten => "turns_forgotten",
            Self::BeginningUnseen => "beginning_unseen",
        }
    }
}
