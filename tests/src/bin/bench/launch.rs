//! From a wish to the first output, with an image that is there.
//!
//! Ours: `XADD` of a `create`, until a blocked reader has the worker's first entry. The floor: the
//! same container (its configuration is read from one of ours), created, attached to and started
//! by the same client library, with the same wrapper, which writes the same first entry. Redis is
//! prepared before the clock starts. What is between the two is what the manager adds.

use std::time::{Duration, Instant};
use worker_protocol::WorkerId;
use worker_tests::harness::{Entry, Installation, Worker};

use crate::bare::Bare;
use crate::echo::Reader;
use crate::table::{Series, Table};

const RUNS: usize = 40;
const CAT: &[(&str, &str)] =
    &[("command", "create"), ("agent_type", "CUSTOM"), ("agent_command", r#"["cat"]"#)];

pub(crate) fn measure(it: &Installation, table: &mut Table) {
    let bare = Bare::like(it);
    let (mut floor, mut ours) = (Series::default(), Series::default());
    for run in 0..=RUNS {
        // In turns, since each leaves the engine something to clear away for the next.
        let (bare, managed) = if run % 2 == 0 {
            let bare = alone(it, &bare);
            (bare, managed(it))
        } else {
            let managed = managed(it);
            (alone(it, &bare), managed)
        };
        // The first of each warms what both have in common.
        if run > 0 {
            floor.push(bare);
            ours.push(managed);
        }
    }
    table.add("`create` with a cached image, until the first output", floor, ours, 15.0);
}

fn managed(it: &Installation) -> Duration {
    let worker = Worker::of(it, &WorkerId::new().to_string());
    let reader = Reader::follow(it, &worker.key("output"), "0", is_ready);
    let fields = [CAT, &[("worker_id", &worker.id)]].concat();
    let begin = Instant::now();
    it.send(&fields);
    let seen = reader.join().expect("a reader");
    worker.becomes("RUNNING");
    worker.delete();
    seen - begin
}

fn alone(it: &Installation, bare: &Bare) -> Duration {
    let worker = bare.prepare(it);
    let reader = Reader::follow(it, &worker.output, "0", is_ready);
    let begin = Instant::now();
    bare.start(&worker);
    let seen = reader.join().expect("a reader");
    bare.remove(it, &worker);
    seen - begin
}

fn is_ready(entry: &Entry) -> bool {
    entry.kind() == "ready"
}
