//! A collection of images under way.
//!
//! ```text
//!   Looking ──► Removing ──► … ──► Removing ──► Pruning ──► reported
//!      │  inventory   one image at a time          │ no build runs
//!      └── dry run: reported at once               └─ one runs: reported at once
//! ```
//!
//! One at a time; another that is asked for meanwhile waits for its turn.

use jiff::Timestamp;
use std::collections::VecDeque;
use worker_protocol::Header;
use worker_protocol::command::DryRun;

use crate::engine::Disk;
use crate::image::ImageHash;
use crate::image::collect::Judged;

/// Why images are collected.
#[derive(Clone, Debug, PartialEq)]
pub enum Cause {
    /// It is time.
    Schedule,
    /// The disk is nearly full.
    Disk,
    /// Somebody asked.
    Asked(Header),
}

impl Cause {
    /// In a word.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Disk => "disk",
            Self::Asked(_) => "command",
        }
    }
}

/// A collection.
#[derive(Debug)]
pub struct Sweep {
    /// Why.
    pub cause: Cause,
    /// Whether it only tells what it would do.
    pub dry_run: DryRun,
    /// The image that is being removed.
    pub removing: Option<ImageHash>,
    /// Those that are still to go.
    pub left: VecDeque<Judged>,
    /// What became of the others.
    pub done: Vec<(Judged, Fate)>,
    /// The disk as it was found.
    pub disk: Option<Disk>,
    /// Bytes of the build cache: those that would go, or those that went.
    pub cache: u64,
    /// The disk afterwards.
    pub disk_after: Option<Disk>,
}

/// What became of the build cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pruned {
    /// Bytes that went.
    pub bytes: u64,
    /// The disk afterwards, where it can be seen.
    pub disk: Option<Disk>,
}

impl Sweep {
    /// One that was asked for.
    #[must_use]
    pub fn new(cause: Cause, dry_run: DryRun) -> Self {
        Self {
            cause,
            dry_run,
            removing: None,
            left: VecDeque::new(),
            done: Vec::new(),
            disk: None,
            cache: 0,
            disk_after: None,
        }
    }
}

/// What became of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays, as the plan has it.
    Kept,
    /// It would go.
    WouldGo,
    /// It is gone.
    Removed,
    /// It was to go, and the engine refused, because.
    Refused(String),
}

/// All collections.
#[derive(Debug, Default)]
pub struct Sweeps {
    /// The one under way.
    pub current: Option<Sweep>,
    /// Those that wait.
    pub waiting: VecDeque<Sweep>,
    /// When the last one began that a full disk was the cause of.
    pub for_disk_at: Option<Timestamp>,
}

impl Sweeps {
    /// Whether this image is being removed right now.
    #[must_use]
    pub fn is_removing(&self, hash: &ImageHash) -> bool {
        self.current.as_ref().is_some_and(|sweep| sweep.removing.as_ref() == Some(hash))
    }
}
