//! What the machine says: processor time, memory, threads, and what it is.
//!
//! Linux only, as `make bench` is: the figures of the peers come from the same
//! places.

use std::fs;
use std::process::Command;
use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// Processor time that the calling thread has used.
pub(crate) fn thread_cpu() -> Duration {
    cpu(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

/// Processor time that all threads of this process have used.
pub(crate) fn process_cpu() -> Duration {
    cpu(ClockId::CLOCK_PROCESS_CPUTIME_ID)
}

fn cpu(clock: ClockId) -> Duration {
    clock_gettime(clock).map_or(Duration::ZERO, Duration::from)
}

/// Processor time that all living threads of another process have used; `None`
/// once it is gone.
pub(crate) fn cpu_of(process: u32) -> Option<Duration> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).ok()?;
    let nanos: u64 = threads
        .flatten()
        .filter_map(|thread| {
            let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        })
        .sum();
    (nanos > 0).then(|| Duration::from_nanos(nanos))
}

/// Keeps the calling thread on processor `index`, or lets it run where one of
/// that number does not exist.
pub(crate) fn pin(index: usize) {
    let mut set = CpuSet::new();
    if set.set(index).is_ok() && sched_setaffinity(Pid::from_raw(0), &set).is_err() {
        eprintln!("note: processor {index} cannot be had; the thread runs where it is put");
    }
}

/// A line of a process's status: `VmRSS`, `VmHWM` (kilobytes), `Threads`.
pub(crate) fn status(process: u32, line: &str) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let rest = status.lines().find_map(|have| have.strip_prefix(line)?.strip_prefix(':'))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Megabytes that this process holds now.
pub(crate) fn resident_mb() -> f64 {
    status(std::process::id(), "VmRSS").unwrap_or(0.0) / 1024.0
}

/// Threads of this process now.
pub(crate) fn threads() -> f64 {
    status(std::process::id(), "Threads").unwrap_or(0.0)
}

/// How many threads wanted a processor, on average over the last minute.
pub(crate) fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

/// What the figures were taken on: one line a fact, none that tells whose
/// machine it is.
pub(crate) fn description() -> Vec<(String, String)> {
    let file = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let info = file("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let virtual_machine = info.lines().any(|line| line.starts_with("flags") && line.contains("hypervisor"));
    let memory = file("/proc/meminfo");
    let kilobytes: f64 = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok())
        .unwrap_or(0.0);
    let system = file("/etc/os-release");
    let name = system.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("unknown");
    let facts = [
        ("processor", model.map_or("unknown", |(_, name)| name.trim()).to_owned()),
        ("cores", format!("{cores}{}", if virtual_machine { ", of a virtual machine" } else { "" })),
        ("memory", format!("{:.0} GB", kilobytes / 1024.0 / 1024.0)),
        ("kernel", file("/proc/sys/kernel/osrelease").trim().to_owned()),
        ("system", name.trim_matches('"').to_owned()),
        ("Rust", first_line("rustc", &["--version".to_owned()]).trim_start_matches("rustc ").to_owned()),
        ("Sidetone", env!("CARGO_PKG_VERSION").to_owned()),
    ];
    facts.map(|(what, is)| (what.to_owned(), is)).into()
}

/// The first line that a program prints; "absent" where there is none.
pub(crate) fn first_line(program: &str, arguments: &[String]) -> String {
    let said = Command::new(program).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let text = said.map(|said| String::from_utf8_lossy(&said.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or("absent").to_owned()
}
