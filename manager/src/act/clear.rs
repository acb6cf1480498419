//! Removing what is left of a worker that nobody knows.

use worker_protocol::{ErrorKind, Problem, WorkerId};

use super::passage::close_passage;
use super::{Hands, store_problem};

/// Not of one whose instance is there after all: it is taken up at the next look. Its keys in Redis
/// expire; the outbox sees to that.
pub async fn clear(hands: &Hands, id: WorkerId) -> Result<(), Problem> {
    let name = hands.name(id);
    let found = hands.engine.inspect(&name).await.map_err(|error| Problem::from(&error))?;
    if found.is_some() {
        return Err(Problem::new(ErrorKind::Refused, "its instance is there again"));
    }
    close_passage(hands, id).await?;
    hands.engine.clear(&name).await.map_err(|error| Problem::from(&error))?;
    hands.store.close_worker(id).await.map_err(|error| store_problem(&error))?;
    hands.store.forget_spent(id).await.map_err(|error| store_problem(&error))
}
