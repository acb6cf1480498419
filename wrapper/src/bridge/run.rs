//! Agents whose process lives for one turn.

use worker_protocol::output::Outcome;

use super::event::{Effect, Now};
use super::state::Bridge;
use crate::driver::{Process, RunEnd, Start, TurnEnd};
use crate::reaper::Ended;

/// Whether a process runs, and how the last one ended.
pub(super) struct Run {
    under_way: bool,
    last: RunEnd,
}

impl Default for Run {
    fn default() -> Self {
        Self { under_way: false, last: RunEnd { ended: Ended::Exited(0), oom_killed: false } }
    }
}

impl Bridge {
    pub(super) fn start_run(&mut self, start: Start) {
        self.run.under_way = true;
        self.effects.push(Effect::Start(start));
    }

    /// The end of the process is that of the turn. Where the worker is told to end, the turn ends
    /// with it, and for that reason.
    pub(super) fn run_ended(&mut self, end: RunEnd, now: Now) {
        self.run = Run { under_way: false, last: end };
        if self.ending.is_told() {
            return;
        }
        let mut told = Vec::new();
        self.driver.run_ended(end, &mut told);
        self.carry_out(told, now);
    }

    /// The worker stays: the next turn may fare better.
    pub(super) fn run_not_started(&mut self, problem: &str, code: u8, now: Now) {
        let ended = Ended::Exited(code);
        self.run = Run { under_way: false, last: RunEnd { ended, oom_killed: false } };
        self.turn_ended(TurnEnd::new(Outcome::Error, problem), now);
    }

    /// How the last process ended, where none runs.
    pub(super) fn at_rest(&self) -> Option<RunEnd> {
        let at_rest = self.driver.process() == Process::PerTurn && !self.run.under_way;
        at_rest.then_some(self.run.last)
    }
}
