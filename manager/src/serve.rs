//! The service: one task owns the world; all else sends it events and carries out its effects.

use futures_util::StreamExt;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{self, Receiver, Sender, UnboundedSender};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use worker_protocol::{Problem, WorkerId};

use crate::act::{self, Hands};
use crate::driver::{Effect, Event, Write, handle};
use crate::engine::EngineEvent;
use crate::image::ImageHash;
use crate::label;
use crate::store::StoreError;
use crate::world::World;
use crate::{inbox, outbox};

/// Events that wait to be handled. Handling takes microseconds, so this is a burst's worth; the
/// inbox waits when it is full.
const QUEUE: usize = 1024;
/// How often what exists is compared with what is known, events or not.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Serves until `stop`. Workers go on afterwards.
///
/// # Errors
/// When Redis cannot serve at the start. Later on, it is waited for.
pub async fn serve(hands: Hands, stop: CancellationToken) -> Result<(), StoreError> {
    hands.store.check().await?;
    let (events, queue) = mpsc::channel(QUEUE);
    let (writes, outbox_queue) = mpsc::unbounded_channel();
    let outbox = tokio::spawn(outbox::run(hands.store.clone(), outbox_queue));
    let sources = TaskTracker::new();
    let begun = begin(&hands, &stop).await?;
    let _ = events.send(begun).await;
    let consumer = hands.settings.consumer.clone();
    sources.spawn(inbox::run(hands.store.clone(), consumer, events.clone(), stop.clone()));
    sources.spawn(watch(hands.clone(), events.clone(), stop.clone()));
    sources.spawn(look(hands.clone(), events.clone(), stop.clone()));
    sources.close();
    tracing::info!(
        namespace = hands.settings.keys.namespace(),
        redis = hands.store.address(),
        network = hands.settings.network,
        base_image = hands.settings.base_image,
        "ready"
    );
    let loop_ = Loop::new(hands, events, writes);
    loop_.run(queue, &stop).await;
    let _ = outbox.await;
    sources.wait().await;
    Ok(())
}

/// What Redis remembers and what the engine has. An engine that is away at the start is not
/// waited for: the next look finds what it has.
async fn begin(hands: &Hands, stop: &CancellationToken) -> Result<Event, StoreError> {
    let records = hands.store.remembered().await?;
    let found = match hands.engine.list(&own(hands)).await {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(%error, "starting without the engine");
            Vec::new()
        }
    };
    tracing::debug!(records = records.len(), found = found.len(), stopping = stop.is_cancelled());
    Ok(Event::Begun { records, found })
}

/// The label that marks this installation's instances.
fn own(hands: &Hands) -> Vec<(String, String)> {
    vec![(label::NAMESPACE.to_owned(), hands.store.keys().namespace().to_owned())]
}

/// The loop that owns the world.
struct Loop {
    hands: Hands,
    world: World,
    events: Sender<Event>,
    writes: UnboundedSender<Vec<Write>>,
    builds: BTreeMap<ImageHash, AbortHandle>,
    room_to_build: Arc<Semaphore>,
}

impl Loop {
    fn new(hands: Hands, events: Sender<Event>, writes: UnboundedSender<Vec<Write>>) -> Self {
        let room_to_build = Arc::new(Semaphore::new(hands.settings.builds));
        let world = World::default();
        Self { hands, world, events, writes, builds: BTreeMap::new(), room_to_build }
    }

