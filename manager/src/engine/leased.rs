//! An engine that is told to change something only by the manager that leads.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;

use super::{
    BuildError, BuildOrder, BuildStep, Disk, Engine, EngineError, EngineEvent, Found, HeldImage,
    HostFacts, ImageFacts, InstanceName, InstancePlan, Memory, Pruning,
};
use crate::lease::Hold;

/// Verbs that change something wait while it is not certain that the lease is held. An engine
/// cannot tell an old leader from a new one, as Redis can.
pub(crate) struct LeasedEngine {
    engine: Arc<dyn Engine>,
    hold: Hold,
}

impl LeasedEngine {
    pub(crate) fn new(engine: Arc<dyn Engine>, hold: Hold) -> Self {
        Self { engine, hold }
    }
}

#[async_trait]
impl Engine for LeasedEngine {
    async fn describe(&self) -> Result<HostFacts, EngineError> {
        self.engine.describe().await
    }

    async fn base_identity(&self, reference: &str) -> Result<String, EngineError> {
        self.engine.base_identity(reference).await
    }

    async fn image(&self, tag: &str) -> Result<Option<ImageFacts>, EngineError> {
        self.engine.image(tag).await
    }

    async fn build(
        &self,
        order: BuildOrder,
        progress: &(dyn Fn(BuildStep) + Send + Sync),
    ) -> Result<ImageFacts, BuildError> {
        self.hold.held().await;
        self.engine.build(order, progress).await
    }

    async fn remove_image(&self, tag: &str) -> Result<(), EngineError> {
        self.hold.held().await;
        self.engine.remove_image(tag).await
    }

    async fn images(&self, labels: &[(String, String)]) -> Result<Vec<HeldImage>, EngineError> {
        self.engine.images(labels).await
    }

    async fn disk(&self) -> Result<Option<Disk>, EngineError> {
        self.engine.disk().await
    }

    async fn memory(&self) -> Result<Option<Memory>, EngineError> {
        self.engine.memory().await
    }

    async fn prune_cache(
        &self,
        older_than: Duration,
        pruning: Pruning,
    ) -> Result<u64, EngineError> {
        self.hold.held().await;
        self.engine.prune_cache(older_than, pruning).await
    }

    async fn save_images(
        &self,
        tags: &[String],
    ) -> Result<BoxStream<'static, Result<Bytes, EngineError>>, EngineError> {
        self.engine.save_images(tags).await
    }

    async fn load_images(
        &self,
        archive: BoxStream<'static, Result<Bytes, std::io::Error>>,
    ) -> Result<(), EngineError> {
        self.hold.held().await;
        self.engine.load_images(archive).await
    }

    async fn tag_image(&self, tag: &str, second: &str) -> Result<(), EngineError> {
        self.hold.held().await;
        self.engine.tag_image(tag, second).await
    }

    async fn ensure_network(&self, name: &str) -> Result<(), EngineError> {
        self.hold.held().await;
        self.engine.ensure_network(name).await
    }

    async fn create(&self, plan: &InstancePlan) -> Result<(), EngineError> {
        self.hold.held().await;
        self.engine.create(plan).await
    }

    async fn start(&self, name: &InstanceName, input: &[u8]) -> Result<(), EngineError> {
        self.hold.held().await;
        self.engine.start(name, input).await
    }

    async fn stop(&self, name: &InstanceName, grace: Duration) -> Result<(), EngineError> {
        self.hold.held().await;
        self.engine.stop(name, grace).await
    }

    async fn pause(&self, name: &InstanceName) -> Result<(), EngineError> {
        self.hold.held().await;
        self.engine.pause(name).await
    }

    async fn resume(&self, name: &InstanceName) -> Result<(), EngineError> {
        self.hold.held().await;
        self.engine.resume(name).await
    }

    async fn remove(&self, name: &InstanceName) -> Result<(), EngineError> {
        self.hold.held().await;
        self.engine.remove(name).await
    }

    async fn inspect(&self, name: &InstanceName) -> Result<Option<Found>, EngineError> {
        self.engine.inspect(name).await
    }

    async fn list(&self, labels: &[(String, String)]) -> Result<Vec<Found>, EngineError> {
        self.engine.list(labels).await
    }

    async fn leftovers(
        &self,
        labels: &[(String, String)],
    ) -> Result<Vec<InstanceName>, EngineError> {
        self.engine.leftovers(labels).await
    }

    async fn clear(&self, name: &InstanceName) -> Result<(), EngineError> {
        self.hold.held().await;
        self.engine.clear(name).await
    }

    fn watch(
        &self,
        labels: &[(String, String)],
        since: Timestamp,
    ) -> BoxStream<'static, EngineEvent> {
        self.engine.watch(labels, since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{ScriptedEngine, Verb};
    use crate::lease::Hold;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn nothing_is_changed_while_it_is_not_certain_who_leads() {
        let (hold, renew) = Hold::uncertain();
        let scripted = ScriptedEngine::new();
        let engine = LeasedEngine::new(Arc::clone(&scripted) as Arc<dyn Engine>, hold.clone());
        let name = InstanceName("t-1".to_owned());
        assert!(engine.list(&[]).now_or_never().is_some(), "looking is no change");
        let mut removal = engine.remove(&name);
        assert!((&mut removal).now_or_never().is_none());
        assert_eq!(scripted.count(Verb::Remove), 0);
        renew();
        assert!(removal.await.is_ok());
        assert_eq!(scripted.count(Verb::Remove), 1);
        hold.lose();
        assert!(engine.remove(&name).now_or_never().is_none());
        assert_eq!(scripted.count(Verb::Remove), 1, "whatever the clock says");
    }
}
