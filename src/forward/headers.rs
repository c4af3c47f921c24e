//! Which header fields cross the proxy, and how a head is told to the tape. Pure.
//!
//! Maps are rebuilt rather than removed from: `HeaderMap::remove` swaps the last field into the hole.

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, TE,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{Version, request, response};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const CHUNKED: HeaderValue = HeaderValue::from_static("chunked");

/// Fields whose values never reach the tape: credentials.
const SECRET: [&str; 8] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "api-key",
    "x-api-key",
    "x-goog-api-key",
    "x-amz-security-token",
];

/// How a message's body is delimited on the way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// No body, or one whose length is known.
    Length,
    /// Chunked, since nobody knows how long it is.
    Chunked,
    /// Ended by closing the connection, as the upstream did.
    Close,
    /// HTTP/2's own frames say where it ends, since nobody knows how long it is.
    Frames,
}

/// Whose the connection is on which a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hop {
    /// Ours, towards each side: what is said of it stays on it, but that it is kept, as ours is too.
    Exchange,
    /// One that ends with this message, or whose keeping HTTP/1.0 has to be told of by hyper.
    Last,
    /// About to be handed to another protocol, which `Upgrade` names.
    Upgrade,
    /// Shared with others, as HTTP/2 does: nothing can be said of it in a head.
    Stream,
}

impl Hop {
    /// The client's, by its request.
    pub(super) fn of_client(head: &request::Parts) -> Self {
        match head.version {
            Version::HTTP_2 => Self::Stream,
            Version::HTTP_11 if !says(&head.headers, b"close") => Self::Exchange,
            _ => Self::Last,
        }
    }
}

/// What a request's fields become on their way to an upstream.
#[derive(Debug)]
pub(super) struct ToUpstream {
    /// The upstream's own authority; absent where the target says it (`:authority`).
    pub(super) host: Option<HeaderValue>,
    /// How the body is delimited; never `Close`.
    pub(super) framing: Framing,
    /// Whether `Upgrade` crosses, and whether there is a `Connection`.
    pub(super) hop: Hop,
    /// Join the cookies, which HTTP/2 may cut into crumbs (RFC 9113 8.2.3).
    pub(super) crumbs: bool,
    /// Replaces the app's.
    pub(super) traceparent: Option<HeaderValue>,
}

/// A request's fields as the upstream is to see them, in their order.
pub(super) fn to_upstream(mut headers: HeaderMap, to: ToUpstream) -> HeaderMap {
    let mut cookies = if to.crumbs { joined_cookies(&headers) } else { None };
    let as_is =
        to.traceparent.is_none() && cookies.is_none() && all_cross(&headers, to.framing, to.hop);
    if as_is && let Some(host) = to.host {
        // In its place: the order stays.
        headers.insert(HOST, host);
        return headers;
    }
    if as_is && !headers.contains_key(HOST) {
        return headers;
    }
    let named = named_by_connection(&headers);
    let wants_trailers = tokens(&headers, TE).any(|it| it.eq_ignore_ascii_case(b"trailers"));
    let is_kept = !wants_trailers && is_kept(&headers, to.hop);
    let mut out = HeaderMap::with_capacity(headers.keys_len() + 2);
    let (mut host, mut traceparent) = (to.host, to.traceparent);
    let joins = cookies.is_some();
    let mut codings = codings(&headers, to.framing);
    let replaces_trace = traceparent.is_some();
    for (name, value) in fields(headers) {
        if name == HOST {
            // A second `Host` is the client's error, and not for the upstream to judge.
            out.extend(host.take().map(|ours| (HOST, ours)));
        } else if name == TE && wants_trailers {
            out.entry(TE).or_insert_with(|| HeaderValue::from_static("trailers"));
        } else if name == TRACEPARENT && replaces_trace {
            if let Some(ours) = traceparent.take() {
                out.append(TRACEPARENT, ours);
            }
        } else if name == COOKIE && joins {
            out.extend(cookies.take().map(|cookies| (COOKIE, cookies)));
        } else if name == TRANSFER_ENCODING {
            out.extend(codings.take().map(|codings| (name, codings)));
        } else if to.hop == Hop::Upgrade && is_of_upgrade(&name) {
            upgrading(&mut out, name, value);
        } else if name == CONNECTION && is_kept || crosses(&name, to.framing, &named) {
            out.append(name, value);
        }
    }
    if let Some(host) = host {
        out.append(HOST, host);
    }
    if let Some(ours) = traceparent {
        out.append(TRACEPARENT, ours);
    }
    if wants_trailers && to.hop != Hop::Stream {
        out.append(CONNECTION, HeaderValue::from_static("te"));
    }
    framed(out, to.framing)
}

