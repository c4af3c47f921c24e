//! What a model answers in OpenAI's format: chat and legacy completions, streamed or whole, and
//! embeddings. Knows no request, and keeps nothing of what was said.

use serde::de::SeqAccess;

use super::super::{Answer, Content, Context};
use super::tail;
use crate::observe::decode::Frame;
use crate::observe::observation::{Operation, ResponseFacts, Usage};
use crate::observe::shapes::extras::{Times, claim};
use crate::observe::shapes::failure::{Failure, Word};
use crate::observe::shapes::lenient::{
    Count, Filled, Into, Lenient, List, Object, Text, Unread, fields, read,
};
use crate::observe::shapes::tokens::{Counting, Tokens};

/// Choices beyond this are not followed.
const CHOICES: usize = 1024;
/// Tool calls of one choice beyond this are not counted.
const CALLS: u64 = 1024;
/// Longest names that are kept.
const ID: usize = 128;
const MODEL: usize = 256;
const WORD: usize = 64;

/// Begins to read an answer.
pub(super) fn begin(context: Context) -> Box<dyn Answer> {
    Box::new(OpenAi::of(context))
}

/// Begins to read one that was put off: it was made apart from the call that asked for it.
pub(super) fn begin_deferred(context: Context) -> Box<dyn Answer> {
    Box::new(OpenAi { is_deferred: true, ..OpenAi::of(context) })
}

#[derive(Debug)]
struct OpenAi {
    context: Context,
    counting: Counting,
    done: bool,
    // Tool calls seen so far, by choice.
    tools: Vec<u32>,
    // It was made apart from the call that asked for it.
    is_deferred: bool,
}

fields! {
    /// One chunk of a stream, or the whole answer.
    struct Chunk<'de> {
        id: Text<'de> = "id",
        /// xAI's, of a completion that is put off.
        request_id: Text<'de> = "request_id",
        model: Text<'de> = "model",
        choices: List<'de, Choice<'de>> = "choices",
        usage: Object<Tokens> = "usage",
        service_tier: Text<'de> = "service_tier",
        /// OpenRouter.
        provider: Text<'de> = "provider",
        system_fingerprint: Text<'de> = "system_fingerprint",
        groq: Groq<'de> = "x_groq",
        /// llama.cpp.
        timings: Times = "timings",
        /// Cerebras.
        time_info: Times = "time_info",
        /// Azure.
        checkpoint: Times = "latency_checkpoint",
        error: Failure<'de> = "error",
        code: Word = "code",
        kind: Text<'de> = "type",
        object: Text<'de> = "object",
    }
}

fields! {
    struct Choice<'de> {
        index: Count = "index",
        delta: Message = "delta",
        message: Message = "message",
        text: Filled = "text",
        finish_reason: Text<'de> = "finish_reason",
        /// Moonshot's streams.
        usage: Object<Tokens> = "usage",
        /// OpenRouter.
        error: Failure<'de> = "error",
    }
}

fields! {
    #[derive(Clone, Copy)]
    struct Message {
        content: Parts = "content",
        refusal: Filled = "refusal",
        /// DeepSeek, vLLM and others.
        reasoning_content: Filled = "reasoning_content",
        /// Ollama, OpenRouter, newer vLLM.
        reasoning: Filled = "reasoning",
        tool_calls: ToolCalls = "tool_calls",
        /// What tool calls were before there could be several.
        function_call: Function = "function_call",
        audio: Filled = "audio",
    }
}

fields! {
    #[derive(Clone, Copy)]
    struct ToolCall {
        index: Count = "index",
        function: Function = "function",
        custom: Function = "custom",
    }
}

fields! {
    #[derive(Clone, Copy)]
    struct Function {
        name: Filled = "name",
        arguments: Filled = "arguments",
        input: Filled = "input",
    }
}

fields! {
    /// Groq's own corner: usage, and why a stream was broken off.
    struct Groq<'de> {
        usage: Object<Tokens> = "usage",
        error: Failure<'de> = "error",
    }
}

/// Content is a text; with Mistral it may be a list of parts, some of them reasoning.
#[derive(Clone, Copy, Debug, Default)]
struct Parts {
    text: bool,
    reasoning: bool,
}

