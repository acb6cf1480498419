//! Images as a whole: which there are, what they take, and the disk that they are kept on.

use bollard::models::{ContainerSummary, ImageSummary};
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListImagesOptionsBuilder, TagImageOptionsBuilder,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use nix::sys::statvfs::statvfs;
use std::collections::{HashMap, HashSet};

use super::connection::{Address, DockerEngine, SLOW, unless};
use super::found::label_filter;
use super::layers::{layers, size};
use crate::engine::{Disk, EngineError, HeldImage};

/// Images that are looked at side by side: two questions each, of some milliseconds.
const AT_ONCE: usize = 4;

impl DockerEngine {
    pub(super) async fn list_images(
        &self,
        labels: &[(String, String)],
    ) -> Result<Vec<HeldImage>, EngineError> {
        let filters = HashMap::from([("label", label_filter(labels))]);
        let options = ListImagesOptionsBuilder::new().filters(&filters).build();
        let client = self.patient_client(SLOW).await?;
        // Containers after images: one that is made in between then counts as a use.
        let images = client.list_images(Some(options)).await;
        let images = images.map_err(|error| self.failed("list", "images", error))?;
        let used = self.images_in_use().await?;
        let held = stream::iter(images)
            .map(async |image| or_none(self.held(image, &used).await))
            .buffered(AT_ONCE)
            .try_collect::<Vec<_>>()
            .await?;
        Ok(held.into_iter().flatten().collect())
    }

    /// Ids of the images of all containers, whoever made them and whether they run or not.
    pub(super) async fn images_in_use(&self) -> Result<HashSet<String>, EngineError> {
        let options = ListContainersOptionsBuilder::new().all(true).build();
        let all = self.patient_client(SLOW).await?.list_containers(Some(options)).await;
        let all = all.map_err(|error| self.failed("list", "containers", error))?;
        Ok(all.into_iter().filter_map(|ContainerSummary { image_id, .. }| image_id).collect())
    }

    /// One for each tag; none for an image that has gone away since it was listed.
    async fn held(
        &self,
        summary: ImageSummary,
        used: &HashSet<String>,
    ) -> Result<Vec<HeldImage>, EngineError> {
        let client = self.client().await?;
        let (image, history) =
            tokio::join!(self.look_at(&summary.id), client.image_history(&summary.id));
        let history = unless(&[404], history)
            .map_err(|error| self.failed("look at", format!("image {}", summary.id), error))?;
        let (Some(image), Some(history)) = (image?, history) else { return Ok(Vec::new()) };
        let whole = size(&image);
        let created_at = image.created.and_then(made_at);
        let layers = layers(&image, history);
        let used = used.contains(&summary.id);
        let labels = image.config.and_then(|config| config.labels).unwrap_or_default();
        // What the image is called now, which may not be what it was when it was listed.
        let tags = image.repo_tags.unwrap_or_default().into_iter();
        let held = tags.filter(|tag| !tag.starts_with("<none>")).map(|tag| HeldImage {
            tag,
            labels: labels.clone().into_iter().collect(),
            size: whole,
            created_at,
            used,
            layers: layers.clone(),
        });
        Ok(held.collect())
    }

    pub(super) async fn add_tag(&self, tag: &str, second: &str) -> Result<(), EngineError> {
        let (repository, version) = parts(second);
        let options = TagImageOptionsBuilder::new().repo(repository).tag(version).build();
        let tagged = self.client().await?.tag_image(tag, Some(options)).await;
        tagged.map_err(|error| self.failed("tag", format!("image {tag} as {second}"), error))
    }

    /// Only of a daemon on this machine, and only where its folder can be seen from here: the
    /// manager may run in a container.
    pub(super) async fn image_disk(&self) -> Result<Option<Disk>, EngineError> {
        if !matches!(self.address(), Address::Unix(_)) {
            return Ok(None);
        }
        let info = self.client().await?.info().await;
        let info = info.map_err(|error| self.failed("describe", "itself", error))?;
        let Some(root) = info.docker_root_dir else { return Ok(None) };
        // It may have to be read from a disk.
        let disk = tokio::task::spawn_blocking(move || disk(&root)).await;
        Ok(disk.ok().flatten())
    }
}

/// An image that cannot be looked at, as one that is damaged or just being removed, hides no other.
fn or_none(held: Result<Vec<HeldImage>, EngineError>) -> Result<Vec<HeldImage>, EngineError> {
    match held {
        Err(error @ EngineError::Refused { .. }) => {
            tracing::warn!(%error, "an image is passed over");
            Ok(Vec::new())
        }
        held => held,
    }
}

fn disk(folder: &str) -> Option<Disk> {
    let about = statvfs(folder).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(about.fragment_size());
    Some(Disk { free: bytes(about.blocks_available()), total: bytes(about.blocks()) })
}

fn made_at(date: bollard::models::BollardDate) -> Option<Timestamp> {
    Timestamp::from_nanosecond(date.unix_timestamp_nanos()).ok()
}

/// A repository, which may have a port, and the version after it.
fn parts(tag: &str) -> (&str, &str) {
    match tag.rsplit_once(':') {
        Some((repository, version)) if !version.contains('/') => (repository, version),
        _ => (tag, "latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_no_version() {
        for (tag, repository, version) in [
            ("worker:0a1b", "worker", "0a1b"),
            ("host:5000/worker", "host:5000/worker", "latest"),
            ("host:5000/worker:0a1b", "host:5000/worker", "0a1b"),
        ] {
            assert_eq!(parts(tag), (repository, version));
        }
    }

    #[test]
    fn a_disk_that_cannot_be_seen_is_none() {
        assert_eq!(disk("/no/such/folder"), None);
        let here = disk("/").expect("a root");
        assert!(here.free <= here.total && here.total > 0, "{here:?}");
    }
}
