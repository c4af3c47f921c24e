//! Tokens of a text, by one of OpenAI's tokenizers. Knows no JSON and no provider.
//!
//! A tokenizer is loaded when it is first asked (o200k: 0.15 s and 46 MiB), and stays.

use tiktoken_rs::tokenizer::{Tokenizer as Listed, get_tokenizer};
use tiktoken_rs::{cl100k_base_singleton, o200k_base_singleton};

/// The longest text that is given to the tokenizer at once, in bytes: its pattern looks back, and what it
/// costs at worst grows faster than the text.
const ONCE: usize = 4096;

/// A tokenizer that is at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tokenizer {
    /// OpenAI's models from gpt-4o on.
    O200k,
    /// Those before, and embeddings.
    Cl100k,
}

impl Tokenizer {
    /// The tokenizer to count a model's tokens by, and whether it is the model's own. Providers other
    /// than OpenAI do not publish theirs, or each has another: all of them are counted by the newest.
    pub(super) fn of(model: &str) -> (Self, bool) {
        // Gateways put the provider before a model's name.
        let name = model.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
        match get_tokenizer(&name) {
            Some(Listed::O200kBase | Listed::O200kHarmony) => (Self::O200k, true),
            Some(Listed::Cl100kBase) => (Self::Cl100k, true),
            _ => (Self::O200k, false),
        }
    }

    /// Its name.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::O200k => "o200k_base",
            Self::Cl100k => "cl100k_base",
        }
    }

    /// How many tokens a text is.
    pub(super) fn count(self, text: &str) -> u64 {
        let tokenizer = match self {
            Self::O200k => o200k_base_singleton,
            Self::Cl100k => cl100k_base_singleton,
        };
        let (mut rest, mut count) = (text, 0);
        while !rest.is_empty() {
            let (part, after) = rest.split_at(rest.floor_char_boundary(ONCE));
            count += tokenizer().count_ordinary(part) as u64;
            rest = after;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_counted_by_its_own_tokenizer_where_that_is_known() {
        for (model, expected) in [
            ("gpt-4o-mini-2024-07-18", (Tokenizer::O200k, true)),
            ("gpt-5.4", (Tokenizer::O200k, true)),
            ("openai/gpt-oss-120b", (Tokenizer::O200k, true)),
            ("GPT-4", (Tokenizer::Cl100k, true)),
            ("gpt-35-turbo-16k", (Tokenizer::Cl100k, true)),
            ("ft:gpt-3.5-turbo:org::id", (Tokenizer::Cl100k, true)),
            ("text-embedding-3-small", (Tokenizer::Cl100k, true)),
            ("claude-sonnet-4-5", (Tokenizer::O200k, false)),
            ("gpt2", (Tokenizer::O200k, false)),
            ("", (Tokenizer::O200k, false)),
        ] {
            assert_eq!(Tokenizer::of(model), expected, "{model}");
        }
    }

    #[test]
    fn both_count_what_they_are_known_to_count() {
        // The cookbook's own example: "antidisestablishmentarianism" is 6 tokens of cl100k_base.
        let word = "antidisestablishmentarianism";
        assert_eq!((Tokenizer::Cl100k.count(word), Tokenizer::O200k.count(word)), (6, 6));
        assert_eq!(Tokenizer::Cl100k.count("お誕生日おめでとう"), 9);
        assert_eq!(Tokenizer::O200k.count("お誕生日おめでとう"), 8);
        assert_eq!(Tokenizer::O200k.count(""), 0);
    }

    #[test]
    fn no_text_takes_it_long() {
        let started = std::time::Instant::now();
        for part in [" ", "\n", " \n", "a", "é", "'", "1", "a b", "\u{200d}👩", "\t\u{a0}x", "∑∑"]
        {
            let text = part.repeat(5_000);
            assert!(Tokenizer::O200k.count(&text) > 0 && Tokenizer::Cl100k.count(&text) > 0);
        }
        assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    }
}
