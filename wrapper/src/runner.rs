//! Runs the agent's processes: starts them, with a task for each pipe and one for the end, and hands
//! on what is for them.

use nix::sys::signal::Signal;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use worker_protocol::boot::BootAgent;

use crate::agent::{self, Agent, StartError};
use crate::bridge::Event;
use crate::cgroup::{self, Shortage};
use crate::driver::{Process, RunEnd, Start};
use crate::fence::Fence;
use crate::frame::Framer;
use crate::leftovers;
use crate::mask::Masks;
use crate::pipes::{Lines, watch, write};
use crate::reaper::{self, Ended, Ends};
use crate::terminal::Terminal;
use crate::uplink::Uplink;

/// Control and D, as a terminal knows it.
const END_OF_INPUT: &[u8] = b"\x04";
/// The pipes of a turn's process are closed by then: everybody who could hold them was killed.
const PIPES_WITHIN: Duration = Duration::from_secs(2);

/// The agent's process, if one runs, and what the next is started with.
pub(crate) struct Runner {
    pub(crate) spec: BootAgent,
    pub(crate) fence: Option<Fence>,
    pub(crate) line_bytes: usize,
    pub(crate) masks: Arc<Masks>,
    pub(crate) uplink: Uplink,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) ends: Ends,
    /// What the kernel had counted when the worker started.
    pub(crate) before: Shortage,
    pub(crate) running: Running,
}

/// What belongs to one process.
#[derive(Default)]
pub(crate) struct Running {
    agent: Option<Agent>,
    terminal: Option<Terminal>,
    stdin: Option<mpsc::UnboundedSender<Vec<u8>>>,
}

impl Runner {
    /// Starts the agent's process, with one task for each pipe and one for its end.
    pub(crate) fn start(&mut self, kind: Process, arguments: &[String]) -> Result<(), StartError> {
        let (before, kills_before) = (self.before, cgroup::oom_kills());
        let (agent, pipes) = if kind == Process::OnTerminal {
            let (agent, pipes, terminal) =
                agent::start_on_terminal(&self.spec, arguments, self.fence.as_ref())?;
            self.running.terminal = Some(terminal);
            (agent, pipes)
        } else {
            agent::start(&self.spec, arguments, self.fence.as_ref())?
        };
        self.running.agent = Some(agent);
        let ended = self.ends.of(agent.pid);
        let (stdin, queue) = mpsc::unbounded_channel();
        self.running.stdin = Some(stdin);
        tokio::spawn(write(pipes.stdin, queue, self.events.clone()));
        let mut readers = self.read(pipes.stdout, pipes.stderr);
        let events = self.events.clone();
        tokio::spawn(async move {
            while readers.join_next().await.is_some() {}
            let _ = events.send(Event::PipesClosed).await;
        });
        let events = self.events.clone();
        tokio::spawn(async move {
            let Ok(ended) = ended.await else { return };
            let oom_killed = cgroup::oom_kills() > kills_before;
            let _ = events.send(Event::RanShort(Shortage::counted().since(before))).await;
            let _ = events.send(Event::AgentEnded { ended, oom_killed }).await;
        });
        Ok(())
    }

    /// In place of a process that has ended.
    pub(crate) fn begin_anew(&mut self, arguments: &[String]) {
        if let Err(error) = self.start(Process::PerWorker, arguments) {
            crate::log(format_args!("{error}"));
            let events = self.events.clone();
            let ended = Ended::Exited(error.code);
            tokio::spawn(async move {
                let _ = events.send(Event::PipesClosed).await;
                let _ = events.send(Event::AgentEnded { ended, oom_killed: false }).await;
            });
        }
    }

    /// Starts a process for a turn. Its end is told once, after all that it said.
    pub(crate) fn start_run(&mut self, start: Start) {
        let (before, kills_before) = (self.before, cgroup::oom_kills());
        let events = self.events.clone();
        let (agent, pipes) = match agent::start(&self.spec, &start.arguments, self.fence.as_ref()) {
            Ok(started) => started,
            Err(error) => {
                let (problem, code) = (error.to_string(), error.code);
                tokio::spawn(async move {
                    let _ = events.send(Event::RunNotStarted { problem, code }).await;
                });
                return;
            }
        };
        self.running.agent = Some(agent);
        let ended = self.ends.of(agent.pid);
        let mut readers = self.read(pipes.stdout, pipes.stderr);
        let mut stdin = pipes.stdin;
        tokio::spawn(async move {
            // A process that does not want all of it says so by how it ends.
            let _ = stdin.write_all(&start.stdin).await;
        });
        tokio::spawn(async move {
            let Ok(ended) = ended.await else { return };
            let oom_killed = cgroup::oom_kills() > kills_before;
            // What it left would work on in turns that are not its own.
            agent.signal(Signal::SIGKILL);
            reaper::kill_everything();
            let all_read = async { while readers.join_next().await.is_some() {} };
            let _ = tokio::time::timeout(PIPES_WITHIN, all_read).await;
            drop(readers);
            let _ = events.send(Event::RanShort(Shortage::counted().since(before))).await;
            let _ = events.send(Event::RunEnded(RunEnd { ended, oom_killed })).await;
        });
    }

    /// One task for each of the pipes by which the agent speaks.
    fn read(&self, stdout: pipe::Receiver, stderr: Option<pipe::Receiver>) -> JoinSet<()> {
        let reader = || Lines {
            framer: Framer::new(self.line_bytes),
            masks: Arc::clone(&self.masks),
            uplink: self.uplink.clone(),
            events: self.events.clone(),
        };
        let mut readers = JoinSet::new();
        match stderr {
            Some(stderr) => {
                readers.spawn(reader().read(stdout, Event::Said));
                readers.spawn(reader().read(stderr, Event::Complained));
            }
            None => {
                readers.spawn(watch(stdout, self.events.clone()));
            }
        }
        readers
    }

    /// A terminal is not closed while something is read from it: control and D is its end.
    pub(crate) fn close_stdin(&mut self) {
        if let (Some(stdin), Some(_)) = (self.running.stdin.take(), &self.running.terminal) {
            let _ = stdin.send(END_OF_INPUT.to_vec());
        }
    }

    /// On a terminal an end is a hang-up too: shells at work there ignore SIGTERM.
    pub(crate) fn signal(&self, signal: Signal) {
        let Some(agent) = self.running.agent else { return };
        agent.signal(signal);
        if signal == Signal::SIGTERM && self.running.terminal.is_some() {
            agent.signal(Signal::SIGHUP);
        }
    }

    pub(crate) fn write(&self, bytes: Vec<u8>) {
        if let Some(stdin) = &self.running.stdin {
            let _ = stdin.send(bytes);
        }
    }

    pub(crate) fn resize(&self, rows: u16, cols: u16) {
        if let Some(terminal) = &self.running.terminal {
            terminal.resize(rows, cols);
        }
    }

    /// Ends the commands of a turn that began then.
    pub(crate) fn end_commands(&self, since: Instant) {
        if let Some(agent) = self.running.agent {
            leftovers::end(agent.pid, since);
        }
    }

    /// The process of a turn has ended. Its number may be another's by now.
    pub(crate) fn forget(&mut self) {
        self.running.agent = None;
    }
}
