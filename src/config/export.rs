//! Where telemetry is sent: what the file lists, else what the `OTEL_*` variables say.

use http::{HeaderName, Uri};

use super::environment::Environment;
use super::fault::{Fault, all};
use super::file::{Compression, Export, Signal};
use super::otel::{self, Otel, Target};
use super::secret::SecretSource;
use super::url::{Refused, Url};
use crate::report::settings::{Exporter, Secret};

const NO_SIGNAL: &str =
    "nothing would be sent: write at least one of \"traces\", \"metrics\", \"logs\"";

/// The destinations, or all that is wrong with them.
pub(super) fn resolve(
    exports: &[Export],
    otel: &Otel,
    environment: &Environment,
) -> Result<Vec<Exporter>, Vec<Fault>> {
    let written = exports.iter().enumerate();
    let written = all(written.map(|(at, export)| targets(at, export, environment)))?;
    let targets = if exports.is_empty() { otel.targets.clone() } else { written.concat() };
    let wanted = targets.into_iter().filter(|(it, _)| !otel.disabled && !otel.off.contains(it));
    Ok(group(wanted))
}

/// What is said twice, or switched off elsewhere.
pub(super) fn warnings(exports: &[Export], otel: &Otel) -> Vec<String> {
    let twice = !exports.is_empty() && !otel.targets.is_empty();
    let twice = twice.then_some(
        "OTEL_EXPORTER_OTLP_* is not used, since [[telemetry.export]] says where telemetry goes",
    );
    let disabled = otel.disabled.then_some("OTEL_SDK_DISABLED is true: no telemetry is sent");
    twice.into_iter().chain(disabled).map(ToOwned::to_owned).collect()
}

