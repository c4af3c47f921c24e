//! What is allowed but seldom meant: each said as a warning, at the key it is about. Knows no rule that
//! forbids.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use http::{HeaderName, Uri};

use super::environment::Environment;
use super::fault::Fault;
use super::file::File;
use super::rules::{self, listeners};
use super::url::Url;
use super::{files, providers};
use crate::forward::settings::{Upstream, Way};
use crate::observe::price::{Override, Who, is_private};
use crate::report::settings::Exporter;

/// A configuration that breaks no rule.
pub(super) struct Nose<'a> {
    /// As written.
    pub(super) file: &'a File,
    /// Where it stands.
    pub(super) at: &'a Path,
    /// As resolved.
    pub(super) upstreams: &'a [Upstream],
    /// As resolved, also from variables.
    pub(super) exporters: &'a [Exporter],
    /// Those of `proxy.toml`, then those of price files.
    pub(super) prices: &'a [Override],
    /// Where the program runs.
    pub(super) environment: &'a Environment,
}

impl Nose<'_> {
    /// Everything that smells.
    pub(super) fn smells(&self) -> Vec<Fault> {
        let all = [
            self.open_listeners(),
            rules::shadowed(self.upstreams),
            self.doubled_paths(),
            self.guessed_dialects(),
            self.unclaimed_markers(),
            self.plain_upstreams(),
            self.plain_exports(),
            self.own_upstreams(),
            self.own_exports(),
            self.odd_limits(),
            self.readable_secrets(),
            self.idle_prices(),
        ];
        all.concat()
    }

    fn open_listeners(&self) -> Vec<Fault> {
        let open = listeners(self.file, self.upstreams).into_iter();
        let open = open.filter(|(_, address)| rules::is_open(address));
        let open = open.filter(|(place, _)| {
            place == "server.admin" || !rules::speaks_tls(self.file, self.upstreams, place)
        });
        open.map(|(place, address)| {
            let risk = match place.as_str() {
                "server.admin" => ": whoever reaches it can read the metrics",
                _ => " and speaks plain HTTP: keys and prompts cross that network unencrypted",
            };
            let message = format!("{place} = {address} is open to other machines{risk}");
            Fault::at(place, message)
        })
        .collect()
    }

    /// `url = "https://a/v1"` with `paths = ["/v1/"]` asks for `/v1/v1/…`.
    fn doubled_paths(&self) -> Vec<Fault> {
        let doubled = self.upstreams.iter().enumerate().filter_map(|(at, it)| {
            let last = it.base_path.rfind('/').and_then(|border| it.base_path.get(border..))?;
            let path = it.paths.iter().find(|path| {
                path.strip_prefix(last).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })?;
            let message = format!(
                "`{path}…` would go to `{}{path}…`: the path is put behind the url, so take \
                 `{last}` off the url's end",
                it.base_path
            );
            Some(Fault::at(format!("upstream.{at}.url"), message))
        });
        doubled.collect()
    }

    fn guessed_dialects(&self) -> Vec<Fault> {
        let guessed = self.file.upstream.iter().enumerate().filter_map(|(at, it)| {
            let provider = it.provider.as_ref().unwrap_or(&it.name);
            let host = self.upstreams.get(at).map_or("", |it| it.facts.address.as_str());
            let guessed = it.dialect.is_none() && providers::of(it, host).is_none();
            let message = format!(
                "`{provider}` is no provider that we know, so its answers are read as OpenAI's: \
                 write `dialect = \"openai\"` if they are, or the `provider` that is meant"
            );
            guessed.then(|| Fault::at(format!("upstream.{at}.provider"), message))
        });
        guessed.collect()
    }

    /// An upstream that is Anthropic's or Google's by its host only draws no requests by their marker:
    /// what their clients ask where another upstream has a prefix goes there, key and all.
    fn unclaimed_markers(&self) -> Vec<Fault> {
        let claims = |header: &HeaderName| {
            self.upstreams
                .iter()
                .any(|it| it.marker.as_ref().is_some_and(|it| it.header == *header))
        };
        let unclaimed = self.file.upstream.iter().zip(self.upstreams).enumerate();
        let unclaimed = unclaimed.filter_map(|(at, (written, it))| {
            let provider = providers::of(written, &it.facts.address)?;
            let marker = provider.marker().filter(|marker| !claims(&marker.header))?;
            let taker = self.upstreams.iter().find(|other| {
                other.facts.name != it.facts.name && marker.ground.iter().any(|it| takes(other, it))
            })?;
            let message = format!(
                "what clients of `{}` ask with `{}` goes to `{}` where that has the path: write \
                 `provider = \"{}\"`, so that it comes here",
                it.facts.name, marker.header, taker.facts.name, provider.name
            );
            Some(Fault::at(format!("upstream.{at}.url"), message))
        });
        unclaimed.collect()
    }

    fn plain_upstreams(&self) -> Vec<Fault> {
        let plain = self.upstreams.iter().enumerate();
        let plain = plain.filter(|(_, it)| {
            let is_near = matches!(it.way, Way::Unix(_)) || is_private(&it.facts.address);
            it.tls.is_none() && !is_near
        });
        plain
            .map(|(at, it)| {
                let message = format!(
                    "`{}` is not on this network and is spoken to in plain HTTP: keys and prompts \
                     cross the network unencrypted; write https:// if it can",
                    it.facts.name
                );
                Fault::at(format!("upstream.{at}.url"), message)
            })
            .collect()
    }

    fn plain_exports(&self) -> Vec<Fault> {
        let plain = self.exporters.iter().filter(|it| !it.headers.is_empty());
        let plain = plain.flat_map(|it| urls(it).map(move |url| (url, it)));
        let plain = plain.filter(|(url, _)| {
            url.scheme_str() == Some("http") && !url.host().is_some_and(is_private)
        });
        let smells = plain.map(|(url, it)| {
            let names: Vec<_> = it.headers.iter().map(|(name, _)| name.as_str()).collect();
            let (names, host) = (names.join(", "), url.host().unwrap_or_default());
            let message =
                format!("{names} goes to {host} in plain HTTP: whoever is on the way can read it");
            Fault::at(self.place_of(url), message)
        });
        smells.fold(Vec::new(), with_new)
    }

    /// Addresses are compared by a rule; here are names that are likely to mean this machine.
    fn own_upstreams(&self) -> Vec<Fault> {
        let own = self.upstreams.iter().enumerate().filter_map(|(at, it)| {
            let (host, port) = (it.facts.address.as_str(), it.facts.port?);
            let listener = self.own(host, port)?;
            let message = format!(
                "`{}` goes to {host}:{port}, where Clearspan itself listens ({listener}): it refuses \
                 to call itself",
                it.facts.name
            );
            Some(Fault::at(format!("upstream.{at}.url"), message))
        });
        own.collect()
    }

    fn own_exports(&self) -> Vec<Fault> {
        let all = self.exporters.iter().flat_map(urls);
        let own = all.filter_map(|url| {
            let host = url.host()?.trim_matches(['[', ']']);
            let port = url.port_u16().unwrap_or(if url.scheme_str() == Some("https") { 443 } else { 80 });
            let listener = self.own(host, port)?;
            let message = format!(
                "telemetry goes to {host}:{port}, where Clearspan itself listens ({listener}): each \
                 export would be an exchange that is exported"
            );
            Some(Fault::at(self.place_of(url), message))
        });
        own.fold(Vec::new(), with_new)
    }

    /// The listener that is reached there, as far as can be told without asking a name server.
    fn own(&self, host: &str, port: u16) -> Option<String> {
        let here = |listener: &SocketAddr| match host.parse::<IpAddr>() {
            Ok(ip) => ip == listener.ip() || listener.ip().is_unspecified() && ip.is_loopback(),
            Err(_) if is_localhost(host) => {
                listener.ip().is_loopback() || listener.ip().is_unspecified()
            }
            Err(_) => {
                self.environment.host.as_deref() == Some(host) && !listener.ip().is_loopback()
            }
        };
        let listeners = listeners(self.file, self.upstreams).into_iter();
        let listeners = listeners.filter_map(|(place, it)| Some((place, it.tcp()?)));
        let mut reached = listeners.filter(|(_, it)| it.port() == port && here(it));
        reached.next().map(|(place, address)| format!("{place} = {address}"))
    }

    fn odd_limits(&self) -> Vec<Fault> {
        let limits = &self.file.limits;
        let silence = limits.upstream_silence_seconds.0;
        let limited = !silence.is_zero();
        let odd = [
            (
                limited && silence < limits.connect_seconds.0,
                ["upstream_silence_seconds", "connect_seconds"],
                "is shorter than connect_seconds: connecting counts as silence, so that limit is never reached",
            ),
            (
                limited && silence <= limits.stall_seconds.0,
                ["upstream_silence_seconds", "stall_seconds"],
                "is not longer than stall_seconds: a stream is ended before it can count as stalled",
            ),
            (
                limits.max_connections < limits.max_exchanges,
                ["max_connections", "max_exchanges"],
                "is less than max_exchanges: that limit is never reached over HTTP/1.1",
            ),
            (
                limits.upstream_idle_seconds.0.is_zero() || limits.upstream_idle_connections == 0,
                ["upstream_idle_seconds", "upstream_idle_connections"],
                "or upstream_idle_connections is 0: every exchange makes a connection of its own",
            ),
            (
                limits.tape_exchange.0 > limits.tape_memory.0,
                ["tape_exchange", "tape_memory"],
                "is more than tape_memory: no exchange can have so much",
            ),
            (
                limits.event_bytes.0 > limits.decoded_bytes.0,
                ["event_bytes", "decoded_bytes"],
                "is more than decoded_bytes: no event can be so long",
            ),
            (
                limits.drain_seconds.0.is_zero(),
                ["drain_seconds"; 2],
                "is 0: at SIGTERM every running exchange is cut off at once",
            ),
        ];
        let odd = odd.into_iter().filter(|(is_odd, _, _)| *is_odd);
        let smell = |(_, [key, other], why): (bool, [&str; 2], &str)| {
            Fault::at(format!("limits.{key}"), format!("{key} {why}"))
                .or_at(format!("limits.{other}"))
        };
        odd.map(smell).collect()
    }

    fn readable_secrets(&self) -> Vec<Fault> {
        let secrets = files::named(self.file, self.at).into_iter().filter(|named| {
            !matches!(named.holds, files::Holds::Prices | files::Holds::Certificates)
        });
        let readable = secrets.filter(|named| is_readable_by_all(&named.path));
        readable
            .map(|named| {
                let path = named.path.display();
                let message = format!(
                    "every user of this machine can read the secret in {path}: chmod 600 (or 640)"
                );
                Fault::at(named.place, message)
            })
            .collect()
    }

    /// Prices for a provider that no request goes to.
    fn idle_prices(&self) -> Vec<Fault> {
        let inline = self.file.pricing.model.len();
        let sells = |own: &Override| {
            self.upstreams.iter().map(|it| &it.facts).any(|it| {
                own.is_for(Who::Upstream {
                    name: &it.name,
                    provider: &it.provider,
                    address: &it.address,
                })
            })
        };
        let idle = self.prices.iter().enumerate().filter(|(_, own)| !sells(own));
        idle.map(|(at, own)| {
            let provider = own.provider.as_deref().unwrap_or_default();
            let what = format!(
                "the price of `{}` is for `{provider}`, but no upstream has that name or provider",
                own.model
            );
            match at < inline {
                true => Fault::at(format!("pricing.model.{at}.provider"), what),
                false => Fault::at("pricing.files", format!("{}: {what}", own.written)),
            }
        })
        .collect()
    }

    /// The key that names an exporter's URL; a variable has none.
    fn place_of(&self, url: &Uri) -> String {
        let same = |endpoint: &str| {
            Url::parse(endpoint)
                .is_ok_and(|it| url.authority().is_some_and(|of| *of == *it.authority))
        };
        let at = self.file.telemetry.export.iter().position(|it| same(&it.endpoint));
        at.map_or_else(
            || "telemetry.export".to_owned(),
            |at| format!("telemetry.export.{at}.endpoint"),
        )
    }
}

