use std::collections::BTreeSet;
use std::time::Duration;
use worker_protocol::Secret;

use crate::redis_server::{Entry, Redis, ask, pending, until, within};
use crate::worker::{INPUT, Worker, boot, prepare};

/// The numbers that the agent counted, in the order of the stream.
pub(crate) fn counted(worker: &mut Worker) -> Vec<u64> {
    let lines = worker.said().into_iter().filter(|entry| entry["type"] == "stdout");
    lines.filter_map(|entry| entry["content"].parse().ok()).collect()
}

#[test]
fn connections_that_are_cut_in_mid_stream_lose_and_double_nothing() {
    let redis = Redis::start();
    prepare(&mut redis.connect());
    let script = "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo $i; [ $((i % 100)) = 0 ] && sleep 0.02; done; echo done; exec cat";
    let mut boot = boot(&redis, script);
    boot.bounds.output_entries = 100_000;
    let mut worker = Worker::start(&redis, &boot);
    for part in [100, 700, 1500, 2200] {
        until("some lines", || counted(&mut worker).last().filter(|n| **n >= part).copied());
        let killed: i64 = ask(&mut worker.redis, &["CLIENT", "KILL", "USER", "w"]);
        assert!(killed >= 0);
    }
    worker.heard("stdout", "done");
    assert_eq!(counted(&mut worker), (1..=3000).collect::<Vec<_>>());
    // The reader came back as well.
    worker.send(&["prompt", "still there?"]);
    worker.heard("stdout", "still there?");
}

#[test]
fn a_prompt_of_the_time_without_a_connection_is_run_once() {
    let redis = Redis::start();
    let mut worker = Worker::with_script(&redis, "exec cat");
    worker.heard("ready", "");
    for n in 0..20 {
        if n % 4 == 0 {
            ask::<i64>(&mut worker.redis, &["CLIENT", "KILL", "USER", "w"]);
        }
        worker.send(&["prompt", &format!("prompt-{n}")]);
    }
    worker.heard("stdout", "prompt-19");
    let texts: Vec<_> = worker.said().into_iter().filter(|e| e["type"] == "stdout").collect();
    let unique: BTreeSet<_> = texts.iter().map(|e| e["content"].clone()).collect();
    assert_eq!((texts.len(), unique.len()), (20, 20));
}

#[test]
fn what_is_said_while_redis_is_away_comes_when_it_is_back() {
    let mut redis = Redis::start();
    let script = "read x; i=0; while [ $i -lt 500 ]; do i=$((i+1)); echo $i; done; sleep 1; echo done; exec cat";
    let mut worker = Worker::with_script(&redis, script);
    worker.heard("ready", "");
    worker.send(&["type", "stdin", "content", "go\n"]);
    until("the first line", || counted(&mut worker).first().copied());
    redis.kill();
    redis.restart();
    worker.redis = redis.connect();
    prepare(&mut worker.redis);
    worker.heard("stdout", "done");
    worker.send(&["prompt", "still there?"]);
    worker.heard("stdout", "still there?");
}

#[test]
fn a_backlog_that_overflows_is_a_gap_with_counts() {
    let mut redis = Redis::start();
    prepare(&mut redis.connect());
    let folder = tempfile::tempdir().unwrap();
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(folder.path(), everybody).unwrap();
    let mut boot = boot(
        &redis,
        "echo begin; until [ -e go ]; do sleep 0.05; done; seq 5000; touch filled; exec cat",
    );
    boot.agent.workspace = folder.path().to_str().unwrap().to_owned();
    boot.bounds.backlog_bytes = 100_000;
    boot.bounds.spool_bytes = 0;
    let mut worker = Worker::start(&redis, &boot);
    worker.heard("stdout", "begin");
    redis.kill();
    std::fs::write(folder.path().join("go"), "").unwrap();
    until("the flood's end", || folder.path().join("filled").exists().then_some(()));
    redis.restart();
    worker.redis = redis.connect();
    prepare(&mut worker.redis);
    worker.heard("gap", "were lost");
    until("the last line", || counted(&mut worker).last().filter(|n| **n == 5000).copied());
    let lost = |entry: Entry| {
        let data: serde_json::Value = serde_json::from_str(&entry["data"]).unwrap();
        data["entries"].as_u64().unwrap()
    };
    // There may be two: one that was sent when Redis had just come back, and one after it.
    let lost: u64 = worker.said().into_iter().filter(|e| e["type"] == "gap").map(lost).sum();
    let kept = counted(&mut worker);
    // Every line is there or counted.
    assert_eq!(lost, 5000 - kept.len() as u64);
    assert!(kept.is_sorted());
}

#[test]
fn a_flood_comes_through_whole_and_in_bounded_memory() {
    let redis = Redis::start();
    prepare(&mut redis.connect());
    let mut boot = boot(&redis, "seq 200000; echo done; exec cat");
    boot.bounds.output_entries = 300_000;
    let mut worker = Worker::start(&redis, &boot);
    // Without optimisation, on a machine with other work, it takes its time.
    within(Duration::from_secs(180), "the flood's end", || {
        let last: Vec<(String, Vec<String>)> =
            ask(&mut worker.redis, &["XREVRANGE", crate::worker::OUTPUT, "+", "-", "COUNT", "1"]);
        last.first().filter(|(_, fields)| fields.contains(&"done".to_owned())).map(drop)
    });
    assert_eq!(counted(&mut worker), (1..=200_000).collect::<Vec<_>>());
    let peak = worker.memory_kb("VmHWM");
    assert!(peak < 64 << 10, "{peak} kB");
}

