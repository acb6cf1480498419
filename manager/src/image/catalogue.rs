//! All templates: those that travel inside the manager, overlaid by the operator's own.
//!
//! Everything is checked when it is loaded, a rendering included, so that a mistake in a template
//! stops the manager at start and not a worker at night.

use handlebars::Handlebars;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use worker_protocol::problem::did_you_mean;
use worker_protocol::{AgentType, ModuleName, Problem};

use super::source::{Sources, embedded, read_folder};
use super::template::{self, AgentHead, ModuleHead, TemplateError};

const FRAME: &str = "frame.hbs";

/// Why the templates cannot be used. Each says which file.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The operator's folder or a file in it cannot be read.
    #[error("failed to read {path}, which is to hold templates")]
    Read {
        /// What was read.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A file's name says nothing.
    #[error(
        "template {file}: a template is {FRAME}, modules/<module>.hbs or agents/<agent>.hbs{hint}"
    )]
    Name {
        /// Below the templates' folder.
        file: String,
        /// What was expected instead.
        hint: String,
    },
    /// A file is no template.
    #[error("template {file}")]
    Template {
        /// Below the templates' folder.
        file: String,
        /// What is wrong with it.
        source: TemplateError,
    },
    /// A template does not render.
    #[error("template {file} does not render: {reason}")]
    Render {
        /// Below the templates' folder.
        file: String,
        /// What Handlebars says.
        reason: String,
    },
    /// A template needs a module that cannot come before it.
    #[error("template {file} needs {need}, {why}")]
    Need {
        /// Below the templates' folder.
        file: String,
        /// The module's name.
        need: String,
        /// What is wrong with it.
        why: String,
    },
}

/// A module: what it says about itself, and its piece of the Dockerfile.
#[derive(Clone, Debug, Serialize)]
pub struct Module {
    /// Its name in upper case.
    pub name: ModuleName,
    /// What its file says.
    pub head: ModuleHead,
    /// Its piece of the Dockerfile, rendered.
    pub body: String,
}

/// An agent: what it says about itself, and its stage of the Dockerfile.
#[derive(Clone, Debug, Serialize)]
pub struct AgentTemplate {
    /// Which agent.
    pub agent: AgentType,
    /// What its file says.
    pub head: AgentHead,
    /// Its stage of the Dockerfile, rendered.
    pub body: String,
}

/// Every template, checked.
#[derive(Debug)]
pub struct Catalogue {
    frame: Handlebars<'static>,
    modules: BTreeMap<ModuleName, Module>,
    agents: BTreeMap<AgentType, AgentTemplate>,
}

/// What the frame can use.
#[derive(Serialize)]
pub(super) struct FrameData<'a> {
    pub(super) base_image: &'a str,
    pub(super) ca_bundle: bool,
    pub(super) agent: &'a AgentTemplate,
    pub(super) modules: Vec<&'a Module>,
}

impl Catalogue {
    /// The templates that travel inside the manager, with those in `extra` in their place or
    /// beside them.
    ///
    /// # Errors
    /// When a template cannot be read, is malformed, or does not render.
    pub fn load(extra: Option<&Path>) -> Result<Self, CatalogueError> {
        let mut sources = embedded();
        if let Some(folder) = extra {
            let own = read_folder(folder);
            sources.extend(own.map_err(|(path, source)| CatalogueError::Read { path, source })?);
        }
        Self::from_sources(&sources)
    }

    pub(super) fn from_sources(sources: &Sources) -> Result<Self, CatalogueError> {
        let mut catalogue =
            Self { frame: handlebars(), modules: BTreeMap::new(), agents: BTreeMap::new() };
        for (file, text) in sources {
            catalogue.add(file, text)?;
        }
        catalogue.check_needs()?;
        catalogue.check_frame()?;
        Ok(catalogue)
    }

    fn add(&mut self, file: &str, text: &str) -> Result<(), CatalogueError> {
        match file.strip_suffix(".hbs").and_then(|stem| stem.split_once('/')) {
            None if file == FRAME => self.add_frame(text),
            Some(("modules", stem)) => self.add_module(file, stem, text),
            Some(("agents", stem)) => self.add_agent(file, stem, text),
            _ => Err(CatalogueError::Name { file: file.to_owned(), hint: String::new() }),
        }
    }

    fn add_frame(&mut self, text: &str) -> Result<(), CatalogueError> {
        self.frame.register_template_string(FRAME, text).map_err(|error| CatalogueError::Render {
            file: FRAME.to_owned(),
            reason: error.to_string(),
        })
    }

    fn add_module(&mut self, file: &str, stem: &str, text: &str) -> Result<(), CatalogueError> {
        let name = ModuleName::parse(stem).map_err(|problem| CatalogueError::Name {
            file: file.to_owned(),
            hint: format!("; {}", problem.message),
        })?;
        let (head, body) = read::<ModuleHead>(file, text)?;
        self.modules.insert(name.clone(), Module { name, head, body });
        Ok(())
    }

