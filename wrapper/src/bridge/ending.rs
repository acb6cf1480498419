//! How agent and worker come to their end.
//!
//! Asked to: stdin is closed and the group gets SIGTERM; after the grace SIGKILL; then every
//! process of the worker. By itself: a headless agent's stdin is closed when its turn is over.
//! Either way the last entry is `exit`, and it comes when the pipes have been read to their end,
//! or a grace after the agent's own end, since a grandchild may hold them open.

use nix::sys::signal::Signal;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use worker_protocol::output::Outcome;
use worker_protocol::{Output, OutputKind, Source};

use super::event::{Effect, Now};
use super::state::Bridge;
use crate::driver::{TurnEnd, TurnsEnd};
use crate::reaper::Ended;

/// A pipe that is open so long after the agent ended is held by somebody else.
const PIPES_WITHIN: Duration = Duration::from_secs(2);
/// An agent that closed its stdin may be exiting; after that time it is not.
const DEAF_FOR: Duration = Duration::from_secs(1);
/// An agent that was told that nothing more comes has so long to end. Claude Code drains its own
/// output for up to 30 s.
const DRAIN: Duration = Duration::from_secs(40);
/// Lines of stderr that are told with the end.
const STDERR_LINES: usize = 20;
/// Bytes of each of them.
const STDERR_BYTES: usize = 2000;
/// Exit code of a worker that Redis does not accept: EX_NOPERM of sysexits.h.
const CUT_OFF: u8 = 77;

/// How far the end is.
#[derive(Default)]
pub(super) struct Ending {
    /// Somebody asked for it; since when, and whether SIGKILL was sent.
    asked: Option<Asked>,
    /// Since when the agent's stdin is closed, since a headless worker's work is done.
    stdin_closed: Option<Instant>,
    /// The agent itself has closed it.
    pub(super) deaf_since: Option<Instant>,
    agent: Option<(Ended, Instant)>,
    pub(super) pipes_closed: bool,
    killed_all: bool,
    cut_off: bool,
    finished: bool,
    /// Of the last turn.
    pub(super) outcome: Option<Outcome>,
}

struct Asked {
    since: Instant,
    killed: bool,
}

impl Ending {
    /// Whether no further turn is to begin.
    pub(super) fn has_begun(&self) -> bool {
        self.asked.is_some() || self.agent.is_some() || self.stdin_closed.is_some()
    }
}

/// The last lines of stderr.
#[derive(Default)]
pub(super) struct Stderr(VecDeque<String>);

impl Stderr {
    pub(super) fn keep(&mut self, line: &str) {
        if self.0.len() == STDERR_LINES {
            self.0.pop_front();
        }
        self.0.push_back(line.chars().take(STDERR_BYTES).collect());
    }
}

impl Bridge {
    /// Ends the agent in order, and the worker with it.
    pub(super) fn stop(&mut self, now: Now) {
        if self.ending.asked.is_none() {
            self.ending.asked = Some(Asked { since: now.clock, killed: false });
            self.effects.push(Effect::CloseStdin);
            self.effects.push(Effect::Signal(Signal::SIGTERM));
        }
    }

    /// Nothing that the agent says can be delivered any more.
    pub(super) fn cut_off(&mut self, reason: &str, now: Now) {
        crate::log(format_args!("redis does not accept this worker any more ({reason}); it ends"));
        self.ending.cut_off = true;
        self.stop(now);
    }

    pub(super) fn stdin_closed(&mut self, now: Now) {
        if !self.ending.has_begun() {
            self.ending.deaf_since.get_or_insert(now.clock);
        }
    }

    /// An agent that reads no more will not end its turn. It may just be exiting, though, and its
    /// exit says more about why.
    pub(super) fn watch_deaf_agent(&mut self, now: Now) {
        let deaf = self.ending.deaf_since;
        let deaf = deaf.is_some_and(|since| now.clock.duration_since(since) > DEAF_FOR);
        if deaf && self.turn.is_some() && self.ending.agent.is_none() {
            let text = "the agent has closed its stdin and takes no more prompts";
            self.turn_ended(TurnEnd::new(Outcome::Error, text), now);
        }
    }

