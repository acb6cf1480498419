//! Writing to Redis what the world decided: in order, all of it, however long Redis is away.
//!
//! Nothing else writes a reply. What is decided at one time becomes visible at one time, and a
//! command is acknowledged with its reply or after it, never before.
//!
//! Two things end a write besides its success: another manager that has taken over, whose word
//! counts now; and data that Redis will not change, which is put aside for an operator.

use jiff::Timestamp;
use serde_json::Map;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedReceiver;
use worker_protocol::{ErrorKind, Problem, Reply, WorkerId};

use crate::chain::chain;
use crate::driver::{Settled, Write};
use crate::failpoint::{Failpoint, pass};
use crate::lease::Hold;
use crate::store::{Batch, Store, StoreError};
use crate::telemetry::outage::Outage;

/// Pauses between tries while Redis is away.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Decisions that are written in one go when many wait: some hundred commands, a millisecond of
/// Redis' time.
const AT_ONCE: usize = 64;

/// Writes until the other end is closed and all is written, or the lease is lost.
///
/// The queue has no bound of its own: it holds what was decided about commands that were read, and
/// those are bounded by the inbox and by what Redis can deliver while it does not answer.
pub(crate) async fn run(store: Store, hold: Hold, mut queue: UnboundedReceiver<Vec<Write>>) {
    let mut outage = Outage::default();
    let mut decided = Vec::new();
    let lost = hold.lost();
    while lost.run_until_cancelled(queue.recv_many(&mut decided, AT_ONCE)).await.unwrap_or(0) > 0 {
        pass(Failpoint::WriteBegins);
        let writes: Vec<_> = decided.drain(..).flatten().collect();
        // A reply that tells of a record begins anew: what comes before has to be in it by then.
        for together in writes.chunk_by(|_, next| !matches!(next, Write::Tell(..))) {
            let mut pause = FIRST_PAUSE;
            while let Err(error) = write(&store, together).await {
                if let StoreError::Fenced { .. } = error {
                    tracing::warn!("{error}");
                    hold.lose();
                    return;
                }
                store.meters().waits(queue.len() + 1);
                if let Some(lasting) = outage.failed(Instant::now()) {
                    let (error, seconds) = (chain(&error), lasting.as_secs());
                    tracing::warn!(
                        error,
                        seconds,
                        "redis does not take what was decided; trying on"
                    );
                }
                if lost.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                    return;
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        pass(Failpoint::Written);
        store.meters().waits(queue.len());
        if let Some(lasting) = outage.worked(Instant::now()) {
            tracing::info!(seconds = lasting.as_secs(), "redis takes what was decided again");
        }
    }
}

/// Writes what becomes visible together.
async fn write(store: &Store, writes: &[Write]) -> Result<(), StoreError> {
    let now = Timestamp::now();
    let mut batch = store.batch();
    // Of each command in the batch, what it belongs to.
    let mut of = Vec::new();
    let mut told_of = None;
    for write in writes {
        if let Write::Tell(header, id, more) = write {
            let reply = match told(store, *id).await? {
                Ok(mut content) => {
                    content.extend(more.clone());
                    Reply::ok(header, now, content)
                }
                Err(problem) => Reply::failed(header, now, &problem, Map::new()),
            };
            batch.reply(header, &reply, Settled::Yes);
            told_of = Some((&header.command, reply));
        } else {
            add(&mut batch, write, now);
        }
        of.resize(batch.len(), write);
    }
    put(store, batch, &of, now).await?;
    if let Some((command, reply)) = told_of {
        store.meters().replied(command, &reply);
    }
    Ok(())
}

fn add(batch: &mut Batch<'_>, write: &Write, now: Timestamp) {
    match write {
        Write::Record(id, fields) => batch.record(*id, fields),
        Write::Farewell(id) => batch.farewell(*id),
        Write::Event(fields) => batch.event(fields),
        Write::Reply(header, reply, settled) => batch.reply(header, reply, *settled),
        Write::Dead(header, problem) => batch.dead(header, problem, now),
        Write::Acknowledge(entry) => batch.acknowledge(entry),
        Write::FirstPrompt(request, id, prompt) => {
            batch.put_in(request, *id, ["prompt", prompt.reveal()]);
        }
        Write::OverDisk(id, limit) => batch.over_disk(*id, *limit),
        Write::Interrupt(request, id) => batch.put_in(request, *id, ["type", "interrupt"]),
        Write::Touch(hash) => batch.touch(hash.as_str(), now),
        Write::ForgetImage(hash) => batch.forget_image(hash.as_str()),
        Write::Image(hash, fields) => batch.image(hash.as_str(), fields),
        Write::Tell(..) => {}
    }
}

/// Writes a batch. What Redis refuses for good holds up nothing that comes after it.
async fn put(
    store: &Store,
    batch: Batch<'_>,
    of: &[&Write],
    now: Timestamp,
) -> Result<(), StoreError> {
    let refused = batch.write().await?;
    if refused.is_empty() {
        return Ok(());
    }
    let mut aside = store.batch();
    for refused in refused {
        let what = of.get(refused.at).map_or("a write".to_owned(), |write| name(write));
        let message = format!("redis did not take {what}: {}", refused.reason);
        tracing::error!(message);
        aside.not_written(&Problem::new(ErrorKind::Internal, message), now);
    }
    // Where the stream of the dead is refused too, the log has to do.
    aside.write().await.map(drop)
}

async fn told(
    store: &Store,
    id: WorkerId,
) -> Result<Result<Map<String, serde_json::Value>, Problem>, StoreError> {
    match store.told(id).await {
        Err(error) if error.is_wrong_type() => {
            let key = store.keys().worker(id);
            let message =
                format!("the key `{key}` is not a hash: something else was written there");
            Ok(Err(Problem::new(ErrorKind::Internal, message)))
        }
        told => told,
    }
}

/// Which write it is, without what may be secret.
fn name(write: &Write) -> String {
    match write {
        Write::Record(id, _) | Write::Farewell(id) => format!("the record of {id}"),
        Write::Event(_) => "an event".to_owned(),
        Write::Reply(header, ..) | Write::Tell(header, ..) => {
            format!("the reply to {}", header.request_id)
        }
        Write::Dead(header, _) => format!("that {} is put aside", header.entry_id),
        Write::Acknowledge(entry) => format!("the acknowledgement of {entry}"),
        Write::FirstPrompt(_, id, _) => format!("the first prompt of {id}"),
        Write::Interrupt(_, id) => format!("the interrupt of {id}"),
        Write::OverDisk(id, _) => format!("the end of {id} for its disk"),
        Write::Touch(hash) | Write::ForgetImage(hash) | Write::Image(hash, _) => {
            format!("what is known of the image {hash}")
        }
    }
}
