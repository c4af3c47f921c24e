//! What a model answers in the format of Responses: whole, streamed, polled for, or resumed. Knows
//! no request, and keeps nothing of what was said.

use super::super::super::{Answer, Content, Context};
use super::items::{Drawn, Item, Items};
use crate::observe::decode::Frame;
use crate::observe::observation::{ResponseFacts, Usage};
use crate::observe::shapes::failure::{Failure, Word};
use crate::observe::shapes::lenient::{Count, Filled, Flag, Object, Text, Unread, fields, read};
use crate::observe::shapes::tokens::{Counting, Tokens};

/// Longest names that are kept.
const ID: usize = 128;
const MODEL: usize = 256;
const WORD: usize = 64;
/// Places of one key at which the end of a cut response is tried.
const TRIES: usize = 4;

/// Begins to read an answer.
pub(super) fn begin(context: Context) -> Box<dyn Answer> {
    Box::new(Reading { context, items: Items::default(), done: false })
}

#[derive(Debug)]
struct Reading {
    context: Context,
    // Those that a stream told of so far.
    items: Items,
    done: bool,
}

fields! {
    /// Any event of a stream.
    struct Event<'de> {
        kind: Text<'de> = "type",
        response: Object<Response<'de>> = "response",
        item: Item<'de> = "item",
        delta: Filled = "delta",
        command: Filled = "command",
        picture: Filled = "partial_image_b64",
        error: Failure<'de> = "error",
        code: Word = "code",
    }
}

fields! {
    /// The response itself, or an error in its place.
    struct Response<'de> {
        id: Text<'de> = "id",
        model: Text<'de> = "model",
        status: Text<'de> = "status",
        background: Flag = "background",
        incomplete: Incomplete<'de> = "incomplete_details",
        output: Items = "output",
        usage: Object<Tokens> = "usage",
        tools: Tools = "tool_usage",
        service_tier: Text<'de> = "service_tier",
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
    /// What the provider's tools used, which `usage` leaves out.
    struct Tools {
        web_search: Searches = "web_search",
        image_gen: Object<Drawn> = "image_gen",
    }
}

fields! {
    struct Searches {
        requests: Count = "num_requests",
    }
}

impl Response<'_> {
    /// The provider still works on it.
    fn is_pending(&self) -> bool {
        matches!(self.status.as_str(), "queued" | "in_progress")
    }

    fn has_ended(&self) -> bool {
        matches!(self.status.as_str(), "completed" | "incomplete" | "failed" | "cancelled")
    }

    /// Why it ended: the reason, where it is not the status.
    fn finish_reason(&self) -> &Text<'_> {
        match self.incomplete.reason.as_str() {
            "" => &self.status,
            _ => &self.incomplete.reason,
        }
    }
}

impl Event<'_> {
    /// The generated content that it carries. What a tool puts out is none, but it comes as the
    /// model works: it counts as another kind.
    fn content(&self) -> Content {
        let mut content = Content::default();
        match self.kind.as_str() {
            "response.output_text.delta" | "response.refusal.delta" => content.text = self.delta.0,
            "response.reasoning_text.delta" | "response.reasoning_summary_text.delta" => {
                content.reasoning = self.delta.0;
            }
            "response.function_call_arguments.delta"
            | "response.custom_tool_call_input.delta"
            | "response.mcp_call_arguments.delta"
            | "response.code_interpreter_call_code.delta"
            | "response.apply_patch_call_operation_diff.delta"
            | "response.shell_call_command.delta" => content.tool_call = self.delta.0,
            "response.shell_call_command.added" => content.tool_call = self.command.0,
            "response.output_item.added" => content.tool_call = self.item.is_tool_call(),
            "response.image_generation_call.partial_image" => content.other = self.picture.0,
            kind if kind.ends_with(".delta") => content.other = self.delta.0,
            _ => (),
        }
        content
    }
}

