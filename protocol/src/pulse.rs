//! The wrapper's sign of life.

use serde::{Deserialize, Serialize};

/// What `worker:<id>:heartbeat` holds, as JSON: enough for `status` to answer without reading the
/// worker's output.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pulse {
    /// Turns that have ended.
    pub turns: u64,
    /// What the agent says it has cost so far, in US dollars.
    pub cost_usd: f64,
    /// When the agent last said something or was told something, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_activity_at: Option<String>,
    /// The running turn, if one is running: the id of its input entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<String>,
    /// The agent's own name for its session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Whether it has had nothing to do for as long as it may, and is to be paused for that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub idle: bool,
    /// Of one that is idle, when its longest life is over, RFC 3339: it has to be awake then, to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lives_until: Option<String>,
    /// Bytes of output that had to wait on disk for Redis so far, since the wrapper was started.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub spooled_bytes: u64,
    /// Entries of output that it could not keep until Redis took them, counted in the same way.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped_entries: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}
