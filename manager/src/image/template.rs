//! One template file: TOML between two `+++` lines, then text.
//!
//! The text is a piece of a Dockerfile in Handlebars; what stands in the front matter can be used
//! in it, so that a version is written once.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use worker_protocol::boot::Gate;
use worker_protocol::gateway::Price;
use worker_protocol::{AgentProtocol, Host};

use crate::engine::{CompanionPlan, Confinement};

/// What a module's file says about it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleHead {
    /// What it brings, in a few words.
    pub summary: String,
    /// Of what it installs, or of the template where the distribution chooses.
    pub version: String,
    /// How much it adds.
    pub size: SizeClass,
    /// Its place among the modules: what changes least comes first.
    pub position: u32,
    /// Modules that must come before it.
    #[serde(default)]
    pub needs: Vec<String>,
    /// Stages that its text copies from.
    #[serde(default)]
    pub stages: Vec<String>,
    /// Files that its text copies, by their names in the folder `files`.
    #[serde(default)]
    pub files: Vec<String>,
    /// What it adds to the agent's environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// What a command starts by itself, and cannot do without: files and folders.
    #[serde(default)]
    pub helpers: BTreeMap<String, Vec<String>>,
    /// What is to run beside the agent.
    #[serde(default)]
    pub companion: Option<Companion>,
    /// Digests of what it downloads.
    #[serde(default)]
    pub sha512: BTreeMap<String, String>,
}

/// A process of the module's own beside the agent, with rights that the agent does not have.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Companion {
    /// Its first process, which runs as root.
    pub command: Vec<String>,
    /// A folder that it and the agent both see.
    pub shared: String,
    /// The file in [`Self::shared`] that shows that it is ready.
    pub ready: String,
    /// A folder that only it sees.
    pub state: String,
}

impl Companion {
    /// What the engine is to make of it.
    #[must_use]
    pub fn plan(&self, confinement: Confinement, env: BTreeMap<String, String>) -> CompanionPlan {
        CompanionPlan {
            command: self.command.clone(),
            shared: self.shared.clone(),
            env,
            ready: self.ready.clone(),
            state: self.state.clone(),
            confinement,
        }
    }
}

/// What a stage's file says about it: a part of the build that others copy from, or begin with.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StageHead {
    /// What it prepares, in a few words.
    pub summary: String,
    /// Of what it installs.
    pub version: String,
    /// Files that its text copies, by their names in the folder `files`.
    #[serde(default)]
    pub files: Vec<String>,
    /// Digests of what it downloads.
    #[serde(default)]
    pub sha512: BTreeMap<String, String>,
}

/// How much a module adds to an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SizeClass {
    /// Less than 20 MB.
    Small,
    /// Less than 100 MB.
    Medium,
    /// More.
    Large,
}

impl std::fmt::Display for SizeClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Small => "small",
            Self::Medium => "medium",
            Self::Large => "large",
        })
    }
}

/// What an agent's file says about it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AgentHead {
    /// What it is, in a few words.
    pub summary: String,
    /// Of the vendor's program.
    pub version: String,
    /// How the wrapper talks with it.
    pub protocol: AgentProtocol,
    /// Its command line; empty where the command comes with the wish for a worker.
    pub command: Vec<String>,
    /// Where it reads its instructions.
    pub instructions: String,
    /// What it is told with each name of an MCP server that it may have, where it would take others
    /// from the workspace: `--allowed-mcp-server-names`.
    #[serde(default)]
    pub only_mcp: Option<String>,
    /// Whether it tells what it costs, so that its cost can have a limit.
    #[serde(default)]
    pub tells_cost: bool,
    /// Names of environment variables that hold credentials for it.
    #[serde(default)]
    pub credentials: Vec<String>,
    /// Hosts that it cannot do without, besides those of its models.
    #[serde(default)]
    pub egress: BTreeSet<Host>,
    /// Services that the gateway can stand before, by the credential's variable.
    #[serde(default)]
    pub models: BTreeMap<String, ModelHead>,
    /// What models cost.
    #[serde(default)]
    pub prices: Vec<Price>,
    /// Modules that it cannot do without.
    #[serde(default)]
    pub needs: Vec<String>,
    /// The stage that its own begins with; without one, the base.
    #[serde(default)]
    pub builder: Option<String>,
    /// Stages that its text copies from.
    #[serde(default)]
    pub stages: Vec<String>,
    /// Files that its text copies, by their names in the folder `files`.
    #[serde(default)]
    pub files: Vec<String>,
    /// What its environment always holds.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// How it is held to a worker's `allowed_commands`.
    #[serde(default)]
    pub policy: AgentPolicy,
    /// Digests of what it downloads.
    #[serde(default)]
    pub sha512: BTreeMap<String, String>,
}

