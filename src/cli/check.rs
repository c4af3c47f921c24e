//! `clearspan check`: the settings that hold, written as `proxy.toml` would be, each with who said it
//! where it is no default. Pure; a secret is never in it.

use std::path::PathBuf;

use toml::Value;

use crate::config::proxy::ProxySource;
use crate::config::secret::SecretSource;
use crate::config::{Loaded, Setting, Source, file};
use crate::forward::settings::{TlsFiles, Upstream, Way};
use crate::report::settings::{Exporter, Histograms, Temporality};

/// Where the comments begin that say who said a value.
const COMMENT_COLUMN: usize = 40;

/// What is printed for a configuration that is right.
pub(super) fn report(loaded: &Loaded) -> String {
    let settings = &loaded.settings;
    let from = loaded.file.as_deref().unwrap_or("no file");
    let mut lines =
        vec![format!("# The configuration is right ({from}). What is not marked is a default.")];
    for section in ["server", "telemetry", "limits"] {
        lines.extend([String::new(), format!("[{section}]")]);
        lines.extend(loaded.said.iter().filter(|it| it.section == section).map(setting));
        if section == "server" {
            lines.extend(settings.forward.listen.tls.as_ref().map(tls));
        }
    }
    for (it, written) in settings.forward.upstreams.iter().zip(&loaded.written_upstreams) {
        lines.push(String::new());
        lines.extend(upstream(it, written, &loaded.upstreams));
    }
    lines.push(String::new());
    lines.extend(settings.report.exporters.iter().map(exporter));
    if settings.report.exporters.is_empty() {
        lines.push(format!("# warning: {NO_EXPORTER}"));
    }
    if !settings.prices.is_empty() {
        lines.push(format!("# prices of your own: {}", settings.prices.len()));
    }
    lines.extend(settings.warnings.iter().map(|warning| format!("# warning: {warning}")));
    lines.join("\n") + "\n"
}

const NO_EXPORTER: &str = "telemetry is sent nowhere: set OTEL_EXPORTER_OTLP_ENDPOINT, or write \
     [[telemetry.export]]; /metrics is there in any case";

fn setting(setting: &Setting) -> String {
    marked(&format!("{} = {}", setting.key, setting.value), &setting.source)
}

fn upstream(upstream: &Upstream, written: &file::Upstream, source: &Source) -> Vec<String> {
    let facts = &upstream.facts;
    let text = |key: &str, value: &str| format!("{key} = {}", Value::from(value));
    let mut lines = vec![
        marked("[[upstream]]", source),
        text("name", &facts.name),
        text("url", &url(upstream)),
        text("provider", &facts.provider),
        text("dialect", &facts.dialect),
        format!("paths = {}", Value::from(upstream.paths.clone())),
    ];
    lines.extend(upstream.mount.as_deref().map(|mount| text("mount", mount)));
    lines.push(text("stream_usage", if upstream.asks_for_usage { "ask" } else { "observe" }));
    lines.push(format!("propagate = {}", upstream.propagate));
    lines.push(text("http", if upstream.http2 { "2" } else { "1" }));
    if let Some(listen) = &upstream.listen {
        lines.push(text("listen", &listen.at.to_string()));
        lines.extend(listen.tls.as_ref().map(tls));
    }
    let path = |key: &str, path: &Option<PathBuf>| {
        path.as_ref().map(|path| text(key, &path.display().to_string()))
    };
    lines.extend(path("ca", &written.ca));
    lines.extend(path("cert", &written.cert));
    lines.extend(path("key", &written.key));
    lines.extend(written.server_name.as_deref().map(|name| text("server_name", name)));
    lines.extend(proxy(upstream, written));
    lines
}

fn url(upstream: &Upstream) -> String {
    let base_path = &upstream.base_path;
    match &upstream.way {
        Way::Unix(path) if base_path.is_empty() => format!("unix:{}", path.display()),
        Way::Unix(path) => format!("unix:{}:{base_path}", path.display()),
        Way::Direct(_) | Way::Proxy(..) => {
            let scheme = if upstream.tls.is_some() { "https" } else { "http" };
            format!("{scheme}://{}{base_path}", upstream.host.to_str().unwrap_or_default())
        }
    }
}