    fn add_agent(&mut self, file: &str, stem: &str, text: &str) -> Result<(), CatalogueError> {
        let agent = AgentType::ALL
            .into_iter()
            .find(|agent| agent.as_str().eq_ignore_ascii_case(stem))
            .ok_or_else(|| CatalogueError::Name {
                file: file.to_owned(),
                hint: format!("; the agents are {}", names(AgentType::ALL)),
            })?;
        let (head, body) = read::<AgentHead>(file, text)?;
        self.agents.insert(agent, AgentTemplate { agent, head, body });
        Ok(())
    }

    fn check_needs(&self) -> Result<(), CatalogueError> {
        for module in self.modules.values() {
            let file = format!("modules/{}.hbs", module.name.as_str().to_lowercase());
            self.check_needs_of(&file, &module.head.needs, module.head.position)?;
        }
        for agent in self.agents.values() {
            let file = format!("agents/{}.hbs", agent.agent.as_str().to_lowercase());
            self.check_needs_of(&file, &agent.head.needs, u32::MAX)?;
        }
        Ok(())
    }

    /// A module that is needed stands before the one that needs it; so there are no circles.
    fn check_needs_of(
        &self,
        file: &str,
        needs: &[String],
        position: u32,
    ) -> Result<(), CatalogueError> {
        for need in needs {
            let why = match self.module(need) {
                None => {
                    format!("which is no module; the modules are {}", names(self.modules.keys()))
                }
                Some(module) if module.head.position >= position => format!(
                    "which must have a lower position than {position}, not {}",
                    module.head.position
                ),
                Some(_) => continue,
            };
            return Err(CatalogueError::Need { file: file.to_owned(), need: need.clone(), why });
        }
        Ok(())
    }

    /// Renders each agent with all modules once.
    fn check_frame(&self) -> Result<(), CatalogueError> {
        for agent in self.agents.values() {
            for ca_bundle in [false, true] {
                let modules = self.modules.values().collect();
                self.render_frame(&FrameData { base_image: "base", ca_bundle, agent, modules })
                    .map_err(|reason| CatalogueError::Render { file: FRAME.to_owned(), reason })?;
            }
        }
        Ok(())
    }

    pub(super) fn render_frame(&self, data: &FrameData) -> Result<String, String> {
        self.frame.render(FRAME, data).map_err(|error| error.to_string())
    }

    fn module(&self, name: &str) -> Option<&Module> {
        ModuleName::parse(name).ok().and_then(|name| self.modules.get(&name))
    }

    /// Every module, by name.
    pub fn modules(&self) -> impl Iterator<Item = &Module> {
        self.modules.values()
    }

    /// Every agent that has an image template.
    pub fn agents(&self) -> impl Iterator<Item = &AgentTemplate> {
        self.agents.values()
    }

    /// Whether some agent gets a credential of this name.
    #[must_use]
    pub fn takes_credential(&self, name: &str) -> bool {
        self.agents().any(|agent| agent.head.credentials.iter().any(|known| known == name))
    }

    /// Whether all of these modules exist.
    ///
    /// # Errors
    /// When one does not; the message names the nearest one and all of them.
    pub fn check_modules(&self, wanted: &BTreeSet<ModuleName>) -> Result<(), Problem> {
        match wanted.iter().find(|name| !self.modules.contains_key(name)) {
            None => Ok(()),
            Some(unknown) => Err(Problem::malformed(format!(
                "`modules` holds {unknown}, which is not known{}; the modules are {}",
                did_you_mean(unknown.as_str(), self.modules.keys().map(ModuleName::as_str))
                    .trim_end_matches('?'),
                names(self.modules.keys())
            ))),
        }
    }

    /// An agent's template.
    ///
    /// # Errors
    /// When there is none for it yet.
    pub fn agent(&self, agent: AgentType) -> Result<&AgentTemplate, Problem> {
        self.agents.get(&agent).ok_or_else(|| {
            Problem::refused(format!(
                "`agent_type` {agent} has no image template yet; those that exist: {}",
                names(self.agents.keys())
            ))
        })
    }

    /// These modules and all that they and the agent need, in the order of their layers.
    pub(super) fn layers<'a>(
        &'a self,
        agent: &AgentTemplate,
        wanted: &BTreeSet<ModuleName>,
    ) -> Vec<&'a Module> {
        let mut left: Vec<&Module> =
            wanted.iter().filter_map(|name| self.modules.get(name)).collect();
        left.extend(agent.head.needs.iter().filter_map(|need| self.module(need)));
        let mut found = BTreeMap::new();
        while let Some(module) = left.pop() {
            if found.insert((module.head.position, &module.name), module).is_none() {
                left.extend(module.head.needs.iter().filter_map(|need| self.module(need)));
            }
        }
        found.into_values().collect()
    }
}

