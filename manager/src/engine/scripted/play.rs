//! What the scripted engine does of each verb.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use ipnet::Ipv4Net;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use super::{ScriptedEngine, Verb};
use crate::engine::{
    BuildError, BuildOrder, BuildStep, CacheMounts, Disk, ENCLOSURE_PREFIX, Enclosure,
    EnclosurePlan, Engine, EngineError, EngineEvent, Found, GatewayPlan, HeldImage, HostDetails,
    HostFacts, ImageFacts, InstanceName, InstancePlan, InstanceState, Layer, Leftover, Memory,
    Pruning, Trial,
};

/// Bytes of each image; half of them are shared by all.
const IMAGE_SIZE: u64 = 100;

#[async_trait]
impl Engine for ScriptedEngine {
    async fn answers(&self) -> Result<(), EngineError> {
        Ok(())
    }

    async fn describe(&self) -> Result<HostFacts, EngineError> {
        Ok(HostFacts {
            engine: "scripted".to_owned(),
            architecture: "amd64".to_owned(),
            cache_mounts: CacheMounts::No,
            runtimes: vec!["runc".to_owned()],
            details: HostDetails::default(),
        })
    }

    async fn base_identity(&self, reference: &str) -> Result<String, EngineError> {
        self.call(Verb::Base).await?;
        Ok(format!("identity of {reference}"))
    }

    async fn image(&self, tag: &str) -> Result<Option<ImageFacts>, EngineError> {
        self.call(Verb::Image).await?;
        let there = self.state().images.contains_key(tag);
        Ok(there.then(|| ImageFacts { id: tag.to_owned(), size: IMAGE_SIZE }))
    }

    async fn build(
        &self,
        order: BuildOrder,
        progress: &(dyn Fn(BuildStep) + Send + Sync),
    ) -> Result<ImageFacts, BuildError> {
        progress(BuildStep { step: 1, of: 1, line: "FROM nothing".to_owned() });
        self.call(Verb::Build).await?;
        self.state().images.insert(order.tag.clone(), built(&order));
        Ok(ImageFacts { id: order.tag, size: IMAGE_SIZE })
    }

    /// As an engine does: what an instance uses stays.
    async fn remove_image(&self, tag: &str) -> Result<(), EngineError> {
        self.call(Verb::RemoveImage).await?;
        let mut state = self.state();
        if state.image_of.values().any(|used| used == tag) {
            return Err(EngineError::Refused {
                verb: "remove",
                thing: format!("image {tag}"),
                reason: "an instance uses it".to_owned(),
            });
        }
        state.images.remove(tag);
        Ok(())
    }

    async fn images(&self, labels: &[(String, String)]) -> Result<Vec<HeldImage>, EngineError> {
        self.call(Verb::Images).await?;
        let state = self.state();
        let has = |image: &&HeldImage| labels.iter().all(|(k, v)| image.labels.get(k) == Some(v));
        let seen = |image: &HeldImage| HeldImage {
            used: state.image_of.values().any(|used| *used == image.tag),
            ..image.clone()
        };
        Ok(state.images.values().filter(has).map(seen).collect())
    }

    async fn disk(&self) -> Result<Option<Disk>, EngineError> {
        Ok(self.state().disk)
    }

    async fn memory(&self) -> Result<Option<Memory>, EngineError> {
        Ok(self.state().memory)
    }

    async fn prune_cache(
        &self,
        _older_than: Duration,
        pruning: Pruning,
    ) -> Result<u64, EngineError> {
        if pruning == Pruning::Remove {
            self.call(Verb::Prune).await?;
            return Ok(std::mem::take(&mut self.state().cache));
        }
        Ok(self.state().cache)
    }

