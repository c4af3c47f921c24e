//! Whether a connection leads back to ourselves. Knows our listeners.

use std::net::SocketAddr;
use std::sync::Arc;

use super::settings::Endpoint;
use super::socket::Socket;

/// Our own listeners: the proxy does not call itself, be it as an upstream or as an egress proxy.
#[derive(Clone, Debug)]
pub(super) struct Own(Arc<[Endpoint]>);

impl Own {
    pub(super) fn new(listeners: Arc<[Endpoint]>) -> Self {
        Self(listeners)
    }

    /// Whether the other end is one of them.
    pub(super) fn answers(&self, socket: &Socket) -> bool {
        self.0.iter().any(|own| match (own, socket) {
            (Endpoint::Tcp(own), Socket::Tcp(stream)) => {
                let ends = stream.peer_addr().and_then(|peer| Ok((peer, stream.local_addr()?)));
                ends.is_ok_and(|(peer, local)| is_at(*own, peer, local))
            }
            // The path that the listener was bound to, however we were told of it.
            (Endpoint::Unix(own), Socket::Unix(stream)) => {
                stream.peer_addr().is_ok_and(|peer| peer.as_pathname() == Some(own))
            }
            _ => false,
        })
    }
}

/// By address, or on a wildcard listener by a connection that never left this host.
fn is_at(own: SocketAddr, peer: SocketAddr, local: SocketAddr) -> bool {
    let here = own.ip().is_unspecified() && peer.ip() == local.ip();
    own.port() == peer.port() && (here || own.ip() == peer.ip().to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_known_by_its_address_or_on_all_of_them() {
        let is = |own: &str, peer: &str, local: &str| {
            is_at(own.parse().unwrap(), peer.parse().unwrap(), local.parse().unwrap())
        };
        assert!(is("127.0.0.1:1", "127.0.0.1:1", "127.0.0.1:5"));
        assert!(is("127.0.0.1:1", "[::ffff:127.0.0.1]:1", "[::ffff:127.0.0.1]:5"));
        assert!(is("0.0.0.0:1", "192.0.2.1:1", "192.0.2.1:5"));
        assert!(is("[::]:1", "127.0.0.1:1", "127.0.0.1:5"));
        assert!(!is("0.0.0.0:1", "192.0.2.2:1", "192.0.2.1:5"), "another machine");
        assert!(
            !is("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:5"),
            "a neighbour, as an egress proxy"
        );
        assert!(!is("127.0.0.1:1", "127.0.0.2:1", "127.0.0.1:5"));
    }
}
