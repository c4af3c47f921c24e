//! Clients that reach the proxy over TLS: what they see is what they would see without it, whatever
//! happens to certificates meanwhile. Knows the key `tls`.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::PATIENCE;
use crate::support::client::{Client, exchange, get, post};
use crate::support::collector::{Collector, Mode};
use crate::support::origin::{Answering, Origin};
use crate::support::proxy::{Proxy, Start, export, upstream};
use crate::support::stage::OK;
use crate::support::tls::{Authority, files, read_some};
use crate::support::wire::chunk;

/// A proxy whose shared listener speaks TLS as `tls` says.
fn https(url: &str, tls: &str, more: &str) -> Proxy {
    Start::new(config(url, tls, more)).start()
}

fn config(url: &str, tls: &str, more: &str) -> String {
    let server = "[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n";
    let upstream = upstream("openai", url, "paths = [\"/v1/\"]");
    format!("{server}tls = {tls}\n{upstream}{more}")
}

#[test]
fn http_inside_tls_is_forwarded_and_reported_as_https() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let (upstream, collector) = (Answering::always(OK), Collector::start(Mode::Well));
    let tls = authority.issue().write(folder.path());
    let proxy = https(&upstream.url(), &tls, &export(collector.endpoint()));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let versions: &'static [_] = Box::leak(Box::new([version]));
        let client = authority.client().of(versions);
        let answer = client.ask(proxy.address, &post("/v1/x", "{}")).unwrap();
        assert_eq!(answer, OK);
        let request = upstream.request();
        assert_eq!((request.head.target(), &*request.body.bytes), ("/v1/x", &b"{}"[..]));
    }
    let spans = collector.spans("SERVER", 2);
    assert!(spans.iter().all(|span| span.attributes["url.scheme"] == "https"), "{spans:#?}");
    assert!(proxy.stderr().contains(&format!("clearspan: listening on {} (https)", proxy.address)));
    proxy.finish();
}

#[test]
fn a_connection_is_used_again_and_closed_with_a_goodbye() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let upstream = Answering::always(OK);
    let tls = authority.issue().write(folder.path());
    let proxy = https(&upstream.url(), &tls, "[limits]\nclient_idle_seconds = 1\n");
    let mut stream = authority.client().connect(proxy.address).unwrap();
    for _ in 0..2 {
        stream.write_all(&get("/v1/x")).unwrap();
        assert_eq!(read_some(&mut stream).unwrap(), OK);
    }
    let body = "POST /v1/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    // Without close_notify this would be an error: the client could not tell the end from a break.
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
}

#[test]
fn what_both_can_is_chosen_by_name() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let tls = authority.issue().write(folder.path());
    let proxy = https("http://127.0.0.1:1", &tls, "");
    let chosen = |offer: &[&str]| {
        let stream = authority.client().offering(offer).connect(proxy.address)?;
        let protocol =
            stream.conn.alpn_protocol().map(|it| String::from_utf8(it.to_vec()).unwrap());
        Ok::<_, io::Error>(protocol)
    };
    assert_eq!(chosen(&["http/1.1"]).unwrap().as_deref(), Some("http/1.1"));
    assert_eq!(chosen(&[]).unwrap(), None);
    assert!(chosen(&["spdy/3"]).is_err());
}

#[test]
fn curl_is_served() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let upstream = Answering::always(OK);
    let tls = authority.issue().write(folder.path());
    let root = folder.path().join("root.crt");
    authority.write(&root);
    let proxy = https(&upstream.url(), &tls, "");
    let url = format!("https://localhost:{}/v1/x", proxy.address.port());
    let address = format!("localhost:{}:127.0.0.1", proxy.address.port());
    let curl = Command::new("curl")
        .args(["--silent", "--show-error", "--resolve", &address, "--cacert"])
        .arg(&root)
        .arg(&url)
        .output()
        .expect("curl, which every build machine has");
    assert_eq!(String::from_utf8_lossy(&curl.stdout), "ok", "{curl:?}");
    assert_eq!(upstream.request().head.target(), "/v1/x");
}

#[test]
fn a_client_shows_a_certificate_where_one_is_asked_for() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let upstream = Answering::always(OK);
    let tls = authority.issue().write(folder.path());
    let (clients, strangers) = (Authority::new(), Authority::new());
    let client_ca = folder.path().join("clients.crt");
    clients.write(&client_ca);
    let tls = tls.replace(" }", &format!(", client_ca = {client_ca:?} }}"));
    let proxy = https(&upstream.url(), &tls, "");
    let ask = |client: crate::support::tls::TlsClient| {
        client.ask(proxy.address, &get("/v1/x")).map_err(|error| error.to_string())
    };
    assert_eq!(ask(authority.client().showing(clients.issue())).as_deref(), Ok(OK));
    let refused = ask(authority.client()).unwrap_err();
    assert!(refused.contains("CertificateRequired"), "{refused}");
    assert!(ask(authority.client().showing(strangers.issue())).is_err());
    assert_eq!(upstream.requests().len(), 1, "what was refused reached nobody");
}

