//! Runs of OpenAI's evaluations: each model's usage is told when the run ends. Knows no other part of the
//! API.
//!
//! Source: the types of the provider's SDK for Python 3.52 (`RunRetrieveResponse`, `PerModelUsage`).

use super::super::{Answer, Content, Context, Fetch};
use crate::observe::decode::Frame;
use crate::observe::observation::{OtherModel, OtherModels, ResponseFacts, Units, Usage};
use crate::observe::shapes::failure::{Failure, Word};
use crate::observe::shapes::lenient::{Count, List, Text, Unread, fields, read};

/// A run is polled for.
pub(super) const FETCH: Fetch = Fetch { method: "GET", answer: begin };
/// A run is broken off.
pub(super) const CANCEL: Fetch = Fetch { method: "POST", answer: begin };

/// Longest names that are kept.
const ID: usize = 128;
const MODEL: usize = 256;

fn begin(context: Context) -> Box<dyn Answer> {
    Box::new(Run { context })
}

#[derive(Debug)]
struct Run {
    context: Context,
}

fields! {
    /// The run itself, or an error in its place.
    struct Body<'de> {
        id: Text<'de> = "id",
        object: Text<'de> = "object",
        model: Text<'de> = "model",
        status: Text<'de> = "status",
        models: List<'de, Used<'de>> = "per_model_usage",
        error: Failure<'de> = "error",
        code: Word = "code",
        kind: Text<'de> = "type",
    }
}

fields! {
    /// What one model used in all its calls.
    struct Used<'de> {
        model: Text<'de> = "model_name",
        calls: Count = "invocation_count",
        prompt: Count = "prompt_tokens",
        cached: Count = "cached_tokens",
        completion: Count = "completion_tokens",
        total: Count = "total_tokens",
    }
}

impl Used<'_> {
    /// `other_models`: tokens of the others.
    fn usage(&self, other_models: Option<u64>) -> Usage {
        Usage {
            input: self.prompt.0,
            output: self.completion.0,
            cache_read: self.cached.0,
            units: Units { calls: self.calls.0, other_models, ..Units::default() },
            ..Usage::default()
        }
    }
}

impl Run {
    fn apply(body: &Body<'_>, facts: &mut ResponseFacts) {
        body.id.replace(&mut facts.id, ID);
        body.model.replace(&mut facts.model, MODEL);
        facts.background = true;
        let status = body.status.as_str();
        facts.pending = matches!(status, "queued" | "in_progress");
        if facts.pending {
            return;
        }
        facts.finish_reasons = body.status.bounded(ID).into_iter().map(Some).collect();
        // The model that was evaluated, else, of graders alone, the first.
        let is_main = |used: &&Used<'_>| used.model.as_str() == body.model.as_str();
        let Some(main) = body.models.iter().find(is_main).or(body.models.iter().next()) else {
            return;
        };
        main.model.replace(&mut facts.model, MODEL);
        let others = || body.models.iter().filter(|used| !std::ptr::eq(*used, main));
        let tokens = others().filter_map(|used| used.total.0).reduce(u64::saturating_add);
        let named = others().filter_map(|used| {
            Some(OtherModel { model: used.model.bounded(MODEL)?, usage: used.usage(None) })
        });
        facts.others = OtherModels::first_of(named);
        facts.usage = Some(main.usage(tokens));
    }
}

impl Answer for Run {
    fn frame(&mut self, _: Frame<'_>, _: &mut ResponseFacts) -> Result<Content, Unread> {
        Ok(Content::default())
    }

    fn document(&mut self, body: &[u8], facts: &mut ResponseFacts) -> Result<(), Unread> {
        let mut run = Body::default();
        read(body, &mut run)?;
        if run.object.as_str() == "eval.run" {
            Self::apply(&run, facts);
        }
        // A run that went well has an error object, too, of nulls.
        if self.context.is_error() || run.status.as_str() == "failed" {
            run.error.tell(&run.code, &run.kind, &self.context.error(), facts);
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

    fn told(more: &str) -> ResponseFacts {
        let mut answer = begin(Context::of(200));
        let mut facts = ResponseFacts::default();
        let body =
            format!(r#"{{"object":"eval.run","id":"evalrun_1","model":"gpt-5-nano",{more}}}"#);
        answer.document(body.as_bytes(), &mut facts).unwrap();
        facts
    }

    #[test]
    fn usage_counts_when_the_run_ended_and_others_models_apart() {
        let usage = r#""per_model_usage":[
            {"model_name":"gpt-4.1","invocation_count":2,"prompt_tokens":10,"completion_tokens":5,"cached_tokens":0,"total_tokens":15},
            {"model_name":"gpt-5-nano","invocation_count":3,"prompt_tokens":90,"completion_tokens":40,"cached_tokens":64,"total_tokens":130}]"#;
        let found = told(&format!(
            r#""status":"completed","error":{{"code":null,"message":null}},{usage}"#
        ));
        let counted = found.usage.unwrap();
        assert_eq!(
            (counted.input, counted.output, counted.cache_read),
            (Some(90), Some(40), Some(64))
        );
        assert_eq!((counted.units.calls, counted.units.other_models), (Some(3), Some(15)));
        assert_eq!((found.model.as_deref(), found.error), (Some("gpt-5-nano"), None));
        for status in ["queued", "in_progress"] {
            let found = told(&format!(r#""status":"{status}",{usage}"#));
            assert_eq!((found.usage, found.pending), (None, true), "{status}");
        }
    }

    #[test]
    fn a_run_of_graders_alone_is_of_the_first_and_one_that_failed_says_why() {
        let graders = r#""status":"failed","model":null,"error":{"code":"quota","message":"m"},
            "per_model_usage":[{"model_name":"a","prompt_tokens":1,"completion_tokens":1,"total_tokens":2}]"#;
        let found = told(graders);
        assert_eq!((found.model.as_deref(), found.error.as_deref()), (Some("a"), Some("quota")));
        assert_eq!(told(r#""status":"completed","per_model_usage":[]"#).usage, None);
    }
}
