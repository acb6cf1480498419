//! Workers that fail by themselves, and are started again.

use worker_tests::harness::{Installation, Worker, assert_numbered};

/// Counts its runs in a file of the workspace, and fails in the first of them.
fn fails(times: u32, then: &str) -> String {
    format!(
        "n=$(cat runs 2>/dev/null || echo 1); echo $((n + 1)) > runs; \
         if [ $n -le {times} ]; then read line; echo \"run $n fails: $line\"; exit 3; fi; {then}"
    )
}

fn command(script: &str) -> String {
    serde_json::json!(["/bin/sh", "-c", script]).to_string()
}

fn custom<'a>(command: &'a str, restart: &'a str) -> [(&'a str, &'a str); 3] {
    [("agent_type", "CUSTOM"), ("agent_command", command), ("restart", restart)]
}

fn of_record(worker: &Worker<'_>, name: &str) -> String {
    worker.record().remove(name).unwrap_or_default()
}

/// Waits until it is to be started for the time `number`, and what for it is told.
fn waits_for_restart(worker: &Worker<'_>, number: &str) {
    worker.it.soon(&format!("the pause before restart {number}"), || {
        let record = worker.record();
        let is = |name: &str, value: &str| record.get(name).is_some_and(|has| has == value);
        (is("restarts", number) && is("reason", "restarting")).then_some(())
    });
}

#[test]
fn a_task_is_done_again_until_it_succeeds() {
    let it = Installation::start();
    let command = command(&fails(2, "read line; echo \"run $n: $line\""));
    let task = [("command", "create"), ("headless", "true"), ("prompt", "hello"), ("wait", "done")];
    let done = it.command(&[&task[..], &custom(&command, "on-failure")].concat());
    assert_eq!((done.get("status"), done.get("reason")), ("STOPPED".into(), "completed".into()));
    assert!(done.get("result") == "run 3: hello", "{done:?}{}", it.explain());
    let worker = Worker::of(&it, &done.get("worker_id"));
    assert_eq!(of_record(&worker, "restarts"), "2");
    let again: Vec<_> =
        worker.said("turn_started").iter().map(|turn| turn.data()["redelivered"].clone()).collect();
    assert_eq!(again, [serde_json::Value::Null, true.into(), true.into()]);
    assert_numbered(&worker.output());
    let pending: Vec<redis::Value> = it.redis.run(&["XPENDING", &worker.key("input"), "wrapper"]);
    assert_eq!(pending.first(), Some(&redis::Value::Int(0)), "in the end it is acknowledged");
}

#[test]
fn a_task_that_fails_too_often_has_failed() {
    let it = Installation::start();
    let command = command(&fails(9, ""));
    let task = [("command", "create"), ("headless", "true"), ("prompt", "hello"), ("wait", "done")];
    let done = it.command(&[&task[..], &custom(&command, "on-failure:2")].concat());
    assert_eq!((done.is_ok(), done.get("status")), (true, "FAILED".into()), "{done:?}");
    assert_eq!((done.get("reason"), done.get("exit_code")), ("exit 3".into(), "3".into()));
    let worker = Worker::of(&it, &done.get("worker_id"));
    assert_eq!(of_record(&worker, "restarts"), "2");
    assert_eq!(worker.stdout().lines().count(), 3, "{}", worker.stdout());
    assert_eq!(worker.said("exit").len(), 3);
}

#[test]
fn an_agent_that_ran_out_of_memory_is_started_again() {
    let it = Installation::start();
    let command = command("if mkdir before; then exec tail /dev/zero; fi; exec cat");
    let limits = [("limits", r#"{"memory": "64m"}"#)];
    let worker = it.worker(&[&custom(&command, "on-failure:1")[..], &limits].concat());
    it.soon("its second run", || (worker.said("ready").len() == 2).then_some(()));
    worker.turn("hello");
    worker.prints("hello");
    let restarting = it.events().into_iter().find(|event| event.get("reason") == "restarting");
    let message = restarting.expect("an event").get("message").to_owned();
    assert!(message.starts_with("out of memory; started again at "), "{message}");
    // Its agent can answer before the manager has seen that it runs.
    assert_eq!(worker.becomes("RUNNING")["restarts"], "1");
}

#[test]
fn a_stop_in_the_pause_holds_and_a_start_begins_anew() {
    let it = Installation::start();
    let command = command("exit 3");
    let worker = it.worker(&custom(&command, "on-failure"));
    waits_for_restart(&worker, "4");
    let tell = |command| it.command(&[("command", command), ("worker_id", &worker.id)]);
    let stopped = tell("stop");
    assert_eq!(
        (stopped.get("status"), stopped.get("reason")),
        ("STOPPED".into(), "stopped".into())
    );
    let record = worker.record();
    assert_eq!((record.get("next_start_at"), &*record["exit_code"]), (None, "3"));
    assert!(tell("start").is_ok());
    waits_for_restart(&worker, "1");
}

#[test]
fn a_manager_that_is_killed_in_the_pause_leaves_the_start_to_the_next() {
    let it = Installation::start();
    let command = command(&fails(4, "exec cat").replace("read line; ", ""));
    let worker = it.worker(&custom(&command, "on-failure:4"));
    waits_for_restart(&worker, "4");
    let at = of_record(&worker, "next_start_at");
    it.manager().kill();
    it.start_manager();
    let record = worker.becomes("RUNNING");
    assert!(record["started_at"] >= at, "not before {at}: {record:?}");
    assert_eq!((record["restarts"].as_str(), record.get("next_start_at")), ("4", None));
    worker.turn("hello");
    worker.prints("hello");
}

#[test]
fn claude_code_goes_on_with_its_session_and_its_prompt_after_it_was_killed() {
    let it = Installation::start();
    let claude = [("agent_type", "CLAUDE"), ("model", "claude-sonnet-4-5")];
    let worker = it.worker(&[&claude[..], &[("restart", "on-failure:3")]].concat());
    let first = worker.turn("@model say The heron is purple.");
    let long = worker.prompt("@model tool Bash {\"command\": \"tail -f /dev/null\"}");
    it.soon("the command", || worker.runs("tail -f /dev/null").then_some(()));
    worker.root("kill -9 $(grep -l '^Name:.*claude' /proc/[0-9]*/status | cut -d/ -f3)");
    it.soon("its second run", || (worker.said("ready").len() == 2).then_some(()));
    let again = worker.says("the turn again", |entry| {
        entry.kind() == "turn_started" && entry.data()["redelivered"] == true
    });
    assert_eq!((again.get("turn"), worker.status().get("restarts")), (&*long, "1".to_owned()));
    worker.input(&[("type", "interrupt")]);
    it.soon("the end of the turn", || {
        let ends = worker.said("turn_completed");
        ends.iter()
            .any(|end| end.get("turn") == long && end.data()["outcome"] == "interrupted")
            .then_some(())
    });
    let last = worker.turn("@model say Yes.");
    assert_eq!(last.get("session_id"), first.get("session_id"));
}
