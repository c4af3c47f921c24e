//! What is billed beside tokens, as metrics. Knows no tokens and no price.

use opentelemetry::KeyValue;

use super::names::Instruments;
use super::series::Adds;
use crate::observe::observation::Units;

/// The counters of one label set, bound when they are first used.
#[derive(Debug, Default)]
pub(super) struct Beside {
    images: Adds<u64>,
    characters: Adds<u64>,
    heard: Adds<f64>,
}

impl Beside {
    /// Counts what one call used.
    pub(super) fn add(&self, to: &Instruments, labels: &[KeyValue], units: &Units) {
        let labels = || labels.to_vec();
        if let Some(images) = units.images {
            self.images.add(&to.images, labels, images);
        }
        if let Some(characters) = units.characters {
            self.characters.add(&to.characters, labels, characters);
        }
        if let Some(heard) = units.input_audio_time {
            self.heard.add(&to.heard, labels, heard.as_secs_f64());
        }
    }
}
