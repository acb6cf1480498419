//! What builds leave behind: images without a name for the classic builder, records for BuildKit.

use bollard::models::ImageSummary;
use bollard::query_parameters::{
    ListImagesOptionsBuilder, PruneBuildOptionsBuilder, RemoveImageOptionsBuilder,
};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

use super::connection::{DockerEngine, SLOW, unless};
use super::leftovers::{Leftover, Record, records_to_remove, unnamed_to_remove};
use crate::engine::{EngineError, Pruning};

/// The newest API whose list of records has the shape that is read here. Later ones, which answer
/// in another, know it too.
const RECORDS_API: usize = 44;

/// What an engine before 23.0 says when somebody else asks for its records at the same moment, and
/// when an image goes while it adds up all of them. Neither has a status of its own, and both pass.
const BUSY: [&str; 2] = ["already running", "was not found"];
const BUSY_PAUSE: Duration = Duration::from_millis(200);

#[derive(serde::Deserialize)]
struct Usage {
    #[serde(rename = "BuildCache")]
    records: Option<Vec<Record>>,
}

impl DockerEngine {
    /// Each is removed by its name, so that nothing goes which was not looked at. What has come into
    /// use since then, the engine keeps.
    pub(super) async fn prune_build_cache(
        &self,
        older_than: Duration,
        pruning: Pruning,
    ) -> Result<u64, EngineError> {
        // An age that reaches back before all time leaves nothing.
        let before = Timestamp::now().checked_sub(older_than).unwrap_or(Timestamp::MIN);
        let unnamed = unnamed_to_remove(self.all_images().await?, &self.mark().label, before);
        let records = records_to_remove(self.records().await?, &self.mark().words, before);
        if pruning == Pruning::Count {
            return Ok(unnamed.iter().chain(&records).map(|left| left.size).sum());
        }
        let mut freed = 0;
        for image in unnamed {
            freed += self.remove_unnamed(image).await?;
        }
        for record in records {
            freed += self.remove_record(record, older_than).await?;
        }
        Ok(freed)
    }

    async fn all_images(&self) -> Result<Vec<ImageSummary>, EngineError> {
        let options = ListImagesOptionsBuilder::new().all(true).build();
        let all = self.patient_client(SLOW).await?.list_images(Some(options)).await;
        all.map_err(|error| self.failed("list", "images", error))
    }

    async fn records(&self) -> Result<Vec<Record>, EngineError> {
        let usage: Usage = self.disk_usage("build-cache").await?;
        Ok(usage.records.unwrap_or_default())
    }

    /// Beside what is asked for, engines before 23.0 add up everything else that they keep, which
    /// takes time.
    pub(super) async fn disk_usage<T: DeserializeOwned>(
        &self,
        kind: &str,
    ) -> Result<T, EngineError> {
        let minor = self.client().await?.client_version().minor_version.min(RECORDS_API);
        let path = format!("/v1.{minor}/system/df?type={kind}");
        let deadline = Instant::now() + SLOW;
        loop {
            match self.get(&path).await {
                Err(EngineError::Refused { reason, .. })
                    if BUSY.iter().any(|busy| reason.contains(busy))
                        && Instant::now() < deadline =>
                {
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                usage => return usage,
            }
        }
    }

    /// Without the images below it: each of those is looked at by itself.
    async fn remove_unnamed(&self, image: Leftover) -> Result<u64, EngineError> {
        let options = RemoveImageOptionsBuilder::new().noprune(true).build();
        let client = self.patient_client(SLOW).await?;
        // 409: an instance or a new image uses it by now.
        match unless(&[404, 409], client.remove_image(&image.id, Some(options), None).await) {
            Ok(removed) => Ok(removed.map_or(0, |_| image.size)),
            Err(error) => Err(self.failed("remove", format!("image {}", image.id), error)),
        }
    }

    async fn remove_record(
        &self,
        record: Leftover,
        older_than: Duration,
    ) -> Result<u64, EngineError> {
        let filters = HashMap::from([
            ("id", vec![record.id.clone()]),
            ("until", vec![format!("{}s", older_than.as_secs())]),
        ]);
        let options = PruneBuildOptionsBuilder::new().all(true).filters(&filters).build();
        let pruned = self.patient_client(SLOW).await?.prune_build(Some(options)).await;
        let pruned = pruned.map_err(|error| {
            self.failed("remove", format!("build cache record {}", record.id), error)
        })?;
        Ok(pruned.space_reclaimed.unwrap_or_default().try_into().unwrap_or_default())
    }
}
