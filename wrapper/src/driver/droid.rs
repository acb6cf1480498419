//! Factory's Droid: a process for each turn, `droid exec -o stream-json`, and one session.
//!
//! Source of the protocol: the vendor's documentation of `droid exec`, and the messages as other
//! programs read them. Names of fields come with capitals and with underscores.

use serde_json::{Map, Value, json};
use worker_protocol::boot::BootAgent;
use worker_protocol::output::Outcome;
use worker_protocol::{Output, OutputKind, Source};

use super::{Driver, Process, RunEnd, Start, Told, TurnEnd, TurnsEnd, printed};
use crate::brief;
use crate::frame::Line;
use crate::kept::Past;
use crate::reaper::Ended;

/// One session, over many processes.
pub struct Droid {
    /// The same in each turn.
    arguments: Vec<String>,
    session: Option<String>,
    /// What the process said of its turn so far.
    heard: Heard,
}

#[derive(Default)]
struct Heard {
    completion: Option<(Value, String)>,
    error: Option<String>,
}

impl Droid {
    /// A session that has not begun.
    #[must_use]
    pub fn new(agent: &BootAgent) -> Self {
        Self { arguments: arguments(agent), session: None, heard: Heard::default() }
    }

    fn frame(&mut self, frame: Value, raw: String, told: &mut Vec<Told>) {
        let session = text(&frame, &["session_id", "sessionId"]).map(str::to_owned);
        if session.is_some() {
            self.session.clone_from(&session);
        }
        let mut output = match text(&frame, &["type"]).unwrap_or_default() {
            // Told with the end of the process.
            "completion" => return self.heard.completion = Some((frame, raw)),
            "message" => message(&frame),
            "reasoning" | "thinking" => said(OutputKind::Thinking, content(&frame)),
            "tool_call" => tool_call(&frame),
            "tool_result" => tool_result(&frame),
            "error" => {
                let text = text(&frame, &["message", "error"]).unwrap_or("an error without a text");
                self.heard.error = Some(text.to_owned());
                said(OutputKind::Error, text)
            }
            _ => unnamed(&frame),
        };
        (output.raw, output.session_id) = (Some(raw), session);
        told.push(Told::Say(output));
    }
}

impl Driver for Droid {
    fn arguments(&self) -> Vec<String> {
        Vec::new()
    }

    fn resume(&mut self, past: &Past) {
        self.session.clone_from(&past.session_id);
    }

    fn process(&self) -> Process {
        Process::PerTurn
    }

    fn turns_end(&self) -> TurnsEnd {
        TurnsEnd::WhenToldSo
    }

    fn begin(&mut self, told: &mut Vec<Told>) {
        told.push(Told::Ready { raw: None });
    }

    /// By stdin: a command line has a limit, everybody can read it, and a prompt may look like a
    /// flag.
    fn prompt(&mut self, text: &str, told: &mut Vec<Told>) {
        self.heard = Heard::default();
        let session = self.session.iter().map(|session| format!("--session-id={session}"));
        let arguments = self.arguments.iter().cloned().chain(session).collect();
        told.push(Told::Start(Start { arguments, stdin: text.as_bytes().to_vec() }));
    }

    fn interrupt(&mut self, told: &mut Vec<Told>) {
        told.push(Told::Interrupt);
    }

    fn stdin(&mut self, _text: &str, _told: &mut Vec<Told>) -> Result<(), &'static str> {
        Err("raw input is only for CUSTOM agents; send a `prompt`")
    }

    fn line(&mut self, line: Line, told: &mut Vec<Told>) {
        match serde_json::from_str::<Value>(&line.text) {
            Ok(frame) if frame.is_object() && !line.cut => self.frame(frame, line.text, told),
            _ => told.push(Told::Say(printed(OutputKind::Stdout, line))),
        }
    }

    fn run_ended(&mut self, RunEnd { ended, oom_killed }: RunEnd, told: &mut Vec<Told>) {
        let heard = std::mem::take(&mut self.heard);
        let well = ended == Ended::Exited(0);
        let mut end = match heard.completion {
            Some((frame, raw)) => completed(&frame, raw, well),
            None => TurnEnd::new(Outcome::Error, why(ended, oom_killed, heard.error)),
        };
        if !well {
            end.data.insert("exit_code".to_owned(), ended.code().into());
        }
        end.session_id.clone_from(&self.session);
        told.push(Told::TurnEnded(end));
    }
}

