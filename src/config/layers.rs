//! What was said where: flags over variables over the file over defaults, laid upon one another key
//! by key. Knows the shape of the file and no meaning.

use std::fmt;

use serde::Deserialize;
use toml::{Table, Value};

use super::Error;
use super::environment::Environment;
use super::fault::{self, Fault};
use super::file::File;

/// Variables of ours begin with this; then come section and key: `CLEARSPAN_LIMITS_WORKERS`.
const PREFIX: &str = "CLEARSPAN_";
/// Names the file; the one variable that is no key of it.
pub(super) const CONFIG_VARIABLE: &str = "CLEARSPAN_CONFIG";

/// Who said a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody.
    Default,
    /// The file of this name.
    File(String),
    /// The environment variable of this name.
    Variable(String),
    /// This flag.
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::File(name) | Self::Variable(name) => name,
            Self::Flag(name) => name,
        })
    }
}

/// One key's value, and who said it.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// `server`, `telemetry` or `limits`.
    pub section: String,
    /// The key.
    pub key: String,
    /// The value, as `proxy.toml` writes it.
    pub value: String,
    /// Who said it.
    pub source: Source,
}

/// What was said; what comes later holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Layers {
    layers: Vec<(Source, Table)>,
    // The text of the file, to point into.
    text: String,
}

impl Layers {
    /// Lays the file's text on top.
    pub(super) fn push_file(&mut self, name: &str, text: String) -> Result<(), Error> {
        let refused = |error| Error(fault::refusal(name, &text, &error));
        toml::from_str::<File>(&text).map_err(refused)?;
        let table = toml::from_str(&text).map_err(refused)?;
        self.layers.push((Source::File(name.to_owned()), table));
        self.text = text;
        Ok(())
    }

    /// Lays one value on top.
    pub(super) fn push(&mut self, source: Source, section: &str, key: &str, value: Value) {
        self.layers.push((source, single(section, key, value)));
    }

    /// Lays the `CLEARSPAN_*` variables on top. One that names no key is a warning.
    pub(super) fn push_variables(
        &mut self,
        environment: &Environment,
        warnings: &mut Vec<String>,
    ) -> Result<(), Error> {
        let keys = scalars(&File::default())?;
        let name_of =
            |(section, key, _): &(String, String, Value)| format!("{section}_{key}").to_uppercase();
        let names: Vec<String> = keys.iter().map(name_of).collect();
        for (variable, text) in environment.beginning_with(PREFIX) {
            let name = variable.trim_start_matches(PREFIX);
            let known = names.iter().zip(&keys).find(|(known, _)| *known == name);
            if let Some((_, (section, key, _))) = known {
                let value =
                    typed(section, key, text).map_err(|it| Error(format!("{variable}: {it}")))?;
                self.push(Source::Variable(variable.to_owned()), section, key, value);
            } else if variable != CONFIG_VARIABLE {
                warnings.push(unknown(variable, name, &names));
            }
        }
        Ok(())
    }

    /// All layers as one file, defaults filled in.
    pub(super) fn file(&self) -> Result<File, Error> {
        let mut merged = Table::new();
        for (_, table) in &self.layers {
            lay(&mut merged, table);
        }
        File::deserialize(merged).map_err(|error| Error(error.to_string()))
    }

    /// Who said the value at `place`.
    pub(super) fn source(&self, place: &str) -> Source {
        let said = self.layers.iter().rev().find(|(_, table)| contains(table, place));
        said.map_or(Source::Default, |(source, _)| source.clone())
    }

    /// The scalar keys of `file`, each with who said it.
    pub(super) fn settings(&self, file: &File) -> Result<Vec<Setting>, Error> {
        let keys = scalars(file)?.into_iter();
        let setting = |(section, key, value): (String, String, Value)| Setting {
            source: self.source(&format!("{section}.{key}")),
            value: value.to_string(),
            section,
            key,
        };
        Ok(keys.map(setting).collect())
    }

    /// A fault, told where it was said.
    pub(super) fn tell(&self, fault: &Fault) -> String {
        let Some((place, source)) = self.said(fault) else {
            let place = fault.places.first().map_or("", String::as_str);
            return format!("{place}: {}", fault.message);
        };
        let Source::File(name) = &source else { return format!("{source}: {}", fault.message) };
        match fault::locate(&self.text, place) {
            Some(span) => fault::pointed(name, &self.text, span, &fault.message, fault.secret),
            None => format!("{name}: {}", fault.message),
        }
    }

