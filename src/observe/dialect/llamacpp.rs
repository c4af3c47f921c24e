//! llama.cpp's own routes, beside those that it took over from OpenAI, Anthropic and Ollama. Knows
//! no other dialect, and keeps nothing of what was said.
//!
//! Source: the server's README.

use super::{Answer, Content, Context, Found, Model, Post};
use crate::observe::decode::Frame;
use crate::observe::observation::{Operation, RequestFacts, ResponseFacts, Usage};
use crate::observe::shapes::extras::{Times, claim};
use crate::observe::shapes::failure::{Failure, Word};
use crate::observe::shapes::lenient::{
    Count, Filled, Flag, Inputs, Number, Text, Texts, Unread, fields, read,
};
use crate::observe::shapes::route::{self, Route, route};

/// Longest names that are kept.
const MODEL: usize = 256;
const WORD: usize = 64;

const COMPLETION: Model =
    Model { operation: Operation::TextCompletion, request, answer: begin, asks: false };

/// The paths of llama.cpp's own API. vLLM has the same counter of tokens.
const ROUTES: [Route<Post>; 9] = [
    route("/completion", Post::Model(COMPLETION)),
    route("/infill", Post::Model(COMPLETION)),
    route("/embedding", Post::Usage),
    route("/tokenize", Post::Plain),
    route("/detokenize", Post::Plain),
    route("/apply-template", Post::Plain),
    route("/props", Post::Plain),
    route("/slots", Post::Plain),
    route("/health", Post::Plain),
];

/// What a call of `method` to `path` is, if the path is one of these and nothing stands before it.
pub fn find(method: &str, path: &str) -> Option<Found> {
    let route = route::find(&ROUTES, "", path).filter(|route| route.name.len() == path.len())?;
    Some(route.is.found(method, route.name))
}

fields! {
    struct Request<'de> {
        model: Text<'de> = "model",
        prompt: Inputs = "prompt",
        stream: Flag = "stream",
        n_predict: Number = "n_predict",
        temperature: Number = "temperature",
        top_k: Number = "top_k",
        top_p: Number = "top_p",
        frequency_penalty: Number = "frequency_penalty",
        presence_penalty: Number = "presence_penalty",
        seed: Number = "seed",
        stop: Texts = "stop",
        json_schema: Filled = "json_schema",
    }
}

fn request(body: &[u8], facts: &mut RequestFacts) -> Result<(), Unread> {
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
        top_k: request.top_k.0,
        top_p: request.top_p.0,
        frequency_penalty: request.frequency_penalty.0,
        presence_penalty: request.presence_penalty.0,
        max_tokens: request.n_predict.whole(),
        seed: request.seed.whole(),
        stop_sequences: request.stop.0,
        output_type: request.json_schema.0.then_some("json"),
        messages: request.prompt.0,
        ..RequestFacts::default()
    };
    Ok(())
}

fn begin(context: Context) -> Box<dyn Answer> {
    Box::new(LlamaCpp { context, stopped: false })
}

#[derive(Debug)]
struct LlamaCpp {
    context: Context,
    stopped: bool,
}

fields! {
    /// One event of a stream, or the whole answer.
    struct Event<'de> {
        model: Text<'de> = "model",
        content: Filled = "content",
        stop: Flag = "stop",
        stop_type: Text<'de> = "stop_type",
        /// Of the prompt, cached ones included.
        evaluated: Count = "tokens_evaluated",
        predicted: Count = "tokens_predicted",
        timings: Times = "timings",
        error: Failure<'de> = "error",
        code: Word = "code",
        kind: Text<'de> = "type",
    }
}

impl LlamaCpp {
    fn apply(&mut self, event: &Event<'_>, facts: &mut ResponseFacts) {
        event.model.replace(&mut facts.model, MODEL);
        let (input, output) = (event.evaluated.0, event.predicted.0);
        if input.is_some() || output.is_some() {
            let cache_read = event.timings.cached.0;
            facts.usage = Some(Usage { input, output, cache_read, ..Usage::default() });
        }
        claim(&mut facts.claimed, event.timings.claimed());
        self.stopped |= event.stop.0 == Some(true);
        if event.error.is_some || self.context.is_error() {
            event.error.tell(&event.code, &event.kind, &self.context.error(), facts);
            return;
        }
        if facts.finish_reasons.is_empty() {
            facts.finish_reasons.push(None);
        }
        if let Some(finish_reason) = facts.finish_reasons.first_mut()
            && event.stop_type.as_str() != "none"
        {
            event.stop_type.replace(finish_reason, WORD);
        }
    }
}

impl Answer for LlamaCpp {
    fn frame(&mut self, frame: Frame<'_>, facts: &mut ResponseFacts) -> Result<Content, Unread> {
        let data = frame.data.trim_ascii();
        if data == b"[DONE]" {
            return Ok(Content::default());
        }
        let mut event = Event::default();
        read(data, &mut event)?;
        self.apply(&event, facts);
        Ok(Content { text: event.content.0, ..Content::default() })
    }

    fn document(&mut self, body: &[u8], facts: &mut ResponseFacts) -> Result<(), Unread> {
        let mut event = Event::default();
        read(body, &mut event)?;
        self.apply(&event, facts);
        Ok(())
    }

    fn is_terminated(&self, _: &ResponseFacts) -> bool {
        self.stopped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_path_of_its_own_is_one() {
        let operation = |method, path| match find(method, path) {
            Some(Found::Call(call)) => call.operation,
            _ => None,
        };
        assert_eq!(operation("POST", "/completion"), Some(Operation::TextCompletion));
        assert_eq!(operation("POST", "/infill"), Some(Operation::TextCompletion));
        assert_eq!(operation("GET", "/completion"), None);
        for path in ["/v1/completion", "/completion/", "/x", "/"] {
            assert!(find("POST", path).is_none(), "{path}");
        }
        for route in ROUTES {
            assert!(find("GET", route.name).is_some());
        }
    }

    #[test]
    fn the_prompts_tokens_hold_those_of_the_cache() {
        let context = Context::of(200);
        let (mut answer, mut facts) = (begin(context), ResponseFacts::default());
        let body = br#"{"content":"Hi","stop":true,"stop_type":"limit","tokens_evaluated":12,"tokens_predicted":3,
            "tokens_cached":14,"timings":{"cache_n":8,"prompt_n":4,"prompt_ms":20.5,"predicted_ms":60}}"#;
        answer.document(body, &mut facts).unwrap();
        let usage = facts.usage.unwrap();
        assert_eq!((usage.input, usage.output, usage.cache_read), (Some(12), Some(3), Some(8)));
        assert_eq!(facts.finish_reasons, [Some("limit".to_owned())]);
        assert_eq!(facts.claimed.output, Some(std::time::Duration::from_millis(60)));
        assert!(answer.is_terminated(&facts));
    }
}
