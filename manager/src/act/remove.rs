//! Taking away all that a worker consists of.

use std::time::Duration;
use worker_protocol::command::Force;
use worker_protocol::{Problem, WorkerId};

use super::autopsy::evidence;
use super::passage::close_passage;
use super::{Hands, store_problem};
use crate::engine::{Found, InstanceState};
use crate::failpoint::{Failpoint, pass};
use crate::world::Evidence;

/// May be done again after a failure, and goes on where it stood.
pub(super) async fn remove(hands: &Hands, id: WorkerId, force: Force) -> Result<Evidence, Problem> {
    pass(Failpoint::RemoveBegins);
    let engine = &hands.engine;
    let name = hands.name(id);
    let found = engine.inspect(&name).await.map_err(|error| Problem::from(&error))?;
    let mut seen = Evidence::default();
    if let Some(found) = found {
        if found.state.lives() {
            let grace = match force {
                Force::No => hands.settings.instance_grace(),
                Force::Yes => Duration::ZERO,
            };
            engine.stop(&name, grace).await.map_err(|error| Problem::from(&error))?;
            pass(Failpoint::InstanceStopped);
        }
        let found = engine.inspect(&name).await.map_err(|error| Problem::from(&error))?;
        if let Some(Found { state: InstanceState::Ended(end), started_at, .. }) = found {
            let seen_now = evidence(hands, id, Some(end), started_at).await;
            seen = seen_now.map_err(|error| store_problem(&error))?;
        }
    }
    pass(Failpoint::EvidenceTaken);
    // Before its network is another's.
    close_passage(hands, id).await?;
    // Of one that somebody else removed, something may be left.
    engine.remove(&name).await.map_err(|error| Problem::from(&error))?;
    pass(Failpoint::InstanceRemoved);
    hands.store.close_worker(id).await.map_err(|error| store_problem(&error))?;
    hands.store.forget_spent(id).await.map_err(|error| store_problem(&error))?;
    pass(Failpoint::WorkerClosed);
    Ok(seen)
}
