//! The `droid` protocol: a process for each turn. The agent is a stand-in that prints the messages
//! of Factory's Droid.

use serde_json::{Value, json};
use worker_protocol::create::Life;
use worker_protocol::{AgentProtocol, AgentType, Boot};

use crate::redis_server::{Entry, Redis, pending, until};
use crate::worker::{INPUT, Worker, boot, prepare};

/// Tells its arguments and how long its prompt is, and does as the prompt says.
const STAND_IN: &str = r#"
    prompt=$(cat)
    echo '{"type":"system","subtype":"init","session_id":"s1","tools":[],"model":"m"}'
    printf '{"type":"message","role":"assistant","text":"%s","session_id":"s1"}\n' "$*"
    case $prompt in
        leave*) sleep 1000 & echo "left $!" ;;
        wait*) echo waiting; sleep 1000 ;;
        stubborn*) trap '' INT; echo waiting; sleep 1000; sleep 1000 ;;
        fail*) echo '{"type":"error","message":"no such model"}'; exit 1 ;;
    esac
    printf '{"type":"completion","finalText":"%s","numTurns":1,"durationMs":7,"session_id":"s1"}\n' \
        "${#prompt}"
"#;

fn droid(redis: &Redis) -> Boot {
    prepare(&mut redis.connect());
    let mut boot = boot(redis, STAND_IN);
    boot.agent.protocol = AgentProtocol::Droid;
    boot.agent.agent_type = AgentType::Factory;
    boot.agent.command.push("droid".to_owned());
    boot
}

fn end_of(worker: &mut Worker, turn: &str) -> (String, Value) {
    let of = |entry: &Entry| entry["type"] == "turn_completed" && entry["turn"] == turn;
    let end = until("the turn's end", || worker.said().into_iter().find(of));
    (end["content"].clone(), serde_json::from_str(&end["data"]).unwrap())
}

#[test]
fn turns_are_processes_of_one_session() {
    let redis = Redis::start();
    let mut boot = droid(&redis);
    boot.agent.model = Some("--help".into());
    boot.agent.system_prompt_file = Some("/etc/worker/system-prompt.md".into());
    let mut worker = Worker::start(&redis, &boot);
    let first = worker.send(&["prompt", "-o text"]);
    let second = worker.send(&["prompt", &"x".repeat(1 << 20)]);
    let (text, data) = end_of(&mut worker, &first);
    assert_eq!(text, "7");
    assert_eq!(data, json!({"outcome": "success", "num_turns": 1, "duration_ms": 7}));
    assert_eq!(end_of(&mut worker, &second).0, (1 << 20).to_string());
    let said = worker.said();
    let arguments: Vec<_> =
        said.iter().filter(|e| e["type"] == "message").map(|e| e["content"].as_str()).collect();
    let always = "exec --output-format=stream-json --skip-permissions-unsafe --cwd=/ \
                  --append-system-prompt-file=/etc/worker/system-prompt.md --model=--help";
    assert_eq!(arguments, [always, &format!("{always} --session-id=s1")]);
    assert_eq!(said.iter().filter(|e| e["type"] == "ready").count(), 1);
    until("both acknowledgements", || (pending(&mut worker.redis, INPUT) == 0).then_some(()));
    worker.signal("-TERM");
    assert_eq!(worker.code(), 0);
    let exits = worker.said().into_iter().filter(|e| e["type"] == "exit").count();
    assert_eq!((exits, worker.said().last().unwrap()["type"].as_str()), (1, "exit"));
}

#[test]
fn what_a_turn_leaves_behind_is_ended_with_it() {
    let redis = Redis::start();
    let mut worker = Worker::start(&redis, &droid(&redis));
    let turn = worker.send(&["prompt", "leave a process that holds stdout"]);
    let left = worker.heard("stdout", "left ")["content"].replace("left ", "/proc/");
    end_of(&mut worker, &turn);
    until("its end", || (!std::path::Path::new(&left).exists()).then_some(()));
}

#[test]
fn an_interrupt_ends_the_process_and_the_worker_goes_on() {
    let redis = Redis::start();
    let mut worker = Worker::start(&redis, &droid(&redis));
    let turn = worker.send(&["prompt", "wait"]);
    worker.heard("stdout", "waiting");
    worker.send(&["type", "interrupt"]);
    assert_eq!(end_of(&mut worker, &turn).1["outcome"], "interrupted");
    let turn = worker.send(&["prompt", "fail"]);
    let (text, data) = end_of(&mut worker, &turn);
    assert_eq!(text, "droid ended with exit code 1: no such model");
    assert_eq!((&data["outcome"], &data["exit_code"]), (&json!("error"), &json!(1)));
    let turn = worker.send(&["prompt", "work"]);
    assert_eq!(end_of(&mut worker, &turn).1["outcome"], "success");
}

#[test]
fn a_process_that_ignores_the_interrupt_is_killed_and_the_worker_goes_on() {
    let redis = Redis::start();
    let mut worker = Worker::start(&redis, &droid(&redis));
    let turn = worker.send(&["prompt", "stubborn"]);
    worker.heard("stdout", "waiting");
    worker.send(&["type", "interrupt"]);
    assert_eq!(end_of(&mut worker, &turn).1["exit_code"], 137);
    let turn = worker.send(&["prompt", "work"]);
    assert_eq!(end_of(&mut worker, &turn).1["outcome"], "success");
}

#[test]
fn a_worker_that_is_stopped_in_a_turn_says_so() {
    let redis = Redis::start();
    let mut worker = Worker::start(&redis, &droid(&redis));
    let turn = worker.send(&["prompt", "wait"]);
    worker.heard("stdout", "waiting");
    worker.signal("-TERM");
    assert_eq!(worker.code(), 0);
    let (text, data) = end_of(&mut worker, &turn);
    assert_eq!(
        (text.as_str(), &data["outcome"]),
        ("the worker was stopped", &json!("interrupted"))
    );
}

#[test]
fn a_headless_worker_ends_with_its_turn() {
    for (prompt, command, code) in
        [("work", None, 0), ("fail", None, 1), ("work", Some("/no/such/droid"), 127)]
    {
        let redis = Redis::start();
        let mut boot = droid(&redis);
        boot.life = Life::Headless;
        if let Some(command) = command {
            boot.agent.command = vec![command.to_owned()];
        }
        let mut worker = Worker::start(&redis, &boot);
        worker.send(&["prompt", prompt]);
        assert_eq!(worker.code(), code);
        if command.is_some() {
            worker.heard("turn_completed", "there is no such program");
        }
        assert_eq!(worker.said().last().unwrap()["type"], "exit");
    }
}
