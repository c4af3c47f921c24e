//! The texts of a JSON document, by the keys that they stand under, whatever the format around them:
//! what is asked, what is answered. Knows no dialect, and keeps nothing but a sample.

use std::ops::Range;

use serde::de::{IgnoredAny, MapAccess, SeqAccess};

use super::sample::Sample;
use crate::observe::shapes::lenient::{Filled, Into, Lenient, List, Text, fields, read};
use crate::observe::shapes::mend;
use crate::observe::shapes::raw::Raw;

/// How deep a value may be read anew within another. No API nests its `input`.
const DEPTH: u8 = 4;

/// What stands under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// A text, texts, or what holds more keys.
    Texts,
    /// As `Texts`, but an object is written out for the model as it stands.
    TextsOrJson,
    /// As `Texts`, but an object names what the provider keeps.
    TextsOrStored,
    /// Whatever it is, the model reads or writes it as it stands: a text, or JSON.
    Json,
    /// What the model may call. Functions of the client's are read as they stand; what the provider or
    /// the model brings itself has texts that nobody shows.
    Tools,
    /// Of what kind an object is; or its name, which where it stands alone is all that there is of it.
    Kind,
    Name,
    /// What a model reads and is no text: pictures, sound, files, or what the provider keeps.
    Unseen,
    /// Nothing that is read or written as text.
    Nothing,
}

/// What the keys of a kind of document mean.
type Keys = fn(&str) -> Meaning;

/// The keys of requests, in the spellings of all formats that are read.
fn request(key: &str) -> Meaning {
    match key {
        "messages" | "content" | "text" | "system" | "instructions" | "contents" | "parts"
        | "systemInstruction" | "system_instruction" | "message" | "preamble" | "chat_history"
        | "suffix" | "name" | "thinking" | "reasoning_content" | "output" | "texts" | "inputs"
        | "refusal" | "tool_calls" | "function" | "custom" | "function_call" | "functionCall"
        | "functionResponse" | "title" | "context" | "requests" | "instances" | "input_prefix"
        | "input_suffix" | "tool_plan" | "tool_results" | "outputs" => Meaning::Texts,
        "input" => Meaning::TextsOrJson,
        "prompt" => Meaning::TextsOrStored,
        "tools" => Meaning::Tools,
        "type" => Meaning::Kind,
        "id" => Meaning::Name,
        "arguments" | "args" | "functions" | "response" | "parameters" | "response_format"
        | "responseSchema" | "response_schema" | "output_format" | "output_config"
        | "json_schema" | "format" | "documents" => Meaning::Json,
        "image_url"
        | "input_audio"
        | "audio_url"
        | "video_url"
        | "file"
        | "file_id"
        | "file_data"
        | "source"
        | "inlineData"
        | "inline_data"
        | "fileData"
        | "images"
        | "image"
        | "cachedContent"
        | "cached_content"
        | "previous_response_id"
        | "conversation"
        | "conversation_id"
        | "previous_interaction_id"
        | "audio"
        | "encrypted_content"
        | "web_search_options"
        | "mcp_servers"
        | "container" => Meaning::Unseen,
        _ => Meaning::Nothing,
    }
}

/// The keys of answers. Counts, names of models and what is said twice are none of them.
fn answer(key: &str) -> Meaning {
    match key {
        "choices" | "delta" | "message" | "output" | "content" | "candidates" | "parts"
        | "item" | "content_block" | "tool_calls" | "function" | "custom" | "function_call"
        | "functionCall" | "text" | "thinking" | "reasoning" | "reasoning_content" | "refusal"
        | "partial_json" | "tool_plan" | "response" | "name" => Meaning::Texts,
        "input" => Meaning::TextsOrJson,
        "arguments" | "args" | "parameters" => Meaning::Json,
        _ => Meaning::Nothing,
    }
}

/// Items of a prompt of which the provider keeps the text, or some of it, or that stand under keys of their own.
///
/// Source: `ResponseInputItemParam` of OpenAI's SDK for Python 3.52.
fn is_kept(kind: &str) -> bool {
    match kind {
        "function_call" | "custom_tool_call" | "mcp_call" => false,
        "item_reference" | "reasoning" | "compaction" | "mcp_list_tools" | "shell_call_output"
        | "program" | "program_output" | "tool_search_output" | "additional_tools" => true,
        kind => kind.ends_with("_call"),
    }
}

