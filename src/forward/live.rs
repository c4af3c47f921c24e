//! The settings in force and what stands on them. An exchange keeps those it began with; knows no
//! exchange.

use std::net::SocketAddr;
use std::sync::Arc;

use super::connect::Connector;
use super::pool::Pool;
use super::settings::{Limits, Settings, Upstream};
use super::shared::Shared;

/// What a reload replaces as a whole.
pub(super) struct Live {
    pub(super) settings: Settings,
    pub(super) connector: Connector,
    // Of each upstream, by index.
    pools: Vec<Pools>,
}

impl Live {
    /// `own`: the addresses that we listen on, which are never called.
    pub(super) fn new(settings: Settings, own: Arc<[SocketAddr]>) -> Result<Self, rustls::Error> {
        let limits = &settings.limits;
        let pools = settings.upstreams.iter().map(|_| Pools::new(limits)).collect();
        Ok(Self { connector: Connector::new(limits, own)?, pools, settings })
    }

    /// An upstream, by the index that a route names.
    pub(super) fn upstream(&self, index: usize) -> (&Upstream, &Pools) {
        (&self.settings.upstreams[index], &self.pools[index])
    }

    /// Closes upstream connections that have been idle for too long.
    pub(super) fn sweep(&self) {
        for pools in &self.pools {
            pools.own.sweep();
            pools.shared.sweep();
        }
    }
}

/// One upstream's connections.
pub(super) struct Pools {
    /// Those that serve one exchange at a time (HTTP/1).
    pub(super) own: Arc<Pool>,
    /// Those that exchanges share (HTTP/2).
    pub(super) shared: Arc<Shared>,
}

impl Pools {
    fn new(limits: &Limits) -> Self {
        Self { own: Arc::new(Pool::new(limits)), shared: Arc::new(Shared::new(limits)) }
    }
}
