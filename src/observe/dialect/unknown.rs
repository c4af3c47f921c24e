//! What no dialect knows: errors, and usage where providers commonly put it. Knows no route, and
//! reads small answers only.

use super::{Answer, Call, Content, Context, ReadRequest, Reads};
use crate::observe::decode::Frame;
use crate::observe::observation::{RequestFacts, ResponseFacts};
use crate::observe::shapes::failure::{Failure, Word};
use crate::observe::shapes::lenient::{Flag, Object, Text, Unread, fields, read};
use crate::observe::shapes::mend;
use crate::observe::shapes::tokens::{Counting, Tokens};

/// A call that is not read further than its usage, or, without `usage`, its errors.
pub fn call(route: Option<&'static str>, usage: bool) -> Call {
    Call {
        route,
        operation: None,
        request: usage.then_some(request as ReadRequest),
        answer,
        reads: if usage { Reads::Small } else { Reads::Errors },
        asks: false,
    }
}

fields! {
    struct Request<'de> {
        model: Text<'de> = "model",
        stream: Flag = "stream",
    }
}

fn request(body: &[u8], facts: &mut RequestFacts) -> Result<(), Unread> {
    let mut request = Request::default();
    let result = read(body, &mut request);
    facts.model = request.model.bounded(256);
    facts.stream = request.stream.0 == Some(true);
    result
}

fn answer(context: Context) -> Box<dyn Answer> {
    Box::new(Unknown { context, tokens: Tokens::default() })
}

/// An answer of which the last count of each kind is kept: some split them over several events,
/// others repeat them with each.
#[derive(Debug)]
struct Unknown {
    context: Context,
    tokens: Tokens,
}

fields! {
    /// One document or event; also one that wraps another.
    struct Outer<'de> {
        inner: Inner<'de> = "response",
        message: Inner<'de> = "message",
        usage: Object<Tokens> = "usage",
        model: Text<'de> = "model",
        error: Failure<'de> = "error",
        code: Word = "code",
        kind: Text<'de> = "type",
    }
}

fields! {
    struct Inner<'de> {
        usage: Object<Tokens> = "usage",
        model: Text<'de> = "model",
        error: Failure<'de> = "error",
    }
}

impl Unknown {
    fn apply(&mut self, outer: &Outer<'_>, named_error: bool, facts: &mut ResponseFacts) {
        for model in [&outer.model, &outer.message.model, &outer.inner.model] {
            model.replace(&mut facts.model, 256);
        }
        for usage in [outer.usage, outer.message.usage, outer.inner.usage] {
            if let Some(tokens) = usage.0 {
                self.tokens.merge(&tokens);
                facts.usage = self.tokens.usage(Counting::default());
                facts.reported_cost = self.tokens.reported_cost().or(facts.reported_cost);
            }
        }
        let nested = &outer.inner.error;
        let failure = if nested.is_some { nested } else { &outer.error };
        if failure.is_some
            || named_error
            || self.context.is_error()
            || outer.kind.as_str() == "error"
        {
            failure.tell(&outer.code, &outer.kind, &self.context.error(), facts);
        }
    }
}

impl Answer for Unknown {
    fn frame(&mut self, frame: Frame<'_>, facts: &mut ResponseFacts) -> Result<Content, Unread> {
        // Not every stream is JSON, and nobody said that this one is.
        let _read = mend::reading(frame.data, |data| {
            let mut outer = Outer::default();
            read(data, &mut outer)?;
            self.apply(&outer, frame.name == b"error", facts);
            Ok(())
        });
        Ok(Content::default())
    }

    fn document(&mut self, body: &[u8], facts: &mut ResponseFacts) -> Result<(), Unread> {
        let mut outer = Outer::default();
        read(body, &mut outer)?;
        self.apply(&outer, false, facts);
        Ok(())
    }

    fn is_terminated(&self, _: &ResponseFacts) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(status: u16, frames: &[&str]) -> ResponseFacts {
        let context = Context::of(status);
        let (mut answer, mut facts) = (answer(context), ResponseFacts::default());
        for frame in frames {
            let frame = Frame { name: b"", data: frame.as_bytes() };
            assert_eq!(answer.frame(frame, &mut facts), Ok(Content::default()));
        }
        facts
    }

    #[test]
    fn usage_is_found_wherever_it_commonly_stands() {
        for body in [
            r#"{"usage":{"input_tokens":3,"output_tokens":4}}"#,
            r#"{"usage":{"prompt_tokens":3,"completion_tokens":4}}"#,
            r#"{"type":"response.completed","response":{"usage":{"input_tokens":3,"output_tokens":4}}}"#,
            r#"{"type":"message_start","message":{"usage":{"input_tokens":3,"output_tokens":4}}}"#,
        ] {
            let usage = facts(200, &[body, r#"{"usage":null}"#]).usage.unwrap();
            assert_eq!((usage.input, usage.output), (Some(3), Some(4)), "{body}");
        }
        assert_eq!(facts(200, &[r#"{"usage":{}}"#, "[1]", "x"]).usage, None);
    }

    #[test]
    fn an_error_is_found_in_an_event_and_in_a_failed_response() {
        let error = |frame| facts(200, &[frame]).error;
        assert_eq!(error(r#"{"type":"error","code":"server_error"}"#).unwrap(), "server_error");
        let nested = r#"{"type":"error","error":{"type":"insufficient_quota","code":null}}"#;
        assert_eq!(error(nested).unwrap(), "insufficient_quota");
        let failed = r#"{"type":"response.failed","response":{"error":{"code":"server_error"}}}"#;
        assert_eq!(error(failed).unwrap(), "server_error");
        assert_eq!(error(r#"{"response":{"error":null},"error":null,"code":"x"}"#), None);
        assert_eq!(facts(403, &[r#"{"detail":"no"}"#]).error.unwrap(), "403");
    }
}
