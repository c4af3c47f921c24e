//! CPU and latency: which slices there are, in which order they run, and which rows they give. Knows
//! no process but through `stage` and `slice`.

use crate::client::Load;
use crate::slice::{self, Sample};
use crate::stage::{PROXIES, Process, Stage, Target};
use crate::table::{Compare, Row, median};
use crate::traffic::{Asks, To};
use crate::{Failure, Part};

/// A load, and what is read from it.
struct Slice {
    part: Part,
    load: Load,
    /// Also without a proxy; what that shows is subtracted.
    direct: bool,
    /// How often in each round: delays depend on which core a process happens to wake on, so they
    /// want many short slices.
    repeats: usize,
    measures: Vec<Measure>,
}

/// One row of the table.
struct Measure {
    label: String,
    unit: &'static str,
    of: fn(&Sample) -> f64,
    compare: Compare,
    aim: Option<f64>,
}

/// What the rounds of one slice showed: one sample for each round.
#[derive(Default)]
struct Samples {
    direct: Vec<Sample>,
    proxies: [Vec<Sample>; 3],
}

/// Slices of delays in each round.
const REPEATS: usize = 4;

/// How long it all takes.
struct Extent {
    rounds: usize,
    seconds: f64,
}

/// Runs all slices of the wanted parts, interleaved: in each round every slice goes through every
/// proxy, and each round begins with another proxy.
pub(crate) fn run(
    stage: &mut Stage,
    quick: bool,
    wants: impl Fn(Part) -> bool,
) -> Result<Vec<Row>, Failure> {
    let extent =
        if quick { Extent { rounds: 2, seconds: 0.5 } } else { Extent { rounds: 5, seconds: 1.5 } };
    let slices: Vec<_> =
        plan(extent.seconds).into_iter().filter(|slice| wants(slice.part)).collect();
    if slices.is_empty() {
        return Ok(Vec::new());
    }
    let mut proxies = [const { None }; 3];
    for (proxy, target) in proxies.iter_mut().zip(PROXIES) {
        *proxy = stage.start(target)?;
    }
    warm(stage, &proxies)?;
    let mut results: Vec<_> = slices.iter().map(|_| Samples::default()).collect();
    for round in 0..extent.rounds {
        for (slice, samples) in slices.iter().zip(&mut results) {
            for repeat in 0..slice.repeats {
                one_round(stage, &proxies, slice, round + repeat, samples)?;
            }
        }
    }
    let mut rows: Vec<_> =
        slices.iter().zip(&results).flat_map(|(slice, samples)| rows_of(slice, samples)).collect();
    rows.extend(growth(&slices, &results));
    Ok(rows)
}

/// Opens the pools and faults the pages in before anything counts.
fn warm(stage: &mut Stage, proxies: &[Option<Process>; 3]) -> Result<(), Failure> {
    for (target, proxy) in PROXIES.into_iter().zip(proxies) {
        if proxy.is_some() {
            let load = Load::Unary { body: 1000, connections: 16, seconds: 0.3, to: To::Asked };
            slice::run(stage, target, proxy.as_ref(), load)?;
            slice::run(stage, target, proxy.as_ref(), unpaced(100, 1, Asks::Client))?;
        }
    }
    Ok(())
}

fn one_round(
    stage: &mut Stage,
    proxies: &[Option<Process>; 3],
    slice: &Slice,
    round: usize,
    samples: &mut Samples,
) -> Result<(), Failure> {
    if slice.direct {
        samples.direct.push(slice::run(stage, Target::Direct, None, slice.load)?);
    }
    for step in 0..PROXIES.len() {
        let turn = (round + step) % PROXIES.len();
        let turns = PROXIES.into_iter().zip(proxies).zip(&mut samples.proxies);
        let http2 = matches!(slice.load, Load::Shared { .. } | Load::Unary { to: To::Http2, .. });
        if let Some(((target, Some(proxy)), samples)) = turns.into_iter().nth(turn)
            && !(http2 && target == Target::Beside && stage.against.is_none())
        {
            samples.push(slice::run(stage, target, Some(proxy), slice.load)?);
        }
    }
    Ok(())
}

