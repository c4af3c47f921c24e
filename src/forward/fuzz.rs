//! What routing and the fields of heads keep, for any request: no upstream that was not addressed, and
//! no field of one hop on another. Says the rules in other words than the code does; knows no socket.

use std::sync::{Arc, LazyLock};

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING,
    UPGRADE,
};
use http::{HeaderMap, Method, Request, Uri};

pub(crate) use super::ask::fuzz::{answer, request};
use super::headers::{self, Framing, Hop, ToUpstream};
use super::route::{Route, Scope, find};
use super::settings::{ErrorShape, Limits, Listen, Marker, Settings, Upstream, Way};
use super::{exchange, trace_context};
use crate::fuzz::input::Input;
use crate::observe::head::RequestHead;
use crate::tape;

/// Fields of one head that are read; hyper reads 100.
const FIELDS: usize = 64;

/// Upstreams of the shipped kind: mount, paths, base path, marker.
const SHIPPED: &str = "/openai /v1/ - -
/anthropic /v1/messages,/v1/complete - anthropic-version
/gemini /v1beta/ /base x-goog-api-key
/ollama /api/ - -";

static SETTINGS: LazyLock<Settings> = LazyLock::new(|| settings(SHIPPED));

/// `SCOPE METHOD TARGET`, fields a line each, an empty line, and upstreams in the form of `SHIPPED`, if
/// others are meant.
pub(crate) fn route(input: &[u8]) {
    let mut input = Input(input);
    let mut words = input.line().split(' ');
    let (scope, method) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let Ok(method) = Method::from_bytes(method.as_bytes()) else { return };
    let Ok(uri) = words.next().unwrap_or_default().parse::<Uri>() else { return };
    let headers = read_fields(&mut input);
    let own = std::str::from_utf8(input.0).map(settings).ok();
    let own = own.filter(|own| !own.upstreams.is_empty());
    let settings = own.as_ref().unwrap_or(&SETTINGS);
    let scope = match scope.parse::<usize>() {
        Ok(own) => Scope::Own(own.to_string().into()),
        Err(_) => Scope::Shared,
    };
    let found = find(settings, &scope, &method, &uri, &headers);
    let request =
        Asked { settings, method, path: uri.path(), query: uri.query(), headers: &headers };
    request.check(&scope, found);
    if let Some(route) = found {
        check_target(&uri, route, &settings.upstreams[route.upstream].base_path);
    }
}

/// A request to a listener.
struct Asked<'a> {
    settings: &'a Settings,
    method: Method,
    path: &'a str,
    query: Option<&'a str>,
    headers: &'a HeaderMap,
}

impl Asked<'_> {
    fn check(&self, scope: &Scope, found: Option<Route>) {
        if let Scope::Own(name) = scope {
            let own = self.settings.upstreams.iter().position(|it| *it.facts.name == **name);
            let own = own.map(|upstream| Route { upstream, mount: 0 });
            assert_eq!(found, own, "an own listener");
            return;
        }
        if climbs(self.path) {
            assert_eq!(found, None, "a dot segment");
            return;
        }
        if self.path == "/" && [Method::GET, Method::HEAD].contains(&self.method) {
            assert_eq!(found.map(|it| it.upstream), self.settings.root, "the root");
            return;
        }
        let upstreams = self.settings.upstreams.iter().enumerate();
        let mounted = upstreams.clone().filter_map(|(at, it)| {
            let mount = it.mount.as_ref().filter(|mount| is_in(self.path, mount))?;
            Some((at, mount.len()))
        });
        if let Some(longest) = mounted.clone().map(|(_, length)| length).max() {
            let fits = |it: Route| {
                it.mount == longest
                    && mounted.clone().any(|(at, length)| (at, length) == (it.upstream, it.mount))
            };
            assert!(found.is_some_and(fits), "{found:?} is not mounted at {}", self.path);
            return;
        }
        assert!(found.is_none_or(|it| it.mount == 0), "a mount nobody named");
        let mut marked = upstreams.clone().filter(|(_, it)| self.has_marker(it)).map(|(at, _)| at);
        let length = |it: &Upstream| {
            it.paths.iter().filter(|own| is_in(self.path, own)).map(String::len).max()
        };
        let longest = upstreams.clone().filter_map(|(_, it)| length(it)).max();
        let owns = |at: usize| length(&self.settings.upstreams[at]) == longest;
        let addressed = match (found.map(|it| it.upstream), longest) {
            (None, longest) => longest.is_none() && marked.next().is_none(),
            (Some(at), None) => marked.next() == Some(at),
            (Some(at), Some(_)) => owns(at) || marked.any(|it| it == at),
        };
        assert!(addressed, "{} goes to {found:?}, which it does not address", self.path);
    }

    fn has_marker(&self, upstream: &Upstream) -> bool {
        let Some(marker) = &upstream.marker else { return false };
        let said = self.query.is_some_and(|it| it.split('&').any(|it| it.starts_with("key=")));
        let other = ["authorization", "api-key", "x-api-key"];
        self.headers.contains_key(&marker.header)
            || said
                && marker.query.is_some()
                && !other.iter().any(|it| self.headers.contains_key(*it))
    }
}

