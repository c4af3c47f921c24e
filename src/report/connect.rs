//! A connection to where an endpoint is: its name, an egress proxy if one is before it, TCP, TLS. Knows
//! no HTTP.

use std::io;

use http::{HeaderValue, Uri};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::settings::{Exporter, Tls};
use crate::egress::{self, Proxy};

/// A connection, encrypted or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// What connections to any endpoint of one exporter are made of.
#[derive(Clone, Default)]
pub(super) struct Means {
    tls: Option<TlsConnector>,
    through: Option<Through>,
}

/// An egress proxy, and TLS with it where it speaks that.
#[derive(Clone)]
struct Through {
    proxy: Proxy,
    tls: Option<TlsConnector>,
}

impl Means {
    /// Those of `exporter`, which speaks `protocol` to be told in TLS.
    pub(super) fn of(exporter: &Exporter, protocol: &[u8]) -> Result<Self, rustls::Error> {
        let uris = [&exporter.traces, &exporter.metrics, &exporter.logs];
        let needed = uris.into_iter().flatten().any(is_https);
        let tls = needed.then(|| exporter.tls.connector(&[protocol])).transpose()?;
        let through = exporter.proxy.clone().map(|proxy| {
            let tls = proxy.speaks_tls().then(|| Tls::default().connector(&[])).transpose()?;
            Ok::<_, rustls::Error>(Through { proxy, tls })
        });
        Ok(Self { tls, through: through.transpose()? })
    }
}

/// Where an endpoint is, and the way to it.
pub(super) struct Place {
    there: egress::Place,
    tls: Option<TlsConnector>,
    through: Option<Through>,
    forwards: bool,
}

impl Place {
    /// Where `uri` points. `forwards`: an egress proxy may take its requests themselves, where they
    /// are not encrypted.
    pub(super) fn new(uri: &Uri, means: &Means, forwards: bool) -> Self {
        let takes = |it: &Through| it.proxy.takes_requests();
        let forwards = forwards && !is_https(uri) && means.through.as_ref().is_some_and(takes);
        Self {
            there: egress::Place { host: host_name(uri).to_owned(), port: port(uri) },
            tls: means.tls.clone().filter(|_| is_https(uri)),
            through: means.through.clone(),
            forwards,
        }
    }

    /// The egress proxy takes the requests themselves, with these credentials.
    pub(super) fn forwarder(&self) -> Option<Option<&HeaderValue>> {
        let through = self.through.as_ref().filter(|_| self.forwards)?;
        Some(through.proxy.authorization())
    }

    /// A new connection.
    pub(super) async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let stream: Box<dyn Stream> = match &self.through {
            None => Box::new(tcp(&self.there).await?),
            Some(through) => self.behind(through).await?,
        };
        encrypted(stream, &self.there, self.tls.as_ref()).await
    }

    async fn behind(&self, through: &Through) -> io::Result<Box<dyn Stream>> {
        let Through { proxy, tls } = through;
        let of_proxy = |error: io::Error| {
            io::Error::new(error.kind(), format!("the egress proxy {}: {error}", proxy.place))
        };
        let stream = tcp(&proxy.place).await.map_err(of_proxy)?;
        let stream = encrypted(Box::new(stream), &proxy.place, tls.as_ref()).await;
        let stream = stream.map_err(of_proxy)?;
        if self.forwards {
            return Ok(stream);
        }
        egress::tunnel(stream, proxy, &self.there).await.map_err(io::Error::other)
    }
}

async fn tcp(place: &egress::Place) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((place.host.as_str(), place.port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn encrypted(
    stream: Box<dyn Stream>,
    place: &egress::Place,
    tls: Option<&TlsConnector>,
) -> io::Result<Box<dyn Stream>> {
    let Some(tls) = tls else { return Ok(stream) };
    let name = ServerName::try_from(place.host.clone()).map_err(io::Error::other)?;
    Ok(Box::new(tls.connect(name, stream).await?))
}

/// Whether `uri` asks for TLS.
pub(super) fn is_https(uri: &Uri) -> bool {
    uri.scheme_str() == Some("https")
}

/// The host without the brackets of an IPv6 address.
pub(super) fn host_name(uri: &Uri) -> &str {
    uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
}

/// The port, or the scheme's.
pub(super) fn port(uri: &Uri) -> u16 {
    uri.port_u16().unwrap_or(if is_https(uri) { 443 } else { 80 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_host_and_a_port() {
        let place = |uri: &'static str| {
            let place = Place::new(&Uri::from_static(uri), &Means::default(), true);
            (place.there.host, place.there.port)
        };
        assert_eq!(place("https://user:secret@[::1]:4318/v1/traces?x=1"), ("::1".into(), 4318));
        assert_eq!(place("https://c"), ("c".into(), 443));
        assert_eq!(place("http://c/v1"), ("c".into(), 80));
    }
}
