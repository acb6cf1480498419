//! Having a worker stand still, and letting it go on.
//!
//! A prompt may come at the very moment of the pause. So it is looked again when the worker stands
//! still: one that has taken something since the first look, or has something before it, goes on.
//! What comes later than that second look is heard by [`crate::sleepers`], which listens from the
//! entry on that the worker had taken by then.

use worker_protocol::{Problem, Pulse, WorkerId};

use super::{Hands, store_problem};
use crate::driver::Nap;
use crate::engine::InstanceState;
use crate::store::Intake;

/// May be done again after a failure or a crash: one that stands still already is looked at only.
pub(super) async fn pause(hands: &Hands, id: WorkerId) -> Result<Nap, Problem> {
    let name = hands.name(id);
    let found = hands.engine.inspect(&name).await.map_err(|error| Problem::from(&error))?;
    let before = match found.map(|found| found.state) {
        Some(InstanceState::Running) => {
            let intake = intake(hands, id).await?;
            let idle = pulse(hands, id).await?.is_some_and(|pulse| pulse.idle);
            let Some(intake) = intake.filter(|intake| idle && intake.is_done()) else {
                return Ok(Nap::Awake);
            };
            hands.engine.pause(&name).await.map_err(|error| Problem::from(&error))?;
            Some(intake)
        }
        Some(InstanceState::Paused) => None,
        _ => return Ok(Nap::Awake), // The next look shows it.
    };
    let nap = look_again(hands, id, before).await;
    if !matches!(nap, Ok(Nap::Asleep { .. })) {
        hands.engine.resume(&name).await.map_err(|error| Problem::from(&error))?;
    }
    nap
}

/// Whether it can stay as it is. Its sign of life is kept, so that `status` can tell it.
async fn look_again(hands: &Hands, id: WorkerId, before: Option<Intake>) -> Result<Nap, Problem> {
    let now = intake(hands, id).await?;
    let unchanged = |now: &Intake| before.as_ref().is_none_or(|before| before.last == now.last);
    let Some(now) = now.filter(|now| now.is_done() && unchanged(now)) else {
        return Ok(Nap::Awake);
    };
    hands.store.keep_pulse(id).await.map_err(|error| store_problem(&error))?;
    let pulse = pulse(hands, id).await?;
    let wake_at = pulse.and_then(|pulse| pulse.lives_until?.parse().ok());
    Ok(Nap::Asleep { after: now.last, wake_at })
}

/// May be done again.
pub(super) async fn resume(hands: &Hands, id: WorkerId) -> Result<(), Problem> {
    let resumed = hands.engine.resume(&hands.name(id)).await;
    resumed.map_err(|error| Problem::from(&error))
}

async fn intake(hands: &Hands, id: WorkerId) -> Result<Option<Intake>, Problem> {
    hands.store.intake(id).await.map_err(|error| store_problem(&error))
}

async fn pulse(hands: &Hands, id: WorkerId) -> Result<Option<Pulse>, Problem> {
    hands.store.pulse(id).await.map_err(|error| store_problem(&error))
}
