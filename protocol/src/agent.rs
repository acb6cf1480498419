//! Agents and the protocols by which they are driven.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Which agent a worker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum AgentType {
    /// Claude Code.
    Claude,
    /// Factory Droid.
    Factory,
    /// Codex.
    Codex,
    /// Gemini CLI.
    Gemini,
    /// OpenCode.
    Opencode,
    /// Any program: the caller's `agent_command`.
    Custom,
}

impl AgentType {
    /// All of them, in the order of the contract.
    pub const ALL: [Self; 6] =
        [Self::Claude, Self::Factory, Self::Codex, Self::Gemini, Self::Opencode, Self::Custom];

    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Claude => "CLAUDE",
            Self::Factory => "FACTORY",
            Self::Codex => "CODEX",
            Self::Gemini => "GEMINI",
            Self::Opencode => "OPENCODE",
            Self::Custom => "CUSTOM",
        }
    }
}

impl fmt::Display for AgentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How the wrapper talks with the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AgentProtocol {
    /// Claude Code's stream-json, both ways, in one long-lived process.
    Claude,
    /// Factory Droid's own, JSON both ways.
    Droid,
    /// Prompts as lines to stdin; each line of stdout is an event.
    Lines,
    /// Each line of stdout is JSON.
    StreamJson,
    /// The Agent Client Protocol.
    Acp,
    /// A terminal.
    Pty,
}

impl AgentProtocol {
    /// Those that a caller may choose for a `CUSTOM` agent.
    pub const FOR_CUSTOM: [Self; 4] = [Self::Lines, Self::StreamJson, Self::Acp, Self::Pty];

    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Droid => "droid",
            Self::Lines => "lines",
            Self::StreamJson => "stream-json",
            Self::Acp => "acp",
            Self::Pty => "pty",
        }
    }
}

impl fmt::Display for AgentProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
