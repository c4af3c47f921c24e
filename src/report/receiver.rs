//! A real socket server that answers as a test tells it, and keeps what it got. Knows no OTLP.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::settings::{Exporter, Histograms, Protocol, Temporality, Tls};

/// How long a test waits before it fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) enum Answer {
    /// Status, header lines, body.
    Http(u16, &'static str, Vec<u8>),
    /// Nothing, ever.
    Hang,
    /// The connection is reset, the body unread.
    Reset,
}

impl Answer {
    pub(super) fn status(status: u16) -> Self {
        Self::Http(status, "", vec![])
    }
}

/// One request.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) path: String,
    /// Lower case, one a line.
    pub(super) headers: String,
    pub(super) body: Vec<u8>,
    pub(super) at: Instant,
    /// The other side's port: tells connections apart.
    pub(super) connection: u16,
}

pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    got: mpsc::Receiver<Got>,
}

type Script = Arc<Mutex<dyn FnMut(&str) -> Answer + Send>>;

impl Receiver {
    /// `script` is asked for the answer to each request, by its path.
    pub(super) fn start(script: impl FnMut(&str) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (send, got) = sync_channel(1000);
        let script: Script = Arc::new(Mutex::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (script, send) = (Arc::clone(&script), send.clone());
                std::thread::spawn(move || serve(&stream, &script, &send));
            }
        });
        Self { address, got }
    }

    pub(super) fn exporter(&self) -> Exporter {
        exporter(self.address)
    }

    /// The next request; waits for it.
    pub(super) fn next(&self) -> Got {
        self.got.recv_timeout(PATIENCE).expect("a request")
    }

    /// What came so far.
    pub(super) fn all(&self) -> Vec<Got> {
        self.got.try_iter().collect()
    }
}

/// All signals to one address.
pub(super) fn exporter(address: SocketAddr) -> Exporter {
    let uri = |path| Some(format!("http://{address}{path}").parse().unwrap());
    Exporter {
        traces: uri("/v1/traces"),
        metrics: uri("/v1/metrics"),
        logs: uri("/v1/logs"),
        headers: vec![],
        gzip: false,
        timeout: PATIENCE,
        protocol: Protocol::Http,
        temporality: Temporality::Cumulative,
        histograms: Histograms::Explicit,
        tls: Tls::default(),
        proxy: None,
    }
}

/// Serves one connection until it ends; `None` is that end.
fn serve(stream: &TcpStream, script: &Script, send: &mpsc::SyncSender<Got>) -> Option<()> {
    let connection = stream.peer_addr().ok()?.port();
    let mut reader = BufReader::with_capacity(1, stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let at = Instant::now();
        let path = head.split(' ').nth(1)?.to_owned();
        let headers = head.to_lowercase();
        let length = headers.split("content-length: ").nth(1)?.split("\r\n").next()?;
        let answer = script.lock().unwrap()(&path);
        if matches!(answer, Answer::Reset) {
            // Closing with unread bytes makes the kernel reset the connection.
            return None;
        }
        let mut body = vec![0; length.parse().ok()?];
        reader.read_exact(&mut body).ok()?;
        send.send(Got { path, headers, body, at, connection }).ok()?;
        let Answer::Http(status, more, body) = answer else {
            // Hangs until the other side gives up.
            reader.read_line(&mut head).ok();
            return None;
        };
        let length = body.len();
        let head = format!("HTTP/1.1 {status} X\r\n{more}content-length: {length}\r\n\r\n");
        let mut writer = stream;
        writer.write_all(&[head.as_bytes(), &body].concat()).ok()?;
    }
}
