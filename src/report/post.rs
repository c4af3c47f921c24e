//! OTLP over HTTP: one endpoint that bodies are posted to, over one kept connection. Knows no signal
//! and never tries twice.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;

use super::attempt::{self, Attempt, Error};
use super::connect::{Means, Place};

/// What TLS is told that we speak.
pub(super) const ALPN: &[u8] = b"http/1.1";

/// The endpoint.
pub(super) struct Endpoint {
    place: Place,
    target: Uri,
    headers: HeaderMap,
    gzip: bool,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Endpoint {
    /// An endpoint at `uri`, connected to by `means`.
    pub(super) fn new(uri: &Uri, more: HeaderMap, gzip: bool, means: &Means) -> Self {
        let mut headers = HeaderMap::new();
        let authority = uri.authority().map_or("", |it| it.as_str());
        // What stands before an `@` is a credential, no part of `Host`.
        let host = authority.rsplit('@').next().unwrap_or(authority);
        headers.extend(HeaderValue::from_str(host).map(|host| (header::HOST, host)));
        let protobuf = HeaderValue::from_static("application/x-protobuf");
        headers.insert(header::CONTENT_TYPE, protobuf);
        headers.insert(header::USER_AGENT, HeaderValue::from_static(attempt::USER_AGENT));
        if gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        headers.extend(more);
        let place = Place::new(uri, means, true);
        let path = uri.path_and_query().map_or("/", |it| it.as_str());
        let mut target = path.to_owned();
        if let Some(credentials) = place.forwarder() {
            target = format!("http://{host}{path}");
            headers.extend(credentials.map(|it| (header::PROXY_AUTHORIZATION, it.clone())));
        }
        Self { place, target: target.parse().unwrap_or_default(), headers, gzip, connection: None }
    }

    /// What `body` becomes on the wire.
    pub(super) fn encode(&self, body: Vec<u8>) -> Bytes {
        if self.gzip { attempt::gzipped(&body).into() } else { body.into() }
    }

    /// Posts an encoded body. Whoever drops this future midway drops the connection with it.
    pub(super) async fn post(&mut self, body: Bytes) -> Result<Attempt, Error> {
        let mut connection = match self.connection.take() {
            Some(kept) if !kept.is_closed() => kept,
            _ => self.connect().await?,
        };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.target.clone();
        *request.headers_mut() = self.headers.clone();
        let (head, body) = connection.send_request(request).await?.into_parts();
        let body = attempt::read(body).await?.to_bytes();
        self.connection = Some(connection);
        Ok(answered(head.status, &head.headers, &body))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Error> {
        let stream = TokioIo::new(self.place.connect().await?);
        let (sender, connection) = http1::handshake(stream).await?;
        // A broken connection shows where a request is sent on it.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }
}

/// Which answers are worth another try: <https://opentelemetry.io/docs/specs/otlp/#failures-1>
fn answered(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Attempt {
    let why = format!("it answers {status}");
    match status.as_u16() {
        200..=299 => attempt::taken(body),
        429 | 502..=504 => {
            let after = headers.get(header::RETRY_AFTER).and_then(retry_after);
            Attempt::Later { why, after }
        }
        _ => Attempt::Refused { why },
    }
}

/// Seconds, or a date.
fn retry_after(value: &HeaderValue) -> Option<Duration> {
    let value = value.to_str().ok()?.trim();
    let until = |date: SystemTime| date.duration_since(SystemTime::now()).unwrap_or_default();
    let seconds = value.parse().map(Duration::from_secs);
    seconds.or_else(|_| httpdate::parse_http_date(value).map(until)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_in_a_url_is_no_host() {
        let uri = Uri::from_static("https://user:secret@[::1]:4318/v1/traces?x=1");
        let endpoint = Endpoint::new(&uri, HeaderMap::new(), false, &Means::default());
        assert_eq!(endpoint.headers[header::HOST], "[::1]:4318");
        assert_eq!(endpoint.target, "/v1/traces?x=1");
    }

    #[test]
    fn some_answers_are_worth_another_try() {
        let headers = HeaderMap::new();
        let again = |status: u16| {
            let status = StatusCode::from_u16(status).unwrap();
            matches!(answered(status, &headers, b""), Attempt::Later { .. })
        };
        let worth: Vec<_> = (200..600).filter(|&status| again(status)).collect();
        assert_eq!(worth, [429, 502, 503, 504]);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let of = |text: &str| retry_after(&HeaderValue::from_str(text).unwrap());
        assert_eq!(of(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(of("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        let soon = SystemTime::now() + Duration::from_secs(90);
        let left = of(&httpdate::fmt_http_date(soon)).unwrap();
        assert!((60..=90).contains(&left.as_secs()), "{left:?}");
        assert_eq!(of("soon"), None);
    }
}
