//! What an interrupted tool leaves.
//!
//! Agents kill the shell of a tool, and not always what the shell has started: Claude Code 2.1.329
//! leaves all of it. What a tool had put into the background before stays.

use std::time::{Duration, Instant};

use super::event::{Effect, Now};
use super::state::Bridge;
use crate::driver::Process;

/// An agent may say that a turn is over before its shell is gone.
const LOOKED_FOR: Duration = Duration::from_secs(5);

impl Bridge {
    /// Before an interrupt. The process of a single turn takes everything with it.
    pub(super) fn remember_processes(&mut self) {
        if self.driver.process() != Process::PerTurn {
            self.effects.push(Effect::RememberProcesses);
        }
    }

    /// An interrupted turn has ended.
    pub(super) fn look_for_orphans(&mut self, now: Now) {
        if self.driver.process() != Process::PerTurn {
            self.orphans_until = Some(now.clock + LOOKED_FOR);
            self.effects.push(Effect::KillOrphans);
        }
    }

    pub(super) fn watch_orphans(&mut self, now: Now) {
        let Some(until) = self.orphans_until else { return };
        self.effects.push(Effect::KillOrphans);
        self.orphans_until = Some(until).filter(|until: &Instant| now.clock < *until);
    }
}
