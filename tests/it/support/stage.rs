//! A proxy between a client and an upstream that answers what it is told to, and the check that both
//! received what the other sent. Knows no scenario.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::client::{Client, Response};
use super::compare::{self, Declared};
use super::origin::{Answer, Answering, Request};
use super::proxy::{Proxy, Start, upstream};
use super::wire::{Head, message, text};

/// A proxy, and behind it an upstream that answers what it is told to.
pub(crate) struct Stage {
    pub(crate) proxy: Proxy,
    pub(crate) upstream: Answering,
    next: Arc<Mutex<Answer>>,
    propagate: bool,
    own_listener: bool,
}

/// The smallest answer.
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

impl Stage {
    /// Everything under `/v1/` goes to the upstream.
    pub(crate) fn new() -> Self {
        Self::with("paths = [\"/v1/\"]")
    }

    /// Every path goes to the upstream, on a listener of its own.
    pub(crate) fn own() -> Self {
        Self::with("listen = \"127.0.0.1:0\"")
    }

    /// With these keys of `[[upstream]]`.
    pub(crate) fn with(keys: &str) -> Self {
        let next = Arc::new(Mutex::new(Answer::from(OK)));
        let told = Arc::clone(&next);
        let answering = Answering::with(move |_| told.lock().unwrap().clone());
        let proxy = Start::new(upstream("openai", &answering.url(), keys)).start();
        Self {
            proxy,
            upstream: answering,
            next,
            propagate: keys.contains("propagate = true"),
            own_listener: keys.contains("listen = "),
        }
    }

    /// What upstream and client received.
    pub(crate) fn exchange(
        &self,
        parts: &[&[u8]],
        answer: impl Into<Answer>,
    ) -> (Request, Response) {
        *self.next.lock().unwrap() = answer.into();
        let whole = parts.concat();
        let method = text(whole.split(|&byte| byte == b' ').next().unwrap());
        let own = || self.proxy.own("openai");
        let address = if self.own_listener { own() } else { self.proxy.address };
        let mut client = Client::connect(address);
        for (number, part) in parts.iter().enumerate() {
            if number > 0 {
                // Only so that the proxy is likely to read them one by one.
                thread::sleep(Duration::from_millis(1));
            }
            client.send(part);
        }
        let response = client.response(&method);
        (self.upstream.request(), response)
    }

    /// Asserts that upstream and client received what the other sent.
    pub(crate) fn check(
        &self,
        request: impl AsRef<[u8]>,
        answer: impl Into<Answer>,
    ) -> (Request, Response) {
        let target = Head::parse(head_of(request.as_ref())).target().to_owned();
        self.check_as(&target, &[request.as_ref()], answer)
    }

    /// As `check`, of a request in parts, whose target becomes `target`.
    pub(crate) fn check_as(
        &self,
        target: &str,
        parts: &[&[u8]],
        answer: impl Into<Answer>,
    ) -> (Request, Response) {
        let answer = answer.into();
        let (request, response) = self.exchange(parts, answer.clone());
        let (head, body) = message(&parts.concat(), Head::request_framing);
        let declared = Declared {
            host: self.upstream.address.to_string(),
            target: target.into(),
            propagate: self.propagate,
        };
        assert_eq!(compare::request(&head, &request.head, &declared), [""; 0], "{head:?}");
        assert!(request.body.complete);
        assert_same(&body.bytes, &request.body.bytes);
        assert_eq!(body.trailers, request.body.trailers);
        let method = head.method();
        let (sent, body) = message(&answer.bytes(), |head| head.response_framing(method));
        assert_eq!(compare::response(method, &sent, &response.head), [""; 0], "{sent:?}");
        assert!(response.body.complete, "{head:?}");
        assert_same(&body.bytes, &response.body.bytes);
        (request, response)
    }
}

fn head_of(message: &[u8]) -> &[u8] {
    let end = message.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    &message[..end + 4]
}

/// As `assert_eq`, without printing megabytes.
fn assert_same(sent: &[u8], received: &[u8]) {
    let at = sent.iter().zip(received).position(|(sent, received)| sent != received);
    assert_eq!(at, None, "the first byte that differs");
    assert_eq!(sent.len(), received.len());
}
