//! Rules that reach across keys: names and places that must differ, listeners that must not collide,
//! a proxy that must not call itself. Knows no file; a fault carries its place.

use std::net::{IpAddr, SocketAddr};

use super::fault::Fault;
use super::file::File;
use super::quantity::Seconds;
use crate::forward::settings::{self as forward, Endpoint, Upstream, Way};
use crate::report::settings::Exporter;

const NOWHERE: &str =
    "there is no upstream: leave `upstream` out for the shipped ones, or write one";

/// All that is wrong between the keys of `file`, whose upstreams were resolved.
pub(super) fn faults(file: &File, upstreams: &[Upstream]) -> Vec<Fault> {
    let mut faults = no_time(file);
    faults.extend(upstreams.is_empty().then(|| Fault::at("upstream", NOWHERE)));
    faults.extend(same_name(upstreams));
    faults.extend(same_place(upstreams));
    faults.extend(collisions(&listeners(file, upstreams)));
    faults.extend(loops(&listeners(file, upstreams), upstreams));
    faults
}

/// The index of the upstream that `[server] root` names. `said`: somebody wrote it; the default
/// names a shipped upstream, which need not be there.
pub(super) fn root(file: &File, said: bool) -> Result<Option<usize>, Fault> {
    let root = &file.server.root;
    let found = file.upstream.iter().position(|upstream| upstream.name == *root);
    if found.is_some() || root.is_empty() || !said {
        return Ok(found);
    }
    let names: Vec<String> = file.upstream.iter().map(|it| format!("`{}`", it.name)).collect();
    let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    Err(Fault::at("server.root", format!("there is no upstream `{root}`; there are {names}")))
}

/// Durations that would end everything at once.
fn no_time(file: &File) -> Vec<Fault> {
    let limits = &file.limits;
    let keys = [
        ("connect_seconds", limits.connect_seconds),
        ("client_idle_seconds", limits.client_idle_seconds),
        ("header_seconds", limits.header_seconds),
        ("handshake_seconds", limits.handshake_seconds),
        ("stall_seconds", limits.stall_seconds),
    ];
    let limits = keys.map(|(key, seconds)| (format!("limits.{key}"), seconds)).into_iter();
    let exports = file.telemetry.export.iter().enumerate();
    let exports = exports
        .map(|(at, it)| (format!("telemetry.export.{at}.timeout_seconds"), it.timeout_seconds));
    let zero = |(_, seconds): &(String, Seconds)| seconds.0.is_zero();
    let fault = |(place, _)| Fault::at(place, "0 would leave no time at all; write more than 0");
    limits.chain(exports).filter(zero).map(fault).collect()
}

/// Every two of `items`, the later one first.
fn pairs<T>(items: &[T]) -> impl Iterator<Item = (&T, &T)> {
    let earlier = |at: usize| items.iter().take(at);
    items.iter().enumerate().flat_map(move |(at, later)| earlier(at).map(move |it| (later, it)))
}

fn same_name(upstreams: &[Upstream]) -> Vec<Fault> {
    let names: Vec<_> = upstreams.iter().map(|it| it.facts.name.as_str()).enumerate().collect();
    let same = pairs(&names).filter(|((_, later), (_, earlier))| later == earlier);
    same.map(|((at, name), _)| {
        Fault::at(format!("upstream.{at}.name"), format!("two upstreams have the name `{name}`"))
    })
    .collect()
}

/// A place where requests are addressed: its key, its path without the `/` at its end, and whose it is.
type Place<'a> = (String, &'a str, &'a str);

fn mounts(upstreams: &[Upstream]) -> Vec<Place<'_>> {
    let mounts = upstreams.iter().enumerate().filter_map(|(at, it)| {
        Some((format!("upstream.{at}.mount"), it.mount.as_deref()?, it.facts.name.as_str()))
    });
    mounts.collect()
}

fn prefixes(upstreams: &[Upstream]) -> Vec<Place<'_>> {
    let paths = |(at, it): (usize, &'_ Upstream)| {
        let places = (0..it.paths.len()).map(move |number| format!("upstream.{at}.paths.{number}"));
        places.collect::<Vec<_>>()
    };
    let keys = upstreams.iter().enumerate().flat_map(paths);
    let texts = upstreams.iter().flat_map(|it| {
        it.paths.iter().map(|path| (path.strip_suffix('/').unwrap_or(path), it.facts.name.as_str()))
    });
    keys.zip(texts).map(|(key, (text, name))| (key, text, name)).collect()
}

