//! Starting the instance of a worker that ran before.

use std::time::Duration;
use tokio::time::{Instant, sleep};
use worker_protocol::{Create, ErrorKind, Problem, WorkerId};

use super::launch::{FIRST_PULSE, enclose, failed, first_pulse, redis_url, verify};
use super::passage::{again, open_passage};
use super::{Hands, store_problem};
use crate::driver::Start;
use crate::engine::{Found, InstanceName};
use crate::failpoint::{Failpoint, pass};
use crate::label;

/// How often an instance that may still come to life is looked at.
const LOOK: Duration = Duration::from_millis(25);

/// May be done again after a failure or a crash: an instance that an earlier try has started is
/// waited for.
pub(super) async fn start(hands: &Hands, id: WorkerId, spec: &Create) -> Result<Start, Problem> {
    let name = hands.name(id);
    let found = find(hands, &name).await?;
    let known = label::read(&found.labels)
        .ok_or_else(|| failed("its instance does not carry this program's labels".to_owned()))?;
    let enclosure = enclose(hands, id).await?;
    let input = serde_json::to_vec(&again(hands, spec, &enclosure)?).map_err(|error| {
        Problem::new(ErrorKind::Internal, format!("failed to write the boot document: {error}"))
    })?;
    let url = redis_url(hands, &enclosure);
    let admitted = hands.store.admit_worker(id, &url, &known.admission).await;
    admitted.map_err(|error| store_problem(&error))?;
    open_passage(hands, &known, &enclosure).await?;
    pass(Failpoint::WorkerAdmitted);
    if !lives(hands, id, &name).await? {
        hands.store.begin_run(id, found.started_at).await.map_err(|error| store_problem(&error))?;
        hands.engine.start(&name, &input).await.map_err(|error| Problem::from(&error))?;
        pass(Failpoint::InstanceStarted);
    }
    verify(hands, &name, &enclosure).await?;
    match first_pulse(hands, id, &name).await {
        Ok(launch) => Ok(Start { image: known.image, launch }),
        Err(problem) => {
            // One that never reached Redis is not to be found running later.
            let stopped = hands.engine.stop(&name, Duration::ZERO).await;
            stopped.map_err(|error| Problem::from(&error))?;
            Err(problem)
        }
    }
}

async fn find(hands: &Hands, name: &InstanceName) -> Result<Found, Problem> {
    let found = hands.engine.inspect(name).await.map_err(|error| Problem::from(&error))?;
    found.ok_or_else(|| failed("somebody removed its instance: delete the worker".to_owned()))
}

/// Whether an earlier try has brought it to life. One that was started without its boot document
/// ends by itself, and is waited for: no agent is killed at its work.
async fn lives(hands: &Hands, id: WorkerId, name: &InstanceName) -> Result<bool, Problem> {
    let deadline = Instant::now() + FIRST_PULSE;
    while find(hands, name).await?.state.lives() {
        let pulse = hands.store.pulse(id).await.map_err(|error| store_problem(&error))?;
        if pulse.is_some() {
            return Ok(true);
        }
        if Instant::now() > deadline {
            let stopped = hands.engine.stop(name, Duration::ZERO).await;
            stopped.map_err(|error| Problem::from(&error))?;
        }
        sleep(LOOK).await;
    }
    Ok(false)
}
