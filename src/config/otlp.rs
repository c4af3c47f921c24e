//! `OTEL_EXPORTER_OTLP_*`: where each signal goes, and how. Knows no `proxy.toml`.
//! <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>

use std::path::Path;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};

use super::Error;
use super::file::{Export, Signal};
use super::pem;
use super::url::Url;
use super::variables::{Reader, entries, pair};
use crate::report::settings::{Histograms, Protocol, Proxy, Secret, Temporality, Tls};

/// An OTLP destination of one signal.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// How it is spoken to.
    pub(super) protocol: Protocol,
    /// Full URL.
    pub(super) url: Uri,
    /// Sent with each export.
    pub(super) headers: Vec<(HeaderName, Secret)>,
    /// Bodies are gzipped.
    pub(super) gzip: bool,
    /// The longest that one export may take.
    pub(super) timeout: Duration,
    /// From when sums count.
    pub(super) temporality: Temporality,
    /// What histograms are made of.
    pub(super) histograms: Histograms,
    /// Trust where the URL is https.
    pub(super) tls: Tls,
    /// The egress proxy before it, as far as is known: `OTEL_*` say none.
    pub(super) proxy: Option<Proxy>,
}

/// What can be said of each signal, or of all.
pub(super) const KEYS: [&str; 9] = [
    "ENDPOINT",
    "PROTOCOL",
    "HEADERS",
    "TIMEOUT",
    "COMPRESSION",
    "INSECURE",
    "CERTIFICATE",
    "CLIENT_CERTIFICATE",
    "CLIENT_KEY",
];
pub(super) const TEMPORALITY: &str = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";
pub(super) const AGGREGATION: &str = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION";
/// As the file and the variables write them.
pub(super) const TEMPORALITIES: [(&str, Temporality); 3] = [
    ("cumulative", Temporality::Cumulative),
    ("delta", Temporality::Delta),
    ("lowmemory", Temporality::LowMemory),
];
const AGGREGATIONS: [(&str, Histograms); 2] = [
    ("explicit_bucket_histogram", Histograms::Explicit),
    ("base2_exponential_bucket_histogram", Histograms::Exponential),
];

/// The destination of `signal`, if anything says so; `chosen`: its exporter was named.
pub(super) fn target(
    reader: &mut Reader<'_>,
    signal: Signal,
    chosen: bool,
) -> Result<Option<Target>, Error> {
    let mut of = Of { reader, signal };
    if !chosen && of.said("ENDPOINT").is_none() {
        return Ok(None);
    }
    let protocol = of.protocol()?;
    let url = of.url(protocol)?;
    Ok(Some(Target {
        protocol,
        headers: of.headers(),
        gzip: of.is_gzip(),
        timeout: of.timeout(),
        temporality: of.reader.word(TEMPORALITY, &TEMPORALITIES).unwrap_or(Temporality::Cumulative),
        histograms: of.reader.word(AGGREGATION, &AGGREGATIONS).unwrap_or(Histograms::Explicit),
        tls: if url.scheme_str() == Some("https") { of.tls()? } else { Tls::default() },
        proxy: None,
        url,
    }))
}

/// What the variables say of one signal.
struct Of<'r, 'a> {
    reader: &'r mut Reader<'a>,
    signal: Signal,
}