/// Nothing is asked, since nobody is there to answer: the worker is the boundary. A value of the
/// caller's goes behind `=`, so that it cannot be taken for a flag.
fn arguments(agent: &BootAgent) -> Vec<String> {
    let mut arguments: Vec<_> =
        ["exec", "--output-format=stream-json", "--skip-permissions-unsafe"]
            .map(str::to_owned)
            .into();
    let optional = [
        ("--cwd", &Some(agent.workspace.clone())),
        ("--append-system-prompt-file", &agent.system_prompt_file),
        ("--model", &agent.model),
    ];
    for (flag, value) in optional {
        arguments.extend(value.as_ref().map(|value| format!("{flag}={value}")));
    }
    arguments
}

fn completed(frame: &Value, raw: String, well: bool) -> TurnEnd {
    let outcome = if well { Outcome::Success } else { Outcome::Error };
    let mut end = TurnEnd::new(outcome, text(frame, &["finalText", "final_text"]).unwrap_or(""));
    let told = [
        ("num_turns", ["numTurns", "num_turns"]),
        ("duration_ms", ["durationMs", "duration_ms"]),
        ("usage", ["usage", "tokenUsage"]),
    ];
    end.data = told
        .into_iter()
        .filter_map(|(name, theirs)| Some((name.to_owned(), value(frame, &theirs)?.clone())))
        .collect::<Map<_, _>>();
    end.raw = Some(raw);
    end
}

fn why(ended: Ended, oom_killed: bool, error: Option<String>) -> String {
    let end = match ended.signal() {
        Some(signal) => format!("droid was ended by {signal}"),
        None => format!("droid ended with exit code {}", ended.code()),
    };
    match (error, oom_killed) {
        (_, true) => format!("{end}: the worker has no more memory; raise `limits.memory`"),
        (Some(error), _) => format!("{end}: {error}"),
        (None, _) => format!("{end} before it had completed the turn"),
    }
}

/// The agent's own; what it repeats of the prompt is no message of its.
fn message(frame: &Value) -> Output {
    match text(frame, &["role"]) {
        Some("assistant") | None => said(OutputKind::Message, content(frame)),
        Some(role) => said(OutputKind::Stdout, format!("message/{role}")),
    }
}

fn tool_call(frame: &Value) -> Output {
    let tool = tool(frame).unwrap_or_default();
    let input = value(frame, &["parameters", "input"]).cloned().unwrap_or_default();
    let brief = brief::input(&input);
    let data = json!({"tool": tool, "id": value(frame, &["id"]), "input": input});
    said(OutputKind::ToolCall, format!("{tool} {brief}")).with_data(data)
}

fn tool_result(frame: &Value) -> Output {
    let is_error = value(frame, &["isError", "is_error"]).and_then(Value::as_bool);
    let content = match value(frame, &["value", "error"]) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Object(error)) if error.get("message").is_some_and(Value::is_string) => {
            error["message"].as_str().unwrap_or_default().to_owned()
        }
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let is_error = is_error.unwrap_or(frame.get("error").is_some());
    let data = json!({"tool": tool(frame), "id": value(frame, &["id"]), "is_error": is_error});
    said(OutputKind::ToolResult, content).with_data(data)
}

/// A line that is for programs only: its type, and the line as `raw`.
fn unnamed(frame: &Value) -> Output {
    let kinds = [text(frame, &["type"]), text(frame, &["subtype"])];
    said(OutputKind::Stdout, kinds.into_iter().flatten().collect::<Vec<_>>().join("/"))
}

fn tool(frame: &Value) -> Option<&str> {
    text(frame, &["toolName", "tool_name", "toolId", "tool_id"])
}

fn content(frame: &Value) -> &str {
    text(frame, &["text", "content"]).unwrap_or_default()
}

fn text<'a>(frame: &'a Value, names: &[&str]) -> Option<&'a str> {
    value(frame, names).and_then(Value::as_str)
}

/// The first of some fields that is there.
fn value<'a>(frame: &'a Value, names: &[&str]) -> Option<&'a Value> {
    names.iter().find_map(|name| frame.get(*name)).filter(|value| !value.is_null())
}

fn said(kind: OutputKind, content: impl Into<String>) -> Output {
    Output::new(kind, Source::Agent, content)
}
