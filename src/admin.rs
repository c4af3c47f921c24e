//! Our own listener: `/metrics`, `/healthz`, `/readyz`, as routes of closures given to it. Knows
//! HTTP and nothing of what it serves.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};

/// Connections at once; above it they wait in the backlog.
const CONNECTIONS: usize = 64;
/// From a connection's opening, or the last answer, to the whole head of a request.
const HEAD: Duration = Duration::from_secs(10);
/// A connection ends after this, so that a client that never reads holds no place for ever.
const LIFETIME: Duration = Duration::from_secs(120);
/// What a request under way may still take when its connection ends.
const GRACE: Duration = Duration::from_secs(1);
/// Between tries to accept when the system has no room for another socket.
const PAUSE: Duration = Duration::from_millis(100);

const TEXT: &str = "text/plain; charset=utf-8";

/// What a route answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its `Content-Type`.
    pub content_type: &'static str,
    /// Its body; left out for HEAD.
    pub body: String,
}

impl Answer {
    fn text(status: StatusCode, body: impl Into<String>) -> Self {
        Self { status, content_type: TEXT, body: body.into() }
    }
}

type Answering = dyn Fn(&HeaderMap) -> Answer + Send + Sync;

/// Who answers a path.
enum Route {
    /// At once, on the thread that asks.
    Quick(Arc<Answering>),
    /// On a thread of its own.
    Slow(Arc<Answering>),
}

/// Paths and what answers them, from the request's header fields.
pub struct Routes {
    known: BTreeMap<&'static str, Route>,
    // Held by the slow answer that is being made.
    turn: Arc<Semaphore>,
}

impl Default for Routes {
    fn default() -> Self {
        Self { known: BTreeMap::new(), turn: Arc::new(Semaphore::new(1)) }
    }
}

impl Routes {
    /// Adds a path, which is matched whole. The closure must not block, nor take long.
    #[must_use]
    pub fn with(
        mut self,
        path: &'static str,
        route: impl Fn(&HeaderMap) -> Answer + Send + Sync + 'static,
    ) -> Self {
        self.known.insert(path, Route::Quick(Arc::new(route)));
        self
    }

    /// Adds a path whose answer takes long to make: that happens on a thread beside the runtime's, so that
    /// nothing else waits for it, and one at a time, so that many who ask take no more than one.
    #[must_use]
    pub fn with_slow(
        mut self,
        path: &'static str,
        route: impl Fn(&HeaderMap) -> Answer + Send + Sync + 'static,
    ) -> Self {
        self.known.insert(path, Route::Slow(Arc::new(route)));
        self
    }

    /// `/healthz`: 200 for as long as the process runs.
    #[must_use]
    pub fn with_health(self) -> Self {
        self.with("/healthz", |_| Answer::text(StatusCode::OK, "ok\n"))
    }

    /// `/readyz`: 200 where there is no reason against it, else 503 and the reasons, one a line.
    #[must_use]
    pub fn with_readiness(self, reasons: impl Fn() -> Vec<String> + Send + Sync + 'static) -> Self {
        self.with("/readyz", move |_| match reasons().as_slice() {
            [] => Answer::text(StatusCode::OK, "ok\n"),
            reasons => {
                let lines = reasons.iter().map(|reason| format!("{reason}\n")).collect::<String>();
                Answer::text(StatusCode::SERVICE_UNAVAILABLE, lines)
            }
        })
    }

