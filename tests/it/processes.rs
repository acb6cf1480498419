//! Processes that go too far stay within their worker and its limits, and are told of.

use worker_tests::harness::{Entry, Installation, Worker};

fn limited<'a>(it: &'a Installation, limits: &str, script: &str) -> Worker<'a> {
    let command = serde_json::json!(["/bin/sh", "-c", script]).to_string();
    it.worker(&[("agent_type", "CUSTOM"), ("agent_command", &command), ("limits", limits)])
}

fn short_of<'a>(worker: &'a Worker<'_>, limit: &'a str) -> Entry {
    worker.says(&format!("an error about {limit}"), |entry| {
        entry.kind() == "error" && entry.data()["limit"]["name"] == limit
    })
}

/// Processes in the container, as the engine sees them.
fn processes(worker: &Worker<'_>) -> Vec<String> {
    let list = worker.it.engine.ask(&["top", &worker.name(), "-eo", "pid,args"]);
    list.lines().skip(1).map(str::to_owned).collect()
}

#[test]
fn a_fork_bomb_stays_within_its_worker_and_is_told_of() {
    let it = Installation::start();
    let neighbour = it.script("exec cat");
    let bomb =
        "read go; sh -c 'bomb() { bomb | bomb & }; while :; do bomb; done' 2>/dev/null & exec cat";
    let worker = limited(&it, r#"{"pids": 64}"#, bomb);
    worker.prompt("go");
    let told = short_of(&worker, "pids");
    assert_eq!(told.data()["limit"]["value"], 64, "{told:?}");
    assert!(told.data()["pids_refused"].as_u64() > Some(0), "{told:?}");
    assert!(processes(&worker).len() <= 64, "{:?}", processes(&worker));

    worker.prompt("still here");
    worker.prints("still here");
    assert_eq!(worker.status().get("status"), "RUNNING");
    // Its wrapper needs no new process or thread, not even for a new connection.
    let cut: i64 = it.redis.run(&["CLIENT", "KILL", "USER", &worker.name()]);
    assert!(cut > 0);
    worker.prompt("here again");
    worker.prints("here again");
    neighbour.prompt("me too");
    neighbour.prints("me too");

    worker.input(&[("type", "stop")]);
    let exit = worker.comes_to("exit");
    assert!(exit.data()["pids_refused"].as_u64() > Some(0), "{exit:?}");
    assert_eq!(worker.becomes("STOPPED")["reason"], "completed");
    worker.delete();
    assert_eq!(it.containers().len(), 1, "only the neighbour is left");
}

#[test]
fn a_fork_bomb_is_deleted_as_any_other_worker() {
    let it = Installation::start();
    let bomb = "bomb() { bomb | bomb & }; while :; do bomb; done 2>/dev/null";
    let worker = limited(&it, r#"{"pids": 64}"#, &format!("sh -c '{bomb}' & exec cat"));
    short_of(&worker, "pids");
    assert_eq!(worker.delete().get("status"), "STOPPED");
    assert!(it.containers().is_empty());
}

#[test]
fn a_child_that_takes_all_memory_is_killed_and_told_of_and_the_agent_stays() {
    let it = Installation::start();
    let hog = "read go; tail /dev/zero; echo the hog ended with $?; exec cat";
    let worker = limited(&it, r#"{"memory": "64m"}"#, hog);
    worker.prompt("go");
    worker.prints("the hog ended with 137");
    let told = short_of(&worker, "memory");
    assert_eq!(told.data()["limit"]["value"], 64 << 20, "{told:?}");
    assert_eq!(told.data()["oom_kills"], 1, "{told:?}");
    worker.prompt("still here");
    worker.prints("still here");
    worker.input(&[("type", "stop")]);
    let exit = worker.comes_to("exit");
    assert_eq!((&exit.data()["oom_kills"], &exit.data()["oom_killed"]), (&1.into(), &true.into()));
    assert_eq!(worker.becomes("STOPPED")["reason"], "completed");
}

#[test]
fn an_agent_that_takes_all_memory_is_killed_before_its_wrapper_and_the_record_says_why() {
    let it = Installation::start();
    let worker = limited(&it, r#"{"memory": "64m"}"#, "read go; exec tail /dev/zero");
    worker.prompt("go");
    let record = worker.becomes("FAILED");
    let seen = ["reason", "exit_code", "oom_killed"].map(|name| record[name].as_str());
    assert_eq!(seen, ["out of memory", "137", "true"], "{record:?}");
    short_of(&worker, "memory");
    let exit = worker.comes_to("exit");
    assert_eq!(exit.get("source"), "wrapper", "{exit:?}");
    let told = exit.data();
    assert_eq!(
        (&told["oom_killed"], &told["signal"]),
        (&true.into(), &"SIGKILL".into()),
        "{exit:?}"
    );
}

#[test]
fn a_daemon_that_holds_the_pipes_does_not_hold_its_worker_and_goes_with_it() {
    let it = Installation::start();
    // Twice removed from the agent, in a session of its own, deaf to SIGTERM.
    let daemon = "trap '' TERM; while :; do sleep 1; done";
    let script = format!("read go; setsid sh -c '(sh -c \"{daemon}\") & exit 0'; exit 3");
    let worker = it.script(&script);
    worker.prompt("go");
    let record = worker.becomes("FAILED");
    assert_eq!(record["reason"], "exit 3", "{record:?}");
    assert_eq!(worker.comes_to("exit").get("source"), "wrapper");
    assert!(processes(&worker).is_empty());
}

#[test]
fn an_interrupted_tool_leaves_no_process_and_what_was_in_the_background_stays() {
    let it = Installation::start();
    let worker = it.worker(&[("agent_type", "CLAUDE")]);
    let server = r#"@model tool Bash {"command": "tail -F server >/dev/null 2>&1 </dev/null & true"}
@model then
@model say It serves."#;
    assert_eq!(worker.turn(server).data()["outcome"], "success");
    let tool = r#"@model tool Bash {"command": "sh -c 'tail -f /dev/null | tail -f; true'; true"}"#;
    let turn = worker.prompt(tool);
    let of_tool = || processes(&worker).iter().any(|line| line.contains("tail -f /dev/null"));
    it.soon("the tool's processes", || of_tool().then_some(()));
    worker.input(&[("type", "interrupt")]);
    assert_eq!(worker.turn_end(&turn).data()["outcome"], "interrupted");
    it.soon("the end of the tool's processes", || (!of_tool()).then_some(()));
    assert!(processes(&worker).iter().any(|line| line.ends_with("tail -F server")));
    let end = worker.turn("@model say Still here.");
    assert_eq!(end.data()["outcome"], "success", "{end:?}");
}
