//! TLS with upstreams and egress proxies: one configuration for all that are alike. Knows no
//! connection's purpose.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{AlertDescription, ClientConfig, ConfigBuilder, RootCertStore};
use rustls_native_certs::CertificateResult;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::error::Error;
use super::headers::Hop;
use super::reach::{Tls, Trust};
use super::settings::Upstream;
use super::socket::Socket;

/// Protocols as the TLS handshake names them (ALPN).
const HTTP_1: &[u8] = b"http/1.1";
const HTTP_2: &[u8] = b"h2";

/// The configuration of each upstream's TLS.
#[derive(Clone, Debug)]
pub(super) struct ClientTls {
    // The system's authorities, no certificate of ours: for proxies, and all without a word.
    system: Arc<ClientConfig>,
    // Upstreams, by name, for which that does not do.
    own: HashMap<String, Arc<ClientConfig>>,
}

impl ClientTls {
    /// Reads the system's authorities. Upstreams that are alike share a configuration, and with it
    /// their sessions; those with another certificate of ours never do.
    pub(super) fn new(upstreams: &[Upstream]) -> Result<Self, rustls::Error> {
        let roots = Arc::new(system_roots());
        let system = Arc::new(configure(&Trust::default(), &roots)?);
        let mut made: Vec<(&Trust, Arc<ClientConfig>)> = Vec::new();
        let mut own = HashMap::new();
        for upstream in upstreams {
            let Some(Tls { trust, .. }) = &upstream.tls else { continue };
            if trust.is_system() {
                continue;
            }
            let config = match made.iter().find(|(it, _)| *it == trust) {
                Some((_, config)) => Arc::clone(config),
                None => Arc::new(configure(trust, &roots)?),
            };
            own.insert(upstream.facts.name.clone(), Arc::clone(&config));
            made.push((trust, config));
        }
        Ok(Self { system, own })
    }

    /// TLS with an upstream; for shared connections only if it speaks HTTP/2.
    pub(super) async fn with_upstream(
        &self,
        upstream: &Upstream,
        tls: &Tls,
        socket: Socket,
        hop: Hop,
    ) -> Result<TlsStream<Socket>, Error> {
        let config = self.own.get(&upstream.facts.name).unwrap_or(&self.system);
        let connecting = TlsConnector::from(Arc::clone(config));
        let name = tls.server_name.clone();
        if hop != Hop::Stream {
            return connecting.connect(name, socket).await.map_err(Error::Tls);
        }
        let stream = connecting.with_alpn(vec![HTTP_2.to_vec()]).connect(name, socket).await;
        let stream = stream
            .map_err(|error| if is_alpn(&error) { Error::NoHttp2 } else { Error::Tls(error) })?;
        let agreed = stream.get_ref().1.alpn_protocol();
        if agreed == Some(HTTP_2) { Ok(stream) } else { Err(Error::NoHttp2) }
    }

    /// TLS with an egress proxy of this name or address.
    pub(super) async fn with_proxy(
        &self,
        host: &str,
        socket: Socket,
    ) -> Result<TlsStream<Socket>, Error> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| Error::Unresolved)?;
        let connecting = TlsConnector::from(Arc::clone(&self.system));
        connecting.connect(name, socket).await.map_err(Error::Tls)
    }
}

/// Whether the peer broke the handshake off since it does not speak what we asked for.
fn is_alpn(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    let alert = AlertDescription::NoApplicationProtocol;
    matches!(cause, Some(rustls::Error::AlertReceived(received)) if *received == alert)
}

fn configure(trust: &Trust, system: &Arc<RootCertStore>) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions()?;
    let roots = trust.authorities.as_ref().unwrap_or(system);
    let builder: ConfigBuilder<_, WantsClientCert> =
        builder.with_root_certificates(Arc::clone(roots));
    let mut config = match &trust.identity {
        Some(identity) => builder
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(identity)))),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![HTTP_1.to_vec()];
    Ok(config)
}

/// The system's authorities; `SSL_CERT_FILE` and `SSL_CERT_DIR` go before them.
fn system_roots() -> RootCertStore {
    roots(rustls_native_certs::load_native_certs())
}

/// What was found, or bundled authorities where there is nothing to find. Where something cannot be
/// read nobody is trusted in its place.
fn roots(native: CertificateResult) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for error in &native.errors {
        tracing::warn!("cannot read all certificate authorities of the system: {error}");
    }
    roots.add_parsable_certificates(native.certs);
    if roots.is_empty() && native.errors.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn bundled_authorities_are_for_a_system_that_has_none() {
        assert!(!roots(CertificateResult::default()).is_empty());
        let missing = Path::new("/nonexistent.pem");
        let unreadable = rustls_native_certs::load_certs_from_paths(Some(missing), None);
        assert!(roots(unreadable).is_empty());
    }
}
