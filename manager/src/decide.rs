//! What to do about a command: a plain function of the command and the world.
//!
//! There are three answers: do it, it is so already, no. A refusal is no failure, and *already so*
//! makes a second delivery harmless.

use serde_json::{Map, Value, json};
use worker_protocol::command::{DryRun, Force};
use worker_protocol::create::Restart;
use worker_protocol::{AgentProtocol, Command, Create, ErrorKind, Problem, Status, WorkerId};

use crate::image::Catalogue;
use crate::world::World;

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
}

/// A command with what is known about its worker.
pub struct Question<'a> {
    /// The command.
    pub command: &'a Command,
    /// Its request.
    pub request_id: &'a str,
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
    if let Some(worker) = world.workers.get(&id) {
        let same = worker.request_id == question.request_id;
        return if same { Decision::Enact(Enactment::Join(id)) } else { taken() };
    }
    match question.record {
        Some(record) if record.request_id != question.request_id => taken(),
        Some(record) if record.status.is_end() => Decision::AlreadySo(told(id, record.status)),
        _ => match admit(create, catalogue) {
            Ok(()) => Decision::Enact(Enactment::Create(id)),
            Err(problem) => Decision::Refuse(problem),
        },
    }
}

fn decide_delete(world: &World, question: &Question<'_>, id: WorkerId, force: Force) -> Decision {
    if world.workers.contains_key(&id) {
        return Decision::Enact(Enactment::Delete(id, force));
    }
    match question.record {
        Some(record) => {
            let mut content = told(id, record.status);
            content.insert("already".to_owned(), json!(true));
            Decision::AlreadySo(content)
        }
        None => Decision::Refuse(Problem::new(
            ErrorKind::UnknownWorker,
            format!("no worker has the id {id}, and none has had it lately"),
        )),
    }
}

/// Whether this manager can make such a worker. What it cannot do it says; it never passes over a
/// limit or a wish in silence.
fn admit(create: &Create, catalogue: &Catalogue) -> Result<(), Problem> {
    let agent = catalogue.agent(create.agent_type)?;
    catalogue.check_modules(agent, &create.modules)?;
    let protocol = create.protocol.unwrap_or(agent.head.protocol);
    if protocol == AgentProtocol::Acp && !create.mcp.is_empty() {
        return Err(not_yet("`mcp` over ACP", "CLAUDE"));
    }
    let limits = ["memory", "cpus", "pids", "turn_timeout"];
    if let Some(name) = create.limits.given().into_iter().find(|name| !limits.contains(name)) {
        return Err(not_yet(&format!("`limits.{name}`"), &limits.join(", ")));
    }
    if create.restart != Restart::Never {
        return Err(not_yet("`restart` other than `never`", "`never`"));
    }
    if !create.workspace.is_empty() {
        return Err(not_yet("`workspace`", "an empty /workspace"));
    }
    if !create.egress.is_empty() {
        return Err(not_yet("`egress`", "open egress"));
    }
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
        "hosts": ["local"],
        "load": {
            "starting": starting,
            "running": running,
            "ended": ended,
            "builds": world.builds.count(),
        },
    });
    content.as_object().cloned().unwrap_or_default()
}