    /// A warning in one line, with where it was said.
    pub(super) fn cite(&self, warning: &Fault) -> String {
        let message = &warning.message;
        let Some((place, source)) = self.said(warning) else { return message.clone() };
        let line = fault::locate(&self.text, place).filter(|_| matches!(source, Source::File(_)));
        match line.map(|span| fault::line(&self.text, &span)) {
            Some(line) => format!("{source}, line {line}: {message}"),
            None => format!("{source}: {message}"),
        }
    }

    /// The first of a fault's places that somebody wrote, and who.
    fn said<'a>(&self, fault: &'a Fault) -> Option<(&'a String, Source)> {
        let said = fault.places.iter().map(|place| (place, self.source(place)));
        let mut said = said.map(|(place, source)| {
            (place, if source == Source::Default { self.parent(place) } else { source })
        });
        said.find(|(_, source)| *source != Source::Default)
    }

    /// Who said the list entry that a key which nobody wrote belongs to.
    fn parent(&self, place: &str) -> Source {
        match place.rsplit_once('.') {
            Some((entry, _)) if entry.contains('.') => self.source(entry),
            _ => Source::Default,
        }
    }
}

/// The keys of `file` that are one value each: those of `[server]`, `[telemetry]`, `[limits]`.
fn scalars(file: &File) -> Result<Vec<(String, String, Value)>, Error> {
    let all = Table::try_from(file).map_err(|error| Error(error.to_string()))?;
    let sections = all.into_iter().filter_map(|(section, value)| match value {
        Value::Table(keys) => Some((section, keys)),
        _ => None,
    });
    let keys = sections.flat_map(|(section, keys)| {
        keys.into_iter().map(move |(key, value)| (section.clone(), key, value))
    });
    Ok(keys.filter(|(_, _, value)| !value.is_array() && !value.is_table()).collect())
}

/// The text of a variable as the value that its key takes.
fn typed(section: &str, key: &str, text: &str) -> Result<Value, String> {
    let fits = |value: Value| match File::deserialize(single(section, key, value.clone())) {
        Ok(_) => Ok(value),
        Err(error) => Err(fault::explain(error.message())),
    };
    let as_text = fits(Value::String(text.to_owned()));
    let scalar = text.parse::<Value>().ok().filter(|value| !value.is_array() && !value.is_table());
    match (as_text, scalar) {
        (Err(_), Some(value)) => fits(value),
        (as_text, _) => as_text,
    }
}

/// Says what may have been meant: the key without its section, or something mistyped.
fn unknown(variable: &str, name: &str, names: &[String]) -> String {
    let key = format!("_{name}");
    let whole = names.iter().find(|known| known.ends_with(&key)).map(String::as_str);
    let near = || fault::nearest(name, names.iter().map(String::as_str));
    let hint = whole.or_else(near).map(|name| format!("; did you mean {PREFIX}{name}?"));
    format!("{variable} is set, but there is no such setting{}", hint.unwrap_or_default())
}

fn single(section: &str, key: &str, value: Value) -> Table {
    let keys = Table::from_iter([(key.to_owned(), value)]);
    Table::from_iter([(section.to_owned(), Value::Table(keys))])
}

/// Lays `over` upon `under`: tables key by key, anything else as a whole.
fn lay(under: &mut Table, over: &Table) {
    for (key, value) in over {
        match (under.get_mut(key), value) {
            (Some(Value::Table(under)), Value::Table(over)) => lay(under, over),
            _ => {
                under.insert(key.clone(), value.clone());
            }
        }
    }
}

