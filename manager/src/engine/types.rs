//! What goes through the seam.

use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use super::Enclosure;

/// The name of an instance, which is its identity on a host.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceName(pub String);

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// About the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFacts {
    /// The engine's kind and version, such as `docker 20.10.24`.
    pub engine: String,
    /// The machine's architecture as Debian calls it: `amd64`, `arm64`.
    pub architecture: String,
    /// Whether a build's steps can keep what they download for the next build.
    pub cache_mounts: CacheMounts,
    /// Names of the runtimes that instances can be run by: `runc`, `sysbox-runc`, …
    pub runtimes: Vec<String>,
    /// For `doctor`.
    pub details: HostDetails,
}

/// What an operator wants to know of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostDetails {
    /// The engine's version, such as `20.10.24`.
    pub version: String,
    /// That of the interface it is spoken to by, such as `1.41`.
    pub interface: String,
    /// Whether instances go on while the engine is restarted.
    pub survives_restart: bool,
    /// Of the kernel's control groups: `1` or `2`.
    pub cgroup: String,
    /// Limits that it cannot hold: `memory`, `pids`, `cpus`.
    pub unlimited: Vec<String>,
    /// How images are stored, such as `overlay2`.
    pub storage: String,
    /// What keeps instances from the host besides the usual: `rootless`, `userns`.
    pub shields: Vec<String>,
    /// What it warns of itself.
    pub warnings: Vec<String>,
}

/// Whether an instance can look names up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// As the host does.
    Known,
    /// None: it is treated as a worker is.
    Unknown,
}

/// A program to run once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// The name of its instance.
    pub name: InstanceName,
    /// An image that the host has.
    pub image: String,
    /// A network that is there.
    pub network: String,
    /// Whether it can look names up.
    pub names: Names,
    /// A static program.
    pub program: Vec<u8>,
    /// What it is started with.
    pub arguments: Vec<String>,
    /// It is ended after this time.
    pub patience: Duration,
}

/// Whether a build's steps can keep what they download for the next build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheMounts {
    /// They can, outside of the image.
    Yes,
    /// They cannot: what was downloaded has to be removed by the step that did.
    No,
}

/// About an image that the host has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageFacts {
    /// The engine's own name for its content.
    pub id: String,
    /// Bytes, those shared with other images included.
    pub size: u64,
}

/// An image that the host has, as it is looked at when images are collected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldImage {
    /// Its name.
    pub tag: String,
    /// What was written on it when it was built.
    pub labels: BTreeMap<String, String>,
    /// Bytes, those shared with other images included.
    pub size: u64,
    /// When it was built.
    pub created_at: Option<Timestamp>,
    /// Whether an instance uses it, running or not, of this installation or not.
    pub used: bool,
    /// What it consists of, the lowest first.
    pub layers: Vec<Layer>,
}

/// A layer of an image. Two images share it when both have one of this id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Names the layer with all those below it.
    pub id: String,
    /// Its own bytes.
    pub size: u64,
}

/// The disk on which an engine keeps its images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Bytes that may still be written.
    pub free: u64,
    /// Bytes in all.
    pub total: u64,
}

/// The memory of the machine that instances run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Bytes that programs can still have without anything being swapped out.
    pub available: u64,
    /// Bytes in all.
    pub total: u64,
}

/// Whether something is only counted, or done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pruning {
    /// Counted.
    Count,
    /// Done.
    Remove,
}

/// An image to build.
#[derive(Clone, Debug)]
pub struct BuildOrder {
    /// Its name.
    pub tag: String,
    /// The Dockerfile and what it copies, as an uncompressed tar archive.
    pub context: Vec<u8>,
    /// Labels that it is to carry.
    pub labels: BTreeMap<String, String>,
    /// A step that prints nothing for this long hangs, and the build is ended.
    pub silence: Duration,
}

/// A sign of progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildStep {
    /// Which step, from 1; 0 while there is none.
    pub step: u32,
    /// Of how many; 0 while that is not known.
    pub of: u32,
    /// What it prints or does.
    pub line: String,
}

/// Why there is no image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// A step failed.
    #[error("{reason}")]
    Failed {
        /// What the engine says.
        reason: String,
        /// The last lines that the build printed.
        last_lines: Vec<String>,
    },
    /// The engine could not be asked.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Why an engine did not do what it was told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// It does not answer.
    #[error("the container engine does not answer: {reason}")]
    Unavailable {
        /// What was tried.
        reason: String,
    },
    /// It answered no.
    #[error("the container engine refused to {verb} {thing}: {reason}")]
    Refused {
        /// What it was asked to do.
        verb: &'static str,
        /// To what.
        thing: String,
        /// What it says.
        reason: String,
    },
    /// The image of an instance is not there, or not any more.
    #[error("image {tag} is not on this host; it must be built again")]
    NoImage {
        /// The image's tag.
        tag: String,
    },
}

