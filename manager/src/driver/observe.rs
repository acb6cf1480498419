//! What exists is compared with what is known: at the start, when the engine says something, and
//! every few seconds.

use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use worker_protocol::command::Force;
use worker_protocol::{Create, ErrorKind, Problem, Status, WorkerId};

use super::RememberedWorker;
use super::effects::{Effect, Effects, Write};
use crate::engine::{End, Found, InstanceState};
use crate::label;
use crate::world::{
    Ended, Evidence, Intent, Origin, Permit, Restarts, Stage, StepKind, Wish, Worker, World,
};

/// An unfinished worker waits so long for the command that asked for it to be delivered again.
const UNFINISHED_GRACE: SignedDuration = SignedDuration::from_secs(120);

/// The engine answers within its own time limits, which are shorter.
const GONE_IS_REMEMBERED: SignedDuration = SignedDuration::from_secs(300);

pub(super) fn begun(
    world: &mut World,
    records: Vec<RememberedWorker>,
    found: Vec<Found>,
    effects: &mut Effects,
) {
    world.host_seen_at = Some(effects.now);
    let records: BTreeMap<_, _> = records.into_iter().map(|r| (r.id, r.fields)).collect();
    for instance in &found {
        adopt(world, instance, &records, effects);
    }
    for (id, fields) in &records {
        remember(world, *id, fields, effects);
    }
}

pub(super) fn listed(
    world: &mut World,
    asked_at: Timestamp,
    found: Vec<Found>,
    effects: &mut Effects,
) {
    world.host_seen_at = world.host_seen_at.max(Some(asked_at));
    let mut there = BTreeMap::new();
    for instance in &found {
        match label::worker_id(&instance.labels) {
            Some(id) if world.workers.contains_key(&id) => {
                there.insert(id, &instance.state);
            }
            Some(id) if world.gone.get(&id).is_some_and(|gone| asked_at <= gone.at) => {}
            _ => adopt(world, instance, &BTreeMap::new(), effects),
        }
    }
    for (id, worker) in &mut world.workers {
        let state = there.get(id).filter(|state| state.lives());
        if let Some(state) = state {
            super::course::seen(worker, state, asked_at, effects);
        }
        // What changed since the engine was asked is not contradicted by its answer.
        let comparable = worker.since < asked_at && worker.wish == Wish::Run;
        if comparable && matches!(worker.stage, Stage::Running { .. }) && state.is_none() {
            effects.autopsy(worker);
        }
    }
}

/// One that nobody knows is looked at now.
pub(super) fn started(world: &World, id: WorkerId, effects: &mut Effects) {
    if !world.workers.contains_key(&id) {
        effects.push(Effect::Look);
    }
}

pub(super) fn ended(world: &mut World, id: WorkerId, effects: &mut Effects) {
    let Some(worker) = world.workers.get_mut(&id).filter(|worker| worker.wish == Wish::Run) else {
        return;
    };
    if matches!(worker.stage, Stage::Running { .. }) {
        effects.autopsy(worker);
    } else if matches!(worker.busy, Some(StepKind::Launch | StepKind::Start)) {
        worker.end_heard_at = Some(effects.now);
    }
}

/// A Redis that was restarted has no users, and one that was emptied no records.
pub(super) fn redis_returned(world: &mut World, effects: &mut Effects) {
    for worker in world.workers.values_mut() {
        effects.write(Write::Record(worker.id, worker.record()));
        if worker.end().is_none() {
            effects.push(Effect::Admit(worker.id)); // Also one that is being started.
        }
        // What arrived for it meanwhile may be lost, and its connections are.
        super::course::called(worker, effects);
    }
}

pub(super) fn tick(world: &mut World, effects: &mut Effects) {
    let now = effects.now;
    world.requests.forget_old(now);
    world.builds.forget_old(now);
    world.gone.retain(|_, gone| now.duration_since(gone.at) < GONE_IS_REMEMBERED);
    let ids: BTreeSet<_> = world.workers.keys().copied().collect();
    for id in ids {
        let Some(worker) = world.workers.get_mut(&id) else { continue };
        worker.heed_clock(now);
        if is_abandoned(worker, now) {
            let problem = Problem::new(
                ErrorKind::Internal,
                "the manager was restarted while this worker was being made, and its command is gone",
            );
            worker.enter(Stage::Broken(Ended::broken("lost", problem, now)), now);
            effects.announce(worker);
        }
        effects.advance(worker);
        super::outcome::settle(world, id, effects);
    }
}

fn is_abandoned(worker: &Worker, now: Timestamp) -> bool {
    let unfinished = matches!(worker.stage, Stage::Wanted | Stage::Imaged { .. });
    worker.origin == Origin::Adopted
        && unfinished
        && !matches!(worker.wish, Wish::Gone(_))
        && now.duration_since(worker.since) > UNFINISHED_GRACE
}

