//! A program that prints as fast as it can.
//!
//! Ours: from the word to begin until its last line is in the stream. The floor: as many entries of
//! the same fields by `redis-benchmark`, pipelined.

use redis::IntoConnectionInfo;
use std::process::Command;
use std::time::Instant;
use worker_protocol::AgentProtocol;
use worker_tests::harness::Installation;

use super::median;
use super::wrapped::Wrapped;

const LINES: usize = 500_000;
const ROUNDS: usize = 3;
const LINE: &str =
    "the quick brown fox jumps over the lazy dog, and tells of it in a line of 85 letters";

/// What one flood came to.
struct Flood {
    per_second: f64,
    processor_seconds: f64,
    idle: f64,
    peak: f64,
}

pub(crate) fn measure(it: &Installation) -> String {
    let (mut floors, mut floods) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        floors.push(bare(it));
        floods.push(flood(it));
    }
    let of = |pick: fn(&Flood) -> f64| median(floods.iter().map(pick).collect());
    let (floor, ours) = (median(floors), of(|flood| flood.per_second));
    format!(
        "| a flood of {LINES} lines, median of {ROUNDS} | | target |\n| --- | --- | --- |\n\
         | lines in a second | {ours:.0} | |\n\
         | the same entries by `redis-benchmark` | {floor:.0} | |\n\
         | share | {:.0} % | > 60 % |\n\
         | processor seconds of the wrapper for a million lines | {:.2} | |\n\
         | MB resident, idle | {:.1} | < 6 |\n\
         | MB resident, most | {:.1} | < 32 |\n",
        100.0 * ours / floor,
        of(|flood| flood.processor_seconds) * 1e6 / LINES as f64,
        of(|flood| flood.idle),
        of(|flood| flood.peak),
    )
}

fn flood(it: &Installation) -> Flood {
    let script = format!("read x; yes '{LINE}' | head -n {LINES}; echo the end; exec cat");
    let wrapped = Wrapped::ready(it, AgentProtocol::Lines, &["/bin/sh", "-c", &script]);
    let idle = wrapped.megabytes("VmRSS");
    let (begin, before) = (Instant::now(), wrapped.seconds());
    wrapped.send(&[("type", "stdin"), ("content", "go\n")]);
    wrapped.comes_to(|entry| entry.content() == "the end");
    Flood {
        per_second: LINES as f64 / begin.elapsed().as_secs_f64(),
        processor_seconds: wrapped.seconds() - before,
        idle,
        peak: wrapped.megabytes("VmHWM"),
    }
}

/// Entries in a second, by Redis' own program. Eight connections were the fastest of what was tried.
fn bare(it: &Installation) -> f64 {
    let info = it.environment.redis_url.as_str().into_connection_info().expect("an address");
    let redis::ConnectionAddr::Tcp(host, port) = info.addr() else { panic!("redis by TCP") };
    let key = it.key("bare-flood");
    let mut command = Command::new("redis-benchmark");
    command.args(["-h", host, "-p", &port.to_string(), "-n", &LINES.to_string()]);
    command.args(["-c", "8", "-P", "128", "--csv"]);
    if let Some(password) = info.redis_settings().password() {
        command.env("REDISCLI_AUTH", password).args(["-a", password]);
    }
    command.args(["XADD", &key, "MAXLEN", "~", "10000", "*", "type", "stdout", "content", LINE]);
    command.args(["timestamp", "2026-01-01T00:00:00.000Z", "seq", "123456", "source", "agent"]);
    let output = command.output().expect("redis-benchmark (Debian: redis-tools)");
    it.redis.run::<()>(&["DEL", &key]);
    let text = String::from_utf8_lossy(&output.stdout);
    // The last line has name and rate first, each in quotes.
    let rate = text.lines().last().and_then(|line| line.split("\",\"").nth(1));
    rate.and_then(|rate| rate.parse().ok()).unwrap_or_else(|| panic!("no rate in {text}"))
}
