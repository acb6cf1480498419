//! Names that were checked at the boundary.

use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

use crate::problem::{Problem, Shown};

/// A worker's id: a UUID, always written in lower case with hyphens.
///
/// Nothing else may become part of a key or of a Redis ACL pattern, so a `*` or `:` cannot enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerId(Uuid);

impl WorkerId {
    /// A new id (UUID v7: ids sort by the time they were made).
    #[must_use]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// The UUID v7 of a moment (milliseconds since 1970) with the given bits in place of random
    /// ones.
    #[must_use]
    pub fn from_moment(millis: u64, bits: [u8; 10]) -> Self {
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &bits).into_uuid())
    }

    /// Reads a caller's id.
    ///
    /// # Errors
    /// When it is no UUID.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        Uuid::try_parse(text).map(Self).map_err(|_| {
            Problem::malformed(format!(
                "`worker_id` must be a UUID such as 0198f7d2-4c1e-7a55-9d0b-3c5f1e2a7b90, not {}",
                Shown(text)
            ))
        })
    }
}

impl Default for WorkerId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// A module's name in upper case: letters, digits and `_`, at most 64 characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ModuleName(String);

impl ModuleName {
    /// Reads a name without regard to case; whether such a module exists is the catalogue's matter.
    ///
    /// # Errors
    /// When it is no name at all.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let fits = !text.is_empty()
            && text.len() <= 64
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if fits {
            Ok(Self(text.to_ascii_uppercase()))
        } else {
            Err(Problem::malformed(format!(
                "`modules` must hold names such as GIT or CURL (letters, digits, `_`), not {}",
                Shown(text)
            )))
        }
    }

    /// The name in upper case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_written_in_one_way() {
        let id = WorkerId::parse("0198F7D24C1E7A559D0B3C5F1E2A7B90").unwrap();
        assert_eq!(id.to_string(), "0198f7d2-4c1e-7a55-9d0b-3c5f1e2a7b90");
    }

    #[test]
    fn what_is_no_uuid_is_refused_by_name() {
        for bad in ["", "*", "w-1", "0198f7d2-4c1e-7a55-9d0b-3c5f1e2a7b9*"] {
            assert!(
                WorkerId::parse(bad).unwrap_err().message.contains("`worker_id` must be a UUID")
            );
        }
    }

    #[test]
    fn module_names_are_upper_case() {
        assert_eq!(ModuleName::parse("github_cli").unwrap().as_str(), "GITHUB_CLI");
        assert!(ModuleName::parse("../git").is_err());
    }
}
