//! The model's stand-in: does what the kind of each request names, faults included. Raw sockets, since
//! no server library breaks its own framing. Knows no proxy.

use std::net::SocketAddr;
use std::time::Duration;

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use crate::Failure;
use crate::kind::{self, Kind};

/// The request's header that names its kind.
pub(crate) const KIND: &str = "soak-kind";
/// From one event to the next.
const PACE: Duration = Duration::from_millis(5);

/// Listens on a free port.
pub(crate) async fn start() -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A proxy that goes away ends its connection; nobody needs to hear of it.
            tokio::spawn(async { drop(serve(stream).await) });
        }
    });
    Ok(address)
}

async fn serve(mut stream: TcpStream) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    while let Some((kind, asked)) = read_request(&mut stream).await? {
        match kind {
            Kind::Stream | Kind::SilentStream | Kind::Leaves | Kind::SlowReader => {
                stream_head(&mut stream).await?;
                for event in kind::stream(asked) {
                    chunk(&mut stream, &event).await?;
                    sleep(PACE).await;
                }
                stream.write_all(b"0\r\n\r\n").await?;
            }
            Kind::Reset | Kind::Torn => {
                stream_head(&mut stream).await?;
                for event in kind::stream(asked).iter().take(5) {
                    chunk(&mut stream, event).await?;
                    sleep(PACE).await;
                }
                if kind == Kind::Reset {
                    stream.set_zero_linger()?;
                }
                return Ok(());
            }
            Kind::Hangup => return Ok(()),
            Kind::Upgrade => return echo(stream).await,
            Kind::CloseDelimited => {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
                    .await?;
                stream.write_all(&kind::answer(0)).await?;
                return Ok(());
            }
            Kind::RateLimited => {
                let body = br#"{"error":{"message":"slow down","type":"requests","code":"rate_limit_exceeded"}}"#;
                whole(&mut stream, "429 Too Many Requests", body).await?;
            }
            Kind::LargeAnswer => whole(&mut stream, "200 OK", &kind::answer(kind::LARGE)).await?,
            Kind::Slow => {
                sleep(Duration::from_millis(500)).await;
                whole(&mut stream, "200 OK", &kind::answer(0)).await?;
            }
            _ => whole(&mut stream, "200 OK", &kind::answer(0)).await?,
        }
    }
    Ok(())
}

/// One request whole: its kind, and whether it asks for usage.
async fn read_request(stream: &mut TcpStream) -> Result<Option<(Kind, bool)>, Failure> {
    let mut buffer = Vec::with_capacity(4096);
    let head = loop {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(None);
        }
        if let Some(at) = memmem::find(&buffer, b"\r\n\r\n") {
            break at + 4;
        }
    };
    let (mut kind, mut length) = (None, 0);
    for line in std::str::from_utf8(buffer.get(..head).unwrap_or_default())?.lines() {
        let Some((name, value)) = line.split_once(": ") else { continue };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse()?,
            KIND => kind = Kind::from_name(value),
            _ => (),
        }
    }
    while buffer.len() < head + length {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Err("the body broke off".into());
        }
    }
    let asked = memmem::find(&buffer, br#""include_usage":true"#).is_some();
    Ok(Some((kind.ok_or("a request without its kind")?, asked)))
}

async fn stream_head(stream: &mut TcpStream) -> Result<(), Failure> {
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    Ok(stream.write_all(head.as_bytes()).await?)
}

async fn chunk(stream: &mut TcpStream, bytes: &[u8]) -> Result<(), Failure> {
    let size = format!("{:x}\r\n", bytes.len());
    Ok(stream.write_all(&[size.as_bytes(), bytes, b"\r\n"].concat()).await?)
}

async fn whole(stream: &mut TcpStream, status: &str, body: &[u8]) -> Result<(), Failure> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    Ok(stream.write_all(&[head.as_bytes(), body].concat()).await?)
}

/// Switches, and gives back every byte.
async fn echo(mut stream: TcpStream) -> Result<(), Failure> {
    let head =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    let (mut from, mut to) = stream.split();
    tokio::io::copy(&mut from, &mut to).await?;
    Ok(())
}
