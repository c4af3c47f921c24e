//! Collected metrics as Prometheus text 0.0.4 or OpenMetrics 1.0, named by the OTLP translation
//! `UnderscoreEscapingWithSuffixes`, so that a scrape and an OTLP push give the same series. Knows
//! no metric by name.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use opentelemetry::KeyValue;
use opentelemetry_sdk::metrics::data::{
    AggregatedMetrics, Histogram, Metric, MetricData, ResourceMetrics,
};

/// Which text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// `text/plain; version=0.0.4`.
    Text,
    /// `application/openmetrics-text; version=1.0.0`.
    OpenMetrics,
}

impl Format {
    /// What a scraper's `Accept` asks for.
    pub(super) fn of(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if accept.contains("application/openmetrics-text") => Self::OpenMetrics,
            _ => Self::Text,
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What a family is, as `# TYPE` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// All families, sorted by name, and `target_info` with the resource's attributes.
pub(super) fn write(collected: &ResourceMetrics, format: Format) -> String {
    let metrics = collected.scope_metrics().flat_map(|scope| scope.metrics());
    let mut families: Vec<_> = metrics.filter_map(|metric| family(metric, format)).collect();
    families.sort_unstable();
    let resource = collected.resource().iter();
    let resource = labels(resource.map(|(key, value)| (key.as_str(), value.to_string())));
    let mut text = match format {
        Format::Text => "# HELP target_info Target metadata\n# TYPE target_info gauge\n".to_owned(),
        Format::OpenMetrics => "# HELP target Target metadata\n# TYPE target info\n".to_owned(),
    };
    sample(&mut text, "target_info", &resource, "", 1);
    families.iter().for_each(|(_, family)| text.push_str(family));
    if format == Format::OpenMetrics {
        text.push_str("# EOF\n");
    }
    text
}

/// One family: its name and its text. Absent where it has no point, or a form that text cannot say.
fn family(metric: &Metric, format: Format) -> Option<(String, String)> {
    match metric.data() {
        AggregatedMetrics::F64(data) => family_of(metric, data, format),
        AggregatedMetrics::U64(data) => family_of(metric, data, format),
        AggregatedMetrics::I64(data) => family_of(metric, data, format),
    }
}

fn family_of<T: Copy + Display>(
    metric: &Metric,
    data: &MetricData<T>,
    format: Format,
) -> Option<(String, String)> {
    let (kind, points) = match data {
        MetricData::Sum(sum) => {
            let kind = if sum.is_monotonic() { Kind::Counter } else { Kind::Gauge };
            let points = sum.data_points().map(|it| (of(it.attributes()), it.value()));
            (kind, Points::Single(points.collect()))
        }
        MetricData::Gauge(gauge) => {
            let points = gauge.data_points().map(|it| (of(it.attributes()), it.value()));
            (Kind::Gauge, Points::Single(points.collect()))
        }
        MetricData::Histogram(histogram) => (Kind::Histogram, Points::Buckets(histogram)),
        MetricData::ExponentialHistogram(_) => return None,
    };
    let name = translate(metric.name(), metric.unit(), kind);
    // OpenMetrics names a counter's family without the suffix of its samples.
    let header = match format {
        Format::OpenMetrics if kind == Kind::Counter => name.trim_end_matches("_total"),
        _ => &name,
    };
    let samples = match points {
        Points::Single(points) => singles(&name, points),
        Points::Buckets(histogram) => buckets(&name, histogram, format),
    };
    if samples.is_empty() {
        return None;
    }
    let kind = kind.as_str();
    let help = metric.description().replace('\\', "\\\\").replace('\n', "\\n");
    let text = format!("# HELP {header} {help}\n# TYPE {header} {kind}\n{samples}");
    Some((name, text))
}

enum Points<'a, T> {
    Single(Vec<(String, T)>),
    Buckets(&'a Histogram<T>),
}

fn singles<T: Copy + Display>(name: &str, mut points: Vec<(String, T)>) -> String {
    points.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    let mut text = String::new();
    for (labels, value) in points {
        sample(&mut text, name, &labels, "", value);
    }
    text
}

fn buckets<T: Copy + Display>(name: &str, histogram: &Histogram<T>, format: Format) -> String {
    let (bucket, sum, count) =
        (format!("{name}_bucket"), format!("{name}_sum"), format!("{name}_count"));
    let mut points: Vec<_> =
        histogram.data_points().map(|point| (of(point.attributes()), point)).collect();
    points.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    let mut text = String::new();
    for (labels, point) in points {
        let mut below = 0;
        let bounds = point.bounds().map(|bound| number(bound, format));
        let bounds = bounds.chain(std::iter::once("+Inf".to_owned()));
        for (bound, inside) in bounds.zip(point.bucket_counts()) {
            below += inside;
            sample(&mut text, &bucket, &labels, &format!("le=\"{bound}\""), below);
        }
        sample(&mut text, &sum, &labels, "", point.sum());
        sample(&mut text, &count, &labels, "", point.count());
    }
    text
}

/// OpenMetrics wants a bound to look like a float.
fn number(bound: f64, format: Format) -> String {
    let mut text = bound.to_string();
    if format == Format::OpenMetrics && !text.contains('.') {
        text.push_str(".0");
    }
    text
}

fn sample(text: &mut String, name: &str, labels: &str, more: &str, value: impl Display) {
    let comma = if labels.is_empty() || more.is_empty() { "" } else { "," };
    let written = match (labels, more) {
        ("", "") => writeln!(text, "{name} {value}"),
        _ => writeln!(text, "{name}{{{labels}{comma}{more}}} {value}"),
    };
    // Writing into a string cannot fail.
    written.ok();
}

fn of<'a>(attributes: impl Iterator<Item = &'a KeyValue>) -> String {
    labels(attributes.map(|it| (it.key.as_str(), it.value.to_string())))
}

/// `a="1",b="2"`, sorted. Keys that become equal are one label, their values joined by `;`.
fn labels<'a>(attributes: impl Iterator<Item = (&'a str, String)>) -> String {
    let mut sorted = BTreeMap::<String, String>::new();
    for (key, value) in attributes {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let joined = sorted.entry(label_name(key)).or_default();
        if !joined.is_empty() {
            joined.push(';');
        }
        joined.push_str(&value);
    }
    let labels: Vec<_> = sorted.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
    labels.join(",")
}

