//! How an exchange ended, what went wrong, and what is known of its usage: of each the
//! first that holds. Knows no bytes and no time.

use super::blame;
use super::observation::{
    Ending, Known, LimitHit, Operation, RequestFacts, ResponseFacts, Side, Usage,
};
use crate::tape::Cause;

/// What is judged.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// Why the hot path stopped.
    pub cause: Cause,
    /// The status the client got.
    pub status: Option<u16>,
    /// The answer is the upstream's, not ours.
    pub from_upstream: bool,
    /// The provider's word for an error, if it told of one.
    pub error: Option<&'a str>,
    /// Whether it says beside it that it is the request's fault.
    pub error_is_requests: bool,
    /// A model was called.
    pub is_call: bool,
    /// The answer came as a stream.
    pub streamed: bool,
    /// Some of it was generated content.
    pub generated: bool,
    /// What was read of the answer.
    pub reading: Reading,
    /// Usage was asked for, or need not be.
    pub asked: bool,
    /// The answer is still being made.
    pub pending: bool,
    /// It is made in the background: fetched later, it tells what it used.
    pub background: bool,
    /// The last usage that was reported.
    pub usage: Option<Usage>,
}

/// What was read of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The dialect's terminator was seen, or the whole document; or none was due.
    Whole,
    /// It broke off.
    Short,
    /// It broke off before anything came.
    Empty,
    /// What came is a page for a person: something else answered in the model's stead.
    Page,
    /// It ended well, for all that we can tell, but is not what the dialect knows.
    Unreadable,
    /// It may be whole, but we could not read it: an encoding we do not know, or above a limit.
    Unread,
    /// Bytes of it were not kept, its terminator perhaps among them.
    Torn,
}

/// What a page is called that came in an answer's stead.
const NO_ANSWER: &str = "no_answer";

/// What that comes to.
#[derive(Debug)]
pub struct Verdict {
    /// How it ended.
    pub ending: Ending,
    /// What went wrong, in a bounded vocabulary.
    pub error_type: Option<String>,
    /// Whose fault that is.
    pub error_side: Option<Side>,
    /// Which limit was met.
    pub limit_hit: Option<LimitHit>,
    /// What it used, or why nobody knows.
    pub usage: Known<Usage>,
    /// A model answered, and what that used will not be told later either.
    pub is_never_told: bool,
}

impl Verdict {
    /// By what is known of it.
    pub fn of(evidence: &Evidence<'_>) -> Self {
        let ending = ending(evidence);
        let usage = usage(evidence, ending);
        Self {
            ending,
            error_type: error_type(evidence, ending),
            error_side: blame::side(evidence, ending),
            limit_hit: blame::limit_hit(evidence, ending),
            is_never_told: usage.value().is_none() && is_never_told(evidence, ending),
            usage,
        }
    }
}

/// How it ended.
pub fn ending(evidence: &Evidence<'_>) -> Ending {
    match evidence.cause {
        // Clients hang up as soon as they have read the terminator, some before the framing's end.
        Cause::ClientGone if evidence.has_everything() => Ending::Complete,
        Cause::Refused(_) => Ending::ProxyError,
        Cause::ClientStalled => Ending::ClientTimeout,
        Cause::ClientGone => Ending::ClientCanceled,
        Cause::UpstreamTimeout(_) => Ending::UpstreamTimeout,
        Cause::UpstreamReset(_) => Ending::UpstreamReset,
        Cause::Complete if evidence.status.is_some_and(|status| status >= 400) => {
            Ending::ErrorStatus
        }
        Cause::Complete if evidence.error.is_some() || evidence.is_page() => Ending::ErrorInStream,
        Cause::Complete if evidence.is_truncated() => Ending::Truncated,
        Cause::Complete => Ending::Complete,
    }
}

/// What went wrong, in a bounded vocabulary.
fn error_type(evidence: &Evidence<'_>, ending: Ending) -> Option<String> {
    let told = || evidence.error.map(str::to_owned);
    match (ending, evidence.cause) {
        (Ending::ClientCanceled | Ending::Complete, _) => None,
        (
            _,
            Cause::Refused(reason) | Cause::UpstreamTimeout(reason) | Cause::UpstreamReset(reason),
        ) => Some(reason.to_owned()),
        (Ending::ErrorStatus, _) => told().or(evidence.status.map(|status| status.to_string())),
        (Ending::ErrorInStream, _) if evidence.is_page() => Some(NO_ANSWER.to_owned()),
        (ending, _) => told().or(Some(ending.as_str().to_owned())),
    }
}

