//! From a step to what goes over the connection: frames of the event stream (or one message),
//! and the pauses and breaks between them. Pure: nothing here waits.

use std::time::Duration;

use serde_json::{Value, json};

use super::plan::{Act, Step, long_text};

/// Texts come in small pieces, as a model's do; long ones in larger, so that they do not take
/// thousands of frames.
const PIECE: usize = 24;
const LONG_PIECE: usize = 4 << 10;

/// The part of a tool's answer that is quoted.
const QUOTE_LIMIT: usize = 4 << 10;

/// One thing that happens on the connection.
#[derive(Debug, Clone, PartialEq)]
pub enum Beat {
    /// An event of the stream.
    Event(Value),
    /// A whole answer.
    Body(Value),
    /// Silence; `None` is for ever.
    Pause(Option<Duration>),
    /// The connection breaks. Nothing follows.
    Break,
}

/// What is said around a step.
#[derive(Debug, Clone)]
pub struct Setting<'a> {
    /// Differs for each answer. Agents take answers with the same id for parts of one.
    pub id: &'a str,
    /// The model that was asked for.
    pub model: &'a str,
    /// The size of the request, for the numbers of tokens.
    pub request_bytes: usize,
    /// What the latest tool call answered.
    pub result: Option<&'a str>,
}

/// About four bytes are a token. It only has to be plausible.
pub fn tokens(bytes: usize) -> u64 {
    bytes.div_ceil(4) as u64
}

/// An error, as the API says it.
pub fn error_body(kind: &str, message: &str) -> Value {
    json!({"type": "error", "error": {"type": kind, "message": message}})
}

/// A step as a stream of events.
pub fn stream(step: &Step, setting: &Setting<'_>) -> Vec<Beat> {
    let mut message = message(step, setting);
    let delta = json!({
        "type": "message_delta",
        "delta": {"stop_reason": message["stop_reason"], "stop_sequence": null},
        "usage": message["usage"],
    });
    message["content"] = json!([]);
    message["stop_reason"] = Value::Null;
    message["usage"]["output_tokens"] = json!(1);
    let mut beats = vec![
        Beat::Event(json!({"type": "message_start", "message": message})),
        Beat::Event(json!({"type": "ping"})),
    ];
    let mut index = 0;
    for act in step {
        match act {
            Act::Stall(seconds) => beats.push(pause(*seconds)),
            Act::Close => return ended(beats, Beat::Break),
            Act::Error { kind, message, .. } => {
                return ended(beats, Beat::Event(error_body(kind, message)));
            }
            _ => {
                if let Some(block) = block(act, setting, index) {
                    beats.extend(block_beats(index, act, &block));
                    index += 1;
                }
            }
        }
    }
    beats.push(Beat::Event(delta));
    ended(beats, Beat::Event(json!({"type": "message_stop"})))
}

/// A step as one message. All its pauses come first.
pub fn whole(step: &Step, setting: &Setting<'_>) -> Vec<Beat> {
    let pauses = step.iter().filter_map(|act| match act {
        Act::Stall(seconds) => Some(pause(*seconds)),
        Act::Drip { pause_ms, text } => {
            let words = text.split_inclusive(' ').count() as u64;
            Some(Beat::Pause(Some(Duration::from_millis(pause_ms.saturating_mul(words)))))
        }
        _ => None,
    });
    let beats = pauses.collect();
    if step.contains(&Act::Close) {
        return ended(beats, Beat::Break);
    }
    ended(beats, Beat::Body(message(step, setting)))
}

fn ended(mut beats: Vec<Beat>, last: Beat) -> Vec<Beat> {
    beats.push(last);
    beats
}

/// A pause of so many seconds.
pub fn pause(seconds: Option<u64>) -> Beat {
    Beat::Pause(seconds.map(Duration::from_secs))
}

fn message(step: &Step, setting: &Setting<'_>) -> Value {
    let content = step.iter().filter_map(|act| block(act, setting, 0)).enumerate();
    let content: Vec<Value> =
        content.map(|(index, block)| with_tool_id(block, setting, index)).collect();
    let calls_tool = step.iter().any(|act| matches!(act, Act::Tool { .. }));
    json!({
        "id": format!("msg_{}", setting.id),
        "type": "message",
        "role": "assistant",
        "model": setting.model,
        "stop_reason": if calls_tool { "tool_use" } else { "end_turn" },
        "stop_sequence": null,
        "usage": usage(step, setting, &content),
        "content": content,
    })
}

