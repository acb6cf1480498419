//! Letting a worker pass the gateway, and its agent know of it.

use worker_protocol::boot::Again;
use worker_protocol::{Create, Problem, WorkerId};

use super::{Hands, store_problem};
use crate::engine::Enclosure;
use crate::label::Known;
use crate::passage::{Grant, Surroundings};

/// From now on the gateway lets a worker pass, as far as its wish goes.
pub(super) async fn open_passage(
    hands: &Hands,
    known: &Known,
    enclosure: &Enclosure,
) -> Result<(), Problem> {
    write(hands, known, enclosure, grant(hands, &known.spec)?).await
}

/// The same for one that runs. Where the operator has changed his mind meanwhile, it stays, and
/// passes nowhere.
pub(super) async fn open_again(
    hands: &Hands,
    known: &Known,
    enclosure: &Enclosure,
) -> Result<(), Problem> {
    let grant = grant(hands, &known.spec).unwrap_or_else(|problem| {
        let why = problem.message;
        tracing::warn!(worker = %known.id, why, "from now on this worker reaches nothing");
        Grant::default()
    });
    write(hands, known, enclosure, grant).await
}

async fn write(
    hands: &Hands,
    known: &Known,
    enclosure: &Enclosure,
    grant: Grant,
) -> Result<(), Problem> {
    let token = known.token.clone().map(|token| token.0).unwrap_or_default();
    let max_cost_usd = known.spec.limits.max_cost_usd.or(hands.settings.limits.max_cost_usd);
    let passage = grant.passage(known.id, token, max_cost_usd);
    let opened = hands.store.open_passage(enclosure.address(), &passage).await;
    opened.map_err(|error| store_problem(&error))
}

/// From now on the gateway lets a worker pass nowhere. One without a network has no passage.
pub(super) async fn close_passage(hands: &Hands, id: WorkerId) -> Result<(), Problem> {
    let enclosure = hands.engine.enclosure(&hands.name(id)).await;
    let Some(enclosure) = enclosure.map_err(|error| Problem::from(&error))? else { return Ok(()) };
    let closed = hands.store.close_passage(enclosure.address()).await;
    closed.map_err(|error| store_problem(&error))
}

/// What the operator gives to a worker, as it is configured now.
pub(super) fn surroundings(
    hands: &Hands,
    spec: &Create,
    enclosure: &Enclosure,
) -> Result<Surroundings, Problem> {
    Ok(grant(hands, spec)?.surroundings(enclosure.gateway().into()))
}

/// What the wrapper of a worker that ran before is told.
pub(super) fn again(hands: &Hands, spec: &Create, enclosure: &Enclosure) -> Result<Again, Problem> {
    let Surroundings { env, tokens } = surroundings(hands, spec, enclosure)?;
    Ok(Again { env, tokens })
}

fn grant(hands: &Hands, spec: &Create) -> Result<Grant, Problem> {
    hands.settings.terms.grant(spec, hands.catalogue.agent(spec.agent_type)?)
}