#[test]
fn a_new_certificate_is_taken_while_a_stream_runs_on_the_old_one() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let origin = Origin::bind();
    let old = authority.issue();
    let proxy = https(&origin.url(), &old.write(folder.path()), "");
    let client = authority.client();
    let mut stream = client.connect(proxy.address).unwrap();
    stream.write_all(&post("/v1/x", "{}")).unwrap();
    let (mut upstream, _) = origin.accept_request();
    upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    upstream.send(chunk(b"data: 1\n\n"));
    let mut seen = String::new();
    while !seen.ends_with("data: 1\n\n\r\n") {
        seen += &read_some(&mut stream).unwrap();
    }
    let new = authority.issue();
    new.write(folder.path());
    proxy.wait_until_said("new connections get the new certificate");
    assert_eq!(client.shown(proxy.address), new.der);
    upstream.send([&chunk(b"data: 2\n\n"), &b"0\r\n\r\n"[..]].concat());
    while !seen.ends_with("data: 2\n\n\r\n0\r\n\r\n") {
        seen += &read_some(&mut stream).unwrap();
    }
    assert_eq!(stream.conn.peer_certificates().unwrap()[0], old.der);
}

#[test]
fn a_pair_that_cannot_be_used_is_refused_once_and_the_old_one_stays() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let old = authority.issue();
    let proxy = https("http://127.0.0.1:1", &old.write(folder.path()), "");
    let client = authority.client();
    let key = folder.path().join("tls.key");
    // At once: half a key would be one more state that is looked at.
    let other = folder.path().join("other.key");
    std::fs::write(&other, authority.issue().key).unwrap();
    std::fs::rename(&other, &key).unwrap();
    proxy.signal("HUP");
    proxy.wait_until_said("is not the key of this certificate");
    std::fs::remove_file(&key).unwrap();
    proxy.signal("HUP");
    proxy.wait_until_said("No such file");
    // The same state is looked at again, on request and in time: that nothing more is said then, only
    // time can show.
    proxy.signal("HUP");
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(client.shown(proxy.address), old.der);
    let said = proxy.stderr();
    let said = said.iter().filter(|line| line.contains("the old certificate stays in use"));
    assert_eq!(said.count(), 2, "{:#?}", proxy.stderr());
    let new = authority.issue();
    new.write(folder.path());
    proxy.signal("HUP");
    proxy.wait_until_said("new connections get the new certificate");
    assert_eq!(client.shown(proxy.address), new.der);
}

#[test]
fn files_behind_a_link_that_is_swapped_are_taken() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    // As Kubernetes mounts a secret: files are links into `..data`, which is a link itself.
    let version = |name: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir(&path).unwrap();
        let issued = authority.issue();
        issued.write(&path);
        issued
    };
    let link = |to: &str, at: &str| {
        let at = folder.path().join(at);
        std::os::unix::fs::symlink(Path::new(to), at).unwrap();
    };
    version("..one");
    let second = version("..two");
    link("..one", "..data");
    link("..data/tls.crt", "tls.crt");
    link("..data/tls.key", "tls.key");
    let proxy = https("http://127.0.0.1:1", &files(folder.path()), "");
    link("..two", "..new");
    std::fs::rename(folder.path().join("..new"), folder.path().join("..data")).unwrap();
    proxy.wait_until_said("new connections get the new certificate");
    assert_eq!(authority.client().shown(proxy.address), second.der);
}

#[test]
fn a_slow_handshake_delays_nobody_and_ends_in_time() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let upstream = Answering::always(OK);
    let tls = authority.issue().write(folder.path());
    let proxy = https(&upstream.url(), &tls, "[limits]\nhandshake_seconds = 5\n");
    let begun = Instant::now();
    let mut slow: Vec<_> = (0..50).map(|_| Client::connect(proxy.address)).collect();
    for (number, client) in slow.iter_mut().enumerate() {
        // Half of them say nothing, the others begin a handshake.
        client.send(&b"\x16\x03\x01\x02\x00\x01"[..if number % 2 == 0 { 0 } else { 6 }]);
    }
    let answer = authority.client().ask(proxy.address, &get("/v1/x")).unwrap();
    assert_eq!(answer, OK);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    for mut client in slow {
        client.wire.until_ended();
    }
    assert!(begun.elapsed() >= Duration::from_millis(4900), "{:?}", begun.elapsed());
}

