//! A worker that failed by itself is started again, where its `create` said so.

use worker_protocol::{ErrorKind, Problem, WorkerId};

use super::Autopsy;
use super::effects::{Effect, Effects};
use crate::world::{Ended, Stage, Worker, World};

/// Whether an end is one that another start may mend: no limit was reached, and the instance is
/// still there.
pub(super) fn may_mend(autopsy: &Autopsy) -> bool {
    match autopsy {
        Autopsy::Gone(_) => false,
        Autopsy::Ended(evidence) => evidence.limit.is_none() && evidence.exit_code != Some(0),
    }
}

/// The same of a start by this policy that failed: what was away may come back.
pub(super) fn may_be_repeated(worker: &Worker, problem: &Problem) -> bool {
    let away = matches!(problem.kind, ErrorKind::EngineUnavailable | ErrorKind::Internal);
    away && worker.restarts.count > 0
}

/// Plans another start; false, when there is to be none.
pub(super) fn start_again(worker: &mut Worker, end: &Ended, effects: &mut Effects) -> bool {
    let Some(restarts) = worker.restarts_after(end, effects.now) else { return false };
    let at = restarts.next_at;
    worker.enter(Stage::Kept, effects.now);
    worker.restarts = restarts;
    effects.announce(worker);
    if let Some(at) = at {
        effects.push(Effect::TellWhen(at, worker.id));
    }
    true
}

/// The time has come that a worker waited for.
pub(super) fn due(world: &mut World, id: WorkerId, effects: &mut Effects) {
    if let Some(worker) = world.workers.get_mut(&id) {
        effects.advance(worker);
    }
}
