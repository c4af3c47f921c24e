//! OTLP over gRPC: one method that messages are sent to, over one kept HTTP/2 connection. Knows no
//! signal and never tries twice. <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>

use std::time::Duration;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::Full;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;

use super::attempt::{self, Attempt, Error};
use super::connect::{Means, Place};

/// What TLS is told that we speak.
pub(super) const ALPN: &[u8] = b"h2";

/// In front of a message: whether it is compressed, and its length.
const PREFIX: usize = 5;
/// The most that `grpc-timeout` can say: eight digits.
const LONGEST_TIMEOUT: u128 = 99_999_999;
/// The codes, by number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The method.
pub(super) struct Endpoint {
    place: Place,
    uri: Uri,
    headers: HeaderMap,
    gzip: bool,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Endpoint {
    /// The method at `uri`, connected to by `means`.
    pub(super) fn new(uri: &Uri, more: HeaderMap, gzip: bool, means: &Means) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(attempt::USER_AGENT));
        if gzip {
            headers.insert("grpc-encoding", HeaderValue::from_static("gzip"));
        }
        headers.extend(more);
        let place = Place::new(uri, means, false);
        Self { place, uri: uri.clone(), headers, gzip, connection: None }
    }

    /// What a message becomes on the wire.
    pub(super) fn encode(&self, message: Vec<u8>) -> Bytes {
        let message = if self.gzip { attempt::gzipped(&message) } else { message };
        let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
        let mut framed = Vec::with_capacity(PREFIX + message.len());
        framed.push(u8::from(self.gzip));
        framed.extend_from_slice(&length.to_be_bytes());
        framed.extend_from_slice(&message);
        framed.into()
    }

    /// Sends an encoded message, for whose answer `left` is left. Whoever drops this future midway
    /// drops the connection with it.
    pub(super) async fn call(&mut self, body: Bytes, left: Duration) -> Result<Attempt, Error> {
        let mut connection = match self.connection.take() {
            Some(kept) if !kept.is_closed() => kept,
            _ => self.connect().await?,
        };
        connection.ready().await?;
        let answer = connection.send_request(self.request(body, left)).await?;
        let (head, body) = answer.into_parts();
        let body = attempt::read(body).await?;
        self.connection = Some(connection);
        // An answer without a message has its status in the head.
        let in_head = head.headers.contains_key("grpc-status");
        let trailers = body.trailers().cloned().unwrap_or_default();
        let fields = if in_head { &head.headers } else { &trailers };
        let code = code(fields).unwrap_or_else(|| code_of(head.status));
        Ok(answered(code, fields, &body.to_bytes()))
    }

    fn request(&self, body: Bytes, left: Duration) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        let timeout = format!("{}m", left.as_millis().clamp(1, LONGEST_TIMEOUT));
        let timeout = HeaderValue::try_from(timeout).map(|it| ("grpc-timeout".parse(), it));
        if let Ok((Ok(name), value)) = timeout {
            request.headers_mut().insert::<http::HeaderName>(name, value);
        }
        request
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Error> {
        let stream = TokioIo::new(self.place.connect().await?);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
        // A broken connection shows where a request is sent on it.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }
}

fn code(fields: &HeaderMap) -> Option<usize> {
    fields.get("grpc-status")?.to_str().ok()?.trim().parse().ok()
}

