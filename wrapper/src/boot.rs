//! Reads what the manager hands to the worker.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use worker_protocol::Boot;
use worker_protocol::boot::Again;

use crate::kept::Kept;

/// A manager writes the document at once. One that does not has died, or never was.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Why the boot document could not be used. No text of it is shown: it holds the password.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// It cannot be read.
    #[error("failed to read the boot document from {path}, where the manager puts it")]
    Unreadable {
        /// Where it was looked for.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It did not come, or its end did not.
    #[error(
        "no whole boot document came from {path} within {} s; the manager writes it when it \
         starts the worker, so start the worker by its manager", .patience.as_secs()
    )]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
        /// How long.
        patience: Duration,
    },
    /// It is no boot document of this version.
    #[error(
        "failed to understand the boot document from {path} (line {line}, column {column}); \
         manager and wrapper must be of the same version"
    )]
    Malformed {
        /// Where it was found.
        path: PathBuf,
        /// Line of the fault.
        line: usize,
        /// Column of the fault.
        column: usize,
    },
    /// It is for a worker that ran before, and what that one kept is not there.
    #[error(
        "failed to read what this worker kept of its first boot document from {path}, so it \
         cannot be started again; delete it"
    )]
    Forgotten {
        /// Where it was looked for.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It names no program.
    #[error("the boot document names no program to run: `agent.command` is empty")]
    NoCommand,
}

/// Reads the document to its end. That of a later start is completed by what was kept of the first.
///
/// # Errors
/// When there is none within `patience`, it is not of this version, or nothing was kept.
pub fn read(path: &Path, kept: &Kept, patience: Duration) -> Result<Boot, BootError> {
    let text = read_within(path, patience)?;
    let boot: Boot = if let Ok(again) = serde_json::from_slice::<Again>(&text) {
        let forgotten = |source| BootError::Forgotten { path: kept.boot_path(), source };
        again.complete(kept.boot().map_err(forgotten)?)
    } else {
        serde_json::from_slice(&text).map_err(|error| BootError::Malformed {
            path: path.to_owned(),
            line: error.line(),
            column: error.column(),
        })?
    };
    if boot.agent.command.first().is_none_or(String::is_empty) {
        return Err(BootError::NoCommand);
    }
    Ok(boot)
}

/// A read of stdin cannot be given up, so a thread of its own waits for it.
fn read_within(path: &Path, patience: Duration) -> Result<Vec<u8>, BootError> {
    let (send, receive) = mpsc::channel();
    let from = path.to_owned();
    std::thread::spawn(move || send.send(std::fs::read(from)));
    receive
        .recv_timeout(patience)
        .map_err(|_| BootError::Missing { path: path.to_owned(), patience })?
        .map_err(|source| BootError::Unreadable { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_file_is_named_and_its_text_is_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("boot.json");
        let kept = Kept::at(dir.path().join("kept"));
        assert!(read(&path, &kept, PATIENCE).unwrap_err().to_string().contains("boot.json"));
        std::fs::write(&path, r#"{"redis": {"password": "hunter2"}}"#).unwrap();
        let error = read(&path, &kept, PATIENCE).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }

    #[test]
    fn a_document_whose_end_does_not_come_is_not_waited_for_without_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("boot");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        // Opened for both ways, a pipe has somebody who could write to it all the time.
        let mut writer = std::fs::File::options().read(true).write(true).open(&path).unwrap();
        io::Write::write_all(&mut writer, b"{\"redis\":").unwrap();
        let kept = Kept::at(dir.path().join("kept"));
        let error = read(&path, &kept, Duration::from_millis(20)).unwrap_err();
        assert!(matches!(error, BootError::Missing { .. }), "{error:?}");
    }
}
