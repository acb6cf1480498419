//! Letting a worker into Redis again, after Redis forgot its user.

use worker_protocol::{Problem, WorkerId};

use super::Hands;
use super::launch::redis_url;
use super::passage::open_again;
use crate::label;

/// A worker that is gone needs nothing. Doing it without need is harmless.
pub async fn admit(hands: &Hands, id: WorkerId) -> Result<(), Problem> {
    let found =
        hands.engine.inspect(&hands.name(id)).await.map_err(|error| Problem::from(&error))?;
    let Some(known) = found.and_then(|found| label::read(&found.labels)) else { return Ok(()) };
    let enclosure = hands.engine.enclosure(&hands.name(id)).await;
    let Some(enclosure) = enclosure.map_err(|error| Problem::from(&error))? else { return Ok(()) };
    let url = redis_url(hands, &enclosure);
    let admitted = hands.store.admit_worker(id, &url, &known.admission).await;
    admitted.map_err(|error| super::store_problem(&error))?;
    open_again(hands, &known, &enclosure).await
}
