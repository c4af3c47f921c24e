//! The one table that says for each ending what its spans' status, `error.type` and severity are.
//! Knows no OpenTelemetry type.

use std::borrow::Cow;

use crate::observe::observation::{CostBasis, Ending, Known, Observation};

/// How bad an exchange was, for its log record and its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    Info,
    Warn,
    Error,
}

impl Severity {
    /// As log records and lines have it (OpenTelemetry's short names).
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
        }
    }
}

/// What each side says of an ending: absent is status unset and no `error.type`, a value is status
/// Error with that `error.type`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome<'a> {
    pub(super) server: Option<Cow<'a, str>>,
    pub(super) client: Option<&'a str>,
    pub(super) severity: Severity,
}

/// | ending | SERVER span | CLIENT span | severity |
/// |---|---|---|---|
/// | `complete`, `client_canceled` | unset | unset | info |
/// | `error_in_stream`, `truncated` | unset: HTTP ended well | Error | error |
/// | any other, status 4xx | unset: the client's fault | Error | warn |
/// | any other | Error | Error | error |
///
/// On the SERVER span `error.type` is the status where that is 5xx, on the CLIENT span what the
/// provider called it. Source: the HTTP semantic conventions (status).
pub(super) fn of(observation: &Observation) -> Outcome<'_> {
    let reason = observation.error_type.as_deref().unwrap_or(observation.ending.as_str());
    let status = observation.http.status.unwrap_or_default();
    match observation.ending {
        Ending::Complete | Ending::ClientCanceled => {
            Outcome { server: None, client: None, severity: Severity::Info }
        }
        Ending::ErrorInStream | Ending::Truncated => {
            Outcome { server: None, client: Some(reason), severity: Severity::Error }
        }
        _ if (400..500).contains(&status) => {
            Outcome { server: None, client: Some(reason), severity: Severity::Warn }
        }
        _ => Outcome {
            server: Some(if status >= 500 { status.to_string().into() } else { reason.into() }),
            client: Some(reason),
            severity: Severity::Error,
        },
    }
}

/// The upstream's status: the client's, where there was a response head at all.
pub(super) fn upstream_status(observation: &Observation) -> Option<u16> {
    observation.http.status.filter(|_| observation.times.head.is_some())
}

/// Why each choice ended, in the provider's words; `error` where one never did, since the answer broke off.
pub(super) fn finish_reasons(observation: &Observation) -> impl Iterator<Item = &str> + Clone {
    // Some servers do not tell.
    let unfinished = (observation.ending != Ending::Complete).then_some("error");
    let reasons = observation.response.finish_reasons.iter();
    reasons.filter_map(move |reason| reason.as_deref().or(unfinished))
}

/// Whether something was answered that may be sold: neither an error nor a page in an answer's stead.
pub(super) fn is_answered(observation: &Observation) -> bool {
    !matches!(observation.usage, Known::Unknown("error" | "no_answer"))
}

/// Whether a cost is told under the names that backends take for what was spent: an estimate only where
/// the operator wants that.
pub(super) fn is_cost_told(observation: &Observation) -> bool {
    let is_estimated =
        observation.cost.value().is_some_and(|cost| cost.basis == CostBasis::Estimated);
    !is_estimated || observation.estimate.is_some_and(|estimate| estimate.stands_in)
}

#[cfg(test)]
mod tests {
    use super::super::literals;
    use super::*;

    #[test]
    fn a_choice_without_a_reason_is_an_error_only_where_the_answer_broke_off() {
        let mut chat = literals::streamed_chat();
        let reasons =
            |chat: &Observation| finish_reasons(chat).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(reasons(&chat), ["stop"], "some servers do not tell");
        for ending in [Ending::ClientCanceled, Ending::Truncated, Ending::ErrorInStream] {
            chat.ending = ending;
            assert_eq!(reasons(&chat), ["stop", "error"]);
        }
    }

    #[test]
    fn the_table_says_status_and_error_type_for_each_ending() {
        use Severity::{Error, Info, Warn};
        let table = [
            (Ending::Complete, Some(200), None, None, None, Info),
            (Ending::ClientCanceled, Some(200), None, None, None, Info),
            (Ending::ErrorInStream, Some(200), Some("overloaded"), None, Some("overloaded"), Error),
            (Ending::Truncated, Some(200), None, None, Some("truncated"), Error),
            (Ending::ErrorStatus, Some(429), Some("429"), None, Some("429"), Warn),
            (Ending::ErrorStatus, Some(500), Some("oops"), Some("500"), Some("oops"), Error),
            (Ending::ErrorStatus, Some(529), None, Some("529"), Some("error_status"), Error),
            (Ending::UpstreamReset, Some(502), Some("dns"), Some("502"), Some("dns"), Error),
            (Ending::UpstreamReset, Some(200), Some("reset"), Some("reset"), Some("reset"), Error),
            (
                Ending::UpstreamTimeout,
                Some(504),
                None,
                Some("504"),
                Some("upstream_timeout"),
                Error,
            ),
            (Ending::ClientTimeout, Some(408), None, None, Some("client_timeout"), Warn),
            (
                Ending::ClientTimeout,
                None,
                None,
                Some("client_timeout"),
                Some("client_timeout"),
                Error,
            ),
            (Ending::ProxyError, Some(404), Some("no_route"), None, Some("no_route"), Warn),
            (Ending::ProxyError, Some(503), Some("busy"), Some("503"), Some("busy"), Error),
        ];
        for (ending, status, reason, server, client, severity) in table {
            let mut observation = literals::streamed_chat();
            observation.ending = ending;
            observation.http.status = status;
            observation.error_type = reason.map(str::to_owned);
            let server = server.map(Cow::Borrowed);
            assert_eq!(of(&observation), Outcome { server, client, severity }, "{ending:?}");
        }
    }
}
