//! Taking turns at building.
//!
//! BuildKit solves the steps that builds have in common once for all of them. As engines before
//! 27.0 have it, it comes to grief when one of these builds ends early: the others stand still, or
//! the daemon dies of it (moby#40624, moby#42414; the cause is in buildkit#4818). There, a build
//! waits until no other runs: none of this manager, and as far as can be seen none of another one
//! of the same user on this machine.

use bollard::models::SystemVersion;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::connection::{Address, DockerEngine};
use super::facts::{Builder, api};
use super::layers::digest;

/// The first API of an engine whose builds may run beside each other: that of 27.0.
const SIDE_BY_SIDE_API: (u32, u32) = (1, 46);
/// How often a file that another manager has locked is tried again.
const TRY_EVERY: Duration = Duration::from_millis(50);
/// A daemon drops what a build that was ended had begun within milliseconds, and tells nobody when.
const AFTERMATH: Duration = Duration::from_secs(1);

/// The turns of one daemon.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Arc<Mutex<()>>);

/// Leave to build. The next one begins when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _own: OwnedMutexGuard<()>,
    _all: Option<File>,
}

impl Turn {
    /// Gives it back once the daemon has dropped a build that was ended. It blocks for that long.
    pub(super) fn end_with_the_build(self) {
        std::thread::sleep(AFTERMATH);
    }
}

impl DockerEngine {
    /// Waits for leave to build, where builds disturb each other.
    pub(super) async fn turn(&self, builder: Builder, version: &SystemVersion) -> Option<Turn> {
        if builder != Builder::BuildKit || api(version) >= Some(SIDE_BY_SIDE_API) {
            return None;
        }
        let own = Arc::clone(&self.turns().0).lock_owned().await;
        let all = match lock_files(self.address(), &std::env::temp_dir()).iter().find_map(open) {
            Some(file) => locked(file).await,
            None => None,
        };
        Some(Turn { _own: own, _all: all })
    }
}

/// Beside the daemon's socket, which goes with it; or where everybody may write.
fn lock_files(address: &Address, folder: &Path) -> Vec<PathBuf> {
    let hash = digest(address.to_string().as_bytes());
    let short = hash.trim_start_matches("sha256:").get(..12).unwrap_or_default();
    let anywhere = folder.join(format!("worker-manager-{}-{short}.lock", nix::unistd::geteuid()));
    let beside = match address {
        Address::Unix(socket) => {
            Some(format!("{}.worker-manager-lock", socket.trim_start_matches("unix://")))
        }
        Address::Http(_) => None,
    };
    beside.map(PathBuf::from).into_iter().chain([anywhere]).collect()
}

/// The file, locked; none, where that cannot be: then this manager's own turns have to do.
async fn locked(file: File) -> Option<File> {
    loop {
        match file.try_lock() {
            Ok(()) => return Some(file),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(TRY_EVERY).await,
            Err(TryLockError::Error(error)) => {
                tracing::debug!(%error, "builds of other managers are not waited for");
                return None;
            }
        }
    }
}

/// In a folder where everybody may write, a name may be somebody else's, or a link.
fn open(path: &PathBuf) -> Option<File> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600).custom_flags(flags);
    let file = options.open(path).ok()?;
    let about = file.metadata().ok()?;
    (about.is_file() && about.uid() == nix::unistd::geteuid().as_raw()).then_some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lock_is_had_by_one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("docker.sock");
        let address = Address::Unix(format!("unix://{}", socket.display()));
        let path = &lock_files(&address, Path::new("/none"))[0];
        assert!(path.starts_with(folder.path()), "{path:?}");
        let first = locked(open(path).expect("a file")).await.expect("a lock");
        let mut second = std::pin::pin!(locked(open(path).expect("a file")));
        assert!(futures_util::poll!(second.as_mut()).is_pending());
        drop(first);
        assert!(second.await.is_some());
    }

    #[test]
    fn two_daemons_have_two_locks() {
        let of = |url: &str| lock_files(&Address::Http(url.to_owned()), Path::new("/tmp"));
        let (one, other) = (of("tcp://one:2375"), of("tcp://other:2375"));
        assert_eq!((one.len(), other.len()), (1, 1));
        assert_ne!(one, other);
    }

    #[test]
    fn a_link_and_a_folder_that_is_not_there_are_no_locks() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        std::fs::write(&target, "kept").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(open(&link).is_none());
        assert!(open(&folder.path().join("none/lock")).is_none());
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "kept");
    }
}
