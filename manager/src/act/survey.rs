//! Finding what belongs to workers, whether anybody knows them or not.

use std::collections::{BTreeMap, BTreeSet};
use worker_protocol::Problem;

use super::{Hands, store_problem};
use crate::label;
use crate::orphan::{Left, Survey};

/// All of this installation. Takes a moment with a large Redis, which is looked through at a slow
/// pace.
///
/// # Errors
/// When engine or Redis does not answer: half of an answer is none.
pub async fn survey(hands: &Hands) -> Result<Survey, Problem> {
    let own = hands.own();
    let mut belongings: BTreeMap<_, BTreeSet<Left>> = BTreeMap::new();
    let in_redis = hands.store.belongings().await.map_err(|error| store_problem(&error))?;
    for (id, left) in in_redis {
        belongings.entry(id).or_default().insert(left);
    }
    let left = hands.engine.leftovers(&own).await.map_err(|error| Problem::from(&error))?;
    for leftover in left {
        if let Some(id) = hands.worker_of(&leftover.of) {
            belongings.entry(id).or_default().insert(Left::OnHost(leftover.what));
        }
    }
    // Last: an instance that was made meanwhile is seen.
    let found = hands.engine.list(&own).await.map_err(|error| Problem::from(&error))?;
    let unreadable = found.iter().filter(|found| label::read(&found.labels).is_none());
    Ok(Survey {
        belongings,
        instances: found.iter().filter_map(|found| hands.worker_of(&found.name)).collect(),
        unreadable: unreadable.map(|found| found.name.clone()).collect(),
        grace: hands.settings.orphan_grace,
    })
}
