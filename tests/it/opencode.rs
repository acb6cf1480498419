//! OpenCode in a worker: real program, scripted model.

use serde_json::json;
use worker_tests::harness::{ALL_DAY, Installation, Worker, assert_numbered, of_turn};

const TOOL: &str = r#"@model think Hm.
@model say Looking.
@model tool bash {"command": "echo from-$((40+2)) | tee made", "description": "prints"}
@model then
@model quote"#;

pub(crate) const SONNET: (&str, &str) = ("model", "anthropic/claude-sonnet-4-5");

pub(crate) fn opencode<'a>(it: &'a Installation, fields: &[(&str, &str)]) -> Worker<'a> {
    it.worker(&[&[("agent_type", "OPENCODE")], fields].concat())
}

#[test]
fn a_tool_call_its_result_and_a_second_turn_in_the_same_session() {
    let it = Installation::start();
    let worker = opencode(&it, &[SONNET, ("prompt", TOOL)]);
    let first = worker.first_prompt();
    let end = worker.turn_end(&first);
    let output = worker.output();

    assert_eq!((end.data()["outcome"].as_str(), end.content()), (Some("success"), "from-42"));
    assert!(end.data()["input_tokens"].as_u64() > Some(0), "{end:?}");
    assert!(end.data()["cost_usd"].as_f64() > Some(0.0), "{end:?}");
    assert_eq!(of_turn(&output, &first, "thinking")[0].content(), "Hm.");
    assert_eq!(of_turn(&output, &first, "message")[0].content(), "Looking.");
    let [call] = of_turn(&output, &first, "tool_call")[..] else { panic!("{output:?}") };
    assert!(call.content().starts_with("execute echo from-"), "{call:?}");
    let [result] = of_turn(&output, &first, "tool_result")[..] else { panic!("{output:?}") };
    assert_eq!(result.content().trim(), "from-42");
    assert_eq!(result.data()["id"], call.data()["id"]);
    assert_eq!(worker.root("cat /workspace/made").trim(), "from-42");

    let second = worker.turn("@model say Second.");
    assert_eq!((second.data()["outcome"].as_str(), second.content()), (Some("success"), "Second."));
    assert_eq!(second.get("session_id"), end.get("session_id"));
    let asked = it.asked_of_model().pop().expect("a request");
    assert!(asked.mentions("from-42"), "the conversation goes on");
    assert_numbered(&worker.output());
    assert_eq!(worker.said("ready").len(), 1);
}

#[test]
fn an_interrupt_ends_a_running_tool_and_an_error_of_the_model_its_turn() {
    let it = Installation::start();
    let worker = opencode(&it, &[SONNET]);
    let waits = json!({"command": ALL_DAY, "description": "waits"});
    worker.assert_interrupts_its_shell("bash", &waits);
    let end = worker.turn("@model error 400 invalid_request_error This model is out of order.");
    assert_eq!(end.data()["outcome"], "error", "{end:?}");
    assert!(end.content().contains("out of order"), "{end:?}");
    let end = worker.turn("@model say Back again.");
    assert_eq!((end.data()["outcome"].as_str(), end.content()), (Some("success"), "Back again."));
}

#[test]
fn a_headless_worker_ends_after_its_turn_and_a_model_that_is_not_there_is_named() {
    let it = Installation::start();
    let worker =
        opencode(&it, &[SONNET, ("headless", "true"), ("prompt", "@model say Hello there.")]);
    let end = worker.turn_end(&worker.first_prompt());
    assert_eq!((end.data()["outcome"].as_str(), end.content()), (Some("success"), "Hello there."));
    assert_eq!(worker.ends(), "0");

    let none = ("model", "anthropic/none-such");
    let worker = opencode(&it, &[none, ("headless", "true"), ("prompt", "x")]);
    let end = worker.turn_end(&worker.first_prompt());
    assert_eq!(end.data()["outcome"], "error", "{end:?}");
    assert!(end.content().contains("none-such"), "{end:?}");
    assert_eq!(worker.ends(), "1");
}
