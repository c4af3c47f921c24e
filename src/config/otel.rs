//! The standard `OTEL_*` variables, as the OpenTelemetry specification says: empty is unset, what
//! cannot be read is a warning and ignored. Knows no `proxy.toml`.
//! <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>

use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};

use super::Error;
use super::environment::Environment;
use super::file::{Export, Signal};
use super::url::Url;
use crate::report::settings::Secret;

/// What the variables say.
#[derive(Clone, Debug, Default)]
pub(super) struct Otel {
    /// `service.name`, and the variable that says it.
    pub(super) service_name: Option<(&'static str, String)>,
    /// `OTEL_RESOURCE_ATTRIBUTES`, without `service.name`.
    pub(super) attributes: Vec<(String, String)>,
    /// `OTEL_SDK_DISABLED=true`.
    pub(super) disabled: bool,
    /// Signals for which something other than OTLP was chosen.
    pub(super) off: Vec<Signal>,
    /// Where each signal goes, if anything says so.
    pub(super) targets: Vec<(Signal, Target)>,
    /// `OTEL_BSP_MAX_EXPORT_BATCH_SIZE`.
    pub(super) batch: Option<usize>,
    /// `OTEL_BSP_SCHEDULE_DELAY`.
    pub(super) delay: Option<Duration>,
    /// `OTEL_METRIC_EXPORT_INTERVAL`.
    pub(super) metric_interval: Option<Duration>,
}

/// An OTLP destination of one signal.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// Full URL.
    pub(super) url: Uri,
    /// Sent with each export.
    pub(super) headers: Vec<(HeaderName, Secret)>,
    /// Bodies are gzipped.
    pub(super) gzip: bool,
    /// The longest that one export may take.
    pub(super) timeout: Duration,
}

/// Where OTLP over HTTP goes when `otlp` was chosen and nothing says where.
const DEFAULT_ENDPOINT: &str = "http://localhost:4318";
/// Exporters that the specification or its SDKs know and this program does not have.
const OTHER_EXPORTERS: [&str; 6] =
    ["console", "logging", "otlp/stdout", "prometheus", "zipkin", "jaeger"];
/// Beginnings of variables that would change what is sent; such a one that is not read is warned of.
const TOUCHING: [&str; 12] = [
    "OTEL_ATTRIBUTE_",
    "OTEL_BLRP_",
    "OTEL_BSP_",
    "OTEL_EVENT_",
    "OTEL_EXPORTER_",
    "OTEL_LINK_",
    "OTEL_LOGRECORD_",
    "OTEL_METRIC_",
    "OTEL_METRICS_",
    "OTEL_PROPAGATORS",
    "OTEL_SPAN_",
    "OTEL_TRACES_",
];
const CONFIG_FILES: [&str; 2] = ["OTEL_CONFIG_FILE", "OTEL_EXPERIMENTAL_CONFIG_FILE"];

/// Reads all variables; what is ignored is added to `warnings`.
pub(super) fn read(environment: &Environment, warnings: &mut Vec<String>) -> Result<Otel, Error> {
    if let Some(name) = CONFIG_FILES.iter().find(|name| environment.text(name).is_some()) {
        return Err(Error(format!(
            "{name} is set, but OpenTelemetry's configuration files are not supported yet: unset it, \
             and use the other OTEL_* variables or proxy.toml"
        )));
    }
    let mut reader = Reader { environment, warnings };
    reader.warn_of_unread();
    let mut attributes = reader.attributes();
    let named = attributes.iter().position(|(key, _)| key == "service.name");
    let named = named.map(|at| ("OTEL_RESOURCE_ATTRIBUTES", attributes.swap_remove(at).1));
    let variable = "OTEL_SERVICE_NAME";
    let service_name = environment.text(variable).map(|name| (variable, name.to_owned())).or(named);
    let mut otel = Otel {
        service_name,
        attributes,
        disabled: reader.is_true("OTEL_SDK_DISABLED"),
        batch: reader.count("OTEL_BSP_MAX_EXPORT_BATCH_SIZE"),
        delay: reader.millis("OTEL_BSP_SCHEDULE_DELAY"),
        metric_interval: reader.millis("OTEL_METRIC_EXPORT_INTERVAL"),
        ..Otel::default()
    };
    for signal in Signal::all() {
        match reader.chosen(signal) {
            Chosen::Off => otel.off.push(signal),
            _ if otel.disabled => {}
            chosen => otel.targets.extend(reader.target(signal, chosen)?.map(|it| (signal, it))),
        }
    }
    Ok(otel)
}

