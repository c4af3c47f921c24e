//! Other settings while it runs: what changed is taken at once and drops nothing, or is refused as a
//! whole and by name. Knows SIGHUP, files, and what the program says of itself.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use crate::support::client::{Client, exchange, get, post};
use crate::support::collector::{Collector, Mode};
use crate::support::origin::{Answer, Answering, Origin};
use crate::support::proxy::{Proxy, Start, export, upstream};
use crate::support::stage::OK;
use crate::support::wire::{chunk, chunked};

const SERVER: &str = "[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n";
const NOTHING: &str = "configuration reloaded: nothing changed";
const V1: &str = "paths = [\"/v1/\"]";

fn config(url: &str, more: &str) -> String {
    format!("{SERVER}{}{more}", upstream("openai", url, V1))
}

/// Writes a file anew in one step, as a careful editor does.
fn put(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, path).unwrap();
}

/// A proxy whose standard error was read up to a line.
struct Told {
    proxy: Proxy,
    seen: usize,
}

impl Told {
    fn start(config: impl Into<String>) -> Self {
        Self { proxy: Start::new(config).start(), seen: 0 }
    }

    fn write(&self, config: &str) {
        put(&self.proxy.folder().join("proxy.toml"), config);
    }

    /// Waits until it says what became of the next reload.
    fn said(&mut self) -> String {
        let is_told = |line: &str| line.contains("\"configuration ");
        self.seen = self.proxy.wait_for_said(self.seen, is_told);
        let line = &self.proxy.stderr()[self.seen - 1];
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["message"].as_str().unwrap().to_owned()
    }

    fn hang_up(&mut self) -> String {
        self.proxy.signal("HUP");
        self.said()
    }

    /// What became of a change. On a slow machine it may have been seen before the signal came.
    fn reload(&mut self, config: &str) -> String {
        self.write(config);
        self.proxy.signal("HUP");
        loop {
            let said = self.said();
            if said != NOTHING {
                return said;
            }
        }
    }

    fn body(&self, path: &str) -> String {
        exchange(self.proxy.address, get(path)).text()
    }
}

