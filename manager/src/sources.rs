//! What happens without a command: the engine says something, time passes.

use futures_util::StreamExt;
use jiff::Timestamp;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::act::{self, Hands};
use crate::driver::Event;
use crate::engine::EngineEvent;
use crate::image::collect::percent_free;
use crate::telemetry::outage::Outage;
use crate::world::Cause;

/// How often what exists is compared with what is known, events or not.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often the disk is looked at. A build that fills it takes longer.
const DISK_EVERY: Duration = Duration::from_secs(30);
/// How often it is looked whether what is to be built in advance is there: a base image may have
/// changed, or somebody removed an image.
const IN_ADVANCE_EVERY: Duration = Duration::from_secs(60);
/// A schedule is looked at so often: a clock that was set is noticed.
const SCHEDULE_EVERY: Duration = Duration::from_secs(20);

/// Begins to listen, until `stop`.
pub(crate) fn listen(
    sources: &TaskTracker,
    hands: &Hands,
    events: &Sender<Event>,
    stop: &CancellationToken,
) {
    let each = || (hands.clone(), events.clone(), stop.clone());
    let (hands, events, until) = each();
    sources.spawn(watch(hands, events, until));
    let (hands, events, until) = each();
    sources.spawn(look(hands, events, until));
    let (hands, events, until) = each();
    sources.spawn(mind_the_disk(hands, events, until));
    let (hands, events, until) = each();
    sources.spawn(keep_the_schedule(hands, events, until));
    let (hands, events, until) = each();
    sources.spawn(build_in_advance(hands, events, until));
}

/// The engine's own events: only a quicker way to see what the next look would show.
async fn watch(hands: Hands, events: Sender<Event>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let mut stream = hands.engine.watch(&hands.own());
        while let Some(Some(event)) = stop.run_until_cancelled(stream.next()).await {
            let name = match event {
                EngineEvent::Ended(name) | EngineEvent::Removed(name) => name,
                EngineEvent::Started(_) => continue,
            };
            if let Some(id) = hands.worker_of(&name) {
                let _ = events.send(Event::InstanceEnded(id)).await;
            }
        }
        let _ = stop.run_until_cancelled(tokio::time::sleep(Duration::from_secs(1))).await;
    }
}

/// Every few seconds: what exists, and that time has passed.
async fn look(hands: Hands, events: Sender<Event>, stop: CancellationToken) {
    let mut beat = tokio::time::interval(LOOK_EVERY);
    let mut outage = Outage::default();
    while stop.run_until_cancelled(beat.tick()).await.is_some() {
        let asked_at = Timestamp::now();
        match hands.engine.list(&hands.own()).await {
            Ok(found) => {
                if let Some(lasting) = outage.worked(Instant::now()) {
                    tracing::info!(seconds = lasting.as_secs(), "the engine answers again");
                }
                let _ = events.send(Event::Listed { asked_at, found }).await;
            }
            Err(error) => {
                if let Some(lasting) = outage.failed(Instant::now()) {
                    tracing::warn!(%error, seconds = lasting.as_secs(), "cannot see the workers");
                }
            }
        }
        let _ = events.send(Event::Tick).await;
    }
}

/// A disk that is nearly full is a reason to collect images.
async fn mind_the_disk(hands: Hands, events: Sender<Event>, stop: CancellationToken) {
    let Some(least) = hands.settings.gc.rules.least_free else { return };
    let mut beat = tokio::time::interval(DISK_EVERY);
    while stop.run_until_cancelled(beat.tick()).await.is_some() {
        // An engine that is away is complained of elsewhere.
        if let Ok(Some(disk)) = hands.engine.disk().await
            && percent_free(disk) < u64::from(least)
        {
            let _ = events.send(Event::CollectionDue(Cause::Disk)).await;
        }
    }
}

async fn keep_the_schedule(hands: Hands, events: Sender<Event>, stop: CancellationToken) {
    let gc = &hands.settings.gc;
    let mut next = gc.next_after(Timestamp::now());
    while let Some(at) = next {
        let left = Timestamp::now().duration_until(at);
        let pause = Duration::try_from(left).unwrap_or_default().min(SCHEDULE_EVERY);
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
        if Timestamp::now() >= at {
            let _ = events.send(Event::CollectionDue(Cause::Schedule)).await;
            next = gc.next_after(Timestamp::now());
        }
    }
}

async fn build_in_advance(hands: Hands, events: Sender<Event>, stop: CancellationToken) {
    if hands.settings.prebuild.is_empty() {
        return;
    }
    let mut beat = tokio::time::interval(IN_ADVANCE_EVERY);
    while stop.run_until_cancelled(beat.tick()).await.is_some() {
        let list = act::in_advance(&hands).await;
        let _ = events.send(Event::InAdvance(list)).await;
    }
}
