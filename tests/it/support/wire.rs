//! HTTP/1 as bytes: a reader that keeps everything it sees, a tiny parser of heads, a decoder of
//! bodies. Knows no proxy; it is the tests' own, so that the program's parser is not its own judge.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::PATIENCE;

/// A start line and fields, as they stood on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The start line without its end.
    pub(crate) start: String,
    /// Names in their case, values without the whitespace around them; in order. A byte is a
    /// character, so that nothing is lost.
    pub(crate) fields: Vec<(String, String)>,
}

impl Head {
    /// Reads a head that ends with an empty line.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let text = text(bytes);
        let mut lines = text.strip_suffix("\r\n\r\n").expect("a whole head").split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        Self { start, fields: lines.map(field).collect() }
    }

    /// The first value of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut of_name = self.fields.iter().filter(|(it, _)| it.eq_ignore_ascii_case(name));
        of_name.next().map(|(_, value)| value.as_str())
    }

    /// Every value of a field, in order.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let of_name = self.fields.iter().filter(move |(it, _)| it.eq_ignore_ascii_case(name));
        of_name.map(|(_, value)| value.as_str())
    }

    /// Of an answer: its status.
    pub(crate) fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line")
    }

    /// Of a request: its method.
    pub(crate) fn method(&self) -> &str {
        self.start.split(' ').next().unwrap_or_default()
    }

    /// Of a request: its target.
    pub(crate) fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    fn is_chunked(&self) -> bool {
        let last = self.all("transfer-encoding").last().unwrap_or_default();
        last.to_ascii_lowercase().ends_with("chunked")
    }

    fn length(&self) -> Option<u64> {
        self.field("content-length").map(|length| length.parse().expect("a length"))
    }

    /// How a request's body is delimited.
    pub(crate) fn request_framing(&self) -> Framing {
        match (self.is_chunked(), self.length()) {
            (true, _) => Framing::Chunked,
            (_, Some(length)) => Framing::Length(length),
            _ => Framing::Length(0),
        }
    }

    /// How the body of an answer to `method` is delimited.
    pub(crate) fn response_framing(&self, method: &str) -> Framing {
        if method == "HEAD" || matches!(self.status(), 100..=199 | 204 | 304) {
            return Framing::Length(0);
        }
        match (self.is_chunked(), self.length()) {
            (true, _) => Framing::Chunked,
            (_, Some(length)) => Framing::Length(length),
            _ => Framing::Close,
        }
    }
}

fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no field: {line:?}"));
    (name.to_owned(), value.trim_matches([' ', '\t']).to_owned())
}

/// Each byte as one character.
pub(crate) fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// So many bytes.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// By the end of the connection.
    Close,
}

/// A body as it arrives.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    /// How it is delimited.
    pub(crate) framing: Framing,
    /// What it holds so far.
    pub(crate) bytes: Vec<u8>,
    /// Trailer fields.
    pub(crate) trailers: Vec<(String, String)>,
    /// Its end was seen, and is as the framing demands.
    pub(crate) complete: bool,
    unread: Vec<u8>,
}

impl Body {
    /// A body of which nothing has come yet.
    pub(crate) fn new(framing: Framing) -> Self {
        let complete = framing == Framing::Length(0);
        Self { framing, bytes: Vec::new(), trailers: Vec::new(), complete, unread: Vec::new() }
    }

    /// Takes what belongs to the body and gives back what comes after it.
    fn push(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        match self.framing {
            Framing::Close => {
                self.bytes.extend(bytes);
                Vec::new()
            }
            Framing::Length(length) => self.push_counted(bytes, length),
            Framing::Chunked => {
                self.unread.extend(bytes);
                while !self.complete && self.take_chunk() {}
                if self.complete { std::mem::take(&mut self.unread) } else { Vec::new() }
            }
        }
    }

    fn push_counted(&mut self, mut bytes: Vec<u8>, length: u64) -> Vec<u8> {
        let missing = length as usize - self.bytes.len();
        let after = bytes.split_off(missing.min(bytes.len()));
        self.bytes.extend(bytes);
        self.complete = self.bytes.len() as u64 == length;
        after
    }

