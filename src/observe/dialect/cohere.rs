//! Cohere's own API, v2 and v1: chat, embeddings and reranking, billed in units beside the tokens.
//! Knows no other dialect but `openai`, which its compatibility routes speak.
//!
//! Source: the provider's reference of its API v2, and recorded answers.

use serde::de::{MapAccess, SeqAccess};

use super::{Answer, Content, Context, Found, Model, Post, openai};
use crate::observe::decode::Frame;
use crate::observe::observation::{Operation, RequestFacts, ResponseFacts, Units, Usage};
use crate::observe::shapes::failure::{Failure, Word};
use crate::observe::shapes::lenient::{
    Count, Filled, Flag, Inputs, Into, Length, Lenient, Number, Object, Text, Texts, Unread,
    fields, read,
};
use crate::observe::shapes::route::{self, Route, route};

/// Longest names that are kept.
const ID: usize = 128;
const MODEL: usize = 256;
const WORD: usize = 64;

const CHAT: Model = Model { operation: Operation::Chat, request, answer: begin, asks: false };
const EMBED: Model = Model { operation: Operation::Embeddings, ..CHAT };
const RERANK: Model = Model { operation: Operation::Rerank, ..CHAT };

/// The paths of Cohere's own API, at which a model answers.
const ROUTES: [Route<Post>; 11] = [
    route("/v2/chat", Post::Model(CHAT)),
    route("/v2/embed", Post::Model(EMBED)),
    route("/v2/rerank", Post::Model(RERANK)),
    route("/v1/chat", Post::Model(CHAT)),
    route("/v1/embed", Post::Model(EMBED)),
    route("/v1/rerank", Post::Model(RERANK)),
    route("/v1/classify", Post::Usage),
    route("/v1/tokenize", Post::Plain),
    route("/v1/detokenize", Post::Plain),
    route("/v1/embed-jobs", Post::Plain),
    route("/v1/datasets", Post::Plain),
];

/// What a call of `method` to `path` is.
pub fn find(method: &str, path: &str) -> Found {
    match route::find(&ROUTES, "", path) {
        Some(route) => route.is.found(method, route.name),
        None => openai::find(method, path),
    }
}

/// Whether a path is one of its own, whatever the server.
pub fn is_spoken_at(path: &str) -> bool {
    ["/v2/chat", "/v2/embed"].iter().any(|end| path.ends_with(end))
}

fields! {
    struct Request<'de> {
        model: Text<'de> = "model",
        messages: Length = "messages",
        message: Inputs = "message",
        texts: Length = "texts",
        images: Length = "images",
        inputs: Length = "inputs",
        documents: Length = "documents",
        query: Filled = "query",
        stream: Flag = "stream",
        max_tokens: Number = "max_tokens",
        temperature: Number = "temperature",
        top_p: Number = "p",
        top_k: Number = "k",
        frequency_penalty: Number = "frequency_penalty",
        presence_penalty: Number = "presence_penalty",
        seed: Number = "seed",
        stop_sequences: Texts = "stop_sequences",
        response_format: Format<'de> = "response_format",
        output_dimension: Number = "output_dimension",
        tools: Length = "tools",
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
    let inputs = [request.messages, request.texts, request.images, request.inputs];
    let inputs = inputs.iter().find_map(|list| list.0).or(request.message.0);
    // In chat, documents are what the answer is to be grounded in.
    let ranked = request.documents.0.filter(|_| request.query.0);
    *facts = RequestFacts {
        model: facts.model.take(),
        stream: facts.stream,
        temperature: request.temperature.0,
        top_p: request.top_p.0,
        top_k: request.top_k.0,
        frequency_penalty: request.frequency_penalty.0,
        presence_penalty: request.presence_penalty.0,
        max_tokens: request.max_tokens.whole(),
        seed: request.seed.whole(),
        stop_sequences: request.stop_sequences.0,
        output_type: (request.response_format.kind.as_str() == "json_object").then_some("json"),
        dimensions: request.output_dimension.whole(),
        messages: inputs.or(ranked),
        tools: request.tools.0.unwrap_or(0),
        ..RequestFacts::default()
    };
    Ok(())
}

fn begin(context: Context) -> Box<dyn Answer> {
    Box::new(Cohere { context, chats: context.operation == Some(Operation::Chat), ended: false })
}

