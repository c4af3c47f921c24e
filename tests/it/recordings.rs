//! What real services were recorded to send, where those recordings are at hand
//! (`CLEARSPAN_RECORDINGS` names the file): they pass the proxy unchanged, and our scripted Ollama
//! answers as the real one did. Knows the recordings' format; they are not part of this repository.

use std::fs;

use serde_json::{Value, json};

use crate::real::Installed;
use crate::support::client::{exchange, post};
use crate::support::stage::Stage;

/// The recorded exchanges; nothing where there are none.
fn recordings() -> Option<Vec<Value>> {
    let Some(path) = std::env::var_os("CLEARSPAN_RECORDINGS") else {
        println!("skipped: CLEARSPAN_RECORDINGS is not set");
        return None;
    };
    let text = fs::read_to_string(path).unwrap();
    Some(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// A start line, the recorded fields but those about framing, and the body with its length.
fn bytes(start: &str, fields: &Value, body: &[u8]) -> Vec<u8> {
    let framing = ["host", "content-length", "transfer-encoding", "connection", "content-encoding"];
    let mut head = format!("{start}\r\nHost: localhost\r\n");
    for field in fields.as_array().unwrap() {
        let (name, value) = (field[0].as_str().unwrap(), field[1].as_str().unwrap());
        if !framing.contains(&name.to_ascii_lowercase().as_str()) && !value.contains('\n') {
            head += &format!("{name}: {value}\r\n");
        }
    }
    if !start.contains(" 204 ") {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    head += "\r\n";
    [head.as_bytes(), body].concat()
}

#[test]
fn every_recorded_exchange_passes_unchanged() {
    let Some(recordings) = recordings() else { return };
    let stage = Stage::own();
    for recording in &recordings {
        let text = |key: &str| recording[key].as_str().unwrap_or_default();
        // Placeholders of redacted names are no part of a target.
        let path = text("path").replace(['<', '>'], "_");
        let request = format!("{} {path} HTTP/1.1", text("method"));
        let request =
            bytes(&request, &recording["request_headers"], text("request_body").as_bytes());
        let response = format!("HTTP/1.1 {} As Recorded", recording["status"]);
        let body = text("response_body").as_bytes();
        let response = bytes(&response, &recording["response_headers"], body);
        stage.check(request, response);
    }
    assert!(recordings.len() > 100);
}

/// The kinds of a message's fields: what stands instead of each value.
fn kinds(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), kinds(value))).collect()
        }
        Value::Number(number) => json!(if number.is_u64() { "whole number" } else { "number" }),
        Value::String(_) => json!("text"),
        Value::Bool(_) => json!("truth"),
        other => other.clone(),
    }
}

#[test]
fn the_scripted_ollama_answers_as_the_real_one_did() {
    let Some(recordings) = recordings() else { return };
    let Some(installed) = Installed::find() else { return };
    let ollama = installed.ollama();
    let address = ollama.url.trim_start_matches("http://").parse().unwrap();
    let ask = |stream: bool| {
        let asked = json!({"model": "tiny", "messages": [], "stream": stream}).to_string();
        exchange(address, post("/api/chat", asked))
    };
    let ours = ask(false);
    let recorded: Vec<_> = recordings.iter().filter(|it| it["path"] == "/api/chat").collect();
    for recording in &recorded {
        let theirs: Value =
            serde_json::from_str(recording["response_body"].as_str().unwrap()).unwrap();
        let mut theirs = kinds(&theirs);
        let message = theirs["message"].as_object_mut().unwrap();
        // Models that think say so; ours does not.
        message.remove("thinking");
        let mut ours = kinds(&ours.json());
        if theirs.get("prompt_eval_count").is_none() {
            // Old versions left it out where the prompt was cached.
            ours.as_object_mut().unwrap().remove("prompt_eval_count");
        }
        assert_eq!(ours, theirs, "{}", recording["id"]);
    }
    assert!(recorded.len() >= 5);
    let lines = ask(true).text();
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(kinds(&last), kinds(&ours.json()), "a stream's last line has the same fields");
}
