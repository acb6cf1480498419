//! The wish for a worker.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

use crate::agent::{AgentProtocol, AgentType};
use crate::caller::CallerName;
use crate::credentials::Credentials;
use crate::egress::Egress;
use crate::fields::Fields;
use crate::id::{ModuleName, WorkerId};
use crate::limits::Limits;
use crate::pattern::CommandPattern;
use crate::problem::{Problem, Shown, did_you_mean};
use crate::secret::Secret;
use crate::value;

/// The names that `create` knows besides the common ones.
pub(crate) const FIELDS: [&str; 22] = [
    "agent_type",
    "worker_id",
    "instructions",
    "allowed_commands",
    "permissions",
    "modules",
    "base_image",
    "prompt",
    "headless",
    "wait",
    "agent_command",
    "protocol",
    "env",
    "limits",
    "restart",
    "workspace",
    "labels",
    "host",
    "model",
    "mcp",
    "egress",
    "credentials",
];

/// The most bytes of an instruction text: agents read it into every request.
pub const INSTRUCTIONS_LIMIT: usize = 1 << 20;
/// The most bytes of a first prompt; Claude Code refuses more than 10 MB on stdin.
pub const PROMPT_LIMIT: usize = 8 << 20;
/// The most bytes of one environment value, as the kernel has it (`MAX_ARG_STRLEN`).
const ENV_VALUE_LIMIT: usize = (128 << 10) - 1;
/// The most entries of a list or an object.
const ITEMS_LIMIT: usize = 256;
/// The most bytes of a short text: a model's name, a label, a command pattern.
const SHORT_LIMIT: usize = 4096;

/// When the reply to a `create` is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wait {
    /// When the wish is understood and recorded.
    Accepted,
    /// When the worker runs.
    Running,
    /// When the worker has ended.
    Done,
}

impl Wait {
    const ALL: [Self; 3] = [Self::Accepted, Self::Running, Self::Done];

    fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Running => "running",
            Self::Done => "done",
        }
    }
}

/// Who decides on commands that `allowed_commands` does not allow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Permissions {
    /// They are denied at once.
    #[default]
    Auto,
    /// A client is asked, where the agent waits for an answer.
    Ask,
}

impl Permissions {
    const ALL: [Self; 2] = [Self::Auto, Self::Ask];

    fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Ask => "ask",
        }
    }
}

/// Whether a worker stays for more prompts or ends after the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Life {
    /// It waits for prompts until it is deleted.
    Interactive,
    /// It ends by itself when the prompt is done.
    Headless,
}

/// What to do when a worker ends by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Nothing.
    #[default]
    Never,
    /// Start it again after a failure, at most so many times.
    OnFailure(u32),
}

/// A checked wish. What it serialises to holds no secret and no long text: it is what the manager
/// writes to a container's labels to know the worker again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Create {
    /// Which agent.
    pub agent_type: AgentType,
    /// The caller's id for the worker.
    #[serde(skip)]
    pub worker_id: Option<WorkerId>,
    /// Text of the agent's instruction file.
    #[serde(skip)]
    pub instructions: Option<String>,
    /// Command names or `name arg*` patterns; empty: all.
    #[serde(default)]
    pub allowed_commands: Vec<CommandPattern>,
    /// Who decides on others.
    #[serde(default)]
    pub permissions: Permissions,
    /// What the image holds besides the agent.
    pub modules: BTreeSet<ModuleName>,
    /// The caller's own image, for a `CUSTOM` agent; it gets the wrapper.
    #[serde(default)]
    pub base_image: Option<String>,
    /// First prompt.
    #[serde(skip)]
    pub prompt: Option<Secret>,
    /// Whether it ends after the first prompt.
    pub life: Life,
    /// When the reply is sent.
    pub wait: Wait,
    /// argv of a `CUSTOM` agent.
    #[serde(skip)]
    pub agent_command: Vec<String>,
    /// How a `CUSTOM` agent is talked to.
    pub protocol: Option<AgentProtocol>,
    /// Environment of the agent.
    #[serde(skip)]
    pub env: BTreeMap<String, Secret>,
    /// What it may use.
    pub limits: Limits,
    /// What to do when it ends by itself.
    pub restart: Restart,
    /// `repo`, `path` or `volume`.
    #[serde(skip)]
    pub workspace: Map<String, Value>,
    /// The caller's own marks.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// A host's name, `auto`, or capabilities.
    pub host: Option<String>,
    /// The agent's model.
    pub model: Option<String>,
    /// MCP servers, as the agent takes them.
    #[serde(skip)]
    pub mcp: Map<String, Value>,
    /// Hosts that the worker may reach.
    #[serde(default)]
    pub egress: Egress,
    /// Which of the operator's credentials the worker gets.
    #[serde(default)]
    pub credentials: Credentials,
    /// The names in `env`, which labels hold without the values.
    #[serde(default)]
    pub env_names: BTreeSet<String>,
    /// Who asked for it, once a signature has proven it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<CallerName>,
}

