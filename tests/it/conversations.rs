//! Conversations on WebSockets through the Observer: each gives the calls that stand beside it, however its
//! bytes are cut, deflated or not. Knows the Observer's input and output, and nothing between.

use std::fmt::Write;
use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use clearspan::observe::Settings;
use clearspan::observe::observation::{Note, Observation, Part};
use clearspan::observe::observer::Observer;
use clearspan::tape::{Cause, Direction, End, Entry, Ids, Milestone, Start, Upstream, Vitals};

use crate::golden::{show, texts, with};
use crate::support::frames::{Conversation, Framer, Said, conversations};

/// What may be agreed on.
const PLAIN: &str = "";
const AGREED: [&str; 3] = [
    PLAIN,
    "permessage-deflate",
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
];

/// A piece of what one side sends, and when.
type Sent = (u64, Direction, Vec<u8>);

fn sent(of: &Conversation, agreed: &str) -> Vec<Sent> {
    let (mut client, mut server) = (Framer::new(true, agreed), Framer::new(false, agreed));
    let mut all = Vec::new();
    for turn in &of.turns {
        let (framer, direction) = match turn.is_client {
            true => (&mut client, Direction::Request),
            false => (&mut server, Direction::Response),
        };
        let frames = turn.says.iter().map(|said| match said {
            Said::Text(text) => framer.text(text),
            Said::Close(code) => framer.close(*code),
        });
        all.push((turn.at, direction, frames.collect::<Vec<_>>().concat()));
    }
    all
}

fn start(of: &Conversation) -> Start {
    let upstream = Upstream {
        name: of.dialect.clone(),
        provider: of.dialect.clone(),
        dialect: of.dialect.clone(),
        address: "localhost".to_owned(),
        port: Some(80),
    };
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
        scheme: "",
        mount: 0,
        head: format!("GET {} 1.1\n{}", of.target, of.headers).into_bytes(),
    }
}

/// The calls, and the session last, when each piece is cut by `cut`.
fn observe(
    of: &Conversation,
    agreed: &str,
    pieces: &[Sent],
    cut: impl Fn(usize, &[u8]) -> Vec<Vec<u8>>,
) -> Vec<Observation> {
    let at = Duration::from_millis;
    let settings = Settings { raw_usage: true, ..Settings::default() };
    let mut observer = Observer::new(start(of), Arc::new(settings));
    observer.see(at(0), Entry::At(Milestone::RequestEnd));
    for (millis, milestone) in
        [(2, Milestone::Lease), (3, Milestone::Connected), (4, Milestone::Sent)]
    {
        observer.see(at(millis), Entry::At(milestone));
    }
    let head = format!("101 1.1\nupgrade: websocket\nsec-websocket-extensions: {agreed}\n");
    observer.see(at(5), Entry::Head(head.as_bytes()));
    let mut told = Vec::new();
    for (place, (millis, direction, bytes)) in pieces.iter().enumerate() {
        for chunk in cut(place, bytes) {
            observer.see(at(*millis), Entry::Body(*direction, &chunk));
            told.extend(observer.turns());
        }
    }
    let cause = match of.ending.as_deref() {
        None => Cause::Complete,
        Some("client_gone") => Cause::ClientGone,
        Some(other) => panic!("{}: unknown ending `{other}`", of.name),
    };
    let last = pieces.last().map_or(0, |it| it.0);
    let vitals = Vitals::ended(End { at: at(last + 10), cause });
    observer.close(&vitals);
    told.extend(observer.turns());
    told.push(observer.finish(&vitals));
    told
}

/// Each observation as text, under what it is.
fn told(all: &[Observation]) -> String {
    let mut text = String::new();
    for of in all {
        let began = of.started.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        writeln!(text, "# {:?} at {began:?}", of.part).unwrap();
        // What all have in common stands at the session.
        let mut of = of.clone();
        if matches!(of.part, Part::Turn { .. }) {
            (of.http.method, of.http.path, of.http.route) = Default::default();
            of.http.version = "";
        }
        text += &show(&of);
    }
    text
}

fn whole(of: &Conversation, agreed: &str) -> String {
    told(&observe(of, agreed, &sent(of, agreed), |_, bytes| vec![bytes.to_vec()]))
}

#[test]
fn each_conversation_gives_the_calls_beside_it_deflated_or_not() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    let all = conversations();
    for of in &all {
        let found = whole(of, PLAIN);
        if update {
            fs::write(of.expectation(), &found).unwrap();
        }
        if found != fs::read_to_string(of.expectation()).unwrap_or_default() {
            wrong.push(format!("{}:\n{found}", of.name));
        }
        AGREED.iter().for_each(|agreed| assert_eq!(whole(of, agreed), found, "{}", of.name));
    }
    assert!(wrong.is_empty(), "not as expected:\n{}", wrong.join("\n"));
    assert!(all.len() >= 8, "only {} conversations", all.len());
}

