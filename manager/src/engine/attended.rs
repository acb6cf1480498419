//! The engine as the manager uses it: its verbs are timed and their failures counted, and it is told
//! to change something only while the manager leads.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{
    BuildError, BuildOrder, BuildStep, Disk, Enclosure, EnclosurePlan, Engine, EngineError,
    EngineEvent, Found, GatewayPlan, HeldImage, HostFacts, ImageFacts, InstanceName, InstancePlan,
    Leftover, Memory, Pruning, Trial,
};
use crate::lease::Hold;
use crate::telemetry::meters::Timed;

/// See the module.
#[derive(Clone)]
pub struct Attended {
    inner: Arc<dyn Engine>,
    timed: Timed,
    /// None: nobody else changes anything, as for a command line.
    hold: Option<Hold>,
}

impl Attended {
    /// Counts on `timed`.
    #[must_use]
    pub fn new(inner: Arc<dyn Engine>, timed: Timed) -> Self {
        Self { inner, timed, hold: None }
    }

    /// The same, for a manager that may lose the lead. An engine cannot tell an old leader from a
    /// new one, as Redis can; so verbs that change something wait while it is not certain who leads.
    pub(crate) fn under(&self, hold: &Hold) -> Self {
        Self { hold: Some(hold.clone()), ..self.clone() }
    }