fields! {
    struct Part<'de> {
        kind: Text<'de> = "type",
        text: Filled = "text",
        thinking: Filled = "thinking",
    }
}

impl<'de> Lenient<'de> for Parts {
    fn text(&mut self, text: &str) {
        self.text |= !text.is_empty();
    }

    fn list<A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<(), A::Error> {
        loop {
            let mut part = Part::default();
            if list.next_element_seed(Into(&mut part))?.is_none() {
                return Ok(());
            }
            self.reasoning |= part.thinking.0;
            self.text |= part.text.0;
        }
    }
}

/// The pieces of tool calls in one message, without a copy of any.
#[derive(Clone, Copy, Debug, Default)]
struct ToolCalls {
    /// One more than the highest index, if pieces have one.
    indexes: u32,
    /// Pieces without an index that begin a call.
    unnumbered: u32,
    filled: bool,
}

impl<'de> Lenient<'de> for ToolCalls {
    fn list<A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<(), A::Error> {
        loop {
            let mut call = ToolCall::default();
            if list.next_element_seed(Into(&mut call))?.is_none() {
                return Ok(());
            }
            let named = call.function.name.0 || call.custom.name.0;
            match call.index.0 {
                Some(index) => self.indexes = self.indexes.max(index.min(CALLS - 1) as u32 + 1),
                None => self.unnumbered = self.unnumbered.saturating_add(u32::from(named)),
            }
            self.filled |= named || call.function.is_filled() || call.custom.is_filled();
        }
    }
}

impl Function {
    fn is_filled(&self) -> bool {
        self.name.0 || self.arguments.0 || self.input.0
    }
}

impl Message {
    fn content(&self) -> Content {
        Content {
            text: self.content.text || self.refusal.0,
            reasoning: self.content.reasoning || self.reasoning_content.0 || self.reasoning.0,
            tool_call: self.tool_calls.filled || self.function_call.is_filled(),
            other: self.audio.0,
        }
    }
}

impl Chunk<'_> {
    /// A choice ended by an error (OpenRouter).
    fn is_broken(&self) -> bool {
        self.choices.iter().any(|choice| choice.finish_reason.as_str() == "error")
    }
}

impl OpenAi {
    fn of(context: Context) -> Self {
        use Operation::{Embeddings, Rerank};
        let all_input = matches!(context.operation, Some(Embeddings | Rerank));
        Self {
            context,
            counting: Counting { all_input },
            done: false,
            tools: Vec::new(),
            is_deferred: false,
        }
    }

    /// What a chunk and a whole answer have in common.
    fn apply(&mut self, chunk: &Chunk<'_>, named_error: bool, facts: &mut ResponseFacts) {
        chunk.id.replace(&mut facts.id, ID);
        chunk.model.replace(&mut facts.model, MODEL);
        chunk.provider.replace(&mut facts.served_by, ID);
        chunk.service_tier.replace(&mut facts.service_tier, WORD);
        chunk.system_fingerprint.replace(&mut facts.system_fingerprint, ID);
        self.count(chunk, facts);
        self.apply_error(chunk, named_error, facts);
    }

    /// The counts, and what stands beside them.
    fn count(&self, chunk: &Chunk<'_>, facts: &mut ResponseFacts) {
        for times in [&chunk.checkpoint, &chunk.time_info, &chunk.timings] {
            claim(&mut facts.claimed, times.claimed());
        }
        let in_choice = chunk.choices.iter().find_map(|choice| choice.usage.0);
        let Some(tokens) = chunk.usage.0.or(chunk.groq.usage.0).or(in_choice) else {
            return;
        };
        if let Some(usage) = tokens.usage(self.counting) {
            let cache_read = usage.cache_read.or(chunk.timings.cached.0);
            facts.usage = Some(Usage { cache_read, ..usage });
        }
        claim(&mut facts.claimed, tokens.claimed());
        facts.reported_cost = tokens.reported_cost().or(facts.reported_cost);
        if let Some(tier) = tokens.service_tier() {
            facts.service_tier = Some(tier.to_owned());
        }
    }

