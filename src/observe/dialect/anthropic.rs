//! Anthropic's Messages, which other servers offer beside their own: usage comes in two events, its
//! cache stands beside the input. Knows no other dialect, and keeps nothing of what was said.
//!
//! Source: the Messages API's types, as the provider's SDK for Python 2.11 has them.

/// What batches used.
mod batches;

use super::{Answer, Content, Context, Found, Model, Post};
use crate::observe::decode::Frame;
use crate::observe::observation::{
    Operation, OtherModel, OtherModels, RequestFacts, ResponseFacts, Units, Usage,
};
use crate::observe::shapes::batch::plus;
use crate::observe::shapes::failure::{Failure, Word};
use crate::observe::shapes::lenient::{
    Count, Filled, Flag, Length, List, Number, Object, Text, Texts, Unread, fields, read,
};
use crate::observe::shapes::route::{self, Route, route};

/// Longest names that are kept.
const ID: usize = 128;
const MODEL: usize = 256;
const WORD: usize = 64;

const MESSAGES: Model = Model { operation: Operation::Chat, request, answer: begin, asks: false };

/// The paths of Anthropic's API. What a batch used is told in its results.
const ROUTES: [Route<Post>; 13] = [
    route("/v1/messages", Post::Model(MESSAGES)),
    // A free count, no usage.
    route("/v1/messages/count_tokens", Post::Plain),
    route("/v1/messages/batches", Post::Plain),
    route("/v1/messages/batches/{id}", Post::Plain),
    route("/v1/messages/batches/{id}/cancel", Post::Plain),
    route("/v1/messages/batches/{id}/results", Post::Fetch(batches::FETCH)),
    route("/v1/complete", Post::Usage),
    route("/v1/models", Post::Plain),
    route("/v1/models/{id}", Post::Plain),
    route("/v1/files", Post::Plain),
    route("/v1/files/{id}", Post::Plain),
    route("/v1/files/{id}/content", Post::Plain),
    route("/v1/sessions", Post::Usage),
];

/// What a call of `method` to `path` is.
pub fn find(method: &str, path: &str) -> Found {
    match route::find(&ROUTES, "", path) {
        Some(route) => route.is.found(method, route.name),
        None => Found::Other { route: None, usage: method == "POST" },
    }
}

/// Whether a server of another dialect is spoken to in this one: llama.cpp, Ollama, Azure and others
/// offer the same path.
pub fn is_spoken_at(path: &str) -> bool {
    ["/v1/messages", "/v1/messages/count_tokens"].iter().any(|end| path.ends_with(end))
}

fields! {
    struct Request<'de> {
        model: Text<'de> = "model",
        messages: Length = "messages",
        stream: Flag = "stream",
        max_tokens: Number = "max_tokens",
        temperature: Number = "temperature",
        top_p: Number = "top_p",
        top_k: Number = "top_k",
        stop_sequences: Texts = "stop_sequences",
        tools: Length = "tools",
        service_tier: Text<'de> = "service_tier",
        output_config: OutputConfig<'de> = "output_config",
        output_format: Format<'de> = "output_format",
        metadata: Metadata<'de> = "metadata",
    }
}

fields! {
    struct Metadata<'de> {
        user: Text<'de> = "user_id",
    }
}

/// The session that Claude Code names beside the user, whose part is not kept:
/// `user_…_account_…_session_UUID`, and in later versions JSON with a `session_id`.
fn session(user: &str) -> Option<String> {
    const LENGTH: usize = 36;
    let marks = ["_session_", r#""session_id":""#];
    let (_, behind) = marks.iter().find_map(|mark| user.rsplit_once(mark))?;
    let id = behind.get(..LENGTH)?;
    let is_uuid = id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    let ends =
        matches!(behind.get(LENGTH..), Some("" | "\"}")) || behind[LENGTH..].starts_with("\",");
    (is_uuid && ends).then(|| id.to_owned())
}

fields! {
    struct OutputConfig<'de> {
        effort: Text<'de> = "effort",
        format: Format<'de> = "format",
    }
}

fields! {
    struct Format<'de> {
        kind: Text<'de> = "type",
    }
}

