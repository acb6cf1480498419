//! `session/update`: what the agent says and does in a turn.

use serde_json::{Value, json};

use worker_protocol::OutputKind;

use super::message::text;
use super::setup::Stage;
use super::{Acp, Told, tool};

/// A text that comes in more pieces than this has makes more than one entry.
const JOINED_BYTES: usize = 1 << 20;

/// Pieces of one text so far.
pub(super) struct Joined {
    kind: OutputKind,
    /// The agent's own name for the message, where it gives one.
    id: String,
    text: String,
}

impl Acp {
    pub(super) fn update(&mut self, message: &Value, raw: String, told: &mut Vec<Told>) {
        if matches!(self.stage, Stage::Resume { .. }) {
            return self.earlier.count_replayed();
        }
        let update = message.pointer("/params/update").cloned().unwrap_or_default();
        let name = text(&update, "sessionUpdate");
        let piece = match name {
            "agent_message_chunk" => Some(OutputKind::Message),
            "agent_thought_chunk" => Some(OutputKind::Thinking),
            _ => None,
        };
        let said = update.pointer("/content/text").and_then(Value::as_str);
        if let (Some(kind), Some(said)) = (piece, said) {
            return self.join(kind, text(&update, "messageId"), said, told);
        }
        // What tells nothing of the conversation may come between two pieces.
        if matches!(name, "tool_call" | "tool_call_update" | "plan") || piece.is_some() {
            self.end_text(told);
        }
        match name {
            "tool_call" | "tool_call_update" => self.tool(name, &update, raw, told),
            "usage_update" => self.usage(&update, raw, told),
            _ => {
                // Codex says so before it says why, and then answers as if all were well.
                let status = update.pointer("/_meta/codex/threadStatus/type");
                if let (Some("systemError"), Some(turn)) =
                    (status.and_then(Value::as_str), &mut self.turn)
                {
                    turn.failed = true;
                    self.end_text(told);
                }
                self.unnamed(&format!("session/update {name}"), raw, told);
            }
        }
    }

    fn join(&mut self, kind: OutputKind, id: &str, said: &str, told: &mut Vec<Told>) {
        let goes_on = self.joined.as_ref().is_some_and(|joined| {
            joined.kind == kind && joined.id == id && joined.text.len() < JOINED_BYTES
        });
        if !goes_on {
            self.end_text(told);
        }
        let new = || Joined { kind, id: id.to_owned(), text: String::new() };
        self.joined.get_or_insert_with(new).text.push_str(said);
    }

    /// The text that came in pieces is whole.
    pub(super) fn end_text(&mut self, told: &mut Vec<Told>) {
        let Some(Joined { kind, text, .. }) = self.joined.take() else { return };
        if let (OutputKind::Message, Some(turn)) = (kind, &mut self.turn) {
            turn.said.clone_from(&text);
        }
        self.say(kind, text, None, None, told);
    }

    /// A call is told once, when its input is whole: agents begin with a title only. Its result is
    /// told when it has ended.
    fn tool(&mut self, name: &str, update: &Value, raw: String, told: &mut Vec<Told>) {
        let id = text(update, "toolCallId").to_owned();
        let mut call = self.calls.remove(&id).unwrap_or_default().with(update);
        let ended = call.has_ended();
        let before = told.len();
        let mut raw = Some(raw);
        if !call.told && (ended || call.runs()) {
            let own = if ended { None } else { raw.take() };
            self.tell_call(&id, call.clone(), own, told);
            call.told = true;
        }
        if ended {
            let data = json!({"id": id, "tool": call.tool(), "is_error": call.has_failed()});
            let (content, data) = (call.result(), Some(data));
            self.say(OutputKind::ToolResult, content, data, raw.take(), told);
        } else {
            self.calls.insert(id, call);
        }
        if told.len() == before {
            let name = format!("session/update {name}");
            self.unnamed(&name, raw.take().unwrap_or_default(), told);
        }
        while self.calls.len() > tool::CALLS_KEPT {
            self.calls.pop_first();
        }
    }

    pub(super) fn tell_call(
        &mut self,
        id: &str,
        call: tool::Call,
        raw: Option<String>,
        told: &mut Vec<Told>,
    ) {
        if call.told {
            return;
        }
        let data = json!({"tool": call.tool(), "input": call.input, "id": id, "title": call.title});
        self.say(OutputKind::ToolCall, call.shown(), Some(data), raw, told);
    }

    fn usage(&mut self, update: &Value, raw: String, told: &mut Vec<Told>) {
        if text(&update["cost"], "currency") == "USD"
            && let Some(amount) = update["cost"]["amount"].as_f64()
        {
            if let Some(turn) = &mut self.turn {
                turn.note_cost(self.cost);
            }
            // After an interrupt some agents tell the cost of nothing.
            self.cost = Some(self.cost.unwrap_or_default().max(self.cost_before + amount));
        }
        let number = |name: &str| update.get(name).and_then(Value::as_u64).unwrap_or_default();
        let (used, size) = (number("used"), number("size"));
        let data = json!({"context_used": used, "context_size": size,
            "cost_usd_total": self.cost});
        let content = format!("{used} of {size} tokens of context");
        self.say(OutputKind::Usage, content, Some(data), Some(raw), told);
    }
}
