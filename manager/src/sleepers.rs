//! Hears what arrives for workers that stand still, so that they go on within milliseconds.

use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc::{Sender, UnboundedReceiver};
use tokio_util::sync::CancellationToken;
use worker_protocol::WorkerId;

use crate::chain::chain;
use crate::driver::Event;
use crate::store::{Listener, Store, StoreError};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Who is listened for.
#[derive(Debug)]
pub(crate) enum Mind {
    /// This worker: what comes after this entry of its input.
    From(WorkerId, String),
    /// Not this one any more.
    NoMore(WorkerId),
}

/// Listens until `stop`.
pub(crate) async fn listen(
    store: Store,
    mut orders: UnboundedReceiver<Mind>,
    events: Sender<Event>,
    stop: CancellationToken,
) {
    let mut after = BTreeMap::new();
    let mut listener = None;
    let mut pause = FIRST_PAUSE;
    while !stop.is_cancelled() {
        let heard = tokio::select! {
            () = stop.cancelled() => return,
            order = orders.recv() => {
                let Some(order) = order else { return };
                obey(&mut after, order);
                listener = None; // It may be in the middle of an answer.
                continue;
            }
            heard = hear(&store, &mut listener, &after), if !after.is_empty() => heard,
        };
        match heard {
            Ok(called) => {
                pause = FIRST_PAUSE;
                for id in called {
                    after.remove(&id);
                    let _ = events.send(Event::Called(id)).await;
                }
            }
            Err(error) => {
                tracing::warn!(error = chain(&error), "cannot hear what paused workers are told");
                listener = None;
                let _ = stop.run_until_cancelled(tokio::time::sleep(pause)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

fn obey(after: &mut BTreeMap<WorkerId, String>, order: Mind) {
    match order {
        Mind::From(id, entry) => after.insert(id, entry),
        Mind::NoMore(id) => after.remove(&id),
    };
}

async fn hear(
    store: &Store,
    listener: &mut Option<Listener>,
    after: &BTreeMap<WorkerId, String>,
) -> Result<Vec<WorkerId>, StoreError> {
    let listener = match listener {
        Some(listener) => listener,
        none => none.insert(store.listener().await?),
    };
    listener.next(store, after).await
}