fn label_name(key: &str) -> String {
    let name: String =
        key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("key_{name}") } else { name }
}

/// `gen_ai.client.operation.duration` in `s` becomes `gen_ai_client_operation_duration_seconds`.
fn translate(name: &str, unit: &str, kind: Kind) -> String {
    let words = |text: &'static str| Some(text);
    let unit = match unit {
        "s" => words("seconds"),
        "ms" => words("milliseconds"),
        "By" => words("bytes"),
        "1" if kind == Kind::Gauge => words("ratio"),
        "" | "1" => None,
        braces if braces.starts_with('{') => None,
        other => Some(other),
    };
    let mut parts: Vec<&str> = name
        .split(|c: char| !c.is_ascii_alphanumeric() && c != ':')
        .filter(|part| !part.is_empty())
        .collect();
    if let Some(unit) = unit
        && !parts.contains(&unit)
    {
        parts.push(unit);
    }
    if kind == Kind::Counter {
        parts.retain(|part| *part != "total");
        parts.push("total");
    }
    parts.join("_")
}

#[cfg(test)]
mod tests {
    use super::super::metrics::Metrics;
    use super::super::{literals, names, outcome};
    use super::*;

    #[test]
    fn names_follow_the_otlp_translation() {
        use Kind::{Counter, Gauge, Histogram};
        let table = [
            (
                "gen_ai.client.operation.duration",
                "s",
                Histogram,
                "gen_ai_client_operation_duration_seconds",
            ),
            ("gen_ai.client.token.usage", "{token}", Histogram, "gen_ai_client_token_usage"),
            ("gen_ai.usage.cost", "USD", Histogram, "gen_ai_usage_cost_USD"),
            ("clearspan.cost", "USD", Counter, "clearspan_cost_USD_total"),
            ("clearspan.requests", "{request}", Counter, "clearspan_requests_total"),
            ("clearspan.export.queue", "By", Gauge, "clearspan_export_queue_bytes"),
            ("clearspan.build_info", "", Gauge, "clearspan_build_info"),
            ("cache.hit", "1", Gauge, "cache_hit_ratio"),
            ("cache.hits", "1", Counter, "cache_hits_total"),
            ("llm_cost_total_usd", "", Counter, "llm_cost_usd_total"),
            ("wait.seconds", "s", Counter, "wait_seconds_total"),
        ];
        for (name, unit, kind, expected) in table {
            assert_eq!(translate(name, unit, kind), expected);
        }
    }