fn names<T: ToString>(all: impl IntoIterator<Item = T>) -> String {
    all.into_iter().map(|name| name.to_string()).collect::<Vec<_>>().join(", ")
}

/// A Dockerfile is no HTML: nothing is escaped. A name that is not there is a mistake.
fn handlebars() -> Handlebars<'static> {
    let mut handlebars = Handlebars::new();
    handlebars.set_strict_mode(true);
    handlebars.register_escape_fn(handlebars::no_escape);
    handlebars
}

/// What a file says about itself, and its text, rendered with that.
fn read<Head>(file: &str, text: &str) -> Result<(Head, String), CatalogueError>
where
    Head: serde::de::DeserializeOwned + Serialize,
{
    let (head, body) = template::parse::<Head>(text)
        .map_err(|source| CatalogueError::Template { file: file.to_owned(), source })?;
    let body = handlebars().render_template(body, &head).map_err(|error| {
        CatalogueError::Render { file: file.to_owned(), reason: error.to_string() }
    })?;
    Ok((head, body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use worker_protocol::ErrorKind;

    const MODULE: &str = "+++\nsummary = \"s\"\nversion = \"1\"\nsize = \"small\"\nposition = 10\n\
                          needs = []\n+++\nRUN {{version}}\n";

    fn with(file: &str, text: &str) -> Result<Catalogue, CatalogueError> {
        let mut sources = embedded();
        sources.insert(file.to_owned(), text.to_owned());
        Catalogue::from_sources(&sources)
    }

    /// The whole chain, as it is printed.
    fn said(result: Result<Catalogue, CatalogueError>) -> String {
        let error = result.unwrap_err();
        let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
        format!("{error}{}", source.unwrap_or_default())
    }

    #[test]
    fn a_module_that_is_not_known_is_refused_with_the_nearest_and_all() {
        let catalogue = Catalogue::load(None).unwrap();
        let wanted = BTreeSet::from([ModuleName::parse("GITT").unwrap()]);
        let problem = catalogue.check_modules(&wanted).unwrap_err();
        assert_eq!(problem.kind, ErrorKind::Malformed);
        for part in ["`modules` holds GITT", "did you mean `GIT`", "CURL, "] {
            assert!(problem.message.contains(part), "{problem}");
        }
    }

    #[test]
    fn an_agent_without_a_template_is_refused_with_those_that_have_one() {
        let mut sources = embedded();
        sources.remove("agents/claude.hbs").unwrap();
        let catalogue = Catalogue::from_sources(&sources).unwrap();
        let problem = catalogue.agent(AgentType::Claude).unwrap_err();
        assert_eq!(problem.kind, ErrorKind::Refused);
        assert!(problem.message.contains("CUSTOM"), "{problem}");
    }

    #[test]
    fn a_template_with_a_mistake_is_named_with_the_mistake() {
        let cases = [
            (
                "modules/bad.hbs",
                MODULE.replace("{{version}}", "{{verion}}"),
                "bad.hbs does not render",
            ),
            (
                "modules/bad.hbs",
                MODULE.replace("{{version}}", "{{#if}}"),
                "bad.hbs does not render",
            ),
            (
                "modules/bad.hbs",
                MODULE.replace("needs", "neds"),
                "bad.hbs: line 6: unknown field `neds`",
            ),
            (
                "modules/bad.hbs",
                MODULE.replace("[]", "[\"GTI\"]"),
                "bad.hbs needs GTI, which is no",
            ),
            ("modules/bad.hbs", MODULE.replace("[]", "[\"bad\"]"), "bad.hbs needs bad, which must"),
            ("frame.hbs", "FROM {{base_imag}}".into(), "frame.hbs does not render"),
            ("frame.hbs", "FROM {{base_image".into(), "frame.hbs does not render"),
            ("agents/robot.hbs", MODULE.into(), "robot.hbs: a template is frame.hbs, modules/"),
            ("modules/a-b.hbs", MODULE.into(), "a-b.hbs: a template is"),
            ("module/git.hbs", MODULE.into(), "module/git.hbs: a template is"),
            ("other.hbs", MODULE.into(), "other.hbs: a template is"),
        ];
        for (file, text, expected) in cases {
            let message = said(with(file, &text));
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn the_operators_templates_come_beside_and_in_place_of_the_embedded_ones() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("modules")).unwrap();
        std::fs::write(folder.path().join("README.md"), "no template").unwrap();
        for name in ["git", "mine"] {
            std::fs::write(folder.path().join(format!("modules/{name}.hbs")), MODULE).unwrap();
        }
        let catalogue = Catalogue::load(Some(folder.path())).unwrap();
        for name in ["GIT", "MINE"] {
            assert_eq!(catalogue.module(name).unwrap().body, "RUN 1");
        }
        assert!(catalogue.module("CURL").is_some());
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let message = said(Catalogue::load(Some(Path::new("/no/such/folder"))));
        assert!(message.contains("/no/such/folder"), "{message}");
    }
}