/// Whether `upstream` has a prefix that covers this ground.
fn takes(upstream: &Upstream, ground: &str) -> bool {
    upstream.paths.iter().any(|path| {
        let path = path.strip_suffix('/').unwrap_or(path);
        ground.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
    })
}

fn urls(exporter: &Exporter) -> impl Iterator<Item = &Uri> {
    [&exporter.traces, &exporter.metrics, &exporter.logs].into_iter().flatten()
}

/// Each once: an exporter has a URL for each signal.
fn with_new(mut all: Vec<Fault>, more: Fault) -> Vec<Fault> {
    if !all.contains(&more) {
        all.push(more);
    }
    all
}

fn is_localhost(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

/// Whether others may read a file that is not alone in a container: what an orchestrator mounts there
/// (`/run/secrets`, Kubernetes' `..data`) is readable by all, of whom there is one.
fn is_readable_by_all(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    let Ok(real) = path.canonicalize() else { return false };
    let is_mounted = real.starts_with("/run/secrets")
        || real.iter().any(|part| part.to_string_lossy().starts_with(".."));
    let mode = real.metadata().map_or(0, |metadata| metadata.permissions().mode());
    !is_mounted && mode & 0o004 != 0
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use crate::config::{Environment, Flags, load};

    /// What is warned of, without the file's folder.
    fn smells_with(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proxy.toml");
        std::fs::write(&path, text).unwrap();
        let flags = Flags { config: Some(path), ..Flags::default() };
        let loaded = load(&flags, &Environment::of(variables.iter().copied())).unwrap();
        let folder = format!("{}/", folder.path().display());
        loaded.settings.warnings.iter().map(|it| it.replace(&folder, "")).collect()
    }

    fn smells(text: &str) -> Vec<String> {
        smells_with(text, &[])
    }

    /// An upstream that smells of nothing but of `more`.
    fn upstream(name: &str, url: &str, more: &str) -> String {
        format!("[[upstream]]\nname = '{name}'\nprovider = 'vllm'\nurl = '{url}'\n{more}\n")
    }

    #[test]
    fn the_defaults_do_not_smell() {
        assert_eq!(smells(""), [""; 0]);
        assert_eq!(
            smells(&upstream("a", "https://a.example/v1", "paths = ['/v2/', '/x/v1/']")),
            [""; 0]
        );
    }

    #[test]
    fn a_listener_that_is_open_to_other_machines() {
        let text = format!(
            "[server]\nlisten = '0.0.0.0:4319'\n{}",
            upstream("a", "http://a", "listen = '[::]:1'")
        );
        assert_eq!(
            smells_with(&text, &[("CLEARSPAN_SERVER_ADMIN", "10.0.0.1:4320")]),
            [
                "proxy.toml, line 2: server.listen = 0.0.0.0:4319 is open to other machines and speaks plain HTTP: keys and prompts cross that network unencrypted",
                "CLEARSPAN_SERVER_ADMIN: server.admin = 10.0.0.1:4320 is open to other machines: whoever reaches it can read the metrics",
                "proxy.toml, line 7: upstream.0.listen = [::]:1 is open to other machines and speaks plain HTTP: keys and prompts cross that network unencrypted",
            ]
        );
    }

    #[test]
    fn a_prefix_that_is_never_reached() {
        let text = upstream("a", "http://a", "paths = ['/b/v1/', '/bc/', '/']")
            + &upstream("b", "http://b", "");
        assert_eq!(
            smells(&text),
            [
                "proxy.toml, line 5: the path prefix `/b/v1` of `a` is never reached: `/b` is the mount of `b`, and mounts go first"
            ]
        );
    }

    #[test]
    fn a_path_that_is_asked_for_twice() {
        let told =
            |url: &str, paths: &str| smells(&upstream("a", url, &format!("paths = {paths}")));
        assert_eq!(
            told("https://a.example/openai/v1/", "['/x/', '/v1/']"),
            [
                "proxy.toml, line 4: `/v1/…` would go to `/openai/v1/v1/…`: the path is put behind the url, so take `/v1` off the url's end"
            ]
        );
        assert_eq!(told("https://a.example/v1", "['/v1']").len(), 1);
        assert_eq!(told("https://a.example/v1", "['/v1beta/']"), [""; 0]);
        assert_eq!(told("https://a.example", "['/v1/']"), [""; 0]);
    }

    #[test]
    fn a_provider_that_nobody_knows_without_a_dialect() {
        let text = "[[upstream]]\nname = 'a'\nurl = 'http://a'\n";
        let rest = "is no provider that we know, so its answers are read as OpenAI's: write `dialect = \"openai\"` if they are, or the `provider` that is meant";
        assert_eq!(smells(text), [format!("proxy.toml, line 1: `a` {rest}")]);
        let text = format!("{text}provider = 'opnai'\n");
        assert_eq!(smells(&text), [format!("proxy.toml, line 4: `opnai` {rest}")]);
        assert_eq!(smells(&format!("{text}dialect = 'openai'\n")), [""; 0]);
    }

    #[test]
    fn a_marker_that_no_upstream_claims() {
        let google = |more: &str| {
            let url = "https://generativelanguage.googleapis.com";
            format!("[[upstream]]\nname = 'google'\nurl = '{url}'\npaths = ['/v1beta/']\n{more}\n")
        };
        let other = |paths: &str| upstream("a", "http://a", &format!("paths = {paths}"));
        assert_eq!(
            smells(&(google("") + &other("['/v1/']"))),
            [
                "proxy.toml, line 3: what clients of `google` ask with `x-goog-api-key` goes to `a` where that has the path: write `provider = \"gemini\"`, so that it comes here"
            ]
        );
        assert_eq!(smells(&(google("") + &other("['/']"))).len(), 1);
        assert_eq!(smells(&(google("provider = 'gemini'") + &other("['/v1/']"))), [""; 0]);
        assert_eq!(smells(&(google("") + &other("['/v1/chat/']"))), [""; 0]);
        let spare = google("").replace("google'", "spare'");
        let named = google("provider = 'gemini'").replace("v1beta", "v1alpha");
        assert_eq!(smells(&(named + &spare + &other("['/v1/']"))), [""; 0]);
    }

    #[test]
    fn keys_and_prompts_in_plain_http_to_another_network() {
        assert_eq!(
            smells(&upstream("a", "http://llm.example.com", "")),
            [
                "proxy.toml, line 4: `a` is not on this network and is spoken to in plain HTTP: keys and prompts cross the network unencrypted; write https:// if it can"
            ]
        );
        for url in
            ["http://10.0.0.7", "http://gpu", "http://vllm.svc.cluster.local", "https://a.example"]
        {
            assert_eq!(smells(&upstream("a", url, "")), [""; 0], "{url}");
        }
    }

    #[test]
    fn a_key_for_a_collector_in_plain_http_to_another_network() {
        let export = |url: &str| {
            format!(
                "[[telemetry.export]]\nendpoint = '{url}'\nheaders = {{ x-token = {{ env = 'T' }} }}"
            )
        };
        let told = |url: &str| smells_with(&export(url), &[("T", "hunter2")]);
        assert_eq!(
            told("http://otel.example.com"),
            [
                "proxy.toml, line 2: x-token goes to otel.example.com in plain HTTP: whoever is on the way can read it"
            ]
        );
        assert_eq!(told("http://collector:4318"), [""; 0]);
        assert_eq!(told("https://otel.example.com"), [""; 0]);
        assert_eq!(smells("[[telemetry.export]]\nendpoint = 'http://otel.example.com'"), [""; 0]);
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://otel.example.com"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-token=a"),
        ];
        assert_eq!(
            smells_with("", &variables),
            ["x-token goes to otel.example.com in plain HTTP: whoever is on the way can read it"]
        );
    }

    #[test]
    fn an_upstream_that_is_ourselves_by_name() {
        let text = |host: &str, listen: &str| {
            format!(
                "[server]\nlisten = '{listen}'\n{}",
                upstream("a", &format!("http://{host}"), "")
            )
        };
        let told = |host: &str, listen: &str| {
            let all = smells(&text(host, listen)).into_iter();
            all.filter(|it| !it.contains("is open to other machines")).collect::<Vec<_>>()
        };
        assert_eq!(
            told("localhost:4319", "127.0.0.1:4319"),
            [
                "proxy.toml, line 6: `a` goes to localhost:4319, where Clearspan itself listens (server.listen = 127.0.0.1:4319): it refuses to call itself"
            ]
        );
        assert_eq!(told("localhost:4320", "127.0.0.1:4319").len(), 1, "the admin listener");
        assert_eq!(told("this-machine:4319", "0.0.0.0:4319").len(), 1);
        assert_eq!(told("this-machine:4319", "127.0.0.1:4319"), [""; 0]);
        assert_eq!(told("localhost:4318", "127.0.0.1:4319"), [""; 0]);
        let own = upstream("b", "http://gpu", "listen = '127.0.0.1:5'");
        let text = upstream("a", "http://localhost:5", "") + &own;
        assert!(smells(&text)[0].contains("(upstream.1.listen = 127.0.0.1:5)"));
    }

    #[test]
    fn a_collector_that_is_ourselves() {
        let told = |url: &str| smells(&format!("[[telemetry.export]]\nendpoint = '{url}'"));
        let rest = "where Clearspan itself listens (server.listen = 127.0.0.1:4319): each export would be an exchange that is exported";
        // By its address it is refused (`rules`); a name may turn out to mean this machine.
        let expected = format!("proxy.toml, line 2: telemetry goes to localhost:4319, {rest}");
        assert_eq!(told("http://localhost:4319"), [expected]);
        assert_eq!(told("http://localhost:4318"), [""; 0]);
        let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://this-machine:4319")];
        let told = smells_with("[server]\nlisten = '10.0.0.1:4319'", &variables);
        assert!(
            told.iter().any(|it| it.starts_with("telemetry goes to this-machine:4319")),
            "{told:?}"
        );
    }

    #[test]
    fn limits_that_are_never_reached_or_allow_nothing() {
        for (text, told) in [
            (
                "upstream_silence_seconds = 5\nstall_seconds = 1",
                "upstream_silence_seconds is shorter than connect_seconds: connecting counts as silence, so that limit is never reached",
            ),
            (
                "stall_seconds = 90\nupstream_silence_seconds = 60",
                "upstream_silence_seconds is not longer than stall_seconds: a stream is ended before it can count as stalled",
            ),
            (
                "max_exchanges = 30000",
                "max_connections is less than max_exchanges: that limit is never reached over HTTP/1.1",
            ),
            (
                "upstream_idle_seconds = 0",
                "upstream_idle_seconds or upstream_idle_connections is 0: every exchange makes a connection of its own",
            ),
            (
                "upstream_idle_connections = 0",
                "upstream_idle_seconds or upstream_idle_connections is 0: every exchange makes a connection of its own",
            ),
            (
                "tape_memory = '1MiB'",
                "tape_exchange is more than tape_memory: no exchange can have so much",
            ),
            (
                "decoded_bytes = '1MiB'",
                "event_bytes is more than decoded_bytes: no event can be so long",
            ),
            (
                "drain_seconds = 0",
                "drain_seconds is 0: at SIGTERM every running exchange is cut off at once",
            ),
        ] {
            let all = smells(&format!("[limits]\n{text}"));
            assert_eq!(all.len(), 1, "{all:?}");
            assert!(all[0].starts_with("proxy.toml, line "), "{all:?}");
            assert!(all[0].ends_with(told), "{all:?}");
        }
        assert_eq!(smells("[limits]\nupstream_silence_seconds = 60"), [""; 0]);
    }

    #[test]
    fn a_secret_that_everybody_can_read() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("token");
        std::fs::write(&secret, "hunter2").unwrap();
        let text = |path: &std::path::Path| {
            let path = path.display();
            format!("[[telemetry.export]]\nendpoint = 'http://c'\nheaders.a.file = '{path}'")
        };
        let set = |mode| std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(mode));
        set(0o640).unwrap();
        assert_eq!(smells(&text(&secret)), [""; 0]);
        set(0o644).unwrap();
        let path = secret.display();
        assert_eq!(
            smells(&text(&secret)),
            [format!(
                "proxy.toml, line 3: every user of this machine can read the secret in {path}: chmod 600 (or 640)"
            )]
        );
        // As the kubelet mounts it.
        std::fs::create_dir(folder.path().join("..2026")).unwrap();
        let mounted = folder.path().join("..2026/token");
        std::fs::copy(&secret, &mounted).unwrap();
        assert_eq!(smells(&text(&mounted)), [""; 0]);
    }

    #[test]
    fn a_listener_with_tls_may_be_open_but_its_key_may_not() {
        assert_eq!(smells("[server]\nlisten = 'unix:/a'\nadmin = 'unix:/b'"), [""; 0]);
        let folder = tempfile::tempdir().unwrap();
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let [cert, key] = ["cert", "key"].map(|name| folder.path().join(name));
        std::fs::write(&cert, pair.cert.pem()).unwrap();
        std::fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o604)).unwrap();
        let (cert, key) = (cert.display(), key.display());
        let text = format!(
            "[server]\nlisten = '0.0.0.0:4319'\ntls = {{ cert = '{cert}', key = '{key}' }}\n"
        );
        assert_eq!(
            smells(&text),
            [format!(
                "proxy.toml, line 3: every user of this machine can read the secret in {key}: chmod 600 (or 640)"
            )]
        );
    }

    #[test]
    fn a_price_for_a_provider_that_no_request_goes_to() {
        let price = |provider: &str| {
            format!("[[pricing.model]]\nprovider = '{provider}'\nmodel = 'm*'\ninput = 1")
        };
        assert_eq!(
            smells(&price("opnai")),
            [
                "proxy.toml, line 2: the price of `m*` is for `opnai`, but no upstream has that name or provider"
            ]
        );
        for provider in ["openai", "OpenAI", "google", "gcp.gemini"] {
            assert_eq!(smells(&price(provider)), [""; 0], "{provider}");
        }
    }
}
