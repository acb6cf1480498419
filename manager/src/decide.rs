//! What to do about a command: a plain function of the command and the world.
//!
//! There are three answers: do it, it is so already, no. A refusal is no failure, and *already so*
//! makes a second delivery harmless.

use serde_json::{Map, Value, json};
use worker_protocol::command::{DryRun, Force, Selection};
use worker_protocol::{
    AgentProtocol, AgentType, CallerName, Command, Create, ErrorKind, Problem, Status, WorkerId,
    rfc3339,
};

use crate::image::Catalogue;
use crate::world::{Course, Stage, Wish, Worker, World};

/// The most workers that one reply tells of: some hundred kilobytes.
const LISTED: usize = 1000;

/// The answer.
#[derive(Debug, PartialEq)]
pub enum Decision {
    /// Do it.
    Enact(Enactment),
    /// Nothing is to be done; this is the reply's content.
    AlreadySo(Map<String, Value>),
    /// No, because.
    Refuse(Problem),
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Enactment {
    /// Take up a new worker.
    Create(WorkerId),
    /// The worker of this request is there already: the command was delivered again.
    Join(WorkerId),
    /// End a worker.
    Delete(WorkerId, Force),
    /// Let a worker rest.
    Stop(WorkerId),
    /// Let a worker run again.
    Start(WorkerId),
    /// End a worker's turn.
    Interrupt(WorkerId),
    /// Tell a worker's record.
    Tell(WorkerId),
    /// Collect images.
    Collect(DryRun),
}

/// What the record of the worker in question says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriorRecord {
    /// Its state.
    pub status: Status,
    /// The request that made the worker.
    pub request_id: String,
    /// Who sent it.
    pub caller: Option<CallerName>,
}

/// A command with what is known about its worker.
pub struct Question<'a> {
    /// The command.
    pub command: &'a Command,
    /// Its request.
    pub request_id: &'a str,
    /// Who sent it.
    pub caller: Option<&'a CallerName>,
    /// The worker in question; for a `create` without an id, the id that it gets.
    pub worker_id: Option<WorkerId>,
    /// That worker's record, as far as there is one.
    pub record: Option<&'a PriorRecord>,
}

/// Decides.
#[must_use]
pub fn decide(world: &World, catalogue: &Catalogue, question: &Question<'_>) -> Decision {
    match (question.command, question.worker_id) {
        (Command::Create(create), Some(id)) => {
            decide_create(world, catalogue, question, create, id)
        }
        (Command::Delete { force, .. }, Some(id)) => decide_delete(world, question, id, *force),
        (Command::Status { .. }, Some(id)) => Decision::Enact(Enactment::Tell(id)),
        (Command::Stop { .. }, Some(id)) => decide_of_kept(world, question, id, decide_stop),
        (Command::Start { .. }, Some(id)) => {
            decide_of_kept(world, question, id, |worker| decide_start(world, worker))
        }
        (Command::Interrupt { .. }, Some(id)) => {
            decide_of_kept(world, question, id, decide_interrupt)
        }
        (Command::List(selection), _) => {
            Decision::AlreadySo(list(world, selection, question.caller))
        }
        (Command::Gc { dry_run }, _) => Decision::Enact(Enactment::Collect(*dry_run)),
        (Command::Ping, _) => Decision::AlreadySo(about_this_manager(world)),
        (_, None) => Decision::Refuse(Problem::new(
            ErrorKind::Internal,
            "the command was passed on without its worker; this is a defect of worker-manager",
        )),
    }
}

