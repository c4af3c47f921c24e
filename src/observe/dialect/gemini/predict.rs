//! Vectors of `embedContent` and `predict`, and pictures of `predict`: usage stands in a place of its
//! own, or is the sum of what each prediction tells. Knows no stream.

use super::super::{Answer, Content, Context};
use super::usage::{self, Counts};
use crate::observe::decode::Frame;
use crate::observe::observation::{Operation, ResponseFacts, Units, Usage};
use crate::observe::shapes::failure::Failure;
use crate::observe::shapes::lenient::{Count, Filled, List, Object, Unread, fields, read};
use crate::observe::shapes::tokens::sum;

/// Begins to read an answer.
pub(super) fn begin(context: Context) -> Box<dyn Answer> {
    Box::new(Predicted { context, draws: context.operation == Some(Operation::ImageGeneration) })
}

#[derive(Debug)]
struct Predicted {
    context: Context,
    // Pictures were asked for.
    draws: bool,
}

fields! {
    struct Whole<'de> {
        usage: Object<Counts> = "usageMetadata",
        predictions: List<'de, Prediction> = "predictions",
        metadata: Metadata = "metadata",
        error: Failure<'de> = "error",
    }
}

fields! {
    struct Prediction {
        embeddings: Embedding = "embeddings",
        picture: Filled = "bytesBase64Encoded" | "gcsUri",
    }
}

fields! {
    struct Embedding {
        statistics: Statistics = "statistics",
    }
}

fields! {
    struct Statistics {
        tokens: Count = "token_count" | "tokenCount",
    }
}

fields! {
    struct Metadata {
        characters: Count = "billableCharacterCount",
    }
}

impl Predicted {
    fn apply(&self, whole: &Whole<'_>, facts: &mut ResponseFacts) {
        let tokens = whole.predictions.iter().map(|it| it.embeddings.statistics.tokens.0);
        let images = whole.predictions.iter().filter(|it| it.picture.0).count() as u64;
        let counted = whole.usage.0.as_ref().and_then(Counts::usage).unwrap_or_default();
        let usage = Usage {
            input: counted.input.or(tokens.fold(None, sum)),
            // There is none: whatever was counted is input.
            output: None,
            units: Units {
                characters: whole.metadata.characters.0,
                images: self.draws.then_some(images),
                ..counted.units
            },
            ..counted
        };
        if usage != Usage::default() {
            facts.usage = Some(usage);
        }
        if let Some(counts) = &whole.usage.0 {
            counts.tier.tell(facts);
        }
        if whole.error.is_some || self.context.is_error() {
            facts.usage = None;
            whole.error.tell_alone(&self.context.error(), facts);
        }
    }
}

impl Answer for Predicted {
    fn frame(&mut self, frame: Frame<'_>, facts: &mut ResponseFacts) -> Result<Content, Unread> {
        self.document(frame.data, facts).map(|()| Content::default())
    }

    fn document(&mut self, body: &[u8], facts: &mut ResponseFacts) -> Result<(), Unread> {
        let mut whole = Whole::default();
        read(body, &mut whole)?;
        self.apply(&whole, facts);
        Ok(())
    }

    fn tail(&mut self, body: &[u8], facts: &mut ResponseFacts) {
        let mut whole = Whole::default();
        if let Some(body) = usage::tail(body)
            && read(&body, &mut whole).is_ok()
        {
            self.apply(&whole, facts);
        }
    }

    fn is_terminated(&self, _: &ResponseFacts) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(operation: Operation, body: &str) -> Option<Usage> {
        let context = Context { operation: Some(operation), ..Context::of(200) };
        let (mut answer, mut facts) = (begin(context), ResponseFacts::default());
        answer.document(body.as_bytes(), &mut facts).unwrap();
        facts.usage
    }

    #[test]
    fn each_place_of_an_embeddings_usage_is_read() {
        let embedded = |body| usage(Operation::Embeddings, body);
        let found = embedded(
            r#"{"embedding":{"values":[0.1]},"usageMetadata":{"promptTokenCount":6,"promptTokenDetails":[
            {"modality":"TEXT","tokenCount":2},{"modality":"IMAGE","tokenCount":4}]}}"#,
        );
        let found = found.unwrap();
        assert_eq!((found.input, found.output, found.input_image), (Some(6), None, Some(4)));
        let found = embedded(
            r#"{"predictions":[{"embeddings":{"values":[],"statistics":{"token_count":10.0}}},
            {"embeddings":{"statistics":{"token_count":4}}}],"metadata":{"billableCharacterCount":29}}"#,
        );
        let found = found.unwrap();
        assert_eq!((found.input, found.units.characters), (Some(14), Some(29)));
        assert_eq!(embedded(r#"{"embeddings":[{"values":[1]}]}"#), None);
    }

    #[test]
    fn pictures_are_counted_not_those_that_were_held_back() {
        let body = r#"{"predictions":[{"bytesBase64Encoded":"aGk=","mimeType":"image/png"},{"raiFilteredReason":"x"}]}"#;
        assert_eq!(usage(Operation::ImageGeneration, body).unwrap().units.images, Some(1));
    }
}
