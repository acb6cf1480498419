//! From files to a catalogue.
//!
//! Everything is checked when it is loaded, a rendering included, so that a mistake in a template
//! stops the manager at start and not a worker at night.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use worker_protocol::{AgentType, ModuleName};

use super::catalogue::{AgentTemplate, Catalogue, Module, Stage, names};
use super::context::ContextFile;
use super::frame::{FRAME, Frames, OWN_BASE, Text};
use super::source::{FILES, Sources, embedded, read_folder};
use super::template::{self, AgentHead, Body, ModuleHead, StageHead, TemplateError};
use crate::engine::Confinement;

/// The stage that every other one begins with; the frame makes it.
pub(super) const BASE: &str = "base";

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
        "template {file}: a template is {FRAME}, {OWN_BASE}, modules/<module>.hbs, \
         agents/<agent>.hbs or stages/<stage>.hbs{hint}"
    )]
    Name {
        /// Below the templates' folder.
        file: String,
        /// What was expected instead.
        hint: String,
    },
    /// A file is no text.
    #[error("template {file} is not UTF-8")]
    NoText {
        /// Below the templates' folder.
        file: String,
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
    /// A template needs something that is not there, or cannot come before it.
    #[error("template {file} needs {need}, {why}")]
    Need {
        /// Below the templates' folder.
        file: String,
        /// A module's, stage's or file's name.
        need: String,
        /// What is wrong with it.
        why: String,
    },
    /// The configuration changes an agent in a way that cannot be.
    #[error("the configuration of agent {agent}: {reason}")]
    Override {
        /// Which agent.
        agent: AgentType,
        /// What is wrong.
        reason: String,
    },
}

impl CatalogueError {
    pub(super) fn render(file: &str, reason: String) -> Self {
        Self::Render { file: file.to_owned(), reason }
    }
}

/// What the operator decided about images, besides the templates.
#[derive(Clone, Debug, Default)]
pub struct Offer {
    /// Whether modules may bring a companion.
    pub companions: Companions,
    /// Agents in another version than the template's.
    pub agents: BTreeMap<AgentType, AgentOverride>,
}

/// Whether modules may bring a companion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Companions {
    /// They may not.
    #[default]
    Refused,
    /// They may, confined so.
    Allowed(Confinement),
}

/// An agent in another version than its template's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentOverride {
    /// Of the vendor's program.
    pub version: String,
    /// Digests of its packages, by name as in the template. Without them nothing but the
    /// registry's own word says that a package is the right one.
    #[serde(default)]
    pub sha512: BTreeMap<String, String>,
}

impl AgentOverride {
    /// Both go into a command line of the build as they are.
    fn check(&self) -> Result<(), String> {
        let word = |text: &str| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte);
            text.starts_with(|first: char| first.is_ascii_alphanumeric()) && text.bytes().all(fits)
        };
        if !word(&self.version) {
            return Err(format!("`version` must be like 1.2.3, not {:?}", self.version));
        }
        for (name, digest) in &self.sha512 {
            let hex = digest.len() == 128 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !word(name) || !hex {
                return Err(format!(
                    "`sha512.{name}` must be 128 hexadecimal digits, not {digest:?}"
                ));
            }
        }
        Ok(())
    }
}

impl Catalogue {
    /// The templates that travel inside the manager, with those in `extra` in their place or
    /// beside them.
    ///
    /// # Errors
    /// When a template cannot be read, is malformed, or does not render.
    pub fn load(extra: Option<&Path>, offer: &Offer) -> Result<Self, CatalogueError> {
        let mut sources = embedded();
        if let Some(folder) = extra {
            let own = read_folder(folder);
            sources.extend(own.map_err(|(path, source)| CatalogueError::Read { path, source })?);
        }
        Self::from_sources(&sources, offer)
    }

    /// The templates that travel inside the manager, with one more, or another in the place of one.
    ///
    /// # Errors
    /// As with [`Self::load`].
    pub fn load_with(file: &str, text: Vec<u8>, offer: &Offer) -> Result<Self, CatalogueError> {
        let mut sources = embedded();
        sources.insert(file.to_owned(), text);
        Self::from_sources(&sources, offer)
    }