/// A service that an agent can be told to look for elsewhere. So the gateway stands before it, and
/// its key stays there.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ModelHead {
    /// Where it is: `https://api.anthropic.com`.
    pub url: String,
    /// Headers that show the key: `{key}` stands for it.
    pub headers: BTreeMap<String, String>,
    /// The variable by which an operator may have said that it is elsewhere.
    #[serde(default)]
    pub base_url: Option<String>,
    /// What tells the agent where the gateway is: `{url}` stands for that.
    pub env: BTreeMap<String, String>,
}

impl ModelHead {
    /// The host that it is at.
    #[must_use]
    pub fn host(&self) -> Option<Host> {
        let url = url::Url::parse(&self.url).ok()?;
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        Host::parse(&format!("{}{port}", url.host_str()?)).ok()
    }
}

/// How an agent is held to the commands that a worker allows. Nothing of it is in the image.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AgentPolicy {
    /// How its tools come before the wrapper; none: they do not.
    #[serde(default)]
    pub gate: Option<Gate>,
    /// Files and folders that it has to execute besides its own program.
    #[serde(default)]
    pub programs: Vec<String>,
    /// Files that root writes before it starts: a path, and a name in the folder `files`.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// What its environment holds in place of what it otherwise does.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

/// Why a file is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// There is nothing between `+++` lines.
    #[error(
        "a template begins with a line `+++`, TOML, and a second line `+++`; then comes its text"
    )]
    NoFrontMatter,
    /// The TOML is not what is expected.
    #[error("line {line}: {message}")]
    FrontMatter {
        /// Of the file, from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
}

/// The text of a file, without what it says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Body<'a> {
    /// The text.
    pub text: &'a str,
    /// How many lines of the file stand above it.
    pub above: usize,
}

/// Reads a file into what it says about itself and its text.
///
/// # Errors
/// When the front matter is missing, is no TOML, or has too little or too much in it.
pub fn parse<Head: DeserializeOwned>(file: &str) -> Result<(Head, Body<'_>), TemplateError> {
    let (toml, body) = file
        .strip_prefix("+++\n")
        .and_then(|rest| rest.split_once("\n+++\n"))
        .ok_or(TemplateError::NoFrontMatter)?;
    let head = toml::from_str(toml).map_err(|error| TemplateError::FrontMatter {
        line: error.span().map_or(1, |span| line_of(toml, span.start)),
        message: error.message().to_owned(),
    })?;
    Ok((head, Body { text: body.trim_end(), above: line_of(toml, toml.len()) + 1 }))
}

/// The line in the file: its first one is the `+++` above the TOML.
fn line_of(toml: &str, offset: usize) -> usize {
    toml.bytes().take(offset).filter(|&byte| byte == b'\n').count() + 2
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "summary = \"s\"\nversion = \"1\"\nsize = \"small\"\nposition = 10\nneeds = []\n";

    #[test]
    fn front_matter_and_text_are_taken_apart() {
        let file = format!("+++\n{HEAD}+++\nRUN true\n\n");
        let (head, body) = parse::<ModuleHead>(&file).unwrap();
        assert_eq!((head.position, head.size), (10, SizeClass::Small));
        assert_eq!(body, Body { text: "RUN true", above: 7 });
    }

    #[test]
    fn a_file_without_front_matter_is_told_the_form() {
        for file in ["RUN true\n", "+++\nsummary = \"s\"\n", ""] {
            let error = parse::<ModuleHead>(file).unwrap_err();
            assert!(error.to_string().contains("begins with a line `+++`"), "{error}");
        }
    }

    #[test]
    fn a_mistake_in_the_front_matter_is_named_with_its_line() {
        for (head, line, word) in [
            (HEAD.replace("needs", "neds"), 6, "unknown field `neds`"),
            (HEAD.replace("\"small\"", "\"tiny\""), 4, "unknown variant `tiny`"),
            (HEAD.replace("= 10", "= \"10\""), 5, "expected u32"),
            (HEAD.replace("version", "= ver"), 3, ""),
        ] {
            let error = parse::<ModuleHead>(&format!("+++\n{head}+++\n")).unwrap_err();
            let TemplateError::FrontMatter { line: found, message } = error else {
                panic!("{error}")
            };
            assert_eq!(found, line, "{message}");
            assert!(message.contains(word), "{message}");
        }
    }
}
