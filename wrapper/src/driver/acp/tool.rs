//! What is known of a tool call: updates tell only what has changed.

use serde_json::Value;

use super::message::text;
use crate::brief;

/// Calls whose result has not come; more than an agent has at one time.
pub(super) const CALLS_KEPT: usize = 256;
/// A tool that floods has the beginning in its result.
const PRINTED_BYTES: usize = 1 << 20;

#[derive(Clone, Debug, Default)]
pub(super) struct Call {
    pub(super) title: String,
    pub(super) input: Value,
    /// It has its entry.
    pub(super) told: bool,
    kind: String,
    status: String,
    content: Vec<Value>,
    output: Value,
    /// What a terminal of the agent's own printed, piece by piece.
    printed: String,
}

impl Call {
    /// The same after an update.
    pub(super) fn with(mut self, update: &Value) -> Self {
        for (field, name) in
            [(&mut self.title, "title"), (&mut self.kind, "kind"), (&mut self.status, "status")]
        {
            if let Some(value) = update.get(name).and_then(Value::as_str) {
                value.clone_into(field);
            }
        }
        for (field, name) in [(&mut self.input, "rawInput"), (&mut self.output, "rawOutput")] {
            if let Some(value) = update.get(name).filter(|value| !value.is_null()) {
                field.clone_from(value);
            }
        }
        if let Some(content) = update.get("content").and_then(Value::as_array) {
            self.content.clone_from(content);
        }
        // Codex tells its terminal's output so, and nowhere else.
        if let Some(piece) =
            update.pointer("/_meta/terminal_output_delta/data").and_then(Value::as_str)
            && self.printed.len() < PRINTED_BYTES
        {
            self.printed.push_str(piece);
        }
        self
    }

    pub(super) fn runs(&self) -> bool {
        self.status == "in_progress"
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.status.as_str(), "completed" | "failed" | "cancelled")
    }

    pub(super) fn has_failed(&self) -> bool {
        self.status != "completed"
    }

    /// The protocol's word for what kind of tool it is; agents name tools as they like.
    pub(super) fn tool(&self) -> &str {
        if self.kind.is_empty() { "other" } else { &self.kind }
    }

    /// The tool, and its command or title or, at last, input.
    pub(super) fn shown(&self) -> String {
        let what = match (self.input.get("command"), self.title.as_str()) {
            (Some(Value::String(command)), _) => command.clone(),
            (_, "") => self.input.to_string(),
            (_, title) => title.to_owned(),
        };
        format!("{} {}", self.tool(), brief::shortened(&what))
    }

    /// What came out of it, as text.
    pub(super) fn result(&self) -> String {
        match (&self.printed[..], &self.content[..]) {
            ("", []) => of_output(&self.output),
            ("", content) => of_content(content),
            (printed, _) => printed.to_owned(),
        }
    }
}

fn of_content(content: &[Value]) -> String {
    let one = |part: &Value| match text(part, "type") {
        "content" => match part.pointer("/content/text").and_then(Value::as_str) {
            Some(said) => said.to_owned(),
            None => format!("({})", text(&part["content"], "type")),
        },
        "diff" => format!("(changed {})", text(part, "path")),
        other => format!("({other})"),
    };
    content.iter().map(one).collect::<Vec<_>>().join("\n")
}

/// The names that agents have for the text in it.
fn of_output(output: &Value) -> String {
    let named = ["output", "formatted_output", "aggregated_output", "stdout", "error"];
    match output {
        Value::Null => String::new(),
        Value::String(said) => said.clone(),
        other => named
            .iter()
            .find_map(|name| Some(other.get(*name)?.as_str()?.to_owned()))
            .unwrap_or_else(|| other.to_string()),
    }
}
