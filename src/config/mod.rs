//! `proxy.toml`, the environment and flags become each stage's settings, in two steps: the file's
//! shape, then settings that cannot be wrong. Knows no use of them.
//!
//! Flags go before `CLEARSPAN_*` variables, those before `proxy.toml`, that before the defaults. A
//! variable is named by section and key: `CLEARSPAN_LIMITS_TAPE_MEMORY`; `CLEARSPAN_CONFIG` names the
//! file. The standard `OTEL_*` variables are honoured as their specification says; the service's
//! name they give goes before the file's.

/// The shape of `proxy.toml`.
pub mod file;
/// Its `[limits]`.
pub mod limits;
/// Sizes, durations, addresses.
pub mod quantity;
/// Where a secret is read from.
pub mod secret;
/// What the process finds around itself.
pub mod environment;
/// What was said where.
mod layers;
/// How a fault in the file is told.
mod fault;
/// How standard variables are written.
mod variables;
/// The standard variables.
mod otel;
/// Those that choose conventions.
mod conventions;
/// Those that say where telemetry goes.
mod otlp;
/// Files of certificates and keys.
mod pem;
/// URLs.
mod url;
/// URLs of Unix sockets.
mod socket_url;
/// An egress proxy as it is written.
pub mod proxy;
/// Which egress proxy is used.
mod egress;
/// An upstream's TLS.
mod upstream_tls;
/// How an upstream is reached.
mod reach;
/// Providers we know.
mod providers;
/// TLS of a listener.
mod tls;
/// One upstream.
mod upstream;
/// Where telemetry is sent.
mod export;
/// Prices of the operator's own.
mod pricing;
/// Rules across keys.
mod rules;
/// What is seldom meant.
mod smells;
/// The files that all of it is read from.
mod files;
/// The second step.
mod resolve;
/// What differs between two configurations.
mod changes;
/// Loading, for any text.
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

use std::path::{Path, PathBuf};

use toml::{Table, Value};
use tracing::level_filters::LevelFilter;

pub use changes::Changes;
pub use environment::Environment;
pub use files::Files;
pub use layers::{Setting, Source};

use crate::forward::settings as forward;
use crate::observe;
use crate::observe::price::Override;
use crate::report::settings as report;
use crate::tape::Settings as TapeSettings;
use fault::Fault;
use layers::Layers;

/// What a person typed.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--config`: the file. Absent: `CLEARSPAN_CONFIG`, else `./proxy.toml` if it is there.
    pub config: Option<PathBuf>,
    /// `--listen`: goes before `server.listen`.
    pub listen: Option<forward::Endpoint>,
    /// `--admin`: goes before `server.admin`.
    pub admin: Option<forward::Endpoint>,
}

/// Every stage's settings. They cannot be wrong.
#[derive(Clone, Debug)]
pub struct Settings {
    /// For the hot path.
    pub forward: forward::Settings,
    /// For the seam.
    pub tape: TapeSettings,
    /// For the cold path's pure half.
    pub observe: observe::Settings,
    /// For telemetry.
    pub report: report::Settings,
    /// What the program says of itself on standard error (`OTEL_LOG_LEVEL`, info).
    pub log_level: LevelFilter,
    /// For our own listener.
    pub admin: forward::Endpoint,
    /// Permissions of sockets in the file system that we listen on.
    pub socket_mode: u32,
    /// `[[pricing.model]]` in the order written, then those of `[pricing] files`.
    pub prices: Vec<Override>,
    /// What is allowed but seldom meant, or was ignored; a sentence each.
    pub warnings: Vec<String>,
}

/// Settings, and where they come from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// For the stages.
    pub settings: Settings,
    /// Each scalar key of `[server]`, `[telemetry]` and `[limits]` with its value and who said it.
    pub said: Vec<Setting>,
    /// The file that was read, if any.
    pub file: Option<String>,
    /// Who said where requests go.
    pub upstreams: Source,
    /// Each `[[upstream]]` as it was written, in the order of the settings' upstreams.
    pub written_upstreams: Vec<file::Upstream>,
    /// What was in the files just before they were read.
    pub files: Files,
    // All that was said, to be compared.
    written: Table,
    // Where it came from, to be read again.
    origin: Origin,
}

