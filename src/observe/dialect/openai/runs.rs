//! Runs of OpenAI's assistants (deprecated): how they are begun, streamed and polled for. Their usage
//! is told when they end, and is that of all their steps. Knows no other part of the API.
//!
//! Source: the types of the provider's SDK for Python 3.52, and recorded runs.

use super::super::{Answer, Content, Context, Fetch, Model};
use crate::observe::decode::Frame;
use crate::observe::observation::{Operation, RequestFacts, ResponseFacts, Usage};
use crate::observe::shapes::failure::{Failure, Word};
use crate::observe::shapes::lenient::{
    Count, Filled, Flag, Length, List, Number, Object, Text, Unread, fields, read,
};

/// A run begins, or goes on with what its tools put out.
pub(super) const MAKE: Model =
    Model { operation: Operation::Chat, request, answer: begin, asks: false };
/// A run is polled for.
pub(super) const FETCH: Fetch = Fetch { method: "GET", answer: begin };
/// A run is broken off.
pub(super) const CANCEL: Fetch = Fetch { method: "POST", answer: begin };

/// Longest names that are kept.
const ID: usize = 128;
const MODEL: usize = 256;
const WORD: usize = 64;

fields! {
    struct Request<'de> {
        model: Text<'de> = "model",
        stream: Flag = "stream",
        temperature: Number = "temperature",
        top_p: Number = "top_p",
        max_completion_tokens: Number = "max_completion_tokens",
        reasoning_effort: Text<'de> = "reasoning_effort",
        messages: Length = "additional_messages",
        tools: Length = "tools",
    }
}

fn request(body: &[u8], facts: &mut RequestFacts) -> Result<(), Unread> {
    let mut request = Request::default();
    let result = read(body, &mut request);
    facts.stored = true;
    facts.model = request.model.bounded(MODEL);
    facts.stream = request.stream.0 == Some(true);
    // Of a body that breaks off the rest may be half a number.
    result?;
    facts.temperature = request.temperature.0;
    facts.top_p = request.top_p.0;
    facts.max_tokens = request.max_completion_tokens.whole();
    facts.reasoning_level = request.reasoning_effort.bounded(WORD);
    facts.messages = request.messages.0;
    facts.tools = request.tools.0.unwrap_or(0);
    Ok(())
}

fn begin(context: Context) -> Box<dyn Answer> {
    Box::new(Run { context, done: false })
}

#[derive(Debug)]
struct Run {
    context: Context,
    done: bool,
}

fields! {
    /// An object of any kind, in an event or alone.
    struct Thing<'de> {
        object: Text<'de> = "object",
        id: Text<'de> = "id",
        model: Text<'de> = "model",
        status: Text<'de> = "status",
        incomplete: Incomplete<'de> = "incomplete_details",
        required: Required = "required_action",
        usage: Object<Used> = "usage",
        delta: Delta<'de> = "delta",
        last_error: Failure<'de> = "last_error",
        error: Failure<'de> = "error",
        code: Word = "code",
        kind: Text<'de> = "type",
    }
}

fields! {
    struct Incomplete<'de> {
        reason: Text<'de> = "reason",
    }
}

fields! {
    struct Required {
        outputs: Outputs = "submit_tool_outputs",
    }
}

fields! {
    struct Outputs {
        calls: Length = "tool_calls",
    }
}

fields! {
    #[derive(Clone, Copy)]
    struct Used {
        prompt: Count = "prompt_tokens",
        completion: Count = "completion_tokens",
        /// Without the plural that it has elsewhere.
        prompt_details: Details = "prompt_token_details",
        completion_details: Details = "completion_tokens_details",
    }
}

fields! {
    #[derive(Clone, Copy)]
    struct Details {
        cached: Count = "cached_tokens",
        reasoning: Count = "reasoning_tokens",
    }
}

fields! {
    struct Delta<'de> {
        content: List<'de, Part> = "content",
        step: Step<'de> = "step_details",
    }
}

fields! {
    struct Part {
        text: Value = "text",
        refusal: Filled = "refusal",
        picture: Filled = "image_file",
    }
}

fields! {
    struct Value {
        value: Filled = "value",
    }
}

fields! {
    struct Step<'de> {
        calls: List<'de, Call> = "tool_calls",
    }
}

fields! {
    struct Call {
        function: Function = "function",
        interpreter: Interpreter = "code_interpreter",
    }
}

fields! {
    struct Function {
        name: Filled = "name",
        arguments: Filled = "arguments",
    }
}

fields! {
    struct Interpreter {
        input: Filled = "input",
    }
}

impl Used {
    fn usage(self) -> Usage {
        Usage {
            input: self.prompt.0,
            output: self.completion.0,
            cache_read: self.prompt_details.cached.0,
            reasoning: self.completion_details.reasoning.0,
            ..Usage::default()
        }
    }
}

impl Delta<'_> {
    fn content(&self) -> Content {
        let mut content = Content::default();
        for part in self.content.iter() {
            content.text |= part.text.value.0 || part.refusal.0;
            content.other |= part.picture.0;
        }
        for Call { function, interpreter } in self.step.calls.iter() {
            content.tool_call |= function.name.0 || function.arguments.0 || interpreter.input.0;
        }
        content
    }
}

