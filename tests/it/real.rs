//! Real clients and a real server: the `openai` SDK with llama.cpp's own server, and the `ollama`
//! SDK with a scripted stand-in, directly and through the proxy. No real Ollama runs here: no
//! package carries it. Knows what `tests/real/install.sh` installs.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::collector::{Collector, Mode, Received};
use crate::support::proxy::{Proxy, Start, export, upstream};
use crate::support::signals::Span;

const MISSING: &str = "run tests/real/install.sh";

/// What `install.sh` made, where it ran.
pub(crate) struct Installed {
    folder: PathBuf,
}

impl Installed {
    /// Nothing where it did not run; but where everything has to be tested, that is a failure.
    pub(crate) fn find() -> Option<Self> {
        // The binary stands in `target/debug`, `install.sh`'s work beside it.
        let binary = Path::new(env!("CARGO_BIN_EXE_clearspan"));
        let folder = binary.ancestors().nth(2)?.join("real");
        if folder.join("installed").exists() {
            return Some(Self { folder });
        }
        let ci = std::env::var_os("CI").is_some_and(|value| value == "true");
        assert!(!ci, "{MISSING}");
        println!("skipped: {MISSING}");
        None
    }

    /// A program that `install.sh` installed; nothing where an older one ran.
    pub(crate) fn tool(&self, name: &str) -> Option<PathBuf> {
        let program = self.folder.join("venv/bin").join(name);
        if !program.is_file() {
            println!("skipped: {MISSING} again, for {name}");
            return None;
        }
        Some(program)
    }

    pub(crate) fn python(&self, script: &str) -> Command {
        let mut command = Command::new(self.folder.join("venv/bin/python"));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real").join(script);
        command.arg(script).env_clear().stdin(Stdio::null()).stderr(Stdio::inherit());
        command
    }

    /// llama.cpp's server with the model made here.
    fn llama(&self) -> Server {
        let mut command = self.python("llama_server.py");
        // It tells of every step.
        Server::start(command.arg(self.folder.join("tiny.gguf")).stderr(Stdio::null()))
    }

    /// The scripted Ollama.
    pub(crate) fn ollama(&self) -> Server {
        Server::start(&mut self.python("mini_ollama.py"))
    }

