//! The seam to whatever runs workers.
//!
//! [`Engine`] speaks in the domain's verbs. `docker` is the real one; `scripted` plays what a test
//! tells it; `leased` is any of them in the hands of a manager that acts only while it leads.
//! Nothing outside this folder assumes Docker: an *instance* is a container here, and may be a
//! process, a service or a pod elsewhere.

mod attended;
mod docker;
mod enclosure;
mod scripted;
mod types;

pub use attended::Attended;
pub use docker::{Builder, DockerEngine};
pub use enclosure::{ENCLOSURE_PREFIX, Enclosure, EnclosurePlan, GatewayPlan};
pub use scripted::{ScriptedEngine, Verb};
pub use types::{
    Begins, BuildError, BuildOrder, BuildStep, CacheMounts, CompanionPlan, Confinement, Disk, End,
    EngineError, EngineEvent, Found, HeldImage, HostDetails, HostFacts, ImageFacts, InstanceName,
    InstancePlan, InstanceState, Layer, Leftover, Memory, Names, Pruning, Quotas, SystemCalls,
    Trial, Writable,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// What a host can do for the manager. Every verb may be called again after a failure or a crash
/// and then goes on where it stood: the name of an instance is its identity.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Whether it does, at once.
    async fn answers(&self) -> Result<(), EngineError>;

    /// Which engine this is. Fails when it does not answer.
    async fn describe(&self) -> Result<HostFacts, EngineError>;

    /// What the base image `reference` is right now, as text that changes when it changes and is
    /// the same on every host that has this image, however it came there. Fetches it when the host
    /// does not have it.
    async fn base_identity(&self, reference: &str) -> Result<String, EngineError>;

    /// The image with this tag, if the host has it.
    async fn image(&self, tag: &str) -> Result<Option<ImageFacts>, EngineError>;

    /// Builds and tags an image; `progress` is called for each step and line. Dropping the future
    /// ends the build.
    async fn build(
        &self,
        order: BuildOrder,
        progress: &(dyn Fn(BuildStep) + Send + Sync),
    ) -> Result<ImageFacts, BuildError>;

    /// Takes a tag away, and the image with it when it was the last. One that is gone is fine; one
    /// that an instance uses is refused by the engine.
    async fn remove_image(&self, tag: &str) -> Result<(), EngineError>;

    /// Every tagged image whose labels include all of these.
    async fn images(&self, labels: &[(String, String)]) -> Result<Vec<HeldImage>, EngineError>;

    /// The disk that images are kept on; none, when it cannot be seen from here.
    async fn disk(&self) -> Result<Option<Disk>, EngineError>;

    /// The memory that instances share; none, when it cannot be seen from here.
    async fn memory(&self) -> Result<Option<Memory>, EngineError>;

    /// What builds left behind and nothing has used for so long, as far as the engine can tell that
    /// it is this project's: bytes. Not while a build runs.
    async fn prune_cache(&self, older_than: Duration, pruning: Pruning)
    -> Result<u64, EngineError>;

    /// Images as an archive that [`Engine::load_images`] takes, here or elsewhere.
    async fn save_images(
        &self,
        tags: &[String],
    ) -> Result<BoxStream<'static, Result<Bytes, EngineError>>, EngineError>;

    /// Takes the images of an archive, with their tags.
    async fn load_images(
        &self,
        archive: BoxStream<'static, Result<Bytes, std::io::Error>>,
    ) -> Result<(), EngineError>;

    /// Gives an image a second tag.
    async fn tag_image(&self, tag: &str, second: &str) -> Result<(), EngineError>;

    /// Makes sure that the network which leads outside is there.
    async fn ensure_network(&self, name: &str) -> Result<(), EngineError>;

    /// Makes the network of an instance, with the gateway on it. One that is there already is taken
    /// when it is such a network, and the gateway is put on it again.
    async fn enclose(&self, plan: &EnclosurePlan) -> Result<Enclosure, EngineError>;

    /// The network of an instance, if there is one.
    async fn enclosure(&self, of: &InstanceName) -> Result<Option<Enclosure>, EngineError>;

    /// Makes and starts the gateway, in place of the one that there is, with `input` on stdin, and
    /// puts it on every enclosure. Earlier images of it go.
    async fn open_gateway(&self, plan: &GatewayPlan, input: &[u8]) -> Result<(), EngineError>;

    /// Puts the gateway on every enclosure that it is not on.
    async fn join_enclosures(&self, plan: &GatewayPlan) -> Result<(), EngineError>;

    /// Makes an instance that does not run yet. One of the same name that is there already is
    /// taken as it is.
    async fn create(&self, plan: &InstancePlan) -> Result<(), EngineError>;

    /// Starts an instance, and gives its first process `input` on stdin, to the end. One that runs
    /// already is fine.
    async fn start(&self, name: &InstanceName, input: &[u8]) -> Result<(), EngineError>;

    /// Has all processes of an instance stand still. One that does so already is fine.
    async fn pause(&self, name: &InstanceName) -> Result<(), EngineError>;

    /// Lets the processes of a paused instance go on. One that does not stand still, or is gone, is
    /// fine.
    async fn resume(&self, name: &InstanceName) -> Result<(), EngineError>;

    /// Asks an instance to end, and kills it after `grace`. One that is gone is fine; one that is
    /// paused goes on, so that it can end in order.
    async fn stop(&self, name: &InstanceName, grace: Duration) -> Result<(), EngineError>;

    /// The last lines that an instance's first process has printed, 2 KiB at most; none, when there
    /// are none or the instance is gone.
    async fn last_words(&self, name: &InstanceName) -> Result<Option<String>, EngineError>;

    /// Removes an instance with everything that belongs to it alone, running or not. One that is
    /// gone is fine.
    async fn remove(&self, name: &InstanceName) -> Result<(), EngineError>;

    /// What is known about one instance, if it is there.
    async fn inspect(&self, name: &InstanceName) -> Result<Option<Found>, EngineError>;

    /// Every instance that carries all of these labels, running or not.
    async fn list(&self, labels: &[(String, String)]) -> Result<Vec<Found>, EngineError>;

    /// Bytes that each instance which carries all of these labels has written to the disk. The
    /// engine may take a while to add them up.
    async fn written(
        &self,
        labels: &[(String, String)],
    ) -> Result<BTreeMap<InstanceName, u64>, EngineError>;

    /// What is left of instances that carried all of these labels and are gone.
    async fn leftovers(&self, labels: &[(String, String)]) -> Result<Vec<Leftover>, EngineError>;

    /// Removes all that is left of an instance that is gone.
    async fn clear(&self, name: &InstanceName) -> Result<(), EngineError>;

    /// What happens to instances that carry these labels, from `since` on as far as the engine
    /// remembers it. The stream ends when the connection does; then list again, since an engine that
    /// was started anew remembers nothing.
    fn watch(
        &self,
        labels: &[(String, String)],
        since: Timestamp,
    ) -> BoxStream<'static, EngineEvent>;

    /// Whether there is a network of this name.
    async fn has_network(&self, name: &str) -> Result<bool, EngineError>;

    /// Runs a program to its end in an instance that belongs to no installation, and gives what it
    /// printed. Nothing is left of it.
    async fn try_out(&self, trial: &Trial) -> Result<String, EngineError>;
}