impl Create {
    pub(crate) fn from_fields(fields: &Fields) -> Result<Self, Problem> {
        let env = env(fields)?;
        let create = Self {
            agent_type: agent_type(fields)?,
            worker_id: fields
                .text("worker_id", usize::MAX)?
                .map(|text| WorkerId::parse(&text))
                .transpose()?,
            instructions: fields.text("instructions", INSTRUCTIONS_LIMIT)?,
            allowed_commands: short_list(fields, "allowed_commands")?
                .iter()
                .map(|text| CommandPattern::parse(text))
                .collect::<Result<_, _>>()?,
            permissions: fields
                .choice("permissions", &Permissions::ALL, Permissions::as_str)?
                .unwrap_or_default(),
            modules: modules(fields)?,
            base_image: base_image(fields)?,
            prompt: fields.text("prompt", PROMPT_LIMIT)?.map(Secret::new),
            life: match fields.boolean("headless")? {
                Some(true) => Life::Headless,
                _ => Life::Interactive,
            },
            wait: fields.choice("wait", &Wait::ALL, Wait::as_str)?.unwrap_or(Wait::Accepted),
            agent_command: agent_command(fields)?,
            protocol: fields.choice(
                "protocol",
                &AgentProtocol::FOR_CUSTOM,
                AgentProtocol::as_str,
            )?,
            env_names: env.keys().cloned().collect(),
            env,
            limits: Limits::from_object(&fields.object("limits")?)?,
            restart: restart(fields)?,
            workspace: workspace(fields)?,
            labels: labels(fields)?,
            host: fields.text("host", SHORT_LIMIT)?,
            model: fields.text("model", SHORT_LIMIT)?,
            mcp: fields.object("mcp")?,
            egress: words(fields, "egress", Egress::parse)?,
            credentials: words(fields, "credentials", Credentials::parse)?,
            caller: None,
        };
        create.check_together()?;
        Ok(create)
    }

    /// Fields that are right by themselves, and not beside each other.
    fn check_together(&self) -> Result<(), Problem> {
        let custom = self.agent_type == AgentType::Custom;
        let fault = match self {
            _ if custom && self.agent_command.is_empty() => {
                "`agent_command` is required for the agent CUSTOM: argv as a JSON array, or a shell line"
            }
            _ if !custom && !self.agent_command.is_empty() => {
                "`agent_command` is only for the agent CUSTOM"
            }
            _ if !custom && self.base_image.is_some() => {
                "`base_image` is only for the agent CUSTOM"
            }
            _ if !custom && self.protocol.is_some() => "`protocol` is only for the agent CUSTOM",
            _ if self.permissions == Permissions::Ask && self.allowed_commands.is_empty() => {
                "`permissions` `ask` needs `allowed_commands`: without them every command is allowed"
            }
            _ if self.life == Life::Headless && self.prompt.is_none() => {
                "`headless` needs a `prompt`: the worker ends when it is done"
            }
            _ if self.wait == Wait::Done && self.life != Life::Headless => {
                "`wait` may be `done` only with `headless` `true`: other workers do not end by themselves"
            }
            _ => return Ok(()),
        };
        Err(Problem::malformed(fault))
    }
}

fn agent_type(fields: &Fields) -> Result<AgentType, Problem> {
    fields.choice("agent_type", &AgentType::ALL, AgentType::as_str)?.ok_or_else(|| {
        let known = AgentType::ALL.map(AgentType::as_str).join(", ");
        Problem::malformed(format!("the field `agent_type` is missing: one of {known}"))
    })
}

fn modules(fields: &Fields) -> Result<BTreeSet<ModuleName>, Problem> {
    short_list(fields, "modules")?.iter().map(|name| ModuleName::parse(name)).collect()
}

/// The name becomes a line of a Dockerfile, and must not bring lines of its own.
fn base_image(fields: &Fields) -> Result<Option<String>, Problem> {
    const LIMIT: usize = 512;
    let name = fields.text("base_image", LIMIT)?;
    let fits = |name: &String| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:@".contains(&byte);
        name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.bytes().all(known)
    };
    match name {
        Some(name) if !fits(&name) => Err(Problem::malformed(format!(
            "`base_image` must be an image's name such as debian:bookworm-slim, not {}",
            Shown(&name)
        ))),
        name => Ok(name),
    }
}

