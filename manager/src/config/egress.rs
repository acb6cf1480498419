//! Which hosts workers may reach.

use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeSet;
use worker_protocol::{Egress, Host, value};

use super::ConfigError;
use super::settings::wrong;
use crate::passage::{Allowed, EgressTerms, Opening};

/// The table `[egress]` of the configuration file. In the environment it is `WORKER_EGRESS`
/// (`default`), `WORKER_EGRESS_ALLOW` and `WORKER_EGRESS_PRIVATE`, with commas between items.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawEgress {
    /// Of workers that do not say, in the notation of `create`: `agent`.
    pub default: Option<String>,
    /// Hosts that a `create` may name besides its agent's own; `*` for all.
    pub allow: Vec<String>,
    /// Private addresses that are open to those who name them: `10.1.0.0/16`, `10.1.2.3:8080`.
    pub private: Vec<String>,
}

impl RawEgress {
    /// Environment variables go over the file.
    pub(super) fn overlay(&mut self, env: impl Fn(&str) -> Option<String>) {
        if let Some(text) = env("WORKER_EGRESS") {
            self.default = Some(text);
        }
        for (slot, name) in
            [(&mut self.allow, "WORKER_EGRESS_ALLOW"), (&mut self.private, "WORKER_EGRESS_PRIVATE")]
        {
            if let Some(text) = env(name) {
                *slot = words(&text);
            }
        }
    }

    pub(super) fn check(&self) -> Result<EgressTerms, ConfigError> {
        let usual = Egress::parse(&words(self.default.as_deref().unwrap_or("agent")));
        Ok(EgressTerms {
            usual: match usual.map_err(|why| wrong("egress.default (WORKER_EGRESS)", &why))? {
                Egress::Usual => Egress::Agent,
                said => said,
            },
            allowed: allowed(&self.allow)?,
            private: private(&self.private)?,
        })
    }
}

fn words(text: &str) -> Vec<String> {
    value::list(&json!(text)).unwrap_or_else(|| vec![text.to_owned()])
}

fn allowed(items: &[String]) -> Result<Allowed, ConfigError> {
    const NAME: &str = "egress.allow (WORKER_EGRESS_ALLOW)";
    if items.iter().any(|item| item == "*") {
        return if items.len() == 1 {
            Ok(Allowed::Every)
        } else {
            Err(wrong(NAME, "holds * among others: it stands alone, and is every host"))
        };
    }
    let hosts = items.iter().map(|item| Host::parse(item)).collect::<Result<_, _>>();
    hosts.map(Allowed::Hosts).map_err(|why| wrong(NAME, &why))
}

fn private(items: &[String]) -> Result<BTreeSet<Opening>, ConfigError> {
    let opening = |item: &String| {
        Opening::parse(item).ok_or_else(|| {
            let right = "must hold addresses such as 10.1.0.0/16, 10.1.2.3 or 10.1.2.3:8080, not";
            wrong("egress.private (WORKER_EGRESS_PRIVATE)", &format!("{right} {item:?}"))
        })
    };
    items.iter().map(opening).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<EgressTerms, ConfigError> {
        toml::from_str::<RawEgress>(text).unwrap().check()
    }

    #[test]
    fn without_a_word_workers_reach_what_their_agents_need() {
        assert_eq!(check("").unwrap(), EgressTerms::default());
        assert_eq!(check("default = \"\"").unwrap(), EgressTerms::default());
    }

    #[test]
    fn the_operator_may_open_and_close() {
        let terms = check(
            "default = \"github.com,pypi.org\"\nallow = [\"*.example.com\"]\n\
             private = [\"10.1.7.0/16\", \"10.2.3.4:8080\", \"[fd00::1]:80\", \"10.2.3.5\"]",
        )
        .unwrap();
        assert_eq!(terms.usual.to_string(), "github.com,pypi.org");
        let private: Vec<_> = terms.private.iter().map(Opening::to_string).collect();
        assert_eq!(private, ["10.1.0.0/16", "10.2.3.4:8080", "10.2.3.5", "[fd00::1]:80"]);
        assert_eq!(check("default = \"off\"").unwrap().usual, Egress::Off);
        assert_eq!(check("allow = [\"*\"]").unwrap().allowed, Allowed::Every);
    }

    #[test]
    fn the_environment_goes_over_the_file() {
        let mut raw: RawEgress = toml::from_str("default = \"off\"\nallow = [\"a.com\"]").unwrap();
        raw.overlay(|name| match name {
            "WORKER_EGRESS" => Some("open".to_owned()),
            "WORKER_EGRESS_ALLOW" => Some("b.com, c.com".to_owned()),
            _ => None,
        });
        assert_eq!((raw.default.as_deref(), raw.allow), (Some("open"), words("b.com,c.com")));
    }

    #[test]
    fn a_wrong_value_is_named() {
        for (text, name, part) in [
            ("default = \"https://a.com\"", "egress.default", "https://a.com"),
            ("allow = [\"*\", \"a.com\"]", "egress.allow", "stands alone"),
            ("allow = [\"a.*\"]", "egress.allow", "a.*"),
            ("private = [\"10.1.0.0/40\"]", "egress.private", "10.1.0.0/40"),
            ("private = [\"intranet\"]", "egress.private", "intranet"),
        ] {
            let error = check(text).unwrap_err().to_string();
            assert!(error.starts_with(name) && error.contains(part), "{error}");
        }
    }
}
