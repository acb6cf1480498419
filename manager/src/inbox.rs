//! Taking commands from Redis: what was taken and not finished first, then what is new.

use std::time::{Duration, Instant};
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;
use worker_protocol::{Command, Keys, WorkerId, parse_command};

use crate::chain::chain;
use crate::driver::{Arrival, Event};
use crate::failpoint::{Failpoint, pass};
use crate::store::{CommandReader, Delivered, Store, StoreError};

/// How often entries that another manager left are looked for.
const CLAIM_EVERY: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Whether Redis was lost before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Connection {
    First,
    Again,
}

/// Reads until it is told to stop. A lost connection is made anew, and what it may have swallowed
/// is read again: entries that are in work are known by their ids.
pub async fn run(store: Store, consumer: String, events: Sender<Event>, stop: CancellationToken) {
    let mut pause = FIRST_PAUSE;
    let mut connection = Connection::First;
    while !stop.is_cancelled() {
        let started = Instant::now();
        let Err(error) = read(&store, &consumer, &events, &stop, connection).await else { return };
        connection = Connection::Again;
        tracing::warn!(error = chain(&error), "reading commands was cut off; trying again");
        if started.elapsed() > LONGEST_PAUSE {
            pause = FIRST_PAUSE;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn read(
    store: &Store,
    consumer: &str,
    events: &Sender<Event>,
    stop: &CancellationToken,
    connection: Connection,
) -> Result<(), StoreError> {
    let mut reader = store.command_reader(consumer).await?;
    if connection == Connection::Again {
        let _ = events.send(Event::RedisReturned).await;
    }
    recover(store, &mut reader, events).await?;
    let mut claimed_at = Instant::now();
    while !stop.is_cancelled() {
        let entries = reader.next().await?;
        pass_on(store, entries, events).await?;
        if claimed_at.elapsed() > CLAIM_EVERY {
            claimed_at = Instant::now();
            let entries = reader.claim_abandoned().await?;
            pass_on(store, entries, events).await?;
            store.trim_commands().await?;
        }
    }
    Ok(())
}

async fn recover(
    store: &Store,
    reader: &mut CommandReader,
    events: &Sender<Event>,
) -> Result<(), StoreError> {
    let mut after = "0".to_owned();
    loop {
        let entries = reader.own_pending(&after).await?;
        let Some(last) = entries.last() else { break };
        after.clone_from(&last.id);
        pass_on(store, entries, events).await?;
    }
    let entries = reader.claim_abandoned().await?;
    pass_on(store, entries, events).await
}

async fn pass_on(
    store: &Store,
    entries: Vec<Delivered>,
    events: &Sender<Event>,
) -> Result<(), StoreError> {
    for entry in entries {
        if entry.fields.is_empty() {
            tracing::error!(entry = entry.id, "a command was trimmed away before it was read");
        }
        pass(Failpoint::EntryRead);
        let arrival = look_up(store, &entry).await?;
        pass(Failpoint::EntryLookedUp);
        if events.send(Event::Arrived(Box::new(arrival))).await.is_err() {
            break; // The manager ends; the entry stays pending.
        }
    }
    Ok(())
}

async fn look_up(store: &Store, entry: &Delivered) -> Result<Arrival, StoreError> {
    let (header, command) = parse_command(&entry.id, &entry.fields, store.keys());
    let worker_id = match &command {
        Ok(Command::Create(create)) => {
            Some(create.worker_id.unwrap_or_else(|| new_worker_id(store.keys(), &entry.id)))
        }
        Ok(other) => other.worker_id(),
        Err(_) => None,
    };
    let prior = store.prior(&header.request_id, &entry.id, worker_id).await?;
    Ok(Arrival { header, command, worker_id, prior })
}

/// The id of a worker whose `create` names none: the same, each time the entry is delivered, so
/// that a manager which was killed in between leaves no second worker.
fn new_worker_id(keys: &Keys, entry_id: &str) -> WorkerId {
    use sha2::{Digest, Sha256};
    let millis = entry_id.split('-').next().and_then(|ms| ms.parse().ok()).unwrap_or_default();
    let digest = Sha256::digest(format!("{}/{entry_id}", keys.commands()));
    let mut tail = [0; 10];
    tail.copy_from_slice(&digest[..10]);
    WorkerId::from_moment(millis, tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_names_the_same_worker_each_time_and_no_other() {
        let keys = Keys::new("worker").unwrap();
        let other = Keys::new("other").unwrap();
        let id = new_worker_id(&keys, "1700000000000-3");
        assert_eq!(id, new_worker_id(&keys, "1700000000000-3"));
        assert_ne!(id, new_worker_id(&keys, "1700000000000-4"));
        assert_ne!(id, new_worker_id(&other, "1700000000000-3"));
        assert!(id.to_string().starts_with("018bcfe5-6800-7"), "{id}");
    }
}