/// The usage, or the first reason that explains why there is none.
fn usage(evidence: &Evidence<'_>, ending: Ending) -> Known<Usage> {
    if let Some(usage) = evidence.usage.filter(|_| evidence.is_final(ending)) {
        return Known::Value(usage);
    }
    let early = !matches!(ending, Ending::Complete | Ending::Truncated);
    Known::Unknown(match evidence.reading {
        _ if !evidence.is_call && evidence.usage.is_none() => "not_a_model_call",
        Reading::Page if ending == Ending::ErrorInStream => NO_ANSWER,
        _ if failed(evidence, ending) => "error",
        _ if early => "cut",
        Reading::Torn => "torn",
        Reading::Unread | Reading::Unreadable | Reading::Page => "unreadable",
        Reading::Short | Reading::Empty => "cut",
        Reading::Whole if evidence.pending => "pending",
        Reading::Whole if evidence.streamed && !evidence.asked => "not_asked",
        Reading::Whole => "not_reported",
    })
}

/// The usage as the answer told it; the characters that were spoken, as the request did.
pub fn told(
    operation: Option<Operation>,
    request: &RequestFacts,
    response: &ResponseFacts,
) -> Option<Usage> {
    let is_spoken = operation == Some(Operation::Speech) && response.chunks > 0;
    let asked = request.media.as_ref().filter(|_| is_spoken);
    let Some(characters) = asked.and_then(|asked| asked.characters) else {
        return response.usage;
    };
    let mut usage = response.usage.unwrap_or_default();
    usage.units.characters = Some(characters);
    Some(usage)
}

/// Nothing was answered, or an error. One within a stream that had begun to answer cuts it off; what was
/// told of its input before says that it had begun, and zeros that servers count from say nothing.
fn failed(evidence: &Evidence<'_>, ending: Ending) -> bool {
    match ending {
        Ending::ProxyError | Ending::ErrorStatus => true,
        Ending::ErrorInStream => {
            let told = evidence.usage.is_some_and(|usage| usage.input > Some(0));
            !(evidence.generated || told && evidence.streamed)
        }
        Ending::UpstreamTimeout | Ending::UpstreamReset => !evidence.from_upstream,
        _ => false,
    }
}

/// A model answered, and what that used will not be told later either.
fn is_never_told(evidence: &Evidence<'_>, ending: Ending) -> bool {
    // A stream that says it is in progress and then breaks off owes nothing.
    let pending = evidence.pending && evidence.reading == Reading::Whole;
    evidence.answers() && !failed(evidence, ending) && !pending && !evidence.background
}