    pub(super) fn agent_ended(&mut self, ended: Ended, now: Now) {
        self.ending.agent = Some((ended, now.clock));
    }

    /// Takes the next step towards the end, when it is due.
    pub(super) fn go_on_ending(&mut self, now: Now) {
        if self.ending.finished {
            return;
        }
        match self.ending.agent {
            None => self.press_agent(now),
            Some((ended, since)) => {
                let late = now.clock.duration_since(since) > PIPES_WITHIN;
                if self.ending.pipes_closed || (late && self.ending.killed_all) {
                    self.finish(ended, now);
                } else if late {
                    self.ending.killed_all = true;
                    self.effects.push(Effect::Signal(Signal::SIGKILL));
                    self.effects.push(Effect::KillAll);
                }
            }
        }
    }

    fn press_agent(&mut self, now: Now) {
        if let Some(asked) = &mut self.ending.asked {
            let grace = self.boot.bounds.stop_grace;
            if !asked.killed && now.clock.duration_since(asked.since) > grace {
                asked.killed = true;
                self.effects.push(Effect::Signal(Signal::SIGKILL));
                self.effects.push(Effect::KillAll);
            }
            return;
        }
        let done = self.ending.outcome.is_some() && self.turn.is_none() && self.queue.is_empty();
        let quiet = !self.driver.works_in_background();
        match self.ending.stdin_closed {
            None if self.is_headless() && done && quiet => {
                self.ending.stdin_closed = Some(now.clock);
                self.effects.push(Effect::CloseStdin);
            }
            Some(since) if !self.ending.killed_all => {
                // A program that knows no turns begins its work now, and takes its time.
                let drains = self.driver.turns_end() == TurnsEnd::WhenToldSo;
                if drains && now.clock.duration_since(since) > DRAIN {
                    self.ending.killed_all = true;
                    self.effects.push(Effect::Signal(Signal::SIGKILL));
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, ended: Ended, now: Now) {
        if self.turn.is_some() {
            let asked = self.ending.asked.is_some();
            let outcome = if asked { Outcome::Interrupted } else { Outcome::Error };
            let text = if asked { "the worker was stopped" } else { "the agent ended in the turn" };
            self.turn_ended(TurnEnd::new(outcome, text), now);
        }
        let oom_killed = crate::memory::oom_kills() > self.oom_kills;
        let text = match ended.signal() {
            Some(signal) => format!("the agent was ended by {signal}"),
            None => format!("the agent ended with exit code {}", ended.code()),
        };
        if !self.ready && self.ending.asked.is_none() {
            self.error(&format!("{text} before it could take prompts"));
        }
        let data = serde_json::json!({
            "code": ended.code(),
            "signal": ended.signal(),
            "oom_killed": oom_killed,
            "stderr": self.stderr.0,
        });
        self.say(Output::new(OutputKind::Exit, Source::Wrapper, text).with_data(data));
        self.end_with(self.exit_code(ended), now);
    }

    /// There never was an agent.
    pub(super) fn finish_without_agent(&mut self, code: u8, now: Now) {
        let data = serde_json::json!({"code": code, "oom_killed": false, "stderr": []});
        let text = format!("the agent did not start: exit code {code}");
        self.say(Output::new(OutputKind::Exit, Source::Wrapper, text).with_data(data));
        self.end_with(code, now);
    }

    fn end_with(&mut self, code: u8, now: Now) {
        self.ending.finished = true;
        self.beat(now);
        self.effects.push(Effect::KillAll);
        self.effects.push(Effect::Finish(code));
    }

    /// Of the wrapper: 0 when the end was wanted, otherwise as the task ended.
    fn exit_code(&self, ended: Ended) -> u8 {
        let failed = ended.code().max(1);
        match self.ending.outcome {
            _ if self.ending.cut_off => CUT_OFF,
            _ if self.ending.asked.is_some() => 0,
            outcome if self.is_headless() && self.driver.turns_end() == TurnsEnd::WhenToldSo => {
                if outcome == Some(Outcome::Success) {
                    0
                } else {
                    failed
                }
            }
            _ => ended.code(),
        }
    }
}
