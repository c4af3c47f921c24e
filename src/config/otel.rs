//! The standard `OTEL_*` variables, as the OpenTelemetry specification says; what is not honoured is a
//! warning that names it. Knows no `proxy.toml`.
//! <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>

use std::time::Duration;

use tracing::level_filters::LevelFilter;

use super::Error;
use super::conventions;
use super::environment::Environment;
use super::file::Signal;
use super::otlp::{self, Target};
use super::variables::{Reader, entries, pair};
use crate::report::settings::{AttributeLimits, Batching, LONGEST_VALUE, Root, Sampler};

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
    /// Any of `OTEL_EXPORTER_OTLP_*` is set.
    pub(super) says_otlp: bool,
    /// Where each signal goes, if anything says so.
    pub(super) targets: Vec<(Signal, Target)>,
    /// `OTEL_BSP_*`.
    pub(super) spans: Batching,
    /// `OTEL_BLRP_*`.
    pub(super) logs: Batching,
    /// `OTEL_METRIC_EXPORT_INTERVAL`.
    pub(super) metric_interval: Option<Duration>,
    /// `OTEL_METRIC_EXPORT_TIMEOUT`.
    pub(super) metric_timeout: Option<Duration>,
    /// `OTEL_TRACES_SAMPLER`.
    pub(super) sampler: Sampler,
    /// `OTEL_SPAN_ATTRIBUTE_*`, `OTEL_ATTRIBUTE_*`.
    pub(super) span_attributes: AttributeLimits,
    /// `OTEL_LOGRECORD_ATTRIBUTE_*`, `OTEL_ATTRIBUTE_*`.
    pub(super) log_attributes: AttributeLimits,
    /// `OTEL_LOG_LEVEL`.
    pub(super) log_level: Option<LevelFilter>,
}

