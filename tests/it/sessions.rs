//! Workers that are stopped and started again: their agents remember.

use worker_tests::harness::{Installation, Reply, Worker, assert_numbered};

use crate::codex::codex;
use crate::opencode::{SONNET, opencode};

const HERON: &str = "@model say The heron is purple.";

fn tell(worker: &Worker<'_>, command: &str) -> Reply {
    worker.it.command(&[("command", command), ("worker_id", &worker.id)])
}

fn stop(worker: &Worker<'_>) {
    let reply = tell(worker, "stop");
    let told = (reply.is_ok(), reply.get("status"), reply.get("reason"));
    assert_eq!(told, (true, "STOPPED".into(), "stopped".into()), "{}", worker.it.explain());
}

fn start(worker: &Worker<'_>) {
    let reply = tell(worker, "start");
    let told = (reply.is_ok(), reply.get("status"));
    assert_eq!(told, (true, "RUNNING".into()), "{reply:?}{}", worker.it.explain());
}

/// Has a turn, lets the worker rest, and has another, in which the agent knows of the first.
fn remembers(worker: &Worker<'_>) {
    let first = worker.turn(HERON);
    assert_eq!(first.data()["outcome"], "success", "{first:?}");
    stop(worker);
    assert_eq!(worker.it.users(), Vec::<String>::new(), "nobody may use its Redis user now");
    let waits = worker.prompt("@model say Yes.");
    start(worker);
    let second = worker.turn_end(&waits);
    assert_eq!((second.data()["outcome"].as_str(), second.content()), (Some("success"), "Yes."));
    assert_eq!(second.get("session_id"), first.get("session_id"));
    let asked = worker.it.asked_of_model().pop().expect("a request");
    assert!(asked.mentions("The heron is purple."), "the conversation goes on");

    let output = worker.output();
    assert_numbered(&output);
    assert_eq!(worker.said("ready").len(), 2);
    let herons = worker.said("message").iter().filter(|e| e.content().contains("heron")).count();
    assert_eq!(herons, 1, "what was said before is not said again: {output:?}");
    let started = worker.said("turn_started").pop().expect("a turn");
    assert_eq!(started.get("data"), "", "it was not begun before the stop");
    let status = worker.status();
    assert_eq!((status.get("status"), status.get("turns")), ("RUNNING".into(), "2".into()));
}

/// What it kept goes with it, and nothing of it is on the engine any more.
fn goes(worker: &Worker<'_>) {
    let it = worker.it;
    let label = format!("label=io.worker-manager.namespace={}", it.namespace);
    let volumes = || it.engine.ask(&["volume", "ls", "--quiet", "--filter", &label]);
    let kept = volumes();
    for word in ["home", "kept", "tmp", "workspace"] {
        let volume = format!("{}-{word}", worker.name());
        assert!(kept.lines().any(|line| line == volume), "{volume} is not there:\n{kept}");
    }
    worker.delete();
    assert_eq!((it.containers(), it.users(), volumes()), (vec![], vec![], String::new()));
}

#[test]
fn claude_code_remembers_what_was_said_before_a_stop_and_its_cost_is_counted_on() {
    let it = Installation::start();
    let env = r#"{"GREETING": "servus"}"#;
    let worker = it.worker(&[("agent_type", "CLAUDE"), ("env", env)]);
    remembers(&worker);
    let ends = worker.said("turn_completed");
    let cost = |n: usize, name: &str| ends[n].data()[name].as_f64().expect("a cost");
    assert!(cost(1, "cost_usd") > 0.0 && cost(0, "cost_usd") > 0.0);
    let sum = cost(0, "cost_usd") + cost(1, "cost_usd");
    assert!((cost(1, "cost_usd_total") - sum).abs() < 1e-9, "{ends:?}");

    let greet = r#"@model tool Bash {"command": "echo $GREETING; cat /var/lib/worker/boot.json"}
@model then
@model quote"#;
    let end = worker.turn(greet);
    assert!(end.content().contains("servus"), "the caller's environment was kept: {end:?}");
    assert!(end.content().contains("ermission denied"), "for root alone: {end:?}");
    goes(&worker);
}

