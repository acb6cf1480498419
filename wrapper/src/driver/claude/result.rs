//! The `result` frame: how a turn ended.

use serde_json::{Map, Value};

use worker_protocol::output::Outcome;

use crate::driver::TurnEnd;
use crate::kept::Past;

/// `total_cost_usd` counts up over the conversation, so a turn's own cost is a difference. A session
/// that is resumed counts on from what its last process that was not killed wrote down at its end.
#[derive(Debug, Default)]
pub(super) struct Cost {
    /// What the agent does not count.
    before: f64,
    /// What it has counted.
    pub(super) counted: f64,
}

impl Cost {
    pub(super) fn after(past: &Past) -> Self {
        Self { before: past.cost_usd - past.counted_usd, counted: past.counted_usd }
    }

    /// The agent begins to count at nothing.
    pub(super) fn begin_anew(&mut self) {
        self.before += std::mem::take(&mut self.counted);
    }
}

/// What the agent says of a turn that is worth passing on under its own name.
const PASSED_ON: [&str; 8] = [
    "duration_ms",
    "duration_api_ms",
    "num_turns",
    "subtype",
    "stop_reason",
    "terminal_reason",
    "api_error_status",
    "permission_denials",
];

const TOKENS: [&str; 4] =
    ["input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"];

pub(super) fn read(frame: &Value, cost: &mut Cost) -> TurnEnd {
    let mut end = TurnEnd::new(outcome(frame), final_text(frame));
    end.data = passed_on(frame);
    if let Some(total) = frame.get("total_cost_usd").and_then(Value::as_f64) {
        let own = (total - cost.counted).max(0.0);
        cost.counted = total;
        let total = cost.before + total;
        end.data.insert("cost_usd".to_owned(), own.into());
        end.data.insert("cost_usd_total".to_owned(), total.into());
        end.cost_usd_total = Some(total);
    }
    end
}

/// Whether a line that was cut is a result: one of its own keys stands early in it, before the long
/// ones. Within a text the quotes would be escaped.
pub(super) fn is_cut(line: &str) -> bool {
    line.starts_with('{') && line.contains("\"duration_api_ms\":")
}

/// `is_error` decides: an API failure has the subtype `success` all the same.
fn outcome(frame: &Value) -> Outcome {
    let text = |name: &str| frame.get(name).and_then(Value::as_str).unwrap_or_default();
    if frame.get("is_error").and_then(Value::as_bool) != Some(true)
        && !text("subtype").starts_with("error")
    {
        return Outcome::Success;
    }
    match (text("subtype"), text("terminal_reason")) {
        (_, reason) if reason.starts_with("aborted") => Outcome::Interrupted,
        ("error_max_turns" | "error_max_budget_usd", _) => Outcome::Limit,
        _ => Outcome::Error,
    }
}

fn final_text(frame: &Value) -> String {
    if let Some(Value::String(text)) = frame.get("result") {
        return text.clone();
    }
    let errors = frame.get("errors").and_then(Value::as_array).into_iter().flatten();
    errors.filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
}

fn passed_on(frame: &Value) -> Map<String, Value> {
    let own = PASSED_ON.iter().filter_map(|name| Some((*name, frame.get(*name)?)));
    let usage = frame.get("usage");
    let tokens = TOKENS.iter().filter_map(|name| Some((*name, usage?.get(*name)?)));
    own.chain(tokens)
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.to_owned(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_outcome_is_not_the_subtype() {
        for (frame, wanted) in [
            (json!({"subtype": "success", "is_error": false}), Outcome::Success),
            (json!({"subtype": "success", "is_error": true}), Outcome::Error),
            (json!({"subtype": "error_max_turns", "is_error": true}), Outcome::Limit),
            (
                json!({"subtype": "error_during_execution", "is_error": true,
                    "terminal_reason": "aborted_tools"}),
                Outcome::Interrupted,
            ),
            (json!({}), Outcome::Success),
        ] {
            assert_eq!(outcome(&frame), wanted, "{frame}");
        }
    }

    #[test]
    fn what_it_cost_in_earlier_runs_is_counted_once() {
        // In order, and killed.
        for (counted_usd, total) in [(2.0, 2.25), (0.0, 0.25)] {
            let past = Past { cost_usd: 2.0, counted_usd, ..Past::default() };
            let end = read(&json!({ "total_cost_usd": total }), &mut Cost::after(&past));
            assert_eq!(
                (&end.data["cost_usd"], &end.data["cost_usd_total"]),
                (&json!(0.25), &json!(2.25))
            );
        }
    }

    #[test]
    fn a_turns_cost_is_the_difference() {
        let mut cost = Cost::default();
        read(&json!({"total_cost_usd": 0.25}), &mut cost);
        let end = read(&json!({"total_cost_usd": 1.0}), &mut cost);
        assert_eq!(
            (&end.data["cost_usd"], &end.data["cost_usd_total"]),
            (&json!(0.75), &json!(1.0))
        );
    }
}
