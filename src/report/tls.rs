//! How an endpoint's certificate is checked, and which one it is shown. Knows no file and no socket.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

/// Trust in an endpoint, and our own certificate where it asks for one. By default the system's
/// roots are trusted, where it has none those of Mozilla, and nothing is shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tls {
    roots: Vec<CertificateDer<'static>>,
    identity: Option<Arc<Identity>>,
}

#[derive(PartialEq, Eq)]
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// Why PEM text is of no use.
#[derive(Debug, thiserror::Error)]
pub enum BadPem {
    /// Not a certificate in it.
    #[error("there is no certificate (PEM) in it")]
    NoCertificate,
    /// No private key in it that we could read.
    #[error("there is no private key (PEM, not encrypted) in it")]
    NoKey,
    /// What stands there is no certificate, or the key does not belong to it.
    #[error("{0}")]
    Refused(#[from] rustls::Error),
}

impl Tls {
    /// Trusts these certificates and no others.
    pub fn with_roots(mut self, certificates: &[u8]) -> Result<Self, BadPem> {
        self.roots = chain(certificates)?;
        trusted(&self.roots)?;
        Ok(self)
    }

    /// Shows this certificate, with those that vouch for it behind it, to whoever asks.
    pub fn with_identity(mut self, certificates: &[u8], key: &[u8]) -> Result<Self, BadPem> {
        let chain = chain(certificates)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| BadPem::NoKey)?;
        // Says now what otherwise only the first connection would.
        let provider = rustls::crypto::ring::default_provider();
        CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider)?;
        self.identity = Some(Arc::new(Identity { chain, key }));
        Ok(self)
    }

    /// What connects so, and speaks these application protocols.
    pub(super) fn connector(&self, protocols: &[&[u8]]) -> Result<TlsConnector, rustls::Error> {
        let roots = if self.roots.is_empty() { common_roots() } else { trusted(&self.roots)? };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let mut config = match self.identity.as_deref() {
            Some(it) => builder.with_client_auth_cert(it.chain.clone(), it.key.clone_key())?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = protocols.iter().map(|it| it.to_vec()).collect();
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let roots = match self.roots.len() {
            0 => "the system's roots".to_owned(),
            count => format!("{count} roots"),
        };
        let identity = if self.identity.is_some() { ", a certificate of our own" } else { "" };
        write!(f, "Tls({roots}{identity})")
    }
}

fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BadPem> {
    let certificates: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(pem).collect();
    certificates.ok().filter(|all| !all.is_empty()).ok_or(BadPem::NoCertificate)
}

fn trusted(certificates: &[CertificateDer<'static>]) -> Result<RootCertStore, rustls::Error> {
    let mut roots = RootCertStore::empty();
    certificates.iter().try_for_each(|it| roots.add(it.clone()))?;
    Ok(roots)
}

/// The system's roots, or bundled ones where it has none.
fn common_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey as Signed, generate_simple_self_signed};

    use super::*;

    fn signed() -> (Vec<u8>, Vec<u8>) {
        let Signed { cert, signing_key } = generate_simple_self_signed(["a".to_owned()]).unwrap();
        (cert.pem().into_bytes(), signing_key.serialize_pem().into_bytes())
    }

    #[test]
    fn the_roots_of_this_system_make_a_connector() {
        assert!(Tls::default().connector(&[b"h2"]).is_ok());
    }

    #[test]
    fn a_certificate_and_its_key_are_taken_and_never_printed() {
        let (certificate, key) = signed();
        let tls = Tls::default().with_roots(&certificate).unwrap();
        let tls = tls.with_identity(&certificate, &key).unwrap();
        let config = tls.connector(&[b"h2"]).unwrap().config().clone();
        assert!(config.client_auth_cert_resolver.has_certs());
        assert_eq!(config.alpn_protocols, [b"h2"]);
        assert_eq!(format!("{tls:?}"), "Tls(1 roots, a certificate of our own)");
    }

    #[test]
    fn what_is_of_no_use_is_told() {
        let ((certificate, key), (_, other)) = (signed(), signed());
        let told = |made: Result<Tls, BadPem>| made.unwrap_err().to_string();
        let tls = Tls::default;
        assert_eq!(told(tls().with_roots(b"x")), "there is no certificate (PEM) in it");
        assert_eq!(told(tls().with_roots(&key)), "there is no certificate (PEM) in it");
        let no_key = "there is no private key (PEM, not encrypted) in it";
        assert_eq!(told(tls().with_identity(&certificate, &certificate)), no_key);
        let mismatch = told(tls().with_identity(&certificate, &other));
        assert!(mismatch.contains("KeyMismatch") || mismatch.contains("keys"), "{mismatch}");
        let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(tls().with_roots(broken).is_err());
    }
}
