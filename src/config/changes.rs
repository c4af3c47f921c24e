//! What differs between two configurations, by name, and whether it can be taken while the proxy
//! runs. Knows no way of taking it.

use std::collections::BTreeSet;

use toml::{Table, Value};

use super::Loaded;
use crate::forward::settings::Upstream;
use crate::observe::price::Override;

/// Single keys that hold from the next exchange, connection or call on. Upstreams and prices do,
/// too; anything else waits for a restart, also a key that nobody has put here yet.
const LIVE: [&str; 33] = [
    "server.root",
    "limits.max_exchanges",
    "limits.connect_seconds",
    "limits.client_idle_seconds",
    "limits.header_seconds",
    "limits.handshake_seconds",
    "limits.client_stall_seconds",
    "limits.upstream_idle_seconds",
    "limits.upstream_idle_connections",
    "limits.upstream_keepalive_seconds",
    "limits.upstream_silence_seconds",
    "limits.tunnel_idle_seconds",
    "limits.ask_body_bytes",
    "limits.ask_event_bytes",
    "limits.ask_memory",
    "limits.ask_pause_seconds",
    "limits.ask_wait_seconds",
    "limits.http2_client_streams",
    "limits.http2_upstream_streams",
    "limits.http2_stream_window",
    "limits.http2_repeat",
    "limits.http2_head",
    "limits.http2_ping_seconds",
    "limits.drain_seconds",
    "limits.event_bytes",
    "limits.decoded_bytes",
    "limits.decoded_ratio",
    "limits.estimate_bytes",
    "limits.stall_seconds",
    "telemetry.client_ids",
    "telemetry.estimates_as_usage",
    "telemetry.raw_usage",
    "telemetry.stop_sequences",
];

/// What differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Can be taken now; a few words each.
    pub live: Vec<String>,
    /// Needs a restart; the key of each.
    pub restart: Vec<String>,
}

impl Changes {
    /// What `after` says that `before` did not.
    pub fn between(before: &Loaded, after: &Loaded) -> Self {
        let mut changes = Self::default();
        changes.keys(&before.written, &after.written);
        changes.upstreams(&before.settings.forward.upstreams, &after.settings.forward.upstreams);
        let exporters = |it: &Loaded| it.settings.report.exporters.clone();
        if exporters(before) != exporters(after) && !changes.restarts("telemetry.export") {
            // The same keys, but a file has changed. Were it refused, nothing could be taken any more.
            changes.live.push("secrets of telemetry.export (used after a restart)".to_owned());
        }
        if prices(before) != prices(after) {
            let count = after.settings.prices.len();
            changes.live.push(format!("prices of your own ({count} now)"));
        }
        changes
    }

    fn restarts(&self, key: &str) -> bool {
        self.restart.iter().any(|it| it == key)
    }

    /// Every key of every section.
    fn keys(&mut self, before: &Table, after: &Table) {
        let (before, after) = (keys(before), keys(after));
        let names: BTreeSet<_> = before.iter().chain(&after).map(|(name, _)| name).collect();
        for name in names {
            let value = |of: &[(String, Value)]| {
                let found = of.iter().find(|(it, _)| it == name);
                found.map_or_else(|| "nothing".to_owned(), |(_, value)| value.to_string())
            };
            let (old, new) = (value(&before), value(&after));
            if old == new {
                continue;
            }
            match LIVE.contains(&name.as_str()) {
                true => self.live.push(format!("{name} {old} → {new}")),
                false => self.restart.push(name.clone()),
            }
        }
    }

    fn upstreams(&mut self, before: &[Upstream], after: &[Upstream]) {
        let name = |it: &Upstream| it.facts.name.clone();
        let names: BTreeSet<_> = before.iter().chain(after).map(name).collect();
        let of =
            |name: &str, list: &[Upstream]| list.iter().find(|it| it.facts.name == name).cloned();
        let listen = |it: &Option<Upstream>| it.as_ref().and_then(|it| it.listen.clone());
        let told = self.live.len() + self.restart.len();
        for name in names {
            let (old, new) = (of(&name, before), of(&name, after));
            let what = match (&old, &new) {
                (None, _) => "added",
                (_, None) => "removed",
                (old, new) if old == new => continue,
                _ => "changed",
            };
            // A listener is bound once.
            match listen(&old) == listen(&new) {
                true => self.live.push(format!("upstream `{name}` {what}")),
                false => self.restart.push(format!("the `listen` of upstream `{name}`")),
            }
        }
        if before != after && told == self.live.len() + self.restart.len() {
            self.live.push("the order of upstreams".to_owned());
        }
    }
}

/// The operator's prices, wherever they are written.
fn prices(loaded: &Loaded) -> Vec<Override> {
    let nowhere = |own: &Override| Override { written: String::new(), ..own.clone() };
    loaded.settings.prices.iter().map(nowhere).collect()
}

