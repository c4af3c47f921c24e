//! What the kernel says a process used. Reads `/proc`; knows no load.

use std::fs;

use crate::Failure;

/// CPU of these processes since they started, user and system of all their threads, in nanoseconds.
/// `schedstat` counts nanoseconds where `stat` counts ticks of 10 ms; it leaves out threads that have
/// ended, so [`ticks_ns`] is read beside it and the two are compared.
pub(crate) fn cpu_ns(pids: &[u32]) -> Result<u64, Failure> {
    let mut sum = 0;
    for pid in pids {
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            // A thread may end between the two reads.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            sum += text.split(' ').next().unwrap_or_default().parse::<u64>()?;
        }
    }
    Ok(sum)
}

/// The same from `stat`, ended threads included, with the resolution of a tick.
pub(crate) fn ticks_ns(pids: &[u32]) -> Result<u64, Failure> {
    let mut ticks = 0;
    for pid in pids {
        ticks += process_ticks(&pid.to_string(), 2)?;
    }
    Ok(ticks * TICK_NS)
}

/// `USER_HZ` is 100 on every Linux.
const TICK_NS: u64 = 10_000_000;

/// The first fields of user, system, and the same two of ended children.
fn process_ticks(pid: &str, fields: usize) -> Result<u64, Failure> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in brackets may hold anything; after it come state and numbers.
    let (_, numbers) = stat.rsplit_once(')').ok_or("no name in stat")?;
    let mut ticks = 0;
    for field in numbers.split_whitespace().skip(11).take(fields) {
        ticks += field.parse::<u64>()?;
    }
    Ok(ticks)
}

/// A reading of the whole machine's CPU, to tell later how much of it others used. Anything but a
/// few percent means that the numbers are worth little.
pub(crate) struct Machine {
    all: u64,
    busy: u64,
    stolen: u64,
    ours: u64,
}

impl Machine {
    /// Now. `running` are processes that this one started and that have not ended.
    pub(crate) fn read(running: &[u32]) -> Result<Self, Failure> {
        let stat = fs::read_to_string("/proc/stat")?;
        let line = stat.lines().next().ok_or("no line in /proc/stat")?;
        let mut fields = [0; 8];
        for (field, text) in fields.iter_mut().zip(line.split_whitespace().skip(1)) {
            *field = text.parse::<u64>()?;
        }
        let [user, nice, system, _idle, _wait, _interrupts, _soft, stolen] = fields;
        let mut ours = process_ticks("self", 4)?;
        for pid in running {
            ours += process_ticks(&pid.to_string(), 4)?;
        }
        Ok(Self { all: fields.iter().sum(), busy: user + nice + system, stolen, ours })
    }

    /// What processes other than ours, and other machines on the same host, took since then.
    pub(crate) fn others_since(&self, then: &Self) -> String {
        let all = (self.all - then.all).max(1);
        let ours = self.ours.saturating_sub(then.ours);
        let others = (self.busy - then.busy).saturating_sub(ours);
        let stolen = self.stolen.saturating_sub(then.stolen);
        let percent = |ticks: u64| ticks * 100 / all;
        format!(
            "of the machine's CPU others took {} %, {} % was stolen",
            percent(others),
            percent(stolen)
        )
    }
}

/// Memory of these processes, shared pages by their share, in KiB.
pub(crate) fn pss_kib(pids: &[u32]) -> Result<u64, Failure> {
    let mut sum = 0;
    for pid in pids {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).ok_or("no Pss")?;
        sum += line.trim().trim_end_matches(" kB").parse::<u64>()?;
    }
    Ok(sum)
}

/// The process and its children (nginx works in those).
pub(crate) fn family(pid: u32) -> Result<Vec<u32>, Failure> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let mut pids = vec![pid];
    for child in children.split_whitespace() {
        pids.push(child.parse()?);
    }
    Ok(pids)
}

/// One line about this machine.
pub(crate) fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model =
        cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let memory = read("/proc/meminfo");
    let memory = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "machine: {}, {cores} cores, {}, Linux {}",
        model.trim_start_matches(['\t', ' ', ':']),
        memory.trim(),
        kernel.trim()
    )
}
