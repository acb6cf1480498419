//! Claude Code's stream-json, both ways, in one long-lived process.
//!
//! Source of the protocol: the vendor's SDKs and documentation, and the transcripts of version
//! 2.1.329 in `wrapper/tests/transcripts/claude/`. A `result` ends a turn, not the run; the process
//! ends when its stdin does.

mod frame;
mod result;
#[cfg(test)]
mod transcript;
mod usage;

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

use worker_protocol::boot::BootAgent;
use worker_protocol::output::Outcome;
use worker_protocol::{Output, OutputKind, Source};

use super::{Driver, Question, Told, TurnEnd, TurnsEnd, Verdict, printed};
use crate::frame::Line;
use crate::kept::Past;

const INITIALIZE: &str = "wrapper-initialize";
/// Tools whose result has not come yet; more than an agent has at one time.
const TOOLS_KEPT: usize = 256;

/// Tools that nobody is there to answer, in a worker without a person.
const DISALLOWED: &str = "--disallowedTools=AskUserQuestion";

/// The state of the conversation.
pub struct Claude {
    arguments: Vec<String>,
    /// The session that is to go on, until the agent is ready.
    resumes: Option<String>,
    /// Control requests sent so far.
    requests: u64,
    /// A prompt was written and its `result` has not come.
    in_turn: bool,
    /// The agent works without a prompt.
    awake: bool,
    /// Names of tools by the id of their use.
    tools: BTreeMap<String, String>,
    /// Work in the background that will report with a turn of its own.
    tasks: BTreeSet<String>,
    /// Questions that have no answer yet: the request's id, and the tool's input.
    asked: BTreeMap<String, (Value, Value)>,
    cost: result::Cost,
    usage: usage::Usage,
}

impl Claude {
    /// A conversation that has not begun, and may cost so much in US dollars.
    #[must_use]
    pub fn new(agent: &BootAgent, max_cost_usd: Option<f64>) -> Self {
        Self {
            arguments: arguments(agent, max_cost_usd),
            resumes: None,
            requests: 0,
            in_turn: false,
            awake: false,
            tools: BTreeMap::new(),
            tasks: BTreeSet::new(),
            asked: BTreeMap::new(),
            cost: result::Cost::default(),
            usage: usage::Usage::default(),
        }
    }

    fn frame(&mut self, frame: &Value, raw: String, told: &mut Vec<Told>) {
        let session = frame.get("session_id").and_then(Value::as_str).map(str::to_owned);
        let kind = frame.get("type").and_then(Value::as_str).unwrap_or_default();
        let mut outputs = match kind {
            "assistant" => {
                self.wake(told);
                frame::assistant(frame, &mut self.tools)
            }
            "user" => frame::user(frame, &mut self.tools),
            "rate_limit_event" => vec![frame::rate_limit(frame)],
            "control_request" => return self.asked(frame, raw, told),
            "control_response" if frame::answers(frame, INITIALIZE) => {
                self.resumes = None;
                return told.push(Told::Ready { raw: Some(raw) });
            }
            // It has no such session, and ends.
            "result" if self.resumes.is_some() => Vec::new(),
            "result" => return self.result(frame, raw, session, told),
            "conversation_reset" => {
                self.cost.begin_anew();
                Vec::new()
            }
            "system" => {
                self.note_task(frame);
                Vec::new()
            }
            _ => Vec::new(),
        };
        while self.tools.len() > TOOLS_KEPT {
            self.tools.pop_first();
        }
        if outputs.is_empty() {
            outputs.push(frame::unnamed(frame));
        }
        outputs[0].raw = Some(raw);
        outputs.extend(self.usage.of(frame));
        for mut output in outputs {
            frame::note_parent(frame, &mut output);
            output.session_id.clone_from(&session);
            told.push(Told::Say(output));
        }
    }

    /// A line that is no frame, or was too long to be read as one. A result that was too long ends
    /// its turn all the same: nothing else ever would.
    fn no_frame(&mut self, line: Line, told: &mut Vec<Told>) {
        let ends = line.cut && self.in_turn && result::is_cut(&line.text);
        let failed = line.text.contains("\"is_error\":true");
        told.push(Told::Say(printed(OutputKind::Stdout, line)));
        if ends {
            self.in_turn = false;
            let outcome = if failed { Outcome::Error } else { Outcome::Success };
            let text = "the agent's final text was too long to be read";
            told.push(Told::TurnEnded(TurnEnd::new(outcome, text)));
        }
    }

    /// Something is said though nobody asked: a task in the background has ended.
    fn wake(&mut self, told: &mut Vec<Told>) {
        if !self.in_turn && !self.awake {
            self.awake = true;
            told.push(Told::Woke);
        }
    }

    fn result(
        &mut self,
        frame: &Value,
        raw: String,
        session_id: Option<String>,
        told: &mut Vec<Told>,
    ) {
        let mut end = result::read(frame, &mut self.cost);
        self.usage.forget();
        end.raw = Some(raw);
        end.session_id = session_id;
        let of_its_own = frame.pointer("/origin/kind").and_then(Value::as_str);
        end.background = of_its_own == Some("task-notification") || !self.in_turn;
        if end.background {
            self.awake = false;
        } else {
            self.in_turn = false;
        }
        told.push(Told::TurnEnded(end));
    }

