//! Where the text of templates comes from.

use include_dir::{Dir, include_dir};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

static EMBEDDED: Dir = include_dir!("$CARGO_MANIFEST_DIR/../dockerfile-templates");

/// Text of the template files, by their path below the templates' folder.
pub(super) type Sources = BTreeMap<String, String>;

/// Those that travel inside the manager.
pub(super) fn embedded() -> Sources {
    let folders = EMBEDDED.dirs().chain(std::iter::once(&EMBEDDED));
    let files = folders.flat_map(Dir::files).filter(|file| is_template(file.path()));
    files
        .filter_map(|file| {
            Some((file.path().to_str()?.to_owned(), file.contents_utf8()?.to_owned()))
        })
        .collect()
}

/// Those in a folder and in the folders in it; on failure, with the path that cannot be read.
pub(super) fn read_folder(root: &Path) -> Result<Sources, (PathBuf, io::Error)> {
    let mut paths = entries(root)?;
    for folder in paths.clone().iter().filter(|path| path.is_dir()) {
        paths.extend(entries(folder)?);
    }
    let mut sources = Sources::new();
    for path in paths.iter().filter(|path| is_template(path)) {
        let text = fs::read_to_string(path).map_err(|error| (path.clone(), error))?;
        let below = path.strip_prefix(root).unwrap_or(path);
        sources.insert(below.to_string_lossy().into_owned(), text);
    }
    Ok(sources)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
    let all = fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>());
    all.map_err(|error| (folder.to_owned(), error))
}

fn is_template(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "hbs")
}
