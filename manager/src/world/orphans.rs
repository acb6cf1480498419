//! What is left of workers that nobody knows.

use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use worker_protocol::WorkerId;

use crate::orphan::{Judged, Orphan};

/// As it was last seen.
#[derive(Debug, Default)]
pub struct Orphans {
    /// When each was first seen. A manager that is started anew begins to count anew.
    pub first_seen: BTreeMap<Orphan, Timestamp>,
    /// What becomes of each.
    pub judged: Vec<Judged>,
    /// What is being removed.
    pub clearing: BTreeSet<WorkerId>,
}