impl Loaded {
    /// Reads everything again, from the same file; and what was in the files just before.
    pub fn again(&self) -> (Files, Result<Self, Error>) {
        (self.files_now(), load(&self.origin.flags, &self.origin.environment))
    }

    /// What is in the files now.
    pub fn files_now(&self) -> Files {
        self.origin.files()
    }
}

/// What is not in any file.
#[derive(Clone)]
struct Origin {
    flags: Flags,
    environment: Environment,
}

impl Origin {
    /// Without a file there may be one later.
    fn files(&self) -> Files {
        let beside = || self.environment.directory.join(FILE);
        Files::look(self.flags.config.clone().unwrap_or_else(beside))
    }
}

impl std::fmt::Debug for Origin {
    /// Variables may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Origin").field("flags", &self.flags).finish_non_exhaustive()
    }
}

/// Why the configuration is refused: sentences for a person, with file, line and caret where there
/// is one. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

/// Where the file is, without a word on it.
const FILE: &str = "proxy.toml";

/// Reads everything that can be said, and settles it.
pub fn load(flags: &Flags, environment: &Environment) -> Result<Loaded, Error> {
    let mut warnings = Vec::new();
    let otel = otel::read(environment, &mut warnings)?;
    let file_name = find(flags, environment);
    // A file that is there must be there again when all is read once more.
    let flags = Flags { config: file_name.clone(), ..flags.clone() };
    let origin = Origin { flags, environment: environment.clone() };
    let files = origin.files();
    let layers = layers(&origin, &otel, &mut warnings)?;
    let file = layers.file()?;
    let at = file_name.clone().unwrap_or_else(|| FILE.into());
    let settings = resolve::settings(&file, &layers, &otel, environment, &at, warnings)
        .map_err(|faults| told(&layers, &faults))?;
    Ok(Loaded {
        settings,
        said: layers.settings(&file)?,
        file: file_name.map(|path| path.display().to_string()),
        upstreams: layers.source("upstream"),
        written: Table::try_from(&file).map_err(|error| Error(error.to_string()))?,
        written_upstreams: file.upstream,
        files,
        origin,
    })
}

/// All that is said, the later layer over the earlier.
fn layers(origin: &Origin, otel: &otel::Otel, warnings: &mut Vec<String>) -> Result<Layers, Error> {
    let Origin { flags, environment } = origin;
    let mut layers = Layers::default();
    if let Some(path) = &flags.config {
        layers.push_file(&path.display().to_string(), read(path)?)?;
    }
    if let Some((variable, name)) = &otel.service_name {
        let source = Source::Variable((*variable).to_owned());
        layers.push(source, "telemetry", "service_name", Value::String(name.clone()));
    }
    layers.push_variables(environment, warnings)?;
    for (flag, key, address) in
        [("--listen", "listen", &flags.listen), ("--admin", "admin", &flags.admin)]
    {
        if let Some(address) = address {
            layers.push(Source::Flag(flag), "server", key, Value::String(address.to_string()));
        }
    }
    Ok(layers)
}

/// The file that is to be read, if any.
fn find(flags: &Flags, environment: &Environment) -> Option<PathBuf> {
    let said = environment.text(layers::CONFIG_VARIABLE).map(PathBuf::from);
    let beside = || Some(environment.directory.join(FILE)).filter(|path| path.exists());
    let beside =
        || beside().map(|path| path.strip_prefix(".").map_or(path.clone(), Path::to_path_buf));
    flags.config.clone().or(said).or_else(beside)
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|error| Error(format!("{}: {error}", path.display())))
}