fn same_place(upstreams: &[Upstream]) -> Vec<Fault> {
    let places: Vec<_> = prefixes(upstreams).into_iter().chain(mounts(upstreams)).collect();
    let same = pairs(&places).filter(|((_, later, _), (_, earlier, _))| later == earlier);
    same.map(|((key, path, name), (other, _, other_name))| {
        let whose = match name == other_name {
            true => format!("`{name}` has `{path}/` twice"),
            false => format!("`{other_name}` and `{name}` both have `{path}/`"),
        };
        let message = format!("{whose}: a path prefix or mount leads to one upstream only");
        Fault::at(key, message).or_at(other)
    })
    .collect()
}

/// Prefixes under a mount: the mount is looked at first, so they are never reached.
pub(super) fn shadowed(upstreams: &[Upstream]) -> Vec<Fault> {
    let mounts = mounts(upstreams);
    let shadowed = prefixes(upstreams).into_iter().filter_map(|(place, path, name)| {
        let under = |(_, mount, _): &&Place<'_>| {
            path.strip_prefix(mount).is_some_and(|rest| rest.starts_with('/'))
        };
        let (_, mount, owner) = mounts.iter().find(under)?;
        let message = format!(
            "the path prefix `{path}` of `{name}` is never reached: `{mount}` is the mount of `{owner}`, and mounts go first"
        );
        Some(Fault::at(place, message))
    });
    shadowed.collect()
}

/// Every listener, by the key that says it.
pub(super) fn listeners<'a>(
    file: &'a File,
    upstreams: &'a [Upstream],
) -> Vec<(String, &'a Endpoint)> {
    let ours = [("listen", &file.server.listen), ("admin", &file.server.admin)];
    let ours = ours.map(|(key, address)| (format!("server.{key}"), &address.0)).into_iter();
    let own = upstreams.iter().enumerate();
    let own =
        own.filter_map(|(at, it)| Some((format!("upstream.{at}.listen"), &it.listen.as_ref()?.at)));
    ours.chain(own).collect()
}

/// Whether the listener that `place` says speaks TLS.
pub(super) fn speaks_tls(file: &File, upstreams: &[Upstream], place: &str) -> bool {
    let tls = |it: &Upstream| it.listen.as_ref().is_some_and(|it| it.tls.is_some());
    let own = upstreams.iter().enumerate().find(|(at, _)| place == format!("upstream.{at}.listen"));
    own.map_or_else(|| file.server.tls.is_some(), |(_, it)| tls(it))
}

pub(super) fn is_open(listener: &Endpoint) -> bool {
    listener.tcp().is_some_and(|address| !address.ip().is_loopback())
}

fn collisions(listeners: &[(String, &Endpoint)]) -> Vec<Fault> {
    let colliding = pairs(listeners).filter_map(|((place, later), (other, earlier))| {
        let shared = shared(later, earlier)?;
        let message = format!("{place} and {other} both listen on {shared}");
        Some(Fault::at(place, message).or_at(other))
    });
    colliding.collect()
}

/// What two listeners cannot both have.
fn shared(a: &Endpoint, b: &Endpoint) -> Option<String> {
    match (a, b) {
        (Endpoint::Tcp(a), Endpoint::Tcp(b)) => {
            let wildcard = a.ip().is_unspecified() || b.ip().is_unspecified();
            // Port 0 is whichever is free.
            let same = a.port() == b.port() && a.port() != 0 && (wildcard || a.ip() == b.ip());
            same.then(|| format!("port {}", a.port()))
        }
        (a, b) => (a == b).then(|| a.to_string()),
    }
}

/// Exports that would come back to us and be exported in turn, as far as addresses tell.
pub(super) fn exports_to_ourselves(
    file: &File,
    upstreams: &[Upstream],
    exporters: &[Exporter],
) -> Vec<Fault> {
    let listeners = listeners(file, upstreams);
    let urls = exporters.iter().flat_map(|it| {
        let urls = [&it.traces, &it.metrics, &it.logs].into_iter().flatten();
        urls.map(|url| (url, it.proxy.clone()))
    });
    let ours = urls.filter_map(|(url, proxy)| {
        let scheme = if url.scheme_str() == Some("https") { 443 } else { 80 };
        let host = url.host()?.trim_matches(['[', ']']).to_owned();
        let place = forward::Place { host, port: url.port_u16().unwrap_or(scheme) };
        let way = match proxy {
            Some(proxy) => Way::Proxy(proxy, place),
            None => Way::Direct(place),
        };
        listeners.iter().find(|(_, listener)| leads_to(&way, listener))
    });
    let fault = |(place, listener): &(String, &Endpoint)| {
        Fault::at(
            place,
            format!("telemetry would be sent to Clearspan itself: {place} = {listener}"),
        )
    };
    ours.take(1).map(fault).collect()
}

