//! The seam's verbs, each in a file of its own.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

use super::DockerEngine;
use crate::engine::{
    BuildError, BuildOrder, BuildStep, Disk, Enclosure, EnclosurePlan, Engine, EngineError,
    EngineEvent, Found, GatewayPlan, HeldImage, HostFacts, ImageFacts, InstanceName, InstancePlan,
    Leftover, Memory, Pruning, Trial,
};

#[async_trait]
impl Engine for DockerEngine {
    async fn answers(&self) -> Result<(), EngineError> {
        self.ping().await
    }

    async fn describe(&self) -> Result<HostFacts, EngineError> {
        self.facts().await
    }

    async fn base_identity(&self, reference: &str) -> Result<String, EngineError> {
        self.find_or_pull(reference).await
    }

    async fn image(&self, tag: &str) -> Result<Option<ImageFacts>, EngineError> {
        self.inspect_image(tag).await
    }

    async fn build(
        &self,
        order: BuildOrder,
        progress: &(dyn Fn(BuildStep) + Send + Sync),
    ) -> Result<ImageFacts, BuildError> {
        self.build_image(order, progress).await
    }

    async fn remove_image(&self, tag: &str) -> Result<(), EngineError> {
        self.untag(tag).await
    }

    async fn images(&self, labels: &[(String, String)]) -> Result<Vec<HeldImage>, EngineError> {
        self.list_images(labels).await
    }

    async fn disk(&self) -> Result<Option<Disk>, EngineError> {
        self.image_disk().await
    }

    async fn memory(&self) -> Result<Option<Memory>, EngineError> {
        Ok(self.machines_memory())
    }

    async fn prune_cache(
        &self,
        older_than: Duration,
        pruning: Pruning,
    ) -> Result<u64, EngineError> {
        self.prune_build_cache(older_than, pruning).await
    }

    async fn save_images(
        &self,
        tags: &[String],
    ) -> Result<BoxStream<'static, Result<Bytes, EngineError>>, EngineError> {
        self.save(tags).await
    }

    async fn load_images(
        &self,
        archive: BoxStream<'static, Result<Bytes, std::io::Error>>,
    ) -> Result<(), EngineError> {
        self.load(archive).await
    }

    async fn tag_image(&self, tag: &str, second: &str) -> Result<(), EngineError> {
        self.add_tag(tag, second).await
    }

    async fn ensure_network(&self, name: &str) -> Result<(), EngineError> {
        self.find_or_create_network(name).await
    }

    async fn enclose(&self, plan: &EnclosurePlan) -> Result<Enclosure, EngineError> {
        self.make_enclosure(plan).await
    }

    async fn enclosure(&self, of: &InstanceName) -> Result<Option<Enclosure>, EngineError> {
        self.find_enclosure(of).await
    }

    async fn open_gateway(&self, plan: &GatewayPlan, input: &[u8]) -> Result<(), EngineError> {
        self.replace_gateway(plan, input).await
    }

    async fn join_enclosures(&self, plan: &GatewayPlan) -> Result<(), EngineError> {
        self.join_all(plan).await
    }

    async fn create(&self, plan: &InstancePlan) -> Result<(), EngineError> {
        self.create_container(plan).await
    }

    async fn start(&self, name: &InstanceName, input: &[u8]) -> Result<(), EngineError> {
        self.start_container(name, input).await
    }

    async fn pause(&self, name: &InstanceName) -> Result<(), EngineError> {
        self.pause_container(name).await
    }

    async fn resume(&self, name: &InstanceName) -> Result<(), EngineError> {
        self.resume_container(name).await
    }

    async fn stop(&self, name: &InstanceName, grace: Duration) -> Result<(), EngineError> {
        self.stop_container(name, grace).await
    }

    async fn last_words(&self, name: &InstanceName) -> Result<Option<String>, EngineError> {
        self.read_last_words(name).await
    }

    async fn remove(&self, name: &InstanceName) -> Result<(), EngineError> {
        self.remove_container(name).await
    }

    async fn inspect(&self, name: &InstanceName) -> Result<Option<Found>, EngineError> {
        self.inspect_container(name).await
    }

    async fn list(&self, labels: &[(String, String)]) -> Result<Vec<Found>, EngineError> {
        self.list_containers(labels).await
    }

    async fn written(
        &self,
        labels: &[(String, String)],
    ) -> Result<BTreeMap<InstanceName, u64>, EngineError> {
        self.written_by_instances(labels).await
    }

    async fn leftovers(&self, labels: &[(String, String)]) -> Result<Vec<Leftover>, EngineError> {
        self.left_by_instances(labels).await
    }

    async fn clear(&self, name: &InstanceName) -> Result<(), EngineError> {
        self.remove_belongings(name).await
    }

    fn watch(
        &self,
        labels: &[(String, String)],
        since: Timestamp,
    ) -> BoxStream<'static, EngineEvent> {
        self.events(labels, since)
    }

    async fn has_network(&self, name: &str) -> Result<bool, EngineError> {
        self.find_network(name).await
    }

    async fn try_out(&self, trial: &Trial) -> Result<String, EngineError> {
        self.run_trial(trial).await
    }
}
