//! Who may command: keys of callers, and the key that this program signs with itself.

use jiff::SignedDuration;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use worker_protocol::problem::did_you_mean;
use worker_protocol::signature::{Key, Signer};
use worker_protocol::{CallerName, Secret};

use super::settings::{duration, wrong};
use super::{ConfigError, RawConfig};
use crate::caller::{Callers, Unsigned};
use crate::policy::{Policy, Usual};

/// A minute: clocks that are set by a time service differ by less, and a command does not wait so
/// long while one manager takes over from another.
const WINDOW: Duration = Duration::from_secs(60);
/// Signatures are remembered for a day ([`crate::store`]), and so twice as long as they are good.
const LONGEST_WINDOW: Duration = Duration::from_secs(12 * 3600);

/// One, or a list.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMore<T> {
    One(T),
    More(Vec<T>),
}

impl<T> Default for OneOrMore<T> {
    fn default() -> Self {
        Self::More(Vec::new())
    }
}

impl<T> OneOrMore<T> {
    fn iter(&self) -> impl Iterator<Item = &T> {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::More(more) => more,
        }
        .iter()
    }
}

/// A caller's keys. Several are for the time in which one takes the place of another.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawCaller {
    key: OneOrMore<Secret>,
    key_file: OneOrMore<PathBuf>,
}

impl RawCaller {
    fn keys(&self, name: &str) -> Result<Vec<Key>, ConfigError> {
        let written = self.key.iter().map(|key| long_enough(key.reveal(), "callers", name));
        let read = self.key_file.iter().map(|path| key_of_file(path, "callers", name));
        let keys: Vec<_> = written.chain(read).collect::<Result<_, _>>()?;
        if keys.is_empty() {
            return Err(wrong("callers", &format!("`{name}` has neither `key` nor `key_file`")));
        }
        Ok(keys)
    }
}

/// Reads the keys of all callers. Whoever names callers wants to know who commands: then commands
/// have to be signed, unless it is said otherwise.
pub(super) fn check(raw: &RawConfig) -> Result<Callers, ConfigError> {
    let name = "signature_window (WORKER_SIGNATURE_WINDOW)";
    let window = duration(name, raw.signature_window.clone())?.unwrap_or(WINDOW);
    if window > LONGEST_WINDOW {
        return Err(wrong(name, "must be 12h or shorter"));
    }
    let mut callers = Callers {
        window: SignedDuration::try_from(window).unwrap_or_default(),
        ..Callers::default()
    };
    for (name, caller) in &raw.callers {
        let parsed = CallerName::parse(name).map_err(|p| wrong("callers", &p.message))?;
        callers.keys.insert(parsed, caller.keys(name)?);
    }
    let required = raw.require_signatures.unwrap_or(!callers.keys.is_empty());
    if required && callers.keys.is_empty() {
        let problem = "is true, and nobody could sign: name callers and their keys in `[callers]`";
        return Err(wrong("require_signatures (WORKER_REQUIRE_SIGNATURES)", problem));
    }
    callers.unsigned = if required { Unsigned::Refused } else { Unsigned::Allowed };
    Ok(callers)
}

/// Reads the policy. Whoever it names has to have a key, or nobody could be that.
pub(super) fn policy(
    path: Option<&Path>,
    callers: &Callers,
    usual: Usual,
) -> Result<Option<Arc<Policy>>, ConfigError> {
    const NAME: &str = "policy (WORKER_POLICY)";
    let Some(path) = path else { return Ok(None) };
    let what = "the policy";
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        what,
        path: path.to_owned(),
        source,
    })?;
    let fault = |fault| wrong(NAME, &format!("{}: {fault}", path.display()));
    let policy = Policy::parse(&text).map_err(fault)?;
    let is_known = |name: &&str| {
        *name == CallerName::ANONYMOUS || callers.keys.keys().any(|key| key.as_str() == *name)
    };
    if let Some(name) = policy.callers().find(|name| !is_known(name)) {
        let near = did_you_mean(name, callers.keys.keys().map(CallerName::as_str));
        let problem =
            format!("callers.{name} has no key in `[callers]` of the configuration{near}");
        return Err(wrong(NAME, &format!("{}: {problem}", path.display())));
    }
    Ok(Some(Arc::new(policy.with_usual(usual))))
}

