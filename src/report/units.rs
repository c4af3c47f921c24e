//! What is billed beside tokens, as metrics and attributes. Knows no tokens and no price.

use opentelemetry::KeyValue;

use super::names::{self, Instruments};
use super::protobuf::Attributes;
use super::series::Adds;
use crate::observe::observation::{MediaRequest, Units};

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

/// What one call used, on its span or record.
pub(super) fn used(attributes: &mut Attributes<'_>, units: &Units) {
    attributes.some_int(names::IMAGES, units.images);
    attributes.some_int(names::CHARACTERS, units.characters);
    let heard = units.input_audio_time.map(|it| it.as_secs_f64());
    attributes.some_double(names::HEARD_SECONDS, heard);
    let made = units.output_time.map(|it| it.as_secs_f64());
    attributes.some_double(names::MADE_SECONDS, made);
}

/// What pictures were asked for.
pub(super) fn asked(attributes: &mut Attributes<'_>, media: &MediaRequest) {
    attributes.some_text(names::IMAGE_SIZE, media.size.as_deref());
    attributes.some_text(names::IMAGE_QUALITY, media.quality.as_deref());
    attributes.some_int(names::PARTIAL_IMAGES, media.partial_images);
}
