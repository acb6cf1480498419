//! How a worker that runs is getting on, as far as it can be seen from here.
//!
//! ```text
//!              idle for long enough                  input, a limit, or stop
//!   Awake ───────────────────────────► Paused ───────────────────────────► Awake
//!     │                                  │
//!     └────── its host is lost ──────────┴──► OutOfSight ──► whatever the next look shows
//! ```

use jiff::Timestamp;

/// Of a worker whose wrapper runs; no other has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Course {
    /// It works, or could.
    #[default]
    Awake,
    /// It stands still until something arrives for it.
    Paused {
        /// It is to go on then, since something arrived or a limit is reached.
        wake_at: Option<Timestamp>,
    },
    /// Its host does not answer.
    OutOfSight,
}

impl Course {
    /// Whether it stands still and is to go on.
    #[must_use]
    pub fn is_to_wake(self, now: Timestamp) -> bool {
        matches!(self, Self::Paused { wake_at: Some(at) } if at <= now)
    }
}
