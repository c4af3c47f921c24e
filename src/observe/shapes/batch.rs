//! What several calls used together: those of one batch, or the passes of one call. Knows no provider's way to
//! tell it.

use std::time::Duration;

use super::tokens::sum;
use crate::observe::observation::{Units, Usage};

/// What a call of a batch costs is the price of this tier.
pub const TIER: &str = "batch";

/// The answers so far. Those of the first model add up; of other models only the tokens are known.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The first model that answered.
    pub model: Option<String>,
    calls: u64,
    others: Option<u64>,
    total: Option<Usage>,
}

impl Batch {
    /// One answer more, of this model, where it is told.
    pub fn add(&mut self, model: Option<String>, one: Usage) {
        let first = self.model.as_ref();
        if model.as_ref().is_some_and(|model| first.is_some_and(|first| first != model)) {
            self.others = sum(self.others, sum(one.input, one.output));
            return;
        }
        self.model = self.model.take().or(model);
        self.calls += 1;
        self.total = Some(self.total.map_or(one, |total| plus(total, one)));
    }

    /// What all of them used; none where none told.
    pub fn usage(&self) -> Option<Usage> {
        let total = self.total?;
        let other_models = sum(total.units.other_models, self.others);
        let units = Units { calls: Some(self.calls), other_models, ..total.units };
        Some(Usage { units, ..total })
    }
}

/// What both used. Of how many calls it is, who adds says.
pub fn plus(one: Usage, other: Usage) -> Usage {
    Usage {
        input: sum(one.input, other.input),
        output: sum(one.output, other.output),
        cache_read: sum(one.cache_read, other.cache_read),
        cache_write: sum(one.cache_write, other.cache_write),
        reasoning: sum(one.reasoning, other.reasoning),
        input_audio: sum(one.input_audio, other.input_audio),
        output_audio: sum(one.output_audio, other.output_audio),
        cache_write_long: sum(one.cache_write_long, other.cache_write_long),
        cache_read_audio: sum(one.cache_read_audio, other.cache_read_audio),
        cache_read_image: sum(one.cache_read_image, other.cache_read_image),
        input_image: sum(one.input_image, other.input_image),
        input_video: sum(one.input_video, other.input_video),
        output_image: sum(one.output_image, other.output_image),
        is_uneven: one.is_uneven || other.is_uneven,
        units: units(one.units, other.units),
    }
}

fn units(one: Units, other: Units) -> Units {
    Units {
        web_searches: sum(one.web_searches, other.web_searches),
        file_searches: sum(one.file_searches, other.file_searches),
        code_sessions: sum(one.code_sessions, other.code_sessions),
        images: sum(one.images, other.images),
        characters: sum(one.characters, other.characters),
        input_audio_time: time(one.input_audio_time, other.input_audio_time),
        output_time: time(one.output_time, other.output_time),
        documents: sum(one.documents, other.documents),
        other_models: sum(one.other_models, other.other_models),
        calls: None,
    }
}

fn time(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    one.zip(other).map(|(one, other)| one.saturating_add(other)).or(one).or(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_answers_tell_adds_up() {
        let second = Some(Duration::from_secs(1));
        let one = Usage {
            input: Some(2),
            input_audio: Some(1),
            units: Units { input_audio_time: second, images: Some(1), ..Units::default() },
            ..Usage::default()
        };
        let mut batch = Batch::default();
        assert_eq!(batch.usage(), None);
        batch.add(None, one);
        batch.add(Some("m".to_owned()), Usage { output: Some(3), ..one });
        batch.add(Some("other".to_owned()), one);
        let usage = batch.usage().unwrap();
        assert_eq!((usage.input, usage.output, usage.input_audio), (Some(4), Some(3), Some(2)));
        assert_eq!((usage.units.calls, usage.units.other_models), (Some(2), Some(2)));
        assert_eq!(usage.units.input_audio_time, Some(Duration::from_secs(2)));
        assert_eq!((usage.units.images, batch.model.as_deref()), (Some(2), Some("m")));
    }
}
