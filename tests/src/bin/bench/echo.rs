//! A prompt's way to the agent and back.
//!
//! Ours: `XADD` to a worker's input, until a blocked reader has `turn_started`, which the wrapper
//! says by itself, or the line that `cat` printed. The floor: `XADD` to a stream, until a blocked
//! reader of it has the entry.

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use worker_tests::harness::{Entry, Installation, Redis};

use crate::table::{Series, Table};

const RUNS: usize = 500;
const PROMPT: &str = "a prompt of a few words, as people write them";
/// So long a reader needs to be blocked in Redis.
const SETTLE: Duration = Duration::from_millis(5);

/// A thread that reads a stream until the entry in question has come.
pub(crate) struct Reader;

impl Reader {
    /// Begins to read after the entry `last`, and gives it the time to be blocked; its thread gives
    /// the moment at which the entry was there.
    pub(crate) fn follow(
        it: &Installation,
        stream: &str,
        last: &str,
        is_it: impl Fn(&Entry) -> bool + Send + 'static,
    ) -> JoinHandle<Instant> {
        let redis = Redis::connect(&it.environment.redis_url);
        let (stream, mut last) = (stream.to_owned(), last.to_owned());
        let reader = thread::spawn(move || {
            loop {
                let entries = redis.follow(&stream, &last, Duration::from_secs(60));
                let now = Instant::now();
                last = entries.last().expect("an entry in time").id.clone();
                if entries.iter().any(&is_it) {
                    return now;
                }
            }
        });
        thread::sleep(SETTLE);
        reader
    }
}

pub(crate) fn measure(it: &Installation, table: &mut Table) {
    let worker = it.script("exec cat");
    worker.comes_to("ready");
    let (input, output, bare) = (worker.key("input"), worker.key("output"), it.key("bare"));
    let rows = [
        ("a prompt to the wrapper and back", "turn_started"),
        ("a prompt to `cat` and back", "stdout"),
    ];
    for (what, kind) in rows {
        let (mut floor, mut ours) = (Series::default(), Series::default());
        for run in 0..RUNS + 20 {
            let one =
                there_and_back(it, &bare, &bare, &[("type", kind), ("content", PROMPT)], kind);
            let other = there_and_back(it, &input, &output, &[("prompt", PROMPT)], kind);
            if run >= 20 {
                floor.push(one);
                ours.push(other);
            }
        }
        table.add(what, floor, ours, 1.0);
    }
    worker.delete();
}

fn there_and_back(
    it: &Installation,
    to: &str,
    from: &str,
    fields: &[(&str, &str)],
    kind: &'static str,
) -> Duration {
    let last = it.redis.last_id(from);
    let reader = Reader::follow(it, from, &last, move |entry| entry.kind() == kind);
    let begin = Instant::now();
    it.redis.xadd(to, fields);
    reader.join().expect("a reader") - begin
}
