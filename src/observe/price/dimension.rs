//! What a price can be for: kinds of tokens, and what is counted otherwise. Knows no price.

use serde::Deserialize;

/// What usage can count and a price can be for, in the order in which parts are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Dimension {
    Input,
    CacheRead,
    CacheWrite,
    #[serde(rename = "cache_write_1h")]
    CacheWriteHour,
    #[serde(rename = "cache_write_12h")]
    CacheWriteHalfDay,
    InputAudio,
    CacheReadAudio,
    InputImage,
    CacheReadImage,
    InputVideo,
    Output,
    Reasoning,
    OutputAudio,
    OutputImage,
    /// One for each call.
    Request,
    WebSearch,
    FileSearch,
    RerankSearch,
    /// A text message within a voice session.
    Message,
    Page,
    AnnotatedPage,
    Character,
    /// Sound of any direction, or a session of it.
    AudioHour,
    InputAudioHour,
    /// A second of moving pictures that were made.
    OutputSecond,
    Image,
    CodeSession,
}

impl Dimension {
    /// The name in the table and in telemetry.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::CacheRead => "cache_read",
            Self::CacheWrite => "cache_write",
            Self::CacheWriteHour => "cache_write_1h",
            Self::CacheWriteHalfDay => "cache_write_12h",
            Self::InputAudio => "input_audio",
            Self::CacheReadAudio => "cache_read_audio",
            Self::InputImage => "input_image",
            Self::CacheReadImage => "cache_read_image",
            Self::InputVideo => "input_video",
            Self::Output => "output",
            Self::Reasoning => "reasoning",
            Self::OutputAudio => "output_audio",
            Self::OutputImage => "output_image",
            Self::Request => "request",
            Self::WebSearch => "web_search",
            Self::FileSearch => "file_search",
            Self::RerankSearch => "rerank_search",
            Self::Message => "message",
            Self::Page => "page",
            Self::AnnotatedPage => "annotated_page",
            Self::Character => "character",
            Self::AudioHour => "audio_hour",
            Self::InputAudioHour => "input_audio_hour",
            Self::OutputSecond => "output_second",
            Self::Image => "image",
            Self::CodeSession => "code_session",
        }
    }

    /// For how much of it a price is.
    pub(super) fn unit(self) -> Unit {
        match self {
            Self::Request
            | Self::WebSearch
            | Self::FileSearch
            | Self::RerankSearch
            | Self::Message
            | Self::Page
            | Self::AnnotatedPage => Unit::Thousand,
            Self::Character => Unit::MillionCharacters,
            Self::AudioHour | Self::InputAudioHour => Unit::Hour,
            Self::OutputSecond => Unit::Second,
            Self::Image | Self::CodeSession => Unit::One,
            _ => Unit::MillionTokens,
        }
    }
}

/// For how much a price is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    /// A million tokens.
    MillionTokens,
    /// A million characters.
    MillionCharacters,
    /// A thousand of them.
    Thousand,
    /// Each.
    One,
    /// An hour, of which nanoseconds are counted.
    Hour,
    /// A second, of which nanoseconds are counted.
    Second,
}

impl Unit {
    /// How many of what is counted one price is for.
    pub(super) fn per(self) -> u64 {
        match self {
            Self::MillionTokens | Self::MillionCharacters => 1_000_000,
            Self::Thousand => 1_000,
            Self::One => 1,
            Self::Hour => 3_600_000_000_000,
            Self::Second => 1_000_000_000,
        }
    }

    /// In words, after "USD per".
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MillionTokens => "million tokens",
            Self::MillionCharacters => "million characters",
            Self::Thousand => "thousand",
            Self::One => "piece",
            Self::Hour => "hour",
            Self::Second => "second",
        }
    }
}
