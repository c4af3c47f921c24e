//! Answers that are fetched rather than made: however often one is read, its tokens and its cost are
//! counted once. Knows the metrics' names, and what OpenAI answers.

use std::sync::Mutex;

use serde_json::{Value, json};

use crate::support::client::exchange;
use crate::support::origin::Answering;
use crate::support::proxy::{Metrics, Proxy, Start, upstream};

/// A response with this id and status; its usage is told at its end.
fn response(id: &str, status: &str, background: bool) -> Value {
    let usage = json!({"input_tokens": 15, "output_tokens": 9});
    json!({
        "id": id, "object": "response", "status": status, "background": background,
        "model": "gpt-4o-2024-08-06", "service_tier": "default",
        "output": [{"type": "function_call", "name": "f", "arguments": "{}"}],
        "usage": if status == "completed" { usage } else { Value::Null },
    })
}

/// A proxy before an OpenAI that answers each call in turn.
struct Scene {
    proxy: Proxy,
    calls: u32,
    _origin: Answering,
}

impl Scene {
    fn answering(bodies: Vec<String>) -> Self {
        Self::of("openai", "paths = [\"/v1/\"]", bodies)
    }

    /// The same before another provider.
    fn of(provider: &str, settings: &str, bodies: Vec<String>) -> Self {
        let bodies = Mutex::new(bodies.into_iter());
        let origin = Answering::with(move |_| {
            let body = bodies.lock().unwrap().next().expect("no more calls");
            let kind = if body.starts_with('{') { "application/json" } else { "text/event-stream" };
            let length = body.len();
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
            )
            .into_bytes()
        });
        let proxy = Start::new(upstream(provider, &origin.url(), settings)).start();
        Self { proxy, calls: 0, _origin: origin }
    }

    /// One exchange, and the metrics once it was reported.
    fn call(&mut self, line: &str, body: &str) -> Metrics {
        self.calls += 1;
        let trace = format!("{:032x}", self.calls);
        let length = body.len();
        let request = format!(
            "{line} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
            traceparent: 00-{trace}-00000000000000aa-01\r\n\r\n{body}"
        );
        exchange(self.proxy.address, request);
        self.proxy.wait_for_line(|line| line.contains(&trace));
        self.proxy.metrics()
    }

    fn fetch(&mut self, path: &str) -> Metrics {
        self.call(&format!("GET {path}"), "")
    }
}

/// Input tokens, output tokens, calls of tools, and whether anything was missed.
fn counted(metrics: &Metrics) -> (f64, f64, f64, bool) {
    let tokens = |kind: &str| {
        let kind = format!("clearspan_token_kind=\"{kind}\"");
        metrics.sum("clearspan_tokens_total", &[&kind])
    };
    let fetched = ["gen_ai_operation_name=\"fetch_response\""];
    let missed = metrics.sum("clearspan_usage_missing_total", &fetched)
        + metrics.sum("clearspan_unpriced_total", &fetched);
    let calls = metrics.sum("clearspan_tool_calls_total", &[]);
    (tokens("input"), tokens("output"), calls, missed > 0.0)
}

#[test]
fn a_response_in_the_background_counts_when_it_is_first_fetched_whole() {
    let there = response("resp_1", "completed", true);
    let end = json!({"type": "response.completed", "response": there});
    let mut scene = Scene::answering(vec![
        response("resp_1", "queued", true).to_string(),
        response("resp_1", "in_progress", true).to_string(),
        there.to_string(),
        there.to_string(),
        format!("event: response.completed\ndata: {end}\n\n"),
    ]);
    let asked = json!({"model": "gpt-4o", "input": "Hi", "background": true}).to_string();
    let pending = scene.call("POST /v1/responses", &asked);
    assert_eq!(counted(&pending), (0.0, 0.0, 0.0, false));
    let reason = ["clearspan_usage_missing=\"pending\""];
    assert_eq!(pending.sum("clearspan_usage_missing_total", &reason), 1.0);
    assert_eq!(counted(&scene.fetch("/v1/responses/resp_1")), (0.0, 0.0, 0.0, false));
    let first = scene.fetch("/v1/responses/resp_1");
    assert_eq!(counted(&first), (15.0, 9.0, 1.0, false));
    let cost = first.sum("clearspan_cost_USD_total", &[]);
    assert!((cost - (15.0 * 2.5 + 9.0 * 10.0) / 1e6).abs() < 1e-12, "{cost}");
    for path in ["/v1/responses/resp_1", "/v1/responses/resp_1?stream=true&starting_after=3"] {
        let again = scene.fetch(path);
        assert_eq!(counted(&again), (15.0, 9.0, 1.0, false), "{path}");
        assert_eq!(again.sum("clearspan_cost_USD_total", &[]), cost, "{path}");
    }
    scene.proxy.finish();
}

