//! The list of what a worker's image holds: packages of the distribution, of npm and of Python, the
//! agent and the wrapper, with digests and licences as far as they are known.
//!
//! `content` takes what tells of packages from the image, `packages` reads it, `purl` names each,
//! and `document` writes the list in the form of CycloneDX.

mod content;
mod document;
mod packages;
mod purl;
mod recipe;

use futures_util::TryStreamExt;
use std::io;
use tokio_util::io::{StreamReader, SyncIoBridge};
use worker_protocol::Problem;

use crate::act::{self, Hands};
use crate::engine::EngineError;
use crate::image::ImageWish;

pub use content::ContentError;
pub use document::Document;

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub enum SbomError {
    /// The image is not on the host.
    #[error("{0} is not built: create a worker with it, or name it in `prebuild`, and try again")]
    NotBuilt(ImageWish),
    /// What it holds cannot be read.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The engine did not do its part.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// What the image is made from could not be told.
    #[error("{}", .0.message)]
    Problem(Problem),
    /// The reader panicked.
    #[error("failed to read the image to its end")]
    Broken,
}

/// The list of the image that a `create` with this wish takes. The same image gives the same list.
///
/// # Errors
/// When it is not built, or cannot be read.
pub async fn of_image(hands: &Hands, wish: &ImageWish) -> Result<Document, SbomError> {
    let rendered = act::render(hands, wish).await.map_err(SbomError::Problem)?;
    let tag = rendered.hash.tag(hands.settings.keys.namespace());
    let Some(facts) = hands.engine.image(&tag).await? else {
        return Err(SbomError::NotBuilt(wish.clone()));
    };
    let saved = hands.engine.save_images(std::slice::from_ref(&tag)).await?;
    let reader = SyncIoBridge::new(StreamReader::new(saved.map_err(io::Error::other)));
    let read = tokio::task::spawn_blocking(move || content::read(reader)).await;
    let content = read.map_err(|_| SbomError::Broken)??;
    let recipe = recipe::Recipe::of(hands, wish, &rendered, &content.architecture);
    Ok(document::write(&tag, &facts.id, &recipe, &content))
}

/// For `fuzz/`: an archive of an image, as an engine sends it.
///
/// # Errors
/// When it is none.
pub fn read_archive(archive: impl io::Read) -> Result<Document, ContentError> {
    Ok(document::write("", "", &recipe::Recipe::default(), &content::read(archive)?))
}