impl<'a> Of<'_, 'a> {
    /// The name and value of the signal's own variable, else of the one for all signals.
    fn said(&self, key: &str) -> Option<(String, &'a str)> {
        let names = [self.own(key), format!("OTEL_EXPORTER_OTLP_{key}")];
        names.into_iter().find_map(|name| self.reader.text(&name).map(|text| (name, text)))
    }

    fn own(&self, key: &str) -> String {
        format!("OTEL_EXPORTER_OTLP_{}_{key}", self.signal.as_str().to_uppercase())
    }

    fn protocol(&mut self) -> Result<Protocol, Error> {
        let Some((name, text)) = self.said("PROTOCOL") else { return Ok(Protocol::Http) };
        match text.to_ascii_lowercase().as_str() {
            "http/protobuf" => Ok(Protocol::Http),
            "grpc" => Ok(Protocol::Grpc),
            "http/json" => Err(Error(format!(
                "{name}={text}: JSON is not spoken. Set {name}=http/protobuf or {name}=grpc: whatever \
                 takes OTLP takes one of them"
            ))),
            _ => {
                self.reader.ignored(
                    &name,
                    "it is neither http/protobuf nor grpc; http/protobuf is spoken",
                );
                Ok(Protocol::Http)
            }
        }
    }

    fn url(&mut self, protocol: Protocol) -> Result<Uri, Error> {
        let default = match protocol {
            Protocol::Http => "http://localhost:4318",
            Protocol::Grpc => "http://localhost:4317",
        };
        let said = self.said("ENDPOINT");
        let (name, text) = said.unwrap_or(("the default".to_owned(), default));
        let url = match protocol {
            Protocol::Grpc => {
                let scheme = if self.is_insecure() { "http" } else { "https" };
                let bare = !text.contains("://");
                let text = if bare { format!("{scheme}://{text}") } else { text.to_owned() };
                Url::parse(&text).and_then(|url| url.method(self.signal.method()))
            }
            // A signal's own endpoint is used as it is; to the common one the signal's path is added.
            Protocol::Http if name == self.own("ENDPOINT") => Url::exact(text),
            Protocol::Http => Url::parse(text).and_then(|url| url.join(self.signal.path())),
        };
        url.map_err(|refused| Error(format!("{name}: {refused}")))
    }

    /// Whether an endpoint without a scheme is one without TLS; only for gRPC.
    fn is_insecure(&mut self) -> bool {
        let name = self.said("INSECURE").map(|(name, _)| name);
        name.is_some_and(|name| self.reader.is_true(&name))
    }

    fn timeout(&mut self) -> Duration {
        let said = self.said("TIMEOUT").and_then(|(name, _)| self.reader.millis(&name));
        said.unwrap_or(Export::timeout().0)
    }

    fn is_gzip(&mut self) -> bool {
        let name = self.said("COMPRESSION").map(|(name, _)| name);
        let word = name.and_then(|it| self.reader.word(&it, &[("gzip", true), ("none", false)]));
        word.unwrap_or_default()
    }

    /// Never names a value: it may be a secret.
    fn headers(&mut self) -> Vec<(HeaderName, Secret)> {
        let Some((name, text)) = self.said("HEADERS") else { return Vec::new() };
        let mut headers = Vec::new();
        for (number, entry) in (1..).zip(entries(text)) {
            match pair(entry).and_then(|(name, value)| header(&name, &value)) {
                Some(header) => headers.push(header),
                None => self.reader.warnings.push(format!(
                    "{name}: entry {number} is left out, it is no header name=value with a percent-encoded value"
                )),
            }
        }
        headers
    }

    fn tls(&self) -> Result<Tls, Error> {
        let [ca, certificate, key] =
            ["CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"].map(|key| self.said(key));
        let paths =
            [&ca, &certificate, &key].map(|it| it.as_ref().map(|(_, path)| Path::new(*path)));
        pem::tls(paths).map_err(|(at, why)| {
            let name = |said: Option<(String, _)>| said.map(|(name, _)| name);
            let names = [name(ca), name(certificate), name(key)];
            let own = ["CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"].map(|key| self.own(key));
            let named = names.into_iter().zip(own).map(|(said, own)| said.unwrap_or(own)).nth(at);
            Error(format!("{}: {why}", named.unwrap_or_default()))
        })
    }
}