/// The egress proxy as it was written, or as the environment names it, which is no key.
fn proxy(upstream: &Upstream, written: &file::Upstream) -> Option<String> {
    match (&written.proxy, &upstream.way) {
        (Some(ProxySource::Text(url)), _) => Some(format!("proxy = {}", Value::from(url.as_str()))),
        (Some(ProxySource::Secret(SecretSource::Env(name))), _) => {
            Some(format!("proxy = {{ env = {} }}", Value::from(name.as_str())))
        }
        (Some(ProxySource::Secret(SecretSource::File(path))), _) => {
            Some(format!("proxy = {{ file = {} }}", Value::from(path.display().to_string())))
        }
        (None, Way::Proxy(proxy, _)) => Some(format!("# through {proxy}, as the environment says")),
        (None, _) => None,
    }
}

fn tls(files: &TlsFiles) -> String {
    let client_ca = files.client_ca.as_ref().map(|path| ("client_ca", path));
    let keys = [("cert", &files.cert), ("key", &files.key)].into_iter().chain(client_ca);
    let keys = keys.map(|(key, path)| format!("{key} = {}", Value::from(&*path.to_string_lossy())));
    format!("tls = {{ {} }}", keys.collect::<Vec<_>>().join(", "))
}

fn exporter(exporter: &Exporter) -> String {
    let mut how = vec![if exporter.gzip { "gzip" } else { "not compressed" }.to_owned()];
    how.push(format!("at most {} s", exporter.timeout.as_secs_f64()));
    if exporter.temporality != Temporality::Cumulative {
        how.push("sums as deltas".to_owned());
    }
    if exporter.histograms == Histograms::Exponential {
        how.push("exponential histograms".to_owned());
    }
    // A secret prints as `***`.
    how.extend(exporter.headers.iter().map(|(name, secret)| format!("{name}: {secret:?}")));
    how.extend(exporter.proxy.as_ref().map(|proxy| format!("through {proxy}")));
    format!("# telemetry goes to {} ({})", exporter.destinations().join(", "), how.join(", "))
}

