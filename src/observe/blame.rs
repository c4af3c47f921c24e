//! Whose fault an error was, and which limit it met: by how it ended, the status and the provider's
//! word. Knows no bytes and no provider by name.

use super::observation::{Ending, LimitHit, Side};
use super::verdict::Evidence;
use crate::tape::Cause;

/// Parts of providers' words for what was paid for and is used up.
const QUOTA: [&str; 8] = [
    "quota",
    "billing",
    "credit",
    "spend",
    "payment",
    "insufficient_balance",
    "usage_limit",
    "plan_limit",
];
/// For too much at once.
const RATE: [&str; 7] = [
    "rate_limit",
    "ratelimit",
    "too_many",
    "toomany",
    "throttl",
    "resource_exhausted",
    "resourceexhausted",
];
/// For servers with too much to do.
const OVERLOADED: [&str; 5] = ["overload", "slow_down", "unavailable", "capacity", "server_busy"];
/// For faults of the server, whatever the status says.
const INTERNAL: [&str; 4] = ["server_error", "internal", "api_error", "timeout"];
/// For faults of who asked, within an answer that began well.
///
/// Source of those about pictures: `ResponseError` of OpenAI's SDK for Python 3.52.
const ASKED: [&str; 20] = [
    "invalid",
    "unsupported",
    "context_length",
    "too_large",
    "too_long",
    "too_small",
    "image_parse_error",
    "empty_image",
    "failed_to_download",
    "data_residency_mismatch",
    "content",
    "policy",
    "moderation",
    "safety",
    "permission",
    "forbidden",
    "authentication",
    "unauthorized",
    "not_found",
    "bad_request",
];

/// The limit that the upstream turned the call away for:
///
/// | the provider's word speaks of | else the status | |
/// |---|---|---|
/// | quota, billing, credit, … | 402 | `quota` |
/// | overload, capacity, … (with 429, 5xx or within a stream) | 503, 529 | `overloaded` |
/// | rate limits, throttling, … | 429 | `rate_limit` |
pub fn limit_hit(evidence: &Evidence<'_>, ending: Ending) -> Option<LimitHit> {
    let status = match ending {
        Ending::ErrorStatus => evidence.status?,
        Ending::ErrorInStream => 0,
        _ => return None,
    };
    let speaks = |parts: &[&str]| speaks_of(evidence, parts);
    if speaks(&QUOTA) {
        return Some(LimitHit::Quota);
    }
    if speaks(&OVERLOADED) && matches!(status, 0 | 429 | 500..) {
        return Some(LimitHit::Overloaded);
    }
    match status {
        _ if speaks(&RATE) => Some(LimitHit::RateLimit),
        402 => Some(LimitHit::Quota),
        429 => Some(LimitHit::RateLimit),
        503 | 529 => Some(LimitHit::Overloaded),
        _ => None,
    }
}

/// Whose fault it was; none where nothing went wrong, or the client left:
///
/// | ending | |
/// |---|---|
/// | `proxy_error` | `client` where our reason is `no_route` or `bad_request`, else `proxy` |
/// | `client_timeout` | `client` |
/// | `upstream_timeout` | `provider` where it was connected and silent, else `network` |
/// | `upstream_reset` | `provider` where what came was not HTTP, else `network` |
/// | `error_status` | `provider` from 500 on, and below where its word says that it is overloaded or failed; else `client` |
/// | `error_in_stream` | `client` where its word speaks of a quota, a rate limit or what was asked, or its type blames the request and its word not the server; else `provider` |
/// | `truncated` | `provider` |
pub fn side(evidence: &Evidence<'_>, ending: Ending) -> Option<Side> {
    let speaks = |parts: &[&str]| speaks_of(evidence, parts);
    let limit = limit_hit(evidence, ending);
    Some(match (ending, evidence.cause) {
        (Ending::Complete | Ending::ClientCanceled, _) => return None,
        (Ending::ProxyError, Cause::Refused("no_route" | "bad_request")) => Side::Client,
        (Ending::ProxyError, _) => Side::Proxy,
        (Ending::ClientTimeout, _) => Side::Client,
        (Ending::UpstreamTimeout, Cause::UpstreamTimeout("connect_timeout")) => Side::Network,
        (Ending::UpstreamReset, Cause::UpstreamReset("bad_response")) => Side::Provider,
        (Ending::UpstreamReset, _) => Side::Network,
        (Ending::UpstreamTimeout | Ending::Truncated, _) => Side::Provider,
        (Ending::ErrorStatus, _) => {
            let failed = limit == Some(LimitHit::Overloaded) || speaks(&INTERNAL);
            let below = evidence.status.is_some_and(|status| status < 500);
            if below && !failed { Side::Client } else { Side::Provider }
        }
        (Ending::ErrorInStream, _) => match limit {
            Some(LimitHit::Quota | LimitHit::RateLimit) => Side::Client,
            None if speaks(&ASKED) => Side::Client,
            None if evidence.error_is_requests && !speaks(&INTERNAL) => Side::Client,
            _ => Side::Provider,
        },
    })
}

fn speaks_of(evidence: &Evidence<'_>, parts: &[&str]) -> bool {
    evidence.error.is_some_and(|word| parts.iter().any(|part| word.contains(part)))
}

#[cfg(test)]
mod tests {
    use super::super::verdict::{self, Reading};
    use super::*;