/// All slices, in the order of the table.
fn plan(seconds: f64) -> Vec<Slice> {
    let mut slices = Vec::new();
    let sizes = [(1000, "1 KB"), (200_000, "200 KB"), (4_000_000, "4 MB")];
    for (to, which) in [
        (To::Asked, ""),
        (To::Observed, ", not asked about usage"),
        (To::Http2, ", upstream speaks HTTP/2"),
    ] {
        for (body, size) in sizes {
            slices.push(Slice {
                part: Part::Cpu,
                load: Load::Unary { body, connections: 8, seconds, to },
                direct: false,
                repeats: 1,
                measures: vec![Measure {
                    label: format!("CPU per unary request, {size}{which}"),
                    unit: "µs",
                    of: Sample::cpu_us_per_request,
                    compare: Compare::Ratio,
                    aim: Some(1.3),
                }],
            });
        }
    }
    slices.push(shared(seconds));
    slices.push(throughput(seconds));
    slices.push(latency(seconds));
    slices.extend([Asks::Client, Asks::Proxy, Asks::Nobody].map(|asks| paced(seconds, asks)));
    slices.push(chunk_delay(seconds));
    slices.extend([100, 1000, 10_000].map(|chunks| at_length(chunks, seconds)));
    slices.push(asked(1000, seconds));
    slices
}

/// Over HTTP/2 from the client on. nginx would want a port of its own for that.
fn shared(seconds: f64) -> Slice {
    Slice {
        part: Part::Cpu,
        load: Load::Shared { body: 1000, streams: 8, seconds },
        direct: false,
        repeats: 1,
        measures: vec![Measure {
            label: "CPU per unary request, 1 KB, client speaks HTTP/2".to_owned(),
            unit: "µs",
            of: Sample::cpu_us_per_request,
            compare: Compare::Ratio,
            aim: None,
        }],
    }
}

fn throughput(seconds: f64) -> Slice {
    Slice {
        part: Part::Cpu,
        load: Load::Unary { body: 1000, connections: 64, seconds, to: To::Asked },
        direct: false,
        repeats: 1,
        measures: vec![Measure {
            label: "requests/s at concurrency 64, 1 KB".to_owned(),
            unit: "/s",
            of: Sample::requests_per_second,
            compare: Compare::Ratio,
            aim: None,
        }],
    }
}

fn latency(seconds: f64) -> Slice {
    let added = |label: &str, of, aim| Measure {
        label: label.to_owned(),
        unit: "µs",
        of,
        compare: Compare::Difference,
        aim,
    };
    Slice {
        part: Part::Latency,
        load: Load::Unary { body: 1000, connections: 1, seconds: seconds / 4.0, to: To::Asked },
        direct: true,
        repeats: REPEATS,
        measures: vec![
            added("added p50 at concurrency 1, 1 KB", |s| us(s.seen.answer.p50), Some(60.0)),
            added("added p99 at concurrency 1, 1 KB", |s| us(s.seen.answer.p99), None),
        ],
    }
}

/// Streams of 50 chunks a second, as models send them.
fn paced(seconds: f64, asks: Asks) -> Slice {
    let who = match asks {
        Asks::Client => "client asks for usage",
        Asks::Proxy => "proxy asks for usage",
        Asks::Nobody => "nobody asks for usage",
    };
    Slice {
        part: Part::Stream,
        load: Load::Stream {
            connections: 100,
            each: 1,
            chunks: whole(seconds * 50.0),
            gap_us: 20_000,
            asks,
        },
        direct: false,
        repeats: 1,
        measures: vec![Measure {
            label: format!("CPU per chunk, 100 streams × 50/s, {who}"),
            unit: "µs",
            of: Sample::cpu_us_per_chunk,
            compare: Compare::Ratio,
            aim: Some(1.25),
        }],
    }
}

