//! A step or a build comes to its end.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use worker_protocol::{ErrorKind, LimitName, Problem, Status, WorkerId};

use super::effects::{Effects, Write};
use super::{Autopsy, Launch, LaunchError, Outcome, Resolution, Start, restart};
use crate::decide::told;
use crate::world::{Ended, Evidence, Gone, Stage, StepKind, Until, Wish, Worker, World};

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
        Outcome::Resolved(Err(_)) | Outcome::Launched(Err(_)) | Outcome::Started(Err(_))
            if matches!(worker.wish, Wish::Gone(_)) => {}
        Outcome::Launched(Err(LaunchError::NoImage(_))) if worker.images_lost < IMAGES_LOST => {
            worker.images_lost += 1;
            worker.enter(Stage::Wanted, effects.now);
        }
        Outcome::Resolved(Err(problem))
        | Outcome::Launched(Err(LaunchError::NoImage(problem) | LaunchError::Failed(problem))) => {
            break_down(world, id, problem, effects);
        }
        Outcome::Launched(Ok(launch)) => launched(worker, launch, effects),
        Outcome::Started(Ok(Start { image, launch })) => runs(worker, image, launch, effects),
        Outcome::Started(Err(problem)) => start_failed(worker, problem, effects),
        Outcome::Stopped(Ok(autopsy)) => stopped(world, id, autopsy, effects),
        Outcome::Stopped(Err(problem)) => {
            not_yet(world, id, Until::Resting, &problem, "the stop is tried again", effects);
        }
        Outcome::Napped(result) => super::course::napped(worker, result, effects),
        Outcome::Resumed(result) => super::course::resumed(worker, result, effects),
        Outcome::Autopsied(Ok(Some(autopsy))) => ended(worker, autopsy, effects),
        Outcome::Autopsied(Ok(None) | Err(_)) => {} // The next list shows it again.
        Outcome::Removed(Ok(evidence)) => removed(worker, evidence, effects),
        Outcome::Removed(Err(problem)) => {
            not_yet(world, id, Until::Gone, &problem, "the removal is tried again", effects);
        }
    }
    if let Some(worker) = world.workers.get_mut(&id) {
        effects.advance(worker);
    }
    settle(world, id, effects);
}

fn resolved(world: &mut World, id: WorkerId, resolution: Resolution, effects: &mut Effects) {
    let Some(worker) = world.workers.get_mut(&id) else { return };
    let Resolution { image, rendered, present } = resolution;
    if matches!(worker.wish, Wish::Gone(_)) {
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
        effects.seat(worker);
        effects.announce(worker);
    } else {
        super::build::await_image(world, id, image, rendered, effects);
    }
}

fn launched(worker: &mut Worker, launch: Launch, effects: &mut Effects) {
    let Stage::Imaged { image } = &worker.stage else { return };
    effects.write(Write::Touch(image.hash.clone()));
    let tag = image.tag.clone();
    runs(worker, tag, launch, effects);
}

fn runs(worker: &mut Worker, image: String, launch: Launch, effects: &mut Effects) {
    let Launch { ip_address, started_at } = launch;
    worker.enter(Stage::Running { image, ip_address, started_at }, effects.now);
    effects.announce(worker);
    if worker.end_heard_at.take().is_some() {
        effects.autopsy(worker);
    }
}

pub(super) fn break_down(world: &mut World, id: WorkerId, problem: Problem, effects: &mut Effects) {
    let Some(worker) = world.workers.get_mut(&id) else { return };
    worker.enter(Stage::Broken(failure(problem, effects.now)), effects.now);
    effects.announce(worker);
}

fn failure(problem: Problem, at: Timestamp) -> Ended {
    let what = match problem.kind {
        ErrorKind::BuildFailed => "build failed",
        ErrorKind::EngineUnavailable => "engine unavailable",
        _ => "start failed",
    };
    Ended::broken(what, problem, at)
}

/// What it consists of stays: it may be started again.
fn start_failed(worker: &mut Worker, problem: Problem, effects: &mut Effects) {
    let again = restart::may_be_repeated(worker, &problem);
    let end = failure(problem, effects.now);
    if !again || !restart::start_again(worker, &end, effects) {
        rest(worker, end, effects);
    }
}

