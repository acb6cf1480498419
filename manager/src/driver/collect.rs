//! Images are collected: looked at, judged, removed one by one, and told about.

use jiff::SignedDuration;
use serde_json::{Map, Value, json};
use worker_protocol::command::DryRun;
use worker_protocol::{Problem, rfc3339};

use super::effects::{Effect, Effects, Write};
use crate::image::ImageHash;
use crate::image::collect::{Inventory, Judged, Verdict, bytes, plan};
use crate::orphan::Survey;
use crate::world::{Cause, Fate, Pruned, Stage, Sweep, World};

/// A disk that stays full, though everything was done about it, is not looked after more often.
const FOR_DISK_AGAIN: SignedDuration = SignedDuration::from_mins(10);

/// It is time, the disk is nearly full, or somebody asked.
pub(super) fn due(world: &mut World, cause: Cause, dry_run: DryRun, effects: &mut Effects) {
    if cause == Cause::Disk {
        let last = world.sweeps.for_disk_at;
        if last.is_some_and(|at| effects.now.duration_since(at) < FOR_DISK_AGAIN) {
            return;
        }
        world.sweeps.for_disk_at = Some(effects.now);
    }
    world.sweeps.waiting.push_back(Sweep::new(cause, dry_run));
    begin(world, effects);
}

fn begin(world: &mut World, effects: &mut Effects) {
    if world.sweeps.current.is_some() {
        return;
    }
    if let Some(next) = world.sweeps.waiting.pop_front() {
        effects.push(Effect::TakeInventory(next.cause.clone()));
        world.sweeps.current = Some(next);
    }
}

/// What nobody knows is told with it.
pub(super) fn surveyed(world: &mut World, survey: Option<Survey>, effects: &mut Effects) {
    let dry_run = world.sweeps.current.as_ref().map(|sweep| sweep.dry_run);
    if let (Some(survey), Some(dry_run)) = (survey, dry_run) {
        super::orphans::surveyed(world, &survey, dry_run, effects);
    }
}

pub(super) fn inventoried(
    world: &mut World,
    result: Result<Inventory, Problem>,
    effects: &mut Effects,
) {
    let shields = world.shields();
    let Some(sweep) = &mut world.sweeps.current else { return };
    let inventory = match result {
        Ok(inventory) => inventory,
        Err(problem) => return give_up(world, &problem, effects),
    };
    sweep.disk = inventory.disk;
    sweep.cache = inventory.cache;
    for judged in plan(&inventory, &shields, effects.now) {
        match (&judged.verdict, sweep.dry_run) {
            (Verdict::Keep(_), _) => sweep.done.push((judged, Fate::Kept)),
            (Verdict::Remove(_), DryRun::Yes) => sweep.done.push((judged, Fate::WouldGo)),
            (Verdict::Remove(_), DryRun::No) => sweep.left.push_back(judged),
        }
    }
    match sweep.dry_run {
        DryRun::Yes => report(world, effects),
        DryRun::No => next(world, effects),
    }
}

/// Removes the next image, if nobody has come to want it since the plan was made.
fn next(world: &mut World, effects: &mut Effects) {
    let shields = world.shields();
    let Some(sweep) = &mut world.sweeps.current else { return };
    while let Some(judged) = sweep.left.front() {
        let hash = judged.image.hash.clone();
        if !shields.contains_key(&hash) {
            effects.push(Effect::RemoveImage(judged.image.tag.clone(), hash.clone()));
            sweep.removing = Some(hash);
            return;
        }
        if let Some(judged) = sweep.left.pop_front() {
            let verdict = Verdict::Keep("a worker has come to need it".to_owned());
            sweep.done.push((Judged { verdict, frees: 0, ..judged }, Fate::Kept));
        }
    }
    if world.builds.count() == 0 {
        effects.push(Effect::PruneCache(sweep.cause.clone()));
    } else {
        sweep.cache = 0; // Another time: pruning beside a build can break it.
        report(world, effects);
    }
}

/// One that could not be removed does not keep the others.
pub(super) fn removed(
    world: &mut World,
    hash: &ImageHash,
    result: Result<(), Problem>,
    effects: &mut Effects,
) {
    let Some(sweep) = &mut world.sweeps.current else { return };
    let Some(judged) = sweep.left.pop_front() else { return };
    sweep.removing = None;
    let fate = match result {
        Ok(()) => {
            effects.write(Write::ForgetImage(hash.clone()));
            effects.write(Write::Event(removal(&judged, effects)));
            Fate::Removed
        }
        Err(problem) => Fate::Refused(problem.message),
    };
    sweep.done.push((judged, fate));
    wake(world, effects);
    next(world, effects);
}