/// What a status stands for where something between says no gRPC status:
/// <https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>
fn code_of(status: StatusCode) -> usize {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

/// Which codes are worth another try: <https://opentelemetry.io/docs/specs/otlp/#failures>
fn answered(code: usize, fields: &HeaderMap, body: &[u8]) -> Attempt {
    let name = CODES.get(code).copied().unwrap_or("an unknown code");
    let said = fields.get("grpc-message").map(|it| message(it.as_bytes())).unwrap_or_default();
    let colon = if said.is_empty() { "" } else { ": " };
    let why = format!("it answers {name}{colon}{said}");
    let after = fields.get("grpc-status-details-bin").and_then(|it| retry_delay(it.as_bytes()));
    match name {
        "OK" => attempt::taken(body.get(PREFIX..).unwrap_or_default()),
        "CANCELLED" | "DEADLINE_EXCEEDED" | "ABORTED" | "OUT_OF_RANGE" | "UNAVAILABLE"
        | "DATA_LOSS" => Attempt::Later { why, after },
        // Without a word on when, it will not recover.
        "RESOURCE_EXHAUSTED" if after.is_some() => Attempt::Later { why, after },
        _ => Attempt::Refused { why },
    }
}

/// `grpc-message`, percent-encoded; what is no escape stands for itself.
fn message(encoded: &[u8]) -> String {
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let [first, more @ ..] = rest {
        let escape = more.first_chunk::<2>().filter(|_| *first == b'%');
        let escape = escape.and_then(|digits| std::str::from_utf8(digits).ok());
        let escape = escape.filter(|digits| !digits.starts_with('+'));
        let byte = escape.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { more.get(2..).unwrap_or_default() } else { more };
    }
    attempt::words(&String::from_utf8_lossy(&decoded))
}

/// `google.rpc.Status`, as far as we read it.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// The pause that a `RetryInfo` among the details asks for.
fn retry_delay(details: &[u8]) -> Option<Duration> {
    // Padding is allowed and not asked for.
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let bytes = GeneralPurpose::new(&STANDARD, config).decode(details).ok()?;
    let status = Status::decode(bytes.as_slice()).ok()?;
    let mut details = status.details.iter();
    let found = details.find(|it| it.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(found.value.as_slice()).ok()?.retry_delay.unwrap_or_default();
    let nanos = u32::try_from(delay.nanos).unwrap_or_default();
    Some(Duration::new(u64::try_from(delay.seconds).unwrap_or_default(), nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `grpc-status-details-bin` that asks for a pause.
    fn details(seconds: i64, nanos: i32) -> String {
        let value = RetryInfo { retry_delay: Some(Delay { seconds, nanos }) }.encode_to_vec();
        let of = |name: &str, value| Any { type_url: format!("type.googleapis.com/{name}"), value };
        let details = vec![of("google.rpc.DebugInfo", vec![]), of("google.rpc.RetryInfo", value)];
        let engine = base64::engine::general_purpose::STANDARD_NO_PAD;
        engine.encode(Status { details }.encode_to_vec())
    }

    fn fields(more: &[(&'static str, &str)]) -> HeaderMap {
        more.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn some_codes_are_worth_another_try() {
        let again = |fields: &HeaderMap| {
            let later = |code| matches!(answered(code, fields, b""), Attempt::Later { .. });
            (0..20).filter(|&code| later(code)).collect::<Vec<_>>()
        };
        assert_eq!(again(&fields(&[])), [1, 4, 10, 11, 14, 15]);
        let asked = fields(&[("grpc-status-details-bin", &details(0, 1))]);
        assert_eq!(again(&asked), [1, 4, 8, 10, 11, 14, 15]);
    }

    #[test]
    fn an_endpoint_says_why_and_when() {
        let fields = fields(&[
            ("grpc-message", "too%20much%0Anow 100%"),
            ("grpc-status-details-bin", &details(2, 500_000_000)),
        ]);
        let why = "it answers RESOURCE_EXHAUSTED: too much now 100%".to_owned();
        let after = Some(Duration::from_millis(2500));
        assert_eq!(answered(8, &fields, b""), Attempt::Later { why, after });
        let why = "it answers an unknown code".to_owned();
        assert_eq!(answered(77, &HeaderMap::new(), b""), Attempt::Refused { why });
    }

    #[test]
    fn details_that_are_none_ask_for_nothing() {
        assert_eq!(retry_delay(b"!"), None);
        assert_eq!(retry_delay(b""), None);
        assert_eq!(retry_delay(details(-1, -1).as_bytes()), Some(Duration::ZERO));
        let padded = base64::engine::general_purpose::STANDARD.encode(b"x");
        assert_eq!(retry_delay(padded.as_bytes()), None);
    }

    #[test]
    fn an_answer_that_is_no_grpc_is_read_by_its_status() {
        let code = |status| CODES[code_of(StatusCode::from_u16(status).unwrap())];
        assert_eq!(
            [400, 401, 403, 404, 429, 502, 503, 504, 500, 200].map(code),
            [
                "INTERNAL",
                "UNAUTHENTICATED",
                "PERMISSION_DENIED",
                "UNIMPLEMENTED",
                "UNAVAILABLE",
                "UNAVAILABLE",
                "UNAVAILABLE",
                "UNAVAILABLE",
                "UNKNOWN",
                "UNKNOWN"
            ]
        );
    }

    #[test]
    fn a_message_is_framed_and_its_timeout_has_eight_digits() {
        let uri = Uri::from_static("http://c:4317/x.Y/Export");
        let of = |gzip| Endpoint::new(&uri, HeaderMap::new(), gzip, &Means::default());
        assert_eq!(of(false).encode(b"abc".to_vec()), &b"\0\0\0\0\x03abc"[..]);
        let framed = of(true).encode(vec![0; 1000]);
        assert_eq!(framed[0], 1);
        assert_eq!(usize::from(framed[4]) + PREFIX, framed.len());
        let timeout = |left| of(true).request(Bytes::new(), left).headers()["grpc-timeout"].clone();
        assert_eq!(timeout(Duration::from_millis(1500)), "1500m");
        assert_eq!(timeout(Duration::ZERO), "1m");
        assert_eq!(timeout(Duration::MAX), "99999999m");
    }
}
