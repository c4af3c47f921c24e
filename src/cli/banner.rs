//! What a terminal is greeted with: what to export, where telemetry goes, what to know. Pure.

use super::reachable;
use crate::config::Settings;
use crate::forward::settings::{self, Endpoint, Listen, Upstream};
use crate::report::settings::Exporter;

/// The greeting for a proxy with these settings.
pub fn banner(settings: &Settings) -> String {
    let exports = exports(&settings.forward);
    let width = exports.iter().map(|(line, _)| line.len()).max().unwrap_or_default();
    let mut text = format!("clearspan {}\n\n", env!("CARGO_PKG_VERSION"));
    text.push_str("point your apps here, and change nothing else:\n");
    for (line, name) in exports {
        text.push_str(&format!("  {line:width$}   # {name}\n"));
    }
    text.push('\n');
    for line in destinations(&settings.report.exporters) {
        text.push_str(&format!("telemetry  {line}\n"));
    }
    text.push_str(&match &settings.admin {
        Endpoint::Tcp(address) => format!("metrics    http://{}/metrics\n", reachable(*address)),
        Endpoint::Unix(_) => format!("metrics    /metrics over {}\n", settings.admin),
    });
    for warning in &settings.warnings {
        text.push_str(&format!("warning    {warning}\n"));
    }
    text
}

/// Where telemetry goes, a line for each destination.
fn destinations(exporters: &[Exporter]) -> Vec<String> {
    if exporters.is_empty() {
        return vec![
            "is sent nowhere: set OTEL_EXPORTER_OTLP_ENDPOINT=http://HOST:4318".to_owned(),
        ];
    }
    let told = |exporter: &Exporter| format!("goes to {}", exporter.destinations().join(", "));
    exporters.iter().map(told).collect()
}

/// A line for the shell, or a base URL, for each upstream, and its name.
fn exports(forward: &settings::Settings) -> Vec<(String, String)> {
    let root = forward.root.and_then(|index| forward.upstreams.get(index));
    let line = |upstream: &Upstream| {
        let is_root = root.is_some_and(|root| root.facts == upstream.facts);
        let (export, listener) = export(upstream, &forward.listen, is_root);
        let name = &upstream.facts.name;
        match &listener.at {
            Endpoint::Tcp(_) => (export, name.clone()),
            socket => (export, format!("{name}, over {socket}")),
        }
    };
    forward.upstreams.iter().map(line).collect()
}

/// Clients of OpenAI put `/v1` into the base URL, the others into the path.
fn export<'a>(upstream: &'a Upstream, shared: &'a Listen, is_root: bool) -> (String, &'a Listen) {
    let has = |path: &str| upstream.paths.iter().any(|own| own.trim_end_matches('/') == path);
    // The ollama client asks `/` whether its server is alive.
    let by_path = (has("/v1") && upstream.facts.dialect == "openai") || (has("/api") && is_root);
    let listener = upstream.listen.as_ref().unwrap_or(shared);
    let base = match (&upstream.listen, &upstream.mount) {
        (None, Some(mount)) if !by_path => format!("{}{mount}", origin(listener)),
        _ => origin(listener),
    };
    let export = match (upstream.facts.provider.as_str(), upstream.facts.dialect.as_str()) {
        (_, "ollama") => format!("OLLAMA_HOST={base}"),
        ("anthropic", _) => format!("ANTHROPIC_BASE_URL={base}"),
        ("gcp.gemini", _) => format!("GOOGLE_GEMINI_BASE_URL={base}"),
        // A base path may hold the `/v1` already.
        (_, "openai") if upstream.base_path.ends_with("/v1") => format!("OPENAI_BASE_URL={base}"),
        (_, "openai") => format!("OPENAI_BASE_URL={base}/v1"),
        _ => base,
    };
    (export, listener)
}