    #[test]
    fn labels_are_escaped_and_never_twice() {
        let pairs = [("b.c", "x\\\"\n"), ("b_c", "y"), ("1a", "z")];
        let text = labels(pairs.into_iter().map(|(key, value)| (key, value.to_owned())));
        assert_eq!(text, r#"b_c="x\\\"\n;y",key_1a="z""#);
    }

    #[test]
    fn a_scraper_gets_what_it_accepts() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;q=0.5";
        assert_eq!(Format::of(Some(prometheus)), Format::OpenMetrics);
        assert_eq!(Format::of(Some("*/*")), Format::Text);
        assert_eq!(Format::of(None), Format::Text);
    }

    fn collected() -> ResourceMetrics {
        let settings = super::super::whole::settings(vec![]);
        let sources = super::super::whole::sources();
        let metrics = Metrics::new(&settings, sources, vec![], None, vec![]);
        let mut recorder = metrics.recorder();
        for of in [literals::ollama(), literals::embeddings()] {
            recorder.record(&of, &outcome::of(&of));
        }
        metrics.collect()
    }

    /// As many models as clients may think of, each answered by another.
    #[test]
    fn a_page_is_no_longer_than_label_sets_and_buckets_allow() {
        let mut settings = super::super::whole::settings(vec![]);
        (settings.limits.series, settings.limits.histogram_series) = (30, 7);
        let sources = super::super::whole::sources();
        let metrics = Metrics::new(&settings, sources, vec![], None, vec![]);
        let mut recorder = metrics.recorder();
        for number in 0..50 {
            for mut of in literals::all() {
                of.request.model = Some(format!("asked-{number}"));
                of.response.model = Some(format!("answered-{number}"));
                recorder.record(&of, &outcome::of(&of));
            }
        }
        let text = write(&metrics.collect(), Format::Text);
        let mut is_full = false;
        for metric in names::METRICS {
            let histogram = !metric.bounds.is_empty();
            let names = [Kind::Histogram, Kind::Counter, Kind::Gauge];
            let names = names.map(|kind| translate(metric.name, metric.unit, kind));
            let is_of = |line: &&str| {
                let rest = names.iter().find_map(|name| line.strip_prefix(name.as_str()));
                let rest = rest.map(|rest| rest.split(['{', ' ']).next().unwrap_or_default());
                rest.is_some_and(|rest| ["", "_bucket", "_sum", "_count"].contains(&rest))
            };
            let lines = text.lines().filter(is_of).count();
            // Those past the limit are one more.
            let limit = if histogram { 8 * (metric.bounds.len() + 3) } else { 31 };
            assert!(lines <= limit, "{}: {lines} lines", metric.name);
            is_full |= histogram && lines == limit;
        }
        assert!(is_full, "some histogram met its limit\n{text}");
        let wait = text.lines().filter(|line| line.starts_with("clearspan_time_to_first_chunk"));
        let wait: Vec<_> = wait.filter(|line| !line.contains("otel_metric_overflow")).collect();
        assert!(wait.iter().all(|line| line.contains("request_model=")) && !wait.is_empty());
        assert!(!wait.iter().any(|line| line.contains("response_model=")));
        let histograms = text.lines().filter(|line| line.contains("le=\""));
        assert!(!histograms.into_iter().any(|line| line.contains("clearspan_ending=")));
    }

