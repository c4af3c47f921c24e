//! A new connection to an upstream: along its way, TLS, and hyper's handshake. Knows no exchange.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::client::conn::http1::SendRequest;
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;

use super::attempts::Attempt;
use super::dial::Dialer;
use super::error::Error;
use super::handshake;
use super::headers::Hop;
use super::own::Own;
use super::reach::{Proxy, Way};
use super::settings::{Endpoint, Limits, Settings, Upstream};
use super::shared::Peer;
use super::socket::Socket;
use super::tee::RequestTee;
use super::upstream_io::{Stamps, Transport};
use super::upstream_tls::ClientTls;
use crate::egress;

/// Connects to any upstream.
#[derive(Clone)]
pub(super) struct Connector {
    dialer: Dialer,
    tls: ClientTls,
    timeout: Duration,
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
    /// Bytes can cross: through an egress proxy, when its tunnel stands.
    pub(super) tcp: Instant,
    pub(super) tls: Option<Instant>,
}

impl Connector {
    /// `own`: where we listen, which are never called.
    pub(super) fn new(settings: &Settings, own: Arc<[Endpoint]>) -> Result<Self, rustls::Error> {
        let limits = &settings.limits;
        let dialer = Dialer::new(limits, Own::new(own));
        Ok(Self { dialer, tls: ClientTls::new(&settings.upstreams)?, timeout: limits.connect })
    }

    /// Connects within the limit, which holds for all steps together; for one exchange at a time.
    pub(super) async fn connect(
        &self,
        upstream: &Upstream,
        hop: Hop,
    ) -> Result<(Connection, Steps), Error> {
        let connecting = async {
            let (transport, steps) = self.open(upstream, hop).await?;
            Ok((handshake::http1(transport, hop).await?, steps))
        };
        tokio::time::timeout(self.timeout, connecting).await.map_err(|_| Error::ConnectTimeout)?
    }

    /// Connects, for many exchanges at once; whoever waits for it sets the limit.
    pub(super) async fn connect_shared(
        &self,
        upstream: &Upstream,
        limits: &Limits,
        peer: Arc<Peer>,
    ) -> Result<(http2::SendRequest<Attempt>, Steps), Error> {
        let (transport, steps) = self.open(upstream, Hop::Stream).await?;
        Ok((handshake::http2(transport, limits, peer).await?, steps))
    }

    async fn open(&self, upstream: &Upstream, hop: Hop) -> Result<(Transport, Steps), Error> {
        let socket = self.reach(upstream, hop).await?;
        let tcp = Instant::now();
        let Some(tls) = &upstream.tls else {
            return Ok((Transport::Plain(TokioIo::new(socket)), Steps { tcp, tls: None }));
        };
        let stream = self.tls.with_upstream(upstream, tls, socket, hop).await?;
        let steps = Steps { tcp, tls: Some(Instant::now()) };
        Ok((Transport::Tls(Box::new(TokioIo::new(stream))), steps))
    }

    /// Along the upstream's way to where its bytes are taken.
    async fn reach(&self, upstream: &Upstream, hop: Hop) -> Result<Socket, Error> {
        match &upstream.way {
            Way::Direct(place) => self.dialer.tcp(place).await,
            Way::Unix(path) => self.dialer.unix(path).await,
            Way::Proxy(proxy, place) => {
                let socket = self.proxy(proxy).await.map_err(Error::of_proxy)?;
                if upstream.forwarder(hop).is_some() {
                    Ok(socket)
                } else {
                    Ok(egress::tunnel(socket, proxy, place).await?)
                }
            }
        }
    }

    /// A connection to the egress proxy itself.
    async fn proxy(&self, proxy: &Proxy) -> Result<Socket, Error> {
        let socket = self.dialer.tcp(&proxy.place).await?;
        if !proxy.speaks_tls() {
            return Ok(socket);
        }
        let stream = self.tls.with_proxy(&proxy.place.host, socket).await?;
        Ok(Socket::Proxy(Box::new(stream)))
    }
}
