//! A worker that is started again, with what the wrapper before had kept.

use serde_json::Value;
use std::os::unix::fs::MetadataExt;
use worker_protocol::{AgentProtocol, Secret};

use crate::redis_server::{Redis, ask, pending, until};
use crate::worker::{HEARTBEAT, INPUT, Worker, boot, prepare};

/// Answers each prompt with a turn, and says with which arguments it was started. Its cost is that
/// of the turns it was asked for by this process.
const CLAUDE: &str = r#"
echo "arguments: $*" >&2
read -r initialize
echo '{"type":"control_response","response":{"subtype":"success","request_id":"wrapper-initialize"}}'
n=0
while read -r prompt; do n=$((n+1)); echo '{"type":"result","subtype":"success","is_error":false,"session_id":"s1","result":"turn '$n'","total_cost_usd":'$n'}'; done
"#;

/// Does what Claude Code does that has lost a session.
const FORGETFUL: &str = r#"
case "$*" in *--resume*) echo '{"type":"result","subtype":"error","is_error":true,"session_id":"s1"}'; exit 1;; esac
read -r initialize
echo '{"type":"control_response","response":{"subtype":"success","request_id":"wrapper-initialize"}}'
while read -r prompt; do echo '{"type":"result","subtype":"success","is_error":false,"session_id":"s2","result":"hello","total_cost_usd":1}'; done
"#;

fn claude(redis: &Redis, script: &str) -> Worker {
    prepare(&mut redis.connect());
    let mut boot = boot(redis, script);
    boot.agent.command.push("claude".to_owned()); // What a shell calls itself; arguments follow.
    boot.agent.protocol = AgentProtocol::Claude;
    Worker::start(redis, &boot)
}

fn pulse_with(worker: &mut Worker, turns: u64) -> Value {
    until("the turns in the pulse", || {
        let pulse: Option<String> = ask(&mut worker.redis, &["GET", HEARTBEAT]);
        let pulse: Value = serde_json::from_str(&pulse?).unwrap();
        (pulse["turns"] == turns).then_some(pulse)
    })
}

#[test]
fn session_turns_and_cost_go_on_and_what_waited_is_done() {
    let redis = Redis::start();
    let mut first = claude(&redis, CLAUDE);
    assert!(!first.heard("stderr", "arguments:")["content"].contains("--resume"));
    first.send(&["prompt", "one"]);
    first.heard("turn_completed", "turn 1");
    first.signal("-KILL");
    first.ended();
    first.send(&["prompt", "two"]);

    let mut second = first.start_again(&redis);
    second.heard("stderr", "--resume=s1");
    let started = second.heard("turn_started", "two");
    assert!(!started.contains_key("data"), "it was not begun before: {started:?}");
    until("its end", || {
        let ends = second.said().into_iter().filter(|e| e["type"] == "turn_completed");
        (ends.count() == 2).then_some(())
    });
    let pulse = pulse_with(&mut second, 2);
    assert_eq!((&pulse["session_id"], &pulse["cost_usd"]), (&"s1".into(), &2.0.into()));
    until("the acknowledgement", || (pending(&mut second.redis, INPUT) == 0).then_some(()));
    let seqs: Vec<_> = second.said().iter().map(|e| e["seq"].parse::<u64>().unwrap()).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
}

#[test]
fn a_turn_that_was_cut_off_is_marked_and_one_that_waited_behind_it_is_not() {
    let redis = Redis::start();
    // The first prompt hangs in the first run, and is answered in the second.
    let hangs = CLAUDE.replace(
        "while read",
        "case \"$*\" in *--resume*) ;; *) echo '{\"type\":\"system\",\"session_id\":\"s1\"}'; sleep 1000;; esac; while read",
    );
    let mut first = claude(&redis, &hangs);
    first.send(&["prompt", "one"]);
    first.heard("turn_started", "one");
    first.send(&["prompt", "two"]);
    until("both in work", || (pending(&mut first.redis, INPUT) == 2).then_some(()));
    let agent = first.children();
    first.signal("-KILL");
    first.ended();
    // In a container, the kernel does it.
    let group = format!("-{}", agent.trim());
    std::process::Command::new("kill").args(["-KILL", "--", &group]).status().unwrap();

    let mut second = first.start_again(&redis);
    second.heard("turn_completed", "turn 2");
    let started: Vec<_> =
        second.said().into_iter().filter(|e| e["type"] == "turn_started").collect();
    let marks: Vec<_> = started.iter().map(|e| e.contains_key("data")).collect();
    assert_eq!(marks, [false, true, false], "{started:?}");
}

#[test]
fn a_session_that_is_lost_is_told_and_a_new_one_begins() {
    let redis = Redis::start();
    let mut first = claude(&redis, FORGETFUL);
    first.send(&["prompt", "one"]);
    first.heard("turn_completed", "hello");
    first.signal("-TERM");
    assert_eq!(first.code(), 0);

    let mut second = first.start_again(&redis);
    let id = second.send(&["prompt", "two"]);
    second.heard("error", "a new session begins");
    until("the end of the second turn", || {
        let said = second.said();
        said.iter().find(|e| e["type"] == "turn_completed" && e["turn"] == id).cloned()
    });
    let pulse = pulse_with(&mut second, 2);
    assert_eq!((&pulse["session_id"], &pulse["cost_usd"]), (&"s2".into(), &2.0.into()));
    second.signal("-TERM");
    assert_eq!(second.code(), 0, "the end of the first process was not that of the worker");
}

#[test]
fn droid_goes_on_with_its_session_in_the_next_turn() {
    let redis = Redis::start();
    prepare(&mut redis.connect());
    let script = r#"cat >/dev/null; echo "arguments: $*" >&2
        echo '{"type":"completion","finalText":"done","session_id":"s7"}'"#;
    let mut boot = boot(&redis, script);
    boot.agent.command.push("droid".to_owned());
    boot.agent.protocol = AgentProtocol::Droid;
    let mut first = Worker::start(&redis, &boot);
    first.send(&["prompt", "one"]);
    first.heard("turn_completed", "done");
    assert!(!first.heard("stderr", "arguments")["content"].contains("--session-id"));
    first.signal("-TERM");
    assert_eq!(first.code(), 0);
    let mut second = first.start_again(&redis);
    second.send(&["prompt", "two"]);
    second.heard("stderr", "--session-id=s7");
    pulse_with(&mut second, 2);
}

#[test]
fn the_callers_environment_is_kept_for_root_alone_and_the_operators_is_not() {
    let redis = Redis::start();
    prepare(&mut redis.connect());
    let mut boot = boot(&redis, "echo \"have ${MINE:-none} ${THEIRS:-none}\"; exec cat");
    for (name, value) in [("MINE", "of-the-caller"), ("THEIRS", "of-the-operator")] {
        boot.agent.env.insert(name.to_owned(), Secret::new(value));
    }
    boot.operators.insert("THEIRS".to_owned());
    let mut first = Worker::start(&redis, &boot);
    first.heard("stdout", "have of-the-caller of-the-operator");
    first.signal("-TERM");
    assert_eq!(first.code(), 0);
    let kept = first.kept("boot.json");
    assert_eq!(std::fs::metadata(&kept).unwrap().mode() & 0o777, 0o600);
    assert!(!std::fs::read_to_string(kept).unwrap().contains("of-the-operator"));

    let mut second = first.start_again(&redis);
    second.heard("stdout", "have of-the-caller none");
    second.send(&["prompt", "still here"]);
    second.heard("stdout", "still here");
}
