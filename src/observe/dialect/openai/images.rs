//! Pictures that OpenAI's image routes make, edit or vary, whole or streamed. Counts them, and keeps none
//! of them. Knows no other part of the API.
//!
//! Source: the types of the provider's SDK for Python 3.52 (`ImagesResponse`, `ImageGenCompletedEvent`,
//! `ImageEditParams`); for xAI its page on cost tracking (docs.x.ai/developers/cost-tracking).

use super::super::{Answer, Content, Context, Model};
use super::tail;
use crate::observe::decode::Frame;
use crate::observe::observation::{
    MediaRequest, Operation, RequestFacts, ResponseFacts, Units, Usage,
};
use crate::observe::shapes::failure::{Failure, Word};
use crate::observe::shapes::lenient::{
    Count, Filled, Flag, List, Number, Object, Text, Unread, fields, read,
};
use crate::observe::shapes::tokens::{Counting, Tokens, sum};

/// Pictures are made, or made of others.
pub(super) const MAKE: Model =
    Model { operation: Operation::ImageGeneration, request, answer: begin, asks: false };

/// Longest names that are kept.
const ID: usize = 128;
const MODEL: usize = 256;
const WORD: usize = 64;

fields! {
    struct Request<'de> {
        model: Text<'de> = "model",
        stream: Flag = "stream",
        n: Number = "n",
        size: Text<'de> = "size",
        quality: Text<'de> = "quality",
        partial_images: Number = "partial_images",
    }
}

/// Of JSON, or of a form's fields.
fn request(body: &[u8], facts: &mut RequestFacts) -> Result<(), Unread> {
    let mut request = Request::default();
    let result = read(body, &mut request);
    facts.output_type = Some("image");
    facts.model = request.model.bounded(MODEL);
    facts.stream = request.stream.0 == Some(true);
    // Of a body that breaks off the rest may be half a number.
    result?;
    facts.choice_count = request.n.whole().filter(|&n| n != 1);
    facts.media = Some(Box::new(MediaRequest {
        size: request.size.bounded(WORD),
        quality: request.quality.bounded(WORD),
        partial_images: request.partial_images.whole(),
        ..MediaRequest::default()
    }));
    Ok(())
}

fn begin(context: Context) -> Box<dyn Answer> {
    Box::new(Images { context, wanted: context.choices, made: 0, done: false })
}

#[derive(Debug)]
struct Images {
    context: Context,
    // So many pictures were asked for; and so many of a stream are finished.
    wanted: Option<u64>,
    made: u64,
    // The stream says that it has ended.
    done: bool,
}

fields! {
    /// The whole answer, or one event.
    struct Whole<'de> {
        /// OpenAI tells neither this nor the model; some who follow it do.
        id: Text<'de> = "id",
        model: Text<'de> = "model",
        pictures: List<'de, Picture> = "data",
        picture: Filled = "b64_json",
        usage: Object<Tokens> = "usage",
        svg: Svg = "svg_usage",
        error: Failure<'de> = "error",
        code: Word = "code",
        kind: Text<'de> = "type",
    }
}

fields! {
    struct Picture {
        is_there: Filled = "b64_json" | "url",
    }
}

fields! {
    /// What another model used to write a drawing.
    struct Svg {
        total: Count = "total_tokens",
    }
}

impl Images {
    /// The counts of an answer, or of a finished picture. `images`: how many there are, where that is known.
    fn count(&self, whole: &Whole<'_>, images: Option<u64>, facts: &mut ResponseFacts) {
        // xAI's tells no tokens, but what it cost.
        let cost = whole.usage.0.and_then(|tokens| tokens.reported_cost());
        facts.reported_cost = cost.or(facts.reported_cost);
        let told = whole.usage.0.and_then(|tokens| tokens.usage(Counting::default()));
        if told.is_none() && images.is_none() {
            return;
        }
        let usage = told.unwrap_or_default();
        let units = Units { images, other_models: whole.svg.total.0, ..usage.units };
        facts.usage = Some(Usage { units, ..usage });
    }

    /// A finished picture of a stream tells the tokens of the prompt, and its own.
    fn count_one(&mut self, whole: &Whole<'_>, facts: &mut ResponseFacts) {
        let before = facts.usage.unwrap_or_default();
        self.made += 1;
        self.count(whole, Some(self.made), facts);
        if let Some(usage) = &mut facts.usage {
            // "The number of image tokens in the output image."
            let image = usage.output_image.or(usage.output);
            usage.output = sum(before.output, usage.output);
            usage.output_image = sum(before.output_image, image);
        }
    }

