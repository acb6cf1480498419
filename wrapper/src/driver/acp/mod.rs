//! The Agent Client Protocol, version 1: JSON-RPC 2.0 in lines, both ways, in one long-lived
//! process.
//!
//! Source of the protocol: its specification, and the transcripts of the real programs in
//! `wrapper/tests/transcripts/acp/`. Only what is used here is read, by hand: the schema's crate
//! would bring more than the rest of the wrapper.
//!
//! ```text
//! initialize ─► session/new ─┬─► model, if one is wanted ─► ready ─► session/prompt, a turn each
//!                    ▲       │ "authentication required"
//!                    └─ authenticate with the key in the environment
//! ```
//! In place of `session/new` comes `session/resume` or `session/load`, when the worker ran before.

mod earlier;
mod mcp;
mod message;
mod setup;
mod tool;
#[cfg(test)]
mod transcript;
mod turn;
mod update;

use serde_json::{Value, json};
use std::collections::BTreeMap;

use worker_protocol::boot::BootAgent;
use worker_protocol::output::Outcome;
use worker_protocol::{AgentType, Output, OutputKind, Source};

use super::{Driver, Question, Told, TurnEnd, TurnsEnd, Verdict, printed};
use crate::frame::Line;
use crate::kept::Past;
use message::{text, written};

/// The state of the conversation.
pub struct Acp {
    workspace: String,
    model: Option<String>,
    servers: mcp::Servers,
    /// What of them the agent is offered.
    offered: Vec<Value>,
    /// Names of models that it has, some of them.
    models: Vec<String>,
    titles: Titles,
    /// Requests sent so far; the last one's id.
    requests: u64,
    stage: setup::Stage,
    /// What `initialize` said about ways to log in.
    logins: Vec<Value>,
    session: Option<String>,
    earlier: earlier::Earlier,
    turn: Option<turn::Turn>,
    /// A text that comes in pieces.
    joined: Option<update::Joined>,
    /// Tool calls of this turn that have no result yet.
    calls: BTreeMap<String, tool::Call>,
    /// Requests for permission that have no answer yet: the request's id, and what it may be.
    asked: BTreeMap<String, (Value, Vec<Value>)>,
    /// What the worker has cost in all, in US dollars, where the agent tells.
    cost: Option<f64>,
    /// Of it, what the agent does not count, since it was in a session that was lost.
    cost_before: f64,
}

/// What the titles of tool calls are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Titles {
    /// Words for people.
    Words,
    /// Of a shell, the command. Gemini CLI tells it nowhere else when it asks for permission.
    Commands,
}

impl Titles {
    fn of(agent: AgentType) -> Self {
        if agent == AgentType::Gemini { Self::Commands } else { Self::Words }
    }
}

impl Acp {
    /// A conversation that has not begun. `mcp` is the text of the caller's file of MCP servers.
    #[must_use]
    pub fn new(agent: &BootAgent, mcp: Option<&str>) -> Self {
        Self {
            workspace: agent.workspace.clone(),
            model: agent.model.clone(),
            servers: mcp::Servers::read(mcp),
            offered: Vec::new(),
            models: Vec::new(),
            titles: Titles::of(agent.agent_type),
            requests: 0,
            stage: setup::Stage::Initialize,
            logins: Vec::new(),
            session: None,
            earlier: earlier::Earlier::default(),
            turn: None,
            joined: None,
            calls: BTreeMap::new(),
            asked: BTreeMap::new(),
            cost: None,
            cost_before: 0.0,
        }
    }