/// One target for each signal of one `[[telemetry.export]]`.
fn targets(
    at: usize,
    export: &Export,
    environment: &Environment,
) -> Result<Vec<(Signal, Target)>, Vec<Fault>> {
    let place = |key: &str| format!("telemetry.export.{at}.{key}");
    let mut faults = Vec::new();
    if export.signals.is_empty() {
        faults.push(Fault::at(place("signals"), NO_SIGNAL));
    }
    let urls = urls(export).unwrap_or_else(|refused| {
        let fault = Fault::at(place("endpoint"), refused.to_string());
        faults.push(if refused == Refused::Credentials { fault.secret() } else { fault });
        Vec::new()
    });
    let mut headers = Vec::new();
    for (name, source) in &export.headers {
        match header(name, source, environment) {
            Ok(header) => headers.push(header),
            Err(why) => {
                let message = format!("the header `{name}` cannot be sent: {why}");
                faults.push(Fault::at(place("headers"), message));
            }
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let gzip = export.compression == Compression::Gzip;
    let timeout = export.timeout_seconds.0;
    let target = |(signal, url)| (signal, Target { url, headers: headers.clone(), gzip, timeout });
    Ok(urls.into_iter().map(target).collect())
}

fn urls(export: &Export) -> Result<Vec<(Signal, Uri)>, Refused> {
    let base = Url::parse(&export.endpoint)?;
    export.signals.iter().map(|&signal| Ok((signal, base.join(signal.path())?))).collect()
}

fn header(
    name: &str,
    source: &SecretSource,
    environment: &Environment,
) -> Result<(HeaderName, Secret), String> {
    let value = source.read(environment)?;
    otel::header(name, &value).ok_or_else(|| "HTTP does not allow its name or its value".to_owned())
}

/// Targets on one host that are sent to alike share an exporter.
fn group(targets: impl Iterator<Item = (Signal, Target)>) -> Vec<Exporter> {
    let mut exporters: Vec<Exporter> = Vec::new();
    for (signal, target) in targets {
        let alike = exporters.iter_mut().filter(|it| is_alike(it, &target));
        match alike.map(|it| slot(it, signal)).find(|slot| slot.is_none()) {
            Some(free) => *free = Some(target.url),
            None => exporters.push(alone(signal, target)),
        }
    }
    exporters
}

fn alone(signal: Signal, target: Target) -> Exporter {
    let Target { url, headers, gzip, timeout } = target;
    let mut exporter = Exporter { traces: None, metrics: None, logs: None, headers, gzip, timeout };
    *slot(&mut exporter, signal) = Some(url);
    exporter
}

fn slot(exporter: &mut Exporter, signal: Signal) -> &mut Option<Uri> {
    match signal {
        Signal::Traces => &mut exporter.traces,
        Signal::Metrics => &mut exporter.metrics,
        Signal::Logs => &mut exporter.logs,
    }
}

fn is_alike(exporter: &Exporter, target: &Target) -> bool {
    let there = [&exporter.traces, &exporter.metrics, &exporter.logs].into_iter().flatten();
    let host = |url: &Uri| (url.scheme().cloned(), url.authority().cloned());
    there.map(host).all(|it| it == host(&target.url))
        && exporter.headers == target.headers
        && (exporter.gzip, exporter.timeout) == (target.gzip, target.timeout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::File;

    fn resolved(file: &str, variables: &[(&str, &str)]) -> Result<Vec<Exporter>, Vec<Fault>> {
        let environment = Environment::of(variables.iter().copied());
        let otel = otel::read(&environment, &mut Vec::new()).unwrap();
        let file: File = toml::from_str(file).unwrap();
        resolve(&file.telemetry.export, &otel, &environment)
    }

    fn urls(exporter: &Exporter) -> Vec<String> {
        let all = [&exporter.traces, &exporter.metrics, &exporter.logs].into_iter().flatten();
        all.map(ToString::to_string).collect()
    }

    #[test]
    fn without_a_word_nothing_is_sent() {
        assert!(resolved("", &[]).unwrap().is_empty());
    }

    #[test]
    fn the_file_lists_where_telemetry_goes() {
        let file = "
            [[telemetry.export]]
            endpoint = 'http://c:4318'
            [[telemetry.export]]
            endpoint = 'https://cloud/otel/'
            signals = ['traces']
            headers = { authorization = { env = 'TOKEN' } }
            compression = 'gzip'
            timeout_seconds = 2.5";
        let exporters = resolved(file, &[("TOKEN", "Basic abc")]).unwrap();
        assert_eq!(exporters.len(), 2);
        assert_eq!(
            urls(&exporters[0]),
            ["http://c:4318/v1/traces", "http://c:4318/v1/metrics", "http://c:4318/v1/logs"]
        );
        assert_eq!((exporters[0].gzip, exporters[0].timeout.as_secs()), (false, 10));
        assert_eq!(urls(&exporters[1]), ["https://cloud/otel/v1/traces"]);
        assert_eq!((exporters[1].gzip, exporters[1].timeout.as_millis()), (true, 2500));
        assert_eq!(exporters[1].headers[0].0, "authorization");
        assert_eq!(exporters[1].headers[0].1.0, "Basic abc");
        assert!(!format!("{exporters:?}").contains("abc"));
    }

    #[test]
    fn two_entries_for_one_signal_are_two_destinations() {
        let file = "
            [[telemetry.export]]
            endpoint = 'http://a'
            signals = ['traces']
            [[telemetry.export]]
            endpoint = 'http://a/second'
            signals = ['traces', 'logs']";
        let exporters = resolved(file, &[]).unwrap();
        let all: Vec<_> = exporters.iter().map(urls).collect();
        assert_eq!(
            all,
            [
                vec!["http://a/v1/traces", "http://a/second/v1/logs"],
                vec!["http://a/second/v1/traces"]
            ]
        );
    }

    #[test]
    fn signals_that_are_sent_differently_have_exporters_of_their_own() {
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"),
            ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "a=1"),
            ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://other"),
        ];
        let all: Vec<_> = resolved("", &variables).unwrap().iter().map(urls).collect();
        assert_eq!(all, [["http://c/v1/traces"], ["http://c/v1/metrics"], ["http://other/"]]);
        let one = resolved("", &variables[..1]).unwrap();
        assert_eq!(one.len(), 1);
    }

    #[test]
    fn the_file_goes_before_the_variables_but_off_is_off() {
        let file = "[[telemetry.export]]\nendpoint = 'http://file'";
        let variables =
            [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://variable"), ("OTEL_LOGS_EXPORTER", "none")];
        let all: Vec<_> = resolved(file, &variables).unwrap().iter().map(urls).collect();
        assert_eq!(all, [["http://file/v1/traces", "http://file/v1/metrics"]]);
        assert!(resolved(file, &[("OTEL_SDK_DISABLED", "true")]).unwrap().is_empty());
    }

    #[test]
    fn what_has_no_effect_is_told() {
        let told = |file: &str, variables: &[(&str, &str)]| {
            let environment = Environment::of(variables.iter().copied());
            let otel = otel::read(&environment, &mut Vec::new()).unwrap();
            warnings(&toml::from_str::<File>(file).unwrap().telemetry.export, &otel)
        };
        let file = "[[telemetry.export]]\nendpoint = 'http://file'";
        let endpoint = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://variable")];
        assert_eq!(
            told(file, &endpoint),
            [
                "OTEL_EXPORTER_OTLP_* is not used, since [[telemetry.export]] says where telemetry goes"
            ]
        );
        assert_eq!(told("", &endpoint), [""; 0]);
        assert_eq!(told(file, &[]), [""; 0]);
        assert_eq!(
            told("", &[("OTEL_SDK_DISABLED", "true")]),
            ["OTEL_SDK_DISABLED is true: no telemetry is sent"]
        );
    }

    #[test]
    fn all_that_is_wrong_is_told_and_no_secret() {
        let file = "
            [[telemetry.export]]
            endpoint = 'c:4318'
            signals = []
            headers = { a = { env = 'MISSING' }, b = { env = 'BROKEN' } }
            [[telemetry.export]]
            endpoint = 'http://user:hunter2@c'";
        let faults = resolved(file, &[("BROKEN", "hunter2\nx: y")]).unwrap_err();
        let told: Vec<_> =
            faults.iter().map(|it| format!("{}: {}", it.places.join(" "), it.message)).collect();
        assert_eq!(
            told,
            [
                "telemetry.export.0.signals: nothing would be sent: write at least one of \"traces\", \"metrics\", \"logs\"",
                "telemetry.export.0.endpoint: a URL begins with http:// or https:// and names a host, like https://api.example.com",
                "telemetry.export.0.headers: the header `a` cannot be sent: the variable `MISSING` is not set",
                "telemetry.export.0.headers: the header `b` cannot be sent: HTTP does not allow its name or its value",
                "telemetry.export.1.endpoint: a URL must not hold a user or a password: credentials are sent in headers",
            ]
        );
        assert!(faults[4].secret);
    }
}
