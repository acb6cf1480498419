//! Answers in a form that the asker gives.

use serde_json::{Value, json};

/// The least that fits a schema. Gemini CLI asks so which of its models a prompt is for, and the
/// lowest numbers and the first words mean the quick one; Codex' adapter asks for a title.
pub(super) fn instance(schema: &Value) -> Value {
    if let Some(first) = schema["enum"].as_array().and_then(|values| values.first()) {
        return first.clone();
    }
    match schema["type"].as_str().unwrap_or_default().to_ascii_lowercase().as_str() {
        "object" => {
            let properties = schema["properties"].as_object().into_iter().flatten();
            properties.map(|(name, schema)| (name.clone(), instance(schema))).collect()
        }
        "array" => json!([]),
        "integer" | "number" => schema.get("minimum").cloned().unwrap_or(json!(1)),
        "boolean" => json!(false),
        _ => json!("scripted"),
    }
}
