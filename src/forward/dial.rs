//! A connection to a place: its name's addresses, all of them tried, or a Unix socket. Knows nobody
//! who lives there but ourselves.

use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::vec;

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use tokio::net::UnixStream;
use tower_service::Service;

use super::error::Error;
use super::own::Own;
use super::reach::Place;
use super::settings::Limits;
use super::socket::Socket;

/// Probes without an answer until the connection counts as dead, four to an interval of `Limits`.
const KEEPALIVE_PROBES: u32 = 4;

/// Connects to places.
#[derive(Clone, Debug)]
pub(super) struct Dialer {
    tcp: HttpConnector<Resolver>,
    own: Own,
}

impl Dialer {
    pub(super) fn new(limits: &Limits, own: Own) -> Self {
        Self::resolving(Resolver::System(GaiResolver::new()), limits, own)
    }

    fn resolving(resolver: Resolver, limits: &Limits, own: Own) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(resolver);
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        // Shared out among the addresses of a family, so that a dead one leaves time for the next;
        // the other family is tried beside it after 300 ms (RFC 8305).
        tcp.set_connect_timeout(Some(limits.connect));
        // No TCP_USER_TIMEOUT: it would also end a connection whose upstream takes its time to read.
        if !limits.upstream_keepalive.is_zero() {
            tcp.set_keepalive(Some(limits.upstream_keepalive));
            tcp.set_keepalive_interval(Some(limits.upstream_keepalive / KEEPALIVE_PROBES));
            tcp.set_keepalive_retries(Some(KEEPALIVE_PROBES));
        }
        Self { tcp, own }
    }

    /// A TCP connection that does not lead back to us.
    pub(super) async fn tcp(&self, place: &Place) -> Result<Socket, Error> {
        let connecting = self.tcp.clone().call(place.uri().map_err(|_| Error::Unresolved)?);
        let stream = connecting.await.map_err(|error| classify(&error))?.into_inner();
        self.other(Socket::Tcp(stream))
    }

    /// A connection to a Unix socket that does not lead back to us.
    pub(super) async fn unix(&self, path: &Path) -> Result<Socket, Error> {
        let stream = UnixStream::connect(path).await.map_err(|error| unreachable(&error))?;
        self.other(Socket::Unix(stream))
    }

    fn other(&self, socket: Socket) -> Result<Socket, Error> {
        if self.own.answers(&socket) { Err(Error::Loop) } else { Ok(socket) }
    }
}

/// No descriptor is left, in the system or for this process: our own lack, not the upstream's.
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

/// The connector's error has no public kind: the cause under it has.
fn classify(error: &(dyn std::error::Error + 'static)) -> Error {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<Unresolved>() {
            return Error::Unresolved;
        }
        if let Some(error) = error.downcast_ref::<io::Error>()
            && (error.source().is_none() || error.kind() == io::ErrorKind::ConnectionRefused)
        {
            return unreachable(error);
        }
        cause = error.source();
    }
    Error::Connect(io::ErrorKind::Other)
}

fn unreachable(error: &io::Error) -> Error {
    if matches!(error.raw_os_error(), Some(ENFILE | EMFILE)) {
        return Error::Busy;
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
        io::ErrorKind::TimedOut => Error::ConnectTimeout,
        kind => Error::Connect(kind),
    }
}

/// The system's resolver, whose failure can be told from a failed connection.
#[derive(Clone, Debug)]
enum Resolver {
    System(GaiResolver),
    #[cfg(test)]
    Fixed(Vec<SocketAddr>),
}

