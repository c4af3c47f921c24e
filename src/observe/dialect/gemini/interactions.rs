//! Interactions: Google's newer way to ask, whose answer is made of steps. Knows no other route, and
//! keeps nothing of what was said.

use super::super::{Answer, Content, Context};
use super::usage::{Counts, Tier};
use super::{ID, MODEL, WORD};
use crate::observe::decode::Frame;
use crate::observe::observation::ResponseFacts;
use crate::observe::shapes::failure::Failure;
use crate::observe::shapes::lenient::{Filled, List, Object, Text, Unread, fields, read};

/// Begins to read an answer.
pub(super) fn begin(context: Context) -> Box<dyn Answer> {
    Box::new(Interacted { context, counts: Counts::default(), done: false })
}

#[derive(Debug)]
struct Interacted {
    context: Context,
    counts: Counts,
    done: bool,
}

fields! {
    /// Any event of a stream.
    struct Event<'de> {
        kind: Text<'de> = "event_type",
        interaction: Interaction<'de> = "interaction",
        step: Step<'de> = "step",
        delta: Delta<'de> = "delta",
        status: Text<'de> = "status",
        error: Failure<'de> = "error",
    }
}

fields! {
    /// The whole answer, or what is known of it when the stream begins and ends.
    struct Interaction<'de> {
        id: Text<'de> = "id",
        model: Text<'de> = "model",
        status: Text<'de> = "status",
        steps: List<'de, Step<'de>> = "steps",
        usage: Object<Counts> = "usage",
        tier: Tier = "service_tier",
        error: Failure<'de> = "error",
    }
}

fields! {
    struct Step<'de> {
        kind: Text<'de> = "type",
    }
}

fields! {
    struct Delta<'de> {
        kind: Text<'de> = "type",
        text: Filled = "text",
        /// A thought's summary.
        content: Filled = "content",
        arguments: Filled = "arguments",
        /// Of sound and pictures.
        made: Filled = "data" | "uri",
    }
}

impl Delta<'_> {
    fn content(&self) -> Content {
        let kind = self.kind.as_str();
        Content {
            text: kind == "text" && self.text.0,
            reasoning: kind == "thought_summary" && self.content.0,
            tool_call: kind == "arguments_delta" && self.arguments.0,
            other: matches!(kind, "audio" | "image" | "video" | "document") && self.made.0,
        }
    }
}

impl Interacted {
    fn interaction(&mut self, interaction: &Interaction<'_>, facts: &mut ResponseFacts) {
        interaction.id.replace(&mut facts.id, ID);
        interaction.model.replace(&mut facts.model, MODEL);
        interaction.tier.tell(facts);
        self.status(&interaction.status, facts);
        if let Some(counts) = &interaction.usage.0 {
            self.counts.merge(counts);
        }
        // Until it is done, what was counted is not all.
        if !facts.pending {
            facts.usage = self.counts.usage();
        }
    }

    /// Where it stands: why the model stopped, once it has.
    fn status(&mut self, status: &Text<'_>, facts: &mut ResponseFacts) {
        match status.as_str() {
            "" => (),
            "in_progress" | "queued" => facts.pending = true,
            _ => {
                facts.pending = false;
                facts.finish_reasons = vec![status.bounded(WORD)];
            }
        }
        if status.as_str() == "failed" {
            facts.error.get_or_insert_with(|| "failed".to_owned());
        }
    }

    fn fail(&self, error: &Failure<'_>, named: bool, facts: &mut ResponseFacts) {
        if error.is_some || named || self.context.is_error() {
            error.tell_alone(&self.context.error(), facts);
        }
    }
}

/// Counts a step that calls a function of the client's; the provider runs its own tools.
fn tool(step: &Step<'_>, facts: &mut ResponseFacts) -> bool {
    let is_call = step.kind.as_str() == "function_call";
    facts.tool_calls = facts.tool_calls.saturating_add(u32::from(is_call));
    is_call
}

impl Answer for Interacted {
    fn frame(&mut self, frame: Frame<'_>, facts: &mut ResponseFacts) -> Result<Content, Unread> {
        let data = frame.data.trim_ascii();
        if data == b"[DONE]" {
            self.done = true;
            return Ok(Content::default());
        }
        let mut event = Event::default();
        read(data, &mut event)?;
        let mut content = event.delta.content();
        match event.kind.as_str() {
            "step.start" => content.tool_call |= tool(&event.step, facts),
            "interaction.completed" => self.done = true,
            _ => (),
        }
        self.status(&event.status, facts);
        self.interaction(&event.interaction, facts);
        self.fail(&event.error, event.kind.as_str() == "error", facts);
        Ok(content)
    }