/// Gathers what a request asks with; none where that is not all text, or not all of it can be read.
pub(super) fn asked(json: &[u8]) -> Option<Sample> {
    let look = |json: &[u8]| {
        let mut text = Sample::new(json.len());
        let mut walk = Walk::new(request, &mut text);
        read(json, &mut walk)?;
        let (only_text, broke) = (walk.only_text, walk.broke);
        Ok((only_text.then_some(text), broke))
    };
    let (found, json) = mend::reading(json, look);
    let (text, broke) = found.ok()?;
    // What is read by itself may be no JSON though all around it is.
    let mended = if broke { mend::mended(&json) } else { None };
    let again = mended.and_then(|json| look(&json).ok());
    again.map_or(text, |(text, _)| text)
}

/// Gathers what an answer, or an event of it, says; where it says it in one text that stands there as it is
/// meant, tells the place.
pub(super) fn answered(json: &[u8], to: &mut Sample) -> Option<Range<usize>> {
    let mut walk = Walk::new(answer, to);
    let read = read(json, &mut walk);
    let (address, length) = walk.only.filter(|_| walk.texts == 1 && read.is_ok())?;
    let start = address.checked_sub(json.as_ptr() as usize)?;
    Some(start..start.checked_add(length)?)
}

fields! {
    struct Tool<'de> {
        kind: Text<'de> = "type",
        named: Filled = "name" | "function" | "functionDeclarations" | "function_declarations",
    }
}

impl Tool<'_> {
    /// The client's own function; some formats have no word for that.
    fn is_function(&self) -> bool {
        match self.kind.as_str() {
            "" => self.named.0,
            kind => matches!(kind, "function" | "custom"),
        }
    }
}

/// The value under the key that was read last.
fn next<'de, T: Default + Lenient<'de>, A: MapAccess<'de>>(object: &mut A) -> Result<T, A::Error> {
    let mut value = T::default();
    object.next_value_seed(Into(&mut value))?;
    Ok(value)
}

/// A walk through a document.
struct Walk<'a> {
    keys: Keys,
    to: &'a mut Sample,
    // Texts in JSON that is read anew within what was read already: each has the reader's whole depth.
    depth: u8,
    // A text that stands here is one of those that are looked for.
    here: bool,
    only_text: bool,
    // Of a value that was read anew the end is missing.
    broke: bool,
    // Texts, and where the last one stands in memory and how long it is, if it stands as it is meant.
    texts: u32,
    only: Option<(usize, usize)>,
}

impl<'a> Walk<'a> {
    fn new(keys: Keys, to: &'a mut Sample) -> Self {
        Self {
            keys,
            to,
            depth: 0,
            here: false,
            only_text: true,
            broke: false,
            texts: 0,
            only: None,
        }
    }

    fn push(&mut self, text: &str) {
        self.to.push(text);
        self.texts = self.texts.saturating_add(1);
    }

