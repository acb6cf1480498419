//! How soon there is an agent.
//!
//! Ours: from the start of the wrapper's process until `ready` is in the stream. Beside it tini,
//! which starts a program and does no more: until the program's first byte.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Instant;
use worker_protocol::AgentProtocol;
use worker_tests::harness::Installation;

use super::wrapped::Wrapped;
use crate::process::megabytes;
use crate::table::{Series, Table};

const RUNS: usize = 40;
const TINI: &str = "/usr/bin/tini";
/// Milliseconds more than tini.
const TARGET: f64 = 20.0;

pub(crate) fn measure(it: &Installation) -> String {
    if !fs::exists(TINI).unwrap_or(false) {
        return "The start was not measured: there is no tini (Debian: tini).\n".to_owned();
    }
    let (mut tini, mut ours, mut weight) = (Series::default(), Series::default(), 0.0);
    for run in 0..=RUNS {
        let begin = Instant::now();
        let mut child = Command::new(TINI)
            .args(["-s", "--", "/bin/sh", "-c", "echo; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tini");
        let mut byte = [0];
        child.stdout.as_mut().expect("its stdout").read_exact(&mut byte).expect("a byte");
        let one = begin.elapsed();
        weight = megabytes(child.id(), "VmRSS");
        drop(child.stdin.take());
        let _ = child.wait();

        let begin = Instant::now();
        let wrapped = Wrapped::ready(it, AgentProtocol::Lines, &["/bin/cat"]);
        let other = begin.elapsed();
        drop(wrapped);
        if run > 0 {
            tini.push(one);
            ours.push(other);
        }
    }
    let mut table = Table::default();
    table.add("tini to its program's first byte; the wrapper to `ready`", tini, ours, TARGET);
    let size = fs::metadata(TINI).map_or(0.0, |file| file.len() as f64 / 1e6);
    format!("{table}\ntini: {size:.2} MB on disk, {weight:.1} MB resident.\n")
}
