//! Making a worker's instance and starting it.

use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use worker_protocol::{Create, ErrorKind, Problem, WorkerId};

use super::Hands;
use super::boot::boot;
use super::enclosure::{enclose, open_passage, redis_url, verify};
use crate::chain::chain;
use crate::driver::{Launch, LaunchError, LaunchOrder};
use crate::engine::{
    CompanionPlan, Enclosure, EngineError, InstanceName, InstancePlan, InstanceState, Quotas,
};
use crate::failpoint::{Failpoint, pass};
use crate::image::{AgentTemplate, Companions};
use crate::label::Known;
use crate::passage::proxy_environment;
use crate::store::{Admission, StoreError};
use crate::world::Origin;

/// A wrapper shows that it lives as soon as it reaches Redis.
pub(super) const FIRST_PULSE: Duration = Duration::from_secs(30);
/// A start that the engine was asked for by a manager that was killed; it takes a tenth of that.
const START_IN_FLIGHT: Duration = Duration::from_secs(3);
/// Where the agent's user lives in an image of the frame's: its sessions and configuration are
/// there. (Where a base image has a user 1000 already, they are with the container's other files.)
const HOME: &str = "/home/worker";
const FIRST_LOOK: Duration = Duration::from_millis(5);
const LONGEST_LOOK: Duration = Duration::from_millis(250);

pub(super) async fn launch(
    hands: &Hands,
    id: WorkerId,
    order: LaunchOrder,
) -> Result<Launch, LaunchError> {
    pass(Failpoint::LaunchBegins);
    let engine = &hands.engine;
    let name = hands.name(id);
    let agent = hands.catalogue.agent(order.spec.agent_type)?;
    if order.origin == Origin::Resumed && !clear_the_way(hands, id, &name).await? {
        return Ok(first_pulse(hands, id, &name).await?);
    }
    let enclosure = enclose(hands, id).await?;
    pass(Failpoint::NetworkMade);
    let url = redis_url(hands, &enclosure);
    let open = hands.store.prepare_worker(id, &url);
    let admission = open.admission.clone();
    let token = Admission::of(open.token.reveal());
    let boot = boot(hands, id, &order.spec, agent, open, &enclosure)?;
    let companion = companion(hands, agent, &order.spec, &enclosure)?;
    let spec = Arc::clone(&order.spec);
    let tickets = Tickets { admission, token };
    let plan = InstancePlan { companion, ..plan(hands, id, order, &tickets, enclosure.clone()) };
    engine.create(&plan).await.map_err(|error| match error {
        EngineError::NoImage { .. } => LaunchError::NoImage(Problem::from(&error)),
        error => LaunchError::Failed(Problem::from(&error)),
    })?;
    pass(Failpoint::InstanceCreated);
    // Not before the instance is there: when Redis comes back and has forgotten users, those are
    // let in again whose instances are found (act/admit.rs).
    let admitted = hands.store.admit_worker(id, &url, &tickets.admission).await;
    admitted.map_err(|error| store_problem(&error))?;
    open_passage(hands, id, &spec, Some(&tickets.token), &enclosure).await?;
    pass(Failpoint::WorkerAdmitted);
    engine.start(&name, &boot).await.map_err(|error| Problem::from(&error))?;
    pass(Failpoint::InstanceStarted);
    verify(hands, &name, &enclosure).await?;
    Ok(first_pulse(hands, id, &name).await?)
}

/// What lets a worker in, at Redis and at the gateway. It stands on its instance.
struct Tickets {
    admission: Admission,
    token: Admission,
}

impl From<Problem> for LaunchError {
    fn from(problem: Problem) -> Self {
        Self::Failed(problem)
    }
}

/// What runs beside the agent, as the operator wants it confined.
fn companion(
    hands: &Hands,
    agent: &AgentTemplate,
    spec: &Create,
    enclosure: &Enclosure,
) -> Result<Option<CompanionPlan>, Problem> {
    let Some(companion) = hands.catalogue.companion(agent, &spec.modules) else { return Ok(None) };
    let Companions::Allowed(confinement) = hands.catalogue.companions() else {
        let why = "the operator does not allow an engine beside the worker any more";
        return Err(Problem::refused(why));
    };
    let env = proxy_environment(enclosure.gateway().into());
    Ok(Some(companion.plan(confinement.clone(), env)))
}