/// Exporters that the specification or its SDKs know and this program does not have, and what there
/// is in their place.
const OTHER_EXPORTERS: [(&str, &str); 6] = [
    ("console", LINES),
    ("logging", LINES),
    ("otlp/stdout", LINES),
    ("prometheus", "metrics can be scraped from the admin listener's /metrics in any case"),
    ("zipkin", "only otlp and none"),
    ("jaeger", "only otlp and none"),
];
const LINES: &str = "each exchange is a line on standard output (telemetry.lines)";
const CONFIG_FILES: [&str; 2] = ["OTEL_CONFIG_FILE", "OTEL_EXPERIMENTAL_CONFIG_FILE"];
/// Variables that are read, beside those of OTLP.
const READ: [&str; 31] = [
    "OTEL_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_BLRP_EXPORT_TIMEOUT",
    "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BLRP_MAX_QUEUE_SIZE",
    "OTEL_BLRP_SCHEDULE_DELAY",
    "OTEL_BSP_EXPORT_TIMEOUT",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_SCHEDULE_DELAY",
    // What is reported has neither events nor links: their limits hold whatever they are.
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_EVENT_COUNT_LIMIT",
    "OTEL_SPAN_LINK_COUNT_LIMIT",
    "OTEL_EXPORTER_PROMETHEUS_HOST",
    "OTEL_EXPORTER_PROMETHEUS_PORT",
    "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_LOGS_EXPORTER",
    "OTEL_METRICS_EXEMPLAR_FILTER",
    "OTEL_METRICS_EXPORTER",
    "OTEL_METRIC_EXPORT_INTERVAL",
    "OTEL_METRIC_EXPORT_TIMEOUT",
    "OTEL_PROPAGATORS",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_TRACES_EXPORTER",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    otlp::AGGREGATION,
    otlp::TEMPORALITY,
];
/// Beginnings of variables that would change what is sent; such a one that is not read is warned of.
const TOUCHING: [&str; 13] = [
    "OTEL_ATTRIBUTE_",
    "OTEL_BLRP_",
    "OTEL_BSP_",
    "OTEL_ENTITIES",
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

/// Reads all variables; what is ignored is added to `warnings`.
pub(super) fn read(environment: &Environment, warnings: &mut Vec<String>) -> Result<Otel, Error> {
    if let Some(name) = CONFIG_FILES.iter().find(|name| environment.text(name).is_some()) {
        return Err(Error(format!(
            "{name} is set, but OpenTelemetry's configuration files are not supported: unset it, \
             and use the other OTEL_* variables or proxy.toml"
        )));
    }
    let mut reader = Reader { environment, warnings };
    warn_of_unread(&mut reader);
    warn_of_unhonoured(&mut reader);
    conventions::warn(&mut reader);
    let mut attributes = attributes(&mut reader);
    let service_name = service_name(&reader, &mut attributes);
    let mut otel = Otel {
        service_name,
        attributes,
        disabled: reader.is_true("OTEL_SDK_DISABLED"),
        says_otlp: environment.beginning_with("OTEL_EXPORTER_OTLP_").next().is_some(),
        spans: batching(&mut reader, "OTEL_BSP"),
        logs: batching(&mut reader, "OTEL_BLRP"),
        metric_interval: reader.millis("OTEL_METRIC_EXPORT_INTERVAL"),
        metric_timeout: reader.millis("OTEL_METRIC_EXPORT_TIMEOUT"),
        sampler: sampler(&mut reader),
        span_attributes: limits(&mut reader, "OTEL_SPAN"),
        log_attributes: limits(&mut reader, "OTEL_LOGRECORD"),
        log_level: log_level(&mut reader),
        ..Otel::default()
    };
    for signal in Signal::all() {
        match chosen(&mut reader, signal) {
            Chosen::Off => otel.off.push(signal),
            _ if otel.disabled => {}
            chosen => {
                let target = otlp::target(&mut reader, signal, chosen == Chosen::Otlp)?;
                otel.targets.extend(target.map(|it| (signal, it)));
            }
        }
    }
    tell_once(warnings);
    Ok(otel)
}

/// One variable is read for several signals, and told of once.
fn tell_once(warnings: &mut Vec<String>) {
    let mut told = Vec::new();
    warnings.retain(|it| {
        !told.contains(it) && {
            told.push(it.clone());
            true
        }
    });
}

/// The service's name, with the variable that says it; where it is an attribute it is taken out of these.
fn service_name(
    reader: &Reader<'_>,
    attributes: &mut Vec<(String, String)>,
) -> Option<(&'static str, String)> {
    let named = attributes.iter().position(|(key, _)| key == "service.name");
    let named = named.map(|at| ("OTEL_RESOURCE_ATTRIBUTES", attributes.swap_remove(at).1));
    let variable = "OTEL_SERVICE_NAME";
    reader.environment.text(variable).map(|name| (variable, name.to_owned())).or(named)
}

/// What `OTEL_{TRACES,METRICS,LOGS}_EXPORTER` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chosen {
    Unsaid,
    Otlp,
    Off,
}

fn chosen(reader: &mut Reader<'_>, signal: Signal) -> Chosen {
    let name = format!("OTEL_{}_EXPORTER", signal.as_str().to_uppercase());
    let Some(text) = reader.text(&name) else { return Chosen::Unsaid };
    let mut chosen = Chosen::Unsaid;
    for word in entries(text).map(str::to_ascii_lowercase) {
        let other = OTHER_EXPORTERS.iter().find(|(name, _)| *name == word);
        match (word.as_str(), other) {
            ("otlp", _) => chosen = Chosen::Otlp,
            ("none", _) => {}
            (_, Some((_, instead))) => reader
                .warnings
                .push(format!("{name}: there is no exporter `{word}` here; {instead}")),
            _ => {
                let why = format!("`{word}` is no exporter; there are otlp and none");
                reader.ignored(&name, &why);
                continue;
            }
        }
        chosen = if chosen == Chosen::Otlp { chosen } else { Chosen::Off };
    }
    chosen
}

