//! Who asks, where commands are signed.

use serde::{Deserialize, Serialize};
use std::fmt;

use crate::problem::{Problem, Shown};

/// The name of a caller: somebody whose key the operator has configured.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CallerName(String);

impl CallerName {
    /// What is said of whoever does not sign. Nobody can have this name.
    pub const ANONYMOUS: &str = "anonymous";

    /// Reads a name: 1 to 64 lower-case letters, digits, `-`, `_` and `.`. It becomes part of keys,
    /// and of rules of a policy.
    ///
    /// # Errors
    /// When it is something else, or stands for those without a name.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(plain);
        if fits && text != Self::ANONYMOUS {
            return Ok(Self(text.to_owned()));
        }
        Err(Problem::malformed(format!(
            "a caller's name is 1 to 64 lower-case letters, digits, `-`, `_` and `.`, and not \
             `{}`; this one is {}",
            Self::ANONYMOUS,
            Shown(text)
        )))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for CallerName {
    type Error = Problem;

    fn try_from(text: String) -> Result<Self, Problem> {
        Self::parse(&text)
    }
}

impl From<CallerName> for String {
    fn from(name: CallerName) -> Self {
        name.0
    }
}

impl fmt::Display for CallerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A request among those of all callers: no caller can name one of another's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestName {
    /// Whose it is; none, when it was not signed.
    pub caller: Option<CallerName>,
    /// What the caller calls it.
    pub id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_plain_and_nobody_is_called_anonymous() {
        assert_eq!(CallerName::parse("team-a.ci_2").unwrap().as_str(), "team-a.ci_2");
        for bad in ["", "Team", "a b", "a:b", "a/b", "anonymous", &"x".repeat(65)] {
            assert!(CallerName::parse(bad).is_err(), "{bad}");
        }
    }
}