    /// The families whose names begin so.
    fn families(format: Format, name: &str) -> String {
        let text = write(&collected(), format);
        let kept = |line: &&str| {
            line.trim_start_matches("# HELP ").trim_start_matches("# TYPE ").starts_with(name)
        };
        text.lines().filter(kept).map(|line| format!("{line}\n")).collect()
    }

    #[test]
    fn text_is_exact() {
        let expected = r#"# HELP clearspan_requests_active Requests under way.
# TYPE clearspan_requests_active gauge
clearspan_requests_active 3
"#;
        assert_eq!(families(Format::Text, "clearspan_requests_active"), expected);
        let expected = r#"# HELP clearspan_cost_USD_total Money spent, where the price is known; estimates have a basis of their own.
# TYPE clearspan_cost_USD_total counter
clearspan_cost_USD_total{clearspan_cost_basis="reported",clearspan_upstream="openai",gen_ai_operation_name="embeddings",gen_ai_provider_name="openai",gen_ai_request_model="text-embedding-3-small",gen_ai_response_model="text-embedding-3-small"} 0.00000016
"#;
        assert_eq!(families(Format::Text, "clearspan_cost"), expected);
        let expected = r#"# HELP gen_ai_server_time_per_output_token_seconds What the model server says that one output token took on average.
# TYPE gen_ai_server_time_per_output_token_seconds histogram
gen_ai_server_time_per_output_token_seconds_bucket{L,le="0.01"} 1
gen_ai_server_time_per_output_token_seconds_bucket{L,le="0.025"} 1
gen_ai_server_time_per_output_token_seconds_bucket{L,le="0.05"} 1
gen_ai_server_time_per_output_token_seconds_bucket{L,le="0.075"} 1
gen_ai_server_time_per_output_token_seconds_bucket{L,le="0.1"} 1
gen_ai_server_time_per_output_token_seconds_bucket{L,le="0.15"} 1
gen_ai_server_time_per_output_token_seconds_bucket{L,le="0.2"} 1
gen_ai_server_time_per_output_token_seconds_bucket{L,le="0.3"} 1
gen_ai_server_time_per_output_token_seconds_bucket{L,le="0.4"} 1
gen_ai_server_time_per_output_token_seconds_bucket{L,le="0.5"} 1
gen_ai_server_time_per_output_token_seconds_bucket{L,le="0.75"} 1
gen_ai_server_time_per_output_token_seconds_bucket{L,le="1"} 1
gen_ai_server_time_per_output_token_seconds_bucket{L,le="2.5"} 1
gen_ai_server_time_per_output_token_seconds_bucket{L,le="+Inf"} 1
gen_ai_server_time_per_output_token_seconds_sum{L} 0.01
gen_ai_server_time_per_output_token_seconds_count{L} 1
"#;
        let labels = r#"gen_ai_operation_name="chat",gen_ai_provider_name="ollama",gen_ai_request_model="llama3.2",gen_ai_response_model="llama3.2",server_address="127.0.0.1",server_port="11434""#;
        let name = "gen_ai_server_time_per_output_token";
        assert_eq!(families(Format::Text, name), expected.replace("{L", &format!("{{{labels}")));
    }

    #[test]
    fn openmetrics_names_families_without_total_and_ends_with_eof() {
        let text = write(&collected(), Format::OpenMetrics);
        assert!(text.starts_with(
            "# HELP target Target metadata\n# TYPE target info\ntarget_info{service_name=\"clearspan\"} 1\n"
        ));
        assert!(text.ends_with("\n# EOF\n"));
        let expected = "# HELP clearspan_tape_torn Tapes of which some bytes were not kept.\n\
                        # TYPE clearspan_tape_torn counter\nclearspan_tape_torn_total 4\n";
        assert_eq!(families(Format::OpenMetrics, "clearspan_tape_torn"), expected);
        assert!(text.contains("le=\"1.0\"") && !text.contains("le=\"1\""));
    }
}