fn request(body: &[u8], facts: &mut RequestFacts) -> Result<(), Unread> {
    let mut request = Request::default();
    let result = read(body, &mut request);
    facts.model = request.model.bounded(MODEL);
    facts.stream = request.stream.0 == Some(true);
    // Of a body that breaks off the rest may be half a number.
    result?;
    let formats = [&request.output_config.format.kind, &request.output_format.kind];
    let is_json = formats.iter().any(|kind| kind.as_str() == "json_schema");
    *facts = RequestFacts {
        model: facts.model.take(),
        stream: facts.stream,
        max_tokens: request.max_tokens.whole(),
        temperature: request.temperature.0,
        top_p: request.top_p.0,
        top_k: request.top_k.0,
        stop_sequences: request.stop_sequences.0,
        reasoning_level: request.output_config.effort.bounded(WORD),
        output_type: is_json.then_some("json"),
        service_tier: request.service_tier.bounded(WORD),
        conversation: session(request.metadata.user.as_str()),
        messages: request.messages.0,
        tools: request.tools.0.unwrap_or(0),
        ..RequestFacts::default()
    };
    Ok(())
}

fn begin(context: Context) -> Box<dyn Answer> {
    Box::new(Messages { context, counts: Counts::default(), stopped: false })
}

#[derive(Debug)]
struct Messages {
    context: Context,
    counts: Counts,
    stopped: bool,
}

fields! {
    /// Any event of a stream.
    struct Event<'de> {
        kind: Text<'de> = "type",
        message: Message<'de> = "message",
        delta: Delta<'de> = "delta",
        block: Block<'de> = "content_block",
        usage: Object<Counted<'de>> = "usage",
        error: Failure<'de> = "error",
    }
}

fields! {
    /// The whole answer, or what is known of it when the stream begins.
    struct Message<'de> {
        kind: Text<'de> = "type",
        id: Text<'de> = "id",
        model: Text<'de> = "model",
        content: List<'de, Block<'de>> = "content",
        stop_reason: Text<'de> = "stop_reason",
        usage: Object<Counted<'de>> = "usage",
        error: Failure<'de> = "error",
    }
}

fields! {
    struct Block<'de> {
        kind: Text<'de> = "type",
    }
}

fields! {
    /// A piece of a block, or what closes the message.
    struct Delta<'de> {
        text: Filled = "text",
        thinking: Filled = "thinking",
        partial_json: Filled = "partial_json",
        stop_reason: Text<'de> = "stop_reason",
    }
}

fields! {
    struct Counted<'de> {
        /// Without what was read from and written to the cache.
        input: Count = "input_tokens",
        output: Count = "output_tokens",
        cache_read: Count = "cache_read_input_tokens",
        cache_write: Count = "cache_creation_input_tokens",
        lifetimes: Lifetimes = "cache_creation",
        output_details: OutputDetails = "output_tokens_details",
        server_tools: ServerTools = "server_tool_use",
        iterations: List<'de, Iteration<'de>> = "iterations",
        service_tier: Text<'de> = "service_tier",
        speed: Text<'de> = "speed",
        place: Text<'de> = "inference_geo",
    }
}

fields! {
    /// How long what was written to the cache is to last.
    struct Lifetimes {
        hour: Count = "ephemeral_1h_input_tokens",
    }
}

fields! {
    struct OutputDetails {
        thinking: Count = "thinking_tokens",
    }
}

fields! {
    struct ServerTools {
        web_searches: Count = "web_search_requests",
    }
}

fields! {
    /// One of several passes over the conversation. Those that answer are in the totals.
    struct Iteration<'de> {
        kind: Text<'de> = "type",
        model: Text<'de> = "model",
        input: Count = "input_tokens",
        output: Count = "output_tokens",
        cache_read: Count = "cache_read_input_tokens",
        cache_write: Count = "cache_creation_input_tokens",
        lifetimes: Lifetimes = "cache_creation",
    }
}