    async fn run(mut self, mut queue: Receiver<Event>, stop: &CancellationToken) {
        while let Some(Some(event)) = stop.run_until_cancelled(queue.recv()).await {
            if let Event::Built(hash, _) = &event {
                self.builds.remove(hash);
            }
            let effects = handle(&mut self.world, &self.hands.catalogue, event, Timestamp::now());
            self.carry_out(effects);
        }
        for build in self.builds.values() {
            build.abort(); // Its `create` stays pending, and the next manager builds.
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        let mut writes = Vec::new();
        for effect in effects {
            match effect {
                Effect::Write(write) => {
                    note(&write);
                    writes.push(write);
                }
                Effect::Step(id, order) => {
                    let (hands, events) = (self.hands.clone(), self.events.clone());
                    tokio::spawn(async move {
                        let outcome = act::act(&hands, id, order).await;
                        let _ = events.send(Event::Done(id, outcome)).await;
                    });
                }
                Effect::Build(hash, rendered) => {
                    let (hands, events) = (self.hands.clone(), self.events.clone());
                    let room = Arc::clone(&self.room_to_build);
                    let key = hash.clone();
                    let task = tokio::spawn(async move {
                        let _room = room.acquire().await;
                        let result = act::build(&hands, &hash, &rendered, &events).await;
                        let _ = events.send(Event::Built(hash, result)).await;
                    });
                    self.builds.insert(key, task.abort_handle());
                }
                Effect::Admit(id) => {
                    let hands = self.hands.clone();
                    tokio::spawn(async move { warn_of(id, act::admit(&hands, id).await) });
                }
                Effect::Hurry(id) => {
                    let hands = self.hands.clone();
                    tokio::spawn(async move { warn_of(id, act::hurry(&hands, id).await) });
                }
                Effect::EndBuild(hash) => {
                    if let Some(build) = self.builds.remove(&hash) {
                        build.abort();
                    }
                }
            }
        }
        if !writes.is_empty() {
            let _ = self.writes.send(writes);
        }
    }
}

/// For what is tried beside the steps, and of which nothing is waited for.
fn warn_of(id: WorkerId, result: Result<(), Problem>) {
    if let Err(problem) = result {
        tracing::warn!(worker = %id, %problem);
    }
}

/// What an operator finds in the log: what became of workers, images and commands, by name.
fn note(write: &Write) {
    let text = |fields: &serde_json::Map<String, serde_json::Value>, name: &str| {
        fields.get(name).map(worker_protocol::reply::plain).unwrap_or_default()
    };
    match write {
        Write::Event(event) if text(event, "type") == "build" && !event.contains_key("status") => {}
        Write::Event(event) => tracing::info!(
            worker = text(event, "worker_id"),
            image = text(event, "image"),
            request = text(event, "request_id"),
            reason = text(event, "reason"),
            message = text(event, "message"),
            "{} {}",
            text(event, "type"),
            text(event, "status"),
        ),
        Write::Reply(header, reply, _) => tracing::debug!(
            request = header.request_id,
            command = header.command,
            ok = reply.is_ok(),
            error = reply.text("error"),
            "replied"
        ),
        _ => {}
    }
}

/// The engine's own events: only a quicker way to see what the next look would show.
async fn watch(hands: Hands, events: Sender<Event>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let mut stream = hands.engine.watch(&own(&hands));
        while let Some(Some(event)) = stop.run_until_cancelled(stream.next()).await {
            let name = match event {
                EngineEvent::Ended(name) | EngineEvent::Removed(name) => name,
                EngineEvent::Started(_) => continue,
            };
            let prefix = format!("{}-", hands.store.keys().namespace());
            let id = name.0.strip_prefix(&prefix).and_then(|id| WorkerId::parse(id).ok());
            if let Some(id) = id {
                let _ = events.send(Event::InstanceEnded(id)).await;
            }
        }
        let _ = stop.run_until_cancelled(tokio::time::sleep(Duration::from_secs(1))).await;
    }
}

/// Every few seconds: what exists, and that time has passed.
async fn look(hands: Hands, events: Sender<Event>, stop: CancellationToken) {
    let mut beat = tokio::time::interval(LOOK_EVERY);
    while stop.run_until_cancelled(beat.tick()).await.is_some() {
        let asked_at = Timestamp::now();
        match hands.engine.list(&own(&hands)).await {
            Ok(found) => {
                let _ = events.send(Event::Listed { asked_at, found }).await;
            }
            Err(error) => tracing::warn!(%error, "cannot see the workers"),
        }
        let _ = events.send(Event::Tick).await;
    }
}
