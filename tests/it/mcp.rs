//! `mcp`: real agents call a tool of a small MCP server, which runs in the worker.

use serde_json::json;
use worker_tests::harness::{Installation, Worker};

use crate::claude::claude;
use crate::codex::codex;
use crate::gemini::gemini;
use crate::opencode::{SONNET, opencode};

const SERVER: &str = include_str!("mcp_server.js");
const TOKEN: &str = "tiny-and-not-to-be-seen";

/// The caller's wish: a program that comes with the wish itself, and a secret for it.
fn mcp() -> String {
    let server = json!({"command": "node", "args": ["-e", SERVER], "env": {"TINY_TOKEN": TOKEN}});
    json!({"mcpServers": {"tiny": server}}).to_string()
}

/// The tool is called, its result and the server's environment arrive, and the secret in it goes to
/// the model and to nobody else.
fn greets(worker: &Worker<'_>, tool: &str) {
    let prompt = format!("@model tool {tool} {{\"name\": \"Ada\"}}\n@model then\n@model quote");
    let end = worker.turn(&prompt);
    assert_eq!(end.data()["outcome"], "success", "{end:?}{}", worker.it.explain());
    assert!(end.content().contains("servus Ada, ***TINY_TOKEN***"), "{end:?}");
    let results = worker.said("tool_result");
    assert!(results.iter().any(|e| e.content().contains("servus Ada")), "{results:?}");
    let asked = worker.it.asked_of_model().pop().expect("a request");
    assert!(asked.mentions(&format!("servus Ada, {TOKEN}")), "{:?}", asked.body);
    for entry in worker.output() {
        assert!(entry.fields.values().all(|value| !value.contains(TOKEN)), "{entry:?}");
    }
}

#[test]
fn claude_code_calls_a_tool_of_the_callers() {
    let it = Installation::start();
    let worker = claude(&it, &[("modules", "NODE"), ("mcp", &mcp())]);
    greets(&worker, "mcp__tiny__greet");
}

#[test]
fn opencode_calls_a_tool_of_the_callers() {
    let it = Installation::start();
    let worker = opencode(&it, &[SONNET, ("modules", "NODE"), ("mcp", &mcp())]);
    greets(&worker, "tiny_greet");
}

#[test]
fn codex_calls_a_tool_of_the_callers() {
    let it = Installation::start();
    greets(&codex(&it, &[("mcp", &mcp())]), "mcp__tiny.greet");
}

#[test]
fn gemini_calls_a_tool_of_the_callers() {
    let it = Installation::start();
    greets(&gemini(&it, &[("mcp", &mcp())]), "mcp_tiny_greet");
}

/// Droid's service cannot be replaced, so no turn is run: it is asked what servers it has.
#[test]
fn droid_finds_the_callers_servers() {
    let it = Installation::start();
    let worker = it.worker(&[("agent_type", "FACTORY"), ("modules", "NODE"), ("mcp", &mcp())]);
    let known = worker.user("HOME=~worker droid mcp list");
    assert!(known.lines().any(|l| l.contains("tiny") && l.contains("connected")), "{known}");
}
