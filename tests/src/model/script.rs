//! Plans in a file: a JSON list, of which the first entry whose `when` is part of the prompt
//! is played.
//!
//! ```json
//! [{"when": "versions", "steps": [
//!     [{"say": "Let me look."}, {"tool": {"name": "Bash", "input": {"command": "git --version"}}}],
//!     ["quote"]
//! ]}]
//! ```
//!
//! The acts are those of [`Act`](super::plan::Act): `{"say": "…"}`, `{"think": "…"}`,
//! `{"tool": {"name": "…", "input": {…}}}`, `"quote"`, `{"long": 200000}`,
//! `{"drip": {"pause_ms": 50, "text": "…"}}`, `{"usage": {"input": 1, "output": 2}}`,
//! `{"error": {"status": 529, "type": "…", "message": "…"}}`, `{"stall": 30}`,
//! `{"stall": null}` (for ever), `"close"`.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::plan::Plan;

/// The plans of a script file, in its order.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Script {
    scenes: Vec<Scene>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scene {
    when: String,
    steps: Plan,
}

/// Why a script cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// The file cannot be read.
    #[error("failed to read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file holds no script.
    #[error("failed to understand {}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        source: serde_json::Error,
    },
}

impl Script {
    /// A script without plans: prompts carry their own, or are echoed.
    pub fn empty() -> Script {
        Script::default()
    }

    /// A script from its JSON.
    pub fn parse(json: &str) -> Result<Script, serde_json::Error> {
        serde_json::from_str(json)
    }

    /// A script from a file.
    pub fn read(path: &Path) -> Result<Script, ScriptError> {
        let json = std::fs::read_to_string(path)
            .map_err(|source| ScriptError::Read { path: path.to_owned(), source })?;
        Script::parse(&json).map_err(|source| ScriptError::Parse { path: path.to_owned(), source })
    }

    /// The plan for a prompt: that of the first entry whose text is part of it.
    pub fn plan_for(&self, prompt: &str) -> Option<&Plan> {
        let scene = self.scenes.iter().find(|scene| prompt.contains(&scene.when));
        scene.map(|scene| &scene.steps)
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::Act;
    use super::*;

    #[test]
    fn the_first_match_wins() {
        let script = Script::parse(
            r#"[{"when": "git and curl", "steps": [["quote"], [{"stall": null}]]},
                {"when": "git", "steps": [[{"say": "only git"}, "close"]]}]"#,
        )
        .unwrap();
        let both = script.plan_for("about git and curl").unwrap();
        assert_eq!(both.step(0), vec![Act::Quote]);
        assert_eq!(both.step(1), vec![Act::Stall(None)]);
        let git = script.plan_for("about git").unwrap();
        assert_eq!(git.step(0), vec![Act::Say("only git".into()), Act::Close]);
        assert_eq!(script.plan_for("about curl"), None);
    }

    #[test]
    fn a_mistake_is_refused() {
        for json in [
            "{}",
            r#"[{"when": "x"}]"#,
            r#"[{"when": "x", "steps": [[{"shout": "y"}]]}]"#,
            r#"[{"when": "x", "steps": [[]]}]"#,
            r#"[{"when": "x", "steps": [[{"tool": {"name": "Bash", "input": "ls"}}]]}]"#,
        ] {
            assert!(Script::parse(json).is_err(), "{json}");
        }
    }

    #[test]
    fn the_tour_knows_its_two_prompts() {
        let tour = Script::parse(include_str!("../../scripts/tour.json")).unwrap();
        assert!(tour.plan_for("Which versions of git and curl are here?").is_some());
        assert!(tour.plan_for("Thank you, goodbye.").is_some());
    }
}
