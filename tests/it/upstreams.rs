//! Every way to an upstream: TLS with authorities and certificates of one's own, egress proxies, Unix
//! sockets, IPv6. Knows what both ends saw; how addresses of a name are tried is `dial`'s own test.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::thread;

use crate::support::client::{Response, exchange, get, post};
use crate::support::collector::{Collector, Mode};
use crate::support::egress::{Egress, Verdict};
use crate::support::origin::{Answering, Nobody};
use crate::support::proxy::{Start, export, upstream};
use crate::support::secured::{Authority, Secured, config, file};
use crate::support::stage::OK;
use crate::support::wire::Head;

const USER: &str = "team:s%40cret@";
/// What `USER` is in `Proxy-Authorization`: `team:s@cret`.
const BASIC: &str = "Basic dGVhbTpzQGNyZXQ=";

/// The program before an upstream of these keys, under `/v1/`.
fn before(url: &str, keys: &str) -> Start {
    Start::new(upstream("openai", url, &format!("paths = [\"/v1/\"]\n{keys}")))
}

fn ask(start: Start) -> Response {
    exchange(start.start().address, get("/v1/models"))
}

fn assert_ours(response: &Response, status: u16, reason: &str) {
    assert_eq!(response.head.status(), status, "{}", response.text());
    assert_eq!(response.head.field("clearspan-error"), Some(reason), "{}", response.text());
}

fn assert_passed(response: &Response) {
    assert_eq!((response.head.status(), &*response.text()), (200, "ok"));
}

/// An upstream of this name with a certificate that the authority signed, and the file that says so.
struct Private {
    folder: tempfile::TempDir,
    authority: Authority,
    upstream: Secured,
}

impl Private {
    fn named(name: &str) -> Self {
        let authority = Authority::new();
        let upstream = Secured::bind(&authority.identity(&[name]), None);
        Self { folder: tempfile::tempdir().unwrap(), authority, upstream }
    }

    fn ca(&self) -> String {
        file(self.folder.path(), "ca.pem", &self.authority.pem())
    }

    fn url(&self) -> String {
        format!("https://{}", self.upstream.address)
    }
}

#[test]
fn an_authority_of_ones_own_is_trusted_where_it_is_named() {
    let private = Private::named("127.0.0.1");
    let keys = format!("ca = \"{}\"", private.ca());
    assert_passed(&ask(before(&private.url(), &keys)));
    let seen = private.upstream.request();
    assert_eq!(seen.alpn.as_deref(), Some(&b"http/1.1"[..]));
    assert!(!seen.client_certificate);
    assert_eq!(seen.head.field("host"), Some(&*private.upstream.address.to_string()));
}

#[test]
fn a_certificate_that_nobody_we_trust_signed_is_a_502_and_told() {
    let private = Private::named("127.0.0.1");
    let other = file(private.folder.path(), "other.pem", &Authority::new().pem());
    for keys in [String::new(), format!("ca = \"{other}\"")] {
        let collector = Collector::start(Mode::Well);
        let config = upstream("openai", &private.url(), &format!("paths = [\"/v1/\"]\n{keys}"));
        let proxy = Start::new(config + &export(collector.endpoint())).start();
        let response = exchange(proxy.address, post("/v1/chat/completions", "{\"model\":\"x\"}"));
        assert_ours(&response, 502, "tls_failed");
        assert!(response.text().contains("UnknownIssuer"), "{}", response.text());
        proxy.finish();
        let received = collector.received();
        let client = received.of_kind("CLIENT")[0];
        assert_eq!(client.status, "error");
        assert_eq!(client.attributes["error.type"], "tls_failed");
    }
    assert!(private.upstream.is_unasked());
}

