//! Fixtures through the Observer: each gives the observation that stands beside it, however its
//! bytes are cut. Knows the Observer's input and output, and nothing between.

use std::fmt::Write;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use clearspan::observe::Settings;
use clearspan::observe::observation::Observation;
use clearspan::observe::observer::Observer;
use clearspan::tape::{Cause, Direction, End, Entry, Ids, Milestone, Start, Upstream, Vitals};

use crate::support::fixture::{Fixture, Response, expectation, fixtures};

/// Bodies up to this are cut at every place.
const EVERY_CUT: usize = 4096;

/// How a body is cut into chunks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cuts {
    /// Not at all.
    Whole,
    /// Once, after so many bytes.
    At(usize),
    /// After each byte.
    Bytes,
    /// At random, the same for the same seed.
    Random(u64),
}

impl Cuts {
    /// The chunks of `body`, each with where it begins.
    fn of(self, body: &[u8]) -> Vec<(usize, &[u8])> {
        let mut random = fastrand::Rng::with_seed(match self {
            Self::Random(seed) => seed,
            _ => 0,
        });
        let longest = 1 << random.u32(0..9);
        let (mut at, mut chunks) = (0, Vec::new());
        while at < body.len() {
            let length = match self {
                Self::Whole => body.len(),
                Self::At(cut) if at == 0 => cut.max(1),
                Self::At(_) => body.len(),
                Self::Bytes => 1,
                Self::Random(_) => random.usize(1..=longest),
            };
            let end = (at + length).min(body.len());
            chunks.push((at, &body[at..end]));
            at = end;
        }
        chunks
    }
}

/// As on a tape, where names are small (hyper parses them so).
fn head(first: &str, headers: &[(String, String)]) -> Vec<u8> {
    let mut head = format!("{first}\n");
    for (name, value) in headers {
        writeln!(head, "{}: {value}", name.to_ascii_lowercase()).unwrap();
    }
    head.into_bytes()
}

fn start(fixture: &Fixture) -> Start {
    let request = &fixture.request;
    let upstream = Upstream {
        name: fixture.upstream_dialect.clone(),
        provider: fixture.provider.clone(),
        dialect: fixture.upstream_dialect.clone(),
        address: "localhost".to_owned(),
        port: Some(80),
    };
    let first = format!("{} {} 1.1", request.method, request.target);
    Start {
        ids: Ids {
            trace: [1; 16],
            parent: None,
            server_span: [2; 8],
            client_span: [3; 8],
            flags: 1,
        },
        upstream: Some(Arc::new(upstream)),
        started: SystemTime::UNIX_EPOCH,
        client: None,
        // The same for each fixture: not shown.
        scheme: "",
        mount: fixture.mount.len(),
        head: head(&first, &request.headers),
    }
}

fn cause(fixture: &Fixture) -> Cause {
    match fixture.ending.as_deref() {
        None => Cause::Complete,
        Some("client_canceled") => Cause::ClientGone,
        Some("client_timeout") => Cause::ClientStalled,
        Some("upstream_timeout") => Cause::UpstreamTimeout("silent"),
        Some("upstream_reset") => Cause::UpstreamReset("reset"),
        Some("proxy_error") => Cause::Refused("shutdown"),
        Some(other) => panic!("{}: unknown ending `{other}`", fixture.name),
    }
}

/// When each byte of a response's body comes: at 20 ms, and later after each pause.
fn arrival(response: &Response, at: usize) -> Duration {
    let passed = response.pauses.iter().filter(|(after, _)| *after <= at);
    Duration::from_millis(20 + passed.map(|(_, millis)| millis).sum::<u64>())
}

/// Observes `fixture`, its bodies cut so.
pub(crate) fn observe(fixture: &Fixture, request: Cuts, response: Cuts) -> Observation {
    observe_until(fixture, request, response, |_| ())
}

/// The same, where something befalls the observer after each chunk.
fn observe_until(
    fixture: &Fixture,
    request: Cuts,
    response: Cuts,
    mut befall: impl FnMut(&mut Observer),
) -> Observation {
    let at = Duration::from_millis;
    let mut observer = Observer::new(start(fixture), Arc::new(Settings::default()));
    let body = &fixture.request.body;
    for (_, chunk) in request.of(body) {
        observer.see(at(1), Entry::Body(Direction::Request, chunk));
        befall(&mut observer);
    }
    observer.see(at(1), Entry::At(Milestone::RequestEnd));
    for (millis, milestone) in [
        (2, Milestone::Lease),
        (3, Milestone::Connected),
        (4, Milestone::Sent),
        (5, Milestone::SentAll),
    ] {
        observer.see(at(millis), Entry::At(milestone));
    }
    let mut end = at(30);
    let mut response_bytes = 0;
    if let Some(answer) = &fixture.response {
        let first = format!("{} 1.1", answer.status);
        observer.see(at(10), Entry::Head(&head(&first, &answer.headers)));
        for (begin, chunk) in response.of(&answer.body) {
            pieces(answer, begin, chunk, |time, piece| {
                observer.see(time, Entry::Body(Direction::Response, piece));
            });
            befall(&mut observer);
        }
        end = arrival(answer, answer.body.len()) + at(10);
        response_bytes = answer.body.len() as u64;
    }
    let vitals = Vitals::ended(End { at: end, cause: cause(fixture) });
    vitals.request_bytes.store(body.len() as u64, Relaxed);
    vitals.response_bytes.store(response_bytes, Relaxed);
    observer.finish(&vitals)
}

