//! One event in, effects out: the only code that changes the world.
//!
//! [`handle`] neither waits nor fails. What is to be done outside is said as [`Effect`]s, which
//! [`crate::serve`] carries out; what comes of it returns as an [`Event`].

mod build;
mod capacity;
mod collect;
mod command;
mod course;
mod effects;
mod observe;
mod orphans;
mod outcome;
mod policy;
mod restart;
#[cfg(test)]
mod transcript;

pub use effects::{BuildJob, Effect, Effects, LaunchOrder, Order, Settled, Write};

use jiff::Timestamp;
use std::sync::Arc;
use worker_protocol::command::DryRun;
use worker_protocol::{Command, Header, Problem, Reply, WorkerId};

use crate::caller::Refusal;
use crate::decide::PriorRecord;
use crate::engine::{BuildError, BuildStep, Found, ImageFacts};
use crate::image::collect::Inventory;
use crate::image::{Catalogue, ImageHash, Rendered};
use crate::orphan::Survey;
use crate::world::{BuildId, Cause, Evidence, HostRoom, Image, Prebuild, Pruned, World};

/// Everything that can happen.
pub enum Event {
    /// The manager starts: what Redis remembers, and what the engine has.
    Begun {
        /// Records of workers that had not been removed.
        records: Vec<RememberedWorker>,
        /// Instances of this installation.
        found: Vec<Found>,
    },
    /// A command arrived.
    Arrived(Box<Arrival>),
    /// A step ended.
    Done(WorkerId, Outcome),
    /// A build goes on.
    BuildWent(ImageHash, BuildId, BuildStep),
    /// A build ended.
    Built(ImageHash, BuildId, Result<ImageFacts, BuildError>),
    /// What the operator wants to be built in advance, and what of it is there.
    InAdvance(Vec<Prebuild>),
    /// Images are to be collected.
    CollectionDue(Cause),
    /// Which images there are, and what belongs to workers, where somebody asked.
    Inventoried(Result<Inventory, Problem>, Option<Survey>),
    /// What belongs to workers, known or not.
    Surveyed(Survey),
    /// What was left of a worker that nobody knows was removed.
    Cleared(WorkerId, Result<(), Problem>),
    /// An image was removed, or could not be.
    ImageRemoved(ImageHash, Result<(), Problem>),
    /// What builds left was removed, or could not be.
    CachePruned(Result<Pruned, Problem>),
    /// An instance ended or is gone, or so the engine says.
    InstanceEnded(WorkerId),
    /// An instance started, or so the engine says.
    InstanceStarted(WorkerId),
    /// These workers have had nothing to do for as long as they may.
    Idle(Vec<WorkerId>),
    /// These workers have written more to the disk than they may: more than so many bytes.
    OverDisk(Vec<(WorkerId, u64)>),
    /// Something arrived for a worker that stands still, or may have.
    Called(WorkerId),
    /// What the engine has.
    Listed {
        /// When it was asked.
        asked_at: Timestamp,
        /// Instances of this installation.
        found: Vec<Found>,
    },
    /// How much the host has left.
    HostSeen(HostRoom),
    /// The time has come that a worker waited for.
    Due(WorkerId),
    /// The engine does not tell what it has.
    Unseen,
    /// Redis is there again, after it was away or after it lost the commands.
    RedisReturned,
    /// Time has passed.
    Tick,
}

/// A command with all that deciding on it needs.
pub struct Arrival {
    /// Who asks.
    pub header: Header,
    /// For what.
    pub command: Result<Command, Problem>,
    /// The worker in question; for a `create` without an id, the one that it gets.
    pub worker_id: Option<WorkerId>,
    /// What was found in Redis.
    pub prior: Prior,
    /// Why nobody knows who asks, so that nothing is looked at but this.
    pub unproven: Option<Refusal>,
}

/// What Redis remembers of a request and its worker.
#[derive(Default)]
pub struct Prior {
    /// The stored reply to the same request.
    pub reply: Option<Reply>,
    /// Whether it was this very entry that was answered.
    pub same_entry: bool,
    /// Whether an operator wants this very entry handled as if the request were new.
    pub retried: bool,
    /// The record of the worker in question.
    pub record: Option<PriorRecord>,
}

/// A record as it was found at the start.
pub struct RememberedWorker {
    /// Whose.
    pub id: WorkerId,
    /// Its fields.
    pub fields: std::collections::BTreeMap<String, String>,
}

/// What came of a step. A failure is data.
pub enum Outcome {
    /// Of finding the image.
    Resolved(Result<Resolution, Problem>),
    /// Of making and starting the instance.
    Launched(Result<Launch, LaunchError>),
    /// Of starting an instance that was kept.
    Started(Result<Start, Problem>),
    /// Of ending an instance that is kept.
    Stopped(Result<Autopsy, Problem>),
    /// Of having it stand still.
    Napped(Result<Nap, Problem>),
    /// Of letting it go on.
    Resumed(Result<(), Problem>),
    /// Of looking at an instance that ended: none, when it runs after all.
    Autopsied(Result<Option<Autopsy>, Problem>),
    /// Of taking everything away.
    Removed(Result<Evidence, Problem>),
}

