//! Moving pictures that OpenAI's video routes make, edit or go on with; xAI's are asked for and told alike.
//! Each is a job, polled for: its seconds count when it is first fetched complete. Knows no other part of the
//! API.
//!
//! Source: the types of OpenAI's SDK for Python 3.52 (`Video`, `VideoCreateParams`, `VideoExtendParams`), which
//! tell of no usage; for xAI its REST reference (docs.x.ai/docs/guides/video-generations).

use std::time::Duration;

use super::super::{Answer, Content, Context, Fetch, Model};
use crate::observe::decode::Frame;
use crate::observe::observation::{
    MediaRequest, Operation, RequestFacts, ResponseFacts, Units, Usage,
};
use crate::observe::shapes::failure::{Failure, Word};
use crate::observe::shapes::lenient::{Lenient, Object, Text, Unread, fields, read};
use crate::observe::shapes::tokens::Tokens;

/// A job begins: of a prompt, or of a video that was made before.
pub(super) const MAKE: Model =
    Model { operation: Operation::VideoGeneration, request, answer: begin, asks: false };
/// A video is made longer. Its job tells how long all of it is, not how long the new piece; which of them is
/// billed the provider does not say, so that nobody's seconds count.
pub(super) const EXTEND: Model = Model { answer: begin_longer, ..MAKE };
/// A job is polled for.
pub(super) const FETCH: Fetch = Fetch { method: "GET", answer: begin };

/// Longest names that are kept.
const ID: usize = 128;
const MODEL: usize = 256;
const WORD: usize = 64;

fields! {
    struct Request<'de> {
        model: Text<'de> = "model",
        /// `resolution` is xAI's.
        size: Text<'de> = "size" | "resolution",
    }
}

/// Of JSON, or of a form's fields.
fn request(body: &[u8], facts: &mut RequestFacts) -> Result<(), Unread> {
    let mut request = Request::default();
    let result = read(body, &mut request);
    facts.output_type = Some("video");
    facts.model = request.model.bounded(MODEL).or(facts.model.take());
    facts.stored = true;
    result?;
    let size = request.size.bounded(WORD);
    facts.media = size.map(|it| Box::new(MediaRequest { size: Some(it), ..Default::default() }));
    Ok(())
}

fn begin(context: Context) -> Box<dyn Answer> {
    Box::new(Job { context, is_longer: false })
}

fn begin_longer(context: Context) -> Box<dyn Answer> {
    Box::new(Job { context, is_longer: true })
}

#[derive(Debug)]
struct Job {
    context: Context,
    // It goes on with a video.
    is_longer: bool,
}

fields! {
    /// The job itself, or an error in its place.
    struct Body<'de> {
        id: Text<'de> = "id" | "request_id",
        model: Text<'de> = "model",
        status: Text<'de> = "status",
        seconds: Seconds = "seconds",
        video: Video = "video",
        usage: Object<Tokens> = "usage",
        error: Failure<'de> = "error",
        code: Word = "code",
        kind: Text<'de> = "type",
    }
}

fields! {
    /// xAI's.
    struct Video {
        seconds: Seconds = "duration",
    }
}

/// A number, or a text that is one.
#[derive(Debug, Default)]
struct Seconds(Option<Duration>);

impl Lenient<'_> for Seconds {
    fn number(&mut self, number: f64) {
        self.0 = Duration::try_from_secs_f64(number).ok();
    }

    fn text(&mut self, text: &str) {
        self.0 = text.parse().ok().and_then(|it| Duration::try_from_secs_f64(it).ok());
    }
}

impl Job {
    fn apply(&self, job: &Body<'_>, facts: &mut ResponseFacts) {
        job.id.replace(&mut facts.id, ID);
        job.model.replace(&mut facts.model, MODEL);
        facts.background = true;
        let status = job.status.as_str();
        // xAI begins with an id alone.
        facts.pending = matches!(status, "" | "queued" | "in_progress" | "pending");
        if !facts.pending {
            facts.finish_reasons = vec![job.status.bounded(WORD)];
        }
        if self.is_longer {
            let units = Units { calls: Some(1), ..Units::default() };
            facts.usage = Some(Usage { units, ..Usage::default() });
            facts.pending = false;
        } else if matches!(status, "completed" | "done") {
            let output_time = job.seconds.0.or(job.video.seconds.0);
            let units = Units { output_time, ..Units::default() };
            facts.usage = output_time.map(|_| Usage { units, ..Usage::default() });
            facts.reported_cost = job.usage.0.and_then(|it| it.reported_cost());
        }
    }
}

