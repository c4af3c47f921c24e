//! What may differ between what one side sent and what the other received: exactly what the
//! program declares, and nothing else. Knows heads; bodies are compared byte by byte elsewhere.
//!
//! Kept: status and reason, each name's case, the order of first appearance of names, the order of
//! values within a name, every duplicate. Not kept: fields of one connection, interleaving of
//! equal names, whitespace around values, `Content-Length` beside `Transfer-Encoding` or of a 304.

use super::wire::{Framing, Head};

/// Fields of one connection (RFC 9110 7.6.1).
const HOP: [&str; 6] =
    ["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"];

/// What the proxy was told to change in a request.
#[derive(Clone, Debug)]
pub(crate) struct Declared {
    /// The upstream's own authority, which takes the place of the client's `Host`.
    pub(crate) host: String,
    /// The target as the upstream is to see it.
    pub(crate) target: String,
    /// Whether `traceparent` is ours.
    pub(crate) propagate: bool,
}

/// All values of one name: how each was spelled, and the value.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    name: String,
    values: Vec<(String, String)>,
}

/// How what an upstream received differs from what the client sent; nothing when it may.
pub(crate) fn request(sent: &Head, received: &Head, declared: &Declared) -> Vec<String> {
    let expected_start = format!("{} {} HTTP/1.1", sent.method(), declared.target);
    let mut differences = different("request line", &expected_start, &received.start);
    let mut expected = groups(sent);
    let mut found = groups(received);
    replace(&mut expected, &mut found, "host", Some(&declared.host), &mut differences);
    if declared.propagate {
        replace(&mut expected, &mut found, "traceparent", None, &mut differences);
    }
    if sent.request_framing() == Framing::Chunked {
        expected.retain(|group| group.name != "content-length");
    }
    differences.extend(framing(sent.request_framing(), received.request_framing(), received));
    differences.extend(trailers_wanted(sent, received));
    differences.extend(fields(&expected, &found));
    differences
}

/// How what a client received differs from what the upstream sent in answer to `method`.
pub(crate) fn response(method: &str, sent: &Head, received: &Head) -> Vec<String> {
    let status = |head: &Head| head.start.split_once(' ').map(|(_, rest)| rest.to_owned());
    let mut differences = different("status", &status(sent), &status(received));
    let (mut expected, mut found) = (groups(sent), groups(received));
    let framed = sent.response_framing(method);
    if framed == Framing::Chunked || sent.field("transfer-encoding").is_some() {
        expected.retain(|group| group.name != "content-length");
    }
    if sent.status() == 304 {
        expected.retain(|group| group.name != "content-length");
        found.retain(|group| group.name != "content-length");
    }
    // An HTTP/1.0 client can only be told by the end of the connection.
    if !(framed == Framing::Chunked && received.start.starts_with("HTTP/1.0")) {
        differences.extend(framing(framed, received.response_framing(method), received));
    }
    differences.extend(fields(&expected, &found));
    differences
}

fn different<T: PartialEq + std::fmt::Debug>(what: &str, sent: &T, received: &T) -> Vec<String> {
    if sent == received {
        return Vec::new();
    }
    vec![format!("{what}: {sent:?} became {received:?}")]
}

/// Fields that cross the proxy, in order of first appearance of their names.
fn groups(head: &Head) -> Vec<Group> {
    let named: Vec<String> = head
        .all("connection")
        .flat_map(|value| value.split(','))
        .map(|token| token.trim().to_ascii_lowercase())
        .collect();
    let mut groups: Vec<Group> = Vec::new();
    for (spelled, value) in &head.fields {
        let name = spelled.to_ascii_lowercase();
        if HOP.contains(&name.as_str()) || named.contains(&name) {
            continue;
        }
        let entry = (spelled.clone(), value.clone());
        match groups.iter_mut().find(|group| group.name == name) {
            Some(group) => group.values.push(entry),
            None => groups.push(Group { name, values: vec![entry] }),
        }
    }
    groups
}

/// `name` is ours: it stands where the client's stood, or anywhere where the client had none.
fn replace(
    expected: &mut Vec<Group>,
    found: &mut Vec<Group>,
    name: &str,
    value: Option<&str>,
    differences: &mut Vec<String>,
) {
    let Some(at) = found.iter().position(|group| group.name == name) else {
        differences.push(format!("{name} is missing"));
        return;
    };
    let ours = found[at].clone();
    let right = ours.values.len() == 1 && value.is_none_or(|value| ours.values[0].1 == value);
    if !right {
        differences.push(format!("{name} is {:?}", ours.values));
    }
    match expected.iter_mut().find(|group| group.name == name) {
        Some(theirs) => theirs.values = ours.values,
        None => drop(found.remove(at)),
    }
    // One that the connection names is not the client's to keep.
    expected.retain(|group| group.name != name || found.iter().any(|it| it.name == name));
}

