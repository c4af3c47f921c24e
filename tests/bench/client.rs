//! The load: one process that sends requests over kept-alive connections, checks each answer, and
//! tells what it saw as one line of JSON. Knows no proxy: it is told an address.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clearspan::forward::settings::Limits;
use clearspan::forward::wire;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::client::conn::http2;
use hyper::header::{CONNECTION, HOST};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use memchr::memmem;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::traffic::{self, Asks, To, Want};
use crate::{Failure, say};

/// What one client process is to do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Load {
    /// Requests with a body of `body` bytes, one after the other on each connection.
    Unary { body: usize, connections: usize, seconds: f64, to: To },
    /// The same with so many streams at once on one HTTP/2 connection.
    Shared { body: usize, streams: usize, seconds: f64 },
    /// On each connection `each` streams of `chunks`, one after the other.
    Stream { connections: usize, each: usize, chunks: usize, gap_us: u64, asks: Asks },
    /// As many streams at once, held open until the process is killed.
    Hold { streams: usize, gap_us: u64 },
}

/// What a client saw.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Requests sent, good or bad.
    pub(crate) sent: u64,
    /// Requests whose answer was not what the upstream sent.
    pub(crate) failed: u64,
    /// Content chunks of all streams.
    pub(crate) chunks: u64,
    /// From the first request to the last answer.
    pub(crate) seconds: f64,
    /// Request sent to answer complete.
    pub(crate) answer: Quantiles,
    /// Request sent to first content chunk.
    pub(crate) first_chunk: Quantiles,
    /// Chunk written by the upstream to chunk read here.
    pub(crate) chunk: Quantiles,
}

/// Of a set of durations, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Quantiles {
    pub(crate) p50: u64,
    pub(crate) p99: u64,
}

impl Quantiles {
    fn of(mut nanos: Vec<u64>) -> Self {
        nanos.sort_unstable();
        let at = |share: usize| nanos.get(nanos.len() * share / 100).copied().unwrap_or_default();
        Self { p50: at(50), p99: at(99) }
    }
}

/// No load takes as long; a proxy that hangs ends the benchmark.
const LONGEST: Duration = Duration::from_secs(60);

/// Connects, says `ready`, waits for a line, does `load`, tells what it saw.
pub(crate) fn run(to: SocketAddr, load: Load) -> Result<(), Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        match load {
            Load::Unary { connections, .. } | Load::Stream { connections, .. } => {
                let senders = connect_all(to, connections).await?;
                say("ready")?;
                std::io::stdin().read_line(&mut String::new())?;
                let seen = tokio::time::timeout(LONGEST, work(senders, to, load)).await??;
                say(&serde_json::to_string(&seen)?)
            }
            Load::Shared { body, streams, seconds } => {
                let sender = connect_shared(to).await?;
                say("ready")?;
                std::io::stdin().read_line(&mut String::new())?;
                let asking = ask_shared(sender, to, body, streams, seconds);
                say(&serde_json::to_string(&tokio::time::timeout(LONGEST, asking).await??)?)
            }
            Load::Hold { streams, gap_us } => hold(to, streams, gap_us).await,
        }
    })
}

type Sender = SendRequest<Full<Bytes>>;

