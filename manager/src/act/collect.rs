//! Collecting images: what there is, and removing what was judged to go.

use jiff::Timestamp;
use std::time::Duration;
use worker_protocol::Problem;

use super::{Hands, store_problem};
use crate::engine::{EngineError, HeldImage, Pruning};
use crate::image::ImageHash;
use crate::image::collect::{Inventory, Stored};
use crate::label;
use crate::world::{Cause, Pruned};

/// Every image of this installation, with what its rules are.
pub async fn take_inventory(hands: &Hands, cause: &Cause) -> Result<Inventory, Problem> {
    let problem = |error: EngineError| Problem::from(&error);
    let all = hands.engine.images(&[]).await.map_err(problem)?;
    let (own, others) = divided(hands, all);
    let images = with_last_use(hands, own).await?;
    let others = others.into_iter().flat_map(|image| image.layers).map(|layer| layer.id).collect();
    let disk = hands.engine.disk().await.map_err(problem)?;
    let cache = hands.engine.prune_cache(cache_age(hands, cause), Pruning::Count).await;
    let rules = hands.settings.gc.rules.clone();
    Ok(Inventory { images, others, disk, cache: cache.map_err(problem)?, rules })
}

/// Every image of this installation.
pub async fn images(hands: &Hands) -> Result<Vec<Stored>, Problem> {
    let ours = [(label::BUILD.to_owned(), label::BUILD_MARK.to_owned())];
    let held = hands.engine.images(&ours).await.map_err(|error| Problem::from(&error))?;
    with_last_use(hands, divided(hands, held).0).await
}

/// Images of this installation, with their hashes, and all others.
fn divided(hands: &Hands, all: Vec<HeldImage>) -> (Vec<(ImageHash, HeldImage)>, Vec<HeldImage>) {
    let namespace = hands.store.keys().namespace();
    let (mut own, mut others) = (Vec::new(), Vec::new());
    for image in all {
        match own_hash(namespace, &image) {
            Some(hash) => own.push((hash, image)),
            None => others.push(image),
        }
    }
    (own, others)
}

async fn with_last_use(
    hands: &Hands,
    own: Vec<(ImageHash, HeldImage)>,
) -> Result<Vec<Stored>, Problem> {
    let hashes: Vec<_> = own.iter().map(|(hash, _)| hash.as_str()).collect();
    let now = Timestamp::now();
    let used = hands.store.last_used(&hashes, now).await.map_err(|error| store_problem(&error))?;
    let last_used = |hash: &ImageHash| {
        let at = used.get(hash.as_str()).and_then(|at| Timestamp::from_second(*at).ok());
        at.unwrap_or(now)
    };
    Ok(own.into_iter().map(|(hash, image)| stored(last_used(&hash), hash, image)).collect())
}

/// An image is this installation's by its name, and by the mark that says the same: a name alone
/// anybody can give.
fn own_hash(namespace: &str, image: &HeldImage) -> Option<ImageHash> {
    let hash = ImageHash::of_tag(&image.tag)?;
    let named = image.tag == hash.tag(namespace);
    let marked = image.labels.get(label::IMAGE).is_some_and(|mark| mark == hash.as_str());
    (named && marked).then_some(hash)
}

fn stored(last_used: Timestamp, hash: ImageHash, image: HeldImage) -> Stored {
    let text = |name: &str| image.labels.get(name).cloned().unwrap_or_default();
    Stored {
        hash,
        tag: image.tag,
        holds: text(label::HOLDS),
        base: text(label::BASE),
        size: image.size,
        layers: image.layers,
        built_at: image.created_at,
        last_used,
        used: image.used,
    }
}

/// Removes an image; one that an instance has come to use stays, by the engine's word.
pub async fn remove_image(hands: &Hands, tag: &str) -> Result<(), Problem> {
    hands.engine.remove_image(tag).await.map_err(|error| Problem::from(&error))
}

/// Removes what builds left behind, and looks at the disk again.
pub async fn prune_cache(hands: &Hands, cause: &Cause) -> Result<Pruned, Problem> {
    let pruned = hands.engine.prune_cache(cache_age(hands, cause), Pruning::Remove).await;
    let bytes = pruned.map_err(|error| Problem::from(&error))?;
    // What went is gone, whether the disk can be looked at or not.
    Ok(Pruned { bytes, disk: hands.engine.disk().await.ok().flatten() })
}

/// For a disk that is nearly full, whatever is not fresh is old enough.
fn cache_age(hands: &Hands, cause: &Cause) -> Duration {
    let rules = &hands.settings.gc.rules;
    match cause {
        Cause::Disk => rules.youngest.min(rules.cache_unused),
        Cause::Schedule | Cause::Asked(_) => rules.cache_unused,
    }
}