/// The chunks in which a piece comes, by its place.
type Cut<'a> = dyn Fn(usize, &[u8]) -> Vec<Vec<u8>> + 'a;

/// However the pieces are cut, the same is told.
fn check_cuts(of: &Conversation, agreed: &str) {
    let pieces = sent(of, agreed);
    let told = |cut: &Cut<'_>| format!("{:?}", observe(of, agreed, &pieces, cut));
    let expected = told(&|_, bytes| vec![bytes.to_vec()]);
    for (place, (_, _, bytes)) in pieces.iter().enumerate() {
        for at in 1..bytes.len() {
            let found = told(&|here, bytes| match here == place {
                true => vec![bytes[..at].to_vec(), bytes[at..].to_vec()],
                false => vec![bytes.to_vec()],
            });
            assert_eq!(found, expected, "{} {agreed} {place} {at}", of.name);
        }
    }
    let found = told(&|_, bytes| bytes.iter().map(|byte| vec![*byte]).collect());
    assert_eq!(found, expected, "{} {agreed}", of.name);
}

#[test]
fn no_cut_changes_a_conversation() {
    thread::scope(|scope| {
        for of in conversations() {
            scope.spawn(move || {
                // How messages are deflated is the same in each.
                let is_first = of.name == "openai/responses_two_calls";
                let ways = AGREED.iter().filter(|agreed| is_first || **agreed == PLAIN);
                ways.for_each(|agreed| check_cuts(&of, agreed));
            });
        }
    });
}

#[test]
fn a_tear_ends_what_is_open_and_the_other_half_goes_on() {
    let all = conversations();
    let of = all.iter().find(|it| it.name == "openai/responses_two_calls").unwrap();
    let pieces = sent(of, PLAIN);
    let torn = |torn: Direction, after: usize| {
        let settings = Settings { raw_usage: true, ..Settings::default() };
        let mut observer = Observer::new(start(of), Arc::new(settings));
        observer.see(Duration::ZERO, Entry::Head(b"101 1.1\nupgrade: websocket\n"));
        for (place, (millis, direction, bytes)) in pieces.iter().enumerate() {
            let at = Duration::from_millis(*millis);
            if place == after {
                observer.see(at, Entry::Gap(torn, 9));
            }
            observer.see(at, Entry::Body(*direction, bytes));
        }
        let end = End { at: Duration::from_secs(1), cause: Cause::Complete };
        observer.close(&Vitals::ended(end));
        let turns = observer.turns();
        let notes = observer.finish(&Vitals::ended(end)).notes;
        let usage: Vec<_> =
            turns.iter().map(|it| it.usage.value().and_then(|it| it.input)).collect();
        let endings: Vec<_> = turns.iter().map(|it| it.ending.as_str()).collect();
        (usage, endings, notes)
    };
    // The client's second call was not seen, but its answer was.
    let found = torn(Direction::Request, 2);
    let expected = (vec![Some(12), Some(40)], vec!["complete"; 2], vec![Note::RequestTorn]);
    assert_eq!(found, expected);
    // Of what was asked and never seen answered nobody can tell anything.
    assert_eq!(torn(Direction::Response, 1), (vec![], vec![], vec![Note::ResponseTorn]));
    let found = torn(Direction::Response, 3);
    assert_eq!(found, (vec![Some(12)], vec!["complete"], vec![Note::ResponseTorn]));
}

/// Every conversation with `what` put in where a text begins, and what that tells.
fn with_each(what: &str) -> impl Iterator<Item = (String, String)> {
    let places = conversations().into_iter().flat_map(|of| {
        let turns = of.turns.clone().into_iter().enumerate();
        let says = turns.flat_map(|(turn, it)| {
            it.says.into_iter().enumerate().map(move |(place, said)| (turn, place, said))
        });
        says.map(|it| (of.clone(), it)).collect::<Vec<_>>()
    });
    places.flat_map(move |(of, (turn, place, said))| {
        let Said::Text(text) = said else { return Vec::new() };
        let one = |at| {
            let mut of = of.clone();
            let text = String::from_utf8(with(text.as_bytes(), at, what)).unwrap();
            let name = format!("{} {text}", of.name);
            of.turns[turn].says[place] = Said::Text(text);
            (name, whole(&of, PLAIN))
        };
        texts(text.as_bytes()).map(one).collect()
    })
}

/// What is mended is read twice: no call must begin twice.
#[test]
fn half_a_surrogate_pair_tells_what_the_character_in_its_place_does() {
    let mut count = 0;
    for ((name, half), (_, whole)) in with_each("\\ud83d").zip(with_each("\\ufffd")) {
        // Usage objects stand as they came.
        assert_eq!(half.replace("ud83d", "ufffd"), whole, "{name}");
        count += 1;
    }
    assert!(count > 300, "{count}");
}
