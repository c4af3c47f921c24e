//! What Realtime counts: tokens by what they carry, or seconds of sound. Knows no event around it.

use std::time::Duration;

use crate::observe::observation::{Units, Usage};
use crate::observe::shapes::lenient::{Count, Number, fields};

fields! {
    /// A `usage` object of a response or of a transcription.
    #[derive(Clone, Copy)]
    pub(super) struct Spent {
        input: Count = "input_tokens",
        output: Count = "output_tokens",
        input_details: InputDetails = "input_token_details",
        output_details: OutputDetails = "output_token_details",
        seconds: Number = "seconds",
    }
}

fields! {
    #[derive(Clone, Copy)]
    pub(super) struct InputDetails {
        text: Count = "text_tokens",
        audio: Count = "audio_tokens",
        image: Count = "image_tokens",
        cached: Count = "cached_tokens",
        /// What part of what was cached is what.
        cached_details: CachedDetails = "cached_tokens_details",
    }
}

fields! {
    #[derive(Clone, Copy)]
    pub(super) struct CachedDetails {
        text: Count = "text_tokens",
        audio: Count = "audio_tokens",
        image: Count = "image_tokens",
    }
}

fields! {
    #[derive(Clone, Copy)]
    pub(super) struct OutputDetails {
        audio: Count = "audio_tokens",
    }
}

impl Spent {
    /// Cached tokens are part of the input; none where nothing was counted.
    pub(super) fn usage(self) -> Option<Usage> {
        let seconds = self.seconds.0.and_then(|it| Duration::try_from_secs_f64(it).ok());
        let (input, cached) = (self.input_details, self.input_details.cached_details);
        let usage = Usage {
            input: self.input.0,
            output: self.output.0,
            cache_read: input.cached.0,
            input_audio: input.audio.0,
            input_image: input.image.0.or(rest(self.input, input.text, input.audio)),
            cache_read_audio: cached.audio.0,
            cache_read_image: cached.image.0.or(rest(input.cached, cached.text, cached.audio)),
            output_audio: self.output_details.audio.0,
            units: Units { input_audio_time: seconds, ..Units::default() },
            ..Usage::default()
        };
        (usage != Usage::default()).then_some(usage)
    }
}

/// None where text and sound are all: models that knew no pictures did not count them.
fn rest(all: Count, text: Count, audio: Count) -> Option<u64> {
    let both = text.0?.checked_add(audio.0?)?;
    (all.0 == Some(both)).then_some(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::shapes::lenient::read;

    fn usage(json: &str) -> Option<Usage> {
        let mut spent = Spent::default();
        read(json.as_bytes(), &mut spent).unwrap();
        spent.usage()
    }

    #[test]
    fn each_kind_of_token_is_told_apart() {
        let found = usage(
            r#"{"total_tokens":253,"input_tokens":132,"output_tokens":121,
            "input_token_details":{"text_tokens":119,"audio_tokens":10,"image_tokens":3,"cached_tokens":64,
              "cached_tokens_details":{"text_tokens":60,"audio_tokens":4,"image_tokens":0}},
            "output_token_details":{"text_tokens":30,"audio_tokens":91}}"#,
        )
        .unwrap();
        assert_eq!((found.input, found.output), (Some(132), Some(121)));
        assert_eq!((found.input_audio, found.input_image), (Some(10), Some(3)));
        assert_eq!((found.cache_read, found.cache_read_audio), (Some(64), Some(4)));
        assert_eq!((found.cache_read_image, found.output_audio), (Some(0), Some(91)));
    }

    #[test]
    fn there_are_no_pictures_where_words_and_sound_are_all() {
        let told = |text: u64| {
            usage(&format!(
                r#"{{"input_tokens":10,"input_token_details":{{"text_tokens":{text},"audio_tokens":4,"cached_tokens":3,
                "cached_tokens_details":{{"text_tokens":3,"audio_tokens":0}}}}}}"#
            ))
            .map(|it| (it.input_image, it.cache_read_image))
        };
        assert_eq!(told(6), Some((Some(0), Some(0))));
        assert_eq!(told(5), Some((None, Some(0))), "something is not told apart");
    }

    #[test]
    fn a_transcription_may_be_counted_in_seconds_or_not_at_all() {
        let found = usage(r#"{"type":"duration","seconds":3.3}"#).unwrap();
        assert_eq!(found.units.input_audio_time, Some(Duration::from_millis(3300)));
        assert_eq!((usage("null"), usage("{}"), usage(r#"{"seconds":-1}"#)), (None, None, None));
    }
}
