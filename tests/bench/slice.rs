//! One slice: a load through one proxy by a fresh client process, and what it cost the proxy.

use std::io::{BufRead, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::client::{Load, Seen};
use crate::stage::{Process, Stage, Target};
use crate::{Failure, measure};

/// What one slice showed.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// CPU of the proxy, until its last span was at the sink.
    pub(crate) cpu: Duration,
    pub(crate) seen: Seen,
}

impl Sample {
    pub(crate) fn cpu_us_per_request(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / count(self.seen.sent)
    }

    pub(crate) fn cpu_us_per_chunk(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / count(self.seen.chunks)
    }

    pub(crate) fn requests_per_second(&self) -> f64 {
        count(self.seen.sent) / self.seen.seconds
    }
}

/// Counts here stay far below 2^32.
fn count(number: u64) -> f64 {
    u32::try_from(number).map_or(f64::NAN, f64::from)
}

/// Sends `load` through `proxy`, or straight to the upstream where there is none.
pub(crate) fn run(
    stage: &mut Stage,
    target: Target,
    proxy: Option<&Process>,
    load: Load,
) -> Result<Sample, Failure> {
    let pids = proxy.map_or(Ok(Vec::new()), Process::pids)?;
    let mut client = Client::start(proxy.map_or(stage.upstream(), |proxy| proxy.address), load)?;
    client.hear("ready")?;
    let (cpu, ticks) = (measure::cpu_ns(&pids)?, measure::ticks_ns(&pids)?);
    client.go()?;
    let seen: Seen = serde_json::from_str(&client.line()?)?;
    stage.enter(target, seen.sent, seen.failed);
    if stage.reports(target) {
        stage.wait_for_spans()?;
    }
    let cpu = measure::cpu_ns(&pids)?.saturating_sub(cpu);
    let ticks = measure::ticks_ns(&pids)?.saturating_sub(ticks);
    // Three ticks: one at each reading, and one for rounding of user and system each.
    if ticks.abs_diff(cpu) > 30_000_000 + cpu / 20 {
        stage.notes.push(format!(
            "{target:?}, {load:?}: schedstat says {} ms of CPU, stat {} ms",
            cpu / 1_000_000,
            ticks / 1_000_000
        ));
    }
    Ok(Sample { cpu: Duration::from_nanos(cpu), seen })
}

/// A client process; killed when dropped.
pub(crate) struct Client {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Client {
    pub(crate) fn start(to: SocketAddr, load: Load) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["client", &to.to_string(), &serde_json::to_string(&load)?])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        Ok(Self { child, stdout })
    }

    /// Waits until the client says this word.
    pub(crate) fn hear(&mut self, word: &str) -> Result<(), Failure> {
        let line = self.line()?;
        if line == word { Ok(()) } else { Err(format!("the client ended: {line:?}").into()) }
    }

    fn line(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    fn go(&mut self) -> Result<(), Failure> {
        let stdin = self.child.stdin.as_mut().ok_or("no standard input")?;
        Ok(stdin.write_all(b"go\n")?)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
