//! Prompts that are done again in the next run, where a worker that fails is started again: they are
//! not acknowledged before it is known how the worker ends.

use worker_protocol::create::Restart;
use worker_protocol::output::Outcome;

use super::ending::Why;
use super::state::Bridge;
use crate::uplink::backlog::StreamId;

impl Bridge {
    /// The turn of an input entry is over.
    pub(super) fn turn_is_over(&mut self, id: StreamId, outcome: Outcome) {
        // Whether a headless task succeeded shows at its end. Of others, the turn failed that the
        // agent did not live through.
        let unsure =
            self.is_headless() || self.ending.agent_is_gone() && outcome != Outcome::Success;
        if unsure && self.boot.restart != Restart::Never {
            self.undecided.push(id);
        } else {
            self.acknowledge(id);
        }
    }

    /// The worker ends with this code. What it failed at stays, for its next run.
    pub(super) fn decide_on_prompts(&mut self, code: u8) {
        let by_itself = matches!(self.ending.why(), None | Some(Why::Lingers));
        let failed = code != 0 && by_itself && self.limits.reached.is_none();
        for id in std::mem::take(&mut self.undecided) {
            if !failed {
                self.acknowledge(id);
            }
        }
    }
}
