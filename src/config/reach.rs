//! How one upstream is reached: its `url`, TLS and egress proxy put together. Knows no other upstream.

use http::HeaderValue;

use super::environment::Environment;
use super::fault::Fault;
use super::socket_url::SocketUrl;
use super::url::Url;
use super::{egress, file, upstream_tls};
use crate::forward::settings::{Place, Tls, Way};

/// What `Host` says to an upstream that has no name: what clients of Unix sockets say as a rule.
const NAMELESS: HeaderValue = HeaderValue::from_static("localhost");

/// How an upstream is reached.
#[derive(Debug)]
pub(super) struct Reach {
    /// For telemetry: the host, or the socket's path.
    pub(super) address: String,
    /// For telemetry; a socket has none.
    pub(super) port: Option<u16>,
    pub(super) host: HeaderValue,
    pub(super) base_path: String,
    pub(super) way: Way,
    pub(super) tls: Option<Tls>,
}

/// How the upstream at `index` of the list is reached, or all that is wrong with it.
pub(super) fn resolve(
    index: usize,
    written: &file::Upstream,
    environment: &Environment,
) -> Result<Reach, Vec<Fault>> {
    let place = |key: &str| format!("upstream.{index}.{key}");
    match SocketUrl::parse(&written.url) {
        Some(Ok(socket)) => over_socket(written, socket, place),
        Some(Err(refused)) => Err(vec![Fault::at(place("url"), refused.to_string())]),
        None => match Url::parse(&written.url) {
            Ok(url) => over_network(written, url, place, environment),
            Err(refused) => Err(vec![refused.at(place("url"), &written.url)]),
        },
    }
}

fn over_socket(
    written: &file::Upstream,
    socket: SocketUrl,
    place: impl Fn(&str) -> String,
) -> Result<Reach, Vec<Fault>> {
    let mut faults = upstream_tls::without_tls(written, &place);
    if written.proxy.is_some() {
        faults.push(Fault::at(place("proxy"), "a Unix socket is not behind a proxy"));
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(Reach {
        address: socket.path.display().to_string(),
        port: None,
        host: NAMELESS,
        base_path: socket.base_path,
        way: Way::Unix(socket.path),
        tls: None,
    })
}

fn over_network(
    written: &file::Upstream,
    url: Url,
    place: impl Fn(&str) -> String,
    environment: &Environment,
) -> Result<Reach, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut tls = None;
    if url.tls {
        match upstream_tls::resolve(written, &url.host, &place) {
            Ok(right) => tls = Some(right),
            Err(wrong) => faults.extend(wrong),
        }
    } else {
        faults.extend(upstream_tls::without_tls(written, &place));
    }
    let proxy = match &written.proxy {
        Some(source) => egress::written(source, place("proxy"), environment),
        None => egress::of_environment(&url, environment),
    };
    let there = Place { host: url.host.clone(), port: url.port };
    let way = proxy.map(|proxy| match proxy {
        Some(proxy) => Way::Proxy(proxy, there),
        None => Way::Direct(there),
    });
    match way {
        Ok(way) if faults.is_empty() => Ok(Reach {
            address: url.host,
            port: Some(url.port),
            // What an authority may hold, a value may hold too.
            host: HeaderValue::try_from(url.authority).unwrap_or(HeaderValue::from_static("")),
            base_path: url.base_path,
            way,
            tls,
        }),
        Ok(_) => Err(faults),
        Err(fault) => {
            faults.push(fault);
            Err(faults)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(keys: &str) -> Result<Reach, Vec<(String, String)>> {
        let file: file::File =
            toml::from_str(&format!("[[upstream]]\nname = 'a'\n{keys}")).unwrap();
        let environment =
            Environment::of([("HTTP_PROXY", "http://all:1"), ("HTTPS_PROXY", "http://all:1")]);
        resolve(0, &file.upstream[0], &environment).map_err(|faults| {
            faults.into_iter().map(|it| (it.places.join(" "), it.message)).collect()
        })
    }

    fn proxy_of(keys: &str) -> String {
        match read(keys).unwrap().way {
            Way::Proxy(proxy, place) => format!("{proxy} to {place}"),
            Way::Direct(place) => format!("direct to {place}"),
            Way::Unix(path) => path.display().to_string(),
        }
    }

    #[test]
    fn a_socket_has_a_path_in_place_of_host_and_port() {
        let reach = read("url = 'unix:/run/a.sock:/base'").unwrap();
        assert_eq!(reach.way, Way::Unix("/run/a.sock".into()));
        assert_eq!((&*reach.address, reach.port), ("/run/a.sock", None));
        assert_eq!((reach.host.to_str().unwrap(), &*reach.base_path), ("localhost", "/base"));
        assert!(reach.tls.is_none());
    }

    #[test]
    fn the_upstreams_own_proxy_goes_before_the_environments() {
        let own = "url = 'https://a.com'\nproxy = 'socks5://own:2'";
        assert_eq!(proxy_of(own), "socks5://own:2 to a.com:443");
        assert_eq!(proxy_of("url = 'https://a.com'"), "http://all:1 to a.com:443");
        assert_eq!(proxy_of("url = 'https://a.com'\nproxy = 'none'"), "direct to a.com:443");
        assert_eq!(proxy_of("url = 'https://a.com'\nproxy = ''"), "direct to a.com:443");
        assert_eq!(proxy_of("url = 'http://127.0.0.1'"), "direct to 127.0.0.1:80");
        let local = "url = 'http://127.0.0.1'\nproxy = 'http://own:2'";
        assert_eq!(proxy_of(local), "http://own:2 to 127.0.0.1:80");
    }

    #[test]
    fn keys_that_would_have_no_effect_are_refused() {
        let places = |keys: &str| {
            let told = read(keys).unwrap_err();
            told.into_iter().map(|(place, _)| place).collect::<Vec<_>>().join(" ")
        };
        let tls = "ca = 'a'\ncert = 'b'\nkey = 'c'\nserver_name = 'd'";
        let all = "upstream.0.ca upstream.0.cert upstream.0.key upstream.0.server_name";
        assert_eq!(places(&format!("url = 'http://a.com'\n{tls}")), all);
        assert_eq!(places(&format!("url = 'unix:/a'\n{tls}")), all);
        assert_eq!(places("url = 'unix:/a'\nproxy = 'none'"), "upstream.0.proxy");
        assert_eq!(places("url = 'unix:a'"), "upstream.0.url");
        assert_eq!(
            places("url = 'https://a.com'\nca = '/nonexistent'\nproxy = 'ftp://a'"),
            "upstream.0.ca upstream.0.proxy"
        );
    }
}
