//! Writing to Redis what the world decided: in order, all of it, however long Redis is away.
//!
//! Nothing else writes a reply. What is decided at one time becomes visible at one time, and a
//! command is acknowledged with its reply or after it, never before.

use jiff::Timestamp;
use serde_json::Map;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use worker_protocol::Reply;

use crate::chain::chain;
use crate::driver::{Settled, Write};
use crate::failpoint::{Failpoint, pass};
use crate::store::{Store, StoreError};

/// Pauses between tries while Redis is away.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Writes until the other end is closed and all is written.
///
/// The queue has no bound of its own: it holds what was decided about commands that were read, and
/// those are bounded by the inbox and by what Redis can deliver while it does not answer.
pub async fn run(store: Store, mut queue: UnboundedReceiver<Vec<Write>>) {
    while let Some(writes) = queue.recv().await {
        let mut pause = FIRST_PAUSE;
        pass(Failpoint::WriteBegins);
        while let Err(error) = write(&store, &writes).await {
            tracing::warn!(
                error = chain(&error),
                "redis did not take what was decided; trying again"
            );
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        pass(Failpoint::Written);
    }
}

async fn write(store: &Store, writes: &[Write]) -> Result<(), StoreError> {
    let now = Timestamp::now();
    let mut batch = store.batch();
    for write in writes {
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
            Write::Interrupt(request, id) => batch.put_in(request, *id, ["type", "interrupt"]),
            Write::Touch(hash) => batch.touch(hash.as_str(), now),
            Write::ForgetImage(hash) => batch.forget_image(hash.as_str()),
            Write::Image(hash, fields) => batch.image(hash.as_str(), fields),
            Write::Tell(header, id) => {
                // What comes before in this batch counts: it has to be in the record by then.
                batch.write().await?;
                batch = store.batch();
                let reply = match store.told(*id).await? {
                    Ok(content) => Reply::ok(header, now, content),
                    Err(problem) => Reply::failed(header, now, &problem, Map::new()),
                };
                batch.reply(header, &reply, Settled::Yes);
            }
        }
    }
    batch.write().await
}