    /// Takes one whole chunk off the front, or the last one with its trailers.
    fn take_chunk(&mut self) -> bool {
        let Some(line) = find(&self.unread, b"\r\n") else { return false };
        let size = text(&self.unread[..line]);
        let size = size.split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("chunk {size:?}"));
        if size == 0 {
            return self.take_trailers(line);
        }
        let end = line + 2 + size;
        if self.unread.len() < end + 2 {
            return false;
        }
        assert_eq!(&self.unread[end..end + 2], b"\r\n", "a chunk ends with its line");
        self.bytes.extend_from_slice(&self.unread[line + 2..end]);
        self.unread.drain(..end + 2);
        true
    }

    fn take_trailers(&mut self, line: usize) -> bool {
        // The last chunk's line end and the empty line may be one and the same.
        let Some(end) = find(&self.unread[line..], b"\r\n\r\n") else { return false };
        let lines = text(&self.unread[line + 2..(line + end).max(line + 2)]);
        self.trailers = lines.split("\r\n").filter(|line| !line.is_empty()).map(field).collect();
        self.unread.drain(..line + end + 4);
        self.complete = true;
        true
    }
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|window| window == pattern)
}

/// A whole message as it was sent: its head, and its body by `framing`.
pub(crate) fn message(bytes: &[u8], framing: impl Fn(&Head) -> Framing) -> (Head, Body) {
    let end = find(bytes, b"\r\n\r\n").expect("a whole head") + 4;
    let head = Head::parse(&bytes[..end]);
    let mut body = Body::new(framing(&head));
    if !body.complete {
        body.push(bytes[end..].to_vec());
    }
    body.complete |= body.framing == Framing::Close;
    (head, body)
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The other side closed it.
    Closed,
    /// The other side reset it.
    Reset,
}

