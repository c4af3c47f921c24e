//! Through which egress proxy an upstream is reached: the one its `proxy` names, else the one that the
//! environment names for all programs. Knows no other upstream.

use std::net::IpAddr;

use hyper_util::client::proxy::matcher::Matcher;

use super::environment::Environment;
use super::fault::Fault;
use super::proxy::{self, ProxySource};
use super::url::Url;
use crate::forward::settings::Proxy;

/// Said without the value, which may hold a password.
const CREDENTIALS: &str = "a proxy's user and password are never text in this file: write { env = \
     \"NAME\" } or { file = \"PATH\" } for the whole URL";

/// The proxy that an upstream's `proxy` names, at `place` in the file.
pub(super) fn written(
    source: &ProxySource,
    place: String,
    environment: &Environment,
) -> Result<Option<Proxy>, Fault> {
    match source {
        ProxySource::Text(text) if text.contains('@') => {
            Err(Fault::at(place, CREDENTIALS).secret())
        }
        ProxySource::Text(text) => proxy::parse(text).map_err(|refused| {
            let fault = Fault::at(place, refused.to_string());
            if text.contains(['?', '#']) { fault.secret() } else { fault }
        }),
        ProxySource::Secret(secret) => {
            let text = secret.read(environment).map_err(|why| Fault::at(&place, why))?;
            proxy::parse(&text).map_err(|refused| Fault::at(place, refused.to_string()))
        }
    }
}

/// The proxy that the environment names for `url`: `HTTPS_PROXY` or `HTTP_PROXY` by its scheme, else
/// `ALL_PROXY`, each in lower case first; none where `NO_PROXY` says so, and none to this machine.
pub(super) fn of_environment(url: &Url, environment: &Environment) -> Result<Option<Proxy>, Fault> {
    let excepted = text(environment, ["no_proxy", "NO_PROXY"])
        .is_some_and(|(_, list)| is_excepted(list, &url.host, url.port));
    if is_this_machine(&url.host) || excepted {
        return Ok(None);
    }
    // In a CGI program `HTTP_PROXY` is what a client sent as its field `Proxy` (httpoxy).
    let cgi = environment.text("REQUEST_METHOD").is_some();
    let names = match url.tls {
        true => ["https_proxy", "HTTPS_PROXY"],
        false if cgi => ["http_proxy", "http_proxy"],
        false => ["http_proxy", "HTTP_PROXY"],
    };
    let said = text(environment, names).or_else(|| text(environment, ["all_proxy", "ALL_PROXY"]));
    let Some((name, value)) = said else { return Ok(None) };
    proxy::parse(value).map_err(|refused| Fault::at(name, refused.to_string()))
}

/// The first of these variables that is set.
fn text<'a>(
    environment: &'a Environment,
    names: [&'static str; 2],
) -> Option<(&'static str, &'a str)> {
    names.into_iter().find_map(|name| Some((name, environment.text(name)?)))
}

