//! What is left of workers that nobody knows is told about, and removed when its time has come.

use serde_json::{Map, Value, json};
use worker_protocol::command::DryRun;
use worker_protocol::{Problem, WorkerId, rfc3339};

use super::effects::{Effect, Effects, Write};
use crate::image::collect::Verdict;
use crate::orphan::{Judged, Left, Orphan, Survey, judge};
use crate::world::World;

/// What exists was looked at; in a dry run, nothing is removed for it.
pub(super) fn surveyed(world: &mut World, survey: &Survey, dry_run: DryRun, effects: &mut Effects) {
    let World { workers, orphans, .. } = world;
    let judged = judge(survey, &orphans.first_seen, |id| workers.contains_key(&id), effects.now);
    for one in &judged {
        let is_new = !orphans.first_seen.contains_key(&one.orphan);
        if let (true, Orphan::Instance(_)) = (is_new, &one.orphan) {
            effects.write(Write::Event(event("orphan", one, effects)));
        }
        if let (Orphan::Worker(id), Verdict::Remove(_), DryRun::No) =
            (&one.orphan, &one.verdict, dry_run)
            && orphans.clearing.insert(*id)
        {
            effects.push(Effect::Clear(*id));
        }
    }
    orphans.first_seen = judged.iter().map(|one| (one.orphan.clone(), one.since)).collect();
    orphans.judged = judged;
}

/// What was left is gone, or the next survey shows it again.
pub(super) fn cleared(
    world: &mut World,
    id: WorkerId,
    result: Result<(), Problem>,
    effects: &mut Effects,
) {
    world.orphans.clearing.remove(&id);
    let of = Orphan::Worker(id);
    let judged = world.orphans.judged.iter().find(|one| one.orphan == of);
    if let Err(problem) = result {
        tracing::warn!(worker = %id, %problem, "what is left of it was not removed");
        return;
    }
    let Some(judged) = judged else { return };
    if judged.left.iter().any(|left| matches!(left, Left::Key(_))) {
        effects.write(Write::Farewell(id));
    }
    effects.write(Write::Event(event("removal", judged, effects)));
}

/// Rows of the table that `gc` shows.
pub(super) fn rows(world: &World, dry_run: DryRun) -> Value {
    let row = |judged: &Judged| {
        let mut row = told(judged);
        let (decision, outcome) = match (&judged.verdict, dry_run) {
            (Verdict::Keep(_), _) => ("keep", "kept"),
            (Verdict::Remove(_), DryRun::Yes) => ("remove", "would be removed"),
            (Verdict::Remove(_), DryRun::No) => ("remove", "being removed"),
        };
        row.insert("since".to_owned(), json!(rfc3339(judged.since)));
        row.insert("decision".to_owned(), json!(decision));
        row.insert("outcome".to_owned(), json!(outcome));
        row
    };
    world.orphans.judged.iter().map(row).collect()
}

fn told(judged: &Judged) -> Map<String, Value> {
    let Judged { orphan, left, verdict: Verdict::Keep(reason) | Verdict::Remove(reason), .. } =
        judged;
    let (name, value) = match orphan {
        Orphan::Worker(id) => ("worker_id", id.to_string()),
        Orphan::Instance(name) => ("instance", name.to_string()),
    };
    let left: Vec<_> = left.iter().map(Left::to_string).collect();
    let fields = [(name, json!(value)), ("left", json!(left)), ("reason", json!(reason))];
    fields.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
}

fn event(kind: &str, judged: &Judged, effects: &Effects) -> Map<String, Value> {
    let mut event = effects.event(kind);
    event.extend(told(judged));
    event
}
