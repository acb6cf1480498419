//! A worker's state as clients see it.

use std::fmt;

/// `STARTING` → `RUNNING` → `STOPPED` or `FAILED`; `UNKNOWN` while the host cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Accepted; its image, container or agent is not there yet.
    Starting,
    /// Its wrapper runs.
    Running,
    /// It ended as wanted.
    Stopped,
    /// It ended otherwise.
    Failed,
    /// Its host does not answer.
    Unknown,
}

impl Status {
    pub(crate) const ALL: [Self; 5] =
        [Self::Starting, Self::Running, Self::Stopped, Self::Failed, Self::Unknown];

    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "STARTING",
            Self::Running => "RUNNING",
            Self::Stopped => "STOPPED",
            Self::Failed => "FAILED",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// Reads the word back.
    #[must_use]
    pub fn from_wire(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// Whether the worker has ended and will not go on by itself.
    #[must_use]
    pub fn is_end(self) -> bool {
        matches!(self, Self::Stopped | Self::Failed)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
