//! One event in, effects out: the only code that changes the world.
//!
//! [`handle`] neither waits nor fails. What is to be done outside is said as [`Effect`]s, which
//! [`crate::serve`] carries out; what comes of it returns as an [`Event`].

mod command;
mod effects;
mod observe;
mod outcome;
#[cfg(test)]
mod transcript;

pub use effects::{Effect, Effects, LaunchOrder, Order, Settled, Write};

use jiff::Timestamp;
use std::sync::Arc;
use worker_protocol::{Command, Header, Problem, Reply, WorkerId};

use crate::decide::PriorRecord;
use crate::engine::{BuildError, BuildStep, Found, ImageFacts};
use crate::image::{Catalogue, ImageHash, Rendered};
use crate::world::{Evidence, Image, World};

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
    BuildWent(ImageHash, BuildStep),
    /// A build ended.
    Built(ImageHash, Result<ImageFacts, BuildError>),
    /// An instance ended or is gone, or so the engine says.
    InstanceEnded(WorkerId),
    /// What the engine has.
    Listed {
        /// When it was asked.
        asked_at: Timestamp,
        /// Instances of this installation.
        found: Vec<Found>,
    },
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
}

/// What Redis remembers of a request and its worker.
#[derive(Default)]
pub struct Prior {
    /// The stored reply to the same request.
    pub reply: Option<Reply>,
    /// Whether it was this very entry that was answered.
    pub same_entry: bool,
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
    Launched(Result<Launch, Problem>),
    /// Of looking at an instance that ended: none, when it runs after all.
    Autopsied(Result<Option<Autopsy>, Problem>),
    /// Of taking everything away.
    Removed(Result<Evidence, Problem>),
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
    let mut effects = Effects::new(now);
    match event {
        Event::Begun { records, found } => observe::begun(world, records, found, &mut effects),
        Event::Arrived(arrival) => command::arrived(world, catalogue, *arrival, &mut effects),
        Event::Done(id, outcome) => outcome::done(world, id, outcome, &mut effects),
        Event::BuildWent(hash, step) => outcome::build_went(world, &hash, &step, &mut effects),
        Event::Built(hash, result) => outcome::built(world, &hash, result, &mut effects),
        Event::InstanceEnded(id) => observe::ended(world, id, &mut effects),
        Event::Listed { asked_at, found } => observe::listed(world, asked_at, found, &mut effects),
        Event::RedisReturned => observe::redis_returned(world, &mut effects),
        Event::Tick => observe::tick(world, &mut effects),
    }
    effects.into_vec()
}
