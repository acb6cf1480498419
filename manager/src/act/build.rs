//! Building an image.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Sender;
use tokio::time::sleep;

use super::Hands;
use crate::driver::{BuildJob, Event};
use crate::engine::{BuildError, BuildOrder, BuildStep, EngineError, ImageFacts};
use crate::failpoint::{Failpoint, pass};
use crate::label;

/// Lines of one step follow each other no faster than this: they are for people to read.
const LINES_EVERY: Duration = Duration::from_millis(250);
/// An engine that goes away again and again is not built on more often than this.
const TRIES: usize = 5;
/// How often an engine that is away is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Builds an image and reports how it goes. Dropping the future ends the build.
///
/// An engine that goes away in the middle, as one that is restarted does, is waited for; what it
/// had finished by then is in its cache.
pub async fn build(
    hands: &Hands,
    job: &BuildJob,
    events: &Sender<Event>,
) -> Result<ImageFacts, BuildError> {
    let shown = Mutex::new((0, None::<Instant>));
    let progress = |step: BuildStep| {
        if is_worth_showing(&shown, &step) {
            // A full queue has more urgent events in it than a line of a build.
            let _ = events.try_send(Event::BuildWent(job.hash.clone(), job.id, step));
        }
    };
    let mut tries = 1;
    pass(Failpoint::BuildBegins);
    loop {
        match hands.engine.build(order(hands, job).await?, &progress).await {
            Err(BuildError::Engine(away @ EngineError::Unavailable { .. })) if tries < TRIES => {
                tracing::warn!(image = %job.hash, error = %away, "the engine left a build; waiting");
                progress(BuildStep { step: 0, of: 0, line: "waiting for the engine".to_owned() });
                wait_for_engine(hands, away).await?;
                tries += 1;
            }
            result => {
                pass(Failpoint::BuildEnded);
                return result;
            }
        }
    }
}

async fn order(hands: &Hands, job: &BuildJob) -> Result<BuildOrder, BuildError> {
    let namespace = hands.store.keys().namespace();
    let base = job.wish.base_image.as_ref().unwrap_or(&hands.settings.base_image);
    let labels = [
        (label::NAMESPACE, namespace.to_owned()),
        (label::BUILD, label::BUILD_MARK.to_owned()),
        (label::IMAGE, job.hash.to_string()),
        (label::HOLDS, job.wish.to_string()),
        (label::BASE, base.clone()),
    ];
    Ok(BuildOrder {
        tag: job.hash.tag(namespace),
        context: job.rendered.context(hands.host().await?.cache_mounts),
        labels: BTreeMap::from(labels.map(|(name, value)| (name.to_owned(), value))),
        silence: hands.settings.build_silence,
    })
}

async fn wait_for_engine(hands: &Hands, away: EngineError) -> Result<(), EngineError> {
    let begun = Instant::now();
    while begun.elapsed() < hands.settings.engine_patience {
        if hands.engine.describe().await.is_ok() {
            return Ok(());
        }
        sleep(LOOK_EVERY).await;
    }
    Err(away)
}

fn is_worth_showing(shown: &Mutex<(u32, Option<Instant>)>, step: &BuildStep) -> bool {
    let Ok(mut shown) = shown.lock() else { return false };
    let recent = shown.1.is_some_and(|at| at.elapsed() < LINES_EVERY);
    if shown.0 == step.step && recent {
        return false;
    }
    *shown = (step.step, Some(Instant::now()));
    true
}
