//! Gemini CLI in a worker: real program, scripted model.

use serde_json::json;
use worker_tests::harness::{ALL_DAY, Installation, Worker, assert_numbered, of_turn};

const TOOL: &str = r#"@model say Looking.
@model tool run_shell_command {"command": "echo from-$GREETING | tee made", "description": "prints"}
@model then
@model quote"#;

pub(crate) fn gemini<'a>(it: &'a Installation, fields: &[(&str, &str)]) -> Worker<'a> {
    let env = json!({"GREETING": "servus"});
    it.worker(&[&[("agent_type", "GEMINI"), ("env", &env.to_string())], fields].concat())
}

#[test]
fn a_tool_call_its_result_and_a_second_turn_in_the_same_session() {
    let it = Installation::start();
    let worker = gemini(&it, &[("prompt", TOOL)]);
    let first = worker.first_prompt();
    let end = worker.turn_end(&first);
    let output = worker.output();

    assert_eq!(end.data()["outcome"], "success", "{end:?}");
    assert!(end.content().contains("from-servus"), "{end:?}");
    assert!(of_turn(&output, &first, "message").iter().any(|e| e.content() == "Looking."));
    let [call] = of_turn(&output, &first, "tool_call")[..] else { panic!("{output:?}") };
    assert!(call.content().starts_with("execute echo from-"), "{call:?}");
    let [result] = of_turn(&output, &first, "tool_result")[..] else { panic!("{output:?}") };
    assert!(result.content().contains("from-servus"), "{result:?}");
    assert_eq!(result.data()["id"], call.data()["id"]);
    assert_eq!(worker.root("cat /workspace/made").trim(), "from-servus");

    let second = worker.turn("@model say Second.");
    assert_eq!((second.data()["outcome"].as_str(), second.content()), (Some("success"), "Second."));
    assert_eq!(second.get("session_id"), end.get("session_id"));
    let asked = it.asked_of_model().pop().expect("a request");
    assert!(asked.mentions("from-servus"), "the conversation goes on");
    assert!(asked.path.contains("flash"), "the model was chosen for an easy task: {}", asked.path);
    assert_numbered(&worker.output());
    assert_eq!(worker.said("ready").len(), 1);
}

#[test]
fn an_interrupt_ends_a_running_tool_and_an_error_of_the_model_its_turn() {
    let it = Installation::start();
    let worker = gemini(&it, &[]);
    let waits = json!({"command": ALL_DAY, "description": "waits"});
    worker.assert_interrupts_its_shell("run_shell_command", &waits);
    let end = worker.turn("@model error 400 INVALID_ARGUMENT This model is out of order.");
    assert_eq!(end.data()["outcome"], "error", "{end:?}");
    assert!(end.content().contains("out of order"), "{end:?}");
    let end = worker.turn("@model say Back again.");
    assert_eq!((end.data()["outcome"].as_str(), end.content()), (Some("success"), "Back again."));
}

#[test]
fn a_headless_worker_with_a_model_of_the_callers_ends_after_its_turn() {
    let it = Installation::start();
    let prompt = ("prompt", "@model say Hello there.");
    let worker = gemini(&it, &[("model", "gemini-2.5-pro"), ("headless", "true"), prompt]);
    let end = worker.turn_end(&worker.first_prompt());
    assert_eq!((end.data()["outcome"].as_str(), end.content()), (Some("success"), "Hello there."));
    assert_eq!(worker.ends(), "0");
    let asked = it.asked_of_model().pop().expect("a request");
    assert!(asked.path.contains("gemini-2.5-pro"), "{}", asked.path);
}

#[test]
fn a_headless_worker_whose_model_fails_fails() {
    let it = Installation::start();
    let prompt = ("prompt", "@model error 400 INVALID_ARGUMENT This model is out of order.");
    let worker = gemini(&it, &[("headless", "true"), prompt]);
    let end = worker.turn_end(&worker.first_prompt());
    assert!(end.content().contains("out of order"), "{end:?}");
    assert_eq!(worker.ends(), "1");
}