/// Takes away what an earlier manager began; not, when it got as far as a wrapper that lives. An
/// instance that was started without its boot document never runs: its stdin cannot be opened twice.
///
/// What may still come to life is waited for first, so that no agent is killed at its work: the
/// engine finishes a start that it was asked for, and a wrapper without its document ends by itself.
async fn clear_the_way(hands: &Hands, id: WorkerId, name: &InstanceName) -> Result<bool, Problem> {
    let begun = Instant::now();
    loop {
        let pulse = hands.store.pulse(id).await.map_err(|error| store_problem(&error))?;
        if pulse.is_some() {
            return Ok(false);
        }
        let found = hands.engine.inspect(name).await.map_err(|error| Problem::from(&error))?;
        let patience = match found.map(|found| found.state) {
            None => return Ok(true),
            Some(InstanceState::Created) => START_IN_FLIGHT,
            Some(InstanceState::Running | InstanceState::Paused) => FIRST_PULSE,
            Some(InstanceState::Ended(_)) => Duration::ZERO,
        };
        if begun.elapsed() >= patience {
            hands.engine.remove(name).await.map_err(|error| Problem::from(&error))?;
            return Ok(true);
        }
        sleep(FIRST_LOOK * 5).await;
    }
}

/// Waits until the wrapper has reached Redis. A worker that has ended by then, having done what it
/// was to do, was running too.
pub(super) async fn first_pulse(
    hands: &Hands,
    id: WorkerId,
    name: &InstanceName,
) -> Result<Launch, Problem> {
    let deadline = Instant::now() + FIRST_PULSE;
    let mut pause = FIRST_LOOK;
    loop {
        let pulse = hands.store.pulse(id).await.map_err(|error| store_problem(&error))?;
        let late = Instant::now() > deadline;
        if pulse.is_some() || late || pause == LONGEST_LOOK {
            let found = hands.engine.inspect(name).await.map_err(|error| Problem::from(&error))?;
            let ended = match found.as_ref().map(|found| &found.state) {
                Some(InstanceState::Ended(end)) => Some(end.code),
                _ => None,
            };
            match (pulse, found, ended) {
                (Some(_), Some(found), _) => {
                    pass(Failpoint::FirstPulse);
                    let (ip_address, started_at) = (found.ip_address, found.started_at);
                    return Ok(Launch { ip_address, started_at });
                }
                (_, None, _) => return Err(failed("somebody removed its instance".to_owned())),
                (None, _, Some(code)) => {
                    let what = never_reached(hands, &format!("ended with exit code {code}"));
                    let said = hands.engine.last_words(name).await.ok().flatten();
                    let said = said.map(|said| format!("; it said: {said}")).unwrap_or_default();
                    return Err(failed(what + &said));
                }
                (None, _, None) if late => {
                    let waited = format!("runs for {} s", FIRST_PULSE.as_secs());
                    return Err(failed(never_reached(hands, &waited)));
                }
                (None, _, None) => {}
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_LOOK);
    }
}

fn never_reached(hands: &Hands, what: &str) -> String {
    format!(
        "its wrapper {what} and never reached redis at {} by way of the gateway {}: can the network \
         `{}` reach this address? (WORKER_REDIS_URL, WORKER_NETWORK)",
        hands.settings.workers_redis_url,
        hands.settings.keys.gateway_name(),
        hands.settings.network
    )
}

pub(super) fn failed(message: String) -> Problem {
    Problem::new(ErrorKind::StartFailed, message)
}

fn store_problem(error: &StoreError) -> Problem {
    failed(chain(error))
}

fn plan(
    hands: &Hands,
    id: WorkerId,
    order: LaunchOrder,
    tickets: &Tickets,
    enclosure: Enclosure,
) -> InstancePlan {
    let settings = &hands.settings;
    let limits = &order.spec.limits;
    // A caller's own image without modules has no user of ours, and no home.
    let bare = order.spec.base_image.is_some() && order.spec.modules.is_empty();
    let home = (!bare).then(|| HOME.to_owned());
    let known = Known {
        id,
        request_id: order.request_id,
        correlation_id: order.correlation_id,
        created_at: order.created_at,
        image: order.image.clone(),
        admission: tickets.admission.clone(),
        token: Some(tickets.token.clone()),
        spec: (*order.spec).clone(),
    };
    InstancePlan {
        name: hands.name(id),
        image: order.image,
        labels: known.write(hands.store.keys().namespace()),
        enclosure,
        quotas: Quotas {
            memory: limits.memory.or(settings.limits.memory),
            cpus: limits.cpus.or(settings.limits.cpus),
            pids: limits.pids.or(settings.limits.pids),
        },
        stop_grace_seconds: i64::try_from(settings.instance_grace().as_secs()).unwrap_or(30),
        companion: None,
        home,
    }
}
