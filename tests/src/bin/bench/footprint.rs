//! What a wrapper weighs: on disk, and in memory while its agent waits.

use std::fs;
use worker_tests::harness::{Installation, docker};

const PROMPTS: usize = 200;

/// A table of sizes.
pub(crate) fn measure(it: &Installation) -> String {
    let file = fs::metadata(&it.environment.wrapper).expect("the wrapper").len();
    let worker = it.script("exec cat");
    worker.comes_to("ready");
    let pid = docker(&["inspect", "--format", "{{.State.Pid}}", &worker.name()]);
    let idle = resident(&pid);
    for number in 1..=PROMPTS {
        worker.turn(&format!("prompt {number}"));
    }
    let worked = resident(&pid);
    worker.delete();
    format!(
        "| wrapper | MB | target |\n| --- | --- | --- |\n\
         | program on disk | {:.2} | < 5 |\n\
         | resident, agent idle | {:.2} | < 8 |\n\
         | resident, after {PROMPTS} prompts | {:.2} | < 8 |\n",
        megabytes(file),
        megabytes(idle),
        megabytes(worked)
    )
}

/// Resident bytes of a process on this machine.
fn resident(pid: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_else(|error| {
        panic!("failed to see process {pid} ({error}); the engine must run on this machine")
    });
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().expect("a number");
    kib * 1024
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
