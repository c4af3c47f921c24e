//! OpenAI's batches: the usage of all their calls is told when they end. The lines of their output
//! file repeat it call by call, and are not read. Knows no other part of the API.
//!
//! Source: the types of the provider's SDK for Python 3.52, and recorded batches.

use super::super::{Answer, Content, Context, Fetch};
use crate::observe::decode::Frame;
use crate::observe::observation::{ResponseFacts, Units, Usage};
use crate::observe::shapes::batch::TIER;
use crate::observe::shapes::failure::{Failure, Word};
use crate::observe::shapes::lenient::{Count, List, Object, Text, Unread, fields, read};
use crate::observe::shapes::tokens::{Counting, Tokens};

/// A batch is polled for.
pub(super) const FETCH: Fetch = Fetch { method: "GET", answer: begin };
/// A batch is broken off.
pub(super) const CANCEL: Fetch = Fetch { method: "POST", answer: begin };

/// Longest names that are kept.
const ID: usize = 128;
const MODEL: usize = 256;

fn begin(context: Context) -> Box<dyn Answer> {
    Box::new(Batch { context })
}

#[derive(Debug)]
struct Batch {
    context: Context,
}

fields! {
    /// The batch itself, or an error in its place.
    struct Body<'de> {
        id: Text<'de> = "id",
        object: Text<'de> = "object",
        model: Text<'de> = "model",
        status: Text<'de> = "status",
        usage: Object<Tokens> = "usage",
        requests: Requests = "request_counts",
        errors: Errors<'de> = "errors",
        error: Failure<'de> = "error",
        code: Word = "code",
        kind: Text<'de> = "type",
    }
}

fields! {
    struct Requests {
        completed: Count = "completed",
    }
}

fields! {
    struct Errors<'de> {
        list: List<'de, Failure<'de>> = "data",
    }
}

impl Batch {
    fn apply(&self, body: &Body<'_>, facts: &mut ResponseFacts) {
        body.id.replace(&mut facts.id, ID);
        body.model.replace(&mut facts.model, MODEL);
        facts.service_tier = Some(TIER.to_owned());
        facts.background = true;
        let status = body.status.as_str();
        facts.pending =
            matches!(status, "validating" | "in_progress" | "finalizing" | "cancelling");
        // Until then there are zeros.
        if facts.pending {
            return;
        }
        facts.finish_reasons = body.status.bounded(ID).into_iter().map(Some).collect();
        let units = Units { calls: body.requests.completed.0, ..Units::default() };
        let usage = body.usage.0.and_then(|it| it.usage(Counting::default()));
        facts.usage = usage.map(|usage| Usage { units, ..usage });
        if status == "failed" {
            let none = Failure::default();
            let told = body.errors.list.iter().find(|it| it.is_some).unwrap_or(&none);
            told.tell_alone(&self.context.error(), facts);
        }
    }
}

impl Answer for Batch {
    fn frame(&mut self, _: Frame<'_>, _: &mut ResponseFacts) -> Result<Content, Unread> {
        Ok(Content::default())
    }

    fn document(&mut self, body: &[u8], facts: &mut ResponseFacts) -> Result<(), Unread> {
        let mut batch = Body::default();
        read(body, &mut batch)?;
        if batch.object.as_str() == "batch" {
            self.apply(&batch, facts);
        }
        if batch.error.is_some || self.context.is_error() {
            batch.error.tell(&batch.code, &batch.kind, &self.context.error(), facts);
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

    fn told(more: &str) -> ResponseFacts {
        let body = format!(r#"{{"id":"batch_1","object":"batch","model":"gpt-5-nano",{more}}}"#);
        told::by_document(begin(Context::of(200)), &body)
    }

    #[test]
    fn usage_counts_when_the_batch_ended_and_says_of_how_many_calls() {
        let usage = r#""usage":{"input_tokens":36,"output_tokens":224,"output_tokens_details":{"reasoning_tokens":128}},
            "request_counts":{"total":3,"completed":2,"failed":1}"#;
        for status in ["completed", "expired", "cancelled"] {
            let found = told(&format!(r#""status":"{status}",{usage}"#));
            let counted = found.usage.unwrap();
            assert_eq!((counted.input, counted.output), (Some(36), Some(224)));
            assert_eq!((counted.reasoning, counted.units.calls), (Some(128), Some(2)));
            assert_eq!((found.service_tier.as_deref(), found.pending), (Some("batch"), false));
            assert_eq!(found.finish_reasons, [Some(status.to_owned())]);
        }
        for status in ["validating", "in_progress", "finalizing", "cancelling"] {
            let found = told(&format!(r#""status":"{status}",{usage}"#));
            assert_eq!((found.usage, found.pending), (None, true), "{status}");
        }
    }

    #[test]
    fn a_batch_that_failed_says_why() {
        let errors = r#""status":"failed","errors":{"object":"list","data":[{"code":"empty_file","message":"m"}]}"#;
        assert_eq!(told(errors).error.unwrap(), "empty_file");
        assert_eq!(told(r#""status":"failed","errors":null"#).error.unwrap(), "error_in_stream");
        assert_eq!(told(r#""status":"completed","errors":null"#).error, None);
    }
}
