//! The way through an egress proxy: where one is, how it is spoken to, and a tunnel through it, asked for
//! over HTTP or SOCKS5. Knows neither upstreams nor collectors.

use std::fmt;
use std::future::{self, Ready};
use std::io;
use std::net::Ipv6Addr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{HOST, HeaderValue, PROXY_AUTHORIZATION};
use http::{Request, StatusCode, Uri};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::client::legacy::connect::proxy::SocksV5;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tower_service::Service;

/// A host and a port. Prints as an authority: an IPv6 address in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Place {
    /// As a URI, which is how connectors are told a place.
    pub(crate) fn uri(&self) -> Result<Uri, http::Error> {
        Uri::builder().scheme("http").authority(self.to_string()).path_and_query("/").build()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.parse::<Ipv6Addr>() {
            Ok(ip) => write!(f, "[{ip}]:{}", self.port),
            Err(_) => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// An egress proxy. Prints as a URL, credentials as `***`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Where it listens.
    pub place: Place,
    /// How it is spoken to.
    pub protocol: Protocol,
}

/// How an egress proxy is spoken to.
#[derive(Clone, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP: `CONNECT` for places with TLS, requests in absolute form for those without.
    Http {
        /// Whether the connection to the proxy itself is TLS.
        tls: bool,
        /// `Proxy-Authorization`.
        authorization: Option<HeaderValue>,
    },
    /// SOCKS5 (RFC 1928). The proxy resolves the place's name.
    Socks5 {
        /// User and password (RFC 1929).
        login: Option<(String, String)>,
    },
}

impl Proxy {
    /// Whether it takes requests without TLS themselves, in absolute form (RFC 9112 3.2.2).
    pub fn takes_requests(&self) -> bool {
        matches!(self.protocol, Protocol::Http { .. })
    }

    /// Whether the connection to it is TLS.
    pub fn speaks_tls(&self) -> bool {
        matches!(self.protocol, Protocol::Http { tls: true, .. })
    }

    /// The credentials that it wants with each request that it takes.
    pub fn authorization(&self) -> Option<&HeaderValue> {
        match &self.protocol {
            Protocol::Http { authorization, .. } => authorization.as_ref(),
            Protocol::Socks5 { .. } => None,
        }
    }
}

impl fmt::Debug for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.scheme(), if self.has_credentials() { " ***" } else { "" })
    }
}

impl Protocol {
    fn scheme(&self) -> &'static str {
        match self {
            Self::Http { tls: false, .. } => "http",
            Self::Http { tls: true, .. } => "https",
            Self::Socks5 { .. } => "socks5",
        }
    }

    fn has_credentials(&self) -> bool {
        match self {
            Self::Http { authorization, .. } => authorization.is_some(),
            Self::Socks5 { login } => login.is_some(),
        }
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let credentials = if self.protocol.has_credentials() { "***@" } else { "" };
        write!(f, "{}://{credentials}{}", self.protocol.scheme(), self.place)
    }
}

/// Why there is no tunnel.
#[derive(Debug, thiserror::Error)]
pub enum NoTunnel {
    /// The proxy wants credentials, or others.
    #[error("the egress proxy wants other credentials (407)")]
    Authentication,
    /// It does not let us through, as it says here.
    #[error("the egress proxy does not lead there ({0})")]
    Refused(String),
    /// It broke off, or does not speak HTTP.
    #[error("the egress proxy broke off or does not speak HTTP")]
    Broken,
    /// The place has no name that could be told to it.
    #[error("the name cannot be told to an egress proxy")]
    Unnamed,
}

/// A connection to an egress proxy.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// A tunnel to `place` over `socket`, which leads to `proxy`.
pub(crate) async fn tunnel<S: Stream>(
    socket: S,
    proxy: &Proxy,
    place: &Place,
) -> Result<S, NoTunnel> {
    match &proxy.protocol {
        Protocol::Http { authorization, .. } => {
            connect(socket, place, authorization.as_ref()).await
        }
        Protocol::Socks5 { login } => socks5(socket, place, login.as_ref()).await,
    }
}

/// The longest answer to `CONNECT` that is read: a status line and fields, no body.
const ANSWER_BYTES: usize = 16 * 1024;

/// A tunnel through an HTTP proxy (`CONNECT`, RFC 9110 9.3.6).
async fn connect<S: Stream>(
    socket: S,
    place: &Place,
    authorization: Option<&HeaderValue>,
) -> Result<S, NoTunnel> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(ANSWER_BYTES);
    let handshake = builder.handshake::<_, Empty<Bytes>>(TokioIo::new(ByteByByte(socket)));
    let (mut sender, connection) = handshake.await.map_err(|_| NoTunnel::Broken)?;
    let request = request(place, authorization)?;
    let asking = async {
        let response = sender.send_request(request).await.map_err(|_| NoTunnel::Broken)?;
        accepted(response.status())
    };
    let speaking = async { connection.without_shutdown().await.map_err(|_| NoTunnel::Broken) };
    let ((), parts) = tokio::try_join!(asking, speaking)?;
    if parts.read_buf.is_empty() { Ok(parts.io.into_inner().0) } else { Err(NoTunnel::Broken) }
}

