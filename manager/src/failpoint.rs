//! Places where a test has a manager killed in the middle of its work.
//!
//! Only a program that is built with the feature `failpoints` can die at them, by its flag
//! `--die-at`; in any other, a failpoint is nothing at all. The list is here, so that a test can go
//! through all of it and fail when a place is not passed any more.

/// A step of a manager's work. Named after what has just been done, or is about to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failpoint {
    /// A command was taken from its stream.
    EntryRead,
    /// What is known of its request was looked up.
    EntryLookedUp,
    /// Something was decided, and none of it is written.
    WriteBegins,
    /// What was decided is written: records, events, replies with their acknowledgement.
    Written,
    /// The image of a worker is looked for.
    ResolveBegins,
    /// Its name is known, and whether it is there.
    ImageResolved,
    /// A build begins.
    BuildBegins,
    /// A build has ended, and nobody knows it yet.
    BuildEnded,
    /// An instance is to be made.
    LaunchBegins,
    /// Its network is there, with the gateway on it.
    NetworkMade,
    /// Its instance is there.
    InstanceCreated,
    /// Its instance runs and has its boot document.
    InstanceStarted,
    /// Its wrapper has shown that it lives.
    FirstPulse,
    /// A worker's streams and its Redis user are there, for its first start or for another.
    WorkerAdmitted,
    /// A worker is to be stopped.
    StopBegins,
    /// A worker is to be removed.
    RemoveBegins,
    /// Its instance has ended.
    InstanceStopped,
    /// How it ended is known, and told to the readers of its output.
    EvidenceTaken,
    /// Its container is gone, and its volumes are not.
    ContainerRemoved,
    /// Nothing of it is left on the engine.
    InstanceRemoved,
    /// Its Redis user is gone.
    WorkerClosed,
}

impl Failpoint {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::EntryRead,
        Self::EntryLookedUp,
        Self::WriteBegins,
        Self::Written,
        Self::ResolveBegins,
        Self::ImageResolved,
        Self::BuildBegins,
        Self::BuildEnded,
        Self::LaunchBegins,
        Self::NetworkMade,
        Self::InstanceCreated,
        Self::InstanceStarted,
        Self::FirstPulse,
        Self::WorkerAdmitted,
        Self::StopBegins,
        Self::RemoveBegins,
        Self::InstanceStopped,
        Self::EvidenceTaken,
        Self::ContainerRemoved,
        Self::InstanceRemoved,
        Self::WorkerClosed,
    ];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> String {
        format!("{self:?}")
    }
}

/// A manager passes here.
#[inline]
pub fn pass(point: Failpoint) {
    #[cfg(feature = "failpoints")]
    armed::pass(point);
    #[cfg(not(feature = "failpoints"))]
    let _ = point;
}

#[cfg(feature = "failpoints")]
pub use armed::{Death, arm};

#[cfg(feature = "failpoints")]
mod armed {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    use std::str::FromStr;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::Failpoint;

    static DEATH: OnceLock<Death> = OnceLock::new();
    static PASSED: AtomicU32 = AtomicU32::new(0);

    /// Where a manager dies, and at which time that it passes there: `Written:2`.
    #[derive(Clone, Copy, Debug)]
    pub struct Death {
        point: Failpoint,
        time: u32,
    }

    impl FromStr for Death {
        type Err = String;

        fn from_str(text: &str) -> Result<Self, String> {
            let (name, time) = text.split_once(':').unwrap_or((text, "1"));
            let time = time.parse().map_err(|_| format!("`{time}` is no number"))?;
            let point = Failpoint::ALL.into_iter().find(|point| point.name() == name);
            let point = point.ok_or_else(|| format!("there is no failpoint `{name}`"))?;
            Ok(Self { point, time })
        }
    }

    /// From now on; once in a process.
    pub fn arm(death: Death) {
        let _ = DEATH.set(death);
    }

    /// SIGKILL leaves nothing time to be put in order, as a power cut does.
    pub(super) fn pass(point: Failpoint) {
        let Some(death) = DEATH.get().filter(|death| death.point == point) else { return };
        if PASSED.fetch_add(1, Ordering::SeqCst) + 1 == death.time {
            let _ = kill(Pid::this(), Signal::SIGKILL);
        }
    }
}