#[test]
fn another_trust_of_the_system_holds_for_every_upstream() {
    let private = Private::named("127.0.0.1");
    assert_passed(&ask(before(&private.url(), "").env("SSL_CERT_FILE", private.ca())));
    let folder = private.folder.path().display().to_string();
    assert_passed(&ask(before(&private.url(), "").env("SSL_CERT_DIR", folder)));
    // `ca` takes its place, and a file that is not there makes nobody trusted.
    let other = file(private.folder.path(), "other.pem", &Authority::new().pem());
    let start = before(&private.url(), &format!("ca = \"{other}\""));
    assert_ours(&ask(start.env("SSL_CERT_FILE", private.ca())), 502, "tls_failed");
    let proxy = before(&private.url(), "").env("SSL_CERT_FILE", "/nonexistent.pem").start();
    assert_ours(&exchange(proxy.address, get("/v1/models")), 502, "tls_failed");
    let said = proxy.stderr().join("\n");
    assert!(said.contains("/nonexistent.pem"), "{said}");
}

#[test]
fn an_upstream_that_demands_a_certificate_is_shown_ours() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let demanding = Secured::bind(&servers.identity(&["127.0.0.1"]), Some(&clients));
    let folder = tempfile::tempdir().unwrap();
    let ours = clients.identity(&["clearspan"]);
    let [ca, cert, key] = [("ca", servers.pem()), ("cert", ours.cert), ("key", ours.key)]
        .map(|(name, pem)| file(folder.path(), name, &pem));
    let url = format!("https://{}", demanding.address);
    // A second upstream at the same place comes as nobody: sessions are not shared with it.
    let first = format!("paths = [\"/v1/\"]\nca = \"{ca}\"\ncert = \"{cert}\"\nkey = \"{key}\"");
    let second = format!("paths = [\"/v2/\"]\nca = \"{ca}\"");
    let both = upstream("openai", &url, &first) + &upstream("nobody", &url, &second);
    let proxy = Start::new(both).start();
    assert_passed(&exchange(proxy.address, get("/v1/models")));
    assert!(demanding.request().client_certificate);
    let refused = exchange(proxy.address, get("/v2/models"));
    assert_eq!(refused.head.status(), 502, "{}", refused.text());
    assert!(demanding.is_unasked());
}

#[test]
fn a_certificate_may_bear_another_name_than_the_url() {
    let private = Private::named("llm.internal");
    let ca = format!("ca = \"{}\"\n", private.ca());
    let response = ask(before(&private.url(), &ca));
    assert_ours(&response, 502, "tls_failed");
    assert!(response.text().contains("llm.internal"), "{}", response.text());
    assert_passed(&ask(before(&private.url(), &format!("{ca}server_name = \"llm.internal\""))));
    let seen = private.upstream.request();
    assert_eq!(seen.server_name.as_deref(), Some("llm.internal"));
    assert_eq!(seen.head.field("host"), Some(&*private.upstream.address.to_string()));
}

#[test]
fn a_file_that_is_no_certificate_is_refused_at_the_start_with_its_line() {
    let (status, printed) = before("https://a.com", "ca = \"/nonexistent/ca.pem\"").fail();
    assert_eq!(status.code(), Some(78), "{printed}");
    for part in [
        "ca = \"/nonexistent/ca.pem\"\n",
        "|      ^^^^^^^^^^^^^^^^^^^^^\n/nonexistent/ca.pem: No such file or directory",
    ] {
        assert!(printed.contains(part), "{printed}");
    }
}

/// A proxy that lets those through who say `USER`, always to `to`.
fn guarded(to: std::net::SocketAddr) -> Egress {
    Egress::with(move |head| match head.field("proxy-authorization") {
        Some(BASIC) => Verdict::Tunnel(to),
        _ => Verdict::answer("HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\n\r\n"),
    })
}

