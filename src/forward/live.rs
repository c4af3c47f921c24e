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
    own: Arc<[Endpoint]>,
}

impl Live {
    /// `own`: the addresses that we listen on, which are never called.
    pub(super) fn new(settings: Settings, own: Arc<[Endpoint]>) -> Result<Self, rustls::Error> {
        let limits = &settings.limits;
        let pools = settings.upstreams.iter().map(|_| Arc::new(Pool::new(limits))).collect();
        Ok(Self { connector: Connector::new(&settings, Arc::clone(&own))?, pools, settings, own })
    }

    /// The same with other settings. An upstream that did not change keeps its connections, and its
    /// facts, by whose address metrics are bound.
    pub(super) fn succeeded_by(&self, mut settings: Settings) -> Result<Self, rustls::Error> {
        let limits = settings.limits.clone();
        let pools = settings.upstreams.iter_mut().map(|upstream| {
            let known = self.settings.upstreams.iter().zip(&self.pools);
            let same = known.into_iter().find(|(known, _)| *known == upstream);
            if let Some((known, _)) = same {
                upstream.facts = Arc::clone(&known.facts);
            }
            let pool = same.map(|(_, pool)| pool).filter(|pool| pool.keeps_to(&limits));
            pool.map_or_else(|| Arc::new(Pool::new(&limits)), Arc::clone)
        });
        let pools = pools.collect();
        let own = Arc::clone(&self.own);
        Ok(Self { connector: Connector::new(&settings, Arc::clone(&own))?, pools, settings, own })
    }

    /// Lets the pools drain that `successor` does not have.
    pub(super) fn retire_all_but(&self, successor: &Self) {
        let is_kept = |pool: &Arc<Pool>| successor.pools.iter().any(|it| Arc::ptr_eq(it, pool));
        self.pools.iter().filter(|pool| !is_kept(pool)).for_each(|pool| pool.retire());
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

#[cfg(test)]
mod tests {
    use super::super::settings::{ErrorShape, Limits, Listen, Place, Way};
    use super::*;
    use crate::tape;

    fn upstream(name: &str, port: u16) -> Upstream {
        let facts = tape::Upstream {
            name: name.into(),
            provider: name.into(),
            dialect: "openai".into(),
            address: "h".into(),
            port: Some(port),
        };
        Upstream {
            facts: Arc::new(facts),
            tls: None,
            http2: false,
            way: Way::Direct(Place { host: "h".into(), port }),
            host: http::HeaderValue::from_static("h"),
            base_path: String::new(),
            paths: Vec::new(),
            mount: None,
            marker: None,
            propagate: false,
            asks_for_usage: false,
            listen: None,
            shape: ErrorShape(String::new()),
        }
    }

    fn settings(upstreams: &[(&str, u16)], idle: usize) -> Settings {
        Settings {
            listen: Listen { at: "127.0.0.1:0".parse().unwrap(), tls: None },
            upstreams: upstreams.iter().map(|(name, port)| upstream(name, *port)).collect(),
            root: None,
            shape: ErrorShape(String::new()),
            limits: Limits { upstream_idle_connections: idle, ..Limits::default() },
        }
    }

    /// For each upstream of the second settings, whether it kept the first one's pool and facts.
    fn kept(before: Settings, after: Settings) -> Vec<(bool, bool)> {
        let before = Live::new(before, Arc::new([])).unwrap();
        let after = before.succeeded_by(after).unwrap();
        let pool = |it: &Arc<Pool>| before.pools.iter().any(|old| Arc::ptr_eq(old, it));
        let facts = |it: &Upstream| {
            before.settings.upstreams.iter().any(|old| Arc::ptr_eq(&old.facts, &it.facts))
        };
        let both = after.pools.iter().zip(&after.settings.upstreams);
        both.map(|(it, upstream)| (pool(it), facts(upstream))).collect()
    }

    #[test]
    fn an_upstream_that_did_not_change_keeps_its_pool_wherever_it_stands() {
        let before = settings(&[("a", 1), ("b", 2), ("c", 3)], 5);
        let after = settings(&[("c", 3), ("b", 22), ("new", 4), ("a", 1)], 5);
        let (same, other) = ((true, true), (false, false));
        assert_eq!(kept(before, after), [same, other, other, same]);
    }

    #[test]
    fn other_limits_of_pools_make_new_ones() {
        let after = settings(&[("a", 1)], 6);
        assert_eq!(kept(settings(&[("a", 1)], 5), after), [(false, true)]);
    }
}