/// Cuts a chunk at the pauses within it, so that no chunk comes at two times.
fn pieces(answer: &Response, begin: usize, chunk: &[u8], mut see: impl FnMut(Duration, &[u8])) {
    let (mut at, mut rest) = (begin, chunk);
    let inside = answer.pauses.iter().map(|(after, _)| *after);
    for cut in inside.filter(|&cut| cut > begin && cut < begin + chunk.len()) {
        let (piece, after) = rest.split_at(cut - at);
        see(arrival(answer, at), piece);
        (at, rest) = (cut, after);
    }
    see(arrival(answer, at), rest);
}

/// The whole observation as text: what is absent, zero or empty is left out, and what is the same
/// for each fixture.
pub(crate) fn show(observation: &Observation) -> String {
    let mut text = String::new();
    for (name, value) in [
        ("http", format!("{:?}", observation.http)),
        ("operation", format!("{:?}", observation.operation)),
        ("request", format!("{:?}", observation.request)),
        ("stream_usage", format!("{:?}", observation.stream_usage)),
        ("response", format!("{:?}", observation.response)),
        ("times", format!("{:?}", observation.times)),
        ("gaps", format!("{:?}", observation.gaps.means().collect::<Vec<_>>())),
        ("stalls", format!("{:?}", observation.stalls)),
        ("ending", format!("{:?}", observation.ending.as_str())),
        ("error_type", format!("{:?}", observation.error_type)),
        ("error_side", format!("{:?}", observation.error_side)),
        ("limit_hit", format!("{:?}", observation.limit_hit)),
        ("usage", format!("{:?}", observation.usage)),
        ("estimate", format!("{:?}", observation.estimate)),
        ("cost", format!("{:?}", observation.cost)),
        ("notes", format!("{:?}", observation.notes)),
    ] {
        line(&mut text, 0, name, &value);
    }
    text
}

/// One field, on a line; the fields of a struct below it.
fn line(text: &mut String, depth: usize, name: &str, value: &str) {
    if ["None", "false", "0", "[]", "\"\""].contains(&value) {
        return;
    }
    let value = value
        .strip_prefix("Some(")
        .or(value.strip_prefix("Value("))
        .and_then(|value| value.strip_suffix(')'))
        .unwrap_or(value);
    let indent = "  ".repeat(depth);
    let inner = value.split_once(" { ").and_then(|(kind, rest)| {
        let plain = kind.bytes().all(|byte| byte.is_ascii_alphanumeric());
        rest.strip_suffix(" }").filter(|_| plain)
    });
    let Some(inner) = inner else {
        writeln!(text, "{indent}{name}: {value}").unwrap();
        return;
    };
    let mut below = String::new();
    for (name, value) in fields(inner) {
        line(&mut below, depth + 1, name, value);
    }
    if !below.is_empty() {
        write!(text, "{indent}{name}:\n{below}").unwrap();
    }
}

/// The fields of a struct as `Debug` writes them.
fn fields(inner: &str) -> Vec<(&str, &str)> {
    let (mut depth, mut quoted, mut escaped, mut begin) = (0, false, false, 0);
    let mut parts = Vec::new();
    for (at, byte) in inner.bytes().enumerate() {
        match byte {
            _ if std::mem::take(&mut escaped) => (),
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => (),
            b'{' | b'(' | b'[' => depth += 1,
            b'}' | b')' | b']' => depth -= 1,
            b',' if depth == 0 => {
                parts.push(&inner[begin..at]);
                begin = at + 2;
            }
            _ => (),
        }
    }
    parts.push(&inner[begin..]);
    parts.into_iter().map(|part| part.split_once(": ").expect(part)).collect()
}

