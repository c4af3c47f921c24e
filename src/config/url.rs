//! URLs as settings write them: `http` or `https`, a host, a port, a base path, and nothing that
//! would be lost or leaked. Knows no key.

use http::Uri;

use super::fault::Fault;

/// An absolute URL without credentials, query or fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    /// `https`.
    pub(super) tls: bool,
    /// As written, for `Host`.
    pub(super) authority: String,
    /// Without brackets.
    pub(super) host: String,
    /// As written, else the scheme's.
    pub(super) port: u16,
    /// Empty, or begins with `/` and does not end with it.
    pub(super) base_path: String,
}

/// Why a text is no such URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// Not absolute, or of another scheme.
    #[error("a URL begins with http:// or https:// and names a host, like https://api.example.com")]
    Scheme,
    /// `user:password@`.
    #[error("a URL must not hold a user or a password: credentials are sent in headers")]
    Credentials,
    /// `?…` or `#…`.
    #[error("a URL must not hold a query or a fragment here: they would be lost")]
    Query,
    /// `/…`, where gRPC has no place for it.
    #[error("a gRPC endpoint has no path: write http://HOST:PORT or https://HOST:PORT")]
    Path,
    /// No port can be read.
    #[error("the port of a URL is a number from 1 to 65535")]
    Port,
    /// Not a URL at all.
    #[error("this is no URL: a host has letters, digits, `-` and `.`, a path no spaces")]
    Malformed,
}

impl Refused {
    /// The fault of `text`, which is written at `place`. A line that may hold a password or a key is
    /// not shown.
    pub(super) fn at(self, place: String, text: &str) -> Fault {
        let fault = Fault::at(place, self.to_string());
        if text.contains(['@', '?', '#']) { fault.secret() } else { fault }
    }
}

impl Url {
    /// Reads `text`.
    pub(super) fn parse(text: &str) -> Result<Self, Refused> {
        let (scheme, rest) = text.split_once("://").ok_or(Refused::Scheme)?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(Refused::Scheme),
        };
        if rest.split('/').next().is_some_and(|authority| authority.contains('@')) {
            return Err(Refused::Credentials);
        }
        if rest.contains(['?', '#']) {
            return Err(Refused::Query);
        }
        if rest.is_empty() || rest.starts_with(['/', ':']) {
            return Err(Refused::Scheme);
        }
        let uri: Uri = text.parse().map_err(|_| Refused::Malformed)?;
        let authority = uri.authority().ok_or(Refused::Malformed)?;
        let bracketed = authority.host();
        let host = bracketed.trim_matches(['[', ']']).to_owned();
        let port = match authority.as_str().get(bracketed.len()..).unwrap_or_default() {
            "" if tls => 443,
            "" => 80,
            _ => authority.port_u16().filter(|&port| port > 0).ok_or(Refused::Port)?,
        };
        let base_path = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { tls, authority: authority.as_str().to_owned(), host, port, base_path })
    }

    /// `text` as it was written, if it is such a URL.
    pub(super) fn exact(text: &str) -> Result<Uri, Refused> {
        Self::parse(text)?;
        text.parse().map_err(|_| Refused::Malformed)
    }

    /// The full URL of a gRPC method, which no base path can stand before.
    pub(super) fn method(&self, path: &str) -> Result<Uri, Refused> {
        if self.base_path.is_empty() { self.join(path) } else { Err(Refused::Path) }
    }

    /// The full URL with `path` behind the base path.
    pub(super) fn join(&self, path: &str) -> Result<Uri, Refused> {
        let scheme = if self.tls { "https" } else { "http" };
        let path = format!("{}{path}", self.base_path);
        let uri = Uri::builder().scheme(scheme).authority(self.authority.as_str());
        uri.path_and_query(path).build().map_err(|_| Refused::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (bool, String, String, u16, String) {
        let url = Url::parse(text).unwrap();
        (url.tls, url.authority, url.host, url.port, url.base_path)
    }

    #[test]
    fn a_url_falls_into_its_parts() {
        for (text, tls, authority, host, port, base_path) in [
            ("https://api.openai.com", true, "api.openai.com", "api.openai.com", 443, ""),
            ("http://127.0.0.1:11434/", false, "127.0.0.1:11434", "127.0.0.1", 11434, ""),
            ("HTTPS://Host/a/b/", true, "Host", "Host", 443, "/a/b"),
            ("http://[::1]:80/x", false, "[::1]:80", "::1", 80, "/x"),
            ("http://[::1]", false, "[::1]", "::1", 80, ""),
        ] {
            let expected = (tls, authority.into(), host.into(), port, base_path.into());
            assert_eq!(parts(text), expected, "{text}");
        }
    }

    #[test]
    fn what_would_be_lost_or_leaked_is_refused() {
        for (text, refused) in [
            ("api.openai.com", Refused::Scheme),
            ("ftp://a", Refused::Scheme),
            ("unix:/run/a", Refused::Scheme),
            ("http://", Refused::Scheme),
            ("http:///path", Refused::Scheme),
            ("http://:80", Refused::Scheme),
            ("http://user:hunter2@a", Refused::Credentials),
            ("http://a/?key=1", Refused::Query),
            ("http://a#b", Refused::Query),
            ("http://a:99999", Refused::Port),
            ("http://a:0", Refused::Port),
            ("http://a:", Refused::Port),
            ("http://a b", Refused::Malformed),
            ("http://a/b c", Refused::Malformed),
        ] {
            assert_eq!(Url::parse(text), Err(refused), "{text}");
        }
    }

    #[test]
    fn a_path_is_put_behind_the_base_path() {
        let join = |url: &str, path| Url::parse(url).unwrap().join(path).unwrap().to_string();
        assert_eq!(join("http://a", "/v1/traces"), "http://a/v1/traces");
        assert_eq!(join("https://a:1/otlp/", "/v1/logs"), "https://a:1/otlp/v1/logs");
        let method = |url: &str| Url::parse(url).unwrap().method("/x.Y/Z").map(|it| it.to_string());
        assert_eq!(method("http://a:1/"), Ok("http://a:1/x.Y/Z".into()));
        assert_eq!(method("http://a:1/b"), Err(Refused::Path));
        assert_eq!(Url::exact("http://a").unwrap().to_string(), "http://a/");
        assert_eq!(Url::exact("https://a/x/").unwrap().to_string(), "https://a/x/");
        assert_eq!(Url::exact("http://a?b"), Err(Refused::Query));
    }
}
