//! The shape of `proxy.toml`, key for key, with its defaults. Knows no rule that reaches across keys.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::limits::Limits;
use super::proxy::ProxySource;
use super::quantity::{Address, Mode, Seconds};
use super::secret::SecretSource;
use crate::observe::price::Override;

/// All of `proxy.toml`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct File {
    /// `[server]`.
    pub server: Server,
    /// `[[upstream]]`; where the file has one, the shipped ones are not there.
    pub upstream: Vec<Upstream>,
    /// `[telemetry]`.
    pub telemetry: Telemetry,
    /// `[pricing]`.
    #[serde(skip_serializing)]
    pub pricing: Pricing,
    /// `[limits]`.
    pub limits: Limits,
}

impl Default for File {
    fn default() -> Self {
        Self {
            server: Server::default(),
            upstream: shipped_upstreams(),
            telemetry: Telemetry::default(),
            pricing: Pricing::default(),
            limits: Limits::default(),
        }
    }
}

/// Where we listen.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// For apps.
    pub listen: Address,
    /// For `/healthz`, `/readyz`, `/metrics`.
    pub admin: Address,
    /// Name of the upstream that answers `GET /` and `HEAD /`; empty: none does.
    pub root: String,
    /// Permissions of sockets in the file system that we listen on.
    pub socket_mode: Mode,
    /// TLS of `listen`; absent: plain HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

impl Default for Server {
    fn default() -> Self {
        let local = |port| Address(SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into());
        Self {
            listen: local(4319),
            admin: local(4320),
            root: "ollama".into(),
            socket_mode: Mode(0o660),
            tls: None,
        }
    }
}

/// What TLS of a listener is made of: paths of PEM files.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate, and behind it those that lead to its root.
    pub cert: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// Who signs the certificate that each client must show; absent: clients need none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PathBuf>,
}

/// One place where requests can go.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// What we call it.
    pub name: String,
    /// Scheme, host, port and, if any, base path.
    pub url: String,
    /// Who answers; absent: its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Whose format it speaks; absent: the provider's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dialect: Option<Dialect>,
    /// Path prefixes that are sent here unchanged.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Taken off the front of a path; absent: `/` and its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mount: Option<String>,
    /// Whether to ask for a stream's usage in the client's stead; absent: as the provider is known
    /// to take it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_usage: Option<StreamUsage>,
    /// Replace the app's `traceparent` with ours.
    #[serde(default)]
    pub propagate: bool,
    /// What it speaks.
    #[serde(default)]
    pub http: Http,
    /// A listener of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<Address>,
    /// TLS of that listener; absent: plain HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Whom we trust to sign its certificate, in place of those whom the system trusts (PEM).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Our certificate for an upstream that asks for one, and those between it and its authority (PEM).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    /// The key of `cert` (PEM, not encrypted).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// The name that its certificate bears, where that is not the URL's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// The egress proxy before it; absent: the one that the environment names, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ProxySource>,
}

fn shipped_upstreams() -> Vec<Upstream> {
    let shipped = |name: &str, url: &str, paths: &[&str]| Upstream {
        name: name.into(),
        url: url.into(),
        provider: Some(name.into()),
        dialect: None,
        paths: paths.iter().map(ToString::to_string).collect(),
        mount: Some(format!("/{name}")),
        stream_usage: None,
        propagate: false,
        http: Http::default(),
        listen: None,
        tls: None,
        ca: None,
        cert: None,
        key: None,
        server_name: None,
        proxy: None,
    };
    vec![
        shipped("openai", "https://api.openai.com", &["/v1/"]),
        shipped(
            "anthropic",
            "https://api.anthropic.com",
            &["/v1/messages", "/v1/complete", "/v1/organizations/"],
        ),
        // What google-genai asks under /v1/ from 3.0 on bears Gemini's marker; these two it alone has.
        shipped(
            "gemini",
            "https://generativelanguage.googleapis.com",
            &["/v1beta/", "/v1/interactions", "/v1/cachedContents"],
        ),
        shipped("ollama", "http://127.0.0.1:11434", &["/api/"]),
    ]
}

/// What is spoken with an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum Http {
    /// HTTP/1.1: one exchange at a time on a connection.
    #[default]
    #[serde(rename = "1")]
    One,
    /// HTTP/2: many.
    #[serde(rename = "2")]
    Two,
}

/// Whose wire format an upstream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// OpenAI's, and everything compatible.
    Openai,
    /// Ollama's own and its compatible routes.
    Ollama,
    /// Anthropic's.
    Anthropic,
    /// Google's, of the Gemini API and of Vertex AI.
    Gemini,
    /// Cohere's own and its compatible routes.
    Cohere,
    /// None that we read: status, times and bytes only.
    Unknown,
}

