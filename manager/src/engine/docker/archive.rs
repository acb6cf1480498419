//! Moving images: out of the engine as one archive, and in again. Neither holds it in memory.

use bollard::errors::Error;
use bollard::models::BuildInfo;
use bollard::query_parameters::ImportImageOptions;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt, TryStreamExt};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::connection::{DockerEngine, refused};
use crate::engine::EngineError;

/// The daemon writes an archive to its own disk before it sends or reads the first byte of it: some
/// gigabytes, on a slow disk.
const WRITTEN_WITHIN: Duration = Duration::from_secs(1800);

/// What it says of each image that it took.
const TAKEN: &str = "Loaded image";

impl DockerEngine {
    pub(super) async fn save(
        &self,
        tags: &[String],
    ) -> Result<BoxStream<'static, Result<Bytes, EngineError>>, EngineError> {
        let client = self.patient_client(WRITTEN_WITHIN).await?;
        let names: Vec<&str> = tags.iter().map(String::as_str).collect();
        let mut archive = client.export_images(&names).boxed();
        let (engine, thing) = (self.clone(), tags.join(", "));
        let failed = move |error| engine.failed("save", format!("images {thing}"), error);
        // Whether it has these images shows before the first byte.
        let first = archive.next().await.transpose().map_err(&failed)?;
        let first = stream::iter(first.map(Ok));
        Ok(first.chain(archive.map_err(failed)).boxed())
    }

    pub(super) async fn load(
        &self,
        archive: BoxStream<'static, Result<Bytes, std::io::Error>>,
    ) -> Result<(), EngineError> {
        let client = self.patient_client(WRITTEN_WITHIN).await?;
        let broken = Arc::new(Mutex::new(None));
        let note = Arc::clone(&broken);
        let archive = archive.inspect_err(move |error| {
            *note.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
        });
        let said = client.import_image_stream(ImportImageOptions::default(), archive, None);
        let taken = taken(said).await;
        // An upload that ends in its middle looks like a daemon that is away.
        if let Some(reason) = broken.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let reason = format!("the archive cannot be read to its end: {reason}");
            return Err(refused("load", "images", reason));
        }
        match taken {
            Ok(0) => Err(refused("load", "images", "there is none in the archive")),
            Ok(_) => Ok(()),
            Err(error) => Err(self.failed("load", "images", error)),
        }
    }
}

/// How many images the daemon says it took.
async fn taken(said: impl Stream<Item = Result<BuildInfo, Error>>) -> Result<usize, Error> {
    let taken = said.try_fold(0, |taken, line| async move {
        let names = line.stream.is_some_and(|text| text.starts_with(TAKEN));
        Ok(taken + usize::from(names))
    });
    taken.await
}