/// The keys of all sections with their values; lists of upstreams are compared as such.
fn keys(written: &Table) -> Vec<(String, Value)> {
    let sections = written.iter().filter_map(|(section, keys)| Some((section, keys.as_table()?)));
    let keys = sections.flat_map(|(section, keys)| {
        keys.iter().map(move |(key, value)| (format!("{section}.{key}"), value.clone()))
    });
    keys.collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Environment, Flags, load};
    use super::*;

    fn loaded(text: &str) -> Loaded {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proxy.toml");
        std::fs::write(&path, text).unwrap();
        let flags = Flags { config: Some(path), ..Flags::default() };
        load(&flags, &Environment::of([("TOKEN", "abc")])).unwrap()
    }

    fn between(before: &str, after: &str) -> (Vec<String>, Vec<String>) {
        let Changes { live, restart } = Changes::between(&loaded(before), &loaded(after));
        (live, restart)
    }

    const NONE: [&str; 0] = [];

    #[test]
    fn what_is_only_written_in_another_way_is_no_change() {
        let after = "# a comment\n[limits]\nstall_seconds = 10.0\ntape_memory = 268435456\n";
        let (live, restart) = between("", after);
        assert_eq!((live, restart), (vec![], vec![]));
    }

    #[test]
    fn every_key_is_taken_live_or_needs_a_restart_by_name() {
        let changed = [
            "limits.ask_body_bytes = 1",
            "limits.ask_event_bytes = 1",
            "limits.ask_memory = 1",
            "limits.ask_pause_seconds = 1",
            "limits.ask_wait_seconds = 1",
            "limits.client_idle_seconds = 1",
            "limits.client_stall_seconds = 1",
            "limits.connect_seconds = 1",
            "limits.decoded_bytes = 1",
            "limits.decoded_ratio = 1",
            "limits.drain_seconds = 1",
            "limits.estimate_bytes = 1",
            "limits.event_bytes = 1",
            "limits.export_queue = 1",
            "limits.flush_seconds = 1",
            "limits.handshake_seconds = 1",
            "limits.header_seconds = 1",
            "limits.histogram_series = 1",
            "limits.http2_client_streams = 1",
            "limits.http2_head = 1",
            "limits.http2_ping_seconds = 1",
            "limits.http2_repeat = 1",
            "limits.http2_stream_window = 1",
            "limits.http2_upstream_streams = 1",
            "limits.label_values = 1",
            "limits.max_connections = 1",
            "limits.max_exchanges = 1",
            "limits.series = 1",
            "limits.stall_seconds = 1",
            "limits.tape_exchange = 1",
            "limits.tape_memory = 1",
            "limits.tunnel_idle_seconds = 1",
            "limits.upstream_idle_connections = 1",
            "limits.upstream_idle_seconds = 1",
            "limits.upstream_keepalive_seconds = 1",
            "limits.upstream_silence_seconds = 1",
            "limits.workers = 1",
            "server.admin = '127.0.0.1:1'",
            "server.listen = '127.0.0.1:1'",
            "server.root = ''",
            "server.socket_mode = '0600'",
            "telemetry.client_ids = false",
            "telemetry.cost_histogram = false",
            "telemetry.estimates_as_usage = true",
            "telemetry.lines = 'off'",
            "telemetry.phase_spans = true",
            "telemetry.raw_usage = true",
            "telemetry.service_name = 'other'",
            "telemetry.stop_sequences = true",
        ];
        let all: Vec<_> = keys(&loaded("").written).into_iter().map(|(name, _)| name).collect();
        let name = |line: &str| line.split(' ').next().unwrap().to_owned();
        let named: Vec<_> = changed.iter().map(|line| name(line)).collect();
        let all: Vec<_> = all.into_iter().filter(|it| it != "telemetry.export").collect();
        assert_eq!(named, all, "a new key is added here, and to LIVE if a reload takes it");
        for line in changed {
            let (live, restart) = between("", line);
            let name = name(line);
            match LIVE.contains(&name.as_str()) {
                true => assert!(restart.is_empty() && live[0].starts_with(&name), "{live:?}"),
                false => assert_eq!((live, restart), (vec![], vec![name])),
            }
        }
    }

    #[test]
    fn a_change_is_said_with_both_values() {
        let (live, _) = between("limits.stall_seconds = 3", "limits.stall_seconds = 4");
        assert_eq!(live, ["limits.stall_seconds 3 → 4"]);
    }

    fn upstreams(list: &[(&str, &str)]) -> String {
        let one = |(name, rest): &(&str, &str)| {
            format!("[[upstream]]\nname = '{name}'\nurl = 'http://{name}'\n{rest}\n")
        };
        list.iter().map(one).collect()
    }

    #[test]
    fn upstreams_are_compared_by_name() {
        let before = upstreams(&[("a", ""), ("b", ""), ("c", "listen = '127.0.0.1:1'")]);
        let after =
            upstreams(&[("d", ""), ("b", "propagate = true"), ("c", "listen = '127.0.0.1:1'")]);
        let (live, restart) = between(&before, &after);
        assert_eq!(live, ["upstream `a` removed", "upstream `b` changed", "upstream `d` added"]);
        assert_eq!(restart, NONE);
        let turned = upstreams(&[("b", ""), ("a", ""), ("c", "listen = '127.0.0.1:1'")]);
        assert_eq!(between(&before, &turned).0, ["the order of upstreams"]);
        for list in [&[("a", ""), ("b", "")][..], &[("a", ""), ("b", ""), ("c", "")]] {
            let (live, restart) = between(&before, &upstreams(list));
            assert_eq!((live, restart), (vec![], vec!["the `listen` of upstream `c`".to_owned()]));
        }
    }

    #[test]
    fn where_telemetry_goes_needs_a_restart_but_its_secret_refuses_nothing() {
        let export = "[[telemetry.export]]\nendpoint = 'http://a'\n";
        assert_eq!(between("", export).1, ["telemetry.export"]);
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        let text = format!("{export}headers = {{ a = {{ file = '{}' }} }}", secret.display());
        std::fs::write(&secret, "x").unwrap();
        let before = loaded(&text);
        std::fs::write(&secret, "y").unwrap();
        let changes = Changes::between(&before, &loaded(&text));
        assert_eq!(changes.restart, NONE);
        assert_eq!(changes.live, ["secrets of telemetry.export (used after a restart)"]);
    }

    #[test]
    fn prices_are_taken() {
        let (live, restart) = between("", "[[pricing.model]]\nmodel = 'm'\ninput = 1");
        assert_eq!((&*live, restart), (&["prices of your own (1 now)".to_owned()][..], vec![]));
    }
}
