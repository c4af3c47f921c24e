//! The limits of HTTP/2 that only its frames show, with peers that write these by hand. Knows as much of
//! RFC 9113 as that takes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::PATIENCE;
use crate::support::client::{Client, Response, post};
use crate::support::proxy::{Proxy, Start, upstream};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const REFUSED_STREAM: [u8; 4] = 7_u32.to_be_bytes();
const INITIAL_WINDOW_SIZE: u16 = 4;

#[derive(Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    fn ends(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }
}

/// One connection, as a client or an upstream.
struct Peer(TcpStream);

impl Peer {
    fn client(to: SocketAddr) -> Self {
        let mut peer = Self::of(TcpStream::connect(to).unwrap());
        peer.0.write_all(PREFACE).unwrap();
        peer.send(SETTINGS, 0, 0, &[]);
        peer
    }

    fn accepted(listener: &TcpListener) -> Self {
        let mut peer = Self::of(listener.accept().unwrap().0);
        let mut preface = [0; PREFACE.len()];
        peer.0.read_exact(&mut preface).unwrap();
        assert_eq!(preface, PREFACE);
        peer.send(SETTINGS, 0, 0, &[]);
        peer
    }

    fn of(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = (payload.len() as u32).to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        // Whoever is gone need not hear it.
        drop(self.0.write_all(&[&head, payload].concat()));
    }

    /// The next frame; none once the connection is over.
    fn frame(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).ok()?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.0.read_exact(&mut payload).ok()?;
        Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }

    /// The first frame that is looked for.
    #[track_caller]
    fn until(&mut self, found: impl Fn(&Frame) -> bool) -> Frame {
        loop {
            let frame = self.frame().expect("the connection goes on");
            if found(&frame) {
                return frame;
            }
        }
    }

    /// What it says that may be sent ahead on each stream.
    fn window(&mut self) -> u32 {
        let settings = self.until(|frame| frame.kind == SETTINGS && frame.flags & ACK == 0);
        let mut settings = settings.payload.chunks(6);
        let window = settings.find(|it| it[..2] == INITIAL_WINDOW_SIZE.to_be_bytes());
        u32::from_be_bytes(window.expect("a window")[2..].try_into().unwrap())
    }

    /// `GET /v1/x` of HPACK's static table, and three texts.
    fn ask(&mut self, stream: u32) {
        let fields = [&[0x82, 0x86, 0x44, 5][..], b"/v1/x", &[0x41, 1], b"x"].concat();
        self.send(HEADERS, END_HEADERS | END_STREAM, stream, &fields);
    }

    /// `200`, of HPACK's static table, without a body.
    fn answer(&mut self, stream: u32) {
        self.send(HEADERS, END_HEADERS | END_STREAM, stream, &[0x88]);
    }
}

fn bind() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

fn before(url: &str, limits: &str) -> Proxy {
    let config = upstream("openai", url, "paths = [\"/v1/\"]\nhttp = \"2\"");
    Start::new(format!("{config}[limits]\n{limits}\n")).start()
}

#[test]
fn http2_stream_window_is_told_to_both_sides() {
    for (limits, window) in [("", 256 << 10), ("http2_stream_window = \"96KiB\"", 96 << 10)] {
        let (listener, url) = bind();
        let proxy = before(&url, limits);
        let mut client = Peer::client(proxy.address);
        assert_eq!(client.window(), window, "{limits}");
        client.ask(1);
        assert_eq!(Peer::accepted(&listener).window(), window, "{limits}");
    }
}

/// The answer to a body of so many bytes whose stream is refused once it is whole, and how often it came.
fn refused_once(limits: &str, length: usize) -> (Response, usize) {
    let (listener, url) = bind();
    let proxy = before(&url, limits);
    let serving = thread::spawn(move || {
        let mut peer = Peer::accepted(&listener);
        let (mut came, mut whole) = (0, 0);
        while let Some(frame) = peer.frame() {
            came += if frame.kind == DATA { frame.payload.len() } else { 0 };
            if frame.ends() {
                assert_eq!(came, length);
                (came, whole) = (0, whole + 1);
                match whole {
                    1 => peer.send(RST_STREAM, 0, frame.stream, &REFUSED_STREAM),
                    _ => peer.answer(frame.stream),
                }
            }
        }
        whole
    });
    let mut client = Client::connect(proxy.address);
    client.send(post("/v1/x", vec![b'x'; length]));
    let response = client.response("POST");
    drop(proxy);
    (response, serving.join().unwrap())
}

#[test]
fn http2_repeat_is_the_longest_body_that_is_sent_again() {
    let limits = "http2_repeat = \"16KiB\"";
    let (response, times) = refused_once(limits, 16 << 10);
    assert_eq!((response.head.status(), times), (200, 2));
    let (response, times) = refused_once(limits, (16 << 10) + 1);
    assert_eq!((response.head.status(), times), (502, 1));
}

/// A limit of three seconds, within which a peer on a loaded machine answers, is met between these.
const ABOUT_3_SECONDS: std::ops::Range<Duration> =
    Duration::from_millis(2900)..Duration::from_secs(15);

#[test]
fn http2_ping_seconds_is_when_either_side_is_asked_for_a_sign_of_life_and_how_long_it_has() {
    let (listener, url) = bind();
    let proxy = before(&url, "http2_ping_seconds = 3");
    let begun = Instant::now();
    let mut client = Peer::client(proxy.address);
    client.ask(1);
    let mut upstream = Peer::accepted(&listener);
    upstream.until(Frame::ends);
    let is_asked = |frame: &Frame| frame.kind == PING && frame.flags & ACK == 0;
    // Whoever answers stays.
    let answering = thread::spawn(move || {
        let mut pings = 0;
        loop {
            let frame = client.until(|it| matches!(it.kind, PING | HEADERS | RST_STREAM));
            match frame.kind {
                PING => client.send(PING, ACK, 0, &frame.payload),
                _ => return (pings, frame),
            }
            pings += 1;
        }
    });
    let ping = upstream.until(is_asked);
    let last = Instant::now();
    upstream.send(PING, ACK, 0, &ping.payload);
    assert!(begun.elapsed() > ABOUT_3_SECONDS.start, "{:?}", begun.elapsed());
    // Who does not is given up, and whoever waited for it is told so: asked after three seconds, and waited
    // for as long. Counted from the last answer, since who is slow to see the question would see less of it.
    upstream.until(is_asked);
    while upstream.frame().is_some() {}
    let twice = 2 * ABOUT_3_SECONDS.start..2 * ABOUT_3_SECONDS.end;
    assert!(twice.contains(&last.elapsed()), "{:?}", last.elapsed());
    let (pings, answered) = answering.join().unwrap();
    assert!(pings > 0, "{pings}");
    assert_eq!((answered.kind, answered.stream), (HEADERS, 1));
}

#[test]
fn http2_ping_seconds_of_0_asks_nobody() {
    let (listener, url) = bind();
    let proxy = before(&url, "http2_ping_seconds = 0");
    let mut client = Peer::client(proxy.address);
    client.ask(1);
    let mut upstream = Peer::accepted(&listener);
    upstream.until(Frame::ends);
    let silence = Duration::from_secs(3);
    for peer in [&mut upstream, &mut client] {
        peer.0.set_read_timeout(Some(silence)).unwrap();
        while let Some(frame) = peer.frame() {
            assert_ne!(frame.kind, PING);
        }
    }
    upstream.answer(1);
    client.0.set_read_timeout(Some(PATIENCE)).unwrap();
    client.until(|frame| frame.kind == HEADERS);
}
