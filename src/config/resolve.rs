//! The file's shape becomes each stage's settings, which cannot be wrong. Reads nothing but what it
//! is given.

use std::path::Path;

use tracing::level_filters::LevelFilter;

use super::environment::Environment;
use super::fault::{Fault, all};
use super::file::{File, Lines};
use super::layers::{Layers, Source};
use super::otel::Otel;
use super::smells::Nose;
use super::{Settings, export, pricing, providers, rules, tls, upstream};
use crate::forward::settings as forward;
use crate::observe;
use crate::report::settings as report;

/// Every stage's settings, or all that is wrong. `at`: where the file stands.
pub(super) fn settings(
    file: &File,
    layers: &Layers,
    otel: &Otel,
    environment: &Environment,
    at: &Path,
    mut warnings: Vec<String>,
) -> Result<Settings, Vec<Fault>> {
    let written = file.upstream.iter().enumerate();
    let upstreams = all(written.map(|(at, written)| upstream::resolve(at, written, environment)));
    let exporters = export::resolve(&file.telemetry.export, otel, environment);
    let prices = pricing::resolve(&file.pricing, at);
    let tls = tls::resolve("server.tls", file.server.tls.as_ref());
    let (places, rest) = (both(upstreams, root(file, layers)), both(exporters, prices));
    let (((upstreams, root), tls), (exporters, prices)) = both(both(places, tls), rest)?;
    let mut faults = rules::faults(file, &upstreams);
    faults.extend(rules::exports_to_ourselves(file, &upstreams, &exporters));
    if !faults.is_empty() {
        return Err(faults);
    }
    let nose = Nose {
        file,
        at,
        upstreams: &upstreams,
        exporters: &exporters,
        prices: &prices,
        environment,
    };
    warnings.extend(nose.smells().iter().map(|smell| layers.cite(smell)));
    warnings.extend(export::warnings(&file.telemetry.export, otel));
    warnings.extend(export::doubts(&exporters));
    warnings.extend(sampled_elsewhere(file, otel));
    Ok(Settings {
        forward: forward::Settings {
            listen: forward::Listen { at: file.server.listen.0.clone(), tls },
            upstreams,
            root,
            shape: providers::common_shape(),
            limits: file.limits.forward(),
        },
        tape: file.limits.tape(environment.cores),
        observe: observing(file),
        report: reporting(file, otel, exporters, environment.terminal),
        log_level: otel.log_level.unwrap_or(LevelFilter::INFO),
        admin: file.server.admin.0.clone(),
        socket_mode: file.server.socket_mode.0,
        prices,
        warnings,
    })
}

fn observing(file: &File) -> observe::Settings {
    observe::Settings {
        client_ids: file.telemetry.client_ids,
        estimates_stand_in: file.telemetry.estimates_as_usage,
        raw_usage: file.telemetry.raw_usage,
        stop_sequences: file.telemetry.stop_sequences,
        ..file.limits.observe()
    }
}

fn reporting(
    file: &File,
    otel: &Otel,
    exporters: Vec<report::Exporter>,
    terminal: bool,
) -> report::Settings {
    report::Settings {
        resource: resource(&file.telemetry.service_name, otel),
        exporters,
        cost_histogram: file.telemetry.cost_histogram,
        phase_spans: file.telemetry.phase_spans,
        sampler: otel.sampler,
        span_attributes: otel.span_attributes,
        log_attributes: otel.log_attributes,
        lines: lines(file.telemetry.lines, terminal),
        limits: report_limits(file, otel),
    }
}

/// Both, or all that is wrong with either.
fn both<A, B>(a: Result<A, Vec<Fault>>, b: Result<B, Vec<Fault>>) -> Result<(A, B), Vec<Fault>> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (a, b) => Err(a.err().into_iter().chain(b.err()).flatten().collect()),
    }
}

fn root(file: &File, layers: &Layers) -> Result<Option<usize>, Vec<Fault>> {
    let said = layers.source("server.root") != Source::Default;
    rules::root(file, said).map_err(|fault| vec![fault])
}

