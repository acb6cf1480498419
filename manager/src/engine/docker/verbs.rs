//! The seam's verbs, each in a file of its own.

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use std::time::Duration;

use super::DockerEngine;
use crate::engine::{
    BuildError, BuildOrder, BuildStep, Engine, EngineError, EngineEvent, Found, HostFacts,
    ImageFacts, InstanceName, InstancePlan,
};

#[async_trait]
impl Engine for DockerEngine {
    async fn describe(&self) -> Result<HostFacts, EngineError> {
        self.version().await
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

    async fn ensure_network(&self, name: &str) -> Result<(), EngineError> {
        self.find_or_create_network(name).await
    }

    async fn create(&self, plan: &InstancePlan) -> Result<(), EngineError> {
        self.create_container(plan).await
    }

    async fn start(&self, name: &InstanceName, input: &[u8]) -> Result<(), EngineError> {
        self.start_container(name, input).await
    }

    async fn stop(&self, name: &InstanceName, grace: Duration) -> Result<(), EngineError> {
        self.stop_container(name, grace).await
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

    fn watch(&self, labels: &[(String, String)]) -> BoxStream<'static, EngineEvent> {
        self.events(labels)
    }
}