/// What the upstream is asked for: what the client sent, less the mount, behind the base path, and
/// never another host.
fn check_target(uri: &Uri, route: Route, base: &str) {
    let sent = uri.path_and_query().map_or("/", |it| it.as_str());
    let Ok(target) = exchange::target(uri, route.mount, base) else {
        assert!(!base.is_empty() || route.mount > 0 || uri.scheme().is_some(), "{sent} is refused");
        return;
    };
    let asked = target.path_and_query().map_or("/", |it| it.as_str());
    let rest = asked.strip_prefix(base);
    let same = rest.is_some_and(|rest| {
        rest == &sent[route.mount..] || rest.strip_prefix('/') == Some(&sent[route.mount..])
    });
    assert!(same, "{sent} less {} behind {base:?} became {asked}", route.mount);
    assert!(target.authority().is_none() || uri.scheme().is_none(), "another host: {target}");
}

/// Whether `path` is `prefix` or below it.
fn is_in(path: &str, prefix: &str) -> bool {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    format!("{path}/").starts_with(&format!("{prefix}/"))
}

/// Whether a segment means "here" or "up" to whoever decodes it.
fn climbs(path: &str) -> bool {
    let decoded = path.replace("%2e", ".").replace("%2E", ".");
    decoded.split('/').any(|segment| segment == "." || segment == "..")
}

fn settings(text: &str) -> Settings {
    let upstreams = text.lines().enumerate().filter_map(|(at, line)| upstream(at, line));
    let upstreams = upstreams.take(8).collect();
    Settings {
        listen: Listen { at: std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into(), tls: None },
        upstreams,
        root: Some(0),
        shape: ErrorShape(String::new()),
        limits: Limits::default(),
    }
}

/// One line of `SHIPPED`, brought to what its fields promise.
fn upstream(at: usize, line: &str) -> Option<Upstream> {
    let mut words = line.split(' ').map(|word| if word == "-" { "" } else { word });
    let mut word = || words.next().unwrap_or_default();
    let absolute = |text: &str| format!("/{}", text.trim_matches('/'));
    let is_plain = |text: &&str| {
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-._".contains(&byte))
    };
    let below = |text: &str| Some(absolute(text)).filter(|it| it.len() > 1);
    let mount = below(Some(word()).filter(is_plain)?);
    let paths = word().split(',').filter(|it| !it.is_empty() && is_plain(it));
    let paths =
        paths.map(|it| if it.ends_with('/') { format!("{}/", absolute(it)) } else { absolute(it) });
    let paths = paths.map(|it| it.replace("//", "/")).collect();
    let base_path = below(Some(word()).filter(is_plain)?).unwrap_or_default();
    let marker = HeaderName::from_bytes(word().as_bytes()).ok().map(|header| Marker {
        query: header.as_str().contains("key").then_some("key"),
        header,
        ground: &["/v1/"],
    });
    let facts = tape::Upstream {
        name: at.to_string(),
        provider: "up".to_owned(),
        dialect: "openai".to_owned(),
        address: "h".to_owned(),
        port: Some(80),
    };
    Some(Upstream {
        facts: Arc::new(facts),
        way: Way::Unix("/nowhere".into()),
        tls: None,
        http2: false,
        host: HeaderValue::from_static("h"),
        base_path,
        paths,
        mount,
        marker,
        propagate: false,
        asks_for_usage: false,
        listen: None,
        shape: ErrorShape(String::new()),
    })
}

