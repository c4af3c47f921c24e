//! The table of faults: for each one what the client sees and what is recorded of it, told from what
//! happened and compared with `docs/faults.md`. Knows how clients and upstreams fail.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use crate::support::client::{Client, post};
use crate::support::collector::{Collector, Mode};
use crate::support::origin::{Connection, Nobody, Origin};
use crate::support::proxy::{Proxy, Start, export, upstream};
use crate::support::signals::Span;
use crate::support::wire::{Body, Framing, Head, chunk, message};

const ASKED: &str = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#;
const CHUNKED: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
const COUNTED: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 200\r\n\r\n";
const CLOSED: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
const EVENT: &str =
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_reason\":null}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";

/// A line of the table that `docs/faults.md` holds: these cells between bars.
pub(crate) fn documented(cells: &[&str]) {
    let line = format!("| {} |", cells.join(" | "));
    println!("{line}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/faults.md");
    let page = std::fs::read_to_string(path).unwrap();
    assert!(page.lines().any(|it| it == line), "docs/faults.md lacks\n{line}");
}

/// One fault: how it comes about, and what is promised of it.
struct Fault {
    what: &'static str,
    happen: fn(&Scene<'_>) -> String,
    seen: &'static str,
    ending: &'static str,
    error_type: &'static str,
}

/// Where one fault happens: a proxy shared by all, and an upstream of its own.
struct Scene<'a> {
    proxy: &'a Proxy,
    origin: Origin,
    path: String,
}

impl Scene<'_> {
    /// A client that asked, and the upstream that heard it.
    fn asked(&self) -> (Client, Connection) {
        let mut client = Client::connect(self.proxy.address);
        client.send(post(&self.path, ASKED));
        let (upstream, _) = self.origin.accept_request();
        (client, upstream)
    }

    /// As `asked`, and the upstream sent this.
    fn answered(&self, answer: impl AsRef<[u8]>) -> (Client, Connection) {
        let (client, mut upstream) = self.asked();
        upstream.send(answer);
        (client, upstream)
    }

    /// As `answered` with an event, which reached the client.
    fn streaming(&self) -> (Client, Connection) {
        let (mut client, upstream) = self.answered(begun());
        let (_, mut body) = client.begin_response("POST");
        client.wire.until(&mut body, EVENT.len());
        (client, upstream)
    }

    /// A client within its request's body, and the upstream that has the first bytes of that.
    fn uploading(&self, framing: &str, part: &str) -> (Client, Connection) {
        let mut client = Client::connect(self.proxy.address);
        client.send(format!("POST {} HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n{part}", self.path));
        let mut upstream = self.origin.accept();
        let mut body = Body::new(upstream.wire.head().request_framing());
        upstream.wire.until(&mut body, 1);
        (client, upstream)
    }

    /// What the client sees when the upstream answers with this and then is gone.
    fn broken_after(&self, answer: impl AsRef<[u8]>, reset: bool) -> String {
        let answer = answer.as_ref();
        let (mut client, upstream) = self.answered(answer);
        if !reset {
            drop(upstream);
            return seen(&mut client);
        }
        // Of a head that is cut off it is the same whether it was read.
        if !answer.windows(4).any(|end| end == b"\r\n\r\n") {
            upstream.wire.reset();
            return seen(&mut client);
        }
        // A reset overtakes what was not read yet; what the client has, was.
        let (_, sent) = message(answer, |head| head.response_framing("POST"));
        let (head, mut body) = client.begin_response("POST");
        if sent.complete && sent.framing != Framing::Close {
            client.wire.finish(&mut body);
        } else {
            client.wire.until(&mut body, sent.bytes.len());
        }
        upstream.wire.reset();
        client.wire.finish(&mut body);
        told(&head, &body)
    }

    /// What the client sees when the upstream answers with this and stays.
    fn whole(&self, answer: impl AsRef<[u8]>) -> String {
        let (mut client, _upstream) = self.answered(answer);
        seen(&mut client)
    }
}

