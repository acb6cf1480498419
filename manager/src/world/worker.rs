//! One worker: what is wanted of it, and how far it is.
//!
//! ```text
//!            resolve          build            launch       ends by itself, or stop
//!   Wanted ──────────► Building ─────► Imaged ───────► Running ─────────────────► Ended
//!      │    image known    │              │              ▲ │ │                     │  ▲
//!      └─── image there ───┼──────────────┘ a step fails │ │ └── fails, restart ─┐ │  │ the start
//!                          └───────┬──────► Broken       │ │           wish: Run ▼ ▼  │ fails
//!                                  │          │          └─┼───────────────────── Kept ┘
//!                                  │          │    start   │                       │
//!                                  ▼          ▼ remove     ▼ wish: Gone, remove    ▼
//!                                  └──────────┴──────────► Removed ◄───────────────┘
//! ```
//!
//! While it is Running, it may stand still or be out of sight: [`Course`].
//!
//! The wish is what a client wants, the stage is what is so. [`Worker::next`] compares the two and
//! names the one step to take; nothing else starts a step, and it starts when there is room
//! ([`Permit`]). Of a worker that has ended, nobody wants that it runs, until somebody says so; one that
//! failed is started again where its `create` wanted that ([`Restarts`]).

use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use worker_protocol::command::Force;
use worker_protocol::create::Life;
use worker_protocol::{Create, Header, LimitName, Problem, Pulse, Status, WorkerId};

use super::{Course, Permit, Restarts};
use crate::image::{ImageHash, Rendered};

/// The longest time for which [`Worker::not_before`] holds anything back.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_secs(10);

/// One worker.
pub struct Worker {
    /// Its id.
    pub id: WorkerId,
    /// What was asked for.
    pub spec: Arc<Create>,
    /// How the manager came to know it.
    pub origin: Origin,
    /// The request that made it.
    pub request_id: String,
    /// The caller's id for whatever this belongs to.
    pub correlation_id: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// What is wanted of it.
    pub wish: Wish,
    /// How far it is.
    pub stage: Stage,
    /// Since when.
    pub since: Timestamp,
    /// How far it has been let in.
    pub permit: Permit,
    /// Since when it waits to be let in.
    pub queued: Option<Timestamp>,
    /// The step under way.
    pub busy: Option<StepKind>,
    /// After what failed and is tried again: not before this.
    pub not_before: Option<Timestamp>,
    /// How often it was started again after a failure.
    pub restarts: Restarts,
    /// Who waits for a reply.
    pub waiting: Vec<Waiting>,
    /// Entries of `create` that are acknowledged once the worker no longer depends on them.
    pub unacknowledged: Vec<String>,
    /// When the engine said that the instance had ended, while it was still being launched: one
    /// that ends at once is then looked at as soon as its launch is told.
    pub end_heard_at: Option<Timestamp>,
    /// How it is getting on while it runs.
    pub course: Course,
    /// When it last went on after it had stood still.
    pub woken_at: Option<Timestamp>,
    /// How often its image went before it could be started.
    pub images_lost: u8,
}

/// How the manager came to know a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// By its `create`: everything about it is known.
    Asked,
    /// By its labels, after a restart: secrets and texts are not known.
    Adopted,
    /// Adopted while it was being made, and its `create` was delivered again: everything is known,
    /// but how far an earlier manager came with it is not.
    Resumed,
}

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// It is to run.
    Run,
    /// It is not to run, and what it consists of is to stay.
    Rest,
    /// It is to go.
    Gone(Force),
}

/// What a record tells a later manager about the wish. A worker that is to go is not in it: the
/// command that wants it is delivered again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// It is being made, and has never run.
    Make,
    /// It was made, and is to run.
    Run,
    /// It was made, and is to rest.
    Rest,
}

impl Intent {
    const ALL: [Self; 3] = [Self::Make, Self::Run, Self::Rest];

    /// The word in the record.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Make => "make",
            Self::Run => "run",
            Self::Rest => "rest",
        }
    }

    /// Reads the word back.
    #[must_use]
    pub fn of_record(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|intent| intent.as_str() == word)
    }
}