#[test]
fn a_worker_whose_credentials_are_wrong_ends_and_says_so() {
    let redis = Redis::start();
    prepare(&mut redis.connect());
    let mut boot = boot(&redis, "exec cat");
    boot.redis.password = Secret::new("wrong");
    let mut worker = Worker::start(&redis, &boot);
    assert_eq!(worker.code(), 77);
    assert!(worker.log().contains("redis"), "{}", worker.log());
}

#[test]
fn input_is_trimmed_below_what_is_done_and_not_above() {
    let redis = Redis::start();
    let mut worker = Worker::with_script(&redis, "exec cat");
    for n in 0..300 {
        worker.send(&["prompt", &n.to_string()]);
    }
    worker.heard("stdout", "299");
    until("a shorter stream", || {
        let length: i64 = ask(&mut worker.redis, &["XLEN", INPUT]);
        (length < 300).then_some(())
    });
}

/// A workspace in which the test tells the agent something.
fn everybodys_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(folder.path(), everybody).unwrap();
    folder
}

#[test]
fn the_result_of_an_agent_that_ends_meanwhile_waits_for_redis() {
    let mut redis = Redis::start();
    prepare(&mut redis.connect());
    let folder = everybodys_folder();
    let script = "echo up; until [ -e go ]; do sleep 0.05; done; echo result; exit 3";
    let mut boot = boot(&redis, script);
    boot.agent.workspace = folder.path().to_str().unwrap().to_owned();
    let mut worker = Worker::start(&redis, &boot);
    worker.heard("stdout", "up");
    redis.kill();
    std::fs::write(folder.path().join("go"), "").unwrap();
    until("an attempt that fails", || {
        worker.log().contains("connection for output failed").then_some(())
    });
    redis.restart();
    worker.redis = redis.connect();
    prepare(&mut worker.redis);
    assert_eq!(worker.code(), 3);
    let kinds: Vec<_> = worker.said().into_iter().map(|mut e| e.remove("type")).collect();
    assert_eq!(kinds.last().unwrap().as_deref(), Some("exit"), "{kinds:?}");
}

#[test]
fn a_group_that_was_made_anew_runs_nothing_twice() {
    let redis = Redis::start();
    let mut worker = Worker::with_script(&redis, "exec cat");
    for text in ["first", "second"] {
        worker.send(&["prompt", text]);
        worker.heard("stdout", text);
    }
    ask::<i64>(&mut worker.redis, &["XGROUP", "DESTROY", INPUT, "wrapper"]);
    prepare(&mut worker.redis);
    worker.send(&["prompt", "third"]);
    worker.heard("stdout", "third");
    until("every acknowledgement", || (pending(&mut worker.redis, INPUT) == 0).then_some(()));
    let said = worker.said();
    let turns: Vec<_> = said.iter().filter(|entry| entry["type"] == "turn_started").collect();
    assert_eq!(turns.len(), 3, "{turns:?}");
}

#[test]
fn a_redis_that_stands_still_costs_nothing() {
    let redis = Redis::start();
    prepare(&mut redis.connect());
    let folder = everybodys_folder();
    let script = "echo up; until [ -e go ]; do sleep 0.05; done; seq 20000; touch said; exit 3";
    let mut boot = boot(&redis, script);
    boot.agent.workspace = folder.path().to_str().unwrap().to_owned();
    boot.bounds.output_entries = 200_000;
    let mut worker = Worker::start(&redis, &boot);
    worker.heard("stdout", "up");
    redis.freeze();
    std::fs::write(folder.path().join("go"), "").unwrap();
    // The agent neither waits for Redis nor loses what stands in its pipe when it ends.
    until("the agent's last word", || folder.path().join("said").exists().then_some(()));
    until("its end", || worker.children().is_empty().then_some(()));
    until("doubts", || worker.log().contains("connection for output failed").then_some(()));
    redis.thaw();
    assert_eq!(worker.code(), 3);
    assert_eq!(counted(&mut worker), (1..=20_000).collect::<Vec<_>>());
}

#[test]
fn output_that_redis_has_no_memory_for_comes_when_it_has() {
    let redis = Redis::start();
    let mut worker = Worker::with_script(&redis, "read x; seq 2000; exec cat");
    worker.heard("ready", "");
    worker.send(&["type", "stdin", "content", "go\n"]);
    ask::<()>(&mut worker.redis, &["CONFIG", "SET", "maxmemory", "1"]);
    until("a refusal", || worker.log().contains("OOM").then_some(()));
    ask::<()>(&mut worker.redis, &["CONFIG", "SET", "maxmemory", "0"]);
    until("the last line", || counted(&mut worker).last().filter(|n| **n == 2000).copied());
    assert_eq!(counted(&mut worker), (1..=2000).collect::<Vec<_>>());
}

#[test]
fn a_worker_whose_user_is_taken_away_ends() {
    let redis = Redis::start();
    let mut worker = Worker::with_script(&redis, "exec cat");
    worker.heard("ready", "");
    ask::<i64>(&mut worker.redis, &["ACL", "DELUSER", "w"]);
    // A Redis that was restarted has no users for a while, so it takes its time.
    assert_eq!(worker.code_within(Duration::from_secs(90)), 77);
    assert!(worker.log().contains("does not accept this worker"), "{}", worker.log());
}