    const GOOD: Evidence<'_> = Evidence {
        cause: Cause::Complete,
        status: Some(200),
        from_upstream: true,
        error: None,
        error_is_requests: false,
        is_call: true,
        streamed: true,
        reading: Reading::Whole,
        asked: true,
        usage: None,
        pending: false,
    };

    /// Ending, side and limit as words; `-` is none.
    fn judge(cause: Cause, status: u16, error: Option<&str>) -> [&'static str; 3] {
        let evidence = Evidence { cause, status: Some(status), error, ..GOOD };
        let ending = verdict::ending(&evidence);
        [
            ending.as_str(),
            side(&evidence, ending).map_or("-", Side::as_str),
            limit_hit(&evidence, ending).map_or("-", LimitHit::as_str),
        ]
    }

    #[test]
    fn a_status_and_a_word_say_whose_fault_it_is() {
        for (status, word, side, limit) in [
            (400, Some("context_length_exceeded"), "client", "-"),
            (400, Some("content_filter"), "client", "-"),
            (400, Some("billing_hard_limit_reached"), "client", "quota"),
            (401, Some("invalid_api_key"), "client", "-"),
            (401, None, "client", "-"),
            (402, None, "client", "quota"),
            (403, Some("billing_error"), "client", "quota"),
            (404, Some("model_unavailable"), "client", "-"),
            (408, Some("timeout_error"), "provider", "-"),
            (413, None, "client", "-"),
            (429, Some("rate_limit_exceeded"), "client", "rate_limit"),
            (429, Some("ratelimitreached"), "client", "rate_limit"),
            (429, Some("resource_exhausted"), "client", "rate_limit"),
            (429, Some("insufficient_quota"), "client", "quota"),
            (429, Some("exceeded_current_quota_error"), "client", "quota"),
            (429, Some("usage_limit_reached"), "client", "quota"),
            (429, Some("engine_overloaded_error"), "provider", "overloaded"),
            (429, Some("nocapacity"), "provider", "overloaded"),
            (429, None, "client", "rate_limit"),
            (499, None, "client", "-"),
            (500, Some("server_error"), "provider", "-"),
            (500, None, "provider", "-"),
            (502, None, "provider", "-"),
            (503, Some("unavailable_error"), "provider", "overloaded"),
            (503, None, "provider", "overloaded"),
            (504, None, "provider", "-"),
            (524, None, "provider", "-"),
            (529, Some("overloaded_error"), "provider", "overloaded"),
            (529, None, "provider", "overloaded"),
        ] {
            let found = judge(Cause::Complete, status, word);
            assert_eq!(found, ["error_status", side, limit], "{status} {word:?}");
        }
    }

    #[test]
    fn within_a_stream_the_word_alone_says_it() {
        for (word, side, limit) in [
            ("insufficient_quota", "client", "quota"),
            ("rate_limit_error", "client", "rate_limit"),
            ("invalid_prompt", "client", "-"),
            ("image_too_small", "client", "-"),
            ("image_parse_error", "client", "-"),
            ("empty_image_file", "client", "-"),
            ("failed_to_download_image", "client", "-"),
            ("image_file_not_found", "client", "-"),
            ("data_residency_mismatch", "client", "-"),
            ("misalignment_policy_violation", "client", "-"),
            ("vector_store_timeout", "provider", "-"),
            ("context_length_exceeded", "client", "-"),
            ("overloaded_error", "provider", "overloaded"),
            ("server_error", "provider", "-"),
            ("tool_use_failed", "provider", "-"),
            ("error_in_stream", "provider", "-"),
        ] {
            let found = judge(Cause::Complete, 200, Some(word));
            assert_eq!(found, ["error_in_stream", side, limit], "{word}");
        }
    }

    #[test]
    fn where_the_word_says_nothing_of_it_its_type_may() {
        for (word, error_is_requests, expected) in [
            ("conversation_already_has_active_response", true, Side::Client),
            ("tool_use_failed", true, Side::Client),
            ("server_error", true, Side::Provider),
            ("novelty", false, Side::Provider),
        ] {
            let evidence = Evidence { error: Some(word), error_is_requests, ..GOOD };
            assert_eq!(side(&evidence, Ending::ErrorInStream), Some(expected), "{word}");
        }
    }

    #[test]
    fn each_other_ending_has_its_side() {
        for (cause, ending, side) in [
            (Cause::Refused("no_route"), "proxy_error", "client"),
            (Cause::Refused("bad_request"), "proxy_error", "client"),
            (Cause::Refused("busy"), "proxy_error", "proxy"),
            (Cause::Refused("shutdown"), "proxy_error", "proxy"),
            (Cause::Refused("loop"), "proxy_error", "proxy"),
            (Cause::ClientStalled, "client_timeout", "client"),
            (Cause::UpstreamTimeout("connect_timeout"), "upstream_timeout", "network"),
            (Cause::UpstreamTimeout("upstream_silent"), "upstream_timeout", "provider"),
            (Cause::UpstreamReset("name_not_resolved"), "upstream_reset", "network"),
            (Cause::UpstreamReset("connection_broken"), "upstream_reset", "network"),
            (Cause::UpstreamReset("proxy_refused"), "upstream_reset", "network"),
            (Cause::UpstreamReset("bad_response"), "upstream_reset", "provider"),
            (Cause::ClientGone, "client_canceled", "-"),
        ] {
            // A 503 of our own is no limit of the upstream's.
            assert_eq!(judge(cause, 503, None), [ending, side, "-"], "{cause:?}");
        }
        assert_eq!(judge(Cause::Complete, 200, None), ["complete", "-", "-"]);
    }

    #[test]
    fn a_stream_that_ends_early_is_the_providers_fault() {
        let evidence = Evidence { reading: Reading::Short, ..GOOD };
        assert_eq!(side(&evidence, Ending::Truncated), Some(Side::Provider));
        assert_eq!(limit_hit(&evidence, Ending::Truncated), None);
    }
}