/// Upstreams that are ourselves, as far as addresses tell; names are looked up, and seen, when
/// connecting.
fn loops(listeners: &[(String, &Endpoint)], upstreams: &[Upstream]) -> Vec<Fault> {
    let found = upstreams.iter().enumerate().filter_map(|(at, it)| {
        let reaches = |(_, listener): &&(String, &Endpoint)| leads_to(&it.way, listener);
        let (place, listener) = listeners.iter().find(reaches)?;
        let message =
            format!("`{}` would be Clearspan itself: {place} = {listener}", it.facts.name);
        Some(Fault::at(format!("upstream.{at}.url"), message).or_at(place))
    });
    found.collect()
}

/// Whether a connection of ours along this way ends at our listener. Behind a proxy, a place is
/// seen from the proxy: `127.0.0.1` is its machine, not ours.
fn leads_to(way: &Way, listener: &Endpoint) -> bool {
    match (way, listener) {
        (Way::Direct(place), Endpoint::Tcp(listener)) => reaches(place, *listener),
        (Way::Proxy(proxy, place), Endpoint::Tcp(listener)) => {
            let same = place.host.parse().is_ok_and(|ip: IpAddr| ip == listener.ip());
            let seen_from_anywhere = same && !listener.ip().is_loopback();
            reaches(&proxy.place, *listener)
                || (seen_from_anywhere && place.port == listener.port())
        }
        (Way::Unix(path), Endpoint::Unix(listener)) => path == listener,
        _ => false,
    }
}