async fn connect(to: SocketAddr) -> Result<Sender, Failure> {
    let stream = TcpStream::connect(to).await?;
    wire::socket(&stream)?;
    let (sender, connection) = wire::client().handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn connect_all(to: SocketAddr, count: usize) -> Result<Vec<Sender>, Failure> {
    let mut senders = Vec::with_capacity(count);
    for _ in 0..count {
        senders.push(connect(to).await?);
    }
    Ok(senders)
}

/// All connections at once; what they saw, together.
async fn work(senders: Vec<Sender>, to: SocketAddr, load: Load) -> Result<Seen, Failure> {
    let count = u32::try_from(senders.len())?;
    let start = Instant::now();
    let mut workers = JoinSet::new();
    for (sender, index) in senders.into_iter().zip(0u32..) {
        workers.spawn(async move {
            match load {
                Load::Unary { body, seconds, to: way, .. } => {
                    let template = request(to, body, Want::Unary(way), None);
                    let end = start + Duration::from_secs_f64(seconds);
                    ask_repeatedly(sender, to, &template, end).await
                }
                Load::Stream { each, chunks, gap_us, asks, .. } => {
                    // Spread over the gap, as real streams do not tick together.
                    let gap = Duration::from_micros(gap_us);
                    tokio::time::sleep(gap * index / count).await;
                    read_streams(sender, &stream_request(to, chunks, gap_us, asks), each, chunks)
                        .await
                }
                Load::Hold { .. } | Load::Shared { .. } => Log::default(),
            }
        });
    }
    let logs = workers.join_all().await;
    Ok(Log::together(logs, start.elapsed()))
}

/// What one connection saw; durations in nanoseconds.
#[derive(Default)]
struct Log {
    sent: u64,
    failed: u64,
    answers: Vec<u64>,
    first_chunks: Vec<u64>,
    chunks: Vec<u64>,
}

impl Log {
    fn together(logs: Vec<Self>, elapsed: Duration) -> Seen {
        let mut all = Self::default();
        for log in logs {
            all.sent += log.sent;
            all.failed += log.failed;
            all.answers.extend(log.answers);
            all.first_chunks.extend(log.first_chunks);
            all.chunks.extend(log.chunks);
        }
        Seen {
            sent: all.sent,
            failed: all.failed,
            chunks: u64::try_from(all.chunks.len()).unwrap_or(u64::MAX),
            seconds: elapsed.as_secs_f64(),
            answer: Quantiles::of(all.answers),
            first_chunk: Quantiles::of(all.first_chunks),
            chunk: Quantiles::of(all.chunks),
        }
    }
}

async fn ask_repeatedly(
    mut sender: Sender,
    to: SocketAddr,
    template: &Request<Full<Bytes>>,
    end: Instant,
) -> Log {
    let mut log = Log::default();
    while Instant::now() < end {
        let begun = traffic::now_ns();
        log.sent += 1;
        match read_answer(send(&mut sender, template).await).await {
            Ok(()) => log.answers.push(traffic::now_ns().saturating_sub(begun)),
            Err(_) => {
                log.failed += 1;
                let Ok(fresh) = connect(to).await else { break };
                sender = fresh;
            }
        }
    }
    log
}

type SharedSender = http2::SendRequest<Full<Bytes>>;

async fn connect_shared(to: SocketAddr) -> Result<SharedSender, Failure> {
    let stream = TcpStream::connect(to).await?;
    wire::socket(&stream)?;
    let client = wire::http2_client(TokioExecutor::new(), &Limits::default());
    let (sender, connection) = client.handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// All streams of one connection at once, each request behind the answer to the one before.
async fn ask_shared(
    sender: SharedSender,
    to: SocketAddr,
    body: usize,
    streams: usize,
    seconds: f64,
) -> Result<Seen, Failure> {
    let mut template = request(to, body, Want::Unary(To::Asked), None);
    *template.uri_mut() = format!("http://{to}{}", traffic::PATH).parse()?;
    let fields = std::mem::take(template.headers_mut()).into_iter();
    let fields = fields.filter_map(|(name, value)| Some((name?, value)));
    // Not those of an HTTP/1 connection.
    let fields = fields.filter(|(name, _)| *name != HOST && *name != CONNECTION);
    template.headers_mut().extend(fields);
    let start = Instant::now();
    let end = start + Duration::from_secs_f64(seconds);
    let mut workers = JoinSet::new();
    for _ in 0..streams {
        let (mut sender, template) = (sender.clone(), template.clone());
        workers.spawn(async move {
            let mut log = Log::default();
            while Instant::now() < end {
                let begun = traffic::now_ns();
                log.sent += 1;
                let response = sender.send_request(template.clone()).await;
                match read_answer(response.map_err(Into::into)).await {
                    Ok(()) => log.answers.push(traffic::now_ns().saturating_sub(begun)),
                    Err(_) => log.failed += 1,
                }
            }
            log
        });
    }
    Ok(Log::together(workers.join_all().await, start.elapsed()))
}

async fn read_streams(
    mut sender: Sender,
    template: &Request<Full<Bytes>>,
    each: usize,
    chunks: usize,
) -> Log {
    let mut log = Log::default();
    for _ in 0..each {
        let begun = traffic::now_ns();
        log.sent += 1;
        let mut reader = EventReader::default();
        let read = reader.read(send(&mut sender, template).await).await;
        log.failed += u64::from(read.is_err() || !reader.done || reader.delays.len() != chunks);
        log.first_chunks.extend(reader.first_at.map(|at| at.saturating_sub(begun)));
        log.chunks.append(&mut reader.delays);
    }
    log
}

async fn send(
    sender: &mut Sender,
    template: &Request<Full<Bytes>>,
) -> Result<Response<Incoming>, Failure> {
    sender.ready().await?;
    let response = sender.send_request(template.clone()).await?;
    if response.status() == 200 { Ok(response) } else { Err("not answered with 200".into()) }
}

async fn read_answer(response: Result<Response<Incoming>, Failure>) -> Result<(), Failure> {
    let body = response?.into_body().collect().await?.to_bytes();
    if body == traffic::ANSWER { Ok(()) } else { Err("not the upstream's answer".into()) }
}

fn request(
    to: SocketAddr,
    bytes: usize,
    want: Want,
    stream: Option<(usize, u64)>,
) -> Request<Full<Bytes>> {
    let body = traffic::request_body(bytes, want);
    let mut builder = Request::post(want.path())
        .header("Host", to.to_string())
        .header("Connection", "keep-alive");
    for (name, value) in traffic::REQUEST_HEADERS {
        builder = builder.header(name, value);
    }
    if let Some((chunks, gap_us)) = stream {
        builder = builder
            .header(traffic::CHUNKS_HEADER, chunks.to_string())
            .header(traffic::GAP_HEADER, gap_us.to_string());
    }
    // The names and values are constants of ours; one that is not valid shows as a failed request.
    builder.body(Full::new(body)).unwrap_or_default()
}

/// A streaming request of 1 KB.
fn stream_request(to: SocketAddr, chunks: usize, gap_us: u64, asks: Asks) -> Request<Full<Bytes>> {
    request(to, 1000, Want::Stream(asks), Some((chunks, gap_us)))
}

/// Finds the events in an answer, however it was cut on its way.
#[derive(Default)]
struct EventReader {
    /// The beginning of an event that has not ended yet.
    pending: Vec<u8>,
    first_at: Option<u64>,
    delays: Vec<u64>,
    done: bool,
}

impl EventReader {
    async fn read(&mut self, response: Result<Response<Incoming>, Failure>) -> Result<(), Failure> {
        let mut body = response?.into_body();
        while self.step(&mut body).await? {}
        Ok(())
    }

    /// Reads the next piece; `false` at the end.
    async fn step(&mut self, body: &mut Incoming) -> Result<bool, Failure> {
        let Some(frame) = body.frame().await else { return Ok(false) };
        let now = traffic::now_ns();
        if let Some(piece) = frame?.data_ref() {
            self.pending.extend_from_slice(piece);
            let pending = std::mem::take(&mut self.pending);
            let mut rest = pending.as_slice();
            while let Some(at) = memmem::find(rest, b"\n\n") {
                let (event, after) = rest.split_at(at + 2);
                self.event(event, now);
                rest = after;
            }
            self.pending.extend_from_slice(rest);
        }
        Ok(true)
    }

    fn event(&mut self, event: &[u8], now: u64) {
        if let Some(sent) = traffic::stamp(event) {
            self.first_at.get_or_insert(now);
            self.delays.push(now.saturating_sub(sent));
        }
        self.done |= event.starts_with(b"data: [DONE]");
    }
}

/// Streams that are opened at once, at most.
const OPENERS: usize = 32;
/// More chunks than any stream lives to send.
const ENDLESS: usize = 1_000_000;

/// Opens all streams, says `open` when each has its first chunk, and reads on until it is killed.
async fn hold(to: SocketAddr, streams: usize, gap_us: u64) -> Result<(), Failure> {
    let mut openers = JoinSet::new();
    for index in 0..OPENERS {
        let mine = streams / OPENERS + usize::from(index < streams % OPENERS);
        openers.spawn(async move {
            for _ in 0..mine {
                open(to, gap_us).await?;
            }
            Ok::<_, Failure>(())
        });
    }
    while let Some(opened) = openers.join_next().await {
        opened??;
    }
    say("open")?;
    std::future::pending().await
}

/// Opens one stream and reads it to its first chunk; another task reads on.
async fn open(to: SocketAddr, gap_us: u64) -> Result<(), Failure> {
    let mut sender = connect(to).await?;
    let template = stream_request(to, ENDLESS, gap_us, Asks::Client);
    let mut body = send(&mut sender, &template).await?.into_body();
    let mut reader = EventReader::default();
    while reader.first_at.is_none() {
        if !reader.step(&mut body).await? {
            return Err("a stream ended before its first chunk".into());
        }
    }
    tokio::spawn(async move {
        let _sender = sender;
        while reader.step(&mut body).await.is_ok_and(|more| more) {}
    });
    Ok(())
}
