//! What a client asks of OpenAI's chat completions, legacy completions and embeddings. Knows no
//! answer, and keeps nothing of what was said.

use super::super::{MODEL, WORD};
use crate::observe::observation::RequestFacts;
use crate::observe::shapes::lenient::{
    Flag, Inputs, Into, Length, Lenient, Number, Text, Texts, Unread, fields, read,
};

fields! {
    struct Request<'de> {
        model: Text<'de> = "model",
        messages: Length = "messages",
        prompt: Inputs = "prompt",
        input: Inputs = "input",
        stream: Flag = "stream",
        stream_options: StreamOptions = "stream_options",
        temperature: Number = "temperature",
        top_p: Number = "top_p",
        top_k: Number = "top_k",
        frequency_penalty: Number = "frequency_penalty",
        presence_penalty: Number = "presence_penalty",
        max_completion_tokens: Number = "max_completion_tokens",
        max_tokens: Number = "max_tokens",
        seed: Number = "seed",
        n: Number = "n",
        stop: Texts = "stop",
        reasoning_effort: Text<'de> = "reasoning_effort",
        reasoning: Reasoning<'de> = "reasoning",
        response_format: Format<'de> = "response_format",
        modalities: Modalities = "modalities",
        service_tier: Text<'de> = "service_tier",
        encoding_format: Text<'de> = "encoding_format",
        dimensions: Number = "dimensions",
        tools: Length = "tools",
        functions: Length = "functions",
        documents: Length = "documents",
        store: Flag = "store",
    }
}

fields! {
    struct StreamOptions {
        include_usage: Flag = "include_usage",
    }
}

fields! {
    /// OpenRouter's way to say `reasoning_effort`.
    struct Reasoning<'de> {
        effort: Text<'de> = "effort",
    }
}

fields! {
    struct Format<'de> {
        kind: Text<'de> = "type",
    }
}

/// Whether sound was asked for.
#[derive(Debug, Default)]
struct Modalities {
    audio: bool,
}

impl<'de> Lenient<'de> for Modalities {
    fn text(&mut self, text: &str) {
        self.audio |= text == "audio";
    }

    fn list<A: serde::de::SeqAccess<'de>>(&mut self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Into(self))?.is_some() {}
        Ok(())
    }
}

/// Reads the body of a chat completion.
pub(super) fn chat(body: &[u8], facts: &mut RequestFacts) -> Result<(), Unread> {
    fill(body, facts, |request| request.messages.0)
}

/// Reads the body of a legacy completion.
pub(super) fn completion(body: &[u8], facts: &mut RequestFacts) -> Result<(), Unread> {
    fill(body, facts, |request| request.prompt.0)
}

/// Reads the body of a call for embeddings.
pub(super) fn embeddings(body: &[u8], facts: &mut RequestFacts) -> Result<(), Unread> {
    fill(body, facts, |request| request.input.0)
}

/// Reads the body of a call for a ranking.
pub(super) fn rerank(body: &[u8], facts: &mut RequestFacts) -> Result<(), Unread> {
    let result = fill(body, facts, |request| request.documents.0);
    // How many documents are wanted, not how tokens are drawn.
    facts.top_k = None;
    result
}

fn fill(
    body: &[u8],
    facts: &mut RequestFacts,
    messages: fn(&Request<'_>) -> Option<u32>,
) -> Result<(), Unread> {
    let mut request = Request::default();
    let result = read(body, &mut request);
    facts.model = request.model.bounded(MODEL);
    facts.stream = request.stream.0 == Some(true);
    // Of a body that breaks off the rest may be half a number.
    result?;
    let messages = messages(&request);
    *facts = RequestFacts {
        model: facts.model.take(),
        stream: facts.stream,
        include_usage: request.stream_options.include_usage.0,
        temperature: request.temperature.0,
        top_p: request.top_p.0,
        top_k: request.top_k.0,
        frequency_penalty: request.frequency_penalty.0,
        presence_penalty: request.presence_penalty.0,
        max_tokens: request.max_completion_tokens.whole().or(request.max_tokens.whole()),
        seed: request.seed.whole(),
        choice_count: request.n.whole().filter(|&n| n != 1),
        output_type: output_type(&request),
        reasoning_level: request
            .reasoning_effort
            .bounded(WORD)
            .or_else(|| request.reasoning.effort.bounded(WORD)),
        stop_sequences: request.stop.0,
        service_tier: request.service_tier.bounded(WORD),
        encoding_format: request.encoding_format.bounded(WORD),
        dimensions: request.dimensions.whole(),
        messages,
        tools: request.tools.0.unwrap_or(0).saturating_add(request.functions.0.unwrap_or(0)),
        stored: request.store.0 == Some(true),
        ..RequestFacts::default()
    };
    Ok(())
}

fn output_type(request: &Request<'_>) -> Option<&'static str> {
    match request.response_format.kind.as_str() {
        "json_object" | "json_schema" => Some("json"),
        _ if request.modalities.audio => Some("speech"),
        "text" => Some("text"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(body: &str) -> (RequestFacts, Result<(), Unread>) {
        let mut facts = RequestFacts::default();
        let result = chat(body.as_bytes(), &mut facts);
        (facts, result)
    }

    #[test]
    fn everything_asked_for_is_read() {
        let (found, result) = facts(
            r#"{"model":"gpt-4o","messages":[{"role":"user","content":"x"},{}],"stream":true,
            "stream_options":{"include_usage":true},"temperature":0.5,"top_p":1,"top_k":40,
            "frequency_penalty":-0.5,"presence_penalty":0.25,"max_tokens":7,"max_completion_tokens":9,
            "seed":-3,"n":2,"stop":"END","reasoning_effort":"low","response_format":{"type":"json_schema"},
            "service_tier":"flex","tools":[{},{}],"functions":[{}],"store":true}"#,
        );
        assert_eq!(result, Ok(()));
        let expected = RequestFacts {
            model: Some("gpt-4o".to_owned()),
            stream: true,
            include_usage: Some(true),
            temperature: Some(0.5),
            top_p: Some(1.0),
            top_k: Some(40.0),
            frequency_penalty: Some(-0.5),
            presence_penalty: Some(0.25),
            max_tokens: Some(9),
            seed: Some(-3),
            choice_count: Some(2),
            stop_sequences: vec!["END".to_owned()],
            reasoning_level: Some("low".to_owned()),
            output_type: Some("json"),
            service_tier: Some("flex".to_owned()),
            messages: Some(2),
            tools: 3,
            stored: true,
            ..RequestFacts::default()
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn of_a_body_that_breaks_off_only_whole_words_are_kept() {
        let (found, result) = facts(r#"{"model":"gpt-4o","stream":true,"max_tokens":12"#);
        assert_eq!(result, Err(Unread::Short));
        assert_eq!((found.model.as_deref(), found.stream), (Some("gpt-4o"), true));
        assert_eq!(found.max_tokens, None);
    }

    #[test]
    fn sound_is_an_output_type_and_one_choice_is_none() {
        let (found, _) = facts(r#"{"modalities":["text","audio"],"n":1,"stop":null,"model":null}"#);
        let expected = RequestFacts { output_type: Some("speech"), ..RequestFacts::default() };
        assert_eq!(found, expected);
    }
}