/// A JSON array is argv; anything else is a line for the shell.
fn agent_command(fields: &Fields) -> Result<Vec<String>, Problem> {
    let argv = match fields.raw("agent_command") {
        None => return Ok(Vec::new()),
        Some(Value::String(line)) if !line.trim_start().starts_with('[') => {
            vec!["/bin/sh".to_owned(), "-c".to_owned(), line.clone()]
        }
        Some(given) => value::list(given).unwrap_or_default(),
    };
    let bytes: usize = argv.iter().map(String::len).sum();
    let fits = argv.first().is_some_and(|program| !program.is_empty())
        && bytes <= ENV_VALUE_LIMIT
        && !argv.iter().any(|arg| arg.contains('\0'));
    if fits {
        Ok(argv)
    } else {
        Err(Problem::malformed(format!(
            "`agent_command` must be argv as a JSON array of strings, or a shell line, of at most {ENV_VALUE_LIMIT} bytes"
        )))
    }
}

fn env(fields: &Fields) -> Result<BTreeMap<String, Secret>, Problem> {
    let texts = fields.texts("env")?;
    limit_items("env", texts.len())?;
    for (name, value) in &texts {
        let word = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !name.starts_with(|c: char| c.is_ascii_digit());
        if !word || name.is_empty() || name.len() > 256 {
            return Err(Problem::malformed(format!(
                "`env` must hold names of letters, digits and `_`, not {}",
                Shown(name)
            )));
        }
        if value.len() > ENV_VALUE_LIMIT || value.contains('\0') {
            return Err(Problem::malformed(format!(
                "`env.{name}` may be at most {ENV_VALUE_LIMIT} bytes long, without NUL"
            )));
        }
    }
    Ok(texts.into_iter().map(|(name, value)| (name, Secret::new(value))).collect())
}

fn restart(fields: &Fields) -> Result<Restart, Problem> {
    const MOST: u32 = 100;
    let Some(text) = fields.text("restart", SHORT_LIMIT)? else { return Ok(Restart::Never) };
    let text = text.to_ascii_lowercase();
    let times = match text.as_str() {
        "never" => return Ok(Restart::Never),
        "on-failure" => Some(MOST),
        other => other.strip_prefix("on-failure:").and_then(|n| n.parse().ok()),
    };
    times.filter(|n| (1..=MOST).contains(n)).map(Restart::OnFailure).ok_or_else(|| {
        Problem::malformed(format!(
            "`restart` must be `never`, `on-failure` or `on-failure:n` with n from 1 to {MOST}, not {}",
            Shown(&text)
        ))
    })
}

fn workspace(fields: &Fields) -> Result<Map<String, Value>, Problem> {
    const KNOWN: [&str; 5] = ["repo", "branch", "commit", "path", "volume"];
    let map = fields.object("workspace")?;
    match map.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        None => Ok(map),
        Some(name) => {
            let near = did_you_mean(name, KNOWN);
            let known = KNOWN.join(", ");
            Err(Problem::malformed(format!(
                "`workspace` has no key {}{near} (known: {known})",
                Shown(name)
            )))
        }
    }
}

fn labels(fields: &Fields) -> Result<BTreeMap<String, String>, Problem> {
    let labels = fields.texts("labels")?;
    limit_items("labels", labels.len())?;
    match labels.iter().find(|(name, value)| name.len() + value.len() > SHORT_LIMIT) {
        None => Ok(labels),
        Some((name, _)) => Err(Problem::malformed(format!(
            "`labels` may hold at most {SHORT_LIMIT} bytes each, and {} is longer",
            Shown(name)
        ))),
    }
}

fn short_list(fields: &Fields, name: &str) -> Result<Vec<String>, Problem> {
    let items = fields.list(name)?;
    limit_items(name, items.len())?;
    match items.iter().find(|item| item.len() > SHORT_LIMIT) {
        None => Ok(items),
        Some(item) => Err(Problem::malformed(format!(
            "`{name}` may hold texts of at most {SHORT_LIMIT} bytes, not {}",
            Shown(item)
        ))),
    }
}

/// A list that is read as a whole; `parse` says what is wrong in words that follow the field's name.
fn words<T>(
    fields: &Fields,
    name: &str,
    parse: impl Fn(&[String]) -> Result<T, String>,
) -> Result<T, Problem> {
    let items = short_list(fields, name)?;
    parse(&items).map_err(|why| Problem::malformed(format!("`{name}` {why}")))
}

