//! What one call used: tokens, what is billed beside them, and what stands in where nobody told. Knows no
//! price.

use std::time::Duration;

/// Tokens of one call, normalised: `input` includes cached and cache-written tokens, `output`
/// includes reasoning, whatever the provider's own nesting (`wire.md` rule 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// All input tokens.
    pub input: Option<u64>,
    /// All output tokens.
    pub output: Option<u64>,
    /// Of the input: read from the provider's cache.
    pub cache_read: Option<u64>,
    /// Of the input: written to the provider's cache.
    pub cache_write: Option<u64>,
    /// Of the output: reasoning.
    pub reasoning: Option<u64>,
    /// Of the input: audio.
    pub input_audio: Option<u64>,
    /// Of the output: audio.
    pub output_audio: Option<u64>,
    /// Of what was written to the cache: for the longer of the provider's two lifetimes (Anthropic's
    /// hour, OpenAI's twelve hours).
    pub cache_write_long: Option<u64>,
    /// Of what was read from the cache: audio.
    pub cache_read_audio: Option<u64>,
    /// Of what was read from the cache: pictures.
    pub cache_read_image: Option<u64>,
    /// Of the input: pictures.
    pub input_image: Option<u64>,
    /// Of the input: moving pictures.
    pub input_video: Option<u64>,
    /// Of the output: pictures.
    pub output_image: Option<u64>,
    /// The provider tells a total too, and it is not the sum of what it tells beside it.
    pub is_uneven: bool,
    /// What is billed beside tokens.
    pub units: Units,
}

/// Tokens of a call that reported none: counted from the texts that were asked and answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// The input, where all of it was text; the output that came, without reasoning that was not shown.
    pub usage: Usage,
    /// The tokenizer that they were counted by: `o200k_base` or `cl100k_base`.
    pub tokenizer: &'static str,
    /// It is the model's own tokenizer.
    pub own: bool,
    /// Only an even sample of the text was counted (`estimate_bytes`), the rest is in proportion.
    pub sampled: bool,
    /// The operator has it stand in for what was not reported (`telemetry.estimates_as_usage`).
    pub stands_in: bool,
}

/// What one call used that is not counted in tokens. Absent: nothing told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Units {
    /// Searches of the web that are billed.
    pub web_searches: Option<u64>,
    /// Searches of files.
    pub file_searches: Option<u64>,
    /// Sessions of a code interpreter's container.
    pub code_sessions: Option<u64>,
    /// Pictures made.
    pub images: Option<u64>,
    /// Characters that were spoken or embedded.
    pub characters: Option<u64>,
    /// Sound that was heard.
    pub input_audio_time: Option<Duration>,
    /// Sound or moving pictures that were made.
    pub output_time: Option<Duration>,
    /// Documents' pages, or a reranker's searches, as the provider counts them.
    pub documents: Option<u64>,
    /// Tokens that another model used on the way, which the totals leave out (Anthropic's advisor,
    /// OpenAI's picture tool).
    pub other_models: Option<u64>,
    /// How many calls of the model the counts add up, where they are not of one (a batch).
    pub calls: Option<u64>,
}
