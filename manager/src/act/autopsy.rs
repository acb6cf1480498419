//! Finding out how a worker ended.

use jiff::Timestamp;
use serde_json::json;
use std::time::Duration;
use worker_protocol::{Output, OutputKind, Problem, Source, WorkerId};

use super::{Hands, store_problem};
use crate::driver::Autopsy;
use crate::engine::{End, Found, InstanceState};
use crate::store::StoreError;
use crate::world::Evidence;

/// None, when the instance runs after all.
pub(super) async fn autopsy(hands: &Hands, id: WorkerId) -> Result<Option<Autopsy>, Problem> {
    let found =
        hands.engine.inspect(&hands.name(id)).await.map_err(|error| Problem::from(&error))?;
    if found.as_ref().is_some_and(|found| found.state.lives()) {
        return Ok(None);
    }
    // What runs beside it has nobody to serve any more.
    let stopped = hands.engine.stop(&hands.name(id), Duration::ZERO).await;
    stopped.map_err(|error| Problem::from(&error))?;
    let autopsy = look_back(hands, id, found.as_ref()).await;
    autopsy.map(Some).map_err(|error| store_problem(&error))
}

/// What is known about the end of an instance that does not run.
pub(super) async fn look_back(
    hands: &Hands,
    id: WorkerId,
    found: Option<&Found>,
) -> Result<Autopsy, StoreError> {
    let end = found.and_then(|found| match found.state {
        InstanceState::Ended(end) => Some(end),
        InstanceState::Created | InstanceState::Running | InstanceState::Paused => None,
    });
    let evidence = evidence(hands, id, end, found.and_then(|found| found.started_at)).await?;
    Ok(if end.is_some() { Autopsy::Ended(evidence) } else { Autopsy::Gone(evidence) })
}

/// What is known about an end. A reader of the output is told of it, if the wrapper could not.
pub(super) async fn evidence(
    hands: &Hands,
    id: WorkerId,
    end: Option<End>,
    started_at: Option<Timestamp>,
) -> Result<Evidence, StoreError> {
    let pulse = hands.store.pulse(id).await?;
    let tail = hands.store.tail(id, started_at).await?;
    let told = tail.exit;
    let mut last_output = tail.last_output;
    if told.is_none() {
        // What keeps a wrapper from Redis, it says where the engine keeps it.
        let said = hands.engine.last_words(&hands.name(id)).await.ok().flatten();
        let exit = exit_in_its_place(end, said.as_deref());
        last_output = last_output.or(said);
        hands.store.report_exit(id, tail.seq + 1, exit, Timestamp::now()).await?;
    }
    Ok(Evidence {
        exit_code: end.map(|end| end.code),
        oom_killed: told.as_ref().is_some_and(|exit| exit.oom_killed)
            || end.is_some_and(|end| end.oom_killed),
        limit: told.and_then(|exit| exit.limit),
        pulse,
        result: tail.result,
        last_output,
    })
}

fn exit_in_its_place(end: Option<End>, said: Option<&str>) -> Output {
    let (text, mut data) = match end {
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
    if let Some(said) = said {
        data["stderr"] = said.lines().collect();
    }
    Output::new(OutputKind::Exit, Source::Manager, text).with_data(data)
}