/// Workers that found their image while it was being removed look again.
fn wake(world: &mut World, effects: &mut Effects) {
    for worker in world.workers.values_mut() {
        if matches!(worker.stage, Stage::Wanted) && worker.busy.is_none() {
            worker.not_before = None;
            effects.advance(worker);
        }
    }
}

pub(super) fn pruned(world: &mut World, result: Result<Pruned, Problem>, effects: &mut Effects) {
    let Some(sweep) = &mut world.sweeps.current else { return };
    match result {
        Ok(Pruned { bytes, disk }) => (sweep.cache, sweep.disk_after) = (bytes, disk),
        Err(problem) => {
            sweep.cache = 0;
            tracing::warn!(%problem, "what builds left was not removed");
        }
    }
    report(world, effects);
}

/// Tells what was done, and begins with the next that was asked for.
fn report(world: &mut World, effects: &mut Effects) {
    let Some(sweep) = world.sweeps.current.take() else { return };
    let summary = summary(&sweep);
    let mut event = effects.event("gc");
    event.insert("cause".to_owned(), json!(sweep.cause.as_str()));
    event.extend(summary.clone());
    event.insert("message".to_owned(), json!(in_words(&summary)));
    effects.write(Write::Event(event));
    if let Cause::Asked(header) = sweep.cause {
        let mut content = summary;
        content.insert("images".to_owned(), sweep.done.iter().map(row).collect());
        content.insert("orphans".to_owned(), super::orphans::rows(world, sweep.dry_run));
        effects.succeed(&mut world.requests, header, content);
    }
    begin(world, effects);
}

fn give_up(world: &mut World, problem: &Problem, effects: &mut Effects) {
    let Some(sweep) = world.sweeps.current.take() else { return };
    match sweep.cause {
        Cause::Asked(header) => effects.fail(&mut world.requests, header, problem, Map::new()),
        cause => tracing::warn!(%problem, cause = cause.as_str(), "images were not collected"),
    }
    begin(world, effects);
}

fn summary(sweep: &Sweep) -> Map<String, Value> {
    let went = |fate: &Fate| matches!(fate, Fate::Removed | Fate::WouldGo);
    let gone = sweep.done.iter().filter(|(_, fate)| went(fate));
    let failed = sweep.done.iter().filter(|(_, fate)| matches!(fate, Fate::Refused(_)));
    let freed: u64 = gone.clone().map(|(judged, _)| judged.frees).sum();
    let removed = gone.count();
    let fields = json!({
        "dry_run": sweep.dry_run == DryRun::Yes,
        "removed": removed,
        "kept": sweep.done.len() - removed,
        "not_removed": failed.count(),
        "freed_bytes": freed,
        "cache_bytes": sweep.cache,
        "disk_free_bytes": sweep.disk.map(|disk| disk.free),
        "disk_free_after_bytes": sweep.disk_after.map(|disk| disk.free),
    });
    fields.as_object().cloned().unwrap_or_default()
}

/// For the log.
fn in_words(summary: &Map<String, Value>) -> String {
    let number = |name: &str| summary.get(name).and_then(Value::as_u64).unwrap_or_default();
    let gone = if summary.get("dry_run") == Some(&json!(true)) { "would go" } else { "removed" };
    format!(
        "{} images {gone}, {} kept; {} of layers not needed any more, {} of build cache",
        number("removed"),
        number("kept"),
        bytes(number("freed_bytes")),
        bytes(number("cache_bytes"))
    )
}

/// An image as a row of the table.
fn row((judged, fate): &(Judged, Fate)) -> Value {
    let image = &judged.image;
    let (decision, reason) = match &judged.verdict {
        Verdict::Keep(reason) => ("keep", reason),
        Verdict::Remove(reason) => ("remove", reason),
    };
    let (outcome, error) = match fate {
        Fate::Kept => ("kept", None),
        Fate::WouldGo => ("would be removed", None),
        Fate::Removed => ("removed", None),
        Fate::Refused(why) => ("not removed", Some(why)),
    };
    json!({
        "image": image.hash.to_string(),
        "holds": image.holds,
        "size": image.size,
        "frees": judged.frees,
        "built_at": image.built_at.map(rfc3339),
        "last_used": rfc3339(image.last_used),
        "decision": decision,
        "reason": reason,
        "outcome": outcome,
        "error": error,
    })
}

fn removal(judged: &Judged, effects: &Effects) -> Map<String, Value> {
    let mut event = effects.event("removal");
    event.insert("image".to_owned(), json!(judged.image.hash.to_string()));
    event.insert("holds".to_owned(), json!(judged.image.holds));
    if let Verdict::Remove(reason) = &judged.verdict {
        event.insert("reason".to_owned(), json!(reason));
    }
    event
}