/// What `OTEL_{TRACES,METRICS,LOGS}_EXPORTER` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chosen {
    Unsaid,
    Otlp,
    Off,
}

struct Reader<'a> {
    environment: &'a Environment,
    warnings: &'a mut Vec<String>,
}

impl<'a> Reader<'a> {
    fn ignored(&mut self, name: &str, why: &str) {
        self.warnings.push(format!("{name} is ignored: {why}"));
    }

    fn is_true(&mut self, name: &str) -> bool {
        let Some(text) = self.environment.text(name) else { return false };
        let known = ["true", "false"].iter().find(|known| text.eq_ignore_ascii_case(known));
        if known.is_none() {
            self.ignored(name, "it is neither true nor false");
        }
        known == Some(&"true")
    }

    /// A whole number above 0.
    fn count(&mut self, name: &str) -> Option<usize> {
        let text = self.environment.text(name)?;
        let count = text.parse().ok().filter(|&count| count > 0);
        if count.is_none() {
            self.ignored(name, "it is no whole number above 0");
        }
        count
    }

    fn millis(&mut self, name: &str) -> Option<Duration> {
        // More than a u32 holds (49 days) is as good as never.
        let millis = self.count(name)?.min(u32::MAX as usize);
        Some(Duration::from_millis(millis as u64))
    }

    /// The name and value of the signal's own variable, else of the one for all signals.
    fn exporter(&self, signal: Signal, key: &str) -> Option<(String, &'a str)> {
        let own = format!("OTEL_EXPORTER_OTLP_{}_{key}", signal.as_str().to_uppercase());
        let names = [own, format!("OTEL_EXPORTER_OTLP_{key}")];
        names.into_iter().find_map(|name| self.environment.text(&name).map(|text| (name, text)))
    }

    fn attributes(&mut self) -> Vec<(String, String)> {
        let name = "OTEL_RESOURCE_ATTRIBUTES";
        let Some(text) = self.environment.text(name) else { return Vec::new() };
        let pairs: Option<Vec<_>> = entries(text).map(pair).collect();
        if pairs.is_none() {
            self.ignored(name, "it is not a list key=value,key=value with percent-encoded values");
        }
        let mut unique: Vec<(String, String)> = Vec::new();
        for (key, value) in pairs.unwrap_or_default() {
            // Of one key said twice the last holds.
            unique.retain(|(earlier, _)| *earlier != key);
            unique.push((key, value));
        }
        unique
    }

    fn chosen(&mut self, signal: Signal) -> Chosen {
        let name = format!("OTEL_{}_EXPORTER", signal.as_str().to_uppercase());
        let Some(text) = self.environment.text(&name) else { return Chosen::Unsaid };
        let mut chosen = Chosen::Unsaid;
        for word in entries(text).map(str::to_ascii_lowercase) {
            let other = OTHER_EXPORTERS.contains(&word.as_str());
            match word.as_str() {
                "otlp" => chosen = Chosen::Otlp,
                "none" => chosen = if chosen == Chosen::Otlp { chosen } else { Chosen::Off },
                _ if other => {
                    chosen = if chosen == Chosen::Otlp { chosen } else { Chosen::Off };
                    let offer = "metrics can be scraped from the admin listener's /metrics";
                    self.warnings.push(format!(
                        "{name}: there is no exporter `{word}` here, only otlp and none; {offer}"
                    ));
                }
                _ => self
                    .ignored(&name, &format!("`{word}` is no exporter; there are otlp and none")),
            }
        }
        chosen
    }

