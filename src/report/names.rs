//! Every attribute key, every instrument and what each means; it knows no exchange. Nothing else
//! builds an attribute key or an instrument, so this page is what dashboards may rely on.
//!
//! Convention profile: OpenTelemetry semantic conventions 1.41. What they have no name for stands
//! under `clearspan.`.

#![expect(
    clippy::disallowed_methods,
    reason = "this module is the one place that makes attributes and instruments"
)]

use opentelemetry::metrics::{Counter, Histogram, Meter};
use opentelemetry::{KeyValue, Value};
use opentelemetry_sdk::Resource;

/// The schema all our telemetry follows.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.41.0";
/// The instrumentation scope of all our telemetry.
pub const SCOPE: &str = "clearspan";
/// `event_name` of the log record that each exchange leaves.
pub const EVENT: &str = "clearspan.exchange";
/// `event_name` of the log record that each call within a session leaves.
pub const EVENT_TURN: &str = "clearspan.turn";
/// The value of a label past its limit.
pub const OTHER: &str = "_other";
/// `http.request.method` of a method that HTTP does not know.
pub const UNKNOWN_METHOD: &str = "_OTHER";

/// A value of `clearspan.signal`.
pub const TRACES: &str = "traces";
/// A value of `clearspan.signal`.
pub const METRIC_POINTS: &str = "metrics";
/// A value of `clearspan.signal`.
pub const LOGS: &str = "logs";

/// One attribute key, and the only way to give it a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute(pub(super) &'static str);

impl Attribute {
    /// The attribute of a metric.
    pub fn of(self, value: impl Into<Value>) -> KeyValue {
        KeyValue::new(self.0, value)
    }

    /// Whether `value` is this attribute's.
    pub fn is(self, value: &KeyValue) -> bool {
        value.key.as_str() == self.0
    }
}

