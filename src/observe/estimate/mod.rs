//! What a call used where nobody told: its texts are gathered as they pass, an even sample of each,
//! and counted at its end, if it comes to that. Knows no dialect by name, and no price.

/// An even sample of a text as it grows.
mod sample;
/// The texts of a JSON document, by the keys that they stand under.
mod texts;
/// Where the text stood in the event before.
mod template;
/// The request's body until its tokens are wanted.
mod prompt;
/// Tokens of a text.
mod tokenizer;

use prompt::Prompt;
use sample::Sample;
use template::Template;
use tokenizer::Tokenizer;

use super::observation::{Estimate, Operation, RequestFacts, ResponseFacts, Usage};

/// What a chat's message adds to its text, and what the whole prompt does.
///
/// Source: OpenAI's cookbook, "How to count tokens with tiktoken" (`num_tokens_from_messages`), for its
/// models from gpt-3.5-turbo-0613 on; other models' templates are of about this length.
const MESSAGE: u64 = 3;
const PRIMING: u64 = 3;

/// The texts of one call so far.
#[derive(Debug)]
pub struct Texts {
    limit: usize,
    prompt: Prompt,
    answer: Sample,
    // There is more in the answer than text.
    answers_more: bool,
    template: Template,
}

/// What an estimate may rely on.
#[derive(Clone, Copy, Debug)]
pub struct Grounds<'a> {
    /// What was asked of the model.
    pub operation: Operation,
    /// What the client asked for.
    pub request: &'a RequestFacts,
    /// What was answered.
    pub response: &'a ResponseFacts,
    /// All that came of the answer was read.
    pub answer_is_read: bool,
    /// It is to stand in for what was not reported.
    pub stands_in: bool,
}

impl Texts {
    /// Nothing yet; of each text at most so many bytes are kept.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            prompt: Prompt::default(),
            answer: Sample::new(limit),
            answers_more: false,
            template: Template::default(),
        }
    }

    /// Whether an estimate can be made of calls of this kind.
    pub fn can_tell(operation: Operation) -> bool {
        use Operation::{Chat, Embeddings, GenerateContent, TextCompletion};
        matches!(operation, Chat | TextCompletion | GenerateContent | Embeddings)
    }

    /// Keeps what is needed of a request's body, which was read to its end or not.
    pub fn ask(&mut self, body: &[u8], whole: bool) {
        self.prompt = if whole { Prompt::of(body, self.limit) } else { Prompt::default() };
    }

    /// Gathers what an event of the answer, or all of it, says.
    pub fn answer(&mut self, json: &[u8]) {
        if let Some(text) = self.template.text(json) {
            self.answer.push(text);
            return;
        }
        let only = texts::answered(json, &mut self.answer);
        self.template.learn(json, only);
    }

    /// Something of the answer is no text: its tokens cannot be counted.
    pub fn answers_more(&mut self) {
        self.answers_more = true;
    }

    /// Bytes of its buffers.
    pub fn held(&self) -> usize {
        self.prompt.held() + self.answer.held() + self.template.held()
    }

    /// What the call used, as far as its texts tell; none where they tell nothing.
    ///
    /// A count that a stream told before it broke off is the provider's own: an input above zero stands,
    /// with what it says of caches, and the output is not below what was told. Reasoning that was not
    /// shown is not in it, nor is what was generated and never came.
    pub fn estimate(&self, grounds: Grounds<'_>) -> Option<Estimate> {
        let Grounds { operation, request, response, answer_is_read, stands_in } = grounds;
        let model = response.model.as_deref().or(request.model.as_deref());
        let (tokenizer, own) = Tokenizer::of(model.unwrap_or_default());
        let told = response.usage.filter(|usage| usage.input > Some(0)).unwrap_or_default();
        let input = told.input.or_else(|| match &self.prompt {
            Prompt::Unknown => None,
            Prompt::Whole(body) => {
                let template = template(operation, request);
                texts::asked(body).map(|text| text.tokens(tokenizer).saturating_add(template))
            }
            Prompt::Long(sample) => Some(sample.tokens(tokenizer)),
        });
        let generates = operation != Operation::Embeddings;
        let output = (generates && answer_is_read && !self.answers_more).then(|| {
            let before = response.usage.and_then(|usage| usage.output);
            self.answer.tokens(tokenizer).max(before.unwrap_or(0))
        });
        (input.is_some() || output.is_some()).then_some(Estimate {
            usage: Usage { input, output, reasoning: None, ..told },
            tokenizer: tokenizer.as_str(),
            own,
            sampled: matches!(self.prompt, Prompt::Long(_)) || self.answer.is_sampled(),
            stands_in,
        })
    }
}

