//! Finding out how a worker ended.

use jiff::Timestamp;
use serde_json::json;
use std::time::Duration;
use worker_protocol::{Output, OutputKind, Problem, Source, WorkerId};

use super::{Hands, store_problem};
use crate::driver::Autopsy;
use crate::engine::{End, InstanceState};
use crate::store::StoreError;
use crate::world::Evidence;

/// None, when the instance runs after all.
pub(super) async fn autopsy(hands: &Hands, id: WorkerId) -> Result<Option<Autopsy>, Problem> {
    let found =
        hands.engine.inspect(&hands.name(id)).await.map_err(|error| Problem::from(&error))?;
    let end = match found.map(|found| found.state) {
        Some(InstanceState::Running) => return Ok(None),
        Some(InstanceState::Ended(end)) => Some(end),
        Some(InstanceState::Created) | None => None,
    };
    // What runs beside it has nobody to serve any more.
    let stopped = hands.engine.stop(&hands.name(id), Duration::ZERO).await;
    stopped.map_err(|error| Problem::from(&error))?;
    let evidence = evidence(hands, id, end).await.map_err(|error| store_problem(&error))?;
    Ok(Some(if end.is_some() { Autopsy::Ended(evidence) } else { Autopsy::Gone(evidence) }))
}

/// What is known about an end. A reader of the output is told of it, if the wrapper could not.
pub(super) async fn evidence(
    hands: &Hands,
    id: WorkerId,
    end: Option<End>,
) -> Result<Evidence, StoreError> {
    let pulse = hands.store.pulse(id).await?;
    let tail = hands.store.tail(id).await?;
    if !tail.has_exit {
        let exit = exit_in_its_place(end);
        hands.store.report_exit(id, tail.seq + 1, exit, Timestamp::now()).await?;
    }
    Ok(Evidence {
        exit_code: end.map(|end| end.code),
        oom_killed: tail.oom_killed || end.is_some_and(|end| end.oom_killed),
        limit: tail.limit,
        pulse,
        result: tail.result,
    })
}

fn exit_in_its_place(end: Option<End>) -> Output {
    let (text, data) = match end {
        Some(End { code, oom_killed, .. }) => {
            let why = if oom_killed && code != 0 { ": out of memory" } else { "" };
            (
                format!(
                    "the worker ended with exit code {code}{why}, before its wrapper could say so"
                ),
                json!({"code": code, "oom_killed": oom_killed}),
            )
        }
        None => ("the worker is gone".to_owned(), json!({})),
    };
    Output::new(OutputKind::Exit, Source::Manager, text).with_data(data)
}