/// One stream at a time, so that delays are the proxy's and not the queue's.
fn chunk_delay(seconds: f64) -> Slice {
    let added = |label: &str, of| Measure {
        label: label.to_owned(),
        unit: "µs",
        of,
        compare: Compare::Difference,
        aim: None,
    };
    Slice {
        part: Part::Stream,
        load: Load::Stream {
            connections: 1,
            each: whole(seconds * 50.0),
            chunks: 10,
            gap_us: 1000,
            asks: Asks::Client,
        },
        direct: true,
        repeats: REPEATS,
        measures: vec![
            added("added delay to first chunk, p50", |s| us(s.seen.first_chunk.p50)),
            added("added delay to first chunk, p99", |s| us(s.seen.first_chunk.p99)),
            added("added delay to each chunk, p50", |s| us(s.seen.chunk.p50)),
            added("added delay to each chunk, p99", |s| us(s.seen.chunk.p99)),
        ],
    }
}

/// Chunks as fast as they go, in streams of this length.
fn at_length(chunks: usize, seconds: f64) -> Slice {
    Slice {
        part: Part::Stream,
        load: unpaced(chunks, (whole(seconds * 6000.0) / chunks).max(1), Asks::Client),
        direct: false,
        repeats: 1,
        measures: vec![Measure {
            label: format!("CPU per chunk, unpaced, streams of {chunks}"),
            unit: "µs",
            of: Sample::cpu_us_per_chunk,
            compare: Compare::Ratio,
            aim: Some(1.25),
        }],
    }
}

/// The same where Clearspan asks, against a pass-through whose streams have no usage.
fn asked(chunks: usize, seconds: f64) -> Slice {
    let mut slice = at_length(chunks, seconds);
    slice.load = unpaced(chunks, (whole(seconds * 6000.0) / chunks).max(1), Asks::Proxy);
    let label = format!("CPU per chunk, unpaced, streams of {chunks}, proxy asks for usage");
    slice.measures.iter_mut().for_each(|measure| measure.label.clone_from(&label));
    slice
}

fn unpaced(chunks: usize, each: usize, asks: Asks) -> Load {
    Load::Stream { connections: 8, each, chunks, gap_us: 0, asks }
}

fn rows_of(slice: &Slice, samples: &Samples) -> Vec<Row> {
    let row = |measure: &Measure| {
        let values = samples.proxies.each_ref().map(|proxy| less_direct(measure, samples, proxy));
        Row::new(measure.label.clone(), measure.unit, &values, measure.compare, measure.aim)
    };
    slice.measures.iter().map(row).collect()
}

/// A proxy's value in each round, without what the way has without a proxy.
fn less_direct(measure: &Measure, samples: &Samples, proxy: &[Sample]) -> Vec<f64> {
    let direct = samples.direct.iter().map(measure.of).chain(std::iter::repeat(0.0));
    proxy.iter().map(measure.of).zip(direct).map(|(value, direct)| value - direct).collect()
}

/// CPU per chunk in streams of 10,000 against streams of 1,000: flat is 1. Here it is Clearspan's own
/// growth that has an aim, not its ratio to another.
fn growth(slices: &[Slice], results: &[Samples]) -> Option<Row> {
    let at = |wanted| {
        slices.iter().zip(results).find_map(|(slice, samples)| match slice.load {
            Load::Stream { gap_us: 0, chunks, asks: Asks::Client, .. } if chunks == wanted => {
                Some(samples)
            }
            _ => None,
        })
    };
    let (short, long) = (at(1000)?, at(10_000)?);
    let mut pairs = short.proxies.iter().zip(&long.proxies).map(|(short, long)| {
        let pairs = short.iter().zip(long);
        pairs
            .map(|(short, long)| long.cpu_us_per_chunk() / short.cpu_us_per_chunk())
            .collect::<Vec<_>>()
    });
    let grown = [pairs.next()?, pairs.next()?, pairs.next()?];
    Some(Row {
        measure: "CPU per chunk, streams of 10000 ÷ of 1000 (each its own)".to_owned(),
        unit: "×",
        values: grown.each_ref().map(|values| median(values)),
        compare: Compare::Ratio,
        compared: grown.into_iter().nth(1)?,
        beside: Vec::new(),
        aim: Some(1.1),
    })
}

fn us(nanos: u64) -> f64 {
    std::time::Duration::from_nanos(nanos).as_secs_f64() * 1e6
}

/// Counts here are small; the float is one that was multiplied out above.
fn whole(number: f64) -> usize {
    usize::try_from(std::time::Duration::from_secs_f64(number).as_secs()).unwrap_or(usize::MAX)
}