fn framing(sent: Framing, received: Framing, head: &Head) -> Vec<String> {
    let mut differences = different("framing", &sent, &received);
    if received == Framing::Chunked && head.field("content-length").is_some() {
        differences.push("both Content-Length and Transfer-Encoding".into());
    }
    differences
}

/// `TE: trailers` reaches the upstream, listed in `Connection` as it has to be.
fn trailers_wanted(sent: &Head, received: &Head) -> Vec<String> {
    let holds = |head: &Head, name: &str, token: &str| {
        let mut tokens = head.all(name).flat_map(|value| value.split(','));
        tokens.any(|it| it.trim().eq_ignore_ascii_case(token))
    };
    let sent_it = holds(sent, "te", "trailers");
    let received_it = holds(received, "te", "trailers") && holds(received, "connection", "te");
    different("TE: trailers", &sent_it, &received_it)
}

fn fields(sent: &[Group], received: &[Group]) -> Vec<String> {
    let names = |groups: &[Group]| groups.iter().map(|it| it.name.clone()).collect::<Vec<_>>();
    let mut differences = different("names and their order", &names(sent), &names(received));
    for group in sent {
        let same_name = received.iter().find(|it| it.name == group.name);
        if let Some(other) = same_name.filter(|other| other.values != group.values) {
            differences.push(format!("{:?} became {:?}", group.values, other.values));
        }
    }
    differences
}

mod tests {
    use super::*;

    const SENT: &str = "POST /v1/x?y=1 HTTP/1.1\r\nHost: proxy\r\nX-A: 1\r\nx-b: 2\r\nX-A: 3\r\n\
                        Content-Length: 4\r\n\r\n";

    fn head(text: &str) -> Head {
        Head::parse(text.as_bytes())
    }

    fn declared(propagate: bool) -> Declared {
        Declared { host: "up".into(), target: "/v1/x?y=1".into(), propagate }
    }

    /// Differences after `from` became `to` on the way.
    fn requests(from: &str, to: &str) -> Vec<String> {
        let received = SENT.replace("Host: proxy", "Host: up").replace(from, to);
        assert!(from.is_empty() || SENT.contains(from) || from == "Host: up");
        request(&head(SENT), &head(&received), &declared(false))
    }

    #[test]
    fn what_may_change_in_a_request_may() {
        assert_eq!(requests("", ""), [""; 0]);
        assert_eq!(requests("X-A: 1\r\nx-b: 2\r\nX-A: 3", "X-A: 1\r\nX-A: 3\r\nx-b: 2"), [""; 0]);
        assert_eq!(requests("X-A: 1", "X-A:  1 "), [""; 0]);
        assert_eq!(requests("X-A: 1", "Connection: close\r\nX-A: 1"), [""; 0]);
    }

    #[test]
    fn nothing_else_may_change_in_a_request() {
        for (from, to) in [
            ("X-A: 1\r\nx-b: 2\r\nX-A: 3", "x-b: 2\r\nX-A: 1\r\nX-A: 3"),
            ("X-A: 1\r\nx-b: 2\r\nX-A: 3", "X-A: 3\r\nx-b: 2\r\nX-A: 1"),
            ("X-A: 3\r\n", ""),
            ("X-A: 3\r\n", "X-A: 3\r\nX-A: 3\r\n"),
            ("x-b: 2", "X-B: 2"),
            ("x-b: 2", "x-b: 22"),
            ("x-b: 2", "x-b: 2\r\nVia: proxy"),
            ("x-b: 2\r\n", ""),
            ("X-A: 1\r\nx-b: 2\r\nX-A: 3", "X-A: 1, 3\r\nx-b: 2"),
            ("Host: up", "Host: proxy"),
            ("Host: up", "host: up"),
            ("Host: up", "Host: up\r\nHost: up"),
            ("Content-Length: 4", "Content-Length: 5"),
            ("Content-Length: 4", "Transfer-Encoding: chunked"),
            ("/v1/x?y=1", "/v1/x"),
            ("POST", "post"),
            ("HTTP/1.1", "HTTP/1.0"),
        ] {
            let differences = match from {
                "Host: up" => {
                    let received = SENT.replace("Host: proxy", to);
                    request(&head(SENT), &head(&received), &declared(false))
                }
                _ => requests(from, to),
            };
            // Only the spelling of a name that is ours is ours.
            assert_eq!(differences.is_empty(), to == "host: up", "{from} -> {to}");
        }
    }