/// Takes up a worker that was found by its labels.
fn adopt(
    world: &mut World,
    instance: &Found,
    records: &BTreeMap<WorkerId, Record>,
    effects: &mut Effects,
) {
    let Some(known) = label::read(&instance.labels) else { return };
    let now = effects.now;
    let record = records.get(&known.id);
    let starting = recorded_status(record) == Some(Status::Starting);
    let stage = match &instance.state {
        InstanceState::Created => Stage::Wanted,
        // Its start was cut off: whether its wrapper was told anything is not known.
        _ if starting && recorded_intent(record) == Intent::Make => Stage::Wanted,
        _ if starting => Stage::Kept,
        InstanceState::Running | InstanceState::Paused => Stage::Running {
            image: known.image,
            ip_address: instance.ip_address.clone(),
            started_at: instance.started_at,
        },
        InstanceState::Ended(end) => match recorded_end(record, end, now) {
            Some(end) => Stage::Ended(end),
            // Nobody has seen it end: the next list finds it.
            None => Stage::Running {
                image: known.image,
                ip_address: None,
                started_at: instance.started_at,
            },
        },
    };
    let worker = Worker {
        origin: Origin::Adopted,
        correlation_id: known.correlation_id,
        created_at: known.created_at,
        wish: recorded_wish(record, &stage),
        permit: recorded_permit(record, &stage),
        restarts: recorded_restarts(record),
        stage,
        ..Worker::new(known.id, known.spec, known.request_id, now)
    };
    effects.announce(&worker);
    if instance.state.lives() {
        effects.push(Effect::Admit(worker.id)); // Redis may have been restarted meanwhile.
    }
    world.workers.insert(worker.id, worker);
}

type Record = BTreeMap<String, String>;

fn recorded_status(record: Option<&Record>) -> Option<Status> {
    record.and_then(|record| Status::from_wire(record.get("status")?))
}

fn recorded_intent(record: Option<&Record>) -> Intent {
    let intent = record.and_then(|record| Intent::of_record(record.get("intent")?));
    intent.unwrap_or(Intent::Make)
}

fn recorded_wish(record: Option<&Record>, stage: &Stage) -> Wish {
    match stage {
        Stage::Ended(_) => Wish::Rest,
        _ if recorded_intent(record) == Intent::Rest => Wish::Rest,
        _ => Wish::Run,
    }
}

/// One that was let in by an earlier manager still is; one that waited, waits.
fn recorded_permit(record: Option<&Record>, stage: &Stage) -> Permit {
    let waited = record.and_then(|record| record.get("reason")).is_some_and(|r| r == "queued");
    match stage {
        Stage::Broken(_) | Stage::Ended(_) | Stage::Removed(_) => Permit::None,
        Stage::Wanted | Stage::Kept if waited => Permit::None,
        _ => Permit::Place,
    }
}

fn recorded_restarts(record: Option<&Record>) -> Restarts {
    let text = |name: &str| record.and_then(|record| record.get(name));
    let next_at = text("next_start_at").and_then(|at| at.parse().ok());
    Restarts {
        count: text("restarts").and_then(|count| count.parse().ok()).unwrap_or_default(),
        next_at,
        message: next_at.and(text("message").cloned()).unwrap_or_default(),
    }
}

fn recorded_end(record: Option<&Record>, end: &End, now: Timestamp) -> Option<Ended> {
    let record = record?;
    let status = recorded_status(Some(record)).filter(|status| status.is_end())?;
    let evidence =
        Evidence { exit_code: Some(end.code), oom_killed: end.oom_killed, ..Evidence::default() };
    let reason = record.get("reason").cloned().unwrap_or_default();
    Some(Ended { status, reason, problem: None, evidence, at: end.at.unwrap_or(now) })
}

/// Of those that have no instance: one that was told to stop, and not to rest, was being deleted.
/// It is not to be found lost before its command is delivered again.
fn is_half_removed(record: &Record) -> bool {
    recorded_status(Some(record)) == Some(Status::Running)
        && recorded_intent(Some(record)) == Intent::Run
        && record.get("reason").is_some_and(|reason| reason == "stopping")
}

/// Takes up a worker that has a record and no instance: its making was cut off, or somebody took
/// the instance away. What else belongs to it goes when it is deleted.
fn remember(world: &mut World, id: WorkerId, fields: &Record, effects: &mut Effects) {
    let spec = fields.get("spec").and_then(|text| serde_json::from_str::<Create>(text).ok());
    let (Some(status), Some(spec), false) =
        (recorded_status(Some(fields)), spec, world.workers.contains_key(&id))
    else {
        return;
    };
    let text = |name: &str| fields.get(name).cloned().unwrap_or_default();
    let stage = match status {
        Status::Starting if recorded_intent(Some(fields)) == Intent::Make => Stage::Wanted,
        Status::Starting => Stage::Kept,
        Status::Running | Status::Unknown => {
            Stage::Running { image: text("image"), ip_address: None, started_at: None }
        }
        Status::Stopped | Status::Failed => Stage::Ended(Ended {
            status,
            reason: text("reason"),
            problem: None,
            evidence: Evidence {
                exit_code: text("exit_code").parse().ok(),
                oom_killed: text("oom_killed") == "true",
                ..Evidence::default()
            },
            at: text("finished_at").parse().unwrap_or(effects.now),
        }),
    };
    let worker = Worker {
        origin: Origin::Adopted,
        correlation_id: fields.get("correlation_id").cloned(),
        created_at: text("created_at").parse().unwrap_or(effects.now),
        wish: if is_half_removed(fields) {
            Wish::Gone(Force::No)
        } else {
            recorded_wish(Some(fields), &stage)
        },
        permit: recorded_permit(Some(fields), &stage),
        restarts: recorded_restarts(Some(fields)),
        stage,
        ..Worker::new(id, spec, text("request_id"), effects.now)
    };
    world.workers.insert(id, worker);
}
