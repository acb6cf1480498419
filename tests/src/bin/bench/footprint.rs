//! What a wrapper weighs: on disk, and in memory while its agent waits.

use std::fs;
use worker_tests::harness::{Installation, docker};

use crate::process::megabytes;

const PROMPTS: usize = 200;

/// A table of sizes.
pub(crate) fn measure(it: &Installation) -> String {
    let file = fs::metadata(&it.environment.wrapper).expect("the wrapper").len();
    let worker = it.script("exec cat");
    worker.comes_to("ready");
    let pid = docker(&["inspect", "--format", "{{.State.Pid}}", &worker.name()]);
    let pid = pid.parse().expect("a process");
    let idle = megabytes(pid, "VmRSS");
    for number in 1..=PROMPTS {
        worker.turn(&format!("prompt {number}"));
    }
    let worked = megabytes(pid, "VmRSS");
    worker.delete();
    format!(
        "| wrapper | MB | target |\n| --- | --- | --- |\n\
         | program on disk | {:.2} | < 5 |\n\
         | resident, agent idle | {:.2} | < 8 |\n\
         | resident, after {PROMPTS} prompts | {:.2} | < 8 |\n",
        file as f64 / 1e6,
        idle,
        worked
    )
}
