//! What happens without a command: the engine says something, time passes.

use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use worker_protocol::WorkerId;
use worker_protocol::boot::WhenIdle;

use crate::act::{self, Hands};
use crate::chain::chain;
use crate::disk_limits;
use crate::driver::Event;
use crate::engine::{EngineError, EngineEvent, Found, InstanceState};
use crate::image::collect::percent_free;
use crate::label;
use crate::orphan::Survey;
use crate::telemetry::outage::Outage;
use crate::world::{Cause, HostRoom};

/// How often what exists is compared with what is known, events or not.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A list that takes longer is none: hundreds of workers are told in a second.
const LOOK_WITHIN: Duration = Duration::from_secs(15);
/// Pauses between tries to hear the engine's events.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The engine's clock may be another's: what was heard before is harmless to hear again.
const OVERLAP: SignedDuration = SignedDuration::from_secs(2);
/// How often it is looked for what nobody knows, at most and at least.
const SURVEY_AT_MOST: Duration = Duration::from_millis(250);
const SURVEY_AT_LEAST: Duration = Duration::from_secs(60);
/// How often the disk is looked at. A build that fills it takes longer.
const DISK_EVERY: Duration = Duration::from_secs(30);
/// How often it is looked whether the host has room for another start. A start takes about as long.
const ROOM_EVERY: Duration = Duration::from_secs(2);
/// How often it is looked whether what is to be built in advance is there: a base image may have
/// changed, or somebody removed an image.
const IN_ADVANCE_EVERY: Duration = Duration::from_secs(60);
/// A schedule is looked at so often: a clock that was set is noticed.
const SCHEDULE_EVERY: Duration = Duration::from_secs(20);

/// Begins to listen, until `stop`. What is given back has it looked at once what exists.
pub(crate) fn listen(
    sources: &TaskTracker,
    hands: &Hands,
    events: &Sender<Event>,
    stop: &CancellationToken,
) -> Arc<Notify> {
    let each = || (hands.clone(), events.clone(), stop.clone());
    let look_now = Arc::new(Notify::new());
    let (hands, events, until) = each();
    sources.spawn(watch(hands, events, Arc::clone(&look_now), until));
    let (hands, events, until) = each();
    sources.spawn(look(hands, events, Arc::clone(&look_now), until));
    let (_, events, until) = each();
    sources.spawn(tick(events, until));
    let (hands, events, until) = each();
    sources.spawn(mind_the_disk(hands, events, until));
    let (hands, events, until) = each();
    sources.spawn(disk_limits::watch(hands, events, until));
    let (hands, events, until) = each();
    sources.spawn(mind_the_room(hands, events, until));
    let (hands, events, until) = each();
    sources.spawn(keep_the_schedule(hands, events, until));
    let (hands, events, until) = each();
    sources.spawn(build_in_advance(hands, events, until));
    let (hands, events, until) = each();
    sources.spawn(look_for_orphans(hands, events, until));
    look_now
}

