//! Egress proxies as a company has them: HTTP with `CONNECT` and absolute form, and SOCKS5. They know
//! which upstream every name means.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::PATIENCE;
use super::wire::{Head, text};

/// What an HTTP proxy does with a request.
pub(crate) enum Verdict {
    /// Opens a tunnel, be it to another place than was asked for.
    Tunnel(SocketAddr),
    /// Answers with these bytes, and closes.
    Answer(Vec<u8>),
    /// Says nothing.
    Silence,
}

impl Verdict {
    pub(crate) fn answer(bytes: impl AsRef<[u8]>) -> Self {
        Self::Answer(bytes.as_ref().to_vec())
    }
}

/// A listening egress proxy.
pub(crate) struct Egress {
    pub(crate) address: SocketAddr,
    asked: Receiver<Head>,
}

impl Egress {
    /// An HTTP proxy.
    pub(crate) fn with(judge: impl Fn(&Head) -> Verdict + Send + Sync + 'static) -> Self {
        Self::listen(move |mut stream, asked| {
            let head = read_head(&mut stream);
            let verdict = judge(&head);
            drop(asked.send(head));
            match verdict {
                Verdict::Tunnel(to) => {
                    stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
                    relay(stream, to);
                }
                // The other side may have heard enough before all of it is said.
                Verdict::Answer(bytes) => drop(stream.write_all(&bytes)),
                Verdict::Silence => drop(stream.read(&mut [0])),
            }
        })
    }

    /// An HTTP proxy to which one speaks TLS, and whose tunnels all lead to one place.
    pub(crate) fn over_tls(config: Arc<ServerConfig>, to: SocketAddr) -> Self {
        Self::listen(move |stream, asked| {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(connection, stream);
            drop(asked.send(read_head(&mut stream)));
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            pump_tls(stream, TcpStream::connect(to).unwrap());
        })
    }

    /// A SOCKS5 proxy that wants this user and password, and whose tunnels all lead to one place.
    /// Each is told as a head: `SOCKS host:port user password`.
    pub(crate) fn socks5(user: &'static str, password: &'static str, to: SocketAddr) -> Self {
        Self::listen(move |mut stream, asked| {
            let methods = counted(&mut stream, 5);
            assert!(methods.contains(&2), "user and password are offered: {methods:?}");
            stream.write_all(&[5, 2]).unwrap();
            let said_user = text(&counted(&mut stream, 1));
            let said_password = text(&length_and_bytes(&mut stream));
            let welcome = (said_user.as_str(), said_password.as_str()) == (user, password);
            stream.write_all(&[1, u8::from(!welcome)]).unwrap();
            if !welcome {
                return;
            }
            assert_eq!(exactly(&mut stream, 4), [5, 1, 0, 3], "CONNECT to a name");
            let host = text(&length_and_bytes(&mut stream));
            let port = exactly(&mut stream, 2);
            let port = u16::from_be_bytes([port[0], port[1]]);
            let start = format!("SOCKS {host}:{port} {said_user} {said_password}");
            drop(asked.send(Head { start, fields: Vec::new() }));
            stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).unwrap();
            relay(stream, to);
        })
    }

    fn listen(serve: impl Fn(TcpStream, &SyncSender<Head>) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, asked) = sync_channel(64);
        let serve = Arc::new(serve);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (serve, sender) = (Arc::clone(&serve), sender.clone());
                thread::spawn(move || serve(stream.unwrap(), &sender));
            }
        });
        Self { address, asked }
    }

    /// What it was asked next.
    pub(crate) fn asked(&self) -> Head {
        self.asked.recv_timeout(PATIENCE).expect("the egress proxy is asked")
    }

    /// Whether nothing more was asked.
    pub(crate) fn is_unasked(&self) -> bool {
        self.asked.try_recv().is_err()
    }

    /// Its URL of this scheme, with `user:password@` or nothing before the host.
    pub(crate) fn url(&self, scheme: &str, credentials: &str) -> String {
        format!("{scheme}://{credentials}{}", self.address)
    }
}

fn read_head(stream: &mut impl Read) -> Head {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.extend(exactly(stream, 1));
    }
    Head::parse(&bytes)
}

fn exactly(stream: &mut impl Read, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).expect("the other side says more");
    bytes
}

fn length_and_bytes(stream: &mut impl Read) -> Vec<u8> {
    let length = exactly(stream, 1)[0];
    exactly(stream, usize::from(length))
}

/// A version, a length, and so many bytes.
fn counted(stream: &mut impl Read, version: u8) -> Vec<u8> {
    assert_eq!(exactly(stream, 1), [version]);
    length_and_bytes(stream)
}

/// Both ways until either side ends.
fn relay(stream: TcpStream, to: SocketAddr) {
    let upstream = TcpStream::connect(to).unwrap();
    let (mut from, mut to) = (stream.try_clone().unwrap(), upstream.try_clone().unwrap());
    thread::spawn(move || {
        drop(std::io::copy(&mut from, &mut to));
        drop(to.shutdown(std::net::Shutdown::Write));
    });
    let (mut from, mut to) = (upstream, stream);
    drop(std::io::copy(&mut from, &mut to));
    drop(to.shutdown(std::net::Shutdown::Both));
}

/// As `relay` with TLS on one side, whose halves cannot be parted: each side in its turn.
fn pump_tls(mut client: StreamOwned<ServerConnection, TcpStream>, mut upstream: TcpStream) {
    client.sock.set_nonblocking(true).unwrap();
    upstream.set_nonblocking(true).unwrap();
    loop {
        let there = pump(&mut client, &mut upstream);
        let back = pump(&mut upstream, &mut client);
        if !(there && back) {
            return;
        }
        thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// What is there to read; false once there will be no more.
fn pump(from: &mut impl Read, to: &mut impl Write) -> bool {
    let mut buffer = [0; 16 * 1024];
    match from.read(&mut buffer) {
        Ok(0) => false,
        Ok(count) => to.write_all(&buffer[..count]).is_ok() && to.flush().is_ok(),
        Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
    }
}
