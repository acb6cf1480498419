//! A folder with an operator's own modules.

use std::path::Path;
use tempfile::TempDir;

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

    /// Where they are.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}
