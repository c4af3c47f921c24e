//! One exchange as OTLP spans: a SERVER span, under it one CLIENT span (of a session one for each call
//! within it), and where asked the phases between. Knows how each is encoded, not how it is sent.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use super::names;
use super::outcome::{self, Outcome};
use super::protobuf::{self, AttributeLimits, Attributes};
use super::sampler;
use super::timing::{self, nanos};
use super::{units, usage};
use crate::observe::observation::{Ending, LimitHit, Note, Observation, Operation, Part, Side};
use crate::tape::Upstream;

/// `ScopeSpans.spans`.
const SPANS: u32 = 2;
/// Field numbers of `Span`.
const TRACE_ID: u32 = 1;
const SPAN_ID: u32 = 2;
const PARENT: u32 = 4;
const NAME: u32 = 5;
const KIND: u32 = 6;
const START: u32 = 7;
const END: u32 = 8;
const ATTRIBUTES: u32 = 9;
const DROPPED: u32 = 10;
const LINKS: u32 = 13;
const STATUS: u32 = 15;
const FLAGS: u32 = 16;
/// Bits of `Span.flags` beside the trace flags: whether the parent is remote is known, and it is.
const REMOTE_KNOWN: u32 = 0x100;
const REMOTE: u32 = 0x200;

/// `Span.SpanKind`.
#[derive(Clone, Copy)]
enum Kind {
    Internal = 1,
    Server = 2,
    Client = 3,
}

/// What the spans of all exchanges share, and buffers that are used again.
#[derive(Debug)]
pub(super) struct Spans {
    phases: bool,
    listen: Option<(String, Option<u16>)>,
    limits: AttributeLimits,
    flags: u8,
    body: Vec<u8>,
    text: String,
}

impl Spans {
    /// With spans for phases or not, the address that clients call, and bounds of attributes.
    pub(super) fn new(
        phases: bool,
        listen: Option<(String, Option<u16>)>,
        limits: AttributeLimits,
    ) -> Self {
        Self { phases, listen, limits, flags: 0, body: Vec::new(), text: String::new() }
    }

    /// Appends the spans, each as one element of `ScopeSpans.spans`, and says how many. An exchange
    /// whose trace flags do not say "sampled" has none.
    pub(super) fn write(
        &mut self,
        observation: &Observation,
        outcome: &Outcome<'_>,
        flags: u8,
        to: &mut Vec<u8>,
    ) -> usize {
        if !sampler::is_sampled(flags) {
            return 0;
        }
        self.flags = flags;
        let mut count = 0;
        if !matches!(observation.part, Part::Turn { .. }) {
            self.server(observation, outcome);
            protobuf::bytes(to, SPANS, &self.body);
            count += 1;
        }
        let start = timing::client_start(observation);
        if let (Some(start), Some(upstream)) = (start, observation.upstream.as_deref()) {
            // The calls within a session are its CLIENT spans.
            if !matches!(observation.part, Part::Session { turns: 1.., .. }) {
                self.client(observation, upstream, start, outcome);
                protobuf::bytes(to, SPANS, &self.body);
                count += 1;
            }
            if self.phases && !matches!(observation.part, Part::Turn { .. }) {
                count += self.phases(observation, to);
            }
        }
        count
    }

    fn server(&mut self, observation: &Observation, outcome: &Outcome<'_>) {
        let http = &observation.http;
        let known = method(&http.method);
        self.text.clear();
        self.text.push_str(known.unwrap_or("HTTP"));
        if let Some(route) = http.route {
            self.text.push(' ');
            self.text.push_str(route);
        }
        self.begin(observation, Kind::Server, Duration::ZERO, outcome.server.is_some());
        let Self { body, text, listen, limits, .. } = self;
        let mut attributes = Attributes::new(body, ATTRIBUTES, *limits);
        write_method(&mut attributes, &http.method);
        attributes.text(names::URL_PATH, &http.path);
        attributes.text(names::URL_SCHEME, http.scheme);
        attributes.some_text(names::ROUTE, http.route);
        attributes.some_int(names::STATUS, http.status);
        attributes.some_text(names::ERROR_TYPE, outcome.server.as_deref());
        attributes.text(names::PROTOCOL_VERSION, http.version);
        attributes.some_text(names::USER_AGENT, http.user_agent.as_deref());
        if let Some(client) = observation.client {
            text.clear();
            // Writing into a string cannot fail.
            write!(text, "{}", client.ip()).ok();
            attributes.text(names::CLIENT_ADDRESS, text);
        }
        if let Some((address, port)) = listen {
            attributes.text(names::SERVER_ADDRESS, address);
            attributes.some_int(names::SERVER_PORT, *port);
        }
        attributes.some_int(names::REQUEST_SIZE, Some(http.request_bytes));
        attributes.some_int(names::RESPONSE_SIZE, Some(http.response_bytes));
        attributes.text(names::ENDING, observation.ending.as_str());
        attributes.some_text(names::ERROR_SIDE, observation.error_side.map(Side::as_str));
        if let Part::Session { turns, close_code } = observation.part {
            attributes.some_int(names::TURNS, i64::try_from(turns).ok());
            attributes.some_int(names::CLOSE_CODE, close_code);
            // It has no CLIENT span of its own.
            notes(&mut attributes, observation);
        }
        if observation.ending == Ending::ProxyError {
            attributes.some_text(names::REASON, observation.error_type.as_deref());
        }
        attributes.finish(DROPPED);
    }

