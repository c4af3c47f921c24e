//! A connection to where an endpoint is: its name, TCP, TLS. Knows no HTTP.

use std::io;

use http::Uri;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A connection, encrypted or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Where an endpoint is.
pub(super) struct Place {
    host: String,
    port: u16,
    tls: Option<TlsConnector>,
}

impl Place {
    /// Where `uri` points; `tls` is used where its scheme is https.
    pub(super) fn new(uri: &Uri, tls: Option<&TlsConnector>) -> Self {
        Self {
            host: host_name(uri).to_owned(),
            port: port(uri),
            tls: tls.filter(|_| is_https(uri)).cloned(),
        }
    }

    /// A new connection.
    pub(super) async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        Ok(Box::new(tls.connect(name, stream).await?))
    }
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
            let place = Place::new(&Uri::from_static(uri), None);
            (place.host, place.port)
        };
        assert_eq!(place("https://user:secret@[::1]:4318/v1/traces?x=1"), ("::1".into(), 4318));
        assert_eq!(place("https://c"), ("c".into(), 443));
        assert_eq!(place("http://c/v1"), ("c".into(), 80));
    }
}
