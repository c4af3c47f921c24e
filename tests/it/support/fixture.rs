//! Loads `tests/fixtures/DIALECT/NAME.http`: one exchange, of our own making, in the format that the
//! README beside them describes. Knows no meaning of any byte.

use std::fs;
use std::path::{Path, PathBuf};

/// One exchange.
#[derive(Clone, Debug)]
pub(crate) struct Fixture {
    /// `openai/chat_stream`.
    pub(crate) name: String,
    /// The folder: whose format the upstream speaks.
    pub(crate) upstream_dialect: String,
    /// Who answers, in the conventions' spelling.
    pub(crate) provider: String,
    /// Stands in front of the path and only addresses the upstream; usually empty.
    pub(crate) mount: String,
    /// What the client sends.
    pub(crate) request: Request,
    /// What the upstream answers, if it does.
    pub(crate) response: Option<Response>,
    /// How the hot path ended it (`upstream_reset`), where that is not `complete`.
    pub(crate) ending: Option<String>,
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// With the mount.
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// A response.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) reason: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Where the body pauses: after so many bytes of it, for so many milliseconds.
    pub(crate) pauses: Vec<(usize, u64)>,
}

/// All fixtures, in the order of their names.
pub(crate) fn fixtures() -> Vec<Fixture> {
    let root = root();
    let mut found = Vec::new();
    for dialect in folders(&root) {
        for entry in fs::read_dir(root.join(&dialect)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "http") {
                let name = path.file_stem().unwrap().to_str().unwrap();
                found.push(parse(&dialect, name, &fs::read(&path).unwrap()));
            }
        }
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

/// Where the fixture's `NAME.expected` stands.
pub(crate) fn expectation(fixture: &Fixture) -> PathBuf {
    root().join(format!("{}.expected", fixture.name))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn folders(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root).unwrap().map(|entry| entry.unwrap());
    let folders = entries.filter(|entry| entry.file_type().unwrap().is_dir());
    folders.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

/// A section: its separator's words, and the bytes up to the next separator.
type Section<'a> = (Vec<&'a str>, &'a [u8]);

fn parse(dialect: &str, stem: &str, file: &[u8]) -> Fixture {
    let name = format!("{dialect}/{stem}");
    let sections = sections(file, &name);
    let mut fixture = Fixture {
        name: name.clone(),
        upstream_dialect: dialect.to_owned(),
        provider: dialect.to_owned(),
        mount: String::new(),
        request: Request {
            method: String::new(),
            target: String::new(),
            headers: Vec::new(),
            body: Vec::new(),
        },
        response: None,
        ending: None,
    };
    for (words, bytes) in &sections {
        match (words.as_slice(), &mut fixture.response) {
            ([], _) => settings(text(bytes, &name), &mut fixture),
            (["request"], _) => {
                let (first, headers) = head(text(bytes, &name));
                let (method, target) = first.split_once(' ').expect(&name);
                (fixture.request.method, fixture.request.target) = (method.into(), target.into());
                fixture.request.headers = headers;
            }
            (["response"], _) => {
                let (first, headers) = head(text(bytes, &name));
                let (status, reason) = first.split_once(' ').unwrap_or((first, ""));
                let (status, reason) = (status.parse().expect(&name), reason.to_owned());
                let (body, pauses) = (Vec::new(), Vec::new());
                fixture.response = Some(Response { status, reason, headers, body, pauses });
            }
            (["body", form @ ..], None) => fixture.request.body = body(form, bytes),
            (["body", form @ ..], Some(response)) => response.body = body(form, bytes),
            (["pause", millis, form @ ..], Some(response)) => {
                response.pauses.push((response.body.len(), millis.parse().expect(&name)));
                response.body.extend(body(form, bytes));
            }
            (words, _) => panic!("{name}: unknown section {words:?}"),
        }
    }
    fixture
}

/// Cuts a file at its separator lines, up to `--- end`.
fn sections<'a>(file: &'a [u8], name: &str) -> Vec<Section<'a>> {
    let (mut sections, mut words) = (Vec::new(), Vec::new());
    let (mut begin, mut at) = (0, 0);
    for line in file.split_inclusive(|&byte| byte == b'\n') {
        if let Some(rest) = line.strip_prefix(b"--- ") {
            let bytes = &file[begin..at];
            sections.push((words, bytes.strip_suffix(b"\n").unwrap_or(bytes)));
            words = text(rest, name).split_whitespace().collect();
            if words == ["end"] {
                return sections;
            }
            begin = at + line.len();
        }
        at += line.len();
    }
    panic!("{name}: `--- end` is missing");
}

fn text<'a>(bytes: &'a [u8], name: &str) -> &'a str {
    std::str::from_utf8(bytes).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn settings(text: &str, fixture: &mut Fixture) {
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        match line.split_once(": ") {
            Some(("provider", value)) => value.clone_into(&mut fixture.provider),
            Some(("mount", value)) => value.clone_into(&mut fixture.mount),
            Some(("ending", value)) => fixture.ending = Some(value.to_owned()),
            _ => panic!("{}: unknown setting `{line}`", fixture.name),
        }
    }
}

fn head(text: &str) -> (&str, Vec<(String, String)>) {
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let header = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("header `{line}`"));
        (name.to_owned(), value.to_owned())
    };
    (first, lines.map(header).collect())
}

fn body(form: &[&str], bytes: &[u8]) -> Vec<u8> {
    match form {
        [] => bytes.to_vec(),
        ["crlf"] => {
            let lines: Vec<_> = bytes.split(|&byte| byte == b'\n').collect();
            lines.join(&b"\r\n"[..])
        }
        ["hex"] => {
            let digits: Vec<u8> =
                bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
            let byte =
                |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
            digits.chunks(2).map(byte).collect()
        }
        other => panic!("unknown form of a body: {other:?}"),
    }
}

#[test]
fn a_fixture_is_read_to_the_byte() {
    let file = b"# Why.\nprovider: x_ai\nending: upstream_reset\n--- request\nPOST /v1/x?y=1\na: b: c\nd: \n--- body hex\n\
        00 ff\n--- response\n200 Very OK\n--- body\none\n\n--- pause 20 crlf\ntwo\n\n\n--- end\n";
    let fixture = parse("openai", "x", file);
    assert_eq!((fixture.name.as_str(), fixture.provider.as_str()), ("openai/x", "x_ai"));
    assert_eq!(fixture.ending.as_deref(), Some("upstream_reset"));
    assert_eq!(
        (fixture.request.method.as_str(), fixture.request.target.as_str()),
        ("POST", "/v1/x?y=1")
    );
    let headers = [("a".to_owned(), "b: c".to_owned()), ("d".to_owned(), String::new())];
    assert_eq!(fixture.request.headers, headers);
    assert_eq!(fixture.request.body, [0, 255]);
    let response = fixture.response.unwrap();
    assert_eq!((response.status, response.reason.as_str()), (200, "Very OK"));
    assert_eq!(response.body, b"one\ntwo\r\n\r\n");
    assert_eq!(response.pauses, [(4, 20)]);
}
