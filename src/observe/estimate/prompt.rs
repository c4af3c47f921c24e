//! A request's body until its tokens are wanted, which they hardly ever are: it costs a copy of what is
//! short, and a look and a sample of what is long. Knows no tokenizer.

use memchr::memchr_iter;

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

/// How keys and kinds begin, behind their quotation mark, under which stands what is no text, or nothing that
/// was sent: pictures, sound, files, and what the provider keeps. In a text they only make an unknown of what
/// could have been counted.
const UNSEEN: [&[u8]; 17] = [
    b"image",
    b"input_image",
    b"input_audio",
    b"audio_url",
    b"video_url",
    b"file",
    b"source\"",
    b"inline",
    b"cached",
    b"previous_",
    b"conversation",
    b"encrypted_content",
    b"item_reference\"",
    b"web_search_call\"",
    b"code_interpreter_call\"",
    b"type\":\"reasoning\"",
    b"type\": \"reasoning\"",
];

/// Whether `body` has more in it than text. Of long texts hardly a byte in a hundred is a quotation mark.
fn has_unseen(body: &[u8]) -> bool {
    memchr_iter(b'"', body).any(|at| {
        let key = body.get(at + 1..).unwrap_or_default();
        let may_be = key.first().is_some_and(|first| b"iavfscpewt".contains(first));
        may_be && UNSEEN.iter().any(|begin| key.starts_with(begin))
    })
}

impl Prompt {
    /// Of a body that was read to its end; at most so many bytes of it are kept.
    pub(super) fn of(body: &[u8], limit: usize) -> Self {
        if body.len() <= limit {
            return Self::Whole(body.into());
        }
        if has_unseen(body) { Self::Unknown } else { Self::Long(Sample::of(body, limit)) }
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
        for begin in UNSEEN {
            let key = String::from_utf8(begin.to_vec()).unwrap();
            assert!(has_unseen(format!(r#"{{"a":"b","{key}":1"#).as_bytes()), "{key}");
        }
        assert!(!has_unseen(br#"{"a":"an image, a file","i":"\""#));
    }
}
