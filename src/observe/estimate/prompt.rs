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

/// At each end of a long prompt so many bytes are looked through: there stand the keys of the request
/// itself, and what was asked last. What lies between is looked for in the sample: one picture among
/// hundreds of kilobytes of text changes little, and its bytes, were they there, would be most of them.
const LOOK: usize = 16 * 1024;

/// Many bytes at a time; where the processor cannot do that, nothing is known of long prompts.
static FINDER: LazyLock<Option<Searcher>> = LazyLock::new(|| Searcher::new(UNSEEN));

impl Prompt {
    /// Of a body that was read to its end; at most so many bytes of it are kept.
    pub(super) fn of(body: &[u8], limit: usize) -> Self {
        if body.len() <= limit {
            return Self::Whole(body.into());
        }
        let sample = Sample::of(body, limit);
        if is_text(body, &sample) { Self::Long(sample) } else { Self::Unknown }
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

/// Whether nothing says that there is more in `body` than text.
fn is_text(body: &[u8], sample: &Sample) -> bool {
    let Some(finder) = &*FINDER else { return false };
    let (first, rest) = body.split_at(LOOK.min(body.len()));
    let last = rest.get(rest.len().saturating_sub(LOOK)..).unwrap_or_default();
    let is_clear = |part: &[u8]| finder.find(part).is_none();
    is_clear(first) && is_clear(last) && sample.blocks().all(|it| is_clear(it) && !is_base64(it))
}

/// Text has spaces, or letters beyond ASCII.
fn is_base64(block: &[u8]) -> bool {
    block.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/=-_".contains(byte))
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
        let unknown = |body: &str| matches!(Prompt::of(body.as_bytes(), 8192), Prompt::Unknown);
        for unseen in [
            r#""image_url":{"url":"x"}"#,
            r#""type":"item_reference""#,
            r#""type":"reasoning""#,
            r#""type":"web_search_call""#,
        ] {
            let asked = format!(r#"",{unseen},"a":""#);
            assert!(unknown(&body.replacen("The", &asked, 1)), "first: {unseen}");
            let last = body.rfind("The").unwrap();
            let body = format!("{}{asked}{}", &body[..last], &body[last..]);
            assert!(unknown(&body), "last: {unseen}");
        }
        let middle = body.len() / 2;
        let picture = "iVBORw0KGgo".repeat(3000);
        assert!(unknown(&format!("{}{picture}{}", &body[..middle], &body[middle..])));
        assert!(matches!(Prompt::of(&body.as_bytes()[..8192], 8192), Prompt::Whole(_)));
    }
}