    fn target(&mut self, signal: Signal, chosen: Chosen) -> Result<Option<Target>, Error> {
        let Some(url) = self.url(signal, chosen)? else { return Ok(None) };
        self.check_protocol(signal)?;
        let headers = self.headers(signal);
        let gzip = self.is_gzip(signal);
        let timeout = self.exporter(signal, "TIMEOUT").and_then(|(name, _)| self.millis(&name));
        let timeout = timeout.unwrap_or(Export::timeout().0);
        Ok(Some(Target { url, headers, gzip, timeout }))
    }

    fn url(&self, signal: Signal, chosen: Chosen) -> Result<Option<Uri>, Error> {
        let said = self.exporter(signal, "ENDPOINT");
        let fallback = || ("the default".to_owned(), DEFAULT_ENDPOINT);
        let Some((name, text)) = said.or_else(|| (chosen == Chosen::Otlp).then(fallback)) else {
            return Ok(None);
        };
        // A signal's own endpoint is used as it is; to the common one the signal's path is added.
        let url = if name.contains(&signal.as_str().to_uppercase()) {
            Url::exact(text)
        } else {
            Url::parse(text).and_then(|url| url.join(signal.path()))
        };
        url.map(Some).map_err(|refused| Error(format!("{name}: {refused}")))
    }

    fn check_protocol(&mut self, signal: Signal) -> Result<(), Error> {
        let Some((name, text)) = self.exporter(signal, "PROTOCOL") else { return Ok(()) };
        match text.to_ascii_lowercase().as_str() {
            "http/protobuf" => {}
            "grpc" | "http/json" => {
                return Err(Error(format!(
                    "{name}={text}: only http/protobuf is spoken so far. Set {name}=http/protobuf, \
                     and an endpoint that takes it: collectors do on port 4318 (4317 is gRPC)"
                )));
            }
            _ => self.ignored(&name, "it is no protocol; http/protobuf is spoken"),
        }
        Ok(())
    }

    fn is_gzip(&mut self, signal: Signal) -> bool {
        let Some((name, text)) = self.exporter(signal, "COMPRESSION") else { return false };
        let gzip = text.eq_ignore_ascii_case("gzip");
        if !gzip && !text.eq_ignore_ascii_case("none") {
            self.ignored(&name, "it is neither gzip nor none");
        }
        gzip
    }

    /// Never names a value: it may be a secret.
    fn headers(&mut self, signal: Signal) -> Vec<(HeaderName, Secret)> {
        let Some((name, text)) = self.exporter(signal, "HEADERS") else { return Vec::new() };
        let mut headers = Vec::new();
        for (number, entry) in (1..).zip(entries(text)) {
            match pair(entry).and_then(|(name, value)| header(&name, &value)) {
                Some(header) => headers.push(header),
                None => self.warnings.push(format!(
                    "{name}: entry {number} is left out, it is no header name=value with a percent-encoded value"
                )),
            }
        }
        headers
    }

    fn warn_of_unread(&mut self) {
        let set = self.environment.beginning_with("OTEL_").map(|(name, _)| name);
        let touching = set.filter(|name| TOUCHING.iter().any(|begin| name.starts_with(begin)));
        let unread: Vec<_> = touching.filter(|name| !is_read(name)).collect();
        for name in unread {
            self.ignored(name, "this version does not read it");
        }
    }
}

/// Whether this file reads the variable.
fn is_read(name: &str) -> bool {
    let keys = ["ENDPOINT", "HEADERS", "TIMEOUT", "COMPRESSION", "PROTOCOL"];
    let signals = ["TRACES", "METRICS", "LOGS"];
    let exporter = |rest: &str| {
        let own = signals.iter().find_map(|signal| rest.strip_prefix(signal)?.strip_prefix('_'));
        keys.contains(&own.unwrap_or(rest))
    };
    let chosen = |signal: &&str| name == format!("OTEL_{signal}_EXPORTER");
    name.strip_prefix("OTEL_EXPORTER_OTLP_").is_some_and(exporter)
        || signals.iter().any(chosen)
        || [
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
            "OTEL_BSP_SCHEDULE_DELAY",
            "OTEL_METRIC_EXPORT_INTERVAL",
        ]
        .contains(&name)
}

