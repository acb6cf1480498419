//! Limits of time and cost that end the worker.

use std::time::Duration;
use worker_protocol::{AgentProtocol, Boot};

use crate::redis_server::Redis;
use crate::worker::{Worker, boot, prepare};

fn worker(redis: &Redis, script: &str, change: impl FnOnce(&mut Boot)) -> Worker {
    prepare(&mut redis.connect());
    let mut boot = boot(redis, script);
    change(&mut boot);
    Worker::start(redis, &boot)
}

/// Both entries that tell of a limit.
fn assert_told(worker: &mut Worker, limit: &str) {
    for kind in ["error", "exit"] {
        let entry = worker.heard(kind, "");
        assert!(entry["data"].contains(&format!(r#""name":"{limit}""#)), "{entry:?}");
    }
}

#[test]
fn a_worker_without_work_ends_in_order() {
    let redis = Redis::start();
    let script = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done";
    let mut worker = worker(&redis, script, |boot| {
        boot.bounds.idle_timeout = Some(Duration::from_millis(700));
    });
    assert_eq!(worker.code(), 0);
    worker.heard("stdout", "bye");
    assert_told(&mut worker, "idle_timeout");
}

#[test]
fn a_worker_that_has_lived_its_time_ends_though_its_agent_is_at_work() {
    let redis = Redis::start();
    let mut worker = worker(&redis, "while :; do echo tick; sleep 0.05; done", |boot| {
        boot.bounds.max_lifetime = Some(Duration::from_millis(700));
    });
    assert_eq!(worker.code(), 0);
    assert_told(&mut worker, "max_lifetime");
}

#[test]
fn a_worker_that_has_cost_enough_begins_no_further_prompt() {
    let redis = Redis::start();
    let script = r#"read p; read p; echo '{"type":"result","cost_usd_total":2.5}'; exec cat"#;
    let mut worker = worker(&redis, script, |boot| {
        boot.agent.protocol = AgentProtocol::StreamJson;
        boot.bounds.max_cost_usd = Some(2.5);
    });
    worker.send(&["prompt", "dear"]);
    let late = worker.send(&["prompt", "too late"]);
    worker.heard("turn_started", "dear");
    // The agent reads a second line before it answers, so both prompts are there by then.
    worker.send(&["type", "stdin", "content", "go on\n"]);
    assert_eq!(worker.code(), 1);
    assert_told(&mut worker, "max_cost_usd");
    assert!(worker.heard("error", "not begun")["data"].contains(&late));
    assert_eq!(worker.said().iter().filter(|entry| entry["type"] == "turn_started").count(), 1);
}

/// One that is started when it is needed could not be, once the agent has taken all processes.
#[test]
fn the_thread_that_looks_up_hosts_is_there_before_it_is_needed() {
    let redis = Redis::start();
    let mut worker = Worker::with_script(&redis, "echo up; exec cat");
    worker.heard("stdout", "up");
    // The address is a number, so that nothing was looked up.
    let threads = std::fs::read_dir(format!("/proc/{}/task", worker.pid())).unwrap().count();
    assert_eq!(threads, 2);
}

#[test]
fn when_memory_runs_out_the_agent_goes_before_the_wrapper() {
    let redis = Redis::start();
    let mut worker = Worker::with_script(&redis, "cat /proc/self/oom_score_adj; exec cat");
    let place = |text: &str| text.trim().parse::<i32>().unwrap();
    let agents = place(&worker.heard("stdout", "")["content"]);
    let path = format!("/proc/{}/oom_score_adj", worker.pid());
    let own = place(&std::fs::read_to_string(path).unwrap());
    assert!(agents > own, "the agent's place is {agents}, the wrapper's {own}");
}