/// The name has no address.
#[derive(Debug, thiserror::Error)]
#[error("cannot resolve the name: {0}")]
struct Unresolved(#[source] io::Error);

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = Unresolved;
    type Future =
        Pin<Box<dyn Future<Output = Result<vec::IntoIter<SocketAddr>, Unresolved>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Unresolved>> {
        match self {
            Self::System(system) => system.poll_ready(cx).map_err(Unresolved),
            #[cfg(test)]
            Self::Fixed(_) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolving = match self {
            Self::System(system) => system.call(name),
            #[cfg(test)]
            Self::Fixed(addresses) => {
                return Box::pin(std::future::ready(Ok(addresses.clone().into_iter())));
            }
        };
        Box::pin(async move {
            let addresses = resolving.await.map_err(Unresolved)?;
            Ok(addresses.collect::<Vec<_>>().into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener};

    use super::*;
    use crate::forward::settings::Endpoint;

    fn limits(connect: Duration) -> Limits {
        Limits { connect, ..Limits::default() }
    }

    fn own(listeners: &[Endpoint]) -> Own {
        Own::new(listeners.into())
    }

    /// The TCP connection, if it was made.
    fn stream(dialed: Result<Socket, Error>) -> TcpStream {
        match dialed {
            Ok(Socket::Tcp(stream)) => stream,
            other => panic!("{other:?}"),
        }
    }

    /// A dialer for which every name has these addresses.
    fn dialer(addresses: &[&str], connect: Duration) -> Dialer {
        let addresses = addresses.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0));
        Dialer::resolving(Resolver::Fixed(addresses.collect()), &limits(connect), own(&[]))
    }

    fn named(port: u16) -> Place {
        Place { host: "upstream.test".into(), port }
    }

    /// An address that takes no connection and refuses none: its backlog is full.
    struct BlackHole {
        _listening: TcpListener,
        _waiting: Vec<std::net::TcpStream>,
    }

    impl BlackHole {
        fn at(address: SocketAddr) -> (Self, u16) {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
            let socket = socket.unwrap();
            socket.bind(address).unwrap();
            let listening = socket.listen(0).unwrap();
            let address = listening.local_addr().unwrap();
            let connect =
                || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200));
            let waiting = (0..8).map_while(|_| connect().ok()).collect::<Vec<_>>();
            assert!(waiting.len() < 8, "the backlog never fills");
            (Self { _listening: listening, _waiting: waiting }, address.port())
        }
    }

    #[tokio::test]
    async fn an_address_family_that_is_dead_does_not_hold_up_the_other() {
        let (_hole, port) = BlackHole::at("[::1]:0".parse().unwrap());
        let alive = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let began = Instant::now();
        let reached =
            dialer(&["::1", "127.0.0.1"], Duration::from_secs(60)).tcp(&named(port)).await;
        assert_eq!(stream(reached).peer_addr().unwrap(), alive.local_addr().unwrap());
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_dead_address_leaves_time_for_the_next_of_its_family() {
        let (_hole, port) = BlackHole::at("127.0.0.2:0".parse().unwrap());
        let alive = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let limit = Duration::from_secs(4);
        let dialer = dialer(&["127.0.0.2", "127.0.0.1"], limit);
        let place = named(port);
        let reached = tokio::time::timeout(limit, dialer.tcp(&place)).await.expect("in time");
        assert_eq!(stream(reached).peer_addr().unwrap(), alive.local_addr().unwrap());
    }

    #[tokio::test]
    async fn only_dead_addresses_are_a_timeout_and_not_a_failure() {
        let (_hole, port) = BlackHole::at("127.0.0.1:0".parse().unwrap());
        let dialer = dialer(&["127.0.0.1"], Duration::from_millis(300));
        let error = dialer.tcp(&named(port)).await.unwrap_err();
        assert!(matches!(error, Error::ConnectTimeout), "{error:?}");
    }

    #[tokio::test]
    async fn connections_are_probed_while_they_are_quiet_unless_told_not_to() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = Place { host: "127.0.0.1".into(), port: listener.local_addr().unwrap().port() };
        for (upstream_keepalive, probed) in
            [(Duration::from_secs(60), true), (Duration::ZERO, false)]
        {
            let limits = Limits { upstream_keepalive, ..Limits::default() };
            let stream = stream(Dialer::new(&limits, own(&[])).tcp(&place).await);
            let socket = TcpSocket::from_std_stream(stream.into_std().unwrap());
            assert_eq!(socket.keepalive().unwrap(), probed);
        }
    }

    #[test]
    fn a_lack_of_descriptors_is_ours_and_the_rest_is_the_upstreams() {
        let of = |code| classify(&io::Error::from_raw_os_error(code)).reason();
        assert_eq!([ENFILE, EMFILE].map(of), ["busy", "busy"]);
        // ECONNREFUSED has a number for each system; its kind is the same on all.
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(classify(&refused).reason(), "connection_refused");
        let other = io::Error::from(io::ErrorKind::HostUnreachable);
        assert_eq!(classify(&other).reason(), "connect_failed");
    }

    #[tokio::test]
    async fn we_do_not_call_ourselves() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let place = Place { host: "localhost".into(), port: address.port() };
        let folder = tempfile::tempdir().unwrap();
        let [path, other] = ["own", "other"].map(|name| folder.path().join(name));
        let _listening = [&path, &other].map(|path| UnixListener::bind(path).unwrap());
        let own = own(&[address.into(), Endpoint::Unix(path.clone())]);
        let dialer = Dialer::new(&Limits::default(), own);
        assert!(matches!(dialer.tcp(&place).await, Err(Error::Loop)));
        assert!(matches!(dialer.unix(&path).await, Err(Error::Loop)));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(dialer.unix(&link).await, Err(Error::Loop)), "by another name");
        assert!(dialer.unix(&other).await.is_ok());
    }
}