    /// What stands under a key.
    fn value<'de, A: MapAccess<'de>>(
        &mut self,
        meaning: Meaning,
        object: &mut A,
    ) -> Result<(), A::Error> {
        match meaning {
            Meaning::Nothing | Meaning::Name => _ = object.next_value::<IgnoredAny>()?,
            Meaning::Texts => {
                self.here = true;
                object.next_value_seed(Into(self))?;
            }
            Meaning::TextsOrJson | Meaning::Json => {
                let raw: Raw<'_> = next(object)?;
                self.json(meaning, raw.0);
            }
            Meaning::TextsOrStored => {
                let raw: Raw<'_> = next(object)?;
                self.only_text &= !raw.0.starts_with('{');
                self.json(Meaning::TextsOrJson, raw.0);
            }
            Meaning::Tools => {
                let raw: Raw<'_> = next(object)?;
                let mut tools = List::<Tool<'_>>::default();
                let _read = read(raw.0.as_bytes(), &mut tools);
                self.only_text &= tools.iter().all(Tool::is_function);
                self.json(Meaning::Json, raw.0);
            }
            Meaning::Kind => self.only_text &= !is_kept(next::<Text<'_>, _>(object)?.as_str()),
            Meaning::Unseen => self.only_text &= !next::<Filled, _>(object)?.0,
        }
        Ok(())
    }

    /// A value that the model reads or writes as it stands.
    fn json(&mut self, meaning: Meaning, raw: &str) {
        match raw.as_bytes().first() {
            Some(b'"') => self.anew(raw),
            Some(b'[') if meaning == Meaning::TextsOrJson && self.depth < DEPTH => self.anew(raw),
            Some(b'{' | b'[') => self.push(raw),
            _ => (),
        }
    }

    /// Reads a value by itself, in which texts are looked for.
    fn anew(&mut self, raw: &str) {
        self.here = true;
        self.depth += 1;
        // What cannot be read ends what is gathered of it.
        self.broke |= read(raw.as_bytes(), self).is_err();
        self.depth -= 1;
    }
}

impl<'de> Lenient<'de> for Walk<'_> {
    fn text(&mut self, text: &str) {
        if self.here && !text.is_empty() {
            self.push(text);
            self.only = None;
        }
    }

    fn borrowed(&mut self, text: &'de str) {
        let before = self.texts;
        self.text(text);
        if self.texts > before {
            self.only = Some((text.as_ptr() as usize, text.len()));
        }
    }

    /// A token's number, where texts are expected.
    fn number(&mut self, _: f64) {
        if self.here {
            self.to.add_token();
        }
    }

    fn list<A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<(), A::Error> {
        let here = self.here;
        while list.next_element_seed(Into(self))?.is_some() {
            self.here = here;
        }
        Ok(())
    }

    fn object<A: MapAccess<'de>>(&mut self, mut object: A) -> Result<(), A::Error> {
        let (mut key, mut reasoned) = (Text::default(), false);
        let (mut is_named, mut is_more) = (false, false);
        while object.next_key_seed(Into(&mut key))?.is_some() {
            let reasons = matches!(key.as_str(), "reasoning" | "reasoning_content");
            let meaning = match (self.keys)(key.as_str()) {
                // Some servers say it under both names.
                _ if reasons && reasoned => Meaning::Nothing,
                meaning => meaning,
            };
            is_named |= meaning == Meaning::Name;
            is_more |= !matches!(meaning, Meaning::Name | Meaning::Kind);
            let before = self.to.seen();
            self.value(meaning, &mut object)?;
            reasoned |= reasons && self.to.seen() > before;
        }
        // All that there is of it is a name, by which the provider keeps the rest.
        self.only_text &= is_more || !is_named;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tokenizer::Tokenizer;
    use super::*;

    fn said(json: &str) -> String {
        let mut sample = Sample::new(4096);
        answered(json.as_bytes(), &mut sample);
        sample.text()
    }

    fn prompt(json: &str) -> (String, bool) {
        let sample = asked(json.as_bytes());
        (sample.as_ref().map(Sample::text).unwrap_or_default(), sample.is_some())
    }

