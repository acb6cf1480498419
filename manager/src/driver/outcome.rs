//! A step or a build comes to its end.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use worker_protocol::{ErrorKind, LimitName, Problem, Status, WorkerId};

use super::effects::{Effects, Write};
use super::{Autopsy, Launch, LaunchError, Outcome, Resolution};
use crate::decide::told;
use crate::world::{Ended, Evidence, Stage, Until, Wish, Worker, World};

/// The time before something that failed for want of an engine is tried again.
const AGAIN_AFTER: SignedDuration = SignedDuration::from_secs(5);
/// So often an image may go between the look for it and the start of a worker, and is built again.
/// The manager itself removes none that is needed; somebody else may.
const IMAGES_LOST: u8 = 3;

pub(super) fn done(world: &mut World, id: WorkerId, outcome: Outcome, effects: &mut Effects) {
    let Some(worker) = world.workers.get_mut(&id) else { return };
    worker.busy = None;
    match outcome {
        Outcome::Resolved(Ok(resolution)) => resolved(world, id, resolution, effects),
        // What a delete cut off did not fail.
        Outcome::Resolved(Err(_)) | Outcome::Launched(Err(_)) if worker.wish != Wish::Run => {}
        Outcome::Launched(Err(LaunchError::NoImage(_))) if worker.images_lost < IMAGES_LOST => {
            worker.images_lost += 1;
            worker.enter(Stage::Wanted, effects.now);
        }
        Outcome::Resolved(Err(problem))
        | Outcome::Launched(Err(LaunchError::NoImage(problem) | LaunchError::Failed(problem))) => {
            break_down(world, id, problem, effects);
        }
        Outcome::Launched(Ok(launch)) => launched(worker, launch, effects),
        Outcome::Autopsied(Ok(Some(autopsy))) => ended(worker, autopsy, effects),
        Outcome::Autopsied(Ok(None) | Err(_)) => {} // The next list shows it again.
        Outcome::Removed(Ok(evidence)) => removed(worker, evidence, effects),
        Outcome::Removed(Err(problem)) => not_removed(world, id, &problem, effects),
    }
    if let Some(worker) = world.workers.get_mut(&id) {
        effects.advance(worker);
    }
    settle(world, id, effects);
}

fn resolved(world: &mut World, id: WorkerId, resolution: Resolution, effects: &mut Effects) {
    let Some(worker) = world.workers.get_mut(&id) else { return };
    let Resolution { image, rendered, present } = resolution;
    if worker.wish != Wish::Run {
        return;
    }
    if present && world.sweeps.is_removing(&image.hash) {
        // It is on its way out: looked for again when it is gone.
        worker.not_before = effects.now.checked_add(AGAIN_AFTER).ok();
        return;
    }
    if present {
        effects.write(Write::Touch(image.hash.clone()));
        worker.enter(Stage::Imaged { image }, effects.now);
        effects.announce(worker);
    } else {
        super::build::await_image(world, id, image, rendered, effects);
    }
}

fn launched(worker: &mut Worker, launch: Launch, effects: &mut Effects) {
    let Stage::Imaged { image } = &worker.stage else { return };
    effects.write(Write::Touch(image.hash.clone()));
    let image = image.tag.clone();
    let Launch { ip_address, started_at } = launch;
    worker.enter(Stage::Running { image, ip_address, started_at }, effects.now);
    effects.announce(worker);
    if worker.end_heard_at.take().is_some() {
        effects.autopsy(worker);
    }
}

pub(super) fn break_down(world: &mut World, id: WorkerId, problem: Problem, effects: &mut Effects) {
    let Some(worker) = world.workers.get_mut(&id) else { return };
    let what = match problem.kind {
        ErrorKind::BuildFailed => "build failed",
        ErrorKind::EngineUnavailable => "engine unavailable",
        _ => "start failed",
    };
    worker.enter(Stage::Broken(Ended::broken(what, problem, effects.now)), effects.now);
    effects.announce(worker);
}

fn ended(worker: &mut Worker, autopsy: Autopsy, effects: &mut Effects) {
    if worker.wish != Wish::Run {
        return;
    }
    let end = judge(autopsy, effects.now);
    effects.touch_image(worker);
    worker.enter(Stage::Ended(end), effects.now);
    effects.announce(worker);
}

/// What an end means.
fn judge(autopsy: Autopsy, at: Timestamp) -> Ended {
    let (status, reason, evidence) = match autopsy {
        Autopsy::Gone(evidence) => (Status::Failed, "instance lost".to_owned(), evidence),
        Autopsy::Ended(evidence) => {
            let (status, reason) = meaning(&evidence);
            (status, reason, evidence)
        }
    };
    Ended { status, reason, problem: None, evidence, at }
}