/// Fields up to an empty line. What hyper would not read is left out.
fn read_fields(input: &mut Input<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    while headers.len() < FIELDS && !input.0.is_empty() {
        let line = input.until(b'\n');
        if line.is_empty() {
            break;
        }
        let mut field = Input(line);
        let name = HeaderName::from_bytes(field.until(b':'));
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(field.0.trim_ascii())) {
            headers.append(name, value);
        }
    }
    headers
}

/// How a body is delimited, whose the connection is, `t` for a trace of ours, `c` for cookies in
/// crumbs, a letter each; then fields, a line each.
pub(crate) fn fields(input: &[u8]) {
    let mut input = Input(input);
    let flags = input.until(b'\n');
    let hop = match flags.get(1) {
        Some(b'u') => Hop::Upgrade,
        Some(b's') => Hop::Stream,
        Some(b'l') => Hop::Last,
        _ => Hop::Exchange,
    };
    let framing = match (flags.first(), hop) {
        (Some(b'c' | b'e'), Hop::Stream) => Framing::Frames,
        (Some(b'c'), _) => Framing::Chunked,
        (Some(b'e'), _) => Framing::Close,
        _ => Framing::Length,
    };
    let sent = read_fields(&mut input);
    let answer = headers::to_client(sent.clone(), framing, hop);
    check_fields(&sent, &answer, framing, hop, &[]);
    check_tape(&sent);
    check_trace(&sent);
    if framing == Framing::Close {
        return;
    }
    let host = (hop != Hop::Stream).then(|| HeaderValue::from_static("upstream.example"));
    let ours = (flags.get(2) == Some(&b't')).then(|| HeaderValue::from_static("ours"));
    let crumbs = flags.get(3) == Some(&b'c');
    let replaced = [(HOST, true), (TRACEPARENT, ours.is_some()), (COOKIE, crumbs)];
    let replaced = replaced.into_iter().filter(|(_, is)| *is).map(|(name, _)| name);
    let replaced: Vec<_> = replaced.collect();
    let to = ToUpstream { host: host.clone(), framing, hop, crumbs, traceparent: ours.clone() };
    let request = headers::to_upstream(sent.clone(), to);
    check_fields(&sent, &request, framing, hop, &replaced);
    let hosts: Vec<_> = request.get_all(HOST).iter().cloned().collect();
    assert_eq!(hosts, Vec::from_iter(host), "no host but the upstream's");
    let traces = request.get_all(TRACEPARENT).iter().collect::<Vec<_>>();
    assert!(ours.is_none_or(|ours| traces == [&ours]), "one traceparent, ours");
    let cookies = values(&request, &COOKIE);
    assert!(!crumbs || cookies == values(&sent, &COOKIE).replace(BETWEEN, "; "), "lost crumbs");
    assert!(!crumbs || request.get_all(COOKIE).iter().count() < 2, "crumbs are left");
}

