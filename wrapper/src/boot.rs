//! Reads what the manager put into the worker.

use std::io;
use std::path::{Path, PathBuf};

use worker_protocol::Boot;

/// Why the boot file could not be used. No text of the file is shown: it holds the password.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// It cannot be read.
    #[error("failed to read the boot file {path}; the manager puts it there before the start")]
    Unreadable {
        /// Where it was looked for.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no boot file of this version.
    #[error(
        "failed to understand the boot file {path} (line {line}, column {column}); manager and \
         wrapper must be of the same version"
    )]
    Malformed {
        /// Where it was found.
        path: PathBuf,
        /// Line of the fault.
        line: usize,
        /// Column of the fault.
        column: usize,
    },
    /// It names no program.
    #[error("the boot file names no program to run: `agent.command` is empty")]
    NoCommand,
}

/// Reads the file. It stays where it is: a container that is started again reads it again.
///
/// # Errors
/// When there is none, or it is not of this version.
pub fn read(path: &Path) -> Result<Boot, BootError> {
    let text = std::fs::read(path)
        .map_err(|source| BootError::Unreadable { path: path.to_owned(), source })?;
    let boot: Boot = serde_json::from_slice(&text).map_err(|error| BootError::Malformed {
        path: path.to_owned(),
        line: error.line(),
        column: error.column(),
    })?;
    if boot.agent.command.first().is_none_or(String::is_empty) {
        return Err(BootError::NoCommand);
    }
    Ok(boot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_file_is_named_and_its_text_is_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("boot.json");
        assert!(read(&path).unwrap_err().to_string().contains("boot.json"));
        std::fs::write(&path, r#"{"redis": {"password": "hunter2"}}"#).unwrap();
        let error = read(&path).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
}
