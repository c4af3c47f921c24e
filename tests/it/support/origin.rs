//! An upstream that answers with exact bytes. Knows only what its script or its test says: a test
//! either plays the upstream itself, step by step, or gives a function that does.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::PATIENCE;
use super::wire::{Body, Head, Wire};

/// A whole request as the upstream received it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Its head.
    pub(crate) head: Head,
    /// Its body, complete or broken.
    pub(crate) body: Body,
}

/// One connection that the upstream accepted.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The connection, for whatever the methods here do not do.
    pub(crate) wire: Wire,
}

impl Connection {
    /// The next request with its whole body; nothing when the connection ends before it.
    pub(crate) fn request(&mut self) -> Option<Request> {
        let head = self.wire.try_head()?;
        let mut body = Body::new(head.request_framing());
        self.wire.finish(&mut body);
        Some(Request { head, body })
    }

    /// Sends exactly these bytes.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.wire.send(bytes);
    }
}

/// A listening upstream.
#[derive(Debug)]
pub(crate) struct Origin {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    accepted: Receiver<Connection>,
    count: Arc<AtomicUsize>,
    gone: Arc<AtomicBool>,
}

impl Origin {
    /// An upstream whose connections the test takes with `accept`.
    pub(crate) fn bind() -> Self {
        let (sender, accepted) = sync_channel(256);
        let (address, count, gone) = listen(move |connection| {
            // Without a test that waits there is nothing to do with it.
            sender.send(connection).is_ok()
        });
        Self { address, accepted, count, gone }
    }

    /// The next connection.
    pub(crate) fn accept(&self) -> Connection {
        self.accepted.recv_timeout(PATIENCE).expect("the proxy connects")
    }

    /// The next connection, if there is one within `time`.
    pub(crate) fn accept_within(&self, time: Duration) -> Option<Connection> {
        self.accepted.recv_timeout(time).ok()
    }

    /// The next connection, however long it takes; nothing once there will be none.
    pub(crate) fn try_accept(&self) -> Option<Connection> {
        self.accepted.recv().ok()
    }

    /// The next connection and the request on it.
    pub(crate) fn accept_request(&self) -> (Connection, Request) {
        let mut connection = self.accept();
        let request = connection.request().expect("a request");
        (connection, request)
    }

    /// How many connections were made so far.
    pub(crate) fn connections(&self) -> usize {
        self.count.load(SeqCst)
    }

    /// For `url = …`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        hang_up(&self.gone, self.address);
    }
}

/// An upstream that answers every request by a function, on as many connections as come.
#[derive(Debug)]
pub(crate) struct Answering {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    requests: Receiver<Result<Request, String>>,
    count: Arc<AtomicUsize>,
    gone: Arc<AtomicBool>,
}

/// What an answering upstream sends for one request.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// Exact bytes, one write each.
    pub(crate) parts: Vec<Vec<u8>>,
    /// Whether the connection ends with them.
    pub(crate) close: bool,
}

impl<T: AsRef<[u8]>> From<T> for Answer {
    fn from(bytes: T) -> Self {
        Self { parts: vec![bytes.as_ref().to_vec()], close: false }
    }
}

impl Answer {
    /// These bytes, and then the end of the connection.
    pub(crate) fn closing(bytes: impl AsRef<[u8]>) -> Self {
        Self { close: true, ..bytes.into() }
    }

    /// All of its bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.parts.concat()
    }
}

impl Answering {
    /// Answers with what `answer` makes of the request.
    pub(crate) fn with<A: Into<Answer>>(
        answer: impl Fn(&Request) -> A + Send + Sync + 'static,
    ) -> Self {
        let answer = Arc::new(answer);
        let (sender, requests) = sync_channel(4096);
        let (address, count, gone) = listen(move |connection| {
            let (answer, sender) = (Arc::clone(&answer), sender.clone());
            thread::spawn(move || serve(connection, &*answer, &sender));
            true
        });
        Self { address, requests, count, gone }
    }

    /// Answers every request with these bytes.
    pub(crate) fn always(bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref().to_vec();
        Self::with(move |_| Answer::from(&bytes))
    }

    /// The next request that came.
    pub(crate) fn request(&self) -> Request {
        let request = self.requests.recv_timeout(PATIENCE).expect("a request reaches the upstream");
        request.expect("well-formed requests")
    }

    /// All requests that came and were not taken yet.
    pub(crate) fn requests(&self) -> Vec<Request> {
        let requests: Result<_, _> = self.requests.try_iter().collect();
        requests.expect("well-formed requests")
    }

    /// How many connections were made so far.
    pub(crate) fn connections(&self) -> usize {
        self.count.load(SeqCst)
    }

    /// For `url = …`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        hang_up(&self.gone, self.address);
    }
}

fn serve<A: Into<Answer>>(
    mut connection: Connection,
    answer: &(impl Fn(&Request) -> A + ?Sized),
    requests: &SyncSender<Result<Request, String>>,
) {
    connection.wire.wait_for_ever();
    loop {
        let request = catch_unwind(AssertUnwindSafe(|| connection.request()));
        let request = match request {
            Ok(Some(request)) => request,
            Ok(None) => return,
            Err(_) => {
                let seen = super::wire::text(&connection.wire.seen);
                // Without a test that listens nobody minds.
                drop(requests.try_send(Err(seen)));
                return;
            }
        };
        let Answer { parts, close } = answer(&request).into();
        let complete = request.body.complete;
        // The test may be over, or the client gone: then nobody reads this.
        let heard = requests.try_send(Ok(request)).is_ok();
        if !write_apart(&mut connection, &parts) || close || !complete || !heard {
            return;
        }
    }
}

/// One write for each part, so long apart that the other side is likely to read them one by one.
fn write_apart(connection: &mut Connection, parts: &[Vec<u8>]) -> bool {
    parts.iter().enumerate().all(|(number, part)| {
        if number > 0 {
            thread::sleep(Duration::from_millis(1));
        }
        connection.wire.try_send(part)
    })
}

type Listening = (SocketAddr, Arc<AtomicUsize>, Arc<AtomicBool>);

fn listen(mut accepted: impl FnMut(Connection) -> bool + Send + 'static) -> Listening {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (count, gone) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let listening = (address, Arc::clone(&count), Arc::clone(&gone));
    thread::spawn(move || {
        for stream in listener.incoming() {
            if gone.load(SeqCst) {
                return;
            }
            count.fetch_add(1, SeqCst);
            let connection = Connection { wire: Wire::new(stream.unwrap()) };
            if !accepted(connection) {
                return;
            }
        }
    });
    listening
}

/// Wakes the listening thread, so that it sees that it is over.
fn hang_up(gone: &AtomicBool, address: SocketAddr) {
    gone.store(true, SeqCst);
    drop(TcpStream::connect(address));
}

/// An address on which nobody listens, kept from others for as long as it lives.
#[derive(Debug)]
pub(crate) struct Nobody {
    /// Connections to it are refused.
    pub(crate) address: SocketAddr,
    _bound: Mutex<tokio::net::TcpSocket>,
}

impl Nobody {
    pub(crate) fn bind() -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self { address: socket.local_addr().unwrap(), _bound: Mutex::new(socket) }
    }

    /// For `url = …`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}