    /// A verb that only looks.
    async fn ask<T, E: Failure>(
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

    /// A verb that changes something.
    async fn change<T, E: Failure>(
        &self,
        verb: &'static str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        if let Some(hold) = &self.hold {
            hold.held().await;
        }
        self.ask(verb, work).await
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
impl Engine for Attended {
    async fn answers(&self) -> Result<(), EngineError> {
        self.ask("answers", self.inner.answers()).await
    }

    async fn describe(&self) -> Result<HostFacts, EngineError> {
        self.ask("describe", self.inner.describe()).await
    }

    async fn base_identity(&self, reference: &str) -> Result<String, EngineError> {
        self.ask("base_identity", self.inner.base_identity(reference)).await
    }

    async fn image(&self, tag: &str) -> Result<Option<ImageFacts>, EngineError> {
        self.ask("image", self.inner.image(tag)).await
    }

    async fn build(
        &self,
        order: BuildOrder,
        progress: &(dyn Fn(BuildStep) + Send + Sync),
    ) -> Result<ImageFacts, BuildError> {
        self.change("build", self.inner.build(order, progress)).await
    }

    async fn remove_image(&self, tag: &str) -> Result<(), EngineError> {
        self.change("remove_image", self.inner.remove_image(tag)).await
    }

    async fn images(&self, labels: &[(String, String)]) -> Result<Vec<HeldImage>, EngineError> {
        self.ask("images", self.inner.images(labels)).await
    }

    async fn disk(&self) -> Result<Option<Disk>, EngineError> {
        self.ask("disk", self.inner.disk()).await
    }

    async fn memory(&self) -> Result<Option<Memory>, EngineError> {
        self.ask("memory", self.inner.memory()).await
    }

    async fn prune_cache(
        &self,
        older_than: Duration,
        pruning: Pruning,
    ) -> Result<u64, EngineError> {
        self.change("prune_cache", self.inner.prune_cache(older_than, pruning)).await
    }

    /// Until the archive begins.
    async fn save_images(
        &self,
        tags: &[String],
    ) -> Result<BoxStream<'static, Result<Bytes, EngineError>>, EngineError> {
        self.ask("save_images", self.inner.save_images(tags)).await
    }

    async fn load_images(
        &self,
        archive: BoxStream<'static, Result<Bytes, std::io::Error>>,
    ) -> Result<(), EngineError> {
        self.change("load_images", self.inner.load_images(archive)).await
    }

    async fn tag_image(&self, tag: &str, second: &str) -> Result<(), EngineError> {
        self.change("tag_image", self.inner.tag_image(tag, second)).await
    }

    async fn ensure_network(&self, name: &str) -> Result<(), EngineError> {
        self.change("ensure_network", self.inner.ensure_network(name)).await
    }

    async fn enclose(&self, plan: &EnclosurePlan) -> Result<Enclosure, EngineError> {
        self.change("enclose", self.inner.enclose(plan)).await
    }

    async fn enclosure(&self, of: &InstanceName) -> Result<Option<Enclosure>, EngineError> {
        self.ask("enclosure", self.inner.enclosure(of)).await
    }

    async fn open_gateway(&self, plan: &GatewayPlan, input: &[u8]) -> Result<(), EngineError> {
        self.change("open_gateway", self.inner.open_gateway(plan, input)).await
    }

    async fn join_enclosures(&self, plan: &GatewayPlan) -> Result<(), EngineError> {
        self.change("join_enclosures", self.inner.join_enclosures(plan)).await
    }

    async fn create(&self, plan: &InstancePlan) -> Result<(), EngineError> {
        self.change("create", self.inner.create(plan)).await
    }

    async fn start(&self, name: &InstanceName, input: &[u8]) -> Result<(), EngineError> {
        self.change("start", self.inner.start(name, input)).await
    }

    async fn stop(&self, name: &InstanceName, grace: Duration) -> Result<(), EngineError> {
        self.change("stop", self.inner.stop(name, grace)).await
    }

    async fn pause(&self, name: &InstanceName) -> Result<(), EngineError> {
        self.change("pause", self.inner.pause(name)).await
    }

    async fn resume(&self, name: &InstanceName) -> Result<(), EngineError> {
        self.change("resume", self.inner.resume(name)).await
    }

    async fn remove(&self, name: &InstanceName) -> Result<(), EngineError> {
        self.change("remove", self.inner.remove(name)).await
    }

    async fn last_words(&self, name: &InstanceName) -> Result<Option<String>, EngineError> {
        self.ask("last_words", self.inner.last_words(name)).await
    }

    async fn inspect(&self, name: &InstanceName) -> Result<Option<Found>, EngineError> {
        self.ask("inspect", self.inner.inspect(name)).await
    }

    async fn list(&self, labels: &[(String, String)]) -> Result<Vec<Found>, EngineError> {
        self.ask("list", self.inner.list(labels)).await
    }

    async fn written(
        &self,
        labels: &[(String, String)],
    ) -> Result<BTreeMap<InstanceName, u64>, EngineError> {
        self.ask("written", self.inner.written(labels)).await
    }

    async fn leftovers(&self, labels: &[(String, String)]) -> Result<Vec<Leftover>, EngineError> {
        self.ask("leftovers", self.inner.leftovers(labels)).await
    }

    async fn clear(&self, name: &InstanceName) -> Result<(), EngineError> {
        self.change("clear", self.inner.clear(name)).await
    }

    /// It has no end to be timed.
    fn watch(
        &self,
        labels: &[(String, String)],
        since: Timestamp,
    ) -> BoxStream<'static, EngineEvent> {
        self.inner.watch(labels, since)
    }

    async fn has_network(&self, name: &str) -> Result<bool, EngineError> {
        self.ask("has_network", self.inner.has_network(name)).await
    }

    async fn try_out(&self, trial: &Trial) -> Result<String, EngineError> {
        self.change("try_out", self.inner.try_out(trial)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{ScriptedEngine, Verb};
    use crate::telemetry::Telemetry;
    use crate::telemetry::meters::Meters;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn nothing_is_changed_while_it_is_not_certain_who_leads() {
        let (hold, renew) = Hold::uncertain();
        let scripted = ScriptedEngine::new();
        let engine = Attended::new(Arc::clone(&scripted) as Arc<dyn Engine>, Timed::default());
        let engine = engine.under(&hold);
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

    #[tokio::test]
    async fn what_the_engine_says_is_passed_on_and_counted() {
        let (scripted, telemetry) = (ScriptedEngine::new(), Telemetry::new(&Meters::default()));
        let engine = Attended::new(scripted.clone(), telemetry.metrics.engine.clone());
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
