//! What Anthropic's batches used: each line of a batch's results tells it of one call, and their sum counts once,
//! however often the results are read. Knows no other way to ask.
//!
//! Source: `MessageBatchIndividualResponse` of the provider's SDK for Python 2.11.

use super::super::{Answer, Content, Context, Fetch};
use super::{Counts, MODEL, Message};
use crate::observe::decode::Frame;
use crate::observe::observation::ResponseFacts;
use crate::observe::shapes::batch::{Batch, TIER};
use crate::observe::shapes::failure::{Failure, Word};
use crate::observe::shapes::lenient::{Text, Unread, fields, read};

/// The results are read.
pub(super) const FETCH: Fetch = Fetch { method: "GET", answer: begin };

fn begin(context: Context) -> Box<dyn Answer> {
    Box::new(Results { context, all: Batch::default() })
}

/// The lines so far.
#[derive(Debug)]
struct Results {
    context: Context,
    all: Batch,
}

fields! {
    struct Line<'de> {
        result: Outcome<'de> = "result",
        error: Failure<'de> = "error",
        kind: Text<'de> = "type",
    }
}

fields! {
    /// A message, or why there is none: that costs nothing.
    struct Outcome<'de> {
        message: Message<'de> = "message",
    }
}

impl Results {
    fn add(&mut self, message: &Message<'_>, facts: &mut ResponseFacts) {
        let mut counts = Counts::default();
        message.usage.0.iter().for_each(|counted| counts.merge(counted));
        let Some(one) = counts.usage() else { return };
        self.all.add(message.model.bounded(MODEL), one);
        facts.model.clone_from(&self.all.model);
        facts.usage = self.all.usage();
    }
}

impl Answer for Results {
    fn frame(&mut self, frame: Frame<'_>, facts: &mut ResponseFacts) -> Result<Content, Unread> {
        let mut line = Line::default();
        read(frame.data, &mut line)?;
        facts.service_tier = Some(TIER.to_owned());
        facts.background = true;
        self.add(&line.result.message, facts);
        Ok(Content::default())
    }

    fn document(&mut self, body: &[u8], facts: &mut ResponseFacts) -> Result<(), Unread> {
        let mut line = Line::default();
        read(body, &mut line)?;
        if line.error.is_some || self.context.is_error() {
            line.error.tell(&Word::default(), &line.kind, &self.context.error(), facts);
        }
        Ok(())
    }

    fn is_terminated(&self, _: &ResponseFacts) -> bool {
        false
    }

    /// They have no end of their own.
    fn may_end(&self, _: &ResponseFacts) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_a_batch_add_up_and_other_models_apart() {
        let context = Context::of(200);
        let (mut answer, mut facts) = (begin(context), ResponseFacts::default());
        let line = |model: &str, cached: u64| {
            format!(
                r#"{{"custom_id":"a","result":{{"type":"succeeded","message":{{"id":"m","model":"{model}","usage":
                {{"input_tokens":10,"cache_read_input_tokens":{cached},"output_tokens":4,"server_tool_use":{{"web_search_requests":1}}}}}}}}}}"#
            )
        };
        let failed = r#"{"custom_id":"b","result":{"type":"errored","error":{"type":"error","error":{"type":"api_error"}}}}"#;
        for data in [line("one", 0), failed.to_owned(), line("one", 5), line("two", 0)] {
            answer.frame(Frame { name: b"", data: data.as_bytes() }, &mut facts).unwrap();
        }
        let usage = facts.usage.unwrap();
        assert_eq!((usage.input, usage.cache_read, usage.output), (Some(25), Some(5), Some(8)));
        let units = usage.units;
        assert_eq!((units.calls, units.web_searches), (Some(2), Some(2)));
        assert_eq!(units.other_models, Some(14));
        assert_eq!((facts.model.as_deref(), facts.error), (Some("one"), None));
        assert_eq!(facts.service_tier.as_deref(), Some("batch"));
    }
}