fn decide_create(
    world: &World,
    catalogue: &Catalogue,
    question: &Question<'_>,
    create: &Create,
    id: WorkerId,
) -> Decision {
    let taken = || {
        Decision::Refuse(Problem::refused(format!(
            "`worker_id` {id} is taken: choose another, or leave it out to get a new one"
        )))
    };
    let is_own = |request_id: &str, caller: Option<&CallerName>| {
        request_id == question.request_id && caller == question.caller
    };
    if let Some(worker) = world.workers.get(&id) {
        let same = is_own(&worker.request_id, worker.spec.caller.as_ref());
        return if same { Decision::Enact(Enactment::Join(id)) } else { taken() };
    }
    if world.orphans.clearing.contains(&id) {
        return Decision::Refuse(Problem::refused(format!(
            "what is left of an earlier worker {id} is just being removed: send this again"
        )));
    }
    match (question.record, recorded_status(world, question, id)) {
        (Some(record), _) if !is_own(&record.request_id, record.caller.as_ref()) => taken(),
        (Some(_), Some(status)) if status.is_end() => Decision::AlreadySo(told(id, status)),
        _ => match admit(world, create, catalogue).err().or_else(|| world.is_full()) {
            None => Decision::Enact(Enactment::Create(id)),
            Some(problem) => Decision::Refuse(problem),
        },
    }
}

fn decide_delete(world: &World, question: &Question<'_>, id: WorkerId, force: Force) -> Decision {
    if world.workers.contains_key(&id) {
        return Decision::Enact(Enactment::Delete(id, force));
    }
    match recorded_status(world, question, id) {
        Some(status) => already(id, status),
        None => Decision::Refuse(unknown(id)),
    }
}

/// How a worker stands that does not exist. It may have gone after its record was looked up.
fn recorded_status(world: &World, question: &Question<'_>, id: WorkerId) -> Option<Status> {
    let gone = world.gone.get(&id).map(|gone| gone.status);
    gone.or(question.record.map(|record| record.status))
}

/// Decides about a worker that must exist, and be there to stay.
fn decide_of_kept(
    world: &World,
    question: &Question<'_>,
    id: WorkerId,
    decide: impl FnOnce(&Worker) -> Decision,
) -> Decision {
    let gone = || {
        Decision::Refuse(Problem::refused(format!("the worker {id} was deleted; create another")))
    };
    match (world.workers.get(&id), question.record) {
        (Some(worker), _) => match (&worker.wish, &worker.stage) {
            (Wish::Gone(_), _) | (_, Stage::Removed(_)) => gone(),
            (_, Stage::Broken(end)) => Decision::Refuse(Problem::refused(format!(
                "the worker {id} could not be made ({}); create another",
                end.reason
            ))),
            _ => decide(worker),
        },
        (None, Some(_)) => gone(),
        (None, None) => Decision::Refuse(unknown(id)),
    }
}

fn decide_stop(worker: &Worker) -> Decision {
    match worker.stage {
        Stage::Ended(_) => already(worker.id, worker.status()),
        _ => Decision::Enact(Enactment::Stop(worker.id)),
    }
}

fn decide_start(world: &World, worker: &Worker) -> Decision {
    let full = || matches!(worker.stage, Stage::Ended(_)).then(|| world.is_full()).flatten();
    match worker.stage {
        Stage::Running { .. } if worker.course == Course::OutOfSight => {
            Decision::Refuse(Problem::new(
                ErrorKind::EngineUnavailable,
                "the worker's host does not answer, so nobody knows whether it runs; ask again later",
            ))
        }
        Stage::Running { .. } if worker.wish == Wish::Run => already(worker.id, worker.status()),
        _ => match full() {
            None => Decision::Enact(Enactment::Start(worker.id)),
            Some(problem) => Decision::Refuse(problem),
        },
    }
}

fn decide_interrupt(worker: &Worker) -> Decision {
    match worker.stage {
        Stage::Running { .. } => Decision::Enact(Enactment::Interrupt(worker.id)),
        _ => Decision::Refuse(Problem::refused(format!(
            "the worker {} does not run, so it has no turn to end: its status is {}",
            worker.id,
            worker.status()
        ))),
    }
}

fn already(id: WorkerId, status: Status) -> Decision {
    let mut content = told(id, status);
    content.insert("already".to_owned(), json!(true));
    Decision::AlreadySo(content)
}

/// Also of a worker that the caller is not to know of.
pub(crate) fn unknown(id: WorkerId) -> Problem {
    Problem::new(
        ErrorKind::UnknownWorker,
        format!("no worker has the id {id}, and none has had it lately"),
    )
}

