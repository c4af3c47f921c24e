//! Google's batches: one whose requests were asked for within it holds its answers, each with its usage, and their sum
//! counts once, however often the batch is polled for. A file of answers is not read. Knows no other way to ask.
//!
//! Source: `_BatchJob_from_mldev`, `_BatchJobDestination_from_mldev` and `SingleEmbedContentResponse` of google-genai 3.4.0; that
//! the operation's `response` holds the same answers, <https://ai.google.dev/gemini-api/docs/batch-api>.

use serde::de::SeqAccess;

use super::super::{Answer, Content, Context, Fetch};
use super::answer::Whole;
use super::{ID, MODEL, WORD};
use crate::observe::decode::Frame;
use crate::observe::observation::ResponseFacts;
use crate::observe::shapes::batch::{Batch, TIER};
use crate::observe::shapes::failure::Failure;
use crate::observe::shapes::lenient::{Flag, Into, Lenient, Text, Unread, fields, read};

/// A batch is polled for.
pub(super) const FETCH: Fetch = Fetch { method: "GET", answer: begin };

/// How a state ends that nothing follows, whichever of both names (`BATCH_STATE_…`, `JOB_STATE_…`) it has.
const ENDS: [&str; 4] = ["_SUCCEEDED", "_FAILED", "_CANCELLED", "_EXPIRED"];

fn begin(context: Context) -> Box<dyn Answer> {
    Box::new(Job { context })
}

#[derive(Debug)]
struct Job {
    context: Context,
}

fields! {
    /// The operation that a batch is, or an error in its place.
    struct Operation<'de> {
        name: Text<'de> = "name",
        metadata: Metadata<'de> = "metadata",
        done: Flag = "done",
        response: Output = "response",
        error: Failure<'de> = "error",
    }
}

fields! {
    struct Metadata<'de> {
        model: Text<'de> = "model",
        state: Text<'de> = "state",
        output: Output = "output",
    }
}

fields! {
    struct Output {
        inlined: Inlined = "inlinedResponses",
        embedded: Inlined = "inlinedEmbedContentResponses",
    }
}

fields! {
    struct Inlined {
        answers: Answers = "inlinedResponses",
    }
}

/// What the answers used together.
#[derive(Debug, Default)]
struct Answers(Batch);

fields! {
    struct Item<'de> {
        response: Whole<'de> = "response",
    }
}

impl<'de> Lenient<'de> for Answers {
    fn list<A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<(), A::Error> {
        loop {
            let mut item = Item::default();
            if list.next_element_seed(Into(&mut item))?.is_none() {
                return Ok(());
            }
            if let Some((model, usage)) = item.response.used() {
                self.0.add(model, usage);
            }
        }
    }
}

impl Output {
    fn all(&self) -> Option<&Batch> {
        let mut lists = [&self.inlined, &self.embedded].into_iter().map(|it| &it.answers.0);
        lists.find(|all| all.usage().is_some())
    }
}

impl Operation<'_> {
    fn is_over(&self) -> bool {
        let state = self.metadata.state.as_str();
        self.done.0 == Some(true) || ENDS.iter().any(|end| state.ends_with(end))
    }

    fn apply(&self, facts: &mut ResponseFacts) {
        self.name.replace(&mut facts.id, ID);
        // `models/NAME`.
        let model = self.metadata.model.bounded(MODEL);
        facts.model = model.and_then(|it| it.rsplit('/').next().map(str::to_owned));
        facts.service_tier = Some(TIER.to_owned());
        facts.background = true;
        facts.pending = !self.is_over();
        if facts.pending {
            return;
        }
        facts.finish_reasons = self.metadata.state.bounded(WORD).into_iter().map(Some).collect();
        // Both hold the same answers.
        if let Some(all) = self.metadata.output.all().or(self.response.all()) {
            facts.model = all.model.clone().or(facts.model.take());
            facts.usage = all.usage();
        }
    }
}

