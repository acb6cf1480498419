//! Ending an instance at once, while another step for it is under way.

use std::time::Duration;
use worker_protocol::{Problem, WorkerId};

use super::Hands;

/// The step that is under way then finds it ended. One that does not run is left to that step.
pub async fn hurry(hands: &Hands, id: WorkerId) -> Result<(), Problem> {
    let stopped = hands.engine.stop(&hands.name(id), Duration::ZERO).await;
    stopped.map_err(|error| Problem::from(&error))
}