macro_rules! attributes {
    ($($(#[$meaning:meta])* $name:ident = $key:literal;)*) => {
        $($(#[$meaning])* pub const $name: Attribute = Attribute($key);)*
        /// All of them, in the order above.
        #[cfg(test)]
        pub(super) const ATTRIBUTES: &[Attribute] = &[$($name),*];
    };
}

attributes! {
    /// `chat`, `text_completion`, `embeddings`.
    OPERATION = "gen_ai.operation.name";
    /// Who answers, in the conventions' spelling.
    PROVIDER = "gen_ai.provider.name";
    /// The model asked for, as sent.
    REQUEST_MODEL = "gen_ai.request.model";
    /// `true` where a stream was asked for, else absent.
    REQUEST_STREAM = "gen_ai.request.stream";
    /// As sent.
    TEMPERATURE = "gen_ai.request.temperature";
    /// As sent.
    TOP_P = "gen_ai.request.top_p";
    /// As sent; a double in this profile.
    TOP_K = "gen_ai.request.top_k";
    /// As sent.
    FREQUENCY_PENALTY = "gen_ai.request.frequency_penalty";
    /// As sent.
    PRESENCE_PENALTY = "gen_ai.request.presence_penalty";
    /// The most output tokens the client allows.
    MAX_TOKENS = "gen_ai.request.max_tokens";
    /// As sent.
    SEED = "gen_ai.request.seed";
    /// How many answers were asked for, where not one.
    CHOICE_COUNT = "gen_ai.request.choice.count";
    /// As sent.
    STOP_SEQUENCES = "gen_ai.request.stop_sequences";
    /// How much thinking was asked for, in the provider's words.
    REASONING_LEVEL = "gen_ai.request.reasoning.level";
    /// Formats of embeddings asked for.
    ENCODING_FORMATS = "gen_ai.request.encoding_formats";
    /// Dimensions of embeddings asked for.
    DIMENSIONS = "gen_ai.embeddings.dimension.count";
    /// `text`, `json`, `image`, `speech`, where a format was asked for.
    OUTPUT_TYPE = "gen_ai.output.type";
    /// The conversation that the client named; never one of our making.
    CONVERSATION = "gen_ai.conversation.id";
    /// The provider's id of the answer.
    RESPONSE_ID = "gen_ai.response.id";
    /// The model that answered.
    RESPONSE_MODEL = "gen_ai.response.model";
    /// One per choice, in the provider's words; `error` where a choice never finished.
    FINISH_REASONS = "gen_ai.response.finish_reasons";
    /// Seconds from the first byte sent upstream to the first generated content; streams only.
    TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk";
    /// Input tokens, cached ones included.
    INPUT_TOKENS = "gen_ai.usage.input_tokens";
    /// Output tokens, reasoning included.
    OUTPUT_TOKENS = "gen_ai.usage.output_tokens";
    /// Of the input: read from the provider's cache.
    CACHE_READ_TOKENS = "gen_ai.usage.cache_read.input_tokens";
    /// Of the input: written to the provider's cache.
    CACHE_WRITE_TOKENS = "gen_ai.usage.cache_creation.input_tokens";
    /// Of the output: reasoning.
    REASONING_TOKENS = "gen_ai.usage.reasoning.output_tokens";
    /// What the call cost in USD; no convention has a name, backends read this one.
    USAGE_COST = "gen_ai.usage.cost";
    /// `input` or `output`.
    TOKEN_TYPE = "gen_ai.token.type";
    /// `chat_completions` or `responses`; only of the provider OpenAI, also on Azure.
    OPENAI_API_TYPE = "openai.api.type";
    /// The tier asked for, where it is not `auto`.
    OPENAI_REQUEST_TIER = "openai.request.service_tier";
    /// The tier that answered.
    OPENAI_RESPONSE_TIER = "openai.response.service_tier";
    /// As answered.
    OPENAI_FINGERPRINT = "openai.response.system_fingerprint";
    /// What went wrong: the provider's code, the status, or our reason. Absent on success.
    ERROR_TYPE = "error.type";
    /// On a CLIENT span the upstream; on a SERVER span our own listener (a socket's path included).
    SERVER_ADDRESS = "server.address";
    /// See `server.address`.
    SERVER_PORT = "server.port";
    /// The client's address.
    CLIENT_ADDRESS = "client.address";
    /// Upper case; `_OTHER` where HTTP knows no such method.
    METHOD = "http.request.method";
    /// How often the client's SDK had sent the request before; absent where it had not.
    RESEND_COUNT = "http.request.resend_count";
    /// As sent, where `http.request.method` is `_OTHER`.
    METHOD_ORIGINAL = "http.request.method_original";
    /// A low-cardinality name of the path.
    ROUTE = "http.route";
    /// The status the client got; on a CLIENT span the upstream's.
    STATUS = "http.response.status_code";
    /// Bytes of the body from the client, as on the wire.
    REQUEST_SIZE = "http.request.body.size";
    /// Bytes of the body to the client, as on the wire.
    RESPONSE_SIZE = "http.response.body.size";
    /// The path as the client sent it, without the query.
    URL_PATH = "url.path";
    /// `http` or `https`: what clients speak to us.
    URL_SCHEME = "url.scheme";
    /// The client's HTTP version.
    PROTOCOL_VERSION = "network.protocol.version";
    /// `User-Agent` of the client.
    USER_AGENT = "user_agent.original";
    /// How the exchange ended: `complete`, `client_canceled`, `upstream_reset`, …
    ENDING = "clearspan.ending";
    /// On a SERVER span, why the proxy itself refused or gave up: `no_route`, `busy`, …
    REASON = "clearspan.reason";
    /// Whose fault an error was: `client`, `proxy`, `network` (the way to the upstream) or `provider`.
    ERROR_SIDE = "clearspan.error.side";
    /// Why an upstream took no more: `rate_limit`, `quota` or `overloaded`.
    LIMIT_CAUSE = "clearspan.rate_limit.cause";
    /// What a limit limits: `requests`, `tokens`, `input_tokens`, `output_tokens`, `tokens_minute`, …
    LIMIT_KIND = "clearspan.rate_limit.kind";
    /// Seconds that the upstream asks to wait before another attempt.
    RETRY_AFTER = "clearspan.retry_after";
    /// Whether the upstream wants another attempt (`x-should-retry`).
    SHOULD_RETRY = "clearspan.should_retry";
    /// `Idempotency-Key`: the same on each attempt of one operation.
    IDEMPOTENCY_KEY = "clearspan.request.idempotency_key";
    /// The upstream's name in `proxy.toml`.
    UPSTREAM = "clearspan.upstream";
    /// What could not be read or kept of the exchange.
    NOTES = "clearspan.notes";
    /// The upstream's own id of the exchange (`x-request-id`).
    REQUEST_ID = "clearspan.upstream.request_id";
    /// `reported`, `computed`, `lower_bound` or `estimated`.
    COST_BASIS = "clearspan.cost.basis";
    /// Beside a cost that the provider reported: what our prices make of the usage, in USD.
    COST_COMPUTED = "clearspan.cost.computed";
    /// What an estimate of the tokens costs, in USD.
    COST_ESTIMATED = "clearspan.cost.estimated";
    /// What the computed cost leaves out, so that it is a lower bound.
    COST_LEFT_OUT = "clearspan.cost.left_out";
    /// The price entry that the cost was computed by.
    COST_ENTRY = "clearspan.cost.entry";
    /// The day the entry's prices are of.
    COST_DATED = "clearspan.cost.dated";
    /// Why there is no cost.
    COST_UNPRICED = "clearspan.cost.unpriced";
    /// What became of our question about a stream's usage: `asked`, `asked_visibly`, `refused`, `paused`,
    /// `over_limit`; absent where there was none to put.
    STREAM_USAGE = "clearspan.stream_usage";
    /// Why there is no usage.
    USAGE_MISSING = "clearspan.usage.missing";
    /// Input tokens of a call that reported none, counted from its prompt; absent where that is not all text.
    ESTIMATED_INPUT = "clearspan.usage.estimated.input_tokens";
    /// Output tokens of a call that reported none, counted from what came of its answer; reasoning that was
    /// not shown is not in it.
    ESTIMATED_OUTPUT = "clearspan.usage.estimated.output_tokens";
    /// The tokenizer that an estimate was made with: `o200k_base`, `cl100k_base`.
    ESTIMATED_BY = "clearspan.usage.estimated.tokenizer";
    /// `true` where the tokenizer is the model's own; else the count may be some tenths off.
    ESTIMATED_OWN = "clearspan.usage.estimated.own_tokenizer";
    /// `true` where an even sample of a long text was counted and the rest is in proportion.
    ESTIMATED_SAMPLED = "clearspan.usage.estimated.sampled";
    /// The provider's usage object as it came, in JSON; where it came in two, a list.
    USAGE_RAW = "clearspan.usage.raw";
    /// How tokens were counted: `reported` or `estimated`.
    USAGE_BASIS = "clearspan.usage.basis";
    /// `input`, `output`, or a part of them: `cache_read`, `cache_write`, `reasoning`, `input_audio`,
    /// `output_audio`. Parts are contained in their totals: never add them up.
    TOKEN_KIND = "clearspan.token.kind";
    /// Seconds from the last request byte sent upstream to the first generated content.
    WAIT = "clearspan.time_to_first_chunk";
    /// Events or lines that carried generated content.
    CHUNKS = "clearspan.chunks";
    /// The longest time between two chunks, in seconds.
    LONGEST_GAP = "clearspan.chunk_gap.longest";
    /// Times between chunks that were longer than `stall_seconds`.
    STALLS = "clearspan.stalls";
    /// Tool calls in the answer.
    TOOL_CALLS = "clearspan.tool_calls";
    /// `true` where the model refused in words of its own.
    REFUSED = "clearspan.refused";
    /// Who answered in the upstream's stead, as it says: OpenRouter's `provider`, the host behind
    /// Ollama's cloud models, Azure's deployment that took over.
    SERVED_BY = "clearspan.served_by";
    /// The size of the pictures that were asked for, as sent.
    IMAGE_SIZE = "clearspan.request.image.size";
    /// Their quality, as sent.
    IMAGE_QUALITY = "clearspan.request.image.quality";
    /// How often an unfinished picture was to be shown.
    PARTIAL_IMAGES = "clearspan.request.image.partials";
    /// Pictures that were made.
    IMAGES = "clearspan.usage.images";
    /// Characters that were spoken or embedded.
    CHARACTERS = "clearspan.usage.characters";
    /// Seconds of sound that was heard, where their number is told.
    HEARD_SECONDS = "clearspan.usage.input_audio_seconds";
    /// Seconds of sound or moving pictures that were made, where their number is told.
    MADE_SECONDS = "clearspan.usage.output_seconds";
    /// Messages or inputs in the request.
    MESSAGES = "clearspan.request.messages";
    /// Tools offered in the request.
    TOOLS = "clearspan.request.tools";
    /// `true` where nothing was to be generated, only made ready for the next call.
    WARM_UP = "clearspan.request.warm_up";
    /// Calls on a WebSocket; each is a CLIENT span of its own. Absent where calls on it are not read.
    TURNS = "clearspan.turns";
    /// Of a call on a WebSocket: its place among them, from 1.
    TURN = "clearspan.turn";
    /// Why the first of both sides to say so would say nothing more on a WebSocket (RFC 6455 7.4).
    CLOSE_CODE = "clearspan.websocket.close_code";
    /// Seconds of our own between the request's head and the first byte upstream; see `overhead`.
    OVERHEAD = "clearspan.overhead";
    /// What the provider claims its work took, in seconds.
    CLAIMED_TOTAL = "clearspan.claimed.total";
    /// What the provider claims loading the model took, in seconds.
    CLAIMED_LOAD = "clearspan.claimed.load";
    /// What the provider claims reading the prompt took, in seconds.
    CLAIMED_PROMPT = "clearspan.claimed.prompt";
    /// What the provider claims generating took, in seconds.
    CLAIMED_OUTPUT = "clearspan.claimed.output";
    /// What the provider claims the first token took, in seconds.
    CLAIMED_FIRST = "clearspan.claimed.first_token";
    /// What the provider claims one token took on average, in seconds.
    CLAIMED_EACH = "clearspan.claimed.per_token";
    /// `traces`, `metrics` or `logs`.
    SIGNAL = "clearspan.signal";
    /// What became of a reload: `taken` or `refused`.
    RESULT = "clearspan.result";
    /// This program's version.
    VERSION = "clearspan.version";
}

/// One instrument: its name, unit and meaning, and the bounds of a histogram.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// As the conventions spell it.
    pub name: &'static str,
    /// UCUM, or an annotation in braces.
    pub unit: &'static str,
    /// For a person.
    pub meaning: &'static str,
    /// Upper bounds of the buckets; empty where it is no histogram.
    pub bounds: &'static [f64],
}

/// The conventions' bounds of durations, with the objective's 3 s, continued to ten minutes.
const SECONDS: &[f64] = &[
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 3.0, 5.12, 10.24, 20.48, 40.96, 81.92,
    163.84, 327.68, 655.36,
];
/// The HTTP conventions' bounds, with 3 s, continued to ten minutes.
const HTTP_SECONDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 3.0, 5.0, 7.5, 10.0, 20.0,
    40.0, 80.0, 160.0, 320.0, 640.0,
];
/// The conventions' bounds of token counts.
const TOKENS: &[f64] = &[
    1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0,
    16777216.0, 67108864.0,
];
const FIRST_TOKEN_SECONDS: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 3.0, 5.0, 7.5,
    10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0,
];
const OUTPUT_TOKEN_SECONDS: &[f64] =
    &[0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5];
const USD: &[f64] = &[0.0001, 0.0005, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0];
const OVERHEAD_SECONDS: &[f64] = &[
    0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
    0.1, 0.25, 1.0, 5.0,
];

macro_rules! metrics {
    ($($constant:ident: $name:literal, $unit:literal, $bounds:expr, $meaning:literal;)*) => {
        $(#[doc = $meaning]
        pub const $constant: Metric =
            Metric { name: $name, unit: $unit, meaning: $meaning, bounds: $bounds };)*
        /// All of them, in the order above.
        #[cfg(test)]
        pub(super) const METRICS: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    DURATION: "gen_ai.client.operation.duration", "s", SECONDS,
        "From the first byte sent upstream to the end of the answer.";
    TOKEN_USAGE: "gen_ai.client.token.usage", "{token}", TOKENS,
        "Tokens of one call, as the provider reported them; with estimates_as_usage, estimated ones too.";
    FIRST_CHUNK: "gen_ai.client.operation.time_to_first_chunk", "s", SECONDS,
        "From the first byte sent upstream to the first generated content of a stream.";
    PER_CHUNK: "gen_ai.client.operation.time_per_output_chunk", "s", SECONDS,
        "Between consecutive chunks of generated content.";
    COST_PER_CALL: "gen_ai.usage.cost", "USD", USD,
        "Cost of one call; calls without a known price are not in it.";
    CLAIMED_DURATION: "gen_ai.server.request.duration", "s", SECONDS,
        "What the model server says that the request took.";
    CLAIMED_FIRST_TOKEN: "gen_ai.server.time_to_first_token", "s", FIRST_TOKEN_SECONDS,
        "What the model server says that loading the model and reading the prompt took.";
    CLAIMED_PER_TOKEN: "gen_ai.server.time_per_output_token", "s", OUTPUT_TOKEN_SECONDS,
        "What the model server says that one output token took on average.";
    HTTP_SERVER: "http.server.request.duration", "s", HTTP_SECONDS,
        "From the request's head to the end of the answer.";
    HTTP_CLIENT: "http.client.request.duration", "s", HTTP_SECONDS,
        "From the first byte sent upstream to the end of the answer.";
    REQUESTS: "clearspan.requests", "{request}", &[],
        "Requests that ended.";
    REFUSALS: "clearspan.requests.refused", "{request}", &[],
        "Requests that the proxy itself refused or gave up.";
    ENDINGS: "clearspan.endings", "{request}", &[],
        "How requests ended.";
    COST: "clearspan.cost", "USD", &[],
        "Money spent, where the price is known; estimates have a basis of their own.";
    TOKENS_USED: "clearspan.tokens", "{token}", &[],
        "Tokens used, by kind; parts are contained in input and output.";
    IMAGES_MADE: "clearspan.images", "{image}", &[],
        "Pictures made, where the answer tells how many.";
    CHARACTERS_USED: "clearspan.characters", "{character}", &[],
        "Characters spoken, or embedded where these are counted.";
    SOUND_HEARD: "clearspan.input_audio", "s", &[],
        "Sound that was heard, where its length is told.";
    TOKENS_ESTIMATED: "clearspan.tokens.estimated", "{token}", &[],
        "Tokens of model calls that reported none, counted from their texts: input and output.";
    TOKENS_DISCARDED: "clearspan.tokens.discarded", "{token}", &[],
        "Tokens of model calls whose answer did not reach the client whole: reported, else estimated of what came.";
    MODEL_WAIT: "clearspan.time_to_first_chunk", "s", SECONDS,
        "From the last request byte sent upstream to the first generated content of a stream.";
    LIMIT_HITS: "clearspan.rate_limit.hits", "{request}", &[],
        "Requests that an upstream took no more of: rate limit, quota, or itself overloaded.";
    LIMIT: "clearspan.rate_limit.limit", "{unit}", &[],
        "What an upstream allows, as its last answer said; gone five minutes after it.";
    LIMIT_REMAINING: "clearspan.rate_limit.remaining", "{unit}", &[],
        "What was left of it, as the last answer said; gone five minutes after it.";
    LIMIT_RESET: "clearspan.rate_limit.reset", "s", &[],
        "Time until all of it is there again, by the last answer; gone five minutes after it.";
    STALLED: "clearspan.stalls", "{stall}", &[],
        "Times between chunks that were longer than stall_seconds.";
    CALLED_TOOLS: "clearspan.tool_calls", "{call}", &[],
        "Tool calls in answers.";
    UNPRICED: "clearspan.unpriced", "{request}", &[],
        "Model calls without a known cost, by reason.";
    MISSING: "clearspan.usage_missing", "{request}", &[],
        "Model calls without usage, by reason.";
    OWN_TIME: "clearspan.overhead", "s", OVERHEAD_SECONDS,
        "Time of the proxy's own: head read to lease, and lease to the first byte upstream.";
    ACTIVE: "clearspan.requests.active", "{request}", &[],
        "Requests under way.";
    UNREAD: "clearspan.requests.unread", "{request}", &[],
        "Requests whose head could not be read: answered 400, 414 or 431 without becoming an exchange.";
    TORN: "clearspan.tape.torn", "{tape}", &[],
        "Tapes of which some bytes were not kept.";
    DROPPED: "clearspan.tape.dropped", "{handover}", &[],
        "Hand-overs to the cold path that found its channel full.";
    LOST: "clearspan.observations.lost", "{observation}", &[],
        "Exchanges of which no observation was made.";
    RELOADS: "clearspan.config.reloads", "{reload}", &[],
        "Reloads of the configuration, by result: taken or refused.";
    CONFIGURED: "clearspan.config.read_time", "s", &[],
        "When the settings in force were read, in seconds since 1970.";
    LINES_DROPPED: "clearspan.lines.dropped", "{line}", &[],
        "Lines not written because standard output was too slow.";
    EXPORT_SENT: "clearspan.export.sent", "{record}", &[],
        "Spans, log records and metric points that an endpoint accepted.";
    EXPORT_DROPPED: "clearspan.export.dropped", "{record}", &[],
        "Spans and log records that found the queue full, or that the end of the process cut off.";
    EXPORT_FAILED: "clearspan.export.failed", "{record}", &[],
        "Spans, log records and metric points that an endpoint refused or never took.";
    EXPORT_QUEUE: "clearspan.export.queue", "By", &[],
        "Bytes that wait for an endpoint.";
    BUILD: "clearspan.build_info", "", &[],
        "Always 1; the version stands in the label.";
}

impl Metric {
    fn histogram(self, meter: &Meter) -> Histogram<f64> {
        meter
            .f64_histogram(self.name)
            .with_unit(self.unit)
            .with_description(self.meaning)
            .with_boundaries(self.bounds.to_vec())
            .build()
    }

    fn counter(self, meter: &Meter) -> Counter<u64> {
        meter.u64_counter(self.name).with_unit(self.unit).with_description(self.meaning).build()
    }

    fn sum(self, meter: &Meter) -> Counter<f64> {
        meter.f64_counter(self.name).with_unit(self.unit).with_description(self.meaning).build()
    }

    /// A counter that is read from elsewhere at each collection: value and labels.
    pub(super) fn observe(
        self,
        meter: &Meter,
        read: impl Fn() -> Readings + Send + Sync + 'static,
    ) {
        let _kept_by_the_meter = meter
            .u64_observable_counter(self.name)
            .with_unit(self.unit)
            .with_description(self.meaning)
            .with_callback(move |to| read().iter().for_each(|(n, of)| to.observe(*n, of)))
            .build();
    }

    /// A gauge that is read from elsewhere at each collection.
    pub(super) fn gauge(self, meter: &Meter, read: impl Fn() -> Readings + Send + Sync + 'static) {
        let _kept_by_the_meter = meter
            .u64_observable_gauge(self.name)
            .with_unit(self.unit)
            .with_description(self.meaning)
            .with_callback(move |to| read().iter().for_each(|(n, of)| to.observe(*n, of)))
            .build();
    }
}

/// What all telemetry belongs to. The keys are the operator's own.
pub(super) fn resource(attributes: &[(String, String)]) -> Resource {
    let attributes =
        attributes.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
    Resource::builder_empty().with_attributes(attributes).build()
}

/// Values read from elsewhere, each with its labels.
pub(super) type Readings = Vec<(u64, Vec<KeyValue>)>;

macro_rules! instruments {
    ($($field:ident: $kind:ty = $make:ident $metric:ident;)*) => {
        /// The instruments that are recorded once for each exchange.
        #[derive(Clone, Debug)]
        pub(super) struct Instruments { $(pub(super) $field: $kind,)* }

        impl Instruments {
            pub(super) fn new(meter: &Meter) -> Self {
                Self { $($field: $metric.$make(meter),)* }
            }
        }
    };
}

instruments! {
    duration: Histogram<f64> = histogram DURATION;
    token_usage: Histogram<f64> = histogram TOKEN_USAGE;
    first_chunk: Histogram<f64> = histogram FIRST_CHUNK;
    per_chunk: Histogram<f64> = histogram PER_CHUNK;
    cost_per_call: Histogram<f64> = histogram COST_PER_CALL;
    claimed_duration: Histogram<f64> = histogram CLAIMED_DURATION;
    claimed_first_token: Histogram<f64> = histogram CLAIMED_FIRST_TOKEN;
    claimed_per_token: Histogram<f64> = histogram CLAIMED_PER_TOKEN;
    http_server: Histogram<f64> = histogram HTTP_SERVER;
    http_client: Histogram<f64> = histogram HTTP_CLIENT;
    model_wait: Histogram<f64> = histogram MODEL_WAIT;
    overhead: Histogram<f64> = histogram OWN_TIME;
    requests: Counter<u64> = counter REQUESTS;
    refusals: Counter<u64> = counter REFUSALS;
    endings: Counter<u64> = counter ENDINGS;
    cost: Counter<f64> = sum COST;
    tokens: Counter<u64> = counter TOKENS_USED;
    images: Counter<u64> = counter IMAGES_MADE;
    characters: Counter<u64> = counter CHARACTERS_USED;
    heard: Counter<f64> = sum SOUND_HEARD;
    estimated: Counter<u64> = counter TOKENS_ESTIMATED;
    discarded: Counter<u64> = counter TOKENS_DISCARDED;
    limit_hits: Counter<u64> = counter LIMIT_HITS;
    stalls: Counter<u64> = counter STALLED;
    tool_calls: Counter<u64> = counter CALLED_TOOLS;
    unpriced: Counter<u64> = counter UNPRICED;
    usage_missing: Counter<u64> = counter MISSING;
}