/// An answer's fields as the client is to see them, in their order.
pub(super) fn to_client(headers: HeaderMap, framing: Framing, hop: Hop) -> HeaderMap {
    if all_cross(&headers, framing, hop) {
        return headers;
    }
    let named = named_by_connection(&headers);
    let is_kept = framing != Framing::Close && is_kept(&headers, hop);
    let mut out = HeaderMap::with_capacity(headers.keys_len() + 1);
    let mut codings = codings(&headers, framing);
    for (name, value) in fields(headers) {
        if name == TRANSFER_ENCODING {
            out.extend(codings.take().map(|codings| (name, codings)));
        } else if hop == Hop::Upgrade && is_of_upgrade(&name) {
            upgrading(&mut out, name, value);
        } else if name == CONNECTION && is_kept || crosses(&name, framing, &named) {
            out.append(name, value);
        }
    }
    if framing == Framing::Close {
        out.append(CONNECTION, HeaderValue::from_static("close"));
    }
    framed(out, framing)
}

/// Whether every field crosses as it is, which spares building another map. Most messages are so.
fn all_cross(headers: &HeaderMap, framing: Framing, hop: Hop) -> bool {
    let framed = match framing {
        Framing::Length => !headers.contains_key(TRANSFER_ENCODING),
        Framing::Chunked => is_chunked(headers) && !headers.contains_key(CONTENT_LENGTH),
        Framing::Frames => {
            !headers.contains_key(TRANSFER_ENCODING) && !headers.contains_key(CONTENT_LENGTH)
        }
        Framing::Close => false,
    };
    let mut of_connection = headers.keys().filter(|name| is_of_connection(name));
    framed && of_connection.all(|name| *name == CONNECTION && is_kept(headers, hop))
}

/// Whether all that is said of the connection is that it is kept, as is the one it is said on next.
fn is_kept(headers: &HeaderMap, hop: Hop) -> bool {
    hop == Hop::Exchange && is_lone(headers, &CONNECTION, b"keep-alive")
}

/// Whether `chunked` is the one transfer coding.
fn is_chunked(headers: &HeaderMap) -> bool {
    is_lone(headers, &TRANSFER_ENCODING, b"chunked")
}

fn is_lone(headers: &HeaderMap, name: &HeaderName, word: &[u8]) -> bool {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    first.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(word))
        && values.next().is_none()
}

/// Says `chunked` where the body needs it and the message did not: hyper's client would drop the
/// body of a GET otherwise.
fn framed(mut headers: HeaderMap, framing: Framing) -> HeaderMap {
    if framing == Framing::Chunked && !headers.contains_key(TRANSFER_ENCODING) {
        headers.insert(TRANSFER_ENCODING, CHUNKED);
    }
    headers
}

/// Fields in order, each with its name.
fn fields(headers: HeaderMap) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    let mut rest = headers.into_iter().peekable();
    let mut last = None;
    std::iter::from_fn(move || {
        let (name, value) = rest.next()?;
        let name = name.or_else(|| last.clone())?;
        // Only of several of one name does the first say it.
        let goes_on = matches!(rest.peek(), Some((None, _)));
        last = goes_on.then(|| name.clone());
        Some((name, value))
    })
}

