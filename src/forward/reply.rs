//! The few answers we make ourselves, in the shape that the upstream's clients can read. Pure.

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, ORIGIN,
    RETRY_AFTER, VARY,
};
use http::{Method, Response};

use super::error::Error;
use super::settings::{ErrorShape, Place, Settings, Upstream};
use crate::tape;

/// Says that an answer is ours, and why.
const CLEARSPAN_ERROR: HeaderName = HeaderName::from_static("clearspan-error");
/// Seconds after which a client that was refused for load may try again.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// What an answer of our own needs to know of the request.
pub(super) struct Asked {
    head_only: bool,
    origin: Option<HeaderValue>,
}

impl Asked {
    pub(super) fn new(method: &Method, headers: &HeaderMap) -> Self {
        Self { head_only: method == Method::HEAD, origin: headers.get(ORIGIN).cloned() }
    }
}

/// The answer to `error`; `upstream`: the one that was addressed.
pub(super) fn to(
    error: &Error,
    asked: Asked,
    settings: &Settings,
    upstream: Option<&Upstream>,
) -> Response<Bytes> {
    let shape = upstream.map_or(&settings.shape, |upstream| &upstream.shape);
    let message = match (error, upstream) {
        (Error::NoRoute, _) => format!("clearspan: {error}; it serves {}", places(settings)),
        (error, Some(upstream)) if error.is_of_the_upstream() => {
            format!("clearspan: {error} ({})", whom(&upstream.facts))
        }
        _ => format!("clearspan: {error}"),
    };
    let body = if asked.head_only { Bytes::new() } else { fill(shape, error, &message) };
    let mut response = Response::new(body);
    *response.status_mut() = error.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CLEARSPAN_ERROR, HeaderValue::from_static(error.reason()));
    if matches!(error, Error::Busy) {
        headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
    }
    // A browser app could not read the answer otherwise.
    if let Some(origin) = asked.origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(VARY, HeaderValue::from_static("Origin"));
    }
    response
}

/// Its name, and where it is: who reads the message has to look there.
fn whom(upstream: &tape::Upstream) -> String {
    let tape::Upstream { name, address, port, .. } = upstream;
    match port {
        Some(port) => format!("{name} at {}", Place { host: address.clone(), port: *port }),
        None => format!("{name} at {address}"),
    }
}

/// Every path and mount that leads somewhere.
fn places(settings: &Settings) -> String {
    let places = settings.upstreams.iter().flat_map(|upstream| {
        let mount = upstream.mount.iter().map(|mount| format!("{mount}/"));
        let name = &upstream.facts.name;
        upstream.paths.iter().cloned().chain(mount).map(move |place| format!("{place} ({name})"))
    });
    places.collect::<Vec<_>>().join(", ")
}

fn fill(shape: &ErrorShape, error: &Error, message: &str) -> Bytes {
    // The message comes last: it may hold what looks like a hole.
    let text = shape.0.replace("{code}", &escape(error.reason()));
    let text = text.replace("{status}", error.status().as_str());
    let text = text.replace("{message}", &escape(message));
    Bytes::from(text)
}

/// As inside a JSON string.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\\' => escaped.extend(['\\', character]),
            control if control < ' ' => escaped.push_str(&format!("\\u{:04x}", control as u32)),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_cannot_break_the_json_it_stands_in() {
        let shape = ErrorShape(
            r#"{"error":{"code":{status},"message":"{message}","status":"{code}"}}"#.into(),
        );
        let body = fill(&shape, &Error::Busy, "a \"quote\" \\ and\na line {status}");
        let expected = r#"{"error":{"code":503,"message":"a \"quote\" \\ and\u000aa line {status}","status":"busy"}}"#;
        assert_eq!(body, expected.as_bytes());
    }
}
