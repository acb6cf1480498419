//! Making a worker's instance and starting it.

use std::time::Duration;
use tokio::time::{Instant, sleep};
use worker_protocol::gateway::REDIS_PORT;
use worker_protocol::{Create, ErrorKind, Problem, WorkerId};

use super::Hands;
use super::boot::{boot, files_of};
use super::passage::open_passage;
use super::runtime::check_runtime;
use super::writable::writable;
use crate::chain::chain;
use crate::driver::{Launch, LaunchError, LaunchOrder};
use crate::engine::{
    CompanionPlan, Enclosure, EnclosurePlan, EngineError, InstanceName, InstancePlan,
    InstanceState, Quotas,
};
use crate::failpoint::{Failpoint, pass};
use crate::image::{AgentTemplate, Companions};
use crate::label::Known;
use crate::passage::proxy_environment;
use crate::store::{Admission, OpenWorker, StoreError};
use crate::world::Origin;

/// A wrapper shows that it lives as soon as it reaches Redis.
pub(super) const FIRST_PULSE: Duration = Duration::from_secs(30);
/// A start that the engine was asked for by a manager that was killed; it takes a tenth of that.
const START_IN_FLIGHT: Duration = Duration::from_secs(3);
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
    check_runtime(hands).await?;
    let enclosure = enclose(hands, id).await?;
    pass(Failpoint::NetworkMade);
    let url = redis_url(hands, &enclosure);
    let open = hands.store.prepare_worker(id, &url);
    let known = known(id, &order, &open);
    let boot = boot(hands, id, &order.spec, agent, open, &enclosure)?;
    let companion = companion(hands, agent, &order.spec, &enclosure)?;
    let files = files_of(hands, &order.spec, agent);
    let writable = writable(files.iter().map(|file| file.path.as_str()));
    let plan = InstancePlan { companion, writable, ..plan(hands, &known, enclosure.clone()) };
    engine.create(&plan).await.map_err(|error| match error {
        EngineError::NoImage { .. } => LaunchError::NoImage(Problem::from(&error)),
        error => LaunchError::Failed(Problem::from(&error)),
    })?;
    pass(Failpoint::InstanceCreated);
    // Not before the instance is there: when Redis comes back and has forgotten users, those are
    // let in again whose instances are found (act/admit.rs).
    let admitted = hands.store.admit_worker(id, &url, &known.admission).await;
    admitted.map_err(|error| store_problem(&error))?;
    open_passage(hands, &known, &enclosure).await?;
    pass(Failpoint::WorkerAdmitted);
    engine.start(&name, &boot).await.map_err(|error| Problem::from(&error))?;
    pass(Failpoint::InstanceStarted);
    verify(hands, &name, &enclosure).await?;
    Ok(first_pulse(hands, id, &name).await?)
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
    let env = proxy_environment(enclosure.gateway().into()).collect();
    Ok(Some(companion.plan(confinement.clone(), env)))
}

/// The network of a worker, with the gateway on it; also of one that ran before.
pub(super) async fn enclose(hands: &Hands, id: WorkerId) -> Result<Enclosure, Problem> {
    hands.gateway.open().await?;
    let plan = EnclosurePlan {
        of: hands.name(id),
        gateway: InstanceName(hands.settings.keys.gateway_name()),
        labels: hands.own().into_iter().collect(),
        range: hands.settings.worker_subnets,
    };
    hands.engine.enclose(&plan).await.map_err(|error| Problem::from(&error))
}

/// Where a worker finds Redis: at the gateway. TLS and the like are the gateway's matter.
pub(super) fn redis_url(hands: &Hands, enclosure: &Enclosure) -> String {
    let database = hands.settings.redis.workers_address().database;
    format!("redis://{}:{REDIS_PORT}/{database}", enclosure.gateway())
}

/// A worker that is on any other network than its own does not stay: not for a moment longer than
/// it takes to see that.
pub(super) async fn verify(
    hands: &Hands,
    name: &InstanceName,
    enclosure: &Enclosure,
) -> Result<(), Problem> {
    let found = hands.engine.inspect(name).await.map_err(|error| Problem::from(&error))?;
    // One that is gone, or has ended, is for others to judge.
    let Some(found) = found.filter(|found| found.state.lives()) else { return Ok(()) };
    let own = [enclosure.name.clone()].into();
    if found.networks == own {
        return Ok(());
    }
    let stopped = hands.engine.stop(name, Duration::ZERO).await;
    stopped.map_err(|error| Problem::from(&error))?;
    let all: Vec<_> = found.networks.into_iter().collect();
    Err(failed(format!(
        "it was stopped at once: it was on the networks {}, and only {} is its own",
        all.join(", "),
        enclosure.name
    )))
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

/// What its instance says of it.
fn known(id: WorkerId, order: &LaunchOrder, open: &OpenWorker) -> Known {
    Known {
        id,
        request_id: order.request_id.clone(),
        correlation_id: order.correlation_id.clone(),
        created_at: order.created_at,
        image: order.image.clone(),
        admission: open.admission.clone(),
        token: Some(Admission::of(open.token.reveal())),
        spec: (*order.spec).clone(),
    }
}

fn plan(hands: &Hands, known: &Known, enclosure: Enclosure) -> InstancePlan {
    let settings = &hands.settings;
    let limits = &known.spec.limits;
    InstancePlan {
        name: hands.name(known.id),
        image: known.image.clone(),
        labels: known.write(hands.store.keys().namespace()),
        enclosure,
        quotas: Quotas {
            memory: limits.memory.or(settings.limits.memory),
            cpus: limits.cpus.or(settings.limits.cpus),
            pids: limits.pids.or(settings.limits.pids),
        },
        stop_grace_seconds: i64::try_from(settings.instance_grace().as_secs()).unwrap_or(30),
        companion: None,
        writable: Vec::new(),
        system_calls: settings.system_calls,
        runtime: settings.runtime.clone(),
    }
}
