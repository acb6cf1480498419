//! A command arrives.

use std::sync::Arc;
use worker_protocol::command::Force;
use worker_protocol::create::Wait;
use worker_protocol::{Command, Create, Header, Reply, Status, WorkerId};

use super::capacity::told_of_wait;
use super::effects::{Effect, Effects, Settled, Write};
use super::{Arrival, Prior};
use crate::decide::{Decision, Enactment, Question, decide, told};
use crate::image::Catalogue;
use crate::world::{Cause, Known, Origin, Stage, StepKind, Until, Waiting, Wish, Worker, World};

pub(super) fn arrived(
    world: &mut World,
    catalogue: &Catalogue,
    arrival: Arrival,
    effects: &mut Effects,
) {
    let Arrival { header, command, worker_id, prior, unproven } = arrival;
    if let Some(refusal) = unproven {
        return effects.turn_away(header, &refusal);
    }
    if is_known(world, &header, &command, &prior, effects) {
        return;
    }
    let mut command = match command {
        Ok(command) => command,
        Err(problem) => {
            effects.write(Write::Dead(header.clone(), problem.clone()));
            effects.fail(&mut world.requests, header, &problem, serde_json::Map::new());
            return;
        }
    };
    let of = (&header, worker_id);
    let judged = super::policy::judge(world, catalogue, of, prior.record.as_ref(), &mut command);
    if let Err(refusal) = judged {
        return effects.refuse(&mut world.requests, header, &refusal);
    }
    let question = Question {
        command: &command,
        request_id: &header.request_id,
        caller: header.caller.as_ref(),
        worker_id,
        record: prior.record.as_ref(),
    };
    match decide(world, catalogue, &question) {
        Decision::Refuse(problem) => {
            effects.fail(&mut world.requests, header, &problem, serde_json::Map::new());
        }
        Decision::AlreadySo(content) => effects.succeed(&mut world.requests, header, content),
        Decision::Enact(enactment) => enact(world, header, command, enactment, effects),
    }
}

/// Whether the request was seen before, and is dealt with by that.
fn is_known(
    world: &mut World,
    header: &Header,
    command: &Result<Command, worker_protocol::Problem>,
    prior: &Prior,
    effects: &mut Effects,
) -> bool {
    if prior.retried {
        world.requests.retry(header);
    }
    match world.requests.arrived(header) {
        Known::SameEntry | Known::InFlight => return true,
        Known::Answered(reply) => {
            effects.write(Write::Reply(header.clone(), reply, Settled::Yes));
            return true;
        }
        Known::No => {}
    }
    let Some(reply) = &prior.reply else { return false };
    if prior.same_entry && matches!(command, Ok(Command::Create(_))) {
        return false; // Answered, and perhaps not finished: the worker goes on.
    }
    effects.reply(&mut world.requests, header.clone(), reply.clone(), Settled::Yes);
    true
}

fn enact(
    world: &mut World,
    header: Header,
    command: Command,
    enactment: Enactment,
    effects: &mut Effects,
) {
    match (enactment, command) {
        (Enactment::Tell(id), _) => {
            world.requests.let_go(&header.request()); // The outbox makes this reply.
            effects.write(Write::Tell(header, id, told_of_wait(world, id)));
        }
        (Enactment::Collect(dry_run), _) => {
            super::collect::due(world, Cause::Asked(header), dry_run, effects);
        }
        (Enactment::Delete(id, force), _) => delete(world, header, id, force, effects),
        (Enactment::Stop(id), _) => stop(world, header, id, effects),
        (Enactment::Start(id), _) => start(world, header, id, effects),
        (Enactment::Interrupt(id), _) => {
            effects.write(Write::Interrupt(header.request(), id));
            effects.succeed(&mut world.requests, header, told(id, Status::Running));
        }
        (Enactment::Create(id), Command::Create(create)) => {
            take_up(world, header, id, *create, effects);
        }
        (Enactment::Join(id), Command::Create(create)) => join(world, header, id, *create, effects),
        (Enactment::Create(_) | Enactment::Join(_), _) => {}
    }
}

