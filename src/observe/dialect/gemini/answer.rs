//! What a model of Google's generates: a document, or chunks of the same form, as events or as the
//! elements of a list. Knows no request, and keeps nothing of what was said.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde::de::{MapAccess, SeqAccess};

use super::super::{Answer, Content, Context};
use super::usage::{self, Counts};
use super::{ID, MODEL, WORD};
use crate::observe::decode::Frame;
use crate::observe::observation::{ResponseFacts, Units, Usage};
use crate::observe::shapes::failure::Failure;
use crate::observe::shapes::lenient::{
    Count, Filled, Flag, Into, Lenient, List, Object, Text, Unread, fields, read,
};

/// Candidates beyond this are not followed.
const CANDIDATES: usize = 1024;
/// Searches of one candidate beyond this are not told apart.
const QUERIES: usize = 1024;

/// Why a candidate ends, where clients near gRPC get the number instead of the word; from 1.
const FINISHED: [&str; 9] = [
    "STOP",
    "MAX_TOKENS",
    "SAFETY",
    "RECITATION",
    "OTHER",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "MALFORMED_FUNCTION_CALL",
];
/// Why a prompt gets no answer, in the same way.
const BLOCKED: [&str; 5] = ["SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "IMAGE_SAFETY"];

/// Begins to read an answer.
pub(super) fn begin(context: Context) -> Box<dyn Answer> {
    Box::new(Generated { context, counts: Counts::default(), queries: 0 })
}

#[derive(Debug)]
struct Generated {
    context: Context,
    counts: Counts,
    // Searches that some chunk told of.
    queries: u64,
}

fields! {
    /// One chunk of a stream, or the whole answer.
    struct Chunk<'de> {
        id: Text<'de> = "responseId",
        model: Text<'de> = "modelVersion",
        candidates: List<'de, Candidate<'de>> = "candidates",
        feedback: Feedback<'de> = "promptFeedback",
        usage: Object<Counts> = "usageMetadata",
        error: Failure<'de> = "error",
        /// Of a batch: the answer is a vector, and this is what it counted.
        embedding: Filled = "embedding",
        tokens: Count = "tokenCount",
    }
}

fields! {
    struct Feedback<'de> {
        block: Reason<'de> = "blockReason",
    }
}

fields! {
    struct Candidate<'de> {
        index: Count = "index",
        content: Said = "content",
        finish: Reason<'de> = "finishReason",
        grounding: Grounding = "groundingMetadata",
    }
}

fields! {
    struct Said {
        parts: Parts = "parts",
    }
}

fields! {
    struct Grounding {
        queries: Queries = "webSearchQueries",
    }
}

/// How many texts were searched for that differ and are not empty: no other is billed
/// (<https://ai.google.dev/gemini-api/docs/google-search>, quoted by
/// <https://discuss.ai.google.dev/t/168136>).
#[derive(Debug, Default)]
struct Queries(u64);

impl<'de> Lenient<'de> for Queries {
    fn list<A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        let mut query = Text::default();
        while list.next_element_seed(Into(&mut query))?.is_some() {
            if !query.as_str().is_empty() && seen.len() < QUERIES {
                let mut hasher = DefaultHasher::new();
                query.as_str().hash(&mut hasher);
                seen.insert(hasher.finish());
            }
            query = Text::default();
        }
        self.0 = seen.len() as u64;
        Ok(())
    }
}

/// The parts of one message, without a copy of any.
#[derive(Debug, Default)]
struct Parts {
    content: Content,
    calls: u32,
}

fields! {
    struct Part {
        text: Filled = "text",
        thought: Flag = "thought",
        function: Function = "functionCall",
        other: Filled = "inlineData" | "fileData" | "executableCode" | "codeExecutionResult",
    }
}

fields! {
    /// A call, or a piece of one: only the first bears the name.
    struct Function {
        name: Filled = "name",
        args: Filled = "args" | "partialArgs",
    }
}

impl<'de> Lenient<'de> for Parts {
    fn list<A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<(), A::Error> {
        loop {
            let mut part = Part::default();
            if list.next_element_seed(Into(&mut part))?.is_none() {
                return Ok(());
            }
            let is_thought = part.thought.0 == Some(true);
            self.content.reasoning |= part.text.0 && is_thought;
            self.content.text |= part.text.0 && !is_thought;
            self.content.tool_call |= part.function.name.0 || part.function.args.0;
            self.content.other |= part.other.0;
            self.calls = self.calls.saturating_add(u32::from(part.function.name.0));
        }
    }
}

/// A word of a list, or its number.
#[derive(Debug, Default)]
struct Reason<'de> {
    word: Text<'de>,
    number: Option<u64>,
}

impl<'de> Lenient<'de> for Reason<'de> {
    fn text(&mut self, text: &str) {
        self.word.text(text);
    }

    fn borrowed(&mut self, text: &'de str) {
        self.word.borrowed(text);
    }

    fn count(&mut self, count: u64) {
        self.number = Some(count).filter(|&count| count > 0);
    }
}

