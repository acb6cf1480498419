//! Workers that run stand still, go on, and are lost sight of.

use jiff::{SignedDuration, Timestamp};
use worker_protocol::{Problem, WorkerId};

use super::Nap;
use super::effects::{Effect, Effects, Write};
use crate::engine::InstanceState;
use crate::world::{Course, Stage, StepKind, Wish, Worker, World};

/// A host that has not answered for so long is lost: an engine that is started anew, with workers
/// that go on meanwhile, is back sooner.
const LOST_AFTER: SignedDuration = SignedDuration::from_secs(15);
/// One that has gone on tells within this time whether it has something to do: its sign of life
/// comes every 10 seconds.
const SETTLES_WITHIN: SignedDuration = SignedDuration::from_secs(15);
/// The time before what failed for want of an engine is tried again.
const AGAIN_AFTER: SignedDuration = SignedDuration::from_secs(5);

/// The engine did not answer.
pub(super) fn unseen(world: &mut World, effects: &mut Effects) {
    let seen_at = *world.host_seen_at.get_or_insert(effects.now);
    if effects.now.duration_since(seen_at) < LOST_AFTER {
        return;
    }
    for worker in world.workers.values_mut() {
        if matches!(worker.stage, Stage::Running { .. }) && worker.course != Course::OutOfSight {
            effects.unmind(worker);
            set(worker, Course::OutOfSight, effects);
        }
    }
}

/// What the engine says of a worker that is known to run, and does.
pub(super) fn seen(
    worker: &mut Worker,
    state: &InstanceState,
    asked_at: Timestamp,
    effects: &mut Effects,
) {
    let comparable = worker.since < asked_at && worker.busy.is_none();
    if !comparable || !matches!(worker.stage, Stage::Running { .. }) {
        return;
    }
    match (state, worker.course) {
        (InstanceState::Running, Course::Paused { .. } | Course::OutOfSight) => {
            wake_up(worker, effects);
        }
        // By whomever: it is watched over from now on.
        (InstanceState::Paused, Course::Awake | Course::OutOfSight) => nap(worker, effects),
        _ => {}
    }
}

/// These have had nothing to do for as long as they may.
pub(super) fn idle(world: &mut World, ids: &[WorkerId], effects: &mut Effects) {
    for id in ids {
        let Some(worker) = world.workers.get_mut(id) else { continue };
        let settling =
            worker.woken_at.is_some_and(|at| effects.now.duration_since(at) < SETTLES_WITHIN);
        let awake = matches!(worker.stage, Stage::Running { .. }) && worker.course == Course::Awake;
        if awake && !settling && worker.wish == Wish::Run {
            nap(worker, effects);
        }
    }
}

/// These have written more to the disk than they may. Their wrappers end them, as for other limits;
/// they are told each time it is seen.
pub(super) fn over_disk(world: &World, over: &[(WorkerId, u64)], effects: &mut Effects) {
    for (id, limit) in over {
        let runs = |worker: &&Worker| {
            matches!(worker.stage, Stage::Running { .. }) && worker.wish == Wish::Run
        };
        if world.workers.get(id).filter(runs).is_some() {
            effects.write(Write::OverDisk(*id, *limit));
        }
    }
}

/// Something arrived for workers that stand still, or may have.
pub(super) fn called(worker: &mut Worker, effects: &mut Effects) {
    if let Course::Paused { .. } = worker.course {
        worker.course = Course::Paused { wake_at: Some(effects.now) };
        worker.not_before = None;
        effects.advance(worker);
    }
}

/// A nap was begun, or was not.
pub(super) fn napped(worker: &mut Worker, result: Result<Nap, Problem>, effects: &mut Effects) {
    if !matches!(worker.stage, Stage::Running { .. }) {
        return;
    }
    match result {
        Ok(Nap::Asleep { after, wake_at }) => {
            effects.push(Effect::Mind(worker.id, after));
            set(worker, Course::Paused { wake_at }, effects);
        }
        Ok(Nap::Awake) => wake_up(worker, effects),
        // It may stand still: the next look shows it.
        Err(problem) => tracing::warn!(worker = %worker.id, %problem, "it was not paused"),
    }
}

/// It goes on, or the engine did not do it.
pub(super) fn resumed(worker: &mut Worker, result: Result<(), Problem>, effects: &mut Effects) {
    match result {
        Ok(()) => wake_up(worker, effects),
        Err(problem) => {
            tracing::warn!(worker = %worker.id, %problem, "a paused worker is to go on; trying again");
            worker.not_before = effects.now.checked_add(AGAIN_AFTER).ok();
        }
    }
}

fn nap(worker: &mut Worker, effects: &mut Effects) {
    if worker.busy.is_none() {
        worker.busy = Some(StepKind::Pause);
        effects.push(Effect::Step(worker.id, super::Order::Pause));
    }
}

fn wake_up(worker: &mut Worker, effects: &mut Effects) {
    worker.woken_at = Some(effects.now);
    if worker.course != Course::Awake {
        effects.unmind(worker);
        set(worker, Course::Awake, effects);
    }
}

fn set(worker: &mut Worker, course: Course, effects: &mut Effects) {
    worker.course = course;
    worker.since = effects.now; // An older answer of the engine does not contradict it.
    effects.announce(worker);
}
