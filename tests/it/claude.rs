//! Claude Code in a worker: real program, scripted model.

use serde_json::json;
use worker_tests::harness::{ALL_DAY, Entry, Installation, Worker, assert_numbered};
use worker_tests::model::plan::long_text;

const VERSIONS: &str = r#"@model say Looking.
@model tool Bash {"command": "git --version && curl --version | head -n 1"}
@model then
@model quote"#;

pub(crate) fn claude<'a>(it: &'a Installation, fields: &[(&str, &str)]) -> Worker<'a> {
    it.worker(&[&[("agent_type", "CLAUDE")], fields].concat())
}

fn of_turn<'a>(output: &'a [Entry], turn: &str, kind: &str) -> Vec<&'a Entry> {
    output.iter().filter(|e| e.get("turn") == turn && e.kind() == kind).collect()
}

#[test]
fn a_prompt_becomes_a_message_a_tool_call_its_result_and_the_end_of_the_turn() {
    let it = Installation::start();
    let worker = claude(&it, &[("modules", "GIT,CURL"), ("prompt", VERSIONS)]);
    let turn = worker.first_prompt();
    let end = worker.turn_end(&turn);
    let output = worker.output();

    assert_numbered(&output);
    assert_eq!(output[0].kind(), "ready", "ready comes first");
    let started = of_turn(&output, &turn, "turn_started");
    assert_eq!(started.len(), 1);
    assert!(started[0].content().contains("@model say Looking."));
    let messages = of_turn(&output, &turn, "message");
    assert!(messages.iter().any(|e| e.content() == "Looking."), "{messages:?}");
    let call = of_turn(&output, &turn, "tool_call")[0];
    assert_eq!(call.data()["tool"], "Bash");
    assert!(call.data()["input"]["command"].as_str().is_some_and(|c| c.contains("git --version")));
    let result = of_turn(&output, &turn, "tool_result")[0].clone();
    let text = format!("{}{}", result.content(), result.get("data"));
    assert!(text.contains("git version 2") && text.contains("curl "), "{result:?}");

    assert_eq!(end.data()["outcome"], "success", "{end:?}");
    assert!(end.content().contains("git version 2"), "the final text is the turn's content");
    assert!(end.data()["num_turns"].as_u64() >= Some(2), "{end:?}");
    assert!(end.data()["duration_ms"].as_u64() > Some(0), "{end:?}");
    assert!(end.data()["cost_usd"].as_f64() > Some(0.0), "{end:?}");
    assert!(end.data()["cost_usd_total"].as_f64() > Some(0.0), "{end:?}");
    let spoken = output.iter().filter(|e| e.get("source") == "agent" && e.get("turn") == turn);
    assert!(spoken.clone().all(|e| e.get("session_id") == end.get("session_id")));
    assert!(!end.get("session_id").is_empty());
    assert!(
        output.iter().all(|e| e.get("timestamp").ends_with('Z') && !e.get("source").is_empty())
    );
}

