//! A build under way.

use jiff::Timestamp;
use std::collections::BTreeSet;
use worker_protocol::WorkerId;

/// One build for each image at a time: whoever wants the image meanwhile waits for the same one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// Since when it is under way, or in the queue.
    pub since: Timestamp,
    /// The workers that wait. Without any, the build is ended.
    pub waiting: BTreeSet<WorkerId>,
}
