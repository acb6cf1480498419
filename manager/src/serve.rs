//! The service: one task owns the world; all else sends it events and carries out its effects.

use jiff::Timestamp;
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{self, Receiver, Sender, UnboundedSender};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span};
use worker_protocol::{Problem, WorkerId};

use crate::act::{self, Hands};
use crate::caught::caught;
use crate::chain::chain;
use crate::driver::{BuildJob, Effect, Event, Write, handle};
use crate::engine::BuildError;
use crate::gateway::keeper;
use crate::inbox::Inbox;
use crate::lease::{Hold, Lease};
use crate::sleepers::{self, Mind};
use crate::store::StoreError;
use crate::telemetry::health::BEAT;
use crate::telemetry::spans::{aside, failed};
use crate::world::{BuildId, World};
use crate::{outbox, sources};

/// Events that wait to be handled. Handling takes microseconds, so this is a burst's worth; the
/// inbox waits when it is full.
const QUEUE: usize = 1024;

/// After a lease that was of no use.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// What the host has left is looked at before the first command, if it can be seen so soon.
const FIRST_LOOK: Duration = Duration::from_secs(3);

/// Serves until `stop`, whenever this manager has the lease. Workers go on afterwards.
///
/// # Errors
/// When Redis cannot serve at the start. Later on, it is waited for.
pub async fn serve(hands: Hands, stop: CancellationToken) -> Result<(), StoreError> {
    hands.store.check().await?;
    let (name, time) = (hands.settings.consumer.clone(), hands.settings.lease);
    hands.telemetry.stand_by();
    while let Some(lease) = Lease::stand_by(&hands.store, &name, time, &stop).await {
        if let Err(error) = lead(hands.under(lease.hold()), lease.hold()).await {
            tracing::warn!(error = chain(&error), "cannot begin; standing by again");
            let _ = stop.run_until_cancelled(tokio::time::sleep(AGAIN_AFTER)).await;
        }
        hands.telemetry.stand_by();
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
    if let Ok(seen) = timeout(FIRST_LOOK, sources::host_room(&hands)).await {
        let _ = events.send(seen).await;
    }
    let (store, callers) = (hands.store.clone(), hands.settings.callers.clone());
    let inbox = Inbox::new(store, callers, hold.name(), hands.settings.tries, events.clone(), seen);
    let mut crew = JoinSet::new();
    crew.spawn(outbox::run(hands.store.clone(), hold.clone(), outbox_queue));
    crew.spawn(inbox.run(over.clone()));
    // They only look, and end by themselves: nobody waits for an engine that does not answer.
    let listeners = TaskTracker::new();
    let look_now = sources::listen(&listeners, &hands, &events, over);
    let (minds, mind_orders) = mpsc::unbounded_channel();
    let (store, tell, until) = (hands.store.clone(), events.clone(), over.clone());
    listeners.spawn(sleepers::listen(store, mind_orders, tell, until));
    tracing::info!(
        manager = hold.name(),
        namespace = hands.settings.keys.namespace(),
        redis = hands.store.address(),
        network = hands.settings.network,
        base_image = hands.settings.base_image,
        "ready"
    );
    listeners.spawn(keeper::keep(hands.clone(), writes.clone(), over.clone()));
    let nudges = Nudges { look_now, minds };
    let loop_ = Loop::new(hands, hold.name(), events, writes, nudges, handled);
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
    tracing::debug!(records = records.len(), found = found.len(), "begins");
    Ok(Event::Begun { records, found })
}

/// What tells other tasks to do something sooner, or for other workers.
struct Nudges {
    look_now: Arc<Notify>,
    minds: UnboundedSender<Mind>,
}

/// The loop that owns the world.
struct Loop {
    hands: Hands,
    world: World,
    events: Sender<Event>,
    writes: UnboundedSender<Vec<Write>>,
    nudges: Nudges,
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
        nudges: Nudges,
        handled: watch::Sender<u64>,
    ) -> Self {
        let room_to_build = Arc::new(Semaphore::new(hands.settings.builds));
        let mut world = World { manager: Some(name.to_owned()), ..World::default() };
        world.capacity.rules = hands.settings.capacity.clone();
        world.terms = Arc::clone(&hands.settings.terms);
        world.policy.clone_from(&hands.settings.policy);
        let (tasks, builds) = (JoinSet::new(), BTreeMap::new());
        Self { hands, world, events, writes, nudges, handled, tasks, builds, room_to_build }
    }

    async fn run(mut self, mut queue: Receiver<Event>, over: &CancellationToken) {
        while let Some(Some(event)) = over.run_until_cancelled(self.next(&mut queue)).await {
            if let Event::Built(_, id, _) = &event {
                self.builds.remove(id);
            }
            let arrived = matches!(event, Event::Arrived(_));
            let now = Timestamp::now();
            self.hands.telemetry.event(&self.world, &event, now);
            let effects = handle(&mut self.world, &self.hands.catalogue, event, now);
            self.carry_out(effects);
            if arrived {
                self.handled.send_modify(|handled| *handled += 1);
            }
            while self.tasks.try_join_next().is_some() {}
        }
        // Their commands stay pending, and the next manager goes on with them.
        self.tasks.shutdown().await;
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
                let failure = order.failure();
                let step = async move {
                    let outcome = caught(act::act(&hands, id, order)).await;
                    Event::Done(id, outcome.unwrap_or_else(failure))
                };
                self.report(step.instrument(span));
            }
            Effect::Build(job) => self.build(job),
            Effect::EndBuild(id) => {
                if let Some(build) = self.builds.remove(&id) {
                    build.abort();
                }
            }
            Effect::TakeInventory(cause) => self.report(async move {
                let survey = sources::survey_for(&hands, &cause).await;
                let inventory = caught(act::take_inventory(&hands, &cause)).await;
                Event::Inventoried(inventory.flatten(), survey)
            }),
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
            Effect::TellWhen(at, id) => self.report(async move {
                let left = Timestamp::now().duration_until(at);
                tokio::time::sleep(left.try_into().unwrap_or_default()).await;
                Event::Due(id)
            }),
            Effect::Clear(id) => self.report(async move {
                let cleared = caught(act::clear(&hands, id)).await;
                Event::Cleared(id, cleared.flatten())
            }),
            Effect::Mind(id, after) => {
                let _ = self.nudges.minds.send(Mind::From(id, after));
            }
            Effect::Unmind(id) => {
                let _ = self.nudges.minds.send(Mind::NoMore(id));
            }
            Effect::Look => self.nudges.look_now.notify_one(),
            Effect::Admit(id) => self.aside(id, async move { act::admit(&hands, id).await }),
            Effect::Hurry(id) => self.aside(id, async move { act::hurry(&hands, id).await }),
        }
    }

    /// Tries something beside the steps, and waits for nothing.
    fn aside(
        &mut self,
        id: WorkerId,
        work: impl Future<Output = Result<(), Problem>> + Send + 'static,
    ) {
        let span = aside(&self.world, id);
        let work = async move {
            if let Err(problem) = work.await {
                tracing::warn!(%problem);
            }
        };
        self.tasks.spawn(work.instrument(span));
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
        let span = hands.telemetry.spans.build(&self.world, &job);
        let work = async move {
            let _room = room.acquire().await;
            let result = caught(act::build(&hands, &job, &events)).await;
            let result = result.unwrap_or_else(|problem| {
                Err(BuildError::Failed { reason: problem.message, last_lines: Vec::new() })
            });
            if result.is_err() {
                failed(&Span::current(), "build_failed");
            }
            let _ = events.send(Event::Built(job.hash, id, result)).await;
        };
        let task = self.tasks.spawn(work.instrument(span));
        self.builds.insert(id, task);
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