/// One side of a connection. Everything that came is kept, with its time.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    /// When bytes came, and how many.
    pub(crate) reads: Vec<(Instant, usize)>,
    /// Every byte that came.
    pub(crate) seen: Vec<u8>,
    unread: Vec<u8>,
    /// Set once the other side is gone.
    pub(crate) ended: Option<Ended>,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, reads: Vec::new(), seen: Vec::new(), unread: Vec::new(), ended: None }
    }

    /// Sends exactly these bytes, in one write where the kernel takes them.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the other side takes bytes");
    }

    /// Sends as much as the other side takes; whether that was all.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Sends until the other side takes no more; how many bytes that were.
    pub(crate) fn flood(&mut self) -> usize {
        self.stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let (block, mut sent) = (vec![b'x'; 64 * 1024], 0);
        while let Ok(count) = self.stream.write(&block) {
            sent += count;
        }
        self.stream.set_write_timeout(Some(PATIENCE)).unwrap();
        sent
    }

    /// One read. False when there will be no more.
    fn fill(&mut self) -> bool {
        let mut buffer = [0; 64 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.ended = Some(Ended::Closed),
            Ok(count) => {
                self.reads.push((Instant::now(), count));
                self.seen.extend_from_slice(&buffer[..count]);
                self.unread.extend_from_slice(&buffer[..count]);
                return true;
            }
            Err(error) if timed_out(&error) => {
                panic!("nothing came for {PATIENCE:?}; so far: {:?}", tail(&self.seen))
            }
            Err(_) => self.ended = Some(Ended::Reset),
        }
        false
    }

    /// The next head, or nothing when the connection ends before it begins.
    pub(crate) fn try_head(&mut self) -> Option<Head> {
        loop {
            if let Some(end) = find(&self.unread, b"\r\n\r\n") {
                let head: Vec<u8> = self.unread.drain(..end + 4).collect();
                return Some(Head::parse(&head));
            }
            if !self.fill() {
                assert!(self.unread.is_empty(), "cut off in a head: {:?}", tail(&self.unread));
                return None;
            }
        }
    }

    /// The next head.
    pub(crate) fn head(&mut self) -> Head {
        self.try_head().expect("a head before the connection ends")
    }

    /// Reads more of `body` until it is complete or broken.
    pub(crate) fn finish(&mut self, body: &mut Body) {
        self.advance(body, |_| false);
    }

    /// Reads more of `body` until it holds `count` bytes; panics when it ends before.
    pub(crate) fn until(&mut self, body: &mut Body, count: usize) {
        self.advance(body, |body| body.bytes.len() >= count);
        assert!(body.bytes.len() >= count, "the body ended early: {:?}", tail(&body.bytes));
    }

    fn advance(&mut self, body: &mut Body, enough: impl Fn(&Body) -> bool) {
        loop {
            let unread = std::mem::take(&mut self.unread);
            self.unread = if body.complete { unread } else { body.push(unread) };
            if body.complete || enough(body) {
                return;
            }
            if !self.fill() {
                body.complete = body.framing == Framing::Close && self.ended == Some(Ended::Closed);
                return;
            }
        }
    }

    /// Reads on until the other side is gone, however that looks.
    pub(crate) fn until_ended(&mut self) -> Ended {
        while self.ended.is_none() && self.fill() {}
        self.ended.unwrap_or(Ended::Closed)
    }

    /// From now on waits for what comes, however long it takes.
    pub(crate) fn wait_for_ever(&self) {
        self.stream.set_read_timeout(None).unwrap();
    }

    /// Whether nothing at all comes within `time`: neither bytes nor an end.
    pub(crate) fn is_silent(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let silent = match self.stream.peek(&mut [0]) {
            Ok(_) => false,
            Err(error) => timed_out(&error),
        };
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        silent && self.unread.is_empty()
    }

    /// Says that nothing more will be sent.
    pub(crate) fn shut_write(&self) {
        self.stream.shutdown(std::net::Shutdown::Write).unwrap();
    }

    /// Breaks the connection with a reset.
    pub(crate) fn reset(self) {
        // Only tokio offers `SO_LINGER` on a stable compiler.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let _entered = runtime.enter();
        self.stream.set_nonblocking(true).unwrap();
        let stream = tokio::net::TcpStream::from_std(self.stream).unwrap();
        stream.set_zero_linger().unwrap();
    }
}

fn timed_out(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// The end of what came, for messages.
fn tail(bytes: &[u8]) -> String {
    text(&bytes[bytes.len().saturating_sub(300)..])
}

/// `bytes` as chunks of at most `size`, and the last chunk.
pub(crate) fn chunked(bytes: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / size * 8 + 16);
    for part in bytes.chunks(size) {
        out.extend(chunk(part));
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

/// One chunk.
pub(crate) fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

#[test]
fn a_chunked_body_is_read_whatever_the_cuts() {
    let wire = b"3\r\nabc\r\n1;x=y\r\nd\r\n0\r\nX-Sum: 4\r\n\r\nnext";
    for cut in 0..wire.len() {
        let mut body = Body::new(Framing::Chunked);
        let mut after = body.push(wire[..cut].to_vec());
        if body.complete {
            after.extend_from_slice(&wire[cut..]);
        } else {
            after.extend(body.push(wire[cut..].to_vec()));
        }
        assert_eq!((body.bytes.as_slice(), body.complete), (&b"abcd"[..], true), "{cut}");
        assert_eq!(body.trailers, [("X-Sum".to_owned(), "4".to_owned())], "{cut}");
        assert_eq!(after, b"next", "{cut}");
    }
    let mut body = Body::new(Framing::Chunked);
    assert_eq!(body.push(chunked(b"abcde", 2)), b"");
    assert_eq!((body.bytes.as_slice(), body.complete), (&b"abcde"[..], true));
}

#[test]
fn a_counted_body_leaves_what_follows_it() {
    let mut body = Body::new(Framing::Length(3));
    assert_eq!(body.push(b"ab".to_vec()), b"");
    assert!(!body.complete);
    assert_eq!(body.push(b"cNEXT".to_vec()), b"NEXT");
    assert!(body.complete);
}