#[derive(Debug)]
struct Cohere {
    context: Context,
    // There is one choice; embeddings and rankings have none.
    chats: bool,
    ended: bool,
}

fields! {
    /// One event of a stream, or the whole answer.
    struct Event<'de> {
        kind: Text<'de> = "type",
        /// v1's name for `type`.
        event_type: Text<'de> = "event_type",
        id: Text<'de> = "id",
        generation_id: Text<'de> = "generation_id",
        delta: Delta<'de> = "delta",
        message: Message = "message",
        text: Filled = "text",
        tool_calls: Calls = "tool_calls",
        finish_reason: Text<'de> = "finish_reason",
        usage: Object<Counted> = "usage",
        meta: Object<Counted> = "meta",
        /// v1's last event holds the whole answer.
        response: Whole<'de> = "response",
        error: Failure<'de> = "error",
        code: Word = "code",
    }
}

fields! {
    struct Whole<'de> {
        generation_id: Text<'de> = "generation_id",
        finish_reason: Text<'de> = "finish_reason",
        meta: Object<Counted> = "meta",
    }
}

fields! {
    struct Delta<'de> {
        message: Message = "message",
        finish_reason: Text<'de> = "finish_reason",
        usage: Object<Counted> = "usage",
        error: Failure<'de> = "error",
    }
}

fields! {
    #[derive(Clone, Copy)]
    struct Message {
        content: Contents = "content",
        tool_plan: Filled = "tool_plan",
        tool_calls: Calls = "tool_calls",
    }
}

fields! {
    struct Part {
        text: Filled = "text",
        thinking: Filled = "thinking",
    }
}

fields! {
    struct Call {
        name: Filled = "name",
        function: Function = "function",
    }
}

fields! {
    struct Function {
        name: Filled = "name",
        arguments: Filled = "arguments",
    }
}

/// What a message holds: one part in an event, a list of them in a whole answer.
#[derive(Clone, Copy, Debug, Default)]
struct Contents {
    text: bool,
    reasoning: bool,
}

impl<'de> Lenient<'de> for Contents {
    fn object<A: MapAccess<'de>>(&mut self, object: A) -> Result<(), A::Error> {
        let mut part = Part::default();
        part.object(object)?;
        self.text |= part.text.0;
        self.reasoning |= part.thinking.0;
        Ok(())
    }

    fn list<A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Into(self))?.is_some() {}
        Ok(())
    }
}

/// Tool calls: one in an event, a list of them in a whole answer.
#[derive(Clone, Copy, Debug, Default)]
struct Calls {
    /// How many have a name, which stands where a call begins.
    named: u32,
    filled: bool,
}

impl<'de> Lenient<'de> for Calls {
    fn object<A: MapAccess<'de>>(&mut self, object: A) -> Result<(), A::Error> {
        let mut call = Call::default();
        call.object(object)?;
        let named = call.name.0 || call.function.name.0;
        self.named = self.named.saturating_add(u32::from(named));
        self.filled |= named || call.function.arguments.0;
        Ok(())
    }

    fn list<A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Into(self))?.is_some() {}
        Ok(())
    }
}

fields! {
    /// What was used. Of the tokens those that are billed count: the others hold the provider's own
    /// preamble, and the reasoning that it gives away.
    #[derive(Clone, Copy)]
    struct Counted {
        billed: Object<Billed> = "billed_units",
        tokens: Object<Billed> = "tokens",
    }
}

fields! {
    #[derive(Clone, Copy)]
    struct Billed {
        input: Count = "input_tokens",
        output: Count = "output_tokens",
        /// Beside the input.
        image: Count = "image_tokens",
        reasoning: Count = "reasoning_tokens",
        searches: Count = "search_units",
    }
}

impl Counted {
    fn usage(self, chats: bool) -> Option<Usage> {
        let billed = self.billed.0.or(self.tokens.0)?;
        // A picture's tokens stand beside the text's.
        let input = match (billed.input.0, billed.image.0) {
            (None, None) => None,
            (text, image) => Some(text.unwrap_or(0).saturating_add(image.unwrap_or(0))),
        };
        let usage = Usage {
            input,
            output: billed.output.0.filter(|_| chats),
            reasoning: billed.reasoning.0,
            input_image: billed.image.0,
            units: Units { documents: billed.searches.0, ..Units::default() },
            ..Usage::default()
        };
        (usage != Usage::default()).then_some(usage)
    }
}

