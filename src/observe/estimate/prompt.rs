//! A request's body until its tokens are wanted, which they hardly ever are: it costs a copy of what is
//! short, and a look and a sample of what is long. Knows no tokenizer.

use std::sync::LazyLock;

use aho_corasick::packed::Searcher;

use super::sample::Sample;

/// What can be counted of a prompt.
#[derive(Debug, Default)]
pub(super) enum Prompt {
    /// Nothing: it was not read, or the model reads more of it than text.
    #[default]
    Unknown,
    /// The body, in which the texts have yet to be found.
    Whole(Box<[u8]>),
    /// A sample of a body that is too long to be kept. It is counted as the JSON that it is: its keys
    /// are about what a template adds.
    Long(Sample),
}

/// How keys begin under which stands what is no text, or nothing that was sent: pictures, sound, files,
/// and what the provider keeps. In a text they only make an unknown of what could have been counted.
const UNSEEN: [&str; 19] = [
    "\"image",
    "\"input_image",
    "\"input_audio",
    "\"audio_url",
    "\"video_url",
    "\"file",
    "\"source\"",
    "\"inline",
    "\"cached",
    "\"previous_",
    "\"conversation",
    "\"item_reference",
    "\"encrypted_content",
    "\"type\":\"reasoning",
    "\"type\": \"reasoning",
    "search_call\"",
    "generation_call\"",
    "interpreter_call\"",
    ";base64,",
];

/// Many bytes at a time; where the processor cannot do that, nothing is known of long prompts.
static FINDER: LazyLock<Option<Searcher>> = LazyLock::new(|| Searcher::new(UNSEEN));

impl Prompt {
    /// Of a body that was read to its end; at most so many bytes of it are kept.
    pub(super) fn of(body: &[u8], limit: usize) -> Self {
        if body.len() <= limit {
            return Self::Whole(body.into());
        }
        match &*FINDER {
            Some(finder) if finder.find(body).is_none() => Self::Long(Sample::of(body, limit)),
            _ => Self::Unknown,
        }
    }

    /// Bytes of its buffers.
    pub(super) fn held(&self) -> usize {
        match self {
            Self::Unknown => 0,
            Self::Whole(body) => body.len(),
            Self::Long(sample) => sample.held(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tokenizer::Tokenizer;
    use super::*;

    #[test]
    fn of_a_long_prompt_a_sample_is_kept_unless_there_is_more_in_it_than_text() {
        let turn = r#"{"role":"user","content":"The quick brown fox jumps over the lazy dog.\n"},"#;
        let body = format!(r#"{{"model":"m","messages":[{}]}}"#, turn.repeat(2000));
        let Prompt::Long(sample) = Prompt::of(body.as_bytes(), 8192) else { panic!("not long") };
        assert!(sample.held() <= 8192 && sample.is_sampled());
        let exact = Tokenizer::O200k.count(&body) as f64;
        let found = sample.tokens(Tokenizer::O200k) as f64;
        assert!((found / exact - 1.0).abs() < 0.1, "{found} of {exact}");
        for unseen in [
            r#""image_url":{"url":"x"}"#,
            r#""type":"item_reference""#,
            r#""type":"reasoning""#,
            r#""type":"web_search_call""#,
        ] {
            let body = body.replacen("The", &format!(r#"",{unseen},"a":""#), 1);
            assert!(matches!(Prompt::of(body.as_bytes(), 8192), Prompt::Unknown), "{unseen}");
        }
        assert!(matches!(Prompt::of(&body.as_bytes()[..8192], 8192), Prompt::Whole(_)));
    }
}
