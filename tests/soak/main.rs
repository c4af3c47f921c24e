//! Mixed traffic with faults for as long as asked: `cargo bench --bench soak -- --minutes 60`. Prints
//! memory, descriptors and lost spans while it runs, and fails where something is lost or grows. Knows
//! the proxy from outside only.

/// What is sent, what the upstream does, and what the client must see.
mod kind;
/// The model's stand-in, with its faults.
mod upstream;
/// The load.
mod client;
/// The proxy under test, and what it uses.
mod subject;
/// Where telemetry goes; shared with the benchmark.
#[path = "../bench/sink.rs"]
mod sink;
/// What the kernel says a process used; shared with the benchmark.
#[path = "../bench/measure.rs"]
#[expect(dead_code, reason = "the benchmark uses the rest")]
mod measure;

use std::error::Error;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};

use client::Tally;
use subject::Subject;

/// Whatever stops the soak.
type Failure = Box<dyn Error + Send + Sync>;

/// Mixed traffic with faults; memory, descriptors and spans while it runs.
#[derive(Parser)]
struct Arguments {
    /// How long.
    #[arg(long, default_value_t = 60.0)]
    minutes: f64,
    /// Exchanges at once.
    #[arg(long, default_value_t = 48)]
    clients: usize,
    /// Seconds from one line to the next.
    #[arg(long, default_value_t = 30)]
    every: u64,
    /// Passed by `cargo bench`; without it nothing is run.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Subcommand)]
enum Role {
    #[command(hide = true)]
    Sink,
}

/// Telemetry is refused for so long, once in each period.
const OUTAGE: Duration = Duration::from_secs(5);
/// From one outage to the next.
const OUTAGES_EVERY: Duration = Duration::from_secs(60);
/// Growth between the end of warming up and the end of the soak that is still called flat, in KiB:
/// what an allocator may keep of one busier moment.
const FLAT: u64 = 16 * 1024;

fn main() -> Result<(), Failure> {
    rlimit::increase_nofile_limit(u64::MAX)?;
    let arguments = Arguments::parse();
    match arguments.role {
        Some(Role::Sink) => sink::run(),
        None if arguments.bench => {
            let runtime = tokio::runtime::Runtime::new()?;
            runtime.block_on(conduct(&arguments))
        }
        None => say("nothing soaked: run it with `cargo bench --bench soak`"),
    }
}

async fn conduct(arguments: &Arguments) -> Result<(), Failure> {
    let upstream = upstream::start().await?;
    let subject = Subject::start(upstream)?;
    let tally = Arc::new(Tally::default());
    let end = Instant::now() + Duration::from_secs_f64(arguments.minutes * 60.0);
    for _ in 0..arguments.clients {
        tokio::spawn(client::run(subject.address, Arc::clone(&tally), end));
    }
    let samples = watch(arguments, &subject, &tally, end).await?;
    settle(&subject, &tally).await?;
    let last = sample(&subject, &tally)?;
    say(&last.line(arguments.minutes * 60.0))?;
    for line in tally.lines() {
        say(&line)?;
    }
    verdict(&samples, &last, &tally)
}

/// One line every so often, each after a reload, and an outage of the telemetry now and then.
async fn watch(
    arguments: &Arguments,
    subject: &Subject,
    tally: &Tally,
    end: Instant,
) -> Result<Vec<Sample>, Failure> {
    let start = Instant::now();
    let (mut samples, mut outage) = (Vec::new(), start + OUTAGES_EVERY / 2);
    say("  seconds   requests  unexpected  memory KiB  descriptors      spans  behind")?;
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_secs(arguments.every)).await;
        if Instant::now() >= outage {
            subject.refuse_telemetry(OUTAGE)?;
            outage += OUTAGES_EVERY;
        }
        subject.reload(samples.len())?;
        let sample = sample(subject, tally)?;
        say(&sample.line(start.elapsed().as_secs_f64()))?;
        samples.push(sample);
    }
    Ok(samples)
}

/// Waits until every span has come, or none comes any more.
async fn settle(subject: &Subject, tally: &Tally) -> Result<(), Failure> {
    let patience = Instant::now() + Duration::from_secs(60);
    while Instant::now() < patience {
        tokio::time::sleep(Duration::from_secs(2)).await;
        if tally.running() == 0 && subject.spans()? >= tally.sent() {
            return Ok(());
        }
    }
    Ok(())
}

/// What the proxy used at one moment.
struct Sample {
    sent: u64,
    unexpected: u64,
    memory_kib: u64,
    descriptors: usize,
    spans: u64,
}

fn sample(subject: &Subject, tally: &Tally) -> Result<Sample, Failure> {
    Ok(Sample {
        sent: tally.sent(),
        unexpected: tally.unexpected(),
        memory_kib: subject.memory_kib()?,
        descriptors: subject.descriptors()?,
        spans: subject.spans()?,
    })
}

impl Sample {
    fn line(&self, seconds: f64) -> String {
        format!(
            "{seconds:>9.0} {:>10} {:>11} {:>11} {:>12} {:>10} {:>7}",
            self.sent,
            self.unexpected,
            self.memory_kib,
            self.descriptors,
            self.spans,
            self.sent.saturating_sub(self.spans)
        )
    }
}

/// An error where spans are missing, a client saw what it should not have, or memory grew.
fn verdict(samples: &[Sample], last: &Sample, tally: &Tally) -> Result<(), Failure> {
    let lost = last.sent.abs_diff(last.spans);
    // The first third warms up: pools fill, price and label tables too.
    let warm = samples.iter().skip(samples.len() / 3);
    let (first, most) = warm.fold((None, 0), |(first, most), sample| {
        (first.or(Some(sample.memory_kib)), sample.memory_kib.max(most))
    });
    let grown = most.saturating_sub(first.unwrap_or(most));
    say(&format!(
        "lost spans: {lost}; unexpected: {}; memory grew {grown} KiB",
        tally.unexpected()
    ))?;
    if lost == 0 && tally.unexpected() == 0 && grown <= FLAT {
        return Ok(());
    }
    Err("the soak failed".into())
}

/// Tells whoever started this process where it listens.
fn announce(address: SocketAddr) -> Result<(), Failure> {
    Ok(writeln!(std::io::stderr(), "listening on {address}")?)
}

/// One line on standard output.
fn say(line: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    Ok(stdout.flush()?)
}
