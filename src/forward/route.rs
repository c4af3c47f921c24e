//! Which upstream a request addresses. Pure; decodes and normalises nothing.

use std::sync::Arc;

use http::{HeaderMap, Method, Uri};

use super::settings::{Marker, Settings, Upstream};

/// Headers that bear a key, whoever's.
const KEYS: [&str; 3] = ["authorization", "api-key", "x-api-key"];

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

/// The upstream that a request addresses: an own listener takes all; then mounts; then the longest
/// path prefix, unless the request carries the marker of a provider that shares that ground; last
/// a marker alone. Never an upstream that was not addressed.
pub(super) fn find(
    settings: &Settings,
    scope: &Scope,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Option<Route> {
    if let Scope::Own(name) = scope {
        let own = settings.upstreams.iter().position(|it| *it.facts.name == **name);
        return own.map(Route::unmounted);
    }
    let path = uri.path();
    // A dot segment could climb out of the prefix that admits it.
    if has_dot_segment(path) {
        return None;
    }
    if path == "/" && (method == Method::GET || method == Method::HEAD) {
        return settings.root.map(Route::unmounted);
    }
    let upstreams = &settings.upstreams;
    by_mount(upstreams, path)
        .or_else(|| by_path_or_marker(upstreams, uri, headers).map(Route::unmounted))
}

/// Between upstreams of the marked provider the path decides, then who lists ground there, then
/// their order.
fn by_path_or_marker(upstreams: &[Upstream], uri: &Uri, headers: &HeaderMap) -> Option<usize> {
    let is_marked = |it: &Upstream| it.marker.as_ref().is_some_and(|it| bears(uri, headers, it));
    let mut marked = upstreams.iter().enumerate().filter(|(_, it)| is_marked(it));
    let Some((owner, prefix)) = by_path(upstreams, uri.path()) else {
        return marked.next().map(|(at, _)| at);
    };
    if upstreams.get(owner).is_some_and(is_marked) {
        return Some(owner);
    }
    let claims = marked.filter_map(|(at, it)| Some((claim(it, prefix, uri.path())?, at)));
    claims.min().map_or(Some(owner), |(_, at)| Some(at))
}

/// What lets a marker decide under another's prefix; the stronger first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    /// The upstream lists a longer prefix inside it: then `/v1/models` with Anthropic's marker is
    /// Anthropic's, though `/v1/` is OpenAI's.
    Listed,
    /// The marker's clients ask there of themselves, and the prefix is no more particular than that.
    Native,
}

fn claim(upstream: &Upstream, prefix: &str, path: &str) -> Option<Claim> {
    let listed = |own: &String| own.len() > prefix.len() && covers(prefix, own);
    if upstream.paths.iter().any(listed) {
        return Some(Claim::Listed);
    }
    let native = |ground: &&str| covers(prefix, ground) && covers(ground, path);
    upstream.marker.as_ref()?.ground.iter().any(native).then_some(Claim::Native)
}