/// Stands between the values of one name: no value has it in it.
const BETWEEN: &str = "\n";
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Fields of one connection (RFC 9110 7.6.1), and `Proxy-Connection`, which is none and meant as one.
const HOP: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// What of `sent` became `out`, `replaced` aside: every other field crosses with its values in order.
fn check_fields(
    sent: &HeaderMap,
    out: &HeaderMap,
    framing: Framing,
    hop: Hop,
    replaced: &[HeaderName],
) {
    let options = values(sent, &CONNECTION).to_ascii_lowercase();
    let options: Vec<&str> = options.split([',', '\n']).map(str::trim).collect();
    let is_named = |name: &HeaderName| {
        let name = name.as_str();
        options.contains(&name) && !["close", "keep-alive"].contains(&name)
    };
    let crosses = |name: &HeaderName| match name {
        _ if HOP.contains(name) || replaced.contains(name) => false,
        &CONTENT_LENGTH => framing == Framing::Length,
        name => !is_named(name),
    };
    let (expected, found) =
        (kept(sent, crosses), kept(out, |name| !HOP.contains(name) && !replaced.contains(name)));
    assert_eq!(found, expected, "fields that cross");
    let connection = values(out, &CONNECTION);
    assert!(hop != Hop::Stream || connection.is_empty(), "{connection} on a shared connection");
    let ours = ["", "te", "Upgrade", "Upgrade\nte", "close", "Upgrade\nclose"];
    let is_kept = hop == Hop::Exchange && values(sent, &CONNECTION) == connection;
    let is_kept = is_kept && connection.eq_ignore_ascii_case("keep-alive");
    assert!(is_kept || ours.contains(&&*connection), "{connection}");
    let upgrade = if hop == Hop::Upgrade { values(sent, &UPGRADE) } else { String::new() };
    assert_eq!(values(out, &UPGRADE), upgrade, "the other protocol");
    assert!(["", "trailers"].contains(&&*values(out, &TE)), "TE beyond trailers");
    let codings = values(out, &TRANSFER_ENCODING).to_ascii_lowercase();
    let chunked = codings.split([',', '\n']).filter(|it| it.trim() == "chunked").count();
    let is_framed = if framing == Framing::Chunked {
        chunked == 1 && codings.ends_with("chunked") && !out.contains_key(CONTENT_LENGTH)
    } else {
        codings.is_empty()
    };
    assert!(is_framed, "{framing:?} with codings {codings:?}");
}

fn kept(
    headers: &HeaderMap,
    keep: impl Fn(&HeaderName) -> bool,
) -> Vec<(&HeaderName, &HeaderValue)> {
    headers.iter().filter(|(name, _)| keep(name)).collect()
}

fn values(headers: &HeaderMap, name: &HeaderName) -> String {
    let values = headers.get_all(name).iter();
    values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect::<Vec<_>>().join(BETWEEN)
}

/// The tape is told of each field once, and of no credential's value.
fn check_tape(sent: &HeaderMap) {
    let (mut head, ()) = Request::new(()).into_parts();
    head.headers = sent.clone();
    let text = headers::tape_request(&head);
    let mut lines = text.strip_suffix(b"\n").unwrap_or_default().split(|&byte| byte == b'\n');
    assert_eq!(lines.next(), Some(&b"GET / 1.1"[..]));
    for ((name, value), line) in sent.iter().zip(lines.clone()) {
        let secret = ["authorization", "cookie", "key", "token"];
        let secret =
            secret.iter().any(|part| name.as_str().ends_with(part)) && line.ends_with(b": ***");
        let told = [name.as_str().as_bytes(), b": ", value.as_bytes()].concat();
        assert!(line == told || secret, "{name} is told as {line:?}");
        assert!(
            line != told
                || !["authorization", "x-api-key"].contains(&name.as_str())
                || value == "***",
            "a credential"
        );
    }
    assert_eq!(lines.count(), sent.len());
    assert_eq!(RequestHead::read(&text).path, "/");
}

/// Ids are never zero, and what we send upstream is continued there.
fn check_trace(sent: &HeaderMap) {
    let ids = trace_context::ids(sent);
    assert!(ids.trace != [0; 16] && ids.server_span != [0; 8] && ids.client_span != [0; 8]);
    assert!(ids.parent != Some([0; 8]), "no span is zero");
    let ours = HeaderMap::from_iter(trace_context::traceparent(&ids).map(|it| (TRACEPARENT, it)));
    let next = trace_context::ids(&ours);
    assert_eq!((next.trace, next.parent), (ids.trace, Some(ids.client_span)), "a broken trace");
    assert_eq!(next.flags, ids.flags);
}
