//! A folder with an operator's own modules.

use std::path::Path;
use tempfile::TempDir;

/// The usual image without what takes time or the network: a build of it takes a second.
const QUICK_FRAME: &str = r#"FROM {{base_image}} AS base
LABEL io.worker-manager.build=1
RUN (getent passwd 1000 >/dev/null || useradd --uid 1000 --user-group --create-home worker) \
 && install -d -o 1000 /workspace
{{#each stages}}
FROM base AS {{name}}
{{body}}
{{/each}}
FROM {{agent.builder}} AS agent
{{agent.body}}
FROM base
{{#each foundation}}
{{body}}
{{/each}}
COPY --from=agent /agent/ /
{{#each modules}}
{{body}}
{{/each}}
COPY worker-wrapper /usr/libexec/worker-wrapper
WORKDIR /workspace
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/libexec/worker-wrapper"]
"#;

/// Exists as long as the test does.
pub struct Templates {
    folder: TempDir,
}

impl Templates {
    /// A folder without modules.
    pub fn empty() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        std::fs::create_dir(folder.path().join("modules")).expect("a folder for modules");
        Self { folder }
    }

    /// A folder with a frame that installs nothing, for agents and modules that need nothing.
    pub fn quick() -> Self {
        let templates = Self::empty();
        std::fs::write(templates.folder.path().join("frame.hbs"), QUICK_FRAME).expect("a frame");
        templates
    }

    /// Adds a module that runs `command` while the image is built.
    pub fn module(self, name: &str, command: &str) -> Self {
        let text = format!(
            "+++\nsummary = \"{name} for a test\"\nversion = \"1\"\nsize = \"small\"\n\
             position = 900\nneeds = []\n+++\nRUN {command}\n"
        );
        let file = self.folder.path().join("modules").join(format!("{}.hbs", name.to_lowercase()));
        std::fs::write(file, text).expect("a module");
        self
    }

    /// Puts an agent's template in the place of the built-in one.
    pub fn agent(self, name: &str, text: &str) -> Self {
        self.put("agents", &format!("{name}.hbs"), text)
    }

    /// Adds a file that the others copy.
    pub fn file(self, name: &str, text: &str) -> Self {
        self.put("files", name, text)
    }

    fn put(self, folder: &str, name: &str, text: &str) -> Self {
        let folder = self.folder.path().join(folder);
        std::fs::create_dir_all(&folder).expect("a folder for templates");
        std::fs::write(folder.join(name), text).expect("a template");
        self
    }

    /// Where they are.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}