impl Run {
    /// The run itself; its steps' usage is part of its own.
    fn apply(&mut self, run: &Thing<'_>, facts: &mut ResponseFacts) {
        run.id.replace(&mut facts.id, ID);
        run.model.replace(&mut facts.model, MODEL);
        facts.background = true;
        let status = run.status.as_str();
        facts.pending =
            matches!(status, "queued" | "in_progress" | "cancelling" | "requires_action");
        facts.tool_calls = run.required.outputs.calls.0.unwrap_or(facts.tool_calls);
        if matches!(status, "failed" | "expired") {
            run.last_error.tell(&Word::default(), &run.status, &self.context.error(), facts);
        }
        if facts.pending && status != "requires_action" {
            return;
        }
        let reason = match run.incomplete.reason.as_str() {
            "" => &run.status,
            _ => &run.incomplete.reason,
        };
        facts.finish_reasons = reason.bounded(WORD).into_iter().map(Some).collect();
        if !facts.pending {
            self.done = true;
            facts.usage = run.usage.0.map(Used::usage).or(facts.usage);
        }
    }

    fn read(&mut self, thing: &Thing<'_>, named_error: bool, facts: &mut ResponseFacts) {
        if thing.object.as_str() == "thread.run" {
            self.apply(thing, facts);
        }
        if thing.error.is_some || named_error || self.context.is_error() {
            thing.error.tell(&thing.code, &thing.kind, &self.context.error(), facts);
        }
    }
}

impl Answer for Run {
    fn frame(&mut self, frame: Frame<'_>, facts: &mut ResponseFacts) -> Result<Content, Unread> {
        let data = frame.data.trim_ascii();
        if data.is_empty() || data == b"[DONE]" {
            self.done |= !data.is_empty();
            return Ok(Content::default());
        }
        let mut thing = Thing::default();
        read(data, &mut thing)?;
        self.read(&thing, frame.name == b"error", facts);
        Ok(thing.delta.content())
    }

    fn document(&mut self, body: &[u8], facts: &mut ResponseFacts) -> Result<(), Unread> {
        let mut thing = Thing::default();
        read(body, &mut thing)?;
        self.read(&thing, false, facts);
        Ok(())
    }

    fn is_terminated(&self, _: &ResponseFacts) -> bool {
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::dialect::told;

    fn told(events: &[&str]) -> (ResponseFacts, Vec<Content>, bool) {
        told::by_events(begin(Context::of(200)), events)
    }

    fn run(more: &str) -> String {
        format!(r#"{{"id":"run_1","object":"thread.run","model":"gpt-4o",{more}}}"#)
    }

    #[test]
    fn a_run_tells_its_usage_at_its_end_and_its_steps_add_nothing() {
        let begun = run(r#""status":"in_progress","usage":null"#);
        let step = r#"{"id":"step_1","object":"thread.run.step","status":"completed","usage":{"prompt_tokens":9,"completion_tokens":9}}"#;
        let ended = run(
            r#""status":"completed","usage":{"prompt_tokens":381,"completion_tokens":89,"prompt_token_details":{"cached_tokens":4},
            "completion_tokens_details":{"reasoning_tokens":3}}"#,
        );
        let (facts, _, done) = told(&[&begun, step]);
        assert_eq!((facts.pending, facts.usage, done), (true, None, false));
        let (facts, _, done) = told(&[&begun, step, &ended]);
        let usage = facts.usage.unwrap();
        assert_eq!((usage.input, usage.output), (Some(381), Some(89)));
        assert_eq!((usage.cache_read, usage.reasoning), (Some(4), Some(3)));
        assert_eq!((facts.id.as_deref(), done), (Some("run_1"), true));
        assert!(facts.background && !facts.pending);
        assert_eq!(facts.finish_reasons, [Some("completed".to_owned())]);
    }

    #[test]
    fn a_run_that_waits_for_its_tools_has_called_them_and_is_not_over() {
        let (facts, _, done) = told(&[
            &run(
                r#""status":"requires_action","required_action":{"submit_tool_outputs":{"tool_calls":[{},{}]}},"usage":null"#,
            ),
            "[DONE]",
        ]);
        assert_eq!((facts.tool_calls, facts.pending, done), (2, true, true));
        assert_eq!(facts.finish_reasons, [Some("requires_action".to_owned())]);
    }

    #[test]
    fn what_went_wrong_has_a_word() {
        let failed = run(r#""status":"failed","last_error":{"code":"rate_limit_exceeded"}"#);
        assert_eq!(told(&[&failed]).0.error.unwrap(), "rate_limit_exceeded");
        assert_eq!(
            told(&[&run(r#""status":"expired","last_error":null"#)]).0.error.unwrap(),
            "expired"
        );
        assert_eq!(
            told(&[r#"{"error":{"code":"server_error"}}"#]).0.error.unwrap(),
            "server_error"
        );
        assert_eq!(told(&[&run(r#""status":"cancelled","last_error":null"#)]).0.error, None);
    }

    #[test]
    fn texts_and_calls_are_content() {
        let (_, contents, _) = told(&[
            r#"{"object":"thread.message.delta","delta":{"content":[{"index":0,"type":"text","text":{"value":"Hi"}}]}}"#,
            r#"{"object":"thread.run.step.delta","delta":{"step_details":{"tool_calls":[{"code_interpreter":{"input":"1"}}]}}}"#,
            r#"{"object":"thread.run.step.delta","delta":{"step_details":{"tool_calls":[{"function":{"name":"f","arguments":""}}]}}}"#,
            r#"{"object":"thread.run.step.delta","delta":{"step_details":{"tool_calls":[{"code_interpreter":{"input":""}}]}}}"#,
            r#"{"object":"thread.message","content":[{"text":{"value":"Hi"}}]}"#,
        ]);
        let kinds: Vec<_> = contents.iter().map(|it| (it.text, it.tool_call)).collect();
        let expected =
            [(true, false), (false, true), (false, true), (false, false), (false, false)];
        assert_eq!(kinds, expected);
    }
}
