//! Pieces of JSON-RPC that all parts of the driver need.

use serde_json::Value;

use crate::driver::Told;

/// JSON-RPC's own code for a method that is not there.
pub(super) const NO_METHOD: i64 = -32601;
/// The protocol's code for a client that has not logged in.
pub(super) const LOGIN_NEEDED: i64 = -32000;

/// A message for the agent.
pub(super) fn written(message: &Value) -> Told {
    Told::Write(format!("{message}\n").into_bytes())
}

pub(super) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The code of an error, and a text for people: some agents say all of it in `message`, some put
/// the reason into `data`.
pub(super) fn error(answer: &Value) -> Option<(i64, String)> {
    let error = answer.get("error")?;
    let code = error.get("code").and_then(Value::as_i64).unwrap_or_default();
    let message = text(error, "message");
    let reason = match error.get("data") {
        Some(Value::String(reason)) => reason.clone(),
        Some(Value::Object(data)) => ["message", "details"]
            .iter()
            .find_map(|name| Some(data.get(*name)?.as_str()?.to_owned()))
            .unwrap_or_default(),
        _ => String::new(),
    };
    Some(match (message, reason.as_str()) {
        ("", "") => (code, format!("the agent gave error {code} without a reason")),
        (message, reason) if reason.is_empty() || message.contains(reason) => {
            (code, message.to_owned())
        }
        (message, reason) => (code, format!("{message}: {reason}")),
    })
}