    fn document(&mut self, body: &[u8], facts: &mut ResponseFacts) -> Result<(), Unread> {
        let mut interaction = Interaction::default();
        read(body, &mut interaction)?;
        self.interaction(&interaction, facts);
        for step in interaction.steps.iter() {
            tool(step, facts);
        }
        self.fail(&interaction.error, false, facts);
        Ok(())
    }

    fn is_terminated(&self, _: &ResponseFacts) -> bool {
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(event: &str) -> (ResponseFacts, Content) {
        let context = Context::of(200);
        let (mut answer, mut facts) = (begin(context), ResponseFacts::default());
        let frame = Frame { name: b"", data: event.as_bytes() };
        let content = answer.frame(frame, &mut facts).unwrap();
        (facts, content)
    }

    #[test]
    fn only_what_was_generated_is_content() {
        let delta = |delta: &str| {
            told(&format!(r#"{{"event_type":"step.delta","index":0,"delta":{delta}}}"#)).1
        };
        assert!(delta(r#"{"type":"text","text":"a"}"#).text);
        assert!(
            delta(r#"{"type":"thought_summary","content":{"type":"text","text":"a"}}"#).reasoning
        );
        assert!(delta(r#"{"type":"arguments_delta","arguments":"{"}"#).tool_call);
        assert!(delta(r#"{"type":"image","data":"aGk="}"#).other);
        assert!(!delta(r#"{"type":"thought_signature","signature":"a"}"#).is_some());
        assert!(!delta(r#"{"type":"google_search_call","arguments":{"queries":["a"]}}"#).is_some());
        let (facts, content) =
            told(r#"{"event_type":"step.start","step":{"type":"function_call","name":"f"}}"#);
        assert_eq!((facts.tool_calls, content.tool_call), (1, true));
    }

    #[test]
    fn the_last_event_tells_the_usage_and_the_searches() {
        let (facts, _) = told(
            r#"{"event_type":"interaction.completed","interaction":{"id":"i","status":"requires_action","model":"g",
            "service_tier":"flex","usage":{"total_input_tokens":266,"total_output_tokens":3,"total_thought_tokens":57,
            "total_tool_use_tokens":4,"input_tokens_by_modality":[{"modality":"image","tokens":258}],
            "grounding_tool_count":[{"type":"google_search","count":2},{"type":"google_maps","count":1}]}}}"#,
        );
        let usage = facts.usage.unwrap();
        assert_eq!((usage.input, usage.output), (Some(270), Some(60)));
        assert_eq!((usage.input_image, usage.units.web_searches), (Some(258), Some(2)));
        assert_eq!(facts.finish_reasons, [Some("requires_action".to_owned())]);
        assert_eq!(facts.service_tier.as_deref(), Some("flex"));
    }

    #[test]
    fn one_that_failed_is_an_error() {
        let event = r#"{"event_type":"interaction.status_update","status":"failed"}"#;
        assert_eq!(told(event).0.error.unwrap(), "failed");
        let event = r#"{"event_type":"error","error":{"code":"too_many_requests","message":"m"}}"#;
        assert_eq!(told(event).0.error.unwrap(), "too_many_requests");
    }

    #[test]
    fn it_ends_with_its_last_event_or_as_openais_streams_do() {
        for (event, ended) in [
            (r#"{"event_type":"interaction.completed"}"#, true),
            ("[DONE]", true),
            (r#"{"event_type":"step.start"}"#, false),
        ] {
            let context = Context::of(200);
            let (mut answer, mut facts) = (begin(context), ResponseFacts::default());
            answer.frame(Frame { name: b"", data: event.as_bytes() }, &mut facts).unwrap();
            assert_eq!(answer.is_terminated(&facts), ended, "{event}");
        }
        let context = Context::of(200);
        let (mut answer, mut facts) = (begin(context), ResponseFacts::default());
        let whole = br#"{"steps":[{"type":"function_call"},{"type":"thought"}]}"#;
        answer.document(whole, &mut facts).unwrap();
        assert_eq!(facts.tool_calls, 1);
    }
}
