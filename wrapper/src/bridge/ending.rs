//! How agent and worker come to their end.
//!
//! ```text
//! Working ─► Dismissed ──────────────┐     a headless worker's work is done: stdin is closed
//!    │           │ lingers           │
//!    └───────────┴─► Asked ─► Killed ┤     SIGTERM, after the grace SIGKILL to everybody
//!                                    ▼
//!                  Gone ─► Cleared ──┴─► Finished
//! ```
//! The agent may go at any time. One that goes before it is ready, and was to resume a session, is
//! Working again, without it. A process that it left may hold its pipes open: after a while
//! everybody is killed, and after another nothing is waited for any more. Either way the last entry
//! is `exit`.

use nix::sys::signal::Signal;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use worker_protocol::output::Outcome;
use worker_protocol::{Output, OutputKind, Source};

use super::event::{Effect, Now};
use super::state::Bridge;
use crate::driver::{RunEnd, TurnEnd, TurnsEnd};
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
/// Characters of each of them.
const STDERR_CHARS: usize = 2000;
/// Redis has so long to take the last entries when nobody is in a hurry: without them the work
/// was for nothing.
const LAST_WORDS: Duration = Duration::from_secs(600);
/// The same when somebody waits for the end.
pub(crate) const LAST_WORDS_IN_HASTE: Duration = Duration::from_secs(5);

/// A turn could not be ended, so the agent was.
const STUCK: u8 = 1;
/// Redis does not accept the worker: EX_NOPERM of sysexits.h.
const CUT_OFF: u8 = 77;

/// How far the end is.
#[derive(Default)]
pub(super) struct Ending {
    phase: Phase,
    /// Why the agent was told to end, if it was.
    why: Option<Why>,
    pub(super) pipes_closed: bool,
    /// Since when the agent reads no more, by its own choice.
    deaf_since: Option<Instant>,
    /// Of the last turn of a prompt.
    pub(super) outcome: Option<Outcome>,
}

#[derive(Clone, Copy, Default)]
enum Phase {
    #[default]
    Working,
    Dismissed {
        since: Instant,
    },
    Asked {
        since: Instant,
    },
    Killed,
    Gone(Gone),
    Cleared(Gone),
    Finished,
}

/// An agent that has ended.
#[derive(Clone, Copy)]
struct Gone {
    ended: Ended,
    oom_killed: bool,
    since: Instant,
}

/// Why an agent is told to end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Somebody wants the worker to end.
    Wanted,
    /// The turn that runs cannot be ended otherwise.
    Stuck,
    /// A limit was reached.
    Limit,
    /// Its work is done, and it does not end by itself.
    Lingers,
    /// Redis does not accept the worker.
    CutOff,
}

impl Ending {
    /// Whether no further turn is to begin.
    pub(super) fn has_begun(&self) -> bool {
        !matches!(self.phase, Phase::Working)
    }

    /// Whether a headless worker's agent was told that nothing more comes.
    pub(super) fn is_dismissed(&self) -> bool {
        matches!(self.phase, Phase::Dismissed { .. })
    }

    /// Whether the agent was told to end.
    pub(super) fn is_told(&self) -> bool {
        self.why.is_some()
    }

    /// Why the agent was told to end, if it was.
    pub(super) fn why(&self) -> Option<Why> {
        self.why
    }

    /// Whether the agent's process has ended.
    pub(super) fn agent_is_gone(&self) -> bool {
        matches!(self.phase, Phase::Gone(_) | Phase::Cleared(_))
    }

    /// Whether the agent reads what is written to it.
    pub(super) fn agent_reads(&self) -> bool {
        !self.has_begun() && self.deaf_since.is_none()
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
        self.0.push_back(line.chars().take(STDERR_CHARS).collect());
    }
}

impl Bridge {
    /// Ends the agent in order, and the worker with it.
    pub(super) fn stop(&mut self, why: Why, now: Now) {
        if matches!(self.ending.phase, Phase::Working | Phase::Dismissed { .. }) {
            self.ending.phase = Phase::Asked { since: now.clock };
            self.ending.why = Some(why);
            self.effects.push(Effect::CloseStdin);
            self.effects.push(Effect::Signal(Signal::SIGTERM));
        }
    }

    /// Nothing that the agent says can be delivered any more.
    pub(super) fn cut_off(&mut self, reason: &str, now: Now) {
        crate::log(format_args!("redis does not accept this worker any more ({reason}); it ends"));
        self.stop(Why::CutOff, now);
        self.ending.why = Some(Why::CutOff);
    }

    pub(super) fn stdin_closed(&mut self, now: Now) {
        self.ending.deaf_since.get_or_insert(now.clock);
    }

    /// An agent that reads no more will not end its turn. It may just be exiting, though, and its
    /// exit says more about why.
    pub(super) fn watch_deaf_agent(&mut self, now: Now) {
        let deaf = self.ending.deaf_since.is_some_and(|since| passed(since, DEAF_FOR, now));
        if deaf && self.turn.is_some() && !self.ending.has_begun() {
            let text = "the agent has closed its stdin and takes no more prompts";
            self.turn_ended(TurnEnd::new(Outcome::Error, text), now);
        }
    }

    pub(super) fn agent_ended(&mut self, ended: Ended, oom_killed: bool, now: Now) {
        self.ending.phase = Phase::Gone(Gone { ended, oom_killed, since: now.clock });
    }

