//! Starts in a second: many `create`s at one time, beside the bare engine that makes the same
//! containers, as many at once as the manager does.
//!
//! From the first word until all wrappers have written `ready`.

use std::time::{Duration, Instant};
use worker_protocol::WorkerId;
use worker_tests::harness::{Installation, Worker};

use super::{create, middle_and_tail};
use crate::bare::Bare;

const WORKERS: usize = 40;
const ROUNDS: usize = 5;
/// The manager's own limit, where none is configured.
const AT_ONCE: usize = 8;
const LOOK_EVERY: Duration = Duration::from_millis(2);

pub(super) fn measure(it: &Installation) -> String {
    let bare = Bare::like(it);
    let (mut floor, mut ours, mut waits) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let (alone, (managed, mut each)) = if round % 2 == 0 {
            let alone = without_a_manager(it, &bare);
            (alone, with_it(it))
        } else {
            let managed = with_it(it);
            (without_a_manager(it, &bare), managed)
        };
        // The first of each warms what both have in common.
        if round > 0 {
            floor.push(WORKERS as f64 / alone);
            ours.push(WORKERS as f64 / managed);
            waits.append(&mut each);
        }
    }
    let shares: Vec<_> = ours.iter().zip(&floor).map(|(ours, floor)| ours / floor).collect();
    let (floor, ours, share) =
        (middle_and_tail(floor).0, middle_and_tail(ours).0, middle_and_tail(shares).0);
    let (middle, tail) = middle_and_tail(waits);
    format!(
        "| {WORKERS} starts at one time, {AT_ONCE} at once, median of {ROUNDS} | in a second |\n\
         | --- | --- |\n\
         | the bare engine | {floor:.2} |\n\
         | worker-manager | {ours:.2} |\n\
         | share (aim: 90 %) | {:.0} % |\n\
         | `create` to RUNNING, seconds, the wait for its turn included: median / 95 % | {middle:.2} / {tail:.2} |\n",
        share * 100.0
    )
}

fn without_a_manager(it: &Installation, bare: &Bare) -> f64 {
    let workers: Vec<_> = (0..WORKERS).map(|_| bare.prepare(it)).collect();
    let outputs: Vec<_> = workers.iter().map(|worker| worker.output.as_str()).collect();
    let begin = Instant::now();
    bare.start_all(&workers, AT_ONCE);
    all_speak(it, &outputs);
    let seconds = begin.elapsed().as_secs_f64();
    for worker in &workers {
        bare.remove(it, worker);
    }
    seconds
}

/// Seconds for all, and seconds of each until its record said RUNNING.
fn with_it(it: &Installation) -> (f64, Vec<f64>) {
    let ids: Vec<_> = (0..WORKERS).map(|_| WorkerId::new().to_string()).collect();
    let workers: Vec<_> = ids.iter().map(|id| Worker::of(it, id)).collect();
    let outputs: Vec<_> = workers.iter().map(|worker| worker.key("output")).collect();
    let outputs: Vec<_> = outputs.iter().map(String::as_str).collect();
    let creates: Vec<_> = ids.iter().map(|id| create(id, r#"["cat"]"#)).collect();
    let begin = Instant::now();
    let entries = it.redis.xadd_at_once(&it.key("commands"), &creates);
    all_speak(it, &outputs);
    let seconds = begin.elapsed().as_secs_f64();
    for worker in &workers {
        worker.becomes("RUNNING");
    }
    let waits = waits(it, &entries[0], &ids);
    let deletes = ids.iter().map(|id| vec![("command", "delete"), ("worker_id", id.as_str())]);
    it.redis.xadd_at_once(&it.key("commands"), &deletes.collect::<Vec<_>>());
    it.soon("the end of all", || it.containers().is_empty().then_some(()));
    (seconds, waits)
}

fn all_speak(it: &Installation, outputs: &[&str]) {
    let words = [&["EXISTS"][..], outputs].concat();
    while it.redis.run::<usize>(&words) < outputs.len() {
        std::thread::sleep(LOOK_EVERY);
    }
}

/// From the commands, which came together, to the event that said RUNNING, by Redis' clock.
fn waits(it: &Installation, first: &str, ids: &[String]) -> Vec<f64> {
    let millis = |entry: &str| -> f64 {
        entry.split('-').next().expect("milliseconds").parse().expect("a number")
    };
    let begun = millis(first);
    let events = it.events();
    let runs = events.iter().filter(|event| {
        event.get("status") == "RUNNING" && ids.iter().any(|id| id == event.get("worker_id"))
    });
    runs.map(|event| (millis(&event.id) - begun) / 1000.0).collect()
}
