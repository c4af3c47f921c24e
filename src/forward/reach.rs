//! How an upstream is reached: its way and its TLS, as settings say it. Knows no connection.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;

use super::headers::Hop;
pub use crate::egress::{Place, Protocol, Proxy};

/// Where connections to an upstream lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// To its host and port.
    Direct(Place),
    /// To a Unix socket at this path.
    Unix(PathBuf),
    /// To its host and port through an egress proxy.
    Proxy(Proxy, Place),
}

impl Way {
    /// The egress proxy that takes requests themselves, in absolute form (RFC 9112 3.2.2), where
    /// an upstream without TLS is behind one. It is spoken to so, and not asked for a tunnel, since
    /// proxies as a rule allow `CONNECT` to port 443 alone (Squid's `deny CONNECT !SSL_ports`).
    /// An upgrade ends at the proxy that takes its request: it needs a tunnel all the same
    /// (RFC 6455 4.1).
    pub(super) fn forwarder(&self, tls: bool, hop: Hop) -> Option<&Proxy> {
        let Self::Proxy(proxy, _) = self else { return None };
        (proxy.takes_requests() && !tls && hop == Hop::Exchange).then_some(proxy)
    }
}

/// TLS with an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The name that is asked for (SNI) and that the upstream's certificate must bear.
    pub server_name: ServerName<'static>,
    /// Whom we trust, and as whom we come.
    pub trust: Trust,
}

/// Whom we trust, and as whom we come.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Who may have signed the other side's certificate; absent: whom the system trusts.
    pub authorities: Option<Arc<RootCertStore>>,
    /// Our certificates and their key, for a side that asks; the key fits.
    pub identity: Option<Arc<CertifiedKey>>,
}

impl Trust {
    /// Nobody but the system's authorities, and no certificate of ours.
    pub(super) fn is_system(&self) -> bool {
        self.authorities.is_none() && self.identity.is_none()
    }
}

impl Eq for Trust {}

impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        let roots = |it: &Self| it.authorities.as_ref().map(|store| store.roots.clone());
        // One key fits one certificate.
        let chain = |it: &Self| it.identity.as_ref().map(|identity| identity.cert.clone());
        roots(self) == roots(other) && chain(self) == chain(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(protocol: Protocol) -> Proxy {
        Proxy { place: Place { host: "::1".into(), port: 3128 }, protocol }
    }

    #[test]
    fn only_an_http_proxy_takes_requests_and_only_without_tls() {
        let http = proxy(Protocol::Http { tls: false, authorization: None });
        let place = Place { host: "a".into(), port: 80 };
        let way = Way::Proxy(http, place.clone());
        assert!(way.forwarder(false, Hop::Exchange).is_some());
        assert!(way.forwarder(true, Hop::Exchange).is_none());
        assert!(way.forwarder(false, Hop::Upgrade).is_none(), "it would end at the proxy");
        let socks = Way::Proxy(proxy(Protocol::Socks5 { login: None }), place.clone());
        assert!(socks.forwarder(false, Hop::Exchange).is_none());
        assert!(Way::Direct(place).forwarder(false, Hop::Exchange).is_none());
    }
}
