//! Real clients, directly and through the proxy: those that speak OpenAI's and Anthropic's formats with
//! llama.cpp's own server, those of Google's and Ollama's with scripted stand-ins, since no package
//! carries a server of these. Knows what `tests/real/install.sh` installs.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::collector::{Collector, Mode, Received};
use crate::support::proxy::{Proxy, Start, export, upstream};
use crate::support::signals::Span;

const MISSING: &str = "run tests/real/install.sh";
/// Calls that ask no model.
const PLAIN: [&str; 3] = ["models", "list", "count tokens"];

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
        self.command("venv/bin/python", script)
    }

    /// This script, by a program that was installed.
    fn command(&self, program: &str, script: &str) -> Command {
        let mut command = Command::new(self.folder.join(program));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real").join(script);
        command.arg(script).env_clear().env("PYTHONDONTWRITEBYTECODE", "1");
        command.stdin(Stdio::null()).stderr(Stdio::inherit());
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

    /// The scripted Gemini.
    fn gemini(&self) -> Server {
        Server::start(&mut self.python("mini_gemini.py"))
    }

    /// What a script prints, one JSON object a line, when a variable names this base URL.
    pub(crate) fn run(&self, script: &str, variable: &str, url: &str) -> Vec<Value> {
        let program = match script {
            "litellm_sdk.py" => "alone/bin/python",
            "clients.mjs" => "venv/bin/node",
            _ => "venv/bin/python",
        };
        let mut command = self.command(program, script);
        for key in ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"] {
            command.env(key, "sk-test-not-a-key");
        }
        let output =
            command.current_dir(self.folder.join("npm")).env(variable, url).output().unwrap();
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

fn asks_a_model(call: &Value) -> bool {
    !PLAIN.contains(&call["call"].as_str().unwrap())
}

/// The CLIENT span of each call that asks a model, in the order of the calls; each under a SERVER span
/// of its own trace.
fn model_calls(collector: &Collector, calls: &[Value]) -> Vec<Span> {
    let count = calls.len();
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
    spans.sort_by_key(|span| span.start);
    assert_eq!(spans.len(), calls.iter().filter(|call| asks_a_model(call)).count());
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
    let spans = model_calls(&collector, &through);
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
    let calls = calls.iter().filter(|call| asks_a_model(call));
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
    let spans = model_calls(&collector, &through);
    proxy.finish();
    let calls: Vec<_> = through.iter().filter(|call| asks_a_model(call)).collect();
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
    let spans = model_calls(&collector, &through);
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

/// The last count under one of these names that a client was told, however deep it stands.
fn last_count(value: &Value, names: &[&str]) -> Option<u64> {
    match value {
        Value::Object(fields) => fields.iter().fold(None, |last, (name, value)| {
            let own = names.contains(&name.as_str()).then(|| value.as_u64()).flatten();
            own.or(last_count(value, names)).or(last)
        }),
        Value::Array(values) => values.iter().rev().find_map(|value| last_count(value, names)),
        _ => None,
    }
}

/// What a client was told, input and output, in any of their spellings.
fn told(call: &Value) -> [Option<u64>; 2] {
    let input = ["prompt_tokens", "input_tokens", "inputTokens", "prompt_token_count"];
    let output = ["completion_tokens", "output_tokens", "outputTokens", "candidates_token_count"];
    let thoughts = last_count(call, &["thoughts_token_count"]).unwrap_or(0);
    let output = last_count(call, &output).map(|output| output + thoughts);
    [last_count(call, &input), output]
}

/// A client and how it is pointed at a server.
struct Client {
    script: &'static str,
    variable: &'static str,
    /// Stands behind the server's address in the base URL.
    path: &'static str,
}

impl Client {
    /// Asserts that it sees the same directly and through `proxy`, and that each span tells what it
    /// saw: the model, whether it streamed, the tokens, how it ended.
    fn check(&self, installed: &Installed, direct: &str, collector: &Collector, proxy: Proxy) {
        let run =
            |base: &str| installed.run(self.script, self.variable, &format!("{base}{}", self.path));
        let direct = run(direct);
        let through = run(&format!("http://{}", proxy.address));
        assert_same(&direct, &through);
        let spans = model_calls(collector, &through);
        proxy.finish();
        let mut counted = 0;
        for (call, span) in through.iter().filter(|call| asks_a_model(call)).zip(&spans) {
            let name = call["call"].as_str().unwrap();
            let tokens = ["input", "output"]
                .map(|of| span.attributes.get(&format!("gen_ai.usage.{of}_tokens")));
            let streamed = span.attributes.contains_key("gen_ai.response.time_to_first_chunk");
            let ending = attribute(span, "clearspan.ending").as_str().unwrap();
            let model = attribute(span, "gen_ai.request.model");
            println!(
                "{} {name}: {} {model} streamed={streamed} {ending} {tokens:?}",
                self.script, span.name
            );
            if call["status"].is_u64() {
                assert_eq!(ending, "error_status", "{name}: {span:#?}");
                assert_eq!(attribute(span, "http.response.status_code"), &call["status"]);
                continue;
            }
            assert_eq!((model, ending), (&Value::from("tiny"), "complete"), "{name}: {span:#?}");
            assert_eq!(streamed, name.contains("streamed"), "{name}: {span:#?}");
            for (told, token) in told(call).into_iter().zip(tokens) {
                counted += usize::from(told.is_some());
                assert!(told.is_none() || token == Some(&Value::from(told)), "{name}: {span:#?}");
            }
        }
        assert!(counted >= spans.len(), "most calls tell the client of two counts");
    }
}

/// llama.cpp's server behind the proxy, as `provider`, for this client.
fn with_llama(provider: &str, client: &Client) {
    let Some(installed) = Installed::find() else { return };
    let (llama, collector) = (installed.llama(), Collector::start(Mode::Well));
    let keys = format!("provider = \"{provider}\"\npaths = [\"/v1/\"]");
    let proxy = proxy("local", &llama.url, &collector, &keys);
    client.check(&installed, &llama.url, &collector, proxy);
}

#[test]
fn the_anthropic_sdk_sees_what_it_would_see_without_the_proxy() {
    let client = Client { script: "anthropic_sdk.py", variable: "ANTHROPIC_BASE_URL", path: "" };
    with_llama("anthropic", &client);
}

#[test]
fn langchain_sees_what_it_would_see_without_the_proxy() {
    let client = Client { script: "langchain_sdk.py", variable: "OPENAI_BASE_URL", path: "/v1" };
    with_llama("llamacpp", &client);
}

#[test]
fn litellm_sees_what_it_would_see_without_the_proxy() {
    let client = Client { script: "litellm_sdk.py", variable: "CLIENT_BASE_URL", path: "" };
    with_llama("llamacpp", &client);
}

#[test]
fn npms_clients_see_what_they_would_see_without_the_proxy() {
    let client = Client { script: "clients.mjs", variable: "OPENAI_BASE_URL", path: "/v1" };
    with_llama("llamacpp", &client);
}

/// Its SDK asks under `/v1/`, which is OpenAI's, but for the SDK's marker.
#[test]
fn the_google_sdk_sees_what_it_would_see_without_the_proxy() {
    let Some(installed) = Installed::find() else { return };
    let (gemini, collector) = (installed.gemini(), Collector::start(Mode::Well));
    let config = [
        upstream("openai", "http://127.0.0.1:9", "paths = [\"/v1/\"]"),
        upstream("gemini", &gemini.url, "paths = [\"/v1beta/\"]"),
        export(collector.endpoint()),
    ];
    let proxy = Start::new(config.concat()).start();
    let client = Client { script: "gemini_sdk.py", variable: "GOOGLE_GEMINI_BASE_URL", path: "" };
    client.check(&installed, &gemini.url, &collector, proxy);
}