    /// Takes the next step towards the end, when it is due.
    pub(super) fn go_on_ending(&mut self, now: Now) {
        if matches!(self.ending.phase, Phase::Working) && self.work_is_done() {
            self.ending.phase = Phase::Dismissed { since: now.clock };
            self.effects.push(Effect::CloseStdin);
        }
        self.note_absent_process(now);
        let closed = self.ending.pipes_closed;
        match self.ending.phase {
            // A program that knows no turns begins its work now, and takes its time.
            Phase::Dismissed { since }
                if self.driver.turns_end() == TurnsEnd::WhenToldSo && passed(since, DRAIN, now) =>
            {
                self.error("the agent did not end when its work was done, so it is ended");
                self.stop(Why::Lingers, now);
            }
            Phase::Asked { since } if passed(since, self.boot.bounds.stop_grace, now) => {
                self.ending.phase = Phase::Killed;
                self.kill();
            }
            Phase::Gone(gone) | Phase::Cleared(gone) if closed => self.finish(gone, now),
            Phase::Gone(gone) if passed(gone.since, PIPES_WITHIN, now) => {
                self.ending.phase = Phase::Cleared(Gone { since: now.clock, ..gone });
                self.kill();
            }
            Phase::Cleared(gone) if passed(gone.since, PIPES_WITHIN, now) => self.finish(gone, now),
            _ => {}
        }
    }

    /// An agent that runs only in its turns may have no process to wait for.
    fn note_absent_process(&mut self, now: Now) {
        let waits = matches!(
            self.ending.phase,
            Phase::Dismissed { .. } | Phase::Asked { .. } | Phase::Killed
        );
        if let (true, Some(RunEnd { ended, oom_killed })) = (waits, self.at_rest()) {
            self.ending.pipes_closed = true;
            self.agent_ended(ended, oom_killed, now);
        }
    }

    pub(super) fn work_is_done(&self) -> bool {
        self.is_headless()
            && self.ending.outcome.is_some()
            && self.turn.is_none()
            && self.queue.is_empty()
            && !self.driver.works_in_background()
    }

    fn kill(&mut self) {
        self.effects.push(Effect::Signal(Signal::SIGKILL));
        self.effects.push(Effect::KillAll);
    }

    fn finish(&mut self, gone: Gone, now: Now) {
        let Gone { ended, oom_killed, .. } = gone;
        let text = match ended.signal() {
            Some(signal) => format!("the agent was ended by {signal}"),
            None => format!("the agent ended with exit code {}", ended.code()),
        };
        if self.begin_anew(&text, now) {
            return;
        }
        if self.turn.is_some() {
            let (outcome, text) = match (self.limits.reached, self.ending.why) {
                (Some(_), _) => (Outcome::Limit, "the worker has reached a limit"),
                (None, Some(_)) => (Outcome::Interrupted, "the worker was stopped"),
                (None, None) => (Outcome::Error, "the agent ended in the turn"),
            };
            let mut end = TurnEnd::new(outcome, text);
            end.data.extend(self.limits.entry());
            self.turn_ended(end, now);
        }
        if !self.ready && self.ending.why.is_none() {
            self.error(&format!("{text} before it could take prompts"));
        }
        self.note_end(ended);
        self.name_what_was_not_begun();
        let mut data = serde_json::json!({
            "code": ended.code(),
            "signal": ended.signal(),
            "oom_killed": oom_killed,
            "stderr": self.stderr.0,
        });
        for (name, value) in self.shortages.entries().into_iter().chain(self.limits.entry()) {
            data[name] = value;
        }
        self.say(Output::new(OutputKind::Exit, Source::Wrapper, text).with_data(data));
        self.end_with(self.exit_code(ended), now);
    }

    /// Prompts that wait stay in the stream, for whoever starts the worker again.
    fn name_what_was_not_begun(&mut self) {
        let entries: Vec<_> = self.queue.iter().map(|prompt| prompt.id.to_string()).collect();
        if !entries.is_empty() {
            let text = format!("the worker ends; prompts that were not begun: {}", entries.len());
            let data = serde_json::json!({"entries": entries});
            self.say(Output::new(OutputKind::Error, Source::Wrapper, text).with_data(data));
        }
    }

    /// There never was an agent.
    pub(super) fn finish_without_agent(&mut self, code: u8, now: Now) {
        let data =
            serde_json::json!({"code": code, "signal": null, "oom_killed": false, "stderr": []});
        let text = format!("the agent did not start: exit code {code}");
        self.say(Output::new(OutputKind::Exit, Source::Wrapper, text).with_data(data));
        self.end_with(code, now);
    }

    fn end_with(&mut self, code: u8, now: Now) {
        self.ending.phase = Phase::Finished;
        self.decide_on_prompts(code);
        self.beat(now);
        self.effects.push(Effect::KillAll);
        let patience = match self.ending.why {
            None | Some(Why::Stuck | Why::Lingers | Why::Limit) => LAST_WORDS,
            Some(Why::Wanted) => LAST_WORDS_IN_HASTE,
            Some(Why::CutOff) => Duration::ZERO,
        };
        self.effects.push(Effect::Finish { code, patience });
    }

    /// Of the wrapper: 0 when the end was wanted, otherwise as the task ended.
    fn exit_code(&self, ended: Ended) -> u8 {
        match self.ending.why {
            Some(Why::CutOff) => CUT_OFF,
            Some(Why::Stuck) => STUCK,
            Some(Why::Wanted) => 0,
            _ if self.limits.reached.is_some() => u8::from(self.is_cut_short()),
            None | Some(Why::Limit | Why::Lingers) => self.code_of_the_task(ended),
        }
    }

    fn code_of_the_task(&self, ended: Ended) -> u8 {
        if !self.is_headless() || self.driver.turns_end() == TurnsEnd::WhenWritten {
            return ended.code();
        }
        if self.ending.outcome == Some(Outcome::Success) { 0 } else { ended.code().max(1) }
    }
}

fn passed(since: Instant, time: Duration, now: Now) -> bool {
    now.clock.duration_since(since) > time
}