#[test]
fn a_worker_that_was_killed_from_outside_goes_on_with_its_session() {
    let it = Installation::start();
    let worker = it.worker(&[("agent_type", "CLAUDE")]);
    let first = worker.turn(HERON);
    let asked = it.asked_of_model().len();
    let stalled = worker.prompt("@model stall");
    it.soon("the stalled request", || (it.asked_of_model().len() > asked).then_some(()));
    it.engine.ask(&["kill", &worker.name()]);
    assert_eq!(worker.becomes("FAILED")["reason"], "exit 137");
    start(&worker);
    worker.says("the prompt that was cut off", |entry| {
        let again = entry.get("data").contains(r#""redelivered":true"#);
        entry.kind() == "turn_started" && entry.get("turn") == stalled && again
    });
    assert!(tell(&worker, "interrupt").is_ok());
    assert_eq!(worker.turn_end(&stalled).data()["outcome"], "interrupted");
    let end = worker.turn("@model say Still here.");
    assert_eq!((end.content(), end.get("session_id")), ("Still here.", first.get("session_id")));
    let total = end.data()["cost_usd_total"].as_f64();
    assert!(total > first.data()["cost_usd_total"].as_f64().map(|cost| cost * 1.5), "{end:?}");
    goes(&worker);
}

#[test]
fn claude_code_without_its_session_says_so_and_begins_anew() {
    let it = Installation::start();
    let worker = it.worker(&[("agent_type", "CLAUDE")]);
    let first = worker.turn(HERON);
    // Of itself, at its end, it would write it again.
    let lose = "rm -r ~/.claude/projects && kill -KILL $(pidof claude)";
    it.engine.ask(&["exec", "--user", "1000", &worker.name(), "/bin/bash", "-c", lose]);
    worker.becomes("FAILED");
    start(&worker);
    let end = worker.turn("@model say Who are you?");
    assert_eq!(end.content(), "Who are you?");
    assert_ne!(end.get("session_id"), first.get("session_id"));
    worker.says("that the session is lost", |entry| {
        entry.kind() == "error" && entry.content().contains("a new session begins")
    });
    assert_eq!(worker.status().get("turns"), "2");
}

#[test]
fn opencode_remembers_what_was_said_before_a_stop() {
    let it = Installation::start();
    let worker = opencode(&it, &[SONNET]);
    remembers(&worker);
    goes(&worker);
}

#[test]
fn codex_remembers_what_was_said_before_a_stop() {
    let it = Installation::start();
    let worker = codex(&it, &[]);
    remembers(&worker);
    goes(&worker);
}

#[test]
fn a_manager_that_is_killed_in_a_stop_and_in_a_start_leaves_it_to_the_next() {
    let it = Installation::start();
    let worker = it.script("trap 'sleep 1; exit 0' TERM; echo armed; sleep 1000 & wait");
    worker.prints("armed");
    let commands = [("stop", "STOPPED"), ("start", "RUNNING"), ("stop", "STOPPED")];
    for (delay, (command, status)) in [300, 30, 600].into_iter().zip(commands) {
        let request = it.send(&[("command", command), ("worker_id", &worker.id)]);
        // Not for something to be so: to be somewhere in the middle of it.
        std::thread::sleep(std::time::Duration::from_millis(delay));
        it.manager().kill();
        it.start_manager();
        let reply = it.reply(&request);
        assert_eq!((reply.is_ok(), reply.get("status")), (true, status.into()), "{}", it.explain());
        assert_eq!(it.replies(&request).len(), 1);
        assert_eq!(it.containers().len(), 1);
    }
    goes(&worker);
}
