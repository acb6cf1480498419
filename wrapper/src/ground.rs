//! Whether the places that root writes to are root's alone.
//!
//! An image of a caller's own may have links there, or folders of other users; the agent could then
//! put another file where the wrapper writes or reads next, above all before a later start. So PID 1
//! goes from the root of the file system to each of its places, and begins only when nobody else can
//! change a step of the way.

use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::Uid;

/// Of a folder's mode: others than its owner may write, and only owners may remove what is theirs.
const WRITABLE: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// Why a place cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GroundError {
    /// It leads elsewhere.
    #[error(
        "{0} is a link, or no folder: an image for workers must not have one on the way to what the \
         wrapper writes"
    )]
    NoFolder(PathBuf),
    /// Others may change it.
    #[error(
        "{0} can be changed by others than root: in an image for workers it must be root's alone, \
         since the wrapper writes there"
    )]
    OfOthers(PathBuf),
    /// It cannot be looked at.
    #[error("failed to look at {path}")]
    Unknown {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Looks at a folder and all above it. What is not there yet, nobody but root can make.
///
/// # Errors
/// Names the first step that is not root's (or, for a wrapper without root, its own user's).
pub fn check(folder: &Path) -> Result<(), GroundError> {
    let mut above: Vec<_> = folder.ancestors().collect();
    above.reverse();
    for step in above {
        let seen = match std::fs::symlink_metadata(step) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(GroundError::Unknown { path: step.to_owned(), source }),
            Ok(seen) => seen,
        };
        if !seen.is_dir() {
            return Err(GroundError::NoFolder(step.to_owned()));
        }
        let own = seen.uid() == 0 || seen.uid() == Uid::effective().as_raw();
        if !own || (seen.mode() & WRITABLE != 0 && seen.mode() & STICKY == 0) {
            return Err(GroundError::OfOthers(step.to_owned()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_way_that_others_can_change_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        fs::create_dir_all(at("etc/worker")).unwrap();
        assert!(check(&at("etc/worker")).is_ok());
        assert!(check(&at("etc/worker/not/there/yet")).is_ok());

        symlink(at("etc"), at("link")).unwrap();
        let error = check(&at("link/worker")).unwrap_err();
        assert!(matches!(&error, GroundError::NoFolder(step) if *step == at("link")), "{error:?}");
        fs::write(at("etc/file"), "").unwrap();
        assert!(matches!(check(&at("etc/file")), Err(GroundError::NoFolder(_))));

        let mode = |mode| fs::set_permissions(at("etc"), fs::Permissions::from_mode(mode)).unwrap();
        for (given, fine) in [(0o777, false), (0o775, false), (0o1777, true), (0o755, true)] {
            mode(given);
            assert_eq!(check(&at("etc/worker")).is_ok(), fine, "{given:o}");
        }
        if Uid::effective().is_root() {
            std::os::unix::fs::chown(at("etc"), Some(1000), None).unwrap();
            let error = check(&at("etc/worker")).unwrap_err();
            assert!(error.to_string().contains("etc"), "{error}");
        }
    }
}
