//! W3C Trace Context: ids from a client's `traceparent`, or drawn. Knows no span.
//!
//! <https://www.w3.org/TR/trace-context/#traceparent-header>

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::tape::Ids;
use crate::tape::trace_context::parse;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const SAMPLED: u8 = 1;

/// Ids for an exchange: the client's trace continued where it sent one valid `traceparent`.
pub(super) fn ids(headers: &HeaderMap) -> Ids {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let only = values.next().filter(|_| values.next().is_none());
    let parent = only.and_then(|value| parse(value.as_bytes()));
    let (trace, parent, flags) = match parent {
        Some((trace, span, flags)) => (trace, Some(span), flags),
        None => (fastrand::u128(1..).to_be_bytes(), None, SAMPLED),
    };
    Ids { trace, parent, server_span: span_id(), client_span: span_id(), flags }
}

/// The header that makes the upstream's spans children of our CLIENT span.
pub(super) fn traceparent(ids: &Ids) -> Option<HeaderValue> {
    let (trace, span) = (u128::from_be_bytes(ids.trace), u64::from_be_bytes(ids.client_span));
    HeaderValue::try_from(format!("00-{trace:032x}-{span:016x}-{:02x}", ids.flags)).ok()
}

fn span_id() -> [u8; 8] {
    fastrand::u64(1..).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    fn ids_of(values: &[&str]) -> Ids {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACEPARENT, HeaderValue::from_str(value).unwrap());
        }
        ids(&headers)
    }

    #[test]
    fn a_valid_traceparent_is_continued() {
        let ids = ids_of(&[&format!("00-{TRACE}-{SPAN}-00")]);
        assert_eq!(u128::from_be_bytes(ids.trace), u128::from_str_radix(TRACE, 16).unwrap());
        assert_eq!(ids.parent.map(u64::from_be_bytes), u64::from_str_radix(SPAN, 16).ok());
        assert_eq!(ids.flags, 0);
        let ours = traceparent(&ids).unwrap();
        let client_span = u64::from_be_bytes(ids.client_span);
        assert_eq!(ours, format!("00-{TRACE}-{client_span:016x}-00"));
    }

    #[test]
    fn an_invalid_one_is_as_none() {
        let valid = format!("00-{TRACE}-{SPAN}-01");
        let zeros = format!("00-{}-{SPAN}-01", "0".repeat(32));
        let no_span = format!("00-{TRACE}-{}-01", "0".repeat(16));
        let cases: [&[&str]; 9] = [
            &[],
            &[""],
            &[&valid, &valid],
            &[&valid.to_uppercase()],
            &[&format!("{valid}-x")],
            &[&format!("ff{}", &valid[2..])],
            &[&zeros],
            &[&no_span],
            &[&valid[..54]],
        ];
        for case in cases {
            let ids = ids_of(case);
            assert_eq!((ids.parent, ids.flags), (None, 1), "{case:?}");
            assert_ne!(ids.trace, [0; 16]);
        }
    }

    #[test]
    fn a_later_version_is_read_by_its_first_fields() {
        assert!(ids_of(&[&format!("01-{TRACE}-{SPAN}-01-more")]).parent.is_some());
    }

    #[test]
    fn spans_have_ids_of_their_own() {
        let ids = ids_of(&[]);
        let nothing = [0; 8];
        assert!(ids.server_span != nothing && ids.client_span != nothing);
        assert_ne!(ids.server_span, ids.client_span);
    }
}
