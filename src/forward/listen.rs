//! Sockets that clients connect to: TCP, or in the file system; bound here, or given to us. Knows no
//! TLS and no HTTP.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::settings::Endpoint;
use super::wire;

/// A socket that takes connections.
#[derive(Debug)]
pub struct Listener {
    // Goes before the socket: nobody finds a path on which nobody answers.
    _file: Option<SocketFile>,
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Listens at `at`. A socket in the file system gets the permissions `mode`; one that a dead
    /// process left there is replaced.
    ///
    /// # Errors
    /// When the system refuses, or somebody listens there.
    pub async fn bind(at: &Endpoint, mode: u32) -> io::Result<Self> {
        let path = match at {
            Endpoint::Tcp(address) => {
                let socket = Socket::Tcp(TcpListener::bind(address).await?);
                return Ok(Self { _file: None, socket });
            }
            Endpoint::Unix(path) => path,
        };
        let bound = match UnixListener::bind(path) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && is_stale(path).await => {
                fs::remove_file(path)?;
                UnixListener::bind(path)
            }
            bound => bound,
        };
        let socket = Socket::Unix(bound?);
        let file = SocketFile::new(path)?;
        fs::set_permissions(path, Permissions::from_mode(mode))?;
        Ok(Self { _file: Some(file), socket })
    }

    /// A TCP socket that another process opened, on which we listen from now on.
    ///
    /// # Errors
    /// When the socket cannot be used without blocking.
    pub fn given_tcp(socket: std::net::TcpListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { _file: None, socket: Socket::Tcp(TcpListener::from_std(socket)?) })
    }

    /// A socket in the file system that another process opened, and whose path is that one's matter.
    ///
    /// # Errors
    /// When the socket cannot be used without blocking.
    pub fn given_unix(socket: std::os::unix::net::UnixListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { _file: None, socket: Socket::Unix(UnixListener::from_std(socket)?) })
    }

    /// Where it listens, the port that the system chose included.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn endpoint(&self) -> io::Result<Endpoint> {
        match &self.socket {
            Socket::Tcp(listener) => listener.local_addr().map(Endpoint::Tcp),
            Socket::Unix(listener) => {
                let address = listener.local_addr()?;
                let path = address.as_pathname();
                // One outside the file system (`@name`) can only have been given to us.
                Ok(Endpoint::Unix(path.map_or_else(|| "@".into(), Path::to_path_buf)))
            }
        }
    }

    /// The next connection, and its other end where that has an address.
    ///
    /// # Errors
    /// When the system has no room for another socket, or the client is gone already.
    pub async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // A socket that is gone already fails at its first read.
                drop(wire::socket(&stream));
                // On a listener for both families an IPv4 client looks like `::ffff:10.0.0.1`.
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                Ok((Stream::Tcp(stream), Some(peer)))
            }
            Socket::Unix(listener) => Ok((Stream::Unix(listener.accept().await?.0), None)),
        }
    }
}

/// Whether a socket is at `path` on which nobody answers.
async fn is_stale(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|it| it.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == ErrorKind::ConnectionRefused;
    is_socket && UnixStream::connect(path).await.is_err_and(refused)
}

/// A socket's file, taken away at the end unless another has taken its place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|now| now == self.identity) {
            // What cannot be taken away is replaced by the next who listens there.
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Device and inode.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|it| (it.dev(), it.ino()))
}

/// A client's connection.
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a socket in the file system.
    Unix(UnixStream),
}

/// The same call on whichever it is.
macro_rules! on_either {
    ($stream:expr, $method:ident($($argument:expr),*)) => {
        match $stream.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).$method($($argument),*),
            Stream::Unix(stream) => Pin::new(stream).$method($($argument),*),
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        on_either!(self, poll_read(cx, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        on_either!(self, poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_either!(self, poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_either!(self, poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_either!(self, poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_has_its_mode_and_goes_with_its_listener() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let at = Endpoint::Unix(path.clone());
        let listener = Listener::bind(&at, 0o620).await.unwrap();
        assert_eq!(listener.endpoint().unwrap(), at);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o620);
        assert_eq!(
            Listener::bind(&at, 0o600).await.unwrap_err().kind(),
            ErrorKind::AddrInUse,
            "somebody answers there"
        );
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_dead_process_s_socket_is_replaced_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let at = Endpoint::Unix(path.clone());
        // The standard library's listener leaves its file.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(Listener::bind(&at, 0o600).await.unwrap());
        fs::write(&path, "no socket").unwrap();
        let refused = Listener::bind(&at, 0o600).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AddrInUse);
        assert_eq!(fs::read_to_string(&path).unwrap(), "no socket");
    }

    #[tokio::test]
    async fn a_file_that_took_the_place_of_ours_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let listener = Listener::bind(&Endpoint::Unix(path.clone()), 0o600).await.unwrap();
        let other = folder.path().join("b.sock");
        let _other = std::os::unix::net::UnixListener::bind(&other).unwrap();
        fs::rename(&other, &path).unwrap();
        drop(listener);
        assert!(path.exists());
    }

    #[tokio::test]
    async fn an_ipv4_client_of_a_listener_for_both_has_its_own_address() {
        let listener = Listener::bind(&"[::]:0".parse().unwrap(), 0).await.unwrap();
        let port = listener.endpoint().unwrap().tcp().unwrap().port();
        let client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let (_, peer) = listener.accept().await.unwrap();
        assert_eq!(peer, Some(client.local_addr().unwrap()));
    }
}
