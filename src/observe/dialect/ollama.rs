//! Ollama's own routes, which stream lines of JSON unless told not to; its `/v1` routes speak
//! `openai`. Keeps nothing of what was said.

use std::time::Duration;

use serde::de::SeqAccess;

use super::{Answer, Content, Context, Found, Model, Post, openai};
use crate::observe::decode::Frame;
use crate::observe::observation::{
    ClaimedDurations, Operation, RequestFacts, ResponseFacts, Usage,
};
use crate::observe::shapes::failure::{Failure, Word};
use crate::observe::shapes::lenient::{
    Count, Filled, Flag, Inputs, Into, Length, Lenient, Number, Text, Texts, Unread, fields, read,
};
use crate::observe::shapes::route::{self, Route, route};

/// Longest names that are kept.
const MODEL: usize = 256;
const HOST: usize = 128;
const WORD: usize = 64;

const CHAT: Model = Model { operation: Operation::Chat, request: chat, answer: begin, asks: false };
const GENERATE: Model =
    Model { operation: Operation::TextCompletion, request: generate, answer: begin, asks: false };
const EMBED: Model =
    Model { operation: Operation::Embeddings, request: embed, answer: begin, asks: false };

/// The paths of Ollama's own API. None ends like one of OpenAI's.
const ROUTES: [Route<Post>; 18] = [
    route("/api/chat", Post::Model(CHAT)),
    route("/api/generate", Post::Model(GENERATE)),
    route("/api/embed", Post::Model(EMBED)),
    route("/api/embeddings", Post::Model(EMBED)),
    route("/api/tags", Post::Plain),
    route("/api/ps", Post::Plain),
    route("/api/version", Post::Plain),
    route("/api/status", Post::Plain),
    route("/api/show", Post::Plain),
    // Long streams of lines, of which the last may be an error.
    route("/api/pull", Post::Usage),
    route("/api/push", Post::Usage),
    route("/api/create", Post::Usage),
    route("/api/copy", Post::Plain),
    route("/api/delete", Post::Plain),
    route("/api/me", Post::Plain),
    route("/api/signout", Post::Plain),
    route("/api/blobs/{digest}", Post::Plain),
    route("/api/experimental/{name}", Post::Plain),
];

/// What a call of `method` to `path` is.
pub fn find(method: &str, path: &str) -> Found {
    match (route::find(&ROUTES, "", path), path) {
        (Some(route), _) => route.is.found(method, route.name),
        (None, "/") => Found::Other { route: Some("/"), usage: false },
        (None, _) => openai::find(method, path),
    }
}

/// Whether a path is one of its own at which a model answers, whatever the server.
pub fn is_spoken_at(path: &str) -> bool {
    ["/api/chat", "/api/generate", "/api/embed"].iter().any(|end| path.ends_with(end))
}

fields! {
    struct Request<'de> {
        model: Text<'de> = "model",
        messages: Length = "messages",
        prompt: Inputs = "prompt",
        input: Inputs = "input",
        stream: Flag = "stream",
        format: Format = "format",
        think: Text<'de> = "think",
        tools: Length = "tools",
        dimensions: Number = "dimensions",
        options: Options = "options",
    }
}

fields! {
    struct Options {
        temperature: Number = "temperature",
        top_k: Number = "top_k",
        top_p: Number = "top_p",
        frequency_penalty: Number = "frequency_penalty",
        presence_penalty: Number = "presence_penalty",
        num_predict: Number = "num_predict",
        seed: Number = "seed",
        stop: Texts = "stop",
    }
}

/// Whether JSON was asked for: `"json"`, or a schema.
#[derive(Clone, Copy, Debug, Default)]
struct Format {
    json: bool,
}

impl<'de> Lenient<'de> for Format {
    fn text(&mut self, text: &str) {
        self.json = text == "json";
    }

    fn object<A: serde::de::MapAccess<'de>>(&mut self, object: A) -> Result<(), A::Error> {
        self.json = true;
        Filled::default().object(object)
    }
}

fn chat(body: &[u8], facts: &mut RequestFacts) -> Result<(), Unread> {
    fill(body, facts, true, |request| request.messages.0)
}

fn generate(body: &[u8], facts: &mut RequestFacts) -> Result<(), Unread> {
    fill(body, facts, true, |request| request.prompt.0)
}

fn embed(body: &[u8], facts: &mut RequestFacts) -> Result<(), Unread> {
    fill(body, facts, false, |request| request.input.0.or(request.prompt.0))
}