impl Answer for Job {
    fn frame(&mut self, _: Frame<'_>, _: &mut ResponseFacts) -> Result<Content, Unread> {
        Ok(Content::default())
    }

    fn document(&mut self, body: &[u8], facts: &mut ResponseFacts) -> Result<(), Unread> {
        let mut operation = Operation::default();
        read(body, &mut operation)?;
        if !operation.name.as_str().is_empty() {
            operation.apply(facts);
        }
        if operation.error.is_some || self.context.is_error() {
            operation.error.tell_alone(&self.context.error(), facts);
        }
        Ok(())
    }

    fn is_terminated(&self, _: &ResponseFacts) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::dialect::told;

    fn told(body: &str) -> ResponseFacts {
        told::by_document(begin(Context::of(200)), body)
    }

    const ANSWERS: &str = r#"{"inlinedResponses":{"inlinedResponses":[
        {"metadata":{"key":"1"},"response":{"candidates":[{"groundingMetadata":{"webSearchQueries":["a","b"]}}],"modelVersion":"gemini-3-flash-preview",
            "usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":7,"thoughtsTokenCount":3,"totalTokenCount":15}}},
        {"error":{"code":8,"message":"m"}},
        {"response":{"modelVersion":"gemini-3-flash-preview","usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":2,"totalTokenCount":3}}}]}}"#;

    fn batch(state: &str, output: &str, response: &str) -> String {
        format!(
            r#"{{"name":"batches/b1","metadata":{{"model":"models/gemini-3-flash-preview","state":"{state}","output":{output}}},
            "done":{},"response":{response}}}"#,
            state.ends_with("SUCCEEDED")
        )
    }

    #[test]
    fn the_answers_within_a_batch_add_up_once_at_the_batch_price() {
        for (output, response) in [(ANSWERS, "null"), ("null", ANSWERS), (ANSWERS, ANSWERS)] {
            let found = told(&batch("BATCH_STATE_SUCCEEDED", output, response));
            let usage = found.usage.unwrap();
            assert_eq!((usage.input, usage.output), (Some(6), Some(12)));
            assert_eq!((usage.units.calls, usage.units.web_searches), (Some(2), Some(2)));
            assert_eq!((found.id.as_deref(), found.pending), (Some("batches/b1"), false));
            assert_eq!(found.model.as_deref(), Some("gemini-3-flash-preview"));
            assert_eq!(found.service_tier.as_deref(), Some("batch"));
            assert!(found.background);
        }
    }

    #[test]
    fn until_it_is_over_a_batch_is_pending_and_one_with_a_file_tells_no_usage() {
        for state in ["BATCH_STATE_PENDING", "BATCH_STATE_RUNNING", ""] {
            let found = told(&batch(state, ANSWERS, "null"));
            assert_eq!((found.usage, found.pending), (None, true), "{state}");
        }
        let file = told(&batch("BATCH_STATE_SUCCEEDED", r#"{"responsesFile":"files/f"}"#, "null"));
        assert_eq!((file.usage, file.pending), (None, false));
        let failed = told(
            r#"{"name":"batches/b","done":true,"error":{"code":3,"status":"INVALID_ARGUMENT"},"metadata":{"state":"BATCH_STATE_FAILED"}}"#,
        );
        assert_eq!((failed.error.as_deref(), failed.pending), (Some("invalid_argument"), false));
    }

    #[test]
    fn vectors_count_what_went_in() {
        let vectors = r#"{"inlinedEmbedContentResponses":{"inlinedResponses":[
            {"response":{"embedding":{"values":[0.1]},"tokenCount":4}},{"response":{"embedding":{"values":[0.2]},"tokenCount":2}}]}}"#;
        let found = told(&batch("BATCH_STATE_SUCCEEDED", vectors, "null"));
        let usage = found.usage.unwrap();
        assert_eq!((usage.input, usage.output, usage.units.calls), (Some(6), Some(0), Some(2)));
        assert_eq!(found.model.as_deref(), Some("gemini-3-flash-preview"));
    }
}