fn contains(table: &Table, place: &str) -> bool {
    let (first, rest) = place.split_once('.').unwrap_or((place, ""));
    let steps = rest.split('.').filter(|step| !step.is_empty());
    let found = steps.fold(table.get(first), |value, step| match value? {
        Value::Table(table) => table.get(step),
        Value::Array(list) => list.get(step.parse::<usize>().ok()?),
        _ => None,
    });
    found.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(file: &str, variables: &[(&str, &str)]) -> Result<(Layers, Vec<String>), String> {
        let mut layers = Layers::default();
        let mut warnings = Vec::new();
        layers.push_file("proxy.toml", file.to_owned()).map_err(|error| error.to_string())?;
        let environment = Environment::of(variables.iter().copied());
        let pushed = layers.push_variables(&environment, &mut warnings);
        pushed.map_err(|error| error.to_string())?;
        Ok((layers, warnings))
    }

    #[test]
    fn what_comes_later_holds() {
        let file = "[server]\nroot = 'a'\nlisten = '127.0.0.1:1'\nadmin = '127.0.0.1:2'\n";
        let variables =
            [("CLEARSPAN_SERVER_LISTEN", "127.0.0.1:3"), ("CLEARSPAN_SERVER_ADMIN", "127.0.0.1:4")];
        let (mut layers, _) = layers(file, &variables).unwrap();
        layers.push(Source::Flag("--admin"), "server", "admin", "127.0.0.1:5".into());
        let server = layers.file().unwrap().server;
        assert_eq!(
            (server.listen.0.to_string(), server.admin.0.to_string(), &*server.root),
            ("127.0.0.1:3".into(), "127.0.0.1:5".into(), "a")
        );
        let said = ["server.root", "server.listen", "server.admin", "limits.workers"];
        assert_eq!(
            said.map(|place| layers.source(place).to_string()),
            ["proxy.toml", "CLEARSPAN_SERVER_LISTEN", "--admin", "default"]
        );
    }

    #[test]
    fn every_scalar_key_has_a_variable() {
        let keys = scalars(&File::default()).unwrap();
        let names: Vec<_> =
            keys.iter().map(|(section, key, _)| format!("{section}.{key}")).collect();
        assert_eq!(
            names,
            [
                "limits.ask_body_bytes",
                "limits.ask_event_bytes",
                "limits.ask_memory",
                "limits.ask_pause_seconds",
                "limits.ask_wait_seconds",
                "limits.client_idle_seconds",
                "limits.client_stall_seconds",
                "limits.connect_seconds",
                "limits.decoded_bytes",
                "limits.decoded_ratio",
                "limits.drain_seconds",
                "limits.estimate_bytes",
                "limits.event_bytes",
                "limits.export_queue",
                "limits.flush_seconds",
                "limits.handshake_seconds",
                "limits.header_seconds",
                "limits.histogram_series",
                "limits.http2_client_streams",
                "limits.http2_head",
                "limits.http2_ping_seconds",
                "limits.http2_repeat",
                "limits.http2_stream_window",
                "limits.http2_upstream_streams",
                "limits.label_values",
                "limits.max_connections",
                "limits.max_exchanges",
                "limits.series",
                "limits.stall_seconds",
                "limits.tape_exchange",
                "limits.tape_memory",
                "limits.tunnel_idle_seconds",
                "limits.upstream_idle_connections",
                "limits.upstream_idle_seconds",
                "limits.upstream_keepalive_seconds",
                "limits.upstream_silence_seconds",
                "limits.workers",
                "server.admin",
                "server.listen",
                "server.root",
                "server.socket_mode",
                "telemetry.client_ids",
                "telemetry.cost_histogram",
                "telemetry.estimates_as_usage",
                "telemetry.lines",
                "telemetry.phase_spans",
                "telemetry.raw_usage",
                "telemetry.service_name",
                "telemetry.stop_sequences",
            ]
        );
    }

    #[test]
    fn a_variable_is_read_as_its_key_needs_it() {
        let variables = [
            ("CLEARSPAN_LIMITS_TAPE_MEMORY", "1MiB"),
            ("CLEARSPAN_LIMITS_TAPE_EXCHANGE", "4096"),
            ("CLEARSPAN_LIMITS_STALL_SECONDS", "2.5"),
            ("CLEARSPAN_LIMITS_WORKERS", "3"),
            ("CLEARSPAN_TELEMETRY_SERVICE_NAME", "42"),
            ("CLEARSPAN_TELEMETRY_PHASE_SPANS", "true"),
            ("CLEARSPAN_TELEMETRY_LINES", "off"),
            ("CLEARSPAN_SERVER_ROOT", ""),
        ];
        let (layers, warnings) = layers("", &variables).unwrap();
        let file = layers.file().unwrap();
        assert_eq!((file.limits.tape_memory.0, file.limits.tape_exchange.0), (1 << 20, 4096));
        assert_eq!(file.limits.stall_seconds.0.as_millis(), 2500);
        assert_eq!((file.limits.workers, &*file.telemetry.service_name), (3, "42"));
        assert!(file.telemetry.phase_spans);
        assert_eq!(file.telemetry.lines, super::super::file::Lines::Off);
        assert_eq!(file.server.root, "ollama");
        assert_eq!(warnings, [""; 0]);
    }

    #[test]
    fn a_variable_that_its_key_cannot_take_is_refused_by_name() {
        for (variable, text, message) in [
            (
                "CLEARSPAN_LIMITS_WORKERS",
                "many",
                "this is the text \"many\": write a whole number from 0 to 255",
            ),
            (
                "CLEARSPAN_LIMITS_MAX_EXCHANGES",
                "0",
                "this is the number `0`: write a whole number above 0",
            ),
            (
                "CLEARSPAN_TELEMETRY_PHASE_SPANS",
                "yes",
                "this is the text \"yes\": write true or false",
            ),
            (
                "CLEARSPAN_TELEMETRY_LINES",
                "xml",
                "unknown value `xml`: this version knows no such value here\nit knows `auto`, `json`, `off`",
            ),
            (
                "CLEARSPAN_SERVER_LISTEN",
                "4319",
                "a listener has an IP address, not a name: write \"127.0.0.1:4319\", or \"0.0.0.0:4319\" for other machines too",
            ),
        ] {
            let told = layers("", &[(variable, text)]).unwrap_err();
            assert_eq!(told, format!("{variable}: {message}"));
        }
    }

    #[test]
    fn a_variable_without_a_key_is_a_warning_with_the_nearest() {
        let variables = [
            ("CLEARSPAN_CONFIG", "x.toml"),
            ("CLEARSPAN_LIMITS_TAPE_MEMROY", "1"),
            ("CLEARSPAN_LISTEN", "1"),
            ("CLEARSPAN_TELEMETRY_EXPORT", "1"),
        ];
        let (_, warnings) = layers("", &variables).unwrap();
        assert_eq!(
            warnings,
            [
                "CLEARSPAN_LIMITS_TAPE_MEMROY is set, but there is no such setting; did you mean CLEARSPAN_LIMITS_TAPE_MEMORY?",
                "CLEARSPAN_LISTEN is set, but there is no such setting; did you mean CLEARSPAN_SERVER_LISTEN?",
                "CLEARSPAN_TELEMETRY_EXPORT is set, but there is no such setting",
            ]
        );
    }

    #[test]
    fn a_fault_is_told_where_the_value_was_said() {
        let file = "[server]\nroot = 'a'\n[[upstream]]\nname = 'n'\nurl = 'http://h'\n";
        let (mut layers, _) = layers(file, &[("CLEARSPAN_SERVER_LISTEN", "127.0.0.1:3")]).unwrap();
        layers.push(Source::Flag("--admin"), "server", "admin", "127.0.0.1:3".into());
        let told = |fault: Fault| layers.tell(&fault);
        assert_eq!(
            told(Fault::at("server.root", "no.")),
            "proxy.toml: error at line 2, column 8\n  |\n2 | root = 'a'\n  |        ^^^\nno."
        );
        assert_eq!(told(Fault::at("server.listen", "no.")), "CLEARSPAN_SERVER_LISTEN: no.");
        assert_eq!(told(Fault::at("server.admin", "no.")), "--admin: no.");
        assert_eq!(told(Fault::at("limits.workers", "no.")), "limits.workers: no.");
        assert_eq!(told(Fault::at("limits.workers", "no.").or_at("server.admin")), "--admin: no.");
        assert_eq!(
            told(Fault::at("upstream.0.mount", "no.")),
            "proxy.toml: error at line 3, column 1\n  |\n3 | [[upstream]]\n  | ^^^^^^^^^^^^\nno."
        );
        assert_eq!(
            told(Fault::at("server.root", "no.").secret()),
            "proxy.toml: error at line 2 (not shown, it may hold a secret)\nno."
        );
    }
}
