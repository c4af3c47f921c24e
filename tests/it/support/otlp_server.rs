//! An OTLP collector on hyper, for what the one on raw sockets does not speak: gRPC, and TLS. It
//! answers as a test tells it. Knows nothing of what the telemetry means.

use std::sync::{Arc, Mutex};
use std::thread;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::collector::{Collector, Export, Store, add, plain};

/// What it answers to one export.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Taken, with this message.
    Taken(Vec<u8>),
    /// A gRPC status with further fields, in trailers behind an empty message.
    Status(u8, Vec<(&'static str, String)>),
    /// The same in the head, without any message.
    StatusInHead(u8, Vec<(&'static str, String)>),
    /// Something that is no gRPC.
    Http(u16),
    /// Nothing, ever.
    Hang,
}

/// How it is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    Grpc,
    Http,
}

type Script = Arc<Mutex<dyn FnMut(&str) -> Reply + Send>>;

#[derive(Clone)]
struct Serving {
    speaks: Speaks,
    tls: Option<TlsAcceptor>,
    store: Store,
    script: Script,
}

/// A collector that answers what `script` says for each path.
pub(crate) fn start(
    speaks: Speaks,
    tls: Option<Arc<ServerConfig>>,
    script: impl FnMut(&str) -> Reply + Send + 'static,
) -> Collector {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let scheme = if tls.is_some() { "https" } else { "http" };
    // The name that certificates are for; on this machine it is 127.0.0.1 too.
    let host = if tls.is_some() { "localhost" } else { "127.0.0.1" };
    let endpoint = format!("{scheme}://{host}:{}", listener.local_addr().unwrap().port());
    let (collector, store) = Collector::served_at(endpoint);
    let tls = tls.map(TlsAcceptor::from);
    let serving = Serving { speaks, tls, store, script: Arc::new(Mutex::new(script)) };
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().connection(stream));
            }
        });
    });
    collector
}

/// A collector that takes everything.
pub(crate) fn taking(speaks: Speaks, tls: Option<Arc<ServerConfig>>) -> Collector {
    start(speaks, tls, |_| Reply::Taken(Vec::new()))
}

impl Serving {
    async fn connection(self, stream: TcpStream) {
        match self.tls.clone() {
            // Whoever does not trust us goes; a test sees it on the other side.
            Some(tls) => {
                if let Ok(stream) = tls.accept(stream).await {
                    self.requests(stream).await;
                }
            }
            None => self.requests(stream).await,
        }
    }

    async fn requests(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let (io, speaks) = (TokioIo::new(stream), self.speaks);
        let service = service_fn(move |request| self.clone().export(request));
        // Clients hang up as they like.
        match speaks {
            Speaks::Grpc => {
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                drop(server.serve_connection(io, service).await);
            }
            Speaks::Http => {
                let server = hyper::server::conn::http1::Builder::new();
                drop(server.serve_connection(io, service).await);
            }
        }
    }

    async fn export(self, request: Request<Incoming>) -> Result<Answer, hyper::Error> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let path = head.uri.path().to_owned();
        let field = |(name, value): (&http::HeaderName, &HeaderValue)| {
            (name.to_string(), value.to_str().unwrap().to_owned())
        };
        let fields = head.headers.iter().map(field).collect();
        let reply = self.script.lock().unwrap()(&path);
        let message = self.message(&head.headers, &body);
        let taken = matches!(reply, Reply::Taken(_)).then_some(message.as_slice());
        add(&self.store, Export { path, fields }, taken);
        Ok(self.answer(reply).await)
    }

    /// What was sent, unframed and decompressed.
    fn message(&self, headers: &HeaderMap, body: &[u8]) -> Vec<u8> {
        let field = |name: &str| headers.get(name).map(|it| it.to_str().unwrap());
        if self.speaks == Speaks::Http {
            return plain(field("content-encoding"), body);
        }
        assert_eq!(
            (field("content-type"), field("te")),
            (Some("application/grpc"), Some("trailers"))
        );
        let (prefix, message) = body.split_first_chunk::<5>().expect("a prefix");
        let [compressed, length @ ..] = prefix;
        assert_eq!(u32::from_be_bytes(*length) as usize, message.len(), "one whole message");
        plain(field("grpc-encoding").filter(|_| *compressed == 1), message)
    }

    async fn answer(&self, reply: Reply) -> Answer {
        match (reply, self.speaks) {
            (Reply::Taken(message), Speaks::Http) => plainly(200, message, HeaderMap::new()),
            (Reply::Taken(message), Speaks::Grpc) => with_trailers(&message, status(0, vec![])),
            (Reply::Status(code, more), _) => with_trailers(&[], status(code, more)),
            (Reply::StatusInHead(code, more), _) => plainly(200, vec![], status(code, more)),
            (Reply::Http(code), _) => plainly(code, vec![], HeaderMap::new()),
            (Reply::Hang, _) => std::future::pending().await,
        }
    }
}

type Answer = Response<BoxBody<Bytes, std::convert::Infallible>>;

fn status(code: u8, more: Vec<(&'static str, String)>) -> HeaderMap {
    let more =
        more.into_iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    let code = ("grpc-status".parse().unwrap(), u64::from(code).into());
    std::iter::once(code).chain(more).collect()
}

fn with_trailers(message: &[u8], trailers: HeaderMap) -> Answer {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let framed = [&[0], &length[..], message].concat();
    let body = Full::from(framed).with_trailers(async { Some(Ok(trailers)) }).boxed();
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}

fn plainly(code: u16, body: Vec<u8>, fields: HeaderMap) -> Answer {
    let mut response = Response::new(Full::from(body).boxed());
    *response.status_mut() = code.try_into().unwrap();
    *response.headers_mut() = fields;
    response
}