impl Reading {
    fn apply(&mut self, response: &Response<'_>, facts: &mut ResponseFacts) {
        response.id.replace(&mut facts.id, ID);
        response.model.replace(&mut facts.model, MODEL);
        facts.background |= response.background.0 == Some(true);
        facts.pending = response.is_pending();
        // Until it ended, tier and counts are not those of the end.
        if facts.pending {
            return;
        }
        response.service_tier.replace(&mut facts.service_tier, WORD);
        if !response.status.as_str().is_empty() {
            let mut reason = None;
            response.finish_reason().replace(&mut reason, WORD);
            facts.finish_reasons = vec![reason];
        }
        // Some servers leave the items out of the last event.
        let items = if response.output.any { &response.output } else { &self.items };
        facts.tool_calls = items.tool_calls;
        facts.refused |= items.refused;
        let Some(tokens) = response.usage.0 else { return };
        facts.reported_cost = tokens.reported_cost().or(facts.reported_cost);
        if let Some(usage) = tokens.usage(Counting::default()) {
            let drawn = response.tools.image_gen.0.map_or(0, Drawn::tokens);
            let searches = response.tools.web_search.requests.0.or(usage.units.web_searches);
            let mut units = items.units(searches, drawn);
            // xAI counts what its tools did among the tokens.
            units.file_searches = usage.units.file_searches.or(units.file_searches);
            units.code_sessions = usage.units.code_sessions.or(units.code_sessions);
            facts.usage = Some(Usage { units, ..usage });
        }
    }

    fn fail(&self, error: &Failure<'_>, code: &Word, kind: &Text<'_>, facts: &mut ResponseFacts) {
        error.tell(code, kind, &self.context.error(), facts);
    }

    /// Errors of an event: an event of its own, in either shape, and that of a response that failed
    /// are one error.
    fn fail_event(&self, event: &Event<'_>, named: bool, facts: &mut ResponseFacts) {
        let is_error = event.kind.as_str() == "error" || event.error.is_some || named;
        if is_error || self.context.is_error() {
            self.fail(&event.error, &event.code, &event.kind, facts);
        }
        if let Some(response) = &event.response.0
            && (response.error.is_some || response.status.as_str() == "failed")
        {
            self.fail(&response.error, &Word::default(), &Text::default(), facts);
        }
    }
}

impl Answer for Reading {
    fn frame(&mut self, frame: Frame<'_>, facts: &mut ResponseFacts) -> Result<Content, Unread> {
        let data = frame.data.trim_ascii();
        // Compatible servers may end as their chat does.
        if data.is_empty() || data == b"[DONE]" {
            return Ok(Content::default());
        }
        let mut event = Event::default();
        read(data, &mut event)?;
        let kind = event.kind.as_str();
        if kind == "response.output_item.done" {
            self.items.add(&event.item);
            facts.tool_calls = self.items.tool_calls;
        }
        facts.refused |= kind == "response.refusal.delta" && event.delta.0;
        if let Some(response) = &event.response.0 {
            if facts.finish_reasons.is_empty() {
                facts.finish_reasons.push(None);
            }
            self.apply(response, facts);
            self.done |= response.has_ended();
        }
        let ends = ["response.completed", "response.incomplete", "response.failed"];
        self.done |= ends.contains(&kind);
        self.fail_event(&event, frame.name == b"error", facts);
        Ok(event.content())
    }

    fn document(&mut self, body: &[u8], facts: &mut ResponseFacts) -> Result<(), Unread> {
        let mut response = Response::default();
        let result = read(body, &mut response);
        if result.is_err() {
            // Of a body that breaks off the rest may be half a number.
            response.id.replace(&mut facts.id, ID);
            response.model.replace(&mut facts.model, MODEL);
            return result;
        }
        self.apply(&response, facts);
        let failed = response.error.is_some || response.status.as_str() == "failed";
        if failed || self.context.is_error() {
            self.fail(&response.error, &response.code, &response.kind, facts);
        }
        Ok(())
    }

    /// The response's last keys, whether it stands alone or in the event that ends a stream. If what
    /// follows a key closes what was open before it and no more, it stood at the response's top.
    fn tail(&mut self, body: &[u8], facts: &mut ResponseFacts) {
        let keys: [&[u8]; 3] = [b"\"service_tier\"", b"\"tool_usage\"", b"\"usage\""];
        let places = keys.iter().flat_map(|key| memchr::memmem::rfind_iter(body, key).take(TRIES));
        for end in places.filter_map(|at| body.get(at..)) {
            let mut event = Event::default();
            let told = |response: &Response<'_>| response.usage.0.is_some();
            let in_event = [b"{\"response\":{", end].concat();
            if read(&in_event, &mut event).is_ok() && event.response.0.as_ref().is_some_and(told) {
                if let Some(response) = &event.response.0 {
                    self.apply_tail(response, facts);
                }
                return;
            }
            let mut response = Response::default();
            let alone = [b"{", end].concat();
            if read(&alone, &mut response).is_ok() && told(&response) {
                self.apply_tail(&response, facts);
                return;
            }
        }
    }

    fn is_terminated(&self, _: &ResponseFacts) -> bool {
        self.done
    }
}