#[test]
fn an_upstream_with_tls_is_reached_through_a_tunnel_with_credentials_nobody_sees() {
    // Only the egress proxy knows where this is.
    let private = Private::named("llm.test");
    let egress = guarded(private.upstream.address);
    let collector = Collector::start(Mode::Well);
    let keys = format!(
        "paths = [\"/v1/\"]\nca = \"{}\"\nproxy = {{ env = \"EGRESS\" }}\n[telemetry]\nphase_spans = true\n",
        private.ca()
    );
    let config = upstream("openai", "https://llm.test:8443", &keys) + &export(collector.endpoint());
    let proxy = Start::new(config).env("EGRESS", egress.url("http", USER)).start();
    for _ in 0..2 {
        assert_passed(&exchange(proxy.address, get("/v1/models")));
    }
    let asked = egress.asked();
    assert_eq!(asked.start, "CONNECT llm.test:8443 HTTP/1.1");
    assert_eq!(asked.field("host"), Some("llm.test:8443"));
    assert_eq!(asked.field("user-agent"), None);
    assert!(egress.is_unasked(), "the tunnel is used again");
    let seen = private.upstream.request();
    assert_eq!(seen.head.start, "GET /v1/models HTTP/1.1");
    assert_eq!(seen.head.field("host"), Some("llm.test:8443"));
    assert_eq!(seen.head.field("proxy-authorization"), None);
    assert_eq!(seen.server_name.as_deref(), Some("llm.test"));
    let said = format!("{:?} {:?}", proxy.stdout(), proxy.stderr());
    assert!(!said.contains("cret") && !said.contains("dGVhb"), "{said}");
    proxy.finish();
    let received = collector.received();
    let client = received.of_kind("CLIENT")[0];
    assert_eq!(client.attributes["server.address"], "llm.test", "not the egress proxy");
    assert_eq!(client.attributes["server.port"], 8443);
    assert!(received.of_kind("INTERNAL").iter().any(|span| span.name == "connect"));
}

#[test]
fn a_tunnel_that_is_refused_is_a_502_that_says_why() {
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(1 << 20));
    for (verdict, reason, said) in [
        ("HTTP/1.1 407 No\r\nContent-Length: 9\r\n\r\nforbidden", "proxy_authentication", "407"),
        ("HTTP/1.1 403 Forbidden\r\n\r\n", "proxy_refused", "403 Forbidden"),
        ("HTTP/1.1 502 Bad Gateway\r\n\r\n", "proxy_refused", "502 Bad Gateway"),
        ("SSH-2.0-OpenSSH_9.2\r\n", "proxy_broken", "egress proxy"),
        ("HTTP/1.1 200 O", "proxy_broken", "egress proxy"),
        // What follows is the upstream's word, which is no TLS.
        ("HTTP/1.1 200 OK\r\n\r\nhello", "tls_failed", "no TLS with the upstream"),
        (long.as_str(), "proxy_broken", "egress proxy"),
        ("", "proxy_broken", "egress proxy"),
    ] {
        let verdict = verdict.to_owned();
        let egress = Egress::with(move |_| Verdict::answer(&verdict));
        let proxy = format!("proxy = \"{}\"", egress.url("http", ""));
        let response = ask(before("https://llm.test", &proxy));
        assert_ours(&response, 502, reason);
        assert!(response.text().contains(said), "{}", response.text());
    }
}

#[test]
fn an_egress_proxy_that_is_not_there_or_silent_is_told_as_such() {
    let nobody = Nobody::bind();
    let response = ask(before("https://llm.test", &format!("proxy = \"{}\"", nobody.url())));
    assert_ours(&response, 502, "proxy_unreachable");
    assert!(response.text().contains("connection_refused"), "{}", response.text());
    let response = ask(before("https://llm.test", "proxy = \"http://nobody.invalid\""));
    assert_ours(&response, 502, "proxy_unreachable");
    let silent = Egress::with(|_| Verdict::Silence);
    let keys = format!("proxy = \"{}\"\n[limits]\nconnect_seconds = 0.3", silent.url("http", ""));
    assert_ours(&ask(before("https://llm.test", &keys)), 504, "connect_timeout");
    // TLS behind the tunnel counts too.
    let listening = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listening.local_addr().unwrap();
    let egress = Egress::with(move |_| Verdict::Tunnel(to));
    let keys = format!("proxy = \"{}\"\n[limits]\nconnect_seconds = 0.3", egress.url("http", ""));
    assert_ours(&ask(before("https://llm.test", &keys)), 504, "connect_timeout");
}