impl Cohere {
    fn apply(&mut self, event: &Event<'_>, facts: &mut ResponseFacts) {
        for id in [&event.id, &event.generation_id, &event.response.generation_id] {
            id.replace(&mut facts.id, ID);
        }
        for counted in [event.delta.usage, event.usage, event.response.meta, event.meta] {
            let usage = counted.0.and_then(|counted| counted.usage(self.chats));
            facts.usage = usage.or(facts.usage);
        }
        for calls in [event.delta.message.tool_calls, event.message.tool_calls, event.tool_calls] {
            facts.tool_calls = facts.tool_calls.saturating_add(calls.named);
        }
        self.stop(event, facts);
        let inner = &event.delta.error;
        let failure = if inner.is_some { inner } else { &event.error };
        if failure.is_some || self.context.is_error() {
            failure.tell(&event.code, &Text::default(), &self.context.error(), facts);
        }
    }

    /// Why the model stopped: there is one choice.
    fn stop(&self, event: &Event<'_>, facts: &mut ResponseFacts) {
        if !self.chats || self.context.is_error() {
            return;
        }
        if facts.finish_reasons.is_empty() {
            facts.finish_reasons.push(None);
        }
        let reasons =
            [&event.finish_reason, &event.delta.finish_reason, &event.response.finish_reason];
        for reason in reasons {
            if let Some(finish_reason) = facts.finish_reasons.first_mut() {
                reason.replace(finish_reason, WORD);
            }
            if matches!(reason.as_str(), "ERROR" | "ERROR_TOXIC" | "TIMEOUT") {
                facts.error = Some(reason.as_str().to_ascii_lowercase());
            }
        }
    }
}

impl Answer for Cohere {
    fn frame(&mut self, frame: Frame<'_>, facts: &mut ResponseFacts) -> Result<Content, Unread> {
        let data = frame.data.trim_ascii();
        if data.is_empty() || data == b"[DONE]" {
            return Ok(Content::default());
        }
        let mut event = Event::default();
        read(data, &mut event)?;
        self.apply(&event, facts);
        self.ended |= event.kind.as_str() == "message-end";
        self.ended |= event.event_type.as_str() == "stream-end";
        let message = &event.delta.message;
        let is_text = event.event_type.as_str() == "text-generation" && event.text.0;
        Ok(Content {
            text: message.content.text || is_text,
            // What it plans to do with its tools.
            reasoning: message.content.reasoning || message.tool_plan.0,
            tool_call: message.tool_calls.filled,
            other: false,
        })
    }

    fn document(&mut self, body: &[u8], facts: &mut ResponseFacts) -> Result<(), Unread> {
        let mut event = Event::default();
        let result = read(body, &mut event);
        if result.is_err() {
            // Of a body that breaks off the rest may be half a number.
            event.id.replace(&mut facts.id, ID);
            return result;
        }
        self.apply(&event, facts);
        Ok(())
    }

    fn is_terminated(&self, _: &ResponseFacts) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::dialect::told;

    fn facts(operation: Operation, status: u16, body: &str) -> ResponseFacts {
        told::by_document(
            begin(Context { operation: Some(operation), ..Context::of(status) }),
            body,
        )
    }

