//! All templates, and what follows from a choice of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use worker_protocol::problem::did_you_mean;
use worker_protocol::{AgentType, ModuleName, Problem};

use super::context::ContextFile;
use super::frame::{Frames, Part, Parts, Text};
use super::load::{BASE, Companions};
use super::template::{AgentHead, Companion, ModuleHead, StageHead};

/// A module: what it says about itself, and its piece of the Dockerfile.
#[derive(Clone, Debug)]
pub struct Module {
    /// Its name in upper case.
    pub name: ModuleName,
    /// What its file says.
    pub head: ModuleHead,
    /// Its piece of the Dockerfile.
    pub text: Text,
}

/// An agent: what it says about itself, and its stage of the Dockerfile.
#[derive(Clone, Debug)]
pub struct AgentTemplate {
    /// Which agent.
    pub agent: AgentType,
    /// What its file says.
    pub head: AgentHead,
    /// Its stage of the Dockerfile.
    pub text: Text,
}

/// A stage that modules and agents copy from, or begin with.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    pub(super) name: String,
    pub(super) head: StageHead,
    pub(super) text: Text,
}

/// Every template, checked.
#[derive(Debug)]
pub struct Catalogue {
    pub(super) frames: Frames,
    pub(super) stages: BTreeMap<String, Stage>,
    pub(super) modules: BTreeMap<ModuleName, Module>,
    pub(super) agents: BTreeMap<AgentType, AgentTemplate>,
    pub(super) files: BTreeMap<String, Arc<ContextFile>>,
    pub(super) companions: Companions,
}

/// The modules of an image, each list in the order of its layers.
pub(super) struct Layers<'a> {
    /// Those that the agent needs: they are the same in all its images, and come before it.
    pub(super) foundation: Vec<&'a Module>,
    /// The others. The agent, which is the largest layer, comes before them.
    pub(super) modules: Vec<&'a Module>,
}

impl<'a> Layers<'a> {
    pub(super) fn all(&self) -> impl Iterator<Item = &'a Module> {
        self.foundation.iter().chain(&self.modules).copied()
    }
}

impl Catalogue {
    pub(super) fn module(&self, name: &str) -> Option<&Module> {
        ModuleName::parse(name).ok().and_then(|name| self.modules.get(&name))
    }

    /// What there is instead of a module that there is not: the nearest one, then all of them.
    pub(super) fn instead_of(&self, unknown: &str) -> String {
        let near = did_you_mean(unknown, self.modules.keys().map(ModuleName::as_str));
        format!("{}; the modules are {}", near.trim_end_matches('?'), names(self.modules.keys()))
    }

    /// Every module, by name.
    pub fn modules(&self) -> impl Iterator<Item = &Module> {
        self.modules.values()
    }

    /// Every agent that has an image template.
    pub fn agents(&self) -> impl Iterator<Item = &AgentTemplate> {
        self.agents.values()
    }

    /// Whether modules may bring a companion, and how it is then confined.
    #[must_use]
    pub fn companions(&self) -> &Companions {
        &self.companions
    }

    /// Whether these modules exist and may be had together for this agent.
    ///
    /// # Errors
    /// When one does not exist: the message names the nearest one and all of them. When one brings
    /// a companion and the operator does not allow it: the message says how to. When two bring one.
    pub fn check_modules(
        &self,
        agent: &AgentTemplate,
        wanted: &BTreeSet<ModuleName>,
    ) -> Result<(), Problem> {
        if let Some(unknown) = wanted.iter().find(|name| !self.modules.contains_key(name)) {
            return Err(Problem::malformed(format!(
                "`modules` holds {unknown}, which is not known{}",
                self.instead_of(unknown.as_str())
            )));
        }
        let layers = self.layers(agent, wanted);
        let bringing: Vec<_> =
            layers.all().filter(|module| module.head.companion.is_some()).collect();
        match (bringing.as_slice(), &self.companions) {
            ([], _) | ([_], Companions::Allowed(_)) => Ok(()),
            ([module, ..], Companions::Refused) => {
                let asked = wanted.contains(&module.name);
                Err(Problem::refused(switched_off(&module.name, asked)))
            }
            (several, Companions::Allowed(_)) => Err(Problem::refused(format!(
                "modules {} cannot be combined: each brings an engine of its own to run beside the \
                 agent, and a worker has one; ask for one of them",
                several.iter().map(|module| module.name.as_str()).collect::<Vec<_>>().join(" and ")
            ))),
        }
    }

    /// An agent's template.
    ///
    /// # Errors
    /// When there is none for it.
    pub fn agent(&self, agent: AgentType) -> Result<&AgentTemplate, Problem> {
        self.agents.get(&agent).ok_or_else(|| {
            Problem::refused(format!(
                "`agent_type` {agent} has no image template; those that exist: {}",
                names(self.agents.keys())
            ))
        })
    }

