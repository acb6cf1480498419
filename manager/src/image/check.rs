//! Whether templates fit together.

use super::catalogue::{Catalogue, names};
use super::load::CatalogueError;
use super::template::Companion;

/// What a template asks of others.
struct Needs<'a> {
    file: String,
    modules: &'a [String],
    /// Those that it needs must stand below this.
    position: u32,
    stages: Vec<&'a String>,
    files: &'a [String],
}

impl Catalogue {
    pub(super) fn check(&self) -> Result<(), CatalogueError> {
        for module in self.modules.values() {
            let file = format!("modules/{}.hbs", module.name.as_str().to_lowercase());
            if let Some(companion) = &module.head.companion {
                check_companion(&file, companion)?;
            }
            self.check_needs(&Needs {
                file,
                modules: &module.head.needs,
                position: module.head.position,
                stages: module.head.stages.iter().collect(),
                files: &module.head.files,
            })?;
        }
        for agent in self.agents.values() {
            self.check_needs(&Needs {
                file: format!("agents/{}.hbs", agent.agent.as_str().to_lowercase()),
                modules: &agent.head.needs,
                position: u32::MAX,
                stages: agent.head.stages.iter().chain(&agent.head.builder).collect(),
                files: &agent.head.files,
            })?;
            self.check_policy(agent)?;
        }
        for stage in self.stages.values() {
            self.check_needs(&Needs {
                file: format!("stages/{}.hbs", stage.name),
                modules: &[],
                position: 0,
                stages: Vec::new(),
                files: &stage.head.files,
            })?;
        }
        self.check_frames()
    }

    fn check_needs(&self, needs: &Needs) -> Result<(), CatalogueError> {
        let because = |need: &str, why: String| CatalogueError::Need {
            file: needs.file.clone(),
            need: need.to_owned(),
            why,
        };
        for need in needs.modules {
            self.check_place(need, needs.position).map_err(|why| because(need, why))?;
        }
        if let Some(stage) = needs.stages.iter().find(|stage| !self.stages.contains_key(**stage)) {
            let all = names(self.stages.keys());
            return Err(because(stage, format!("which is no stage; the stages are {all}")));
        }
        if let Some(file) = needs.files.iter().find(|file| !self.files.contains_key(*file)) {
            let why = "which is no file in the folder `files`".to_owned();
            return Err(because(file, why));
        }
        Ok(())
    }

    /// A module that is needed stands before the one that needs it; so there are no circles.
    fn check_place(&self, need: &str, position: u32) -> Result<(), String> {
        match self.module(need) {
            None => Err(format!("which is no module{}", self.instead_of(need))),
            Some(module) if module.head.position >= position => Err(format!(
                "which must have a lower position than {position}, not {}",
                module.head.position
            )),
            Some(_) => Ok(()),
        }
    }

    /// Renders each agent with all modules once.
    fn check_frames(&self) -> Result<(), CatalogueError> {
        let all = self.modules.keys().cloned().collect();
        for agent in self.agents.values() {
            for ca_bundle in [false, true] {
                self.frames.check(&self.parts(agent, &all, "base", ca_bundle))?;
            }
        }
        Ok(())
    }
}

/// Paths become mounts of an instance; a wrong one would be noticed only when a worker starts.
fn check_companion(file: &str, companion: &Companion) -> Result<(), CatalogueError> {
    let folder = |path: &str| path.len() > 1 && path.starts_with('/') && !path.contains("..");
    let wrong = if companion.command.is_empty() {
        "`command` must name a program"
    } else if !folder(&companion.shared) || !folder(&companion.state) {
        "`shared` and `state` must be absolute paths of folders"
    } else if companion.shared == companion.state {
        "`shared` and `state` must be two folders"
    } else if companion.ready.is_empty() || companion.ready.contains('/') {
        "`ready` must be the name of a file in `shared`"
    } else {
        return Ok(());
    };
    Err(CatalogueError::render(file, format!("companion: {wrong}")))
}