/// The head of a stream and an event.
fn begun() -> Vec<u8> {
    [CHUNKED.as_bytes(), &chunk(EVENT.as_bytes())].concat()
}

/// A stream to its end.
fn whole_stream() -> Vec<u8> {
    [&begun(), &chunk(DONE.as_bytes()), &b"0\r\n\r\n"[..]].concat()
}

fn json(status: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// What a client sees, in the words of the table.
fn seen(client: &mut Client) -> String {
    let Some(head) = client.wire.try_head() else { return "no answer: the connection ends".into() };
    let mut body = Body::new(head.response_framing("POST"));
    client.wire.finish(&mut body);
    told(&head, &body)
}

fn told(head: &Head, body: &Body) -> String {
    match (head.field("clearspan-error"), head.status(), body.complete) {
        (Some(reason), status, true) => format!("{status} `{reason}`"),
        (_, status, true) => format!("{status}, whole"),
        (_, status, false) => format!("{status}, what came, then a break"),
    }
}

/// How the other side hears of a client that leaves.
fn left(client: Client, mut upstream: Connection, reset: bool) -> String {
    if reset {
        client.wire.reset()
    } else {
        drop(client)
    }
    upstream.wire.until_ended();
    "(it has left)".into()
}

const LEFT: &str = "(it has left)";
const BROKEN: &str = "200, what came, then a break";
const WHOLE: &str = "200, whole";
const NOTHING: &str = "no answer: the connection ends";

/// Faults of clients, under `client_stall_seconds = 1`.
const CLIENTS: &[Fault] = &[
    Fault {
        what: "Client leaves before the answer",
        happen: |scene| {
            let (client, upstream) = scene.asked();
            left(client, upstream, false)
        },
        seen: LEFT,
        ending: "client_canceled",
        error_type: "",
    },
    Fault {
        what: "Client resets before the answer",
        happen: |scene| {
            let (client, upstream) = scene.asked();
            left(client, upstream, true)
        },
        seen: LEFT,
        ending: "client_canceled",
        error_type: "",
    },
    Fault {
        what: "Client leaves within a stream",
        happen: |scene| {
            let (client, upstream) = scene.streaming();
            left(client, upstream, false)
        },
        seen: LEFT,
        ending: "client_canceled",
        error_type: "",
    },
    Fault {
        what: "Client resets within a stream",
        happen: |scene| {
            let (client, upstream) = scene.streaming();
            left(client, upstream, true)
        },
        seen: LEFT,
        ending: "client_canceled",
        error_type: "",
    },
    Fault {
        what: "Client leaves within its counted body",
        happen: |scene| {
            let (client, upstream) = scene.uploading("Content-Length: 100", "half");
            left(client, upstream, false)
        },
        seen: LEFT,
        ending: "client_canceled",
        error_type: "",
    },
    Fault {
        what: "Client leaves within its chunked body",
        happen: |scene| {
            let chunked = "Transfer-Encoding: chunked";
            let (client, upstream) = scene.uploading(chunked, "4\r\nhalf\r\n");
            left(client, upstream, false)
        },
        seen: LEFT,
        ending: "client_canceled",
        error_type: "",
    },
    Fault {
        what: "Client resets within its body",
        happen: |scene| {
            let (client, upstream) = scene.uploading("Content-Length: 100", "half");
            left(client, upstream, true)
        },
        seen: LEFT,
        ending: "client_canceled",
        error_type: "",
    },
    Fault {
        what: "Client closes its sending half before the answer",
        happen: |scene| {
            let (mut client, mut upstream) = scene.asked();
            client.wire.shut_write();
            upstream.wire.until_ended();
            seen(&mut client)
        },
        seen: NOTHING,
        ending: "client_canceled",
        error_type: "",
    },
    Fault {
        what: "Client closes its sending half within a stream",
        happen: |scene| {
            let (mut client, mut upstream) = scene.answered(begun());
            let (head, mut body) = client.begin_response("POST");
            client.wire.until(&mut body, EVENT.len());
            client.wire.shut_write();
            upstream.wire.until_ended();
            client.wire.finish(&mut body);
            told(&head, &body)
        },
        seen: BROKEN,
        ending: "client_canceled",
        error_type: "",
    },
    Fault {
        what: "Client resets after the last byte",
        happen: |scene| {
            let (mut client, _upstream) = scene.answered(whole_stream());
            let seen = seen(&mut client);
            client.wire.reset();
            seen
        },
        seen: WHOLE,
        ending: "complete",
        error_type: "",
    },
    Fault {
        what: "Client sends a body whose chunks are broken",
        happen: |scene| {
            let chunked = "Transfer-Encoding: chunked";
            let (mut client, mut upstream) = scene.uploading(chunked, "4\r\nhalf\r\n");
            client.send("nonsense\r\n");
            upstream.wire.until_ended();
            seen(&mut client)
        },
        seen: "400 `bad_request`",
        ending: "proxy_error",
        error_type: "bad_request",
    },
    Fault {
        what: "Client stops within its body (`client_stall_seconds`)",
        happen: |scene| {
            let (mut client, mut upstream) = scene.uploading("Content-Length: 100", "half");
            upstream.wire.until_ended();
            seen(&mut client)
        },
        seen: "408 `client_timeout`",
        ending: "client_timeout",
        error_type: "client_timeout",
    },
    Fault {
        what: "Client stops reading (`client_stall_seconds`)",
        happen: |scene| {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 1_u64 << 40);
            let (mut client, mut upstream) = scene.answered(head);
            upstream.wire.flood();
            upstream.wire.until_ended();
            seen(&mut client)
        },
        seen: BROKEN,
        ending: "client_timeout",
        error_type: "client_timeout",
    },
    Fault {
        what: "Client sends a byte at a time",
        happen: |scene| {
            let mut client = Client::connect(scene.proxy.address);
            for byte in post(&scene.path, ASKED).chunks(1) {
                thread::sleep(Duration::from_millis(7));
                client.send(byte);
            }
            let (mut upstream, request) = scene.origin.accept_request();
            assert_eq!(request.body.bytes, ASKED.as_bytes());
            upstream.send(whole_stream());
            seen(&mut client)
        },
        seen: WHOLE,
        ending: "complete",
        error_type: "",
    },
    Fault {
        what: "Client reads a little now and then",
        happen: |scene| {
            let body = "x".repeat(8 << 20);
            let answer = json("200 OK", &format!("{{\"model\":\"{body}\",\"choices\":[]}}"));
            let (mut client, mut upstream) = scene.asked();
            let sending = thread::spawn(move || upstream.wire.try_send(answer));
            let (_, mut body) = client.begin_response("POST");
            // Each pause is shorter than the limit, all of them together are longer.
            for part in 1..=6 {
                thread::sleep(Duration::from_millis(250));
                client.wire.until(&mut body, part << 20);
            }
            client.wire.finish(&mut body);
            assert!(sending.join().unwrap());
            if body.complete { WHOLE.into() } else { BROKEN.into() }
        },
        seen: WHOLE,
        ending: "complete",
        error_type: "",
    },
];