impl Iteration<'_> {
    /// Its input with what was read from and written to the cache, as everywhere.
    fn usage(&self) -> Usage {
        let counts = Counts {
            input: self.input.0.or(Some(0)),
            output: self.output.0.or(Some(0)),
            cache_read: self.cache_read.0,
            cache_write: self.cache_write.0,
            cache_write_long: self.lifetimes.hour.0,
            ..Counts::default()
        };
        counts.usage().unwrap_or_default()
    }
}

/// The last report of each count: some come with the first event, all may come with the last.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    input: Option<u64>,
    output: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    cache_write_long: Option<u64>,
    thinking: Option<u64>,
    web_searches: Option<u64>,
    other_models: Option<u64>,
    // Of the passes that summed up the conversation, and how many passes there were with those that answer.
    compacted: Option<(Usage, u64)>,
}

impl Counts {
    fn merge(&mut self, later: &Counted<'_>) {
        let put = |count: &mut Option<u64>, later: Option<u64>| *count = later.or(*count);
        put(&mut self.input, later.input.0);
        put(&mut self.output, later.output.0);
        put(&mut self.cache_read, later.cache_read.0);
        put(&mut self.cache_write, later.cache_write.0);
        put(&mut self.cache_write_long, later.lifetimes.hour.0);
        put(&mut self.thinking, later.output_details.thinking.0);
        put(&mut self.web_searches, later.server_tools.web_searches.0);
        put(&mut self.other_models, later.other_models());
        self.compacted = later.compacted().or(self.compacted);
    }

    /// Input with what was read from and written to the cache, as everywhere.
    fn usage(&self) -> Option<Usage> {
        let cached = self.cache_read.unwrap_or(0).saturating_add(self.cache_write.unwrap_or(0));
        let usage = Usage {
            input: self.input.map(|input| input.saturating_add(cached)),
            output: self.output,
            cache_read: self.cache_read,
            cache_write: self.cache_write,
            cache_write_long: self.cache_write_long,
            reasoning: self.thinking,
            units: Units {
                web_searches: self.web_searches,
                other_models: self.other_models,
                ..Units::default()
            },
            ..Usage::default()
        };
        let told = (usage.input.is_some() || usage.output.is_some()).then_some(usage);
        let Some((more, passes)) = self.compacted else { return told };
        let all = plus(usage, more);
        let units = Units { calls: Some(passes), ..all.units };
        Some(Usage { units, ..all })
    }
}

impl Counted<'_> {
    /// What the model used to sum up the conversation ("A `compaction` entry's tokens are not included in the
    /// top-level `usage` fields", `BetaUsage`), and how many passes it made in all.
    fn compacted(&self) -> Option<(Usage, u64)> {
        let used = |pass: &Iteration<'_>| match pass.kind.as_str() {
            "compaction" => Some(pass.usage()),
            _ => None,
        };
        let more = self.iterations.iter().filter_map(used).reduce(plus)?;
        let is_own = |pass: &&Iteration<'_>| matches!(pass.kind.as_str(), "compaction" | "message");
        Some((more, self.iterations.iter().filter(is_own).count() as u64))
    }

    /// Passes that another model made, which the totals leave out.
    fn passes_of_others(&self) -> impl Iterator<Item = &Iteration<'_>> {
        let is_other = |kind: &str| matches!(kind, "advisor_message" | "fallback_message");
        self.iterations.iter().filter(move |pass| is_other(pass.kind.as_str()))
    }

    /// Their tokens.
    fn other_models(&self) -> Option<u64> {
        let tokens = |pass: &Iteration<'_>| {
            let usage = pass.usage();
            usage.input.unwrap_or(0).saturating_add(usage.output.unwrap_or(0))
        };
        self.passes_of_others().map(tokens).reduce(u64::saturating_add)
    }

    /// Their models, and what each used.
    fn others(&self) -> Option<Box<OtherModels>> {
        let named = self.passes_of_others().filter_map(|pass| {
            Some(OtherModel { model: pass.model.bounded(MODEL)?, usage: pass.usage() })
        });
        OtherModels::first_of(named)
    }
}

