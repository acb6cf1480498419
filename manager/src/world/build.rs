//! Builds: those under way, those that failed lately, and what is to be built in advance.

use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use worker_protocol::{Problem, WorkerId};

use super::Image;
use crate::image::{ImageHash, ImageWish, Rendered};

/// A failure is told to whoever wants the same image so soon after it, without another try.
const FAILURE_HOLDS: SignedDuration = SignedDuration::from_secs(30);
/// What is built in advance, and failed, is tried again after this.
const PREBUILD_AGAIN: SignedDuration = SignedDuration::from_mins(10);

/// Tells a build from an earlier one of the same image, whose end may be heard of late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BuildId(u64);

/// One build for each image at a time: whoever wants the image meanwhile waits for the same one.
#[derive(Clone, Debug)]
pub struct Build {
    /// Which build.
    pub id: BuildId,
    /// What it makes.
    pub wish: ImageWish,
    /// Since when it is under way, or in the queue.
    pub since: Timestamp,
    /// The workers that wait.
    pub waiting: BTreeSet<WorkerId>,
    /// Whether it is wanted without a worker that waits.
    pub in_advance: bool,
}

impl Build {
    /// Whether nobody wants it any more, so that it is ended.
    #[must_use]
    pub fn is_unwanted(&self) -> bool {
        self.waiting.is_empty() && !self.in_advance
    }
}

/// An image that is to be there before anybody asks for it.
#[derive(Clone)]
pub struct Prebuild {
    /// What it holds.
    pub wish: ImageWish,
    /// Its name.
    pub image: Image,
    /// What a build needs.
    pub rendered: Arc<Rendered>,
    /// Whether the host has it.
    pub present: bool,
}

/// All builds.
#[derive(Default)]
pub struct Builds {
    under_way: BTreeMap<ImageHash, Build>,
    failed: BTreeMap<ImageHash, (Problem, Timestamp)>,
    begun: u64,
    /// The operator's list, as it was last looked at.
    pub in_advance: Vec<Prebuild>,
}

impl Builds {
    /// How many are under way, those included that wait for room.
    #[must_use]
    pub fn count(&self) -> usize {
        self.under_way.len()
    }

    /// Images that are being built.
    pub fn hashes(&self) -> impl Iterator<Item = &ImageHash> {
        self.under_way.keys()
    }

    /// The build of an image.
    pub fn get_mut(&mut self, hash: &ImageHash) -> Option<&mut Build> {
        self.under_way.get_mut(hash)
    }

    /// The build of an image, if it is still this one.
    #[must_use]
    pub fn get(&self, hash: &ImageHash, id: BuildId) -> Option<&Build> {
        self.under_way.get(hash).filter(|build| build.id == id)
    }

    /// The build that makes an image; whether it has to be begun.
    pub fn join(
        &mut self,
        hash: &ImageHash,
        wish: &ImageWish,
        now: Timestamp,
    ) -> (&mut Build, Begin) {
        let begin = if self.under_way.contains_key(hash) { Begin::No } else { Begin::Yes };
        self.begun += u64::from(begin == Begin::Yes);
        let build = self.under_way.entry(hash.clone()).or_insert_with(|| Build {
            id: BuildId(self.begun),
            wish: wish.clone(),
            since: now,
            waiting: BTreeSet::new(),
            in_advance: false,
        });
        (build, begin)
    }

    /// Takes a build away that was ended or has come to its end.
    pub fn end(&mut self, hash: &ImageHash, id: BuildId) -> Option<Build> {
        self.get(hash, id)?;
        self.under_way.remove(hash)
    }

    /// Remembers why an image could not be built.
    pub fn fail(&mut self, hash: ImageHash, problem: Problem, now: Timestamp) {
        self.failed.insert(hash, (problem, now));
    }

    /// Why an image could not be built a moment ago.
    #[must_use]
    pub fn failure(&self, hash: &ImageHash, now: Timestamp) -> Option<Problem> {
        let (problem, at) = self.failed.get(hash)?;
        let age = now.duration_since(*at);
        (age < FAILURE_HOLDS).then(|| {
            let again = (FAILURE_HOLDS - age).as_secs().max(1);
            let message = format!(
                "this image failed to build {} s ago, and is tried again in {again} s at the \
                 earliest: {}",
                age.as_secs(),
                problem.message
            );
            Problem::new(problem.kind, message)
        })
    }

    /// What is to be built in advance next. One at a time, so that there is room for what workers
    /// wait for.
    #[must_use]
    pub fn next_in_advance(&self, now: Timestamp) -> Option<&Prebuild> {
        if self.under_way.values().any(|build| build.in_advance) {
            return None;
        }
        let failed_lately = |hash| {
            let at = self.failed.get(hash).map(|(_, at)| *at);
            at.is_some_and(|at| now.duration_since(at) < PREBUILD_AGAIN)
        };
        self.in_advance
            .iter()
            .find(|prebuild| !prebuild.present && !failed_lately(&prebuild.image.hash))
    }

    /// An image is there now.
    pub fn succeed(&mut self, hash: &ImageHash) {
        self.failed.remove(hash);
        for prebuild in self.in_advance.iter_mut().filter(|p| p.image.hash == *hash) {
            prebuild.present = true;
        }
    }

    /// Forgets old failures.
    pub fn forget_old(&mut self, now: Timestamp) {
        self.failed.retain(|_, (_, at)| now.duration_since(*at) < PREBUILD_AGAIN);
    }
}

/// Whether a build has to be begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// It does not exist yet.
    Yes,
    /// It is under way.
    No,
}