/// `line`, and behind it who said it, unless nobody did.
fn marked(line: &str, source: &Source) -> String {
    match source {
        Source::Default => line.to_owned(),
        said => format!("{line:COMMENT_COLUMN$} # {said}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Flags, load};

    fn checked(file: &str, flags: Flags, variables: &[(&str, &str)]) -> (Loaded, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proxy.toml");
        std::fs::write(&path, file).unwrap();
        let flags = Flags { config: Some(path.clone()), ..flags };
        let loaded = load(&flags, &Environment::of(variables.iter().copied())).unwrap();
        let text = report(&loaded).replace(&path.display().to_string(), "proxy.toml");
        (loaded, text)
    }

    const FILE: &str = "
        [[upstream]]
        name = 'groq'
        url = 'https://api.groq.com/openai/'
        paths = ['/v1/']
        listen = '127.0.0.1:5'
        [limits]
        stall_seconds = 2.5
        tape_memory = 16777216
        [[pricing.model]]
        model = 'x'
        input = 1
        [[telemetry.export]]
        endpoint = 'http://c'
        signals = ['traces']
        headers = { authorization = { env = 'TOKEN' } }
        [[telemetry.export]]
        endpoint = 'http://d:4317'
        protocol = 'grpc'
        temporality = 'delta'
        histograms = 'exponential'
        proxy = 'http://egress:3128'";

    const PRINTED: &str = "\
# The configuration is right (proxy.toml). What is not marked is a default.

[server]
admin = \"127.0.0.1:1\"                    # --admin
listen = \"0.0.0.0:4319\"                  # CLEARSPAN_SERVER_LISTEN
root = \"ollama\"
socket_mode = \"0660\"

[telemetry]
client_ids = true
cost_histogram = true
estimates_as_usage = false
lines = \"auto\"
phase_spans = false
raw_usage = false
service_name = \"team\"                    # OTEL_SERVICE_NAME
stop_sequences = false

[limits]
ask_body_bytes = \"8MiB\"
ask_event_bytes = \"64KiB\"
ask_memory = \"128MiB\"
ask_pause_seconds = 3600
ask_wait_seconds = 5
client_idle_seconds = 90
client_stall_seconds = 600
connect_seconds = 10
decoded_bytes = \"32MiB\"
decoded_ratio = 200
drain_seconds = 7
estimate_bytes = \"8KiB\"
event_bytes = \"8MiB\"
export_queue = \"32MiB\"
flush_seconds = 2
handshake_seconds = 10
header_seconds = 10
histogram_series = 500
http2_client_streams = 250
http2_head = \"64KiB\"
http2_ping_seconds = 30
http2_repeat = \"256KiB\"
http2_stream_window = \"256KiB\"
http2_upstream_streams = 100
label_values = 200
max_connections = 20000
max_exchanges = 10000
series = 2000
stall_seconds = 2.5                      # proxy.toml
tape_exchange = \"16MiB\"
tape_memory = \"16MiB\"                    # proxy.toml
tunnel_idle_seconds = 3600
upstream_idle_connections = 256
upstream_idle_seconds = 4
upstream_keepalive_seconds = 60
upstream_silence_seconds = 0
workers = 0

[[upstream]]                             # proxy.toml
name = \"groq\"
url = \"https://api.groq.com/openai\"
provider = \"groq\"
dialect = \"openai\"
paths = [\"/v1/\"]
mount = \"/groq\"
stream_usage = \"observe\"
propagate = false
http = \"1\"
listen = \"127.0.0.1:5\"

# telemetry goes to http://c/v1/traces (not compressed, at most 10 s, authorization: ***)
# telemetry goes to http://d:4317 (gRPC: traces, metrics, logs) (not compressed, at most 10 s, sums as deltas, exponential histograms, through http://egress:3128)
# prices of your own: 1
# warning: CLEARSPAN_SERVER_LISTEN: server.listen = 0.0.0.0:4319 is open to other machines and speaks plain HTTP: keys and prompts cross that network unencrypted
";

    #[test]
    fn what_holds_is_printed_with_who_said_it() {
        let flags = Flags { admin: Some("127.0.0.1:1".parse().unwrap()), ..Flags::default() };
        let variables = [
            ("CLEARSPAN_SERVER_LISTEN", "0.0.0.0:4319"),
            ("OTEL_SERVICE_NAME", "team"),
            ("TOKEN", "hunter2"),
        ];
        let (_, text) = checked(FILE, flags, &variables);
        assert_eq!(text, PRINTED);
    }

    #[test]
    fn the_files_of_tls_are_printed_as_they_are_written() {
        let files = |client_ca| TlsFiles { cert: "/a b".into(), key: "/k".into(), client_ca };
        assert_eq!(tls(&files(None)), "tls = { cert = \"/a b\", key = \"/k\" }");
        let client_ca = Some("/c".into());
        let expected = "tls = { cert = \"/a b\", key = \"/k\", client_ca = \"/c\" }";
        assert_eq!(tls(&files(client_ca)), expected);
    }

    #[test]
    fn nowhere_to_send_telemetry_is_a_warning() {
        let (_, text) = checked("", Flags::default(), &[]);
        assert!(text.ends_with(&format!("\n# warning: {NO_EXPORTER}\n")), "{text}");
    }

    #[test]
    fn what_is_printed_can_be_used_as_a_file() {
        let reached = "
            [server]
            root = ''
            [[upstream]]
            name = 'socket'
            url = 'unix:/run/a.sock:/base/'
            [[upstream]]
            name = 'bare'
            url = 'unix:///run/b.sock'
            [[upstream]]
            name = 'inside'
            url = 'https://a.corp'
            server_name = 'b.corp'
            proxy = { env = 'EGRESS' }
            [[upstream]]
            name = 'outside'
            url = 'http://a.com'
            proxy = 'none'
            [[upstream]]
            name = 'far'
            url = 'http://b.com'
            proxy = 'socks5://proxy'";
        let variables = [("EGRESS", "http://user:hunter2@proxy"), ("HTTP_PROXY", "http://all")];
        for file in ["", reached] {
            let (first, text) = checked(file, Flags::default(), &variables);
            let (second, again) = checked(&text, Flags::default(), &variables);
            let forward = |loaded: &Loaded| format!("{:#?}", loaded.settings.forward);
            assert_eq!(forward(&first), forward(&second));
            assert_eq!(format!("{:?}", first.settings.tape), format!("{:?}", second.settings.tape));
            assert!(![text, again, forward(&first)].concat().contains("hunter2"));
        }
    }
}
