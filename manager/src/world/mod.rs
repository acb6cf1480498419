//! What the manager knows: its workers, the builds under way, the requests in flight.
//!
//! One task owns the [`World`]; [`crate::driver`] changes it, one event at a time. Nothing here
//! waits, asks or reads a clock.

pub mod build;
mod capacity;
pub mod course;
pub mod orphans;
mod queue;
mod record;
pub mod request;
mod restart;
pub mod sweep;
pub mod worker;

pub use build::{Begin, Build, BuildId, Builds, Prebuild};
pub use capacity::{Capacity, HostRoom, Permit, Room, Rules};
pub use course::Course;
pub use orphans::Orphans;
pub use queue::Queue;
pub use request::{Known, Requests};
pub use restart::Restarts;
pub use sweep::{Cause, Fate, Pruned, Sweep, Sweeps};
pub use worker::{
    Ended, Evidence, Image, Intent, Origin, Stage, StepKind, Until, Waiting, Wish, Worker,
};

use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use worker_protocol::{Status, WorkerId};

use crate::image::ImageHash;
use crate::image::collect::Shield;
use crate::passage::Terms;
use crate::policy::Policy;

/// Everything that decisions are made from.
#[derive(Default)]
pub struct World {
    /// The name of the manager that leads.
    pub manager: Option<String>,
    /// Every worker that exists or is wanted. A worker leaves when its removal is done.
    pub workers: BTreeMap<WorkerId, Worker>,
    /// Builds under way, one for each image, and who waits for them.
    pub builds: Builds,
    /// What workers may reach, and as whom.
    pub terms: Arc<Terms>,
    /// What each caller may ask for; none: everything.
    pub policy: Option<Arc<Policy>>,
    /// Collections of images.
    pub sweeps: Sweeps,
    /// How much there may be at once, and who waits for room.
    pub capacity: Capacity,
    /// Workers that were removed lately: the engine's answer to an older question may still name
    /// them, and what was read of a record may be older.
    pub gone: BTreeMap<WorkerId, Gone>,
    /// What is left of workers that nobody knows.
    pub orphans: Orphans,
    /// When the host last told what it has.
    pub host_seen_at: Option<Timestamp>,
    /// Requests that were seen and are not answered, or were answered lately.
    pub requests: Requests,
}

/// A worker that was removed.
#[derive(Clone, Copy, Debug)]
pub struct Gone {
    /// When.
    pub at: Timestamp,
    /// How it ended.
    pub status: Status,
}

impl World {
    /// How many workers there are in each state, for `ping`: starting, running, ended.
    #[must_use]
    pub fn census(&self) -> (usize, usize, usize) {
        let mut count = (0, 0, 0);
        for worker in self.workers.values() {
            match worker.stage {
                Stage::Running { .. } => count.1 += 1,
                Stage::Broken(_) | Stage::Ended(_) | Stage::Removed(_) => count.2 += 1,
                _ => count.0 += 1,
            }
        }
        count
    }

    /// Images that may not be collected now, and why.
    #[must_use]
    pub fn shields(&self) -> BTreeMap<ImageHash, Shield> {
        let prebuilt = self.builds.in_advance.iter().map(|prebuild| &prebuild.image.hash);
        let stay = self.workers.values().filter(|worker| !matches!(worker.wish, Wish::Gone(_)));
        let wanted = stay.filter_map(|worker| match &worker.stage {
            Stage::Building { image, .. } | Stage::Imaged { image } => Some(image.hash.clone()),
            Stage::Running { image, .. } => ImageHash::of_tag(image),
            _ => None,
        });
        let wanted = wanted.chain(self.builds.hashes().cloned());
        let all = prebuilt.map(|hash| (hash.clone(), Shield::Prebuilt));
        all.chain(wanted.map(|hash| (hash, Shield::Wanted))).collect()
    }
}