    fn apply_error(&self, whole: &Whole<'_>, named: bool, facts: &mut ResponseFacts) {
        if whole.error.is_some || named || self.context.is_error() {
            whole.error.tell(&whole.code, &whole.kind, &self.context.error(), facts);
        }
    }
}

impl Answer for Images {
    fn frame(&mut self, frame: Frame<'_>, facts: &mut ResponseFacts) -> Result<Content, Unread> {
        let mut whole = Whole::default();
        // Not OpenAI's, but common.
        if frame.data.trim_ascii() == b"[DONE]" {
            self.done = true;
            return Ok(Content::default());
        }
        read(frame.data, &mut whole)?;
        let kind = whole.kind.as_str();
        if kind.ends_with(".completed") {
            self.count_one(&whole, facts);
        }
        let named = kind == "error" || frame.name == b"error";
        self.apply_error(&whole, named, facts);
        Ok(Content { other: whole.picture.0, ..Content::default() })
    }

    fn document(&mut self, body: &[u8], facts: &mut ResponseFacts) -> Result<(), Unread> {
        let mut whole = Whole::default();
        read(body, &mut whole)?;
        whole.id.replace(&mut facts.id, ID);
        whole.model.replace(&mut facts.model, MODEL);
        let images = whole.pictures.iter().filter(|picture| picture.is_there.0).count() as u64;
        self.count(&whole, Some(images).filter(|&images| images > 0), facts);
        self.apply_error(&whole, false, facts);
        Ok(())
    }

    fn tail(&mut self, body: &[u8], facts: &mut ResponseFacts) {
        if let Some(document) = tail::document(body) {
            // Without its pictures, which then are not known to be none.
            self.document(&document, facts).ok();
        }
    }

    /// Each picture has a last event of its own.
    fn is_terminated(&self, facts: &ResponseFacts) -> bool {
        let all = self.wanted.is_some_and(|wanted| self.made >= wanted);
        self.may_end(facts) && (all || self.done)
    }

    /// Fewer may be made than were asked for.
    fn may_end(&self, _: &ResponseFacts) -> bool {
        self.made > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USAGE: &str = r#"{"input_tokens":50,"input_tokens_details":{"text_tokens":10,"image_tokens":40},
        "output_tokens":1056,"total_tokens":1106}"#;

    fn answer(choices: Option<u64>) -> Box<dyn Answer> {
        begin(Context { operation: Some(Operation::ImageGeneration), choices, ..Context::of(200) })
    }

    fn told(frames: &[String]) -> (Vec<bool>, ResponseFacts, bool) {
        let (content, facts, done, _) = asked_for(Some(1), frames);
        (content, facts, done)
    }

    /// What was content, what was told, whether it is all and whether it may be.
    fn asked_for(
        choices: Option<u64>,
        frames: &[String],
    ) -> (Vec<bool>, ResponseFacts, bool, bool) {
        let (mut answer, mut facts) = (answer(choices), ResponseFacts::default());
        let mut see = |data: &String| {
            let frame = Frame { name: b"", data: data.as_bytes() };
            answer.frame(frame, &mut facts).unwrap().other
        };
        let content = frames.iter().map(&mut see).collect();
        let (done, may_end) = (answer.is_terminated(&facts), answer.may_end(&facts));
        (content, facts, done, may_end)
    }

