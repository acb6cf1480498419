//! Everything that can fail is made to fail in the middle of work; afterwards all has to be in
//! order, as `harness::invariants` has it. `docs/reliability.md` says what is promised.

mod checker;
mod clock;
mod disk;
mod engine;
mod manager;
mod network;
mod redis;
mod wrapper_and_agent;

use worker_tests::harness::{Installation, Reply, Worker};

/// Prints numbers, so that a line that is lost or doubled is seen.
const COUNTER: &str = "n=0; while :; do n=$((n + 1)); echo $n; sleep 0.02; done";

/// Longer than the manager and a wrapper wait for an answer of Redis.
const PAUSE: std::time::Duration = std::time::Duration::from_secs(12);

const CREATE: [(&str, &str); 5] = [
    ("command", "create"),
    ("agent_type", "CUSTOM"),
    ("agent_command", r#"["cat"]"#),
    ("wait", "running"),
    ("prompt", "once"),
];

fn delete(it: &Installation, worker: &Worker<'_>) -> String {
    it.send(&[("command", "delete"), ("worker_id", &worker.id)])
}

/// The last number that a counter has said.
fn count(worker: &Worker<'_>) -> u64 {
    worker.said("stdout").last().and_then(|entry| entry.content().parse().ok()).unwrap_or(0)
}

/// Waits until a counter has gone on.
fn counts_on(worker: &Worker<'_>) {
    let before = count(worker);
    worker.it.soon("more numbers", || (count(worker) > before + 5).then_some(()));
}

/// A counter said each number once.
fn assert_counted(worker: &Worker<'_>) {
    let numbers: Vec<u64> =
        worker.said("stdout").iter().filter_map(|entry| entry.content().parse().ok()).collect();
    assert!(numbers.iter().copied().eq(1..=numbers.len() as u64), "{numbers:?}");
}

/// The worker that a `create` has made; one that could not be made is said to be so.
fn made<'a>(it: &'a Installation, reply: &Reply) -> Option<Worker<'a>> {
    let worker = Worker::of(it, &reply.get("worker_id"));
    if reply.is_ok() {
        return Some(worker);
    }
    assert_eq!(reply.get("status"), "FAILED", "{reply:?}");
    assert!(!reply.get("message").is_empty(), "{reply:?}");
    worker.delete();
    None
}

/// It takes prompts, can be removed, and leaves nothing.
fn assert_works(worker: &Worker<'_>) {
    worker.turn("still here");
    worker.prints("still here");
    worker.delete();
}

/// What cannot be avoided may have failed; what can be asked now works, and nothing is left.
fn assert_recovered(it: &Installation) {
    let reply = it.command(&CREATE);
    assert!(reply.is_ok(), "{reply:?}{}", it.explain());
    assert_works(&Worker::of(it, &reply.get("worker_id")));
    assert_eq!((it.containers(), it.users()), (vec![], vec![]));
}
