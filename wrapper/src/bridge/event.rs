//! What happens, and what is to be done.

use jiff::Timestamp;
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};
use worker_protocol::{Input, Output, Problem, Pulse};

use crate::cgroup::Shortage;
use crate::driver::{Question, RunEnd, Start, Verdict};
use crate::frame::Line;
use crate::kept::Past;
use crate::reaper::Ended;
use crate::uplink::backlog::StreamId;

/// Whether an input entry comes for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It does.
    First,
    /// It was delivered to a wrapper that died.
    Again,
    /// It was handed on before, by this wrapper: Redis has forgotten that it was delivered.
    Repeated,
}

/// Everything that can happen.
pub enum Event {
    /// The agent printed lines.
    Said(Vec<Line>),
    /// The agent complained.
    Complained(Vec<Line>),
    /// The agent drew on its terminal.
    Drew(Vec<u8>),
    /// Both of the agent's pipes are at their end.
    PipesClosed,
    /// The agent's stdin has taken one of the writes.
    Written,
    /// The agent's stdin takes nothing any more.
    StdinClosed,
    /// An entry of the input stream.
    Input {
        /// Its id.
        id: StreamId,
        /// Whether it was delivered before.
        delivery: Delivery,
        /// What it says, or what is wrong with it.
        input: Result<Input, Problem>,
    },
    /// A hook of the agent's asks at the socket.
    HookAsked {
        /// The connection's number.
        connection: u64,
        /// What it asks.
        question: Question,
    },
    /// A hook's connection is at its end.
    HookGone {
        /// The connection's number.
        connection: u64,
    },
    /// Somebody asks the worker to end.
    AskedToStop,
    /// The agent's process ended.
    AgentEnded {
        /// How.
        ended: Ended,
        /// Whether the kernel has killed something for want of memory since the agent started.
        oom_killed: bool,
    },
    /// The process of a turn ended. Whatever it left was killed, and all that it said came before.
    RunEnded(RunEnd),
    /// The process of a turn could not be started: why, and what a shell would exit with.
    RunNotStarted {
        /// Says what to do.
        problem: String,
        /// 126 or 127.
        code: u8,
    },
    /// The kernel has refused the worker something; all that it has since the start.
    RanShort(Shortage),
    /// Redis does not accept this worker any more; the reason.
    CutOff(String),
    /// Time has passed.
    Tick,
}

/// What is to be done, in order.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Write an output entry.
    Say(Output),
    /// Acknowledge an input entry, after all that was said before; nothing below `trim_below` is
    /// of use any more.
    Acknowledge {
        /// Which.
        id: StreamId,
        /// The oldest that is not done.
        trim_below: StreamId,
    },
    /// Note down how far the agent has come, before anything that comes after.
    Note(Past),
    /// Start the agent's process anew with these arguments; the one before has ended.
    Begin(Vec<String>),
    /// Start a process for a turn.
    Start(Start),
    /// Give the agent's terminal a size.
    Resize {
        /// Height in characters.
        rows: u16,
        /// Width in characters.
        cols: u16,
    },
    /// Write to the agent's stdin.
    Write(Vec<u8>),
    /// Answer a hook.
    AnswerHook {
        /// The connection's number.
        connection: u64,
        /// The answer.
        verdict: Verdict,
    },
    /// Close the agent's stdin.
    CloseStdin,
    /// Signal the agent's process group.
    Signal(Signal),
    /// End the commands that the agent's tools have left running.
    EndCommands {
        /// The begin of the turn; no older ones.
        since: Instant,
    },
    /// Kill every process of the worker but this one.
    KillAll,
    /// Show that the worker lives: JSON.
    Beat(Pulse),
    /// End.
    Finish {
        /// With this exit code.
        code: u8,
        /// When Redis has taken everything, or after so long.
        patience: Duration,
    },
}

/// A moment, by both clocks: one tells when, the other how long.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// When.
    pub at: Timestamp,
    /// How long.
    pub clock: Instant,
}