    async fn answer<B>(&self, request: Request<B>) -> Response<Full<Bytes>> {
        let method = request.method();
        let answer = match self.known.get(request.uri().path()) {
            None => {
                let known = self.known.keys().map(|path| format!("{path}\n")).collect::<String>();
                Answer::text(StatusCode::NOT_FOUND, format!("not found; there is:\n{known}"))
            }
            Some(_) if method != Method::GET && method != Method::HEAD => {
                Answer::text(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n")
            }
            Some(Route::Quick(route)) => route(request.headers()),
            Some(Route::Slow(route)) => self.wait_for(route, request.into_parts().0.headers).await,
        };
        // hyper itself leaves the body of an answer to HEAD out, and keeps its length.
        let mut response = Response::new(Full::new(Bytes::from(answer.body)));
        *response.status_mut() = answer.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
        if answer.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }

    async fn wait_for(&self, route: &Arc<Answering>, headers: HeaderMap) -> Answer {
        let route = Arc::clone(route);
        // The semaphore is never closed. Who does not wait for the answer leaves its turn when it is made.
        let turn = Arc::clone(&self.turn).acquire_owned().await;
        let making = tokio::task::spawn_blocking(move || {
            let answer = route(&headers);
            drop(turn);
            answer
        });
        let failed = |_| Answer::text(StatusCode::INTERNAL_SERVER_ERROR, "no answer: a panic\n");
        making.await.unwrap_or_else(failed)
    }
}

/// Serves `routes` until `shutdown`, then lets what is under way end, for at most a second.
/// `accept` gives the next client's connection.
pub async fn serve<S>(
    accept: impl AsyncFn() -> io::Result<S>,
    routes: Routes,
    shutdown: impl Future<Output = ()>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    serve_within(HEAD, accept, routes, shutdown).await;
}

async fn serve_within<S>(
    head: Duration,
    accept: impl AsyncFn() -> io::Result<S>,
    routes: Routes,
    shutdown: impl Future<Output = ()>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let routes = Arc::new(routes);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let (stop, stopped) = watch::channel(());
    let accepting = async {
        loop {
            // The semaphore is never closed.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match accept().await {
                Ok(stream) => {
                    let (routes, stopped) = (Arc::clone(&routes), stopped.clone());
                    tokio::spawn(connection(head, stream, routes, stopped, place));
                }
                Err(error) => {
                    tracing::warn!("the admin listener cannot accept: {error}");
                    sleep(PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = accepting => (),
        () = shutdown => (),
    }
    drop((accept, stop));
    // All places are free again when the last connection has ended.
    timeout(GRACE, places.acquire_many(CONNECTIONS as u32)).await.ok();
}

async fn connection(
    head: Duration,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    routes: Arc<Routes>,
    mut stopped: watch::Receiver<()>,
    _place: OwnedSemaphorePermit,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let routes = Arc::clone(&routes);
        async move { Ok::<_, Infallible>(routes.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // A broken connection is the client's own affair.
        _ = connection.as_mut() => return,
        () = sleep(LIFETIME) => (),
        _ = stopped.changed() => (),
    }
    connection.as_mut().graceful_shutdown();
    timeout(GRACE, connection).await.ok();
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    use super::*;

    async fn served(routes: Routes) -> (SocketAddr, oneshot::Sender<()>, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async { stopped.await.unwrap_or_default() };
        let accept = async move || listener.accept().await.map(|(stream, _)| stream);
        (address, stop, tokio::spawn(serve(accept, routes, shutdown)))
    }

    /// Sends `METHOD path` with header lines and reads to the end.
    async fn ask(address: SocketAddr, line: &str, headers: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let lines = answer.lines().filter(|line| !line.starts_with("date: "));
        lines.collect::<Vec<_>>().join("\n")
    }

    fn accept_back(headers: &HeaderMap) -> Answer {
        let accept = headers.get("accept").map_or("-", |value| value.to_str().unwrap());
        Answer { status: StatusCode::OK, content_type: "text/x", body: accept.to_owned() }
    }

    #[tokio::test]
    async fn each_route_is_answered_and_anything_else_lists_them() {
        let ready = Arc::new(AtomicBool::new(false));
        let now = Arc::clone(&ready);
        let reasons = move || {
            if now.load(Relaxed) { vec![] } else { vec!["draining".to_owned(), "full".to_owned()] }
        };
        let routes = Routes::default().with("/metrics", accept_back);
        let (address, _stop, _serving) = served(routes.with_health().with_readiness(reasons)).await;
        let text = "content-type: text/plain; charset=utf-8\nconnection: close";
        let expected = format!("HTTP/1.1 200 OK\n{text}\ncontent-length: 3\n\nok");
        assert_eq!(ask(address, "GET /healthz?x=1", "").await, expected);
        assert_eq!(
            ask(address, "GET /readyz", "").await,
            format!(
                "HTTP/1.1 503 Service Unavailable\n{text}\ncontent-length: 14\n\ndraining\nfull"
            )
        );
        ready.store(true, Relaxed);
        assert_eq!(ask(address, "GET /readyz", "").await, expected);
        assert_eq!(
            ask(address, "HEAD /metrics", "accept: a/b\r\n").await,
            "HTTP/1.1 200 OK\ncontent-type: text/x\nconnection: close\ncontent-length: 3\n"
        );
        let list = "not found; there is:\n/healthz\n/metrics\n/readyz";
        assert_eq!(
            ask(address, "GET /", "").await,
            format!("HTTP/1.1 404 Not Found\n{text}\ncontent-length: 47\n\n{list}")
        );
        let refused = ask(address, "POST /metrics", "content-length: 0\r\n").await;
        assert!(refused.starts_with("HTTP/1.1 405 Method Not Allowed\n"), "{refused}");
        assert!(refused.contains("allow: GET, HEAD\n"), "{refused}");
    }

    /// One thread serves all, and a closure on it would keep it.
    #[tokio::test]
    async fn whoever_asks_for_what_is_quick_does_not_wait_for_what_is_slow() {
        let (go, gone) = std::sync::mpsc::sync_channel(3);
        let (gone, running) = (std::sync::Mutex::new(gone), Arc::new(AtomicUsize::new(0)));
        let now = Arc::clone(&running);
        let slow = move |_: &HeaderMap| {
            assert_eq!(now.fetch_add(1, Relaxed), 0, "two at once");
            gone.lock().unwrap().recv().unwrap();
            now.fetch_sub(1, Relaxed);
            Answer::text(StatusCode::OK, "slow\n")
        };
        let routes = Routes::default().with_slow("/metrics", slow).with_health();
        let (address, _stop, _serving) = served(routes).await;
        let asking: Vec<_> =
            (0..3).map(|_| tokio::spawn(ask(address, "GET /metrics", ""))).collect();
        while running.load(Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        for _ in 0..10 {
            let health = timeout(Duration::from_secs(20), ask(address, "GET /healthz", "")).await;
            assert!(health.expect("it waits").ends_with("\nok"));
        }
        assert!(asking.iter().all(|asked| !asked.is_finished()));
        for asked in asking {
            go.send(()).unwrap();
            assert!(asked.await.unwrap().ends_with("\nslow"));
        }
    }

    #[tokio::test]
    async fn connections_above_the_limit_wait_for_a_place() {
        let (address, _stop, _serving) = served(Routes::default().with_health()).await;
        let mut idle = Vec::new();
        for _ in 0..CONNECTIONS {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        let mut waiting = TcpStream::connect(address).await.unwrap();
        waiting.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        let early = timeout(Duration::from_millis(50), waiting.read_to_string(&mut answer)).await;
        assert!(early.is_err(), "{answer}");
        idle.pop();
        waiting.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    }

    #[tokio::test]
    async fn shutdown_closes_idle_connections_and_returns() {
        let (address, stop, serving) = served(Routes::default().with_health()).await;
        let mut kept = TcpStream::connect(address).await.unwrap();
        kept.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = [0; 15];
        kept.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        stop.send(()).unwrap();
        serving.await.unwrap();
        let mut rest = Vec::new();
        kept.read_to_end(&mut rest).await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn a_head_that_never_ends_is_cut_off() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let head = Duration::from_millis(50);
        let routes = Routes::default().with_health();
        let accept = async move || listener.accept().await.map(|(stream, _)| stream);
        tokio::spawn(serve_within(head, accept, routes, std::future::pending()));
        let began = std::time::Instant::now();
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET /healthz HTT").await.unwrap();
        let mut answer = String::new();
        slow.read_to_string(&mut answer).await.unwrap();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
        assert!(began.elapsed() >= head);
        // hyper's own limit would be 30 s.
        assert!(began.elapsed() < Duration::from_secs(20));
    }
}