    #[test]
    fn our_traceparent_takes_the_place_of_the_apps_and_no_other() {
        let sent = "GET /v1/x?y=1 HTTP/1.1\r\nHost: p\r\ntraceparent: theirs\r\nA: 1\r\n\r\n";
        let ours = "GET /v1/x?y=1 HTTP/1.1\r\nHost: up\r\ntraceparent: ours\r\nA: 1\r\n\r\n";
        let moved = "GET /v1/x?y=1 HTTP/1.1\r\nHost: up\r\nA: 1\r\ntraceparent: ours\r\n\r\n";
        assert_eq!(request(&head(sent), &head(ours), &declared(true)), [""; 0]);
        assert_ne!(request(&head(sent), &head(ours), &declared(false)), [""; 0]);
        assert_ne!(request(&head(sent), &head(moved), &declared(true)), [""; 0]);
        let without = "GET /v1/x?y=1 HTTP/1.1\r\nHost: p\r\nA: 1\r\n\r\n";
        assert_eq!(request(&head(without), &head(moved), &declared(true)), [""; 0]);
        assert_ne!(request(&head(without), &head(moved), &declared(false)), [""; 0]);
    }

    #[test]
    fn fields_of_the_connection_go_and_te_trailers_stays() {
        let sent = "GET /v1/x?y=1 HTTP/1.1\r\nHost: p\r\nConnection: x-own, TE\r\nX-Own: 1\r\n\
                    TE: trailers\r\n\r\n";
        let kept = "GET /v1/x?y=1 HTTP/1.1\r\nHost: up\r\nTE: trailers\r\nConnection: te\r\n\r\n";
        let lost = "GET /v1/x?y=1 HTTP/1.1\r\nHost: up\r\n\r\n";
        let leaked = kept.replace("Host: up", "Host: up\r\nX-Own: 1");
        assert_eq!(request(&head(sent), &head(kept), &declared(false)), [""; 0]);
        assert_ne!(request(&head(sent), &head(lost), &declared(false)), [""; 0]);
        assert_ne!(request(&head(sent), &head(&leaked), &declared(false)), [""; 0]);
    }

    #[test]
    fn nothing_but_the_framing_rules_may_change_in_an_answer() {
        let sent = "HTTP/1.1 200 Fine\r\nDate: today\r\nContent-Length: 2\r\nSet-Cookie: a\r\n\
                    Set-Cookie: b\r\n\r\n";
        let compare = |from: &str, to: &str| {
            assert!(sent.contains(from));
            response("GET", &head(sent), &head(&sent.replace(from, to)))
        };
        assert_eq!(compare("HTTP/1.1", "HTTP/1.0"), [""; 0]);
        assert_eq!(compare("Date: today", "Connection: close\r\nDate: today"), [""; 0]);
        for (from, to) in [
            ("Fine", "OK"),
            ("200", "201"),
            ("Date: today\r\n", ""),
            ("Date: today", "date: today"),
            ("Set-Cookie: a\r\nSet-Cookie: b", "Set-Cookie: b\r\nSet-Cookie: a"),
            ("Set-Cookie: a\r\n", ""),
            ("Content-Length: 2", "Transfer-Encoding: chunked"),
            ("Content-Length: 2", "Content-Length: 2\r\nServer: x"),
        ] {
            assert_ne!(compare(from, to), [""; 0], "{from} -> {to}");
        }
        let chunked = sent.replace("Content-Length: 2", "Transfer-Encoding: chunked");
        let close = sent.replace("Content-Length: 2\r\n", "");
        assert_ne!(response("GET", &head(&close), &head(&chunked)), [""; 0], "a close stays one");
    }

    #[test]
    fn a_length_beside_chunks_goes_and_one_of_a_304_may() {
        let both = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n";
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(response("GET", &head(both), &head(chunked)), [""; 0]);
        assert_ne!(response("GET", &head(both), &head(both)), [""; 0]);
        let unmodified = "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n";
        let bare = "HTTP/1.1 304 Not Modified\r\n\r\n";
        assert_eq!(response("GET", &head(unmodified), &head(bare)), [""; 0]);
        let found = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n";
        let lost = "HTTP/1.1 200 OK\r\n\r\n";
        assert_ne!(response("HEAD", &head(found), &head(lost)), [""; 0], "HEAD keeps its length");
    }
}
