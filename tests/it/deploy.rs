//! What `deploy/` and `docker/` ship, held to what the program really exports and accepts, and to the tools
//! of those who run it, where these are installed. Knows the files, and nothing of what is inside the program.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::real::Installed;
use crate::support::PATIENCE;
use crate::support::client::{Client, exchange, get, post};
use crate::support::collector::{Collector, Mode};
use crate::support::origin::{Answer, Answering, Nobody, Request};
use crate::support::promql;
use crate::support::proxy::{Metrics, Proxy, Start, export, upstream};
use crate::support::wire::{chunk, text};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn dashboard() -> Value {
    serde_json::from_str(&read("deploy/grafana/dashboards/overview.json")).unwrap()
}

/// Every query of the dashboard, under its panel's title.
fn dashboard_queries() -> Vec<(String, String)> {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let queries = panels.iter().flat_map(|panel| {
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.map(|target| (owned(&panel["title"]), owned(&target["expr"])))
    });
    queries.collect()
}

/// The `label_values(selector, label)` behind the dashboard's variables.
fn dashboard_variables() -> Vec<(String, String)> {
    let dashboard = dashboard();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let queried = variables.iter().filter_map(|it| it["definition"].as_str());
    queried
        .map(|definition| {
            let inside =
                definition.strip_prefix("label_values(").unwrap().strip_suffix(')').unwrap();
            let (selector, label) = inside.rsplit_once(", ").unwrap();
            (selector.to_owned(), label.to_owned())
        })
        .collect()
}

/// Every alert's name and expression.
fn alerts() -> Vec<(String, String)> {
    let rules = read("deploy/prometheus/alerts.yaml");
    let rules = rules.split("- alert: ").skip(1);
    rules
        .map(|rule| {
            let name = rule.lines().next().unwrap().to_owned();
            let after = rule.split_once("expr: ").unwrap().1;
            let expression = after.split_once("\n        for:").unwrap().0;
            (name, expression.trim_start_matches('|').to_owned())
        })
        .collect()
}

fn owned(text: &Value) -> String {
    text.as_str().unwrap().to_owned()
}

/// Requests at once.
const PLACES: u32 = 4;

/// A proxy that has seen a bit of everything.
struct Busy {
    proxy: Proxy,
    _upstream: Answering,
    _nobody: Nobody,
    _collector: Collector,
}

impl Busy {
    fn start() -> Self {
        let (answering, nobody) = (Answering::with(answer), Nobody::bind());
        let collector = Collector::start(Mode::Well);
        let config = upstream("openai", &answering.url(), "paths = [\"/v1/\"]")
            + &upstream("gone", &nobody.url(), "provider = \"openai\"")
            + &export(collector.endpoint())
            + &format!("[limits]\nmax_exchanges = {PLACES}\n");
        let proxy = Start::new(config).start();
        Self { proxy, _upstream: answering, _nobody: nobody, _collector: collector }
    }

    /// One request of each kind.
    fn traffic(&self) {
        let address = self.proxy.address;
        for model in ["gpt-4o-mini", "never-heard-of", "refused", "failing"] {
            self.call("/v1/chat/completions", json!({"model": model, "messages": []}));
        }
        for model in ["gpt-4o-mini", "silent", "cut"] {
            self.call(
                "/v1/chat/completions",
                json!({"model": model, "messages": [], "stream": true}),
            );
        }
        self.call("/gone/v1/chat/completions", json!({"model": "gpt-4o-mini", "messages": []}));
        exchange(address, get("/v1/models"));
        exchange(address, get("/nowhere"));
        exchange(address, "no request\r\n\r\n");
        self.fill();
    }

    /// One request more than there are places for.
    fn fill(&self) {
        let address = self.proxy.address;
        self.wait_until_under_way(0);
        let begun: Vec<Client> = (0..PLACES)
            .map(|_| {
                let mut client = Client::connect(address);
                client.send("POST /v1/models HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n");
                client
            })
            .collect();
        self.wait_until_under_way(PLACES);
        assert_eq!(exchange(address, get("/v1/models")).head.status(), 503);
        for mut client in begun {
            client.send("x");
            client.response("POST");
        }
    }

    fn wait_until_under_way(&self, requests: u32) {
        self.proxy.wait_for_metric("the number of requests under way", |metrics| {
            metrics.sum("clearspan_requests_active", &[]) == f64::from(requests)
        });
    }

    fn call(&self, path: &str, body: Value) {
        exchange(self.proxy.address, post(path, body.to_string()));
    }
}