/// What a chat's template adds to the texts of its messages.
fn template(operation: Operation, request: &RequestFacts) -> u64 {
    match (operation, request.messages) {
        (Operation::Chat | Operation::GenerateContent, Some(messages)) => {
            u64::from(messages) * MESSAGE + PRIMING
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMPT: &[u8] =
        br#"{"model":"gpt-4o","messages":[{"role":"user","content":"Say hello to the world"}]}"#;

    fn estimate(texts: &Texts, request: &RequestFacts, response: &ResponseFacts) -> Estimate {
        let grounds = Grounds {
            operation: Operation::Chat,
            request,
            response,
            answer_is_read: true,
            stands_in: false,
        };
        texts.estimate(grounds).unwrap()
    }

    fn asked(model: &str) -> RequestFacts {
        RequestFacts { model: Some(model.to_owned()), messages: Some(1), ..RequestFacts::default() }
    }

    #[test]
    fn prompt_and_answer_are_counted_as_the_provider_counts_them() {
        let mut texts = Texts::new(4096);
        texts.ask(PROMPT, true);
        for piece in ["Hello", ",", " world", "!"] {
            texts.answer(
                format!(r#"{{"choices":[{{"delta":{{"content":"{piece}"}}}}]}}"#).as_bytes(),
            );
        }
        let found = estimate(&texts, &asked("gpt-4o"), &ResponseFacts::default());
        // "Say hello to the world" is 5 tokens, "Hello, world!" 4.
        assert_eq!((found.usage.input, found.usage.output), (Some(5 + 3 + 3), Some(4)));
        assert_eq!((found.tokenizer, found.own, found.sampled), ("o200k_base", true, false));
        let other = estimate(&texts, &asked("claude-x"), &ResponseFacts::default());
        assert_eq!((other.tokenizer, other.own), ("o200k_base", false));
    }

    #[test]
    fn events_that_begin_alike_are_counted_as_if_each_were_read_in_full() {
        let mut random = fastrand::Rng::with_seed(3);
        let pieces = ["", "Hi", " wor", r"né\n", r#"\""#, r#"{\"a\":1}"#, "]}", "👩"];
        let events: Vec<_> = (0..400)
            .map(|_| {
                let piece = random.choice(pieces).unwrap();
                let pad = "x".repeat(random.usize(..9));
                match random.u8(..8) {
                    0 => format!(r#"{{"choices":[{{"delta":{{"reasoning":"{piece}"}}}}],"p":"{pad}"}}"#),
                    1 => format!(r#"{{"choices":[{{"delta":{{"content":"","tool_calls":[{{"function":{{"arguments":"{piece}"}}}}]}}}}]}}"#),
                    2 => format!(r#"{{"choices":[{{"delta":{{"content":null,"refusal":"{piece}"}}}}]}}"#),
                    _ => format!(r#"{{"choices":[{{"delta":{{"content":"{piece}"}}}}],"p":"{pad}"}}"#),
                }
            })
            .collect();
        let (mut quick, mut full) = (Texts::new(1 << 20), Sample::new(1 << 20));
        for event in &events {
            quick.answer(event.as_bytes());
            texts::answered(event.as_bytes(), &mut full);
            assert_eq!(quick.answer.text(), full.text(), "{event}");
        }
        assert!(quick.template.held() > 0);
    }

    #[test]
    fn what_the_stream_told_before_it_broke_off_goes_before_our_count() {
        let mut texts = Texts::new(4096);
        texts.ask(PROMPT, true);
        texts.answer(br#"{"delta":{"text":"Hello, world!"}}"#);
        let told = |usage| {
            let response = ResponseFacts { usage: Some(usage), ..ResponseFacts::default() };
            estimate(&texts, &asked("claude-x"), &response).usage
        };
        let cached =
            Usage { input: Some(900), cache_read: Some(800), output: Some(1), ..Usage::default() };
        assert_eq!(told(cached), Usage { output: Some(4), ..cached });
        assert_eq!(told(Usage { output: Some(70), ..cached }).output, Some(70));
        let zeros = Usage { input: Some(0), output: Some(0), ..Usage::default() };
        assert_eq!((told(zeros).input, told(zeros).output), (Some(11), Some(4)));
    }

    #[test]
    fn what_is_not_text_or_was_not_read_is_not_counted() {
        let mut texts = Texts::new(4096);
        let picture =
            br#"{"messages":[{"content":[{"type":"image_url","image_url":{"url":"x"}}]}]}"#;
        texts.ask(picture, true);
        texts.answer(br#"{"message":{"content":"Hello"}}"#);
        let request = asked("gpt-4o");
        let response = ResponseFacts::default();
        assert_eq!(estimate(&texts, &request, &response).usage.input, None);
        texts.ask(PROMPT, false);
        assert_eq!(estimate(&texts, &request, &response).usage.input, None, "cut off");
        let grounds = Grounds {
            operation: Operation::Chat,
            request: &request,
            response: &response,
            answer_is_read: false,
            stands_in: false,
        };
        assert_eq!(texts.estimate(grounds), None);
        let embeddings = Grounds { operation: Operation::Embeddings, ..grounds };
        let mut texts = Texts::new(4096);
        texts.ask(br#"{"input":["hello","world"]}"#, true);
        let found = texts.estimate(embeddings).unwrap();
        assert_eq!((found.usage.input, found.usage.output), (Some(2), None));
    }
}