    fn client(
        &mut self,
        observation: &Observation,
        upstream: &Upstream,
        start: Duration,
        outcome: &Outcome<'_>,
    ) {
        self.text.clear();
        match (observation.operation, &observation.request.model) {
            (Some(operation), model) => {
                self.text.push_str(operation.as_str());
                if let Some(model) = model {
                    self.text.push(' ');
                    self.text.push_str(model);
                }
            }
            _ => self.text.push_str(method(&observation.http.method).unwrap_or("HTTP")),
        }
        self.begin(observation, Kind::Client, start, outcome.client.is_some());
        let mut attributes = Attributes::new(&mut self.body, ATTRIBUTES, self.limits);
        match observation.operation {
            Some(operation) => {
                attributes.text(names::OPERATION, operation.as_str());
                attributes.text(names::PROVIDER, &upstream.provider);
                request(&mut attributes, observation);
                response(&mut attributes, observation);
                openai(&mut attributes, observation, upstream);
                usage::and_cost(&mut attributes, observation);
            }
            None => {
                write_method(&mut attributes, &observation.http.method);
                usage::of_unknown(&mut attributes, observation, upstream);
            }
        }
        attributes.text(names::SERVER_ADDRESS, &upstream.address);
        attributes.some_int(names::SERVER_PORT, upstream.port);
        attributes.some_int(names::STATUS, outcome::upstream_status(observation));
        attributes.some_text(names::ERROR_TYPE, outcome.client);
        own_facts(&mut attributes, observation, upstream);
        attributes.finish(DROPPED);
    }

    /// `connect`, `wait` for the first byte, `stream` to the end: children of the SERVER span,
    /// since a connection is made before the CLIENT span begins. Their ids follow the CLIENT span's.
    fn phases(&mut self, observation: &Observation, to: &mut Vec<u8>) -> usize {
        let times = &observation.times;
        let first = times.first_byte.or(times.head);
        let phases = [
            ("connect", times.lease, times.connected),
            ("wait", times.sent, first),
            ("stream", first, Some(times.end)),
        ];
        let mut count = 0;
        for (place, (name, start, end)) in (1..).zip(phases) {
            // An answer may come before its request was sent: nothing was waited for then.
            let known = start.zip(end).filter(|(start, end)| start <= end);
            let Some((start, end)) = known else { continue };
            let id = u64::from_be_bytes(observation.ids.client_span).wrapping_add(place).max(1);
            self.text.clear();
            self.text.push_str(name);
            self.body.clear();
            let parent = Some(observation.ids.server_span);
            self.identity(observation, Kind::Internal, id.to_be_bytes(), parent);
            self.interval(observation, start, end);
            protobuf::bytes(to, SPANS, &self.body);
            count += 1;
        }
        count
    }

    /// A fresh body with everything but attributes. The name stands in `text`.
    fn begin(&mut self, observation: &Observation, kind: Kind, start: Duration, failed: bool) {
        let ids = &observation.ids;
        let (id, parent) = match (kind, observation.part) {
            (Kind::Server, _) => (ids.server_span, ids.parent),
            (_, Part::Turn { session: Some(_), .. }) => (ids.client_span, ids.parent),
            _ => (ids.client_span, Some(ids.server_span)),
        };
        self.body.clear();
        self.identity(observation, kind, id, parent);
        if let Part::Turn { session: Some(trace), .. } = observation.part {
            self.link(&trace, &ids.server_span);
        }
        self.interval(observation, start, observation.times.end);
        if failed {
            // Status { code: Error }.
            protobuf::bytes(&mut self.body, STATUS, &[3 << 3, 2]);
        }
    }

    fn identity(&mut self, of: &Observation, kind: Kind, id: [u8; 8], parent: Option<[u8; 8]>) {
        let body = &mut self.body;
        protobuf::bytes(body, TRACE_ID, &of.ids.trace);
        protobuf::bytes(body, SPAN_ID, &id);
        let mut flags = u32::from(self.flags) | REMOTE_KNOWN;
        if let Some(parent) = parent {
            protobuf::bytes(body, PARENT, &parent);
            let is_remote = matches!(kind, Kind::Server) || parent != of.ids.server_span;
            flags |= if is_remote { REMOTE } else { 0 };
        }
        protobuf::fixed32(body, FLAGS, flags);
        protobuf::bytes(body, NAME, self.text.as_bytes());
        protobuf::number(body, KIND, kind as u64);
    }

