//! Frames that Claude Code prints, as entries.

use serde_json::{Value, json};
use std::collections::BTreeMap;

use worker_protocol::{Output, OutputKind};

use super::{Question, said};
use crate::brief;

/// What the agent says and does: one entry for each block.
pub(super) fn assistant(frame: &Value, tools: &mut BTreeMap<String, String>) -> Vec<Output> {
    blocks(frame)
        .filter_map(|block| match text(block, "type") {
            "text" => Some(said(OutputKind::Message, text(block, "text"))),
            "thinking" => Some(said(OutputKind::Thinking, text(block, "thinking"))),
            "tool_use" | "server_tool_use" => Some(tool_call(block, tools)),
            _ => None,
        })
        .collect()
}

/// What tools gave.
pub(super) fn user(frame: &Value, tools: &mut BTreeMap<String, String>) -> Vec<Output> {
    let results = blocks(frame).filter(|block| text(block, "type") == "tool_result");
    results.map(|block| tool_result(block, tools)).collect()
}

fn tool_call(block: &Value, tools: &mut BTreeMap<String, String>) -> Output {
    let (tool, id) = (text(block, "name"), text(block, "id"));
    let input = block.get("input").cloned().unwrap_or_default();
    tools.insert(id.to_owned(), tool.to_owned());
    let data = json!({"tool": tool, "input": input, "id": id});
    said(OutputKind::ToolCall, format!("{tool} {}", brief::input(&input))).with_data(data)
}

fn tool_result(block: &Value, tools: &mut BTreeMap<String, String>) -> Output {
    let id = text(block, "tool_use_id");
    let is_error = block.get("is_error").and_then(Value::as_bool).unwrap_or(false);
    let data = json!({"id": id, "tool": tools.remove(id), "is_error": is_error});
    said(OutputKind::ToolResult, content_text(block)).with_data(data)
}

/// The text of a result: a string, or blocks of which some are text.
fn content_text(block: &Value) -> String {
    match block.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let one = |part: &Value| match text(part, "type") {
                "text" => text(part, "text").to_owned(),
                other => format!("({other})"),
            };
            parts.iter().map(one).collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}

/// How much of the account's allowance is used.
pub(super) fn rate_limit(frame: &Value) -> Output {
    let info = frame.get("rate_limit_info").cloned().unwrap_or_default();
    said(OutputKind::Usage, "rate limit").with_data(json!({"rate_limit": info}))
}

/// What an agent within the agent says or does names the tool call that it works for.
pub(super) fn note_parent(frame: &Value, output: &mut Output) {
    if let Some(parent @ Value::String(_)) = frame.get("parent_tool_use_id") {
        let data = output.data.get_or_insert_with(|| json!({}));
        if let Some(data) = data.as_object_mut() {
            data.insert("parent_tool_use_id".to_owned(), parent.clone());
        }
    }
}

/// A tool that the agent asks about.
pub(super) fn question(id: &Value, request: &Value) -> Question {
    let call = request.get("tool_use_id").and_then(Value::as_str).map(str::to_owned);
    Question {
        id: id.to_string(),
        tool: text(request, "tool_name").to_owned(),
        input: request.get("input").cloned().unwrap_or_default(),
        call,
        ..Question::default()
    }
}

/// A frame that has no entry of its own: its name, and `raw` holds the rest.
pub(super) fn unnamed(frame: &Value) -> Output {
    let (kind, subtype) = (text(frame, "type"), text(frame, "subtype"));
    let name = if subtype.is_empty() { kind.to_owned() } else { format!("{kind}/{subtype}") };
    said(OutputKind::Stdout, name)
}

/// Whether a control response answers this request.
pub(super) fn answers(frame: &Value, request: &str) -> bool {
    frame.pointer("/response/request_id").and_then(Value::as_str) == Some(request)
}

fn blocks(frame: &Value) -> impl Iterator<Item = &Value> {
    frame.pointer("/message/content").and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}
