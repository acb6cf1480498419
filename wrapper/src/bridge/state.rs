//! State, and the event that changes it.

use jiff::Timestamp;
use nix::sys::signal::Signal;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use worker_protocol::create::Life;
use worker_protocol::{Boot, Output, OutputKind, Pulse, Source, rfc3339};

use super::ending::{Ending, Stderr, Why};
use super::event::{Effect, Event, Now};
use super::limits::Limits;
use super::past::Notes;
use super::permission::{Asker, Questions};
use super::run::Run;
use super::shortage::Shortages;
use super::turns::{Prompt, Turn};
use crate::driver::{Driver, Told, printed};
use crate::frame::Line;
use crate::policy::Policy;
use crate::uplink::backlog::StreamId;

/// An agent that is not ready by then gets its prompts all the same.
const READY_WITHIN: Duration = Duration::from_secs(60);
const BEAT_EVERY: Duration = Duration::from_secs(10);

/// See the module.
pub struct Bridge {
    pub(super) boot: Boot,
    pub(super) driver: Box<dyn Driver + Send>,
    pub(super) effects: Vec<Effect>,
    pub(super) started: Instant,
    pub(super) ready: bool,
    pub(super) queue: VecDeque<Prompt>,
    pub(super) turn: Option<Turn>,
    /// Prompts whose turns are over, and which may have to be done again.
    pub(super) undecided: Vec<StreamId>,
    /// None: the agent may run everything.
    pub(super) policy: Option<Policy>,
    pub(super) questions: Questions,
    /// Whether the kernel holds the agent to the policy.
    pub(crate) fenced: bool,
    /// Sizes of the writes that the agent's stdin has not taken.
    pub(super) unwritten: VecDeque<usize>,
    /// Of an agent whose process lives for a turn.
    pub(super) run: Run,
    pub(super) ending: Ending,
    pub(super) limits: Limits,
    pub(super) shortages: Shortages,
    pub(super) stderr: Stderr,
    pub(super) pulse: Pulse,
    /// When something last went in or came out.
    active_at: Option<Timestamp>,
    pub(super) notes: Notes,
    beaten: Option<Instant>,
}

impl Bridge {
    /// A bridge to an agent that was just started, in a worker of this age.
    #[must_use]
    pub fn new(boot: Boot, driver: Box<dyn Driver + Send>, age: Duration, now: Now) -> Self {
        let policy = boot.policy.as_ref().map(|policy| Policy::new(policy.allowed.clone()));
        Self {
            boot,
            driver,
            effects: Vec::new(),
            started: now.clock,
            ready: false,
            queue: VecDeque::new(),
            turn: None,
            undecided: Vec::new(),
            policy,
            questions: Questions::default(),
            fenced: false,
            unwritten: VecDeque::new(),
            run: Run::default(),
            ending: Ending::default(),
            limits: Limits::new(age, now),
            shortages: Shortages::default(),
            stderr: Stderr::default(),
            pulse: Pulse::default(),
            active_at: None,
            notes: Notes::default(),
            beaten: None,
        }
    }

    /// The agent's process runs.
    pub fn begin(&mut self, now: Now) -> Vec<Effect> {
        let mut told = Vec::new();
        self.driver.begin(&mut told);
        self.carry_out(told, now);
        self.beat(now);
        std::mem::take(&mut self.effects)
    }

    /// The agent could not be started: says so, and ends.
    pub fn never_began(&mut self, problem: &str, code: u8, now: Now) -> Vec<Effect> {
        self.error(problem);
        self.finish_without_agent(code, now);
        std::mem::take(&mut self.effects)
    }

    /// Handles one event.
    pub fn handle(&mut self, event: Event, now: Now) -> Vec<Effect> {
        match event {
            Event::Said(lines) => self.said(lines, now),
            Event::Complained(lines) => self.complained(lines, now),
            Event::Drew(bytes) => self.drew(&bytes, now),
            Event::PipesClosed => self.pipes_closed(now),
            Event::Written => self.written(now),
            Event::StdinClosed => self.stdin_closed(now),
            Event::Input { id, delivery, input } => self.input(id, delivery, input, now),
            Event::HookAsked { connection, question } => {
                self.asked(Asker::Hook(connection), question, now);
            }
            Event::HookGone { connection } => self.hook_gone(connection, now),
            Event::AskedToStop => self.stop(Why::Wanted, now),
            Event::AgentEnded { ended, oom_killed } => self.agent_ended(ended, oom_killed, now),
            Event::RunEnded(end) => self.run_ended(end, now),
            Event::RunNotStarted { problem, code } => self.run_not_started(&problem, code, now),
            Event::RanShort(shortage) => self.ran_short(shortage, now),
            Event::CutOff(reason) => self.cut_off(&reason, now),
            Event::Tick => self.tick(now),
        }
        self.heed_limits(now);
        self.next_turn(now);
        self.go_on_ending(now);
        std::mem::take(&mut self.effects)
    }