/// Faults of upstreams, without limits of time.
const UPSTREAMS: &[Fault] = &[
    Fault {
        what: "Upstream ends before its answer",
        happen: |scene| scene.broken_after("", false),
        seen: "502 `connection_broken`",
        ending: "upstream_reset",
        error_type: "connection_broken",
    },
    Fault {
        what: "Upstream resets before its answer",
        happen: |scene| scene.broken_after("", true),
        seen: "502 `connection_broken`",
        ending: "upstream_reset",
        error_type: "connection_broken",
    },
    Fault {
        what: "Upstream closes its sending half without an answer",
        happen: |scene| {
            let (mut client, upstream) = scene.asked();
            upstream.wire.shut_write();
            seen(&mut client)
        },
        seen: "502 `connection_broken`",
        ending: "upstream_reset",
        error_type: "connection_broken",
    },
    Fault {
        what: "Upstream ends within its head",
        happen: |scene| scene.broken_after("HTTP/1.1 200 OK\r\nContent-Le", false),
        seen: "502 `connection_broken`",
        ending: "upstream_reset",
        error_type: "connection_broken",
    },
    Fault {
        what: "Upstream resets within its head",
        happen: |scene| scene.broken_after("HTTP/1.1 200 OK\r\nContent-Le", true),
        seen: "502 `connection_broken`",
        ending: "upstream_reset",
        error_type: "connection_broken",
    },
    Fault {
        what: "Upstream does not speak HTTP",
        happen: |scene| scene.whole("220 smtp ready\r\n\r\n"),
        seen: "502 `bad_response`",
        ending: "upstream_reset",
        error_type: "bad_response",
    },
    Fault {
        what: "Upstream sends a head of 10,000 fields",
        happen: |scene| {
            let fields = "X-A: b\r\n".repeat(10_000);
            scene.broken_after(format!("HTTP/1.1 200 OK\r\n{fields}\r\n"), false)
        },
        seen: "502 `bad_response`",
        ending: "upstream_reset",
        error_type: "bad_response",
    },
    Fault {
        what: "Upstream sends a head of 1 MiB",
        happen: |scene| {
            let (mut client, mut upstream) = scene.asked();
            let value = "x".repeat(1 << 20);
            upstream.wire.try_send(format!("HTTP/1.1 200 OK\r\nX-Long: {value}\r\n\r\n"));
            seen(&mut client)
        },
        seen: "502 `bad_response`",
        ending: "upstream_reset",
        error_type: "bad_response",
    },
    Fault {
        what: "Upstream sends two different lengths",
        happen: |scene| {
            let head = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n";
            scene.whole(format!("{head}ok!"))
        },
        seen: "502 `bad_response`",
        ending: "upstream_reset",
        error_type: "bad_response",
    },
    Fault {
        what: "Upstream ends within a chunked body",
        happen: |scene| scene.broken_after(begun(), false),
        seen: BROKEN,
        ending: "upstream_reset",
        error_type: "connection_broken",
    },
    Fault {
        what: "Upstream resets within a chunked body",
        happen: |scene| scene.broken_after(begun(), true),
        seen: BROKEN,
        ending: "upstream_reset",
        error_type: "connection_broken",
    },
    Fault {
        what: "Upstream ends within a counted body",
        happen: |scene| scene.broken_after(format!("{COUNTED}{{\"half"), false),
        seen: BROKEN,
        ending: "upstream_reset",
        error_type: "connection_broken",
    },
    Fault {
        what: "Upstream resets within a counted body",
        happen: |scene| scene.broken_after(format!("{COUNTED}{{\"half"), true),
        seen: BROKEN,
        ending: "upstream_reset",
        error_type: "connection_broken",
    },
    Fault {
        what: "Upstream sends broken chunks",
        happen: |scene| scene.whole([&begun(), &b"nonsense\r\n"[..]].concat()),
        seen: BROKEN,
        ending: "upstream_reset",
        error_type: "connection_broken",
    },
    Fault {
        what: "Upstream resets within a body that its end delimits",
        happen: |scene| scene.broken_after(format!("{CLOSED}{EVENT}"), true),
        seen: WHOLE,
        ending: "upstream_reset",
        error_type: "connection_broken",
    },
    Fault {
        what: "Upstream ends a stream without its last event",
        happen: |scene| scene.broken_after(format!("{CLOSED}{EVENT}"), false),
        seen: WHOLE,
        ending: "truncated",
        error_type: "truncated",
    },
    Fault {
        what: "Upstream ends a document in its middle, with a length that fits",
        happen: |scene| scene.whole(json("200 OK", "{\"model\": tru")),
        seen: WHOLE,
        ending: "truncated",
        error_type: "truncated",
    },
    Fault {
        what: "Upstream ends its connection after the last byte",
        happen: |scene| scene.broken_after(whole_stream(), false),
        seen: WHOLE,
        ending: "complete",
        error_type: "",
    },
    Fault {
        what: "Upstream resets after the last byte",
        happen: |scene| scene.broken_after(whole_stream(), true),
        seen: WHOLE,
        ending: "complete",
        error_type: "",
    },
    Fault {
        what: "Upstream sends a byte at a time",
        happen: |scene| {
            let (mut client, mut upstream) = scene.asked();
            for byte in whole_stream().chunks(1) {
                thread::sleep(Duration::from_millis(3));
                upstream.send(byte);
            }
            seen(&mut client)
        },
        seen: WHOLE,
        ending: "complete",
        error_type: "",
    },
    Fault {
        what: "Upstream answers with an error",
        happen: |scene| {
            let error = r#"{"error":{"message":"x","type":"t","code":"rate_limit_exceeded"}}"#;
            scene.whole(json("429 Too Many Requests", error))
        },
        seen: "429, whole",
        ending: "error_status",
        error_type: "rate_limit_exceeded",
    },
    Fault {
        what: "Upstream answers with an error that says nothing",
        happen: |scene| scene.whole("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"),
        seen: "503, whole",
        ending: "error_status",
        error_type: "503",
    },
    Fault {
        what: "Upstream tells of an error within a stream",
        happen: |scene| {
            let error = "data: {\"error\":{\"message\":\"x\",\"code\":\"overloaded\"}}\n\n";
            scene.whole([&begun(), &chunk(error.as_bytes()), &b"0\r\n\r\n"[..]].concat())
        },
        seen: WHOLE,
        ending: "error_in_stream",
        error_type: "overloaded",
    },
    Fault {
        what: "Upstream refuses an expectation",
        happen: |scene| {
            let mut client = Client::connect(scene.proxy.address);
            let fields = "Expect: 100-continue\r\nContent-Length: 100";
            client.send(format!("POST {} HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n", scene.path));
            let mut upstream = scene.origin.accept();
            assert_eq!(upstream.wire.head().field("expect"), Some("100-continue"));
            upstream.send("HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n");
            // The 100 before it is the proxy's own, as docs/transparency.md says.
            let (head, body) = client.begin_response("POST");
            assert!(body.complete);
            format!("{}, whole", head.status())
        },
        seen: "417, whole",
        ending: "error_status",
        error_type: "417",
    },
    Fault {
        what: "Upstream answers within the upload and ends the connection",
        happen: |scene| {
            let (mut client, mut upstream) = scene.uploading("Content-Length: 1000000", "half");
            upstream.send(json("413 Too Large", "{}"));
            drop(upstream);
            seen(&mut client)
        },
        seen: "413, whole",
        ending: "error_status",
        error_type: "413",
    },
];

