//! Which of the operator's credentials a worker gets. Names only: values never come by the wire.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

use crate::problem::Shown;

/// A credential's name, as the operator has chosen it: letters, digits, `.`, `_` and `-`. It is a
/// part of an address at the gateway.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CredentialName(String);

impl CredentialName {
    const LIMIT: usize = 64;

    /// Reads a name; its case counts.
    ///
    /// # Errors
    /// In words that complete "`credentials` …".
    pub fn parse(text: &str) -> Result<Self, String> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let fits = text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text.len() <= Self::LIMIT
            && text.bytes().all(known);
        if fits {
            return Ok(Self(text.to_owned()));
        }
        Err(format!(
            "must hold names of 1 to {} letters, digits, `.`, `_` and `-`, not {}",
            Self::LIMIT,
            Shown(text)
        ))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CredentialName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<CredentialName> for String {
    fn from(name: CredentialName) -> Self {
        name.0
    }
}

impl TryFrom<String> for CredentialName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

/// What a `create` asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub enum Credentials {
    /// Those of the agent's template that the operator has.
    #[default]
    Usual,
    /// None.
    None,
    /// These, and no others.
    Named(BTreeSet<CredentialName>),
}

impl Credentials {
    /// Reads `none`, alone, or names; nothing: as usual.
    ///
    /// # Errors
    /// In words that complete "`credentials` …".
    pub fn parse(items: &[String]) -> Result<Self, String> {
        match items {
            [] => Ok(Self::Usual),
            [word] if word.eq_ignore_ascii_case("none") => Ok(Self::None),
            names if names.iter().any(|name| name.eq_ignore_ascii_case("none")) => {
                Err("holds none among others: it stands alone".to_owned())
            }
            names => {
                let names = names.iter().map(|name| CredentialName::parse(name));
                names.collect::<Result<_, _>>().map(Self::Named)
            }
        }
    }
}

impl TryFrom<Vec<String>> for Credentials {
    type Error = String;

    fn try_from(items: Vec<String>) -> Result<Self, String> {
        Self::parse(&items)
    }
}

impl From<Credentials> for Vec<String> {
    fn from(credentials: Credentials) -> Self {
        match credentials {
            Credentials::Usual => Self::new(),
            Credentials::None => vec!["none".to_owned()],
            Credentials::Named(names) => names.into_iter().map(String::from).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(items: &[&str]) -> Result<Credentials, String> {
        Credentials::parse(&items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn credentials_are_none_or_names_and_a_label_brings_them_back() {
        assert_eq!(read(&[]), Ok(Credentials::Usual));
        assert_eq!(read(&["None"]), Ok(Credentials::None));
        for items in [&[][..], &["none"], &["team-a", "ANTHROPIC_API_KEY"]] {
            let asked = read(items).unwrap();
            let label = serde_json::to_string(&asked).unwrap();
            assert_eq!(serde_json::from_str::<Credentials>(&label).unwrap(), asked);
        }
    }

    #[test]
    fn what_is_no_name_is_told_why() {
        let long = "x".repeat(65);
        for (items, part) in [
            (vec!["none", "team-a"], "stands alone"),
            (vec!["../x"], "../x"),
            (vec!["-x"], "must hold names"),
            (vec![""], "must hold names"),
            (vec!["a b"], "must hold names"),
            (vec![&long], "must hold names"),
        ] {
            let why = read(&items).unwrap_err();
            assert!(why.contains(part), "{why}");
        }
    }
}
