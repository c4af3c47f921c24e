//! What asking for usage keeps, for any request and any answer: the question is all that is put in, and
//! only what it caused is taken out, however the bytes come. Reads JSON as others do; knows no socket.

use serde_json::{Map, Value};

use super::splice::{apply, find};
use super::unsplice::Unsplice;
use crate::observe::decode::sse::{Event, Sse};

/// Why `serde_json` refuses what other readers take: deep nesting, large numbers, and half of a
/// surrogate pair.
const STRICTER: [&str; 4] = [
    "recursion limit",
    "number out of range",
    "lone leading surrogate",
    "unexpected end of hex escape",
];

/// A request's body.
pub(crate) fn request(body: &[u8]) {
    let Some(splice) = find(body) else { return };
    let with = apply(body, &splice);
    let (before, after) = body.split_at(splice.at);
    assert_eq!(with, [before, splice.text, after].concat(), "something else changed");
    let (plain, asked) = match [body, &with].map(serde_json::from_slice::<Map<String, Value>>) {
        [Ok(plain), Ok(asked)] => (plain, asked),
        // What this reader refuses is fine for others: the upstream will say.
        [Err(plain), Err(_)] => {
            let told = plain.to_string();
            let strict = STRICTER.iter().any(|refused| told.starts_with(refused));
            return assert!(strict, "asked in what is no object: {told}");
        }
        [plain, asked] => return assert_eq!(plain.is_ok(), asked.is_ok(), "broken by asking"),
    };
    assert_eq!(plain.get("stream"), Some(&Value::Bool(true)), "asked where nothing streams");
    let options =
        |of: &Map<String, Value>| of.get("stream_options").and_then(Value::as_object).cloned();
    let (before, mut now) =
        (options(&plain).unwrap_or_default(), options(&asked).unwrap_or_default());
    assert!(!before.contains_key("include_usage"), "the client had decided");
    assert_eq!(now.remove("include_usage"), Some(Value::Bool(true)), "not asked");
    assert_eq!(now, before, "another option");
    let others = |of: Map<String, Value>| -> Map<String, Value> {
        of.into_iter().filter(|(key, _)| key != "stream_options").collect()
    };
    assert_eq!(others(asked), others(plain), "another member");
}

/// The longest event that is held back, as a power of two in one byte, and an answer.
pub(crate) fn answer(input: &[u8]) {
    let Some((&first, bytes)) = input.split_first() else { return };
    let limit = 32 << (first % 5);
    let whole = edited(bytes, limit, usize::MAX);
    for size in [1, 7] {
        assert!(edited(bytes, limit, size) == whole, "chunks of {size} are edited otherwise");
    }
    assert!(is_within(&whole, bytes), "bytes that nobody sent");
    if !may_be_caused(bytes) {
        assert!(whole == bytes, "taken out, though nothing was caused");
    }
    let_go(bytes, limit);
}

/// What goes on of `bytes` in chunks of at most `size`.
fn edited(bytes: &[u8], limit: usize, size: usize) -> Vec<u8> {
    let (mut unsplice, mut out) = (Unsplice::new(limit), Vec::new());
    for chunk in bytes.chunks(size) {
        unsplice.push(chunk, &mut out);
        assert!(unsplice.held() <= 2 * limit, "{} bytes held back", unsplice.held());
    }
    unsplice.finish(&mut out);
    assert_eq!(out.len() as u64 + unsplice.taken_out(), bytes.len() as u64, "lost count");
    out
}

/// Memory is asked back after each few bytes: nothing is lost, and nothing kept.
fn let_go(bytes: &[u8], limit: usize) {
    let (mut unsplice, mut out) = (Unsplice::new(limit), Vec::new());
    for chunk in bytes.chunks(11) {
        unsplice.push(chunk, &mut out);
        unsplice.let_go(&mut out);
        assert_eq!(unsplice.held(), 0, "not let go");
    }
    unsplice.finish(&mut out);
    assert_eq!(out.len() as u64 + unsplice.taken_out(), bytes.len() as u64, "lost count");
    assert!(is_within(&out, bytes), "bytes that nobody sent");
}

/// Whether `bytes` without some of them is `out`.
fn is_within(out: &[u8], bytes: &[u8]) -> bool {
    let mut all = bytes.iter();
    out.iter().all(|byte| all.any(|it| it == byte))
}

/// Whether an event has what the question causes: a list of choices and usage that is null, or usage
/// beside no choices at all.
fn may_be_caused(bytes: &[u8]) -> bool {
    let mut caused = false;
    let mut look = |event: Event<'_>| {
        let Event::Whole(frame) = event else { return };
        let Ok(event) = serde_json::from_slice::<Map<String, Value>>(frame.data) else { return };
        let choices = event.get("choices").and_then(Value::as_array);
        caused |= choices.is_some_and(|choices| match event.get("usage") {
            Some(Value::Null) => true,
            Some(Value::Object(_)) => choices.is_empty(),
            _ => false,
        });
    };
    let mut sse = Sse::new(bytes.len());
    sse.push(bytes, &mut look);
    sse.finish(look);
    caused
}