    /// Sends a request. Its id is that of the answer.
    fn request(&mut self, method: &str, params: Value, told: &mut Vec<Told>) -> u64 {
        self.requests += 1;
        let id = self.requests;
        told.push(written(
            &json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}),
        ));
        id
    }

    fn message(&mut self, message: &Value, raw: String, told: &mut Vec<Told>) {
        let method = text(message, "method");
        match (method, message.get("id")) {
            ("", Some(id)) => self.answered(id.as_u64(), message, raw, told),
            ("session/update", None) => self.update(message, raw, told),
            ("session/request_permission", Some(id)) => self.permission(id, message, raw, told),
            (_, Some(id)) => {
                // Files and terminals of a client are not offered, so nobody may count on them.
                let problem = format!("the client has no method {method}");
                told.push(written(&json!({"jsonrpc": "2.0", "id": id,
                    "error": {"code": message::NO_METHOD, "message": problem}})));
                self.unnamed(method, raw, told);
            }
            (_, None) => self.unnamed(method, raw, told),
        }
    }

    fn answered(&mut self, id: Option<u64>, answer: &Value, raw: String, told: &mut Vec<Told>) {
        if self.turn.as_ref().is_some_and(|turn| Some(turn.request) == id) {
            self.turn_answered(answer, raw, told);
        } else if id == Some(self.requests) && self.stage.is_setup() {
            self.set_up(answer, raw, told);
        } else {
            self.unnamed("answer", raw, told);
        }
    }

    /// A message that has no entry of its own: its name, and `raw` holds the rest.
    fn unnamed(&mut self, name: &str, raw: String, told: &mut Vec<Told>) {
        self.say(OutputKind::Stdout, name, None, Some(raw), told);
    }

    fn say(
        &self,
        kind: OutputKind,
        content: impl Into<String>,
        data: Option<Value>,
        raw: Option<String>,
        told: &mut Vec<Told>,
    ) {
        let mut output = Output::new(kind, Source::Agent, content);
        (output.data, output.raw) = (data, raw);
        output.session_id.clone_from(&self.session);
        told.push(Told::Say(output));
    }
}

impl Driver for Acp {
    fn arguments(&self) -> Vec<String> {
        Vec::new()
    }

    fn turns_end(&self) -> TurnsEnd {
        TurnsEnd::WhenToldSo
    }

    fn resume(&mut self, past: &Past) {
        self.go_on_after(past);
    }

    fn forget(&mut self) -> bool {
        self.forget_earlier()
    }

    fn begin(&mut self, told: &mut Vec<Told>) {
        self.initialize(told);
    }

    fn prompt(&mut self, text: &str, told: &mut Vec<Told>) {
        let Some(session) = self.session.clone().filter(|_| !self.stage.is_setup()) else {
            let why = self.stage.why_not_ready();
            return told.push(Told::TurnEnded(TurnEnd::new(Outcome::Error, why)));
        };
        let params = json!({"sessionId": session, "prompt": [{"type": "text", "text": text}]});
        let request = self.request("session/prompt", params, told);
        self.turn = Some(turn::Turn::new(request));
    }

    fn interrupt(&mut self, told: &mut Vec<Told>) {
        let Some(turn) = &mut self.turn else { return };
        turn.cancelled = true;
        told.push(written(&json!({"jsonrpc": "2.0", "method": "session/cancel",
            "params": {"sessionId": self.session}})));
    }

    fn answer(&mut self, id: &str, verdict: &Verdict, told: &mut Vec<Told>) {
        self.permit(id, verdict, told);
    }

    fn stdin(&mut self, _text: &str, _told: &mut Vec<Told>) -> Result<(), &'static str> {
        Err("raw input is only for agents with `protocol` `lines`; send a `prompt`")
    }

    fn line(&mut self, line: Line, told: &mut Vec<Told>) {
        match serde_json::from_str::<Value>(&line.text) {
            Ok(message) if message.is_object() && !line.cut => {
                self.message(&message, line.text, told);
            }
            _ => {
                self.end_text(told);
                told.push(Told::Say(printed(OutputKind::Stdout, line)));
            }
        }
    }

    fn finish(&mut self, told: &mut Vec<Told>) {
        self.end_text(told);
    }
}
