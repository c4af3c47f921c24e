//! Through an egress proxy: a tunnel to the upstream, asked for over HTTP or SOCKS5. Knows no
//! exchange.

use std::future::{Ready, ready};
use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{HOST, HeaderValue, PROXY_AUTHORIZATION};
use http::{Request, StatusCode, Uri};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::client::legacy::connect::proxy::SocksV5;
use hyper_util::rt::TokioIo;
use tower_service::Service;

use super::dial;
use super::error::Error;
use super::reach::Place;
use super::socket::Socket;

/// The longest answer to `CONNECT` that is read: a status line and fields, no body.
const ANSWER_BYTES: usize = 16 * 1024;

/// A tunnel through an HTTP proxy (`CONNECT`, RFC 9110 9.3.6).
pub(super) async fn connect(
    socket: Socket,
    place: &Place,
    authorization: Option<&HeaderValue>,
) -> Result<Socket, Error> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(ANSWER_BYTES);
    let handshake = builder.handshake::<_, Empty<Bytes>>(TokioIo::new(socket));
    let (mut sender, connection) = handshake.await.map_err(|_| Error::ProxyBroken)?;
    let request = request(place, authorization)?;
    let asking = async {
        let response = sender.send_request(request).await.map_err(|_| Error::ProxyBroken)?;
        accepted(response.status())
    };
    let speaking = async { connection.without_shutdown().await.map_err(|_| Error::ProxyBroken) };
    let ((), parts) = tokio::try_join!(asking, speaking)?;
    // The upstream speaks second: what is here already is not its word.
    if parts.read_buf.is_empty() { Ok(parts.io.into_inner()) } else { Err(Error::ProxyBroken) }
}

fn request(
    place: &Place,
    authorization: Option<&HeaderValue>,
) -> Result<Request<Empty<Bytes>>, Error> {
    let authority = place.to_string();
    let mut request = Request::connect(&authority).header(HOST, &authority);
    if let Some(authorization) = authorization {
        request = request.header(PROXY_AUTHORIZATION, authorization);
    }
    request.body(Empty::new()).map_err(|_| Error::Unresolved)
}

fn accepted(status: StatusCode) -> Result<(), Error> {
    match status {
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => Err(Error::ProxyAuthentication),
        status if status.is_success() => Ok(()),
        status => Err(Error::ProxyRefused(status.to_string())),
    }
}

/// A tunnel through a SOCKS5 proxy, which resolves the upstream's name.
pub(super) async fn socks5(
    socket: Socket,
    place: &Place,
    login: Option<&(String, String)>,
) -> Result<Socket, Error> {
    let there = dial::uri(place)?;
    // Where the proxy is has been settled: the connection to it is handed over.
    let mut socks = SocksV5::new(Uri::default(), Dialed(Some(TokioIo::new(socket))));
    if let Some((user, password)) = login {
        socks = socks.with_auth(user.clone(), password.clone());
    }
    let tunnel = socks.call(there).await;
    // Its kinds are not public, its texts are few and fixed.
    tunnel.map(TokioIo::into_inner).map_err(|error| Error::ProxyRefused(error.to_string()))
}

/// Gives the connection that was made already.
struct Dialed(Option<TokioIo<Socket>>);

impl Service<Uri> for Dialed {
    type Response = TokioIo<Socket>;
    type Error = io::Error;
    type Future = Ready<io::Result<TokioIo<Socket>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(self.0.take().ok_or_else(|| io::ErrorKind::NotConnected.into()))
    }
}