    pub(super) fn from_sources(sources: &Sources, offer: &Offer) -> Result<Self, CatalogueError> {
        let mut catalogue = Self {
            frames: Frames::new(),
            stages: BTreeMap::new(),
            modules: BTreeMap::new(),
            agents: BTreeMap::new(),
            files: BTreeMap::new(),
            companions: offer.companions.clone(),
        };
        for (file, bytes) in sources {
            catalogue.add(file, bytes, offer)?;
        }
        let missing = |agent: &&AgentType| !catalogue.agents.contains_key(agent);
        if let Some(agent) = offer.agents.keys().find(missing) {
            let reason = "it has no image template".to_owned();
            return Err(CatalogueError::Override { agent: *agent, reason });
        }
        catalogue.check()?;
        Ok(catalogue)
    }

    fn add(&mut self, file: &str, bytes: &[u8], offer: &Offer) -> Result<(), CatalogueError> {
        if let Some(name) = file.strip_prefix(FILES) {
            self.files.insert(name.to_owned(), ContextFile::new(bytes.to_vec()));
            return Ok(());
        }
        let text =
            str::from_utf8(bytes).map_err(|_| CatalogueError::NoText { file: file.to_owned() })?;
        match file.strip_suffix(".hbs").and_then(|stem| stem.split_once('/')) {
            None if file == FRAME || file == OWN_BASE => self.frames.add(file, text),
            Some(("modules", stem)) => self.add_module(file, stem, text),
            Some(("agents", stem)) => self.add_agent(file, stem, text, offer),
            Some(("stages", stem)) => self.add_stage(file, stem, text),
            _ => Err(CatalogueError::Name { file: file.to_owned(), hint: String::new() }),
        }
    }

    fn add_module(&mut self, file: &str, stem: &str, text: &str) -> Result<(), CatalogueError> {
        let name = ModuleName::parse(stem).map_err(|problem| CatalogueError::Name {
            file: file.to_owned(),
            hint: format!("; {}", problem.message),
        })?;
        let (head, body) = read::<ModuleHead>(file, text)?;
        let text = render(file, body, &head)?;
        self.modules.insert(name.clone(), Module { name, head, text });
        Ok(())
    }

    fn add_agent(
        &mut self,
        file: &str,
        stem: &str,
        text: &str,
        offer: &Offer,
    ) -> Result<(), CatalogueError> {
        let agent = AgentType::ALL
            .into_iter()
            .find(|agent| agent.as_str().eq_ignore_ascii_case(stem))
            .ok_or_else(|| CatalogueError::Name {
                file: file.to_owned(),
                hint: format!("; the agents are {}", names(AgentType::ALL)),
            })?;
        let (mut head, body) = read::<AgentHead>(file, text)?;
        if let Some(other) = offer.agents.get(&agent) {
            other.check().map_err(|reason| CatalogueError::Override { agent, reason })?;
            head.version.clone_from(&other.version);
            head.sha512.clone_from(&other.sha512);
        }
        let text = render(file, body, &head)?;
        self.agents.insert(agent, AgentTemplate { agent, head, text });
        Ok(())
    }

    fn add_stage(&mut self, file: &str, stem: &str, text: &str) -> Result<(), CatalogueError> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let taken = [BASE, "agent"].contains(&stem);
        if taken || !stem.starts_with(|c: char| c.is_ascii_lowercase()) || !stem.bytes().all(fits) {
            return Err(CatalogueError::Name {
                file: file.to_owned(),
                hint: "; a stage's name has lower-case letters, digits and `-`, and is neither \
                       `base` nor `agent`"
                    .to_owned(),
            });
        }
        let (head, body) = read::<StageHead>(file, text)?;
        let text = render(file, body, &head)?;
        self.stages.insert(stem.to_owned(), Stage { name: stem.to_owned(), head, text });
        Ok(())
    }
}

/// What a file says about itself, and its text.
fn read<'a, Head: DeserializeOwned>(
    file: &str,
    text: &'a str,
) -> Result<(Head, Body<'a>), CatalogueError> {
    template::parse::<Head>(text)
        .map_err(|source| CatalogueError::Template { file: file.to_owned(), source })
}

fn render(file: &str, body: Body<'_>, head: &impl Serialize) -> Result<Text, CatalogueError> {
    Text::render(body, head).map_err(|reason| CatalogueError::render(file, reason))
}
