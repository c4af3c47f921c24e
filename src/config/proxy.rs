//! An egress proxy as it is written: a URL, or where one with credentials is read from. Knows no key
//! and no upstream.

use std::fmt;

use hyper_util::client::proxy::matcher::Matcher;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::secret::SecretSource;
use crate::forward::settings::{Place, Protocol, Proxy};

/// How `proxy` is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ProxySource {
    /// A URL without credentials; `none` or nothing: no proxy.
    Text(String),
    /// Where the whole URL is read from, credentials and all.
    Secret(SecretSource),
}

impl<'de> Deserialize<'de> for ProxySource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ProxyVisitor)
    }
}

struct ProxyVisitor;

impl<'de> Visitor<'de> for ProxyVisitor {
    type Value = ProxySource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a URL like \"http://proxy:3128\", \"none\", { env = \"NAME\" } or { file = \"PATH\" }",
        )
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<ProxySource, E> {
        Ok(ProxySource::Text(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ProxySource, A::Error> {
        SecretSource::deserialize(MapAccessDeserializer::new(map)).map(ProxySource::Secret)
    }
}

/// Why a text is no proxy. Never holds the text, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error(
        "an egress proxy is http://, https:// or socks5://, a host and maybe a port, like http://proxy.example.com:3128"
    )]
    Malformed,
    #[error(
        "a proxy's password with `@`, `:`, `/` or `%` in it is written percent-encoded (`%40`, `%3A`, `%2F`, `%25`)"
    )]
    Credentials,
}

/// The proxy of this URL; `none` and nothing are no proxy.
pub(super) fn parse(text: &str) -> Result<Option<Proxy>, Refused> {
    let text = text.trim();
    if text.is_empty() || text.eq_ignore_ascii_case("none") {
        return Ok(None);
    }
    // The matcher reads one proxy as it reads the variables: it knows the schemes, decodes
    // credentials, and takes a text without scheme as http.
    let matcher = Matcher::builder().all(text).build();
    let found =
        matcher.intercept(&http::Uri::from_static("http://any/")).ok_or(Refused::Malformed)?;
    let uri = found.uri();
    let authority = uri.authority().ok_or(Refused::Malformed)?;
    if authority.as_str().contains('@') {
        return Err(Refused::Credentials);
    }
    let authorization = || found.basic_auth().cloned();
    let login = || found.raw_auth().map(|(user, password)| (user.to_owned(), password.to_owned()));
    let (protocol, port) = match uri.scheme_str() {
        Some("http") => (Protocol::Http { tls: false, authorization: authorization() }, 80),
        Some("https") => (Protocol::Http { tls: true, authorization: authorization() }, 443),
        Some("socks5" | "socks5h") => (Protocol::Socks5 { login: login() }, 1080),
        _ => return Err(Refused::Malformed),
    };
    let written = authority.as_str().get(authority.host().len()..).unwrap_or_default();
    let port = match written {
        "" => port,
        _ => authority.port_u16().filter(|&port| port > 0).ok_or(Refused::Malformed)?,
    };
    let host = authority.host().trim_matches(['[', ']']).to_owned();
    if host.is_empty() {
        Err(Refused::Malformed)
    } else {
        Ok(Some(Proxy { place: Place { host, port }, protocol }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        let proxy = parse(text).unwrap_or_else(|refused| panic!("{text}: {refused}"));
        proxy.map_or("none".into(), |proxy| proxy.to_string())
    }

    #[test]
    fn a_proxy_is_read_as_other_programs_read_it() {
        for (text, proxy) in [
            ("http://proxy:3128", "http://proxy:3128"),
            ("http://proxy", "http://proxy:80"),
            ("https://proxy/", "https://proxy:443"),
            ("socks5://[::1]", "socks5://[::1]:1080"),
            ("socks5h://user:hunter2@proxy:9050", "socks5://***@proxy:9050"),
            ("proxy:3128", "http://proxy:3128"),
            (" user:hunter2@proxy:3128 ", "http://***@proxy:3128"),
            ("", "none"),
            ("none", "none"),
        ] {
            assert_eq!(read(text), proxy, "{text}");
        }
    }

    #[test]
    fn credentials_are_decoded() {
        let protocol = |text: &str| parse(text).unwrap().unwrap().protocol;
        let Protocol::Http { authorization: Some(value), .. } = protocol("http://us%40er:p%3Aw@a")
        else {
            panic!("no credentials");
        };
        // us@er:p:w
        assert_eq!(value.to_str().unwrap(), "Basic dXNAZXI6cDp3");
        assert!(value.is_sensitive());
        let login = Some(("user".into(), "p@w".into()));
        assert_eq!(protocol("socks5://user:p%40w@a"), Protocol::Socks5 { login });
    }

    #[test]
    fn what_is_no_proxy_is_refused() {
        for text in [
            "ftp://a",
            "socks4://a",
            "http://",
            "http://a:99999",
            "http://a:0",
            "http://a:",
            "a b",
            "http://:80",
        ] {
            assert_eq!(parse(text), Err(Refused::Malformed), "{text}");
        }
        assert_eq!(parse("http://user:hun@ter2@a"), Err(Refused::Credentials));
    }
}