    /// What the environment of this agent always holds in workers with these modules. Where both
    /// say something, the agent's template has the last word.
    #[must_use]
    pub fn environment(
        &self,
        agent: &AgentTemplate,
        wanted: &BTreeSet<ModuleName>,
    ) -> BTreeMap<String, String> {
        let layers = self.layers(agent, wanted);
        let heads = layers.all().map(|module| &module.head.env).chain([&agent.head.env]);
        heads.flatten().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// What is to run beside this agent in workers with these modules.
    #[must_use]
    pub fn companion(
        &self,
        agent: &AgentTemplate,
        wanted: &BTreeSet<ModuleName>,
    ) -> Option<&Companion> {
        self.layers(agent, wanted).all().find_map(|module| module.head.companion.as_ref())
    }

    /// Every module that comes with these and the agent.
    pub(crate) fn modules_of<'a>(
        &'a self,
        agent: &AgentTemplate,
        wanted: &BTreeSet<ModuleName>,
    ) -> Vec<&'a Module> {
        self.layers(agent, wanted).all().collect()
    }

    /// Stages that their texts copy from, and what each brings: names and versions.
    pub(crate) fn copied_stages<'a>(
        &'a self,
        agent: &AgentTemplate,
        wanted: &BTreeSet<ModuleName>,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        let layers = self.layers(agent, wanted);
        let names = layers.all().flat_map(|module| &module.head.stages).chain(&agent.head.stages);
        let names: BTreeSet<&String> = names.collect();
        let stages: Vec<_> = names.into_iter().filter_map(|name| self.stages.get(name)).collect();
        stages.into_iter().map(|stage| (stage.name.as_str(), stage.head.version.as_str()))
    }

    /// These modules and all that they and the agent need.
    pub(super) fn layers<'a>(
        &'a self,
        agent: &AgentTemplate,
        wanted: &BTreeSet<ModuleName>,
    ) -> Layers<'a> {
        let needed = agent.head.needs.iter().filter_map(|need| self.module(need));
        let foundation = self.closure(needed.collect());
        let wanted = wanted.iter().filter_map(|name| self.modules.get(name));
        let mut modules = self.closure(wanted.collect());
        modules.retain(|place, _| !foundation.contains_key(place));
        Layers {
            foundation: foundation.into_values().collect(),
            modules: modules.into_values().collect(),
        }
    }

    /// These modules and all that they need, by their place.
    fn closure<'a>(
        &'a self,
        mut left: Vec<&'a Module>,
    ) -> BTreeMap<(u32, &'a ModuleName), &'a Module> {
        let mut found = BTreeMap::new();
        while let Some(module) = left.pop() {
            if found.insert((module.head.position, &module.name), module).is_none() {
                left.extend(module.head.needs.iter().filter_map(|need| self.module(need)));
            }
        }
        found
    }

    /// All that the frame puts together.
    pub(super) fn parts<'a>(
        &'a self,
        agent: &'a AgentTemplate,
        wanted: &BTreeSet<ModuleName>,
        base_image: &'a str,
        ca_bundle: bool,
    ) -> Parts<'a> {
        let layers = self.layers(agent, wanted);
        let part = |module: &&'a Module| Part { name: module.name.as_str(), text: &module.text };
        Parts {
            base_image,
            ca_bundle,
            stages: self
                .stages_of(agent, &layers)
                .map(|stage| Part { name: &stage.name, text: &stage.text })
                .collect(),
            foundation: layers.foundation.iter().map(part).collect(),
            agent: agent.agent,
            builder: agent.head.builder.as_deref().unwrap_or(BASE),
            agent_text: &agent.text,
            modules: layers.modules.iter().map(part).collect(),
        }
    }

    fn stages_of<'a>(
        &'a self,
        agent: &AgentTemplate,
        layers: &Layers,
    ) -> impl Iterator<Item = &'a Stage> {
        let own = agent.head.stages.iter().chain(&agent.head.builder);
        let all = layers.all().flat_map(|module| &module.head.stages).chain(own);
        let named: BTreeSet<&String> = all.collect();
        let stages: Vec<_> = named.into_iter().filter_map(|name| self.stages.get(name)).collect();
        stages.into_iter()
    }

    /// The files that the parts of such an image copy, by name.
    pub(super) fn files_of(
        &self,
        agent: &AgentTemplate,
        wanted: &BTreeSet<ModuleName>,
    ) -> BTreeMap<String, Arc<ContextFile>> {
        let layers = self.layers(agent, wanted);
        let stages = self.stages_of(agent, &layers).flat_map(|stage| &stage.head.files);
        let modules = layers.all().flat_map(|module| &module.head.files);
        let named = modules.chain(stages).chain(&agent.head.files);
        named.filter_map(|name| Some((name.clone(), Arc::clone(self.files.get(name)?)))).collect()
    }
}

fn switched_off(module: &ModuleName, asked: bool) -> String {
    let which = if asked {
        format!("module {module} is off")
    } else {
        format!("what was asked for needs the module {module}, which is off")
    };
    format!(
        "{which}: an agent that commands a container engine commands the machine it runs on, so \
         it gets an engine of its own, and only where the operator chose how that one is confined. \
         To turn it on, set docker = \"privileged\" or docker = \"sysbox\" in worker-manager.toml \
         (or WORKER_DOCKER), after reading docs/security.md"
    )
}

pub(super) fn names<T: ToString>(all: impl IntoIterator<Item = T>) -> String {
    all.into_iter().map(|name| name.to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
#[path = "catalogue_tests.rs"]
mod tests;
