//! Images that exist, and the base image, which is fetched when it does not.

use bollard::models::ImageInspect;
use bollard::query_parameters::{CreateImageOptionsBuilder, RemoveImageOptions};
use futures_util::StreamExt;
use std::time::Duration;
use tokio::time::timeout;

use super::connection::{DockerEngine, refused, unless};
use super::identity::identity;
use super::layers::size;
use crate::engine::{EngineError, ImageFacts};

/// A pull that says nothing for this long has no registry to talk to.
const PULL_SILENCE: Duration = Duration::from_secs(60);

impl DockerEngine {
    /// What is needed to tell two images apart, if there is one.
    pub(super) async fn look_at(
        &self,
        reference: &str,
    ) -> Result<Option<ImageInspect>, EngineError> {
        let found = self.client().await?.inspect_image(reference).await;
        unless(&[404], found)
            .map_err(|error| self.failed("look at", format!("image {reference}"), error))
    }

    pub(super) async fn inspect_image(&self, tag: &str) -> Result<Option<ImageFacts>, EngineError> {
        let found = self.look_at(tag).await?;
        Ok(found.map(|image| ImageFacts { size: size(&image), id: image.id.unwrap_or_default() }))
    }

    pub(super) async fn find_or_pull(&self, reference: &str) -> Result<String, EngineError> {
        if let Some(image) = self.look_at(reference).await? {
            return base(reference, &image);
        }
        let pulled = self.pull(reference).await;
        match (self.look_at(reference).await?, pulled) {
            (Some(image), _) => base(reference, &image),
            (None, pulled) => Err(refused(
                "use",
                format!("image {reference}"),
                format!(
                    "it is not on this host and could not be pulled ({}); where no registry \
                     answers, make one with `images/base/prepare` and name it in `base_image` \
                     (WORKER_BASE_IMAGE)",
                    pulled.err().unwrap_or_else(|| "the pull brought nothing".to_owned())
                ),
            )),
        }
    }

    /// Why it failed is for a person; whether it did, shows when the image is looked at.
    async fn pull(&self, reference: &str) -> Result<(), String> {
        let client = self.patient_client(PULL_SILENCE).await.map_err(|error| error.to_string())?;
        let options = CreateImageOptionsBuilder::new().from_image(&with_tag(reference)).build();
        let mut stream = client.create_image(Some(options), None, None);
        loop {
            match timeout(PULL_SILENCE, stream.next()).await {
                Err(_) => return Err(format!("nothing came for {} s", PULL_SILENCE.as_secs())),
                Ok(None) => return Ok(()),
                Ok(Some(item)) => item.map_err(|error| error.to_string())?,
            };
        }
    }

    pub(super) async fn untag(&self, tag: &str) -> Result<(), EngineError> {
        let client = self.client().await?;
        let removed = client.remove_image(tag, None::<RemoveImageOptions>, None).await;
        match unless(&[404], removed) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.failed("remove", format!("image {tag}"), error)),
        }
    }
}

/// Steps that an image adds to each build on it run as root, with the builder's network.
fn base(reference: &str, image: &ImageInspect) -> Result<String, EngineError> {
    let steps = image.config.as_ref().and_then(|config| config.on_build.as_deref());
    match steps.unwrap_or_default().first() {
        None => Ok(identity(image)),
        Some(step) => Err(refused(
            "build on",
            format!("image {reference}"),
            format!("it has ONBUILD steps, which nobody here asked for ({step:?})"),
        )),
    }
}

/// Without a tag, the daemon would pull all that the repository has.
fn with_tag(reference: &str) -> String {
    let last = reference.rsplit('/').next().unwrap_or(reference);
    if last.contains([':', '@']) { reference.to_owned() } else { format!("{reference}:latest") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_without_a_tag_means_the_latest() {
        for (given, meant) in [
            ("debian", "debian:latest"),
            ("host:5000/debian", "host:5000/debian:latest"),
            ("debian:bookworm-slim", "debian:bookworm-slim"),
            ("debian@sha256:0", "debian@sha256:0"),
        ] {
            assert_eq!(with_tag(given), meant);
        }
    }
}