    /// What a script prints, one JSON object a line, when a variable names this base URL.
    pub(crate) fn run(&self, script: &str, variable: &str, url: &str) -> Vec<Value> {
        let output = self
            .python(script)
            .env(variable, url)
            .env("OPENAI_API_KEY", "sk-test-not-a-key")
            .output()
            .unwrap();
        assert!(output.status.success(), "{script} with {variable}={url}: {}", output.status);
        let lines = String::from_utf8(output.stdout).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A server in a process of its own, ended when dropped.
pub(crate) struct Server {
    child: Child,
    /// Where it listens.
    pub(crate) url: String,
}

impl Server {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let url = lines.find_map(|line| line.strip_prefix("listening on ").map(str::to_owned));
        Self { child, url: url.expect("the server listens") }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn proxy(name: &str, url: &str, collector: &Collector, keys: &str) -> Proxy {
    Start::new(upstream(name, url, keys) + &export(collector.endpoint())).start()
}

/// Asserts that both runs saw the same, call by call.
fn assert_same(direct: &[Value], through: &[Value]) {
    let calls = |run: &[Value]| run.iter().map(|line| line["call"].clone()).collect::<Vec<_>>();
    assert_eq!(calls(direct), calls(through));
    for (direct, through) in direct.iter().zip(through) {
        assert_eq!(direct, through, "{}", direct["call"]);
    }
}

/// CLIENT spans of model calls, once there are `count` of any kind; each under a SERVER span of its
/// own trace.
fn model_calls(collector: &Collector, count: usize) -> Vec<Span> {
    let is_whole = |received: &Received| received.of_kind("CLIENT").len() >= count;
    collector.wait_for("a span for each call", |it| is_whole(it).then_some(()));
    let received = collector.received();
    let mut spans: Vec<Span> = received.of_kind("CLIENT").into_iter().cloned().collect();
    assert_eq!(spans.len(), count);
    for span in &spans {
        let parents: Vec<_> = received
            .spans
            .iter()
            .filter(|it| it.id == span.parent && it.trace == span.trace)
            .collect();
        assert_eq!(parents.len(), 1, "{span:?}");
        assert_eq!(parents[0].kind, "SERVER");
    }
    spans.retain(|span| span.attributes.contains_key("gen_ai.operation.name"));
    // All calls but the list of models.
    assert_eq!(spans.len(), count - 1);
    spans
}

fn attribute<'a>(span: &'a Span, name: &str) -> &'a Value {
    span.attributes.get(name).unwrap_or_else(|| panic!("{name} is missing in {span:#?}"))
}

#[test]
fn the_openai_sdk_sees_what_it_would_see_without_the_proxy() {
    let Some(installed) = Installed::find() else { return };
    let (llama, collector) = (installed.llama(), Collector::start(Mode::Well));
    let keys = "provider = \"llamacpp\"\npaths = [\"/v1/\"]";
    let proxy = proxy("local", &llama.url, &collector, keys);
    let run = |url: &str| installed.run("openai_sdk.py", "OPENAI_BASE_URL", url);
    let direct = run(&format!("{}/v1", llama.url));
    let through = run(&format!("http://{}/v1", proxy.address));
    assert_same(&direct, &through);
    let spans = model_calls(&collector, through.len());
    proxy.finish();
    for span in &spans {
        assert_eq!(attribute(span, "gen_ai.request.model"), "tiny");
        assert_eq!(attribute(span, "gen_ai.provider.name"), "llamacpp");
        let refused = span.attributes.contains_key("error.type");
        let ending = if refused { "error_status" } else { "complete" };
        assert_eq!(attribute(span, "clearspan.ending"), ending, "{span:#?}");
    }
    assert_usage(&through, &spans);
}

/// The tokens that the SDK was told of are those on the spans, in the order of the calls.
fn assert_usage(calls: &[Value], spans: &[Span]) {
    let mut spans: Vec<_> = spans.iter().collect();
    spans.sort_by_key(|span| span.start);
    let calls = calls.iter().filter(|call| call["call"] != "models");
    for (call, span) in calls.zip(spans) {
        let events = call["events"].as_array().map(Vec::as_slice).unwrap_or_default();
        let told = events.iter().flat_map(|event| [&event["usage"], &event["response"]["usage"]]);
        let usage = told.rev().find(|usage| usage.is_object());
        let Some(usage) = usage else {
            assert!(!span.attributes.contains_key("gen_ai.usage.input_tokens"), "{span:#?}");
            continue;
        };
        let count =
            |chat: &str, response: &str| usage.get(chat).unwrap_or(&usage[response]).clone();
        let [input, output] =
            [("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens")]
                .map(|(chat, response)| count(chat, response));
        assert_eq!(attribute(span, "gen_ai.usage.input_tokens"), &input);
        assert_eq!(attribute(span, "gen_ai.usage.output_tokens"), &output);
        let reasons = attribute(span, "gen_ai.response.finish_reasons").as_array().unwrap();
        assert!(!reasons.is_empty());
        let streamed = call["call"].as_str().unwrap().contains("streamed");
        let first = span.attributes.get("gen_ai.response.time_to_first_chunk");
        assert_eq!(first.is_some(), streamed, "{call}");
    }
}

#[test]
fn the_openai_sdk_sees_no_usage_that_the_proxy_asked_for() {
    let Some(installed) = Installed::find() else { return };
    let (llama, collector) = (installed.llama(), Collector::start(Mode::Well));
    let keys = "provider = \"llamacpp\"\npaths = [\"/v1/\"]\nstream_usage = \"ask\"";
    let proxy = proxy("local", &llama.url, &collector, keys);
    let run = |url: &str| installed.run("openai_sdk.py", "OPENAI_BASE_URL", url);
    let direct = run(&format!("{}/v1", llama.url));
    let through = run(&format!("http://{}/v1", proxy.address));
    assert_same(&direct, &through);
    let mut spans = model_calls(&collector, through.len());
    proxy.finish();
    spans.sort_by_key(|span| span.start);
    let calls: Vec<_> = through.iter().filter(|call| call["call"] != "models").collect();
    let mut asked = spans.iter().zip(&calls).filter(|(span, _)| {
        span.attributes.get("clearspan.stream_usage").is_some_and(|it| it == "asked")
    });
    let (span, call) = asked.next().expect("one call that does not ask itself");
    assert_eq!(call["call"], "chat streamed, usage not asked");
    assert!(asked.next().is_none(), "where the client asks, nobody asks in its stead");
    let told = calls.iter().find(|call| call["call"] == "chat streamed").unwrap();
    let usage = &told["events"].as_array().unwrap().last().unwrap()["usage"];
    assert_eq!(attribute(span, "gen_ai.usage.input_tokens"), &usage["prompt_tokens"]);
    assert_eq!(attribute(span, "gen_ai.usage.output_tokens"), &usage["completion_tokens"]);
}

#[test]
fn the_ollama_sdk_sees_what_it_would_see_without_the_proxy() {
    let Some(installed) = Installed::find() else { return };
    let (ollama, collector) = (installed.ollama(), Collector::start(Mode::Well));
    let proxy = proxy("ollama", &ollama.url, &collector, "paths = [\"/api/\"]");
    let run = |url: &str| installed.run("ollama_sdk.py", "OLLAMA_HOST", url);
    let direct = run(&ollama.url);
    let through = run(&format!("http://{}", proxy.address));
    assert_same(&direct, &through);
    let spans = model_calls(&collector, through.len());
    proxy.finish();
    let with_tokens: Vec<_> = spans
        .iter()
        .filter(|it| it.attributes.contains_key("gen_ai.usage.output_tokens"))
        .collect();
    assert!(with_tokens.len() >= 6, "{spans:#?}");
    for span in with_tokens {
        assert_eq!(attribute(span, "gen_ai.provider.name"), "ollama");
        assert_eq!(attribute(span, "gen_ai.request.model"), "tiny");
        assert_eq!(attribute(span, "gen_ai.usage.input_tokens"), 11);
        assert_eq!(attribute(span, "gen_ai.usage.output_tokens"), 6);
        assert_eq!(attribute(span, "clearspan.ending"), "complete");
    }
}