#[test]
fn an_upstream_without_tls_is_asked_for_in_absolute_form() {
    let egress = Egress::with(|head| match head.field("proxy-authorization") {
        Some(BASIC) => Verdict::answer(OK),
        _ => Verdict::answer("HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\n\r\n"),
    });
    let start = || before("http://llm.test:81/base", "proxy = { env = \"EGRESS\" }");
    let proxy = start().env("EGRESS", egress.url("http", USER)).start();
    let request =
        "GET /v1/a%2Fb?x=%20 HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic app\r\n\r\n";
    assert_passed(&exchange(proxy.address, request));
    let asked = egress.asked();
    assert_eq!(asked.start, "GET http://llm.test:81/base/v1/a%2Fb?x=%20 HTTP/1.1");
    assert_eq!(asked.field("host"), Some("llm.test:81"));
    assert_eq!(asked.all("proxy-authorization").collect::<Vec<_>>(), [BASIC]);
    // What a proxy wants of us it does not want of the client.
    let refused = ask(start().env("EGRESS", egress.url("http", "")));
    assert_ours(&refused, 502, "proxy_authentication");
    assert_eq!(refused.head.field("proxy-authenticate"), None);
}

#[test]
fn an_upgrade_needs_a_tunnel_also_without_tls() {
    let upstream = Answering::always(OK);
    let to = upstream.address;
    let egress = Egress::with(move |_| Verdict::Tunnel(to));
    let proxy = before("http://llm.test:81", &format!("proxy = \"{}\"", egress.url("http", "")));
    let request = "GET /v1/realtime HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
                   Upgrade: websocket\r\n\r\n";
    assert_passed(&exchange(proxy.start().address, request));
    assert_eq!(egress.asked().start, "CONNECT llm.test:81 HTTP/1.1");
    let request = upstream.request();
    assert_eq!(request.head.start, "GET /v1/realtime HTTP/1.1");
    assert_eq!(request.head.field("upgrade"), Some("websocket"));
}

#[test]
fn the_environment_names_a_proxy_for_all_but_this_machine_and_those_it_excepts() {
    let private = Private::named("llm.test");
    let to = private.upstream.address;
    let egress = Egress::with(move |head: &Head| match head.method() {
        "CONNECT" => Verdict::Tunnel(to),
        _ => Verdict::answer(OK),
    });
    let local = Answering::always(OK);
    let ca = format!("paths = [\"/v1/\"]\nca = \"{}\"", private.ca());
    let config = [
        upstream("openai", "https://llm.test", &ca),
        upstream("plain", "http://plain.test", "paths = [\"/p/\"]"),
        upstream("local", &local.url(), "paths = [\"/l/\"]"),
        upstream("excepted", "http://a.nobody.invalid", "paths = [\"/e/\"]"),
        upstream("direct", "http://nobody.invalid", "paths = [\"/d/\"]\nproxy = \"none\""),
    ];
    let start = Start::new(config.concat())
        .env("https_proxy", egress.url("http", ""))
        .env("HTTP_PROXY", egress.url("http", ""))
        .env("NO_PROXY", "elsewhere, .nobody.invalid:80");
    let proxy = start.start();
    assert_passed(&exchange(proxy.address, get("/v1/models")));
    assert_eq!(egress.asked().start, "CONNECT llm.test:443 HTTP/1.1");
    assert_passed(&exchange(proxy.address, get("/p/x")));
    assert_eq!(egress.asked().start, "GET http://plain.test/p/x HTTP/1.1");
    assert_passed(&exchange(proxy.address, get("/l/x")));
    assert_eq!(local.request().head.start, "GET /l/x HTTP/1.1");
    for path in ["/e/x", "/d/x"] {
        assert_ours(&exchange(proxy.address, get(path)), 502, "name_not_resolved");
    }
    assert!(egress.is_unasked());
}