#[test]
fn each_fixture_gives_the_observation_beside_it() {
    let update = std::env::var_os("UPDATE").is_some();
    let fixtures = fixtures();
    let mut wrong = Vec::new();
    for fixture in &fixtures {
        let found = show(&observe(fixture, Cuts::Whole, Cuts::Whole));
        let path = expectation(fixture);
        if update {
            fs::write(&path, &found).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if found != expected {
            wrong.push(format!("{}:\n{found}", fixture.name));
        }
    }
    assert!(wrong.is_empty(), "not as expected:\n{}", wrong.join("\n"));
    assert!(fixtures.len() >= 35, "only {} fixtures", fixtures.len());
}

#[test]
fn no_cut_changes_an_observation() {
    for fixture in &fixtures() {
        let whole = show(&observe(fixture, Cuts::Whole, Cuts::Whole));
        let same = |request, response| {
            let found = show(&observe(fixture, request, response));
            assert_eq!(found, whole, "{} {request:?} {response:?}", fixture.name);
        };
        let response = fixture.response.as_ref().map_or(0, |response| response.body.len());
        let request = fixture.request.body.len();
        assert!(response <= EVERY_CUT && request <= EVERY_CUT, "{} is long", fixture.name);
        (1..response).for_each(|cut| same(Cuts::Whole, Cuts::At(cut)));
        (1..request).for_each(|cut| same(Cuts::At(cut), Cuts::Whole));
        same(Cuts::Bytes, Cuts::Bytes);
        (0..200).for_each(|seed| same(Cuts::Random(seed), Cuts::Random(seed)));
    }
}

/// Where texts of JSON begin that are no keys.
pub(crate) fn texts(json: &[u8]) -> impl Iterator<Item = usize> {
    let begins = |at: &usize| json[..*at].ends_with(b":\"") || json[..*at].ends_with(b": \"");
    (0..json.len()).filter(begins)
}

/// `json` with `what` put in at `place`.
pub(crate) fn with(json: &[u8], place: usize, what: &str) -> Vec<u8> {
    [&json[..place], what.as_bytes(), &json[place..]].concat()
}

/// What is mended is read twice: that must not count twice.
#[test]
fn half_a_surrogate_pair_tells_what_the_character_in_its_place_does() {
    let mut wrong = Vec::new();
    for fixture in &fixtures() {
        let seen = |fixture: &Fixture| show(&observe(fixture, Cuts::Whole, Cuts::Whole));
        let mut compare = |one: &Fixture, other: &Fixture, place| {
            let (one, other) = (seen(one), seen(other));
            if one != other {
                wrong.push(format!("{} {place}:\n{one}instead of\n{other}", fixture.name));
            }
        };
        let (mut half, mut whole) = (fixture.clone(), fixture.clone());
        for place in texts(&fixture.request.body) {
            half.request.body = with(&fixture.request.body, place, "\\ud83d");
            whole.request.body = with(&fixture.request.body, place, "\\ufffd");
            compare(&half, &whole, place);
        }
        let Some(answer) = &fixture.response else { continue };
        let (mut half, mut whole) = (fixture.clone(), fixture.clone());
        for place in texts(&answer.body) {
            half.response.as_mut().unwrap().body = with(&answer.body, place, "\\ud83d");
            whole.response.as_mut().unwrap().body = with(&answer.body, place, "\\ufffd");
            compare(&half, &whole, place);
        }
    }
    assert!(wrong.is_empty(), "{} times:\n{}", wrong.len(), wrong.join("\n"));
}

/// Whenever there is no room for what is held: less is told, and nothing that is not so.
#[test]
fn what_is_let_go_is_missed_and_never_made_up() {
    for fixture in &fixtures() {
        let whole = observe(fixture, Cuts::Whole, Cuts::Whole);
        let response = fixture.response.as_ref().map_or(0, |response| response.body.len());
        let requests = (1..fixture.request.body.len()).map(|at| (Cuts::At(at), Cuts::Whole));
        let responses = (1..response).map(|at| (Cuts::Whole, Cuts::At(at)));
        for (request, response) in requests.chain(responses).step_by(13) {
            let torn = observe_until(fixture, request, response, |observer| {
                observer.let_go();
                assert_eq!(observer.held(), 0, "{} {request:?} {response:?}", fixture.name);
            });
            let told = |of: &Observation| {
                let (usage, facts) = (of.usage.value(), &of.response);
                let counts = [facts.chunks, facts.events, u64::from(facts.tool_calls)];
                let tokens = usage.map(|usage| [usage.input, usage.output]);
                (tokens.unwrap_or_default(), counts, facts.finish_reasons.len())
            };
            let (less, all) = (told(&torn), told(&whole));
            let is_less = less.0.iter().zip(all.0).all(|(less, all)| *less <= all)
                && less.1.iter().zip(all.1).all(|(less, all)| *less <= all)
                && less.2 <= all.2;
            assert!(is_less, "{} {request:?} {response:?}: {less:?} of {all:?}", fixture.name);
        }
    }
}