fn limit_items(name: &str, items: usize) -> Result<(), Problem> {
    if items <= ITEMS_LIMIT {
        return Ok(());
    }
    Err(Problem::malformed(format!(
        "`{name}` may hold at most {ITEMS_LIMIT} items, and holds {items}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Create, String> {
        let pairs: Vec<_> =
            pairs.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect();
        let (fields, fault) = Fields::read(&pairs);
        fault.unwrap();
        Create::from_fields(&fields).map_err(|problem| problem.message)
    }

    #[test]
    fn the_example_of_the_contract_is_read() {
        let create = read(&[
            ("agent_type", "claude"),
            ("modules", "GIT,CURL,git"),
            ("instructions", "Be brief."),
            ("prompt", "Say hello."),
        ])
        .unwrap();
        assert_eq!(create.agent_type, AgentType::Claude);
        assert_eq!(
            create.modules.iter().map(ModuleName::as_str).collect::<Vec<_>>(),
            ["CURL", "GIT"]
        );
        assert_eq!((create.life, create.wait), (Life::Interactive, Wait::Accepted));
    }

    #[test]
    fn an_agent_command_is_argv_or_a_line() {
        let argv = read(&[("agent_type", "CUSTOM"), ("agent_command", r#"["cat","-u"]"#)]).unwrap();
        assert_eq!(argv.agent_command, ["cat", "-u"]);
        let line = read(&[("agent_type", "CUSTOM"), ("agent_command", "cat -u | wc")]).unwrap();
        assert_eq!(line.agent_command, ["/bin/sh", "-c", "cat -u | wc"]);
    }

    #[test]
    fn neither_debug_nor_the_label_holds_a_secret() {
        let create = read(&[
            ("agent_type", "CLAUDE"),
            ("env", r#"{"TOKEN":"hunter2"}"#),
            ("prompt", "hunter2"),
        ])
        .unwrap();
        let label = serde_json::to_string(&create).unwrap();
        assert!(!label.contains("hunter2") && !format!("{create:?}").contains("hunter2"));
        let known_again: Create = serde_json::from_str(&label).unwrap();
        assert_eq!(known_again.agent_type, AgentType::Claude);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let huge = "x".repeat(10_000_000);
        for (pairs, part) in [
            (vec![("modules", "GIT")], "`agent_type` is missing"),
            (vec![("agent_type", "CLAUD")], "did you mean `CLAUDE`?"),
            (vec![("agent_type", "CUSTOM")], "`agent_command` is required"),
            (vec![("agent_type", "CUSTOM"), ("agent_command", "[1]")], "`agent_command` must be"),
            (vec![("agent_type", "CLAUDE"), ("agent_command", "cat")], "only for the agent CUSTOM"),
            (vec![("agent_type", "CLAUDE"), ("modules", "../x")], "`modules` must hold names"),
            (vec![("agent_type", "CLAUDE"), ("headless", "true")], "`headless` needs a `prompt`"),
            (vec![("agent_type", "CLAUDE"), ("wait", "done")], "`wait` may be `done` only"),
            (vec![("agent_type", "CLAUDE"), ("allowed_commands", "*")], "leave the field out"),
            (vec![("agent_type", "CLAUDE"), ("permissions", "ask")], "needs `allowed_commands`"),
            (vec![("agent_type", "CLAUDE"), ("wait", "redy")], "`wait` must be one of"),
            (vec![("agent_type", "CLAUDE"), ("env", r#"{"A=B":"1"}"#)], "`env` must hold names"),
            (
                vec![("agent_type", "CLAUDE"), ("instructions", &huge)],
                "`instructions` may be at most",
            ),
            (vec![("agent_type", "CLAUDE"), ("egress", "a.com,https://b.com")], "`egress` holds"),
            (vec![("agent_type", "CLAUDE"), ("credentials", "../x")], "`credentials` must hold"),
            (vec![("agent_type", "CLAUDE"), ("restart", "always")], "`restart` must be"),
            (
                vec![("agent_type", "CLAUDE"), ("workspace", r#"{"rep":"x"}"#)],
                "did you mean `repo`?",
            ),
            (vec![("agent_type", "CLAUDE"), ("limits", r#"{"memory":"9e99"}"#)], "`limits.memory`"),
        ] {
            let message = read(&pairs).unwrap_err();
            assert!(message.contains(part) && message.len() < 400, "{message}");
        }
    }
}