fn usage(step: &Step, setting: &Setting<'_>, content: &[Value]) -> Value {
    let said = step.iter().rev().find_map(|act| match act {
        Act::Usage { input, output } => Some((*input, *output)),
        _ => None,
    });
    let (input, output) = said.unwrap_or_else(|| {
        let written = content.iter().map(|block| block.to_string().len()).sum();
        (tokens(setting.request_bytes), tokens(written))
    });
    json!({
        "input_tokens": input,
        "output_tokens": output,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
    })
}

/// The block of the message that an act makes, where it makes one.
fn block(act: &Act, setting: &Setting<'_>, index: usize) -> Option<Value> {
    let text = |text: &str| Some(json!({"type": "text", "text": text}));
    match act {
        Act::Say(words) | Act::Drip { text: words, .. } => text(words),
        Act::Long(bytes) => text(&long_text(*bytes)),
        Act::Quote => text(quote(setting.result)),
        Act::Think(words) => {
            Some(json!({"type": "thinking", "thinking": words, "signature": "scripted"}))
        }
        Act::Tool { name, input } => {
            let call = json!({"type": "tool_use", "name": name, "input": input});
            Some(with_tool_id(call, setting, index))
        }
        Act::Usage { .. } | Act::Error { .. } | Act::Stall(_) | Act::Close => None,
    }
}

fn with_tool_id(mut block: Value, setting: &Setting<'_>, index: usize) -> Value {
    if block["type"] == "tool_use" {
        block["id"] = json!(format!("toolu_{}_{index}", setting.id));
    }
    block
}

/// What the latest tool call answered, as far as it is quoted.
pub fn quote(result: Option<&str>) -> &str {
    let result = result.map(str::trim).filter(|result| !result.is_empty());
    result.map_or("(no tool has answered)", |result| head(result, QUOTE_LIMIT))
}

/// The frames of one block: its start without content, the content in pieces, its end.
fn block_beats(index: usize, act: &Act, block: &Value) -> Vec<Beat> {
    let start =
        json!({"type": "content_block_start", "index": index, "content_block": opening(block)});
    let stop = json!({"type": "content_block_stop", "index": index});
    let mut beats = vec![Beat::Event(start)];
    for delta in deltas(act, block) {
        if let Act::Drip { pause_ms, .. } = act {
            beats.push(Beat::Pause(Some(Duration::from_millis(*pause_ms))));
        }
        let delta = json!({"type": "content_block_delta", "index": index, "delta": delta});
        beats.push(Beat::Event(delta));
    }
    ended(beats, Beat::Event(stop))
}

/// A block as its first frame has it: without what the deltas bring.
fn opening(block: &Value) -> Value {
    match block["type"].as_str() {
        Some("tool_use") => {
            let mut call = block.clone();
            call["input"] = json!({});
            call
        }
        Some("thinking") => json!({"type": "thinking", "thinking": "", "signature": ""}),
        _ => json!({"type": "text", "text": ""}),
    }
}

fn deltas(act: &Act, block: &Value) -> Vec<Value> {
    let text = block["text"].as_str().unwrap_or_default();
    match act {
        Act::Drip { .. } => text.split_inclusive(' ').map(text_delta).collect(),
        Act::Long(_) => pieces(text, LONG_PIECE).map(text_delta).collect(),
        Act::Tool { input, .. } => {
            let json = input.to_string();
            let delta = |part| json!({"type": "input_json_delta", "partial_json": part});
            pieces(&json, PIECE).map(delta).collect()
        }
        Act::Think(words) => {
            let delta = |part| json!({"type": "thinking_delta", "thinking": part});
            let signature = json!({"type": "signature_delta", "signature": block["signature"]});
            pieces(words, PIECE).map(delta).chain([signature]).collect()
        }
        _ => pieces(text, PIECE).map(text_delta).collect(),
    }
}

fn text_delta(text: &str) -> Value {
    json!({"type": "text_delta", "text": text})
}

fn pieces(text: &str, size: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let piece = head(rest, size);
        rest = &rest[piece.len()..];
        (!piece.is_empty()).then_some(piece)
    })
}

/// The beginning of a text, without cutting a character.
pub fn head(text: &str, limit: usize) -> &str {
    let end = (0..=limit.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}
