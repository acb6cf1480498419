//! What the manager hands to the wrapper: one document on its stdin.
//!
//! So no secret in it stands in an image or in a container's configuration, and the agent, whose
//! stdin is another, has no way to read it. The wrapper keeps what it needs to be started again in a
//! file of root's.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::agent::{AgentProtocol, AgentType};
use crate::create::{Life, Permissions, Restart};
use crate::id::WorkerId;
use crate::pattern::CommandPattern;
use crate::secret::Secret;

/// Where the wrapper reads it, to the end.
pub const BOOT_PATH: &str = "/dev/stdin";

/// The socket at which the agent's hook asks the wrapper, in a folder of root's.
pub const GATE_SOCKET: &str = "/run/worker/gate";

/// The document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Boot {
    /// The worker.
    pub worker_id: WorkerId,
    /// How to reach Redis.
    pub redis: RedisAccess,
    /// The streams and keys of this worker.
    pub keys: BootKeys,
    /// The agent to run.
    pub agent: BootAgent,
    /// Whether the worker ends after its first prompt.
    pub life: Life,
    /// Whether it is started again after a failure.
    #[serde(default)]
    pub restart: Restart,
    /// Files that the wrapper writes before the agent starts.
    #[serde(default)]
    pub files: Vec<BootFile>,
    /// What the agent may run; none: everything.
    #[serde(default)]
    pub policy: Option<BootPolicy>,
    /// Bounds of what the wrapper keeps and writes.
    pub bounds: Bounds,
    /// Names of variables in the agent's environment that the operator gives, at each start anew.
    #[serde(default)]
    pub operators: BTreeSet<String>,
    /// What the worker shows to the gateway in place of a key, all its life.
    #[serde(default)]
    pub token: Option<Secret>,
}

impl Boot {
    /// What the wrapper keeps for later starts: all but what it is given at each of them.
    #[must_use]
    pub fn to_keep(&self) -> Self {
        let mut kept = self.clone();
        kept.agent.env.retain(|name, _| !self.operators.contains(name));
        kept
    }
}

/// The document of a worker that ran before: all else the wrapper has kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Again {
    /// The operator's variables for the agent's environment, as they are now. Where the caller has
    /// given one of the same name, that one holds.
    #[serde(rename = "again")]
    pub env: BTreeMap<String, Secret>,
    /// Variables that hold the worker's token.
    #[serde(default)]
    pub tokens: BTreeSet<String>,
}

impl Again {
    /// The whole document, with what was kept of the first one.
    #[must_use]
    pub fn complete(self, mut kept: Boot) -> Boot {
        kept.operators.clear();
        let token = kept.token.clone();
        let tokens = self.tokens.into_iter().filter_map(|name| Some((name, token.clone()?)));
        for (name, value) in self.env.into_iter().chain(tokens) {
            kept.agent.env.entry(name.clone()).or_insert_with(|| {
                kept.operators.insert(name);
                value
            });
        }
        kept
    }
}

/// Which commands the agent may run, and by what it is held to that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootPolicy {
    /// The commands.
    pub allowed: Vec<CommandPattern>,
    /// Who decides on others.
    pub permissions: Permissions,
    /// How the agent's own tools come before the wrapper; none: they do not.
    pub gate: Option<Gate>,
    /// Files and folders that may be executed besides, since the agent cannot do without.
    pub programs: Vec<String>,
    /// Where the hook asks.
    pub socket: String,
}

/// How an agent asks before it uses a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Gate {
    /// It runs `worker-wrapper hook`, which asks at the socket.
    Hook,
    /// It asks in its own protocol.
    Protocol,
}

impl Gate {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hook => "hook",
            Self::Protocol => "protocol",
        }
    }
}

/// A file for the agent to read: its instructions, outside of its workspace. The folders above it
/// are made; it belongs to root, and everybody may read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootFile {
    /// Absolute.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// Address and credentials of the worker's own Redis user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RedisAccess {
    /// `redis://host:port/db`, without credentials.
    pub url: String,
    /// The ACL user.
    pub username: String,
    /// Its password.
    pub password: Secret,
}

/// The only keys that the worker's user may touch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BootKeys {
    /// Stream of prompts; the group `wrapper` exists.
    pub input: String,
    /// Stream of events.
    pub output: String,
    /// Sign of life.
    pub heartbeat: String,
}

/// The agent's process and how to talk with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BootAgent {
    /// Which agent.
    pub agent_type: AgentType,
    /// Its version, where it is pinned.
    pub version: Option<String>,
    /// How it is driven.
    pub protocol: AgentProtocol,
    /// The program and its arguments; a driver adds its own.
    pub command: Vec<String>,
    /// All of its environment: nothing is inherited.
    pub env: BTreeMap<String, Secret>,
    /// A file with text for its system prompt, where the driver can give one. Files, since a command
    /// line has a limit, and everybody on the host can read it.
    pub system_prompt_file: Option<String>,
    /// Its model, where the driver can choose one.
    pub model: Option<String>,
    /// A file with MCP servers as JSON, where the driver can give them.
    pub mcp_file: Option<String>,
    /// User and group that it runs as.
    pub uid: u32,
    /// Where it starts.
    pub workspace: String,
}

