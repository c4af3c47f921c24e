//! Where telemetry is sent: what the file lists, else what the `OTEL_*` variables say.

use http::{HeaderName, Uri};

use super::environment::Environment;
use super::fault::{Fault, all};
use super::file::{Compression, Export, Histograms, Protocol, Signal, Temporality};
use super::otel::Otel;
use super::otlp::{self, Target};
use super::secret::SecretSource;
use super::url::{Refused, Url};
use super::{egress, pem};
use crate::report::settings::{self as report, Exporter, Proxy, Secret, Tls};

const NO_SIGNAL: &str =
    "nothing would be sent: write at least one of \"traces\", \"metrics\", \"logs\"";

/// The destinations, or all that is wrong with them.
pub(super) fn resolve(
    exports: &[Export],
    otel: &Otel,
    environment: &Environment,
) -> Result<Vec<Exporter>, Vec<Fault>> {
    let is_wanted = |signal: &Signal| !otel.disabled && !otel.off.contains(signal);
    let written = exports.iter().enumerate();
    let written = all(written.map(|(at, export)| targets(at, export, environment)))?;
    let targets = if exports.is_empty() {
        let said = otel.targets.iter().filter(|(it, _)| is_wanted(it));
        all(said.map(|(signal, target)| Ok((*signal, behind(target, environment)?))))?
    } else {
        written.concat()
    };
    Ok(group(targets.into_iter().filter(|(it, _)| is_wanted(it))))
}

/// The same behind the egress proxy that the environment names for it.
fn behind(target: &Target, environment: &Environment) -> Result<Target, Vec<Fault>> {
    let proxy = of_environment(&target.url, environment).map_err(|fault| vec![fault])?;
    Ok(Target { proxy, ..target.clone() })
}

fn of_environment(url: &Uri, environment: &Environment) -> Result<Option<Proxy>, Fault> {
    // It was read as such a URL before.
    let Ok(url) = Url::parse(&url.to_string()) else { return Ok(None) };
    egress::of_environment(&url, environment)
}

/// The port that collectors take gRPC on.
const GRPC_PORT: u16 = 4317;

/// An endpoint that most likely speaks another protocol.
pub(super) fn doubts(exporters: &[Exporter]) -> Option<String> {
    let over_http = exporters.iter().filter(|it| it.protocol == report::Protocol::Http);
    let mut urls = over_http.flat_map(|it| [&it.traces, &it.metrics, &it.logs]).flatten();
    urls.any(|url| url.port_u16() == Some(GRPC_PORT)).then(|| {
        "telemetry goes over HTTP to port 4317, where collectors take gRPC: say protocol = \"grpc\" \
         (OTEL_EXPORTER_OTLP_PROTOCOL=grpc), or port 4318"
            .to_owned()
    })
}

/// What is said twice, or switched off elsewhere.
pub(super) fn warnings(exports: &[Export], otel: &Otel) -> Vec<String> {
    let twice = !exports.is_empty() && otel.says_otlp;
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
        faults.push(refused.at(place("endpoint"), &export.endpoint));
        Vec::new()
    });
    let (headers, unsendable) = headers(export, environment);
    faults.extend(unsendable.into_iter().map(|why| Fault::at(place("headers"), why)));
    let tls = tls(export).unwrap_or_else(|(key, why)| {
        faults.push(Fault::at(place(key), why));
        Tls::default()
    });
    // Each signal's URL has the same host.
    let proxy = match (&export.proxy, urls.first()) {
        (Some(source), _) => egress::written(source, place("proxy"), environment),
        (None, Some((_, url))) => of_environment(url, environment),
        (None, None) => Ok(None),
    };
    let proxy = proxy.unwrap_or_else(|fault| {
        faults.push(fault);
        None
    });
    if !faults.is_empty() {
        return Err(faults);
    }
    let target = |(signal, url)| {
        let target = Target {
            protocol: protocol(export.protocol),
            url,
            headers: headers.clone(),
            gzip: export.compression == Compression::Gzip,
            timeout: export.timeout_seconds.0,
            temporality: temporality(export.temporality),
            histograms: histograms(export.histograms),
            tls: tls.clone(),
            proxy: proxy.clone(),
        };
        (signal, target)
    };
    Ok(urls.into_iter().map(target).collect())
}