    fn apply_error(&mut self, chunk: &Chunk<'_>, named: bool, facts: &mut ResponseFacts) {
        let in_choice = chunk.choices.iter().map(|choice| &choice.error);
        let mut failures = [&chunk.error, &chunk.groq.error].into_iter().chain(in_choice);
        let failure = failures.find(|failure| failure.is_some);
        let said = named
            || self.context.is_error()
            || chunk.object.as_str() == "error"
            || chunk.is_broken();
        if failure.is_some() || said {
            let failure = failure.unwrap_or(&chunk.error);
            failure.tell(&chunk.code, &chunk.kind, &self.context.error(), facts);
        }
    }

    /// A choice, of which `message` is a piece, or all.
    fn choice(&mut self, choice: &Choice<'_>, message: &Message, facts: &mut ResponseFacts) {
        let index = choice.index.0.map_or(0, |index| usize::try_from(index).unwrap_or(CHOICES));
        if index >= CHOICES {
            return;
        }
        if facts.finish_reasons.len() <= index {
            facts.finish_reasons.resize(index + 1, None);
        }
        if let Some(finish_reason) = facts.finish_reasons.get_mut(index) {
            choice.finish_reason.replace(finish_reason, WORD);
        }
        facts.refused |= message.refusal.0;
        self.count_tools(index, message, facts);
    }

    fn count_tools(&mut self, index: usize, message: &Message, facts: &mut ResponseFacts) {
        let calls = message.tool_calls;
        let old = u32::from(message.function_call.is_filled());
        if calls.indexes == 0 && calls.unnumbered == 0 && old == 0 {
            return;
        }
        if self.tools.len() <= index {
            self.tools.resize(index + 1, 0);
        }
        if let Some(seen) = self.tools.get_mut(index) {
            let now = (*seen).max(calls.indexes).max(old).saturating_add(calls.unnumbered);
            facts.tool_calls = facts.tool_calls.saturating_add(now - *seen);
            *seen = now;
        }
    }
}

impl Answer for OpenAi {
    fn frame(&mut self, frame: Frame<'_>, facts: &mut ResponseFacts) -> Result<Content, Unread> {
        let data = frame.data.trim_ascii();
        if data.is_empty() || data == b"[DONE]" {
            self.done |= !data.is_empty();
            return Ok(Content::default());
        }
        let mut chunk = Chunk::default();
        read(data, &mut chunk)?;
        self.apply(&chunk, frame.name == b"error", facts);
        let mut content = Content::default();
        for choice in chunk.choices.iter() {
            self.choice(choice, &choice.delta, facts);
            let delta = choice.delta.content();
            content.text |= delta.text || choice.text.0;
            content.reasoning |= delta.reasoning;
            content.tool_call |= delta.tool_call;
            content.other |= delta.other;
        }
        Ok(content)
    }

    fn document(&mut self, body: &[u8], facts: &mut ResponseFacts) -> Result<(), Unread> {
        let mut chunk = Chunk::default();
        let result = read(body, &mut chunk);
        if result.is_err() {
            // Of a body that breaks off the rest may be half a number.
            chunk.id.replace(&mut facts.id, ID);
            chunk.model.replace(&mut facts.model, MODEL);
            return result;
        }
        self.apply(&chunk, false, facts);
        // All that is there yet is a name, under which the answer will be fetched.
        facts.pending = chunk.id.as_str().is_empty() && chunk.choices.iter().next().is_none();
        facts.pending &= !chunk.request_id.as_str().is_empty() && facts.error.is_none();
        facts.background |= self.is_deferred || facts.pending;
        if facts.pending {
            chunk.request_id.replace(&mut facts.id, ID);
        }
        chunk.choices.iter().for_each(|choice| self.choice(choice, &choice.message, facts));
        Ok(())
    }

    fn tail(&mut self, body: &[u8], facts: &mut ResponseFacts) {
        // What it lacks is not told: there are no choices, and no error.
        if let Some(document) = tail::document(body) {
            self.document(&document, facts).ok();
        }
    }

