//! Ways to the proxy other than a TCP port that it opens itself: sockets in the file system, IPv6,
//! what systemd opens; and what systemd is told. Knows the keys of `[server]`.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use crate::support::PATIENCE;
use crate::support::client::{exchange, get};
use crate::support::collector::{Collector, Mode};
use crate::support::origin::Answering;
use crate::support::proxy::{Start, export, upstream};
use crate::support::stage::OK;
use crate::support::tls::read_answer;

/// The answer to one request over a socket in the file system.
fn ask(path: &Path, request: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).expect("a listener");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request).unwrap();
    read_answer(&mut stream).unwrap()
}

fn server(listen: &str, admin: &str, more: &str) -> String {
    format!("[server]\nlisten = \"{listen}\"\nadmin = \"{admin}\"\n{more}\n")
}

/// Both of a proxy's listeners, in this folder.
fn sockets(folder: &Path) -> String {
    let path = |name: &str| format!("unix:{}", folder.join(name).display());
    server(&path("apps.sock"), &path("admin.sock"), "")
}

fn openai(url: &str) -> String {
    upstream("openai", url, "paths = [\"/v1/\"]")
}

#[test]
fn sockets_in_the_file_system_serve_apps_and_us() {
    let folder = tempfile::tempdir().unwrap();
    let (answering, collector) = (Answering::always(OK), Collector::start(Mode::Well));
    let config = sockets(folder.path()) + &openai(&answering.url());
    let proxy = Start::new(config.clone() + &export(collector.endpoint())).start();
    let (apps, admin) = (folder.path().join("apps.sock"), folder.path().join("admin.sock"));
    assert_eq!(std::fs::metadata(&apps).unwrap().permissions().mode() & 0o777, 0o660);
    assert_eq!(ask(&apps, &get("/v1/x")), OK);
    assert_eq!(answering.request().head.target(), "/v1/x");
    let curl = Command::new("curl")
        .args(["--silent", "--show-error", "--unix-socket"])
        .arg(&apps)
        .arg("http://localhost/v1/y")
        .output()
        .expect("curl, which every build machine has");
    assert_eq!(String::from_utf8_lossy(&curl.stdout), "ok", "{curl:?}");
    assert!(ask(&admin, &get("/healthz")).ends_with("\r\n\r\nok\n"));
    let file = folder.path().join("proxy.toml");
    std::fs::write(&file, config).unwrap();
    let healthcheck = Command::new(env!("CARGO_BIN_EXE_clearspan"))
        .args(["healthcheck", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(healthcheck.status.success(), "{healthcheck:?}");
    for span in collector.spans("SERVER", 2) {
        assert_eq!(span.attributes["server.address"], apps.to_str().unwrap());
        assert_eq!(span.attributes["url.scheme"], "http");
        for absent in ["client.address", "server.port"] {
            assert!(!span.attributes.contains_key(absent), "{absent} in {span:#?}");
        }
    }
    proxy.finish();
    assert!(!apps.exists() && !admin.exists(), "they go with the process");
}

#[test]
fn a_socket_is_taken_over_from_the_dead_and_not_from_the_living() {
    let folder = tempfile::tempdir().unwrap();
    let config = sockets(folder.path()) + &openai("http://127.0.0.1:1");
    let first = Start::new(config.clone()).start();
    let (status, said) = Start::new(config.clone()).fail();
    assert_eq!(status.code(), Some(1));
    let path = folder.path().join("apps.sock");
    let expected = format!("cannot listen on unix:{}: Address already in use", path.display());
    assert!(said.contains(&expected) && said.contains("server.listen"), "{said}");
    // Killed, it leaves them.
    drop(first);
    assert!(path.exists());
    let second = Start::new(config).start();
    assert!(ask(&folder.path().join("admin.sock"), &get("/readyz")).contains("200 OK"));
    drop(second);
}

#[test]
fn an_upstream_s_own_socket_is_for_everything_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let answering = Answering::always(OK);
    let path = folder.path().join("own.sock");
    let mode =
        "[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nsocket_mode = \"0600\"\n";
    let own = format!("listen = \"unix:{}\"", path.display());
    let proxy = Start::new(mode.to_owned() + &upstream("openai", &answering.url(), &own)).start();
    assert_eq!(ask(&path, &get("/any/path")), OK);
    assert_eq!(answering.request().head.target(), "/any/path");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    proxy.finish();
    assert!(!path.exists());
}

#[test]
fn ipv6_is_listened_on() {
    let answering = Answering::always(OK);
    let config = server("[::1]:0", "[::1]:0", "") + &openai(&answering.url());
    let proxy = Start::new(config).start();
    assert!(proxy.address.is_ipv6() && proxy.admin.is_ipv6());
    assert_eq!(exchange(proxy.address, get("/v1/x")).text(), "ok");
    assert_eq!(proxy.admin_get("/healthz").text(), "ok\n");
    proxy.finish();
}

#[test]
fn an_ipv6_listener_on_all_addresses_serves_ipv4_too() {
    let (answering, collector) = (Answering::always(OK), Collector::start(Mode::Well));
    let config = server("[::]:0", "127.0.0.1:0", "") + &openai(&answering.url());
    let proxy = Start::new(config + &export(collector.endpoint())).start();
    for address in ["127.0.0.1", "::1"] {
        let at = SocketAddr::new(address.parse().unwrap(), proxy.address.port());
        assert_eq!(exchange(at, get("/v1/x")).text(), "ok");
    }
    let spans = collector.spans("SERVER", 2).into_iter();
    let mut clients: Vec<_> = spans.map(|it| it.attributes["client.address"].to_string()).collect();
    clients.sort();
    assert_eq!(clients.join(" ").replace('"', ""), "127.0.0.1 ::1");
    proxy.finish();
}

#[test]
fn sockets_that_systemd_opened_are_taken_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let answering = Answering::always(OK);
    let apps = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = apps.local_addr().unwrap();
    let path = folder.path().join("given.sock");
    let admin = UnixListener::bind(&path).unwrap();
    // A client may come before there is a process.
    let mut early = TcpStream::connect(address).unwrap();
    early.write_all(&get("/v1/x")).unwrap();
    // Nobody could listen there.
    let config = server("192.0.2.1:1", "192.0.2.1:2", "") + &openai(&answering.url());
    let given: [OwnedFd; 2] = [apps.into(), admin.into()];
    let proxy = Start::new(config).given(given, None).start();
    assert_eq!(proxy.address, address);
    assert_eq!(read_answer(&mut early).unwrap(), OK);
    assert!(ask(&path, &get("/healthz")).ends_with("\r\n\r\nok\n"));
    proxy.finish();
    assert!(path.exists(), "it is systemd's");
}

