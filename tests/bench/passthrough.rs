//! The bare pass-through that Clearspan is measured against: the same hyper, allocator, runtime and
//! settings, an idle list, and nothing else. Knows no header, path, limit or telemetry.

use std::error::Error;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use clearspan::forward::settings::Limits;
use clearspan::forward::wire;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::client::conn::http2;
use hyper::header::{CONNECTION, HOST};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OnceCell;

use crate::{announce, traffic};

/// Listens on a free port and forwards everything to `upstream`, until it is killed.
pub(crate) fn run(upstream: SocketAddr) -> Result<(), crate::Failure> {
    wire::runtime()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        announce(listener.local_addr()?)?;
        let pool = Arc::new(Pool { upstream, idle: Mutex::default(), shared: OnceCell::new() });
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(serve(stream, pool.clone()));
        }
    })
}

/// One client connection. Its end, good or bad, concerns nobody else.
async fn serve(stream: TcpStream, pool: Arc<Pool>) {
    if wire::socket(&stream).is_ok() {
        let service = service_fn(move |request| forward(request, pool.clone()));
        // Nobody here begins a method with these but HTTP/2's preface.
        let mut first = [0; 3];
        let shared = matches!(stream.peek(&mut first).await, Ok(3)) && first == *b"PRI";
        let stream = TokioIo::new(stream);
        if shared {
            let server = wire::http2_server(TokioExecutor::new(), &Limits::default());
            drop(server.serve_connection(stream, service).await);
        } else {
            drop(wire::server().serve_connection(stream, service).await);
        }
    }
}

async fn forward(request: Request<Incoming>, pool: Arc<Pool>) -> Result<Response<Relay>, Broken> {
    let mut request = request;
    if request.uri().path() == traffic::HTTP2_PATH {
        to_http_2(&mut request, pool.upstream)?;
        let response = pool.shared().await?.send_request(request).await?;
        return Ok(response.map(|body| Relay { body, ended: false, lease: None }));
    }
    if request.version() == Version::HTTP_2 {
        to_http_1(&mut request, pool.upstream)?;
    }
    let mut sender = pool.lease().await?;
    let response = sender.send_request(request).await?;
    Ok(response.map(|body| Relay { body, ended: false, lease: Some((sender, pool)) }))
}

/// The upstream speaks HTTP/2, which names its host in the target and knows no connection's fields.
#[expect(clippy::disallowed_methods, reason = "in which order fields stand is nobody's measure")]
fn to_http_2(request: &mut Request<Incoming>, host: SocketAddr) -> Result<(), Broken> {
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = format!("http://{host}{}", request.uri().path()).parse()?;
    request.headers_mut().remove(HOST);
    request.headers_mut().remove(CONNECTION);
    Ok(())
}

/// The upstream speaks HTTP/1, which names its host in a field.
fn to_http_1(request: &mut Request<Incoming>, host: SocketAddr) -> Result<(), Broken> {
    *request.version_mut() = Version::HTTP_11;
    *request.uri_mut() = request.uri().path().parse()?;
    request.headers_mut().insert(HOST, host.to_string().parse()?);
    Ok(())
}

type Sender = SendRequest<Incoming>;
type Broken = Box<dyn Error + Send + Sync>;

/// Connections to the upstream that wait for their next request; the last one back goes first.
struct Pool {
    upstream: SocketAddr,
    idle: Mutex<Vec<Sender>>,
    /// The one connection that all share who speak HTTP/2 to it.
    shared: OnceCell<http2::SendRequest<Incoming>>,
}

impl Pool {
    async fn lease(&self) -> Result<Sender, Broken> {
        while let Some(mut sender) = self.take() {
            if sender.ready().await.is_ok() {
                return Ok(sender);
            }
        }
        let stream = TcpStream::connect(self.upstream).await?;
        wire::socket(&stream)?;
        let (sender, connection) = wire::client().handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn shared(&self) -> Result<http2::SendRequest<Incoming>, Broken> {
        let connect = async || {
            let stream = TcpStream::connect(self.upstream).await?;
            wire::socket(&stream)?;
            let client = wire::http2_client(TokioExecutor::new(), &Limits::default());
            let (sender, connection) = client.handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            Ok(sender)
        };
        self.shared.get_or_try_init(connect).await.cloned()
    }

    fn take(&self) -> Option<Sender> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn give_back(&self, sender: Sender) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
    }
}

/// The upstream's body on its way to the client; its end gives the connection back.
struct Relay {
    body: Incoming,
    ended: bool,
    lease: Option<(Sender, Arc<Pool>)>,
}

impl Body for Relay {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        self.ended |= matches!(polled, Poll::Ready(None));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let Some((sender, pool)) = self.lease.take() else { return };
        if self.ended || self.body.is_end_stream() {
            pool.give_back(sender);
        }
    }
}
