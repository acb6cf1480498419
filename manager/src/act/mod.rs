//! Doing what was decided: one verb, one file. What touches the engine has no opinions; how it
//! came out returns as an [`Outcome`].

mod admit;
mod autopsy;
mod boot;
mod build;
mod clear;
mod collect;
mod hurry;
mod launch;
mod passage;
mod pause;
mod remove;
mod resolve;
mod runtime;
mod start;
mod stop;
mod survey;
mod writable;

pub use admit::admit;
pub use build::build;
pub use clear::clear;
pub use collect::{images, prune_cache, remove_image, take_inventory};
pub use hurry::hurry;
pub use resolve::{in_advance, render};
pub use runtime::check_runtime;
pub(crate) use runtime::judge_runtime;
pub use survey::survey;

use std::sync::Arc;
use tokio::sync::OnceCell;
use tracing::Span;
use worker_protocol::{ErrorKind, Problem, WorkerId};

use crate::chain::chain;
use crate::config::Settings;
use crate::driver::{Order, Outcome};
use crate::engine::{Attended, Engine, EngineError, HostFacts, InstanceName};
use crate::gateway::Gateway;
use crate::image::{Catalogue, ImageWish};
use crate::label;
use crate::lease::Hold;
use crate::store::{Store, StoreError};
use crate::telemetry::Telemetry;
use crate::telemetry::spans::failed;

/// What every verb needs.
#[derive(Clone)]
pub struct Hands {
    /// The host.
    pub engine: Arc<dyn Engine>,
    /// Redis.
    pub store: Store,
    /// The templates.
    pub catalogue: Arc<Catalogue>,
    /// What the operator configured.
    pub settings: Arc<Settings>,
    /// What the manager shows of itself.
    pub telemetry: Arc<Telemetry>,
    /// How the gateway stands.
    pub(crate) gateway: Gateway,
    attended: Attended,
    /// About the host, once it was asked. It does not change under a running manager.
    host: Arc<OnceCell<HostFacts>>,
}

impl Hands {
    /// Takes hold of everything.
    #[must_use]
    pub fn new(
        engine: Arc<dyn Engine>,
        store: Store,
        catalogue: Catalogue,
        settings: Settings,
    ) -> Self {
        let (catalogue, settings) = (Arc::new(catalogue), Arc::new(settings));
        let telemetry = Arc::new(Telemetry::new(store.meters()));
        let attended = Attended::new(engine, telemetry.metrics.engine.clone());
        let engine = Arc::new(attended.clone());
        let (gateway, host) = (Gateway::default(), Arc::default());
        Self { engine, attended, store, catalogue, settings, telemetry, gateway, host }
    }

    /// The same, in the hands of a manager that acts only while it leads.
    pub(crate) fn under(&self, hold: &Hold) -> Self {
        let engine = Arc::new(self.attended.under(hold));
        let (store, gateway) = (self.store.fenced(hold.name()), Gateway::default());
        Self { engine, store, gateway, ..self.clone() }
    }

    async fn host(&self) -> Result<&HostFacts, EngineError> {
        self.host.get_or_try_init(|| self.engine.describe()).await
    }

    /// The label that marks this installation's instances.
    pub(crate) fn own(&self) -> Vec<(String, String)> {
        vec![(label::NAMESPACE.to_owned(), self.store.keys().namespace().to_owned())]
    }

    fn name(&self, id: WorkerId) -> InstanceName {
        InstanceName(self.store.keys().worker_name(id))
    }

    /// The worker whose instance has this name, or had it.
    pub(crate) fn worker_of(&self, name: &InstanceName) -> Option<WorkerId> {
        let rest = name.0.strip_prefix(self.store.keys().namespace())?.strip_prefix('-')?;
        WorkerId::parse(rest).ok()
    }
}

/// Takes one step for a worker.
pub async fn act(hands: &Hands, id: WorkerId, order: Order) -> Outcome {
    let outcome = take(hands, id, order).await;
    if let Some(problem) = outcome.problem() {
        failed(&Span::current(), problem.kind.as_str());
    }
    outcome
}

async fn take(hands: &Hands, id: WorkerId, order: Order) -> Outcome {
    match order {
        Order::Resolve(spec) => {
            Outcome::Resolved(resolve::resolve(hands, &ImageWish::from(&*spec)).await)
        }
        Order::Launch(launch) => Outcome::Launched(launch::launch(hands, id, *launch).await),
        Order::Start(spec) => Outcome::Started(start::start(hands, id, &spec).await),
        Order::Stop => Outcome::Stopped(stop::stop(hands, id).await),
        Order::Pause => Outcome::Napped(pause::pause(hands, id).await),
        Order::Resume => Outcome::Resumed(pause::resume(hands, id).await),
        Order::Autopsy => Outcome::Autopsied(autopsy::autopsy(hands, id).await),
        Order::Remove(force) => Outcome::Removed(remove::remove(hands, id, force).await),
    }
}

/// Redis did not do its part of a step.
fn store_problem(error: &StoreError) -> Problem {
    Problem::new(ErrorKind::Internal, chain(error))
}