impl Reading {
    /// Usage comes with the end. How it ended stood before.
    fn apply_tail(&mut self, response: &Response<'_>, facts: &mut ResponseFacts) {
        if response.status.as_str().is_empty() {
            facts.finish_reasons.clear();
        }
        self.apply(response, facts);
        self.done = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::dialect::told;
    use crate::observe::observation::Operation;

    fn answer() -> Box<dyn Answer> {
        begin(Context { operation: Some(Operation::Chat), ..Context::of(200) })
    }

    fn told(events: &[&str]) -> (ResponseFacts, Vec<Content>, bool) {
        told::by_events(answer(), events)
    }

    fn facts(events: &[&str]) -> ResponseFacts {
        told(events).0
    }

    fn whole(body: &str) -> ResponseFacts {
        told::by_document(answer(), body)
    }

    #[test]
    fn the_end_says_why_and_the_reason_comes_before_the_status() {
        for (response, expected) in [
            (r#"{"status":"completed"}"#, "completed"),
            (
                r#"{"status":"incomplete","incomplete_details":{"reason":"content_filter"}}"#,
                "content_filter",
            ),
            (r#"{"status":"incomplete","incomplete_details":null}"#, "incomplete"),
            (r#"{"status":"cancelled"}"#, "cancelled"),
        ] {
            let reasons = vec![Some(expected.to_owned())];
            assert_eq!(whole(response).finish_reasons, reasons);
            let event = format!(r#"{{"type":"response.x","response":{response}}}"#);
            assert_eq!(told(&[&event]).0.finish_reasons, reasons);
            assert!(told(&[&event]).2, "{response}");
        }
        assert_eq!(whole(r#"{"object":"response.compaction"}"#).finish_reasons, []);
        let begun = r#"{"type":"response.created","response":{"status":"in_progress"}}"#;
        assert_eq!(told(&[begun]).0.finish_reasons, [None]);
    }

    #[test]
    fn what_is_still_being_made_tells_neither_tier_nor_counts() {
        for status in ["queued", "in_progress"] {
            let found = whole(&format!(
                r#"{{"id":"resp_1","model":"m","status":"{status}","background":true,"service_tier":"auto","usage":{{"input_tokens":0,"output_tokens":0}}}}"#
            ));
            assert!(found.pending && found.background);
            assert_eq!((found.id.as_deref(), found.service_tier), (Some("resp_1"), None));
            assert_eq!((found.usage, found.finish_reasons), (None, vec![]));
        }
    }

    #[test]
    fn counts_beside_the_usage_come_from_the_provider_and_from_the_items() {
        let usage = whole(
            r#"{"status":"completed","output":[{"type":"web_search_call","action":{"type":"search"}},{"type":"file_search_call"}],
            "usage":{"input_tokens":9,"output_tokens":1},"tool_usage":{"web_search":{"num_requests":3},
            "image_gen":{"input_tokens":10,"output_tokens":90,"total_tokens":100}}}"#,
        )
        .usage
        .unwrap();
        assert_eq!((usage.input, usage.output), (Some(9), Some(1)));
        assert_eq!((usage.units.web_searches, usage.units.file_searches), (Some(3), Some(1)));
        assert_eq!(usage.units.other_models, Some(100), "the picture's tokens are no part of it");
    }

    #[test]
    fn items_count_once_whether_the_last_event_repeats_them_or_not() {
        let call = r#"{"type":"function_call","name":"f","arguments":"{}"}"#;
        let done = format!(r#"{{"type":"response.output_item.done","item":{call}}}"#);
        let end = |output: &str| {
            format!(
                r#"{{"type":"response.completed","response":{{"status":"completed","output":[{output}]}}}}"#
            )
        };
        assert_eq!(facts(&[&done, &end(call)]).tool_calls, 1);
        assert_eq!(facts(&[&done, &end("")]).tool_calls, 1);
        assert_eq!(facts(&[&done, &done]).tool_calls, 2, "it may break off");
    }

    #[test]
    fn only_what_was_generated_is_content() {
        let of = |event: &str| {
            let content = told(&[event]).1[0];
            [content.text, content.reasoning, content.tool_call, content.other]
        };
        let delta = |kind: &str| of(&format!(r#"{{"type":"response.{kind}.delta","delta":"x"}}"#));
        let [text, reasoning, tool_call, other] =
            [0, 1, 2, 3].map(|at| std::array::from_fn::<bool, 4, _>(|place| place == at));
        for (expected, kinds) in [
            (text, &["output_text", "refusal"][..]),
            (reasoning, &["reasoning_text", "reasoning_summary_text"]),
            (
                tool_call,
                &[
                    "function_call_arguments",
                    "custom_tool_call_input",
                    "mcp_call_arguments",
                    "code_interpreter_call_code",
                    "shell_call_command",
                ],
            ),
            (other, &["audio", "audio.transcript", "shell_call_output_content", "novelty"]),
        ] {
            kinds.iter().for_each(|kind| assert_eq!(delta(kind), expected, "{kind}"));
        }
        let picture =
            r#"{"type":"response.image_generation_call.partial_image","partial_image_b64":"aGk="}"#;
        assert_eq!(of(picture), other);
        let added = |kind: &str| {
            of(&format!(r#"{{"type":"response.output_item.added","item":{{"type":"{kind}"}}}}"#))
        };
        assert_eq!(added("function_call"), tool_call);
        for none in [added("message"), added("web_search_call")] {
            assert_eq!(none, [false; 4]);
        }
        for event in [
            r#"{"type":"response.output_text.delta","delta":"","obfuscation":"xyz"}"#,
            r#"{"type":"response.output_text.done","text":"x"}"#,
            r#"{"type":"response.reasoning_summary_part.added","part":{"text":"x"}}"#,
            r#"{"type":"response.web_search_call.searching"}"#,
            r#"{"type":"response.in_progress","response":{"status":"in_progress"}}"#,
        ] {
            assert_eq!(of(event), [false; 4], "{event}");
        }
    }

    #[test]
    fn an_error_event_in_either_shape_and_the_failure_after_it_are_one_error() {
        let flat =
            r#"{"type":"error","code":"rate_limit_exceeded","message":"m","sequence_number":3}"#;
        let nested =
            r#"{"type":"error","error":{"type":"insufficient_quota","code":null,"message":"m"}}"#;
        let failed = r#"{"type":"response.failed","response":{"status":"failed","error":{"code":"server_error","message":"m"},"usage":null}}"#;
        let bare = r#"{"type":"response.failed","response":{"status":"failed","error":null}}"#;
        assert_eq!(facts(&[flat]).error.unwrap(), "rate_limit_exceeded");
        assert_eq!(facts(&[nested]).error.unwrap(), "insufficient_quota");
        assert_eq!(facts(&[nested, bare]).error.unwrap(), "insufficient_quota");
        assert_eq!(facts(&[flat, failed]).error.unwrap(), "server_error");
        assert_eq!(facts(&[bare]).error.unwrap(), "error_in_stream");
        assert_eq!(
            whole(r#"{"status":"failed","error":{"code":"server_error"}}"#).error.unwrap(),
            "server_error"
        );
        assert_eq!(whole(r#"{"status":"completed","error":null}"#).error, None);
    }

    #[test]
    fn a_failed_response_may_tell_its_usage() {
        let found = facts(&[
            r#"{"type":"response.failed","response":{"status":"failed","error":{"code":"server_error"},"usage":{"input_tokens":7,"output_tokens":0}}}"#,
        ]);
        assert_eq!(found.usage.unwrap().input, Some(7));
        assert_eq!(found.finish_reasons, [Some("failed".to_owned())]);
    }

    #[test]
    fn the_end_of_a_cut_response_tells_its_usage_and_no_other_does() {
        let tail = |body: &str| {
            let operation = Some(Operation::Chat);
            let mut answer = begin(Context { operation, ..Context::of(200) });
            let mut facts =
                ResponseFacts { finish_reasons: vec![None], ..ResponseFacts::default() };
            answer.tail(body.as_bytes(), &mut facts);
            (facts, answer.is_terminated(&ResponseFacts::default()))
        };
        let end = r#""service_tier":"flex","tools":[{"parameters":{"usage":{"input_tokens":1}}}],"tool_usage":{"web_search":{"num_requests":2}},
            "usage":{"input_tokens":5,"output_tokens":6},"user":null,"metadata":{"usage":"x"}}"#;
        for closing in ["", "}", r#","sequence_number":9}"#] {
            let (facts, done) = tail(&format!("half a text\"}}]}}],{end}{closing}"));
            let usage = facts.usage.unwrap();
            assert_eq!((usage.input, usage.units.web_searches), (Some(5), Some(2)));
            assert_eq!((facts.service_tier.as_deref(), done), (Some("flex"), true));
            assert_eq!(facts.finish_reasons, [], "how it ended stood before");
        }
        for other in [
            r#"x","delta":"a"}"#,
            r#"{"input":{"usage":{"input_tokens":1}}},{"a":1"#,
            r#"[{"a":{"usage":{"input_tokens":1,"output_tokens":2}}}]}]}"#,
            r#""usage":null}}"#,
        ] {
            let (facts, done) = tail(other);
            assert_eq!((facts.usage, done), (None, false), "{other}");
        }
    }
}
