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
    /// `USER_HZ`, the same on every Linux.
    const TICK_NS: u64 = 10_000_000;
    let mut ticks = 0;
    for pid in pids {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name in brackets may hold anything; after it come state and numbers.
        let (_, numbers) = stat.rsplit_once(')').ok_or("no name in stat")?;
        for field in numbers.split_whitespace().skip(11).take(2) {
            ticks += field.parse::<u64>()?;
        }
    }
    Ok(ticks * TICK_NS)
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
