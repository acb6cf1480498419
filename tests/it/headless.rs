//! Workers that end by themselves, and `worker-manager run`.

use nix::sys::signal::Signal;
use std::time::Duration;

use worker_tests::harness::{Finished, Installation, Options, Program, Reply, Worker, docker};

/// Long enough for a first build.
const RUN: Duration = Duration::from_secs(600);

fn done(it: &Installation, fields: &[(&str, &str)]) -> Reply {
    let common = [("command", "create"), ("headless", "true"), ("wait", "done")];
    it.command(&[&common, fields].concat())
}

fn exit_code(worker: &Worker<'_>) -> String {
    docker(&["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", &worker.name()])
}

#[test]
fn a_headless_claude_gives_its_final_text_in_the_reply() {
    let it = Installation::start();
    let prompt = "@model say Working.\n@model tool Bash {\"command\": \"true\"}\n\
                  @model then\n@model say All told: 42.";
    let reply = done(&it, &[("agent_type", "CLAUDE"), ("prompt", prompt)]);
    assert!(reply.is_ok(), "{reply:?}{}", it.explain());
    let worker = Worker::of(&it, &reply.get("worker_id"));
    let end = worker.comes_to("turn_completed");
    assert_eq!(reply.get("result"), end.content(), "{reply:?}");
    assert_eq!(reply.get("result"), "All told: 42.");
    assert_eq!((reply.get("status"), reply.get("reason")), ("STOPPED".into(), "completed".into()));
    assert_eq!(reply.get("exit_code"), "0");
    assert_eq!(exit_code(&worker), "exited 0");
    let kinds: Vec<_> = worker.output().iter().map(|e| e.kind().to_owned()).collect();
    assert_eq!(kinds[kinds.len() - 2..], ["turn_completed", "exit"], "{kinds:?}");
    let status = worker.status();
    assert_eq!(
        (status.get("status"), status.get("reason")),
        ("STOPPED".into(), "completed".into())
    );
    assert_eq!(status.get("turns"), "1");
    worker.delete();
    assert_eq!(it.containers(), Vec::<String>::new());
}

#[test]
fn a_headless_claude_that_could_not_fails() {
    let it = Installation::start();
    let prompt = "@model error 400 invalid_request_error Out of order.";
    let reply = done(&it, &[("agent_type", "CLAUDE"), ("prompt", prompt)]);
    let worker = Worker::of(&it, &reply.get("worker_id"));
    assert_eq!(worker.comes_to("turn_completed").data()["outcome"], "error");
    assert_eq!(reply.get("status"), "FAILED", "{reply:?}");
    assert_eq!(worker.record()["status"], "FAILED");
    assert_eq!(exit_code(&worker), "exited 1");
}

#[test]
fn a_headless_program_gives_what_it_printed_and_its_exit_code() {
    let it = Installation::start();
    let script = "read line; echo got $line; cat; echo end";
    let custom = [("agent_type", "CUSTOM"), ("agent_command", script), ("prompt", "seven")];
    let reply = done(&it, &custom);
    assert!(reply.is_ok(), "{reply:?}");
    assert_eq!(reply.get("result"), "got seven\nend", "stdin ends after the prompt: {reply:?}");
    assert_eq!((reply.get("status"), reply.get("exit_code")), ("STOPPED".into(), "0".into()));

    let custom = [("agent_type", "CUSTOM"), ("agent_command", "exit 9"), ("prompt", "seven")];
    let reply = done(&it, &custom);
    assert_eq!((reply.get("status"), reply.get("exit_code")), ("FAILED".into(), "9".into()));
}

#[test]
fn a_worker_that_waits_for_done_can_be_deleted_meanwhile() {
    let it = Installation::start();
    let id = uuid::Uuid::new_v4().to_string();
    let request = it.send(&[
        ("command", "create"),
        ("worker_id", &id),
        ("agent_type", "CUSTOM"),
        ("agent_command", "sleep 1000"),
        ("prompt", "x"),
        ("headless", "true"),
        ("wait", "done"),
    ]);
    let worker = Worker::of(&it, &id);
    worker.becomes("RUNNING");
    worker.delete();
    let reply = it.reply(&request);
    assert!(!reply.is_ok() && reply.get("message").contains("deleted"), "{reply:?}");
    assert_eq!(it.replies(&request).len(), 1);
}

fn run(it: &Installation, arguments: &[&str]) -> Finished {
    let log = format!("run-{}", uuid::Uuid::new_v4());
    it.program(&log, &[&["run"], arguments].concat()).finish(RUN)
}

#[test]
fn the_run_command_does_a_whole_task_and_prints_its_text() {
    let it = Installation::start();
    let prompt = "@model say Looking.\n@model tool Bash {\"command\": \"git --version\"}\n@model then\n@model quote";
    let finished = run(&it, &["--agent", "claude", "--module", "git", prompt]);
    assert!(finished.status.success(), "{finished:?}{}", it.explain());
    assert!(finished.stdout.contains("git version 2"), "{finished:?}");
    assert_eq!(it.containers(), Vec::<String>::new(), "the worker is deleted");
    assert_eq!(it.users(), Vec::<String>::new());
}

#[test]
fn the_run_command_fails_as_its_task_does() {
    let it = Installation::start();
    let prompt = "@model error 400 invalid_request_error Out of order.";
    let finished = run(&it, &["--agent", "claude", prompt]);
    assert!(!finished.status.success(), "{finished:?}");
    assert!(format!("{finished:?}").contains("Out of order"), "the reason is shown: {finished:?}");
    assert_eq!(it.containers(), Vec::<String>::new());

    let finished = run(&it, &["--agent", "cluade", "hello"]);
    assert!(!finished.status.success());
    assert!(finished.stderr.to_lowercase().contains("claude"), "the nearest name: {finished:?}");
    assert_eq!(finished.stdout, "", "mistakes go to stderr");
}

#[test]
fn an_interrupted_run_leaves_nothing() {
    let it = Installation::start();
    let mut program =
        it.program("run", &["run", "--agent", "claude", "@model say Begun.\n@model stall"]);
    it.until("the model at work", RUN, || (!it.asked_of_model().is_empty()).then_some(()));
    program.signal(Signal::SIGINT);
    let finished = program.finish(Duration::from_secs(60));
    assert!(!finished.status.success(), "{finished:?}");
    assert_eq!(it.containers(), Vec::<String>::new(), "{finished:?}");
    assert_eq!(it.users(), Vec::<String>::new());
}

#[test]
fn a_run_without_a_manager_says_what_to_do() {
    let it = Installation::start_with(Options::default().without_manager());
    let finished = run(&it, &["--agent", "claude", "hello"]);
    assert!(!finished.status.success(), "{finished:?}");
    assert!(finished.stderr.contains("worker-manager serve"), "{finished:?}");
    let mut ping: Program = it.program("ping", &["ping"]);
    let finished = ping.finish(Duration::from_secs(60));
    assert!(!finished.status.success(), "{finished:?}");
}
