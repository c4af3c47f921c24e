//! Which upstream a request addresses. Pure; decodes and normalises nothing.

use std::sync::Arc;

use http::HeaderMap;
use http::Method;

use super::settings::{Settings, Upstream};

/// Where a listener's requests can go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The path decides.
    Shared,
    /// Every path goes to the upstream of this name: its place in the list may change.
    Own(Arc<str>),
}

/// The upstream's index, and how many bytes at the front of the path only addressed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) upstream: usize,
    pub(super) mount: usize,
}

impl Route {
    fn unmounted(upstream: usize) -> Self {
        Self { upstream, mount: 0 }
    }
}

/// The upstream that `path` addresses: an own listener takes all; then mounts; then the longest
/// path prefix, unless the request carries the marker of a provider that shares that ground; last
/// a marker alone. Never an upstream that was not addressed.
pub(super) fn find(
    settings: &Settings,
    scope: &Scope,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> Option<Route> {
    if let Scope::Own(name) = scope {
        let own = settings.upstreams.iter().position(|it| *it.facts.name == **name);
        return own.map(Route::unmounted);
    }
    // A dot segment could climb out of the prefix that admits it.
    if has_dot_segment(path) {
        return None;
    }
    if path == "/" && (method == Method::GET || method == Method::HEAD) {
        return settings.root.map(Route::unmounted);
    }
    let upstreams = &settings.upstreams;
    by_mount(upstreams, path).or_else(|| {
        let marked = by_marker(upstreams, headers);
        let Some((upstream, prefix)) = by_path(upstreams, path) else {
            return marked.map(Route::unmounted);
        };
        let shared = |&marked: &usize| shares_ground(&upstreams[marked], prefix);
        Some(Route::unmounted(marked.filter(shared).unwrap_or(upstream)))
    })
}

fn by_mount(upstreams: &[Upstream], path: &str) -> Option<Route> {
    let mounts = upstreams.iter().enumerate().filter_map(|(upstream, it)| {
        let mount = it.mount.as_deref().filter(|mount| covers(mount, path))?;
        Some(Route { upstream, mount: mount.len() })
    });
    mounts.max_by_key(|route| route.mount)
}

fn by_path<'a>(upstreams: &'a [Upstream], path: &str) -> Option<(usize, &'a str)> {
    let prefixes = upstreams
        .iter()
        .enumerate()
        .flat_map(|(upstream, it)| it.paths.iter().map(move |prefix| (upstream, prefix.as_str())));
    prefixes.filter(|(_, prefix)| covers(prefix, path)).max_by_key(|(_, prefix)| prefix.len())
}

fn by_marker(upstreams: &[Upstream], headers: &HeaderMap) -> Option<usize> {
    upstreams.iter().position(|it| it.marker.as_ref().is_some_and(|it| headers.contains_key(it)))
}

/// Whether `upstream` owns a longer prefix inside `prefix`: then `/v1/models` with Anthropic's marker
/// is Anthropic's, though `/v1/` is OpenAI's.
fn shares_ground(upstream: &Upstream, prefix: &str) -> bool {
    upstream.paths.iter().any(|own| own.len() > prefix.len() && covers(prefix, own))
}

