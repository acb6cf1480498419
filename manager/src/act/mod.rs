//! Doing what was decided: one verb, one file. What touches the engine has no opinions; how it
//! came out returns as an [`Outcome`].

mod autopsy;
mod build;
mod launch;
mod remove;
mod resolve;

pub use build::build;

use std::sync::Arc;
use worker_protocol::WorkerId;

use crate::config::Settings;
use crate::driver::{Order, Outcome};
use crate::engine::{Engine, InstanceName};
use crate::image::Catalogue;
use crate::store::Store;

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
}

impl Hands {
    fn name(&self, id: WorkerId) -> InstanceName {
        InstanceName(self.store.keys().worker_name(id))
    }
}

/// Takes one step for a worker.
pub async fn act(hands: &Hands, id: WorkerId, order: Order) -> Outcome {
    match order {
        Order::Resolve(spec) => Outcome::Resolved(resolve::resolve(hands, &spec).await),
        Order::Launch(launch) => Outcome::Launched(launch::launch(hands, id, *launch).await),
        Order::Autopsy => Outcome::Autopsied(autopsy::autopsy(hands, id).await),
        Order::Remove(force) => Outcome::Removed(remove::remove(hands, id, force).await),
    }
}
