//! Memory: fresh proxies, idle, then with streams held open. Knows no CPU and no time but the wait.

use std::thread;
use std::time::{Duration, Instant};

use crate::client::Load;
use crate::slice::{self, Client};
use crate::stage::{PROXIES, Process, Stage, Target};
use crate::table::{Compare, Row};
use crate::traffic::{Asks, To};
use crate::{Failure, measure};

/// One proxy with its streams; sizes in KiB.
struct Held {
    target: Target,
    proxy: Process,
    idle: f64,
    first: f64,
    opened: Instant,
    later: f64,
    /// Holds the streams open for as long as it lives.
    client: Option<Client>,
}

/// Each stream sends one chunk in this time, so that it is alive without much CPU.
const GAP: Duration = Duration::from_secs(5);

/// Opens the streams on every proxy one after the other, waits once for all.
pub(crate) fn run(stage: &mut Stage, quick: bool) -> Result<Vec<Row>, Failure> {
    let (counts, hold): (&[u32], _) = if quick {
        (&[1000], Duration::from_secs(5))
    } else {
        (&[1000, 5000], Duration::from_secs(60))
    };
    let mut all = Vec::new();
    for &streams in counts {
        let mut held = start(stage)?;
        for one in &mut held {
            open(stage, one, streams)?;
        }
        all.push((streams, held));
    }
    for one in all.iter_mut().flat_map(|(_, held)| held) {
        thread::sleep((one.opened + hold).saturating_duration_since(Instant::now()));
        one.later = pss(&one.proxy)?;
        one.client = None;
    }
    // The streams were cut off; that too has to be reported.
    stage.wait_for_spans()?;
    Ok(rows(&all, hold))
}

/// Fresh proxies, each with a few requests behind it, then idle.
fn start(stage: &mut Stage) -> Result<Vec<Held>, Failure> {
    let mut held = Vec::new();
    for target in PROXIES {
        let Some(proxy) = stage.start(target)? else { continue };
        let unary = Load::Unary { body: 1000, connections: 1, seconds: 0.1, to: To::Asked };
        let stream =
            Load::Stream { connections: 1, each: 1, chunks: 10, gap_us: 0, asks: Asks::Client };
        for load in [unary, stream] {
            slice::run(stage, target, Some(&proxy), load)?;
        }
        let opened = Instant::now();
        held.push(Held { target, proxy, idle: 0.0, first: 0.0, opened, later: 0.0, client: None });
    }
    thread::sleep(Duration::from_secs(2));
    for one in &mut held {
        one.idle = pss(&one.proxy)?;
    }
    Ok(held)
}

fn open(stage: &mut Stage, one: &mut Held, streams: u32) -> Result<(), Failure> {
    let gap_us = u64::try_from(GAP.as_micros())?;
    let load = Load::Hold { streams: usize::try_from(streams)?, gap_us };
    let mut client = Client::start(one.proxy.address, load)?;
    client.hear("open")?;
    one.first = pss(&one.proxy)?;
    one.opened = Instant::now();
    one.client = Some(client);
    stage.enter(one.target, u64::from(streams), 0);
    Ok(())
}

fn pss(proxy: &Process) -> Result<f64, Failure> {
    Ok(f64::from(u32::try_from(measure::pss_kib(&proxy.pids()?)?)?))
}

fn rows(all: &[(u32, Vec<Held>)], hold: Duration) -> Vec<Row> {
    let mut rows = Vec::new();
    if let Some((_, held)) = all.first() {
        let idle = column(held, |one| one.idle / 1024.0);
        let label = "memory idle".to_owned();
        rows.push(Row::new(label, "MiB", &idle, Compare::Difference, None));
    }
    for (streams, held) in all {
        let each = |pss: f64, idle: f64| (pss - idle) / f64::from(*streams);
        let first = column(held, |one| each(one.first, one.idle));
        let later = column(held, |one| each(one.later, one.idle));
        for (values, when) in [(first, "at first chunk".to_owned()), (later, later_label(hold))] {
            let label = format!("memory per open stream, {streams} open, {when}");
            rows.push(Row::new(label, "KiB", &values, Compare::Difference, Some(24.0)));
        }
    }
    rows
}

fn later_label(hold: Duration) -> String {
    format!("{} s later", hold.as_secs())
}

fn column(held: &[Held], of: impl Fn(&Held) -> f64) -> [Vec<f64>; 3] {
    PROXIES.map(|target| held.iter().filter(|one| one.target == target).map(&of).collect())
}
