//! OpenAI's Responses API: its requests read as those of the Messages API, and its answers made
//! from the same steps. Always a stream: the one agent that asks wants one.

use serde_json::{Value, json};

use super::compose::{Beat, Setting, pause, quote, tokens};
use super::plan::{Act, Step, long_text};
use super::schema::instance;

/// A request as the Messages API would have it.
pub fn as_messages(body: &Value) -> Value {
    let mut messages: Vec<Value> = Vec::new();
    let mut answering = false;
    for item in body["input"].as_array().into_iter().flatten() {
        let (role, block) = message(item);
        // All that a model says between two things that it is told is one answer.
        if role != "assistant" || !answering {
            messages.push(json!({"role": role, "content": [block]}));
        }
        answering = role == "assistant";
    }
    let aside = body["text"]["format"].get("schema").map(|schema| instance(schema).to_string());
    json!({"model": body["model"], "stream": true, "tools": tools(body), "messages": messages,
        "aside": aside})
}

/// For some models, Codex puts them among the input.
pub fn tools(body: &Value) -> Vec<&Value> {
    let input = body["input"].as_array().into_iter().flatten();
    std::iter::once(body).chain(input).filter_map(|one| one["tools"].as_array()).flatten().collect()
}

fn message(item: &Value) -> (&'static str, Value) {
    let content = item["content"].as_array().into_iter().flatten();
    let text: Vec<&str> = content.filter_map(|part| part["text"].as_str()).collect();
    let text = text.join("\n");
    match (item["type"].as_str().unwrap_or("message"), item["role"].as_str()) {
        ("message", Some("user")) if by_agent(&text) => ("user", json!({"type": "context"})),
        ("message", Some("user")) => ("user", json!({"type": "text", "text": text})),
        ("message", Some("assistant")) => ("assistant", json!({"type": "text", "text": text})),
        ("function_call" | "reasoning", _) => ("assistant", json!({"type": "call"})),
        ("function_call_output", _) => {
            let output = &item["output"];
            let said = output.as_str().map_or_else(|| output.to_string(), str::to_owned);
            ("user", json!({"type": "tool_result", "content": said}))
        }
        _ => ("system", json!({"type": "context"})),
    }
}

/// How texts begin that Codex writes in the person's name.
fn by_agent(text: &str) -> bool {
    ["<environment_context>", "# AGENTS.md", "<turn_aborted>", "<user_instructions>"]
        .iter()
        .any(|beginning| text.starts_with(beginning))
}

/// An error, as the API says it.
pub fn error_body(kind: &str, message: &str) -> Value {
    json!({"error": {"type": kind, "code": kind, "message": message, "param": null}})
}

/// A step as a stream of events.
pub fn stream(step: &Step, setting: &Setting<'_>) -> Vec<Beat> {
    let id = format!("resp_{}", setting.id);
    let created = json!({"type": "response.created", "response": {"id": id, "object": "response",
        "status": "in_progress", "model": setting.model, "output": []}});
    let mut beats = vec![Beat::Event(created)];
    let mut items = Vec::new();
    for act in step {
        match act {
            Act::Stall(seconds) => beats.push(pause(*seconds)),
            Act::Close => {
                beats.push(Beat::Break);
                return beats;
            }
            Act::Error { kind, message, .. } => {
                let error = json!({"code": kind, "message": message});
                beats.push(Beat::Event(json!({"type": "response.failed", "response":
                    {"id": id, "status": "failed", "error": error}})));
                return beats;
            }
            _ => {
                if let Some(item) = item(act, setting, items.len()) {
                    beats.extend(item_beats(&item, items.len()));
                    items.push(item);
                }
            }
        }
    }
    let response = json!({"id": id, "object": "response", "status": "completed",
        "model": setting.model, "output": items, "usage": usage(step, setting)});
    beats.push(Beat::Event(json!({"type": "response.completed", "response": response})));
    beats
}

fn item(act: &Act, setting: &Setting<'_>, index: usize) -> Option<Value> {
    let message = |text: &str| {
        let content = json!([{"type": "output_text", "text": text, "annotations": []}]);
        Some(json!({"type": "message", "role": "assistant", "status": "completed",
            "id": format!("msg_{}_{index}", setting.id), "content": content}))
    };
    match act {
        Act::Say(text) | Act::Drip { text, .. } => message(text),
        Act::Long(bytes) => message(&long_text(*bytes)),
        Act::Quote => message(quote(setting.result)),
        Act::Think(text) => {
            Some(json!({"type": "reasoning", "id": format!("rs_{}_{index}", setting.id),
            "summary": [{"type": "summary_text", "text": text}]}))
        }
        Act::Tool { name, input } => Some(call(name, input, setting, index)),
        Act::Usage { .. } | Act::Error { .. } | Act::Stall(_) | Act::Close => None,
    }
}

/// Codex puts the tools of each MCP server into a namespace.
fn call(name: &str, input: &Value, setting: &Setting<'_>, index: usize) -> Value {
    let (namespace, name) =
        name.split_once('.').map_or((None, name), |(space, name)| (Some(space), name));
    let mut call = json!({"type": "function_call", "name": name,
        "id": format!("fc_{}_{index}", setting.id), "status": "completed",
        "call_id": format!("call_{}_{index}", setting.id), "arguments": input.to_string()});
    if let Some(namespace) = namespace {
        call["namespace"] = json!(namespace);
    }
    call
}

fn item_beats(item: &Value, index: usize) -> Vec<Beat> {
    let mut beats = Vec::new();
    if let Some(text) = item["content"][0]["text"].as_str() {
        let mut opening = item.clone();
        opening["content"] = json!([]);
        opening["status"] = json!("in_progress");
        beats.push(json!({"type": "response.output_item.added", "output_index": index,
            "item": opening}));
        beats.push(json!({"type": "response.output_text.delta", "output_index": index,
            "content_index": 0, "item_id": item["id"], "delta": text}));
    }
    beats.push(json!({"type": "response.output_item.done", "output_index": index, "item": item}));
    beats.into_iter().map(Beat::Event).collect()
}

fn usage(step: &Step, setting: &Setting<'_>) -> Value {
    let said = step.iter().rev().find_map(|act| match act {
        Act::Usage { input, output } => Some((*input, *output)),
        _ => None,
    });
    let (input, output) = said.unwrap_or((tokens(setting.request_bytes), 10));
    json!({"input_tokens": input, "output_tokens": output, "total_tokens": input + output,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0}})
}