    /// `Span.Link`: to a span of ours in another trace.
    fn link(&mut self, trace: &[u8; 16], span: &[u8; 8]) {
        let length = [trace.len(), span.len()].map(protobuf::size).iter().sum();
        protobuf::length(&mut self.body, LINKS, length);
        protobuf::bytes(&mut self.body, TRACE_ID, trace);
        protobuf::bytes(&mut self.body, SPAN_ID, span);
    }

    fn interval(&mut self, observation: &Observation, start: Duration, end: Duration) {
        let zero = observation.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        protobuf::fixed64(&mut self.body, START, nanos(zero + start));
        protobuf::fixed64(&mut self.body, END, nanos(zero + end));
    }
}

/// The method, where HTTP knows it.
pub(super) fn method(method: &str) -> Option<&'static str> {
    const KNOWN: [&str; 9] =
        ["POST", "GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE"];
    KNOWN.into_iter().find(|known| *known == method)
}

fn write_method(attributes: &mut Attributes<'_>, sent: &str) {
    attributes.text(names::METHOD, method(sent).unwrap_or(names::UNKNOWN_METHOD));
    if method(sent).is_none() {
        attributes.text(names::METHOD_ORIGINAL, sent);
    }
}

fn request(attributes: &mut Attributes<'_>, observation: &Observation) {
    let request = &observation.request;
    attributes.some_text(names::REQUEST_MODEL, request.model.as_deref());
    if request.stream {
        attributes.flag(names::REQUEST_STREAM);
    }
    attributes.some_double(names::TEMPERATURE, request.temperature);
    attributes.some_double(names::TOP_P, request.top_p);
    attributes.some_double(names::TOP_K, request.top_k);
    attributes.some_double(names::FREQUENCY_PENALTY, request.frequency_penalty);
    attributes.some_double(names::PRESENCE_PENALTY, request.presence_penalty);
    attributes.some_int(names::MAX_TOKENS, request.max_tokens);
    attributes.some_int(names::SEED, request.seed);
    attributes.some_int(names::CHOICE_COUNT, request.choice_count);
    if !request.stop_sequences.is_empty() {
        let stops = request.stop_sequences.iter().map(String::as_str);
        attributes.texts(names::STOP_SEQUENCES, stops);
    }
    attributes.some_text(names::REASONING_LEVEL, request.reasoning_level.as_deref());
    attributes.some_text(names::OUTPUT_TYPE, request.output_type);
    if let Some(format) = &request.encoding_format {
        attributes.texts(names::ENCODING_FORMATS, std::iter::once(format.as_str()));
    }
    attributes.some_int(names::DIMENSIONS, request.dimensions);
    if let Some(media) = request.media.as_deref() {
        units::asked(attributes, media);
    }
    attributes.some_int(names::MESSAGES, request.messages);
    attributes.some_int(names::TOOLS, (request.tools > 0).then_some(request.tools));
    if request.warm_up {
        attributes.flag(names::WARM_UP);
    }
    attributes.some_text(names::CONVERSATION, request.conversation.as_deref());
}

fn response(attributes: &mut Attributes<'_>, observation: &Observation) {
    let response = &observation.response;
    attributes.some_text(names::RESPONSE_ID, response.id.as_deref());
    attributes.some_text(names::RESPONSE_MODEL, response.model.as_deref());
    let reasons = outcome::finish_reasons(observation);
    if reasons.clone().next().is_some() {
        attributes.texts(names::FINISH_REASONS, reasons);
    }
    let seconds = |duration: Option<Duration>| duration.map(|it| it.as_secs_f64());
    attributes
        .some_double(names::TIME_TO_FIRST_CHUNK, seconds(timing::time_to_first_chunk(observation)));
    attributes.some_double(names::WAIT, seconds(timing::wait(observation)));
    attributes.some_double(names::LONGEST_GAP, seconds(observation.gaps.longest()));
    attributes.some_int(names::CHUNKS, response.streamed.then_some(response.chunks));
    attributes.some_int(names::STALLS, response.streamed.then_some(observation.stalls));
    attributes
        .some_int(names::TOOL_CALLS, (response.tool_calls > 0).then_some(response.tool_calls));
    if response.refused {
        attributes.flag(names::REFUSED);
    }
    attributes.some_text(names::SERVED_BY, response.served_by.as_deref());
    let claimed = &response.claimed;
    attributes.some_double(names::CLAIMED_TOTAL, seconds(claimed.total));
    attributes.some_double(names::CLAIMED_LOAD, seconds(claimed.load));
    attributes.some_double(names::CLAIMED_PROMPT, seconds(claimed.prompt));
    attributes.some_double(names::CLAIMED_OUTPUT, seconds(claimed.output));
    attributes.some_double(names::CLAIMED_FIRST, seconds(claimed.first_token));
    attributes.some_double(names::CLAIMED_EACH, seconds(claimed.per_token));
}