fn answering(text: &str) -> Answering {
    let length = text.len();
    Answering::always(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{text}"))
}

#[test]
fn an_upstreams_url_holds_from_the_next_exchange_on_and_a_stream_stays_where_it_is() {
    let (old, new) = (Origin::bind(), answering("new"));
    let mut told = Told::start(config(&old.url(), ""));
    let begin = |address| {
        let mut client = Client::connect(address);
        client.send(post("/v1/chat/completions", "{\"model\":\"m\",\"stream\":true}"));
        let (mut stream, _) = old.accept_request();
        stream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let (_, mut body) = client.begin_response("POST");
        stream.send(chunk(b"one"));
        client.wire.until(&mut body, 3);
        (client, stream, body)
    };
    let (mut client, mut stream, mut body) = begin(told.proxy.address);
    let (mut other_client, mut other_stream, mut other_body) = begin(told.proxy.address);
    assert_eq!(
        told.reload(&config(&new.url(), "")),
        "configuration reloaded: upstream `openai` changed"
    );
    assert_eq!(told.body("/v1/models"), "new");
    stream.send([&chunk(b"two"), &b"0\r\n\r\n"[..]].concat());
    client.wire.finish(&mut body);
    assert!(body.complete);
    assert_eq!(body.bytes, b"onetwo");
    // The same client connection goes the new way with its next request.
    client.send(get("/v1/models"));
    assert_eq!(client.response("GET").text(), "new");
    // Nobody will use the old upstream's connection again, whatever else runs there.
    stream.wire.until_ended();
    other_stream.send(b"0\r\n\r\n");
    other_client.wire.finish(&mut other_body);
    assert!(other_body.complete);
    assert_eq!(told.proxy.admin_get("/readyz").head.status(), 200);
}

#[test]
fn an_upstream_that_did_not_change_keeps_its_connection() {
    let origin = Answering::always(OK);
    let mut told = Told::start(config(&origin.url(), ""));
    assert_eq!(told.body("/v1/models"), "ok");
    let other = upstream("other", "http://127.0.0.1:9", "");
    assert_eq!(
        told.reload(&config(&origin.url(), &other)),
        "configuration reloaded: upstream `other` added"
    );
    assert_eq!(told.body("/v1/models"), "ok");
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_hang_up_without_a_change_says_so() {
    let origin = Answering::always(OK);
    let mut told = Told::start(config(&origin.url(), ""));
    assert_eq!(told.hang_up(), NOTHING);
    told.write(&format!("# a comment\n{}", config(&origin.url(), "")));
    assert_eq!(told.hang_up(), NOTHING);
    told.proxy.wait_for_metric("two reloads", |metrics| {
        metrics.sum("clearspan_config_reloads_total", &["clearspan_result=\"taken\""]) >= 2.0
            && metrics.sum("clearspan_config_read_time_seconds", &[]) > 1.7e9
    });
}

#[test]
fn a_bad_file_is_refused_and_the_old_one_stays() {
    let origin = Answering::always(OK);
    let good = config(&origin.url(), "");
    let mut told = Told::start(good.clone());
    for (bad, why) in [
        (good.replace("paths", "pahts"), "did you mean `paths`?"),
        (good.replace("http://", "htp://"), "a URL begins with http://"),
        (good[..good.len() / 2].to_owned(), "proxy.toml: error at line"),
    ] {
        let said = told.reload(&bad);
        assert!(
            said.starts_with("configuration not reloaded, what was in force stays: "),
            "{said}"
        );
        assert!(said.contains(why), "{said}");
        assert_eq!(told.body("/v1/models"), "ok");
    }
    fs::remove_file(told.proxy.folder().join("proxy.toml")).unwrap();
    let said = told.hang_up();
    assert!(said.contains("No such file"), "{said}");
    assert_eq!(told.body("/v1/models"), "ok");
    told.write(&good);
    assert_eq!(told.hang_up(), NOTHING);
    let refused = ["clearspan_result=\"refused\""];
    told.proxy.wait_for_metric("refusals", |metrics| {
        metrics.sum("clearspan_config_reloads_total", &refused) >= 4.0
    });
}

#[test]
fn what_needs_a_restart_is_refused_by_name_and_nothing_is_taken() {
    let (old, new) = (answering("old"), answering("new"));
    let mut told = Told::start(config(&old.url(), ""));
    let other = config(&new.url(), "[limits]\ntape_memory = \"1MiB\"\nworkers = 3\n");
    assert_eq!(
        told.reload(&other),
        "configuration not reloaded, what was in force stays: limits.tape_memory, limits.workers \
         can only change with a restart"
    );
    assert_eq!(told.body("/v1/models"), "old");
    for (change, name) in [
        (config(&old.url(), "").replacen("127.0.0.1:0", "127.0.0.2:0", 1), "server.listen"),
        (config(&old.url(), "[telemetry]\nservice_name = \"x\"\n"), "telemetry.service_name"),
        (config(&old.url(), &export("http://127.0.0.1:9")), "telemetry.export"),
        (config(&old.url(), "listen = \"127.0.0.1:0\"\n"), "the `listen` of upstream `openai`"),
    ] {
        let said = told.reload(&change);
        assert!(said.ends_with(&format!("stays: {name} can only change with a restart")), "{said}");
    }
    assert_eq!(
        told.reload(&config(&new.url(), "")),
        "configuration reloaded: upstream `openai` changed"
    );
    assert_eq!(told.body("/v1/models"), "new");
}

#[test]
fn a_limit_holds_from_the_next_exchange_on() {
    let origin = Origin::bind();
    let mut told = Told::start(config(&origin.url(), ""));
    let mut first = Client::connect(told.proxy.address);
    first.send(get("/v1/models"));
    let (mut running, _) = origin.accept_request();
    let more = "[limits]\nmax_exchanges = 1\nupstream_silence_seconds = 0.2\n";
    assert_eq!(
        told.reload(&config(&origin.url(), more)),
        "configuration reloaded: limits.max_exchanges 10000 → 1, \
         limits.upstream_silence_seconds 0 → 0.2"
    );
    assert_eq!(exchange(told.proxy.address, get("/v1/models")).head.status(), 503);
    // What began before has no such limit.
    assert!(first.wire.is_silent(Duration::from_millis(400)));
    running.send(OK);
    assert_eq!(first.response("GET").text(), "ok");
    first.send(get("/v1/models"));
    assert_eq!(first.response("GET").head.status(), 504);
}

#[test]
fn an_own_listener_keeps_its_upstream_wherever_that_stands_in_the_file() {
    let (own, other) = (answering("own"), answering("other"));
    let [own, other] = [
        upstream("own", &own.url(), "listen = \"127.0.0.1:0\""),
        upstream("other", &other.url(), "paths = [\"/v1/\"]"),
    ];
    let mut told = Told::start(format!("{SERVER}{own}{other}"));
    let ask = |told: &Told| exchange(told.proxy.own("own"), get("/x")).text();
    assert_eq!(ask(&told), "own");
    assert_eq!(
        told.reload(&format!("{SERVER}{other}{own}")),
        "configuration reloaded: the order of upstreams"
    );
    assert_eq!(ask(&told), "own");
    assert_eq!(told.body("/v1/x"), "other");
}

#[test]
fn a_changed_file_is_seen_and_so_is_a_changed_link_to_its_folder() {
    let (old, new, third) = (answering("old"), answering("new"), answering("third"));
    let mut told = Told::start(config(&old.url(), ""));
    told.write(&config(&new.url(), ""));
    assert_eq!(told.said(), "configuration reloaded: upstream `openai` changed");
    assert_eq!(told.body("/v1/models"), "new");
    // As the kubelet does it: proxy.toml → ..data/proxy.toml, ..data → ..1, then → ..2.
    let at = |name: &str| told.proxy.folder().join(name);
    for (version, url) in [("..1", new.url()), ("..2", third.url())] {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("proxy.toml"), config(&url, "")).unwrap();
    }
    symlink("..1", at("..data")).unwrap();
    symlink("..data/proxy.toml", at("link")).unwrap();
    fs::rename(at("link"), at("proxy.toml")).unwrap();
    symlink("..2", at("..data_tmp")).unwrap();
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    assert_eq!(told.said(), "configuration reloaded: upstream `openai` changed");
    assert_eq!(told.body("/v1/models"), "third");
}

#[test]
fn a_changed_price_file_shows_in_the_next_calls_cost() {
    let answer = "{\"id\":\"x\",\"object\":\"chat.completion\",\"model\":\"own-model\",\"choices\":[{\"index\":0,\
        \"message\":{\"role\":\"assistant\",\"content\":\"hi\"},\"finish_reason\":\"stop\"}],\
        \"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5,\"total_tokens\":15}}";
    let origin = Answering::with(move |_| {
        let length = answer.len();
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{answer}"
        )
    });
    let collector = Collector::start(Mode::Well);
    let text = config(
        &origin.url(),
        &(export(collector.endpoint()) + "[pricing]\nfiles = [\"own.toml\"]\n"),
    );
    // A relative path begins where the file is that names it.
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("own.toml");
    let price = |input: u32| format!("[[model]]\nmodel = \"own-*\"\ninput = {input}\noutput = 0\n");
    fs::write(&own, price(1)).unwrap();
    let text = text.replace("own.toml", own.to_str().unwrap());
    let mut told = Told::start(text);
    let call = |told: &Told| {
        let request = post("/v1/chat/completions", "{\"model\":\"own-model\"}");
        assert_eq!(exchange(told.proxy.address, request).head.status(), 200);
    };
    let costs = |count: usize| -> Vec<f64> {
        let spans = collector.spans("CLIENT", count);
        spans.iter().map(|it| it.attributes["gen_ai.usage.cost"].as_f64().unwrap()).collect()
    };
    call(&told);
    assert_eq!(costs(1), [10e-6]);
    put(&own, &price(3));
    assert_eq!(told.said(), "configuration reloaded: prices of your own (1 now)");
    call(&told);
    assert_eq!(costs(2), [10e-6, 30e-6]);
    put(&own, "[[model]]\nmodel = \"own-*\"\ninptu = 3\n");
    let said = told.said();
    assert!(said.contains("own.toml: error at line 3, column 1"), "{said}");
    assert!(said.contains("did you mean `input`?"), "{said}");
}

