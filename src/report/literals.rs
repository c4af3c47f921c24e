//! Observations written out by hand, which the tests of this folder share. Knows no telemetry.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};

use crate::observe::gaps::Gaps;
use crate::observe::observation::*;
use crate::tape::{Ids, Upstream};

pub(super) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn us(micros: u64) -> Option<Duration> {
    Some(Duration::from_micros(micros))
}

fn upstream(name: &str, provider: &str, address: &str, port: u16) -> Option<Arc<Upstream>> {
    Some(Arc::new(Upstream {
        name: name.to_owned(),
        provider: provider.to_owned(),
        dialect: name.to_owned(),
        address: address.to_owned(),
        port: Some(port),
    }))
}

fn posted(path: &str, route: Option<&'static str>, status: Option<u16>) -> Observation {
    Observation {
        part: Part::Exchange,
        ids: Ids {
            trace: [0xab; 16],
            parent: None,
            server_span: [1; 8],
            client_span: [2; 8],
            flags: 1,
        },
        started: SystemTime::UNIX_EPOCH + Duration::from_secs(1_762_300_800),
        client: Some("192.0.2.7:50123".parse().unwrap()),
        upstream: None,
        http: HttpFacts {
            method: "POST".to_owned(),
            path: path.to_owned(),
            route,
            scheme: "http",
            version: "1.1",
            status,
            request_bytes: 210,
            response_bytes: 5120,
            user_agent: Some("OpenAI/Python 2.8.0".to_owned()),
            request_id: Some("req_1".to_owned()),
            ..HttpFacts::default()
        },
        operation: None,
        request: RequestFacts::default(),
        stream_usage: None,
        response: ResponseFacts::default(),
        times: Times { end: ms(1200), ..Times::default() },
        gaps: Gaps::default(),
        stalls: 0,
        ending: Ending::Complete,
        error_type: None,
        error_side: None,
        limit_hit: None,
        usage: Known::Unknown("not_a_model_call"),
        estimate: None,
        cost: Known::Unknown("not_a_model_call"),
        notes: vec![],
    }
}

fn sent() -> Times {
    Times {
        lease: us(120),
        tcp: us(5_000),
        tls: us(9_000),
        connected: us(9_920),
        sent: us(10_000),
        sent_all: us(11_000),
        head: us(200_000),
        first_byte: us(201_000),
        end: ms(1200),
        ..Times::default()
    }
}

pub(super) fn streamed_chat() -> Observation {
    let mut chat = posted("/v1/chat/completions", Some("/v1/chat/completions"), Some(200));
    chat.ids.parent = Some([9; 8]);
    chat.upstream = upstream("openai", "openai", "api.openai.com", 443);
    chat.operation = Some(Operation::Chat);
    chat.request = RequestFacts {
        model: Some("gpt-4o-mini".to_owned()),
        stream: true,
        temperature: Some(0.5),
        top_p: Some(0.9),
        frequency_penalty: Some(0.1),
        presence_penalty: Some(0.2),
        max_tokens: Some(256),
        seed: Some(7),
        choice_count: Some(2),
        stop_sequences: vec!["END".to_owned()],
        reasoning_level: Some("low".to_owned()),
        output_type: Some("json"),
        service_tier: Some("flex".to_owned()),
        messages: Some(3),
        tools: 2,
        ..RequestFacts::default()
    };
    let usage = Usage {
        input: Some(412),
        output: Some(96),
        cache_read: Some(128),
        cache_write: Some(64),
        reasoning: Some(32),
        input_audio: Some(5),
        output_audio: Some(6),
        ..Usage::default()
    };
    chat.response = ResponseFacts {
        id: Some("chatcmpl-1".to_owned()),
        model: Some("gpt-4o-mini-2024-07-18".to_owned()),
        finish_reasons: vec![Some("stop".to_owned()), None],
        service_tier: Some("flex".to_owned()),
        system_fingerprint: Some("fp_1".to_owned()),
        served_by: Some("Azure".to_owned()),
        usage: Some(usage),
        tool_calls: 1,
        refused: true,
        streamed: true,
        events: 7,
        chunks: 4,
        claimed: ClaimedDurations { total: Some(ms(190)), ..ClaimedDurations::default() },
        ..ResponseFacts::default()
    };
    chat.stream_usage = Some(StreamUsage::Asked);
    chat.times = Times { first_chunk: Some(ms(320)), last_chunk: Some(ms(1190)), ..sent() };
    [20, 15, 820].iter().for_each(|&gap| chat.gaps.add(ms(gap)));
    chat.stalls = 1;
    chat.usage = Known::Value(usage);
    chat.cost = Known::Value(Cost {
        total: NanoUsd(120_000),
        computed: None,
        parts: vec![],
        entry: "openai/gpt-4o-mini".to_owned(),
        dated: "2026-11-04".to_owned(),
        basis: CostBasis::Computed,
        unpriced: vec![],
    });
    chat.notes = vec![Note::RequestTorn, Note::UsageSuspicious];
    chat
}

