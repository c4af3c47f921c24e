//! A client that sends exact bytes and keeps every byte that it reads. Knows no HTTP library.

use std::net::{SocketAddr, TcpStream};

use super::wire::{Body, Head, Wire};

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    /// Its head.
    pub(crate) head: Head,
    /// Its body, complete or broken.
    pub(crate) body: Body,
}

impl Response {
    /// The body as text.
    pub(crate) fn text(&self) -> String {
        super::wire::text(&self.body.bytes)
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body.bytes)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// One client connection.
#[derive(Debug)]
pub(crate) struct Client {
    /// The connection, for whatever the methods here do not do.
    pub(crate) wire: Wire,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self { wire: Wire::new(TcpStream::connect(address).expect("a listener")) }
    }

    /// Sends exactly these bytes.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.wire.send(bytes);
    }

    /// The final answer to a request of this method, as far as it goes.
    pub(crate) fn response(&mut self, method: &str) -> Response {
        let (head, mut body) = self.begin_response(method);
        self.wire.finish(&mut body);
        Response { head, body }
    }

    /// The answer's head, and its body of which nothing was read yet. A `100 Continue` before it
    /// is skipped.
    pub(crate) fn begin_response(&mut self, method: &str) -> (Head, Body) {
        let mut head = self.wire.head();
        while head.status() == 100 {
            head = self.wire.head();
        }
        let body = Body::new(head.response_framing(method));
        (head, body)
    }
}

/// Sends `request` on a connection of its own and reads the answer.
pub(crate) fn exchange(address: SocketAddr, request: impl AsRef<[u8]>) -> Response {
    let request = request.as_ref();
    let method = request.split(|&byte| byte == b' ').next().unwrap_or_default();
    let mut client = Client::connect(address);
    client.send(request);
    client.response(&super::wire::text(method))
}

/// `POST` of a JSON body, as an SDK sends it.
pub(crate) fn post(path: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    post_with(path, "", body)
}

/// As `post`, with more header lines, each ended by CRLF.
pub(crate) fn post_with(path: &str, fields: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         {fields}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// `GET`.
pub(crate) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}