impl Outcome {
    /// Why the step came to nothing, if it did.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Launched(Err(LaunchError::NoImage(problem) | LaunchError::Failed(problem))) => {
                Some(problem)
            }
            Self::Launched(Ok(_)) => None,
            Self::Resolved(result) => result.as_ref().err(),
            Self::Started(result) => result.as_ref().err(),
            Self::Stopped(result) => result.as_ref().err(),
            Self::Napped(result) => result.as_ref().err(),
            Self::Resumed(result) => result.as_ref().err(),
            Self::Autopsied(result) => result.as_ref().err(),
            Self::Removed(result) => result.as_ref().err(),
        }
    }
}

/// Which image a worker needs.
pub struct Resolution {
    /// Its name.
    pub image: Image,
    /// What a build needs.
    pub rendered: Arc<Rendered>,
    /// Whether the host has it.
    pub present: bool,
}

/// A running instance.
pub struct Launch {
    /// Its address on the workers' network.
    pub ip_address: Option<String>,
    /// Since when it runs.
    pub started_at: Option<Timestamp>,
}

/// A kept instance that runs again.
pub struct Start {
    /// The image that it was made from.
    pub image: String,
    /// As of a new one.
    pub launch: Launch,
}

/// What became of a worker that was to stand still.
pub enum Nap {
    /// It does.
    Asleep {
        /// The last entry of its input that it has taken.
        after: String,
        /// When it is to go on to heed a limit, whatever arrives.
        wake_at: Option<Timestamp>,
    },
    /// It goes on: it has something to do, or may have.
    Awake,
}

/// Why no instance runs.
pub enum LaunchError {
    /// Its image is not there, or not any more.
    NoImage(Problem),
    /// Something else went wrong.
    Failed(Problem),
}

/// What was seen of a worker that ended.
pub enum Autopsy {
    /// The instance ended.
    Ended(Evidence),
    /// The instance is gone; somebody else removed it.
    Gone(Evidence),
}

/// Handles one event.
#[must_use]
pub fn handle(
    world: &mut World,
    catalogue: &Catalogue,
    event: Event,
    now: Timestamp,
) -> Vec<Effect> {
    let mut effects = Effects::new(now, world.room_for_another());
    match event {
        Event::Begun { records, found } => observe::begun(world, records, found, &mut effects),
        Event::Arrived(arrival) => command::arrived(world, catalogue, *arrival, &mut effects),
        Event::Done(id, outcome) => outcome::done(world, id, outcome, &mut effects),
        Event::BuildWent(hash, id, step) => build::went(world, &hash, id, &step, &mut effects),
        Event::Built(hash, id, result) => build::ended(world, &hash, id, result, &mut effects),
        Event::InAdvance(list) => build::in_advance(world, list, &mut effects),
        Event::CollectionDue(cause) => collect::due(world, cause, DryRun::No, &mut effects),
        Event::Inventoried(result, survey) => {
            collect::surveyed(world, survey, &mut effects);
            collect::inventoried(world, result, &mut effects);
        }
        Event::Surveyed(survey) => {
            orphans::surveyed(world, &survey, DryRun::No, &mut effects);
        }
        Event::Cleared(id, result) => orphans::cleared(world, id, result, &mut effects),
        Event::ImageRemoved(hash, result) => {
            collect::removed(world, &hash, result, &mut effects);
        }
        Event::CachePruned(result) => collect::pruned(world, result, &mut effects),
        Event::InstanceEnded(id) => observe::ended(world, id, &mut effects),
        Event::InstanceStarted(id) => observe::started(world, id, &mut effects),
        Event::Listed { asked_at, found } => observe::listed(world, asked_at, found, &mut effects),
        Event::Unseen => course::unseen(world, &mut effects),
        Event::Idle(ids) => course::idle(world, &ids, &mut effects),
        Event::OverDisk(over) => course::over_disk(world, &over, &mut effects),
        Event::Called(id) => {
            if let Some(worker) = world.workers.get_mut(&id) {
                course::called(worker, &mut effects);
            }
        }
        Event::RedisReturned => observe::redis_returned(world, &mut effects),
        Event::HostSeen(room) => world.capacity.host = room,
        Event::Due(id) => restart::due(world, id, &mut effects),
        Event::Tick => {
            capacity::time_out(world, &mut effects);
            observe::tick(world, &mut effects);
        }
    }
    capacity::share(world, &mut effects);
    effects.into_vec()
}
