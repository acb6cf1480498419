//! Google's Gemini API: its requests read as those of the Messages API, and its answers made from
//! the same steps.

use serde_json::{Value, json};

use super::compose::{Beat, Setting, pause, quote, tokens};
use super::plan::{Act, Step, long_text};
use super::schema::instance;

/// Whether this is a path of the API, and whether the answer is to be a stream.
pub fn asks(path: &str) -> Option<bool> {
    let (_, verb) = path.strip_prefix("/v1beta/models/")?.rsplit_once(':')?;
    match verb {
        "generateContent" => Some(false),
        "streamGenerateContent" => Some(true),
        _ => None,
    }
}

/// A request as the Messages API would have it.
pub fn as_messages(path: &str, body: &Value, stream: bool) -> Value {
    let model = path.trim_start_matches("/v1beta/models/");
    let model = model.rsplit_once(':').map_or(model, |(model, _)| model);
    let contents = body["contents"].as_array().into_iter().flatten();
    let messages: Vec<Value> = contents.map(message).collect();
    let tools = body["tools"].as_array().into_iter().flatten();
    let tools: Vec<&Value> =
        tools.filter_map(|tool| tool["functionDeclarations"].as_array()).flatten().collect();
    let schema = ["responseJsonSchema", "responseSchema"]
        .iter()
        .find_map(|name| body["generationConfig"].get(*name));
    let aside = schema.map(|schema| instance(schema).to_string());
    json!({"model": model, "stream": stream, "tools": tools, "messages": messages, "aside": aside})
}

fn message(content: &Value) -> Value {
    let role = if content["role"] == "model" { "assistant" } else { "user" };
    let parts = content["parts"].as_array().into_iter().flatten();
    let blocks: Vec<Value> = parts.map(block).collect();
    json!({"role": role, "content": blocks})
}

/// What the program itself says of its surroundings is no prompt.
fn block(part: &Value) -> Value {
    if let Some(text) = part["text"].as_str() {
        if text.starts_with("<session_context>") {
            return json!({"type": "context"});
        }
        return json!({"type": "text", "text": text});
    }
    match part.get("functionResponse") {
        Some(answer) => {
            let response = &answer["response"];
            let output = response["output"].as_str();
            let text = output.map_or_else(|| response.to_string(), str::to_owned);
            json!({"type": "tool_result", "content": text})
        }
        None => json!({"type": "other"}),
    }
}

/// An error, as the API says it.
pub fn error_body(status: u16, kind: &str, message: &str) -> Value {
    json!({"error": {"code": status, "status": kind, "message": message}})
}

/// A step as a stream of chunks.
pub fn stream(step: &Step, setting: &Setting<'_>) -> Vec<Beat> {
    let mut beats = Vec::new();
    for act in step {
        match act {
            Act::Stall(seconds) => beats.push(pause(*seconds)),
            Act::Close => {
                beats.push(Beat::Break);
                return beats;
            }
            Act::Error { status, kind, message } => {
                beats.push(Beat::Event(error_body(*status, kind, message)));
                return beats;
            }
            _ => beats.extend(part(act, setting).map(|part| Beat::Event(chunk(&[part], setting)))),
        }
    }
    beats.push(Beat::Event(last(step, setting, &[])));
    beats
}

/// A step as one answer.
pub fn whole(step: &Step, setting: &Setting<'_>) -> Vec<Beat> {
    let parts: Vec<Value> = step.iter().filter_map(|act| part(act, setting)).collect();
    vec![Beat::Body(last(step, setting, &parts))]
}

fn part(act: &Act, setting: &Setting<'_>) -> Option<Value> {
    match act {
        Act::Say(text) | Act::Drip { text, .. } => Some(json!({"text": text})),
        Act::Long(bytes) => Some(json!({"text": long_text(*bytes)})),
        Act::Quote => Some(json!({"text": quote(setting.result)})),
        Act::Think(text) => Some(json!({"text": text, "thought": true})),
        Act::Tool { name, input } => Some(json!({"functionCall": {"name": name, "args": input}})),
        Act::Usage { .. } | Act::Error { .. } | Act::Stall(_) | Act::Close => None,
    }
}

fn chunk(parts: &[Value], setting: &Setting<'_>) -> Value {
    json!({
        "candidates": [{"index": 0, "content": {"role": "model", "parts": parts}}],
        "modelVersion": setting.model,
        "responseId": setting.id,
    })
}

fn last(step: &Step, setting: &Setting<'_>, parts: &[Value]) -> Value {
    let said = step.iter().rev().find_map(|act| match act {
        Act::Usage { input, output } => Some((*input, *output)),
        _ => None,
    });
    let (input, output) = said.unwrap_or((tokens(setting.request_bytes), 10));
    let mut chunk = chunk(parts, setting);
    chunk["candidates"][0]["finishReason"] = json!("STOP");
    chunk["usageMetadata"] = json!({"promptTokenCount": input, "candidatesTokenCount": output,
        "totalTokenCount": input + output});
    chunk
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_answered_with_what_fits_it() {
        let schema = json!({"type": "OBJECT", "properties": {
            "reasoning": {"type": "STRING"},
            "choice": {"type": "STRING", "enum": ["flash", "pro"]},
            "score": {"type": "integer", "minimum": 1, "maximum": 100},
            "files": {"type": "array"}, "sure": {"type": "boolean"}}});
        let body = json!({"contents": [], "generationConfig": {"responseJsonSchema": schema}});
        let request = as_messages("/v1beta/models/m:generateContent", &body, false);
        let aside: Value = serde_json::from_str(request["aside"].as_str().unwrap()).unwrap();
        let right = json!({"reasoning": "scripted", "choice": "flash", "score": 1, "files": [],
            "sure": false});
        assert_eq!(aside, right);
    }
}