impl Evidence<'_> {
    /// No terminator was seen, where there could be one.
    fn is_truncated(&self) -> bool {
        self.is_call && matches!(self.reading, Reading::Short | Reading::Empty)
    }

    /// As far as can be told, what came is a model's, or more of it would have been.
    fn answers(&self) -> bool {
        match self.reading {
            Reading::Page => false,
            Reading::Empty | Reading::Unreadable => self.cause != Cause::Complete,
            Reading::Whole | Reading::Short | Reading::Unread | Reading::Torn => true,
        }
    }

    /// A page came with the status of an answer.
    fn is_page(&self) -> bool {
        self.is_call && self.reading == Reading::Page
    }

    /// A stream that told all it was to tell, though its framing may not have ended.
    fn has_everything(&self) -> bool {
        let told = self.usage.is_some() || !self.asked;
        let good = self.error.is_none() && self.status.is_some_and(|status| status < 400);
        self.is_call && self.streamed && self.reading == Reading::Whole && told && good
    }

    /// Some servers count with each event: what they report within a stream that breaks off is
    /// not the usage, and may be zero.
    fn is_final(&self, ending: Ending) -> bool {
        match self.reading {
            Reading::Whole => self.is_call || ending == Ending::Complete || !self.streamed,
            _ => !self.streamed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Evidence<'_> = Evidence {
        cause: Cause::Complete,
        status: Some(200),
        from_upstream: true,
        error: None,
        error_is_requests: false,
        is_call: true,
        streamed: true,
        generated: false,
        reading: Reading::Whole,
        asked: true,
        pending: false,
        background: false,
        usage: None,
    };

    fn judge(evidence: Evidence<'_>) -> (&'static str, Option<String>, &'static str) {
        let ending = ending(&evidence);
        let usage = match usage(&evidence, ending) {
            Known::Value(_) => "known",
            Known::Unknown(reason) => reason,
        };
        (ending.as_str(), error_type(&evidence, ending), usage)
    }

    fn word(word: &str) -> Option<String> {
        Some(word.to_owned())
    }

    #[test]
    fn the_first_ending_that_holds_wins() {
        let bad = Evidence { status: Some(429), error: Some("x"), reading: Reading::Short, ..GOOD };
        for (cause, ending, error_type) in [
            (Cause::Refused("busy"), "proxy_error", word("busy")),
            (Cause::ClientStalled, "client_timeout", word("x")),
            (Cause::ClientGone, "client_canceled", None),
            (Cause::UpstreamTimeout("silent"), "upstream_timeout", word("silent")),
            (Cause::UpstreamReset("reset"), "upstream_reset", word("reset")),
            (Cause::Complete, "error_status", word("x")),
        ] {
            let (found, error, _) = judge(Evidence { cause, ..bad });
            assert_eq!((found, error), (ending, error_type), "{cause:?}");
        }
        let in_stream = judge(Evidence { status: Some(200), ..bad });
        assert_eq!(in_stream, ("error_in_stream", word("x"), "error"));
        let truncated = judge(Evidence { reading: Reading::Short, ..GOOD });
        assert_eq!(truncated, ("truncated", word("truncated"), "cut"));
        assert_eq!(judge(GOOD), ("complete", None, "not_reported"));
    }

    #[test]
    fn a_client_that_leaves_with_all_it_was_to_get_has_not_cancelled() {
        let gone = Evidence { cause: Cause::ClientGone, ..GOOD };
        let usage = Some(Usage { input: Some(1), ..Usage::default() });
        assert_eq!(judge(Evidence { usage, ..gone }), ("complete", None, "known"));
        assert_eq!(judge(Evidence { asked: false, ..gone }), ("complete", None, "not_asked"));
        for early in [
            gone,
            Evidence { usage, reading: Reading::Short, ..gone },
            Evidence { usage, status: Some(400), ..gone },
            Evidence { usage, status: None, ..gone },
            Evidence { usage, streamed: false, ..gone },
            Evidence { usage, error: Some("x"), ..gone },
            Evidence { usage, is_call: false, ..gone },
        ] {
            assert_eq!(judge(early).0, "client_canceled", "{early:?}");
        }
    }

    #[test]
    fn an_error_is_named_by_the_status_where_nobody_else_names_it() {
        let bare = Evidence { status: Some(502), reading: Reading::Whole, ..GOOD };
        assert_eq!(judge(bare), ("error_status", word("502"), "error"));
        let stalled = Evidence { cause: Cause::ClientStalled, ..GOOD };
        assert_eq!(judge(stalled), ("client_timeout", word("client_timeout"), "cut"));
    }

    #[test]
    fn only_what_could_be_seen_to_be_missing_is_truncated() {
        for (reading, ending, usage) in [
            (Reading::Empty, "truncated", "cut"),
            (Reading::Unreadable, "complete", "unreadable"),
            (Reading::Unread, "complete", "unreadable"),
            (Reading::Torn, "complete", "torn"),
        ] {
            let found = judge(Evidence { reading, ..GOOD });
            assert_eq!((found.0, found.2), (ending, usage), "{reading:?}");
        }
        let short = Evidence { reading: Reading::Short, ..GOOD };
        let other = Evidence { is_call: false, ..short };
        assert_eq!(judge(other), ("complete", None, "not_a_model_call"));
    }

    #[test]
    fn a_page_in_an_answers_stead_is_an_error_and_no_model_answered() {
        let page = Evidence { reading: Reading::Page, streamed: false, ..GOOD };
        assert_eq!(judge(page), ("error_in_stream", word("no_answer"), "no_answer"));
        assert!(failed(&page, Ending::ErrorInStream) && !page.answers());
        let other = Evidence { is_call: false, ..page };
        assert_eq!(judge(other), ("complete", None, "not_a_model_call"));
        let gone = Evidence { cause: Cause::ClientGone, ..page };
        assert!(judge(gone).0 == "client_canceled" && !gone.answers());
    }

    #[test]
    fn what_could_not_be_read_or_never_came_is_not_taken_for_a_models_answer() {
        for reading in [Reading::Empty, Reading::Unreadable] {
            let ended = Evidence { reading, ..GOOD };
            assert!(!ended.answers(), "{reading:?}");
            assert!(Evidence { cause: Cause::UpstreamReset("reset"), ..ended }.answers());
        }
        assert!(GOOD.answers() && Evidence { reading: Reading::Short, ..GOOD }.answers());
    }

    #[test]
    fn an_error_within_a_stream_that_had_begun_to_answer_cuts_it_off() {
        let error = Evidence { error: Some("overloaded"), reading: Reading::Short, ..GOOD };
        let usage = |input| Some(Usage { input: Some(input), ..Usage::default() });
        for (evidence, reason) in [
            (error, "error"),
            (Evidence { generated: true, ..error }, "cut"),
            (Evidence { usage: usage(900), ..error }, "cut"),
            (Evidence { usage: usage(0), ..error }, "error"),
            (Evidence { usage: usage(900), reading: Reading::Whole, ..error }, "known"),
        ] {
            let judged = judge(evidence);
            assert_eq!((judged.0, judged.2), ("error_in_stream", reason), "{evidence:?}");
            let failed = failed(&evidence, Ending::ErrorInStream);
            assert_eq!(failed, reason == "error", "{evidence:?}");
        }
    }

    #[test]
    fn usage_within_a_stream_that_breaks_off_does_not_count() {
        let usage = Some(Usage { input: Some(0), ..Usage::default() });
        let counted = Evidence { usage, ..GOOD };
        assert_eq!(judge(counted).2, "known");
        for cause in [Cause::ClientGone, Cause::UpstreamReset("reset"), Cause::Complete] {
            let short = Evidence { reading: Reading::Short, cause, ..counted };
            assert_eq!(judge(short).2, "cut", "{cause:?}");
            assert_eq!(judge(Evidence { cause, ..counted }).2, "known", "{cause:?}");
        }
        let other = Evidence { is_call: false, ..counted };
        assert_eq!(judge(other).2, "known");
        assert_eq!(judge(Evidence { cause: Cause::ClientGone, ..other }).2, "cut");
        // A document counts once, whoever hangs up after it.
        let document = Evidence { streamed: false, ..other };
        assert_eq!(judge(Evidence { cause: Cause::ClientGone, ..document }).2, "known");
    }

    #[test]
    fn missing_usage_has_a_reason() {
        assert_eq!(judge(Evidence { asked: false, ..GOOD }).2, "not_asked");
        assert_eq!(judge(Evidence { asked: false, streamed: false, ..GOOD }).2, "not_reported");
        let pending = Evidence { pending: true, ..GOOD };
        assert_eq!(judge(pending).2, "pending");
        assert_eq!(judge(Evidence { reading: Reading::Short, ..pending }).2, "cut");
        let refused = Evidence { cause: Cause::UpstreamReset("dns"), from_upstream: false, ..GOOD };
        assert_eq!(judge(refused).2, "error");
        assert_eq!(judge(Evidence { from_upstream: true, ..refused }).2, "cut");
        assert_eq!(judge(Evidence { cause: Cause::ClientGone, ..GOOD }).2, "cut");
    }

    #[test]
    fn the_characters_of_speech_count_where_sound_came() {
        use crate::observe::observation::MediaRequest;
        let media = MediaRequest { characters: Some(25), ..MediaRequest::default() };
        let request = RequestFacts { media: Some(Box::new(media)), ..RequestFacts::default() };
        let spoken = |operation, chunks| {
            let response = ResponseFacts { chunks, ..ResponseFacts::default() };
            told(operation, &request, &response).and_then(|usage| usage.units.characters)
        };
        assert_eq!(spoken(Some(Operation::Speech), 1), Some(25));
        assert_eq!(spoken(Some(Operation::Speech), 0), None, "nothing was said");
        assert_eq!(spoken(Some(Operation::Chat), 1), None, "another call");
    }
}