impl Reason<'_> {
    /// The word, where there is a reason at all; a number that is in no list stands for itself.
    fn told(&self, words: &[&str]) -> Option<String> {
        let Some(number) = self.number else {
            return self.word.bounded(WORD).filter(|word| !word.ends_with("_UNSPECIFIED"));
        };
        let word = usize::try_from(number - 1).ok().and_then(|at| words.get(at));
        Some(word.map_or_else(|| number.to_string(), ToString::to_string))
    }
}

/// A whole answer within another document.
#[derive(Debug, Default)]
pub(super) struct Whole<'de>(Chunk<'de>);

impl<'de> Lenient<'de> for Whole<'de> {
    fn object<A: MapAccess<'de>>(&mut self, object: A) -> Result<(), A::Error> {
        self.0.object(object)
    }
}

impl Whole<'_> {
    /// The model that answered, and what it used.
    pub(super) fn used(&self) -> Option<(Option<String>, Usage)> {
        let Self(chunk) = self;
        let told = chunk.usage.0.as_ref().and_then(Counts::usage).unwrap_or_default();
        let none = chunk.embedding.0.then_some(0);
        let (input, output) = (told.input.or(chunk.tokens.0), told.output.or(none));
        let searches = Some(chunk.queries()).filter(|&queries| queries > 0);
        let web_searches = searches.map(|queries| billed(chunk.model.as_str(), queries));
        let units = Units { web_searches: web_searches.or(told.units.web_searches), ..told.units };
        let usage = Usage { input, output, units, ..told };
        input.is_some().then_some((chunk.model.bounded(MODEL), usage))
    }
}

impl Chunk<'_> {
    fn queries(&self) -> u64 {
        let queries = self.candidates.iter().map(|it| it.grounding.queries.0);
        queries.fold(0, u64::saturating_add)
    }
}

impl Generated {
    fn apply(&mut self, chunk: &Chunk<'_>, facts: &mut ResponseFacts) -> Content {
        chunk.id.replace(&mut facts.id, ID);
        chunk.model.replace(&mut facts.model, MODEL);
        let mut content = Content::default();
        for candidate in chunk.candidates.iter() {
            let said = &candidate.content.parts;
            content.text |= said.content.text;
            content.reasoning |= said.content.reasoning;
            content.tool_call |= said.content.tool_call;
            content.other |= said.content.other;
            facts.tool_calls = facts.tool_calls.saturating_add(said.calls);
            finish(candidate, facts);
        }
        if let Some(reason) = chunk.feedback.block.told(&BLOCKED) {
            facts.refused = true;
            facts.finish_reasons = vec![Some(reason)];
        }
        self.count(chunk, facts);
        if chunk.error.is_some || self.context.is_error() {
            chunk.error.tell_alone(&self.context.error(), facts);
        }
        content
    }

    fn count(&mut self, chunk: &Chunk<'_>, facts: &mut ResponseFacts) {
        self.queries = self.queries.max(chunk.queries());
        if let Some(counts) = &chunk.usage.0 {
            self.counts.merge(counts);
            counts.tier.tell(facts);
        }
        facts.usage = self.counts.usage().or(facts.usage);
        if let Some(usage) = facts.usage.as_mut().filter(|_| self.queries > 0) {
            let model = facts.model.as_deref().unwrap_or_default();
            usage.units.web_searches = Some(billed(model, self.queries));
        }
    }
}

/// Models up to 2.5 are billed by the prompt that was searched for, later ones by the search
/// (<https://ai.google.dev/gemini-api/docs/pricing>: "$35 / 1,000 grounded prompts", "$14 / 1,000 search
/// queries"; so does litellm 1.109.1, `llms/gemini/cost_calculator.py`).
fn billed(model: &str, queries: u64) -> u64 {
    let by_prompt = ["gemini-1", "gemini-2"].iter().any(|old| model.starts_with(old));
    if by_prompt { queries.min(1) } else { queries }
}

/// Why a candidate ended; without an index it is the first.
fn finish(candidate: &Candidate<'_>, facts: &mut ResponseFacts) {
    let index = usize::try_from(candidate.index.0.unwrap_or(0)).unwrap_or(CANDIDATES);
    if index >= CANDIDATES {
        return;
    }
    if facts.finish_reasons.len() <= index {
        facts.finish_reasons.resize(index + 1, None);
    }
    if let Some(finish_reason) = facts.finish_reasons.get_mut(index) {
        *finish_reason = candidate.finish.told(&FINISHED).or(finish_reason.take());
    }
}

impl Answer for Generated {
    fn frame(&mut self, frame: Frame<'_>, facts: &mut ResponseFacts) -> Result<Content, Unread> {
        let mut chunk = Chunk::default();
        read(frame.data.trim_ascii(), &mut chunk)?;
        Ok(self.apply(&chunk, facts))
    }

    fn document(&mut self, body: &[u8], facts: &mut ResponseFacts) -> Result<(), Unread> {
        let mut chunk = Chunk::default();
        read(body, &mut chunk)?;
        self.apply(&chunk, facts);
        Ok(())
    }