/// An image, ready or to be built.
#[derive(Clone)]
pub struct Image {
    /// Its name on the engine.
    pub tag: String,
    /// Its hash.
    pub hash: ImageHash,
}

/// What is so.
pub enum Stage {
    /// Accepted.
    Wanted,
    /// Waits for the build of its image.
    Building {
        /// Which.
        image: Image,
        /// What a build needs.
        rendered: Arc<Rendered>,
    },
    /// Its image is there.
    Imaged {
        /// Which.
        image: Image,
    },
    /// Its wrapper runs.
    Running {
        /// Its image.
        image: String,
        /// Its address on the workers' network.
        ip_address: Option<String>,
        /// Since when.
        started_at: Option<Timestamp>,
    },
    /// A step failed; what is left of it has to go.
    Broken(Ended),
    /// It ended, by itself or since it was to rest; its instance is kept.
    Ended(Ended),
    /// It ended, and its instance is to run again.
    Kept,
    /// Nothing is left of it.
    Removed(Ended),
}

/// How it ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// `STOPPED` or `FAILED`.
    pub status: Status,
    /// In a word or two.
    pub reason: String,
    /// What the caller is told, when it did not get as far as running.
    pub problem: Option<Problem>,
    /// What was seen of it.
    pub evidence: Evidence,
    /// When.
    pub at: Timestamp,
}

/// What is kept of a worker that ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// Exit code of the wrapper.
    pub exit_code: Option<i64>,
    /// Whether the kernel killed something in it for want of memory.
    pub oom_killed: bool,
    /// The limit of time or cost that ended it.
    pub limit: Option<LimitName>,
    /// The wrapper's last sign of life.
    pub pulse: Option<Pulse>,
    /// The final text, for `wait done`.
    pub result: Option<String>,
    /// The last that it said, for whoever wants to know why it ended.
    pub last_output: Option<String>,
}

/// The kinds of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// Find out which image it needs, and whether it is there.
    Resolve,
    /// Make and start its instance.
    Launch,
    /// Start the instance that was kept.
    Start,
    /// End it, and keep its instance.
    Stop,
    /// Have it stand still.
    Pause,
    /// Let it go on.
    Resume,
    /// Find out how it ended.
    Autopsy,
    /// Take away what it consists of.
    Remove(Force),
}

/// Somebody who waits for a reply.
pub struct Waiting {
    /// Who.
    pub header: Header,
    /// For what.
    pub until: Until,
}

/// When a reply is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The worker runs, or failed to.
    Running,
    /// The worker has ended.
    Done,
    /// The worker rests, or is gone.
    Resting,
    /// The worker is gone.
    Gone,
}

impl Worker {
    /// A worker that was asked for, and of which nothing exists yet.
    #[must_use]
    pub fn new(id: WorkerId, spec: Create, request_id: String, now: Timestamp) -> Self {
        Self {
            id,
            spec: Arc::new(spec),
            origin: Origin::Asked,
            request_id,
            correlation_id: None,
            created_at: now,
            wish: Wish::Run,
            stage: Stage::Wanted,
            since: now,
            permit: Permit::None,
            queued: None,
            busy: None,
            not_before: None,
            restarts: Restarts::default(),
            waiting: Vec::new(),
            unacknowledged: Vec::new(),
            end_heard_at: None,
            course: Course::Awake,
            woken_at: None,
            images_lost: 0,
        }
    }

    /// The step to take now, if none is under way and one is to be taken.
    #[must_use]
    pub fn next(&self, now: Timestamp) -> Option<StepKind> {
        if self.busy.is_some() || self.not_before.is_some_and(|at| now < at) {
            return None;
        }
        match (self.wish, &self.stage) {
            (_, Stage::Removed(_)) => None,
            (Wish::Gone(force), _) => Some(StepKind::Remove(force)),
            (_, Stage::Broken(_)) => Some(StepKind::Remove(Force::Yes)),
            // What an adopted worker needs to be made is known only to the entry that asked for it.
            (_, Stage::Wanted | Stage::Imaged { .. }) if self.origin == Origin::Adopted => None,
            (_, Stage::Wanted) => Some(StepKind::Resolve),
            (_, Stage::Imaged { .. }) => Some(StepKind::Launch),
            (Wish::Run, Stage::Kept) => self.restarts.are_due(now).then_some(StepKind::Start),
            (Wish::Rest, Stage::Kept | Stage::Running { .. }) => Some(StepKind::Stop),
            (Wish::Run, Stage::Running { .. }) if self.course.is_to_wake(now) => {
                Some(StepKind::Resume)
            }
            (_, Stage::Building { .. } | Stage::Running { .. } | Stage::Ended(_)) => None,
        }
    }

