//! Removing what is left of an instance that is gone.

use worker_protocol::{Problem, WorkerId};

use super::Hands;

/// Of a worker that nobody knows any more: the engine keeps what is in use.
pub async fn clear(hands: &Hands, id: WorkerId) -> Result<(), Problem> {
    hands.engine.clear(&hands.name(id)).await.map_err(|error| Problem::from(&error))
}