fn attributes(reader: &mut Reader<'_>) -> Vec<(String, String)> {
    let name = "OTEL_RESOURCE_ATTRIBUTES";
    let Some(text) = reader.text(name) else { return Vec::new() };
    let pairs: Option<Vec<_>> = entries(text).map(pair).collect();
    if pairs.is_none() {
        reader.ignored(name, "it is not a list key=value,key=value with percent-encoded values");
    }
    let mut unique: Vec<(String, String)> = Vec::new();
    for (key, value) in pairs.unwrap_or_default() {
        // Of one key said twice the last holds.
        unique.retain(|(earlier, _)| *earlier != key);
        unique.push((key, value));
    }
    unique
}

fn batching(reader: &mut Reader<'_>, prefix: &str) -> Batching {
    let default = Batching::default();
    let name = |key: &str| format!("{prefix}_{key}");
    let (size, queue) = (name("MAX_EXPORT_BATCH_SIZE"), name("MAX_QUEUE_SIZE"));
    let records = reader.count(&size).unwrap_or(default.records);
    let batching = Batching {
        records,
        queue: reader.count(&queue).unwrap_or(default.queue),
        delay: reader.millis(&name("SCHEDULE_DELAY")).unwrap_or(default.delay),
        timeout: reader.millis(&name("EXPORT_TIMEOUT")),
    };
    if batching.queue < records && reader.text(&size).is_some() {
        reader
            .warnings
            .push(format!("{size} is larger than {queue}: an export holds no more than may wait"));
    }
    Batching { records: records.min(batching.queue), ..batching }
}

fn sampler(reader: &mut Reader<'_>) -> Sampler {
    let name = "OTEL_TRACES_SAMPLER";
    let samplers = [
        ("always_on", (false, Root::On)),
        ("always_off", (false, Root::Off)),
        ("traceidratio", (false, Root::Ratio(1.0))),
        ("parentbased_always_on", (true, Root::On)),
        ("parentbased_always_off", (true, Root::Off)),
        ("parentbased_traceidratio", (true, Root::Ratio(1.0))),
    ];
    let Some((parent_based, root)) = reader.word(name, &samplers) else {
        return Sampler::default();
    };
    let Root::Ratio(all) = root else { return Sampler { parent_based, root } };
    let name = "OTEL_TRACES_SAMPLER_ARG";
    let ratio =
        reader.text(name).map(|text| text.parse().ok().filter(|it| (0.0..=1.0).contains(it)));
    if ratio == Some(None) {
        reader.ignored(name, "it is no number from 0 to 1; all traces are sampled");
    }
    Sampler { parent_based, root: Root::Ratio(ratio.flatten().unwrap_or(all)) }
}

/// The limits of one kind of record, else those of all.
fn limits(reader: &mut Reader<'_>, prefix: &str) -> AttributeLimits {
    let default = AttributeLimits::default();
    let mut limit = |key: &str| {
        let names = [format!("{prefix}_ATTRIBUTE_{key}"), format!("OTEL_ATTRIBUTE_{key}")];
        let limits = names.map(|name| reader.limit(&name).map(|limit| (name, limit)));
        limits.into_iter().flatten().next()
    };
    let count = limit("COUNT_LIMIT").map_or(default.count, |(_, count)| count);
    let characters = limit("VALUE_LENGTH_LIMIT");
    if let Some((name, more)) = characters.as_ref().filter(|(_, it)| *it > LONGEST_VALUE) {
        let kept = format!("{name}={more}: a value is cut at {LONGEST_VALUE} bytes in any case");
        reader.warnings.push(kept);
    }
    AttributeLimits { count, characters: characters.map_or(default.characters, |(_, it)| it) }
}