    #[test]
    fn a_value_nested_in_itself_is_read_only_so_deep() {
        let deep = 20_000;
        let json = [r#"{"input":["#.repeat(deep), "]}".repeat(deep)].concat();
        let (text, _) = prompt(&json);
        assert!(text.starts_with(r#"[{"input":["#), "{}", &text[..20]);
        let said = said(&json);
        assert!(said.starts_with(r#"[{"input":["#), "{}", &said[..20]);
    }

    #[test]
    fn what_the_provider_keeps_is_no_text_of_a_prompt() {
        assert_eq!(prompt(r#"{"prompt":"Hi"}"#), ("Hi".to_owned(), true));
        assert_eq!(prompt(r#"{"prompt":["a","b"]}"#), ("ab".to_owned(), true));
        assert!(!prompt(r#"{"prompt":{"id":"pmpt_1"}}"#).1);
        assert!(!prompt(r#"{"messages":[{"role":"assistant","audio":{"id":"audio_1"}}]}"#).1);
        let with = |item: &str| {
            prompt(&format!(r#"{{"input":[{{"role":"user","content":"Hi"}},{item}]}}"#)).1
        };
        for kept in [
            r#"{"type":"item_reference","id":"msg_1"}"#,
            r#"{"id":"msg_1"}"#,
            r#"{"type":"reasoning","id":"rs_1","summary":[]}"#,
            r#"{"type":"web_search_call","id":"ws_1","status":"completed","action":{}}"#,
            r#"{"type":"compaction","encrypted_content":""}"#,
        ] {
            assert!(!with(kept), "{kept}");
        }
        for shown in [
            r#"{"type":"message","id":"msg_1","role":"assistant","content":[{"type":"output_text","text":"a"}]}"#,
            r#"{"type":"function_call","id":"fc_1","call_id":"c","name":"f","arguments":"{}"}"#,
            r#"{"type":"custom_tool_call","id":"c_1","call_id":"c","name":"f","input":"x"}"#,
        ] {
            assert!(with(shown), "{shown}");
        }
        assert!(!prompt(r#"{"input":"Hi","conversation":{"id":"conv_1"}}"#).1);
        assert!(!prompt(r#"{"input":"Hi","conversation":"conv_1"}"#).1);
    }

    #[test]
    fn what_a_model_says_is_found_in_every_format() {
        for (json, expected) in [
            // OpenAI's chat, and what others add to it.
            (
                r#"{"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"Hi\n","role":"assistant"},"logprobs":{"content":[{"token":"Hi"}]}}]}"#,
                "Hi\n",
            ),
            (
                r#"{"choices":[{"delta":{"reasoning":"hm","reasoning_content":"hm","content":null}}]}"#,
                "hm",
            ),
            (
                r#"{"choices":[{"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"a"}]},{"type":"text","text":"b"}]}}]}"#,
                "ab",
            ),
            (
                r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"x","function":{"name":"f","arguments":"{\"a\":"}}]}}]}"#,
                "f{\"a\":",
            ),
            (r#"{"choices":[{"text":"legacy","finish_reason":"stop"}],"usage":null}"#, "legacy"),
            // Responses.
            (
                r#"{"type":"response.output_text.delta","item_id":"i","delta":"Hel","obfuscation":"xyz"}"#,
                "Hel",
            ),
            (
                r#"{"id":"r","instructions":"be kind","output":[{"type":"message","content":[{"type":"output_text","text":"Hi"}]}],"text":{"format":{"type":"text"}}}"#,
                "Hi",
            ),
            // Anthropic.
            (
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}"#,
                "Hi",
            ),
            (
                r#"{"type":"content_block_delta","delta":{"type":"signature_delta","signature":"abc"}}"#,
                "",
            ),
            (
                r#"{"content":[{"type":"tool_use","id":"t","name":"f","input":{"a":1}}],"model":"c"}"#,
                "f{\"a\":1}",
            ),
            // Gemini.
            (
                r#"{"candidates":[{"content":{"parts":[{"text":"Hi"},{"functionCall":{"name":"f","args":{"a":1}}},{"inlineData":{"data":"QUJD"}}],"role":"model"}}],"modelVersion":"g"}"#,
                "Hif{\"a\":1}",
            ),
            // Ollama and llama.cpp.
            (
                r#"{"model":"m","message":{"role":"assistant","content":"Hi","thinking":"hm"},"done":false}"#,
                "Hihm",
            ),
            (r#"{"model":"m","response":"Hi","context":[1,2,3],"eval_count":3}"#, "Hi"),
            (r#"{"index":0,"content":"Hi","tokens":[1,2]}"#, "Hi"),
            // Cohere.
            (
                r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"Hi"}}}}"#,
                "Hi",
            ),
            (r#"{"delta":{"message":{"tool_calls":{"function":{"arguments":"{}"}}}}}"#, "{}"),
            // What breaks off tells what came before.
            (r#"{"choices":[{"message":{"content":"Hi"#, ""),
            (r#"{"choices":[{"message":{"content":"Hi","x"#, "Hi"),
        ] {
            assert_eq!(said(json), expected, "{json}");
        }
    }

    #[test]
    fn what_is_asked_is_found_in_every_format() {
        for (json, expected) in [
            (
                r#"{"model":"m","messages":[{"role":"system","content":"Be kind. "},{"role":"user","content":[{"type":"text","text":"Hi"}]}],"stop":"END"}"#,
                "Be kind. Hi",
            ),
            (
                r#"{"tools":[{"type":"function"}],"messages":[{"tool_calls":[{"function":{"name":"f","arguments":"{}"}}]}]}"#,
                "[{\"type\":\"function\"}]f{}",
            ),
            (r#"{"prompt":["one","two"],"suffix":"three"}"#, "onetwothree"),
            (r#"{"input":"Hi","instructions":"Be kind."}"#, "HiBe kind."),
            (
                r#"{"input":[{"role":"user","content":[{"type":"input_text","text":"Hi"}]},{"type":"function_call_output","call_id":"c","output":"42"}]}"#,
                "Hi42",
            ),
            (
                r#"{"system":[{"type":"text","text":"S","cache_control":{"type":"ephemeral"}}],"messages":[{"content":[{"type":"tool_use","name":"f","input":{"a":[1]}},{"type":"tool_result","content":"R"}]}]}"#,
                "Sf{\"a\":[1]}R",
            ),
            (
                r#"{"contents":[{"parts":[{"text":"Hi"}]}],"systemInstruction":{"parts":[{"text":"S"}]}}"#,
                "HiS",
            ),
            (r#"{"message":"Hi","chat_history":[{"role":"USER","message":"before"}]}"#, "Hibefore"),
            (
                r#"{"tools":[{"functionDeclarations":[{}]}],"contents":[{"parts":[{"text":"Hi"}]}]}"#,
                "[{\"functionDeclarations\":[{}]}]Hi",
            ),
            (r#"{"images":[],"previous_response_id":null,"input":"Hi"}"#, "Hi"),
        ] {
            assert_eq!(prompt(json), (expected.to_owned(), true), "{json}");
        }
    }

    #[test]
    fn what_is_no_text_is_said_to_be_there() {
        for json in [
            r#"{"messages":[{"content":[{"type":"image_url","image_url":{"url":"data:x"}}]}]}"#,
            r#"{"messages":[{"content":[{"type":"image","source":{"type":"base64","data":"x"}}]}]}"#,
            r#"{"contents":[{"parts":[{"inlineData":{"mimeType":"image/png","data":"x"}}]}]}"#,
            r#"{"messages":[{"content":"Hi","images":["x"]}]}"#,
            r#"{"input":[{"content":[{"type":"input_file","file_id":"f"}]}]}"#,
            r#"{"input":"Hi","previous_response_id":"resp_1"}"#,
            r#"{"contents":[],"cachedContent":"cachedContents/1"}"#,
            r#"{"input":"Hi","tools":[{"type":"web_search"}]}"#,
            r#"{"messages":[],"tools":[{"name":"f","input_schema":{}},{"type":"bash_20250124","name":"bash"}]}"#,
            r#"{"contents":[],"tools":[{"googleSearch":{}}]}"#,
        ] {
            assert!(!prompt(json).1, "{json}");
        }
    }

    #[test]
    fn tokens_instead_of_a_text_are_counted_one_by_one() {
        for json in [r#"{"prompt":[1,2,3]}"#, r#"{"input":[[1,2],[3]]}"#] {
            let sample = asked(json.as_bytes()).unwrap();
            assert_eq!(sample.tokens(Tokenizer::O200k), 3, "{json}");
        }
    }

    #[test]
    fn a_prompt_with_half_an_emoji_is_counted_whole_and_one_that_is_no_json_not_at_all() {
        let half = r#"{"messages":[{"content":"a\ud83d"},{"content":"b"}],"x":NaN}"#;
        assert_eq!(prompt(half), ("a\u{fffd}b".to_owned(), true));
        assert!(!prompt(r#"{"messages":[{"content":"a"}],"x":'b'}"#).1);
    }
}
