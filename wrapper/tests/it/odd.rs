//! What agents print and clients send that is not as it should be.

use serde_json::Value;

use crate::redis_server::{Redis, pending, until};
use crate::worker::{INPUT, Worker};

#[test]
fn bytes_that_are_no_text_and_a_last_line_without_an_end_come_out() {
    let redis = Redis::start();
    let script = r"printf 'a\377\200b\0c\r\n\n\033[31mred\033[0m\nhalf \342\202'; exit 0";
    let mut worker = Worker::with_script(&redis, script);
    assert_eq!(worker.code(), 0);
    let said = worker.said();
    let lines: Vec<_> =
        said.iter().filter(|e| e["type"] == "stdout").map(|e| e["content"].as_str()).collect();
    assert_eq!(lines, ["a\u{fffd}\u{fffd}b\0c", "", "\u{1b}[31mred\u{1b}[0m", "half \u{fffd}"]);
}

#[test]
fn a_stream_of_random_bytes_ends_as_any_other() {
    let redis = Redis::start();
    let script = "head -c 3000000 /dev/urandom; head -c 300000 /dev/urandom >&2; exit 0";
    let mut worker = Worker::with_script(&redis, script);
    assert_eq!(worker.code(), 0);
    let said = worker.said();
    assert!(said.iter().filter(|entry| entry["type"] == "stdout").count() > 1000);
    assert_eq!(said.last().unwrap()["type"], "exit");
}

#[test]
fn each_entry_that_is_wrong_is_answered_by_name_and_acknowledged() {
    let redis = Redis::start();
    let mut worker = Worker::with_script(&redis, "exec cat");
    for (pairs, part) in [
        (vec!["type", "prmpt", "content", "x"], "`type` must be one of"),
        (vec!["type", "prompt"], "a prompt needs a text"),
        (vec!["prompt", " "], "a prompt needs a text"),
        (vec!["prompt", "a", "prompt", "b"], "prompt"),
        (vec!["data", "{"], "JSON"),
        (vec!["type", "keys", "content", "x"], "terminal"),
        (vec!["type", "answer", "permission_id", "p", "decision", "allow"], "no question waits"),
    ] {
        let id = worker.send(&pairs);
        let error = until(&format!("an answer to {pairs:?}"), || {
            let of =
                |e: &serde_json::Map<String, Value>| e.get("entry") == Some(&Value::from(&*id));
            worker.said().into_iter().find(|entry| {
                let data = entry.get("data").and_then(|data| serde_json::from_str(data).ok());
                entry["type"] == "error" && data.as_ref().is_some_and(of)
            })
        });
        assert!(error["content"].contains(part), "{pairs:?}: {error:?}");
    }
    until("every acknowledgement", || (pending(&mut worker.redis, INPUT) == 0).then_some(()));
    worker.send(&["prompt", "-n still there"]);
    worker.heard("stdout", "-n still there");
}

#[test]
fn an_interrupt_overtakes_a_flood() {
    let redis = Redis::start();
    let mut worker = Worker::with_script(&redis, "trap 'exec cat' INT; yes");
    worker.heard("stdout", "y");
    worker.send(&["type", "interrupt"]);
    worker.send(&["prompt", "calm again"]);
    worker.heard("stdout", "calm again");
}

#[test]
fn ready_is_the_first_word_and_the_rest_is_numbered_without_a_hole() {
    let redis = Redis::start();
    let mut worker = Worker::with_script(&redis, "echo early; echo wrong >&2; exec cat");
    for n in 0..20 {
        worker.send(&["prompt", &format!("prompt {n}")]);
    }
    worker.heard("stdout", "prompt 19");
    worker.signal("-TERM");
    assert_eq!(worker.code(), 0);
    let said = worker.said();
    assert_eq!(said[0]["type"], "ready");
    let numbers: Vec<usize> = said.iter().map(|entry| entry["seq"].parse().unwrap()).collect();
    assert_eq!(numbers, (1..=said.len()).collect::<Vec<_>>());
    let began: Vec<_> = said
        .iter()
        .filter(|entry| entry["type"] == "turn_started")
        .map(|entry| entry["content"].clone())
        .collect();
    assert_eq!(began, (0..20).map(|n| format!("prompt {n}")).collect::<Vec<_>>());
}
