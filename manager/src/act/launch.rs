//! Making a worker's instance and starting it.

use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use worker_protocol::boot::{BootAgent, BootFile, Bounds};
use worker_protocol::{Boot, Create, ErrorKind, Problem, Secret, WorkerId};

use super::Hands;
use crate::chain::chain;
use crate::driver::{Launch, LaunchOrder};
use crate::engine::{InstanceName, InstancePlan, InstanceState, Quotas};
use crate::image::AgentTemplate;
use crate::label::Known;
use crate::store::{Admission, OpenWorker, StoreError};
use crate::world::Origin;

/// A wrapper shows that it lives as soon as it reaches Redis.
const FIRST_PULSE: Duration = Duration::from_secs(30);
/// A start that the engine was asked for by a manager that was killed; it takes a tenth of that.
const START_IN_FLIGHT: Duration = Duration::from_secs(3);
const FIRST_LOOK: Duration = Duration::from_millis(5);
const LONGEST_LOOK: Duration = Duration::from_millis(250);

/// The agent's user, the same in every image.
const AGENT_UID: u32 = 1000;
const WORKSPACE: &str = "/workspace";

pub(super) async fn launch(
    hands: &Hands,
    id: WorkerId,
    order: LaunchOrder,
) -> Result<Launch, Problem> {
    let engine = &hands.engine;
    let name = hands.name(id);
    let agent = hands.catalogue.agent(order.spec.agent_type)?;
    if order.origin == Origin::Resumed && !clear_the_way(hands, id, &name).await? {
        return first_pulse(hands, id, &name).await;
    }
    let open = hands.store.open_worker(id, &hands.settings.workers_redis_url);
    let network = engine.ensure_network(&hands.settings.network);
    let (open, network) = tokio::join!(open, network);
    let open = open.map_err(|error| store_problem(&error))?;
    network.map_err(|error| Problem::from(&error))?;
    let admission = open.admission.clone();
    let boot = boot(hands, id, &order.spec, agent, open)?;
    let plan = plan(hands, id, order, &admission);
    engine.create(&plan).await.map_err(|error| Problem::from(&error))?;
    engine.start(&name, &boot).await.map_err(|error| Problem::from(&error))?;
    first_pulse(hands, id, &name).await
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
            Some(InstanceState::Running) => FIRST_PULSE,
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
async fn first_pulse(hands: &Hands, id: WorkerId, name: &InstanceName) -> Result<Launch, Problem> {
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
                    let (ip_address, started_at) = (found.ip_address, found.started_at);
                    return Ok(Launch { ip_address, started_at });
                }
                (_, None, _) => return Err(failed("somebody removed its instance".to_owned())),
                (None, _, Some(code)) => {
                    return Err(failed(never_reached(
                        hands,
                        &format!("ended with exit code {code}"),
                    )));
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
        "its wrapper {what} and never reached redis at {}: can the network `{}` reach this address? \
         (WORKER_REDIS_URL, WORKER_NETWORK)",
        hands.settings.workers_redis_url, hands.settings.network
    )
}

fn failed(message: String) -> Problem {
    Problem::new(ErrorKind::StartFailed, message)
}

fn store_problem(error: &StoreError) -> Problem {
    failed(chain(error))
}

fn plan(hands: &Hands, id: WorkerId, order: LaunchOrder, admission: &Admission) -> InstancePlan {
    let settings = &hands.settings;
    let limits = &order.spec.limits;
    let known = Known {
        id,
        request_id: order.request_id,
        correlation_id: order.correlation_id,
        created_at: order.created_at,
        image: order.image.clone(),
        admission: admission.clone(),
        spec: (*order.spec).clone(),
    };
    InstancePlan {
        name: hands.name(id),
        image: order.image,
        labels: known.write(hands.store.keys().namespace()),
        network: settings.network.clone(),
        quotas: Quotas {
            memory: limits.memory.or(settings.limits.memory),
            cpus: limits.cpus.or(settings.limits.cpus),
            pids: limits.pids.or(settings.limits.pids),
        },
        stop_grace_seconds: i64::try_from(settings.instance_grace().as_secs()).unwrap_or(30),
    }
}

/// What the wrapper is told on its stdin.
fn boot(
    hands: &Hands,
    id: WorkerId,
    spec: &Create,
    agent: &AgentTemplate,
    open: OpenWorker,
) -> Result<Vec<u8>, Problem> {
    let instructions = spec.instructions.as_ref();
    let path = &agent.head.instructions;
    let boot = Boot {
        worker_id: id,
        redis: open.access,
        keys: open.keys,
        agent: boot_agent(hands, spec, agent),
        life: spec.life,
        files: instructions
            .map(|text| BootFile { path: path.clone(), text: text.clone() })
            .into_iter()
            .collect(),
        bounds: Bounds {
            output_entries: hands.settings.output_entries,
            turn_timeout: spec.limits.turn_timeout.or(hands.settings.limits.turn_timeout),
            stop_grace: hands.settings.stop_grace,
            ..Bounds::default()
        },
    };
    serde_json::to_vec(&boot).map_err(|error| {
        Problem::new(ErrorKind::Internal, format!("failed to write the boot document: {error}"))
    })
}

fn boot_agent(hands: &Hands, spec: &Create, agent: &AgentTemplate) -> BootAgent {
    let custom = !spec.agent_command.is_empty();
    let command = if custom { &spec.agent_command } else { &agent.head.command };
    BootAgent {
        agent_type: spec.agent_type,
        version: (!custom).then(|| agent.head.version.clone()),
        protocol: spec.protocol.unwrap_or(agent.head.protocol),
        command: command.clone(),
        env: environment(hands, spec, agent),
        system_prompt: rigid_text(&spec.allowed_commands),
        model: spec.model.clone(),
        mcp: (!spec.mcp.is_empty())
            .then(|| serde_json::Value::Object(spec.mcp.clone()).to_string()),
        uid: AGENT_UID,
        workspace: WORKSPACE.to_owned(),
    }
}

/// What the template sets, then the operator's credentials for this agent, then the caller's own.
fn environment(hands: &Hands, spec: &Create, agent: &AgentTemplate) -> BTreeMap<String, Secret> {
    let mut env: BTreeMap<_, _> =
        agent.head.env.iter().map(|(name, value)| (name.clone(), Secret::new(value))).collect();
    if hands.settings.ca_bundle.is_some() {
        // The image trusts the bundle; programs that bring their own authorities look here.
        for name in ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE"] {
            env.insert(name.to_owned(), Secret::new("/etc/ssl/certs/ca-certificates.crt"));
        }
    }
    for name in &agent.head.credentials {
        if let Some(value) = hands.settings.credentials.get(name) {
            env.insert(name.clone(), value.clone());
        }
    }
    env.extend(spec.env.clone());
    env
}

/// What an agent is told about the commands it may run, in the part of its prompt that it cannot
/// argue with.
fn rigid_text(allowed: &[String]) -> Option<String> {
    if allowed.is_empty() {
        return None;
    }
    let list: Vec<_> = allowed.iter().map(|pattern| format!("- {pattern}")).collect();
    Some(format!(
        "You may run these shell commands and no others:\n{}\n\
         Do not run any other program: not by its path, not through a shell, a script or another \
         program. When a task needs one that is not in the list, say so and stop.",
        list.join("\n")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allowed_commands_are_told_one_by_one() {
        assert_eq!(rigid_text(&[]), None);
        let text = rigid_text(&["git *".to_owned(), "ls".to_owned()]).unwrap();
        assert!(text.contains("\n- git *\n- ls\n"), "{text}");
    }
}