fn openai(attributes: &mut Attributes<'_>, observation: &Observation, upstream: &Upstream) {
    if !matches!(upstream.provider.as_str(), "openai" | "azure.ai.openai") {
        return;
    }
    let api = match (observation.operation, observation.http.route) {
        (Some(Operation::Chat), Some(route)) if route.contains("/responses") => Some("responses"),
        (Some(Operation::Chat), Some(route)) if route.ends_with("/chat/completions") => {
            Some("chat_completions")
        }
        _ => None,
    };
    attributes.some_text(names::OPENAI_API_TYPE, api);
    let tier = observation.request.service_tier.as_deref();
    attributes.some_text(names::OPENAI_REQUEST_TIER, tier.filter(|tier| *tier != "auto"));
    let response = &observation.response;
    attributes.some_text(names::OPENAI_RESPONSE_TIER, response.service_tier.as_deref());
    attributes.some_text(names::OPENAI_FINGERPRINT, response.system_fingerprint.as_deref());
}

fn own_facts(attributes: &mut Attributes<'_>, observation: &Observation, upstream: &Upstream) {
    attributes.text(names::UPSTREAM, &upstream.name);
    attributes.some_text(names::REQUEST_ID, observation.http.request_id.as_deref());
    attributes.text(names::ENDING, observation.ending.as_str());
    attributes.some_int(names::TURN, turn(observation));
    trouble(attributes, observation);
    let http = &observation.http;
    attributes.some_int(names::RESEND_COUNT, http.resend_count.filter(|&count| count > 0));
    attributes.some_text(names::IDEMPOTENCY_KEY, http.idempotency_key.as_deref());
    let overhead = timing::overhead(&observation.times);
    attributes.some_double(names::OVERHEAD, overhead.map(|it| it.as_secs_f64()));
    notes(attributes, observation);
}

/// What could not be read or kept of it, or cannot be right.
pub(super) fn notes(attributes: &mut Attributes<'_>, observation: &Observation) {
    if !observation.notes.is_empty() {
        attributes.texts(names::NOTES, observation.notes.iter().copied().map(Note::as_str));
    }
}

/// What the record of `of` is called, and the span that it belongs to.
pub(super) fn event(of: &Observation) -> (&'static str, &[u8; 8]) {
    match of.part {
        Part::Turn { .. } => (names::EVENT_TURN, &of.ids.client_span),
        Part::Exchange | Part::Session { .. } => (names::EVENT, &of.ids.server_span),
    }
}

/// The place of a call within its session.
pub(super) fn turn(of: &Observation) -> Option<i64> {
    match of.part {
        Part::Turn { number, .. } => i64::try_from(number).ok(),
        Part::Exchange | Part::Session { .. } => None,
    }
}

