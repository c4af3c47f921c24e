//! The kinds of tokens that are told, each under its names. Knows no writer.

use super::names::{self, Attribute};
use crate::observe::observation::Usage;

/// One kind of tokens. Parts are contained in input and output.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    /// The value of `clearspan.token.kind`.
    pub(super) word: &'static str,
    /// The attribute of a span or a record.
    pub(super) attribute: Attribute,
    /// The field of a line of JSON.
    pub(super) field: &'static str,
    /// How many there were.
    pub(super) count: fn(&Usage) -> Option<u64>,
}

const fn kind(
    word: &'static str,
    attribute: Attribute,
    field: &'static str,
    count: fn(&Usage) -> Option<u64>,
) -> Kind {
    Kind { word, attribute, field, count }
}

/// How many there are. Whoever needs the number for a type cannot ask `KINDS` itself: optimised, that is a cycle.
pub(super) const KIND_COUNT: usize = 13;

/// All of them; both totals come first.
pub(super) const KINDS: [Kind; KIND_COUNT] = [
    kind("input", names::INPUT_TOKENS, "input_tokens", |it| it.input),
    kind("output", names::OUTPUT_TOKENS, "output_tokens", |it| it.output),
    kind("cache_read", names::CACHE_READ_TOKENS, "cache_read_tokens", |it| it.cache_read),
    kind("cache_write", names::CACHE_WRITE_TOKENS, "cache_write_tokens", |it| it.cache_write),
    kind("reasoning", names::REASONING_TOKENS, "reasoning_tokens", |it| it.reasoning),
    kind("input_audio", names::INPUT_AUDIO_TOKENS, "input_audio_tokens", |it| it.input_audio),
    kind("output_audio", names::OUTPUT_AUDIO_TOKENS, "output_audio_tokens", |it| it.output_audio),
    kind("cache_write_long", names::CACHE_WRITE_LONG_TOKENS, "cache_write_long_tokens", |it| {
        it.cache_write_long
    }),
    kind("cache_read_audio", names::CACHE_READ_AUDIO_TOKENS, "cache_read_audio_tokens", |it| {
        it.cache_read_audio
    }),
    kind("cache_read_image", names::CACHE_READ_IMAGE_TOKENS, "cache_read_image_tokens", |it| {
        it.cache_read_image
    }),
    kind("input_image", names::INPUT_IMAGE_TOKENS, "input_image_tokens", |it| it.input_image),
    kind("input_video", names::INPUT_VIDEO_TOKENS, "input_video_tokens", |it| it.input_video),
    kind("output_image", names::OUTPUT_IMAGE_TOKENS, "output_image_tokens", |it| it.output_image),
];

/// Those that are known, in order.
pub(super) fn counts(usage: &Usage) -> impl Iterator<Item = (&'static Kind, u64)> {
    KINDS.iter().filter_map(|kind| Some((kind, (kind.count)(usage)?)))
}
