//! A new connection to an upstream: name, TCP, TLS, and hyper's handshake. Knows no exchange.

use std::error::Error as _;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use hyper::client::conn::http1::SendRequest;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use super::error::Error;
use super::headers::Hop;
use super::settings::{Endpoint, Limits, Upstream};
use super::tee::RequestTee;
use super::upstream_io::{Stamps, Transport, UpstreamIo};
use super::wire;

/// Connects to any upstream.
#[derive(Clone)]
pub(super) struct Connector {
    tcp: HttpConnector<Resolver>,
    tls: Arc<ClientConfig>,
    // Our own listeners: the proxy does not call itself.
    own: Arc<[Endpoint]>,
    timeout: std::time::Duration,
}

/// A connection on which one exchange at a time can run.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) sender: SendRequest<RequestTee>,
    pub(super) stamps: Arc<Stamps>,
}

/// When the steps to a new connection were done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steps {
    pub(super) tcp: Instant,
    pub(super) tls: Option<Instant>,
}

impl Connector {
    pub(super) fn new(limits: &Limits, own: Arc<[Endpoint]>) -> Result<Self, rustls::Error> {
        let mut tcp = HttpConnector::new_with_resolver(Resolver(GaiResolver::new()));
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        Ok(Self { tcp, tls: Arc::new(tls_config()?), own, timeout: limits.connect })
    }

    /// The same with this limit.
    pub(super) fn limited_to(&self, timeout: std::time::Duration) -> Self {
        Self { timeout, ..self.clone() }
    }

    /// Connects within the limit.
    pub(super) async fn connect(
        &self,
        upstream: &Upstream,
        hop: Hop,
    ) -> Result<(Connection, Steps), Error> {
        let connecting = self.connect_unlimited(upstream, hop);
        tokio::time::timeout(self.timeout, connecting).await.map_err(|_| Error::ConnectTimeout)?
    }

    async fn connect_unlimited(
        &self,
        upstream: &Upstream,
        hop: Hop,
    ) -> Result<(Connection, Steps), Error> {
        let stream = self.tcp(upstream).await?;
        let tcp = Instant::now();
        let (transport, tls) = if upstream.tls {
            let stream = self.tls(upstream, stream).await?;
            (Transport::Tls(Box::new(TokioIo::new(stream))), Some(Instant::now()))
        } else {
            (Transport::Plain(TokioIo::new(stream)), None)
        };
        let stamps = Arc::new(Stamps::new());
        let io = UpstreamIo::new(transport, Arc::clone(&stamps));
        let (sender, connection) = wire::client().handshake(io).await.map_err(Error::Upstream)?;
        // Its errors reach the exchange that holds the sender.
        match hop {
            Hop::Exchange => tokio::spawn(connection),
            Hop::Upgrade => tokio::spawn(connection.with_upgrades()),
        };
        Ok((Connection { sender, stamps }, Steps { tcp, tls }))
    }

    async fn tcp(&self, upstream: &Upstream) -> Result<TcpStream, Error> {
        let facts = &upstream.facts;
        let host = &facts.address;
        let authority = if host.contains(':') && !host.starts_with('[') {
            format!("[{host}]:{}", facts.port)
        } else {
            format!("{host}:{}", facts.port)
        };
        let uri = http::Uri::builder().scheme("http").authority(authority).path_and_query("/");
        let uri = uri.build().map_err(|_| Error::Unresolved)?;
        let stream = self.tcp.clone().call(uri).await.map_err(|error| classify(&error))?;
        let stream = stream.into_inner();
        if self.is_own(&stream) { Err(Error::Loop) } else { Ok(stream) }
    }

    /// Whether the other end is one of our own listeners: by address, or on a wildcard listener
    /// by a connection that never left this host.
    fn is_own(&self, stream: &TcpStream) -> bool {
        let (Ok(peer), Ok(local)) = (stream.peer_addr(), stream.local_addr()) else {
            return false;
        };
        self.own.iter().filter_map(Endpoint::tcp).any(|own| {
            let here = own.ip().is_unspecified() && (peer.ip() == local.ip());
            own.port() == peer.port() && (here || own.ip() == canonical(peer.ip()))
        })
    }

    async fn tls(
        &self,
        upstream: &Upstream,
        stream: TcpStream,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Error> {
        let host = upstream.facts.address.trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host).map_err(|_| Error::Unresolved)?;
        let tls = TlsConnector::from(Arc::clone(&self.tls));
        tls.connect(name, stream).await.map_err(Error::Tls)
    }
}

fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// The system's roots, or bundled ones where it has none.
fn tls_config() -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(native.certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions()?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
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
        if let Some(error) = error.downcast_ref::<io::Error>() {
            if matches!(error.raw_os_error(), Some(ENFILE | EMFILE)) {
                return Error::Busy;
            }
            if error.kind() == io::ErrorKind::ConnectionRefused {
                return Error::ConnectionRefused;
            }
            if error.source().is_none() {
                return Error::Connect(error.kind());
            }
        }
        cause = error.source();
    }
    Error::Connect(io::ErrorKind::Other)
}

/// The system's resolver, whose failure can be told from a failed connection.
#[derive(Clone, Debug)]
pub(super) struct Resolver(GaiResolver);

/// The name has no address.
#[derive(Debug, thiserror::Error)]
#[error("cannot resolve the name: {0}")]
pub(super) struct Unresolved(#[source] io::Error);

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Unresolved;
    type Future = std::pin::Pin<
        Box<dyn Future<Output = Result<std::vec::IntoIter<SocketAddr>, Unresolved>> + Send>,
    >;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Unresolved>> {
        self.0.poll_ready(cx).map_err(Unresolved)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolving = self.0.call(name);
        Box::pin(async move {
            let addresses = resolving.await.map_err(Unresolved)?;
            Ok(addresses.collect::<Vec<_>>().into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_descriptors_is_ours_and_the_rest_is_the_upstreams() {
        let of = |code| classify(&io::Error::from_raw_os_error(code)).reason();
        assert_eq!([ENFILE, EMFILE].map(of), ["busy", "busy"]);
        // ECONNREFUSED has a number for each system; its kind is the same on all.
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(classify(&refused).reason(), "connection_refused");
        assert_eq!(
            classify(&io::Error::from(io::ErrorKind::HostUnreachable)).reason(),
            "connect_failed"
        );
    }
}
