//! What every writer of reports keeps, for any observation: what is written can be read again, is
//! bounded, and steers no terminal. Knows no way by which an observation came about.

use std::collections::BTreeSet;

use opentelemetry_proto::tonic::logs::v1::ScopeLogs;
use opentelemetry_proto::tonic::trace::v1::{ScopeSpans, Span};
use prost::Message;

use super::protobuf::AttributeLimits;
use super::{Spans, json, line, logs, outcome};
use crate::observe::observation::Observation;

/// The most that one exchange may write, in bytes.
const RECORD: usize = 64 << 10;

/// Attributes that are cut short.
const FEW: AttributeLimits = AttributeLimits { count: 3, characters: 2 };

/// Writes `of` in every form.
pub(crate) fn write(of: &Observation) {
    let outcome = outcome::of(of);
    let all = AttributeLimits::default();
    for (phases, limits) in [(false, all), (true, all), (true, FEW)] {
        let mut to = Vec::new();
        let count = Spans::new(phases, None, limits).write(of, &outcome, 1, &mut to);
        assert!(to.len() <= RECORD, "spans of {} bytes", to.len());
        let spans = ScopeSpans::decode(&to[..]).unwrap_or_default().spans;
        assert!(count > 0 && spans.len() == count, "{} of {count} spans", spans.len());
        spans.iter().for_each(check);
    }
    let (mut plain, mut coloured) = (String::new(), String::new());
    line::person(of, &outcome, false, &mut plain);
    line::person(of, &outcome, true, &mut coloured);
    assert!(!plain.contains(char::is_control), "a control character: {plain:?}");
    let codes = ["\u{1b}[0m", "\u{1b}[31m", "\u{1b}[32m", "\u{1b}[33m"];
    let bleached = codes.iter().fold(coloured, |text, code| text.replace(code, ""));
    assert_eq!(bleached, plain, "colour changes words");
    let (mut scratch, mut to) = (Vec::new(), Vec::new());
    logs::write(of, &outcome, &plain, (1, all), &mut scratch, &mut to);
    let records = ScopeLogs::decode(&to[..]).unwrap_or_default().log_records;
    assert!(records.len() == 1 && to.len() <= RECORD, "a record of {} bytes", to.len());
    let mut to = Vec::new();
    json::line(of, &outcome, &mut to);
    let read = serde_json::from_slice::<serde_json::Value>(&to);
    assert!(read.is_ok_and(|it| it.is_object()), "not JSON");
    assert!(to.len() <= RECORD && !to.contains(&b'\n'), "a line of {} bytes", to.len());
}

fn check(span: &Span) {
    assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "ends before it starts");
    let mut keys = BTreeSet::new();
    for attribute in &span.attributes {
        assert!(keys.insert(&attribute.key), "{} twice", attribute.key);
        assert!(attribute.value.as_ref().is_some_and(|it| it.value.is_some()), "no value");
    }
}