#[test]
fn prompts_run_in_order_in_one_session_of_one_process() {
    let it = Installation::start();
    let worker = claude(&it, &[]);
    let first = worker.prompt("@model drip 50 one two three four five");
    let second = worker.input(&[("type", "prompt"), ("content", "@model say Second.")]);
    let third = worker.input(&[("data", r#"{"prompt": "@model say Third."}"#)]);
    let ends = [&first, &second, &third].map(|turn| worker.turn_end(turn));

    let output = worker.output();
    assert_numbered(&output);
    let order: Vec<_> = output
        .iter()
        .filter(|e| matches!(e.kind(), "turn_started" | "turn_completed"))
        .map(|e| (e.kind(), e.get("turn")))
        .collect();
    let turns = [&first, &second, &third].map(String::as_str);
    let right = turns.map(|turn| [("turn_started", turn), ("turn_completed", turn)]).concat();
    assert_eq!(order, right);
    assert!(ends.iter().all(|end| end.get("session_id") == ends[0].get("session_id")));
    assert_eq!(worker.said("ready").len(), 1, "one process served all three");
    let last = it.asked_of_model().pop().expect("a request");
    assert!(last.mentions("one two three four five"), "the conversation goes on");
    it.soon("the acknowledgement of all prompts", || {
        (it.redis.pending(&worker.key("input"), "wrapper") == 0).then_some(())
    });
}

#[test]
fn instructions_and_allowed_commands_reach_the_model_and_the_workspace_stays_clean() {
    let it = Installation::start();
    let worker = claude(
        &it,
        &[
            ("instructions", "Always speak of the purple heron."),
            ("allowed_commands", "git,npm run *"),
            ("model", "claude-sonnet-4-5"),
            ("prompt", "Hello there."),
        ],
    );
    let end = worker.turn_end(&worker.first_prompt());
    assert_eq!(end.data()["outcome"], "success", "{end:?}");

    let asked = it.asked_of_model().pop().expect("a request");
    assert!(asked.mentions("purple heron"), "the instructions are read");
    let system = asked.system();
    assert!(system.contains("no others") && system.contains("- npm run *"), "{system}");
    assert_eq!(asked.body["model"], "claude-sonnet-4-5");
    assert_eq!(worker.root("cat /etc/claude-code/CLAUDE.md"), "Always speak of the purple heron.");
    assert_eq!(worker.root("ls -A /workspace"), "", "nothing was written into the workspace");
}

#[test]
fn an_error_of_the_api_ends_the_turn_with_an_error_and_the_next_prompt_works() {
    let it = Installation::start();
    let worker = claude(&it, &[]);
    let end = worker.turn("@model error 400 invalid_request_error This model is out of order.");
    assert_eq!(end.data()["outcome"], "error", "{end:?}");
    assert!(end.content().contains("out of order"), "the reason is told: {end:?}");
    let end = worker.turn("@model say Back again.");
    assert_eq!((end.data()["outcome"].as_str(), end.content()), (Some("success"), "Back again."));
}

#[test]
fn a_model_that_is_overloaded_is_asked_again_and_then_the_turn_ends_with_the_reason() {
    let it = Installation::start();
    let worker = claude(&it, &[("env", r#"{"CLAUDE_CODE_MAX_RETRIES": "1"}"#)]);
    let end = worker.turn("@model error 529 overloaded_error Nobody is free.");
    assert_eq!(
        (&end.data()["outcome"], &end.data()["api_error_status"]),
        (&json!("error"), &json!(529))
    );
    assert!(end.content().contains("529"), "{end:?}");
    assert_eq!(worker.turn("@model say Free again.").content(), "Free again.");
}

#[test]
fn work_in_the_background_reports_in_a_turn_of_its_own() {
    let it = Installation::start();
    let worker = claude(&it, &[]);
    let call = json!({"command": "until test -e /workspace/go; do sleep 0.1; done; echo finished",
        "description": "waits", "run_in_background": true});
    let prompt = format!("@model tool Bash {call}\n@model then\n@model say Waiting.");
    let end = worker.turn(&prompt);
    assert_eq!((end.data()["outcome"].as_str(), end.content()), (Some("success"), "Waiting."));
    assert_eq!(worker.turn("@model say Meanwhile.").content(), "Meanwhile.");

    worker.user("touch /workspace/go");
    let later = worker.turn_end("");
    assert_eq!(later.data()["outcome"], "success", "{later:?}");
    let started = worker.said("turn_started").pop().expect("a turn");
    assert_eq!((started.get("turn"), &started.data()["background"]), ("", &json!(true)));
    assert_eq!(worker.turn("@model say Afterwards.").content(), "Afterwards.");
}

#[test]
fn an_interrupt_ends_a_stalled_answer_and_a_running_tool_and_the_next_prompt_works() {
    let it = Installation::start();
    let worker = claude(&it, &[]);
    let stalled = worker.prompt("@model stall");
    it.soon("the stalled request", || (!it.asked_of_model().is_empty()).then_some(()));
    worker.input(&[("type", "interrupt")]);
    assert_eq!(worker.turn_end(&stalled).data()["outcome"], "interrupted");

    let waits = json!({"command": ALL_DAY, "description": "waits"});
    worker.assert_interrupts_its_shell("Bash", &waits);
    let end = worker.turn("@model say Still here.");
    assert_eq!((end.data()["outcome"].as_str(), end.content()), (Some("success"), "Still here."));
    assert_eq!(worker.said("ready").len(), 1, "the agent stayed");
}

#[test]
fn a_very_long_answer_arrives_whole() {
    let it = Installation::start();
    let worker = claude(&it, &[]);
    let end = worker.turn("@model long 300000");
    assert_eq!(end.data()["outcome"], "success", "{end:?}");
    let said: String = worker.said("message").iter().map(|e| e.content().to_owned()).collect();
    assert_eq!(said.trim_end(), long_text(300_000).trim_end());
    assert_numbered(&worker.output());
}

#[test]
fn a_turn_that_takes_too_long_is_ended_and_the_next_prompt_works() {
    let it = Installation::start();
    let worker = claude(&it, &[("limits", r#"{"turn_timeout": "3s"}"#)]);
    let end = worker.turn("@model stall");
    assert_eq!(end.data()["outcome"], "timeout", "{end:?}");
    let end = worker.turn("@model say Quick.");
    assert_eq!((end.data()["outcome"].as_str(), end.content()), (Some("success"), "Quick."));
}

#[test]
fn environment_and_credentials_reach_the_agent() {
    let it = Installation::start();
    let greet = r#"@model tool Bash {"command": "echo greeting=$GREETING user=$(id -u)"}
@model then
@model quote"#;
    let worker = claude(&it, &[("env", r#"{"GREETING": "servus"}"#), ("prompt", greet)]);
    let end = worker.turn_end(&worker.first_prompt());
    assert!(end.content().contains("greeting=servus user=1000"), "{end:?}");
    let asked = it.asked_of_model().pop().expect("a request");
    assert!(asked.headers.iter().any(|name| name == "x-api-key"), "{:?}", asked.headers);
}

#[test]
fn claude_code_is_pinned_and_needs_no_node() {
    let it = Installation::start();
    let worker = claude(&it, &[]);
    let ready = worker.comes_to("ready");
    let version = ready.data()["version"].as_str().unwrap_or_default().to_owned();
    assert!(is_at_least(&version, [2, 1, 295]), "{ready:?}");
    assert!(worker.root("/usr/local/bin/claude --version").starts_with(&version));
    assert_eq!(worker.root("command -v node npm"), "");
    assert_eq!(ready.data()["agent"], "CLAUDE", "{ready:?}");
}

fn is_at_least(version: &str, least: [u32; 3]) -> bool {
    let parts: Vec<u32> = version.split('.').filter_map(|part| part.parse().ok()).collect();
    parts.len() == 3 && parts >= least.to_vec()
}