/// Workers that were not deleted, in the order of their ids: mostly the one in which they were made.
fn list(world: &World, selection: &Selection, caller: Option<&CallerName>) -> Map<String, Value> {
    let has = |worker: &Worker, (name, value): (&String, &Option<String>)| {
        let own = worker.spec.labels.get(name);
        own.is_some_and(|own| value.as_ref().is_none_or(|value| value == own))
    };
    let chosen: Vec<_> = world
        .workers
        .values()
        .filter(|worker| {
            let policy = world.policy.as_ref();
            policy.is_none_or(|policy| policy.sees(caller, worker.spec.caller.as_ref()))
        })
        .filter(|worker| selection.after.is_none_or(|after| worker.id > after))
        .filter(|worker| selection.status.is_none_or(|status| worker.status() == status))
        .filter(|worker| selection.labels.iter().all(|label| has(worker, label)))
        .take(LISTED + 1)
        .collect();
    let told = |worker: &&Worker| {
        let mut told = json!({
            "worker_id": worker.id.to_string(),
            "status": worker.status().as_str(),
            "reason": worker.reason(),
            "agent_type": worker.spec.agent_type.as_str(),
            "created_at": rfc3339(worker.created_at),
            "labels": worker.spec.labels,
        });
        if let Some(caller) = &worker.spec.caller {
            told["caller"] = json!(caller);
        }
        if worker.queued.is_some() {
            told["queue_place"] = json!(world.capacity.place(worker.id));
        }
        told
    };
    let workers: Vec<_> = chosen.iter().take(LISTED).map(told).collect();
    let content = json!({"workers": workers, "more": chosen.len() > LISTED});
    content.as_object().cloned().unwrap_or_default()
}

/// Whether this manager can make such a worker. What it cannot do it says; it never passes over a
/// limit or a wish in silence.
fn admit(world: &World, create: &Create, catalogue: &Catalogue) -> Result<(), Problem> {
    let agent = catalogue.agent(create.agent_type)?;
    catalogue.check_modules(agent, &create.modules)?;
    let protocol = create.protocol.unwrap_or(agent.head.protocol);
    // Of a program of the caller's own, the caller knows.
    let may_tell_cost = agent.head.tells_cost
        || create.agent_type == AgentType::Custom
            && matches!(protocol, AgentProtocol::StreamJson | AgentProtocol::Acp);
    if create.limits.max_cost_usd.is_some() && !may_tell_cost {
        return Err(Problem::refused(format!(
            "`limits.max_cost_usd` would not hold: {} does not tell what it costs (CLAUDE and \
             OPENCODE do, and CUSTOM may with `protocol` stream-json or acp); set a limit where \
             its credentials come from",
            create.agent_type
        )));
    }
    if !create.workspace.is_empty() {
        return Err(not_yet("`workspace`", "an empty /workspace"));
    }
    world.terms.grant(create, agent)?;
    match create.host.as_deref().map(str::to_ascii_lowercase).as_deref() {
        None | Some("auto" | "local") => Ok(()),
        Some(_) => Err(not_yet("`host` other than `auto`", "`auto`, `local`")),
    }
}

fn not_yet(what: &str, instead: &str) -> Problem {
    Problem::refused(format!("{what} is not supported by this version (supported: {instead})"))
}

/// The content of a reply about a worker.
#[must_use]
pub fn told(id: WorkerId, status: Status) -> Map<String, Value> {
    let mut content = Map::new();
    content.insert("worker_id".to_owned(), json!(id.to_string()));
    content.insert("status".to_owned(), json!(status.as_str()));
    content
}

fn about_this_manager(world: &World) -> Map<String, Value> {
    let (starting, running, ended) = world.census();
    let content = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "manager": world.manager,
        "hosts": ["local"],
        "load": {
            "starting": starting,
            "running": running,
            "queued": world.capacity.waiting(),
            "ended": ended,
            "builds": world.builds.count(),
        },
    });
    content.as_object().cloned().unwrap_or_default()
}