impl Dialect {
    /// As `proxy.toml` writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::Ollama => "ollama",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Cohere => "cohere",
            Self::Unknown => "unknown",
        }
    }
}

/// What is done about streams whose usage the client did not ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StreamUsage {
    /// Ask in its stead, and take out of the answer what that caused.
    Ask,
    /// Nothing: requests and answers stay as they are.
    Observe,
}

/// What is told of exchanges, and to whom.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// `service.name`.
    pub service_name: String,
    /// Record the histogram `gen_ai.usage.cost`.
    pub cost_histogram: bool,
    /// A span for each phase of an exchange too.
    pub phase_spans: bool,
    /// Report ids that clients make: of the conversation, and `Idempotency-Key`.
    pub client_ids: bool,
    /// Report estimated tokens where reported ones stand too.
    pub estimates_as_usage: bool,
    /// One line for each exchange on standard output.
    pub lines: Lines,
    /// Report usage objects as they came, too.
    pub raw_usage: bool,
    /// OTLP destinations; none: the one that `OTEL_*` names, if any.
    pub export: Vec<Export>,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            service_name: "clearspan".into(),
            cost_histogram: true,
            phase_spans: false,
            client_ids: true,
            estimates_as_usage: false,
            lines: Lines::Auto,
            raw_usage: false,
            export: Vec::new(),
        }
    }
}

/// How an exchange is told on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Lines {
    /// For a person on a terminal, else JSON.
    Auto,
    /// One JSON object a line.
    Json,
    /// Nothing.
    Off,
}

/// One OTLP destination.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Export {
    /// Base URL; `/v1/traces`, `/v1/metrics`, `/v1/logs` are put behind it, over gRPC nothing.
    pub endpoint: String,
    /// How it is spoken to.
    #[serde(default)]
    pub protocol: Protocol,
    /// Sent with each export.
    #[serde(default)]
    pub headers: BTreeMap<String, SecretSource>,
    /// How bodies are compressed.
    #[serde(default)]
    pub compression: Compression,
    /// What is sent there.
    #[serde(default = "Signal::all")]
    pub signals: Vec<Signal>,
    /// The longest that one export may take.
    #[serde(default = "Export::timeout")]
    pub timeout_seconds: Seconds,
    /// From when sums count.
    #[serde(default)]
    pub temporality: Temporality,
    /// What its histograms are made of.
    #[serde(default)]
    pub histograms: Histograms,
    /// Certificates (PEM) that alone are trusted; absent: the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Our certificate (PEM), for an endpoint that asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    /// Its key (PEM).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// The egress proxy before it; absent: what the environment says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ProxySource>,
}

/// What carries OTLP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum Protocol {
    /// Over HTTP, as protobuf.
    #[default]
    #[serde(rename = "http/protobuf")]
    Http,
    /// Over gRPC.
    #[serde(rename = "grpc")]
    Grpc,
}

/// From when sums count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Temporality {
    /// From the start of the process.
    #[default]
    Cumulative,
    /// From the export before.
    Delta,
    /// As delta where that saves memory.
    Lowmemory,
}

/// What histograms are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Histograms {
    /// Buckets with bounds that are written down.
    #[default]
    Explicit,
    /// Buckets of base 2, as fine as the values allow.
    Exponential,
}

impl Export {
    /// The specification's default of `OTEL_EXPORTER_OTLP_TIMEOUT`.
    pub(super) fn timeout() -> Seconds {
        Seconds::whole(10)
    }
}

/// How bodies of exports are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// With gzip.
    Gzip,
    /// Not at all.
    #[default]
    None,
}

/// What OpenTelemetry sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    /// Spans.
    Traces,
    /// Metrics.
    Metrics,
    /// Log records.
    Logs,
}

impl Signal {
    /// Every signal.
    pub fn all() -> Vec<Self> {
        vec![Self::Traces, Self::Metrics, Self::Logs]
    }

    /// Where OTLP over HTTP takes it.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
            Self::Logs => "/v1/logs",
        }
    }

    /// The method that takes it over gRPC.
    pub(super) fn method(self) -> &'static str {
        match self {
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Self::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        }
    }

    /// As `proxy.toml` writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }
}

/// Prices of the operator's own.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pricing {
    /// Price files; a relative path begins in this file's folder.
    #[serde(skip_serializing)]
    pub files: Vec<PathBuf>,
    /// `[[pricing.model]]`.
    #[serde(skip_serializing)]
    pub model: Vec<Override>,
}
