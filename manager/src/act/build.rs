//! Building an image.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Sender;

use super::Hands;
use crate::driver::Event;
use crate::engine::{BuildError, BuildOrder, BuildStep, ImageFacts};
use crate::image::{ImageHash, Rendered};
use crate::label;

/// Lines of one step follow each other no faster than this: they are for people to read.
const LINES_EVERY: Duration = Duration::from_millis(250);

/// Builds an image and reports how it goes. Dropping the future ends the build.
pub async fn build(
    hands: &Hands,
    hash: &ImageHash,
    rendered: &Rendered,
    events: &Sender<Event>,
) -> Result<ImageFacts, BuildError> {
    let namespace = hands.store.keys().namespace();
    let labels = BTreeMap::from([
        (label::NAMESPACE.to_owned(), namespace.to_owned()),
        (label::IMAGE.to_owned(), hash.to_string()),
    ]);
    let silence = hands.settings.build_silence;
    let context = rendered.context(hands.host().await?.cache_mounts);
    let order = BuildOrder { tag: hash.tag(namespace), context, labels, silence };
    let shown = Mutex::new((0, None::<Instant>));
    let progress = |step: BuildStep| {
        if is_worth_showing(&shown, &step) {
            // A full queue has more urgent events in it than a line of a build.
            let _ = events.try_send(Event::BuildWent(hash.clone(), step));
        }
    };
    hands.engine.build(order, &progress).await
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
