//! Each recorded exchange gives the facts that `tests/expected/read.py`, an independent reader, found
//! in its bytes, no more and no fewer; where the recordings are at hand. Knows the facts' names.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use clearspan::observe::observation::{Known, Observation, Usage};
use serde_json::{Value, json};

use crate::golden::{Cuts, observe};
use crate::observed::{fixture, recordings};

/// Facts by name.
type Facts = BTreeMap<String, Value>;

/// What the independent reader found, by the recordings' ids: a checksum of the bytes, and each fact
/// with where it stands.
fn expectations() -> BTreeMap<String, Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/expected/expected.jsonl");
    let lines = fs::read_to_string(path).unwrap();
    let values = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let of_id = |value: Value| Some((value.get("id")?.as_str()?.to_owned(), value));
    values.filter_map(of_id).collect()
}

/// Of what was sent and answered.
fn checksum(recording: &Value) -> String {
    let mut crc = flate2::Crc::new();
    for key in ["path", "request_body", "response_body"] {
        crc.update(recording[key].as_str().unwrap_or_default().as_bytes());
    }
    format!("{:08x}", crc.sum())
}

/// What is known, under the reader's names.
fn facts(seen: &Observation) -> Facts {
    let mut facts = Facts::new();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            facts.insert(name.to_owned(), value);
        }
    };
    put("operation", json!(seen.operation.map(|it| it.as_str())));
    put("ending", json!(seen.ending.as_str()));
    put("error.type", json!(seen.error_type));
    put("error.side", json!(seen.error_side.map(|it| it.as_str())));
    if seen.operation.is_none() {
        return facts;
    }
    let (request, response) = (&seen.request, &seen.response);
    put("request.model", json!(request.model));
    put("request.stream", json!(request.stream));
    put("streamed", json!(response.streamed));
    if seen.ending.as_str() == "error_status" {
        return facts;
    }
    put("response.model", json!(response.model));
    put("response.id", json!(response.id));
    if !response.finish_reasons.is_empty() {
        put("finish_reasons", json!(response.finish_reasons));
    }
    put("cost", response.reported_cost.map_or(json!("absent"), |cost| json!(cost.0)));
    match &seen.usage {
        Known::Unknown(_) => put("usage", json!("absent")),
        Known::Value(usage) => {
            counts(usage).into_iter().for_each(|(name, value)| put(&name, value))
        }
    }
    facts
}

fn counts(usage: &Usage) -> Vec<(String, Value)> {
    let units = &usage.units;
    let seconds = |time: Option<std::time::Duration>| time.map(|it| it.as_secs_f64());
    let told = [
        ("input", json!(usage.input)),
        ("output", json!(usage.output)),
        ("cache_read", json!(usage.cache_read)),
        ("cache_write", json!(usage.cache_write)),
        ("cache_write_long", json!(usage.cache_write_long)),
        ("reasoning", json!(usage.reasoning)),
        ("input_audio", json!(usage.input_audio)),
        ("output_audio", json!(usage.output_audio)),
        ("cache_read_audio", json!(usage.cache_read_audio)),
        ("cache_read_image", json!(usage.cache_read_image)),
        ("input_image", json!(usage.input_image)),
        ("input_video", json!(usage.input_video)),
        ("output_image", json!(usage.output_image)),
        ("units.web_searches", json!(units.web_searches)),
        ("units.file_searches", json!(units.file_searches)),
        ("units.code_sessions", json!(units.code_sessions)),
        ("units.images", json!(units.images)),
        ("units.characters", json!(units.characters)),
        ("units.input_seconds", json!(seconds(units.input_audio_time))),
        ("units.output_seconds", json!(seconds(units.output_time))),
        ("units.documents", json!(units.documents)),
        ("units.other_models", json!(units.other_models)),
    ];
    told.into_iter().map(|(name, value)| (format!("usage.{name}"), value)).collect()
}

#[test]
fn every_recording_gives_the_facts_that_an_independent_reader_found() {
    let Some(recordings) = recordings() else { return };
    let expectations = expectations();
    assert_eq!(expectations.len(), recordings.len(), "run tests/expected/read.py again");
    let (mut compared, mut wrong) = (0, Vec::new());
    for recording in &recordings {
        let fixture = fixture(recording);
        let expectation = &expectations[&fixture.name];
        assert_eq!(expectation["crc32"], checksum(recording), "{}: other bytes", fixture.name);
        let found = facts(&observe(&fixture, Cuts::Whole, Cuts::Whole));
        let expected = expectation["facts"].as_object().unwrap();
        for (name, fact) in expected {
            let told = found.get(name).unwrap_or(&Value::Null);
            if *told != fact[0] {
                wrong.push(format!("{}: {name} is {told}, expected {fact}", fixture.name));
            }
        }
        let more = found.iter().filter(|(name, _)| !expected.contains_key(*name));
        wrong.extend(more.map(|(name, value)| {
            format!(
                "{} {} {}: {name} is {value}, expected none",
                fixture.name, fixture.provider, fixture.request.target
            )
        }));
        compared += expected.len();
    }
    println!("{compared} facts of {} recordings", recordings.len());
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
    assert!(compared > 2_500, "only {compared} facts");
}