impl RawConfig {
    /// Who this program is where it sends commands itself; none, where it does not sign them.
    ///
    /// # Errors
    /// When only half of it is configured, or the key cannot be read.
    pub fn signer(&self) -> Result<Option<Signer>, ConfigError> {
        match (&self.caller, &self.caller_key_file) {
            (None, None) => Ok(None),
            (Some(caller), Some(path)) => {
                let name = "caller (WORKER_CALLER)";
                let key = key_of_file(path, "caller_key_file (WORKER_CALLER_KEY_FILE)", caller)?;
                let caller = CallerName::parse(caller).map_err(|p| wrong(name, &p.message))?;
                Ok(Some(Signer { caller, key }))
            }
            _ => Err(wrong(
                "caller (WORKER_CALLER)",
                "needs caller_key_file (WORKER_CALLER_KEY_FILE) too, and the other way round",
            )),
        }
    }
}

fn key_of_file(path: &Path, name: &'static str, caller: &str) -> Result<Key, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        what: "a caller's key",
        path: path.to_owned(),
        source,
    })?;
    long_enough(&text, name, caller)
}

fn long_enough(text: &str, name: &'static str, caller: &str) -> Result<Key, ConfigError> {
    Key::new(text).ok_or_else(|| {
        let least = Key::SHORTEST;
        wrong(name, &format!("a key of `{caller}` has fewer than {least} bytes"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<Callers, String> {
        let raw: RawConfig = toml::from_str(text).map_err(|error| error.to_string())?;
        assert!(!format!("{raw:?}").contains("0123456789"), "a key is shown");
        check(&raw).map_err(|error| error.to_string())
    }

    #[test]
    fn naming_callers_makes_signatures_necessary_unless_it_is_said_otherwise() {
        let key = "0123456789abcdef0123456789abcdef";
        let one = format!("[callers.team-a]\nkey = \"{key}\"");
        assert_eq!(checked(&one).unwrap().unsigned, Unsigned::Refused);
        let lax = format!("require_signatures = false\n{one}");
        assert_eq!(checked(&lax).unwrap().unsigned, Unsigned::Allowed);
        assert_eq!(checked("").unwrap().unsigned, Unsigned::Allowed);
        assert!(checked("require_signatures = true").unwrap_err().contains("[callers]"));
    }

    #[test]
    fn several_keys_stand_in_lists_and_in_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "fedcba9876543210fedcba9876543210\n").unwrap();
        let text = format!(
            "[callers.a]\nkey = [\"0123456789abcdef0123456789abcdef\"]\nkey_file = {path:?}"
        );
        let callers = checked(&text).unwrap();
        assert_eq!(callers.keys[&CallerName::parse("a").unwrap()].len(), 2);
        assert!(!format!("{callers:?}").contains("fedcba98"), "a key is shown");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            ("[callers.a]\nkey = \"short\"", "fewer than 32 bytes"),
            ("[callers.a]", "neither `key` nor `key_file`"),
            ("[callers.a]\nkey_file = \"/nowhere/key\"", "/nowhere/key"),
            ("[callers.Team]\nkey = \"0123456789abcdef0123456789abcdef\"", "a caller's name"),
            ("[callers.a]\nkeys = \"x\"", "unknown field `keys`"),
            ("signature_window = \"13h\"", "12h or shorter"),
        ] {
            let error = checked(text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        let half = RawConfig { caller: Some("a".into()), ..RawConfig::default() };
        assert!(half.signer().unwrap_err().to_string().contains("WORKER_CALLER_KEY_FILE"));
    }
}
