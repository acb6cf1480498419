//! Ending a worker in order, and keeping what it consists of.

use worker_protocol::{Problem, WorkerId};

use super::autopsy::look_back;
use super::passage::close_passage;
use super::{Hands, store_problem};
use crate::driver::Autopsy;
use crate::failpoint::{Failpoint, pass};

/// May be done again after a failure, and goes on where it stood. Its Redis user goes too: nobody
/// is to use it until the worker is started again.
pub(super) async fn stop(hands: &Hands, id: WorkerId) -> Result<Autopsy, Problem> {
    pass(Failpoint::StopBegins);
    let name = hands.name(id);
    let grace = hands.settings.instance_grace();
    hands.engine.stop(&name, grace).await.map_err(|error| Problem::from(&error))?;
    pass(Failpoint::InstanceStopped);
    let found = hands.engine.inspect(&name).await.map_err(|error| Problem::from(&error))?;
    let autopsy = look_back(hands, id, found.as_ref()).await;
    let autopsy = autopsy.map_err(|error| store_problem(&error))?;
    pass(Failpoint::EvidenceTaken);
    close_passage(hands, id).await?;
    hands.store.close_worker(id).await.map_err(|error| store_problem(&error))?;
    pass(Failpoint::WorkerClosed);
    Ok(autopsy)
}