fn urls(export: &Export) -> Result<Vec<(Signal, Uri)>, Refused> {
    let base = Url::parse(&export.endpoint)?;
    let url = |signal: Signal| match export.protocol {
        Protocol::Http => base.join(signal.path()),
        Protocol::Grpc => base.method(signal.method()),
    };
    export.signals.iter().map(|&signal| Ok((signal, url(signal)?))).collect()
}

/// The trust, or the key that is wrong and why.
fn tls(export: &Export) -> Result<Tls, (&'static str, String)> {
    let files = [("ca", &export.ca), ("cert", &export.cert), ("key", &export.key)];
    let said = files.iter().find(|(_, path)| path.is_some());
    match said {
        Some((key, _)) if !export.endpoint.to_ascii_lowercase().starts_with("https:") => {
            Err((key, "it is of no use: the endpoint does not begin with https://".to_owned()))
        }
        _ => pem::tls(files.map(|(_, path)| path.as_deref()))
            .map_err(|(at, why)| (files.get(at).map_or("endpoint", |(key, _)| key), why)),
    }
}

fn protocol(written: Protocol) -> report::Protocol {
    match written {
        Protocol::Http => report::Protocol::Http,
        Protocol::Grpc => report::Protocol::Grpc,
    }
}

fn temporality(written: Temporality) -> report::Temporality {
    match written {
        Temporality::Cumulative => report::Temporality::Cumulative,
        Temporality::Delta => report::Temporality::Delta,
        Temporality::Lowmemory => report::Temporality::LowMemory,
    }
}

fn histograms(written: Histograms) -> report::Histograms {
    match written {
        Histograms::Explicit => report::Histograms::Explicit,
        Histograms::Exponential => report::Histograms::Exponential,
    }
}

/// The headers, and what is wrong with those that cannot be sent.
fn headers(export: &Export, environment: &Environment) -> (Vec<(HeaderName, Secret)>, Vec<String>) {
    let (mut headers, mut faults) = (Vec::new(), Vec::new());
    for (name, source) in &export.headers {
        match header(name, source, environment) {
            Ok(header) => headers.push(header),
            Err(why) => faults.push(format!("the header `{name}` cannot be sent: {why}")),
        }
    }
    (headers, faults)
}

