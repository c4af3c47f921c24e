//! `clearspan healthcheck`: asks a running proxy's `/healthz`. For containers that have neither shell
//! nor curl.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use http::Uri;

use super::reachable;
use crate::forward::settings::Endpoint;

/// For connecting, and again for each read and write.
const PATIENCE: Duration = Duration::from_secs(2);
/// `HTTP/1.1 200`: all that is read of the answer.
const STATUS_LINE: usize = 12;

/// What `clearspan healthcheck` is told.
#[derive(Debug, Args)]
pub(super) struct Asked {
    /// What to ask, with http:// [default: /healthz of the admin listener in the settings]
    #[arg(long)]
    url: Option<Uri>,
}

/// Whether the proxy whose admin listener is at `admin` says that it is healthy, or why not.
pub(super) fn ask(asked: &Asked, admin: &Endpoint) -> Result<(), String> {
    let (whom, status) = match (&asked.url, admin) {
        (Some(url), _) => (url.to_string(), by_url(&url.to_string())),
        (None, Endpoint::Tcp(address)) => {
            let url = format!("http://{}/healthz", reachable(*address));
            let status = by_url(&url);
            (url, status)
        }
        (None, Endpoint::Unix(path)) => (admin.to_string(), by_path(path)),
    };
    match status {
        Ok(status) if status == "200" => Ok(()),
        Ok(status) => Err(format!("{whom}: answered {status}")),
        Err(why) => Err(format!("{whom}: {why}")),
    }
}

fn by_url(url: &str) -> Result<String, String> {
    let uri: Uri = url.parse().map_err(|_| "this is no URL")?;
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http"));
    let authority = authority.ok_or("a URL begins with http:// and names a host")?;
    let port = authority.port_u16().unwrap_or(80);
    let host = authority.host().trim_matches(['[', ']']);
    let stream = connect(host, port).map_err(|error| error.to_string())?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    status(stream, path, authority.as_str())
}

fn by_path(socket: &Path) -> Result<String, String> {
    let connect = || {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    };
    let stream = connect().map_err(|error: std::io::Error| error.to_string())?;
    status(stream, "/healthz", "localhost")
}

/// The status of the answer to `GET path`.
fn status(mut stream: impl Read + Write, path: &str, authority: &str) -> Result<String, String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    let mut line = [0; STATUS_LINE];
    let answered = stream.write_all(request.as_bytes()).and_then(|()| stream.read_exact(&mut line));
    answered.map_err(|error| error.to_string())?;
    let line = String::from_utf8_lossy(&line);
    line.strip_prefix("HTTP/1.1 ")
        .map(ToOwned::to_owned)
        .ok_or_else(|| "this is not HTTP/1.1".to_owned())
}

fn connect(host: &str, port: u16) -> std::io::Result<TcpStream> {
    let mut refused = std::io::Error::other("the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Answers one connection, and gives back what it was asked.
    fn answering(answer: &'static str) -> (Endpoint, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(head).unwrap()
        });
        (address.into(), asked)
    }

    #[test]
    fn a_200_is_healthy() {
        let (address, asked) = answering("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n");
        assert_eq!(ask(&Asked { url: None }, &address), Ok(()));
        let expected =
            format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        assert_eq!(asked.join().unwrap(), expected);
    }

    #[test]
    fn anything_else_is_not() {
        let (address, _asked) = answering("HTTP/1.1 503 Service Unavailable\r\n\r\n");
        let expected = format!("http://{address}/healthz: answered 503");
        assert_eq!(ask(&Asked { url: None }, &address), Err(expected));
        let (address, _asked) = answering("SSH-2.0-OpenSSH_9.9\r\n");
        let expected = format!("http://{address}/healthz: this is not HTTP/1.1");
        assert_eq!(ask(&Asked { url: None }, &address), Err(expected));
        let (address, _asked) = answering("");
        assert!(ask(&Asked { url: None }, &address).is_err());
    }

    #[test]
    fn another_url_can_be_asked() {
        let (address, asked) = answering("HTTP/1.1 200 OK\r\n\r\n");
        let port = address.tcp().unwrap().port();
        let url = format!("http://localhost:{port}/readyz?x=1").parse().unwrap();
        assert_eq!(ask(&Asked { url: Some(url) }, &"127.0.0.1:1".parse().unwrap()), Ok(()));
        assert!(asked.join().unwrap().starts_with("GET /readyz?x=1 HTTP/1.1\r\n"));
        let url = Some("https://localhost/".parse().unwrap());
        let told = ask(&Asked { url }, &address).unwrap_err();
        assert_eq!(told, "https://localhost/: a URL begins with http:// and names a host");
    }

    #[test]
    fn a_socket_in_the_file_system_is_asked_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let admin = Endpoint::Unix(path.clone());
        let told = ask(&Asked { url: None }, &admin).unwrap_err();
        assert!(told.starts_with(&format!("unix:{}: No such file", path.display())), "{told}");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let answering = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 256];
            let count = stream.read(&mut request).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            String::from_utf8_lossy(&request[..count]).into_owned()
        });
        assert_eq!(ask(&Asked { url: None }, &admin), Ok(()));
        let request = answering.join().unwrap();
        assert!(request.starts_with("GET /healthz HTTP/1.1\r\nHost: localhost\r\n"), "{request}");
    }
}
