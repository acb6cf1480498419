//! An engine whose verbs are timed and whose failures are counted. It does what the one inside does.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{
    BuildError, BuildOrder, BuildStep, Disk, Engine, EngineError, EngineEvent, Found, HeldImage,
    HostFacts, ImageFacts, InstanceName, InstancePlan, Pruning, Trial,
};
use crate::telemetry::meters::Timed;

/// See the module.
pub struct Measured {
    inner: Arc<dyn Engine>,
    timed: Timed,
}

impl Measured {
    /// Counts on `timed`.
    #[must_use]
    pub fn new(inner: Arc<dyn Engine>, timed: Timed) -> Self {
        Self { inner, timed }
    }

    async fn time<T, E: Failure>(
        &self,
        verb: &'static str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let begun = Instant::now();
        let result = work.await;
        self.timed.took(verb, begun.elapsed());
        if let Err(error) = &result {
            self.timed.failed(verb, error.word());
        }
        result
    }
}

/// A failure in a word.
trait Failure {
    fn word(&self) -> &'static str;
}

impl Failure for EngineError {
    fn word(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "unavailable",
            Self::Refused { .. } => "refused",
            Self::NoImage { .. } => "no_image",
        }
    }
}

impl Failure for BuildError {
    fn word(&self) -> &'static str {
        match self {
            Self::Failed { .. } => "failed",
            Self::Engine(error) => error.word(),
        }
    }
}

#[async_trait]
impl Engine for Measured {
    async fn answers(&self) -> Result<(), EngineError> {
        self.time("answers", self.inner.answers()).await
    }

    async fn describe(&self) -> Result<HostFacts, EngineError> {
        self.time("describe", self.inner.describe()).await
    }

    async fn base_identity(&self, reference: &str) -> Result<String, EngineError> {
        self.time("base_identity", self.inner.base_identity(reference)).await
    }

    async fn image(&self, tag: &str) -> Result<Option<ImageFacts>, EngineError> {
        self.time("image", self.inner.image(tag)).await
    }

    async fn build(
        &self,
        order: BuildOrder,
        progress: &(dyn Fn(BuildStep) + Send + Sync),
    ) -> Result<ImageFacts, BuildError> {
        self.time("build", self.inner.build(order, progress)).await
    }

    async fn remove_image(&self, tag: &str) -> Result<(), EngineError> {
        self.time("remove_image", self.inner.remove_image(tag)).await
    }

    async fn images(&self, labels: &[(String, String)]) -> Result<Vec<HeldImage>, EngineError> {
        self.time("images", self.inner.images(labels)).await
    }

    async fn disk(&self) -> Result<Option<Disk>, EngineError> {
        self.time("disk", self.inner.disk()).await
    }

    async fn prune_cache(
        &self,
        older_than: Duration,
        pruning: Pruning,
    ) -> Result<u64, EngineError> {
        self.time("prune_cache", self.inner.prune_cache(older_than, pruning)).await
    }

    /// Until the archive begins.
    async fn save_images(
        &self,
        tags: &[String],
    ) -> Result<BoxStream<'static, Result<Bytes, EngineError>>, EngineError> {
        self.time("save_images", self.inner.save_images(tags)).await
    }

    async fn load_images(
        &self,
        archive: BoxStream<'static, Result<Bytes, std::io::Error>>,
    ) -> Result<(), EngineError> {
        self.time("load_images", self.inner.load_images(archive)).await
    }

    async fn tag_image(&self, tag: &str, second: &str) -> Result<(), EngineError> {
        self.time("tag_image", self.inner.tag_image(tag, second)).await
    }

    async fn ensure_network(&self, name: &str) -> Result<(), EngineError> {
        self.time("ensure_network", self.inner.ensure_network(name)).await
    }

    async fn create(&self, plan: &InstancePlan) -> Result<(), EngineError> {
        self.time("create", self.inner.create(plan)).await
    }

    async fn start(&self, name: &InstanceName, input: &[u8]) -> Result<(), EngineError> {
        self.time("start", self.inner.start(name, input)).await
    }

    async fn stop(&self, name: &InstanceName, grace: Duration) -> Result<(), EngineError> {
        self.time("stop", self.inner.stop(name, grace)).await
    }

    async fn remove(&self, name: &InstanceName) -> Result<(), EngineError> {
        self.time("remove", self.inner.remove(name)).await
    }

    async fn inspect(&self, name: &InstanceName) -> Result<Option<Found>, EngineError> {
        self.time("inspect", self.inner.inspect(name)).await
    }

    async fn list(&self, labels: &[(String, String)]) -> Result<Vec<Found>, EngineError> {
        self.time("list", self.inner.list(labels)).await
    }

    async fn leftovers(
        &self,
        labels: &[(String, String)],
    ) -> Result<Vec<InstanceName>, EngineError> {
        self.time("leftovers", self.inner.leftovers(labels)).await
    }

    async fn clear(&self, name: &InstanceName) -> Result<(), EngineError> {
        self.time("clear", self.inner.clear(name)).await
    }

    /// It has no end to be timed.
    fn watch(&self, labels: &[(String, String)]) -> BoxStream<'static, EngineEvent> {
        self.inner.watch(labels)
    }

    async fn has_network(&self, name: &str) -> Result<bool, EngineError> {
        self.time("has_network", self.inner.has_network(name)).await
    }

    async fn try_out(&self, trial: &Trial) -> Result<String, EngineError> {
        self.time("try_out", self.inner.try_out(trial)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{ScriptedEngine, Verb};
    use crate::telemetry::Telemetry;
    use crate::telemetry::meters::Meters;

    #[tokio::test]
    async fn what_the_engine_says_is_passed_on_and_counted() {
        let (scripted, telemetry) = (ScriptedEngine::new(), Telemetry::new(&Meters::default()));
        let engine = Measured::new(scripted.clone(), telemetry.metrics.engine.clone());
        let away = EngineError::Unavailable { reason: "for a test".to_owned() };
        scripted.fail_next(Verb::List, away.clone());
        assert_eq!(engine.list(&[]).await, Err(away));
        assert_eq!(engine.list(&[]).await, Ok(Vec::new()));
        let text = telemetry.metrics.text();
        for line in [
            "worker_manager_engine_seconds_count{operation=\"list\"} 2",
            "worker_manager_engine_errors_total{operation=\"list\",error=\"unavailable\"} 1",
        ] {
            assert!(text.lines().any(|is| is == line), "{line} is not in\n{text}");
        }
    }
}