/// Upstreams that cannot be had, and where they are not.
const ABSENT: &[(Fault, &str)] = &[
    (
        Fault {
            what: "Nobody listens at the upstream's address",
            happen: unheard,
            seen: "502 `connection_refused`",
            ending: "upstream_reset",
            error_type: "connection_refused",
        },
        "http://127.0.0.1:1",
    ),
    (
        Fault {
            what: "The upstream's name has no address",
            happen: unheard,
            seen: "502 `name_not_resolved`",
            ending: "upstream_reset",
            error_type: "name_not_resolved",
        },
        "http://nobody.invalid",
    ),
    (
        Fault {
            what: "The upstream does not speak TLS",
            happen: |scene| {
                let mut client = Client::connect(scene.proxy.address);
                client.send(post(&scene.path, ASKED));
                scene.origin.accept().send("HTTP/1.1 400 Bad Request\r\n\r\n");
                seen(&mut client)
            },
            seen: "502 `tls_failed`",
            ending: "upstream_reset",
            error_type: "tls_failed",
        },
        "https",
    ),
];

/// Upstreams under `upstream_silence_seconds = 1`.
const SILENT: &[Fault] = &[
    Fault {
        what: "Upstream is silent before its answer (`upstream_silence_seconds`)",
        happen: |scene| scene.whole(""),
        seen: "504 `upstream_silent`",
        ending: "upstream_timeout",
        error_type: "upstream_silent",
    },
    Fault {
        what: "Upstream falls silent within its answer (`upstream_silence_seconds`)",
        happen: |scene| scene.whole(begun()),
        seen: BROKEN,
        ending: "upstream_timeout",
        error_type: "upstream_silent",
    },
    Fault {
        what: "Upstream is never silent for long, and slow",
        happen: |scene| {
            let (mut client, mut upstream) = scene.answered(CHUNKED);
            for _ in 0..6 {
                thread::sleep(Duration::from_millis(250));
                upstream.send(chunk(EVENT.as_bytes()));
            }
            upstream.send([&chunk(DONE.as_bytes()), &b"0\r\n\r\n"[..]].concat());
            seen(&mut client)
        },
        seen: WHOLE,
        ending: "complete",
        error_type: "",
    },
    Fault {
        what: "Client uploads for longer than an upstream may be silent",
        happen: |scene| {
            let (mut client, mut upstream) = scene.uploading("Content-Length: 12", "123456");
            // It pauses for as long, and then the upstream has its full time. That no limit strikes
            // meanwhile, only time can show.
            thread::sleep(Duration::from_millis(1800));
            client.send("789abc");
            thread::sleep(Duration::from_millis(400));
            upstream.send(whole_stream());
            seen(&mut client)
        },
        seen: WHOLE,
        ending: "complete",
        error_type: "",
    },
    Fault {
        what: "Client pauses reading for longer than an upstream may be silent",
        happen: |scene| {
            let answer = json("200 OK", &"7".repeat(17 << 20));
            let (mut client, mut upstream) = scene.asked();
            let sending = thread::spawn(move || upstream.wire.try_send(answer));
            // Twice the limit, which must not strike.
            thread::sleep(Duration::from_millis(2000));
            let seen = seen(&mut client);
            assert!(sending.join().unwrap());
            seen
        },
        seen: WHOLE,
        ending: "complete",
        error_type: "",
    },
];