    fn said(&mut self, lines: Vec<Line>, now: Now) {
        self.active(now);
        let mut told = Vec::with_capacity(lines.len());
        for line in lines {
            self.driver.line(line, &mut told);
        }
        self.carry_out(told, now);
    }

    fn drew(&mut self, bytes: &[u8], now: Now) {
        self.active(now);
        let mut told = Vec::new();
        self.driver.drew(bytes, &mut told);
        self.carry_out(told, now);
    }

    fn time_passed(&mut self, now: Now) {
        let mut told = Vec::new();
        self.driver.time_passed(&mut told);
        self.carry_out(told, now);
    }

    /// There will be no more lines: tells what was held back.
    fn pipes_closed(&mut self, now: Now) {
        let mut told = Vec::new();
        self.driver.finish(&mut told);
        self.carry_out(told, now);
        self.ending.pipes_closed = true;
        self.time_passed(now);
    }

    fn complained(&mut self, lines: Vec<Line>, now: Now) {
        self.active(now);
        for line in lines {
            self.stderr.keep(&line.text);
            self.say(printed(OutputKind::Stderr, line));
        }
    }

    /// Does what the driver wants.
    pub(super) fn carry_out(&mut self, told: Vec<Told>, now: Now) {
        for one in told {
            match one {
                Told::Ready { raw } => self.agent_ready(raw),
                Told::NeverReady(why) => {
                    self.error(&why);
                    self.ready = true;
                }
                Told::Say(output) => self.say(output),
                Told::Write(bytes) => {
                    self.unwritten.push_back(bytes.len());
                    self.effects.push(Effect::Write(bytes));
                }
                Told::Interrupt => self.effects.push(Effect::Signal(Signal::SIGINT)),
                Told::Resize { rows, cols } => self.effects.push(Effect::Resize { rows, cols }),
                Told::Start(start) => self.start_run(start),
                Told::Asked(question) => self.asked(Asker::Agent, question, now),
                Told::Woke => self.woke(now),
                Told::TurnEnded(end) => self.turn_ended(end, now),
            }
        }
    }

    fn agent_ready(&mut self, raw: Option<String>) {
        self.ready = true;
        let agent = &self.boot.agent;
        let version = agent.version.clone().unwrap_or_default();
        let content = format!("{} {version}", agent.agent_type);
        let mut data = serde_json::json!({
            "agent": agent.agent_type.as_str(),
            "version": agent.version,
            "protocol": agent.protocol.as_str(),
        });
        if let (Some(enforced), Some(data)) = (self.enforced(), data.as_object_mut()) {
            data.insert("enforced".to_owned(), enforced.into());
        }
        let mut output =
            Output::new(OutputKind::Ready, Source::Wrapper, content.trim_end()).with_data(data);
        output.raw = raw;
        self.say(output);
    }

    fn tick(&mut self, now: Now) {
        if !self.ready && now.clock.duration_since(self.started) > READY_WITHIN {
            let seconds = READY_WITHIN.as_secs();
            self.error(&format!(
                "the agent was not ready after {seconds} s; it gets its prompts anyway"
            ));
            self.ready = true;
        }
        self.time_passed(now);
        self.watch_turn(now);
        self.watch_deaf_agent(now);
        self.tell_shortages(now);
        if self.beaten.is_none_or(|at| now.clock.duration_since(at) >= BEAT_EVERY) {
            self.beat(now);
        }
    }

    /// Something went in or came out.
    pub(super) fn active(&mut self, now: Now) {
        self.active_at = Some(now.at);
        self.limits.idle_since = now.clock;
    }

    pub(super) fn beat(&mut self, now: Now) {
        self.beaten = Some(now.clock);
        self.pulse.last_activity_at = self.active_at.map(rfc3339);
        self.pulse.turn = self.turn.as_ref().and_then(|turn| turn.id).map(|id| id.to_string());
        self.effects.push(Effect::Beat(self.pulse.clone()));
    }

    /// Says something, as a part of the turn that runs.
    pub(super) fn say(&mut self, mut output: Output) {
        if let Some(id) = self.turn.as_ref().and_then(|turn| turn.id) {
            output.turn = Some(id.to_string());
        }
        self.note_cost(&output);
        if output.session_id.is_some() && output.session_id != self.pulse.session_id {
            self.pulse.session_id.clone_from(&output.session_id);
            self.note();
        }
        self.effects.push(Effect::Say(output));
    }

    pub(super) fn error(&mut self, text: &str) {
        self.say(Output::new(OutputKind::Error, Source::Wrapper, text));
    }

    pub(super) fn is_headless(&self) -> bool {
        self.boot.life == Life::Headless
    }
}
