//! What forwarding needs to be told. Built by `config`, or from literals in a test.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::headers::Hop;
pub use super::reach::{Place, Protocol, Proxy, Tls, Trust, Way};
use crate::tape;

/// Everything that forwarding needs to be told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The shared listener, on which the path decides (`server.listen`).
    pub listen: Listen,
    /// Where requests can go.
    pub upstreams: Vec<Upstream>,
    /// Index of the upstream that answers `GET` and `HEAD` of `/` on the shared listener
    /// (`server.root`).
    pub root: Option<usize>,
    /// The shape of our own answers where no upstream was addressed.
    pub shape: ErrorShape,
    /// The bounds of forwarding.
    pub limits: Limits,
}

/// One upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// What the cold path is told of it.
    pub facts: Arc<tape::Upstream>,
    /// Where its connections lead.
    pub way: Way,
    /// TLS, if its connections have it.
    pub tls: Option<Tls>,
    /// Whether exchanges with it share HTTP/2 connections (`http = "2"`): agreed on over TLS, by
    /// prior knowledge without. An upgrade always has an HTTP/1.1 connection of its own.
    pub http2: bool,
    /// The value of `Host`: the URL's authority as written.
    pub host: HeaderValue,
    /// Put in front of each request's path; empty, or begins with `/` and does not end with it.
    pub base_path: String,
    /// Path prefixes that are sent here unchanged; each begins and ends with `/`, or names one path.
    pub paths: Vec<String>,
    /// Taken off the front of a path (`/openai`); begins with `/` and does not end with it.
    pub mount: Option<String>,
    /// How requests of this provider's clients are known, where they have a sign of their own.
    pub marker: Option<Marker>,
    /// Ask for a stream's usage in the client's stead (`stream_usage = "ask"`).
    pub asks_for_usage: bool,
    /// Replace the app's `traceparent` with ours.
    pub propagate: bool,
    /// A listener of its own, on which every path goes here.
    pub listen: Option<Listen>,
    /// The shape of our own answers in its stead.
    pub shape: ErrorShape,
}

impl Upstream {
    /// The egress proxy that takes its requests themselves, in absolute form.
    pub(super) fn forwarder(&self, hop: Hop) -> Option<&Proxy> {
        self.way.forwarder(self.tls.is_some(), hop)
    }

    /// The credentials that this proxy wants with each request.
    pub(super) fn proxy_authorization(&self, hop: Hop) -> Option<&HeaderValue> {
        self.forwarder(hop)?.authorization()
    }
}

/// What only one provider's clients say, and where they ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    /// A request header (`anthropic-version`).
    pub header: HeaderName,
    /// A parameter of the query that stands for it where no header bears a key (Gemini's `key`).
    pub query: Option<&'static str>,
    /// Path prefixes under which they ask of themselves, though `paths` may not list them: no
    /// prefix of another provider that covers one takes a marked request away.
    pub ground: &'static [&'static str],
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Where.
    pub at: Endpoint,
    /// With TLS, from these files; absent: plain.
    pub tls: Option<TlsFiles>,
}

/// What TLS of a listener is made of: PEM files, which may be replaced while it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and behind it those that lead to its root.
    pub cert: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// Who signs the certificate that each client must show; absent: clients show none.
    pub client_ca: Option<PathBuf>,
}

/// Where one can listen or connect on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// How the path of a socket begins.
const UNIX: &str = "unix:";
/// The system's longest path of a socket (`sun_path` without the zero at its end).
const LONGEST_PATH: usize = 107;

/// A text that names no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an IP address and a port, like \"127.0.0.1:4319\" or \"[::1]:4319\", or a socket's path, \
     like \"unix:/run/clearspan.sock\""
)]
pub struct NoEndpoint;

impl FromStr for Endpoint {
    type Err = NoEndpoint;

