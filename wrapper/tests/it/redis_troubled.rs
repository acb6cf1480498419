//! A Redis that is there, and does not do what it should.

use std::time::Duration;

use crate::proxy::Proxy;
use crate::redis_away::counted;
use crate::redis_server::{Redis, ask, until, within};
use crate::worker::{HEARTBEAT, INPUT, OUTPUT, Worker, allow, boot, prepare};

/// A worker that says two thousand numbers when it is told to go on.
fn counting(redis: &Redis) -> Worker {
    let mut worker = Worker::with_script(redis, "read x; seq 2000; exec cat");
    worker.heard("ready", "");
    worker
}

/// All numbers are there, once and in order, no entry is missing, and prompts are taken.
fn nothing_is_lost(worker: &mut Worker) {
    until("the last line", || counted(worker).last().filter(|n| **n == 2000).copied());
    assert_eq!(counted(worker), (1..=2000).collect::<Vec<_>>());
    let said = worker.said();
    let numbers = said.iter().map(|entry| entry["seq"].parse::<usize>().unwrap());
    assert!(numbers.eq(1..=said.len()), "a hole, or one twice");
    worker.send(&["prompt", "still there?"]);
    worker.heard("stdout", "still there?");
}

fn refused(worker: &Worker, word: &str) {
    until(word, || worker.log().contains(word).then_some(()));
}

#[test]
fn a_redis_that_is_restarted_with_its_data_goes_on_where_it_was() {
    let mut redis = Redis::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut worker = counting(&redis);
    worker.send(&["type", "stdin", "content", "go\n"]);
    until("some lines", || counted(&mut worker).first().copied());
    redis.kill();
    redis.restart();
    worker.redis = redis.connect();
    allow(&mut worker.redis);
    nothing_is_lost(&mut worker);
}

#[test]
fn ids_and_numbers_go_on_above_the_last_when_redis_is_emptied() {
    let redis = Redis::start();
    let mut worker = Worker::with_script(&redis, "exec cat");
    worker.send(&["prompt", "before"]);
    worker.heard("stdout", "before");
    until("a turn's end", || worker.said().into_iter().find(|e| e["type"] == "turn_completed"));
    let before = crate::redis_server::entries(&mut worker.redis, OUTPUT);
    let (last_id, last_entry) = before.last().unwrap();
    ask::<()>(&mut worker.redis, &["FLUSHALL"]);
    prepare(&mut worker.redis);
    worker.send(&["prompt", "after"]);
    worker.heard("stdout", "after");
    let after = crate::redis_server::entries(&mut worker.redis, OUTPUT);
    let numbers = |id: &str| {
        let (ms, n) = id.split_once('-').unwrap();
        (ms.parse::<u64>().unwrap(), n.parse::<u64>().unwrap())
    };
    assert!(numbers(&after[0].0) > numbers(last_id), "{} {last_id}", after[0].0);
    let seq: u64 = last_entry["seq"].parse().unwrap();
    let seqs: Vec<u64> = after.iter().map(|(_, entry)| entry["seq"].parse().unwrap()).collect();
    assert!(seqs.iter().copied().eq(seq + 1..=seq + seqs.len() as u64), "{seq} {seqs:?}");
    until("a sign of life", || ask::<Option<String>>(&mut worker.redis, &["GET", HEARTBEAT]));
}

#[test]
fn a_failover_is_followed_by_a_new_connection() {
    let (old, new) = (Redis::start(), Redis::start());
    let proxy = Proxy::to(old.port);
    prepare(&mut old.connect());
    let mut boot = boot(&old, "read x; seq 2000; exec cat");
    boot.redis.url = format!("redis://127.0.0.1:{}/0", proxy.port);
    let mut worker = Worker::start(&old, &boot);
    worker.heard("ready", "");

    let (mut to_old, mut to_new) = (old.connect(), new.connect());
    ask::<()>(&mut to_new, &["REPLICAOF", "127.0.0.1", &old.port.to_string()]);
    until("the copy", || {
        let length: i64 = ask(&mut to_new, &["XLEN", OUTPUT]);
        (length > 0).then_some(())
    });
    let before = proxy.accepted();
    ask::<()>(&mut to_new, &["REPLICAOF", "NO", "ONE"]);
    allow(&mut to_new);
    worker.send(&["type", "stdin", "content", "go\n"]);
    // The old one lives on as a copy of the new one: it is reached, and refuses to be written to.
    ask::<()>(&mut to_old, &["REPLICAOF", "127.0.0.1", &new.port.to_string()]);
    refused(&worker, "read only replica");
    proxy.lead_to(new.port);
    worker.redis = to_new;
    // The word to go on may have come too late for the copy.
    worker.send(&["type", "stdin", "content", "go\n"]);
    until("the last line", || counted(&mut worker).last().filter(|n| **n == 2000).copied());
    let counted = counted(&mut worker);
    assert!(counted.is_sorted_by(|a, b| a + 1 == *b), "a hole, or one twice");
    assert!(proxy.accepted() > before, "no new connection");
    worker.send(&["prompt", "still there?"]);
    worker.heard("stdout", "still there?");
}