    /// The archive holds nothing but the tags.
    async fn save_images(
        &self,
        tags: &[String],
    ) -> Result<BoxStream<'static, Result<Bytes, EngineError>>, EngineError> {
        let tags = tags.join("\n");
        Ok(stream::iter([Ok(Bytes::from(tags))]).boxed())
    }

    async fn load_images(
        &self,
        mut archive: BoxStream<'static, Result<Bytes, std::io::Error>>,
    ) -> Result<(), EngineError> {
        while archive.next().await.is_some() {}
        Ok(())
    }

    async fn tag_image(&self, tag: &str, second: &str) -> Result<(), EngineError> {
        let mut state = self.state();
        if let Some(image) = state.images.get(tag).cloned() {
            state.images.insert(second.to_owned(), HeldImage { tag: second.to_owned(), ..image });
        }
        Ok(())
    }

    async fn ensure_network(&self, _name: &str) -> Result<(), EngineError> {
        Ok(())
    }

    async fn enclose(&self, plan: &EnclosurePlan) -> Result<Enclosure, EngineError> {
        self.call(Verb::Enclose).await?;
        let mut state = self.state();
        let size = 1 << (32 - ENCLOSURE_PREFIX);
        let made = u32::try_from(state.enclosures.len()).unwrap_or_default();
        let address = Ipv4Addr::from_bits(plan.range.network().to_bits() + made * size);
        let enclosure = Enclosure {
            name: format!("{}-network", plan.of),
            subnet: Ipv4Net::new_assert(address, ENCLOSURE_PREFIX),
        };
        Ok(state.enclosures.entry(plan.of.clone()).or_insert(enclosure).clone())
    }

    async fn enclosure(&self, of: &InstanceName) -> Result<Option<Enclosure>, EngineError> {
        Ok(self.state().enclosures.get(of).cloned())
    }

    async fn open_gateway(&self, plan: &GatewayPlan, input: &[u8]) -> Result<(), EngineError> {
        self.call(Verb::OpenGateway).await?;
        let found = Found {
            state: InstanceState::Running,
            networks: [plan.network.clone()].into(),
            ..created(&plan.name, &plan.labels)
        };
        let mut state = self.state();
        state.inputs.insert(plan.name.clone(), input.to_vec());
        state.gateway = Some(found);
        Ok(())
    }

    async fn join_enclosures(&self, _plan: &GatewayPlan) -> Result<(), EngineError> {
        Ok(())
    }

    async fn create(&self, plan: &InstancePlan) -> Result<(), EngineError> {
        self.call(Verb::Create).await?;
        if !self.state().images.contains_key(&plan.image) {
            return Err(EngineError::NoImage { tag: plan.image.clone() });
        }
        let networks = [plan.enclosure.name.clone()].into();
        let found = Found { networks, ..created(&plan.name, &plan.labels) };
        let mut state = self.state();
        state.image_of.insert(plan.name.clone(), plan.image.clone());
        state.instances.entry(plan.name.clone()).or_insert(found);
        Ok(())
    }

    async fn start(&self, name: &InstanceName, input: &[u8]) -> Result<(), EngineError> {
        self.call(Verb::Start).await?;
        let mut state = self.state();
        state.inputs.insert(name.clone(), input.to_vec());
        *state.starts.entry(name.clone()).or_default() += 1;
        match state.instances.get_mut(name) {
            Some(found) => {
                found.state = InstanceState::Running;
                found.ip_address = Some("10.0.0.2".to_owned());
                found.started_at = Some(Timestamp::now());
                Ok(())
            }
            None => Err(EngineError::Refused {
                verb: "start",
                thing: name.to_string(),
                reason: "there is none".to_owned(),
            }),
        }
    }

    async fn pause(&self, name: &InstanceName) -> Result<(), EngineError> {
        self.call(Verb::Pause).await?;
        self.turn(name, &InstanceState::Running, InstanceState::Paused);
        Ok(())
    }

    async fn resume(&self, name: &InstanceName) -> Result<(), EngineError> {
        self.call(Verb::Resume).await?;
        self.turn(name, &InstanceState::Paused, InstanceState::Running);
        Ok(())
    }

    async fn stop(&self, name: &InstanceName, _grace: Duration) -> Result<(), EngineError> {
        self.call(Verb::Stop).await?;
        if self.inspect(name).await?.is_some_and(|found| found.state.lives()) {
            self.end(name, 0);
        }
        Ok(())
    }

    async fn last_words(&self, name: &InstanceName) -> Result<Option<String>, EngineError> {
        Ok(self.state().last_words.get(name).cloned())
    }

    async fn remove(&self, name: &InstanceName) -> Result<(), EngineError> {
        self.call(Verb::Remove).await?;
        let mut state = self.state();
        state.instances.remove(name);
        state.image_of.remove(name);
        state.left.remove(name);
        state.enclosures.remove(name);
        Ok(())
    }

    async fn inspect(&self, name: &InstanceName) -> Result<Option<Found>, EngineError> {
        let state = self.state();
        let gateway = state.gateway.as_ref().filter(|gateway| gateway.name == *name);
        Ok(gateway.or_else(|| state.instances.get(name)).cloned())
    }

    async fn list(&self, labels: &[(String, String)]) -> Result<Vec<Found>, EngineError> {
        self.call(Verb::List).await?;
        let has = |found: &Found| labels.iter().all(|(k, v)| found.labels.get(k) == Some(v));
        Ok(self.state().instances.values().filter(|found| has(found)).cloned().collect())
    }

    async fn written(
        &self,
        _labels: &[(String, String)],
    ) -> Result<BTreeMap<InstanceName, u64>, EngineError> {
        Ok(self.state().written.clone())
    }

    async fn leftovers(&self, labels: &[(String, String)]) -> Result<Vec<Leftover>, EngineError> {
        let state = self.state();
        let has = |own: &BTreeMap<_, _>| labels.iter().all(|(k, v)| own.get(k) == Some(v));
        let left = state.left.iter().filter(|(_, own)| has(own));
        let leftover = |(name, _): (&InstanceName, _)| Leftover {
            of: name.clone(),
            what: format!("volume {name}-home"),
        };
        Ok(left.map(leftover).collect())
    }

    async fn clear(&self, name: &InstanceName) -> Result<(), EngineError> {
        let mut state = self.state();
        state.left.remove(name);
        state.enclosures.remove(name);
        Ok(())
    }

    /// Says nothing: what a manager knows only by events, it would not know after a restart. A test
    /// that passes with this engine passes with a daemon that drops events.
    fn watch(
        &self,
        _labels: &[(String, String)],
        _since: Timestamp,
    ) -> BoxStream<'static, EngineEvent> {
        stream::pending().boxed()
    }

    async fn has_network(&self, _name: &str) -> Result<bool, EngineError> {
        Ok(true)
    }

    /// Its programs print what a test says.
    async fn try_out(&self, _trial: &Trial) -> Result<String, EngineError> {
        Ok(self.state().printed_in_trials.clone())
    }
}

impl ScriptedEngine {
    fn turn(&self, name: &InstanceName, from: &InstanceState, to: InstanceState) {
        if let Some(found) = self.state().instances.get_mut(name)
            && found.state == *from
        {
            found.state = to;
        }
    }
}

fn created(name: &InstanceName, labels: &BTreeMap<String, String>) -> Found {
    Found {
        name: name.clone(),
        labels: labels.clone(),
        state: InstanceState::Created,
        ip_address: None,
        networks: BTreeSet::new(),
        started_at: None,
    }
}

fn built(order: &BuildOrder) -> HeldImage {
    let layer = |id: &str| Layer { id: id.to_owned(), size: IMAGE_SIZE / 2 };
    HeldImage {
        tag: order.tag.clone(),
        labels: order.labels.clone(),
        size: IMAGE_SIZE,
        created_at: None,
        used: false,
        layers: vec![layer("base"), layer(&order.tag)],
    }
}
