//! The service: one task owns the world; all else sends it events and carries out its effects.

use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{self, Receiver, Sender, UnboundedSender};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span};
use worker_protocol::{Problem, WorkerId};

use crate::act::{self, Hands};
use crate::driver::{BuildJob, Effect, Event, Write, handle};
use crate::store::StoreError;
use crate::telemetry::health::BEAT;
use crate::telemetry::spans::{aside, failed};
use crate::world::{BuildId, World};
use crate::{inbox, outbox, sources};

/// Events that wait to be handled. Handling takes microseconds, so this is a burst's worth; the
/// inbox waits when it is full.
const QUEUE: usize = 1024;

/// Serves until `stop`. Workers go on afterwards.
///
/// # Errors
/// When Redis cannot serve at the start. Later on, it is waited for.
pub async fn serve(hands: Hands, stop: CancellationToken) -> Result<(), StoreError> {
    hands.store.check().await?;
    let (events, queue) = mpsc::channel(QUEUE);
    let (writes, outbox_queue) = mpsc::unbounded_channel();
    let outbox = tokio::spawn(outbox::run(hands.store.clone(), outbox_queue));
    let tasks = TaskTracker::new();
    let begun = begin(&hands, &stop).await?;
    let _ = events.send(begun).await;
    let consumer = hands.settings.consumer.clone();
    tasks.spawn(inbox::run(hands.store.clone(), consumer, events.clone(), stop.clone()));
    sources::listen(&tasks, &hands, &events, &stop);
    tasks.close();
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
    tasks.wait().await;
    Ok(())
}

/// What Redis remembers and what the engine has. An engine that is away at the start is not
/// waited for: the next look finds what it has.
async fn begin(hands: &Hands, stop: &CancellationToken) -> Result<Event, StoreError> {
    let records = hands.store.remembered().await?;
    let found = match hands.engine.list(&hands.own()).await {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(%error, "starting without the engine");
            Vec::new()
        }
    };
    let left = hands.engine.leftovers(&hands.own()).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "starting without a look for leftovers");
        Vec::new()
    });
    let left = left.iter().filter_map(|name| hands.worker_of(name)).collect();
    tracing::debug!(records = records.len(), found = found.len(), stopping = stop.is_cancelled());
    Ok(Event::Begun { records, found, left })
}

/// The loop that owns the world.
struct Loop {
    hands: Hands,
    world: World,
    events: Sender<Event>,
    writes: UnboundedSender<Vec<Write>>,
    builds: BTreeMap<BuildId, AbortHandle>,
    room_to_build: Arc<Semaphore>,
}

impl Loop {
    fn new(hands: Hands, events: Sender<Event>, writes: UnboundedSender<Vec<Write>>) -> Self {
        let room_to_build = Arc::new(Semaphore::new(hands.settings.builds));
        let world = World::default();
        Self { hands, world, events, writes, builds: BTreeMap::new(), room_to_build }
    }

    async fn run(mut self, mut queue: Receiver<Event>, stop: &CancellationToken) {
        while let Some(Some(event)) = stop.run_until_cancelled(self.next(&mut queue)).await {
            if let Event::Built(_, id, _) = &event {
                self.builds.remove(id);
            }
            let now = Timestamp::now();
            self.hands.telemetry.event(&self.world, &event, now);
            let effects = handle(&mut self.world, &self.hands.catalogue, event, now);
            self.carry_out(effects);
        }
        for build in self.builds.values() {
            build.abort(); // Its `create` stays pending, and the next manager builds.
        }
    }

    /// The next event. A loop that waits for one lives.
    async fn next(&self, queue: &mut Receiver<Event>) -> Option<Event> {
        loop {
            self.hands.telemetry.health.beat(Instant::now());
            if let Ok(event) = timeout(BEAT, queue.recv()).await {
                return event;
            }
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        let mut writes = Vec::new();
        for effect in effects {
            self.hands.telemetry.effect(&effect);
            match effect {
                Effect::Write(write) => {
                    note(&write);
                    writes.push(write);
                }
                other => self.begin(other),
            }
        }
        if !writes.is_empty() {
            let _ = self.writes.send(writes);
        }
    }

    /// Begins with something that takes its time.
    fn begin(&mut self, effect: Effect) {
        let hands = self.hands.clone();
        match effect {
            Effect::Write(_) => {}
            Effect::Step(id, order) => {
                let span = self.hands.telemetry.spans.step(&self.world, id, &order);
                let step = async move { Event::Done(id, act::act(&hands, id, order).await) };
                self.report(step.instrument(span));
            }
            Effect::Build(job) => self.build(job),
            Effect::EndBuild(id) => {
                if let Some(build) = self.builds.remove(&id) {
                    build.abort();
                }
            }
            Effect::TakeInventory(cause) => {
                self.report(
                    async move { Event::Inventoried(act::take_inventory(&hands, &cause).await) },
                )
            }
            Effect::RemoveImage(tag, hash) => self.report(async move {
                Event::ImageRemoved(hash, act::remove_image(&hands, &tag).await)
            }),
            Effect::PruneCache(cause) => {
                // No build begins meanwhile: one that does may miss what it counted on.
                let all = u32::try_from(hands.settings.builds).unwrap_or(u32::MAX);
                let room = Arc::clone(&self.room_to_build);
                self.report(async move {
                    let _room = room.acquire_many(all).await;
                    Event::CachePruned(act::prune_cache(&hands, &cause).await)
                });
            }
            Effect::Admit(id) => self.aside(id, async move { act::admit(&hands, id).await }),
            Effect::Clear(id) => self.aside(id, async move { act::clear(&hands, id).await }),
            Effect::Hurry(id) => self.aside(id, async move { act::hurry(&hands, id).await }),
        }
    }

    /// Tries something beside the steps, and waits for nothing.
    fn aside(
        &self,
        id: WorkerId,
        work: impl Future<Output = Result<(), Problem>> + Send + 'static,
    ) {
        let span = aside(&self.world, id);
        let work = async move {
            if let Err(problem) = work.await {
                tracing::warn!(%problem);
            }
        };
        tokio::spawn(work.instrument(span));
    }

    /// What comes of it is an event.
    fn report(&self, outcome: impl Future<Output = Event> + Send + 'static) {
        let events = self.events.clone();
        tokio::spawn(async move {
            let event = outcome.await;
            let _ = events.send(event).await;
        });
    }

    fn build(&mut self, job: BuildJob) {
        let (hands, events) = (self.hands.clone(), self.events.clone());
        let room = Arc::clone(&self.room_to_build);
        let id = job.id;
        let span = hands.telemetry.spans.build(&self.world, &job);
        let work = async move {
            let _room = room.acquire().await;
            let result = act::build(&hands, &job, &events).await;
            if result.is_err() {
                failed(&Span::current(), "build_failed");
            }
            let _ = events.send(Event::Built(job.hash, id, result)).await;
        };
        let task = tokio::spawn(work.instrument(span));
        self.builds.insert(id, task.abort_handle());
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