/// An instance to make.
#[derive(Clone, Debug, PartialEq)]
pub struct InstancePlan {
    /// Its name.
    pub name: InstanceName,
    /// The tag of its image.
    pub image: String,
    /// The memory of what exists: enough to know the worker again.
    pub labels: BTreeMap<String, String>,
    /// Its network.
    pub enclosure: Enclosure,
    /// What it may use.
    pub quotas: Quotas,
    /// Seconds that it has to end after it was asked to.
    pub stop_grace_seconds: i64,
    /// What runs beside it, if anything does.
    pub companion: Option<CompanionPlan>,
    /// Where it may write. All else of its files is as in the image, and stays so.
    pub writable: Vec<Writable>,
    /// Which system calls it may make.
    pub system_calls: SystemCalls,
    /// What runs it, by the engine's name for it; none: what the engine takes by itself.
    pub runtime: Option<String>,
}

/// A place where an instance may write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Writable {
    /// On the host's disk. It outlives a stop, and goes with the instance.
    Kept {
        /// Tells it from the others of the instance: lower-case letters and digits.
        word: String,
        /// Where it is seen; in all of these places it is the same.
        folders: Vec<String>,
        /// What is in it at first.
        begins: Begins,
    },
    /// In memory, root's, and empty at each start.
    Fleeting {
        /// Where it is seen.
        folder: String,
    },
}

/// What is in a place that is kept, at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// What the image has there, with its owners.
    AsInImage,
    /// Nothing, whatever the image has there; it is root's.
    Empty,
}

/// Which system calls an instance may make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SystemCalls {
    /// Those that programs, builds and debuggers need.
    #[default]
    Strict,
    /// What the engine allows by itself.
    Engines,
}

/// An instance beside an instance: of the same image and on the same network address, with rights
/// that the instance itself does not have. It is made, started, stopped and removed with it.
#[derive(Clone, Debug, PartialEq)]
pub struct CompanionPlan {
    /// Its first process, which runs as root.
    pub command: Vec<String>,
    /// A folder that both see. The companion is ready when a file of this name is in it.
    pub shared: String,
    /// Environment variables of its processes.
    pub env: BTreeMap<String, String>,
    /// The file in [`Self::shared`] that shows that it is ready.
    pub ready: String,
    /// A folder that only the companion sees, on a file system that images can be kept on.
    pub state: String,
    /// What keeps it from the host.
    pub confinement: Confinement,
}

/// What keeps a companion from the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confinement {
    /// Little but good behaviour: it may mount and make networks, which is enough for one that
    /// wants to get out.
    Privileged,
    /// A runtime that gives it rights in a world of its own, such as `sysbox-runc`.
    Runtime(String),
}

/// What an instance may use; none: as much as there is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quotas {
    /// Bytes, swap included.
    pub memory: Option<u64>,
    /// Processors, in parts.
    pub cpus: Option<f64>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

/// An instance that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub name: InstanceName,
    /// What the manager wrote on it.
    pub labels: BTreeMap<String, String>,
    /// How it stands.
    pub state: InstanceState,
    /// Its address on its network, while it runs.
    pub ip_address: Option<String>,
    /// The names of the networks that it is on.
    pub networks: BTreeSet<String>,
    /// When it was last started.
    pub started_at: Option<Timestamp>,
}

/// Something that belonged to an instance that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Whose it was.
    pub of: InstanceName,
    /// What it is, in words that its name is one of.
    pub what: String,
}

/// How an instance stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstanceState {
    /// Made, never started.
    Created,
    /// Its first process runs.
    Running,
    /// It stands still, with all that it has in memory.
    Paused,
    /// Its first process ended.
    Ended(End),
}

impl InstanceState {
    /// Whether its first process lives, though it may stand still.
    #[must_use]
    pub fn lives(&self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

/// How an instance ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Exit code of the first process.
    pub code: i64,
    /// Whether the kernel killed something in it for want of memory. Not a reason by itself: the
    /// code may be 0 nevertheless.
    pub oom_killed: bool,
    /// When.
    pub at: Option<Timestamp>,
}

/// What happened to an instance; what it means is for the one who inspects it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineEvent {
    /// It started.
    Started(InstanceName),
    /// It ended.
    Ended(InstanceName),
    /// It is gone.
    Removed(InstanceName),
}

impl From<&EngineError> for worker_protocol::Problem {
    fn from(error: &EngineError) -> Self {
        let kind = match error {
            EngineError::Unavailable { .. } => worker_protocol::ErrorKind::EngineUnavailable,
            EngineError::Refused { .. } | EngineError::NoImage { .. } => {
                worker_protocol::ErrorKind::StartFailed
            }
        };
        Self::new(kind, error.to_string())
    }
}