/// Streams that run through and begin within the reloads, each of as many bytes as were sent.
#[test]
fn fifty_reloads_under_load_lose_no_exchange_and_no_byte() {
    const CLIENTS: usize = 24;
    let text: String = (0..200).map(|it| format!("data: {{\"piece\":{it}}}\n\n")).collect();
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    let slowly = {
        let text = text.clone();
        move |_: &_| {
            let body = chunked(text.as_bytes(), 97);
            let mut parts = vec![head.as_bytes().to_vec()];
            parts.extend(body.chunks(body.len().div_ceil(20)).map(<[u8]>::to_vec));
            Answer { parts, close: false }
        }
    };
    let origins = [Answering::with(slowly.clone()), Answering::with(slowly)];
    let file = |turn: usize| {
        let stall = 10 + turn % 7;
        config(&origins[turn % 2].url(), &format!("[limits]\nstall_seconds = {stall}\n"))
    };
    let mut told = Told::start(file(0));
    let address = told.proxy.address;
    let (over, whole) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut said = Vec::new();
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = Client::connect(address);
                while !over.load(SeqCst) {
                    client.send(post("/v1/chat/completions", "{\"stream\":true}"));
                    let answer = client.response("POST");
                    assert_eq!(answer.head.status(), 200);
                    assert!(answer.body.complete, "cut off");
                    assert_eq!(answer.body.bytes, text.as_bytes());
                    whole.fetch_add(1, SeqCst);
                }
            });
        }
        for turn in 1..=50 {
            said.push(told.reload(&file(turn)));
            // An upstream that nobody listens to stops at some point.
            origins.iter().for_each(|origin| drop(origin.requests()));
        }
        over.store(true, SeqCst);
    });
    let taken = |it: &String| it.starts_with("configuration reloaded: limits.stall_seconds");
    assert!(said.iter().all(taken), "{said:#?}");
    let whole = whole.load(SeqCst);
    assert!(whole >= 2 * CLIENTS, "{whole}");
    told.proxy.wait_for_metric("every exchange, ended well", |metrics| {
        metrics.sum("clearspan_endings_total", &[]) == whole as f64
            && metrics.sum("clearspan_requests_active", &[]) == 0.0
    });
    let endings = told.proxy.metrics();
    let fine = endings.sum("clearspan_endings_total", &["clearspan_ending=\"complete\""])
        + endings.sum("clearspan_endings_total", &["clearspan_ending=\"truncated\""]);
    assert_eq!(fine, whole as f64);
}