#[test]
fn a_socks_proxy_resolves_the_name_and_takes_a_login() {
    let private = Private::named("llm.test");
    let keys = format!("ca = \"{}\"\nproxy = {{ env = \"EGRESS\" }}", private.ca());
    let socks = Egress::socks5("team", "s@cret", private.upstream.address);
    let start = || before("https://llm.test:8443", &keys);
    assert_passed(&ask(start().env("EGRESS", socks.url("socks5", USER))));
    assert_eq!(socks.asked().start, "SOCKS llm.test:8443 team s@cret");
    assert_eq!(private.upstream.request().server_name.as_deref(), Some("llm.test"));
    let refused = ask(start().env("EGRESS", socks.url("socks5h", "team:wrong@")));
    assert_ours(&refused, 502, "proxy_refused");
    assert!(refused.text().contains("credentials not accepted"), "{}", refused.text());
    // Without TLS it is a tunnel as well.
    let plain = Answering::always(OK);
    let socks = Egress::socks5("team", "s@cret", plain.address);
    let start = before("http://llm.test", "proxy = { env = \"EGRESS\" }");
    assert_passed(&ask(start.env("EGRESS", socks.url("socks5", USER))));
    assert_eq!(plain.request().head.start, "GET /v1/models HTTP/1.1");
}

#[test]
fn an_egress_proxy_may_speak_tls_itself() {
    let private = Private::named("llm.test");
    let company = Authority::new();
    let config = config(&company.identity(&["127.0.0.1"]), None);
    let egress = Egress::over_tls(config, private.upstream.address);
    let keys = format!("ca = \"{}\"\nproxy = \"{}\"", private.ca(), egress.url("https", ""));
    let trusted = file(private.folder.path(), "company.pem", &company.pem());
    assert_passed(&ask(before("https://llm.test", &keys).env("SSL_CERT_FILE", trusted)));
    assert_eq!(egress.asked().start, "CONNECT llm.test:443 HTTP/1.1");
    // `ca` is for the upstream alone.
    let refused = ask(before("https://llm.test", &keys).env("SSL_CERT_FILE", private.ca()));
    assert_ours(&refused, 502, "proxy_unreachable");
    assert!(refused.text().contains("tls_failed"), "{}", refused.text());
}

/// One connection on a Unix socket, answered `200`; what it was asked.
fn answer_on(path: &Path) -> thread::JoinHandle<Head> {
    let listener = UnixListener::bind(path).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            bytes.extend(byte);
        }
        stream.write_all(OK.as_ref()).unwrap();
        Head::parse(&bytes)
    })
}

#[test]
fn an_upstream_may_listen_on_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("llm.sock");
    let asked = answer_on(&path);
    let collector = Collector::start(Mode::Well);
    let url = format!("unix:{}:/base", path.display());
    let config = upstream("openai", &url, "paths = [\"/v1/\"]") + &export(collector.endpoint());
    // No proxy of the environment is asked for the way to it.
    let proxy = Start::new(config).env("ALL_PROXY", "http://nobody.invalid").start();
    assert_passed(&exchange(proxy.address, get("/v1/models")));
    let asked = asked.join().unwrap();
    assert_eq!(asked.start, "GET /base/v1/models HTTP/1.1");
    assert_eq!(asked.field("host"), Some("localhost"));
    assert_ours(&exchange(proxy.address, get("/v1/models")), 502, "connection_refused");
    std::fs::remove_file(&path).unwrap();
    assert_ours(&exchange(proxy.address, get("/v1/models")), 502, "connect_failed");
    proxy.finish();
    let received = collector.received();
    let client = received.of_kind("CLIENT")[0];
    assert_eq!(client.attributes["server.address"], path.display().to_string());
    assert!(!client.attributes.contains_key("server.port"), "a socket has none");
    let duration = received.metric("http.client.request.duration");
    assert!(duration.iter().all(|point| !point.attributes.contains_key("server.port")));
}

