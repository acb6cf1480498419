//! The service: one task owns the world; all else sends it events and carries out its effects.

use jiff::Timestamp;
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{self, Receiver, Sender, UnboundedSender};
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use worker_protocol::{Problem, WorkerId};

use crate::act::{self, Hands};
use crate::caught::caught;
use crate::chain::chain;
use crate::driver::{BuildJob, Effect, Event, Write, handle};
use crate::engine::BuildError;
use crate::inbox::Inbox;
use crate::lease::{Hold, Lease};
use crate::store::StoreError;
use crate::world::{BuildId, World};
use crate::{outbox, sources};

/// Events that wait to be handled. Handling takes microseconds, so this is a burst's worth; the
/// inbox waits when it is full.
const QUEUE: usize = 1024;

/// After a lease that was of no use.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Serves until `stop`, whenever this manager has the lease. Workers go on afterwards.
///
/// # Errors
/// When Redis cannot serve at the start. Later on, it is waited for.
pub async fn serve(hands: Hands, stop: CancellationToken) -> Result<(), StoreError> {
    hands.store.check().await?;
    let name = hands.settings.consumer.clone();
    while let Some(lease) = Lease::stand_by(&hands.store, &name, &stop).await {
        if let Err(error) = lead(hands.under(lease.hold()), lease.hold()).await {
            tracing::warn!(error = chain(&error), "cannot begin; standing by again");
            let _ = stop.run_until_cancelled(tokio::time::sleep(AGAIN_AFTER)).await;
        }
        lease.give_up().await;
    }
    Ok(())
}

/// Acts, until told to stop or another manager has taken over. Then nothing goes on: what was under
/// way is dropped, and what was decided is written, or refused by the fence.
async fn lead(hands: Hands, hold: &Hold) -> Result<(), StoreError> {
    let over = hold.over();
    let (events, queue) = mpsc::channel(QUEUE);
    let (writes, outbox_queue) = mpsc::unbounded_channel();
    let (handled, seen) = watch::channel(0);
    let _ = events.send(begin(&hands).await?).await;
    let inbox =
        Inbox::new(hands.store.clone(), hold.name(), hands.settings.tries, events.clone(), seen);
    let mut crew = JoinSet::new();
    crew.spawn(outbox::run(hands.store.clone(), hold.clone(), outbox_queue));
    crew.spawn(inbox.run(over.clone()));
    // They only look, and end by themselves: nobody waits for an engine that does not answer.
    sources::listen(&TaskTracker::new(), &hands, &events, over);
    tracing::info!(
        manager = hold.name(),
        namespace = hands.settings.keys.namespace(),
        redis = hands.store.address(),
        network = hands.settings.network,
        base_image = hands.settings.base_image,
        "ready"
    );
    let loop_ = Loop::new(hands, hold.name(), events, writes, handled);
    tokio::select! {
        () = loop_.run(queue, over) => {}
        panic = panic_of(&mut crew) => std::panic::resume_unwind(panic),
    }
    while let Some(ended) = crew.join_next().await {
        if let Some(panic) = ended.err().and_then(|error| error.try_into_panic().ok()) {
            std::panic::resume_unwind(panic);
        }
    }
    Ok(())
}

/// Without inbox or outbox, a manager is none: it ends, and another begins.
async fn panic_of(crew: &mut JoinSet<()>) -> Box<dyn Any + Send> {
    loop {
        match crew.join_next().await {
            Some(Err(error)) if error.is_panic() => return error.into_panic(),
            Some(_) => {}
            None => std::future::pending().await,
        }
    }
}

/// What Redis remembers and what the engine has. An engine that is away at the start is not
/// waited for: the next look finds what it has.
async fn begin(hands: &Hands) -> Result<Event, StoreError> {
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
    tracing::debug!(records = records.len(), found = found.len(), "begins");
    Ok(Event::Begun { records, found, left })
}

