//! Mistral's batches: where their answers are asked for with them (`inline=true`), each tells its usage, and their
//! sum counts once, however often the batch is polled for. The lines of an output file are not read. Knows no other
//! part of the API.
//!
//! Source: `BatchJob` and `batch/jobs/{job_id}` of mistralai 3.7.0; what stands within `outputs`, which has no type, by that
//! SDK's own example (`async_batch_job_chat_completion_inline.py`).

use serde::de::SeqAccess;

use super::super::{Answer, Content, Context, Fetch, ID, MODEL};
use crate::observe::decode::Frame;
use crate::observe::observation::ResponseFacts;
use crate::observe::shapes::batch::{Batch, TIER};
use crate::observe::shapes::failure::{Failure, Word};
use crate::observe::shapes::lenient::{Into, Lenient, Object, Text, Unread, fields, read};
use crate::observe::shapes::tokens::{Counting, Tokens};

/// A batch is polled for.
pub(super) const FETCH: Fetch = Fetch { method: "GET", answer: begin };

fn begin(context: Context) -> Box<dyn Answer> {
    Box::new(Job { context })
}

#[derive(Debug)]
struct Job {
    context: Context,
}

fields! {
    /// The batch itself, or an error in its place.
    struct Body<'de> {
        id: Text<'de> = "id",
        object: Text<'de> = "object",
        model: Text<'de> = "model",
        status: Text<'de> = "status",
        outputs: Outputs = "outputs",
        error: Failure<'de> = "error",
        code: Word = "code",
        kind: Text<'de> = "type",
    }
}

/// What the answers used together.
#[derive(Debug, Default)]
struct Outputs(Batch);

fields! {
    struct Output<'de> {
        response: Response<'de> = "response",
    }
}

fields! {
    struct Response<'de> {
        body: Answered<'de> = "body",
    }
}

fields! {
    struct Answered<'de> {
        model: Text<'de> = "model",
        usage: Object<Tokens> = "usage",
    }
}

impl<'de> Lenient<'de> for Outputs {
    fn list<A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<(), A::Error> {
        loop {
            let mut output = Output::default();
            if list.next_element_seed(Into(&mut output))?.is_none() {
                return Ok(());
            }
            let Answered { model, usage } = &output.response.body;
            if let Some(usage) = usage.0.and_then(|it| it.usage(Counting::default())) {
                self.0.add(model.bounded(MODEL), usage);
            }
        }
    }
}

fn apply(body: &Body<'_>, facts: &mut ResponseFacts) {
    body.id.replace(&mut facts.id, ID);
    body.model.replace(&mut facts.model, MODEL);
    facts.service_tier = Some(TIER.to_owned());
    facts.background = true;
    let status = body.status.as_str();
    facts.pending = matches!(status, "QUEUED" | "RUNNING" | "CANCELLATION_REQUESTED");
    // What is there until then is not all.
    if facts.pending {
        return;
    }
    facts.finish_reasons = body.status.bounded(ID).into_iter().map(Some).collect();
    let Outputs(all) = &body.outputs;
    facts.model = all.model.clone().or(facts.model.take());
    facts.usage = all.usage();
}

impl Answer for Job {
    fn frame(&mut self, _: Frame<'_>, _: &mut ResponseFacts) -> Result<Content, Unread> {
        Ok(Content::default())
    }

    fn document(&mut self, body: &[u8], facts: &mut ResponseFacts) -> Result<(), Unread> {
        let mut job = Body::default();
        read(body, &mut job)?;
        if job.object.as_str() == "batch" {
            apply(&job, facts);
        }
        if job.error.is_some || self.context.is_error() {
            job.error.tell(&job.code, &job.kind, &self.context.error(), facts);
        } else if job.status.as_str() == "FAILED" {
            facts.error = Some(self.context.error());
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
        let body =
            format!(r#"{{"id":"job_1","object":"batch","model":"mistral-small-latest",{more}}}"#);
        told::by_document(begin(Context::of(200)), &body)
    }

    const OUTPUTS: &str = r#""outputs":[
        {"custom_id":"0","response":{"status_code":200,"body":{"id":"a","model":"mistral-small-2603","usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}}},
        {"custom_id":"1","response":{"status_code":400,"body":{"message":"no"}}},
        {"custom_id":"2","response":{"status_code":200,"body":{"id":"b","model":"mistral-small-2603","usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}}}]"#;

    #[test]
    fn the_answers_of_a_batch_that_ended_add_up_at_the_batch_price() {
        for status in ["SUCCESS", "TIMEOUT_EXCEEDED", "CANCELLED"] {
            let found = told(&format!(r#""status":"{status}",{OUTPUTS}"#));
            let usage = found.usage.unwrap();
            assert_eq!((usage.input, usage.output, usage.units.calls), (Some(6), Some(9), Some(2)));
            assert_eq!(found.model.as_deref(), Some("mistral-small-2603"));
            assert_eq!((found.service_tier.as_deref(), found.pending), (Some("batch"), false));
            assert!(found.background && found.error.is_none());
        }
        for status in ["QUEUED", "RUNNING", "CANCELLATION_REQUESTED"] {
            let found = told(&format!(r#""status":"{status}",{OUTPUTS}"#));
            assert_eq!((found.usage, found.pending), (None, true), "{status}");
        }
    }

    #[test]
    fn a_batch_without_its_answers_tells_no_usage() {
        let found = told(r#""status":"SUCCESS","outputs":null,"output_file":"f""#);
        assert_eq!((found.usage, found.pending, found.error), (None, false, None));
        let failed = told(r#""status":"FAILED","errors":[{"message":"m","count":1}]"#);
        assert_eq!(failed.error.as_deref(), Some("error_in_stream"));
    }
}