pub(super) fn rate_limited() -> Observation {
    let mut limited = posted("/v1/chat/completions", Some("/v1/chat/completions"), Some(429));
    limited.upstream = upstream("openai", "openai", "api.openai.com", 443);
    limited.operation = Some(Operation::Chat);
    limited.request.model = Some("gpt-4o".to_owned());
    limited.times = sent();
    limited.ending = Ending::ErrorStatus;
    limited.error_type = Some("rate_limit_exceeded".to_owned());
    limited.error_side = Some(Side::Client);
    limited.limit_hit = Some(LimitHit::RateLimit);
    limited.http.resend_count = Some(2);
    limited.http.idempotency_key = Some("key-1".to_owned());
    limited.http.retry_after = Some(ms(1500));
    limited.http.should_retry = Some(false);
    limited.http.rate_limits = vec![
        RateLimit {
            kind: "requests",
            limit: Some(500),
            remaining: Some(0),
            reset: Some(Duration::ZERO),
        },
        RateLimit { kind: "tokens", limit: None, remaining: Some(7), reset: None },
    ];
    limited.usage = Known::Unknown("error");
    limited.cost = Known::Unknown("no_usage");
    limited
}

pub(super) fn client_canceled() -> Observation {
    let mut gone = streamed_chat();
    gone.ending = Ending::ClientCanceled;
    gone.response.usage = None;
    gone.response.finish_reasons = vec![None];
    gone.request.conversation = Some("conv_1".to_owned());
    gone.usage = Known::Unknown("cut");
    gone.cost = Known::Unknown("no_usage");
    gone
}