fn fill(
    body: &[u8],
    facts: &mut RequestFacts,
    streams: bool,
    messages: fn(&Request<'_>) -> Option<u32>,
) -> Result<(), Unread> {
    let mut request = Request::default();
    let result = read(body, &mut request);
    facts.model = request.model.bounded(MODEL);
    facts.stream = streams && request.stream.0 == Some(true);
    // Of a body that breaks off the rest may be half a number.
    result?;
    let messages = messages(&request);
    let options = request.options;
    *facts = RequestFacts {
        model: facts.model.take(),
        stream: streams && request.stream.0 != Some(false),
        temperature: options.temperature.0,
        top_p: options.top_p.0,
        top_k: options.top_k.0,
        frequency_penalty: options.frequency_penalty.0,
        presence_penalty: options.presence_penalty.0,
        max_tokens: options.num_predict.whole(),
        seed: options.seed.whole(),
        stop_sequences: options.stop.0,
        reasoning_level: request.think.bounded(WORD),
        output_type: request.format.json.then_some("json"),
        dimensions: request.dimensions.whole(),
        messages,
        tools: request.tools.0.unwrap_or(0),
        ..RequestFacts::default()
    };
    Ok(())
}

fn begin(context: Context) -> Box<dyn Answer> {
    Box::new(Ollama {
        context,
        generates: context.operation != Some(Operation::Embeddings),
        done: false,
    })
}

#[derive(Debug)]
struct Ollama {
    context: Context,
    // There is one choice; embeddings have none.
    generates: bool,
    done: bool,
}

fields! {
    /// One line of a stream, or the whole answer.
    struct Line<'de> {
        model: Text<'de> = "model",
        /// Where a cloud model runs.
        remote_host: Text<'de> = "remote_host",
        message: Message = "message",
        response: Filled = "response",
        thinking: Filled = "thinking",
        tool_calls: ToolCalls = "tool_calls",
        image: Filled = "image",
        done: Flag = "done",
        done_reason: Text<'de> = "done_reason",
        total_duration: Count = "total_duration",
        load_duration: Count = "load_duration",
        prompt_eval_count: Count = "prompt_eval_count",
        prompt_eval_duration: Count = "prompt_eval_duration",
        eval_count: Count = "eval_count",
        eval_duration: Count = "eval_duration",
        error: Failure<'de> = "error",
        code: Word = "code",
        kind: Text<'de> = "type",
    }
}

fields! {
    #[derive(Clone, Copy)]
    struct Message {
        content: Filled = "content",
        thinking: Filled = "thinking",
        tool_calls: ToolCalls = "tool_calls",
    }
}

fields! {
    #[derive(Clone, Copy)]
    struct ToolCall {
        function: Function = "function",
    }
}

fields! {
    #[derive(Clone, Copy)]
    struct Function {
        name: Filled = "name",
    }
}

/// How many tool calls; each comes whole.
#[derive(Clone, Copy, Debug, Default)]
struct ToolCalls(u32);

impl<'de> Lenient<'de> for ToolCalls {
    fn list<A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<(), A::Error> {
        loop {
            let mut call = ToolCall::default();
            if list.next_element_seed(Into(&mut call))?.is_none() {
                return Ok(());
            }
            self.0 = self.0.saturating_add(u32::from(call.function.name.0));
        }
    }
}

impl Line<'_> {
    fn content(&self) -> Content {
        Content {
            text: self.message.content.0 || self.response.0,
            reasoning: self.message.thinking.0 || self.thinking.0,
            tool_call: self.calls() > 0,
            other: self.image.0,
        }
    }

    fn calls(&self) -> u32 {
        self.message.tool_calls.0.saturating_add(self.tool_calls.0)
    }

    /// Counts of zero are left out, so those that are absent stay unknown.
    fn usage(&self) -> Option<Usage> {
        let (input, output) = (self.prompt_eval_count.0, self.eval_count.0);
        let usage = Usage { input, output, ..Usage::default() };
        (input.is_some() || output.is_some()).then_some(usage)
    }

    fn claimed(&self, old: ClaimedDurations) -> ClaimedDurations {
        let duration = |count: Count, old| count.0.map(Duration::from_nanos).or(old);
        ClaimedDurations {
            total: duration(self.total_duration, old.total),
            load: duration(self.load_duration, old.load),
            prompt: duration(self.prompt_eval_duration, old.prompt),
            output: duration(self.eval_duration, old.output),
            ..old
        }
    }
}

impl Ollama {
    fn apply(&mut self, line: &Line<'_>, facts: &mut ResponseFacts) {
        line.model.replace(&mut facts.model, MODEL);
        line.remote_host.replace(&mut facts.served_by, HOST);
        facts.usage = line.usage().or(facts.usage);
        facts.claimed = line.claimed(facts.claimed);
        facts.tool_calls = facts.tool_calls.saturating_add(line.calls());
        self.done |= line.done.0 == Some(true);
        if line.error.is_some || self.context.is_error() {
            line.error.tell(&line.code, &line.kind, &self.context.error(), facts);
        } else if self.generates {
            if facts.finish_reasons.is_empty() {
                facts.finish_reasons.push(None);
            }
            if let Some(finish_reason) = facts.finish_reasons.first_mut() {
                line.done_reason.replace(finish_reason, WORD);
            }
        }
    }
}

impl Answer for Ollama {
    fn frame(&mut self, frame: Frame<'_>, facts: &mut ResponseFacts) -> Result<Content, Unread> {
        let mut line = Line::default();
        read(frame.data, &mut line)?;
        self.apply(&line, facts);
        Ok(line.content())
    }