impl Answer for Job {
    fn frame(&mut self, _: Frame<'_>, _: &mut ResponseFacts) -> Result<Content, Unread> {
        Ok(Content::default())
    }

    fn document(&mut self, body: &[u8], facts: &mut ResponseFacts) -> Result<(), Unread> {
        let mut job = Body::default();
        read(body, &mut job)?;
        if !self.context.is_error() {
            self.apply(&job, facts);
        }
        // A job that failed tells why, and one that went well that there is no error.
        if self.context.is_error() || job.error.is_some || job.status.as_str() == "failed" {
            job.error.tell(&job.code, &job.kind, &self.context.error(), facts);
        }
        Ok(())
    }

    fn is_terminated(&self, _: &ResponseFacts) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::dialect::told;

    fn told(begin: fn(Context) -> Box<dyn Answer>, body: &str) -> ResponseFacts {
        let operation = Some(Operation::VideoGeneration);
        told::by_document(begin(Context { operation, ..Context::of(200) }), body)
    }

    fn job(status: &str) -> String {
        format!(
            r#"{{"id":"video_1","object":"video","model":"sora-2","status":"{status}","progress":0,"seconds":"8","size":"1280x720","error":null}}"#
        )
    }

    #[test]
    fn seconds_count_when_the_job_is_done() {
        for status in ["queued", "in_progress"] {
            let found = told(begin, &job(status));
            assert!(found.pending && found.background && found.usage.is_none(), "{status}");
        }
        let found = told(begin, &job("completed"));
        let seconds = found.usage.unwrap().units.output_time;
        assert_eq!((seconds, found.pending), (Some(Duration::from_secs(8)), false));
        assert_eq!(
            (found.id.as_deref(), found.model.as_deref()),
            (Some("video_1"), Some("sora-2"))
        );
        assert_eq!(found.error, None);
    }

    #[test]
    fn a_job_that_failed_used_nothing_and_says_why() {
        let failed =
            job("failed").replace("null", r#"{"code":"moderation_blocked","message":"m"}"#);
        let found = told(begin, &failed);
        assert_eq!((found.usage, found.error.as_deref()), (None, Some("moderation_blocked")));
    }

    #[test]
    fn how_much_of_a_longer_video_is_new_nobody_tells() {
        let found = told(begin_longer, &job("queued"));
        let units = found.usage.unwrap().units;
        assert_eq!((units.output_time, units.calls, found.pending), (None, Some(1), false));
    }

    #[test]
    fn xais_jobs_are_read_too() {
        let begun = told(begin, r#"{"request_id":"r_1"}"#);
        assert!(begun.pending && begun.id.as_deref() == Some("r_1"));
        assert!(told(begin, r#"{"status":"pending"}"#).pending);
        let done = r#"{"status":"done","video":{"url":"https://x","duration":6},"model":"grok-imagine-video","usage":{"cost_in_usd_ticks":3000000000}}"#;
        let found = told(begin, done);
        assert_eq!(found.usage.unwrap().units.output_time, Some(Duration::from_secs(6)));
        assert_eq!(found.reported_cost.map(|it| it.usd()), Some(0.3));
    }

    #[test]
    fn what_is_asked_for_is_read() {
        let mut facts = RequestFacts::default();
        let body = br#"{"model":"sora-2","prompt":"x","seconds":"8","size":"1280x720"}"#;
        request(body, &mut facts).unwrap();
        assert_eq!(facts.media.unwrap().size.as_deref(), Some("1280x720"));
        assert_eq!((facts.model.as_deref(), facts.stored), (Some("sora-2"), true));
    }
}
