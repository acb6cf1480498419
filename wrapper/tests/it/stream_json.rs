//! The `stream-json` protocol: a program that reads and prints JSON lines.

use serde_json::{Value, json};
use worker_protocol::AgentProtocol;
use worker_protocol::create::Life;

use crate::redis_server::{Entry, Redis, pending, until};
use crate::worker::{INPUT, Worker, boot, prepare};

fn worker(redis: &Redis, script: &str, life: Life) -> Worker {
    prepare(&mut redis.connect());
    let mut boot = boot(redis, script);
    boot.agent.protocol = AgentProtocol::StreamJson;
    boot.life = life;
    Worker::start(redis, &boot)
}

fn data(entry: &Entry) -> Value {
    serde_json::from_str(&entry["data"]).unwrap()
}

/// Says what it read, and ends each turn.
const ECHO: &str = r#"while read -r line; do
    printf '{"type":"message","content":"read","line":%s}\n' "$line"
    echo '{"type":"result","result":"done","steps":2}'
done"#;

#[test]
fn prompts_go_in_as_json_and_turns_end_when_the_program_says_so() {
    let redis = Redis::start();
    let mut worker = worker(&redis, ECHO, Life::Interactive);
    let ids = ["one \"quoted\"\nand a second line", "two"].map(|text| {
        let id = worker.send(&["prompt", text]);
        let message = until("the message", || {
            worker.said().into_iter().find(|e| e["type"] == "message" && e["turn"] == id)
        });
        assert_eq!(data(&message)["line"], json!({"type": "prompt", "content": text}));
        assert_eq!(serde_json::from_str::<Value>(&message["raw"]).unwrap(), data(&message));
        id
    });
    until("both acknowledgements", || (pending(&mut worker.redis, INPUT) == 0).then_some(()));
    let said = worker.said();
    let ends: Vec<_> = said.iter().filter(|e| e["type"] == "turn_completed").collect();
    assert_eq!([&ends[0]["turn"], &ends[1]["turn"]], [&ids[0], &ids[1]]);
    for end in ends {
        assert_eq!(end["content"], "done");
        assert_eq!((&data(end)["outcome"], &data(end)["steps"]), (&json!("success"), &json!(2)));
    }
}

#[test]
fn an_interrupt_reaches_a_program_in_the_middle_of_its_work() {
    let redis = Redis::start();
    let script = r#"trap 'echo "{\"type\":\"result\",\"is_error\":true}"' INT
        while :; do read -r line && echo '{"type":"begun"}' && sleep 1000; done"#;
    let mut worker = worker(&redis, script, Life::Interactive);
    worker.send(&["prompt", "work"]);
    worker.heard("stdout", "begun");
    worker.send(&["type", "interrupt"]);
    let end = worker.heard("turn_completed", "");
    assert_eq!(data(&end)["outcome"], "interrupted", "{end:?}");
}

#[test]
fn a_headless_program_ends_after_its_result_and_an_error_is_its_code() {
    for (end, code) in [("", 0), (r#","is_error":true"#, 1)] {
        let redis = Redis::start();
        let script =
            format!(r#"read -r line; echo '{{"type":"result","result":"bye"{end}}}'; cat"#);
        let mut worker = worker(&redis, &script, Life::Headless);
        worker.send(&["prompt", "task"]);
        assert_eq!(worker.code(), code);
        worker.heard("turn_completed", "bye");
        assert_eq!(worker.said().last().unwrap()["type"], "exit");
    }
}

#[test]
fn a_program_that_ends_without_a_result_has_failed_its_turn() {
    let redis = Redis::start();
    let mut worker = worker(&redis, "read -r line; echo no json; exit 3", Life::Headless);
    worker.send(&["prompt", "task"]);
    assert_eq!(worker.code(), 3);
    worker.heard("stdout", "no json");
    let end = worker.heard("turn_completed", "the agent ended in the turn");
    assert_eq!(data(&end)["outcome"], "error");
}
