//! What templates say about holding an agent to the commands that a worker allows.

use std::collections::BTreeSet;
use worker_protocol::{CommandPattern, ModuleName};

use super::catalogue::{AgentTemplate, Catalogue};
use super::load::CatalogueError;

impl Catalogue {
    /// The vendor's own files of policy: where root writes them, and their texts.
    #[must_use]
    pub fn policy_files(&self, agent: &AgentTemplate) -> Vec<(String, String)> {
        let file = |(path, name): (&String, &String)| {
            let text = String::from_utf8_lossy(self.files.get(name)?.bytes()).into_owned();
            Some((path.clone(), text))
        };
        agent.head.policy.files.iter().filter_map(file).collect()
    }

    /// What has to be executed besides the agent's program and the commands: files and folders.
    #[must_use]
    pub fn policy_programs(
        &self,
        agent: &AgentTemplate,
        wanted: &BTreeSet<ModuleName>,
        allowed: &[CommandPattern],
    ) -> Vec<String> {
        let layers = self.layers(agent, wanted);
        let helpers = layers.all().flat_map(|module| &module.head.helpers);
        let of_allowed = helpers
            .filter(|(command, _)| allowed.iter().any(|pattern| pattern.name() == *command))
            .flat_map(|(_, helpers)| helpers.iter());
        agent.head.policy.programs.iter().chain(of_allowed).cloned().collect()
    }

    /// A path or a name that is wrong would be noticed only when a worker starts.
    pub(super) fn check_policy(&self, agent: &AgentTemplate) -> Result<(), CatalogueError> {
        let policy = &agent.head.policy;
        let because = |need: &String, why: &str| CatalogueError::Need {
            file: format!("agents/{}.hbs", agent.agent.as_str().to_lowercase()),
            need: need.clone(),
            why: why.to_owned(),
        };
        if let Some(file) = policy.files.values().find(|file| !self.files.contains_key(*file)) {
            return Err(because(file, "which is no file in the folder `files`"));
        }
        let mut paths = policy.files.keys().chain(&policy.programs);
        match paths.find(|path| !path.starts_with('/')) {
            Some(path) => Err(because(path, "which must be an absolute path")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Offer;
    use crate::image::source::embedded;
    use worker_protocol::AgentType;

    fn pattern(text: &str) -> CommandPattern {
        CommandPattern::parse(text).unwrap()
    }

    #[test]
    fn a_command_that_is_allowed_comes_with_its_helpers() {
        let catalogue = Catalogue::load(None, &Offer::default()).unwrap();
        let claude = catalogue.agent(AgentType::Claude).unwrap();
        let git = BTreeSet::from([ModuleName::parse("GIT").unwrap()]);
        let programs = |allowed| catalogue.policy_programs(claude, &git, &[pattern(allowed)]);
        assert_eq!(programs("git log*"), ["/bin/bash", "/bin/sh", "/usr/lib/git-core"]);
        assert_eq!(programs("ls"), ["/bin/bash", "/bin/sh"]);
    }

    #[test]
    fn vendors_files_put_the_wrapper_before_every_tool() {
        let catalogue = Catalogue::load(None, &Offer::default()).unwrap();
        for agent in [AgentType::Claude, AgentType::Codex] {
            let [(path, text)] = &catalogue.policy_files(catalogue.agent(agent).unwrap())[..]
            else {
                panic!("{agent} has not one file")
            };
            assert!(path.starts_with("/etc/"), "{path}");
            assert!(text.contains("/usr/libexec/worker-wrapper hook pretooluse"), "{text}");
        }
    }

    #[test]
    fn a_policy_that_names_no_file_or_no_path_is_refused() {
        for (right, wrong, part) in [
            ("\"claude-policy.json\"", "\"none.json\"", "none.json"),
            ("\"/bin/bash\"", "\"bash\"", "must be an absolute path"),
        ] {
            let mut sources = embedded();
            let claude = sources.get("agents/claude.hbs").unwrap().to_vec();
            let text = String::from_utf8(claude).unwrap().replace(right, wrong);
            sources.insert("agents/claude.hbs".to_owned(), text.into());
            let error = Catalogue::from_sources(&sources, &Offer::default()).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}
