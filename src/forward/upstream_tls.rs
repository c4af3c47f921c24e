//! TLS with upstreams and egress proxies: one configuration for all that are alike. Knows no
//! connection's purpose.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use rustls_native_certs::CertificateResult;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::error::Error;
use super::reach::{Tls, Trust};
use super::settings::Upstream;
use super::socket::Socket;

/// The protocols that are offered (ALPN), the first preferred.
type Protocols = &'static [&'static [u8]];

const HTTP_1: Protocols = &[b"http/1.1"];

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
        let system = Arc::new(configure(&Trust::default(), HTTP_1, &roots)?);
        let mut made: Vec<(&Trust, Protocols, Arc<ClientConfig>)> = Vec::new();
        let mut own = HashMap::new();
        for upstream in upstreams {
            let Some(Tls { trust, .. }) = &upstream.tls else { continue };
            let protocols = HTTP_1;
            if trust.is_system() && protocols == HTTP_1 {
                continue;
            }
            let alike = made.iter().find(|(it, offers, _)| *it == trust && *offers == protocols);
            let config = match alike {
                Some((_, _, config)) => Arc::clone(config),
                None => Arc::new(configure(trust, protocols, &roots)?),
            };
            own.insert(upstream.facts.name.clone(), Arc::clone(&config));
            made.push((trust, protocols, config));
        }
        Ok(Self { system, own })
    }

    /// TLS with an upstream.
    pub(super) async fn with_upstream(
        &self,
        upstream: &Upstream,
        tls: &Tls,
        socket: Socket,
    ) -> Result<TlsStream<Socket>, Error> {
        let config = self.own.get(&upstream.facts.name).unwrap_or(&self.system);
        let connecting = TlsConnector::from(Arc::clone(config));
        connecting.connect(tls.server_name.clone(), socket).await.map_err(Error::Tls)
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

fn configure(
    trust: &Trust,
    protocols: Protocols,
    system: &Arc<RootCertStore>,
) -> Result<ClientConfig, rustls::Error> {
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
    config.alpn_protocols = protocols.iter().map(|it| it.to_vec()).collect();
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
