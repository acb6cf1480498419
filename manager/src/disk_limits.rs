//! Limits of what a worker may write to the disk.
//!
//! Engines hold none for the volumes that workers write to. So it is looked at a slow pace who is
//! over his limit: a worker may be so for a while, and by as much as it writes meanwhile.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;
use worker_protocol::WorkerId;

use crate::act::Hands;
use crate::driver::Event;
use crate::engine::{EngineError, Found, InstanceName};
use crate::label;
use crate::telemetry::outage::Outage;

/// The engine walks through all volumes for it.
const EVERY: Duration = Duration::from_secs(20);

/// Looks until `stop`. Where nobody has such a limit, the engine is not asked.
pub(crate) async fn watch(hands: Hands, events: Sender<Event>, stop: CancellationToken) {
    let mut beat = tokio::time::interval(EVERY);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut outage = Outage::default();
    while stop.run_until_cancelled(beat.tick()).await.is_some() {
        let Some(seen) = stop.run_until_cancelled(look(&hands)).await else { return };
        match seen {
            Ok(over) => {
                outage.worked(Instant::now());
                if !over.is_empty() {
                    let _ = events.send(Event::OverDisk(over)).await;
                }
            }
            Err(error) => {
                if outage.failed(Instant::now()).is_some() {
                    tracing::warn!(%error, "cannot see what workers have written to the disk");
                }
            }
        }
    }
}

async fn look(hands: &Hands) -> Result<Vec<(WorkerId, u64)>, EngineError> {
    let own = hands.own();
    let limits = limits(hands.engine.list(&own).await?, hands.settings.limits.disk);
    if limits.is_empty() {
        return Ok(Vec::new());
    }
    Ok(over(limits, &hands.engine.written(&own).await?))
}

/// Of those that live: the limit of each that has one.
fn limits(found: Vec<Found>, usual: Option<u64>) -> BTreeMap<InstanceName, (WorkerId, u64)> {
    let living = found.into_iter().filter(|instance| instance.state.lives());
    let limit = |instance: Found| {
        let known = label::read(&instance.labels)?;
        Some((instance.name, (known.id, known.spec.limits.disk.or(usual)?)))
    };
    living.filter_map(limit).collect()
}

fn over(
    limits: BTreeMap<InstanceName, (WorkerId, u64)>,
    written: &BTreeMap<InstanceName, u64>,
) -> Vec<(WorkerId, u64)> {
    let is_over = |(name, (id, limit)): (InstanceName, (WorkerId, u64))| {
        (*written.get(&name)? > limit).then_some((id, limit))
    };
    limits.into_iter().filter_map(is_over).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_has_written_more_than_the_limit_is_over_it() {
        let name = |text: &str| InstanceName(text.to_owned());
        let id = |text: &str| WorkerId::parse(text).unwrap();
        let (one, two) = (
            id("01890000-0000-7000-8000-000000000001"),
            id("01890000-0000-7000-8000-000000000002"),
        );
        let limits = || [(name("w-1"), (one, 10)), (name("w-2"), (two, 10))].into();
        assert_eq!(over(limits(), &[(name("w-1"), 10)].into()), []);
        let written = [(name("w-1"), 9), (name("w-2"), 11), (name("w-3"), 99)].into();
        assert_eq!(over(limits(), &written), [(two, 10)]);
    }
}
