//! What tells of packages in an image, taken from the archive that an engine saves it as.
//!
//! Nothing of the image is run, and nothing is unpacked. Layers may come before the list that says
//! in which order they lie, so each gives what it holds and what it takes away, and they are laid on
//! each other in the end. Format: the image specification of Docker 1.2, which newer engines write
//! beside the layout of OCI.

use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Cursor, Read};
use std::path::{Component, Path};

use crate::image::hex;

/// The wrapper's place, as the frame of images says.
pub(super) const WRAPPER: &str = "usr/libexec/worker-wrapper";
/// The most bytes of one file that is read: ten times the list of a large distribution's packages.
const FILE: u64 = 16 << 20;
/// The most bytes of all that is kept while layers are read, names included.
const ALL: usize = 256 << 20;
/// Of a tar archive: its first header.
const HEAD: usize = 512;

/// Why an image's content could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// The engine's stream ends, or is no archive.
    #[error("failed to read the archive that the engine saves the image as")]
    Read(#[from] io::Error),
    /// It is none of an image.
    #[error("the archive that the engine saves the image as has no {0}")]
    Lacks(&'static str),
    /// A layer is packed in a way that is not known.
    #[error("the image's layer {0} is compressed, and not by gzip")]
    Compressed(String),
    /// The image holds more about packages than any that is meant to be used.
    #[error("the image holds more than {ALL} bytes about packages")]
    TooMuch,
}

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    /// Files that tell of packages, by their path without the first `/`. Of a program, its SHA-256
    /// in hexadecimal.
    pub(super) files: BTreeMap<String, Vec<u8>>,
    /// As Docker names it: `amd64`, `arm64`.
    pub(super) architecture: String,
}

/// One layer.
#[derive(Debug, Default)]
struct Layer {
    files: BTreeMap<String, Vec<u8>>,
    /// What it takes away from those below, with all that is in it.
    gone: BTreeSet<String>,
    /// Folders of which it shows nothing that is in those below.
    emptied: BTreeSet<String>,
    unreadable: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Manifest {
    config: String,
    layers: Vec<String>,
}

#[derive(Default, Deserialize)]
struct Config {
    #[serde(default)]
    architecture: String,
}

/// Bytes that may still be kept.
struct Room(usize);

impl Room {
    fn take(&mut self, bytes: usize) -> Result<(), ContentError> {
        self.0 = self.0.checked_sub(bytes).ok_or(ContentError::TooMuch)?;
        Ok(())
    }
}

/// Reads an archive with one image.
pub(super) fn read(archive: impl Read) -> Result<Content, ContentError> {
    let mut room = Room(ALL);
    let mut texts = BTreeMap::new();
    let mut layers = BTreeMap::new();
    // Of two layers that are the same, some engines save one and a link to it.
    let mut links = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let Some(name) = plain(&entry.path()?) else { continue };
        if entry.header().entry_type().is_symlink() {
            let target = entry.link_name()?.unwrap_or_default().into_owned();
            let target = Path::new(&name).parent().unwrap_or(Path::new("")).join(target);
            links.extend(resolved(&target).map(|target| (name, target)));
        } else if entry.header().entry_type().is_file() {
            let mut head = Vec::new();
            entry.by_ref().take(HEAD as u64).read_to_end(&mut head)?;
            let size = entry.size();
            let whole = Cursor::new(head.clone()).chain(entry);
            match kind(&head) {
                Kind::Text if size <= FILE => {
                    let text = bytes(whole)?;
                    room.take(text.len())?;
                    texts.insert(name, text);
                }
                Kind::Layer => drop(layers.insert(name, layer(whole, &mut room)?)),
                Kind::Zipped => {
                    drop(layers.insert(name, layer(MultiGzDecoder::new(whole), &mut room)?));
                }
                Kind::Text | Kind::Other => {
                    layers.insert(name, Layer { unreadable: true, ..Layer::default() });
                }
            }
        }
    }
    put_together(&texts, layers, &links)
}

enum Kind {
    Text,
    Layer,
    Zipped,
    Other,
}

fn kind(head: &[u8]) -> Kind {
    match head {
        [b'{' | b'[', ..] => Kind::Text,
        [0x1f, 0x8b, ..] => Kind::Zipped,
        _ if head.get(257..262) == Some(b"ustar") => Kind::Layer,
        // A layer with nothing in it.
        _ if head.len() == HEAD && head.iter().all(|byte| *byte == 0) => Kind::Layer,
        _ => Kind::Other,
    }
}

