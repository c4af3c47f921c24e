//! One HTTP endpoint that bodies are posted to, over one kept connection. Knows no OTLP and never
//! tries twice.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The most of an answer's body that is read.
const ANSWER_BYTES: usize = 64 << 10;

/// Why a post got no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    /// The connection broke, or what came was no HTTP.
    #[error("no answer: {0}")]
    Http(#[from] hyper::Error),
    /// The answer's body could not be read, or was longer than we read.
    #[error("unreadable answer: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
}

/// What the endpoint answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// How long `Retry-After` asks to wait.
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Bytes,
}

/// The trust that TLS endpoints are checked with: `ring`, the system's roots, or where it has none
/// those of Mozilla.
pub(super) fn tls() -> Result<TlsConnector, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The endpoint.
pub(super) struct Endpoint {
    host: String,
    port: u16,
    path: String,
    headers: HeaderMap,
    gzip: bool,
    tls: Option<TlsConnector>,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Endpoint {
    /// An endpoint at `uri`; `tls` is used where its scheme is https.
    pub(super) fn new(uri: &Uri, more: HeaderMap, gzip: bool, tls: Option<&TlsConnector>) -> Self {
        let https = uri.scheme_str() == Some("https");
        let mut headers = HeaderMap::new();
        let authority = uri.authority().map_or("", |it| it.as_str());
        // What stands before an `@` is a credential, no part of `Host`.
        let host = authority.rsplit('@').next().unwrap_or(authority);
        headers.extend(HeaderValue::from_str(host).map(|host| (header::HOST, host)));
        let protobuf = HeaderValue::from_static("application/x-protobuf");
        headers.insert(header::CONTENT_TYPE, protobuf);
        let agent = concat!("clearspan/", env!("CARGO_PKG_VERSION"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
        if gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        headers.extend(more);
        Self {
            host: host_name(uri).to_owned(),
            port: uri.port_u16().unwrap_or(if https { 443 } else { 80 }),
            path: uri.path_and_query().map_or("/", |it| it.as_str()).to_owned(),
            headers,
            gzip,
            tls: tls.filter(|_| https).cloned(),
            connection: None,
        }
    }

    /// What `body` becomes on the wire.
    pub(super) fn encode(&self, body: Vec<u8>) -> Bytes {
        if !self.gzip {
            return body.into();
        }
        let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
        // Writing into memory cannot fail.
        drop(encoder.write_all(&body));
        encoder.finish().unwrap_or_default().into()
    }

    /// Posts an encoded body. Whoever drops this future midway drops the connection with it.
    pub(super) async fn post(&mut self, body: Bytes) -> Result<Answer, Error> {
        let mut connection = match self.connection.take() {
            Some(kept) if !kept.is_closed() => kept,
            _ => self.connect().await?,
        };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.path.parse().unwrap_or_default();
        *request.headers_mut() = self.headers.clone();
        let (head, body) = connection.send_request(request).await?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES).collect().await.map_err(Error::Body)?;
        self.connection = Some(connection);
        let retry_after = head.headers.get(header::RETRY_AFTER).and_then(retry_after);
        Ok(Answer { status: head.status, retry_after, body: body.to_bytes() })
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Error> {
        let address = (self.host.as_str(), self.port);
        let stream = TcpStream::connect(address).await.map_err(Error::Connect)?;
        stream.set_nodelay(true).map_err(Error::Connect)?;
        let Some(tls) = &self.tls else { return start(stream).await };
        let name = ServerName::try_from(self.host.clone())
            .map_err(|error| Error::Connect(io::Error::other(error)))?;
        start(tls.connect(name, stream).await.map_err(Error::Connect)?).await
    }
}

async fn start<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // A broken connection shows where a request is sent on it.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

/// The host without the brackets of an IPv6 address.
pub(super) fn host_name(uri: &Uri) -> &str {
    uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
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
        let endpoint = Endpoint::new(&uri, HeaderMap::new(), false, None);
        assert_eq!((endpoint.host.as_str(), endpoint.port), ("::1", 4318));
        assert_eq!(endpoint.headers[header::HOST], "[::1]:4318");
        assert_eq!(endpoint.path, "/v1/traces?x=1");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let of = |text: &'static str| retry_after(&HeaderValue::from_static(text));
        assert_eq!(of(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(of("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!(of("soon"), None);
    }

    #[test]
    fn the_roots_of_this_system_make_a_connector() {
        assert!(tls().is_ok());
    }
}
