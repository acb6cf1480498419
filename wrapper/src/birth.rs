//! When the worker first started: it may be stopped and started again, and its life goes on.

use jiff::Timestamp;
use std::io;
use std::path::Path;
use std::time::Duration;

use worker_protocol::boot::Bounds;

/// A file in the container, which outlives a start. It lies beside the spool, where only root writes.
const FILE: &str = "first-start";

/// How long the worker has lived by `now`, stops included. Nobody asks where its life has no limit.
#[must_use]
pub fn age(bounds: &Bounds, now: Timestamp) -> Duration {
    if bounds.max_lifetime.is_none() {
        return Duration::ZERO;
    }
    let born = first_start(&Path::new(&bounds.spool_folder).with_file_name(FILE), now);
    let born = born.unwrap_or_else(|error| {
        crate::log(format_args!("the limit of the lifetime counts from this start: {error}"));
        now
    });
    // A clock that was set back makes nobody older.
    Duration::try_from(now.duration_since(born)).unwrap_or_default()
}

/// Writes it down at the first start, and reads it at others.
fn first_start(file: &Path, now: Timestamp) -> io::Result<Timestamp> {
    match std::fs::read_to_string(file) {
        Ok(text) => text.parse().map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            std::fs::create_dir_all(file.parent().unwrap_or(file))?;
            std::fs::write(file, now.to_string())?;
            Ok(now)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_is_started_again_is_as_old_as_its_first_start() {
        let folder = tempfile::tempdir().unwrap();
        let bounds = Bounds {
            spool_folder: folder.path().join("new/spool").to_str().unwrap().to_owned(),
            max_lifetime: Some(Duration::from_secs(9)),
            ..Bounds::default()
        };
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(age(&bounds, at(100)), Duration::ZERO);
        assert_eq!(age(&bounds, at(107)), Duration::from_secs(7));
        assert_eq!(age(&bounds, at(90)), Duration::ZERO);
        let unlimited = Bounds { max_lifetime: None, ..bounds };
        assert_eq!(age(&unlimited, at(200)), Duration::ZERO);
    }
}
