//! Drivers translate between the wrapper's commands and one agent's protocol.
//!
//! A driver is a pure state machine: lines and commands in, [`Told`] out. It reads no pipe, sees
//! no clock and knows nothing of Redis, so that a recorded transcript tests all of it.

mod acp;
mod claude;
mod droid;
mod lines;
#[cfg(test)]
mod odd_input_tests;
mod pty;
mod stream_json;

pub use acp::Acp;
pub use claude::Claude;
pub use droid::Droid;
pub use lines::Lines;
pub use pty::{COLS, Pty, ROWS};
pub use stream_json::StreamJson;

use serde_json::{Map, Value};

use worker_protocol::output::Outcome;
use worker_protocol::{AgentProtocol, Boot, Output, OutputKind, Source};

use crate::frame::Line;
use crate::kept::Past;
use crate::reaper::Ended;

const NO_TERMINAL: &str = "`keys` and `resize` are for agents on a terminal (`protocol` `pty`)";

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
    /// A size for the agent's terminal.
    Resize {
        /// Height in characters.
        rows: u16,
        /// Width in characters.
        cols: u16,
    },
    /// Start a process for this turn.
    Start(Start),
    /// The agent asks whether it may, and waits for [`Driver::answer`].
    Asked(Question),
    /// The agent began to work without a prompt.
    Woke,
    /// A turn ended.
    TurnEnded(TurnEnd),
}

/// A tool that the agent wants to use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Question {
    /// By what the driver knows it again.
    pub id: String,
    /// The tool's name.
    pub tool: String,
    /// What it is to be given.
    pub input: Value,
    /// The agent's id of the call, where it tells.
    pub call: Option<String>,
    /// The agent's name for its session.
    pub session_id: Option<String>,
    /// The agent's own line.
    pub raw: Option<String>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Allow,
    /// It may not, and why: the agent is told where its protocol has a place for it.
    Deny(String),
}

/// A process for one turn.
#[derive(Debug, PartialEq)]
pub struct Start {
    /// Arguments after the agent's own command.
    pub arguments: Vec<String>,
    /// All that it reads.
    pub stdin: Vec<u8>,
}

/// How a process for one turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunEnd {
    /// How.
    pub ended: Ended,
    /// Whether the kernel has killed something for want of memory meanwhile.
    pub oom_killed: bool,
}

/// How long the agent's process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    /// As long as the worker.
    PerWorker,
    /// As long as the worker, and on a terminal.
    OnTerminal,
    /// One turn: [`Told::Start`] starts it, and its end is the turn's.
    PerTurn,
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
    /// Arguments after the agent's own command, for a process that lives as long as the worker.
    fn arguments(&self) -> Vec<String>;

    /// How long the agent's process lives.
    fn process(&self) -> Process {
        Process::PerWorker
    }

    /// Who says that a turn is over.
    fn turns_end(&self) -> TurnsEnd;

    /// Goes on after an earlier run. Comes first of all.
    fn resume(&mut self, _past: &Past) {}

    /// Gives up the session of earlier runs, and begins a new one. Whether there was one to give
    /// up.
    fn forget(&mut self) -> bool {
        false
    }

    /// How much of its cost, in US dollars, the agent itself goes on counting from when its session
    /// is resumed.
    fn counted_usd(&self) -> f64 {
        0.0
    }

    /// The agent's process runs.
    fn begin(&mut self, told: &mut Vec<Told>);

    /// A turn.
    fn prompt(&mut self, text: &str, told: &mut Vec<Told>);

    /// Ends the running turn; the agent stays.
    fn interrupt(&mut self, told: &mut Vec<Told>);

    /// The answer to a [`Question`] that this driver has told of.
    fn answer(&mut self, _id: &str, _verdict: &Verdict, _told: &mut Vec<Told>) {}

    /// Bytes for a program's stdin.
    ///
    /// # Errors
    /// When the protocol has no such thing; the text says what to do instead.
    fn stdin(&mut self, text: &str, told: &mut Vec<Told>) -> Result<(), &'static str>;

    /// A line of stdout. Every line gives one or more entries, never none; a piece of a longer text
    /// gives its part of that text's entry, and one that repeats what was said in earlier runs is
    /// counted in one.
    fn line(&mut self, line: Line, told: &mut Vec<Told>);

    /// Key strokes for a program on a terminal.
    ///
    /// # Errors
    /// When it is on none; the text says what to do instead.
    fn keys(&mut self, _keys: &str, _told: &mut Vec<Told>) -> Result<(), &'static str> {
        Err(NO_TERMINAL)
    }

    /// A new size of the terminal.
    ///
    /// # Errors
    /// As with [`Driver::keys`].
    fn resize(&mut self, _rows: u16, _cols: u16, _: &mut Vec<Told>) -> Result<(), &'static str> {
        Err(NO_TERMINAL)
    }

    /// The program on the terminal drew.
    fn drew(&mut self, _bytes: &[u8], _told: &mut Vec<Told>) {}

    /// The clock has ticked, or nothing more comes.
    fn time_passed(&mut self, _told: &mut Vec<Told>) {}

    /// A turn's process has ended, and all that it said was handed on.
    fn run_ended(&mut self, _end: RunEnd, _told: &mut Vec<Told>) {}

    /// There will be no more lines: tells what was held back.
    fn finish(&mut self, _told: &mut Vec<Told>) {}

    /// Whether the agent does work that will report later, so that its stdin must stay open.
    fn works_in_background(&self) -> bool {
        false
    }
}

/// The driver for a worker's agent.
#[must_use]
pub fn for_agent(Boot { agent, files, bounds, .. }: &Boot) -> Box<dyn Driver + Send> {
    let mcp = files.iter().find(|file| Some(&file.path) == agent.mcp_file.as_ref());
    match agent.protocol {
        AgentProtocol::Acp => Box::new(Acp::new(agent, mcp.map(|file| file.text.as_str()))),
        AgentProtocol::Claude => Box::new(Claude::new(agent, bounds.max_cost_usd)),
        AgentProtocol::Droid => Box::new(Droid::new(agent)),
        AgentProtocol::Lines => Box::new(Lines),
        AgentProtocol::Pty => Box::<Pty>::default(),
        AgentProtocol::StreamJson => Box::<StreamJson>::default(),
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
