//! What a client asks of a model of Google's, which it may spell in either of JSON's two ways. Knows
//! no answer and no path, and keeps nothing of what is said.

use serde::de::SeqAccess;

use super::{MODEL, WORD};
use crate::observe::observation::RequestFacts;
use crate::observe::shapes::lenient::{
    Flag, Into, Length, Lenient, List, Number, Text, Texts, Unread, fields, read,
};

fields! {
    struct Request<'de> {
        contents: Length = "contents",
        config: Config<'de> = "generationConfig" | "generation_config",
        tools: Tools = "tools",
        service_tier: Text<'de> = "serviceTier" | "service_tier",
    }
}

fields! {
    struct Config<'de> {
        temperature: Number = "temperature",
        top_p: Number = "topP" | "top_p",
        top_k: Number = "topK" | "top_k",
        max_tokens: Number = "maxOutputTokens" | "max_output_tokens",
        candidates: Number = "candidateCount" | "candidate_count",
        stop_sequences: Texts = "stopSequences" | "stop_sequences",
        seed: Number = "seed",
        frequency_penalty: Number = "frequencyPenalty" | "frequency_penalty",
        presence_penalty: Number = "presencePenalty" | "presence_penalty",
        media_type: Text<'de> = "responseMimeType" | "response_mime_type",
        modalities: Texts = "responseModalities" | "response_modalities",
        thinking: Thinking<'de> = "thinkingConfig" | "thinking_config",
        /// Of an interaction.
        level: Text<'de> = "thinking_level",
    }
}

fields! {
    struct Thinking<'de> {
        level: Text<'de> = "thinkingLevel" | "thinking_level",
    }
}

/// How many functions were declared: each entry of the list may declare several.
#[derive(Clone, Copy, Debug, Default)]
struct Tools(u32);

fields! {
    struct Tool<'de> {
        functions: Length = "functionDeclarations" | "function_declarations",
        /// Of an interaction, in which each entry is one tool.
        kind: Text<'de> = "type",
    }
}

impl<'de> Lenient<'de> for Tools {
    fn list<A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<(), A::Error> {
        loop {
            let mut tool = Tool::default();
            if list.next_element_seed(Into(&mut tool))?.is_none() {
                return Ok(());
            }
            let alone = u32::from(!tool.kind.as_str().is_empty());
            self.0 = self.0.saturating_add(tool.functions.0.unwrap_or(alone));
        }
    }
}

impl Config<'_> {
    /// What the answer is to be, where the request says so.
    fn output_type(&self) -> Option<&'static str> {
        let wants = |kind: &str| self.modalities.0.iter().any(|it| it.eq_ignore_ascii_case(kind));
        match self.media_type.as_str() {
            _ if wants("audio") => Some("speech"),
            _ if wants("image") => Some("image"),
            "application/json" => Some("json"),
            "text/plain" => Some("text"),
            _ if wants("text") => Some("text"),
            _ => None,
        }
    }

    fn facts(self) -> RequestFacts {
        let output_type = self.output_type();
        RequestFacts {
            temperature: self.temperature.0,
            top_p: self.top_p.0,
            top_k: self.top_k.0,
            max_tokens: self.max_tokens.whole(),
            choice_count: self.candidates.whole().filter(|&count| count != 1),
            stop_sequences: self.stop_sequences.0,
            seed: self.seed.whole(),
            frequency_penalty: self.frequency_penalty.0,
            presence_penalty: self.presence_penalty.0,
            reasoning_level: self.thinking.level.bounded(WORD).or(self.level.bounded(WORD)),
            output_type,
            ..RequestFacts::default()
        }
    }
}

/// Reads what a model is to answer as a whole. It does not name the model.
pub(super) fn generate(body: &[u8], facts: &mut RequestFacts) -> Result<(), Unread> {
    let mut request = Request::default();
    read(body, &mut request)?;
    *facts = RequestFacts {
        stream: facts.stream,
        messages: request.contents.0,
        tools: request.tools.0,
        service_tier: request.service_tier.bounded(WORD),
        ..request.config.facts()
    };
    Ok(())
}