#[test]
fn a_connection_that_carries_nothing_any_more_is_given_up() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.port);
    prepare(&mut redis.connect());
    let mut boot = boot(&redis, "read x; seq 2000; exec cat");
    boot.redis.url = format!("redis://127.0.0.1:{}/0", proxy.port);
    let mut worker = Worker::start(&redis, &boot);
    worker.heard("ready", "");
    proxy.fall_silent();
    worker.send(&["type", "stdin", "content", "go\n"]);
    // Nobody says that the peer is gone, so it is found out by waiting for an answer.
    within(Duration::from_secs(60), "new connections", || {
        counted(&mut worker).last().filter(|n| **n == 2000).copied()
    });
    nothing_is_lost(&mut worker);
}

#[test]
fn a_redis_that_still_loads_its_data_is_waited_for() {
    let options = format!("--appendonly yes --appendfsync always --user w {}", user());
    let mut redis = Redis::start_with(&options.split(' ').collect::<Vec<_>>());
    let mut worker = counting(&redis);
    for n in 0..3000 {
        let pairs = ["SET", &format!("other:{n}"), &"x".repeat(100)];
        ask::<()>(&mut worker.redis, &pairs);
    }
    worker.send(&["type", "stdin", "content", "go\n"]);
    until("some lines", || counted(&mut worker).first().copied());
    redis.kill();
    // A millisecond for each key, so that it loads for three seconds.
    redis.begin_again(&[
        "--key-load-delay",
        "1000",
        "--loading-process-events-interval-bytes",
        "1024",
    ]);
    refused(&worker, "Redis is loading");
    worker.redis = until("a loaded redis", || redis.try_connect());
    nothing_is_lost(&mut worker);
}

/// What `allow` gives, for a Redis' command line.
fn user() -> String {
    format!(
        "on >pw -@all +ping (-@all +xreadgroup +xack +xtrim +xpending ~{INPUT}) \
         (-@all +xadd +xrevrange ~{OUTPUT}) (-@all +set ~{HEARTBEAT})"
    )
}

#[test]
fn a_redis_that_is_busy_with_a_script_is_waited_for() {
    let redis = Redis::start_with(&["--busy-reply-threshold", "1"]);
    let mut worker = counting(&redis);
    worker.send(&["type", "stdin", "content", "go\n"]);
    let mut other = redis.connect();
    let busy = std::thread::spawn(move || {
        redis::cmd("EVAL").arg("while true do end").arg(0).query::<()>(&mut other).is_err()
    });
    refused(&worker, "BUSY");
    ask::<()>(&mut worker.redis, &["SCRIPT", "KILL"]);
    assert!(busy.join().unwrap(), "the script came to an end");
    nothing_is_lost(&mut worker);
}

#[test]
fn a_redis_that_cannot_save_and_refuses_writes_is_waited_for() {
    let redis = Redis::start();
    let mut worker = counting(&redis);
    // Without its folder, no snapshot can be written.
    std::fs::remove_dir_all(redis.folder()).unwrap();
    ask::<()>(&mut worker.redis, &["CONFIG", "SET", "save", "100000 100000"]);
    ask::<String>(&mut worker.redis, &["BGSAVE"]);
    until("a failed snapshot", || {
        let info: String = ask(&mut worker.redis, &["INFO", "persistence"]);
        info.contains("rdb_last_bgsave_status:err").then_some(())
    });
    // The prompt is refused as well, so the sign of life has to notice it.
    within(Duration::from_secs(60), "MISCONF", || worker.log().contains("MISCONF").then_some(()));
    ask::<()>(&mut worker.redis, &["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"]);
    worker.send(&["type", "stdin", "content", "go\n"]);
    nothing_is_lost(&mut worker);
    std::fs::create_dir(redis.folder()).unwrap();
}