fn header(
    name: &str,
    source: &SecretSource,
    environment: &Environment,
) -> Result<(HeaderName, Secret), String> {
    let value = source.read(environment)?;
    otlp::header(name, &value).ok_or_else(|| "HTTP does not allow its name or its value".to_owned())
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
    let Target { protocol, url, headers, gzip, timeout, temporality, histograms, tls, proxy } =
        target;
    let mut exporter = Exporter {
        protocol,
        traces: None,
        metrics: None,
        logs: None,
        headers,
        gzip,
        timeout,
        temporality,
        histograms,
        tls,
        proxy,
    };
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
        && (&exporter.headers, &exporter.tls) == (&target.headers, &target.tls)
        && (&exporter.proxy, exporter.histograms) == (&target.proxy, target.histograms)
        && (exporter.protocol, exporter.temporality) == (target.protocol, target.temporality)
        && (exporter.gzip, exporter.timeout) == (target.gzip, target.timeout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::File;

    fn resolved(file: &str, variables: &[(&str, &str)]) -> Result<Vec<Exporter>, Vec<Fault>> {
        let environment = Environment::of(variables.iter().copied());
        let otel = super::super::otel::read(&environment, &mut Vec::new()).unwrap();
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
    fn grpc_and_files_of_certificates_are_said_for_each_entry() {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        let made = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
        std::fs::write(&ca, made.cert.pem()).unwrap();
        let file = format!(
            "[[telemetry.export]]
            endpoint = 'https://c:4317'
            protocol = 'grpc'
            temporality = 'lowmemory'
            histograms = 'exponential'
            signals = ['logs']
            ca = {ca:?}"
        );
        let [exporter] = &resolved(&file, &[]).unwrap()[..] else { panic!("one exporter") };
        assert_eq!(
            urls(exporter),
            ["https://c:4317/opentelemetry.proto.collector.logs.v1.LogsService/Export"]
        );
        assert_eq!(exporter.destinations(), ["https://c:4317 (gRPC: logs)"]);
        assert_eq!(exporter.protocol, report::Protocol::Grpc);
        assert_eq!(exporter.temporality, report::Temporality::LowMemory);
        assert_eq!(exporter.histograms, report::Histograms::Exponential);
        assert_eq!(format!("{:?}", exporter.tls), "Tls(1 roots)");
    }

    #[test]
    fn what_would_be_of_no_use_is_a_fault_of_its_key() {
        let told = |keys: &str| -> String {
            let faults = resolved(&format!("[[telemetry.export]]\n{keys}"), &[]).unwrap_err();
            faults.into_iter().map(|it| format!("{} {}", it.places.concat(), it.message)).collect()
        };
        assert_eq!(
            told("endpoint = 'http://c'\nca = '/ca.pem'"),
            "telemetry.export.0.ca it is of no use: the endpoint does not begin with https://"
        );
        assert_eq!(
            told("endpoint = 'https://c'\ncert = '/c.pem'"),
            "telemetry.export.0.key a client certificate needs its key"
        );
        assert_eq!(
            told("endpoint = 'http://c:4317/v1'\nprotocol = 'grpc'"),
            "telemetry.export.0.endpoint a gRPC endpoint has no path: write http://HOST:PORT or https://HOST:PORT"
        );
    }

    #[test]
    fn http_to_the_port_of_grpc_is_doubted() {
        let doubted = |keys: &str| {
            let exporters = resolved(&format!("[[telemetry.export]]\n{keys}"), &[]).unwrap();
            doubts(&exporters).is_some()
        };
        assert!(doubted("endpoint = 'http://c:4317'"));
        assert!(!doubted("endpoint = 'http://c:4317'\nprotocol = 'grpc'"));
        assert!(!doubted("endpoint = 'http://c:4318'"));
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
            let otel = super::super::otel::read(&environment, &mut Vec::new()).unwrap();
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
        let other = [("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta")];
        assert_eq!(told(file, &other), told(file, &endpoint));
        assert_eq!(told("", &endpoint), [""; 0]);
        assert_eq!(told(file, &[]), [""; 0]);
        assert_eq!(
            told("", &[("OTEL_SDK_DISABLED", "true")]),
            ["OTEL_SDK_DISABLED is true: no telemetry is sent"]
        );
    }

    #[test]
    fn an_egress_proxy_is_the_exports_own_or_the_environments() {
        let proxies = |file: &str, variables: &[(&str, &str)]| {
            let all = [variables, &[("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", "near")]].concat();
            let exporters = resolved(file, &all).map_err(|faults| faults[0].places.join(" "))?;
            let of = |it: &Exporter| it.proxy.as_ref().map_or("none".into(), ToString::to_string);
            Ok::<Vec<String>, String>(exporters.iter().map(of).collect())
        };
        let entry =
            |url: &str, keys: &str| format!("[[telemetry.export]]\nendpoint = '{url}'\n{keys}\n");
        let several = [
            entry("https://a", ""),
            entry("https://near", ""),
            entry("http://a", ""),
            entry("https://a", "proxy = 'none'"),
            entry("https://near", "proxy = { env = 'OWN' }"),
        ];
        assert_eq!(
            proxies(&several.concat(), &[("OWN", "socks5://me:hunter2@s:2")]).unwrap(),
            ["http://p:1", "none", "none", "none", "socks5://***@s:2"]
        );
        let otel = |url| [("OTEL_EXPORTER_OTLP_ENDPOINT", url)];
        assert_eq!(proxies("", &otel("https://a")).unwrap(), ["http://p:1"]);
        assert_eq!(proxies("", &otel("https://near:4318")).unwrap(), ["none"]);
        let wrong = entry("https://a", "proxy = 'http://me:hunter2@p'");
        assert_eq!(proxies(&wrong, &[]).unwrap_err(), "telemetry.export.0.proxy");
        let both = [otel("https://a")[0], ("https_proxy", "ftp://p")];
        assert_eq!(proxies("", &both).unwrap_err(), "https_proxy");
        // Where nothing is sent it is nobody's business.
        let none = [both[0], both[1], ("OTEL_SDK_DISABLED", "true")];
        assert_eq!(proxies("", &none).unwrap(), [""; 0]);
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