/// What becomes of a worker that has had no work for as long as it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenIdle {
    /// It ends, by itself.
    #[default]
    End,
    /// It says so in its sign of life, and the manager has it stand still until something comes.
    Pause,
}

/// Every buffer of the wrapper has an end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    /// Bytes of one line of the agent; the rest of a longer one is cut off.
    pub line_bytes: usize,
    /// Entries of the output stream that are kept, roughly.
    pub output_entries: usize,
    /// Bytes of output that wait for Redis in memory, where no disk can be used.
    pub backlog_bytes: usize,
    /// Bytes of output that wait for Redis on disk; 0: none.
    pub spool_bytes: u64,
    /// Where on disk. The agent must not be able to enter it.
    pub spool_folder: String,
    /// The longest turn; none: no limit.
    pub turn_timeout: Option<Duration>,
    /// The longest time without work; none: no limit.
    #[serde(default)]
    pub idle_timeout: Option<Duration>,
    /// What follows when there was no work for so long.
    #[serde(default)]
    pub when_idle: WhenIdle,
    /// The longest life, from the container's first start on; none: no limit.
    #[serde(default)]
    pub max_lifetime: Option<Duration>,
    /// The most that the agent may cost, in US dollars; none: no limit.
    #[serde(default)]
    pub max_cost_usd: Option<f64>,
    /// Time that an agent has to end after it was asked to.
    pub stop_grace: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            // A tool's result with an image in base64 is a few MB.
            line_bytes: 4 << 20,
            output_entries: 10_000,
            // Several minutes of a busy agent; a worker is meant to stay below 64 MB with it.
            backlog_bytes: 32 << 20,
            // An hour of a busy agent, and little of a host's disk for a hundred workers.
            spool_bytes: 256 << 20,
            spool_folder: "/var/lib/worker/spool".into(),
            turn_timeout: None,
            idle_timeout: None,
            when_idle: WhenIdle::End,
            max_lifetime: None,
            max_cost_usd: None,
            // Claude Code ends its own children on SIGTERM and writes its session: seconds.
            stop_grace: Duration::from_secs(10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_read_back_and_debug_hides_what_is_secret() {
        let boot = boot();
        let text = serde_json::to_string(&boot).unwrap();
        assert_eq!(serde_json::from_str::<Boot>(&text).unwrap(), boot);
        assert!(!format!("{boot:?}").contains("hunter2"));
    }

    #[test]
    fn what_the_operator_gives_is_not_kept_and_may_be_another_at_the_next_start() {
        let mut boot = boot();
        boot.agent.env.insert("KEY".into(), Secret::new("key-1"));
        boot.operators.insert("KEY".into());
        let kept = boot.to_keep();
        assert!(!serde_json::to_string(&kept).unwrap().contains("key-1"));
        let values = [("KEY", "key-2"), ("TOKEN", "the operator's")];
        let env = values.map(|(name, value)| (name.to_owned(), Secret::new(value))).into();
        let tokens = ["TOKEN", "MODEL_KEY"].map(str::to_owned).into();
        let again = Again { env, tokens }.complete(kept);
        assert_eq!(again.agent.env["KEY"].reveal(), "key-2");
        assert_eq!(again.agent.env["TOKEN"].reveal(), "hunter2", "the caller's own holds");
        assert_eq!(again.agent.env["MODEL_KEY"].reveal(), "token-1", "it was kept");
        boot.operators.insert("MODEL_KEY".into());
        assert_eq!(again.operators, boot.operators);
    }

    fn boot() -> Boot {
        Boot {
            worker_id: WorkerId::new(),
            redis: RedisAccess {
                url: "redis://redis:6379/0".into(),
                username: "worker-1".into(),
                password: Secret::new("hunter2"),
            },
            keys: BootKeys { input: "i".into(), output: "o".into(), heartbeat: "h".into() },
            agent: BootAgent {
                agent_type: AgentType::Custom,
                version: None,
                protocol: AgentProtocol::Lines,
                command: vec!["cat".into()],
                env: BTreeMap::from([("TOKEN".into(), Secret::new("hunter2"))]),
                system_prompt_file: None,
                model: None,
                mcp_file: None,
                uid: 1000,
                workspace: "/workspace".into(),
            },
            life: Life::Interactive,
            restart: Restart::Never,
            files: vec![BootFile { path: "/etc/notes".into(), text: "be brief".into() }],
            policy: None,
            bounds: Bounds::default(),
            operators: BTreeSet::new(),
            token: Some(Secret::new("token-1")),
        }
    }
}
