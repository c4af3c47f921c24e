//! The stream-usage question: usage of a stream asked for in the client's stead, and every trace of
//! that taken out of the answer. The only folder of `forward` that knows JSON; it knows no connection.
//!
//! OpenAI-style streams carry usage only if `stream_options.include_usage` says so. A request that may
//! be asked in is held until its body is whole (`hold`), gets the question (`splice`), and what that
//! causes in the answer is taken out again (`unsplice`). An upstream whose refusal may be about the
//! question (`refusal`) gets the request once more as the client wrote it, and if it takes that, is
//! not asked for a while (`pauses`).

/// Positions of an object's members.
mod object;
/// The question put into a body.
pub mod splice;
/// What the question caused, event by event.
mod event;
/// What the question caused, taken out of a stream.
pub mod unsplice;
/// One limit on all memory of asking.
mod memory;
/// Who is not asked for a while.
mod pauses;
/// A request's body, held until it is whole.
mod hold;
/// The answer to a question.
mod answer;
/// A refusal that may be about the question.
mod refusal;
/// Asking, in any request and for any answer.
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HeaderValue};
use http::{Method, Response, StatusCode, request};
use http_body::Body as _;

use super::arriving::Arriving;
use super::client::Client;
use super::settings::{Limits, Upstream};
use super::tee::RequestTee;
use crate::tape::{Milestone, ResponsePen};
pub(super) use answer::Answer;
use answer::Kind;
use hold::{Held, Whole};
use memory::Memory;
use pauses::Pauses;

/// Fields that say something about the body's bytes: with one of them it must not change.
const ABOUT_THE_BODY: [&str; 6] =
    ["content-md5", "digest", "content-digest", "repr-digest", "signature", "x-amz-content-sha256"];

/// What is read of a refusal before the client sees it; of a longer or slower one nothing is known.
const REFUSAL: usize = 64 << 10;
const REFUSAL_WAIT: Duration = Duration::from_millis(250);

/// What all questions share.
#[derive(Debug)]
pub(super) struct Asking {
    memory: Arc<Memory>,
    pauses: Pauses,
}

/// A question that goes upstream, and the request as the client wrote it.
#[derive(Debug)]
pub(super) struct Question {
    original: Whole,
    at: usize,
    text: &'static [u8],
    model: Bytes,
    client: Arc<Client>,
}

/// Whether usage may be asked for in a request to this upstream, as far as its head tells.
pub(super) fn may_ask(upstream: &Upstream, head: &request::Parts, body: &RequestTee) -> bool {
    upstream.asks_for_usage
        && head.method == Method::POST
        && head.uri.path().ends_with("/completions")
        && !head.headers.contains_key(CONTENT_ENCODING)
        && !ABOUT_THE_BODY.iter().any(|name| head.headers.contains_key(*name))
        && !body.is_end_stream()
}

/// Whether the upstream refuses the question, perhaps: by what its answer says, which is read ahead.
pub(super) async fn is_refusal(response: &mut Response<Arriving>) -> bool {
    if !matches!(response.status(), StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY) {
        return false;
    }
    response.body_mut().read_ahead(REFUSAL, REFUSAL_WAIT).await;
    let text = response.body().whole().filter(|_| !answer::is_encoded(response.headers()));
    text.is_none_or(|text| refusal::may_be_about_the_question(&text))
}

impl Asking {
    /// `limits`: those of the start.
    pub(super) fn new(limits: &Limits) -> Self {
        Self { memory: Memory::new(limits.ask_memory), pauses: Pauses::default() }
    }

    /// Holds `body` until it is whole, and puts the question into it. Where that must not be or a
    /// limit is passed, the body goes on as it is.
    pub(super) async fn hold(
        &self,
        body: RequestTee,
        head: &request::Parts,
        upstream: &Upstream,
        limits: &Limits,
        pen: &mut ResponsePen,
    ) -> (RequestTee, Option<Question>) {
        let client = body.client();
        pen.milestone(Milestone::HoldBegan, Instant::now());
        let held = hold::hold(body, limits, self.memory.share()).await;
        pen.milestone(Milestone::HoldEnded, Instant::now());
        let original = match held {
            Held::Whole(original) => original,
            Held::Cut(body) => {
                pen.milestone(Milestone::AskGivenUp, Instant::now());
                return (body, None);
            }
        };
        let Some(splice) = splice::find(&original.bytes) else {
            return (original.into_body(client), None);
        };
        let now = Instant::now();
        // Azure's requests name it in the path.
        let model = match splice.model {
            b"" => Bytes::copy_from_slice(head.uri.path().as_bytes()),
            model => original.bytes.slice_ref(model),
        };
        if self.pauses.hold_at(now, &upstream.facts.name, &model) {
            pen.milestone(Milestone::AskPaused, now);
            return (original.into_body(client), None);
        }
        pen.milestone(Milestone::Asked, now);
        let (at, text) = (splice.at, splice.text);
        let question = Question { original, at, text, model, client };
        (question.body(), Some(question))
    }

    /// The upstream took without the question what it had refused with it: it is not asked about
    /// this model for a while.
    pub(super) fn pause(&self, question: &Question, upstream: &Upstream, limits: &Limits) {
        let (name, pause) = (&upstream.facts.name, limits.ask_pause);
        if self.pauses.begin(Instant::now(), pause, name, &question.model) {
            tracing::warn!(
                "upstream `{name}` refuses stream_options.include_usage for model {}: for {} s \
                 its streams are not asked for usage",
                String::from_utf8_lossy(&question.model),
                pause.as_secs(),
            );
        }
    }

    /// What takes out of the answer what the question caused there, if anything.
    pub(super) fn answer(
        &self,
        response: &Response<Arriving>,
        limits: &Limits,
        pen: &mut ResponsePen,
    ) -> Option<Box<Answer>> {
        match Kind::of(response.status(), response.headers()) {
            Kind::Other => None,
            Kind::Events => Some(Box::new(Answer::new(limits.ask_event, self.memory.share()))),
            Kind::Closed => {
                pen.milestone(Milestone::AskLeft, Instant::now());
                None
            }
        }
    }
}

impl Question {
    /// Makes the head fit the body that asks: its length, and an answer that we can read.
    pub(super) fn edit(&self, head: &mut request::Parts) {
        let length = self.original.bytes.len() + self.text.len();
        // In their places: the order stays.
        if head.headers.contains_key(CONTENT_LENGTH) {
            head.headers.insert(CONTENT_LENGTH, length.into());
        }
        head.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }

    /// The body that asks.
    fn body(&self) -> RequestTee {
        let bytes = &self.original.bytes;
        let at = self.at.min(bytes.len());
        let text = Bytes::from_static(self.text);
        let frames = [bytes.slice(..at), text, bytes.slice(at..)];
        self.original.body_of(frames, Arc::clone(&self.client))
    }

    /// The body as the client wrote it.
    pub(super) fn original(&self) -> RequestTee {
        let bytes = [self.original.bytes.clone()];
        self.original.body_of(bytes, Arc::clone(&self.client))
    }
}