/// What the program says of itself. It says nothing finer than `info`.
fn log_level(reader: &mut Reader<'_>) -> Option<LevelFilter> {
    let levels = [
        ("none", LevelFilter::OFF),
        ("fatal", LevelFilter::OFF),
        ("error", LevelFilter::ERROR),
        ("warn", LevelFilter::WARN),
        ("info", LevelFilter::INFO),
        ("debug", LevelFilter::INFO),
        ("verbose", LevelFilter::INFO),
        ("trace", LevelFilter::INFO),
        ("all", LevelFilter::INFO),
    ];
    reader.word("OTEL_LOG_LEVEL", &levels)
}

/// Variables that are read, and of whose values some ask for what this program does not do.
fn warn_of_unhonoured(reader: &mut Reader<'_>) {
    let filters = [("always_off", false), ("always_on", true), ("trace_based", true)];
    if reader.word("OTEL_METRICS_EXEMPLAR_FILTER", &filters) == Some(true) {
        reader.ignored("OTEL_METRICS_EXEMPLAR_FILTER", "metrics have no exemplars");
    }
    let name = "OTEL_PROPAGATORS";
    let words: Vec<_> = reader.text(name).into_iter().flat_map(entries).collect();
    let is = |word: &&str, it: &str| word.eq_ignore_ascii_case(it);
    if !words.is_empty() && !words.iter().any(|it| is(it, "tracecontext")) {
        reader.ignored(name, "a client's `traceparent` is read in any case");
    }
    let known = |it: &&&str| ["tracecontext", "baggage", "none"].iter().any(|known| is(it, known));
    for word in words.iter().filter(|it| !known(it)) {
        reader.ignored(name, &format!("`{word}` is not read; its headers pass through unchanged"));
    }
    for name in ["OTEL_EXPORTER_PROMETHEUS_HOST", "OTEL_EXPORTER_PROMETHEUS_PORT"] {
        if reader.text(name).is_some() {
            reader.ignored(
                name,
                "metrics are scraped from the admin listener's /metrics (server.admin)",
            );
        }
    }
}

fn warn_of_unread(reader: &mut Reader<'_>) {
    let set = reader.environment.beginning_with("OTEL_").map(|(name, _)| name);
    let beginnings = || TOUCHING.iter().chain(&conventions::TOUCHING);
    let touching = set.filter(|name| beginnings().any(|begin| name.starts_with(begin)));
    let unread: Vec<_> = touching.filter(|name| !is_read(name)).collect();
    for name in unread {
        reader.ignored(name, "this version does not read it");
    }
}