    fn is_terminated(&self, facts: &ResponseFacts) -> bool {
        let reasons = &facts.finish_reasons;
        self.done || (!reasons.is_empty() && reasons.iter().all(Option::is_some))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What events tell, each with its name.
    fn told(events: &[(&str, &str)]) -> (ResponseFacts, Vec<Content>) {
        let context = Context { operation: Some(Operation::Chat), ..Context::of(200) };
        let (mut answer, mut facts) = (begin(context), ResponseFacts::default());
        let frames = events
            .iter()
            .map(|(name, data)| Frame { name: name.as_bytes(), data: data.as_bytes() });
        let contents = frames.map(|frame| answer.frame(frame, &mut facts).unwrap()).collect();
        (facts, contents)
    }

    fn facts(data: &str) -> ResponseFacts {
        told(&[("", data)]).0
    }

    #[test]
    fn choices_are_followed_up_to_a_bound() {
        let ended = |index: u64| {
            let choice = format!(r#"{{"choices":[{{"index":{index},"finish_reason":"stop"}}]}}"#);
            facts(&choice).finish_reasons.len()
        };
        let indexes = [0, CHOICES as u64 - 1, CHOICES as u64, u64::MAX];
        assert_eq!(indexes.map(ended), [1, CHOICES, 0, 0]);
        let last = r#"{"choices":[{"index":1,"finish_reason":"length"}]}"#;
        let first = r#"{"choices":[{"index":0,"finish_reason":"stop"}]}"#;
        let (both, _) = told(&[("", last), ("", first)]);
        assert_eq!(both.finish_reasons, [Some("stop".to_owned()), Some("length".to_owned())]);
    }

    #[test]
    fn an_error_may_be_told_by_the_events_name_or_by_why_a_choice_ended() {
        let error = |name, data| told(&[(name, data)]).0.error;
        let named = Some("error_in_stream".to_owned());
        assert_eq!(error("error", r#"{"message":"m"}"#), named);
        assert_eq!(error("", r#"{"message":"m"}"#), None);
        assert_eq!(error("", r#"{"object":"error","message":"m"}"#), named);
        assert_eq!(error("", r#"{"choices":[{"index":0,"finish_reason":"error"}]}"#), named);
        assert_eq!(error("", r#"{"choices":[{"index":0,"finish_reason":"stop"}]}"#), None);
    }

    #[test]
    fn who_answered_and_what_was_used_stand_where_each_puts_them() {
        let found =
            facts(r#"{"id":"c","model":"m","provider":"Groq","usage":{"prompt_tokens":3}}"#);
        let names = [found.id, found.model, found.served_by].map(Option::unwrap);
        assert_eq!(names, ["c", "m", "Groq"]);
        for usage in [
            r#"{"usage":{"prompt_tokens":3}}"#,
            r#"{"x_groq":{"usage":{"prompt_tokens":3}}}"#,
            r#"{"choices":[{"index":0,"usage":{"prompt_tokens":3}}]}"#,
        ] {
            assert_eq!(facts(usage).usage.and_then(|usage| usage.input), Some(3), "{usage}");
        }
    }

    #[test]
    fn a_call_of_either_kind_is_content() {
        let of = |delta: &str| {
            let chunk = format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#);
            let (facts, contents) = told(&[("", &chunk)]);
            (contents[0].tool_call, facts.tool_calls)
        };
        assert_eq!(of(r#"{"tool_calls":[{"index":0,"function":{"name":"f"}}]}"#), (true, 1));
        assert_eq!(of(r#"{"function_call":{"name":"f"}}"#), (true, 1));
        assert_eq!(of(r#"{"content":"a"}"#), (false, 0));
    }

    #[test]
    fn of_an_answer_that_breaks_off_only_its_names_are_told() {
        let context = Context { operation: Some(Operation::Chat), ..Context::of(200) };
        let (mut answer, mut facts) = (begin(context), ResponseFacts::default());
        let cut = br#"{"id":"c","model":"m","usage":{"prompt_tokens":3,"completion_tokens":12"#;
        assert_eq!(answer.document(cut, &mut facts), Err(Unread::Short));
        let names = (facts.id.as_deref(), facts.model.as_deref(), facts.usage);
        assert_eq!(names, (Some("c"), Some("m"), None));
    }
}
