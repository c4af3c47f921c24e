//! URLs of Unix sockets: `unix:/run/llama.sock`, a base path behind `:/` as nginx writes it. Knows no
//! key.

use std::path::PathBuf;

use http::uri::PathAndQuery;

/// What a system takes as a socket's path (`sun_path`, less its end).
const LONGEST_PATH: usize = 107;

/// Where a Unix socket is, and what stands in front of each request's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SocketUrl {
    pub(super) path: PathBuf,
    /// Empty, or begins with `/` and does not end with it.
    pub(super) base_path: String,
}

/// Why a text is no such URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("a Unix socket is written with its whole path, like \"unix:/run/llama.sock\"")]
    Path,
    #[error("the path of a Unix socket has at most {LONGEST_PATH} bytes: the system takes no more")]
    Long,
    #[error(
        "a base path behind a Unix socket holds no space, `?` or `#`: \"unix:/run/a.sock:/base\""
    )]
    Base,
}

impl SocketUrl {
    /// Reads `text`, where it is meant to name a Unix socket.
    pub(super) fn parse(text: &str) -> Option<Result<Self, Refused>> {
        // Others write the path percent-encoded, as a host.
        let foreign = ["http+unix:", "unix+http:"].iter().any(|scheme| text.starts_with(scheme));
        let path = text.strip_prefix("unix:");
        path.map(Self::read).or(foreign.then_some(Err(Refused::Path)))
    }

    fn read(text: &str) -> Result<Self, Refused> {
        let text = text.strip_prefix("//").unwrap_or(text);
        let (path, base) = match text.find(":/") {
            Some(colon) => text.split_at(colon),
            None => (text, ""),
        };
        let base = base.trim_start_matches(':').trim_end_matches('/');
        if !path.starts_with('/') || path.ends_with('/') {
            return Err(Refused::Path);
        }
        if path.len() > LONGEST_PATH {
            return Err(Refused::Long);
        }
        let good =
            base.is_empty() || base.parse::<PathAndQuery>().is_ok_and(|it| it.path() == base);
        if good {
            Ok(Self { path: path.into(), base_path: base.into() })
        } else {
            Err(Refused::Base)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_its_path_and_maybe_a_base_path() {
        for (text, path, base_path) in [
            ("unix:/run/a.sock", "/run/a.sock", ""),
            ("unix:///run/a.sock", "/run/a.sock", ""),
            ("unix:/run/a.sock:/", "/run/a.sock", ""),
            ("unix:/run/a.sock:/v1/x/", "/run/a.sock", "/v1/x"),
            ("unix:/run/a:b c", "/run/a:b c", ""),
        ] {
            let expected = SocketUrl { path: path.into(), base_path: base_path.into() };
            assert_eq!(SocketUrl::parse(text), Some(Ok(expected)), "{text}");
        }
    }

    #[test]
    fn what_is_no_socket_is_refused() {
        let long = format!("unix:/{}", "a".repeat(LONGEST_PATH));
        for (text, refused) in [
            ("unix:run/a.sock", Refused::Path),
            ("unix:", Refused::Path),
            ("unix:/", Refused::Path),
            ("unix://run/a.sock", Refused::Path),
            ("http+unix://%2Frun%2Fa.sock/v1", Refused::Path),
            (long.as_str(), Refused::Long),
            ("unix:/run/a.sock:/v1?x", Refused::Base),
            ("unix:/run/a.sock:/v 1", Refused::Base),
        ] {
            assert_eq!(SocketUrl::parse(text), Some(Err(refused)), "{text}");
        }
        assert_eq!(SocketUrl::parse("http://a"), None);
    }
}
