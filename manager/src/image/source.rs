//! Where the text of templates comes from.

use include_dir::{Dir, include_dir};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

static EMBEDDED: Dir = include_dir!("$CARGO_MANIFEST_DIR/../dockerfile-templates");

/// The folder whose files templates copy into images as they are.
pub(super) const FILES: &str = "files/";

/// Templates and the files that they copy, by their path below the templates' folder.
pub(super) type Sources = BTreeMap<String, Vec<u8>>;

/// Those that travel inside the manager.
pub(super) fn embedded() -> Sources {
    let folders = EMBEDDED.dirs().chain(std::iter::once(&EMBEDDED));
    let files = folders.flat_map(Dir::files).filter(|file| is_ours(file.path()));
    files
        .filter_map(|file| Some((file.path().to_str()?.to_owned(), file.contents().to_vec())))
        .collect()
}

/// Those in a folder and in the folders in it; on failure, with the path that cannot be read.
pub(super) fn read_folder(root: &Path) -> Result<Sources, (PathBuf, io::Error)> {
    let mut paths = entries(root)?;
    for folder in paths.clone().iter().filter(|path| path.is_dir()) {
        paths.extend(entries(folder)?);
    }
    let mut sources = Sources::new();
    for path in paths.iter().filter(|path| path.is_file()) {
        let below = path.strip_prefix(root).unwrap_or(path);
        if is_ours(below) {
            let bytes = fs::read(path).map_err(|error| (path.clone(), error))?;
            sources.insert(below.to_string_lossy().into_owned(), bytes);
        }
    }
    Ok(sources)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
    let all = fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>());
    all.map_err(|error| (folder.to_owned(), error))
}

/// A folder may hold other things besides, such as a text that explains it.
fn is_ours(below: &Path) -> bool {
    below.starts_with(FILES) || below.extension().is_some_and(|end| end == "hbs")
}
