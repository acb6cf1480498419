//! Codex in a worker: real program and adapter, scripted model.

use serde_json::json;
use worker_tests::harness::{ALL_DAY, Installation, Worker, assert_numbered, of_turn};

pub(crate) fn codex<'a>(it: &'a Installation, fields: &[(&str, &str)]) -> Worker<'a> {
    it.worker(&[&[("agent_type", "CODEX")], fields].concat())
}

#[test]
fn a_tool_call_its_result_and_a_second_turn_in_the_same_session() {
    let it = Installation::start();
    let tool = r#"@model say Looking.
@model tool exec_command {"cmd": "echo from-$((40+2)) | tee made"}
@model then
@model quote"#;
    let worker = codex(&it, &[("prompt", tool)]);
    let first = worker.first_prompt();
    let end = worker.turn_end(&first);
    let output = worker.output();

    assert_eq!(end.data()["outcome"], "success", "{end:?}");
    assert!(end.content().contains("from-42"), "{end:?}");
    assert!(end.data()["input_tokens"].as_u64() > Some(0), "{end:?}");
    assert!(of_turn(&output, &first, "message").iter().any(|e| e.content() == "Looking."));
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
    assert!(asked.mentions("Looking."), "the conversation goes on");
    assert_numbered(&worker.output());
}

#[test]
fn an_interrupt_ends_a_running_tool_and_an_error_of_the_model_its_turn() {
    let it = Installation::start();
    let worker = codex(&it, &[]);
    // After that time Codex leaves a command to itself, and the turn goes on.
    let waits = json!({"cmd": ALL_DAY, "yield_time_ms": 30_000});
    worker.assert_interrupts_its_shell("exec_command", &waits);
    let end = worker.turn("@model error 400 invalid_request_error This model is out of order.");
    assert_eq!(end.data()["outcome"], "error", "{end:?}");
    assert!(end.content().contains("out of order"), "{end:?}");
    let end = worker.turn("@model say Back again.");
    assert_eq!((end.data()["outcome"].as_str(), end.content()), (Some("success"), "Back again."));
}

#[test]
fn a_headless_worker_ends_after_its_turn_with_a_code_that_tells_how_it_went() {
    for (prompt, outcome, said, code) in [
        ("@model say Hello there.", "success", "Hello there.", "0"),
        ("@model error 503 server_error Nobody is here.", "error", "503", "1"),
    ] {
        let it = Installation::start();
        let worker = codex(&it, &[("headless", "true"), ("prompt", prompt)]);
        let end = worker.turn_end(&worker.first_prompt());
        assert_eq!(end.data()["outcome"], outcome, "{end:?}");
        assert!(end.content().contains(said), "{end:?}");
        assert_eq!(worker.ends(), code);
    }
}

#[test]
fn a_model_of_the_callers_is_asked_for_and_one_that_is_not_there_is_named_with_those_that_are() {
    let it = Installation::start();
    let hello = ("prompt", "@model say Hello.");
    let worker = codex(&it, &[("model", "none-such"), hello]);
    let end = worker.turn_end(&worker.first_prompt());
    assert!(end.content().contains("did not take the model none-such"), "{end:?}");
    let (_, offered) = end.content().split_once("it has ").expect("what it has");
    let other = |name: &&str| !name.starts_with("scripted");
    let name = offered.split(", ").find(other).expect("another than the provider's");

    let worker = codex(&it, &[("model", name), hello]);
    assert_eq!(worker.turn_end(&worker.first_prompt()).content(), "Hello.");
    let asked = it.asked_of_model();
    let models: Vec<_> = asked.iter().filter_map(|asked| asked.body["model"].as_str()).collect();
    // How hard it is to think is a part of the name.
    assert!(models.iter().any(|model| name.starts_with(model)), "{name}: {models:?}");
}