#[test]
fn a_response_that_told_its_usage_when_it_was_made_counts_no_more() {
    let made = response("resp_2", "completed", false).to_string();
    let elsewhere = response("resp_3", "completed", false).to_string();
    let mut scene = Scene::answering(vec![made.clone(), made, elsewhere]);
    let asked = json!({"model": "gpt-4o", "input": "Hi"}).to_string();
    let expected = (15.0, 9.0, 1.0, false);
    assert_eq!(counted(&scene.call("POST /v1/responses", &asked)), expected);
    assert_eq!(counted(&scene.fetch("/v1/responses/resp_2")), expected);
    assert_eq!(counted(&scene.fetch("/v1/responses/resp_3")), expected, "made elsewhere");
    scene.proxy.finish();
}

#[test]
fn a_videos_seconds_count_when_it_is_first_fetched_complete() {
    let job = |id: &str, status: &str| {
        json!({"id": id, "object": "video", "model": "sora-2", "status": status, "seconds": "8",
            "size": "1280x720", "error": null})
        .to_string()
    };
    let mut scene = Scene::answering(vec![
        job("video_1", "queued"),
        job("video_1", "in_progress"),
        job("video_1", "completed"),
        job("video_1", "completed"),
        json!({"object": "list", "data": [{"id": "video_1", "status": "completed", "seconds": "8"}]})
            .to_string(),
        job("video_2", "queued"),
        job("video_2", "completed"),
    ]);
    let cost = |metrics: &Metrics| metrics.sum("clearspan_cost_USD_total", &[]);
    let asked = json!({"model": "sora-2", "prompt": "x", "seconds": "8"}).to_string();
    assert_eq!(cost(&scene.call("POST /v1/videos", &asked)), 0.0);
    assert_eq!(cost(&scene.fetch("/v1/videos/video_1")), 0.0);
    let eight_seconds = 0.8;
    for path in ["/v1/videos/video_1", "/v1/videos/video_1", "/v1/videos"] {
        assert_eq!(cost(&scene.fetch(path)), eight_seconds, "{path}");
    }
    // How much of a longer one is new nobody tells: its cost is not known, and told once.
    let longer = json!({"prompt": "x", "seconds": "4", "video": {"id": "video_1"}}).to_string();
    let unpriced = |metrics: &Metrics| metrics.sum("clearspan_unpriced_total", &[]);
    let before = unpriced(&scene.proxy.metrics());
    for metrics in
        [scene.call("POST /v1/videos/extensions", &longer), scene.fetch("/v1/videos/video_2")]
    {
        assert_eq!((cost(&metrics), unpriced(&metrics)), (eight_seconds, before + 1.0));
    }
    scene.proxy.finish();
}

#[test]
fn a_batch_with_its_answers_counts_once_at_the_batch_price() {
    let cost = |metrics: &Metrics| metrics.sum("clearspan_cost_USD_total", &[]);
    let counts = json!({"promptTokenCount": 5, "candidatesTokenCount": 7, "totalTokenCount": 12});
    let answer =
        json!({"response": {"modelVersion": "gemini-3-flash-preview", "usageMetadata": counts}});
    let job = |state: &str| {
        let output = json!({"inlinedResponses": {"inlinedResponses": [answer, answer]}});
        json!({"name": "batches/b", "done": state.ends_with("SUCCEEDED"), "response": output,
            "metadata": {"model": "models/gemini-3-flash-preview", "state": state, "output": output}})
        .to_string()
    };
    let bodies = ["BATCH_STATE_RUNNING", "BATCH_STATE_SUCCEEDED", "BATCH_STATE_SUCCEEDED"].map(job);
    let settings = "dialect = \"gemini\"\npaths = [\"/v1beta/\"]";
    let mut scene = Scene::of("gemini", settings, bodies.into());
    assert_eq!(cost(&scene.fetch("/v1beta/batches/b")), 0.0, "it still runs");
    for _ in 0..2 {
        let told = scene.fetch("/v1beta/batches/b");
        assert_eq!(counted(&told), (10.0, 14.0, 0.0, false));
        let nanos = (cost(&told) * 1e9).round();
        assert_eq!(nanos, 10.0 * 250.0 + 14.0 * 1_500.0, "half of $0.50 and $3 a million");
    }
    scene.proxy.finish();
    let body = json!({"model": "mistral-small-2603", "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}});
    let job = |outputs: Value| {
        json!({"id": "job", "object": "batch", "model": "mistral-small-latest", "status": "SUCCESS",
            "outputs": outputs})
        .to_string()
    };
    let there = job(json!([{"custom_id": "0", "response": {"status_code": 200, "body": body}}]));
    let bodies = vec![job(Value::Null), there.clone(), there];
    let mut scene = Scene::of("mistral", "paths = [\"/v1/\"]", bodies);
    assert_eq!(counted(&scene.fetch("/v1/batch/jobs/job")), (0.0, 0.0, 0.0, false));
    for _ in 0..2 {
        let told = scene.fetch("/v1/batch/jobs/job?inline=true");
        assert_eq!(counted(&told), (5.0, 7.0, 0.0, false));
        let nanos = (cost(&told) * 1e9).round();
        assert_eq!(nanos, 5.0 * 75.0 + 7.0 * 300.0, "half of $0.15 and $0.60 a million");
    }
    scene.proxy.finish();
}
