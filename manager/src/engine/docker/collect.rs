//! Images as a whole: which there are, what they take, and moving them.

use bytes::Bytes;
use futures_util::stream::BoxStream;
use std::time::Duration;

use super::connection::{DockerEngine, refused};
use crate::engine::{Disk, EngineError, HeldImage, Pruning};

impl DockerEngine {
    pub(super) async fn list_images(
        &self,
        _labels: &[(String, String)],
    ) -> Result<Vec<HeldImage>, EngineError> {
        Err(refused("list", "images", "not yet"))
    }

    pub(super) async fn image_disk(&self) -> Result<Option<Disk>, EngineError> {
        Ok(None)
    }

    pub(super) async fn prune_build_cache(
        &self,
        _older_than: Duration,
        _pruning: Pruning,
    ) -> Result<u64, EngineError> {
        Err(refused("prune", "the build cache", "not yet"))
    }

    pub(super) async fn save(
        &self,
        _tags: &[String],
    ) -> Result<BoxStream<'static, Result<Bytes, EngineError>>, EngineError> {
        Err(refused("save", "images", "not yet"))
    }

    pub(super) async fn load(
        &self,
        _archive: BoxStream<'static, Result<Bytes, std::io::Error>>,
    ) -> Result<(), EngineError> {
        Err(refused("load", "images", "not yet"))
    }

    pub(super) async fn add_tag(&self, _tag: &str, _second: &str) -> Result<(), EngineError> {
        Err(refused("tag", "images", "not yet"))
    }
}