    fn event(kind: &str, more: &str) -> String {
        format!(r#"{{"type":"{kind}","b64_json":"aGk="{more}}}"#)
    }

    #[test]
    fn everything_asked_for_is_read_of_json_and_of_a_form() {
        for body in [
            r#"{"model":"gpt-image-2","prompt":"x","n":2,"size":"1024x1536","quality":"high","stream":true,"partial_images":3}"#,
            r#"{"prompt":"x","model":"gpt-image-2","image[]":1,"n":2,"size":"1024x1536","quality":"high","stream":true,"partial_images":3}"#,
        ] {
            let mut facts = RequestFacts::default();
            request(body.as_bytes(), &mut facts).unwrap();
            let expected = RequestFacts {
                model: Some("gpt-image-2".to_owned()),
                stream: true,
                choice_count: Some(2),
                media: Some(Box::new(MediaRequest {
                    size: Some("1024x1536".to_owned()),
                    quality: Some("high".to_owned()),
                    partial_images: Some(3),
                    characters: None,
                })),
                output_type: Some("image"),
                ..RequestFacts::default()
            };
            assert_eq!(facts, expected);
        }
    }

    #[test]
    fn pictures_and_tokens_are_counted_and_a_drawings_writer_apart() {
        let (mut answer, mut facts) = (answer(Some(1)), ResponseFacts::default());
        let body = format!(
            r#"{{"created":1,"data":[{{"b64_json":"aGk="}},{{"url":"https://x"}},{{"b64_json":""}}],
            "usage":{},"svg_usage":{{"model":"m","input_tokens":5,"output_tokens":2,"total_tokens":7}}}}"#,
            USAGE.replace(
                "1106}",
                r#"1106,"output_tokens_details":{"image_tokens":1000,"text_tokens":56}}"#
            )
        );
        answer.document(body.as_bytes(), &mut facts).unwrap();
        let usage = facts.usage.unwrap();
        assert_eq!((usage.input, usage.input_image), (Some(50), Some(40)));
        assert_eq!((usage.output, usage.output_image), (Some(1056), Some(1000)));
        assert_eq!((usage.units.images, usage.units.other_models), (Some(2), Some(7)));
    }

    #[test]
    fn a_picture_without_usage_is_one_all_the_same() {
        let (mut answer, mut facts) = (answer(Some(1)), ResponseFacts::default());
        answer.document(br#"{"created":1,"data":[{"url":"https://x"}]}"#, &mut facts).unwrap();
        let usage = facts.usage.unwrap();
        assert_eq!((usage.input, usage.output, usage.units.images), (None, None, Some(1)));
    }

    #[test]
    fn unfinished_pictures_are_content_and_finished_ones_are_counted() {
        let usage = format!(r#","usage":{USAGE}"#);
        let (content, facts, done) =
            told(&[event("image_edit.partial_image", ""), event("image_edit.completed", &usage)]);
        assert_eq!((content, done), (vec![true, true], true));
        let found = facts.usage.unwrap();
        assert_eq!(
            (found.output, found.output_image, found.units.images),
            (Some(1056), Some(1056), Some(1))
        );
        let (_, facts, done) = told(&[event("image_generation.partial_image", "")]);
        assert_eq!((facts.usage, done), (None, false));
        let two = event("image_generation.completed", &usage);
        let found = told(&[two.clone(), two]).1.usage.unwrap();
        assert_eq!((found.input, found.output), (Some(50), Some(2112)), "one prompt, two pictures");
        assert_eq!((found.output_image, found.units.images), (Some(2112), Some(2)));
    }

    #[test]
    fn a_stream_is_whole_after_all_pictures_or_where_it_ends_well_with_one() {
        let (unfinished, finished) =
            (event("image_edit.partial_image", ""), event("image_edit.completed", ""));
        let after = |choices: Option<u64>, frames: &[&String]| {
            let frames: Vec<String> = frames.iter().map(|&it| it.clone()).collect();
            let (_, _, done, may_end) = asked_for(choices, &frames);
            (done, may_end)
        };
        assert_eq!(after(Some(2), &[&unfinished]), (false, false));
        assert_eq!(after(Some(2), &[&finished]), (false, true));
        assert_eq!(after(Some(2), &[&finished, &unfinished, &finished]), (true, true));
        assert_eq!(after(None, &[&finished]), (false, true), "how many, nobody knows");
        let end = "[DONE]".to_owned();
        assert_eq!(after(Some(2), &[&finished, &end]), (true, true));
        assert_eq!(after(Some(2), &[&end]), (false, false));
    }

    #[test]
    fn a_torn_answer_tells_its_usage_and_not_how_many_pictures() {
        let (mut answer, mut facts) = (answer(Some(1)), ResponseFacts::default());
        let tail = format!("AAAA\"}}],\"size\":\"auto\",\"usage\":{USAGE}}}");
        answer.tail(tail.as_bytes(), &mut facts);
        let usage = facts.usage.unwrap();
        assert_eq!((usage.output, usage.units.images), (Some(1056), None));
    }

    #[test]
    fn an_error_in_a_stream_is_told() {
        let error = r#"{"type":"error","error":{"type":"image_generation_user_error","code":"moderation_blocked"}}"#;
        let (content, facts, done) = told(&[error.to_owned()]);
        assert_eq!((content, done), (vec![false], false));
        assert_eq!(facts.error.as_deref(), Some("moderation_blocked"));
    }
}