    fn tail(&mut self, body: &[u8], facts: &mut ResponseFacts) {
        let mut chunk = Chunk::default();
        if let Some(body) = usage::tail(body)
            && read(&body, &mut chunk).is_ok()
        {
            self.apply(&chunk, facts);
        }
    }

    fn is_terminated(&self, facts: &ResponseFacts) -> bool {
        let reasons = &facts.finish_reasons;
        !reasons.is_empty() && reasons.iter().all(Option::is_some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::dialect::told;

    fn facts(chunks: &[&str]) -> (ResponseFacts, Vec<Content>, bool) {
        told::by_events(begin(Context::of(200)), chunks)
    }

    fn parts(parts: &str) -> String {
        format!(r#"{{"candidates":[{{"content":{{"parts":[{parts}]}}}}]}}"#)
    }

    #[test]
    fn each_kind_of_part_is_content_of_its_kind() {
        let told = |json: &str| facts(&[&parts(json)]).1[0];
        assert!(told(r#"{"text":"a"}"#).text);
        let thought = told(r#"{"text":"a","thought":true}"#);
        assert!(thought.reasoning && !thought.text);
        assert!(told(r#"{"functionCall":{"name":"f","args":{}}}"#).tool_call);
        assert!(told(r#"{"inlineData":{"mimeType":"image/png","data":"aGk="}}"#).other);
        assert!(!told(r#"{"text":"","thoughtSignature":"abc"}"#).is_some());
        let pieces = [
            r#"{"functionCall":{"name":"f","willContinue":true}},{"functionCall":{"name":"g"}}"#,
            r#"{"functionCall":{"partialArgs":[{"jsonPath":"$.a","stringValue":"b"}]}}"#,
            r#"{"functionCall":{}}"#,
        ];
        let (facts, contents, _) = facts(&pieces.map(parts).each_ref().map(String::as_str));
        let calls: Vec<_> = contents.iter().map(|content| content.tool_call).collect();
        assert_eq!((facts.tool_calls, calls), (2, vec![true, true, false]));
    }

    #[test]
    fn a_stream_ends_with_a_reason_for_each_candidate() {
        let one = r#"{"candidates":[{"index":1,"finishReason":"MAX_TOKENS"},{"content":{}}]}"#;
        let other = r#"{"candidates":[{"finishReason":1}]}"#;
        assert!(!facts(&[one]).2);
        let (facts, _, terminated) = facts(&[one, other]);
        let reasons: Vec<_> = facts.finish_reasons.iter().flatten().map(String::as_str).collect();
        assert_eq!((reasons, terminated), (vec!["STOP", "MAX_TOKENS"], true));
    }

    #[test]
    fn a_reason_may_be_a_number() {
        let reason = |json: &str| {
            let chunk = format!(r#"{{"candidates":[{{"finishReason":{json}}}]}}"#);
            facts(&[&chunk]).0.finish_reasons.remove(0)
        };
        assert_eq!(reason("2").as_deref(), Some("MAX_TOKENS"));
        assert_eq!(reason("99").as_deref(), Some("99"));
        assert_eq!(reason("\"IMAGE_SAFETY\"").as_deref(), Some("IMAGE_SAFETY"));
        for none in ["0", "null", "\"FINISH_REASON_UNSPECIFIED\"", "{}"] {
            assert_eq!(reason(none), None, "{none}");
        }
    }

    #[test]
    fn a_blocked_prompt_is_refused_and_the_answer_is_whole() {
        let (facts, _, terminated) = facts(&[r#"{"promptFeedback":{"blockReason":"SAFETY"},
            "usageMetadata":{"promptTokenCount":4,"totalTokenCount":4}}"#]);
        assert!(facts.refused && terminated);
        assert_eq!(facts.finish_reasons, [Some("SAFETY".to_owned())]);
        assert_eq!(facts.usage.unwrap().output, Some(0));
    }

    #[test]
    fn searches_are_counted_as_they_are_billed() {
        let searched = |model: &str| {
            let chunk = format!(
                r#"{{"candidates":[{{"groundingMetadata":{{"webSearchQueries":["","a","b","a"]}}}}],
                "usageMetadata":{{"promptTokenCount":1}},"modelVersion":"{model}"}}"#
            );
            facts(&[&chunk, r#"{"candidates":[{}]}"#]).0.usage.unwrap().units.web_searches
        };
        assert_eq!((searched("gemini-3-flash"), searched("gemini-2.5-pro")), (Some(2), Some(1)));
    }

    #[test]
    fn a_torn_document_tells_its_usage_from_its_tail() {
        let context = Context::of(200);
        let (mut answer, mut facts) = (begin(context), ResponseFacts::default());
        let tail = br#"s \"usageMetadata\" {"}]}}],"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":2},"modelVersion":"g"}"#;
        answer.tail(tail, &mut facts);
        let usage = facts.usage.unwrap();
        assert_eq!(
            (usage.input, usage.output, facts.model.as_deref()),
            (Some(3), Some(2), Some("g"))
        );
        let mut facts = ResponseFacts::default();
        answer.tail(br#""usageMetadata":{"promptTokenCount":3}}]}"#, &mut facts);
        assert_eq!(facts.model, None);
    }
}
