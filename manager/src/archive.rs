//! Moving images to a machine without network.
//!
//! An archive is what the engine writes when it saves images, with one file before it: what is
//! known about them. An engine that loads the archive passes over that file.

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::io::ReaderStream;
use worker_protocol::Problem;

use crate::act::{self, Hands};
use crate::engine::EngineError;
use crate::image::collect::Stored;
use crate::image::{ImageHash, ImageWish};
use crate::store::StoreError;

/// The file before the images.
const CONTENTS: &str = "worker-manager.json";
/// Of that file. A reader refuses what it does not know.
const FORMAT: u32 = 1;
/// The most bytes of that file: hundreds of images.
const CONTENTS_LIMIT: u64 = 16 << 20;
/// The unit of a tar archive.
const BLOCK: usize = 512;
/// An archive ends with two empty blocks; here the engine's follows instead.
const END: usize = 2 * BLOCK;

/// Why images could not be moved.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It is something else.
    #[error("this is no archive of `worker-manager images export`: {0}")]
    Foreign(&'static str),
    /// It was written by a later version.
    #[error("the archive has the format {0}, and this version reads the format {FORMAT}")]
    TooNew(u32),
    /// There is nothing to write.
    #[error("there is no image to export{0}")]
    Nothing(String),
    /// An image that was asked for is not on the host.
    #[error("{0} is not built: create a worker with it, or name it in `prebuild`, and try again")]
    NotBuilt(ImageWish),
    /// The archive ends too early, or the engine left one out.
    #[error("the archive names {0}, and the engine has not got it from there: is it complete?")]
    Incomplete(String),
    /// It cannot be read or written.
    #[error("failed to read or write the archive")]
    Io(#[from] io::Error),
    /// The engine did not do its part.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Redis did not do its part.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something that was looked up.
    #[error("{}", .0.message)]
    Problem(Problem),
}

/// What is known about the images of an archive.
#[derive(Debug, Serialize, Deserialize)]
struct Contents {
    format: u32,
    images: Vec<Moved>,
    /// Names of the images that they build on, as far as they are in the archive.
    bases: Vec<String>,
}

/// An image on its way.
#[derive(Debug, Serialize, Deserialize)]
struct Moved {
    hash: String,
    tag: String,
    /// Agent and modules.
    holds: String,
    /// What Redis knows about it.
    about: Map<String, Value>,
}

/// What came of an import.
#[derive(Debug, PartialEq, Eq)]
pub struct Imported {
    /// Agent and modules of each image.
    pub holds: String,
    /// Its hash.
    pub hash: String,
    /// Whether a `create` on this installation takes it.
    pub fits: Fits,
}

/// Whether a `create` on this installation takes an image that was imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fits {
    /// It does.
    Yes,
    /// Its configuration makes another image for the same wish.
    No,
}

/// Writes images, and what they build on, to an archive: those that are wished for, or all.
/// Returns what went into it.
///
/// # Errors
/// When an image is not there, or anything fails on the way; the archive is then of no use.
pub async fn export(
    hands: &Hands,
    wishes: &[ImageWish],
    to: &mut (impl AsyncWrite + Unpin),
) -> Result<Vec<String>, ArchiveError> {
    let images = chosen(hands, wishes).await?;
    if images.is_empty() {
        let namespace = hands.settings.keys.namespace();
        return Err(ArchiveError::Nothing(format!(" of the namespace `{namespace}`")));
    }
    let mut moved = Vec::new();
    for image in &images {
        let about = hands.store.about_image(image.hash.as_str()).await?;
        let (hash, tag, holds) = (image.hash.to_string(), image.tag.clone(), image.holds.clone());
        moved.push(Moved { hash, tag, holds, about });
    }
    let bases = bases(hands, &images).await?;
    let tags: Vec<_> = moved.iter().map(|image| &image.tag).chain(&bases).cloned().collect();
    to.write_all(&preface(&Contents { format: FORMAT, images: moved, bases })?).await?;
    let mut saved = hands.engine.save_images(&tags).await?;
    while let Some(piece) = saved.next().await {
        to.write_all(&piece?).await?;
    }
    to.flush().await?;
    Ok(images.into_iter().map(|image| image.holds).collect())
}

async fn chosen(hands: &Hands, wishes: &[ImageWish]) -> Result<Vec<Stored>, ArchiveError> {
    let all = act::images(hands).await.map_err(ArchiveError::Problem)?;
    if wishes.is_empty() {
        return Ok(all);
    }
    let mut found = Vec::new();
    for wish in wishes {
        let hash = act::render(hands, wish).await.map_err(ArchiveError::Problem)?.hash;
        let image = all.iter().find(|image| image.hash == hash).cloned();
        found.push(image.ok_or_else(|| ArchiveError::NotBuilt(wish.clone()))?);
    }
    Ok(found)
}

/// With the images go those that they build on: without them, nobody could tell on the other
/// machine that these are the images that are wanted. Their layers are in the archive anyway.
async fn bases(hands: &Hands, images: &[Stored]) -> Result<Vec<String>, EngineError> {
    let names: BTreeSet<&String> = images.iter().map(|image| &image.base).collect();
    let mut found = Vec::new();
    for base in names {
        if hands.engine.image(base).await?.is_some() {
            found.push(base.clone());
        }
    }
    Ok(found)
}

/// The archive's first file, without the end that a tar archive has.
fn preface(contents: &Contents) -> io::Result<Vec<u8>> {
    let text = serde_json::to_vec_pretty(contents)?;
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o644);
    header.set_size(text.len() as u64);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, CONTENTS, text.as_slice())?;
    let mut bytes = archive.into_inner()?;
    bytes.truncate(bytes.len() - END);
    Ok(bytes)
}