/// The same for an answer that is to be streamed.
pub(super) fn stream(body: &[u8], facts: &mut RequestFacts) -> Result<(), Unread> {
    facts.stream = true;
    generate(body, facts)
}

fields! {
    /// What is to be embedded, or predicted: one content, or a list of either.
    struct Inputs<'de> {
        content: Given = "content",
        requests: List<'de, Dimensions> = "requests",
        instances: Length = "instances",
        own: Number = "outputDimensionality" | "output_dimensionality",
        config: Dimensions = "embedContentConfig" | "parameters",
    }
}

fields! {
    struct Dimensions {
        count: Number = "outputDimensionality" | "output_dimensionality",
    }
}

/// Whether there is an object.
#[derive(Clone, Copy, Debug, Default)]
struct Given(bool);

impl<'de> Lenient<'de> for Given {
    fn object<A: serde::de::MapAccess<'de>>(&mut self, mut object: A) -> Result<(), A::Error> {
        self.0 = true;
        while object.next_entry::<serde::de::IgnoredAny, serde::de::IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

/// Reads what is to be embedded or drawn. It does not name the model.
pub(super) fn predict(body: &[u8], facts: &mut RequestFacts) -> Result<(), Unread> {
    let mut inputs = Inputs::default();
    read(body, &mut inputs)?;
    let (mut requests, mut dimensions) =
        (0_u32, inputs.own.whole().or(inputs.config.count.whole()));
    for request in inputs.requests.iter() {
        requests = requests.saturating_add(1);
        dimensions = dimensions.or(request.count.whole());
    }
    let several = Some(requests).filter(|&requests| requests > 0).or(inputs.instances.0);
    facts.messages = several.or(inputs.content.0.then_some(1));
    facts.dimensions = dimensions;
    Ok(())
}

fields! {
    struct Interaction<'de> {
        model: Text<'de> = "model",
        stream: Flag = "stream",
        store: Flag = "store",
        input: Turns = "input",
        config: Config<'de> = "generation_config",
        media_type: Text<'de> = "response_mime_type",
        tools: Tools = "tools",
        service_tier: Text<'de> = "service_tier",
    }
}

/// How many turns an interaction's input holds: a text and a list of contents are one.
#[derive(Clone, Copy, Debug, Default)]
struct Turns(Option<u32>);

impl<'de> Lenient<'de> for Turns {
    fn text(&mut self, _: &str) {
        self.0 = Some(1);
    }

    fn object<A: serde::de::MapAccess<'de>>(&mut self, object: A) -> Result<(), A::Error> {
        self.0 = Some(1);
        Given::default().object(object)
    }

    fn list<A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<(), A::Error> {
        let mut steps = 0_u32;
        loop {
            let mut turn = Tool::default();
            if list.next_element_seed(Into(&mut turn))?.is_none() {
                break;
            }
            let kind = turn.kind.as_str();
            let is_step =
                ["_input", "_output", "_call", "_result"].iter().any(|it| kind.ends_with(it));
            steps = steps.saturating_add(u32::from(is_step || kind == "thought"));
        }
        self.0 = Some(steps.max(1));
        Ok(())
    }
}