/// A model server beside us is not behind anybody's proxy.
fn is_this_machine(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let named = host == "localhost" || host.ends_with(".localhost");
    named || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// Whether the entries of `NO_PROXY` name this host: names with all names under them (`.a.com` and
/// `*.a.com` are as `a.com`), addresses, networks (`10.0.0.0/8`), each maybe with a port; `*` is all.
fn is_excepted(list: &str, host: &str, port: u16) -> bool {
    let entries = list.split([',', ' ', '\t']).filter(|entry| !entry.is_empty());
    let entries = entries.map(split_port).filter(|(_, of)| of.is_none_or(|of| of == port));
    let names: Vec<_> = entries.map(|(name, _)| name.strip_prefix('*').unwrap_or(name)).collect();
    // What is left of `*`.
    if names.contains(&"") {
        return true;
    }
    let place =
        if host.contains(':') { format!("[{host}]") } else { host.trim_end_matches('.').into() };
    let matcher = Matcher::builder().all("http://any").no(names.join(",")).build();
    let uri = http::Uri::builder().scheme("http").authority(place).path_and_query("/").build();
    uri.is_ok_and(|uri| matcher.intercept(&uri).is_none())
}

/// `a:80`, `[::1]:80`, `[::1]`, `::1`: a name or an address, and a port if there is one.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    let whole = (entry.trim_matches(['[', ']']), None);
    let Some((name, port)) = entry.rsplit_once(':') else { return whole };
    let bare_ipv6 = name.contains(':') && !name.ends_with(']');
    match port.parse() {
        Ok(port) if !bare_ipv6 => (name.trim_matches(['[', ']']), Some(port)),
        _ => whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::secret::SecretSource;

    fn chosen(url: &str, variables: &[(&str, &str)]) -> Result<String, (String, String)> {
        let environment = Environment::of(variables.iter().copied());
        match of_environment(&Url::parse(url).unwrap(), &environment) {
            Ok(proxy) => Ok(proxy.map_or("none".into(), |proxy| proxy.to_string())),
            Err(fault) => Err((fault.places.join(" "), fault.message)),
        }
    }

    #[test]
    fn the_scheme_decides_which_variable_holds() {
        let all = [
            ("HTTPS_PROXY", "http://s:1"),
            ("HTTP_PROXY", "http://p:2"),
            ("ALL_PROXY", "socks5://a:3"),
        ];
        assert_eq!(chosen("https://x.com", &all).unwrap(), "http://s:1");
        assert_eq!(chosen("http://x.com", &all).unwrap(), "http://p:2");
        assert_eq!(chosen("https://x.com", &all[1..]).unwrap(), "socks5://a:3");
        assert_eq!(chosen("http://x.com", &all[..1]).unwrap(), "none");
        let lower = [("https_proxy", "http://lower:1"), ("HTTPS_PROXY", "http://upper:1")];
        assert_eq!(chosen("https://x.com", &lower).unwrap(), "http://lower:1");
        assert_eq!(chosen("https://x.com", &[("all_proxy", "lower:1")]).unwrap(), "http://lower:1");
    }

    #[test]
    fn a_client_of_a_cgi_program_does_not_choose_the_proxy() {
        let cgi = [("HTTP_PROXY", "http://evil:1"), ("REQUEST_METHOD", "POST")];
        assert_eq!(chosen("http://x.com", &cgi).unwrap(), "none");
        let cgi = [
            ("http_proxy", "http://p:1"),
            ("HTTP_PROXY", "http://evil:1"),
            ("REQUEST_METHOD", "POST"),
        ];
        assert_eq!(chosen("http://x.com", &cgi).unwrap(), "http://p:1");
    }

    #[test]
    fn this_machine_is_never_behind_a_proxy_of_the_environment() {
        for url in [
            "http://127.0.0.1:11434",
            "http://localhost:1",
            "http://[::1]:1",
            "http://127.9.9.9",
            "http://LOCALHOST.",
            "http://a.localhost",
        ] {
            assert_eq!(chosen(url, &[("ALL_PROXY", "http://p:1")]).unwrap(), "none", "{url}");
        }
        assert_eq!(
            chosen("http://192.168.1.1", &[("ALL_PROXY", "http://p:1")]).unwrap(),
            "http://p:1"
        );
    }

    #[test]
    fn no_proxy_names_hosts_networks_and_ports() {
        for (list, host, port, excepted) in [
            ("a.com", "a.com", 443, true),
            ("a.com", "api.A.com", 443, true),
            ("a.com", "ba.com", 443, false),
            (".a.com", "api.a.com", 443, true),
            (".a.com", "a.com", 443, true),
            ("*.a.com", "api.a.com", 443, true),
            ("x, a.com ,y", "a.com", 443, true),
            ("x a.com", "a.com", 443, true),
            ("*", "a.com", 443, true),
            ("*", "10.1.2.3", 443, true),
            ("a.com:443", "a.com", 443, true),
            ("a.com:8443", "a.com", 443, false),
            ("*:443", "a.com", 443, true),
            ("10.0.0.0/8", "10.1.2.3", 443, true),
            ("10.0.0.0/8", "11.1.2.3", 443, false),
            ("10.1.2.3:80", "10.1.2.3", 80, true),
            ("fd00::/8", "fd00::1", 443, true),
            ("fd00::1", "fd00::1", 443, true),
            ("[fd00::1]", "fd00::1", 443, true),
            ("[fd00::1]:80", "fd00::1", 443, false),
            ("[fd00::1]:443", "fd00::1", 443, true),
            ("", "a.com", 443, false),
            (",", "a.com", 443, false),
        ] {
            assert_eq!(is_excepted(list, host, port), excepted, "{list} {host}:{port}");
        }
        let variables = [("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", "a.com")];
        assert_eq!(chosen("https://a.com", &variables).unwrap(), "none");
        assert_eq!(chosen("https://b.com", &variables).unwrap(), "http://p:1");
    }

    #[test]
    fn a_variable_that_is_no_proxy_is_told_without_its_value() {
        let told = chosen("https://x.com", &[("HTTPS_PROXY", "ftp://user:hunter2@p")]);
        let expected = ("HTTPS_PROXY".to_owned(), proxy::Refused::Malformed.to_string());
        assert_eq!(told, Err(expected));
        // Where it is not used it is nobody's business.
        assert_eq!(chosen("http://x.com", &[("HTTPS_PROXY", "ftp://p")]).unwrap(), "none");
    }

    #[test]
    fn what_is_written_holds_and_credentials_are_not_written() {
        let environment = Environment::of([("EGRESS", "http://user:hunter2@p:3128")]);
        let read = |source: ProxySource| {
            let proxy = written(&source, "here".into(), &environment)?;
            Ok::<_, Fault>(proxy.map_or("none".into(), |proxy| proxy.to_string()))
        };
        assert_eq!(read(ProxySource::Text("http://p:1".into())).unwrap(), "http://p:1");
        assert_eq!(read(ProxySource::Text("none".into())).unwrap(), "none");
        let secret = ProxySource::Secret(SecretSource::Env("EGRESS".into()));
        assert_eq!(read(secret).unwrap(), "http://***@p:3128");
        let fault = read(ProxySource::Text("http://user:hunter2@p".into())).unwrap_err();
        assert!(fault.secret && !fault.message.contains("hunter2"));
        let unset = ProxySource::Secret(SecretSource::Env("UNSET".into()));
        assert_eq!(read(unset).unwrap_err(), Fault::at("here", "the variable `UNSET` is not set"));
    }
}