/// Takes the images of an archive into the engine, under this installation's name.
///
/// # Errors
/// When it is no archive, is incomplete, or anything fails on the way. Images that came in by then
/// stay.
pub async fn import(
    hands: &Hands,
    mut from: impl AsyncRead + Send + Unpin + 'static,
) -> Result<Vec<Imported>, ArchiveError> {
    let (contents, read) = read_contents(&mut from).await?;
    let mut strangers = BTreeSet::new();
    for image in &contents.images {
        if hands.engine.image(&image.tag).await?.is_none() {
            strangers.insert(image.tag.clone());
        }
    }
    let mut known = Vec::new();
    for base in &contents.bases {
        known.extend(hands.engine.image(base).await?.map(|facts| (base, facts.id)));
    }
    let rest = ReaderStream::with_capacity(from, 1 << 16);
    let whole: BoxStream<'static, io::Result<Bytes>> =
        stream::iter([Ok(Bytes::from(read))]).chain(rest.into_stream()).boxed();
    hands.engine.load_images(whole).await?;
    // A base image that this host has goes on meaning what it meant: its own images build on it.
    for (base, id) in known {
        hands.engine.tag_image(&id, base).await?;
    }
    let mut imported = Vec::new();
    for image in contents.images {
        imported.push(take_in(hands, image, &strangers).await?);
    }
    Ok(imported)
}

/// What the archive says about itself, with the bytes that it said it in.
async fn read_contents(
    from: &mut (impl AsyncRead + Unpin),
) -> Result<(Contents, Vec<u8>), ArchiveError> {
    let mut read = vec![0; BLOCK];
    let short = |_| ArchiveError::Foreign("it is too short");
    from.read_exact(&mut read).await.map_err(short)?;
    let header = tar::Header::from_byte_slice(&read);
    let named = header.path().is_ok_and(|path| path.as_os_str() == CONTENTS);
    let size = header.size().ok().filter(|size| named && *size <= CONTENTS_LIMIT);
    let size = size.ok_or(ArchiveError::Foreign("it does not begin with a list of images"))?;
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    read.resize(BLOCK + size.next_multiple_of(BLOCK), 0);
    from.read_exact(&mut read[BLOCK..]).await.map_err(short)?;
    let contents: Contents = serde_json::from_slice(&read[BLOCK..BLOCK + size])
        .map_err(|_| ArchiveError::Foreign("its list of images cannot be read"))?;
    if contents.format != FORMAT {
        return Err(ArchiveError::TooNew(contents.format));
    }
    Ok((contents, read))
}

/// Under this installation's name; the name that it came with goes, unless it was there before:
/// another installation on the same engine may have the same image.
async fn take_in(
    hands: &Hands,
    image: Moved,
    strangers: &BTreeSet<String>,
) -> Result<Imported, ArchiveError> {
    let hash = ImageHash::parse(&image.hash)
        .filter(|hash| ImageHash::of_tag(&image.tag).as_ref() == Some(hash))
        .ok_or(ArchiveError::Foreign("its list of images names one by no hash"))?;
    if hands.engine.image(&image.tag).await?.is_none() {
        return Err(ArchiveError::Incomplete(image.holds));
    }
    let own = hash.tag(hands.settings.keys.namespace());
    if own != image.tag {
        hands.engine.tag_image(&image.tag, &own).await?;
        if strangers.contains(&image.tag) {
            hands.engine.remove_image(&image.tag).await?;
        }
    }
    hands.store.note_image(hash.as_str(), &image.about, Timestamp::now()).await?;
    let fits = fits(hands, &image.holds, &hash).await;
    Ok(Imported { holds: image.holds, hash: image.hash, fits })
}

/// Whether the same wish comes to the same image here.
async fn fits(hands: &Hands, holds: &str, hash: &ImageHash) -> Fits {
    let Ok(wish) = holds.parse::<ImageWish>() else { return Fits::No };
    match act::render(hands, &wish).await {
        Ok(rendered) if rendered.hash == *hash => Fits::Yes,
        _ => Fits::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents() -> Contents {
        let image = Moved {
            hash: "0".repeat(64),
            tag: "worker:0".to_owned(),
            holds: "CUSTOM+GIT".to_owned(),
            about: Map::new(),
        };
        Contents { format: FORMAT, images: vec![image], bases: Vec::new() }
    }

    async fn read(bytes: &[u8]) -> Result<usize, ArchiveError> {
        let mut from = bytes;
        read_contents(&mut from).await.map(|(contents, read)| {
            assert_eq!(contents.images[0].holds, "CUSTOM+GIT");
            read.len()
        })
    }

    #[tokio::test]
    async fn what_is_written_before_the_images_is_read_and_no_more() {
        let mut archive = preface(&contents()).unwrap();
        let length = archive.len();
        assert_eq!(length % BLOCK, 0);
        archive.extend(b"the engine's own");
        assert_eq!(read(&archive).await.unwrap(), length);
    }

    #[tokio::test]
    async fn what_is_no_archive_is_told_so() {
        let whole = preface(&contents()).unwrap();
        let later = preface(&Contents { format: 2, ..contents() }).unwrap();
        for (bytes, part) in [
            (&b"short"[..], "it is too short"),
            (&[7; 4096][..], "does not begin with a list"),
            (&whole[..BLOCK + 9], "it is too short"),
            (&later, "has the format 2"),
        ] {
            let error = read(bytes).await.unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