/// A header that is sent, its value marked so that nothing prints it.
pub(super) fn header(name: &str, value: &str) -> Option<(HeaderName, Secret)> {
    let name: HeaderName = name.parse().ok()?;
    let mut value: HeaderValue = value.parse().ok()?;
    value.set_sensitive(true);
    Some((name, Secret(value)))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::super::environment::Environment;
    use super::super::otel::{Otel, read};
    use super::*;

    fn told(variables: &[(&str, &str)]) -> (Otel, Vec<String>) {
        let mut warnings = Vec::new();
        let otel = read(&Environment::of(variables.iter().copied()), &mut warnings).unwrap();
        (otel, warnings)
    }

    fn quiet(variables: &[(&str, &str)]) -> Vec<Target> {
        let (otel, warnings) = told(variables);
        assert_eq!(warnings, [""; 0]);
        otel.targets.into_iter().map(|(_, target)| target).collect()
    }

    /// The warnings for a variable beside an endpoint.
    fn warned(name: &str, value: &str) -> Vec<String> {
        told(&[ENDPOINT, (name, value)]).1
    }

    fn refused(variables: &[(&str, &str)]) -> String {
        read(&Environment::of(variables.iter().copied()), &mut Vec::new()).unwrap_err().to_string()
    }

    fn urls(variables: &[(&str, &str)]) -> Vec<String> {
        quiet(variables).iter().map(|it| it.url.to_string()).collect()
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
    const GRPC: (&str, &str) = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");

    #[test]
    fn endpoint_gets_each_signals_path() {
        assert_eq!(
            urls(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/base/")]),
            [
                "http://c:4318/base/v1/traces",
                "http://c:4318/base/v1/metrics",
                "http://c:4318/base/v1/logs"
            ]
        );
    }

    #[test]
    fn a_signals_own_endpoint_is_used_as_it_is() {
        for signal in ["TRACES", "METRICS", "LOGS"] {
            let name = format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT");
            assert_eq!(urls(&[(&name, "https://t/api/")]), ["https://t/api/"], "{name}");
            assert_eq!(urls(&[(&name, "https://t")]), ["https://t/"], "{name}");
        }
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
    fn protocol_grpc_makes_an_endpoint_three_methods() {
        assert_eq!(
            urls(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317/"), GRPC]),
            [
                "http://c:4317/opentelemetry.proto.collector.trace.v1.TraceService/Export",
                "http://c:4317/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
                "http://c:4317/opentelemetry.proto.collector.logs.v1.LogsService/Export"
            ]
        );
        let own = ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "https://l");
        assert_eq!(
            urls(&[own, GRPC]),
            ["https://l/opentelemetry.proto.collector.logs.v1.LogsService/Export"]
        );
        let chosen = urls(&[("OTEL_TRACES_EXPORTER", "otlp"), GRPC]);
        assert!(chosen[0].starts_with("http://localhost:4317/"), "{chosen:?}");
        assert_eq!(
            refused(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317/v1"), GRPC]),
            "OTEL_EXPORTER_OTLP_ENDPOINT: a gRPC endpoint has no path: write http://HOST:PORT or https://HOST:PORT"
        );
        assert!(quiet(&[GRPC]).is_empty());
    }

    #[test]
    fn protocol_can_differ_by_signal() {
        let targets = quiet(&[
            ENDPOINT,
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "HTTP/protobuf"),
            ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "gRPC"),
        ]);
        let protocols: Vec<_> = targets.iter().map(|it| it.protocol).collect();
        assert_eq!(protocols, [Protocol::Http, Protocol::Http, Protocol::Grpc]);
    }

    #[test]
    fn protocol_json_is_refused_where_it_matters() {
        let own = ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/json");
        assert_eq!(
            refused(&[ENDPOINT, own]),
            "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL=http/json: JSON is not spoken. Set \
             OTEL_EXPORTER_OTLP_LOGS_PROTOCOL=http/protobuf or OTEL_EXPORTER_OTLP_LOGS_PROTOCOL=grpc: \
             whatever takes OTLP takes one of them"
        );
        quiet(&[ENDPOINT, own, ("OTEL_LOGS_EXPORTER", "none")]);
        assert_eq!(
            warned("OTEL_EXPORTER_OTLP_PROTOCOL", "carrier-pigeon"),
            [
                "OTEL_EXPORTER_OTLP_PROTOCOL is ignored: it is neither http/protobuf nor grpc; http/protobuf is spoken"
            ]
        );
    }

    #[test]
    fn insecure_is_for_a_grpc_endpoint_without_a_scheme() {
        let of = |endpoint, insecure| {
            let variables = [
                ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint),
                ("OTEL_EXPORTER_OTLP_INSECURE", insecure),
                GRPC,
            ];
            quiet(&variables)[0].url.scheme_str().map(str::to_owned)
        };
        assert_eq!(of("c:4317", ""), Some("https".into()));
        assert_eq!(of("c:4317", "true"), Some("http".into()));
        assert_eq!(of("c:4317", "False"), Some("https".into()));
        assert_eq!(of("https://c:4317", "true"), Some("https".into()));
        let own = [
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "c:1"),
            ("OTEL_EXPORTER_OTLP_TRACES_INSECURE", "true"),
            ("OTEL_EXPORTER_OTLP_INSECURE", "false"),
            GRPC,
        ];
        assert_eq!(quiet(&own)[0].url.scheme_str(), Some("http"));
    }

    #[test]
    fn headers_are_percent_decoded_and_never_printed() {
        let targets = quiet(&[
            ENDPOINT,
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=1, B = x%20y%3D%2C=, "),
            ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "c=3"),
        ]);
        let headers = |at: usize| -> Vec<_> {
            let headers = targets[at].headers.iter();
            headers.map(|(name, value)| format!("{name}: {}", value.0.to_str().unwrap())).collect()
        };
        assert_eq!(headers(0), ["a: 1", "b: x y=,="]);
        assert_eq!(headers(2), ["c: 3"]);
        assert!(!format!("{targets:?}").contains("x y"));
        let name = "OTEL_EXPORTER_OTLP_HEADERS";
        let left_out = |number| {
            format!(
                "{name}: entry {number} is left out, it is no header name=value with a percent-encoded value"
            )
        };
        assert_eq!(
            warned(name, "good=1,hunter2,bad name=1,worse=%zz,a=%0A"),
            [2, 3, 4, 5].map(left_out)
        );
    }

    #[test]
    fn timeout_is_in_milliseconds_and_ten_seconds_without_a_word() {
        let targets = quiet(&[
            ENDPOINT,
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "500"),
            ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "2000"),
        ]);
        let times: Vec<_> = targets.iter().map(|it| it.timeout.as_millis()).collect();
        assert_eq!(times, [500, 2000, 500]);
        let warning = "OTEL_EXPORTER_OTLP_TIMEOUT is ignored: it is no whole number above 0";
        assert_eq!(warned("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"), [warning]);
        assert_eq!(quiet(&[ENDPOINT])[0].timeout, Duration::from_secs(10));
    }

    #[test]
    fn compression_is_gzip_or_none() {
        let targets = quiet(&[
            ENDPOINT,
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "GZIP"),
            ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "none"),
        ]);
        assert_eq!([0, 1, 2].map(|at| targets[at].gzip), [false, true, true]);
        let warning = "OTEL_EXPORTER_OTLP_COMPRESSION is ignored: it is none of gzip, none";
        assert_eq!(warned("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"), [warning]);
    }

    #[test]
    fn metrics_temporality_preference_is_one_of_three() {
        let of = |text| quiet(&[ENDPOINT, (TEMPORALITY, text)])[1].temporality;
        assert_eq!(of("Cumulative"), Temporality::Cumulative);
        assert_eq!(of("delta"), Temporality::Delta);
        assert_eq!(of("LowMemory"), Temporality::LowMemory);
        assert_eq!(quiet(&[ENDPOINT])[1].temporality, Temporality::Cumulative);
        let warning =
            format!("{TEMPORALITY} is ignored: it is none of cumulative, delta, lowmemory");
        assert_eq!(warned(TEMPORALITY, "both"), [warning]);
    }

    #[test]
    fn metrics_default_histogram_aggregation_is_explicit_or_exponential() {
        let of = |text| quiet(&[ENDPOINT, (AGGREGATION, text)])[1].histograms;
        assert_eq!(of("explicit_bucket_histogram"), Histograms::Explicit);
        assert_eq!(of("Base2_exponential_bucket_histogram"), Histograms::Exponential);
        assert_eq!(quiet(&[ENDPOINT])[1].histograms, Histograms::Explicit);
        let words = "it is none of explicit_bucket_histogram, base2_exponential_bucket_histogram";
        let warning = format!("{AGGREGATION} is ignored: {words}");
        assert_eq!(warned(AGGREGATION, "exponential"), [warning]);
    }

    /// A folder with `cert.pem` and `key.pem`.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["a".to_owned()]).unwrap();
        std::fs::write(folder.path().join("cert.pem"), cert.pem()).unwrap();
        std::fs::write(folder.path().join("key.pem"), signing_key.serialize_pem()).unwrap();
        folder
    }

    #[test]
    fn certificate_is_what_alone_is_trusted() {
        let folder = folder();
        let certificate = folder.path().join("cert.pem").display().to_string();
        let name = "OTEL_EXPORTER_OTLP_CERTIFICATE";
        let https = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c");
        let targets = quiet(&[https, (name, &certificate)]);
        assert_eq!(format!("{:?}", targets[0].tls), "Tls(1 roots)");
        assert_eq!(
            refused(&[https, (name, "/nowhere/ca.pem")]),
            "OTEL_EXPORTER_OTLP_CERTIFICATE: /nowhere/ca.pem: No such file or directory (os error 2)"
        );
        let own = "OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE";
        assert!(refused(&[https, (name, &certificate), (own, "/nowhere")]).starts_with(own));
        quiet(&[ENDPOINT, (name, "/nowhere/ca.pem")]);
    }

    #[test]
    fn client_certificate_and_client_key_come_together() {
        let folder = folder();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let (certificate, key) = (path("cert.pem"), path("key.pem"));
        let https = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://c");
        let said = ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", certificate.as_str());
        let own = ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", key.as_str());
        let shown = "Tls(the system's roots, a certificate of our own)";
        assert_eq!(format!("{:?}", quiet(&[https, said, own])[0].tls), shown);
        assert_eq!(
            refused(&[https, said]),
            "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY: a client certificate needs its key"
        );
        assert_eq!(
            refused(&[https, own]),
            "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE: a client key needs its certificate"
        );
    }
}
