//! What an Observer makes of all that it saw: the evidence, the verdict, the observation. Knows no tape.

use super::super::decode::encoding::Fault;
use super::super::decode::media::Shape;
use super::super::dialect;
use super::super::doubts;
use super::super::estimate::Grounds;
use super::super::observation::{
    Estimate, NOT_PRICED, Note, Observation, Operation, Part, StreamUsage,
};
use super::super::shapes::lenient::Unread;
use super::super::verdict::{self, Evidence, Reading, Verdict};
use super::Observer;
use crate::tape::Cause;

impl Observer {
    /// Everything was seen: judges it.
    pub(super) fn conclude(mut self, cause: Cause) -> Observation {
        let verdict = Verdict::of(&self.evidence(cause));
        let estimate = if verdict.is_never_told { self.estimate() } else { None };
        self.complete_facts();
        let is_odd =
            |usage| doubts::is_odd(usage, self.call.operation, &self.request_facts, &self.facts);
        if verdict.usage.value().is_some_and(is_odd) {
            self.notes.add(Note::UsageSuspicious);
        }
        Observation {
            part: self.session.as_ref().map_or(Part::Exchange, |session| session.part()),
            ids: self.ids,
            started: self.started,
            client: self.client,
            upstream: self.upstream,
            http: self.http,
            operation: self.call.operation,
            // Past a limit nobody looked whether a stream was asked for.
            stream_usage: self
                .stream_usage
                .filter(|it| *it != StreamUsage::OverLimit || self.request_facts.stream),
            request: self.request_facts,
            response: self.facts,
            times: self.marks.times,
            gaps: self.marks.gaps,
            stalls: self.marks.stalls,
            ending: verdict.ending,
            error_type: verdict.error_type,
            error_side: verdict.error_side,
            limit_hit: verdict.limit_hit,
            usage: verdict.usage,
            estimate,
            cost: NOT_PRICED,
            notes: self.notes.into_vec(),
        }
    }

    /// What is known of it only when all of it was read.
    fn complete_facts(&mut self) {
        self.http.retry_after = self.http.retry_after.or(self.facts.retry_after);
        self.facts.raw_usage = self.kept.raw_usage();
        if self.call.operation == Some(Operation::FetchResponse) && self.facts.usage.is_some() {
            // What does not repeat its own name (xAI's videos) was asked for by it.
            let name = || dialect::named_last(self.call.route, &self.http.path);
            self.facts.id = self.facts.id.take().or_else(name);
        }
        self.settings.keep(&mut self.request_facts, self.conversation.take());
    }

    fn evidence(&self, cause: Cause) -> Evidence<'_> {
        Evidence {
            cause,
            status: self.http.status,
            from_upstream: self.response.as_ref().is_some_and(|response| !response.is_ours),
            error: self.facts.error.as_deref(),
            error_is_requests: self.facts.error_is_requests,
            is_call: self.call.operation.is_some(),
            streamed: self.facts.streamed,
            generated: self.facts.chunks > 0,
            reading: self.reading(cause),
            asked: !self.call.asks
                || self.request_facts.include_usage == Some(true)
                || self.stream_usage.is_some_and(StreamUsage::is_asked),
            pending: self.facts.pending,
            background: self.facts.background,
            usage: verdict::told(self.call.operation, &self.request_facts, &self.facts),
        }
    }

    /// What its texts come to.
    fn estimate(&self) -> Option<Estimate> {
        let (texts, response) = (self.kept.texts.as_ref()?, self.response.as_ref()?);
        texts.estimate(Grounds {
            operation: self.call.operation.filter(|_| response.is_due)?,
            request: &self.request_facts,
            response: &self.facts,
            answer_is_read: response.is_read() && !self.notes.has(Note::ResponseTorn),
            stands_in: self.settings.estimates_stand_in,
        })
    }

    /// What was read of the answer.
    fn reading(&self, cause: Cause) -> Reading {
        let torn = self.notes.has(Note::ResponseTorn);
        let Some(response) = &self.response else {
            return if torn { Reading::Torn } else { Reading::Whole };
        };
        if response.content.is_some() {
            // It has no end of its own: the framing's is all there is.
            let whole = cause == Cause::Complete && !response.body.is_empty();
            return if whole { Reading::Whole } else { Reading::Short };
        }
        let is_told = !response.forgot_usage || self.facts.usage.is_some();
        if !response.is_due || is_told && response.is_whole(&self.facts, cause) {
            return Reading::Whole;
        }
        let skipped = response.body.skipped() > 0 || response.too_long;
        match (response.body.fault(), response.document) {
            _ if torn => Reading::Torn,
            (Some(Fault::Unknown | Fault::TooLarge | Fault::Torn), _) => Reading::Unread,
            (Some(Fault::Broken), _) | (None, Some(Err(Unread::Bad))) => Reading::Unreadable,
            _ if skipped => Reading::Unread,
            // Bytes came that look like nothing that the dialect knows.
            (None, None) if response.is(Shape::Page) => Reading::Page,
            (None, None) if response.is(Shape::Opaque) => Reading::Unreadable,
            _ if response.body.is_empty() => Reading::Empty,
            // Its end may be what could not be read.
            _ if self.notes.has(Note::EventUnreadable) => Reading::Unreadable,
            _ => Reading::Short,
        }
    }
}
