//! The load: each task sends one exchange after the other, of a kind drawn anew, and holds what it saw
//! against what the kind says. Knows the proxy's address only.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::Failure;
use crate::kind::{Expected, Kind};
use crate::upstream::KIND;

/// No exchange takes as long.
const LONGEST: Duration = Duration::from_secs(30);
/// One connection serves about so many exchanges.
const KEPT_FOR: u32 = 20;
/// What is sent through an upgraded connection.
const ECHOED: usize = 100_000;

/// What all tasks saw.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    sent: AtomicU64,
    running: AtomicU64,
    unexpected: AtomicU64,
    // By kind: how many, and the first that was not as expected.
    kinds: Mutex<BTreeMap<String, (u64, Option<String>)>>,
}

impl Tally {
    /// Exchanges that the proxy took, each of which has to be reported.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    pub(crate) fn running(&self) -> u64 {
        self.running.load(Relaxed)
    }

    pub(crate) fn unexpected(&self) -> u64 {
        self.unexpected.load(Relaxed)
    }

    /// One line for each kind.
    pub(crate) fn lines(&self) -> Vec<String> {
        let kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let line = |(kind, (count, wrong)): (&String, &(u64, Option<String>))| {
            format!("  {kind:<15} {count:>9}  {}", wrong.as_deref().unwrap_or("as expected"))
        };
        kinds.iter().map(line).collect()
    }

    fn enter(&self, kind: Kind, outcome: Result<(), Failure>) {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, wrong) = kinds.entry(kind.name()).or_default();
        *count += 1;
        if let Err(error) = outcome {
            self.unexpected.fetch_add(1, Relaxed);
            wrong.get_or_insert_with(|| error.to_string());
        }
    }
}

/// Exchanges until `end`.
pub(crate) async fn run(to: SocketAddr, tally: Arc<Tally>, end: Instant) {
    let mut kept = None;
    while Instant::now() < end {
        let kind = Kind::ALL[fastrand::usize(..Kind::ALL.len())];
        tally.running.fetch_add(1, Relaxed);
        let exchange = exchange(to, kind, &mut kept, &tally.sent);
        let outcome = timeout(LONGEST, exchange).await.unwrap_or(Err("no end in sight".into()));
        if outcome.is_err() || fastrand::u32(..KEPT_FOR) == 0 {
            kept = None;
        }
        tally.enter(kind, outcome);
        tally.running.fetch_sub(1, Relaxed);
    }
}

type Sender = SendRequest<Full<Bytes>>;

async fn exchange(
    to: SocketAddr,
    kind: Kind,
    kept: &mut Option<Sender>,
    sent: &AtomicU64,
) -> Result<(), Failure> {
    if kind == Kind::Upgrade {
        return upgrade(to, sent).await;
    }
    let mut sender = match kept.take().filter(|sender| !sender.is_closed()) {
        Some(sender) => sender,
        None => connect(to).await?,
    };
    sender.ready().await?;
    let request = Request::post(kind.path())
        .header("Host", to.to_string())
        .header("Content-Type", "application/json")
        .header(KIND, kind.name())
        .body(Full::from(kind.body()))?;
    sent.fetch_add(1, Relaxed);
    let response = sender.send_request(request).await?;
    let whole = judge(kind, response).await?;
    *kept = whole.then_some(sender);
    Ok(())
}

async fn connect(to: SocketAddr) -> Result<Sender, Failure> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Whether the connection may be used again; an error where the answer is not as expected.
async fn judge(kind: Kind, response: Response<Incoming>) -> Result<bool, Failure> {
    let status = response.status().as_u16();
    let mut body = response.into_body();
    let (mut bytes, mut broke) = (0, false);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            broke = true;
            break;
        };
        bytes += frame.data_ref().map_or(0, Bytes::len);
        if kind == Kind::SlowReader {
            sleep(Duration::from_millis(20)).await;
        }
        if kind == Kind::Leaves && bytes > 500 {
            return Ok(false);
        }
    }
    let right = match kind.expected() {
        Expected::Whole(expected, length) => status == expected && bytes == length && !broke,
        Expected::Status(expected) => status == expected && !broke,
        Expected::Broken => status == 200 && broke,
        Expected::Left | Expected::Echo => false,
    };
    if right {
        return Ok(!broke);
    }
    Err(format!("status {status}, {bytes} bytes, broke: {broke}").into())
}

/// Sends bytes through an upgraded connection and reads them back.
async fn upgrade(to: SocketAddr, sent: &AtomicU64) -> Result<(), Failure> {
    let mut stream = TcpStream::connect(to).await?;
    let (path, kind) = (Kind::Upgrade.path(), Kind::Upgrade.name());
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {to}\r\n{KIND}: {kind}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    );
    sent.fetch_add(1, Relaxed);
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    if !head.starts_with(b"HTTP/1.1 101 ") {
        return Err("not switched".into());
    }
    let (mut from, mut to) = stream.split();
    let bytes: Vec<u8> = (0..ECHOED).map(|at| at as u8).collect();
    let mut back = Vec::new();
    let (written, read) = tokio::join!(
        async {
            to.write_all(&bytes).await?;
            to.shutdown().await
        },
        from.read_to_end(&mut back)
    );
    written?;
    read?;
    if back == bytes { Ok(()) } else { Err(format!("{} bytes came back", back.len()).into()) }
}