/// Who gets our `traceparent` is told that it is sampled before any sampler is asked.
fn sampled_elsewhere(file: &File, otel: &Otel) -> Option<String> {
    let decides = otel.sampler.root != report::Root::On;
    let propagates = file.upstream.iter().find(|it| it.propagate)?;
    decides.then(|| {
        format!(
            "OTEL_TRACES_SAMPLER decides on spans here; the `traceparent` that `{}` is sent \
             (propagate = true) says \"sampled\" unless the client's says otherwise",
            propagates.name
        )
    })
}

fn lines(lines: Lines, terminal: bool) -> report::Lines {
    match lines {
        Lines::Auto if terminal => report::Lines::Terminal,
        Lines::Auto | Lines::Json => report::Lines::Json,
        Lines::Off => report::Lines::Off,
    }
}

fn report_limits(file: &File, otel: &Otel) -> report::Limits {
    let limits = file.limits.report();
    report::Limits {
        spans: otel.spans,
        logs: otel.logs,
        metric_interval: otel.metric_interval.unwrap_or(limits.metric_interval),
        metric_timeout: otel.metric_timeout,
        ..limits
    }
}

/// What all telemetry belongs to: the service's name, what the operator says of it, and which
/// version and instance this is where the operator does not say.
fn resource(service_name: &str, otel: &Otel) -> Vec<(String, String)> {
    let own = [
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("service.instance.id", random_uuid()),
    ];
    let unsaid = |key: &str| !otel.attributes.iter().any(|(said, _)| said == key);
    let own = own.into_iter().filter(|(key, _)| unsaid(key));
    let name = [("service.name".to_owned(), service_name.to_owned())].into_iter();
    let said = otel.attributes.iter().cloned();
    name.chain(said).chain(own.map(|(key, value)| (key.to_owned(), value))).collect()
}

/// A UUID of version 4 (RFC 9562), as the conventions recommend for `service.instance.id`.
fn random_uuid() -> String {
    let bits = fastrand::u128(..) & !(0xf << 76) & !(0b11 << 62) | 0x4 << 76 | 0b10 << 62;
    let digits = format!("{bits:032x}");
    let groups = [0..8, 8..12, 12..16, 16..20, 20..32];
    groups.map(|group| digits.get(group).unwrap_or_default().to_owned()).join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_has_a_random_uuid() {
        let [a, b] = [random_uuid(), random_uuid()];
        assert_ne!(a, b);
        let lengths: Vec<_> = a.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(a.as_bytes()[14], b'4');
        assert!(b"89ab".contains(&a.as_bytes()[19]), "{a}");
    }

    #[test]
    fn a_sampler_that_an_upstream_does_not_hear_of_is_told() {
        let mut file = File::default();
        let mut otel = Otel::default();
        otel.sampler.root = report::Root::Off;
        assert_eq!(sampled_elsewhere(&file, &otel), None);
        file.upstream[0].propagate = true;
        assert!(sampled_elsewhere(&file, &otel).is_some_and(|it| it.contains("`openai`")));
        assert_eq!(sampled_elsewhere(&file, &Otel::default()), None);
    }

    #[test]
    fn the_resource_is_what_was_said_and_the_rest_is_added() {
        let otel = Otel {
            attributes: vec![
                ("service.version".into(), "mine".into()),
                ("team".into(), "a".into()),
            ],
            ..Otel::default()
        };
        let resource = resource("name", &otel);
        let keys: Vec<_> = resource.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["service.name", "service.version", "team", "service.instance.id"]);
        assert_eq!((&*resource[0].1, &*resource[1].1), ("name", "mine"));
        let own = super::resource("name", &Otel::default());
        assert_eq!(own[1].1, env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn lines_are_for_whoever_reads_them() {
        use report::Lines as Told;
        assert_eq!(lines(Lines::Auto, true), Told::Terminal);
        assert_eq!(lines(Lines::Auto, false), Told::Json);
        assert_eq!(lines(Lines::Json, true), Told::Json);
        assert_eq!(lines(Lines::Off, true), Told::Off);
    }
}