/// The cookies in one field, where they are cut into several.
fn joined_cookies(headers: &HeaderMap) -> Option<HeaderValue> {
    let crumbs: Vec<_> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() < 2 { None } else { HeaderValue::from_bytes(&crumbs.join(&b"; "[..])).ok() }
}

/// The transfer codings as sent, with `chunked` once and last: said twice, it would be another
/// parser's puzzle (RFC 9112 6.1).
fn codings(headers: &HeaderMap, framing: Framing) -> Option<HeaderValue> {
    if framing != Framing::Chunked {
        return None;
    }
    let sent = tokens(headers, TRANSFER_ENCODING);
    let others = sent.filter(|it| !it.eq_ignore_ascii_case(b"chunked"));
    let mut codings: Vec<_> = others.filter(|it| !it.is_empty()).collect();
    codings.push(b"chunked");
    HeaderValue::from_bytes(&codings.join(&b", "[..])).ok()
}

/// Whether a request's transfer codings are anything but one `chunked`: another parser before us may
/// have seen its end elsewhere, so that nothing behind it on the connection can be trusted.
pub(super) fn has_odd_codings(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING) && !is_chunked(headers)
}

/// RFC 9110 7.6.1: fields of one connection stay on it; and a length beside chunks is dropped
/// (RFC 9112 6.3).
fn crosses(name: &HeaderName, framing: Framing, named: &[HeaderName]) -> bool {
    if *name == CONTENT_LENGTH {
        return framing == Framing::Length;
    }
    !is_of_connection(name) && !named.contains(name)
}

fn is_of_upgrade(name: &HeaderName) -> bool {
    *name == CONNECTION || *name == UPGRADE
}

/// Keeps `Upgrade` as sent, and of `Connection` the one word that belongs to it.
fn upgrading(out: &mut HeaderMap, name: HeaderName, value: HeaderValue) {
    if name == CONNECTION {
        out.entry(CONNECTION).or_insert_with(|| HeaderValue::from_static("Upgrade"));
    } else {
        out.append(name, value);
    }
}

fn is_of_connection(name: &HeaderName) -> bool {
    matches!(name.as_str(), "connection" | "keep-alive" | "proxy-connection" | "te" | "upgrade")
}

/// The fields that `Connection` says belong to it.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let others = tokens(headers, CONNECTION).filter(|token| {
        !token.eq_ignore_ascii_case(b"keep-alive") && !token.eq_ignore_ascii_case(b"close")
    });
    others.filter_map(|token| HeaderName::from_bytes(token).ok()).collect()
}

/// Whether `Connection` has `word` in it.
fn says(headers: &HeaderMap, word: &[u8]) -> bool {
    tokens(headers, CONNECTION).any(|token| token.eq_ignore_ascii_case(word))
}

/// What a list says, from all fields of its name (RFC 9110 5.6.1).
fn tokens(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    let values = headers.get_all(name).into_iter();
    values.flat_map(|value| value.as_bytes().split(|&byte| byte == b',')).map(<[u8]>::trim_ascii)
}

/// A request's head for the tape: `METHOD target VERSION` and its fields, credentials as `***`. What
/// HTTP/2 says as `:authority` stands there as `host`.
pub(super) fn tape_request(head: &request::Parts) -> Vec<u8> {
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let mut text = Vec::with_capacity(512);
    for part in [head.method.as_str(), " ", target, " ", version(head.version), "\n"] {
        text.extend_from_slice(part.as_bytes());
    }
    if let Some(authority) = head.uri.authority()
        && !head.headers.contains_key(HOST)
    {
        for part in ["host: ", authority.as_str(), "\n"] {
            text.extend_from_slice(part.as_bytes());
        }
    }
    tape_fields(&mut text, &head.headers);
    text
}

