//! Both sides in hyper, for what raw sockets would need a second HTTP/2 for: clients and upstreams of
//! either version, and bodies that a test feeds frame by frame. Knows no scenario.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use super::PATIENCE;

/// A body that a test feeds.
#[derive(Debug)]
pub(crate) struct Fed(mpsc::Receiver<io::Result<Frame<Bytes>>>);

/// The end of a body that is fed. Dropped, the body is complete.
#[derive(Clone, Debug)]
pub(crate) struct Feed(mpsc::Sender<io::Result<Frame<Bytes>>>);

/// A body and its feed.
pub(crate) fn fed() -> (Feed, Fed) {
    let (feed, fed) = mpsc::channel(64);
    (Feed(feed), Fed(fed))
}

impl Feed {
    /// Waits until there is room; false when nobody reads any more.
    pub(crate) async fn data(&self, bytes: impl Into<Bytes>) -> bool {
        self.0.send(Ok(Frame::data(bytes.into()))).await.is_ok()
    }

    pub(crate) async fn trailers(&self, trailers: HeaderMap) {
        self.0.send(Ok(Frame::trailers(trailers))).await.unwrap();
    }

    /// Breaks the body off.
    pub(crate) async fn break_off(&self) {
        self.0.send(Err(io::ErrorKind::BrokenPipe.into())).await.unwrap();
    }

    /// Ready once nobody reads any more.
    pub(crate) async fn unread(&self) {
        within(self.0.closed()).await;
    }
}

impl Body for Fed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(ready!(self.0.poll_recv(cx)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_closed() && self.0.is_empty()
    }
}

/// These bytes in pieces of odd sizes, and trailers behind them.
pub(crate) fn pieces(bytes: &[u8], trailers: Option<HeaderMap>) -> Fed {
    let (feed, fed) = fed();
    let bytes = Bytes::copy_from_slice(bytes);
    tokio::spawn(async move {
        let (mut rest, mut size) = (bytes, 1);
        while !rest.is_empty() && feed.data(rest.split_to(size.min(rest.len()))).await {
            size = size * 3 % 60_000 + 1;
        }
        if let Some(trailers) = trailers {
            feed.trailers(trailers).await;
        }
    });
    fed
}

/// No body.
pub(crate) fn empty() -> Fed {
    fed().1
}

/// What a test waits for comes, or it fails here.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it comes in time")
}

/// A whole body and its trailers, or how it broke.
pub(crate) async fn whole(body: Incoming) -> Result<(Bytes, Option<HeaderMap>), hyper::Error> {
    let body = within(body.collect()).await?;
    let trailers = body.trailers().cloned();
    Ok((body.to_bytes(), trailers))
}

/// The next piece of a body.
pub(crate) async fn piece(body: &mut Incoming) -> Option<Result<Bytes, hyper::Error>> {
    let frame = within(body.frame()).await?;
    Some(frame.map(|frame| frame.into_data().expect("data")))
}

/// A client's connection of either version.
#[derive(Debug)]
pub(crate) enum Sender {
    One(hyper::client::conn::http1::SendRequest<Fed>),
    Two(hyper::client::conn::http2::SendRequest<Fed>),
}