#[test]
fn an_upstream_may_have_an_ipv6_address() {
    let listener = std::net::TcpListener::bind("[::1]:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut wire = crate::support::wire::Wire::new(stream);
        let head = wire.head();
        wire.send(OK);
        head
    });
    assert_passed(&ask(before(&format!("http://{address}"), "")));
    assert_eq!(asked.join().unwrap().field("host"), Some(&*address.to_string()));
}

#[test]
fn a_proxy_that_is_ourselves_is_not_asked_and_a_neighbour_is() {
    let port = Nobody::bind().address.port();
    let config = |proxy: &str| {
        format!("[server]\nlisten = \"127.0.0.1:{port}\"\nadmin = \"127.0.0.1:0\"\n")
            + &upstream(
                "openai",
                "http://llm.test",
                &format!("paths = [\"/v1/\"]\nproxy = \"{proxy}\""),
            )
    };
    let (status, printed) = Start::new(config(&format!("http://127.0.0.1:{port}"))).fail();
    assert_eq!(status.code(), Some(78), "{printed}");
    assert!(printed.contains("itself"), "{printed}");
    let ourselves = Start::new(config(&format!("http://localhost:{port}"))).start();
    assert_ours(&exchange(ourselves.address, get("/v1/models")), 508, "loop");
    drop(ourselves);
    let neighbour = Egress::with(|_| Verdict::answer(OK));
    let proxy = Start::new(config(&neighbour.url("http", ""))).start();
    assert_passed(&exchange(proxy.address, get("/v1/models")));
}

#[test]
fn what_check_prints_holds_no_credentials() {
    let folder = tempfile::tempdir().unwrap();
    let config = upstream("openai", "https://a.test", "proxy = { env = \"EGRESS\" }")
        + &upstream("plain", "https://b.test", "");
    let config = file(folder.path(), "proxy.toml", &config);
    let check = |environment: &[(&str, &str)]| {
        let output = Command::new(env!("CARGO_BIN_EXE_clearspan"))
            .args(["--config", &config, "check"])
            .env_clear()
            .envs(environment.iter().copied())
            .output()
            .unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!text.contains("hunter2"), "{text}");
        text
    };
    let egress = ("EGRESS", "http://me:hunter2@own:1");
    let printed = check(&[egress, ("HTTPS_PROXY", "http://me:hunter2@all:2")]);
    assert!(printed.contains("\nproxy = { env = \"EGRESS\" }\n"), "{printed}");
    assert!(
        printed.contains("\n# through http://***@all:2, as the environment says\n"),
        "{printed}"
    );
    let refused = check(&[egress, ("HTTPS_PROXY", "ftp://me:hunter2@all")]);
    assert!(refused.contains("HTTPS_PROXY: an egress proxy is http://"), "{refused}");
    let refused = check(&[("EGRESS", "http://me:hunter2@own:x")]);
    assert!(refused.contains("proxy = { env = \"EGRESS\" }\n"), "{refused}");
    file(
        folder.path(),
        "proxy.toml",
        &upstream("a", "https://a", "proxy = \"http://me:hunter2@own\""),
    );
    assert!(check(&[]).contains("not shown, it may hold a secret"));
}

#[test]
fn a_socket_that_is_our_own_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own.sock").display().to_string();
    let config = format!("[server]\nlisten = \"unix:{path}\"\nadmin = \"127.0.0.1:0\"\n")
        + &upstream("openai", &format!("unix:{path}:/base"), "paths = [\"/v1/\"]");
    let (status, printed) = Start::new(config).fail();
    assert_eq!(status.code(), Some(78), "{printed}");
    assert!(printed.contains("itself"), "{printed}");
}