/// Whether `path` is `prefix` or lies under it, at a segment border.
fn covers(prefix: &str, path: &str) -> bool {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// `.` or `..` as a whole segment, also percent-encoded.
fn has_dot_segment(path: &str) -> bool {
    path.split('/').any(|segment| {
        let mut rest = segment.as_bytes();
        let mut dots = 0;
        while !rest.is_empty() && dots < 3 {
            let encoded = rest.strip_prefix(b"%2e").or_else(|| rest.strip_prefix(b"%2E"));
            let Some(after) = encoded.or_else(|| rest.strip_prefix(b".")) else {
                return false;
            };
            rest = after;
            dots += 1;
        }
        rest.is_empty() && (1..3).contains(&dots)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::settings::{ErrorShape, Limits, Listen};
    use crate::tape;

    fn upstream(name: &str, paths: &[&str], marker: Option<&'static str>) -> Upstream {
        Upstream {
            facts: Arc::new(tape::Upstream {
                name: name.into(),
                provider: name.into(),
                dialect: name.into(),
                address: "h".into(),
                port: Some(80),
            }),
            way: crate::forward::settings::Way::Unix("/run/upstream".into()),
            tls: None,
            http2: false,
            host: http::HeaderValue::from_static("h"),
            base_path: String::new(),
            paths: paths.iter().map(ToString::to_string).collect(),
            mount: Some(format!("/{name}")),
            marker: marker.map(http::HeaderName::from_static),
            asks_for_usage: false,
            propagate: false,
            listen: None,
            shape: ErrorShape(String::new()),
        }
    }

    fn settings() -> Settings {
        Settings {
            listen: Listen { at: "127.0.0.1:0".parse().unwrap(), tls: None },
            upstreams: vec![
                upstream("openai", &["/v1/"], None),
                upstream("anthropic", &["/v1/messages"], Some("anthropic-version")),
                upstream("gemini", &["/v1beta/"], Some("x-goog-api-key")),
                upstream("ollama", &["/api/"], None),
            ],
            root: Some(3),
            shape: ErrorShape(String::new()),
            limits: Limits::default(),
        }
    }

    fn route(path: &str, marker: Option<&'static str>) -> Option<(usize, usize)> {
        let mut headers = HeaderMap::new();
        if let Some(marker) = marker {
            headers.insert(marker, http::HeaderValue::from_static("x"));
        }
        find(&settings(), &Scope::Shared, &Method::GET, path, &headers)
            .map(|route| (route.upstream, route.mount))
    }

    #[test]
    fn the_longest_prefix_at_a_segment_border_wins() {
        assert_eq!(route("/v1/chat/completions", None), Some((0, 0)));
        assert_eq!(route("/v1", None), Some((0, 0)));
        assert_eq!(route("/v1/messages", None), Some((1, 0)));
        assert_eq!(route("/v1/messages/batches", None), Some((1, 0)));
        assert_eq!(route("/v1/messagesx", None), Some((0, 0)));
        assert_eq!(route("/v1beta/models", None), Some((2, 0)));
        assert_eq!(route("/v2/x", None), None);
        assert_eq!(route("//v1/x", None), None);
    }

    #[test]
    fn a_mount_is_addressed_by_name_whatever_the_marker() {
        assert_eq!(route("/ollama/v1/chat/completions", None), Some((3, 7)));
        assert_eq!(route("/openai/v1/models", Some("anthropic-version")), Some((0, 7)));
        assert_eq!(route("/openaix/v1/models", None), None);
    }

    #[test]
    fn a_marker_decides_on_shared_ground_and_where_the_path_does_not() {
        assert_eq!(route("/v1/models", Some("anthropic-version")), Some((1, 0)));
        assert_eq!(route("/v9/x", Some("x-goog-api-key")), Some((2, 0)));
        assert_eq!(route("/api/chat", Some("anthropic-version")), Some((3, 0)));
    }

    #[test]
    fn the_root_goes_where_it_was_told() {
        assert_eq!(route("/", None), Some((3, 0)));
        let by = |method| find(&settings(), &Scope::Shared, &method, "/", &HeaderMap::new());
        assert_eq!(by(Method::HEAD), Some(Route { upstream: 3, mount: 0 }));
        assert_eq!(by(Method::POST), None);
    }

    #[test]
    fn dot_segments_are_not_forwarded_but_by_an_own_listener() {
        for path in ["/v1/../x", "/v1/.", "/openai/%2e%2E/x", "/v1/.%2e/"] {
            assert_eq!(route(path, None), None, "{path}");
            let scope = Scope::Own("gemini".into());
            let own = find(&settings(), &scope, &Method::GET, path, &HeaderMap::new());
            assert_eq!(own, Some(Route { upstream: 2, mount: 0 }));
        }
        for path in ["/v1/...", "/v1/.well-known", "/v1/a..b", "/v1/%2ex"] {
            assert_eq!(route(path, None), Some((0, 0)), "{path}");
        }
    }
}
