//! What a client's connection speaks, and its exchanges one after the other (HTTP/1) or side by side
//! (HTTP/2), until it closes or is cut off. Knows no listener, no TLS and no upstream.

use std::convert::Infallible;
use std::future::Future;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Request;
use http::header::{CONNECTION, HeaderValue};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::service_fn;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::accept::Phase;
use super::client::Client;
use super::client_io::ClientIo;
use super::exchange::Arrival;
use super::settings::Limits;
use super::{Forward, headers, wire};

/// What a client speaks, as far as its connection is known before its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1, agreed on in the TLS handshake (`http/1.1`).
    Http1,
    /// HTTP/2, agreed on in the TLS handshake (`h2`).
    Http2,
    /// Its first bytes will tell: HTTP/2 by prior knowledge begins with a preface that no HTTP/1
    /// request begins with (RFC 9113 3.3).
    Look,
}

impl Speaks {
    /// By what a TLS handshake agreed on (ALPN).
    pub fn agreed(alpn: Option<&[u8]>) -> Self {
        match alpn {
            Some(b"h2") => Self::Http2,
            Some(b"http/1.1") => Self::Http1,
            _ => Self::Look,
        }
    }
}

/// One client connection, until it closes or is cut off.
pub(super) async fn serve<S>(
    forward: Arc<Forward>,
    stream: S,
    arrival: Arrival,
    mut phase: watch::Receiver<Phase>,
    speaks: Speaks,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = forward.live().settings.limits.clone();
    let mut io = ClientIo::new(stream, Arc::clone(&arrival.client), &limits);
    let is_http2 = match speaks {
        Speaks::Http1 => false,
        Speaks::Http2 => true,
        Speaks::Look => tokio::select! {
            biased;
            looked = io.look() => match looked {
                Ok(is_http2) => is_http2,
                // Gone, or idle for too long.
                Err(_) => return,
            },
            // Nobody asked for anything yet.
            _ = phase.wait_for(|phase| *phase != Phase::Serving) => return,
        },
    };
    // Each in memory of its own: a connection need not be as large as the other kind is.
    if is_http2 {
        Box::pin(http2(forward, io, arrival, phase, limits)).await;
    } else {
        Box::pin(http1(forward, io, arrival, phase)).await;
    }
}

async fn http1<S>(
    forward: Arc<Forward>,
    io: ClientIo<S>,
    arrival: Arrival,
    mut phase: watch::Receiver<Phase>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request: Request<Incoming>| {
        let is_last = headers::has_odd_codings(request.headers());
        // In memory of its own, which is given back before the answer's body.
        let exchange = Box::pin(Arc::clone(&forward).exchange(arrival.clone(), request));
        async move {
            let mut response = exchange.await;
            if is_last {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let mut connection =
        std::pin::pin!(wire::server().serve_connection(io, service).with_upgrades());
    loop {
        tokio::select! {
            // The connection is what nearly always has something to do.
            biased;
            ended = connection.as_mut() => {
                if ended.is_err_and(|error| error.is_parse()) {
                    forward.unread.fetch_add(1, Relaxed);
                }
                return;
            }
            _ = phase.changed() => match *phase.borrow_and_update() {
                Phase::Serving => (),
                Phase::Draining => connection.as_mut().graceful_shutdown(),
                Phase::Cut => return,
            },
        }
    }
}

async fn http2<S>(
    forward: Arc<Forward>,
    mut io: ClientIo<S>,
    arrival: Arrival,
    mut phase: watch::Receiver<Phase>,
    limits: Limits,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    io.carries_streams();
    let client = Arc::clone(&arrival.client);
    let streams = Streams::new(Arc::clone(&client), limits.client_stall);
    let service = service_fn(|request: Request<Incoming>| {
        let arrival = Arrival { client: streams.open(), ..arrival.clone() };
        let exchange = Box::pin(Arc::clone(&forward).exchange(arrival, request));
        async { Ok::<_, Infallible>(exchange.await) }
    });
    let server = wire::http2_server(streams.clone(), &limits);
    let mut connection = std::pin::pin!(server.serve_connection(io, service));
    let mut told_to_leave = false;
    loop {
        tokio::select! {
            biased;
            // Its streams end by themselves, each in a task of its own.
            _ = connection.as_mut() => return,
            _ = phase.changed() => match *phase.borrow_and_update() {
                Phase::Serving => (),
                Phase::Draining => connection.as_mut().graceful_shutdown(),
                Phase::Cut => return,
            },
            () = quiet(&client, limits.client_idle), if !told_to_leave => {
                told_to_leave = true;
                connection.as_mut().graceful_shutdown();
            },
            () = leave(&client, limits.header), if told_to_leave => return,
        }
    }
}

/// Ready once no exchange has run for `limit`. Pings do not count: a connection is for exchanges.
async fn quiet(client: &Client, limit: Duration) {
    loop {
        let since = if client.is_busy() { Instant::now() } else { client.quiet_since() };
        if since + limit <= Instant::now() {
            return;
        }
        sleep_until(since + limit).await;
    }
}

/// Ready once a client that was told to leave has had the time for it and waits for no answer.
async fn leave(client: &Client, limit: Duration) {
    sleep(limit).await;
    while client.is_busy() {
        sleep(limit).await;
    }
}

/// The streams of one HTTP/2 connection: hyper asks the service for each one's exchange and at once
/// gives us the task that runs it, so that one may stand for the other.
#[derive(Clone)]
struct Streams {
    client: Arc<Client>,
    stall: Duration,
    opened: Arc<Mutex<Option<Arc<Client>>>>,
}

impl Streams {
    fn new(client: Arc<Client>, stall: Duration) -> Self {
        Self { client, stall, opened: Arc::default() }
    }

    /// The stream whose task comes next.
    fn open(&self) -> Arc<Client> {
        let stream = Arc::new(self.client.stream());
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&stream));
        stream
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, task: F) {
        let stream = self.opened.lock().unwrap_or_else(PoisonError::into_inner).take();
        match stream.filter(|_| !self.stall.is_zero()) {
            Some(stream) => tokio::spawn(unless_stalled(task, stream, self.stall)),
            None => tokio::spawn(task),
        };
    }
}

/// Runs a stream's task, or drops it, which resets the stream, when its client neither sends nor
/// reads: others on the connection go on.
async fn unless_stalled(task: impl Future<Output = ()>, stream: Arc<Client>, limit: Duration) {
    let task = std::pin::pin!(task);
    tokio::select! {
        biased;
        () = task => (),
        () = stream.keeps_us_waiting(limit) => stream.stall(),
    }
}