impl Messages {
    fn count(&mut self, counted: &Object<Counted<'_>>, facts: &mut ResponseFacts) {
        let Some(counted) = &counted.0 else { return };
        self.counts.merge(counted);
        facts.usage = self.counts.usage().or(facts.usage);
        if counted.other_models().is_some() {
            facts.others = counted.others();
        }
        counted.service_tier.replace(&mut facts.service_tier, WORD);
        counted.place.replace(&mut facts.place, WORD);
        // A faster answer is sold as a tier is, whatever tier it is of.
        if counted.speed.as_str() == "fast" {
            facts.service_tier = Some("fast".to_owned());
        }
    }

    fn message(&mut self, message: &Message<'_>, facts: &mut ResponseFacts) {
        message.id.replace(&mut facts.id, ID);
        message.model.replace(&mut facts.model, MODEL);
        self.count(&message.usage, facts);
        stop(&message.stop_reason, facts);
    }

    fn fail(&self, error: &Failure<'_>, kind: &Text<'_>, facts: &mut ResponseFacts) {
        if error.is_some || self.context.is_error() || kind.as_str() == "error" {
            error.tell(&Word::default(), kind, &self.context.error(), facts);
        }
    }
}

/// Why the model stopped: there is one choice.
fn stop(reason: &Text<'_>, facts: &mut ResponseFacts) {
    if facts.finish_reasons.is_empty() {
        facts.finish_reasons.push(None);
    }
    if let Some(finish_reason) = facts.finish_reasons.first_mut() {
        reason.replace(finish_reason, WORD);
        facts.refused |= finish_reason.as_deref() == Some("refusal");
    }
}

/// Counts a block that calls a tool of the client's; the provider runs its own.
fn tool(block: &Block<'_>, facts: &mut ResponseFacts) -> bool {
    let is_call = block.kind.as_str() == "tool_use";
    facts.tool_calls = facts.tool_calls.saturating_add(u32::from(is_call));
    is_call
}

impl Answer for Messages {
    fn frame(&mut self, frame: Frame<'_>, facts: &mut ResponseFacts) -> Result<Content, Unread> {
        let mut event = Event::default();
        read(frame.data.trim_ascii(), &mut event)?;
        let mut content = Content::default();
        match event.kind.as_str() {
            "message_start" => self.message(&event.message, facts),
            "content_block_start" => content.tool_call = tool(&event.block, facts),
            "content_block_delta" => {
                content.text = event.delta.text.0;
                content.reasoning = event.delta.thinking.0;
                content.tool_call = event.delta.partial_json.0;
            }
            "message_delta" => {
                self.count(&event.usage, facts);
                stop(&event.delta.stop_reason, facts);
            }
            "message_stop" => self.stopped = true,
            _ => (),
        }
        self.fail(&event.error, &event.kind, facts);
        Ok(content)
    }

    fn document(&mut self, body: &[u8], facts: &mut ResponseFacts) -> Result<(), Unread> {
        let mut message = Message::default();
        let result = read(body, &mut message);
        if result.is_err() {
            // Of a body that breaks off the rest may be half a number.
            message.id.replace(&mut facts.id, ID);
            message.model.replace(&mut facts.model, MODEL);
            return result;
        }
        self.fail(&message.error, &message.kind, facts);
        if message.kind.as_str() != "error" && !self.context.is_error() {
            self.message(&message, facts);
            for block in message.content.iter() {
                tool(block, facts);
            }
        }
        Ok(())
    }

