//! The `stream-json` protocol: a program of the caller's that reads and prints JSON lines.

use serde_json::Value;
use worker_tests::harness::{Installation, Worker, assert_numbered, of_turn};

/// Says what it does, and ends each turn with what it cost so far. `work` goes on until it is
/// interrupted, and `fail` fails.
const PROGRAM: &str = r#"
say() { printf '%s\n' "$1"; }
turns=0
trap 'say "{\"type\":\"result\",\"is_error\":true,\"result\":\"stopped\"}"' INT
while read -r line; do
    turns=$((turns + 1))
    case $line in
        *'"content":"work"'*) say '{"type":"begun"}'; sleep 86396; continue ;;
        *'"content":"fail"'*) say '{"type":"error","message":"no such thing"}'
            say '{"type":"result","is_error":true,"result":"failed"}'; continue ;;
    esac
    say '{"type":"thinking","text":"Hm.","session_id":"s-1"}'
    say '{"type":"tool_call","tool":"look","id":"c-1","input":{"at":"it"}}'
    say '{"type":"tool_result","id":"c-1","content":"looked"}'
    say "{\"type\":\"message\",\"content\":\"read\",\"line\":$line}"
    say "no json"
    say "{\"type\":\"result\",\"result\":\"turn $turns\",\"total_cost_usd\":0.$turns,\"session_id\":\"s-1\"}"
done"#;

fn program<'a>(it: &'a Installation, fields: &[(&str, &str)]) -> Worker<'a> {
    let command = serde_json::json!(["/bin/sh", "-c", PROGRAM]).to_string();
    let custom =
        [("agent_type", "CUSTOM"), ("protocol", "stream-json"), ("agent_command", &command)];
    it.worker(&[&custom, fields].concat())
}

#[test]
fn what_a_program_says_in_json_becomes_entries_of_its_turns() {
    let it = Installation::start();
    let prompt = "one \"quoted\"\nand a second line";
    let worker = program(&it, &[("prompt", prompt)]);
    let first = worker.first_prompt();
    let end = worker.turn_end(&first);
    let output = worker.output();
    assert_eq!((end.content(), end.get("session_id")), ("turn 1", "s-1"), "{end:?}");
    assert_eq!(end.data()["outcome"], "success", "{end:?}");
    assert_eq!(of_turn(&output, &first, "thinking")[0].content(), "Hm.");
    assert_eq!(of_turn(&output, &first, "tool_call")[0].data()["input"]["at"], "it");
    assert_eq!(of_turn(&output, &first, "tool_result")[0].content(), "looked");
    assert_eq!(of_turn(&output, &first, "stdout")[0].content(), "no json");
    let message = of_turn(&output, &first, "message")[0];
    assert_eq!(message.data()["line"]["content"], prompt, "{message:?}");
    let raw: Value = serde_json::from_str(message.get("raw")).expect("the line");
    assert_eq!(raw, message.data());

    assert_eq!(worker.turn("two").data()["total_cost_usd"], 0.2);
    it.soon("the cost in the status", || (worker.status().get("cost_usd") == "0.2").then_some(()));
    assert_numbered(&worker.output());
}

#[test]
fn an_interrupt_and_an_error_end_a_turn_and_not_the_program() {
    let it = Installation::start();
    let worker = program(&it, &[("prompt", "work")]);
    worker.prints("begun");
    it.soon("its work", || worker.runs("sleep 86396").then_some(()));
    worker.input(&[("type", "interrupt")]);
    let end = worker.turn_end(&worker.first_prompt());
    assert_eq!(end.data()["outcome"], "interrupted", "{end:?}");
    it.soon("the end of its work", || (!worker.runs("sleep 86396")).then_some(()));

    let end = worker.turn("fail");
    assert_eq!((end.data()["outcome"].as_str(), end.content()), (Some("error"), "failed"));
    assert_eq!(worker.comes_to("error").content(), "no such thing");
    assert_eq!(worker.turn("three").content(), "turn 3");
}

#[test]
fn a_headless_program_ends_as_its_result_says() {
    for (prompt, code) in [("one", "0"), ("fail", "1")] {
        let it = Installation::start();
        let worker = program(&it, &[("headless", "true"), ("prompt", prompt)]);
        assert_eq!(worker.ends(), code, "{prompt}");
    }
}