/// Reads an interaction's request.
pub(super) fn interact(body: &[u8], facts: &mut RequestFacts) -> Result<(), Unread> {
    let mut request = Interaction::default();
    let result = read(body, &mut request);
    facts.model = request.model.bounded(MODEL);
    facts.stream = request.stream.0 == Some(true);
    facts.stored = request.store.0 != Some(false);
    // Of a body that breaks off the rest may be half a number.
    result?;
    if !request.media_type.as_str().is_empty() {
        request.config.media_type = request.media_type;
    }
    *facts = RequestFacts {
        model: facts.model.take(),
        stream: facts.stream,
        stored: facts.stored,
        messages: request.input.0,
        tools: request.tools.0,
        service_tier: request.service_tier.bounded(WORD),
        ..request.config.facts()
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(read: fn(&[u8], &mut RequestFacts) -> Result<(), Unread>, json: &str) -> RequestFacts {
        let mut facts = RequestFacts::default();
        read(json.as_bytes(), &mut facts).unwrap();
        facts
    }

    #[test]
    fn a_request_is_read_in_either_spelling() {
        let camel = r#"{"contents":[{},{}],"systemInstruction":{"parts":[]},"tools":[{"functionDeclarations":[{},{}]},{"googleSearch":{}}],
            "generationConfig":{"temperature":0.5,"topP":0.9,"topK":40,"maxOutputTokens":100,"candidateCount":2,
            "stopSequences":["END"],"seed":7,"responseMimeType":"application/json","thinkingConfig":{"thinkingLevel":"low"}},
            "serviceTier":"flex"}"#;
        let snake = r#"{"contents":[{},{}],"system_instruction":{"parts":[]},"tools":[{"function_declarations":[{},{}]},{"google_search":{}}],
            "generation_config":{"temperature":0.5,"top_p":0.9,"top_k":40,"max_output_tokens":100,"candidate_count":2,
            "stop_sequences":["END"],"seed":7,"response_mime_type":"application/json","thinking_config":{"thinking_level":"low"}},
            "service_tier":"flex"}"#;
        let expected = RequestFacts {
            temperature: Some(0.5),
            top_p: Some(0.9),
            top_k: Some(40.0),
            max_tokens: Some(100),
            choice_count: Some(2),
            stop_sequences: vec!["END".to_owned()],
            seed: Some(7),
            output_type: Some("json"),
            reasoning_level: Some("low".to_owned()),
            service_tier: Some("flex".to_owned()),
            messages: Some(2),
            tools: 2,
            ..RequestFacts::default()
        };
        assert_eq!(facts(generate, camel), expected);
        assert_eq!(facts(stream, snake), RequestFacts { stream: true, ..expected });
    }

    #[test]
    fn the_output_is_what_was_asked_for() {
        let kind = |config: &str| {
            facts(generate, &format!(r#"{{"generationConfig":{config}}}"#)).output_type
        };
        assert_eq!(kind(r#"{"responseModalities":["TEXT","IMAGE"]}"#), Some("image"));
        assert_eq!(kind(r#"{"responseModalities":["AUDIO"]}"#), Some("speech"));
        let json = r#"{"responseModalities":["TEXT"],"responseMimeType":"application/json"}"#;
        assert_eq!((kind(json), kind("{}")), (Some("json"), None));
    }

    #[test]
    fn inputs_are_counted_wherever_they_stand() {
        for (json, inputs, dimensions) in [
            (
                r#"{"content":{"parts":[{"text":"a"}]},"outputDimensionality":768}"#,
                Some(1),
                Some(768),
            ),
            (r#"{"requests":[{"content":{}},{"outputDimensionality":9}]}"#, Some(2), Some(9)),
            (
                r#"{"instances":[{"content":"a"}],"parameters":{"outputDimensionality":5}}"#,
                Some(1),
                Some(5),
            ),
            (r#"{"content":{},"embedContentConfig":{"outputDimensionality":3}}"#, Some(1), Some(3)),
            ("{}", None, None),
        ] {
            let found = facts(predict, json);
            assert_eq!((found.messages, found.dimensions), (inputs, dimensions), "{json}");
        }
    }

    #[test]
    fn an_interaction_names_its_model() {
        let found = facts(
            interact,
            r#"{"model":"g","stream":true,"input":[{"type":"text","text":"a"},{"type":"image"}],"tools":[{"type":"google_search"}],
            "generation_config":{"thinking_level":"high","max_output_tokens":64}}"#,
        );
        assert_eq!(
            (found.model.as_deref(), found.stream, found.messages),
            (Some("g"), true, Some(1))
        );
        assert_eq!((found.max_tokens, found.tools), (Some(64), 1));
        assert_eq!(found.reasoning_level.as_deref(), Some("high"));
        let turns = |input: &str| facts(interact, &format!(r#"{{"input":{input}}}"#)).messages;
        assert_eq!(turns(r#""hi""#), Some(1));
        let steps = r#"[{"type":"user_input"},{"type":"model_output"},{"type":"function_result"}]"#;
        assert_eq!(turns(steps), Some(3));
        assert!(found.stored && !facts(interact, r#"{"store":false}"#).stored);
    }
}