/// All faults, one after the other.
fn told(layers: &Layers, faults: &[Fault]) -> Error {
    Error(faults.iter().map(|fault| layers.tell(fault)).collect::<Vec<_>>().join("\n\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loads a file of this text with these flags and variables.
    fn load_text(text: &str, flags: &Flags, variables: &[(&str, &str)]) -> Result<Loaded, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proxy.toml");
        std::fs::write(&path, text).unwrap();
        let flags = Flags { config: Some(path.clone()), ..flags.clone() };
        let loaded = load(&flags, &Environment::of(variables.iter().copied()));
        loaded.map_err(|error| error.to_string().replace(&path.display().to_string(), "proxy.toml"))
    }

    fn refused(text: &str) -> String {
        load_text(text, &Flags::default(), &[]).unwrap_err()
    }

    /// As text, without what is drawn at random.
    fn comparable(mut settings: Settings) -> String {
        settings.report.resource.retain(|(key, _)| key != "service.instance.id");
        format!("{settings:#?}")
    }

    fn defaults() -> Loaded {
        load(&Flags::default(), &Environment::of([])).unwrap()
    }

    #[test]
    fn the_shipped_file_holds_every_key_at_its_default() {
        let shipped = include_str!("../../proxy.toml");
        let loaded = load_text(shipped, &Flags::default(), &[]).unwrap();
        assert_eq!(comparable(loaded.settings), comparable(defaults().settings));
        let unsaid: Vec<_> = loaded
            .said
            .iter()
            .filter(|it| it.source == Source::Default)
            .map(|it| &it.key)
            .collect();
        assert_eq!(unsaid, [&""; 0]);
        assert_ne!(loaded.upstreams, Source::Default);
    }

    #[test]
    fn what_the_shipped_file_comments_out_is_right_too() {
        let shipped = include_str!("../../proxy.toml");
        // An example is a comment without a space behind its `#`.
        let uncomment = |line: &str| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(|it: char| it.is_ascii_lowercase() || it == '[') => {
                rest.to_owned()
            }
            _ => line.to_owned(),
        };
        let text = shipped.lines().map(uncomment).collect::<Vec<_>>().join("\n");
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("otlp-token");
        std::fs::write(&secret, "abc").unwrap();
        let prices = "[[model]]\nmodel = 'other'\ninput = 1\n";
        std::fs::write(folder.path().join("my-prices.toml"), prices).unwrap();
        let prices = folder.path().join("my-prices.toml").display().to_string();
        let text = text.replace("my-prices.toml", &prices);
        let text = text.replace("/run/secrets/otlp-token", &secret.display().to_string());
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        for (name, pem) in [
            ("tls.crt", pair.cert.pem()),
            ("tls.key", pair.signing_key.serialize_pem()),
            ("clients.crt", pair.cert.pem()),
        ] {
            std::fs::write(folder.path().join(name), pem).unwrap();
        }
        let text = text.replace("/etc/clearspan", &folder.path().display().to_string());
        for (name, pem) in [
            ("ca.pem", pair.cert.pem()),
            ("client.pem", pair.cert.pem()),
            ("client.key", pair.signing_key.serialize_pem()),
        ] {
            std::fs::write(folder.path().join(name), pem).unwrap();
        }
        let text = text.replace("/run/tls", &folder.path().display().to_string());
        let variables =
            [("OTLP_AUTHORIZATION", "Bearer abc"), ("EGRESS_PROXY", "http://user:pass@proxy")];
        let settings = load_text(&text, &Flags::default(), &variables).unwrap().settings;
        assert_eq!(settings.report.exporters.len(), 1);
        assert_eq!(settings.report.exporters[0].headers.len(), 2);
        assert_eq!(settings.prices.len(), 2);
        let [.., gateway, inside] = settings.forward.upstreams.as_slice() else { panic!() };
        assert!(matches!(inside.way, forward::Way::Proxy(..)));
        let trust = &inside.tls.as_ref().unwrap().trust;
        assert!(trust.authorities.is_some() && trust.identity.is_some());
        assert_eq!((&*gateway.facts.provider, &*gateway.facts.dialect), ("acme", "openai"));
        assert!(gateway.listen.as_ref().unwrap().tls.as_ref().unwrap().client_ca.is_none());
        assert!(settings.forward.listen.tls.unwrap().client_ca.is_some());
    }

    #[test]
    fn without_a_word_the_defaults_hold() {
        let Loaded { settings, said, file, upstreams, .. } = defaults();
        assert_eq!((file, upstreams), (None, Source::Default));
        assert!(said.iter().all(|setting| setting.source == Source::Default));
        let forward = &settings.forward;
        assert_eq!(
            (forward.listen.at.to_string(), settings.admin.to_string()),
            ("127.0.0.1:4319".into(), "127.0.0.1:4320".into())
        );
        let upstreams: Vec<_> = forward
            .upstreams
            .iter()
            .map(|it| {
                let scheme = if it.tls.is_some() { "https" } else { "http" };
                let marker = it.marker.as_ref().map_or("", |marker| marker.header.as_str());
                let facts = &it.facts;
                let mount = it.mount.as_deref().unwrap_or_default();
                format!(
                    "{} {} {} {scheme}://{} {} {mount} {marker}",
                    facts.name,
                    facts.provider,
                    facts.dialect,
                    it.host.to_str().unwrap(),
                    it.paths.join(",")
                )
            })
            .collect();
        assert_eq!(
            upstreams,
            [
                "openai openai openai https://api.openai.com /v1/ /openai ",
                "anthropic anthropic anthropic https://api.anthropic.com /v1/messages,/v1/complete,/v1/organizations/ /anthropic anthropic-version",
                "gemini gcp.gemini gemini https://generativelanguage.googleapis.com /v1beta/,/v1/interactions,/v1/cachedContents /gemini x-goog-api-key",
                "ollama ollama ollama http://127.0.0.1:11434 /api/ /ollama ",
            ]
        );
        assert_eq!(forward.root, Some(3));
        assert!(settings.report.exporters.is_empty());
        assert!(settings.report.cost_histogram && !settings.report.phase_spans);
        assert_eq!(settings.report.resource[0], ("service.name".into(), "clearspan".into()));
        assert_eq!(settings.warnings, [""; 0]);
    }

    #[test]
    fn flags_go_before_variables_before_the_file_before_defaults() {
        let text = "[server]\nlisten = '127.0.0.1:1'\nadmin = '127.0.0.1:2'\n[limits]\nworkers = 2\nseries = 7\n";
        let flags = Flags { listen: Some("127.0.0.1:3".parse().unwrap()), ..Flags::default() };
        let variables = [
            ("CLEARSPAN_SERVER_LISTEN", "127.0.0.1:4"),
            ("CLEARSPAN_SERVER_ADMIN", "127.0.0.1:5"),
            ("CLEARSPAN_LIMITS_WORKERS", "6"),
        ];
        let Loaded { settings, said, .. } = load_text(text, &flags, &variables).unwrap();
        let forward = &settings.forward;
        assert_eq!(
            [&forward.listen.at, &settings.admin].map(ToString::to_string),
            ["127.0.0.1:3", "127.0.0.1:5"]
        );
        assert_eq!((settings.tape.workers, settings.report.limits.series), (6, 7));
        assert_eq!(settings.report.limits.label_values, 200);
        let said = said.iter().filter(|it| !matches!(it.source, Source::Default | Source::File(_)));
        let said: Vec<_> = said
            .map(|it| format!("{}.{} = {} {}", it.section, it.key, it.value, it.source))
            .collect();
        assert_eq!(
            said,
            [
                "limits.workers = 6 CLEARSPAN_LIMITS_WORKERS",
                "server.admin = \"127.0.0.1:5\" CLEARSPAN_SERVER_ADMIN",
                "server.listen = \"127.0.0.1:3\" --listen",
            ]
        );
    }

    #[test]
    fn the_service_name_comes_from_ours_then_theirs_then_the_file() {
        let text = "[telemetry]\nservice_name = 'file'";
        let name = |text: &str, variables: &[(&str, &str)]| {
            let settings = load_text(text, &Flags::default(), variables).unwrap().settings;
            settings.report.resource[0].1.clone()
        };
        let ours = ("CLEARSPAN_TELEMETRY_SERVICE_NAME", "ours");
        let theirs = ("OTEL_SERVICE_NAME", "theirs");
        let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=attribute");
        assert_eq!(name(text, &[ours, theirs, attributes]), "ours");
        assert_eq!(name(text, &[theirs, attributes]), "theirs");
        assert_eq!(name(text, &[attributes]), "attribute");
        assert_eq!(name(text, &[]), "file");
    }

    #[test]
    fn what_otel_variables_say_reaches_the_stage() {
        let variables = [
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "100"),
            ("OTEL_BSP_SCHEDULE_DELAY", "250"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "5000"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"),
        ];
        let report = load(&Flags::default(), &Environment::of(variables)).unwrap().settings.report;
        let limits = &report.limits;
        let times = (limits.spans.delay.as_millis(), limits.metric_interval.as_millis());
        assert_eq!((limits.spans.records, times), (100, (250, 5000)));
        assert_eq!(limits.logs, report::Batching::default());
        assert_eq!(report.exporters.len(), 1);
    }

    #[test]
    fn lines_follow_the_terminal_and_workers_the_cores() {
        let environment = Environment::of([]).on(true, 16);
        let settings = load(&Flags::default(), &environment).unwrap().settings;
        assert_eq!(settings.report.lines, report::Lines::Terminal);
        assert_eq!(settings.tape.workers, 4);
        let settings = defaults().settings;
        assert_eq!(settings.report.lines, report::Lines::Json);
        assert_eq!(settings.tape.workers, 1);
    }

    #[test]
    fn upstreams_of_the_file_take_the_place_of_the_shipped_ones() {
        let text = "[[upstream]]\nname = 'groq'\nurl = 'https://api.groq.com/openai'";
        let forward = load_text(text, &Flags::default(), &[]).unwrap().settings.forward;
        assert_eq!(forward.upstreams.len(), 1);
        // The default root is not among them.
        assert_eq!(forward.root, None);
    }

    #[test]
    fn a_file_that_was_named_must_be_there() {
        let flags = Flags { config: Some("/nonexistent/a.toml".into()), ..Flags::default() };
        let told = load(&flags, &Environment::of([])).unwrap_err().to_string();
        assert_eq!(told, "/nonexistent/a.toml: No such file or directory (os error 2)");
        let variables = [("CLEARSPAN_CONFIG", "/nonexistent/b.toml")];
        let told = load(&Flags::default(), &Environment::of(variables)).unwrap_err().to_string();
        assert_eq!(told, "/nonexistent/b.toml: No such file or directory (os error 2)");
    }

    #[test]
    fn a_file_beside_us_is_read_unless_another_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let environment = |variables: &[(&str, &str)]| {
            let mut environment = Environment::of(variables.iter().copied());
            environment.directory = folder.path().to_owned();
            environment
        };
        assert_eq!(find(&Flags::default(), &environment(&[])), None);
        std::fs::write(folder.path().join("proxy.toml"), "").unwrap();
        assert_eq!(
            find(&Flags::default(), &environment(&[])),
            Some(folder.path().join("proxy.toml"))
        );
        let named = environment(&[("CLEARSPAN_CONFIG", "b.toml")]);
        assert_eq!(find(&Flags::default(), &named), Some("b.toml".into()));
        let flags = Flags { config: Some("a.toml".into()), ..Flags::default() };
        assert_eq!(find(&flags, &named), Some("a.toml".into()));
    }

    #[test]
    fn all_faults_are_shown_with_their_lines() {
        let text = "\
[server]
root = \"olama\"

[[upstream]]
name = \"local\"
url = \"localhost:8080\"

[[upstream]]
name = \"other\"
url = \"http://other\"
paths = [\"/v1/\", \"v2/\"]
";
        assert_eq!(
            refused(text),
            "\
proxy.toml: error at line 6, column 7
  |
6 | url = \"localhost:8080\"
  |       ^^^^^^^^^^^^^^^^
a URL begins with http:// or https:// and names a host, like https://api.example.com

proxy.toml: error at line 11, column 18
   |
11 | paths = [\"/v1/\", \"v2/\"]
   |                  ^^^^^
a path prefix begins with `/`: write \"/v2/\"

proxy.toml: error at line 2, column 8
  |
2 | root = \"olama\"
  |        ^^^^^^^
there is no upstream `olama`; there are `local`, `other`"
        );
    }

    #[test]
    fn a_rule_between_two_keys_points_to_the_one_that_was_written() {
        assert_eq!(
            refused("[server]\nlisten = \"127.0.0.1:4320\"\n"),
            "\
proxy.toml: error at line 2, column 10
  |
2 | listen = \"127.0.0.1:4320\"
  |          ^^^^^^^^^^^^^^^^
server.admin and server.listen both listen on port 4320"
        );
        let flags = Flags { admin: Some("127.0.0.1:4319".parse().unwrap()), ..Flags::default() };
        let told = load(&flags, &Environment::of([])).unwrap_err().to_string();
        assert_eq!(told, "--admin: server.admin and server.listen both listen on port 4319");
        let variables = [("CLEARSPAN_SERVER_ROOT", "nobody")];
        let told = load(&Flags::default(), &Environment::of(variables)).unwrap_err().to_string();
        assert_eq!(
            told,
            "CLEARSPAN_SERVER_ROOT: there is no upstream `nobody`; there are `openai`, `anthropic`, `gemini`, `ollama`"
        );
    }

    #[test]
    fn no_secret_is_in_a_message_or_in_settings_as_text() {
        let text = "\
[[upstream]]
name = \"a\"
url = \"https://user:hunter2@a\"
";
        assert_eq!(
            refused(text),
            "proxy.toml: error at line 3 (not shown, it may hold a secret)\n\
             a URL must not hold a user or a password: credentials are sent in headers"
        );
        let text =
            "[[telemetry.export]]\nendpoint = 'http://c'\nheaders = { a = { env = 'TOKEN' } }";
        let variables = [("TOKEN", "hunter2")];
        let loaded = load_text(text, &Flags::default(), &variables).unwrap();
        let text = format!("{loaded:?}");
        assert!(text.contains("***") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn telemetry_is_not_sent_to_the_proxy_itself() {
        let told = "server.listen: telemetry would be sent to Clearspan itself: server.listen = 127.0.0.1:4319";
        assert_eq!(refused("[[telemetry.export]]\nendpoint = 'http://127.0.0.1:4319'"), told);
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4319");
        let by_variable = load(&Flags::default(), &Environment::of([endpoint]));
        assert_eq!(by_variable.unwrap_err().to_string(), told);
        let elsewhere = "[[telemetry.export]]\nendpoint = 'http://127.0.0.1:4318'";
        assert!(load_text(elsewhere, &Flags::default(), &[]).is_ok());
    }

    #[test]
    fn warnings_of_every_kind_reach_the_settings() {
        let variables = [
            ("CLEARSPAN_SERVER_LISTEN", "0.0.0.0:4319"),
            ("CLEARSPAN_SERVER_LISTN", "x"),
            ("OTEL_SDK_DISABLED", "true"),
            ("OTEL_METRICS_EXEMPLAR_FILTER", "always_on"),
        ];
        let warnings =
            load(&Flags::default(), &Environment::of(variables)).unwrap().settings.warnings;
        let begins: Vec<_> = warnings.iter().filter_map(|it| it.split(' ').next()).collect();
        assert_eq!(
            begins,
            [
                "OTEL_METRICS_EXEMPLAR_FILTER",
                "CLEARSPAN_SERVER_LISTN",
                "CLEARSPAN_SERVER_LISTEN:",
                "OTEL_SDK_DISABLED"
            ]
        );
    }
}