    fn is_terminated(&self, _: &ResponseFacts) -> bool {
        self.stopped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::dialect::told;

    fn facts(events: &[&str]) -> (ResponseFacts, Vec<Content>) {
        let (facts, contents, _) = told::by_events(begin(Context::of(200)), events);
        (facts, contents)
    }

    #[test]
    fn the_cache_stands_beside_the_input_and_each_lifetime_is_kept() {
        let (facts, _) = facts(&[
            r#"{"type":"message_start","message":{"usage":{"input_tokens":10,"output_tokens":1,"cache_read_input_tokens":100,
            "cache_creation_input_tokens":50,"cache_creation":{"ephemeral_5m_input_tokens":20,"ephemeral_1h_input_tokens":30}}}}"#,
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":7,"output_tokens_details":{"thinking_tokens":3}}}"#,
        ]);
        let usage = facts.usage.unwrap();
        assert_eq!((usage.input, usage.output, usage.reasoning), (Some(160), Some(7), Some(3)));
        assert_eq!((usage.cache_read, usage.cache_write), (Some(100), Some(50)));
        assert_eq!(usage.cache_write_long, Some(30));
    }

    #[test]
    fn the_last_event_may_raise_the_input_and_tells_the_searches() {
        let (facts, _) = facts(&[
            r#"{"type":"message_start","message":{"usage":{"input_tokens":2694,"output_tokens":1,"service_tier":"standard"}}}"#,
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":12957,"output_tokens":152,
            "server_tool_use":{"web_search_requests":1,"web_fetch_requests":0}}}"#,
        ]);
        let usage = facts.usage.unwrap();
        assert_eq!((usage.input, usage.output), (Some(12_957), Some(152)));
        assert_eq!(usage.units.web_searches, Some(1));
        assert_eq!(facts.service_tier.as_deref(), Some("standard"));
    }

    #[test]
    fn what_another_model_did_is_told_apart() {
        let (facts, _) = facts(&[
            r#"{"type":"message_delta","delta":{},"usage":{"input_tokens":5,"output_tokens":6,"iterations":[
            {"type":"message","input_tokens":5,"output_tokens":6},
            {"type":"advisor_message","model":"m","input_tokens":60,"cache_read_input_tokens":10,"output_tokens":8}]}}"#,
        ]);
        let usage = facts.usage.unwrap();
        assert_eq!((usage.input, usage.output), (Some(5), Some(6)));
        assert_eq!(usage.units.other_models, Some(78));
        let usage =
            Usage { input: Some(70), output: Some(8), cache_read: Some(10), ..Usage::default() };
        assert_eq!(facts.others.unwrap().0, [OtherModel { model: "m".to_owned(), usage }]);
    }

    #[test]
    fn what_it_took_to_sum_up_the_conversation_counts_too() {
        let (facts, _) = facts(&[
            r#"{"type":"message_start","message":{"usage":{"input_tokens":23000,"output_tokens":1}}}"#,
            r#"{"type":"message_delta","delta":{},"usage":{"input_tokens":23000,"output_tokens":1000,"iterations":[
            {"type":"compaction","input_tokens":180000,"cache_read_input_tokens":500,"output_tokens":3500},
            {"type":"message","input_tokens":23000,"output_tokens":1000}]}}"#,
        ]);
        let usage = facts.usage.unwrap();
        assert_eq!((usage.input, usage.output), (Some(203_500), Some(4_500)));
        assert_eq!((usage.cache_read, usage.units.calls), (Some(500), Some(2)));
        assert_eq!(usage.units.other_models, None);
    }

    #[test]
    fn of_claude_codes_user_only_the_session_is_kept() {
        let uuid = "2c4e1cf0-7a67-4d2e-9a4b-1d16d3f44752";
        let named = |user: &str| {
            let mut facts = RequestFacts::default();
            let body = serde_json::json!({"model": "m", "metadata": {"user_id": user}});
            request(body.to_string().as_bytes(), &mut facts).unwrap();
            facts.conversation
        };
        let hash = "a1b2c3d4".repeat(8);
        for user in [
            format!("user_{hash}_account__session_{uuid}"),
            format!("user_{hash}_account_7581b58b-1234-5678-9abc-def012345678_session_{uuid}"),
            format!(r#"{{"device_id":"{hash}","account_uuid":"","session_id":"{uuid}"}}"#),
            format!(r#"{{"session_id":"{uuid}","device_id":"{hash}"}}"#),
        ] {
            assert_eq!(named(&user).as_deref(), Some(uuid), "{user}");
        }
        for user in [
            hash.clone(),
            String::new(),
            format!("user_{hash}_session_"),
            format!("user_{hash}_session_{hash}"),
            format!("user_{hash}_session_{uuid}-more"),
            format!("user_{hash}_session_ann@example.com, who lives in a far away town"),
        ] {
            assert_eq!(named(&user), None, "{user}");
        }
    }

    #[test]
    fn a_faster_answer_is_of_the_fast_tier() {
        let usage = r#"{"type":"message_start","message":{"usage":{"input_tokens":1,"output_tokens":1,"service_tier":"standard","speed":"fast","inference_geo":"us"}}}"#;
        let facts = facts(&[usage]).0;
        assert_eq!(
            (facts.service_tier.unwrap(), facts.place.unwrap()),
            ("fast".into(), "us".into())
        );
    }

    #[test]
    fn only_what_was_generated_is_content() {
        let delta = |delta: &str| format!(r#"{{"type":"content_block_delta","delta":{delta}}}"#);
        let told = |event: &str| facts(&[event]).1[0];
        assert!(told(&delta(r#"{"type":"text_delta","text":"a"}"#)).text);
        assert!(told(&delta(r#"{"type":"thinking_delta","thinking":"a"}"#)).reasoning);
        assert!(told(&delta(r#"{"type":"input_json_delta","partial_json":"{"}"#)).tool_call);
        assert!(!told(&delta(r#"{"type":"input_json_delta","partial_json":""}"#)).is_some());
        assert!(!told(&delta(r#"{"type":"signature_delta","signature":"a"}"#)).is_some());
        assert!(!told(r#"{"type":"ping"}"#).is_some());
        let (facts, contents) = facts(&[
            r#"{"type":"content_block_start","content_block":{"type":"text","text":""}}"#,
            r#"{"type":"content_block_start","content_block":{"type":"tool_use","name":"f"}}"#,
            r#"{"type":"content_block_start","content_block":{"type":"server_tool_use","name":"web_search"}}"#,
        ]);
        let calls: Vec<_> = contents.iter().map(|content| content.tool_call).collect();
        assert_eq!((calls, facts.tool_calls), (vec![false, true, false], 1));
    }

    #[test]
    fn its_path_is_known_wherever_it_is_offered() {
        for path in ["/v1/messages", "/anthropic/v1/messages", "/v1/messages/count_tokens"] {
            assert!(is_spoken_at(path), "{path}");
        }
        for path in ["/v1/threads/t/messages", "/v1/messages/batches", "/v1/responses"] {
            assert!(!is_spoken_at(path), "{path}");
        }
        for route in ROUTES {
            let path = route.name.replace("{id}", "some-id");
            let found = match find("GET", &path) {
                Found::Other { route, .. } => route,
                Found::Call(call) => call.route,
            };
            assert_eq!(found, Some(route.name));
        }
    }

    #[test]
    fn output_alone_is_usage_and_nothing_is_none() {
        let delta = |usage: &str| {
            facts(&[&format!(r#"{{"type":"message_delta","usage":{usage}}}"#)]).0.usage
        };
        let told = delta(r#"{"output_tokens":7}"#).unwrap();
        assert_eq!((told.input, told.output), (None, Some(7)));
        assert_eq!(delta("{}"), None);
    }

    #[test]
    fn a_stream_ends_with_its_own_word_and_keeps_what_it_began_with() {
        let context = Context::of(200);
        let (mut answer, mut facts) = (begin(context), ResponseFacts::default());
        for (event, ended) in [
            (
                r#"{"type":"message_start","message":{"id":"msg_1","model":"claude","stop_reason":null}}"#,
                false,
            ),
            (r#"{"type":"message_delta","delta":{"stop_reason":"refusal"}}"#, false),
            (r#"{"type":"message_stop"}"#, true),
        ] {
            answer.frame(Frame { name: b"", data: event.as_bytes() }, &mut facts).unwrap();
            assert_eq!(answer.is_terminated(&facts), ended, "{event}");
        }
        assert_eq!((facts.id.as_deref(), facts.model.as_deref()), (Some("msg_1"), Some("claude")));
        assert_eq!(facts.finish_reasons, [Some("refusal".to_owned())]);
        assert!(facts.refused && facts.error.is_none());
        let error = r#"{"type":"error"}"#;
        answer.frame(Frame { name: b"", data: error.as_bytes() }, &mut facts).unwrap();
        assert_eq!(facts.error.as_deref(), Some("error_in_stream"), "an error without a word");
    }
}
