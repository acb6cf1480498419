//! Which shell commands the agent may run.
//!
//! ```text
//! line ─► shell: commands, each a list of words ─► rule: is each among the patterns?
//!              └─ what cannot be read with certainty is denied
//! ```
//! It judges the text of one line. What an allowed command starts by itself it does not see.

mod rule;
mod shell;
mod subject;
#[cfg(test)]
mod tests;

use serde_json::Value;
use std::fmt;
use worker_protocol::CommandPattern;

/// The most bytes of a line that is read: what one argument of a program may have.
const LINE_LIMIT: usize = 128 << 10;

/// The patterns of a worker.
#[derive(Clone, Debug)]
pub struct Policy {
    allowed: Vec<CommandPattern>,
}

/// What the policy says of a tool's use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// It runs commands, and they are allowed.
    Allowed,
    /// It runs commands, and not all of them are allowed; why.
    Denied(String),
    /// It runs none, so that this policy has no say.
    NoCommand,
}

/// Why a line was denied: for the agent and for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied(String);

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Policy {
    /// A policy that allows these commands, and no other.
    #[must_use]
    pub fn new(allowed: Vec<CommandPattern>) -> Self {
        Self { allowed }
    }

    /// Whether the agent may use this tool with this input.
    #[must_use]
    pub fn rule(&self, tool: &str, input: &Value) -> Ruling {
        let judged = match subject::of(tool, input) {
            subject::Subject::NoCommand => return Ruling::NoCommand,
            subject::Subject::Line(line) => self.judge_line(&line),
            subject::Subject::Argv(argv) => self.judge_argv(&argv),
            subject::Subject::Unknown => {
                Err(Denied("the tool does not say which command it would run".to_owned()))
            }
        };
        judged.map_or_else(|denied| Ruling::Denied(denied.to_string()), |()| Ruling::Allowed)
    }

    /// Whether a shell may be given this line.
    ///
    /// # Errors
    /// Names the part that is not allowed, or that cannot be read with certainty.
    pub fn judge_line(&self, line: &str) -> Result<(), Denied> {
        if line.len() > LINE_LIMIT {
            return Err(Denied(format!("a line of more than {LINE_LIMIT} bytes is not read")));
        }
        let commands = shell::read(line).map_err(|unreadable| {
            Denied(format!(
                "{unreadable} cannot be checked against the allowed commands; write simple \
                 commands, one after the other"
            ))
        })?;
        commands.iter().try_for_each(|command| self.judge(command))
    }

    /// Whether a program may be started with these arguments, without a shell.
    ///
    /// # Errors
    /// As with [`Self::judge_line`].
    pub fn judge_argv(&self, argv: &[String]) -> Result<(), Denied> {
        let words: Vec<_> = argv.iter().map(|word| shell::Word::literal(word)).collect();
        self.judge(&words)
    }

    fn judge(&self, words: &[shell::Word]) -> Result<(), Denied> {
        rule::judge(&self.allowed, words).map_err(|part| {
            let allowed: Vec<_> = self.allowed.iter().map(ToString::to_string).collect();
            Denied(format!("{part}; allowed are: {}", allowed.join(", ")))
        })
    }
}
