//! A tool's use in a few words, for people; all of it is in `data`.

use serde_json::Value;

/// Characters that are shown.
const SHOWN: usize = 200;

/// Of a tool's input: a shell command is what people look for; of anything else, the JSON.
pub(crate) fn input(input: &Value) -> String {
    match input.get("command") {
        Some(Value::String(command)) => shortened(command),
        _ => shortened(&input.to_string()),
    }
}

/// The beginning of a text.
pub(crate) fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(SHOWN).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
