//! What real services were recorded to send, through the Observer, where those recordings are at
//! hand (`CLEARSPAN_RECORDINGS` names the file): cut or not it is the same observation, and its
//! facts are those that another reading of the JSON finds. Knows the recordings' format.

use std::fs;
use std::io::Write;

use clearspan::observe::observation::{Ending, Known, Note, Observation};
use serde_json::Value;

use crate::golden::{Cuts, observe, show};
use crate::support::fixture::{Fixture, Request, Response};

/// The recorded exchanges; nothing where there are none.
pub(crate) fn recordings() -> Option<Vec<Value>> {
    let Some(path) = std::env::var_os("CLEARSPAN_RECORDINGS") else {
        println!("skipped: CLEARSPAN_RECORDINGS is not set");
        return None;
    };
    let text = fs::read_to_string(path).unwrap();
    Some(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// Whether a dialect reads it.
fn is_call(recording: &&Value) -> bool {
    let endpoints = [
        "chat.completions",
        "completions",
        "embeddings",
        "ollama.chat",
        "generateContent",
        "streamGenerateContent",
        "embedContent",
        "predict",
        "interactions",
        "responses",
        "responses.compact",
        "responses.retrieve",
        "batches",
        "assistants",
        "native.chat",
        "native.embed",
        "rerank",
    ];
    endpoints.contains(&recording["endpoint"].as_str().unwrap())
}

/// The fields; without the encoding where the body was recorded decoded.
fn headers(recording: &Value, key: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let all = recording[key].as_array().unwrap().iter().map(|it| (text(&it[0]), text(&it[1])));
    let stale = recording["notes"].as_array().unwrap().contains(&"stale-content-encoding".into());
    all.filter(|(name, _)| !stale || !name.eq_ignore_ascii_case("content-encoding")).collect()
}

fn body(recording: &Value, key: &str) -> Vec<u8> {
    let text = recording[key].as_str().unwrap_or_default().as_bytes();
    if recording[format!("{key}_b64")] == true { base64(text) } else { text.to_vec() }
}

fn base64(text: &[u8]) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.iter().filter_map(|digit| alphabet.iter().position(|it| it == digit));
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for digit in digits {
        (bits, count) = (bits << 6 | digit as u32, count + 6);
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

/// A recording as a fixture: what both sides sent, and who answered.
pub(crate) fn fixture(recording: &Value) -> Fixture {
    let text = |key: &str| recording[key].as_str().unwrap().to_owned();
    let provider = text("provider");
    let dialect = match provider.as_str() {
        own @ ("anthropic" | "ollama" | "cohere") => own,
        "gemini" | "vertex" => "gemini",
        _ => "openai",
    };
    Fixture {
        name: text("id"),
        upstream_dialect: dialect.to_owned(),
        provider,
        mount: String::new(),
        request: Request {
            // Some recorders write it small.
            method: text("method").to_ascii_uppercase(),
            target: text("path"),
            headers: headers(recording, "request_headers"),
            body: body(recording, "request_body"),
        },
        response: Some(Response {
            status: recording["status"].as_u64().unwrap() as u16,
            reason: String::new(),
            headers: headers(recording, "response_headers"),
            body: body(recording, "response_body"),
            pauses: Vec::new(),
        }),
        ending: None,
    }
}

/// The JSON values of an answer: of each event, of each line, or the one.
fn values(fixture: &Fixture) -> Vec<Value> {
    let mut body = fixture.response.as_ref().unwrap().body.clone();
    if body.starts_with(&[0x1f, 0x8b]) {
        let mut decoder = flate2::write::MultiGzDecoder::new(Vec::new());
        decoder.write_all(&body).unwrap();
        body = decoder.finish().unwrap();
    }
    let text = String::from_utf8(body).unwrap();
    if let Ok(value) = serde_json::from_str(&text) {
        return vec![value];
    }
    let data = |line: &str| serde_json::from_str(line.strip_prefix("data:").unwrap_or(line)).ok();
    text.lines().filter_map(data).collect()
}

/// The last value at `pointer` that is not null or empty.
fn last<'a>(values: &'a [Value], pointer: &str) -> Option<&'a Value> {
    let mut found = values.iter().filter_map(|value| value.pointer(pointer));
    found.rfind(|value| !value.is_null() && **value != "")
}

/// The sum of `counts`, where one is there.
fn added(counts: [Option<u64>; 2]) -> Option<u64> {
    counts.into_iter().flatten().reduce(|one, more| one + more)
}

/// Google's own routes.
fn check_google(fixture: &Fixture, seen: &Observation) {
    let (name, values) = (&fixture.name, values(fixture));
    let request: Value = serde_json::from_slice(&fixture.request.body).unwrap();
    let target = fixture.request.target.split('?').next().unwrap();
    if target.ends_with("/interactions") {
        assert_eq!(seen.request.model.as_deref(), request["model"].as_str(), "{name}");
        let count =
            |key: &str| last(&values, &format!("/interaction/usage/{key}")).and_then(Value::as_u64);
        let input = added([count("total_input_tokens"), count("total_tool_use_tokens")]);
        let output = added([count("total_output_tokens"), count("total_thought_tokens")]);
        return check_usage(seen, name, input, output);
    }
    let (model, verb) = target.rsplit('/').next().unwrap().split_once(':').unwrap();
    assert_eq!(seen.request.model.as_deref(), Some(model), "{name}");
    assert_eq!(seen.request.stream, verb == "streamGenerateContent", "{name}");
    let model = last(&values, "/modelVersion").and_then(Value::as_str);
    assert_eq!(seen.response.model.as_deref(), model, "{name}");
    let listed = ["contents", "requests", "instances"].iter().find_map(|it| request[it].as_array());
    assert_eq!(seen.request.messages, listed.map(|it| it.len() as u32), "{name}");
    let declared = |tool: &Value| tool["functionDeclarations"].as_array().map_or(0, Vec::len);
    let tools = request["tools"].as_array().map_or(0, |tools| tools.iter().map(declared).sum());
    assert_eq!(seen.request.tools as usize, tools, "{name}");
    let parts = values.iter().filter_map(|it| it.pointer("/candidates/0/content/parts"));
    let parts = parts.filter_map(Value::as_array).flatten();
    let calls = parts.filter(|part| part.get("functionCall").is_some()).count();
    assert_eq!(seen.response.tool_calls as usize, calls, "{name}");
    let reason = last(&values, "/candidates/0/finishReason").and_then(Value::as_str);
    let told = seen.response.finish_reasons.first().and_then(Option::as_deref);
    assert_eq!(told, reason, "{name}");
    let count = |key: &str| last(&values, &format!("/usageMetadata/{key}")).and_then(Value::as_u64);
    let predicted = last(&values, "/predictions/0/embeddings/statistics/token_count");
    let input = added([count("promptTokenCount"), count("toolUsePromptTokenCount")]);
    let output = added([count("candidatesTokenCount"), count("thoughtsTokenCount")]);
    check_usage(seen, name, input.or(predicted.and_then(Value::as_u64)), output);
    let cached = seen.usage.value().and_then(|usage| usage.cache_read);
    assert_eq!(cached, count("cachedContentTokenCount"), "{name}");
    // Where all is told, all is in it.
    if let Known::Value(usage) = seen.usage
        && let Some(total) = count("totalTokenCount")
    {
        assert_eq!(added([usage.input, usage.output]), Some(total), "{name}");
    }
}

/// What a response, a batch or a run says at its end.
fn check_ended(fixture: &Fixture, seen: &Observation, values: &[Value]) {
    let name = &fixture.name;
    let of_run = |value: &&Value| value["object"] == "thread.run";
    let ended = match last(values, "/response") {
        Some(response) => response,
        None => values.iter().rfind(of_run).unwrap_or(&values[values.len() - 1]),
    };
    let text = |key: &str| ended[key].as_str().map(str::to_owned);
    assert_eq!(seen.response.id, text("id"), "{name}");
    assert_eq!(seen.response.model, text("model"), "{name}");
    let pending = ["validating", "queued", "in_progress"].map(Value::from);
    if pending.contains(&ended["status"]) {
        assert_eq!(seen.usage, Known::Unknown("pending"), "{name}");
        return;
    }
    let reasons: Vec<_> = text("status").into_iter().map(Some).collect();
    assert_eq!(seen.response.finish_reasons, reasons, "{name}");
    let count = |keys: &[&str]| {
        keys.iter().find_map(|key| ended.pointer(&format!("/usage/{key}"))).and_then(Value::as_u64)
    };
    let (input, output) =
        (["input_tokens", "prompt_tokens"], ["output_tokens", "completion_tokens"]);
    check_usage(seen, name, count(&input), count(&output));
    let Some(usage) = seen.usage.value() else { return };
    let reasoning =
        ["output_tokens_details/reasoning_tokens", "completion_tokens_details/reasoning_tokens"];
    let cached = ["input_tokens_details/cached_tokens", "prompt_token_details/cached_tokens"];
    assert_eq!((usage.reasoning, usage.cache_read), (count(&reasoning), count(&cached)), "{name}");
    if let Some(output) = ended["output"].as_array() {
        let calls = output.iter().filter(|item| item["type"] == "function_call").count();
        assert_eq!(seen.response.tool_calls, calls as u32, "{name}");
        let searched =
            |item: &&Value| item["type"] == "web_search_call" && item["action"]["type"] == "search";
        let found = Some(output.iter().filter(searched).count() as u64).filter(|&count| count > 0);
        let told = ended.pointer("/tool_usage/web_search/num_requests").and_then(Value::as_u64);
        assert_eq!(usage.units.web_searches, told.or(found), "{name}");
    }
    check_chunks(seen, name, values);
}

/// How many events of a stream carry a piece of an answer.
fn check_chunks(seen: &Observation, name: &str, values: &[Value]) {
    let is_piece = |value: &&Value| {
        let delta = &value["delta"];
        let text =
            delta.as_str().or(delta.pointer("/content/0/text/value").and_then(Value::as_str));
        let call = delta.pointer("/step_details/tool_calls/0/code_interpreter/input");
        let begun = value["type"] == "response.output_item.added";
        text.or(call.and_then(Value::as_str)).is_some_and(|text| !text.is_empty())
            || (begun && value["item"]["type"] == "function_call")
    };
    let pieces = values.iter().filter(is_piece).count() as u64;
    assert_eq!(seen.response.chunks, pieces, "{name}");
}

fn check(fixture: &Fixture, seen: &Observation) {
    if fixture.upstream_dialect == "gemini" && !fixture.request.target.contains("/openai/") {
        return check_google(fixture, seen);
    }
    let name = &fixture.name;
    let values = values(fixture);
    if ["/responses", "/runs", "/batches"].iter().any(|it| fixture.request.target.contains(it)) {
        let request: Value = serde_json::from_slice(&fixture.request.body).unwrap_or_default();
        let input = request["input"].as_array().map(|list| list.len() as u32);
        let input = input.or(request["input"].is_string().then_some(1));
        assert_eq!(seen.request.messages, input, "{name}");
        assert_eq!(seen.request.model.as_deref(), request["model"].as_str(), "{name}");
        assert_eq!(seen.request.stream, request["stream"] == true, "{name}");
        check_beside(fixture, seen, &values);
        return check_ended(fixture, seen, &values);
    }
    if fixture.upstream_dialect == "cohere" {
        return check_cohere(fixture, seen, &values);
    }
    check_beside(fixture, seen, &values);
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let request: Value = serde_json::from_slice(&fixture.request.body).unwrap();
    assert_eq!(seen.request.model, text(request.get("model")), "{name}");
    assert_eq!(seen.response.model, text(last(&values, "/model")), "{name}");
    let listed = |key: &str| request[key].as_array().map(|list| list.len() as u32);
    assert_eq!(seen.request.tools, listed("tools").unwrap_or(0) + listed("functions").unwrap_or(0));
    if let Some(messages) = listed("messages") {
        assert_eq!(seen.request.messages, Some(messages), "{name}");
    }
    if fixture.request.target == "/api/chat" {
        let count = |pointer| last(&values, pointer).and_then(Value::as_u64);
        check_usage(seen, name, count("/prompt_eval_count"), count("/eval_count"));
        return;
    }
    assert_eq!(seen.request.stream, request["stream"] == true, "{name}");
    for index in 0..seen.response.finish_reasons.len() {
        let choices = values.iter().filter_map(|value| value["choices"].as_array()).flatten();
        let own = choices.filter(|choice| choice["index"].as_u64().unwrap_or(0) == index as u64);
        let mut reasons = own.filter_map(|choice| choice["finish_reason"].as_str());
        let last = reasons.rfind(|reason| !reason.is_empty()).map(str::to_owned);
        assert_eq!(seen.response.finish_reasons[index], last, "{name}");
    }
    let usage = if last(&values, "/usage").is_some() { "/usage" } else { "/x_groq/usage" };
    let count = |key: &str| last(&values, &format!("{usage}/{key}")).and_then(Value::as_u64);
    let output = count("completion_tokens").filter(|_| !fixture.request.target.contains("embed"));
    let input = match fixture.provider.as_str() {
        "voyage" => count("total_tokens"),
        _ => count("prompt_tokens"),
    };
    check_usage(seen, name, input, output);
    let found = seen.usage.value();
    let reasoning = count("completion_tokens_details/reasoning_tokens");
    assert_eq!(found.and_then(|usage| usage.reasoning), reasoning, "{name}");
}

/// What stands beside the tokens: who served it, what it cost, how long it took, what was cached.
fn check_beside(fixture: &Fixture, seen: &Observation, values: &[Value]) {
    let name = &fixture.name;
    let at = |pointer: &str| {
        let in_response = format!("/response{pointer}");
        last(values, pointer).or_else(|| last(values, &in_response))
    };
    let number = |pointer: &str| at(pointer).and_then(Value::as_f64);
    let served_by = at("/provider").and_then(Value::as_str);
    assert_eq!(seen.response.served_by.as_deref(), served_by, "{name}");
    let gateway = number("/usage/pydantic_ai_gateway/cost_estimate");
    let cost = number("/usage/cost").or(number("/usage/cost/total_cost")).or(gateway);
    let cost = cost.or(number("/usage/cost_in_usd_ticks").map(|ticks| ticks / 1e10));
    let cost = cost.map(|usd| (usd * 1e9).round() as u64);
    assert_eq!(seen.response.reported_cost.map(|cost| cost.0), cost, "{name}");
    let claimed = &seen.response.claimed;
    for (found, told) in [
        (claimed.total, number("/usage/total_time").or(number("/time_info/total_time"))),
        (claimed.output, number("/usage/completion_time").or(number("/time_info/completion_time"))),
        (claimed.prompt, number("/usage/prompt_time").or(number("/time_info/prompt_time"))),
    ] {
        if let Some(told) = told {
            assert!((found.unwrap().as_secs_f64() - told).abs() < 1e-6, "{name}");
        }
    }
    let Some(usage) = seen.usage.value() else { return };
    let count = |keys: &[&str]| {
        keys.iter().find_map(|key| at(&format!("/usage/{key}"))).and_then(Value::as_u64)
    };
    let cached = [
        "prompt_tokens_details/cached_tokens",
        "input_tokens_details/cached_tokens",
        "prompt_token_details/cached_tokens",
        "prompt_cache_hit_tokens",
        "cached_tokens",
        "num_cached_tokens",
    ];
    assert_eq!(usage.cache_read, count(&cached), "{name}");
}

/// Cohere bills by units of its own, which stand in several places.
fn check_cohere(fixture: &Fixture, seen: &Observation, values: &[Value]) {
    let name = &fixture.name;
    let request: Value = serde_json::from_slice(&fixture.request.body).unwrap();
    assert_eq!(seen.request.model.as_deref(), request["model"].as_str(), "{name}");
    let places = ["/usage", "/meta", "/delta/usage", "/response/meta"];
    let count = |key: &str| {
        let billed = |place| last(values, &format!("{place}/billed_units/{key}"));
        places.iter().find_map(billed).and_then(Value::as_f64).map(|count| count as u64)
    };
    let images = count("image_tokens").unwrap_or(0);
    check_usage(seen, name, count("input_tokens").map(|it| it + images), count("output_tokens"));
    let usage = seen.usage.value().expect(name);
    assert_eq!(usage.units.documents, count("search_units"), "{name}");
    let reasons = ["/finish_reason", "/delta/finish_reason"];
    let reason = reasons.iter().find_map(|place| last(values, place)).and_then(Value::as_str);
    let found = seen.response.finish_reasons.first().and_then(Option::as_deref);
    assert_eq!(found, reason, "{name}");
    let id = ["/id", "/generation_id"].iter().find_map(|place| last(values, place));
    assert_eq!(seen.response.id.as_deref(), id.and_then(Value::as_str), "{name}");
    let pieces = ["content/text", "content/thinking", "tool_plan", "tool_calls/function/arguments"];
    let is_piece = |value: &&Value| {
        let piece = |place: &&str| value.pointer(&format!("/delta/message/{place}"));
        let mut texts = pieces.iter().filter_map(piece).filter_map(Value::as_str);
        value["type"] == "tool-call-start" || texts.any(|text| !text.is_empty())
    };
    assert_eq!(seen.response.chunks, values.iter().filter(is_piece).count() as u64, "{name}");
}

fn check_usage(seen: &Observation, name: &str, input: Option<u64>, output: Option<u64>) {
    match &seen.usage {
        Known::Value(usage) => assert_eq!((usage.input, usage.output), (input, output), "{name}"),
        Known::Unknown(reason) => {
            assert_eq!((input, output), (None, None), "{name}: {reason}");
        }
    }
}

#[test]
fn what_was_recorded_is_read_as_another_reads_it() {
    let Some(recordings) = recordings() else { return };
    let mut called = 0;
    for fixture in recordings.iter().filter(is_call).map(fixture) {
        let name = &fixture.name;
        let seen = observe(&fixture, Cuts::Whole, Cuts::Whole);
        let status = fixture.response.as_ref().unwrap().status;
        if seen.operation.is_none() || status >= 400 {
            let ending = if status >= 400 { Ending::ErrorStatus } else { Ending::Complete };
            assert_eq!(seen.ending, ending, "{name}");
            continue;
        }
        // Azure's Grok once told of more cached tokens than it had input.
        let beyond = seen.usage.value().is_some_and(|usage| usage.cache_read > usage.input);
        let notes = if beyond { vec![Note::UsageSuspicious] } else { Vec::new() };
        assert_eq!((seen.ending, &seen.notes), (Ending::Complete, &notes), "{name}");
        check(&fixture, &seen);
        called += 1;
    }
    println!("{called} model calls of {} recordings", recordings.len());
    assert!(called > 50);
}

#[test]
fn no_recording_is_read_differently_byte_by_byte() {
    let Some(recordings) = recordings() else { return };
    for mut fixture in recordings.iter().map(fixture) {
        for dialect in [fixture.upstream_dialect.clone(), "unknown".to_owned()] {
            fixture.upstream_dialect = dialect;
            let whole = show(&observe(&fixture, Cuts::Whole, Cuts::Whole));
            let bytes = show(&observe(&fixture, Cuts::Bytes, Cuts::Bytes));
            assert_eq!(bytes, whole, "{} {}", fixture.name, fixture.upstream_dialect);
        }
    }
}
