//! An engine that plays what a test tells it: instances live in memory, and a verb fails when it
//! was told to.

mod play;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

use super::{
    Disk, Enclosure, End, EngineError, Found, HeldImage, InstanceName, InstanceState, Memory,
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
    /// Removing an image.
    RemoveImage,
    /// Listing images.
    Images,
    /// Removing what builds left.
    Prune,
    /// Making the network of an instance.
    Enclose,
    /// Making and starting the gateway.
    OpenGateway,
    /// Making an instance.
    Create,
    /// Starting it.
    Start,
    /// Having it stand still.
    Pause,
    /// Letting it go on.
    Resume,
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
    image_of: BTreeMap<InstanceName, String>,
    images: BTreeMap<String, HeldImage>,
    disk: Option<Disk>,
    memory: Option<Memory>,
    cache: u64,
    failures: BTreeMap<Verb, VecDeque<EngineError>>,
    panics: BTreeSet<Verb>,
    held: BTreeSet<Verb>,
    calls: Vec<Verb>,
    dropped: Vec<Verb>,
    inputs: BTreeMap<InstanceName, Vec<u8>>,
    starts: BTreeMap<InstanceName, usize>,
    left: BTreeMap<InstanceName, BTreeMap<String, String>>,
    last_words: BTreeMap<InstanceName, String>,
    written: BTreeMap<InstanceName, u64>,
    enclosures: BTreeMap<InstanceName, Enclosure>,
    gateway: Option<Found>,
    printed_in_trials: String,
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

    /// What `verb` was told to fail with is forgotten.
    pub fn works_again(&self, verb: Verb) {
        self.state().failures.remove(&verb);
    }

    /// The next call of `verb` shows a defect.
    pub fn panic_next(&self, verb: Verb) {
        self.state().panics.insert(verb);
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

    /// Somebody takes an instance away, and leaves what belonged to it.
    pub fn lose_instance(&self, name: &InstanceName) {
        let mut state = self.state();
        if let Some(found) = state.instances.remove(name) {
            state.left.insert(name.clone(), found.labels);
        }
        state.image_of.remove(name);
    }

    /// An instance's first process prints this.
    pub fn print(&self, name: &InstanceName, text: &str) {
        self.state().last_words.insert(name.clone(), text.to_owned());
    }

    /// Programs that are tried out print this.
    pub fn print_in_trials(&self, text: &str) {
        self.state().printed_in_trials = text.to_owned();
    }

    /// The gateway ends by itself.
    pub fn end_gateway(&self) {
        if let Some(gateway) = &mut self.state().gateway {
            gateway.state = InstanceState::Ended(End { code: 1, oom_killed: false, at: None });
        }
    }

    /// Somebody puts an instance on another network too.
    pub fn put_on_network(&self, name: &InstanceName, network: &str) {
        if let Some(found) = self.state().instances.get_mut(name) {
            found.networks.insert(network.to_owned());
        }
    }

    /// Somebody writes another label on an instance.
    pub fn relabel(&self, name: &InstanceName, label: &str, value: &str) {
        if let Some(found) = self.state().instances.get_mut(name) {
            found.labels.insert(label.to_owned(), value.to_owned());
        }
    }

    /// Instances that are gone, and of which something is left.
    #[must_use]
    pub fn left(&self) -> Vec<InstanceName> {
        self.state().left.keys().cloned().collect()
    }

    /// An instance has written so many bytes.
    pub fn set_written(&self, name: &InstanceName, bytes: u64) {
        self.state().written.insert(name.clone(), bytes);
    }

    /// The disk is so full.
    pub fn set_disk(&self, disk: Disk) {
        self.state().disk = Some(disk);
    }

    /// So much memory is left.
    pub fn set_memory(&self, memory: Memory) {
        self.state().memory = Some(memory);
    }

    /// Builds left so many bytes.
    pub fn set_cache(&self, bytes: u64) {
        self.state().cache = bytes;
    }

    /// Tags of the images that there are.
    #[must_use]
    pub fn tags(&self) -> Vec<String> {
        self.state().images.keys().cloned().collect()
    }

    /// Somebody else removes an image.
    pub fn lose_image(&self, tag: &str) {
        self.state().images.remove(tag);
    }

    /// How often a verb was called.
    #[must_use]
    pub fn count(&self, verb: Verb) -> usize {
        self.state().calls.iter().filter(|call| **call == verb).count()
    }

    /// How many calls of a verb were held, and dropped by whoever had called.
    #[must_use]
    pub fn dropped(&self, verb: Verb) -> usize {
        self.state().dropped.iter().filter(|call| **call == verb).count()
    }

    /// The instances that there are.
    #[must_use]
    pub fn instances(&self) -> Vec<Found> {
        self.state().instances.values().cloned().collect()
    }

    /// How often an instance was started.
    #[must_use]
    pub fn starts(&self, name: &InstanceName) -> usize {
        self.state().starts.get(name).copied().unwrap_or_default()
    }

    /// What an instance was given on stdin when it was started last.
    #[must_use]
    pub fn input(&self, name: &InstanceName) -> Option<Vec<u8>> {
        self.state().inputs.get(name).cloned()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere has failed the test already.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the call, waits while it is held, and fails or panics when it was told to.
    async fn call(&self, verb: Verb) -> Result<(), EngineError> {
        self.state().calls.push(verb);
        let mut held = Held { engine: self, verb, until_then: true };
        while held.until_then {
            let changed = self.changed.notified();
            held.until_then = self.state().held.contains(&verb);
            if held.until_then {
                changed.await;
            }
        }
        let panics = self.state().panics.remove(&verb);
        assert!(!panics, "told to panic");
        let failure = self.state().failures.get_mut(&verb).and_then(VecDeque::pop_front);
        failure.map_or(Ok(()), Err)
    }
}

/// A call that may be dropped while it waits.
struct Held<'a> {
    engine: &'a ScriptedEngine,
    verb: Verb,
    until_then: bool,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if self.until_then {
            self.engine.state().dropped.push(self.verb);
        }
    }
}
