//! What a worker keeps for the case that it is started again: its boot document, how far its agent
//! has come, and when it first started. Files of root's in a folder of the container's own; the agent cannot read them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use worker_protocol::Boot;

/// Where it is, unless the command line says otherwise.
pub const FOLDER: &str = "/var/lib/worker";

/// What the kernel writes whole or not at all, also of a program that is killed.
const PAGE: usize = 4096;

/// The folder.
#[derive(Clone, Debug)]
pub struct Kept {
    folder: PathBuf,
}

/// How far the agent had come when it was last noted down.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Past {
    /// The agent's own name for its session.
    pub session_id: Option<String>,
    /// Turns that have ended, in all runs.
    pub turns: u64,
    /// What the agent has cost in all runs, in US dollars.
    pub cost_usd: f64,
    /// How much of it the agent will count in again when its session goes on.
    pub counted_usd: f64,
    /// The input entry of the turn that was begun last.
    pub begun: Option<String>,
}

impl Kept {
    /// What is kept in `folder`, which need not exist.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Keeps what later starts are not told.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_boot(&self, boot: &Boot) -> io::Result<()> {
        self.write(&self.boot_path(), &boot.to_keep())
    }

    /// What was kept of the boot document.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn boot(&self) -> io::Result<Boot> {
        Ok(serde_json::from_slice(&std::fs::read(self.boot_path())?)?)
    }

    /// Where the boot document is kept.
    #[must_use]
    pub fn boot_path(&self) -> PathBuf {
        self.folder.join("boot.json")
    }

    /// Notes down how far the agent has come.
    ///
    /// # Errors
    /// When it cannot be written; what was noted before then stays.
    pub fn note(&self, past: &Past) -> io::Result<()> {
        let mut text = serde_json::to_vec(past)?;
        if text.len() > PAGE {
            return self.write(&self.past_path(), past);
        }
        text.resize(PAGE, b' ');
        // Each turn waits for it, and another file in its place takes longer.
        self.open(&self.past_path())?.write_all(&text)
    }

    /// What was noted last; none, when this is the first run or the note cannot be read.
    #[must_use]
    pub fn past(&self) -> Option<Past> {
        let text = std::fs::read(self.past_path()).ok()?;
        // Behind it there may be the end of a longer one.
        serde_json::Deserializer::from_slice(&text).into_iter().next()?.ok()
    }

    fn past_path(&self) -> PathBuf {
        self.folder.join("past.json")
    }

    /// How long the worker has lived by `now`, stops included, since this was first asked.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Duration {
        let born = self.first_start(now).unwrap_or_else(|error| {
            crate::log(format_args!("the limit of the lifetime counts from this start: {error}"));
            now
        });
        // A clock that was set back makes nobody older.
        Duration::try_from(now.duration_since(born)).unwrap_or_default()
    }

    fn first_start(&self, now: Timestamp) -> io::Result<Timestamp> {
        let path = self.folder.join("first-start");
        match std::fs::read_to_string(&path) {
            Ok(text) => text.parse().map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.open(&path)?.write_all(now.to_string().as_bytes())?;
                Ok(now)
            }
            Err(error) => Err(error),
        }
    }

    /// Whole or not at all: a wrapper may be killed in the middle.
    fn write(&self, path: &Path, content: &impl Serialize) -> io::Result<()> {
        let new = path.with_extension("new");
        let mut file = self.open(&new)?;
        file.set_len(0)?;
        file.write_all(&serde_json::to_vec(content)?)?;
        std::fs::rename(new, path)
    }

    /// Opens a file for its owner alone; it is made where it is missing.
    fn open(&self, path: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        options.open(path).or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(error);
            }
            std::fs::create_dir_all(&self.folder)?;
            options.open(path)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn what_is_noted_is_read_back_and_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::at(folder.path().join("of/its/own"));
        assert_eq!(kept.past(), None);
        for (turns, session) in [(1, "s1"), (2, "s"), (3, &"long".repeat(PAGE)), (4, "s1")] {
            let past = Past { turns, session_id: Some(session.into()), ..Past::default() };
            kept.note(&past).unwrap();
            assert_eq!(kept.past(), Some(past));
        }
        assert_eq!(std::fs::metadata(kept.past_path()).unwrap().mode() & 0o777, 0o600);
        std::fs::write(kept.past_path(), "{").unwrap();
        assert_eq!(kept.past(), None, "half a note is none");
    }

    #[test]
    fn a_worker_that_is_started_again_is_as_old_as_its_first_start() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::at(folder.path().join("new"));
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(kept.age(at(100)), Duration::ZERO);
        assert_eq!(kept.age(at(107)), Duration::from_secs(7));
        assert_eq!(kept.age(at(90)), Duration::ZERO);
    }
}