fn ended(worker: &mut Worker, autopsy: Autopsy, effects: &mut Effects) {
    if matches!(worker.wish, Wish::Gone(_)) {
        return;
    }
    effects.touch_image(worker);
    let again = restart::may_mend(&autopsy);
    let end = judge(autopsy, effects.now);
    if !again || !restart::start_again(worker, &end, effects) {
        rest(worker, end, effects);
    }
}

/// It has ended, and nobody has asked for more.
pub(super) fn rest(worker: &mut Worker, end: Ended, effects: &mut Effects) {
    worker.wish = Wish::Rest;
    worker.enter(Stage::Ended(end), effects.now);
    effects.announce(worker);
}

/// It ended as it was to. Somebody may have asked meanwhile that it runs again.
fn stopped(world: &mut World, id: WorkerId, autopsy: Autopsy, effects: &mut Effects) {
    let Some(worker) = world.workers.get_mut(&id) else { return };
    effects.touch_image(worker);
    let end = match autopsy {
        Autopsy::Ended(evidence) => Ended {
            status: Status::Stopped,
            reason: "stopped".to_owned(),
            problem: None,
            evidence,
            at: effects.now,
        },
        gone @ Autopsy::Gone(_) => judge(gone, effects.now),
    };
    worker.enter(Stage::Ended(end), effects.now);
    effects.announce(worker);
    settle(world, id, effects);
    if let Some(worker) = world.workers.get_mut(&id)
        && worker.wish == Wish::Run
    {
        wake(worker, effects);
    }
}

/// What was kept of it is to run again.
pub(super) fn wake(worker: &mut Worker, effects: &mut Effects) {
    worker.enter(Stage::Kept, effects.now);
    effects.seat(worker);
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

/// The engine did not do it. It is tried again; who waits is told now.
fn not_yet(
    world: &mut World,
    id: WorkerId,
    until: Until,
    problem: &Problem,
    what_then: &str,
    effects: &mut Effects,
) {
    let Some(worker) = world.workers.get_mut(&id) else { return };
    worker.not_before = effects.now.checked_add(AGAIN_AFTER).ok();
    let status = worker.status();
    let (those, others): (Vec<_>, Vec<_>) =
        std::mem::take(&mut worker.waiting).into_iter().partition(|w| w.until == until);
    worker.waiting = others;
    let problem = Problem::new(problem.kind, format!("{}; {what_then}", problem.message));
    for waiting in those {
        effects.fail(&mut world.requests, waiting.header, &problem, told(id, status));
    }
}

/// Replies to those whose wait is over, acknowledges what is no longer needed, and lets go of a
/// worker that is gone.
pub(super) fn settle(world: &mut World, id: WorkerId, effects: &mut Effects) {
    let Some(worker) = world.workers.get_mut(&id) else { return };
    if worker.is_being_made() {
        return;
    }
    let (over, still): (Vec<_>, Vec<_>) =
        std::mem::take(&mut worker.waiting).into_iter().partition(|w| is_over(w.until, worker));
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
        world.gone.insert(id, Gone { at: effects.now, status: worker.status() });
        world.workers.remove(&id);
    }
}

fn is_over(until: Until, worker: &Worker) -> bool {
    match &worker.stage {
        Stage::Wanted | Stage::Building { .. } | Stage::Imaged { .. } | Stage::Kept => false,
        Stage::Running { .. } => until == Until::Running && worker.busy != Some(StepKind::Stop),
        Stage::Ended(_) if until == Until::Running => worker.wish != Wish::Run,
        Stage::Broken(_) | Stage::Ended(_) => until != Until::Gone,
        Stage::Removed(_) => true,
    }
}

/// What somebody is told whose wait is over.
fn verdict(worker: &Worker, until: Until) -> Result<Map<String, Value>, Problem> {
    let mut content = told(worker.id, worker.status());
    let Some(end) = worker.end() else { return Ok(content) };
    let ended_as_asked = match until {
        Until::Gone => true,
        Until::Resting => matches!(worker.stage, Stage::Ended(_)),
        Until::Running | Until::Done => false,
    };
    if let (Some(problem), false) = (&end.problem, ended_as_asked) {
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
        let what = match until {
            Until::Done => "done",
            Until::Resting => "stopped",
            Until::Running | Until::Gone => "running",
        };
        return Err(Problem::refused(format!("the worker was deleted before it was {what}")));
    }
    Ok(content)
}
