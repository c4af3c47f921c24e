//! What a client asks of OpenAI's Responses. Knows no answer, and keeps nothing of what was said.

use super::super::super::{ID, MODEL, WORD};
use serde::de::MapAccess;

use crate::observe::observation::RequestFacts;
use crate::observe::shapes::lenient::{
    Flag, Inputs, Length, Lenient, Number, Text, Unread, fields, read,
};

fields! {
    struct Request<'de> {
        model: Text<'de> = "model",
        input: Inputs = "input",
        stream: Flag = "stream",
        store: Flag = "store",
        conversation: Conversation<'de> = "conversation",
        temperature: Number = "temperature",
        top_p: Number = "top_p",
        max_output_tokens: Number = "max_output_tokens",
        reasoning: Reasoning<'de> = "reasoning",
        text: Output<'de> = "text",
        service_tier: Text<'de> = "service_tier",
        tools: Length = "tools",
    }
}

fields! {
    struct Reasoning<'de> {
        effort: Text<'de> = "effort",
    }
}

fields! {
    struct Output<'de> {
        format: Format<'de> = "format",
    }
}

fields! {
    struct Format<'de> {
        kind: Text<'de> = "type",
    }
}

/// A conversation's id, or an object that holds it.
#[derive(Debug, Default)]
struct Conversation<'de>(Text<'de>);

fields! {
    struct Named<'de> {
        id: Text<'de> = "id",
    }
}

impl<'de> Lenient<'de> for Conversation<'de> {
    fn text(&mut self, text: &str) {
        self.0.text(text);
    }

    fn borrowed(&mut self, text: &'de str) {
        self.0.borrowed(text);
    }

    fn object<A: MapAccess<'de>>(&mut self, object: A) -> Result<(), A::Error> {
        let mut named = Named::default();
        let result = named.object(object);
        self.0 = named.id;
        result
    }
}

/// Reads the body of a call for a response, which the provider keeps unless told not to.
pub(super) fn read_stored(body: &[u8], facts: &mut RequestFacts) -> Result<(), Unread> {
    facts.stored = true;
    fill(body, facts)
}

/// Reads the body of a call whose answer is not kept.
pub(super) fn read_passing(body: &[u8], facts: &mut RequestFacts) -> Result<(), Unread> {
    let result = fill(body, facts);
    facts.stored = false;
    result
}

fn fill(body: &[u8], facts: &mut RequestFacts) -> Result<(), Unread> {
    let mut request = Request::default();
    let result = read(body, &mut request);
    facts.model = request.model.bounded(MODEL);
    facts.stream = request.stream.0 == Some(true);
    // Of a body that breaks off the rest may be half a number.
    result?;
    *facts = RequestFacts {
        model: facts.model.take(),
        stream: facts.stream,
        temperature: request.temperature.0,
        top_p: request.top_p.0,
        max_tokens: request.max_output_tokens.whole(),
        reasoning_level: request.reasoning.effort.bounded(WORD),
        output_type: match request.text.format.kind.as_str() {
            "json_schema" | "json_object" => Some("json"),
            "text" => Some("text"),
            _ => None,
        },
        service_tier: request.service_tier.bounded(WORD),
        messages: request.input.0,
        tools: request.tools.0.unwrap_or(0),
        conversation: request.conversation.0.bounded(ID),
        stored: request.store.0 != Some(false),
        ..RequestFacts::default()
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(body: &str) -> RequestFacts {
        let mut facts = RequestFacts::default();
        read_stored(body.as_bytes(), &mut facts).unwrap();
        facts
    }

    #[test]
    fn everything_asked_for_is_read() {
        let found = facts(
            r#"{"model":"gpt-5.6","input":[{"role":"user","content":"x"},{}],"stream":true,"store":false,
            "conversation":{"id":"conv_1"},"temperature":0.5,"top_p":1,"max_output_tokens":900,
            "reasoning":{"effort":"low"},"text":{"format":{"type":"json_schema"}},"service_tier":"flex",
            "tools":[{},{}],"background":false,"prompt_cache_key":"k"}"#,
        );
        let expected = RequestFacts {
            model: Some("gpt-5.6".to_owned()),
            stream: true,
            temperature: Some(0.5),
            top_p: Some(1.0),
            max_tokens: Some(900),
            reasoning_level: Some("low".to_owned()),
            output_type: Some("json"),
            service_tier: Some("flex".to_owned()),
            messages: Some(2),
            tools: 2,
            conversation: Some("conv_1".to_owned()),
            ..RequestFacts::default()
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn a_conversation_is_named_by_its_id_alone_too_and_never_made_up() {
        let named = |body| facts(body).conversation;
        assert_eq!(named(r#"{"conversation":"conv_\u0032"}"#).unwrap(), "conv_2");
        for body in [r#"{"conversation":null}"#, r#"{"conversation":{}}"#, r#"{"input":"x"}"#] {
            assert_eq!(named(body), None, "{body}");
        }
        let other = r#"{"previous_response_id":"resp_1","prompt_cache_key":"k"}"#;
        assert_eq!(named(other), None);
    }

    #[test]
    fn an_answer_is_kept_unless_the_client_says_otherwise() {
        assert!(facts("{}").stored && facts(r#"{"store":true}"#).stored);
        assert!(!facts(r#"{"store":false}"#).stored);
        let mut short = RequestFacts::default();
        assert!(read_stored(br#"{"model":"m","max_output_tokens":1"#, &mut short).is_err());
        assert_eq!((short.model.as_deref(), short.max_tokens), (Some("m"), None));
        assert!(short.stored, "more may have come");
        let mut passing = RequestFacts::default();
        read_passing(b"{}", &mut passing).unwrap();
        assert!(!passing.stored);
    }
}