/// The loop that owns the world.
struct Loop {
    hands: Hands,
    world: World,
    events: Sender<Event>,
    writes: UnboundedSender<Vec<Write>>,
    /// How many arrivals were handled.
    handled: watch::Sender<u64>,
    /// What is under way.
    tasks: JoinSet<()>,
    builds: BTreeMap<BuildId, AbortHandle>,
    room_to_build: Arc<Semaphore>,
}

impl Loop {
    fn new(
        hands: Hands,
        name: &str,
        events: Sender<Event>,
        writes: UnboundedSender<Vec<Write>>,
        handled: watch::Sender<u64>,
    ) -> Self {
        let room_to_build = Arc::new(Semaphore::new(hands.settings.builds));
        let world = World { manager: Some(name.to_owned()), ..World::default() };
        let (tasks, builds) = (JoinSet::new(), BTreeMap::new());
        Self { hands, world, events, writes, handled, tasks, builds, room_to_build }
    }

    async fn run(mut self, mut queue: Receiver<Event>, over: &CancellationToken) {
        while let Some(Some(event)) = over.run_until_cancelled(queue.recv()).await {
            if let Event::Built(_, id, _) = &event {
                self.builds.remove(id);
            }
            let arrived = matches!(event, Event::Arrived(_));
            let effects = handle(&mut self.world, &self.hands.catalogue, event, Timestamp::now());
            self.carry_out(effects);
            if arrived {
                self.handled.send_modify(|handled| *handled += 1);
            }
            while self.tasks.try_join_next().is_some() {}
        }
        // Their commands stay pending, and the next manager goes on with them.
        self.tasks.shutdown().await;
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        let mut writes = Vec::new();
        for effect in effects {
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
                let failure = order.failure();
                self.report(async move {
                    let outcome = caught(act::act(&hands, id, order)).await;
                    Event::Done(id, outcome.unwrap_or_else(failure))
                });
            }
            Effect::Build(job) => self.build(job),
            Effect::EndBuild(id) => {
                if let Some(build) = self.builds.remove(&id) {
                    build.abort();
                }
            }
            Effect::TakeInventory(cause) => {
                self.report(async move {
                    let inventory = caught(act::take_inventory(&hands, &cause)).await;
                    Event::Inventoried(inventory.flatten())
                });
            }
            Effect::RemoveImage(tag, hash) => self.report(async move {
                let removed = caught(act::remove_image(&hands, &tag)).await;
                Event::ImageRemoved(hash, removed.flatten())
            }),
            Effect::PruneCache(cause) => {
                // No build begins meanwhile: one that does may miss what it counted on.
                let all = u32::try_from(hands.settings.builds).unwrap_or(u32::MAX);
                let room = Arc::clone(&self.room_to_build);
                self.report(async move {
                    let _room = room.acquire_many(all).await;
                    let pruned = caught(act::prune_cache(&hands, &cause)).await;
                    Event::CachePruned(pruned.flatten())
                });
            }
            Effect::Admit(id) => {
                self.tasks.spawn(async move { warn_of(id, act::admit(&hands, id).await) });
            }
            Effect::Clear(id) => {
                self.tasks.spawn(async move { warn_of(id, act::clear(&hands, id).await) });
            }
            Effect::Hurry(id) => {
                self.tasks.spawn(async move { warn_of(id, act::hurry(&hands, id).await) });
            }
        }
    }

    /// What comes of it is an event.
    fn report(&mut self, outcome: impl Future<Output = Event> + Send + 'static) {
        let events = self.events.clone();
        self.tasks.spawn(async move {
            let event = outcome.await;
            let _ = events.send(event).await;
        });
    }

    fn build(&mut self, job: BuildJob) {
        let (hands, events) = (self.hands.clone(), self.events.clone());
        let room = Arc::clone(&self.room_to_build);
        let id = job.id;
        let task = self.tasks.spawn(async move {
            let _room = room.acquire().await;
            let result = caught(act::build(&hands, &job, &events)).await;
            let result = result.unwrap_or_else(|problem| {
                Err(BuildError::Failed { reason: problem.message, last_lines: Vec::new() })
            });
            let _ = events.send(Event::Built(job.hash, id, result)).await;
        });
        self.builds.insert(id, task);
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