#[test]
fn sockets_that_systemd_opened_are_taken_by_name() {
    let answering = Answering::always(OK);
    let [own, admin] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let addresses = [own.local_addr().unwrap(), admin.local_addr().unwrap()];
    let config = server("127.0.0.1:0", "192.0.2.1:2", "")
        + &upstream("ollama", &answering.url(), "listen = \"192.0.2.1:3\"");
    let given: [OwnedFd; 2] = [own.into(), admin.into()];
    let names = Some("upstream.ollama:admin");
    let proxy = Start::new(config.clone()).given(given, names).start();
    assert_eq!([proxy.own("ollama"), proxy.admin], addresses);
    assert_eq!(exchange(addresses[0], get("/any/path")).text(), "ok");
    assert_eq!(proxy.admin_get("/healthz").text(), "ok\n");
    proxy.finish();
    let given = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap().into());
    let (status, said) = Start::new(config).given(given, Some("admin:lisen")).fail();
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("its name is `lisen`; known are `listen`, `admin`,"), "{said}");
}

#[test]
fn systemd_is_told_of_the_start_of_life_and_of_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify.sock");
    let notified = UnixDatagram::bind(&path).unwrap();
    notified.set_read_timeout(Some(PATIENCE)).unwrap();
    let next = || {
        let mut buffer = [0; 256];
        let count = notified.recv(&mut buffer).expect("a word");
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    };
    let proxy = Start::new(openai("http://127.0.0.1:1"))
        .env("NOTIFY_SOCKET", path.to_str().unwrap())
        .env("WATCHDOG_USEC", "200000")
        .start();
    let mut said: Vec<_> = (0..4).map(|_| next()).collect();
    said.sort();
    assert_eq!(said, ["READY=1\n", "WATCHDOG=1\n", "WATCHDOG=1\n", "WATCHDOG=1\n"]);
    proxy.signal("TERM");
    while next() != "STOPPING=1\n" {}
    proxy.finish();
}
