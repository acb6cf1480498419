//! Claude Code's frames as entries of the output stream. Nothing here has state.

use serde_json::{Map, Value, json};

use worker_protocol::output::Outcome;
use worker_protocol::{Output, OutputKind, Source};

use super::super::{TurnEnd, plain};
use super::text;
use crate::frame::Line;

/// What the agent is told when it asks for a permission that nobody can give.
pub(super) const DENIED: &str = "This worker's policy does not allow it, and nobody can be asked.";

/// Characters of a tool's input in `content`; the whole input is in `data`.
const SHORT: usize = 200;

/// One entry for each block of an assistant's message.
pub(super) fn assistant(frame: &Map<String, Value>) -> Vec<Output> {
    let blocks = frame.get("message").and_then(|message| message.get("content"));
    let blocks = blocks.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    blocks.iter().filter_map(Value::as_object).filter_map(|block| of_block(block, frame)).collect()
}

fn of_block(block: &Map<String, Value>, frame: &Map<String, Value>) -> Option<Output> {
    let mut data = Map::new();
    for name in ["parent_tool_use_id", "error"] {
        if let Some(given) = frame.get(name).filter(|given| !given.is_null()) {
            data.insert(name.to_owned(), given.clone());
        }
    }
    let (kind, content) = match text(block, "type")? {
        "text" => (OutputKind::Message, text(block, "text")?.to_owned()),
        "thinking" => (OutputKind::Thinking, text(block, "thinking")?.to_owned()),
        "tool_use" | "server_tool_use" => {
            let tool = text(block, "name").unwrap_or("?");
            let input = block.get("input").cloned().unwrap_or_default();
            let content = format!("{tool} {}", short(&input));
            data.insert("tool".to_owned(), tool.into());
            data.insert("input".to_owned(), input);
            data.insert("id".to_owned(), block.get("id").cloned().unwrap_or_default());
            (OutputKind::ToolCall, content.trim_end().to_owned())
        }
        _ => return None,
    };
    let mut output = Output::new(kind, Source::Agent, content);
    output.data = (!data.is_empty()).then_some(Value::Object(data));
    Some(output)
}

/// The part of a tool's input that tells most.
fn short(input: &Value) -> String {
    const TELLING: [&str; 7] =
        ["command", "file_path", "path", "pattern", "url", "query", "description"];
    let telling = TELLING.iter().find_map(|name| input.get(name)?.as_str());
    let whole = match telling {
        Some(text) => text.to_owned(),
        None if input.as_object().is_none_or(Map::is_empty) => String::new(),
        None => input.to_string(),
    };
    match whole.char_indices().nth(SHORT) {
        Some((end, _)) => format!("{}…", &whole[..end]),
        None => whole,
    }
}

/// One entry for each tool's result in a user frame; `tool` tells the name of a call.
pub(super) fn tool_results(
    frame: &Map<String, Value>,
    mut tool: impl FnMut(&str) -> Option<String>,
) -> Vec<Output> {
    let blocks = frame.get("message").and_then(|message| message.get("content"));
    let blocks = blocks.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let results = blocks
        .iter()
        .filter_map(Value::as_object)
        .filter(|block| text(block, "type") == Some("tool_result"));
    results
        .map(|block| {
            let id = text(block, "tool_use_id").unwrap_or_default();
            let is_error = block.get("is_error").and_then(Value::as_bool).unwrap_or(false);
            let mut data = json!({"tool_use_id": id, "is_error": is_error});
            if let Some(tool) = tool(id) {
                data["tool"] = tool.into();
            }
            let content = block.get("content").map(flatten).unwrap_or_default();
            Output::new(OutputKind::ToolResult, Source::Agent, content).with_data(data)
        })
        .collect()
}

/// Text of a content that is a text or a list of blocks.
fn flatten(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => {
            let texts = blocks.iter().map(|block| match block.get("text").and_then(Value::as_str) {
                Some(text) => text.to_owned(),
                None => format!("[{}]", block.get("type").and_then(Value::as_str).unwrap_or("?")),
            });
            texts.collect::<Vec<_>>().join("\n")
        }
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// What a `result` says. `is_error` decides, not `subtype`: an API error is a `success` there.
pub(super) fn turn_end(frame: &Map<String, Value>) -> TurnEnd {
    let subtype = text(frame, "subtype").unwrap_or_default();
    let reason = text(frame, "terminal_reason").unwrap_or_default();
    let failed = frame.get("is_error").and_then(Value::as_bool).unwrap_or(subtype != "success");
    let outcome = match subtype {
        _ if reason.starts_with("aborted") => Outcome::Interrupted,
        "error_max_turns" | "error_max_budget_usd" => Outcome::Limit,
        "success" if !failed => Outcome::Success,
        _ => Outcome::Error,
    };
    // The agent's own text about an interrupt is a diagnostic for its makers.
    let text = match outcome {
        Outcome::Interrupted => String::new(),
        _ => final_text(frame, subtype),
    };
    let mut end = TurnEnd::new(outcome, text);
    for name in ["subtype", "terminal_reason", "duration_ms", "num_turns", "api_error_status"] {
        if let Some(given) = frame.get(name).filter(|given| !given.is_null()) {
            end.data.insert(name.to_owned(), given.clone());
        }
    }
    if let Some(tokens) = frame.get("usage").and_then(tokens) {
        end.data.insert("tokens".to_owned(), tokens);
    }
    end
}

fn final_text(frame: &Map<String, Value>, subtype: &str) -> String {
    if let Some(text) = text(frame, "result").filter(|text| !text.is_empty()) {
        return text.to_owned();
    }
    let errors = frame.get("errors").and_then(Value::as_array);
    let errors = errors.into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>();
    match (errors.is_empty(), subtype) {
        (false, _) => errors.join("\n"),
        (true, "success") => String::new(),
        (true, subtype) => subtype.to_owned(),
    }
}

fn tokens(usage: &Value) -> Option<Value> {
    let count = |name| usage.get(name).and_then(Value::as_u64);
    Some(json!({
        "input": count("input_tokens")?,
        "output": count("output_tokens")?,
        "cache_read": count("cache_read_input_tokens").unwrap_or(0),
        "cache_write": count("cache_creation_input_tokens").unwrap_or(0),
    }))
}

/// A rate limit's state.
pub(super) fn rate_limit(frame: &Map<String, Value>) -> Output {
    let info = frame.get("rate_limit_info").cloned().unwrap_or_default();
    let word = |name| info.get(name).and_then(Value::as_str).unwrap_or("?");
    let content = format!("rate limit {}: {}", word("rateLimitType"), word("status"));
    Output::new(OutputKind::Usage, Source::Agent, content).with_data(json!({"rate_limit": info}))
}

/// A permission that was asked for and not given.
pub(super) fn denied(request: &Map<String, Value>, id: &Value) -> Output {
    let tool = text(request, "tool_name").unwrap_or("?");
    let input = request.get("input").cloned().unwrap_or_default();
    let content = format!("denied: {tool} {}", short(&input));
    Output::new(OutputKind::Permission, Source::Wrapper, content).with_data(
        json!({"tool": tool, "input": input, "permission_id": id, "decision": "deny"}),
    )
}

/// A frame that has no kind of its own: the line as it is, with its type for programs.
pub(super) fn other(frame: &Map<String, Value>, line: Line) -> Output {
    let mut data = Map::new();
    for name in ["type", "subtype"] {
        if let Some(word) = text(frame, name) {
            data.insert(name.to_owned(), word.into());
        }
    }
    let mut output = plain(line);
    output.data = (!data.is_empty()).then_some(Value::Object(data));
    output
}
