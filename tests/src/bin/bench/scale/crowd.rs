//! Two hundred workers that live under one manager: what it uses while they rest and while they all
//! speak, beside what the engine and Redis use for them; and how long a `status` takes then.

use std::thread;
use std::time::{Duration, Instant};
use worker_protocol::WorkerId;
use worker_tests::harness::{Installation, Worker};

use super::create;
use crate::echo::Reader;
use crate::process::{megabytes, named, seconds};
use crate::table::{Series, Table};

const WORKERS: usize = 200;
/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(30);
/// Between the last change and the first look at what rest costs.
const SETTLE: Duration = Duration::from_secs(10);
const STATUSES: usize = 200;
/// At a prompt, ten lines a second for most of a minute.
const AGENT: &str = r#"["/bin/sh","-c","while read -r _; do n=0; while [ $n -lt 50 ]; do n=$((n+1)); printf 'a line\n%.0s' 1 2 3 4 5 6 7 8 9 10; sleep 1; done; done"]"#;

pub(super) fn measure(it: &Installation) -> String {
    let empty = megabytes(it.manager().id(), "VmRSS");
    let ids: Vec<_> = (0..WORKERS).map(|_| WorkerId::new().to_string()).collect();
    let workers: Vec<_> = ids.iter().map(|id| Worker::of(it, id)).collect();
    let creates: Vec<_> = ids.iter().map(|id| create(id, AGENT)).collect();
    it.redis.xadd_at_once(&it.key("commands"), &creates);
    for worker in &workers {
        worker.becomes("RUNNING");
    }
    thread::sleep(SETTLE);
    let full = megabytes(it.manager().id(), "VmRSS");
    let wrappers: f64 = named("worker-wrapper").iter().map(|pid| megabytes(*pid, "VmRSS")).sum();
    let rest = used(it, || thread::sleep(WATCHED));
    let mut times = Table::default();
    statuses(it, &workers, "`status` of one of 200 workers that rest", &mut times);
    for worker in &workers {
        worker.prompt("speak");
    }
    let lines = spoken(it, &workers);
    let loud = used(it, || thread::sleep(WATCHED));
    let lines = (spoken(it, &workers) - lines) as f64 / WATCHED.as_secs_f64();
    statuses(it, &workers, "`status` while all of them speak", &mut times);
    let deletes: Vec<_> = ids
        .iter()
        .map(|id| vec![("command", "delete"), ("force", "true"), ("worker_id", id)])
        .collect();
    it.redis.xadd_at_once(&it.key("commands"), &deletes);
    it.soon("the end of all", || it.containers().is_empty().then_some(()));
    let row = |what: &str, used: [f64; 3]| {
        let [manager, engine, redis] = used.map(|seconds| seconds * 100.0 / WATCHED.as_secs_f64());
        format!("| {what} | {manager:.2} % | {engine:.2} % | {redis:.2} % |\n")
    };
    format!(
        "| {WORKERS} workers: share of one processor | worker-manager | dockerd | redis-server |\n\
         | --- | --- | --- | --- |\n{}{}\n\
         The manager's memory: {empty:.1} MB without workers, {full:.1} MB with {WORKERS}, that of \
         all their wrappers {wrappers:.0} MB.\n\n{times}",
        row("at rest", rest),
        row(&format!("while all speak, {lines:.0} entries a second"), loud),
    )
}

/// Processor seconds of manager, engine and Redis meanwhile.
fn used(it: &Installation, meanwhile: impl FnOnce()) -> [f64; 3] {
    let manager = it.manager().id();
    let all = [vec![manager], named("dockerd"), named("redis-server")];
    let sum = |pids: &Vec<u32>| pids.iter().map(|pid| seconds(*pid)).sum::<f64>();
    let before: Vec<_> = all.iter().map(sum).collect();
    meanwhile();
    std::array::from_fn(|n| sum(&all[n]) - before[n])
}

fn spoken(it: &Installation, workers: &[Worker<'_>]) -> usize {
    workers.iter().map(|worker| it.redis.run::<usize>(&["XLEN", &worker.key("output")])).sum()
}

/// From the command to a blocked reader of the replies; the floor is an entry that is only passed on.
fn statuses(it: &Installation, workers: &[Worker<'_>], what: &'static str, table: &mut Table) {
    let (commands, responses, bare) = (it.key("commands"), it.key("responses"), it.key("bare"));
    let (mut floor, mut ours) = (Series::default(), Series::default());
    for (run, worker) in workers.iter().cycle().take(STATUSES + 10).enumerate() {
        let one = there_and_back(it, &bare, &bare, &worker.id);
        let other = there_and_back(it, &commands, &responses, &worker.id);
        if run >= 10 {
            floor.push(one);
            ours.push(other);
        }
    }
    table.add(what, floor, ours, 5.0);
}

fn there_and_back(it: &Installation, to: &str, from: &str, id: &str) -> Duration {
    let last = it.redis.last_id(from);
    let wanted = id.to_owned();
    let reader = Reader::follow(it, from, &last, move |entry| entry.get("worker_id") == wanted);
    let begin = Instant::now();
    it.redis.xadd(to, &[("command", "status"), ("worker_id", id)]);
    reader.join().expect("a reader") - begin
}