    #[test]
    fn what_is_billed_counts_before_what_was_used() {
        let usage = |counted: &str| {
            let body = format!(r#"{{"finish_reason":"COMPLETE","usage":{counted}}}"#);
            facts(Operation::Chat, 200, &body).usage
        };
        let both = usage(
            r#"{"billed_units":{"input_tokens":83,"output_tokens":109},"cached_tokens":144,
            "tokens":{"input_tokens":379,"output_tokens":164,"reasoning_tokens":54}}"#,
        );
        let expected = Usage { input: Some(83), output: Some(109), ..Usage::default() };
        assert_eq!(both, Some(expected));
        let tokens =
            usage(r#"{"tokens":{"input_tokens":9,"output_tokens":4,"reasoning_tokens":1}}"#);
        assert_eq!(tokens.and_then(|usage| usage.reasoning), Some(1));
        assert_eq!(usage("{}"), None);
    }

    #[test]
    fn a_ranking_is_billed_in_searches_and_pictures_stand_beside_texts() {
        let ranking =
            facts(Operation::Rerank, 200, r#"{"meta":{"billed_units":{"search_units":2}}}"#);
        let usage = ranking.usage.unwrap();
        assert_eq!((usage.units.documents, usage.input, usage.output), (Some(2), None, None));
        assert!(ranking.finish_reasons.is_empty());
        let embedded = facts(
            Operation::Embeddings,
            200,
            r#"{"meta":{"billed_units":{"input_tokens":7,"image_tokens":30,"output_tokens":0}}}"#,
        );
        let usage = embedded.usage.unwrap();
        assert_eq!((usage.input, usage.input_image, usage.output), (Some(37), Some(30), None));
    }

    #[test]
    fn an_answer_that_ended_in_an_error_is_one() {
        let failed = facts(Operation::Chat, 200, r#"{"finish_reason":"TIMEOUT"}"#);
        assert_eq!(failed.error.as_deref(), Some("timeout"));
        let refused = facts(Operation::Chat, 401, r#"{"message":"invalid api token"}"#);
        assert_eq!((refused.error.as_deref(), refused.finish_reasons.len()), (Some("401"), 0));
    }

    #[test]
    fn tool_calls_are_counted_once_each() {
        let body = r#"{"message":{"tool_calls":[{"function":{"name":"a","arguments":"{}"}},{"function":{"name":"b"}}]}}"#;
        assert_eq!(facts(Operation::Chat, 200, body).tool_calls, 2);
        let v1 = r#"{"text":"","tool_calls":[{"name":"a","parameters":{}}]}"#;
        assert_eq!(facts(Operation::Chat, 200, v1).tool_calls, 1);
    }

    #[test]
    fn its_own_routes_are_its_own_and_the_others_openais() {
        let name = |method, path| match find(method, path) {
            Found::Call(call) => (call.route, call.operation),
            Found::Other { route, .. } => (route, None),
        };
        assert_eq!(name("POST", "/v2/rerank"), (Some("/v2/rerank"), Some(Operation::Rerank)));
        assert_eq!(name("GET", "/v2/chat"), (Some("/v2/chat"), None));
        let compatible = name("POST", "/compatibility/v1/chat/completions");
        assert_eq!(compatible, (Some("/v1/chat/completions"), Some(Operation::Chat)));
        for route in ROUTES {
            assert_eq!(name("GET", route.name).0, Some(route.name));
        }
    }

    #[test]
    fn only_what_was_generated_is_content_and_either_version_has_its_end() {
        let context = Context { operation: Some(Operation::Chat), ..Context::of(200) };
        let (mut answer, mut facts) = (begin(context), ResponseFacts::default());
        let mut told = |data: &str| {
            let frame = Frame { name: b"", data: data.as_bytes() };
            let content = answer.frame(frame, &mut facts).unwrap();
            [content.text, content.reasoning, content.tool_call, content.other]
        };
        let delta = |message: &str| format!(r#"{{"type":"x","delta":{{"message":{message}}}}}"#);
        for (message, content) in [
            (r#"{"content":{"text":"a"}}"#, [true, false, false, false]),
            (r#"{"content":{"thinking":"a"}}"#, [false, true, false, false]),
            (r#"{"tool_plan":"a"}"#, [false, true, false, false]),
            (r#"{"tool_calls":{"function":{"name":"f"}}}"#, [false, false, true, false]),
            (r#"{"tool_calls":{"function":{"arguments":"{"}}}"#, [false, false, true, false]),
            (r#"{"content":{"text":""},"tool_calls":{"function":{}}}"#, [false; 4]),
        ] {
            assert_eq!(told(&delta(message)), content, "{message}");
        }
        assert!(told(r#"{"event_type":"text-generation","text":"a"}"#)[0]);
        assert_eq!(told(r#"{"event_type":"citation-generation","text":"a"}"#), [false; 4]);
        assert_eq!(told("[DONE]"), [false; 4]);
        assert_eq!((facts.tool_calls, facts.error), (1, None));
        for (end, ended) in [
            (r#"{"type":"message-end"}"#, true),
            (r#"{"event_type":"stream-end"}"#, true),
            (r#"{"type":"content-end"}"#, false),
        ] {
            let (mut answer, mut facts) = (begin(context), ResponseFacts::default());
            answer.frame(Frame { name: b"", data: end.as_bytes() }, &mut facts).unwrap();
            assert_eq!(answer.is_terminated(&facts), ended, "{end}");
        }
    }
}