fn request(
    place: &Place,
    authorization: Option<&HeaderValue>,
) -> Result<Request<Empty<Bytes>>, NoTunnel> {
    let authority = place.to_string();
    let mut request = Request::connect(&authority).header(HOST, &authority);
    if let Some(authorization) = authorization {
        request = request.header(PROXY_AUTHORIZATION, authorization);
    }
    request.body(Empty::new()).map_err(|_| NoTunnel::Unnamed)
}

fn accepted(status: StatusCode) -> Result<(), NoTunnel> {
    match status {
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => Err(NoTunnel::Authentication),
        status if status.is_success() => Ok(()),
        status => Err(NoTunnel::Refused(status.to_string())),
    }
}

/// A tunnel through a SOCKS5 proxy, which resolves the place's name.
async fn socks5<S: Stream>(
    socket: S,
    place: &Place,
    login: Option<&(String, String)>,
) -> Result<S, NoTunnel> {
    let there = place.uri().map_err(|_| NoTunnel::Unnamed)?;
    // Where the proxy is has been settled: the connection to it is handed over.
    let mut socks = SocksV5::new(Uri::default(), Dialed(Some(TokioIo::new(ByteByByte(socket)))));
    if let Some((user, password)) = login {
        socks = socks.with_auth(user.clone(), password.clone());
    }
    let tunnel = socks.call(there).await;
    // Its kinds are not public, its texts are few and fixed.
    tunnel.map(|it| it.into_inner().0).map_err(|error| NoTunnel::Refused(error.to_string()))
}

/// A connection of which a byte is read at a time, so that no more is read than the egress proxy's word:
/// what follows it may be the place's, where that speaks first, as HTTP/2 without TLS may (RFC 9113 3.4).
struct ByteByByte<S>(S);

impl<S: Stream> AsyncRead for ByteByByte<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut byte = [0; 1];
        let mut read = ReadBuf::new(&mut byte);
        if to.remaining() > 0 {
            ready!(Pin::new(&mut self.0).poll_read(cx, &mut read))?;
            to.put_slice(read.filled());
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> AsyncWrite for ByteByByte<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Gives the connection that was made already.
struct Dialed<S>(Option<TokioIo<S>>);

impl<S> Service<Uri> for Dialed<S> {
    type Response = TokioIo<S>;
    type Error = io::Error;
    type Future = Ready<io::Result<TokioIo<S>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        future::ready(self.0.take().ok_or_else(|| io::ErrorKind::NotConnected.into()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn proxy(protocol: Protocol) -> Proxy {
        Proxy { place: Place { host: "::1".into(), port: 3128 }, protocol }
    }

    #[test]
    fn credentials_of_a_proxy_print_as_stars() {
        let mut authorization = HeaderValue::from_static("Basic aHVudGVyMg==");
        authorization.set_sensitive(true);
        let http = proxy(Protocol::Http { tls: true, authorization: Some(authorization) });
        assert_eq!(http.to_string(), "https://***@[::1]:3128");
        let login = Some(("hunter2".into(), "hunter2".into()));
        let socks = proxy(Protocol::Socks5 { login });
        assert_eq!(socks.to_string(), "socks5://***@[::1]:3128");
        let open = proxy(Protocol::Http { tls: false, authorization: None });
        assert_eq!(open.to_string(), "http://[::1]:3128");
        let debugged = format!("{http:?} {socks:?}");
        assert!(!debugged.contains("hunter2") && !debugged.contains("aHVu"), "{debugged}");
    }

    #[tokio::test]
    async fn what_the_place_says_first_is_not_lost_in_the_tunnel() {
        let connect = Protocol::Http { tls: false, authorization: None };
        let socks = Protocol::Socks5 { login: None };
        for (protocol, words) in [
            (connect, vec![(39, b"HTTP/1.1 200 OK\r\nVia: x\r\n\r\nfirst".as_slice())]),
            (socks, vec![(3, b"\x05\0"), (11, b"\x05\0\0\x01\x7f\0\0\x01\0\x50first")]),
        ] {
            let (ours, mut theirs) = tokio::io::duplex(1024);
            let answering = tokio::spawn(async move {
                for (asked, word) in words {
                    theirs.read_exact(&mut vec![0; asked]).await.unwrap();
                    theirs.write_all(word).await.unwrap();
                }
            });
            let place = Place { host: "host".into(), port: 80 };
            let proxy = proxy(protocol);
            let mut through = tunnel(ours, &proxy, &place).await.unwrap();
            let mut first = [0; 5];
            through.read_exact(&mut first).await.unwrap();
            assert_eq!(&first, b"first", "{proxy}");
            answering.await.unwrap();
        }
    }
}