/// How a URL begins that leads to `listener`. Over a socket in the file system the host is anything.
fn origin(listener: &Listen) -> String {
    let scheme = if listener.tls.is_some() { "https" } else { "http" };
    match &listener.at {
        Endpoint::Tcp(address) => format!("{scheme}://{}", reachable(*address)),
        Endpoint::Unix(_) => format!("{scheme}://localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Flags, load};

    fn greeted(file: &str, variables: &[(&str, &str)]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proxy.toml");
        std::fs::write(&path, file).unwrap();
        let flags = Flags { config: Some(path), ..Flags::default() };
        let loaded = load(&flags, &Environment::of(variables.iter().copied())).unwrap();
        let text = banner(&loaded.settings);
        let text = text.replace(&format!("{}/", folder.path().display()), "");
        text.replace(env!("CARGO_PKG_VERSION"), "1.2.3")
    }

    #[test]
    fn a_terminal_is_told_what_to_export() {
        assert_eq!(
            greeted("", &[]),
            "\
clearspan 1.2.3

point your apps here, and change nothing else:
  OPENAI_BASE_URL=http://127.0.0.1:4319/v1              # openai
  ANTHROPIC_BASE_URL=http://127.0.0.1:4319/anthropic    # anthropic
  GOOGLE_GEMINI_BASE_URL=http://127.0.0.1:4319/gemini   # gemini
  OLLAMA_HOST=http://127.0.0.1:4319                     # ollama

telemetry  is sent nowhere: set OTEL_EXPORTER_OTLP_ENDPOINT=http://HOST:4318
metrics    http://127.0.0.1:4320/metrics
"
        );
    }

    #[test]
    fn every_upstream_is_reachable_as_told() {
        let file = "
            [server]
            listen = '0.0.0.0:1'
            admin = '[::]:2'
            [[upstream]]
            name = 'local'
            url = 'http://127.0.0.1:11434'
            provider = 'ollama'
            [[upstream]]
            name = 'own'
            url = 'http://h'
            dialect = 'openai'
            listen = '127.0.0.1:3'
            paths = ['/v1/']
            [[upstream]]
            name = 'based'
            url = 'http://h/openai/v1'
            dialect = 'openai'
            [[upstream]]
            name = 'vertex'
            url = 'https://aiplatform.googleapis.com'
            [telemetry]
            [[telemetry.export]]
            endpoint = 'http://c:4318'
            signals = ['traces', 'logs']";
        assert_eq!(
            greeted(file, &[]),
            "\
clearspan 1.2.3

point your apps here, and change nothing else:
  OLLAMA_HOST=http://127.0.0.1:1/local       # local
  OPENAI_BASE_URL=http://127.0.0.1:3/v1      # own
  OPENAI_BASE_URL=http://127.0.0.1:1/based   # based
  http://127.0.0.1:1/vertex                  # vertex

telemetry  goes to http://c:4318/v1/traces, http://c:4318/v1/logs
metrics    http://[::1]:2/metrics
warning    proxy.toml, line 3: server.listen = 0.0.0.0:1 is open to other machines and speaks plain HTTP: keys and prompts cross that network unencrypted
warning    proxy.toml, line 4: server.admin = [::]:2 is open to other machines: whoever reaches it can read the metrics
"
        );
    }

    #[test]
    fn https_and_sockets_in_the_file_system_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("c"), pair.cert.pem()).unwrap();
        std::fs::write(path("k"), pair.signing_key.serialize_pem()).unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(path("k"), private).unwrap();
        let file = format!(
            "[server]
            listen = '0.0.0.0:1'
            admin = 'unix:/run/admin.sock'
            tls = {{ cert = '{}', key = '{}' }}
            [[upstream]]
            name = 'shared'
            provider = 'vllm'
            url = 'http://h'
            [[upstream]]
            name = 'own'
            provider = 'vllm'
            url = 'http://h'
            listen = 'unix:/run/own.sock'",
            path("c"),
            path("k"),
        );
        let text = greeted(&file, &[]);
        for line in [
            "  OPENAI_BASE_URL=https://127.0.0.1:1/shared/v1   # shared\n",
            "  OPENAI_BASE_URL=http://localhost/v1             # own, over unix:/run/own.sock\n",
            "metrics    /metrics over unix:/run/admin.sock\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
        assert!(!text.contains("open to other machines"), "{text}");
    }

    #[test]
    fn a_credential_of_an_exporter_is_not_shown() {
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=hunter2"),
        ];
        let text = greeted("", &variables);
        assert!(
            text.contains("http://c/v1/traces, http://c/v1/metrics, http://c/v1/logs"),
            "{text}"
        );
        assert!(!text.contains("hunter2"), "{text}");
    }
}
