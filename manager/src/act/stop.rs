//! Ending a worker in order, and keeping what it consists of.

use worker_protocol::{Problem, WorkerId};

use super::autopsy::evidence;
use super::{Hands, store_problem};
use crate::driver::Autopsy;
use crate::engine::InstanceState;

/// May be done again after a failure, and goes on where it stood. Its Redis user goes too: nobody
/// is to use it until the worker is started again.
pub(super) async fn stop(hands: &Hands, id: WorkerId) -> Result<Autopsy, Problem> {
    let name = hands.name(id);
    let grace = hands.settings.instance_grace();
    hands.engine.stop(&name, grace).await.map_err(|error| Problem::from(&error))?;
    let found = hands.engine.inspect(&name).await.map_err(|error| Problem::from(&error))?;
    let end = match found.map(|found| found.state) {
        Some(InstanceState::Ended(end)) => Some(end),
        Some(InstanceState::Created | InstanceState::Running) | None => None,
    };
    let evidence = evidence(hands, id, end).await.map_err(|error| store_problem(&error))?;
    hands.store.close_worker(id).await.map_err(|error| store_problem(&error))?;
    Ok(if end.is_some() { Autopsy::Ended(evidence) } else { Autopsy::Gone(evidence) })
}
