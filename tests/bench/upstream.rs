//! The model's stand-in: reads a request, answers at once or streams at the pace that the request
//! names. Raw sockets, so that it stays light and writes one chunk at a time. Knows no proxy.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use clearspan::forward::settings::Limits;
use clearspan::forward::wire;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::{Failure, announce, traffic};

/// Bodies up to this are looked into for the question about usage; larger ones are read and dropped.
const LOOKED_INTO_MAX: usize = 64 << 10;

/// Listens on a free port until it is killed.
pub(crate) fn run() -> Result<(), Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address: SocketAddr = listener.local_addr()?;
        announce(address)?;
        loop {
            let (stream, _) = listener.accept().await?;
            // A proxy that goes away ends its connection; nobody needs to hear of it.
            tokio::spawn(async { drop(serve(stream).await) });
        }
    })
}

async fn serve(mut stream: TcpStream) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    // No method of ours begins like HTTP/2's preface.
    let mut first = [0; 3];
    if matches!(stream.peek(&mut first).await, Ok(3)) && first == *b"PRI" {
        return serve_http2(stream).await;
    }
    let mut buffer = Vec::with_capacity(LOOKED_INTO_MAX);
    while let Some(asked) = read_request(&mut stream, &mut buffer).await? {
        match asked.chunks {
            None => stream.write_all(&unary()).await?,
            Some(chunks) => stream_answer(&mut stream, chunks, &asked).await?,
        }
    }
    Ok(())
}

/// Answers in one piece whatever is asked for.
async fn serve_http2(stream: TcpStream) -> Result<(), Failure> {
    let service = service_fn(async |request: Request<Incoming>| {
        let mut body = request.into_body();
        while let Some(frame) = body.frame().await {
            frame?;
        }
        Ok::<_, hyper::Error>(unary_http2())
    });
    let server = wire::http2_server(TokioExecutor::new(), &Limits::default());
    Ok(server.serve_connection(TokioIo::new(stream), service).await?)
}

/// The answer with the fields of `unary`, but for those of a connection.
fn unary_http2() -> Response<Full<Bytes>> {
    let mut builder = Response::builder().header("content-type", "application/json");
    for line in traffic::RESPONSE_HEADERS.lines() {
        if let Some((name, value)) = line.split_once(": ")
            && !name.eq_ignore_ascii_case("connection")
        {
            builder = builder.header(name, value);
        }
    }
    // The names and values are constants of ours; one that is not valid shows as a failed request.
    builder.body(Full::from(traffic::ANSWER)).unwrap_or_default()
}

/// What a request asked for.
struct Asked {
    chunks: Option<usize>,
    gap: Duration,
    usage: bool,
}

/// Reads one request whole; `None` where the connection ended before it began. The next request does
/// not come before this one's answer, so the buffer is empty in between.
async fn read_request(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
) -> Result<Option<Asked>, Failure> {
    buffer.clear();
    let head_len = loop {
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
        if let Some(at) = memmem::find(buffer, b"\r\n\r\n") {
            break at + 4;
        }
    };
    let (mut asked, length) = parse_head(buffer.get(..head_len).unwrap_or_default())?;
    let mut missing = (head_len + length).saturating_sub(buffer.len());
    while missing > 0 {
        if length > LOOKED_INTO_MAX {
            buffer.clear();
        }
        let read = stream.read_buf(buffer).await?;
        if read == 0 {
            return Err("the body broke off".into());
        }
        missing = missing.saturating_sub(read);
    }
    asked.usage = memmem::find(buffer, traffic::ASKS_FOR_USAGE).is_some();
    Ok(Some(asked))
}

/// The few headers that matter here, and the length of the body.
fn parse_head(head: &[u8]) -> Result<(Asked, usize), Failure> {
    let mut asked = Asked { chunks: None, gap: Duration::ZERO, usage: false };
    let mut length = 0;
    for line in std::str::from_utf8(head)?.lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse()?;
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err("a chunked request: all of ours have a length".into());
        } else if name.eq_ignore_ascii_case(traffic::CHUNKS_HEADER) {
            asked.chunks = Some(value.parse()?);
        } else if name.eq_ignore_ascii_case(traffic::GAP_HEADER) {
            asked.gap = Duration::from_micros(value.parse()?);
        }
    }
    Ok((asked, length))
}

fn unary() -> Vec<u8> {
    let (headers, body) = (traffic::RESPONSE_HEADERS, traffic::ANSWER);
    let framing = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    format!("HTTP/1.1 200 OK\r\n{headers}{framing}\r\n{body}").into_bytes()
}

/// Head and role, then chunk after chunk, each in a write of its own.
async fn stream_answer(
    stream: &mut TcpStream,
    chunks: usize,
    asked: &Asked,
) -> Result<(), Failure> {
    let headers = traffic::RESPONSE_HEADERS;
    let framing =
        "Content-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut opening = format!("HTTP/1.1 200 OK\r\n{headers}{framing}").into_bytes();
    opening.extend(traffic::opening(asked.usage));
    stream.write_all(&opening).await?;
    let mut chunk = traffic::Chunk::new(asked.usage);
    let mut due = Instant::now();
    for _ in 0..chunks {
        stream.write_all(chunk.stamped()).await?;
        due += asked.gap;
        if asked.gap.is_zero() {
            // The other streams have their turn, so that none is written in bursts.
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep_until(due).await;
        }
    }
    stream.write_all(&traffic::closing(chunks, asked.usage)).await?;
    Ok(())
}
