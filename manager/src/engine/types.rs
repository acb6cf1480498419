//! What goes through the seam.

use jiff::Timestamp;
use std::collections::BTreeMap;
use std::fmt;

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
}

/// About an image that the host has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageFacts {
    /// The engine's own name for its content.
    pub id: String,
    /// Bytes, those shared with other images included.
    pub size: u64,
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
}

/// A sign of progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildStep {
    /// Which step, from 1.
    pub step: u32,
    /// Of how many.
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
    /// The network it joins.
    pub network: String,
    /// What it may use.
    pub quotas: Quotas,
    /// Seconds that it has to end after it was asked to.
    pub stop_grace_seconds: i64,
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
    /// Its address on the workers' network, while it runs.
    pub ip_address: Option<String>,
    /// When it was last started.
    pub started_at: Option<Timestamp>,
}

/// How an instance stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstanceState {
    /// Made, never started.
    Created,
    /// Its first process runs.
    Running,
    /// Its first process ended.
    Ended(End),
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
            EngineError::Refused { .. } => worker_protocol::ErrorKind::StartFailed,
        };
        Self::new(kind, error.to_string())
    }
}
