//! What a process of this machine uses, as `/proc` tells it.

use std::fs;

/// Of the clock in `/proc`, on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// A size in `/proc/<pid>/status`, such as `VmRSS`, in MB.
pub(crate) fn megabytes(pid: u32, name: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_else(|error| {
        panic!("failed to see process {pid} ({error}); the engine must run on this machine")
    });
    let line = status.lines().find(|line| line.starts_with(name)).expect("a size");
    let kib: f64 = line.split_whitespace().nth(1).expect("a value").parse().expect("a number");
    kib * 1024.0 / 1e6
}

/// Processor time of a process so far, without its children.
pub(crate) fn seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    let (_, fields) = stat.rsplit_once(')').expect("its fields");
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks.map(|ticks| ticks.parse::<f64>().expect("a number")).sum::<f64>() / TICKS_PER_SECOND
}

/// The processes whose program has this name.
pub(crate) fn named(name: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_it = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name)
    };
    pids.filter(is_it).collect()
}