fn is_read(name: &str) -> bool {
    let of_otlp = name.strip_prefix("OTEL_EXPORTER_OTLP_").is_some_and(|rest| {
        let own = ["TRACES_", "METRICS_", "LOGS_"].iter().find_map(|it| rest.strip_prefix(it));
        otlp::KEYS.contains(&own.unwrap_or(rest))
    });
    of_otlp || READ.contains(&name) || conventions::READ.contains(&name)
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

    /// The only warning for one variable.
    fn warned(name: &str, value: &str) -> String {
        let (_, warnings) = told(&[(name, value)]);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        warnings.concat()
    }

    fn urls(otel: &Otel) -> Vec<String> {
        otel.targets.iter().map(|(signal, it)| format!("{} {}", signal.as_str(), it.url)).collect()
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c");

    #[test]
    fn nothing_said_sends_nothing() {
        let otel = quiet(&[("OTEL_TRACES_EXPORTER", ""), ("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]);
        assert!(otel.targets.is_empty() && otel.off.is_empty() && !otel.disabled);
    }

    #[test]
    fn sdk_disabled_sends_nothing() {
        let otel = quiet(&[ENDPOINT, ("OTEL_SDK_DISABLED", "True")]);
        assert!(otel.disabled && otel.targets.is_empty());
        assert!(!quiet(&[("OTEL_SDK_DISABLED", "false")]).disabled);
        assert!(!told(&[("OTEL_SDK_DISABLED", "1")]).0.disabled);
        let warning = "OTEL_SDK_DISABLED is ignored: it is neither true nor false";
        assert_eq!(warned("OTEL_SDK_DISABLED", "1"), warning);
    }

    #[test]
    fn traces_exporter_none_switches_traces_off() {
        let otel = quiet(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")]);
        assert_eq!(urls(&otel), ["metrics http://c/v1/metrics", "logs http://c/v1/logs"]);
        assert_eq!(otel.off, [Signal::Traces]);
        let (otel, warnings) = told(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "console,otlp")]);
        assert_eq!(otel.targets.len(), 3);
        assert_eq!(
            warnings,
            [
                "OTEL_TRACES_EXPORTER: there is no exporter `console` here; each exchange is a line on standard output (telemetry.lines)"
            ]
        );
    }

    #[test]
    fn metrics_exporter_otlp_sends_them_to_this_machine_and_prometheus_is_there_in_any_case() {
        let otel = quiet(&[("OTEL_METRICS_EXPORTER", "OTLP")]);
        assert_eq!(urls(&otel), ["metrics http://localhost:4318/v1/metrics"]);
        let (otel, warnings) = told(&[ENDPOINT, ("OTEL_METRICS_EXPORTER", "prometheus")]);
        assert_eq!(otel.off, [Signal::Metrics]);
        assert_eq!(
            warnings,
            [
                "OTEL_METRICS_EXPORTER: there is no exporter `prometheus` here; metrics can be scraped from the admin listener's /metrics in any case"
            ]
        );
        assert_eq!(told(&[("OTEL_METRICS_EXPORTER", "prometheus,otlp")]).0.targets.len(), 1);
    }

    #[test]
    fn logs_exporter_takes_a_list_and_a_word_that_is_none_is_told() {
        let otel = quiet(&[ENDPOINT, ("OTEL_LOGS_EXPORTER", "none,otlp")]);
        assert_eq!(otel.targets.len(), 3);
        assert_eq!(told(&[ENDPOINT, ("OTEL_LOGS_EXPORTER", "oltp")]).0.targets.len(), 3);
        assert_eq!(
            warned("OTEL_LOGS_EXPORTER", "oltp"),
            "OTEL_LOGS_EXPORTER is ignored: `oltp` is no exporter; there are otlp and none"
        );
    }

    #[test]
    fn config_file_is_refused() {
        for name in CONFIG_FILES {
            let refused = read(&Environment::of([(name, "/etc/otel.yaml")]), &mut Vec::new());
            assert_eq!(
                refused.unwrap_err().to_string(),
                format!(
                    "{name} is set, but OpenTelemetry's configuration files are not supported: unset it, and use the other OTEL_* variables or proxy.toml"
                )
            );
        }
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
        assert_eq!(told(&[("OTEL_RESOURCE_ATTRIBUTES", "a=1,b")]).0.attributes, []);
        assert_eq!(
            warned("OTEL_RESOURCE_ATTRIBUTES", "a=1,b"),
            "OTEL_RESOURCE_ATTRIBUTES is ignored: it is not a list key=value,key=value with percent-encoded values"
        );
    }

    #[test]
    fn service_name_goes_before_resource_attributes() {
        let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a,b=c");
        let otel = quiet(&[attributes]);
        assert_eq!(otel.service_name, Some(("OTEL_RESOURCE_ATTRIBUTES", "a".into())));
        assert_eq!(otel.attributes, [("b".to_owned(), "c".to_owned())]);
        let otel = quiet(&[attributes, ("OTEL_SERVICE_NAME", "d")]);
        assert_eq!(otel.service_name, Some(("OTEL_SERVICE_NAME", "d".into())));
        assert_eq!(otel.attributes.len(), 1);
    }

    #[test]
    fn bsp_schedule_delay_is_how_long_spans_wait() {
        let otel = quiet(&[("OTEL_BSP_SCHEDULE_DELAY", "250")]);
        assert_eq!((otel.spans.delay.as_millis(), otel.logs.delay.as_millis()), (250, 1000));
        let warning = "OTEL_BSP_SCHEDULE_DELAY is ignored: it is no whole number above 0";
        assert_eq!(warned("OTEL_BSP_SCHEDULE_DELAY", "-1"), warning);
    }

    #[test]
    fn bsp_max_queue_size_is_how_many_spans_wait() {
        let otel = quiet(&[("OTEL_BSP_MAX_QUEUE_SIZE", "100")]);
        // An export holds no more than may wait.
        assert_eq!((otel.spans.queue, otel.spans.records), (100, 100));
        assert_eq!(otel.logs, Batching::default());
    }

    #[test]
    fn bsp_max_export_batch_size_is_how_many_spans_go_at_once() {
        let size = ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "100");
        assert_eq!(quiet(&[size]).spans.records, 100);
        let (otel, warnings) = told(&[size, ("OTEL_BSP_MAX_QUEUE_SIZE", "10")]);
        assert_eq!(otel.spans.records, 10);
        assert_eq!(
            warnings,
            [
                "OTEL_BSP_MAX_EXPORT_BATCH_SIZE is larger than OTEL_BSP_MAX_QUEUE_SIZE: an export holds no more than may wait"
            ]
        );
    }

    #[test]
    fn bsp_export_timeout_is_how_long_an_export_of_spans_may_take() {
        let otel = quiet(&[("OTEL_BSP_EXPORT_TIMEOUT", "700")]);
        assert_eq!(
            (otel.spans.timeout, otel.logs.timeout),
            (Some(Duration::from_millis(700)), None)
        );
    }

    #[test]
    fn blrp_schedule_delay_is_how_long_log_records_wait() {
        let otel = quiet(&[("OTEL_BLRP_SCHEDULE_DELAY", "250")]);
        assert_eq!((otel.spans.delay.as_millis(), otel.logs.delay.as_millis()), (1000, 250));
    }

    #[test]
    fn blrp_max_queue_size_is_how_many_log_records_wait() {
        assert_eq!(quiet(&[("OTEL_BLRP_MAX_QUEUE_SIZE", "600")]).logs.queue, 600);
    }

    #[test]
    fn blrp_max_export_batch_size_is_how_many_log_records_go_at_once() {
        assert_eq!(quiet(&[("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "7")]).logs.records, 7);
    }

    #[test]
    fn blrp_export_timeout_is_how_long_an_export_of_log_records_may_take() {
        let otel = quiet(&[("OTEL_BLRP_EXPORT_TIMEOUT", "700")]);
        assert_eq!(
            (otel.spans.timeout, otel.logs.timeout),
            (None, Some(Duration::from_millis(700)))
        );
    }

    #[test]
    fn metric_export_interval_is_the_time_between_exports_of_metrics() {
        let otel = quiet(&[("OTEL_METRIC_EXPORT_INTERVAL", "5000")]);
        assert_eq!(otel.metric_interval, Some(Duration::from_secs(5)));
        let warning = "OTEL_METRIC_EXPORT_INTERVAL is ignored: it is no whole number above 0";
        assert_eq!(warned("OTEL_METRIC_EXPORT_INTERVAL", "soon"), warning);
    }

    #[test]
    fn metric_export_timeout_is_how_long_an_export_of_metrics_may_take() {
        let otel = quiet(&[("OTEL_METRIC_EXPORT_TIMEOUT", "5000")]);
        assert_eq!(otel.metric_timeout, Some(Duration::from_secs(5)));
    }

    #[test]
    fn traces_sampler_names_one_of_six() {
        let of = |name| {
            let Sampler { parent_based, root } = quiet(&[("OTEL_TRACES_SAMPLER", name)]).sampler;
            (parent_based, root)
        };
        assert_eq!(of("always_on"), (false, Root::On));
        assert_eq!(of("Always_Off"), (false, Root::Off));
        assert_eq!(of("traceidratio"), (false, Root::Ratio(1.0)));
        assert_eq!(of("parentbased_always_on"), (true, Root::On));
        assert_eq!(of("parentbased_always_off"), (true, Root::Off));
        assert_eq!(of("parentbased_traceidratio"), (true, Root::Ratio(1.0)));
        assert_eq!(quiet(&[]).sampler, Sampler::default());
        assert_eq!(told(&[("OTEL_TRACES_SAMPLER", "xray")]).0.sampler, Sampler::default());
        assert!(warned("OTEL_TRACES_SAMPLER", "jaeger_remote").starts_with(
            "OTEL_TRACES_SAMPLER is ignored: it is none of always_on, always_off, traceidratio"
        ));
    }

    #[test]
    fn traces_sampler_arg_is_the_ratio() {
        let sampler = ("OTEL_TRACES_SAMPLER", "traceidratio");
        let name = "OTEL_TRACES_SAMPLER_ARG";
        assert_eq!(quiet(&[sampler, (name, "0.25")]).sampler.root, Root::Ratio(0.25));
        assert_eq!(quiet(&[(name, "0.25")]).sampler, Sampler::default());
        for text in ["2", "-0.1", "NaN", "all"] {
            let (otel, warnings) = told(&[sampler, (name, text)]);
            assert_eq!(otel.sampler.root, Root::Ratio(1.0), "{text}");
            assert_eq!(
                warnings,
                [
                    "OTEL_TRACES_SAMPLER_ARG is ignored: it is no number from 0 to 1; all traces are sampled"
                ]
            );
        }
    }

    /// Characters of a value and count, for spans and for log records.
    fn bounds(variables: &[(&str, &str)]) -> [(usize, usize); 2] {
        let otel = quiet(variables);
        [otel.span_attributes, otel.log_attributes].map(|it| (it.characters, it.count))
    }

    const NO_BOUND: (usize, usize) = (usize::MAX, 128);

    #[test]
    fn attribute_value_length_limit_cuts_values_of_spans_and_log_records() {
        let name = "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT";
        assert_eq!(bounds(&[(name, "0")]), [(0, 128); 2]);
        assert_eq!(bounds(&[]), [NO_BOUND; 2]);
        assert_eq!(
            warned(name, "5000"),
            "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT=5000: a value is cut at 1024 bytes in any case"
        );
    }

    #[test]
    fn attribute_count_limit_bounds_spans_and_log_records() {
        assert_eq!(bounds(&[("OTEL_ATTRIBUTE_COUNT_LIMIT", "5")]), [(usize::MAX, 5); 2]);
    }

    #[test]
    fn span_attribute_value_length_limit_goes_before_the_common_one() {
        let common = ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "9");
        let own = ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "5");
        assert_eq!(bounds(&[common, own]), [(5, 128), (9, 128)]);
    }

    #[test]
    fn span_attribute_count_limit_goes_before_the_common_one() {
        let common = ("OTEL_ATTRIBUTE_COUNT_LIMIT", "9");
        let own = ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "5");
        assert_eq!(bounds(&[common, own]), [(usize::MAX, 5), (usize::MAX, 9)]);
    }

    #[test]
    fn logrecord_attribute_value_length_limit_is_of_log_records_alone() {
        let own = ("OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT", "5");
        assert_eq!(bounds(&[own]), [NO_BOUND, (5, 128)]);
    }

    #[test]
    fn logrecord_attribute_count_limit_is_of_log_records_alone() {
        let own = ("OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", "5");
        assert_eq!(bounds(&[own]), [NO_BOUND, (usize::MAX, 5)]);
    }

    #[test]
    fn limits_of_events_and_links_hold_since_there_are_none() {
        for name in ["SPAN_EVENT", "SPAN_LINK", "EVENT_ATTRIBUTE", "LINK_ATTRIBUTE"] {
            quiet(&[(&format!("OTEL_{name}_COUNT_LIMIT"), "1")]);
        }
    }

    #[test]
    fn propagators_that_are_not_read_are_told() {
        quiet(&[("OTEL_PROPAGATORS", "TraceContext, baggage")]);
        let name = "OTEL_PROPAGATORS";
        let always = "OTEL_PROPAGATORS is ignored: a client's `traceparent` is read in any case";
        assert_eq!(warned(name, "none"), always);
        assert_eq!(warned(name, "baggage"), always);
        assert_eq!(
            warned(name, "tracecontext,b3"),
            "OTEL_PROPAGATORS is ignored: `b3` is not read; its headers pass through unchanged"
        );
    }

    #[test]
    fn metrics_exemplar_filter_can_only_be_off() {
        let name = "OTEL_METRICS_EXEMPLAR_FILTER";
        quiet(&[(name, "always_off")]);
        let none = "OTEL_METRICS_EXEMPLAR_FILTER is ignored: metrics have no exemplars";
        assert_eq!(warned(name, "trace_based"), none);
        assert!(warned(name, "some").ends_with("it is none of always_off, always_on, trace_based"));
    }

    #[test]
    fn log_level_is_how_much_the_program_says_of_itself() {
        let level = |text| quiet(&[("OTEL_LOG_LEVEL", text)]).log_level;
        assert_eq!(level("WARN"), Some(LevelFilter::WARN));
        assert_eq!(level("none"), Some(LevelFilter::OFF));
        assert_eq!(level("debug"), Some(LevelFilter::INFO));
        assert_eq!(level(""), None);
        assert!(warned("OTEL_LOG_LEVEL", "loud").starts_with("OTEL_LOG_LEVEL is ignored"));
    }

    #[test]
    fn exporter_prometheus_host_and_port_are_told_of() {
        for name in ["OTEL_EXPORTER_PROMETHEUS_HOST", "OTEL_EXPORTER_PROMETHEUS_PORT"] {
            let expected = format!(
                "{name} is ignored: metrics are scraped from the admin listener's /metrics (server.admin)"
            );
            assert_eq!(warned(name, "1"), expected);
        }
    }

    #[test]
    fn semconv_stability_opt_in_chooses_nothing_and_what_it_would_is_told() {
        let name = "OTEL_SEMCONV_STABILITY_OPT_IN";
        quiet(&[(name, "http,gen_ai_latest_experimental,database/dup")]);
        let dup = "`http/dup`: names are those of 1.41, and no older ones beside them";
        assert_eq!(warned(name, "http/dup"), format!("{name} is ignored: {dup}"));
        let other = "`gen_ai_next` is not known here; names are those of 1.41";
        assert_eq!(warned(name, "http, gen_ai_next"), format!("{name} is ignored: {other}"));
    }

    #[test]
    fn instrumentation_genai_capture_message_content_is_never_granted() {
        let name = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT";
        quiet(&[(name, "false")]);
        quiet(&[(name, "NO_CONTENT")]);
        for value in ["true", "SPAN_AND_EVENT"] {
            let never = format!("{name} is ignored: prompts and answers are never told");
            assert_eq!(warned(name, value), never);
        }
        assert!(warned(name, "1").contains("it is none of false, no_content"));
    }

    #[test]
    fn instrumentation_http_known_methods_are_told_of() {
        let name = "OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS";
        assert!(warned(name, "GET,POST").contains("is ignored: methods are those of RFC 9110"));
    }

    #[test]
    fn a_variable_that_would_change_what_is_sent_but_is_not_read_is_told() {
        for name in [
            "OTEL_EXPORTER_ZIPKIN_ENDPOINT",
            "OTEL_BSP_NEW",
            "OTEL_ENTITIES",
            "OTEL_INSTRUMENTATION_GENAI_EVENTS",
        ] {
            assert_eq!(
                warned(name, "x"),
                format!("{name} is ignored: this version does not read it")
            );
        }
        quiet(&[("OTEL_PYTHON_LOG_CORRELATION", "true")]);
    }
}
