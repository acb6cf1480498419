//! Limits of time and cost that end a worker.

use worker_tests::harness::{Entry, Installation, Options, Worker};

const CUSTOM: [(&str, &str); 2] = [("agent_type", "CUSTOM"), ("agent_command", r#"["cat"]"#)];

/// Two answers, of which the first alone is dearer than a dollar.
const DEAR: &str = r#"@model usage 1000 100000
@model tool Bash {"command": "echo one"}
@model then
@model say That was dear."#;

/// The entries that say which limit it was, and the record.
fn assert_ended(worker: &Worker<'_>, limit: &str, status: &str, reason: &str) {
    let record = worker.becomes(status);
    assert_eq!(record["reason"], reason, "{record:?}");
    let names = |entry: &Entry| entry.data()["limit"]["name"] == limit;
    assert!(worker.said("error").iter().any(names), "{:?}", worker.said("error"));
    assert!(worker.said("exit").iter().any(names), "{:?}", worker.said("exit"));
}

#[test]
fn claude_code_stops_in_the_middle_of_a_turn_that_costs_too_much() {
    let it = Installation::start();
    let worker = it.worker(&[
        ("agent_type", "CLAUDE"),
        ("model", "claude-sonnet-4-5"),
        ("limits", r#"{"max_cost_usd": 1}"#),
    ]);
    let end = worker.turn(DEAR);
    assert_eq!(end.data()["outcome"], "limit", "{end:?}");
    assert!(end.data()["cost_usd_total"].as_f64() > Some(1.0), "{end:?}");
    assert_ended(&worker, "max_cost_usd", "FAILED", "cost limit");
    assert_eq!(it.asked_of_model().len(), 1, "the tool's result was not sent any more");
}

#[test]
fn opencode_begins_no_further_turn_when_it_has_cost_enough() {
    let it = Installation::start();
    let worker = it.worker(&[
        ("agent_type", "OPENCODE"),
        ("model", "anthropic/claude-sonnet-4-5"),
        ("limits", r#"{"max_cost_usd": 1}"#),
    ]);
    let end = worker.turn("@model usage 1000 100000\n@model say That was dear.");
    assert_eq!(end.data()["outcome"], "success", "{end:?}");
    assert!(end.data()["cost_usd_total"].as_f64() > Some(1.0), "{end:?}");
    assert_ended(&worker, "max_cost_usd", "STOPPED", "cost limit");
}

#[test]
fn what_is_configured_holds_for_a_worker_that_names_no_limit() {
    let options = Options::default().file("[limits]\nmax_cost_usd = 1.0\nmax_lifetime = \"2s\"\n");
    let it = Installation::start_with(options);
    let claude = [("agent_type", "CLAUDE"), ("model", "claude-sonnet-4-5")];
    let dear = [("prompt", DEAR), ("headless", "true"), ("wait", "done")];
    let own = [("limits", r#"{"max_lifetime": "1h"}"#)];
    let reply = it.command(&[&[("command", "create")], &claude[..], &dear, &own].concat());
    let seen = (reply.get("status"), reply.get("reason"), reply.get("exit_code"));
    assert_eq!(seen, ("FAILED".into(), "cost limit".into(), "1".into()), "{}", it.explain());

    let worker = it.worker(&CUSTOM);
    assert_ended(&worker, "max_lifetime", "STOPPED", "lifetime limit");
}

#[test]
fn a_worker_without_work_ends_while_the_manager_is_dead_and_the_next_one_knows_why() {
    let it = Installation::start();
    let worker = it.worker(&[&CUSTOM[..], &[("limits", r#"{"idle_timeout": "2s"}"#)]].concat());
    it.manager().kill();
    worker.comes_to("exit");
    it.soon("the end of the container", || {
        let state = it.engine.ask(&["inspect", "-f", "{{.State.Running}}", &worker.name()]);
        (state.trim() == "false").then_some(())
    });
    it.start_manager();
    assert_ended(&worker, "idle_timeout", "STOPPED", "idle timeout");
    let status = worker.status();
    assert_eq!(
        (status.get("exit_code"), status.get("reason")),
        ("0".into(), "idle timeout".into())
    );
}

#[test]
fn a_turn_that_cannot_be_ended_takes_the_worker_with_it() {
    let it = Installation::start_with(Options::default().set("WORKER_STOP_GRACE", "1s"));
    let deaf =
        "trap '' INT TERM; setsid sh -c 'while :; do sleep 1; done' & while :; do sleep 1; done";
    let command = serde_json::json!(["/bin/sh", "-c", deaf]).to_string();
    let worker = it.worker(&[
        ("agent_type", "CUSTOM"),
        ("agent_command", &command),
        ("protocol", "stream-json"),
        ("limits", r#"{"turn_timeout": "1s"}"#),
    ]);
    let end = worker.turn("work");
    assert_eq!(end.data()["outcome"], "timeout", "{end:?}");
    assert_ended(&worker, "turn_timeout", "FAILED", "turn timeout");
    let exit = worker.comes_to("exit");
    assert_eq!((exit.get("source"), exit.data()["signal"].as_str()), ("wrapper", Some("SIGKILL")));
}

#[test]
fn a_limit_that_would_not_hold_is_refused() {
    let it = Installation::start();
    for (agent, limit, says) in [
        (&CUSTOM[..], r#"{"max_cost_usd": 1}"#, "does not tell what it costs"),
        (&[("agent_type", "FACTORY")], r#"{"max_cost_usd": 1}"#, "does not tell what it costs"),
    ] {
        let create = [&[("command", "create"), ("limits", limit)], agent].concat();
        let reply = it.command(&create);
        assert_eq!(reply.get("error"), "refused", "{reply:?}");
        assert!(reply.get("message").contains(says), "{reply:?}");
    }
}

#[test]
fn a_worker_that_fills_the_disk_is_ended_and_says_why() {
    let it = Installation::start_with(Options::default().file("[limits]\ndisk = \"32m\"\n"));
    let frugal = it.script("head -c 8000000 /dev/zero >/workspace/some; exec cat");
    let greedy = it.script(
        "read go; head -c 20000000 /dev/zero >/tmp/some; head -c 20000000 /dev/zero >~/more; exec cat",
    );
    greedy.prompt("go");
    assert_ended(&greedy, "disk", "FAILED", "disk limit");
    let told = greedy.said("error").pop().expect("an error entry");
    assert!(told.content().contains("more than 33554432 bytes to the disk"), "{told:?}");
    frugal.prompt("still here");
    frugal.prints("still here");
}
