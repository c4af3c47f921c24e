//! Heads as they stand on the tape: a first line, then one header a line. Knows which headers say
//! something of an exchange, and no body.

use std::time::Duration;

use memchr::memchr;

use super::decode::media::Media;
use super::gateway::Gateway;

/// Longest texts that are kept.
const PATH: usize = 1024;
const METHOD: usize = 32;
const USER_AGENT: usize = 256;
const REQUEST_ID: usize = 128;

/// Headers in which upstreams tell their id of an exchange; the first that is there counts.
const REQUEST_IDS: [&[u8]; 7] = [
    b"x-request-id",
    b"request-id",
    b"apim-request-id",
    b"x-ms-request-id",
    b"x-amzn-requestid",
    b"mistral-correlation-id",
    b"x-ds-trace-id",
];

/// What a request's head says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RequestHead {
    /// As sent.
    pub method: String,
    /// Without the query.
    pub path: String,
    /// `1.0`, `1.1` or `2`; empty where it is none of them.
    pub version: &'static str,
    /// What `Content-Type` promises of the body.
    pub media: Media,
    /// `Content-Encoding`, several joined with commas.
    pub content_encoding: String,
    /// `User-Agent`.
    pub user_agent: Option<String>,
}

/// What a response's head says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status; 0 where it is unreadable.
    pub status: u16,
    /// What `Content-Type` promises of the body.
    pub media: Media,
    /// `Content-Encoding`, several joined with commas.
    pub content_encoding: String,
    /// The upstream's id of the exchange.
    pub request_id: Option<String>,
    /// `openai-processing-ms`.
    pub processing: Option<Duration>,
    /// What gateways say of the answer.
    pub gateway: Gateway,
    /// The answer is our own.
    pub is_ours: bool,
}

impl RequestHead {
    /// Of `METHOD target VERSION` and the headers.
    pub fn read(head: &[u8]) -> Self {
        let (first, headers) = lines(head);
        let first = String::from_utf8_lossy(first);
        let mut words = first.split(' ');
        let method = words.next().unwrap_or_default();
        let path = path(words.next().unwrap_or_default());
        let version = match words.next() {
            Some("1.0") => "1.0",
            Some("1.1") => "1.1",
            Some("2") => "2",
            _ => "",
        };
        let (method, path) = (cut(method, METHOD), cut(path, PATH));
        let mut read = Self { method, path, version, ..Self::default() };
        for (name, value) in headers {
            if name.eq_ignore_ascii_case(b"content-type") {
                read.media = media(value);
            } else if name.eq_ignore_ascii_case(b"content-encoding") {
                join(&mut read.content_encoding, value);
            } else if name.eq_ignore_ascii_case(b"user-agent") {
                read.user_agent = Some(bounded(value, USER_AGENT));
            }
        }
        read
    }
}

impl ResponseHead {
    /// Of `STATUS VERSION` and the headers.
    pub fn read(head: &[u8]) -> Self {
        let (first, headers) = lines(head);
        let status = first.split(|&byte| byte == b' ').next().and_then(number).unwrap_or(0);
        let mut read = Self { status, ..Self::default() };
        let mut best = REQUEST_IDS.len();
        for (name, value) in headers {
            read.gateway.see(name, value);
            if name.eq_ignore_ascii_case(b"content-type") {
                read.media = media(value);
            } else if name.eq_ignore_ascii_case(b"content-encoding") {
                join(&mut read.content_encoding, value);
            } else if name.eq_ignore_ascii_case(b"openai-processing-ms") {
                read.processing = number(value).and_then(milliseconds);
            } else if name.eq_ignore_ascii_case(b"clearspan-error") {
                read.is_ours = true;
            } else if !value.is_empty() {
                let rank = REQUEST_IDS.iter().position(|id| name.eq_ignore_ascii_case(id));
                if let Some(rank) = rank.filter(|&rank| rank < best) {
                    best = rank;
                    read.request_id = Some(bounded(value, REQUEST_ID));
                }
            }
        }
        read
    }
}

/// The first line, and the headers' names and values.
fn lines(head: &[u8]) -> (&[u8], impl Iterator<Item = (&[u8], &[u8])>) {
    let (first, mut rest) = split(head, b'\n').unwrap_or((head, &[]));
    let headers = std::iter::from_fn(move || {
        while !rest.is_empty() {
            let (line, after) = split(rest, b'\n').unwrap_or((rest, &[]));
            rest = after;
            if let Some((name, value)) = split(line, b':') {
                return Some((name.trim_ascii(), value.trim_ascii()));
            }
        }
        None
    });
    (first.trim_ascii(), headers)
}

/// What stands before the first `at`, and what after it.
fn split(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let (before, rest) = bytes.split_at(memchr(at, bytes)?);
    Some((before, rest.get(1..).unwrap_or_default()))
}

/// The path of a target: also of one with scheme and authority.
fn path(target: &str) -> &str {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    match path.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => {
            rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/")
        }
        _ => path,
    }
}

fn media(value: &[u8]) -> Media {
    Media::of(&String::from_utf8_lossy(value))
}

fn join(list: &mut String, value: &[u8]) {
    if !list.is_empty() {
        list.push(',');
    }
    list.push_str(&String::from_utf8_lossy(value));
}

fn bounded(value: &[u8], longest: usize) -> String {
    cut(&String::from_utf8_lossy(value), longest)
}

fn cut(text: &str, longest: usize) -> String {
    text[..text.floor_char_boundary(longest)].to_owned()
}

fn number<T: std::str::FromStr>(value: &[u8]) -> Option<T> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn milliseconds(millis: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(millis / 1e3).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read() {
        let head = RequestHead::read(
            b"POST /openai/v1/chat/completions?api-version=1 1.1\nHost: x\nContent-Type: application/json\n\
            content-encoding: gzip\ncontent-encoding: zstd\nUser-Agent: python/3\n",
        );
        let expected = RequestHead {
            method: "POST".to_owned(),
            path: "/openai/v1/chat/completions".to_owned(),
            version: "1.1",
            media: Media::Json,
            content_encoding: "gzip,zstd".to_owned(),
            user_agent: Some("python/3".to_owned()),
        };
        assert_eq!(head, expected);
    }

    #[test]
    fn a_response_is_read_and_the_best_id_counts() {
        let head = ResponseHead::read(
            b"429 1.1\napim-request-id: c\nX-Request-Id: a\nrequest-id: b\nopenai-processing-ms: 215\n",
        );
        assert_eq!((head.status, head.request_id.as_deref()), (429, Some("a")));
        assert_eq!(head.processing, Some(Duration::from_millis(215)));
        assert!(!head.is_ours);
        assert!(ResponseHead::read(b"502 1.1\nclearspan-error: dns\n").is_ours);
    }

    #[test]
    fn any_bytes_are_some_head() {
        for bytes in [
            &b""[..],
            b"\n",
            b"\xff\xfe",
            b"GET",
            b"GET /\n:\nx",
            b"200",
            b"no 1.1\nopenai-processing-ms: -1",
        ] {
            RequestHead::read(bytes);
            ResponseHead::read(bytes);
        }
        assert_eq!(path("http://host:1/v1/models?x"), "/v1/models");
        assert_eq!(path("http://host"), "/");
        assert_eq!(path("/a://b"), "/a://b");
        let long = RequestHead::read(format!("GET /{} 2\n", "é".repeat(2000)).as_bytes());
        assert!(long.path.len() <= PATH && long.version == "2");
    }
}