/// A wrapper whose worker has reached a limit ends with 0 when nothing was cut short.
fn meaning(evidence: &Evidence) -> (Status, String) {
    match (evidence.exit_code, evidence.limit) {
        (Some(0), limit) => {
            (Status::Stopped, limit.map_or("completed", LimitName::reason).to_owned())
        }
        (_, Some(limit)) => (Status::Failed, limit.reason().to_owned()),
        // Exit code 137 alone does not mean it, nor does the flag alone.
        (Some(_), None) if evidence.oom_killed => (Status::Failed, "out of memory".to_owned()),
        (Some(code), None) => (Status::Failed, format!("exit {code}")),
        (None, None) => (Status::Failed, "exit unknown".to_owned()),
    }
}

fn removed(worker: &mut Worker, evidence: Evidence, effects: &mut Effects) {
    effects.touch_image(worker);
    // One that ended before it was deleted keeps its end: that is what somebody will ask about.
    let told = worker.end().cloned();
    let end = told.clone().unwrap_or(Ended {
        status: Status::Stopped,
        reason: "deleted".to_owned(),
        problem: None,
        evidence,
        at: effects.now,
    });
    worker.enter(Stage::Removed(end), effects.now);
    if told.is_none() {
        effects.announce(worker);
    }
    let mut event = effects.event("removal");
    event.insert("worker_id".to_owned(), json!(worker.id.to_string()));
    event.insert("request_id".to_owned(), json!(worker.request_id));
    event.insert("correlation_id".to_owned(), json!(worker.correlation_id));
    effects.write(Write::Event(event));
    effects.write(Write::Farewell(worker.id));
}

/// The engine could not remove it. It is tried again; who waits is told now.
fn not_removed(world: &mut World, id: WorkerId, problem: &Problem, effects: &mut Effects) {
    let Some(worker) = world.workers.get_mut(&id) else { return };
    worker.not_before = effects.now.checked_add(AGAIN_AFTER).ok();
    let status = worker.status();
    let (gone, others): (Vec<_>, Vec<_>) =
        std::mem::take(&mut worker.waiting).into_iter().partition(|w| w.until == Until::Gone);
    worker.waiting = others;
    let message = format!("{}; the removal is tried again", problem.message);
    let problem = Problem::new(problem.kind, message);
    for waiting in gone {
        effects.fail(&mut world.requests, waiting.header, &problem, told(id, status));
    }
}

/// Replies to those whose wait is over, acknowledges what is no longer needed, and lets go of a
/// worker that is gone.
pub(super) fn settle(world: &mut World, id: WorkerId, effects: &mut Effects) {
    let Some(worker) = world.workers.get_mut(&id) else { return };
    if matches!(worker.stage, Stage::Wanted | Stage::Building { .. } | Stage::Imaged { .. }) {
        return;
    }
    let (over, still): (Vec<_>, Vec<_>) = std::mem::take(&mut worker.waiting)
        .into_iter()
        .partition(|w| is_over(w.until, &worker.stage));
    worker.waiting = still;
    for waiting in over {
        match verdict(worker, waiting.until) {
            Ok(content) => effects.succeed(&mut world.requests, waiting.header, content),
            Err(problem) => {
                let content = told(id, worker.status());
                effects.fail(&mut world.requests, waiting.header, &problem, content);
            }
        }
    }
    for entry in std::mem::take(&mut worker.unacknowledged) {
        effects.write(Write::Acknowledge(entry));
    }
    if matches!(worker.stage, Stage::Removed(_)) {
        world.workers.remove(&id);
        world.gone.insert(id, effects.now);
    }
}

fn is_over(until: Until, stage: &Stage) -> bool {
    match stage {
        Stage::Wanted | Stage::Building { .. } | Stage::Imaged { .. } => false,
        Stage::Running { .. } => until == Until::Running,
        Stage::Broken(_) | Stage::Ended(_) => until != Until::Gone,
        Stage::Removed(_) => true,
    }
}

/// What somebody is told whose wait is over.
fn verdict(worker: &Worker, until: Until) -> Result<Map<String, Value>, Problem> {
    let mut content = told(worker.id, worker.status());
    let Some(end) = worker.end() else { return Ok(content) };
    if let (Some(problem), true) = (&end.problem, until != Until::Gone) {
        return Err(problem.clone());
    }
    let evidence = &end.evidence;
    content.insert("reason".to_owned(), json!(end.reason));
    content.insert("exit_code".to_owned(), json!(evidence.exit_code));
    if until == Until::Done {
        let pulse = evidence.pulse.clone().unwrap_or_default();
        content.insert("result".to_owned(), json!(evidence.result));
        content.insert("turns".to_owned(), json!(pulse.turns));
        content.insert("cost_usd".to_owned(), json!(pulse.cost_usd));
    }
    let deleted = matches!(worker.wish, Wish::Gone(_)) && until != Until::Gone;
    if deleted && end.reason == "deleted" {
        let what = if until == Until::Done { "done" } else { "running" };
        return Err(Problem::refused(format!("the worker was deleted before it was {what}")));
    }
    Ok(content)
}
