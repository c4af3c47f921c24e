//! The settings in force and what stands on them. An exchange keeps those it began with; knows no
//! exchange.

use std::sync::Arc;

use super::connect::Connector;
use super::pool::Pool;
use super::settings::{Endpoint, Settings, Upstream};

/// What a reload replaces as a whole.
pub(super) struct Live {
    pub(super) settings: Settings,
    pub(super) connector: Connector,
    // One for each upstream, by index.
    pools: Vec<Arc<Pool>>,
}

impl Live {
    /// `own`: the addresses that we listen on, which are never called.
    pub(super) fn new(settings: Settings, own: Arc<[Endpoint]>) -> Result<Self, rustls::Error> {
        let limits = &settings.limits;
        let pools = settings.upstreams.iter().map(|_| Arc::new(Pool::new(limits))).collect();
        Ok(Self { connector: Connector::new(&settings, own)?, pools, settings })
    }

    /// An upstream, by the index that a route names.
    pub(super) fn upstream(&self, index: usize) -> (&Upstream, &Arc<Pool>) {
        (&self.settings.upstreams[index], &self.pools[index])
    }

    /// Closes upstream connections that have been idle for too long.
    pub(super) fn sweep(&self) {
        self.pools.iter().for_each(|pool| pool.sweep());
    }
}
