//! Whether a caller may have what it asks for, before anything is decided about it.

use worker_protocol::{CallerName, Command, Create, Credentials, Header, WorkerId};

use crate::caller::Refusal;
use crate::decide::{PriorRecord, unknown};
use crate::image::Catalogue;
use crate::policy::Policy;
use crate::world::World;

/// Judges a command by the policy, and has a wish say what the policy says for it.
pub(super) fn judge(
    world: &World,
    catalogue: &Catalogue,
    (header, worker_id): (&Header, Option<WorkerId>),
    record: Option<&PriorRecord>,
    command: &mut Command,
) -> Result<(), Refusal> {
    let Some(policy) = world.policy.as_deref() else { return Ok(()) };
    let caller = header.caller.as_ref();
    let worker = worker_id.and_then(|id| world.workers.get(&id));
    match command {
        Command::Create(_) => {
            let is_own = |request_id: &str, owner: Option<&CallerName>| {
                request_id == header.request_id && owner == caller
            };
            // One that was taken up already is delivered again to be finished.
            let again = worker.is_some_and(|w| is_own(&w.request_id, w.spec.caller.as_ref()))
                || record.is_some_and(|r| is_own(&r.request_id, r.caller.as_ref()));
            if !again {
                policy.judge(caller, command)?;
                policy.room(caller, living(world, caller))?;
            }
            if let Command::Create(create) = command {
                policy.amend(caller, create);
                narrow(world, catalogue, policy, caller, create);
            }
            return Ok(());
        }
        _ => policy.judge(caller, command)?,
    }
    let Some(id) = worker_id else { return Ok(()) };
    let owner = worker.map(|worker| worker.spec.caller.as_ref());
    let owner = owner.or_else(|| record.map(|record| record.caller.as_ref()));
    if !owner.is_some_and(|owner| policy.sees(caller, owner)) {
        return Err(Refusal { rule: None, problem: unknown(id) });
    }
    match (command, worker) {
        (Command::Start { .. }, Some(worker)) if worker.status().is_end() => {
            policy.room(caller, living(world, caller))
        }
        _ => Ok(()),
    }
}

/// Workers of a caller that have not ended.
fn living(world: &World, caller: Option<&CallerName>) -> usize {
    let own = world.workers.values().filter(|worker| worker.spec.caller.as_ref() == caller);
    own.filter(|worker| !worker.status().is_end()).count()
}

/// Of the credentials that are usual for an agent, those that the policy gives.
fn narrow(
    world: &World,
    catalogue: &Catalogue,
    policy: &Policy,
    caller: Option<&CallerName>,
    create: &mut Create,
) {
    let Ok(agent) = catalogue.agent(create.agent_type) else { return };
    if create.credentials != Credentials::Usual {
        return;
    }
    let (given, kept): (Vec<_>, Vec<_>) = world
        .terms
        .usual(agent)
        .map(|(name, _)| name.clone())
        .partition(|name| policy.gives(caller, name.as_str()));
    create.credentials = match (given.is_empty(), kept.is_empty()) {
        (_, true) => return,
        (true, false) => Credentials::None,
        (false, false) => Credentials::Named(given.into_iter().collect()),
    };
}