/// What the upstream says to a model of this name.
fn answer(request: &Request) -> Answer {
    let body: Value = serde_json::from_slice(&request.body.bytes).unwrap_or_default();
    let usage = r#""usage":{"prompt_tokens":5,"completion_tokens":8,"total_tokens":13}"#;
    let piece = |choice: &str, more: &str| {
        chunk(
            format!("data: {{\"model\":\"gpt-4o-mini\",\"choices\":[{choice}]{more}}}\n\n")
                .as_bytes(),
        )
    };
    let word = || piece(r#"{"index":0,"delta":{"content":"word "}}"#, "");
    let end = |more: &str| piece(r#"{"index":0,"delta":{},"finish_reason":"stop"}"#, more);
    let last = chunk(b"data: [DONE]\n\n");
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    let stream = |mut parts: Vec<Vec<u8>>| {
        parts.insert(0, head.into());
        parts.push(b"0\r\n\r\n".to_vec());
        Answer { parts, close: false }
    };
    let whole = |status: &str, body: &str| {
        let length = body.len();
        let head = "Content-Type: application/json\r\nContent-Length:";
        Answer::from(format!("HTTP/1.1 {status}\r\n{head} {length}\r\n\r\n{body}"))
    };
    match (body["model"].as_str(), body["stream"].as_bool()) {
        (Some("silent"), _) => stream(vec![word(), end(""), last]),
        (Some("cut"), _) => stream(vec![word(), word()]),
        (_, Some(true)) => stream(vec![word(), word(), end(&format!(",{usage}")), last]),
        (Some("refused"), _) => whole("429 Too Many Requests", r#"{"error":{"code":"slow_down"}}"#),
        (Some("failing"), _) => whole("503 Service Unavailable", "{}"),
        (Some(model), _) => {
            whole("200 OK", &format!("{{\"model\":\"{model}\",\"choices\":[],{usage}}}"))
        }
        (None, _) => whole("200 OK", "{}"),
    }
}

/// Labels of each metric, and the values that each has.
type Exported = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// Labels that a scrape adds.
const OF_THE_SCRAPE: [&str; 2] = ["job", "instance"];

fn exported(page: &Metrics) -> Exported {
    let mut exported = Exported::new();
    for line in page.0.lines().filter(|line| !line.starts_with('#')) {
        let series = line.rsplit_once(' ').unwrap().0;
        let series = &promql::names(series).selectors[0];
        let labels = exported.entry(series.metric.clone()).or_default();
        for (label, value) in &series.labels {
            labels.entry(label.clone()).or_default().extend(value.clone());
        }
    }
    exported
}

/// What `expression` names that is not there.
fn missing(exported: &Exported, expression: &str) -> Vec<String> {
    let mut missing = Vec::new();
    let names = promql::names(expression);
    for selector in names.selectors.iter().filter(|it| it.metric != "up") {
        let metric = &selector.metric;
        let Some(labels) = exported.get(metric) else {
            missing.push(metric.clone());
            continue;
        };
        let grouping = names.grouping.iter().map(|label| (label, &None));
        let asked = selector.labels.iter().map(|(label, value)| (label, value));
        for (label, value) in asked.chain(grouping) {
            match (labels.get(label), value) {
                _ if OF_THE_SCRAPE.contains(&label.as_str()) => (),
                (None, _) => missing.push(format!("{metric}{{{label}}}")),
                (Some(values), Some(value)) if !values.contains(value) => {
                    missing.push(format!("{metric}{{{label}={value:?}}}"));
                }
                _ => (),
            }
        }
    }
    missing
}

#[test]
fn every_metric_and_label_that_the_dashboard_and_the_alerts_name_is_exported() {
    let busy = Busy::start();
    let variables = dashboard_variables();
    let variables = variables.into_iter().map(|(selector, label)| {
        (format!("the variable of {label}"), format!("count by ({label}) ({selector})"))
    });
    let named: Vec<_> = dashboard_queries().into_iter().chain(variables).chain(alerts()).collect();
    assert!(named.len() > 40, "{}", named.len());
    let deadline = Instant::now() + PATIENCE;
    loop {
        busy.traffic();
        let exported = exported(&busy.proxy.metrics());
        let missing: Vec<_> = named
            .iter()
            .map(|(place, expression)| (place, missing(&exported, expression)))
            .filter(|(_, missing)| !missing.is_empty())
            .collect();
        if missing.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "not exported: {missing:#?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_metric_a_label_or_a_value_that_is_not_there_is_found_missing() {
    let exported = exported(&Metrics("# HELP\na{b=\"c\"} 1\nd 2\n".to_owned()));
    let found = |expression| missing(&exported, expression);
    assert_eq!(found("sum by (job, b) (a{b=\"c\"}) / on (job) up"), [""; 0]);
    assert_eq!(found("sum(a{x=\"c\"}) + d"), ["a{x}"]);
    assert_eq!(found("a{b=\"x\"}"), ["a{b=\"x\"}"]);
    assert_eq!(found("sum by (b) (d)"), ["d{b}"]);
    assert_eq!(found("rate(e[5m])"), ["e"]);
}

#[test]
fn no_panel_of_the_dashboard_lies_upon_another_or_asks_a_source_of_its_own() {
    let dashboard = dashboard();
    let (mut ids, mut places) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let side = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(side("x") + side("w") <= 24, "{panel}");
        for x in side("x")..side("x") + side("w") {
            for y in side("y")..side("y") + side("h") {
                assert!(places.insert((x, y)), "{}", panel["title"]);
            }
        }
        if panel["type"] != "row" {
            assert_eq!(panel["datasource"]["uid"], "${source}", "{}", panel["title"]);
        }
    }
    // What provisioning from a file needs.
    assert!(dashboard["uid"].is_string() && dashboard.get("id").is_none());
    let compose = read("deploy/compose/compose.yaml");
    assert!(compose.contains(
        "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH: /var/lib/grafana/dashboards/overview.json"
    ));
}

/// A program of those who run Clearspan; nothing where it is not installed. `must` says whether CI has it.
fn tool(name: &str, must: bool) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders).map(|it| it.join(name)).find(|it| it.is_file());
    if found.is_none() {
        let ci = std::env::var_os("CI").is_some_and(|value| value == "true");
        assert!(!(ci && must), "{name} is not installed");
        println!("skipped: {name} is not installed");
    }
    found
}

/// What it printed; it must have gone well.
fn told(what: &str, output: &Output) -> String {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{what}: {}\n{out}{err}", output.status);
    out
}

/// A Prometheus with the shipped configuration, but for what it reads and how often.
struct Prometheus {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    fn start(program: &Path, reads: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let shipped = read("deploy/prometheus/prometheus.yaml");
        assert!(shipped.contains("[\"clearspan:4320\"]") && shipped.contains(": 15s"));
        let config = shipped.replace("clearspan:4320", &reads.to_string()).replace(": 15s", ": 1s");
        std::fs::write(folder.path().join("prometheus.yaml"), config).unwrap();
        std::fs::write(folder.path().join("alerts.yaml"), read("deploy/prometheus/alerts.yaml"))
            .unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = Command::new(program)
            .arg("--config.file=prometheus.yaml")
            .arg("--storage.tsdb.path=tsdb")
            .arg(format!("--web.listen-address={address}"))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let prometheus = Self { child, address, _folder: folder };
        let deadline = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(address).is_err()
            || exchange(address, get("/-/ready")).head.status() != 200
        {
            assert!(Instant::now() < deadline, "Prometheus is not ready");
            std::thread::sleep(Duration::from_millis(50));
        }
        prometheus
    }

    fn ask(&self, path: &str) -> Value {
        let answer = exchange(self.address, get(path)).json();
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        answer["data"].clone()
    }

    /// The values of an expression now.
    fn values(&self, expression: &str) -> Vec<f64> {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let data = self.ask(&format!("/api/v1/query?query={encoded}"));
        let series = data["result"].as_array().unwrap();
        series.iter().map(|it| it["value"][1].as_str().unwrap().parse().unwrap()).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn every_query_of_the_dashboard_has_an_answer_in_prometheus() {
    let Some(program) = tool("prometheus", true) else { return };
    let busy = Busy::start();
    let prometheus = Prometheus::start(&program, busy.proxy.admin);
    let queries: Vec<_> = dashboard_queries()
        .into_iter()
        .map(|(panel, query)| {
            let query = ["$job", "$provider", "$model"]
                .iter()
                .fold(query, |it, name| it.replace(name, ".*"));
            (panel, query.replace("$__rate_interval", "1m").replace("$__range", "1m"))
        })
        .collect();
    let deadline = Instant::now() + 2 * PATIENCE;
    loop {
        busy.traffic();
        let unanswered: Vec<_> = queries
            .iter()
            .map(|(panel, query)| (panel, query, prometheus.values(query)))
            .filter(|(_, _, values)| values.is_empty() || !values.iter().all(|it| it.is_finite()))
            .collect();
        if unanswered.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "{unanswered:#?}");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(prometheus.values("up{job=\"clearspan\"}"), [1.0]);
    let rules = prometheus.ask("/api/v1/rules");
    let rules = rules["groups"][0]["rules"].as_array().unwrap();
    assert_eq!(rules.len(), alerts().len());
    assert!(rules.iter().all(|rule| rule["health"] != "err"), "{rules:#?}");
}

#[test]
fn the_alerts_fire_when_they_should() {
    let Some(promtool) = tool("promtool", true) else { return };
    let folder = root().join("deploy/prometheus");
    for arguments in [["check", "config", "prometheus.yaml"], ["test", "rules", "alerts_test.yaml"]]
    {
        let output = Command::new(&promtool).args(arguments).current_dir(&folder).output().unwrap();
        told(&arguments.join(" "), &output);
    }
    // Each has a case.
    let cases = read("deploy/prometheus/alerts_test.yaml");
    for (alert, _) in alerts() {
        assert!(cases.contains(&format!("alertname: {alert}\n")), "{alert}");
    }
}

#[test]
fn the_shipped_settings_are_accepted_where_they_are_used() {
    for path in ["deploy/compose/proxy.toml", "deploy/kubernetes/base/proxy.toml"] {
        let output = Command::new(env!("CARGO_BIN_EXE_clearspan"))
            .arg("--config")
            .arg(root().join(path))
            .arg("check")
            .env_clear()
            // As the image has it.
            .envs([
                ("CLEARSPAN_SERVER_LISTEN", "0.0.0.0:4319"),
                ("CLEARSPAN_SERVER_ADMIN", "0.0.0.0:4320"),
            ])
            .output()
            .unwrap();
        told(path, &output);
        let dockerfile = read("docker/Dockerfile");
        assert!(dockerfile.contains("CLEARSPAN_SERVER_LISTEN=0.0.0.0:4319"));
        assert!(dockerfile.contains("CLEARSPAN_SERVER_ADMIN=0.0.0.0:4320"));
    }
}

#[test]
fn the_dockerfile_is_without_fault() {
    let Some(hadolint) = Installed::find().and_then(|it| it.tool("hadolint")) else { return };
    let output = Command::new(hadolint).arg(root().join("docker/Dockerfile")).output().unwrap();
    told("hadolint", &output);
}

#[test]
fn the_compose_stack_is_understood_and_open_to_this_machine_alone() {
    let Some(compose) = Installed::find().and_then(|it| it.tool("docker-compose")) else { return };
    let output = Command::new(compose)
        .args(["--profile", "ollama", "config", "--format", "json"])
        .current_dir(root().join("deploy/compose"))
        .output()
        .unwrap();
    let stack: Value = serde_json::from_str(&told("compose", &output)).unwrap();
    let services = stack["services"].as_object().unwrap();
    assert_eq!(services.len(), 6);
    for (name, service) in services {
        let image = service["image"].as_str().unwrap();
        let is_pinned = image.rsplit_once(':').is_some_and(|(_, tag)| tag.contains('.'));
        assert!(is_pinned || name == "clearspan", "{image}");
        for port in service["ports"].as_array().into_iter().flatten() {
            assert_eq!(port["host_ip"], "127.0.0.1", "{name}: {port}");
        }
    }
    for (_, config) in stack["configs"].as_object().unwrap() {
        assert!(Path::new(config["file"].as_str().unwrap()).is_file(), "{config}");
    }
    let clearspan = &services["clearspan"];
    assert_eq!(clearspan["read_only"], true);
    assert_eq!(clearspan["cap_drop"], json!(["ALL"]));
    // Both in seconds: `1m5s`, and the drain with its flush.
    assert_eq!(clearspan["stop_grace_period"], "1m5s");
    assert_eq!(clearspan["environment"]["CLEARSPAN_LIMITS_DRAIN_SECONDS"], "60");
}

/// Gives `text` to a script that says what is wrong with it.
fn check(installed: &Installed, script: &str, text: &str) {
    let mut checking = installed
        .python(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    checking.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    told(script, &checking.wait_with_output().unwrap());
}

#[test]
fn the_collector_is_asked_for_what_it_is_told_of() {
    let Some(installed) = Installed::find() else { return };
    // Without it the scripts have no YAML.
    if installed.tool("kubernetes-validate").is_some() {
        check(&installed, "collector.py", &read("deploy/collector/config.yaml"));
    }
}

#[test]
fn the_manifests_are_what_kubernetes_takes() {
    let Some(kubectl) = tool("kubectl", false) else { return };
    let Some(installed) = Installed::find() else { return };
    if installed.tool("kubernetes-validate").is_none() {
        return;
    }
    for folder in ["base", "prometheus-operator", "sidecar"] {
        let path = root().join("deploy/kubernetes").join(folder);
        let output = Command::new(&kubectl).arg("kustomize").arg(path).output().unwrap();
        let manifests = told(folder, &output);
        check(&installed, "manifests.py", &manifests);
    }
}
