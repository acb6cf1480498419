//! What a worker's wrapper is told when it starts.

use serde_json::{Map, Value};
use std::collections::BTreeMap;
use worker_protocol::boot::{BootAgent, BootFile, BootPolicy, Bounds, GATE_SOCKET, Gate};
use worker_protocol::{
    AgentProtocol, Boot, CommandPattern, Create, ErrorKind, Problem, Secret, WorkerId,
};

use super::Hands;
use super::passage::surroundings;
use crate::engine::Enclosure;
use crate::image::AgentTemplate;
use crate::passage::Surroundings;
use crate::store::OpenWorker;

/// The agent's user, the same in every image.
const AGENT_UID: u32 = 1000;
const WORKSPACE: &str = "/workspace";
/// Where an agent finds what is added to its system prompt, and its MCP servers.
const SYSTEM_PROMPT: &str = "/etc/worker/system-prompt.md";
const MCP: &str = "/etc/worker/mcp.json";

/// What the wrapper is told on its stdin.
pub(super) fn boot(
    hands: &Hands,
    id: WorkerId,
    spec: &Create,
    agent: &AgentTemplate,
    open: OpenWorker,
    enclosure: &Enclosure,
) -> Result<Vec<u8>, Problem> {
    let policy = policy(hands, spec, agent);
    let (own, usual) = (&spec.limits, &hands.settings.limits);
    let Surroundings { env: mut given, tokens } = surroundings(hands, spec, enclosure)?;
    given.extend(tokens.into_iter().map(|name| (name, open.token.clone())));
    let operators: Vec<_> = given.keys().cloned().collect();
    let boot = Boot {
        worker_id: id,
        redis: open.access,
        keys: open.keys,
        agent: boot_agent(hands, id, spec, agent, given),
        life: spec.life,
        restart: spec.restart,
        files: files_of(hands, spec, agent),
        policy,
        bounds: Bounds {
            output_entries: hands.settings.output_entries,
            spool_bytes: hands.settings.spool_bytes,
            turn_timeout: own.turn_timeout.or(usual.turn_timeout),
            idle_timeout: own.idle_timeout.or(usual.idle_timeout),
            when_idle: hands.settings.when_idle,
            max_lifetime: own.max_lifetime.or(usual.max_lifetime),
            max_cost_usd: own.max_cost_usd.or(usual.max_cost_usd),
            stop_grace: hands.settings.stop_grace,
            ..Bounds::default()
        },
        operators: operators.into_iter().filter(|name| !spec.env.contains_key(name)).collect(),
        token: Some(open.token),
    };
    serde_json::to_vec(&boot).map_err(|error| {
        Problem::new(ErrorKind::Internal, format!("failed to write the boot document: {error}"))
    })
}

/// What the agent reads, outside of its workspace and not its own to change, with the vendor's files
/// for what holds it to its commands.
pub(super) fn files_of(hands: &Hands, spec: &Create, agent: &AgentTemplate) -> Vec<BootFile> {
    let mcp = (!spec.mcp.is_empty()).then(|| Value::Object(spec.mcp.clone()).to_string());
    let texts = [
        (agent.head.instructions.as_str(), spec.instructions.clone()),
        (SYSTEM_PROMPT, rigid_text(&spec.allowed_commands)),
        (MCP, mcp),
    ];
    let file = |(path, text): (&str, Option<String>)| {
        Some(BootFile { path: path.to_owned(), text: text? })
    };
    let held = !spec.allowed_commands.is_empty();
    let vendors = held.then(|| hands.catalogue.policy_files(agent)).into_iter().flatten();
    let vendors = vendors.map(|(path, text)| BootFile { path, text });
    texts.into_iter().filter_map(file).chain(vendors).collect()
}

/// What holds the agent to its commands.
fn policy(hands: &Hands, spec: &Create, agent: &AgentTemplate) -> Option<BootPolicy> {
    if spec.allowed_commands.is_empty() {
        return None;
    }
    let by_protocol = spec.protocol == Some(AgentProtocol::Acp);
    Some(BootPolicy {
        allowed: spec.allowed_commands.clone(),
        permissions: spec.permissions,
        gate: agent.head.policy.gate.or(by_protocol.then_some(Gate::Protocol)),
        programs: hands.catalogue.policy_programs(agent, &spec.modules, &spec.allowed_commands),
        socket: GATE_SOCKET.to_owned(),
    })
}

fn boot_agent(
    hands: &Hands,
    id: WorkerId,
    spec: &Create,
    agent: &AgentTemplate,
    given: BTreeMap<String, Secret>,
) -> BootAgent {
    let custom = !spec.agent_command.is_empty();
    let command = if custom {
        spec.agent_command.clone()
    } else {
        [agent.head.command.clone(), only_mcp(id, &spec.mcp, agent)].concat()
    };
    BootAgent {
        agent_type: spec.agent_type,
        version: (!custom).then(|| agent.head.version.clone()),
        protocol: spec.protocol.unwrap_or(agent.head.protocol),
        command,
        env: environment(hands, spec, agent, given),
        system_prompt_file: (!spec.allowed_commands.is_empty()).then(|| SYSTEM_PROMPT.to_owned()),
        model: spec.model.clone(),
        mcp_file: (!spec.mcp.is_empty()).then(|| MCP.to_owned()),
        uid: AGENT_UID,
        workspace: WORKSPACE.to_owned(),
    }
}

/// Names the servers that the caller gives. Where there are none, a name that nobody can have guessed
/// who wrote a repository: no name at all would be no limit.
fn only_mcp(id: WorkerId, mcp: &Map<String, Value>, agent: &AgentTemplate) -> Vec<String> {
    let Some(flag) = &agent.head.only_mcp else { return Vec::new() };
    let servers = mcp.get("mcpServers").and_then(Value::as_object);
    let mut names: Vec<_> = servers.into_iter().flatten().map(|(name, _)| name.clone()).collect();
    if names.is_empty() {
        names.push(id.to_string());
    }
    names.into_iter().flat_map(|name| [flag.clone(), name]).collect()
}

/// What the templates set, then what the operator gives to this worker, then the caller's own.
fn environment(
    hands: &Hands,
    spec: &Create,
    agent: &AgentTemplate,
    given: BTreeMap<String, Secret>,
) -> BTreeMap<String, Secret> {
    let templates = hands.catalogue.environment(agent, &spec.modules);
    let mut env: BTreeMap<_, _> =
        templates.into_iter().map(|(name, value)| (name, Secret::new(value))).collect();
    if hands.settings.ca_bundle.is_some() {
        // The image trusts the bundle; programs that bring their own authorities look here.
        for name in ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE"] {
            env.insert(name.to_owned(), Secret::new("/etc/ssl/certs/ca-certificates.crt"));
        }
    }
    env.extend(given);
    env.extend(spec.env.clone());
    if !spec.allowed_commands.is_empty() {
        let held = agent.head.policy.env.iter();
        env.extend(held.map(|(name, value)| (name.clone(), Secret::new(value.clone()))));
    }
    env
}

/// What an agent is told about the commands it may run, in the part of its prompt that it cannot
/// argue with.
fn rigid_text(allowed: &[CommandPattern]) -> Option<String> {
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
        let allowed = ["git *", "ls"].map(|text| CommandPattern::parse(text).unwrap());
        let text = rigid_text(&allowed).unwrap();
        assert!(text.contains("\n- git *\n- ls\n"), "{text}");
    }
}