    /// Goes to another stage. What it was let in for has been done by then, and one that has ended
    /// makes room.
    pub fn enter(&mut self, stage: Stage, now: Timestamp) {
        let keeps = match &stage {
            Stage::Broken(_) | Stage::Ended(_) | Stage::Removed(_) => Permit::None,
            _ => Permit::Place,
        };
        self.permit = self.permit.min(keeps);
        self.restarts.next_at = None;
        self.stage = stage;
        self.course = Course::Awake;
        self.since = now;
    }

    /// After a clock that was set back, nothing has happened in the future, and what waits, waits no
    /// longer than it was to.
    pub fn heed_clock(&mut self, now: Timestamp) {
        self.since = self.since.min(now);
        self.not_before = self.not_before.filter(|at| at.duration_since(now) <= LONGEST_WAIT);
        self.restarts.heed_clock(now);
    }

    /// The state as clients see it.
    #[must_use]
    pub fn status(&self) -> Status {
        match &self.stage {
            Stage::Wanted | Stage::Building { .. } | Stage::Imaged { .. } | Stage::Kept => {
                Status::Starting
            }
            Stage::Running { .. } if self.course == Course::OutOfSight => Status::Unknown,
            Stage::Running { .. } => Status::Running,
            Stage::Broken(end) | Stage::Ended(end) | Stage::Removed(end) => end.status,
        }
    }

    /// More about the state, in a word or two.
    #[must_use]
    pub fn reason(&self) -> &str {
        match &self.stage {
            Stage::Broken(end) | Stage::Ended(end) | Stage::Removed(end) => &end.reason,
            Stage::Running { .. } if self.course == Course::OutOfSight => "host lost",
            _ if matches!(self.wish, Wish::Gone(_)) => "stopping",
            _ if self.queued.is_some() => "queued",
            _ if self.wish != Wish::Run => "stopping",
            Stage::Wanted => "accepted",
            Stage::Building { .. } => "building",
            Stage::Imaged { .. } => "creating",
            Stage::Running { .. } => match self.course {
                Course::Paused { .. } => "paused",
                Course::Awake | Course::OutOfSight => "running",
            },
            Stage::Kept if self.restarts.next_at.is_some() => "restarting",
            Stage::Kept => "starting",
        }
    }

    /// Whether it is not made yet.
    #[must_use]
    pub fn is_being_made(&self) -> bool {
        matches!(self.stage, Stage::Wanted | Stage::Building { .. } | Stage::Imaged { .. })
    }

    /// How it ended, if it did.
    #[must_use]
    pub fn end(&self) -> Option<&Ended> {
        match &self.stage {
            Stage::Broken(end) | Stage::Ended(end) | Stage::Removed(end) => Some(end),
            _ => None,
        }
    }

    /// What a later manager has to know of the wish, since no label and no instance tells it.
    #[must_use]
    pub fn intent(&self) -> Intent {
        match (self.wish, self.is_being_made()) {
            (_, true) => Intent::Make,
            (Wish::Rest, false) => Intent::Rest,
            (Wish::Run | Wish::Gone(_), false) => Intent::Run,
        }
    }

    /// Whether it ends by itself.
    #[must_use]
    pub fn is_headless(&self) -> bool {
        self.spec.life == Life::Headless
    }
}

impl Ended {
    /// A step failed.
    #[must_use]
    pub fn broken(reason: &str, problem: Problem, at: Timestamp) -> Self {
        Self {
            status: Status::Failed,
            reason: reason.to_owned(),
            problem: Some(problem),
            evidence: Evidence::default(),
            at,
        }
    }
}