fn reaches(place: &forward::Place, listener: SocketAddr) -> bool {
    let ours = listener.ip();
    let here = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
    // `localhost` is left to connecting too: which addresses it has is this machine's matter.
    place.host.parse::<IpAddr>().is_ok_and(|ip| {
        let everywhere = ip.is_unspecified() || ours.is_unspecified();
        place.port == listener.port() && (ip == ours || (everywhere && here(ip) && here(ours)))
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Environment, upstream};
    use super::*;

    fn read(text: &str) -> (File, Vec<Upstream>) {
        let file: File = toml::from_str(text).unwrap();
        let upstreams = file.upstream.iter().enumerate();
        let upstreams = upstreams
            .map(|(at, it)| upstream::resolve(at, it, &Environment::of([])).unwrap())
            .collect();
        (file, upstreams)
    }

    fn told(text: &str) -> Vec<(String, String)> {
        let (file, upstreams) = read(text);
        let faults = faults(&file, &upstreams).into_iter();
        faults.map(|fault| (fault.places.join(" "), fault.message)).collect()
    }

    fn one(text: &str, places: &str, message: &str) {
        assert_eq!(told(text), [(places.to_owned(), message.to_owned())], "{text}");
    }

    #[test]
    fn the_defaults_break_no_rule() {
        let (file, upstreams) = read("");
        assert_eq!(faults(&file, &upstreams), []);
        assert_eq!(root(&file, false), Ok(Some(3)));
    }

    #[test]
    fn a_name_is_had_once() {
        one(
            "[[upstream]]\nname='a'\nurl='http://a'\nmount='/x'\n[[upstream]]\nname='a'\nurl='http://b'\nmount='/y'",
            "upstream.1.name",
            "two upstreams have the name `a`",
        );
    }

    #[test]
    fn a_place_leads_to_one_upstream() {
        let upstreams = |a: &str, b: &str| {
            format!(
                "[[upstream]]\nname='a'\nurl='http://a'\n{a}\n[[upstream]]\nname='b'\nurl='http://b'\n{b}"
            )
        };
        one(
            &upstreams("paths=['/x','/v1/']", "paths=['/v1']"),
            "upstream.1.paths.0 upstream.0.paths.1",
            "`a` and `b` both have `/v1/`: a path prefix or mount leads to one upstream only",
        );
        one(
            &upstreams("", "mount='/a'"),
            "upstream.1.mount upstream.0.mount",
            "`a` and `b` both have `/a/`: a path prefix or mount leads to one upstream only",
        );
        one(
            &upstreams("paths=['/b/']", ""),
            "upstream.1.mount upstream.0.paths.0",
            "`a` and `b` both have `/b/`: a path prefix or mount leads to one upstream only",
        );
        one(
            &upstreams("paths=['/v1', '/v1/']", ""),
            "upstream.0.paths.1 upstream.0.paths.0",
            "`a` has `/v1/` twice: a path prefix or mount leads to one upstream only",
        );
    }

    #[test]
    fn the_root_is_an_upstream_or_nobody() {
        let upstreams =
            "[[upstream]]\nname='a'\nurl='http://a'\n[[upstream]]\nname='b'\nurl='http://b'";
        let root = |text: &str, said| root(&read(&format!("{text}\n{upstreams}")).0, said);
        assert_eq!(root("[server]\nroot='b'", true), Ok(Some(1)));
        assert_eq!(root("[server]\nroot=''", true), Ok(None));
        assert_eq!(root("", false), Ok(None));
        let expected = Fault::at("server.root", "there is no upstream `c`; there are `a`, `b`");
        assert_eq!(root("[server]\nroot='c'", true), Err(expected));
    }

    #[test]
    fn listeners_do_not_collide() {
        one(
            "[server]\nlisten='127.0.0.1:1'\nadmin='127.0.0.1:1'",
            "server.admin server.listen",
            "server.admin and server.listen both listen on port 1",
        );
        one(
            "[server]\nlisten='0.0.0.0:1'\nadmin='127.0.0.1:1'",
            "server.admin server.listen",
            "server.admin and server.listen both listen on port 1",
        );
        one(
            "[[upstream]]\nname='a'\nurl='http://a'\nlisten='127.0.0.1:4320'",
            "upstream.0.listen server.admin",
            "upstream.0.listen and server.admin both listen on port 4320",
        );
        one(
            "[server]\nlisten='unix:/a'\nadmin='unix:/a'",
            "server.admin server.listen",
            "server.admin and server.listen both listen on unix:/a",
        );
        assert_eq!(told("[server]\nlisten='unix:/a'\nadmin='unix:/b'"), []);
        assert_eq!(told("[server]\nlisten='127.0.0.1:0'\nadmin='127.0.0.1:0'"), []);
        assert_eq!(told("[server]\nlisten='127.0.0.1:1'\nadmin='127.0.0.2:1'"), []);
    }

    #[test]
    fn the_proxy_does_not_call_itself() {
        for url in ["http://127.0.0.1:4319/v1", "http://0.0.0.0:4319"] {
            one(
                &format!("[[upstream]]\nname='a'\nurl='{url}'"),
                "upstream.0.url server.listen",
                "`a` would be Clearspan itself: server.listen = 127.0.0.1:4319",
            );
        }
        let own = "[[upstream]]\nname='a'\nurl='http://127.0.0.1:11434'\nlisten='0.0.0.0:11434'";
        one(
            own,
            "upstream.0.url upstream.0.listen",
            "`a` would be Clearspan itself: upstream.0.listen = 0.0.0.0:11434",
        );
        for url in [
            "http://127.0.0.1:4321",
            "http://10.0.0.1:4319",
            "http://[::1]:4319",
            "http://localhost:4319",
            "http://gateway:4319",
        ] {
            assert_eq!(told(&format!("[[upstream]]\nname='a'\nurl='{url}'")), [], "{url}");
        }
    }

    #[test]
    fn requests_go_somewhere() {
        one("upstream = []", "upstream", NOWHERE);
    }

    #[test]
    fn some_limits_are_never_zero() {
        for key in [
            "connect_seconds",
            "client_idle_seconds",
            "header_seconds",
            "handshake_seconds",
            "stall_seconds",
        ] {
            one(
                &format!("[limits]\n{key} = 0"),
                &format!("limits.{key}"),
                "0 would leave no time at all; write more than 0",
            );
        }
        one(
            "[[telemetry.export]]\nendpoint='http://a'\ntimeout_seconds=0.0",
            "telemetry.export.0.timeout_seconds",
            "0 would leave no time at all; write more than 0",
        );
        assert_eq!(
            told("[limits]\nclient_stall_seconds=0\nupstream_silence_seconds=0\ndrain_seconds=0"),
            []
        );
    }
}