/// Whose fault it was, which limit it met, and whether to try again.
pub(super) fn trouble(attributes: &mut Attributes<'_>, observation: &Observation) {
    let http = &observation.http;
    attributes.some_text(names::ERROR_SIDE, observation.error_side.map(Side::as_str));
    attributes.some_text(names::LIMIT_CAUSE, observation.limit_hit.map(LimitHit::as_str));
    attributes.some_double(names::RETRY_AFTER, http.retry_after.map(|it| it.as_secs_f64()));
    attributes.some_flag(names::SHOULD_RETRY, http.should_retry);
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::trace::v1::{ScopeSpans, Span};
    use prost::Message as _;

    use super::super::{literals, outcome};
    use super::*;
    use crate::observe::observation::{Known, Times, Usage};

    fn spans(phases: bool, of: &Observation) -> Vec<Span> {
        let mut to = Vec::new();
        let listen = ("127.0.0.1".to_owned(), Some(4319));
        let mut spans = Spans::new(phases, Some(listen), AttributeLimits::default());
        let flags = sampler::Sampler::default().flags(&of.ids);
        let count = spans.write(of, &outcome::of(of), flags, &mut to);
        let spans = ScopeSpans::decode(&to[..]).unwrap().spans;
        assert_eq!(spans.len(), count);
        spans
    }

    /// A span as text: name, kind, status, flags, parent, interval in microseconds since zero.
    fn told(of: &Observation) -> String {
        let mut text = String::new();
        let zero = of.started.duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        for span in spans(false, of) {
            let Span { name, kind, flags, .. } = &span;
            let status = span.status.as_ref().map_or(0, |status| status.code);
            let parent = span.parent_span_id.first().copied().unwrap_or_default();
            let (start, end) = (span.start_time_unix_nano - zero, span.end_time_unix_nano - zero);
            writeln!(
                text,
                "{name} | kind {kind} status {status} flags {flags:#x} id {} parent {parent} {}-{}",
                span.span_id[0],
                start / 1000,
                end / 1000,
            )
            .unwrap();
            assert_eq!(span.trace_id, [0xab; 16]);
            literals::told(&span.attributes).iter().for_each(|it| writeln!(text, "{it}").unwrap());
        }
        text
    }

    #[test]
    fn an_estimate_stands_apart_from_reports_unless_it_stands_in_for_them() {
        let mut chat = literals::estimated_chat();
        let apart = told(&chat);
        for line in [
            "clearspan.usage.missing=\"cut\"",
            "clearspan.usage.estimated.input_tokens=412",
            "clearspan.usage.estimated.output_tokens=37",
            "clearspan.usage.estimated.tokenizer=\"o200k_base\"",
            "clearspan.usage.estimated.own_tokenizer=true",
            "clearspan.usage.estimated.sampled=true",
            "clearspan.usage.raw=\"{\\\"prompt_tokens\\\":0}\"",
            "clearspan.cost.estimated=8.4e-5",
            "clearspan.cost.basis=\"estimated\"",
        ] {
            assert!(apart.contains(line), "{line} in {apart}");
        }
        assert!(!apart.contains("gen_ai.usage."), "{apart}");
        chat.estimate.as_mut().unwrap().stands_in = true;
        let together = told(&chat);
        for line in [
            "gen_ai.usage.input_tokens=412",
            "gen_ai.usage.output_tokens=37",
            "clearspan.usage.estimated.output_tokens=37",
            "gen_ai.usage.cost=8.4e-5",
            "clearspan.cost.basis=\"estimated\"",
        ] {
            assert!(together.contains(line), "{line} in {together}");
        }
    }

    #[test]
    fn usage_of_what_nobody_knows_is_on_its_span_under_no_operations_name() {
        let told = told(&literals::unnamed());
        let (_, client) = told.split_once("POST | kind 3").unwrap();
        let expected = concat!(
            "http.request.method=\"POST\"\n",
            "gen_ai.provider.name=\"openai\"\n",
            "gen_ai.request.model=\"new-1\"\n",
            "gen_ai.response.model=\"new-1-large\"\n",
            "gen_ai.usage.input_tokens=3\n",
            "gen_ai.usage.output_tokens=4\n",
            "server.address",
        );
        assert!(client.contains(expected) && !client.contains("operation"), "{client}");
    }

    #[test]
    fn notes_of_a_session_are_on_its_only_span() {
        let mut session = literals::session();
        session.notes = vec![Note::TurnsForgotten];
        assert!(told(&session).contains("clearspan.notes=[\"turns_forgotten\"]"));
    }

    #[test]
    fn all_that_a_cost_is_of_is_on_the_span() {
        let usage = Usage { units: literals::units(), ..literals::kinds() };
        let told = told(&Observation { usage: Known::Value(usage), ..literals::embeddings() });
        let told = told.lines().filter(|it| it.starts_with("clearspan.usage.")).count();
        assert_eq!(told, 8 + 10, "kinds of tokens that the conventions lack, and units");
    }

    #[test]
    fn a_streamed_chat_is_two_spans_that_say_all_that_is_known() {
        let expected = r#"
POST /v1/chat/completions | kind 2 status 0 flags 0x301 id 1 parent 9 0-1200000
http.request.method="POST"
url.path="/v1/chat/completions"
url.scheme="http"
http.route="/v1/chat/completions"
http.response.status_code=200
network.protocol.version="1.1"
user_agent.original="OpenAI/Python 2.8.0"
client.address="192.0.2.7"
server.address="127.0.0.1"
server.port=4319
http.request.body.size=210
http.response.body.size=5120
clearspan.ending="complete"
chat gpt-4o-mini | kind 3 status 0 flags 0x101 id 2 parent 1 10000-1200000
gen_ai.operation.name="chat"
gen_ai.provider.name="openai"
gen_ai.request.model="gpt-4o-mini"
gen_ai.request.stream=true
gen_ai.request.temperature=0.5
gen_ai.request.top_p=0.9
gen_ai.request.frequency_penalty=0.1
gen_ai.request.presence_penalty=0.2
gen_ai.request.max_tokens=256
gen_ai.request.seed=7
gen_ai.request.choice.count=2
gen_ai.request.stop_sequences=["END"]
gen_ai.request.reasoning.level="low"
gen_ai.output.type="json"
clearspan.request.messages=3
clearspan.request.tools=2
gen_ai.response.id="chatcmpl-1"
gen_ai.response.model="gpt-4o-mini-2024-07-18"
gen_ai.response.finish_reasons=["stop"]
gen_ai.response.time_to_first_chunk=0.31
clearspan.time_to_first_chunk=0.309
clearspan.chunk_gap.longest=0.82
clearspan.chunks=4
clearspan.stalls=1
clearspan.tool_calls=1
clearspan.refused=true
clearspan.served_by="Azure"
clearspan.claimed.total=0.19
openai.api.type="chat_completions"
openai.request.service_tier="flex"
openai.response.service_tier="flex"
openai.response.system_fingerprint="fp_1"
clearspan.stream_usage="asked"
gen_ai.usage.input_tokens=412
gen_ai.usage.output_tokens=96
gen_ai.usage.cache_read.input_tokens=128
gen_ai.usage.cache_creation.input_tokens=64
gen_ai.usage.reasoning.output_tokens=32
clearspan.usage.input_audio_tokens=5
clearspan.usage.output_audio_tokens=6
gen_ai.usage.cost=0.00012
clearspan.cost.basis="computed"
clearspan.cost.entry="openai/gpt-4o-mini"
clearspan.cost.dated="2026-11-04"
server.address="api.openai.com"
server.port=443
http.response.status_code=200
clearspan.upstream="openai"
clearspan.upstream.request_id="req_1"
clearspan.ending="complete"
clearspan.overhead=0.0002
clearspan.notes=["request_torn","usage_suspicious"]
"#;
        assert_eq!(told(&literals::streamed_chat()), expected.trim_start());
    }

    #[test]
    fn a_session_is_a_server_span_and_each_call_within_it_a_client_span() {
        let session = spans(true, &literals::session());
        let kinds: Vec<_> = session.iter().map(|it| it.kind).collect();
        assert_eq!(kinds, [2, 1, 1, 1], "its calls are told apart from it");
        let told = literals::told(&session[0].attributes);
        for one in ["clearspan.turns=2", "clearspan.websocket.close_code=1000"] {
            assert!(told.contains(&one.to_owned()), "{one} of {told:?}");
        }
        let mut quiet = literals::session();
        quiet.part = Part::Session { turns: 0, close_code: None };
        let kinds: Vec<_> = spans(false, &quiet).iter().map(|it| it.kind).collect();
        assert_eq!(kinds, [2, 3], "without calls it is one of HTTP");

        let mut turn = literals::turn();
        let own = spans(true, &turn).remove(0);
        assert_eq!((own.kind, own.flags), (3, 0x301), "its parent is another process' span");
        assert_eq!((own.span_id, own.parent_span_id), (vec![7; 8], vec![9; 8]));
        assert_eq!(own.links[0].trace_id, [0xcd; 16]);
        assert_eq!(own.links[0].span_id, [1; 8]);
        turn.part = Part::Turn { number: 2, session: None };
        let plain = spans(true, &turn);
        assert_eq!((plain.len(), plain[0].flags, plain[0].links.len()), (1, 0x101, 0));
        assert_eq!(plain[0].parent_span_id, [1; 8]);
        assert!(literals::told(&plain[0].attributes).contains(&"clearspan.turn=2".to_owned()));
    }

    #[test]
    fn a_429_is_an_error_of_the_client_span_alone() {
        let expected = r#"
POST /v1/chat/completions | kind 2 status 0 flags 0x101 id 1 parent 0 0-1200000
http.request.method="POST"
url.path="/v1/chat/completions"
url.scheme="http"
http.route="/v1/chat/completions"
http.response.status_code=429
network.protocol.version="1.1"
user_agent.original="OpenAI/Python 2.8.0"
client.address="192.0.2.7"
server.address="127.0.0.1"
server.port=4319
http.request.body.size=210
http.response.body.size=5120
clearspan.ending="error_status"
clearspan.error.side="client"
chat gpt-4o | kind 3 status 2 flags 0x101 id 2 parent 1 10000-1200000
gen_ai.operation.name="chat"
gen_ai.provider.name="openai"
gen_ai.request.model="gpt-4o"
openai.api.type="chat_completions"
clearspan.usage.missing="error"
clearspan.cost.unpriced="no_usage"
server.address="api.openai.com"
server.port=443
http.response.status_code=429
error.type="rate_limit_exceeded"
clearspan.upstream="openai"
clearspan.upstream.request_id="req_1"
clearspan.ending="error_status"
clearspan.error.side="client"
clearspan.rate_limit.cause="rate_limit"
clearspan.retry_after=1.5
clearspan.should_retry=false
http.request.resend_count=2
clearspan.request.idempotency_key="key-1"
clearspan.overhead=0.0002
"#;
        assert_eq!(told(&literals::rate_limited()), expected.trim_start());
    }

    #[test]
    fn a_client_that_leaves_is_no_error() {
        let expected = r#"
POST /v1/chat/completions | kind 2 status 0 flags 0x301 id 1 parent 9 0-1200000
http.request.method="POST"
url.path="/v1/chat/completions"
url.scheme="http"
http.route="/v1/chat/completions"
http.response.status_code=200
network.protocol.version="1.1"
user_agent.original="OpenAI/Python 2.8.0"
client.address="192.0.2.7"
server.address="127.0.0.1"
server.port=4319
http.request.body.size=210
http.response.body.size=5120
clearspan.ending="client_canceled"
chat gpt-4o-mini | kind 3 status 0 flags 0x101 id 2 parent 1 10000-1200000
gen_ai.operation.name="chat"
gen_ai.provider.name="openai"
gen_ai.request.model="gpt-4o-mini"
gen_ai.request.stream=true
gen_ai.request.temperature=0.5
gen_ai.request.top_p=0.9
gen_ai.request.frequency_penalty=0.1
gen_ai.request.presence_penalty=0.2
gen_ai.request.max_tokens=256
gen_ai.request.seed=7
gen_ai.request.choice.count=2
gen_ai.request.stop_sequences=["END"]
gen_ai.request.reasoning.level="low"
gen_ai.output.type="json"
clearspan.request.messages=3
clearspan.request.tools=2
gen_ai.conversation.id="conv_1"
gen_ai.response.id="chatcmpl-1"
gen_ai.response.model="gpt-4o-mini-2024-07-18"
gen_ai.response.finish_reasons=["error"]
gen_ai.response.time_to_first_chunk=0.31
clearspan.time_to_first_chunk=0.309
clearspan.chunk_gap.longest=0.82
clearspan.chunks=4
clearspan.stalls=1
clearspan.tool_calls=1
clearspan.refused=true
clearspan.served_by="Azure"
clearspan.claimed.total=0.19
openai.api.type="chat_completions"
openai.request.service_tier="flex"
openai.response.service_tier="flex"
openai.response.system_fingerprint="fp_1"
clearspan.stream_usage="asked"
clearspan.usage.missing="cut"
clearspan.cost.unpriced="no_usage"
server.address="api.openai.com"
server.port=443
http.response.status_code=200
clearspan.upstream="openai"
clearspan.upstream.request_id="req_1"
clearspan.ending="client_canceled"
clearspan.overhead=0.0002
clearspan.notes=["request_torn","usage_suspicious"]
"#;
        assert_eq!(told(&literals::client_canceled()), expected.trim_start());
    }

    #[test]
    fn a_refusal_of_our_own_has_no_client_span() {
        let expected = r#"
POST | kind 2 status 0 flags 0x101 id 1 parent 0 0-400
http.request.method="POST"
url.path="/v2/nowhere"
url.scheme="http"
http.response.status_code=404
network.protocol.version="1.1"
user_agent.original="OpenAI/Python 2.8.0"
client.address="192.0.2.7"
server.address="127.0.0.1"
server.port=4319
http.request.body.size=210
http.response.body.size=5120
clearspan.ending="proxy_error"
clearspan.error.side="client"
clearspan.reason="no_route"
"#;
        assert_eq!(told(&literals::no_route()), expected.trim_start());
    }

    #[test]
    fn what_is_no_model_call_is_a_plain_http_client_span() {
        let expected = r#"
HTTP | kind 2 status 0 flags 0x101 id 1 parent 0 0-1200000
http.request.method="_OTHER"
http.request.method_original="PURGE"
url.path="/v1/files/abc"
url.scheme="http"
http.response.status_code=200
network.protocol.version="1.1"
user_agent.original="OpenAI/Python 2.8.0"
client.address="192.0.2.7"
server.address="127.0.0.1"
server.port=4319
http.request.body.size=210
http.response.body.size=5120
clearspan.ending="complete"
HTTP | kind 3 status 0 flags 0x101 id 2 parent 1 10000-1200000
http.request.method="_OTHER"
http.request.method_original="PURGE"
server.address="api.openai.com"
server.port=443
http.response.status_code=200
clearspan.upstream="openai"
clearspan.upstream.request_id="req_1"
clearspan.ending="complete"
clearspan.overhead=0.0002
"#;
        assert_eq!(told(&literals::unknown_path()), expected.trim_start());
    }

    #[test]
    fn ollama_carries_its_own_claims_and_nothing_of_openai() {
        let expected = r#"
POST /api/chat | kind 2 status 0 flags 0x101 id 1 parent 0 0-1200000
http.request.method="POST"
url.path="/ollama/api/chat"
url.scheme="http"
http.route="/api/chat"
http.response.status_code=200
network.protocol.version="1.1"
user_agent.original="OpenAI/Python 2.8.0"
client.address="192.0.2.7"
server.address="127.0.0.1"
server.port=4319
http.request.body.size=210
http.response.body.size=5120
clearspan.ending="complete"
chat llama3.2 | kind 3 status 0 flags 0x101 id 2 parent 1 10000-1200000
gen_ai.operation.name="chat"
gen_ai.provider.name="ollama"
gen_ai.request.model="llama3.2"
gen_ai.request.stream=true
gen_ai.request.top_k=40.0
gen_ai.response.model="llama3.2"
gen_ai.response.finish_reasons=["stop"]
gen_ai.response.time_to_first_chunk=0.16
clearspan.time_to_first_chunk=0.159
clearspan.chunks=100
clearspan.stalls=0
clearspan.served_by="gpu.example.com"
clearspan.claimed.total=1.15
clearspan.claimed.load=0.05
clearspan.claimed.prompt=0.1
clearspan.claimed.output=1.0
clearspan.claimed.first_token=0.15
clearspan.claimed.per_token=0.01
gen_ai.usage.input_tokens=26
gen_ai.usage.output_tokens=100
clearspan.cost.unpriced="local"
server.address="127.0.0.1"
server.port=11434
http.response.status_code=200
clearspan.upstream="ollama"
clearspan.upstream.request_id="req_1"
clearspan.ending="complete"
clearspan.overhead=0.0002
"#;
        assert_eq!(told(&literals::ollama()), expected.trim_start());
    }

    #[test]
    fn embeddings_have_no_output() {
        let expected = r#"
POST /v1/embeddings | kind 2 status 0 flags 0x101 id 1 parent 0 0-1200000
http.request.method="POST"
url.path="/v1/embeddings"
url.scheme="http"
http.route="/v1/embeddings"
http.response.status_code=200
network.protocol.version="1.1"
user_agent.original="OpenAI/Python 2.8.0"
client.address="192.0.2.7"
server.address="127.0.0.1"
server.port=4319
http.request.body.size=210
http.response.body.size=5120
clearspan.ending="complete"
embeddings text-embedding-3-small | kind 3 status 0 flags 0x101 id 2 parent 1 10000-1200000
gen_ai.operation.name="embeddings"
gen_ai.provider.name="openai"
gen_ai.request.model="text-embedding-3-small"
gen_ai.request.encoding_formats=["base64"]
gen_ai.embeddings.dimension.count=512
gen_ai.response.model="text-embedding-3-small"
gen_ai.usage.input_tokens=8
gen_ai.usage.cost=1.6e-7
clearspan.cost.basis="reported"
clearspan.cost.computed=1.5e-7
clearspan.cost.entry="openai/text-embedding-3-small"
clearspan.cost.dated="2026-11-04"
clearspan.cost.left_out=["residency"]
server.address="api.openai.com"
server.port=443
http.response.status_code=200
clearspan.upstream="openai"
clearspan.upstream.request_id="req_1"
clearspan.ending="complete"
clearspan.overhead=0.0002
"#;
        assert_eq!(told(&literals::embeddings()), expected.trim_start());
    }

    #[test]
    fn phases_are_children_of_the_server_span() {
        let of = literals::streamed_chat();
        let spans = spans(true, &of);
        let zero = of.started.duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let phases: Vec<_> = spans[2..]
            .iter()
            .map(|span| {
                assert_eq!((span.kind, &span.parent_span_id), (1, &vec![1; 8]));
                let micros = |nanos: u64| (nanos - zero) / 1000;
                let (start, end) = (span.start_time_unix_nano, span.end_time_unix_nano);
                (span.name.as_str(), span.span_id[7], micros(start), micros(end))
            })
            .collect();
        let expected = [
            ("connect", 3, 120, 9_920),
            ("wait", 4, 10_000, 201_000),
            ("stream", 5, 201_000, 1_200_000),
        ];
        assert_eq!(phases, expected);
    }

    #[test]
    fn a_client_that_is_not_sampled_gets_no_spans() {
        let mut of = literals::streamed_chat();
        of.ids.flags = 0;
        assert_eq!(spans(true, &of).len(), 0);
        of.ids.parent = None;
        assert_eq!(spans(false, &of).len(), 2);
    }

    #[test]
    fn a_connection_that_was_never_made_is_an_error_of_both_spans() {
        let mut of = literals::rate_limited();
        of.ending = Ending::UpstreamReset;
        of.error_type = Some("connection_refused".to_owned());
        of.http.status = Some(502);
        let lease = of.times.lease;
        of.times = Times { lease, end: of.times.end, ..Times::default() };
        let spans = spans(false, &of);
        let error = |span: &Span| {
            let mut told = literals::told(&span.attributes);
            told.retain(|it| it.starts_with("error.type") || it.contains("status_code"));
            (span.status.clone().unwrap().code, told)
        };
        let server = vec!["http.response.status_code=502".into(), "error.type=\"502\"".into()];
        assert_eq!(error(&spans[0]), (2, server));
        let client = vec!["error.type=\"connection_refused\"".into()];
        assert_eq!(error(&spans[1]), (2, client), "502 is ours, not the upstream's");
    }

    #[test]
    fn what_was_sent_once_was_not_resent() {
        let mut of = literals::rate_limited();
        of.http.resend_count = Some(0);
        assert!(!told(&of).contains("resend_count"));
    }
}
