//! An engine that plays what a test tells it: instances live in memory, and a verb fails when it
//! was told to.

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

use super::{
    BuildError, BuildOrder, BuildStep, End, Engine, EngineError, EngineEvent, Found, HostFacts,
    ImageFacts, InstanceName, InstancePlan, InstanceState,
};

/// The verbs that can be made to fail or to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// Fetching or looking at the base image.
    Base,
    /// Looking for an image.
    Image,
    /// Building.
    Build,
    /// Making an instance.
    Create,
    /// Starting it.
    Start,
    /// Stopping it.
    Stop,
    /// Removing it.
    Remove,
    /// Listing.
    List,
}

/// See the module.
#[derive(Default)]
pub struct ScriptedEngine {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    instances: BTreeMap<InstanceName, Found>,
    images: BTreeSet<String>,
    failures: BTreeMap<Verb, VecDeque<EngineError>>,
    held: BTreeSet<Verb>,
    calls: Vec<Verb>,
    inputs: BTreeMap<InstanceName, Vec<u8>>,
}

impl ScriptedEngine {
    /// An engine with nothing on it.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The next call of `verb` fails so; what is told twice fails twice.
    pub fn fail_next(&self, verb: Verb, error: EngineError) {
        self.state().failures.entry(verb).or_default().push_back(error);
    }

    /// Calls of `verb` wait until they are let go.
    pub fn hold(&self, verb: Verb) {
        self.state().held.insert(verb);
    }

    /// Lets calls of `verb` go on.
    pub fn let_go(&self, verb: Verb) {
        self.state().held.remove(&verb);
        self.changed.notify_waiters();
    }

    /// An instance ends by itself.
    pub fn end(&self, name: &InstanceName, code: i64) {
        if let Some(found) = self.state().instances.get_mut(name) {
            found.state = InstanceState::Ended(End { code, oom_killed: false, at: None });
        }
    }

    /// How often a verb was called.
    #[must_use]
    pub fn count(&self, verb: Verb) -> usize {
        self.state().calls.iter().filter(|call| **call == verb).count()
    }

    /// The instances that there are.
    #[must_use]
    pub fn instances(&self) -> Vec<Found> {
        self.state().instances.values().cloned().collect()
    }

    /// What an instance was given on stdin when it was started.
    #[must_use]
    pub fn input(&self, name: &InstanceName) -> Option<Vec<u8>> {
        self.state().inputs.get(name).cloned()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere has failed the test already.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the call, waits while it is held, and fails when it was told to.
    async fn call(&self, verb: Verb) -> Result<(), EngineError> {
        self.state().calls.push(verb);
        loop {
            let changed = self.changed.notified();
            if !self.state().held.contains(&verb) {
                break;
            }
            changed.await;
        }
        let failure = self.state().failures.get_mut(&verb).and_then(VecDeque::pop_front);
        failure.map_or(Ok(()), Err)
    }
}

#[async_trait]
impl Engine for ScriptedEngine {
    async fn describe(&self) -> Result<HostFacts, EngineError> {
        Ok(HostFacts { engine: "scripted".to_owned(), architecture: "amd64".to_owned() })
    }

    async fn base_identity(&self, reference: &str) -> Result<String, EngineError> {
        self.call(Verb::Base).await?;
        Ok(format!("identity of {reference}"))
    }

    async fn image(&self, tag: &str) -> Result<Option<ImageFacts>, EngineError> {
        self.call(Verb::Image).await?;
        let there = self.state().images.contains(tag);
        Ok(there.then(|| ImageFacts { id: tag.to_owned(), size: 1 }))
    }

    async fn build(
        &self,
        order: BuildOrder,
        progress: &(dyn Fn(BuildStep) + Send + Sync),
    ) -> Result<ImageFacts, BuildError> {
        progress(BuildStep { step: 1, of: 1, line: "FROM nothing".to_owned() });
        self.call(Verb::Build).await?;
        self.state().images.insert(order.tag.clone());
        Ok(ImageFacts { id: order.tag, size: 1 })
    }

    async fn remove_image(&self, tag: &str) -> Result<(), EngineError> {
        self.state().images.remove(tag);
        Ok(())
    }

    async fn ensure_network(&self, _name: &str) -> Result<(), EngineError> {
        Ok(())
    }

    async fn create(&self, plan: &InstancePlan) -> Result<(), EngineError> {
        self.call(Verb::Create).await?;
        let found = Found {
            name: plan.name.clone(),
            labels: plan.labels.clone(),
            state: InstanceState::Created,
            ip_address: None,
            started_at: None,
        };
        self.state().instances.entry(plan.name.clone()).or_insert(found);
        Ok(())
    }

    async fn start(&self, name: &InstanceName, input: &[u8]) -> Result<(), EngineError> {
        self.call(Verb::Start).await?;
        let mut state = self.state();
        state.inputs.insert(name.clone(), input.to_vec());
        match state.instances.get_mut(name) {
            Some(found) => {
                found.state = InstanceState::Running;
                found.ip_address = Some("10.0.0.2".to_owned());
                found.started_at = Some(Timestamp::UNIX_EPOCH);
                Ok(())
            }
            None => Err(EngineError::Refused {
                verb: "start",
                thing: name.to_string(),
                reason: "there is none".to_owned(),
            }),
        }
    }

    async fn stop(&self, name: &InstanceName, _grace: Duration) -> Result<(), EngineError> {
        self.call(Verb::Stop).await?;
        let running = self.inspect(name).await?.map(|found| found.state);
        if running == Some(InstanceState::Running) {
            self.end(name, 0);
        }
        Ok(())
    }

    async fn remove(&self, name: &InstanceName) -> Result<(), EngineError> {
        self.call(Verb::Remove).await?;
        self.state().instances.remove(name);
        Ok(())
    }

    async fn inspect(&self, name: &InstanceName) -> Result<Option<Found>, EngineError> {
        Ok(self.state().instances.get(name).cloned())
    }

    async fn list(&self, labels: &[(String, String)]) -> Result<Vec<Found>, EngineError> {
        self.call(Verb::List).await?;
        let has = |found: &Found| labels.iter().all(|(k, v)| found.labels.get(k) == Some(v));
        Ok(self.state().instances.values().filter(|found| has(found)).cloned().collect())
    }

    /// Says nothing: what a manager knows only by events, it would not know after a restart. A test
    /// that passes with this engine passes with a daemon that drops events.
    fn watch(&self, _labels: &[(String, String)]) -> BoxStream<'static, EngineEvent> {
        stream::pending().boxed()
    }
}
