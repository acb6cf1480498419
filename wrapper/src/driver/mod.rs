//! Drivers translate between the wrapper's commands and one agent's protocol.
//!
//! A driver is a pure state machine: lines and commands in, [`Told`] out. It reads no pipe, sees
//! no clock and knows nothing of Redis, so that a recorded transcript tests all of it.

mod acp;
mod claude;
mod lines;

pub use acp::Acp;
pub use claude::Claude;
pub use lines::Lines;

use serde_json::{Map, Value};

use worker_protocol::boot::BootAgent;
use worker_protocol::output::Outcome;
use worker_protocol::{AgentProtocol, Output, OutputKind, Source};

use crate::frame::Line;

/// What a driver wants done, in order.
#[derive(Debug, PartialEq)]
pub enum Told {
    /// The agent can take prompts; `raw` is the line that said so, if a line did.
    Ready {
        /// The agent's own line.
        raw: Option<String>,
    },
    /// The agent will not get ready; why. Prompts need not wait: the driver ends their turns.
    NeverReady(String),
    /// An entry for the output stream. The turn is added by the bridge.
    Say(Output),
    /// Bytes for the agent's stdin.
    Write(Vec<u8>),
    /// SIGINT for the agent's process group.
    Interrupt,
    /// The agent began to work without a prompt.
    Woke,
    /// A turn ended.
    TurnEnded(TurnEnd),
}

/// How a turn ended, as far as the agent said it.
#[derive(Debug, PartialEq)]
pub struct TurnEnd {
    /// How.
    pub outcome: Outcome,
    /// The final text.
    pub text: String,
    /// For programs: durations, cost, tokens, where the agent told them.
    pub data: Map<String, Value>,
    /// The agent's own line.
    pub raw: Option<String>,
    /// The agent's own name for its session.
    pub session_id: Option<String>,
    /// What the agent has cost in all, in US dollars, where it tells.
    pub cost_usd_total: Option<f64>,
    /// Whether it is the end of work in the background, and not of the prompt's turn.
    pub background: bool,
}

impl TurnEnd {
    /// An end of which no more than the outcome is known.
    pub fn new(outcome: Outcome, text: impl Into<String>) -> Self {
        Self {
            outcome,
            text: text.into(),
            data: Map::new(),
            raw: None,
            session_id: None,
            cost_usd_total: None,
            background: false,
        }
    }
}

/// Who says that a turn is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnsEnd {
    /// The agent does.
    WhenToldSo,
    /// Nobody: it counts as over when the prompt has been written to the agent's stdin.
    WhenWritten,
}

/// One agent's protocol.
pub trait Driver {
    /// Arguments after the agent's own command.
    fn arguments(&self) -> Vec<String>;

    /// Who says that a turn is over.
    fn turns_end(&self) -> TurnsEnd;

    /// The agent's process runs.
    fn begin(&mut self, told: &mut Vec<Told>);

    /// A turn.
    fn prompt(&mut self, text: &str, told: &mut Vec<Told>);

    /// Ends the running turn; the agent stays.
    fn interrupt(&mut self, told: &mut Vec<Told>);

    /// Bytes for a program's stdin.
    ///
    /// # Errors
    /// When the protocol has no such thing; the text says what to do instead.
    fn stdin(&mut self, text: &str, told: &mut Vec<Told>) -> Result<(), &'static str>;

    /// A line of stdout. Every line gives one or more entries, never none; a piece of a longer text
    /// gives its part of that text's entry.
    fn line(&mut self, line: Line, told: &mut Vec<Told>);

    /// There will be no more lines: tells what was held back.
    fn finish(&mut self, _told: &mut Vec<Told>) {}

    /// Whether the agent does work that will report later, so that its stdin must stay open.
    fn works_in_background(&self) -> bool {
        false
    }
}

/// The driver for an agent.
///
/// # Errors
/// When this wrapper has none for its protocol.
pub fn for_agent(agent: &BootAgent) -> Result<Box<dyn Driver + Send>, String> {
    match agent.protocol {
        AgentProtocol::Acp => Ok(Box::new(Acp::new(agent))),
        AgentProtocol::Claude => Ok(Box::new(Claude::new(agent))),
        AgentProtocol::Lines => Ok(Box::new(Lines)),
        other => Err(format!("this worker-wrapper has no driver for the protocol `{other}`")),
    }
}

/// A line that is no known message, as it is.
pub(crate) fn printed(kind: OutputKind, line: Line) -> Output {
    let mut output = Output::new(kind, Source::Agent, line.text);
    if line.cut {
        output.truncated = true;
        output.data = Some(serde_json::json!({ "full_bytes": line.full_bytes }));
    }
    output
}