/// An answer's head for the tape: `STATUS VERSION` and its fields, credentials as `***`.
pub(super) fn tape_response(head: &response::Parts) -> Vec<u8> {
    let mut text = Vec::with_capacity(512);
    for part in [head.status.as_str(), " ", version(head.version), "\n"] {
        text.extend_from_slice(part.as_bytes());
    }
    tape_fields(&mut text, &head.headers);
    text
}

fn tape_fields(text: &mut Vec<u8>, headers: &HeaderMap) {
    for (name, value) in headers {
        let secret = SECRET.contains(&name.as_str());
        let value = if secret { b"***" } else { value.as_bytes() };
        for part in [name.as_str().as_bytes(), b": ", value, b"\n"] {
            text.extend_from_slice(part);
        }
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn list(map: &HeaderMap) -> Vec<(&str, &str)> {
        map.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect()
    }

    fn upstream(framing: Framing) -> ToUpstream {
        ToUpstream {
            host: Some(HeaderValue::from_static("up")),
            framing,
            hop: Hop::Exchange,
            crumbs: false,
            traceparent: None,
        }
    }

    #[test]
    fn fields_of_the_connection_go_and_the_others_keep_their_order() {
        let headers = map(&[
            ("a", "1"),
            ("connection", "keep-alive, X-Private"),
            ("host", "proxy"),
            ("x-private", "2"),
            ("keep-alive", "timeout=5"),
            ("b", "3"),
            ("a", "4"),
            ("upgrade", "websocket"),
            ("c", "5"),
        ]);
        let out = to_upstream(headers, upstream(Framing::Length));
        assert_eq!(
            list(&out),
            [("a", "1"), ("a", "4"), ("host", "up"), ("b", "3"), ("c", "5")],
            "equal names stand together in a HeaderMap"
        );
    }

    #[test]
    fn chunked_comes_back_and_a_length_beside_it_does_not() {
        let headers = map(&[("content-length", "9"), ("transfer-encoding", "chunked"), ("x", "1")]);
        let out = to_client(headers.clone(), Framing::Chunked, Hop::Exchange);
        assert_eq!(list(&out), [("transfer-encoding", "chunked"), ("x", "1")]);
        let out = to_client(map(&[("x", "1")]), Framing::Chunked, Hop::Exchange);
        assert_eq!(list(&out), [("x", "1"), ("transfer-encoding", "chunked")]);
        for kept in [&[("x", "1")][..], &[("x", "1"), ("connection", "keep-alive")]] {
            let out = to_client(map(kept), Framing::Close, Hop::Exchange);
            assert_eq!(list(&out), [("x", "1"), ("connection", "close")]);
        }
    }

    #[test]
    fn chunked_is_said_once_and_one_host_is_sent() {
        for codings in [&["chunked", "chunked"][..], &["Chunked , chunked"], &["", "CHUNKED"]] {
            let mut fields = vec![("host", "proxy"), ("host", "other")];
            fields.extend(codings.iter().map(|coding| ("transfer-encoding", *coding)));
            let out = to_upstream(map(&fields), upstream(Framing::Chunked));
            assert_eq!(list(&out), [("host", "up"), ("transfer-encoding", "chunked")]);
        }
        let out = to_client(
            map(&[("transfer-encoding", "gzip,chunked")]),
            Framing::Chunked,
            Hop::Exchange,
        );
        assert_eq!(list(&out), [("transfer-encoding", "gzip, chunked")]);
    }

    #[test]
    fn that_a_connection_is_kept_is_said_on_where_ours_is() {
        let kept = [("a", "1"), ("connection", "Keep-Alive"), ("b", "2")];
        let answer = |hop| to_client(map(&kept), Framing::Length, hop);
        assert_eq!(list(&answer(Hop::Exchange)), kept);
        for other in [Hop::Last, Hop::Stream] {
            assert_eq!(list(&answer(other)), [("a", "1"), ("b", "2")], "{other:?}");
        }
        let host = [("host", "proxy"), ("connection", "keep-alive")];
        let out = to_upstream(map(&host), upstream(Framing::Length));
        assert_eq!(list(&out), [("host", "up"), ("connection", "keep-alive")]);
        for closing in ["close", "keep-alive, close", "keep-alive, x"] {
            let out = to_client(map(&[("connection", closing)]), Framing::Length, Hop::Exchange);
            assert!(out.is_empty(), "{closing}: {out:?}");
        }
    }

    #[test]
    fn the_clients_connection_is_kept_unless_it_says_otherwise() {
        let hop = |version, connection: &'static str| {
            let request = http::Request::get("/").version(version).header(CONNECTION, connection);
            Hop::of_client(&request.body(()).unwrap().into_parts().0)
        };
        assert_eq!(hop(Version::HTTP_11, "keep-alive"), Hop::Exchange);
        assert_eq!(hop(Version::HTTP_11, "te, Close"), Hop::Last);
        assert_eq!(hop(Version::HTTP_10, "keep-alive"), Hop::Last, "hyper's own word");
        assert_eq!(hop(Version::HTTP_2, "x"), Hop::Stream);
    }

    #[test]
    fn te_trailers_is_kept_and_listed_again() {
        let asked = [("te", "gzip, trailers"), ("trailer", "x"), ("host", "proxy")];
        for headers in [map(&asked), map(&[&asked[..], &[("connection", "keep-alive")]].concat())] {
            let out = to_upstream(headers, upstream(Framing::Length));
            assert_eq!(
                list(&out),
                [("te", "trailers"), ("trailer", "x"), ("host", "up"), ("connection", "te")]
            );
        }
    }

    #[test]
    fn nothing_is_said_of_a_connection_that_others_share() {
        let headers = map(&[
            ("host", "proxy"),
            ("connection", "te, x-private"),
            ("x-private", "1"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("a", "1"),
        ]);
        let to = ToUpstream { host: None, hop: Hop::Stream, ..upstream(Framing::Frames) };
        assert_eq!(list(&to_upstream(headers, to)), [("te", "trailers"), ("a", "1")]);
        let headers = map(&[("content-length", "9"), ("keep-alive", "1"), ("a", "1")]);
        assert_eq!(list(&to_client(headers, Framing::Frames, Hop::Stream)), [("a", "1")]);
    }

    #[test]
    fn crumbs_of_cookies_are_joined_only_where_they_were_cut() {
        let headers = map(&[("cookie", "a=1"), ("x", "1"), ("cookie", "b=2"), ("host", "proxy")]);
        let to = ToUpstream { crumbs: true, ..upstream(Framing::Length) };
        let out = to_upstream(headers.clone(), to);
        assert_eq!(list(&out), [("cookie", "a=1; b=2"), ("x", "1"), ("host", "up")]);
        let out = to_upstream(headers, upstream(Framing::Length));
        assert_eq!(out.get_all("cookie").iter().count(), 2, "an HTTP/1 client meant it so");
    }

    #[test]
    fn our_traceparent_stands_where_the_apps_stood() {
        let headers = map(&[("traceparent", "app"), ("z", "1")]);
        let ours = Some(HeaderValue::from_static("ours"));
        let to = ToUpstream { traceparent: ours, ..upstream(Framing::Length) };
        let out = to_upstream(headers, to);
        assert_eq!(list(&out), [("traceparent", "ours"), ("z", "1"), ("host", "up")]);
    }

    #[test]
    fn an_upgrade_crosses_with_the_word_that_asks_for_it() {
        let headers = map(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("keep-alive", "timeout=5"),
        ]);
        let crossed = [("connection", "Upgrade"), ("upgrade", "websocket")];
        assert_eq!(list(&to_client(headers.clone(), Framing::Length, Hop::Upgrade)), crossed);
        let to = ToUpstream { host: None, hop: Hop::Upgrade, ..upstream(Framing::Length) };
        assert_eq!(list(&to_upstream(headers.clone(), to)), crossed);
        assert_eq!(list(&to_client(headers, Framing::Length, Hop::Exchange)), [("", ""); 0]);
    }

    #[test]
    fn what_we_do_not_replace_crosses_beside_what_stays() {
        let headers = map(&[
            ("connection", "close"),
            ("content-length", "9"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
            ("traceparent", "app"),
            ("te", "gzip"),
        ]);
        let to = ToUpstream { host: None, ..upstream(Framing::Length) };
        assert_eq!(
            list(&to_upstream(headers.clone(), to)),
            [("content-length", "9"), ("cookie", "a=1"), ("cookie", "b=2"), ("traceparent", "app")]
        );
        let crossed = to_client(headers, Framing::Length, Hop::Exchange);
        assert_eq!(crossed.get(CONTENT_LENGTH).unwrap(), "9");
        let codings = map(&[("transfer-encoding", "gzip, chunked"), ("x", "1")]);
        let to = ToUpstream { host: None, ..upstream(Framing::Chunked) };
        let out = to_upstream(codings, to);
        assert_eq!(list(&out), [("transfer-encoding", "gzip, chunked"), ("x", "1")]);
    }

    #[test]
    fn a_length_alone_does_not_cross_where_frames_tell_the_end() {
        let headers = map(&[("content-length", "9"), ("a", "1")]);
        assert_eq!(list(&to_client(headers, Framing::Frames, Hop::Stream)), [("a", "1")]);
    }

    #[test]
    fn our_traceparent_is_said_where_the_app_said_none() {
        let ours = Some(HeaderValue::from_static("ours"));
        let to = ToUpstream { traceparent: ours, ..upstream(Framing::Length) };
        let out = to_upstream(map(&[("z", "1")]), to);
        assert_eq!(list(&out), [("z", "1"), ("host", "up"), ("traceparent", "ours")]);
    }

    #[test]
    fn credentials_do_not_reach_the_tape() {
        let request = http::Request::post("/v1/x?y=1")
            .header("Authorization", "Bearer sk-1")
            .header("x-api-key", "sk-2")
            .header("accept", "*/*")
            .body(())
            .unwrap();
        let text = String::from_utf8(tape_request(&request.into_parts().0)).unwrap();
        let expected = "POST /v1/x?y=1 1.1\nauthorization: ***\nx-api-key: ***\naccept: */*\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_tape_keeps_an_authority_as_a_host() {
        let request = http::Request::get("http://proxy:1/v1/x?y").version(Version::HTTP_2);
        let text = tape_request(&request.body(()).unwrap().into_parts().0);
        assert_eq!(text, b"GET /v1/x?y 2\nhost: proxy:1\n");
    }

    #[test]
    fn an_answers_head_reaches_the_tape_without_its_credentials() {
        let answer = http::Response::builder()
            .status(429)
            .header("retry-after", "7")
            .header("Set-Cookie", "session=1")
            .body(())
            .unwrap();
        let text = String::from_utf8(tape_response(&answer.into_parts().0)).unwrap();
        assert_eq!(text, "429 1.1\nretry-after: 7\nset-cookie: ***\n");
    }

    #[test]
    fn a_host_that_was_said_twice_is_taped_once() {
        let request = http::Request::get("http://proxy:1/x").header("host", "other");
        let text = tape_request(&request.body(()).unwrap().into_parts().0);
        assert_eq!(text, b"GET /x 1.1\nhost: other\n");
    }

    #[test]
    fn only_one_chunked_is_not_odd() {
        for (codings, odd) in [
            (&[][..], false),
            (&["chunked"], false),
            (&["Chunked"], false),
            (&["chunked", "chunked"], true),
            (&["gzip, chunked"], true),
            (&["identity"], true),
            (&[""], true),
        ] {
            let fields: Vec<_> = codings.iter().map(|it| ("transfer-encoding", *it)).collect();
            assert_eq!(has_odd_codings(&map(&fields)), odd, "{codings:?}");
        }
    }
}
