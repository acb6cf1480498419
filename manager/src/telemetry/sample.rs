//! Numbers that nobody tells: they are asked for now and then, where somebody reads them.

use std::collections::BTreeMap;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use worker_protocol::WorkerId;

use crate::act::{self, Hands};
use crate::image::collect::bytes_on_disk;
use crate::store::StoreError;

/// Two short questions to Redis.
const REDIS_EVERY: Duration = Duration::from_secs(5);
/// The engine is asked two questions for each image.
const IMAGES_EVERY: Duration = Duration::from_secs(60);

/// Asks until `stop`. One who does not answer is complained of elsewhere.
pub(super) async fn run(hands: Hands, stop: CancellationToken) {
    let mut redis = tokio::time::interval(REDIS_EVERY);
    let mut images = tokio::time::interval(IMAGES_EVERY);
    let mut told = BTreeMap::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = redis.tick() => drop(ask_redis(&hands, &mut told).await),
            _ = images.tick() => ask_engine(&hands).await,
        }
    }
}

/// What a wrapper has told so far, from its start on.
#[derive(Clone, Copy, Default)]
struct Told {
    spooled: u64,
    dropped: u64,
}

async fn ask_redis(hands: &Hands, told: &mut BTreeMap<WorkerId, Told>) -> Result<(), StoreError> {
    let sampled = &hands.telemetry.metrics.sampled;
    let running = hands.telemetry.metrics.running();
    told.retain(|id, _| running.binary_search(id).is_ok());
    for (id, pulse) in hands.store.pulses(&running).await? {
        let now = Told { spooled: pulse.spooled_bytes, dropped: pulse.dropped_entries };
        let before = told.insert(id, now).unwrap_or_default();
        sampled.spooled.inc_by(grown(before.spooled, now.spooled));
        sampled.dropped.inc_by(grown(before.dropped, now.dropped));
    }
    let backlog = hands.store.backlog().await?;
    sampled.commands_lag.set(backlog.lag);
    sampled.commands_pending.set(backlog.pending);
    Ok(())
}

/// A wrapper that was started again counts from nothing.
fn grown(before: u64, now: u64) -> u64 {
    now.checked_sub(before).unwrap_or(now)
}

async fn ask_engine(hands: &Hands) {
    let sampled = &hands.telemetry.metrics.sampled;
    let number = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    if let Ok(images) = act::images(hands).await {
        let bytes = bytes_on_disk(images.iter().map(|image| image.layers.as_slice()));
        sampled.images.set(number(images.len() as u64));
        sampled.image_bytes.set(number(bytes));
    }
    if let Ok(disk) = hands.engine.disk().await {
        sampled.disk_free.set(disk.map_or(0, |disk| number(disk.free)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrapper_that_began_anew_adds_what_it_counted_since() {
        assert_eq!((grown(0, 5), grown(5, 7), grown(7, 7), grown(7, 2)), (5, 2, 0, 2));
    }
}
