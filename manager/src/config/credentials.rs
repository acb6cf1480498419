//! Credentials for agents: values, or files that hold them, by name.

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use worker_protocol::gateway::Price;
use worker_protocol::{AgentType, CredentialName, Secret};

use super::ConfigError;
use super::settings::wrong;
use crate::passage::Credential;

/// What stands under a name in the table `[credentials]`: a value, or a table. `Debug` shows no
/// value.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, remote = "Self")]
pub struct RawCredential {
    /// The value.
    pub value: Option<Secret>,
    /// A file that holds it; white space around it does not count.
    pub file: Option<PathBuf>,
    /// The variable in which agents look for it; default: the name.
    pub r#as: Option<String>,
    /// Who may have it; default: the agents whose template lists the variable.
    pub r#for: Vec<AgentType>,
    /// Where it is good, in place of what the template says: `https://llm.example.com`.
    pub url: Option<String>,
    /// The variable by which an agent is told an address, where its template has none.
    pub base_url: Option<String>,
    /// Headers that show it, with `{key}` for the value.
    pub headers: BTreeMap<String, Secret>,
    /// Requests that one worker may make with it.
    pub max_requests: Option<u64>,
    /// What its models cost.
    pub prices: Vec<Price>,
}

impl From<Secret> for RawCredential {
    fn from(value: Secret) -> Self {
        Self { value: Some(value), ..Self::default() }
    }
}

/// A text stands for a table with nothing but the value. (Serde's own way to have one of two forms
/// does not say what is wrong with the second.)
impl<'de> Deserialize<'de> for RawCredential {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = RawCredential;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a table")
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Secret::new(text).into())
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Self::Value, M::Error> {
                RawCredential::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// Reads the files and checks the rest. Files are read once, when the manager starts: so one that
/// cannot be read is known at once, and all workers and the gateway have the same value.
pub(super) fn check(
    raw: &BTreeMap<String, RawCredential>,
) -> Result<BTreeMap<CredentialName, Credential>, ConfigError> {
    raw.iter()
        .map(|(name, raw)| {
            let known = CredentialName::parse(name).map_err(|why| wrong("credentials", &why))?;
            Ok((known, credential(name, raw.clone())?))
        })
        .collect()
}

fn credential(name: &str, raw: RawCredential) -> Result<Credential, ConfigError> {
    let wrong = |problem: &str| wrong("credentials", &format!("{name}: {problem}"));
    let secret = match (raw.value, raw.file) {
        (Some(value), None) => value,
        (None, Some(file)) => read(&file)?,
        _ => return Err(wrong("must have `value` or `file`, and not both")),
    };
    // An environment has no place for it.
    if secret.reveal().is_empty() || secret.reveal().contains('\0') {
        return Err(wrong("its value must be a text without NUL, and not empty"));
    }
    // What becomes a header must fit into one. Others may be JSON in several lines.
    if !raw.headers.is_empty() && secret.reveal().contains(char::is_control) {
        return Err(wrong("its value must be one line, to be shown in `headers`"));
    }
    let variable = raw.r#as.unwrap_or_else(|| name.to_owned());
    for variable in [Some(&variable), raw.base_url.as_ref()].into_iter().flatten() {
        if !is_variable(variable) {
            return Err(wrong(
                "`as` and `base_url` are names of variables: letters, digits and `_`",
            ));
        }
    }
    if raw.url.as_deref().is_some_and(|url| !is_address(url)) {
        return Err(wrong(
            "`url` must be like https://llm.example.com, without a user, `?` and `#`",
        ));
    }
    if raw.base_url.is_some() && (raw.url.is_none() || raw.headers.is_empty()) {
        return Err(wrong("`base_url` needs `url` and `headers`: no template has them"));
    }
    if raw.max_requests == Some(0) {
        return Err(wrong("`max_requests` must be at least 1"));
    }
    let costs = |price: &Price| [price.input, price.output, price.cache_read, price.cache_write];
    if raw.prices.iter().flat_map(costs).any(|cost| !cost.is_finite() || cost < 0.0) {
        return Err(wrong("`prices` must be amounts of US dollars for a million tokens"));
    }
    Ok(Credential {
        variable,
        secret,
        agents: raw.r#for.into_iter().collect(),
        url: raw.url,
        base_url: raw.base_url,
        headers: raw.headers,
        max_requests: raw.max_requests,
        prices: raw.prices,
    })
}

fn read(path: &Path) -> Result<Secret, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        what: "the credential's file (the manager's user must be able to read it)",
        path: path.to_owned(),
        source,
    })?;
    Ok(Secret::new(text.trim()))
}

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn is_address(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(text: &str) -> Result<BTreeMap<CredentialName, Credential>, String> {
        let raw: BTreeMap<String, RawCredential> =
            toml::from_str(text).map_err(|error| error.to_string())?;
        check(&raw).map_err(|error| crate::chain::chain(&error))
    }

    fn one(text: &str) -> Credential {
        read_all(text).unwrap().into_values().next().unwrap()
    }

    #[test]
    fn a_text_is_a_value_under_the_variables_own_name() {
        let read = one("ANTHROPIC_API_KEY = \"sk-1\"");
        assert_eq!(read, Credential::plain("ANTHROPIC_API_KEY", Secret::new("sk-1")));
    }

    #[test]
    fn a_table_names_a_file_and_who_may_have_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "sk-2\n").unwrap();
        let read = one(&format!(
            "[team-a]\nas = \"ANTHROPIC_API_KEY\"\nfile = {path:?}\nfor = [\"CLAUDE\"]\n\
             max_requests = 10\nheaders = {{ x-team = \"{{key}}\" }}",
        ));
        assert_eq!((read.variable.as_str(), read.secret.reveal()), ("ANTHROPIC_API_KEY", "sk-2"));
        assert_eq!((read.agents, read.max_requests), ([AgentType::Claude].into(), Some(10)));
        assert_eq!(read.headers["x-team"].reveal(), "{key}");
    }

    #[test]
    fn what_is_wrong_is_named_and_no_value_is_shown() {
        let value = "value = \"hunter2\"";
        for (text, part) in [
            ("a = 1".to_owned(), "a text or a table"),
            ("\"a b\" = \"hunter2\"".to_owned(), "a b"),
            ("[a]\nvalu = \"hunter2\"".to_owned(), "unknown field `valu`"),
            ("[a]\nmax_requests = 1".to_owned(), "a: must have `value` or `file`"),
            (format!("[a]\n{value}\nfile = \"x\""), "and not both"),
            ("[a]\nfile = \"/none/such\"".to_owned(), "/none/such"),
            ("[a]\nvalue = \"hunter2\\n2\"\nheaders = { x = \"{key}\" }".to_owned(), "one line"),
            ("a = \"\"".to_owned(), "not empty"),
            (format!("[a]\n{value}\nas = \"X Y\""), "`as`"),
            (format!("[team-a]\n{value}"), "`as`"),
            (format!("[a]\n{value}\nurl = \"ftp://a.com\""), "`url` must be"),
            (format!("[a]\n{value}\nurl = \"https://me:pw@a.com\""), "`url` must be"),
            (format!("[a]\n{value}\nbase_url = \"URL\""), "needs `url`"),
            (format!("[a]\n{value}\nmax_requests = 0"), "at least 1"),
            (format!("[a]\n{value}\nfor = [\"CLAUD\"]"), "CLAUD"),
        ] {
            let error = read_all(&text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