    fn from_str(text: &str) -> Result<Self, NoEndpoint> {
        match text.strip_prefix(UNIX) {
            Some(path) if path.starts_with('/') && path.len() <= LONGEST_PATH => {
                Ok(Self::Unix(path.into()))
            }
            Some(_) => Err(NoEndpoint),
            None => text.parse().map(Self::Tcp).map_err(|_| NoEndpoint),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl Endpoint {
    /// The IP address and port, where it has them.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

/// How an answer of our own looks, so that the provider's SDK can read it: JSON text with the holes
/// `{code}` and `{message}`, filled with JSON-escaped text, and `{status}`, filled with the number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorShape(pub String);

/// Bounds of forwarding. Each is a key of `[limits]`; a duration of zero means no limit where the
/// key says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Exchanges at once (`max_exchanges`, 10,000); above it 503 with `Retry-After`.
    pub exchanges: usize,
    /// Client connections at once (`max_connections`, 20,000); above it they wait in the backlog.
    pub connections: usize,
    /// For name resolution, TCP, an egress proxy and TLS to an upstream (`connect_seconds`, 10).
    pub connect: Duration,
    /// An idle client connection is closed after this (`client_idle_seconds`, 90).
    pub client_idle: Duration,
    /// From the first byte of a request's head to its last (`header_seconds`, 10).
    pub header: Duration,
    /// From a client's connection to a TLS listener until it has greeted (`handshake_seconds`, 10).
    pub handshake: Duration,
    /// A client that neither sends the body it announced nor reads the answer
    /// (`client_stall_seconds`, 600; 0 is no limit).
    pub client_stall: Duration,
    /// An idle upstream connection is not used after this (`upstream_idle_seconds`, 4: uvicorn and
    /// Node close at 5).
    pub upstream_idle: Duration,
    /// Idle connections kept for each upstream (`upstream_idle_connections`, 256).
    pub upstream_idle_connections: usize,
    /// A quiet upstream connection is probed after this, so that a NAT keeps it and a dead one is
    /// seen (`upstream_keepalive_seconds`, 60; 0: never).
    pub upstream_keepalive: Duration,
    /// The longest silence of an upstream, before the head or within the body
    /// (`upstream_silence_seconds`, 0: no limit, since models think for long).
    pub upstream_silence: Duration,
    /// The longest body that is held to ask for a stream's usage (`ask_body_bytes`, 8 MiB).
    pub ask_body: usize,
    /// From the first byte of a held body to its last (`ask_wait_seconds`, 5).
    pub ask_wait: Duration,
    /// What asking may hold in all exchanges together (`ask_memory`, 128 MiB).
    pub ask_memory: usize,
    /// The longest event of an answer that is held back (`ask_event_bytes`, 64 KiB).
    pub ask_event: usize,
    /// How long a model is not asked about whose upstream refused that (`ask_pause_seconds`, 3600).
    pub ask_pause: Duration,
    /// The longest that neither side of an upgraded connection may send
    /// (`tunnel_idle_seconds`, 3,600: a realtime session's longest; 0 is no limit).
    pub tunnel_idle: Duration,
    /// Exchanges at once on one client's HTTP/2 connection (`http2_client_streams`, 250: what Go's
    /// servers allow, so that clients are used to it); above it they wait at the client, or come on
    /// another connection.
    pub client_streams: usize,
    /// Exchanges at once on one HTTP/2 connection to an upstream, or fewer where it allows fewer
    /// (`http2_upstream_streams`, 100: RFC 9113's advice to servers); above it another is opened.
    pub upstream_streams: usize,
    /// Bytes that may be on their way on one HTTP/2 stream before they are read
    /// (`http2_stream_window`, 256 KiB: a prompt or an answer in one go).
    pub stream_window: usize,
    /// Bytes of a request's body that are kept until its answer begins, so that it can be sent again
    /// where an HTTP/2 upstream says that it has not begun with it (`http2_repeat`, 256 KiB: most
    /// prompts; a longer one is a 502 then).
    pub http2_repeat: usize,
    /// The longest HTTP/2 head, each field counted with 32 bytes more (`http2_head`, 64 KiB);
    /// a longer one is refused with 431.
    pub http2_head: usize,
    /// An HTTP/2 connection with exchanges on which nothing comes is asked for a sign of life after
    /// this, and closed when none comes within as long again (`http2_ping_seconds`, 30; 0: never).
    pub ping: Duration,
    /// From SIGTERM until what still runs is cut off (`drain_seconds`, 7).
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            exchanges: 10_000,
            connections: 20_000,
            connect: Duration::from_secs(10),
            client_idle: Duration::from_secs(90),
            header: Duration::from_secs(10),
            handshake: Duration::from_secs(10),
            client_stall: Duration::from_secs(600),
            upstream_idle: Duration::from_secs(4),
            upstream_idle_connections: 256,
            upstream_keepalive: Duration::from_secs(60),
            upstream_silence: Duration::ZERO,
            ask_body: 8 << 20,
            ask_wait: Duration::from_secs(5),
            ask_memory: 128 << 20,
            ask_event: 64 << 10,
            ask_pause: Duration::from_secs(3600),
            tunnel_idle: Duration::from_secs(3600),
            client_streams: 250,
            upstream_streams: 100,
            stream_window: 256 << 10,
            http2_repeat: 256 << 10,
            http2_head: 64 << 10,
            ping: Duration::from_secs(30),
            drain: Duration::from_secs(7),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_an_address_or_a_path() {
        for text in ["127.0.0.1:4319", "[::1]:80", "[::]:0", "unix:/run/a b.sock"] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), text);
            assert_eq!(endpoint.tcp().is_none(), text.starts_with("unix:"));
        }
    }

    #[test]
    fn what_nobody_can_listen_on_is_no_endpoint() {
        let long = format!("unix:/{}", "x".repeat(LONGEST_PATH));
        for text in ["", "4319", "localhost:1", "::1:80", "unix:", "unix:a", "unix:@a", &long] {
            assert_eq!(text.parse::<Endpoint>(), Err(NoEndpoint), "{text}");
        }
        assert!(long[..long.len() - 1].parse::<Endpoint>().is_ok());
    }
}
