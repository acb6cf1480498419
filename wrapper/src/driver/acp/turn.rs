//! The end of a turn, and what the agent asks in it.

use serde_json::{Map, Value, json};

use worker_protocol::output::Outcome;

use super::message::{error, text, written};
use super::tool::CALLS_KEPT;
use super::{Acp, Question, Titles, Told, TurnEnd, Verdict};

/// A prompt that was given and not answered.
pub(super) struct Turn {
    /// The id of the request.
    pub(super) request: u64,
    /// It was told to end.
    pub(super) cancelled: bool,
    /// The latest whole message; the turn's final text.
    pub(super) said: String,
    /// The agent itself has failed, whatever its answer says.
    pub(super) failed: bool,
    cost_before: Option<f64>,
}

impl Turn {
    pub(super) fn new(request: u64) -> Self {
        Self { request, cancelled: false, said: String::new(), failed: false, cost_before: None }
    }

    pub(super) fn note_cost(&mut self, before: Option<f64>) {
        self.cost_before = self.cost_before.or(before);
    }
}

impl Acp {
    pub(super) fn turn_answered(&mut self, answer: &Value, raw: String, told: &mut Vec<Told>) {
        self.end_text(told);
        for (id, call) in std::mem::take(&mut self.calls) {
            self.tell_call(&id, call, None, told);
        }
        let Some(turn) = self.turn.take() else { return };
        let mut end = match error(answer) {
            Some((code, why)) => {
                let mut end = TurnEnd::new(Outcome::Error, why);
                end.data.insert("error_code".to_owned(), code.into());
                end
            }
            None => {
                let reason = answer.pointer("/result/stopReason").and_then(Value::as_str);
                let reason = reason.unwrap_or_default();
                let outcome = if turn.failed { Outcome::Error } else { outcome(reason) };
                let mut end = TurnEnd::new(outcome, turn.said);
                if outcome == Outcome::Error && end.text.is_empty() {
                    end.text = match reason {
                        "" => "the agent ended the turn and did not say why".to_owned(),
                        reason => format!("the agent ended the turn with the reason {reason}"),
                    };
                }
                end.data.insert("stop_reason".to_owned(), reason.into());
                tokens(answer.pointer("/result/usage"), &mut end.data);
                end
            }
        };
        if let Some(total) = self.cost {
            let before = turn.cost_before.unwrap_or_default();
            end.data.insert("cost_usd".to_owned(), json!((total - before).max(0.0)));
            end.data.insert("cost_usd_total".to_owned(), json!(total));
        }
        end.cost_usd_total = self.cost;
        end.raw = Some(raw);
        end.session_id.clone_from(&self.session);
        told.push(Told::TurnEnded(end));
    }

    /// The agent asks whether it may.
    pub(super) fn permission(
        &mut self,
        id: &Value,
        request: &Value,
        raw: String,
        told: &mut Vec<Told>,
    ) {
        self.end_text(told);
        let params = request.get("params").cloned().unwrap_or_default();
        let call = params.get("toolCall").cloned().unwrap_or_default();
        let known = self.calls.get(text(&call, "toolCallId")).cloned();
        let shown = known.unwrap_or_default().with(&call);
        let titled = self.titles == Titles::Commands && shown.tool() == "execute";
        let input = match &shown.input {
            Value::Null if titled => json!({"command": shown.title}),
            input => input.clone(),
        };
        let question = Question {
            id: id.to_string(),
            tool: shown.tool().to_owned(),
            input,
            call: Some(text(&call, "toolCallId").to_owned()),
            session_id: self.session.clone(),
            raw: Some(raw),
        };
        while self.asked.len() >= CALLS_KEPT {
            self.asked.pop_first();
        }
        let options = params.get("options").and_then(Value::as_array).cloned();
        self.asked.insert(question.id.clone(), (id.clone(), options.unwrap_or_default()));
        told.push(Told::Asked(question));
    }

    /// Answers with the narrowest option there is: this once, before always. A turn that is being
    /// cancelled has to get `cancelled`.
    pub(super) fn permit(&mut self, id: &str, verdict: &Verdict, told: &mut Vec<Told>) {
        let Some((id, options)) = self.asked.remove(id) else { return };
        let cancelled = self.turn.as_ref().is_some_and(|turn| turn.cancelled);
        let kinds = match verdict {
            _ if cancelled => [""; 2],
            Verdict::Allow => ["allow_once", "allow_always"],
            Verdict::Deny(_) => ["reject_once", "reject_always"],
        };
        let of = |kind: &str| options.iter().find(|option| text(option, "kind") == kind);
        let chosen = kinds.into_iter().find_map(of).and_then(|option| option.get("optionId"));
        let outcome = match chosen {
            Some(option) => json!({"outcome": "selected", "optionId": option}),
            None => json!({"outcome": "cancelled"}),
        };
        told.push(written(&json!({"jsonrpc": "2.0", "id": id, "result": {"outcome": outcome}})));
    }
}

fn outcome(stop_reason: &str) -> Outcome {
    match stop_reason {
        "end_turn" => Outcome::Success,
        "cancelled" => Outcome::Interrupted,
        "max_tokens" | "max_turn_requests" => Outcome::Limit,
        _ => Outcome::Error,
    }
}

/// Tokens of the turn, under the names that other agents' entries have too.
fn tokens(usage: Option<&Value>, data: &mut Map<String, Value>) {
    for (theirs, ours) in [
        ("inputTokens", "input_tokens"),
        ("outputTokens", "output_tokens"),
        ("cachedReadTokens", "cache_read_input_tokens"),
        ("cachedWriteTokens", "cache_creation_input_tokens"),
    ] {
        if let Some(count) = usage.and_then(|usage| usage.get(theirs)).filter(|n| n.is_number()) {
            data.insert(ours.to_owned(), count.clone());
        }
    }
}