fn take_up(world: &mut World, header: Header, id: WorkerId, create: Create, effects: &mut Effects) {
    let mut worker = Worker {
        correlation_id: header.correlation_id.clone(),
        ..Worker::new(id, create, header.request_id.clone(), effects.now)
    };
    effects.seat(&mut worker);
    if worker.queued.is_some() {
        world.capacity.join(&worker); // So that its place is known.
    }
    effects.announce(&worker);
    if let Some(prompt) = &worker.spec.prompt {
        // Before the reply: whoever has the reply may write the second prompt.
        effects.write(Write::FirstPrompt(header.request(), id, prompt.clone()));
    }
    world.workers.insert(id, worker);
    attend(world, header, id, effects);
}

/// A `create` that was delivered again brings what an adopted worker lacks.
fn join(world: &mut World, header: Header, id: WorkerId, create: Create, effects: &mut Effects) {
    if let Some(worker) = world.workers.get_mut(&id)
        && worker.origin == Origin::Adopted
    {
        worker.spec = Arc::new(create);
        worker.origin = Origin::Resumed;
        if matches!(worker.stage, Stage::Imaged { .. }) {
            worker.stage = Stage::Wanted; // The image may have gone meanwhile.
        }
    }
    attend(world, header, id, effects);
}

/// Replies to a `create` now or later, and lets the worker go on.
fn attend(world: &mut World, header: Header, id: WorkerId, effects: &mut Effects) {
    let wait = told_of_wait(world, id);
    let Some(worker) = world.workers.get_mut(&id) else { return };
    let until = match worker.spec.wait {
        Wait::Accepted => None,
        Wait::Running => Some(Until::Running),
        Wait::Done => Some(Until::Done),
    };
    match until {
        None => {
            worker.unacknowledged.push(header.entry_id.clone());
            let mut content = told(id, worker.status());
            content.extend(wait);
            let reply = Reply::ok(&header, effects.now, content);
            effects.reply(&mut world.requests, header, reply, Settled::Later);
        }
        Some(until) => worker.waiting.push(Waiting { header, until }),
    }
    effects.advance(worker);
    super::outcome::settle(world, id, effects);
}

/// One that is being made is stopped when it runs.
fn stop(world: &mut World, header: Header, id: WorkerId, effects: &mut Effects) {
    let Some(worker) = world.workers.get_mut(&id) else { return };
    worker.waiting.push(Waiting { header, until: Until::Resting });
    worker.wish = Wish::Rest;
    effects.announce(worker);
    effects.advance(worker);
}

/// One that is being stopped is started when it has ended.
fn start(world: &mut World, header: Header, id: WorkerId, effects: &mut Effects) {
    let Some(worker) = world.workers.get_mut(&id) else { return };
    worker.waiting.push(Waiting { header, until: Until::Running });
    worker.wish = Wish::Run;
    let waited = std::mem::take(&mut worker.restarts).next_at.is_some();
    if matches!(worker.stage, Stage::Ended(_)) {
        super::outcome::wake(worker, effects);
    } else if waited {
        effects.announce(worker);
    }
    effects.advance(worker);
    super::outcome::settle(world, id, effects);
}

fn delete(world: &mut World, header: Header, id: WorkerId, force: Force, effects: &mut Effects) {
    let Some(worker) = world.workers.get_mut(&id) else { return };
    worker.waiting.push(Waiting { header, until: Until::Gone });
    if worker.wish != Wish::Gone(Force::Yes) {
        worker.wish = Wish::Gone(force);
    }
    match (worker.busy, worker.wish) {
        // Nobody waits for the rest of a start, nor, when it is to be killed, of a gentle end.
        (Some(StepKind::Launch | StepKind::Start), _)
        | (Some(StepKind::Remove(Force::No) | StepKind::Stop), Wish::Gone(Force::Yes)) => {
            effects.push(Effect::Hurry(id));
        }
        _ => {}
    }
    if let Stage::Building { image, .. } = &worker.stage {
        let hash = image.hash.clone();
        super::build::leave(world, id, &hash, effects);
    }
    if let Some(worker) = world.workers.get_mut(&id) {
        effects.announce(worker);
        effects.advance(worker);
    }
}
