//! The network of a worker, and what the gateway lets pass from there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use worker_link::Address;
use worker_protocol::gateway::{REDIS_PORT, Reach};
use worker_protocol::{Create, Problem, WorkerId};

use super::launch::failed;
use super::{Hands, store_problem};
use crate::engine::{Enclosure, EnclosurePlan, InstanceName};
use crate::passage::Grant;
use crate::store::Admission;

/// The network of a worker, with the gateway on it; also of one that ran before.
pub(super) async fn enclose(hands: &Hands, id: WorkerId) -> Result<Enclosure, Problem> {
    hands.gateway.open().await?;
    let plan = EnclosurePlan {
        of: hands.name(id),
        gateway: InstanceName(hands.settings.keys.gateway_name()),
        labels: hands.own().into_iter().collect(),
        range: hands.settings.worker_subnets,
    };
    hands.engine.enclose(&plan).await.map_err(|error| Problem::from(&error))
}

/// Where a worker finds Redis: at the gateway. TLS and the like are the gateway's matter.
pub(super) fn redis_url(hands: &Hands, enclosure: &Enclosure) -> String {
    let address = Address::parse(&hands.settings.workers_redis_url);
    let database = address.map(|address| address.database).unwrap_or_default();
    format!("redis://{}:{REDIS_PORT}/{database}", enclosure.gateway())
}

/// From now on the gateway lets a worker pass.
pub(super) async fn open_passage(
    hands: &Hands,
    id: WorkerId,
    spec: &Create,
    token: Option<&Admission>,
    enclosure: &Enclosure,
) -> Result<(), Problem> {
    let agent = hands.catalogue.agent(spec.agent_type)?;
    // What the operator does not allow any more is closed, and the way to Redis stays.
    let grant = hands.settings.terms.grant(spec, agent).unwrap_or_else(|problem| {
        tracing::warn!(worker = %id, %problem, "the worker reaches nothing but redis from now on");
        Grant { reach: Reach::Hosts(BTreeSet::new()), models: Vec::new(), handed: BTreeMap::new() }
    });
    let limits = &hands.settings.limits;
    let token = token.map(|token| token.0.clone()).unwrap_or_default();
    let passage = grant.passage(id, token, spec.limits.max_cost_usd.or(limits.max_cost_usd));
    let opened = hands.store.open_passage(enclosure.address(), &passage).await;
    opened.map_err(|error| store_problem(&error))
}

/// A worker that is on any other network than its own does not stay: not for a moment longer than
/// it takes to see that.
pub(super) async fn verify(
    hands: &Hands,
    name: &InstanceName,
    enclosure: &Enclosure,
) -> Result<(), Problem> {
    let found = hands.engine.inspect(name).await.map_err(|error| Problem::from(&error))?;
    // One that is gone, or has ended, is for others to judge.
    let Some(found) = found.filter(|found| found.state.lives()) else { return Ok(()) };
    let own = [enclosure.name.clone()].into();
    if found.networks == own {
        return Ok(());
    }
    let stopped = hands.engine.stop(name, Duration::ZERO).await;
    stopped.map_err(|error| Problem::from(&error))?;
    let all: Vec<_> = found.networks.into_iter().collect();
    Err(failed(format!(
        "it was stopped at once: it was on the networks {}, and only {} is its own",
        all.join(", "),
        enclosure.name
    )))
}

/// From now on the gateway lets a worker pass nowhere. One without a network has no passage.
pub(super) async fn close_passage(hands: &Hands, id: WorkerId) -> Result<(), Problem> {
    let enclosure = hands.engine.enclosure(&hands.name(id)).await;
    let Some(enclosure) = enclosure.map_err(|error| Problem::from(&error))? else { return Ok(()) };
    let closed = hands.store.close_passage(enclosure.address()).await;
    closed.map_err(|error| store_problem(&error))
}
