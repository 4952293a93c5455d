//! CPU and memory of processes, from `/proc`.

use std::{fs, time::Duration};

use anyhow::{Context as _, bail};

/// The kernel counts CPU for `/proc` in ticks of this many per second on every Linux port.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a process has used so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    /// User and system time together.
    pub(super) cpu: Duration,
    /// Resident memory now.
    pub(super) resident_bytes: u64,
}

/// The processes of the servers under load.
#[derive(Debug)]
pub(super) struct Processes(Vec<u32>);

impl Processes {
    pub(super) fn new(pids: Vec<u32>) -> Self {
        Self(pids)
    }

    /// Whether there is anything to read.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Makes sure that all can be read.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        self.usage().map(drop)
    }

    /// The sum over all of them; `None` when none were named.
    pub(super) fn usage(&self) -> anyhow::Result<Option<Usage>> {
        if self.is_empty() {
            return Ok(None);
        }
        let mut sum = Usage::default();
        for pid in &self.0 {
            let usage = read(&pid.to_string())?;
            sum.cpu += usage.cpu;
            sum.resident_bytes += usage.resident_bytes;
        }
        Ok(Some(sum))
    }
}

/// What this process has used.
pub(super) fn own_usage() -> anyhow::Result<Usage> {
    read("self")
}

/// Fails early when this process may not open as many sockets as asked for.
pub(super) fn check_open_files(sockets: usize) -> anyhow::Result<()> {
    let limits =
        fs::read_to_string("/proc/self/limits").context("cannot read /proc/self/limits")?;
    let soft = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|line| line.split_whitespace().next())
        .and_then(|soft| soft.parse::<usize>().ok());
    match soft {
        Some(soft) if soft < sockets + 64 => bail!(
            "{sockets} sockets need `ulimit -n {}`; it is {soft}",
            sockets + 64
        ),
        _ => Ok(()),
    }
}

fn read(pid: &str) -> anyhow::Result<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("no process {pid}"))?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("no process {pid}"))?;
    parse(&stat, &status).with_context(|| format!("cannot read the usage of process {pid}"))
}

fn parse(stat: &str, status: &str) -> Option<Usage> {
    // The name, in parentheses, may hold anything; the fields after it are counted from its end.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    let cpu = Duration::from_secs_f64((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND);
    let kilobytes: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()?;
    Some(Usage {
        cpu,
        resident_bytes: kilobytes * 1024,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 1 0 0 0 150 50 0 0 20 0 3 0 1 1 1";
        let usage = parse(stat, "Name:\ta\nVmRSS:\t   2048 kB\n").unwrap();
        assert_eq!(
            (usage.cpu, usage.resident_bytes),
            (Duration::from_secs(2), 2 << 20)
        );
        assert!(parse("", "").is_none());
        assert!(own_usage().unwrap().resident_bytes > 0);
    }
}