#[test]
fn plain_http_on_a_tls_listener_is_told_so() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let upstream = Answering::always(OK);
    let proxy = https(&upstream.url(), &authority.issue().write(folder.path()), "");
    let answer = exchange(proxy.address, post("/v1/x", "x".repeat(20_000)));
    assert_eq!(answer.head.status(), 400);
    assert_eq!(answer.head.field("clearspan-error"), Some("plain_http"));
    assert!(answer.text().contains("https://"), "{}", answer.text());
    let mut noise = TcpStream::connect(proxy.address).unwrap();
    noise.write_all(&[0, 1, 2]).unwrap();
    noise.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = Vec::new();
    drop(noise.read_to_end(&mut answer));
    assert_eq!(answer, b"");
    assert_eq!(upstream.connections(), 0);
    proxy.wait_for_metric("an unread request", |metrics| {
        metrics.sum("clearspan_requests_unread_total", &[]) >= 1.0
    });
}

#[test]
fn a_client_that_stops_reading_is_closed_over_tls_too() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let origin = Origin::bind();
    let tls = authority.issue().write(folder.path());
    let proxy = https(&origin.url(), &tls, "[limits]\nclient_stall_seconds = 1\n");
    let mut stream = authority.client().connect(proxy.address).unwrap();
    stream.write_all(&get("/v1/models")).unwrap();
    let (mut upstream, _) = origin.accept_request();
    upstream.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 1_u64 << 40));
    upstream.wire.flood();
    upstream.wire.until_ended();
    proxy.wait_for_metric("the stalled client", |metrics| {
        metrics.sum("clearspan_endings_total", &["clearspan_ending=\"client_timeout\""]) > 0.0
    });
    drop(stream);
}

#[test]
fn an_upstream_s_own_listener_has_its_own_tls() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let answering = Answering::always(OK);
    let tls = authority.issue().write(folder.path());
    let own = format!("listen = \"127.0.0.1:0\"\ntls = {tls}");
    let proxy = Start::new(upstream("openai", &answering.url(), &own)).start();
    let answer = authority.client().ask(proxy.own("openai"), &get("/any/path")).unwrap();
    assert_eq!(answer, OK);
    assert_eq!(answering.request().head.target(), "/any/path");
    assert_eq!(exchange(proxy.address, get("/openai/v1/x")).text(), "ok", "that is for it alone");
    assert_eq!(exchange(proxy.own("openai"), get("/v1/x")).head.status(), 400);
}

#[test]
fn the_drain_waits_for_a_stream_and_for_no_handshake() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let tls = authority.issue().write(folder.path());
    let more = "[limits]\nhandshake_seconds = 60\ndrain_seconds = 60\n";
    let mut proxy = https("http://127.0.0.1:1", &tls, more);
    let mut half = Client::connect(proxy.address);
    half.send(b"\x16");
    // What came before it on the same listener was accepted before it.
    authority.client().connect(proxy.address).unwrap();
    proxy.signal("TERM");
    assert_eq!(proxy.wait(PATIENCE).expect("it ends").code(), Some(0));
}

#[test]
fn files_that_cannot_be_used_are_told_at_the_start() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let tls = authority.issue().write(folder.path());
    let (cert, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    let refused = || {
        let (status, said) = Start::new(config("http://h", &tls, "")).fail();
        assert_eq!(status.code(), Some(78), "{said}");
        said
    };
    let line = format!("4 | tls = {tls}\n");
    let caret = |said: &str, at: &str| {
        let under = said.split(&line).nth(1).unwrap_or_else(|| panic!("{said}"));
        let column = under.find('^').unwrap() - "  | ".len();
        assert_eq!(format!("tls = {tls}").find(at), Some(column), "{said}");
    };
    std::fs::write(&key, authority.issue().key).unwrap();
    let said = refused();
    caret(&said, &format!("{key:?}"));
    assert!(said.contains("is not the key of this certificate"), "{said}");
    std::fs::write(&key, "none").unwrap();
    let said = refused();
    assert!(said.contains("holds no private key"), "{said}");
    std::fs::write(&cert, "none").unwrap();
    let said = refused();
    caret(&said, &format!("{cert:?}"));
    assert!(said.contains("holds no certificate"), "{said}");
    std::fs::remove_file(&cert).unwrap();
    let said = refused();
    caret(&said, &format!("{cert:?}"));
    assert!(said.contains(&format!("{}: No such file", cert.display())), "{said}");
}