/// The engine's own events: only a quicker way to see what the next look would show. What happened
/// while they were cut off, the engine tells when it is heard again; and one that was started anew,
/// and knows nothing of it, is looked at.
async fn watch(
    hands: Hands,
    events: Sender<Event>,
    look_now: Arc<Notify>,
    stop: CancellationToken,
) {
    let mut pause = FIRST_PAUSE;
    let mut since = Timestamp::now();
    while !stop.is_cancelled() {
        let mut stream = hands.engine.watch(&hands.own(), since);
        look_now.notify_one();
        let begun = Instant::now();
        while let Some(Some(event)) = stop.run_until_cancelled(stream.next()).await {
            pass_on(&hands, &events, event).await;
        }
        since = Timestamp::now() - OVERLAP;
        if begun.elapsed() > LONGEST_PAUSE {
            pause = FIRST_PAUSE;
        }
        let _ = stop.run_until_cancelled(tokio::time::sleep(pause)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn pass_on(hands: &Hands, events: &Sender<Event>, event: EngineEvent) {
    let (name, event): (_, fn(WorkerId) -> Event) = match event {
        EngineEvent::Started(name) => (name, Event::InstanceStarted),
        EngineEvent::Ended(name) | EngineEvent::Removed(name) => (name, Event::InstanceEnded),
    };
    if let Some(id) = hands.worker_of(&name) {
        let _ = events.send(event(id)).await;
    }
}

/// Every few seconds, and when there is a reason: what exists.
async fn look(hands: Hands, events: Sender<Event>, look_now: Arc<Notify>, stop: CancellationToken) {
    let mut beat = tokio::time::interval(LOOK_EVERY);
    let mut outage = Outage::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = beat.tick() => {}
            () = look_now.notified() => {}
        }
        let asked_at = Timestamp::now();
        let Some(seen) = stop.run_until_cancelled(see(&hands)).await else { return };
        note_change(&mut outage, &seen);
        match seen {
            Ok(found) => {
                let running = running(&found);
                let _ = events.send(Event::Listed { asked_at, found }).await;
                mind_the_idle(&hands, &events, &running).await;
            }
            Err(_) => {
                let _ = events.send(Event::Unseen).await;
            }
        }
    }
}

/// An engine that hangs does not answer either.
async fn see(hands: &Hands) -> Result<Vec<Found>, EngineError> {
    let listed = tokio::time::timeout(LOOK_WITHIN, hands.engine.list(&hands.own())).await;
    listed.unwrap_or_else(|_| {
        let reason = format!("no list of workers within {} s", LOOK_WITHIN.as_secs());
        Err(EngineError::Unavailable { reason })
    })
}

fn note_change(outage: &mut Outage, seen: &Result<Vec<Found>, EngineError>) {
    match seen {
        Err(error) => {
            if let Some(lasting) = outage.failed(Instant::now()) {
                tracing::warn!(%error, seconds = lasting.as_secs(), "cannot see the workers");
            }
        }
        Ok(_) => {
            if let Some(lasting) = outage.worked(Instant::now()) {
                tracing::info!(seconds = lasting.as_secs(), "the engine answers again");
            }
        }
    }
}

fn running(found: &[Found]) -> Vec<WorkerId> {
    let running = found.iter().filter(|instance| instance.state == InstanceState::Running);
    running.filter_map(|instance| label::worker_id(&instance.labels)).collect()
}

/// Where idle workers are paused: which of those that run say that they are idle.
async fn mind_the_idle(hands: &Hands, events: &Sender<Event>, running: &[WorkerId]) {
    if hands.settings.when_idle == WhenIdle::End {
        return;
    }
    match hands.store.idle(running).await {
        Ok(idle) if idle.is_empty() => {}
        Ok(idle) => {
            let _ = events.send(Event::Idle(idle)).await;
        }
        // A Redis that is away is complained of elsewhere.
        Err(error) => tracing::debug!(error = chain(&error), "cannot see who is idle"),
    }
}

/// Time passes, whatever the engine does.
async fn tick(events: Sender<Event>, stop: CancellationToken) {
    let mut beat = tokio::time::interval(LOOK_EVERY);
    while stop.run_until_cancelled(beat.tick()).await.is_some() {
        let _ = events.send(Event::Tick).await;
    }
}

/// Workers are started while the host has room for them.
async fn mind_the_room(hands: Hands, events: Sender<Event>, stop: CancellationToken) {
    let rules = &hands.settings.capacity;
    if rules.min_free_disk.is_none() && rules.min_free_memory.is_none() {
        return;
    }
    let mut beat = tokio::time::interval(ROOM_EVERY);
    while stop.run_until_cancelled(beat.tick()).await.is_some() {
        let _ = events.send(host_room(&hands).await).await;
    }
}

/// What the host has left. An engine that is away is complained of elsewhere.
pub(crate) async fn host_room(hands: &Hands) -> Event {
    let rules = &hands.settings.capacity;
    let mut room = HostRoom::default();
    if rules.min_free_disk.is_some() {
        room.disk = hands.engine.disk().await.ok().flatten();
    }
    if rules.min_free_memory.is_some() {
        room.memory = hands.engine.memory().await.ok().flatten();
    }
    Event::HostSeen(room)
}

/// What belongs to workers, so that what nobody knows is noticed: several times within its grace.
async fn look_for_orphans(hands: Hands, events: Sender<Event>, stop: CancellationToken) {
    let every = (hands.settings.orphan_grace / 4).clamp(SURVEY_AT_MOST, SURVEY_AT_LEAST);
    let mut beat = tokio::time::interval(every);
    let mut outage = Outage::default();
    while stop.run_until_cancelled(beat.tick()).await.is_some() {
        let Some(survey) = stop.run_until_cancelled(act::survey(&hands)).await else { return };
        match survey {
            Ok(survey) => {
                outage.worked(Instant::now());
                let _ = events.send(Event::Surveyed(survey)).await;
            }
            Err(problem) => {
                if outage.failed(Instant::now()).is_some() {
                    tracing::warn!(%problem, "cannot look for what is left of unknown workers");
                }
            }
        }
    }
}

/// Whoever asks for a collection is told of orphans too, as they are by then.
pub(crate) async fn survey_for(hands: &Hands, cause: &Cause) -> Option<Survey> {
    match cause {
        Cause::Asked(_) => act::survey(hands).await.ok(),
        Cause::Schedule | Cause::Disk => None,
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
