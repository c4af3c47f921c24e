//! Where telemetry goes: an OTLP/HTTP receiver that counts spans by walking the protobuf, without
//! decoding it. Knows no attribute and no proxy.

use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use clearspan::forward::wire;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::{Failure, announce};

/// `GET` of this and a number of milliseconds: for so long, exports are refused with 503.
pub(crate) const OUTAGE: &str = "/outage/";

/// What has arrived since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// SERVER spans: one for each request that a client sent.
    pub(crate) server_spans: u64,
    /// Spans of any kind.
    pub(crate) spans: u64,
    /// Exports of any signal.
    pub(crate) exports: u64,
    /// Their bodies, in bytes.
    pub(crate) bytes: u64,
    /// Exports that could not be read.
    pub(crate) refused: u64,
}

#[derive(Default)]
struct Tally {
    server_spans: AtomicU64,
    spans: AtomicU64,
    exports: AtomicU64,
    bytes: AtomicU64,
    refused: AtomicU64,
    // Milliseconds since 1970 until which exports are refused.
    out_until: AtomicU64,
}

/// Listens on a free port until it is killed. `GET` answers with the counts.
pub(crate) fn run() -> Result<(), Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        announce(listener.local_addr()?)?;
        let tally = Arc::new(Tally::default());
        loop {
            let (stream, _) = listener.accept().await?;
            let tally = tally.clone();
            tokio::spawn(async move {
                let service = service_fn(|request| receive(request, &tally));
                drop(wire::server().serve_connection(TokioIo::new(stream), service).await);
            });
        }
    })
}

/// Asks the sink at `address` for its counts.
pub(crate) fn ask(address: SocketAddr) -> Result<Counts, Failure> {
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: sink\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").ok_or("the sink gave no answer")?;
    Ok(serde_json::from_str(body)?)
}

async fn receive(
    request: Request<Incoming>,
    tally: &Tally,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if let Some(millis) = request.uri().path().strip_prefix(OUTAGE) {
        tally.out_until.store(now_ms() + millis.parse::<u64>().unwrap_or_default(), Relaxed);
    }
    if request.method() == Method::GET {
        return Ok(Response::new(Full::from(tally.to_json())));
    }
    if now_ms() < tally.out_until.load(Relaxed) {
        let mut refusal = Response::new(Full::default());
        *refusal.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        return Ok(refusal);
    }
    let traces = request.uri().path() == "/v1/traces";
    let encoded = request.headers().contains_key("content-encoding");
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes);
    let understood = match body {
        Ok(body) if !encoded => tally.add(&body, traces).is_some(),
        _ => false,
    };
    if understood {
        return Ok(Response::new(Full::default()));
    }
    tally.refused.fetch_add(1, Relaxed);
    let mut refusal = Response::new(Full::default());
    *refusal.status_mut() = StatusCode::BAD_REQUEST;
    Ok(refusal)
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Tally {
    /// `None` where the body is not an export.
    fn add(&self, body: &[u8], traces: bool) -> Option<()> {
        self.exports.fetch_add(1, Relaxed);
        self.bytes.fetch_add(u64::try_from(body.len()).ok()?, Relaxed);
        if traces {
            let (server_spans, spans) = count_spans(body)?;
            self.server_spans.fetch_add(server_spans, Relaxed);
            self.spans.fetch_add(spans, Relaxed);
        }
        Some(())
    }

    fn to_json(&self) -> String {
        let counts = Counts {
            server_spans: self.server_spans.load(Relaxed),
            spans: self.spans.load(Relaxed),
            exports: self.exports.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            refused: self.refused.load(Relaxed),
        };
        serde_json::to_string(&counts).unwrap_or_default()
    }
}

// Field numbers of opentelemetry/proto/{collector/trace,trace}/v1.
const REQUEST_RESOURCE_SPANS: u64 = 1;
const RESOURCE_SPANS_SCOPE_SPANS: u64 = 2;
const SCOPE_SPANS_SPANS: u64 = 2;
const SPAN_KIND: u64 = 6;
const SPAN_KIND_SERVER: u64 = 2;

/// SERVER spans and all spans of an `ExportTraceServiceRequest`.
fn count_spans(request: &[u8]) -> Option<(u64, u64)> {
    let (mut server_spans, mut spans) = (0, 0);
    each_message(request, REQUEST_RESOURCE_SPANS, &mut |resource_spans| {
        each_message(resource_spans, RESOURCE_SPANS_SCOPE_SPANS, &mut |scope_spans| {
            each_message(scope_spans, SCOPE_SPANS_SPANS, &mut |span| {
                spans += 1;
                server_spans += u64::from(kind(span)? == SPAN_KIND_SERVER);
                Some(())
            })
        })
    })?;
    Some((server_spans, spans))
}

fn each_message(
    mut rest: &[u8],
    wanted: u64,
    found: &mut dyn FnMut(&[u8]) -> Option<()>,
) -> Option<()> {
    while !rest.is_empty() {
        if let (number, Field::Bytes(bytes)) = field(&mut rest)?
            && number == wanted
        {
            found(bytes)?;
        }
    }
    Some(())
}

fn kind(mut span: &[u8]) -> Option<u64> {
    while !span.is_empty() {
        if let (SPAN_KIND, Field::Varint(kind)) = field(&mut span)? {
            return Some(kind);
        }
    }
    Some(0)
}

enum Field<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed,
}

/// Takes one field off the front: its number and its value.
fn field<'a>(rest: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
    let key = varint(rest)?;
    let value = match key & 7 {
        0 => Field::Varint(varint(rest)?),
        1 => take(rest, 8).map(|_| Field::Fixed)?,
        2 => {
            let length = usize::try_from(varint(rest)?).ok()?;
            Field::Bytes(take(rest, length)?)
        }
        5 => take(rest, 4).map(|_| Field::Fixed)?,
        _ => return None,
    };
    Some((key >> 3, value))
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *take(rest, 1)?.first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}