/// An upstream that never hears of it.
fn unheard(scene: &Scene<'_>) -> String {
    let mut client = Client::connect(scene.proxy.address);
    client.send(post(&scene.path, ASKED));
    seen(&mut client)
}

/// Lets every fault happen at once before one proxy, and compares what is promised of each.
fn check<'a>(limits: &str, faults: impl IntoIterator<Item = (&'a Fault, &'a str)>) {
    let faults: Vec<_> = faults.into_iter().collect();
    let collector = Collector::start(Mode::Well);
    let mut config = export(collector.endpoint()) + "[limits]\n" + limits + "\n";
    let mut origins = Vec::new();
    for (number, (_, url)) in faults.iter().enumerate() {
        let origin = Origin::bind();
        let url = match *url {
            "" => origin.url(),
            "https" => origin.url().replace("http:", "https:"),
            url => url.to_owned(),
        };
        let keys = format!("provider = \"openai\"\nmount = \"/{number}\"");
        config += &upstream(&format!("fault-{number}"), &url, &keys);
        origins.push(origin);
    }
    let proxy = Start::new(config).reports_at_once().start();
    let seen = Mutex::new(BTreeMap::new());
    thread::scope(|threads| {
        for (number, origin) in origins.into_iter().enumerate() {
            let (fault, seen, proxy) = (faults[number].0, &seen, &proxy);
            threads.spawn(move || {
                let path = format!("/{number}/v1/chat/completions");
                let saw = (fault.happen)(&Scene { proxy, origin, path });
                seen.lock().unwrap().insert(number, saw);
            });
        }
    });
    let spans = collector.spans("CLIENT", faults.len());
    proxy.finish();
    assert_eq!(spans.len(), faults.len(), "one record for each");
    let mut wrong = Vec::new();
    for (number, saw) in seen.into_inner().unwrap() {
        let fault = faults[number].0;
        let recorded = recorded(&spans, &format!("fault-{number}"));
        let promised =
            (fault.seen.to_owned(), (fault.ending.to_owned(), fault.error_type.to_owned()));
        if (&saw, &recorded) != (&promised.0, &promised.1) {
            wrong.push(format!("{}: {saw}, {recorded:?}, not {promised:?}", fault.what));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    for (fault, _) in faults {
        let error_type = if fault.error_type.is_empty() {
            "—".into()
        } else {
            format!("`{}`", fault.error_type)
        };
        documented(&[fault.what, fault.seen, &format!("`{}`", fault.ending), &error_type]);
    }
}

/// The ending and the `error.type` that both spans agree on.
fn recorded(spans: &[Span], upstream: &str) -> (String, String) {
    let span = spans.iter().find(|span| span.attributes["clearspan.upstream"] == upstream);
    let span = span.unwrap_or_else(|| panic!("no span of {upstream}"));
    let text =
        |key: &str| span.attributes.get(key).map_or("", |it| it.as_str().unwrap()).to_owned();
    assert_eq!(span.status == "error", !text("error.type").is_empty(), "{span:#?}");
    (text("clearspan.ending"), text("error.type"))
}

fn anywhere(faults: &'static [Fault]) -> impl Iterator<Item = (&'static Fault, &'static str)> {
    faults.iter().map(|fault| (fault, ""))
}

#[test]
fn faults_of_clients_are_what_the_table_says() {
    check("client_stall_seconds = 1", anywhere(CLIENTS));
}

#[test]
fn faults_of_upstreams_are_what_the_table_says() {
    check("", anywhere(UPSTREAMS));
}

#[test]
fn upstreams_that_cannot_be_had_are_what_the_table_says() {
    check("", ABSENT.iter().map(|(fault, url)| (fault, *url)));
}

#[test]
fn upstreams_that_are_silent_are_what_the_table_says() {
    check("upstream_silence_seconds = 1", anywhere(SILENT));
}

/// Faults that need a program of their own: what the client sees, and what the one record says.
fn check_alone(
    what: &str,
    config: &str,
    happen: impl FnOnce(&mut Proxy) -> String,
    (seen, ending, error_type): (&str, &str, &str),
) {
    let collector = Collector::start(Mode::Well);
    let config = format!("{config}{}", export(collector.endpoint()));
    let mut proxy = Start::new(config).reports_at_once().start();
    assert_eq!(happen(&mut proxy), seen, "{what}");
    let log = collector.wait_for("a record", |received| received.logs.first().cloned());
    let text = |key: &str| log.attributes.get(key).map_or("", |it| it.as_str().unwrap()).to_owned();
    assert_eq!(
        (text("clearspan.ending").as_str(), text("error.type").as_str()),
        (ending, error_type)
    );
    documented(&[what, seen, &format!("`{ending}`"), &format!("`{error_type}`")]);
}

/// What a client that asks on `path` sees.
fn asked_at(proxy: &Proxy, path: &str) -> String {
    let mut client = Client::connect(proxy.address);
    client.send(post(path, ASKED));
    seen(&mut client)
}

const CHAT: &str = "/v1/chat/completions";
const PATHS: &str = "paths = [\"/v1/\"]";

#[test]
fn a_request_that_addresses_nobody_is_what_the_table_says() {
    check_alone(
        "Nobody is addressed",
        &upstream("openai", "http://127.0.0.1:1", PATHS),
        |proxy| asked_at(proxy, "/nowhere"),
        ("404 `no_route`", "proxy_error", "no_route"),
    );
}

#[test]
fn more_than_max_exchanges_is_what_the_table_says() {
    let origin = Origin::bind();
    check_alone(
        "There are too many exchanges (`max_exchanges`)",
        &(upstream("openai", &origin.url(), PATHS) + "[limits]\nmax_exchanges = 1\n"),
        |proxy| {
            let mut first = Client::connect(proxy.address);
            first.send(post(CHAT, ASKED));
            let _running = origin.accept_request();
            asked_at(proxy, CHAT)
        },
        ("503 `busy`", "proxy_error", "busy"),
    );
}

#[test]
fn an_upstream_that_accepts_nobody_is_what_the_table_says() {
    let (listener, _waiting) = deaf();
    let url = format!("http://{}", listener.local_addr().unwrap());
    check_alone(
        "The upstream accepts no connection (`connect_seconds`)",
        &(upstream("openai", &url, PATHS) + "[limits]\nconnect_seconds = 1\n"),
        |proxy| asked_at(proxy, CHAT),
        ("504 `connect_timeout`", "upstream_timeout", "connect_timeout"),
    );
}

/// A listener whose backlog is full: the kernel leaves further attempts unanswered.
fn deaf() -> (tokio::net::TcpListener, Vec<TcpStream>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let _entered = runtime.enter();
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
    let waiting = std::iter::from_fn(connect).collect();
    // Kept with its listener: this test is short.
    std::mem::forget(runtime);
    (listener, waiting)
}

#[test]
fn an_upstream_that_is_the_proxy_is_what_the_table_says() {
    let port = Nobody::bind().address.port();
    // By a name: an address is refused at the start.
    let url = format!("http://localhost:{port}");
    let server = format!("[server]\nlisten = \"127.0.0.1:{port}\"\nadmin = \"127.0.0.1:0\"\n");
    check_alone(
        "The upstream is the proxy itself",
        &(server + &upstream("openai", &url, PATHS)),
        |proxy| asked_at(proxy, CHAT),
        ("508 `loop`", "proxy_error", "loop"),
    );
}

#[test]
fn a_stream_that_outlasts_the_drain_is_what_the_table_says() {
    let origin = Origin::bind();
    check_alone(
        "The program ends before the answer does (`drain_seconds`)",
        &(upstream("openai", &origin.url(), PATHS) + "[limits]\ndrain_seconds = 0.3\n"),
        |proxy| {
            let mut client = Client::connect(proxy.address);
            client.send(post(CHAT, ASKED));
            let (mut upstream, _) = origin.accept_request();
            upstream.send(begun());
            let (_, mut body) = client.begin_response("POST");
            client.wire.until(&mut body, EVENT.len());
            proxy.signal("TERM");
            client.wire.finish(&mut body);
            if body.complete { WHOLE.into() } else { BROKEN.into() }
        },
        (BROKEN, "proxy_error", "shutdown"),
    );
}

/// What never becomes an exchange: there is an answer or none, and a count.
#[test]
fn heads_that_are_refused_are_what_the_table_says() {
    let proxy = Start::new(
        upstream("openai", "http://127.0.0.1:1", PATHS) + "[limits]\nheader_seconds = 0.3\n",
    )
    .start();
    let many = "X-A: b\r\n".repeat(300);
    for (number, (what, head, status, counted)) in [
        ("Client's head is not HTTP", "nonsense\r\n\r\n".to_owned(), "400", true),
        (
            "Client's head has more than 256 fields",
            format!("GET / HTTP/1.1\r\n{many}\r\n"),
            "431",
            true,
        ),
        (
            "Client's head does not end (`header_seconds`)",
            "GET / HTTP/1.1\r\n".to_owned(),
            NOTHING,
            false,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = Client::connect(proxy.address);
        client.send(head);
        let saw = seen(&mut client);
        assert_eq!(saw, if counted { format!("{status}, whole") } else { status.to_owned() });
        let count = |metrics: &crate::support::proxy::Metrics| {
            metrics.sum("clearspan_requests_unread_total", &[]) == (number + 1).min(2) as f64
        };
        proxy.wait_for_metric(what, count);
        let counted = if counted { "counted in `clearspan.requests.unread`" } else { "—" };
        documented(&[what, &saw, "no exchange", counted]);
    }
}