/// A header that is sent, its value marked so that nothing prints it.
pub(super) fn header(name: &str, value: &str) -> Option<(HeaderName, Secret)> {
    let name: HeaderName = name.parse().ok()?;
    let mut value: HeaderValue = value.parse().ok()?;
    value.set_sensitive(true);
    Some((name, Secret(value)))
}

/// The entries of a list, without whitespace and empty ones.
fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

/// `key=value`, both percent-encoded.
fn pair(entry: &str) -> Option<(String, String)> {
    let (key, value) = entry.split_once('=')?;
    let key = percent_decoded(key.trim()).filter(|key| !key.is_empty())?;
    Some((key, percent_decoded(value.trim())?))
}

fn percent_decoded(text: &str) -> Option<String> {
    let (first, escapes) = text.split_once('%').map_or((text, None), |(a, b)| (a, Some(b)));
    let mut bytes = first.as_bytes().to_vec();
    for escape in escapes.iter().flat_map(|rest| rest.split('%')) {
        let (digits, rest) = escape.split_at_checked(2)?;
        let [high, low] =
            [digits.chars().next()?, digits.chars().nth(1)?].map(|it| it.to_digit(16));
        bytes.push((high? * 16 + low?) as u8);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(variables: &[(&str, &str)]) -> (Otel, Vec<String>) {
        let mut warnings = Vec::new();
        let otel = read(&Environment::of(variables.iter().copied()), &mut warnings).unwrap();
        (otel, warnings)
    }

    fn quiet(variables: &[(&str, &str)]) -> Otel {
        let (otel, warnings) = told(variables);
        assert_eq!(warnings, [""; 0]);
        otel
    }

    fn refused(variables: &[(&str, &str)]) -> String {
        read(&Environment::of(variables.iter().copied()), &mut Vec::new()).unwrap_err().to_string()
    }

    fn urls(otel: &Otel) -> Vec<String> {
        otel.targets.iter().map(|(signal, it)| format!("{} {}", signal.as_str(), it.url)).collect()
    }

    #[test]
    fn nothing_said_sends_nothing() {
        let otel = quiet(&[("OTEL_TRACES_EXPORTER", ""), ("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]);
        assert!(otel.targets.is_empty() && otel.off.is_empty() && !otel.disabled);
    }

    #[test]
    fn the_common_endpoint_gets_each_signals_path() {
        let otel = quiet(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/base/")]);
        assert_eq!(
            urls(&otel),
            [
                "traces http://c:4318/base/v1/traces",
                "metrics http://c:4318/base/v1/metrics",
                "logs http://c:4318/base/v1/logs"
            ]
        );
    }

    #[test]
    fn a_signals_own_endpoint_is_used_as_it_is() {
        let otel = quiet(&[
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://t/api/traces/"),
            ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "https://l"),
        ]);
        assert_eq!(urls(&otel), ["traces https://t/api/traces/", "logs https://l/"]);
    }

    #[test]
    fn an_exporter_that_was_chosen_without_an_endpoint_goes_to_this_machine() {
        let otel = quiet(&[("OTEL_METRICS_EXPORTER", "OTLP")]);
        assert_eq!(urls(&otel), ["metrics http://localhost:4318/v1/metrics"]);
    }

    #[test]
    fn a_signal_can_be_switched_off() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c");
        let otel =
            quiet(&[endpoint, ("OTEL_TRACES_EXPORTER", "none"), ("OTEL_LOGS_EXPORTER", "otlp")]);
        assert_eq!(urls(&otel), ["metrics http://c/v1/metrics", "logs http://c/v1/logs"]);
        assert_eq!(otel.off, [Signal::Traces]);
        let otel = quiet(&[endpoint, ("OTEL_SDK_DISABLED", "True")]);
        assert!(otel.disabled && otel.targets.is_empty());
        assert!(!quiet(&[("OTEL_SDK_DISABLED", "false")]).disabled);
    }

    #[test]
    fn an_exporter_that_we_do_not_have_is_told() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c");
        let (otel, warnings) = told(&[
            endpoint,
            ("OTEL_METRICS_EXPORTER", "prometheus"),
            ("OTEL_TRACES_EXPORTER", "console,otlp"),
            ("OTEL_LOGS_EXPORTER", "oltp"),
        ]);
        assert_eq!(urls(&otel), ["traces http://c/v1/traces", "logs http://c/v1/logs"]);
        assert_eq!(
            warnings,
            [
                "OTEL_TRACES_EXPORTER: there is no exporter `console` here, only otlp and none; metrics can be scraped from the admin listener's /metrics",
                "OTEL_METRICS_EXPORTER: there is no exporter `prometheus` here, only otlp and none; metrics can be scraped from the admin listener's /metrics",
                "OTEL_LOGS_EXPORTER is ignored: `oltp` is no exporter; there are otlp and none",
            ]
        );
    }

    #[test]
    fn a_signals_own_variable_goes_before_the_common_one() {
        let otel = quiet(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=1, B = x%20y%3D%2C=, "),
            ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "c=3"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "500"),
            ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "2000"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "GZIP"),
            ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "none"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "HTTP/protobuf"),
        ]);
        let headers = |at: usize| -> Vec<_> {
            let headers = otel.targets[at].1.headers.iter();
            headers.map(|(name, value)| format!("{name}: {}", value.0.to_str().unwrap())).collect()
        };
        assert_eq!(headers(0), ["a: 1", "b: x y=,="]);
        assert_eq!(headers(2), ["c: 3"]);
        let rest: Vec<_> =
            otel.targets.iter().map(|(_, it)| (it.gzip, it.timeout.as_millis())).collect();
        assert_eq!(rest, [(false, 500), (true, 2000), (true, 500)]);
        assert!(!format!("{otel:?}").contains("x y"));
    }

    #[test]
    fn a_protocol_that_we_do_not_speak_is_refused_where_it_matters() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317");
        assert_eq!(
            refused(&[endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]),
            "OTEL_EXPORTER_OTLP_PROTOCOL=grpc: only http/protobuf is spoken so far. Set \
             OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf, and an endpoint that takes it: collectors do on \
             port 4318 (4317 is gRPC)"
        );
        let own = ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/json");
        assert!(
            refused(&[endpoint, own])
                .starts_with("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL=http/json: only")
        );
        assert!(quiet(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).targets.is_empty());
        quiet(&[endpoint, own, ("OTEL_LOGS_EXPORTER", "none")]);
    }

    #[test]
    fn what_cannot_be_read_is_a_warning_and_ignored() {
        let (otel, warnings) = told(&[
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "carrier-pigeon"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "good=1,hunter2,bad name=1,worse=%zz,a=%0A"),
            ("OTEL_SDK_DISABLED", "1"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0"),
            ("OTEL_BSP_SCHEDULE_DELAY", "-1"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "soon"),
            ("OTEL_RESOURCE_ATTRIBUTES", "a=1,b"),
        ]);
        assert_eq!(otel.targets[0].1.timeout, Duration::from_secs(10));
        assert_eq!((otel.batch, otel.delay, otel.metric_interval), (None, None, None));
        assert_eq!(otel.attributes, []);
        assert_eq!(
            warnings,
            [
                "OTEL_RESOURCE_ATTRIBUTES is ignored: it is not a list key=value,key=value with percent-encoded values",
                "OTEL_SDK_DISABLED is ignored: it is neither true nor false",
                "OTEL_BSP_MAX_EXPORT_BATCH_SIZE is ignored: it is no whole number above 0",
                "OTEL_BSP_SCHEDULE_DELAY is ignored: it is no whole number above 0",
                "OTEL_METRIC_EXPORT_INTERVAL is ignored: it is no whole number above 0",
                "OTEL_EXPORTER_OTLP_PROTOCOL is ignored: it is no protocol; http/protobuf is spoken",
                "OTEL_EXPORTER_OTLP_HEADERS: entry 2 is left out, it is no header name=value with a percent-encoded value",
                "OTEL_EXPORTER_OTLP_HEADERS: entry 3 is left out, it is no header name=value with a percent-encoded value",
                "OTEL_EXPORTER_OTLP_HEADERS: entry 4 is left out, it is no header name=value with a percent-encoded value",
                "OTEL_EXPORTER_OTLP_HEADERS: entry 5 is left out, it is no header name=value with a percent-encoded value",
                "OTEL_EXPORTER_OTLP_COMPRESSION is ignored: it is neither gzip nor none",
                "OTEL_EXPORTER_OTLP_TIMEOUT is ignored: it is no whole number above 0",
            ]
        );
    }

    #[test]
    fn an_endpoint_that_is_no_url_is_refused_without_showing_it() {
        assert_eq!(
            refused(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318")]),
            "OTEL_EXPORTER_OTLP_ENDPOINT: a URL begins with http:// or https:// and names a host, like https://api.example.com"
        );
        assert!(
            !refused(&[("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://u:hunter2@c")])
                .contains("hunter2")
        );
    }

    #[test]
    fn a_configuration_file_of_opentelemetry_is_refused() {
        for name in CONFIG_FILES {
            assert_eq!(
                refused(&[(name, "/etc/otel.yaml")]),
                format!(
                    "{name} is set, but OpenTelemetry's configuration files are not supported yet: unset it, and use the other OTEL_* variables or proxy.toml"
                )
            );
        }
    }

    #[test]
    fn a_variable_that_would_change_what_is_sent_but_is_not_read_is_told() {
        let (_, warnings) = told(&[
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
            ("OTEL_TRACES_SAMPLER", "always_off"),
            ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "1"),
            ("OTEL_PYTHON_LOG_CORRELATION", "true"),
        ]);
        assert_eq!(
            warnings,
            [
                "OTEL_EXPORTER_OTLP_CERTIFICATE is ignored: this version does not read it",
                "OTEL_TRACES_SAMPLER is ignored: this version does not read it",
            ]
        );
    }

    #[test]
    fn resource_attributes_are_percent_decoded() {
        let otel = quiet(&[(
            "OTEL_RESOURCE_ATTRIBUTES",
            "team=a%2Cb , deployment.environment.name=pr%C3%BCf,empty=,team=c,x=1=2",
        )]);
        let expected =
            [("deployment.environment.name", "prüf"), ("empty", ""), ("team", "c"), ("x", "1=2")];
        assert_eq!(
            otel.attributes,
            expected.map(|(key, value)| (key.to_owned(), value.to_owned()))
        );
        assert_eq!(otel.service_name, None);
    }

    #[test]
    fn the_service_name_of_its_own_variable_goes_first() {
        let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a,b=c");
        let otel = quiet(&[attributes]);
        assert_eq!(otel.service_name, Some(("OTEL_RESOURCE_ATTRIBUTES", "a".into())));
        assert_eq!(otel.attributes, [("b".to_owned(), "c".to_owned())]);
        let otel = quiet(&[attributes, ("OTEL_SERVICE_NAME", "d")]);
        assert_eq!(otel.service_name, Some(("OTEL_SERVICE_NAME", "d".into())));
        assert_eq!(otel.attributes.len(), 1);
    }

    #[test]
    fn batches_and_intervals_are_read() {
        let otel = quiet(&[
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "100"),
            ("OTEL_BSP_SCHEDULE_DELAY", "250"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "99999999999"),
        ]);
        assert_eq!((otel.batch, otel.delay), (Some(100), Some(Duration::from_millis(250))));
        assert_eq!(otel.metric_interval, Some(Duration::from_millis(u64::from(u32::MAX))));
    }

    #[test]
    fn percent_escapes_are_two_digits_and_unicode() {
        let decoded = |text| percent_decoded(text);
        assert_eq!(decoded("a%20b%41"), Some("a bA".into()));
        assert_eq!(decoded(""), Some(String::new()));
        for text in ["%", "%2", "a%g1", "%+1", "%ff", "%é"] {
            assert_eq!(decoded(text), None, "{text}");
        }
    }
}
