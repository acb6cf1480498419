//! Which image is wanted, as a person or a worker names it.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use worker_protocol::problem::{Shown, did_you_mean};
use worker_protocol::{AgentType, Create, ModuleName, Problem};

/// An agent with modules, and the image that they build on where it is not the usual one.
///
/// Written as `CLAUDE`, `CLAUDE+GIT+CURL` or `CUSTOM+GIT@debian:bookworm-slim`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageWish {
    /// Which agent it is for.
    pub agent: AgentType,
    /// What it holds besides.
    pub modules: BTreeSet<ModuleName>,
    /// The caller's own base image.
    pub base_image: Option<String>,
}

impl From<&Create> for ImageWish {
    fn from(create: &Create) -> Self {
        Self {
            agent: create.agent_type,
            modules: create.modules.clone(),
            base_image: create.base_image.clone(),
        }
    }
}

impl FromStr for ImageWish {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let (names, base_image) = match text.split_once('@') {
            Some((names, base)) => (names, Some(base.to_owned())),
            None => (text, None),
        };
        let mut names = names.split('+').map(str::trim);
        let agent = agent(names.next().unwrap_or_default())?;
        if base_image.is_some() && agent != AgentType::Custom {
            return Err(Problem::malformed(format!(
                "{} names a base image, which only the agent CUSTOM can have",
                Shown(text)
            )));
        }
        let modules = names.map(ModuleName::parse).collect::<Result<_, _>>()?;
        Ok(Self { agent, modules, base_image })
    }
}

fn agent(name: &str) -> Result<AgentType, Problem> {
    let known = AgentType::ALL.map(AgentType::as_str);
    let found = AgentType::ALL.into_iter().find(|agent| agent.as_str().eq_ignore_ascii_case(name));
    found.ok_or_else(|| {
        Problem::malformed(format!(
            "an image is an agent with modules, such as CLAUDE+GIT, and {} is no agent{} (known: {})",
            Shown(name),
            did_you_mean(name, known),
            known.join(", ")
        ))
    })
}

impl fmt::Display for ImageWish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.agent)?;
        for module in &self.modules {
            write!(f, "+{module}")?;
        }
        match &self.base_image {
            Some(base) => write!(f, "@{base}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_read_as_it_is_written() {
        for text in ["CLAUDE", "CLAUDE+CURL+GIT", "CUSTOM+GIT@host:5000/debian:12"] {
            assert_eq!(text.parse::<ImageWish>().unwrap().to_string(), text);
        }
        assert_eq!("claude+git+curl".parse::<ImageWish>(), "CLAUDE+CURL+GIT".parse());
    }

    #[test]
    fn what_is_no_wish_is_named() {
        for (text, part) in [
            ("CLAUD+GIT", "did you mean `CLAUDE`?"),
            ("", "is no agent"),
            ("CLAUDE+", "`modules` must hold names"),
            ("CLAUDE@debian", "only the agent CUSTOM"),
        ] {
            let message = text.parse::<ImageWish>().unwrap_err().message;
            assert!(message.contains(part), "{message}");
        }
    }
}
