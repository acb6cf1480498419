//! Ten thousand commands at one time, and ten thousand entries that are none.
//!
//! From the moment at which all of them are in the stream until the last reply is. The floor: a
//! client that does nothing but take them in the same portions from a group of its own, append an
//! entry of a reply's size for each, and acknowledge it.

use redis::streams::StreamReadReply;
use std::time::{Duration, Instant};
use worker_tests::harness::{Installation, Reply};

use super::middle_and_tail;
use crate::process::{megabytes, seconds};

const COMMANDS: usize = 10_000;
const ROUNDS: usize = 3;
/// As many as the manager takes in one read.
const PORTION: &str = "128";
const LOOK_EVERY: Duration = Duration::from_millis(2);
const REPLY: &str = r#"{"ok":"true","command":"ping","request_id":"1700000000000-0","timestamp":"2026-01-01T00:00:00.000Z","version":"0.1.0","hosts":["local"],"load":{"starting":0,"running":0,"ended":0,"builds":0}}"#;

pub(super) fn measure(it: &Installation) -> String {
    let worker = it.script("exec cat");
    let status = vec![("command", "status"), ("worker_id", worker.id.as_str())];
    let unknown =
        vec![("command", "status"), ("worker_id", "01890a5d-ac96-774b-bcce-b302099a8057")];
    let mixed = [vec![("command", "ping")], status, unknown, vec![("command", "list")]];
    let malformed = [
        vec![("command", "craete")],
        vec![("no", "command")],
        vec![("data", "{\"command\":")],
        vec![("command", "create"), ("agent_type", "CUSTOM"), ("limits", "much")],
    ];
    let rows = [
        row(it, "commands: `ping`, `status`, `status` of nobody, `list`", &mixed),
        row(it, "malformed entries", &malformed),
    ];
    worker.delete();
    let pid = it.manager().id();
    format!(
        "| {COMMANDS} at one time, median of {ROUNDS} | floor, in a second | ours | ratio | \
         processor seconds |\n| --- | --- | --- | --- | --- |\n{}\n\
         Each was answered once. The manager's memory at the most: {:.1} MB.\n",
        rows.concat(),
        megabytes(pid, "VmHWM"),
    )
}

fn row(it: &Installation, what: &str, kinds: &[Vec<(&str, &str)>]) -> String {
    let entries: Vec<_> = kinds.iter().cycle().take(COMMANDS).cloned().collect();
    let (mut floor, mut ours, mut used) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        floor.push(COMMANDS as f64 / alone(it, &entries));
        let (seconds, processor) = managed(it, &entries);
        ours.push(COMMANDS as f64 / seconds);
        used.push(processor);
    }
    let [floor, ours, used] = [floor, ours, used].map(|values| middle_and_tail(values).0);
    format!("| {what} | {floor:.0} | {ours:.0} | {:.2} | {used:.2} |\n", floor / ours)
}

fn managed(it: &Installation, entries: &[Vec<(&str, &str)>]) -> (f64, f64) {
    let pid = it.manager().id();
    let responses = it.key("responses");
    let _: i64 = it.redis.run(&["DEL", &responses]);
    let used = seconds(pid);
    let mut ids = it.redis.xadd_at_once(&it.key("commands"), entries);
    let begin = Instant::now();
    while it.redis.run::<usize>(&["XLEN", &responses]) < entries.len() {
        std::thread::sleep(LOOK_EVERY);
    }
    let time = begin.elapsed().as_secs_f64();
    let replies = it.redis.stream(&responses);
    let mut answered: Vec<_> =
        replies.iter().map(|entry| Reply::read(entry).get("request_id").to_owned()).collect();
    answered.sort();
    ids.sort();
    assert!(answered == ids, "an entry has not exactly one reply");
    (time, seconds(pid) - used)
}

fn alone(it: &Installation, entries: &[Vec<(&str, &str)>]) -> f64 {
    let (stream, replies) = (it.key("floor"), it.key("floor-replies"));
    let _: i64 = it.redis.run(&["DEL", &stream, &replies]);
    let _: String = it.redis.run(&["XGROUP", "CREATE", &stream, "floor", "0", "MKSTREAM"]);
    it.redis.xadd_at_once(&stream, entries);
    let client = redis::Client::open(it.environment.redis_url.as_str()).expect("an address");
    let mut connection = client.get_connection().expect("a connection");
    let read = ["GROUP", "floor", "me", "COUNT", PORTION, "STREAMS", &stream, ">"];
    let begin = Instant::now();
    loop {
        let portion: Option<StreamReadReply> =
            redis::cmd("XREADGROUP").arg(&read).query(&mut connection).expect("entries");
        let Some(portion) = portion else { break };
        let mut pipe = redis::pipe();
        for entry in portion.keys.iter().flat_map(|key| &key.ids) {
            pipe.cmd("XADD").arg(&replies).arg("*").arg("data").arg(REPLY).ignore();
            pipe.cmd("XACK").arg(&stream).arg("floor").arg(&entry.id).ignore();
        }
        pipe.query::<()>(&mut connection).expect("answers");
    }
    begin.elapsed().as_secs_f64()
}
