//! Workers are let in, or wait for room.

use serde_json::{Map, Value, json};
use worker_protocol::{ErrorKind, Problem, WorkerId};

use super::effects::Effects;
use super::outcome;
use crate::world::{Ended, Permit, Room, Stage, StepKind, Worker, World};

impl Effects {
    /// Lets a worker in for its next step, if there is room; else it waits from now on. Whoever
    /// announces a worker that is about to take a step calls this first, so that what is told is
    /// so.
    pub fn seat(&mut self, worker: &mut Worker) {
        if let Some(step) = worker.next(self.now) {
            self.let_in(worker, step);
        }
    }

    /// Whether a worker may take this step.
    pub(super) fn let_in(&mut self, worker: &mut Worker, step: StepKind) -> bool {
        if worker.queued.is_none() {
            worker.permit = self.room.let_in(worker.permit, step.needs());
        }
        let may = worker.permit >= step.needs();
        if may && worker.queued.take().is_some() {
            self.moved.push(worker.id);
        } else if !may && worker.queued.is_none() {
            let never_made = worker.permit == Permit::None && worker.is_being_made();
            worker.queued = Some(if never_made { worker.created_at } else { self.now });
            self.moved.push(worker.id);
        }
        may
    }
}

/// The last of each event: who waits is let in as far as there is room by now.
pub(super) fn share(world: &mut World, effects: &mut Effects) {
    loop {
        for id in std::mem::take(&mut effects.moved) {
            match world.workers.get(&id).filter(|worker| worker.queued.is_some()) {
                Some(worker) => world.capacity.join(worker),
                None => world.capacity.leave(id),
            }
        }
        if world.capacity.waiting() == 0 {
            return;
        }
        effects.room = Room::default(); // Who comes now stands behind those that wait.
        let room = world.room();
        let Some((id, permit)) = world.capacity.next(room) else { return };
        if let Some(worker) = world.workers.get_mut(&id) {
            call(worker, permit, effects);
        }
    }
}

/// It is a worker's turn.
fn call(worker: &mut Worker, permit: Permit, effects: &mut Effects) {
    let needs = worker.next(effects.now).map(StepKind::needs);
    match needs {
        None => worker.queued = None,
        Some(needs) if needs > permit => {
            worker.permit = permit;
            effects.moved.push(worker.id); // To the other queue.
        }
        Some(_) => {
            worker.permit = permit;
            worker.queued = None;
            effects.announce(worker);
            effects.advance(worker);
        }
    }
}

/// Who has waited for too long is told so. One that was never made goes; one that ran before stays
/// as it is, and may be started again.
pub(super) fn time_out(world: &mut World, effects: &mut Effects) {
    let Some(limit) = world.capacity.rules.queue_timeout else { return };
    for id in world.capacity.queued() {
        let Some(worker) = world.workers.get(&id) else { continue };
        if worker.queued.is_none_or(|since| effects.now.duration_since(since) < limit) {
            continue;
        }
        let why = world.obstacle(worker.permit).unwrap_or_default();
        let waited =
            format!("it waited for {} s for room (`capacity.queue_timeout`)", limit.as_secs());
        let problem = Problem::new(ErrorKind::Exhausted, format!("{waited}: {why}"));
        world.capacity.leave(id);
        give_up(world, id, problem, effects);
    }
}

fn give_up(world: &mut World, id: WorkerId, problem: Problem, effects: &mut Effects) {
    let Some(worker) = world.workers.get_mut(&id) else { return };
    let end = Ended::broken("queue timeout", problem, effects.now);
    worker.queued = None;
    if worker.is_being_made() {
        worker.enter(Stage::Broken(end), effects.now);
        effects.announce(worker);
    } else {
        outcome::rest(worker, end, effects);
    }
    effects.advance(worker);
    outcome::settle(world, id, effects);
}

/// What is told of a worker that waits, as it is at this moment.
pub(super) fn told_of_wait(world: &World, id: WorkerId) -> Map<String, Value> {
    let mut content = Map::new();
    let waits = world.workers.get(&id).filter(|worker| worker.queued.is_some());
    if let Some(worker) = waits {
        content.insert("reason".to_owned(), json!(worker.reason()));
        content.insert("queue_place".to_owned(), json!(world.capacity.place(id)));
        content.insert("message".to_owned(), json!(world.obstacle(worker.permit)));
    }
    content
}
