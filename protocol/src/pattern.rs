//! Which shell commands an agent may run.

use serde::{Deserialize, Serialize};
use std::fmt;

use crate::problem::{Problem, Shown};

/// An item of `allowed_commands`: a command's name, or its name and a pattern for each argument.
///
/// A name alone allows all arguments. In a pattern `*` stands for any text, also none; a last one
/// that ends with `*` stands for all further arguments too, also none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CommandPattern {
    name: String,
    arguments: Option<Vec<String>>,
}

impl CommandPattern {
    /// Reads `name`, `name arg*` or `/absolute/path arg*`.
    ///
    /// # Errors
    /// When the name is none that a shell could be given as it is.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let mut words = text.split_ascii_whitespace().map(str::to_owned);
        let name = words.next().unwrap_or_default();
        let arguments: Vec<_> = words.collect();
        let wrong = |why: &str| {
            Err(Problem::malformed(format!("`allowed_commands` holds {}: {why}", Shown(text))))
        };
        if name == "*" {
            return wrong("to allow every command, leave the field out");
        }
        if name.is_empty() || !name.bytes().all(is_plain) {
            return wrong(
                "an item is a command's name, made of letters, digits and `._+-/@:`, and patterns \
                 for its arguments, such as `git log*`",
            );
        }
        if name.contains('/') && (!name.starts_with('/') || name.contains("/../")) {
            return wrong("a path must be absolute: any other is the agent's to fill");
        }
        Ok(Self { name, arguments: (!arguments.is_empty()).then_some(arguments) })
    }

    /// The command: a bare name, or an absolute path.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A pattern for each argument; none: all arguments are allowed.
    #[must_use]
    pub fn arguments(&self) -> Option<&[String]> {
        self.arguments.as_deref()
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._+-/@:".contains(&byte)
}

impl fmt::Display for CommandPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.arguments.iter().flatten().try_for_each(|argument| write!(f, " {argument}"))
    }
}

impl From<CommandPattern> for String {
    fn from(pattern: CommandPattern) -> Self {
        pattern.to_string()
    }
}

impl TryFrom<String> for CommandPattern {
    type Error = Problem;

    fn try_from(text: String) -> Result<Self, Problem> {
        Self::parse(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_name_and_patterns_for_arguments() {
        for (text, name, arguments) in [
            ("git", "git", None),
            (" npm  run * ", "npm", Some(vec!["run", "*"])),
            ("/opt/bin/x log*", "/opt/bin/x", Some(vec!["log*"])),
        ] {
            let pattern = CommandPattern::parse(text).unwrap();
            assert_eq!(pattern.name(), name);
            let arguments: Option<Vec<String>> =
                arguments.map(|words| words.into_iter().map(str::to_owned).collect());
            assert_eq!(pattern.arguments(), arguments.as_deref());
            let written = serde_json::to_string(&pattern).unwrap();
            assert_eq!(serde_json::from_str::<CommandPattern>(&written).unwrap(), pattern);
        }
    }

    #[test]
    fn what_no_shell_could_be_given_as_it_is_is_refused() {
        for (text, part) in [
            ("*", "leave the field out"),
            ("", "a command's name"),
            ("gi* log", "a command's name"),
            ("a;b", "a command's name"),
            ("$(id)", "a command's name"),
            ("'git'", "a command's name"),
            ("FOO=1 git", "a command's name"),
            ("./run", "must be absolute"),
            ("bin/run", "must be absolute"),
            ("/usr/../tmp/x", "must be absolute"),
        ] {
            let message = CommandPattern::parse(text).unwrap_err().message;
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