/// The same, estimated by what came.
pub(super) fn estimated_chat() -> Observation {
    let mut gone = client_canceled();
    let usage = Usage { input: Some(412), output: Some(37), ..Usage::default() };
    gone.estimate = Some(Estimate {
        usage,
        tokenizer: "o200k_base",
        own: true,
        sampled: true,
        stands_in: false,
    });
    gone.response.raw_usage = Some(r#"{"prompt_tokens":0}"#.into());
    gone.cost = Known::Value(Cost {
        total: NanoUsd(84_000),
        computed: None,
        parts: vec![],
        entry: "openai/gpt-4o-mini".to_owned(),
        dated: "2026-11-04".to_owned(),
        basis: CostBasis::Estimated,
        unpriced: vec![],
    });
    gone
}

pub(super) fn no_route() -> Observation {
    let mut lost = posted("/v2/nowhere", None, Some(404));
    lost.ending = Ending::ProxyError;
    lost.error_type = Some("no_route".to_owned());
    lost.error_side = Some(Side::Client);
    lost.times.end = Duration::from_micros(400);
    lost.http.request_id = None;
    lost
}

pub(super) fn unknown_path() -> Observation {
    let mut odd = posted("/v1/files/abc", None, Some(200));
    odd.http.method = "PURGE".to_owned();
    odd.upstream = upstream("openai", "openai", "api.openai.com", 443);
    odd.times = sent();
    odd
}

pub(super) fn ollama() -> Observation {
    let mut local = posted("/ollama/api/chat", Some("/api/chat"), Some(200));
    local.upstream = upstream("ollama", "ollama", "127.0.0.1", 11434);
    local.operation = Some(Operation::Chat);
    local.request.model = Some("llama3.2".to_owned());
    local.request.stream = true;
    local.request.top_k = Some(40.0);
    let usage = Usage { input: Some(26), output: Some(100), ..Usage::default() };
    local.response = ResponseFacts {
        model: Some("llama3.2".to_owned()),
        served_by: Some("gpu.example.com".to_owned()),
        finish_reasons: vec![Some("stop".to_owned())],
        streamed: true,
        chunks: 100,
        claimed: ClaimedDurations {
            total: Some(ms(1150)),
            load: Some(ms(50)),
            prompt: Some(ms(100)),
            output: Some(ms(1000)),
            first_token: Some(ms(150)),
            per_token: Some(ms(10)),
        },
        usage: Some(usage),
        ..ResponseFacts::default()
    };
    local.times = Times { first_chunk: Some(ms(170)), last_chunk: Some(ms(1190)), ..sent() };
    local.usage = Known::Value(usage);
    local.cost = Known::Unknown("local");
    local
}

/// An answer of another's that tells its own cost.
pub(super) fn resold() -> Observation {
    let mut resold = embeddings();
    resold.response.served_by = Some("Groq".to_owned());
    if let Known::Value(cost) = &mut resold.cost {
        cost.computed = Some(NanoUsd(150));
        cost.unpriced = vec!["request"];
    }
    resold
}

pub(super) fn embeddings() -> Observation {
    let mut vectors = posted("/v1/embeddings", Some("/v1/embeddings"), Some(200));
    vectors.upstream = upstream("openai", "openai", "api.openai.com", 443);
    vectors.operation = Some(Operation::Embeddings);
    vectors.request.model = Some("text-embedding-3-small".to_owned());
    vectors.request.encoding_format = Some("base64".to_owned());
    vectors.request.dimensions = Some(512);
    vectors.response.model = Some("text-embedding-3-small".to_owned());
    vectors.times = sent();
    vectors.usage = Known::Value(Usage { input: Some(8), ..Usage::default() });
    vectors.cost = Known::Value(Cost {
        total: NanoUsd(160),
        computed: Some(NanoUsd(150)),
        parts: vec![],
        entry: "openai/text-embedding-3-small".to_owned(),
        dated: "2026-11-04".to_owned(),
        basis: CostBasis::Reported,
        unpriced: vec!["residency"],
    });
    vectors
}

/// Everything that is billed beside tokens, which no one call is.
pub(super) fn media(units: Units) -> Observation {
    let mut media = embeddings();
    media.operation = Some(Operation::ImageGeneration);
    media.request.model = Some("pictures".to_owned());
    media.request.media = Some(Box::new(MediaRequest {
        size: Some("1024x1536".to_owned()),
        quality: Some("high".to_owned()),
        partial_images: Some(2),
        characters: None,
    }));
    media.usage = Known::Value(Usage { units, ..Usage::default() });
    media
}

/// Of every unit some.
pub(super) fn units() -> Units {
    Units {
        web_searches: Some(1),
        file_searches: Some(4),
        code_sessions: Some(5),
        images: Some(2),
        characters: Some(25),
        input_audio_time: Some(ms(3300)),
        output_time: Some(ms(4500)),
        documents: Some(6),
        other_models: Some(7),
        calls: Some(8),
    }
}

/// Tokens of every kind, as no one call has them.
pub(super) fn kinds() -> Usage {
    Usage {
        input: Some(100),
        output: Some(50),
        cache_read: Some(40),
        cache_write: Some(30),
        reasoning: Some(20),
        input_audio: Some(10),
        output_audio: Some(9),
        cache_write_long: Some(8),
        cache_read_audio: Some(7),
        cache_read_image: Some(6),
        input_image: Some(5),
        input_video: Some(4),
        output_image: Some(3),
        ..Usage::default()
    }
}

/// A call of which nobody knows what it is, though it told its usage.
pub(super) fn unnamed() -> Observation {
    let mut unnamed = posted("/v1/novelties", None, Some(200));
    unnamed.upstream = upstream("openai", "openai", "api.openai.com", 443);
    unnamed.request.model = Some("new-1".to_owned());
    unnamed.response.model = Some("new-1-large".to_owned());
    unnamed.times = sent();
    unnamed.usage = Known::Value(Usage { input: Some(3), output: Some(4), ..Usage::default() });
    unnamed.cost = Known::Unknown("not_a_model_call");
    unnamed
}

/// A connection on which calls were made, one of them.
pub(super) fn session() -> Observation {
    let mut session = posted("/v1/responses", Some("/v1/responses"), Some(101));
    session.http.method = "GET".to_owned();
    session.upstream = streamed_chat().upstream;
    session.times = sent();
    session.part = Part::Session { turns: 2, close_code: Some(1000) };
    session
}

/// One of those calls, in a trace of its own.
pub(super) fn turn() -> Observation {
    let mut turn = streamed_chat();
    turn.http = HttpFacts { status: None, ..session().http };
    turn.part = Part::Turn { number: 2, session: Some([0xcd; 16]) };
    turn.ids.client_span = [7; 8];
    turn.request.warm_up = true;
    turn.times = Times { sent: us(0), sent_all: us(0), end: ms(400), ..Times::default() };
    turn
}

/// One of each.
pub(super) fn all() -> Vec<Observation> {
    vec![
        streamed_chat(),
        rate_limited(),
        client_canceled(),
        no_route(),
        unknown_path(),
        ollama(),
        embeddings(),
    ]
}

/// `key=value`, one a line; strings in quotes, so that types show.
pub(super) fn told(attributes: &[KeyValue]) -> Vec<String> {
    fn value(any: &AnyValue) -> String {
        match any.value.as_ref().unwrap() {
            Value::StringValue(text) => format!("{text:?}"),
            Value::BoolValue(it) => it.to_string(),
            Value::IntValue(it) => it.to_string(),
            Value::DoubleValue(it) => format!("{it:?}"),
            Value::ArrayValue(array) => {
                format!("[{}]", array.values.iter().map(value).collect::<Vec<_>>().join(","))
            }
            other => panic!("{other:?}"),
        }
    }
    let one = |it: &KeyValue| format!("{}={}", it.key, value(it.value.as_ref().unwrap()));
    attributes.iter().map(one).collect()
}