    fn document(&mut self, body: &[u8], facts: &mut ResponseFacts) -> Result<(), Unread> {
        let mut line = Line::default();
        let result = read(body, &mut line);
        if result.is_err() {
            line.model.replace(&mut facts.model, MODEL);
            return result;
        }
        self.apply(&line, facts);
        Ok(())
    }

    fn is_terminated(&self, _: &ResponseFacts) -> bool {
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(body: &str) -> RequestFacts {
        let mut facts = RequestFacts::default();
        chat(body.as_bytes(), &mut facts).unwrap();
        facts
    }

    #[test]
    fn a_stream_is_what_comes_unless_it_is_declined() {
        assert!(request("{}").stream);
        assert!(request(r#"{"stream":null}"#).stream);
        assert!(!request(r#"{"stream":false}"#).stream);
        let mut facts = RequestFacts::default();
        embed(b"{\"input\":[\"a\",\"b\"]}", &mut facts).unwrap();
        assert_eq!((facts.stream, facts.messages), (false, Some(2)));
        assert_eq!(chat(b"{\"model\":\"q", &mut facts), Err(Unread::Short));
        assert!(!facts.stream, "what was not read is not known");
    }

    #[test]
    fn options_are_read() {
        let found = request(
            r#"{"model":"qwen3:8b","messages":[{}],"format":{"type":"object"},"think":"high","tools":[{}],
            "options":{"temperature":0,"top_k":3,"num_predict":-1,"seed":7,"stop":["a","b"]}}"#,
        );
        let expected = RequestFacts {
            model: Some("qwen3:8b".to_owned()),
            stream: true,
            temperature: Some(0.0),
            top_k: Some(3.0),
            max_tokens: Some(-1),
            seed: Some(7),
            stop_sequences: vec!["a".to_owned(), "b".to_owned()],
            reasoning_level: Some("high".to_owned()),
            output_type: Some("json"),
            messages: Some(1),
            tools: 1,
            ..RequestFacts::default()
        };
        assert_eq!(found, expected);
        assert_eq!(request(r#"{"think":true,"format":""}"#).reasoning_level, None);
    }

    #[test]
    fn own_routes_are_ollamas_and_v1_is_openais() {
        let name = |method, path| match find(method, path) {
            Found::Call(call) => (call.route, call.operation, call.asks),
            Found::Other { route, .. } => (route, None, false),
        };
        assert_eq!(name("POST", "/api/chat"), (Some("/api/chat"), Some(Operation::Chat), false));
        assert_eq!(name("GET", "/api/tags"), (Some("/api/tags"), None, false));
        assert_eq!(name("HEAD", "/"), (Some("/"), None, false));
        let digest = name("HEAD", "/api/blobs/sha256:ab");
        assert_eq!(digest, (Some("/api/blobs/{digest}"), None, false));
        let v1 = name("POST", "/v1/chat/completions");
        assert_eq!(v1, (Some("/v1/chat/completions"), Some(Operation::Chat), true));
        assert_eq!(name("POST", "/v1/embeddings").1, Some(Operation::Embeddings));
    }

    #[test]
    fn every_route_finds_itself() {
        for route in ROUTES {
            let path = route.name.replace("{digest}", "d").replace("{name}", "n");
            let found = route::find(&ROUTES, "", &path).map(|found| found.name);
            assert_eq!(found, Some(route.name));
        }
    }

    #[test]
    fn every_option_and_every_claim_has_its_place() {
        let found = request(
            r#"{"options":{"top_p":0.5,"frequency_penalty":0.25,"presence_penalty":0.75}}"#,
        );
        let told = (found.top_p, found.frequency_penalty, found.presence_penalty);
        assert_eq!(told, (Some(0.5), Some(0.25), Some(0.75)));
        let mut facts = RequestFacts::default();
        embed(br#"{"input":"a","dimensions":64}"#, &mut facts).unwrap();
        assert_eq!(facts.dimensions, Some(64));
        let context = Context::of(200);
        let (mut answer, mut facts) = (begin(context), ResponseFacts::default());
        let mut frame = |data: &str| {
            let frame = Frame { name: b"", data: data.as_bytes() };
            let content = answer.frame(frame, &mut facts).unwrap();
            (content, answer.is_terminated(&facts))
        };
        let thinking = Content { reasoning: true, ..Content::default() };
        assert_eq!(frame(r#"{"thinking":"a","done":false}"#), (thinking, false));
        assert_eq!(frame(r#"{"message":{"thinking":"a"}}"#), (thinking, false));
        let last = r#"{"done":true,"total_duration":9,"load_duration":2,"prompt_eval_duration":3,"eval_duration":4}"#;
        assert_eq!(frame(last), (Content::default(), true));
        let nanos = |nanos| Some(Duration::from_nanos(nanos));
        let expected = ClaimedDurations {
            total: nanos(9),
            load: nanos(2),
            prompt: nanos(3),
            output: nanos(4),
            ..ClaimedDurations::default()
        };
        assert_eq!(facts.claimed, expected);
    }
}
