//! Images are built: for the workers that wait for them, and in advance.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use worker_protocol::{ErrorKind, Problem, WorkerId, rfc3339};

use super::effects::{BuildJob, Effect, Effects, Write};
use super::outcome::{break_down, settle};
use crate::engine::{BuildError, BuildStep, ImageFacts};
use crate::image::{ImageHash, ImageWish, Rendered};
use crate::world::{Begin, Build, BuildId, Builds, Image, Prebuild, Stage, World};

/// A worker waits for its image, which is built unless that is under way or failed a moment ago.
pub(super) fn await_image(
    world: &mut World,
    id: WorkerId,
    image: Image,
    rendered: Arc<Rendered>,
    effects: &mut Effects,
) {
    if let Some(problem) = world.builds.failure(&image.hash, effects.now) {
        return break_down(world, id, problem, effects);
    }
    let Some(worker) = world.workers.get_mut(&id) else { return };
    let wish = ImageWish::from(&*worker.spec);
    let build = join(&mut world.builds, &image.hash, &wish, &rendered, effects);
    build.waiting.insert(id);
    worker.enter(Stage::Building { image, rendered }, effects.now);
    effects.announce(worker);
}

fn join<'a>(
    builds: &'a mut Builds,
    hash: &ImageHash,
    wish: &ImageWish,
    rendered: &Arc<Rendered>,
    effects: &mut Effects,
) -> &'a mut Build {
    let (build, begin) = builds.join(hash, wish, effects.now);
    if begin == Begin::Yes {
        effects.push(Effect::Build(BuildJob {
            id: build.id,
            hash: hash.clone(),
            wish: wish.clone(),
            rendered: Arc::clone(rendered),
        }));
    }
    build
}

/// A build that nobody wants any more is ended.
pub(super) fn leave(world: &mut World, id: WorkerId, hash: &ImageHash, effects: &mut Effects) {
    let Some(build) = world.builds.get_mut(hash) else { return };
    build.waiting.remove(&id);
    if build.is_unwanted() {
        let id = build.id;
        world.builds.end(hash, id);
        effects.push(Effect::EndBuild(id));
    }
}

/// The operator's list was looked at.
pub(super) fn in_advance(world: &mut World, list: Vec<Prebuild>, effects: &mut Effects) {
    world.builds.in_advance = list;
    begin_in_advance(world, effects);
}

fn begin_in_advance(world: &mut World, effects: &mut Effects) {
    let Some(next) = world.builds.next_in_advance(effects.now).cloned() else { return };
    let Prebuild { wish, image, rendered, .. } = next;
    join(&mut world.builds, &image.hash, &wish, &rendered, effects).in_advance = true;
}

pub(super) fn went(
    world: &World,
    hash: &ImageHash,
    id: BuildId,
    step: &BuildStep,
    effects: &mut Effects,
) {
    let Some(build) = world.builds.get(hash, id) else { return };
    let mut event = event(hash, &build.wish, effects);
    event.insert("step".to_owned(), json!(step.step));
    event.insert("of".to_owned(), json!(step.of));
    event.insert("line".to_owned(), json!(step.line));
    effects.write(Write::Event(event));
    let reason = match step.of {
        0 => "building".to_owned(),
        of => format!("building {}/{of}", step.step),
    };
    for id in &build.waiting {
        let mut record = Map::new();
        record.insert("reason".to_owned(), json!(reason));
        effects.write(Write::Record(*id, record));
    }
}

pub(super) fn ended(
    world: &mut World,
    hash: &ImageHash,
    id: BuildId,
    result: Result<ImageFacts, BuildError>,
    effects: &mut Effects,
) {
    let Some(build) = world.builds.end(hash, id) else { return };
    let problem = note(world, hash, &build, result, effects);
    for id in build.waiting {
        let Some(worker) = world.workers.get_mut(&id) else { continue };
        match (&problem, &worker.stage) {
            (None, Stage::Building { image, .. }) => {
                let image = image.clone();
                worker.enter(Stage::Imaged { image }, effects.now);
                effects.seat(worker);
                effects.announce(worker);
            }
            (Some(problem), _) => break_down(world, id, problem.clone(), effects),
            (None, _) => {}
        }
        if let Some(worker) = world.workers.get_mut(&id) {
            effects.advance(worker);
        }
        settle(world, id, effects);
    }
    begin_in_advance(world, effects);
}

/// Notes how a build came out; why it failed, if it did.
fn note(
    world: &mut World,
    hash: &ImageHash,
    build: &Build,
    result: Result<ImageFacts, BuildError>,
    effects: &mut Effects,
) -> Option<Problem> {
    let mut event = event(hash, &build.wish, effects);
    event.insert("status".to_owned(), json!(if result.is_ok() { "built" } else { "failed" }));
    let problem = match result {
        Ok(facts) => {
            world.builds.succeed(hash);
            let fields = about_image(build, &facts, effects.now);
            effects.write(Write::Image(hash.clone(), fields));
            effects.write(Write::Touch(hash.clone()));
            None
        }
        Err(error) => {
            let problem = build_problem(&error);
            // That the engine was away says nothing about the image.
            if matches!(error, BuildError::Failed { .. }) || build.in_advance {
                world.builds.fail(hash.clone(), problem.clone(), effects.now);
            }
            event.insert("message".to_owned(), json!(problem.message));
            Some(problem)
        }
    };
    effects.write(Write::Event(event));
    problem
}

fn event(hash: &ImageHash, wish: &ImageWish, effects: &Effects) -> Map<String, Value> {
    let mut event = effects.event("build");
    event.insert("image".to_owned(), json!(hash.to_string()));
    event.insert("holds".to_owned(), json!(wish.to_string()));
    event
}

/// What is written down about an image that was built.
fn about_image(build: &Build, facts: &ImageFacts, now: Timestamp) -> Map<String, Value> {
    let fields = json!({
        "agent_type": build.wish.agent,
        "modules": build.wish.modules,
        "size": facts.size,
        "built_at": rfc3339(now),
        "build_seconds": now.duration_since(build.since).as_secs(),
    });
    fields.as_object().cloned().unwrap_or_default()
}

fn build_problem(error: &BuildError) -> Problem {
    match error {
        BuildError::Engine(error) => error.into(),
        BuildError::Failed { reason, last_lines } => Problem::new(
            ErrorKind::BuildFailed,
            format!("{reason}; the build's last lines:\n{}", last_lines.join("\n")),
        ),
    }
}