fn put_together(
    texts: &BTreeMap<String, Vec<u8>>,
    mut layers: BTreeMap<String, Layer>,
    links: &BTreeMap<String, String>,
) -> Result<Content, ContentError> {
    let manifest = texts.get("manifest.json");
    let manifests: Vec<Manifest> = manifest
        .and_then(|text| serde_json::from_slice(text).ok())
        .ok_or(ContentError::Lacks("manifest.json"))?;
    let manifest = manifests.into_iter().next().ok_or(ContentError::Lacks("image"))?;
    let config: Config = texts
        .get(&manifest.config)
        .and_then(|text| serde_json::from_slice(text).ok())
        .unwrap_or_default();
    let mut files = BTreeMap::new();
    for name in &manifest.layers {
        let name = links.get(name).unwrap_or(name);
        // The same layer may lie in an image twice; then the second changes nothing.
        let Some(layer) = layers.get_mut(name).map(std::mem::take) else {
            return Err(ContentError::Lacks("layer that its list names"));
        };
        if layer.unreadable {
            return Err(ContentError::Compressed(name.clone()));
        }
        lay(&mut files, layer);
    }
    Ok(Content { files, architecture: config.architecture })
}

/// Lays a layer on those below.
fn lay(files: &mut BTreeMap<String, Vec<u8>>, layer: Layer) {
    let Layer { files: new, gone, emptied, .. } = layer;
    let covered = |path: &str| {
        gone.contains(path)
            || Path::new(path)
                .ancestors()
                .skip(1)
                .filter_map(Path::to_str)
                .any(|folder| gone.contains(folder) || emptied.contains(folder))
    };
    files.retain(|path, _| !covered(path));
    files.extend(new);
}

fn layer(archive: impl Read, room: &mut Room) -> Result<Layer, ContentError> {
    let mut layer = Layer::default();
    for entry in tar::Archive::new(archive).entries()? {
        let entry = entry?;
        let Some(path) = plain(&entry.path()?) else { continue };
        let kind = entry.header().entry_type();
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
        if name == ".wh..wh..opq" {
            room.take(folder.len())?;
            layer.emptied.insert(folder.to_owned());
        } else if let Some(name) = name.strip_prefix(".wh.") {
            room.take(path.len())?;
            let slash = if folder.is_empty() { "" } else { "/" };
            layer.gone.insert(format!("{folder}{slash}{name}"));
        } else if kind.is_hard_link() {
            let target = entry.link_name()?.and_then(|target| plain(&target));
            let linked = target.and_then(|target| layer.files.get(&target).cloned());
            if let Some(bytes) = linked.filter(|_| is_wanted(&path)) {
                room.take(path.len() + bytes.len())?;
                layer.files.insert(path, bytes);
            }
        } else if kind.is_file() && is_wanted(&path) && entry.size() <= FILE {
            let bytes = if path == WRAPPER { digest(entry)? } else { bytes(entry)? };
            room.take(path.len() + bytes.len())?;
            layer.files.insert(path, bytes);
        } else if !kind.is_dir() && (is_wanted(&path) || !kind.is_file()) {
            // Something else lies in its place now.
            room.take(path.len())?;
            layer.gone.insert(path);
        }
    }
    Ok(layer)
}

/// Whether a file tells of packages.
fn is_wanted(path: &str) -> bool {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let parent = folder.rsplit('/').next().unwrap_or_default();
    match name {
        "status" => folder == "var/lib/dpkg",
        "os-release" => matches!(folder, "etc" | "usr/lib"),
        "copyright" => folder.starts_with("usr/share/doc/"),
        "METADATA" => parent.ends_with(".dist-info"),
        "PKG-INFO" => parent.ends_with(".egg-info"),
        "package.json" => is_package(folder),
        _ => path == WRAPPER || folder == "var/lib/dpkg/status.d",
    }
}

/// Whether a folder is an npm package, and not a part of one.
fn is_package(folder: &str) -> bool {
    let mut above = folder.rsplit('/').skip(1);
    match (above.next(), above.next()) {
        (Some("node_modules"), _) => true,
        (Some(scope), Some("node_modules")) => scope.starts_with('@'),
        (Some("opt"), None) => true,
        _ => false,
    }
}

/// A path without what means nothing; none, when it leads out.
fn plain(path: &Path) -> Option<String> {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => parts.push(name.to_str()?),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// A path in the archive, with its steps upwards taken.
fn resolved(path: &Path) -> Option<String> {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => parts.push(name.to_str()?),
            Component::ParentDir => drop(parts.pop()?),
            _ => {}
        }
    }
    Some(parts.join("/"))
}

fn bytes(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn digest(mut from: impl Read) -> io::Result<Vec<u8>> {
    let mut digest = Sha256::new();
    let mut piece = vec![0; 1 << 16];
    loop {
        match from.read(&mut piece)? {
            0 => return Ok(hex(&digest.finalize()).into_bytes()),
            read => digest.update(&piece[..read]),
        }
    }
}

#[cfg(test)]
#[path = "content_tests.rs"]
mod tests;