    /// Shells in the background may never end; agents and workflows do, and then report.
    fn note_task(&mut self, frame: &Value) {
        let text = |name: &str| frame.get(name).and_then(Value::as_str).unwrap_or_default();
        let id = text("task_id").to_owned();
        match text("subtype") {
            "task_started" if matches!(text("task_type"), "local_agent" | "local_workflow") => {
                self.tasks.insert(id);
            }
            "task_notification" => {
                self.tasks.remove(&id);
            }
            _ => {}
        }
    }

    /// The agent asks its host. What is no question of permission has no answer here; none at all
    /// would hang the turn.
    fn asked(&mut self, frame: &Value, raw: String, told: &mut Vec<Told>) {
        let id = frame.get("request_id").cloned().unwrap_or_default();
        let request = frame.get("request").cloned().unwrap_or_default();
        let subtype = request.get("subtype").and_then(Value::as_str).unwrap_or_default();
        if subtype == "can_use_tool" {
            let mut question = frame::question(&id, &request);
            question.raw = Some(raw);
            while self.asked.len() >= TOOLS_KEPT {
                self.asked.pop_first();
            }
            self.asked.insert(question.id.clone(), (id, question.input.clone()));
            return told.push(Told::Asked(question));
        }
        let mut output = frame::unnamed(frame);
        output.raw = Some(raw);
        told.push(Told::Say(output));
        let error = format!("the host has no answer to {subtype}");
        let answer = json!({"subtype": "error", "request_id": id, "error": error});
        told.push(written(&json!({"type": "control_response", "response": answer})));
    }
}

impl Driver for Claude {
    fn arguments(&self) -> Vec<String> {
        let resume = self.resumes.iter().map(|session| format!("--resume={session}"));
        self.arguments.iter().cloned().chain(resume).collect()
    }

    fn resume(&mut self, past: &Past) {
        self.resumes.clone_from(&past.session_id);
        self.cost = result::Cost::after(past);
    }

    fn forget(&mut self) -> bool {
        self.cost.begin_anew();
        self.resumes.take().is_some()
    }

    fn counted_usd(&self) -> f64 {
        self.cost.counted
    }

    fn turns_end(&self) -> TurnsEnd {
        TurnsEnd::WhenToldSo
    }

    fn begin(&mut self, told: &mut Vec<Told>) {
        told.push(written(&json!({
            "type": "control_request",
            "request_id": INITIALIZE,
            "request": {"subtype": "initialize", "hooks": null},
        })));
    }

    fn prompt(&mut self, text: &str, told: &mut Vec<Told>) {
        self.in_turn = true;
        told.push(written(&json!({
            "type": "user",
            "message": {"role": "user", "content": text},
            "parent_tool_use_id": null,
            "session_id": "",
        })));
    }

    fn interrupt(&mut self, told: &mut Vec<Told>) {
        self.requests += 1;
        told.push(written(&json!({
            "type": "control_request",
            "request_id": format!("wrapper-{}", self.requests),
            "request": {"subtype": "interrupt"},
        })));
    }

    fn answer(&mut self, id: &str, verdict: &Verdict, told: &mut Vec<Told>) {
        let Some((id, input)) = self.asked.remove(id) else { return };
        let response = match verdict {
            Verdict::Allow => json!({"behavior": "allow", "updatedInput": input}),
            Verdict::Deny(why) => json!({"behavior": "deny", "message": why}),
        };
        let answer = json!({"subtype": "success", "request_id": id, "response": response});
        told.push(written(&json!({"type": "control_response", "response": answer})));
    }

    fn stdin(&mut self, _text: &str, _told: &mut Vec<Told>) -> Result<(), &'static str> {
        Err("raw input is only for CUSTOM agents; send a `prompt`")
    }

    fn line(&mut self, line: Line, told: &mut Vec<Told>) {
        match serde_json::from_str::<Value>(&line.text) {
            Ok(frame) if frame.is_object() && !line.cut => self.frame(&frame, line.text, told),
            _ => self.no_frame(line, told),
        }
    }

    fn works_in_background(&self) -> bool {
        self.awake || !self.tasks.is_empty()
    }
}

/// A value of the caller's goes behind `=`, so that it cannot be taken for a flag.
///
/// Claude Code keeps to its budget within a turn: it makes no further request once it is spent. What
/// a session cost before this process does not count for it.
fn arguments(agent: &BootAgent, max_cost_usd: Option<f64>) -> Vec<String> {
    let mut arguments: Vec<_> = [
        "-p",
        "--output-format=stream-json",
        "--input-format=stream-json",
        "--verbose",
        "--permission-mode=bypassPermissions",
        DISALLOWED,
    ]
    .map(str::to_owned)
    .into();
    let optional = [
        ("--append-system-prompt-file", &agent.system_prompt_file),
        ("--model", &agent.model),
        ("--mcp-config", &agent.mcp_file),
    ];
    for (flag, value) in optional {
        arguments.extend(value.as_ref().map(|value| format!("{flag}={value}")));
    }
    arguments.extend(max_cost_usd.map(|budget| format!("--max-budget-usd={budget}")));
    arguments
}

fn written(frame: &Value) -> Told {
    Told::Write(format!("{frame}\n").into_bytes())
}

/// An entry of the agent's.
fn said(kind: OutputKind, content: impl Into<String>) -> Output {
    Output::new(kind, Source::Agent, content)
}