impl Sender {
    /// Connects: HTTP/2 by prior knowledge, or HTTP/1.
    pub(crate) async fn connect(to: SocketAddr, version: Version) -> Self {
        let stream = TcpStream::connect(to).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let io = TokioIo::new(stream);
        if version == Version::HTTP_2 {
            let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
            let (sender, connection) = builder.handshake(io).await.unwrap();
            tokio::spawn(connection);
            Self::Two(sender)
        } else {
            let (sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            Self::One(sender)
        }
    }

    /// The answer to a request, up to its head.
    pub(crate) async fn send(
        &mut self,
        request: Request<Fed>,
    ) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::One(sender) => {
                within(sender.ready()).await?;
                within(sender.send_request(request)).await
            }
            Self::Two(sender) => within(sender.send_request(request)).await,
        }
    }

    /// As `send`, of what has to succeed.
    pub(crate) async fn ask(&mut self, request: Request<Fed>) -> Response<Incoming> {
        self.send(request).await.expect("an answer")
    }

    /// Whether the other side closed the connection, within patience.
    pub(crate) async fn until_closed(&mut self) {
        let closed = async {
            while !match self {
                Self::One(sender) => sender.is_closed(),
                Self::Two(sender) => sender.is_closed(),
            } {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within(closed).await;
    }
}

/// A request as either version writes it.
pub(crate) fn request(
    version: Version,
    at: SocketAddr,
    method: &str,
    path: &str,
) -> http::request::Builder {
    let builder = Request::builder().method(method).version(version);
    if version == Version::HTTP_2 {
        builder.uri(format!("http://{at}{path}"))
    } else {
        builder.uri(path).header("host", at.to_string())
    }
}

type Answer = Pin<Box<dyn Future<Output = Response<Fed>> + Send>>;
type Answers = Arc<dyn Fn(Request<Incoming>) -> Answer + Send + Sync>;

/// An upstream of either version.
#[derive(Debug)]
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    leave: watch::Sender<()>,
}

/// How an upstream is to be.
#[derive(Clone)]
pub(crate) struct Serve {
    pub(crate) version: Version,
    /// Streams on one connection, where it says how many.
    pub(crate) streams: Option<u32>,
    pub(crate) tls: Option<tokio_rustls::TlsAcceptor>,
}

impl Serve {
    pub(crate) fn of(version: Version) -> Self {
        Self { version, streams: None, tls: None }
    }

    /// Answers every request with what `answer` makes of it.
    pub(crate) async fn with<A>(
        self,
        answer: impl Fn(Request<Incoming>) -> A + Send + Sync + 'static,
    ) -> Server
    where
        A: Future<Output = Response<Fed>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (leave, told) = watch::channel(());
        let count = Arc::clone(&connections);
        let answers: Answers = Arc::new(move |request| Box::pin(answer(request)));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, SeqCst);
                let stream = linger(stream);
                let (serve, answers, told) = (self.clone(), Arc::clone(&answers), told.clone());
                tokio::spawn(async move {
                    match &serve.tls {
                        None => serve.run(stream, answers, told).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve.run(stream, answers, told).await;
                            }
                        }
                    }
                });
            }
        });
        Server { address, connections, leave }
    }

    async fn run(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        answers: Answers,
        mut told: watch::Receiver<()>,
    ) {
        told.mark_unchanged();
        let service = service_fn(move |request| {
            let answer = answers(request);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        let io = TokioIo::new(stream);
        if self.version == Version::HTTP_2 {
            let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            builder.max_concurrent_streams(self.streams);
            let mut connection = std::pin::pin!(builder.serve_connection(io, service));
            tokio::select! {
                // However it ends: what matters is what the client saw.
                _ = connection.as_mut() => return,
                _ = told.changed() => connection.as_mut().graceful_shutdown(),
            }
            drop(connection.await);
        } else {
            drop(hyper::server::conn::http1::Builder::new().serve_connection(io, service).await);
        }
    }
}

/// A connection that stays in the kernel for a while after it was closed: else what a client still
/// sends would make the kernel take back our last words to it.
fn linger(stream: TcpStream) -> TcpStream {
    stream.set_nodelay(true).unwrap();
    let stream = stream.into_std().unwrap();
    let copy = stream.try_clone().unwrap();
    tokio::spawn(async move {
        tokio::time::sleep(PATIENCE).await;
        drop(copy);
    });
    TcpStream::from_std(stream).unwrap()
}

impl Server {
    /// How many connections were made so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }

    /// Tells all clients to leave (GOAWAY); what runs goes on.
    pub(crate) fn tell_to_leave(&self) {
        self.leave.send_replace(());
    }

    /// For `url = …`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}