/// Whether a request carries a marker: its header, or its parameter where no header bears a key, so
/// that another provider's key is not taken along.
fn bears(uri: &Uri, headers: &HeaderMap, marker: &Marker) -> bool {
    let in_query = |name: &str| {
        let mut parameters = uri.query().unwrap_or_default().split('&');
        parameters.any(|it| it.strip_prefix(name).is_some_and(|rest| rest.starts_with('=')))
    };
    headers.contains_key(&marker.header)
        || marker.query.is_some_and(in_query) && !KEYS.iter().any(|it| headers.contains_key(*it))
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

    const ANTHROPICS: Marker = Marker {
        header: http::HeaderName::from_static("anthropic-version"),
        query: None,
        ground: &["/v1/"],
    };
    const GOOGLES: Marker = Marker {
        header: http::HeaderName::from_static("x-goog-api-key"),
        query: Some("key"),
        ground: &["/v1/", "/v1beta/"],
    };

    fn upstream(name: &str, paths: &[&str], marker: Option<Marker>) -> Upstream {
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
            marker,
            asks_for_usage: false,
            propagate: false,
            listen: None,
            shape: ErrorShape(String::new()),
        }
    }

    fn settings() -> Settings {
        of(vec![
            upstream("openai", &["/v1/"], None),
            upstream("anthropic", &["/v1/messages"], Some(ANTHROPICS)),
            upstream("gemini", &["/v1beta/"], Some(GOOGLES)),
            upstream("ollama", &["/api/"], None),
        ])
    }

    fn of(upstreams: Vec<Upstream>) -> Settings {
        Settings {
            listen: Listen { at: "127.0.0.1:0".parse().unwrap(), tls: None },
            upstreams,
            root: Some(3),
            shape: ErrorShape(String::new()),
            limits: Limits::default(),
        }
    }

    fn route(target: &str, field: Option<&'static str>) -> Option<(usize, usize)> {
        within(&settings(), target, field)
    }

    fn within(
        settings: &Settings,
        target: &str,
        field: Option<&'static str>,
    ) -> Option<(usize, usize)> {
        let field = field.map(|name| (name.parse().unwrap(), http::HeaderValue::from_static("x")));
        let headers: HeaderMap = field.into_iter().collect();
        find(settings, &Scope::Shared, &Method::GET, &target.parse().unwrap(), &headers)
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
        assert_eq!(route("/v1/models", Some("x-goog-api-key")), Some((2, 0)));
    }

    #[test]
    fn googles_key_in_the_query_is_its_marker_where_no_header_bears_another() {
        for target in ["/v1/models/x:y?key=k", "/v1/x?alt=sse&key=k", "/v9/x?key="] {
            assert_eq!(route(target, None), Some((2, 0)), "{target}");
        }
        for target in ["/v1/x?keys=k", "/v1/x?monkey=k", "/v1/x?a=key=k", "/v1/x?key", "/v1/key=k"]
        {
            assert_eq!(route(target, None), Some((0, 0)), "{target}");
        }
        for bearer in KEYS {
            assert_eq!(route("/v1/models?key=k", Some(bearer)), Some((0, 0)), "{bearer}");
        }
        assert_eq!(route("/openai/v1/models?key=k", None), Some((0, 7)));
    }

    #[test]
    fn a_prefix_that_was_given_to_another_on_purpose_stays_its() {
        let own = of(vec![
            upstream("anthropic", &[], Some(ANTHROPICS)),
            upstream("openai", &["/v1/"], None),
            upstream("gateway", &["/v1/messages", "/gate/"], None),
        ]);
        let marked = |path| within(&own, path, Some("anthropic-version"));
        assert_eq!(marked("/v1/messages"), Some((2, 0)));
        assert_eq!(marked("/gate/v1/messages"), Some((2, 0)));
        assert_eq!(marked("/v1/models"), Some((0, 0)));
        let all = of(vec![upstream("gateway", &["/"], None), own.upstreams[0].clone()]);
        assert_eq!(within(&all, "/v1/models", Some("anthropic-version")), Some((1, 0)));
        assert_eq!(within(&all, "/v2/models", Some("anthropic-version")), Some((0, 0)));
    }

    #[test]
    fn between_upstreams_of_one_provider_the_path_decides_then_who_lists_the_ground() {
        let two = of(vec![
            upstream("spare", &["/own/"], Some(ANTHROPICS)),
            upstream("anthropic", &["/v1/messages"], Some(ANTHROPICS)),
            upstream("openai", &["/v1/"], None),
        ]);
        let marked = |path| within(&two, path, Some("anthropic-version"));
        assert_eq!(marked("/own/v1/messages"), Some((0, 0)));
        assert_eq!(marked("/v1/messages"), Some((1, 0)));
        assert_eq!(marked("/v1/models"), Some((1, 0)));
        assert_eq!(marked("/v9/x"), Some((0, 0)));
    }

    #[test]
    fn the_root_goes_where_it_was_told() {
        assert_eq!(route("/", None), Some((3, 0)));
        let (uri, none) = ("/".parse().unwrap(), HeaderMap::new());
        let by = |method| find(&settings(), &Scope::Shared, &method, &uri, &none);
        assert_eq!(by(Method::HEAD), Some(Route { upstream: 3, mount: 0 }));
        assert_eq!(by(Method::POST), None);
    }

    #[test]
    fn dot_segments_are_not_forwarded_but_by_an_own_listener() {
        for path in ["/v1/../x", "/v1/.", "/openai/%2e%2E/x", "/v1/.%2e/"] {
            assert_eq!(route(path, None), None, "{path}");
            let scope = Scope::Own("gemini".into());
            let own =
                find(&settings(), &scope, &Method::GET, &path.parse().unwrap(), &HeaderMap::new());
            assert_eq!(own, Some(Route { upstream: 2, mount: 0 }));
        }
        for path in ["/v1/...", "/v1/.well-known", "/v1/a..b", "/v1/%2ex"] {
            assert_eq!(route(path, None), Some((0, 0)), "{path}");
        }
    }
}
