//! Taking commands from Redis: what was taken and not finished first, then what is new.

mod proof;

use jiff::Timestamp;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use worker_protocol::{Command, ErrorKind, Header, Keys, Problem, RequestName, WorkerId};

use self::proof::{Parsed, accept};
use crate::caller::Callers;
use crate::chain::chain;
use crate::driver::{Arrival, Event, Prior};
use crate::failpoint::{Failpoint, pass};
use crate::store::{Asked, CommandReader, Delivered, Store, StoreError};
use crate::telemetry::outage::Outage;

/// How often entries are looked for that another reader has taken: a manager that lost the lease
/// while it waited for commands takes what comes next, and leaves it.
const CLAIM_EVERY: Duration = Duration::from_secs(1);
/// How often the stream is trimmed.
const TRIM_EVERY: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Whether Redis was lost before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Connection {
    First,
    Again,
}

/// The way of commands from Redis to the loop.
pub(crate) struct Inbox {
    store: Store,
    callers: Callers,
    consumer: String,
    events: Sender<Event>,
    /// How many arrivals the loop has handled.
    handled: watch::Receiver<u64>,
    /// How many it was sent.
    sent: u64,
    /// Entries that are counted as begun with.
    begun: Vec<String>,
    most_tries: u64,
}

impl Inbox {
    /// `consumer` is a name that no other reader has. An entry that was begun with `most_tries`
    /// times, and not come to an end with, is given up.
    pub(crate) fn new(
        store: Store,
        callers: Callers,
        consumer: &str,
        most_tries: u64,
        events: Sender<Event>,
        handled: watch::Receiver<u64>,
    ) -> Self {
        let consumer = consumer.to_owned();
        Self { store, callers, consumer, events, handled, sent: 0, begun: Vec::new(), most_tries }
    }

    /// Reads until it is told to stop. A lost connection is made anew, and what it may have
    /// swallowed is read again: entries that are in work are known by their ids.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut pause = FIRST_PAUSE;
        let mut connection = Connection::First;
        let mut outage = Outage::default();
        while !stop.is_cancelled() {
            let started = Instant::now();
            let Err(error) = self.read(&stop, connection, &mut outage).await else { break };
            connection = Connection::Again;
            if let Some(lasting) = outage.failed(Instant::now()) {
                let (error, seconds) = (chain(&error), lasting.as_secs());
                tracing::warn!(error, seconds, "commands cannot be read from redis; trying on");
            }
            if started.elapsed() > LONGEST_PAUSE {
                pause = FIRST_PAUSE;
            }
            let _ = stop.run_until_cancelled(tokio::time::sleep(pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        if stop.is_cancelled() {
            // What was not handled by then goes to the next manager, and is not to blame for it.
            let _ = self.store.forget_tries(&self.begun).await;
        }
    }

    async fn read(
        &mut self,
        stop: &CancellationToken,
        connection: Connection,
        outage: &mut Outage,
    ) -> Result<(), StoreError> {
        let mut reader = self.store.command_reader(&self.consumer).await?;
        if connection == Connection::Again {
            let _ = self.events.send(Event::RedisReturned).await;
        }
        self.settle().await?;
        self.recover(&mut reader, stop).await?;
        if let Some(lasting) = outage.worked(Instant::now()) {
            tracing::info!(seconds = lasting.as_secs(), "commands are read from redis again");
        }
        let mut claimed_at = Instant::now();
        let mut trimmed_at = Instant::now();
        // Whoever stops waiting for an entry leaves it to the next manager, which looks for such.
        while let Some(entries) = stop.run_until_cancelled(reader.next()).await {
            let new = entries?;
            self.hand_over(&new, &vec![0; new.len()]).await?;
            if claimed_at.elapsed() > CLAIM_EVERY {
                claimed_at = Instant::now();
                let entries = reader.claim_from_others().await?;
                self.take_up(entries, stop).await?;
            }
            if trimmed_at.elapsed() > TRIM_EVERY {
                trimmed_at = Instant::now();
                self.store.trim_commands().await?;
            }
        }
        Ok(())
    }

    /// All that was taken and not finished, by whomever: the lease says that nobody works on it.
    async fn recover(
        &mut self,
        reader: &mut CommandReader,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        let mut cursor = Some(CommandReader::BEGINNING.to_owned());
        while let Some(from) = cursor.take().filter(|_| !stop.is_cancelled()) {
            let (entries, next) = reader.claim_all(&from).await?;
            self.take_up(entries, stop).await?;
            cursor = next;
        }
        Ok(())
    }

    /// Those that may have been begun with before. Where one is among them that was, one after the
    /// other: what comes after an entry that ends the manager has no part in it.
    async fn take_up(
        &mut self,
        entries: Vec<Delivered>,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        let ids: Vec<_> = entries.iter().map(|entry| entry.id.as_str()).collect();
        let tries = self.store.tries(&ids).await?;
        let suspicious = tries.iter().any(|tries| *tries > 0);
        let together = if suspicious { 1 } else { entries.len().max(1) };
        for (entries, tries) in entries.chunks(together).zip(tries.chunks(together)) {
            if stop.is_cancelled() {
                break;
            }
            self.hand_over(entries, tries).await?;
        }
        Ok(())
    }

    async fn hand_over(&mut self, entries: &[Delivered], tries: &[u64]) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        let ids: Vec<_> = entries.iter().map(|entry| entry.id.as_str()).collect();
        self.begun.extend(ids.iter().map(|id| (*id).to_owned()));
        self.store.count_tries(&ids).await?;
        for entry in entries.iter().filter(|entry| entry.fields.is_empty()) {
            tracing::error!(entry = entry.id, "a command was trimmed away before it was read");
        }
        pass(Failpoint::EntryRead);
        let arrivals = self.look_up(entries, tries).await?;
        pass(Failpoint::EntryLookedUp);
        for arrival in arrivals {
            if self.events.send(Event::Arrived(Box::new(arrival))).await.is_err() {
                return Ok(()); // The manager ends; the entry stays pending.
            }
            self.sent += 1;
        }
        self.settle().await
    }

    /// What the entries say, with what Redis remembers of it.
    async fn look_up(
        &self,
        entries: &[Delivered],
        tries: &[u64],
    ) -> Result<Vec<Arrival>, StoreError> {
        let (keys, now) = (self.store.keys(), Timestamp::now());
        let read = |entry| Parsed::read(&self.callers, keys, entry, now);
        let parsed: Vec<_> = entries.iter().map(read).collect();
        let requests: Vec<RequestName> = parsed.iter().map(|one| one.header.request()).collect();
        let asked = entries.iter().zip(&parsed).zip(&requests).map(|((entry, one), request)| {
            let worker = subject(keys, &entry.id, &one.command);
            Asked { request, entry_id: &entry.id, worker }
        });
        let asked: Vec<_> = asked.collect();
        let priors = self.store.priors(&asked).await?;
        let workers: Vec<_> = asked.into_iter().map(|asked| asked.worker).collect();
        let parsed = accept(&self.store, parsed, &priors).await?;
        let found = priors.into_iter().zip(workers).zip(tries);
        let mut arrivals = Vec::with_capacity(entries.len());
        for (one, ((prior, worker_id), tries)) in parsed.into_iter().zip(found) {
            let Parsed { header, command, unproven, .. } = one;
            arrivals.push(match prior {
                _ if unproven.is_some() => {
                    let prior = Prior::default();
                    Arrival { header, command, worker_id: None, prior, unproven }
                }
                _ if *tries >= self.most_tries => given_up(header, hopeless(*tries)),
                Ok(prior) => Arrival { header, command, worker_id, prior, unproven },
                Err(error) if error.is_wrong_type() => {
                    let what = in_the_way(&self.store, &header.request(), worker_id);
                    given_up(header, what)
                }
                Err(error) => return Err(error),
            });
        }
        Ok(arrivals)
    }

    /// Waits until the loop has handled what it was sent.
    async fn settle(&mut self) -> Result<(), StoreError> {
        let sent = self.sent;
        if self.handled.wait_for(|handled| *handled >= sent).await.is_ok() {
            self.store.forget_tries(&self.begun).await?;
            self.begun.clear();
        }
        Ok(())
    }
}

/// Which worker a command is about.
fn subject(keys: &Keys, entry_id: &str, command: &Result<Command, Problem>) -> Option<WorkerId> {
    match command {
        Ok(Command::Create(create)) => {
            Some(create.worker_id.unwrap_or_else(|| new_worker_id(keys, entry_id)))
        }
        Ok(other) => other.worker_id(),
        Err(_) => None,
    }
}

fn in_the_way(store: &Store, request: &RequestName, worker: Option<WorkerId>) -> String {
    let keys = store.keys();
    let worker = worker.map(|id| format!(", or `{}`,", keys.worker(id))).unwrap_or_default();
    let named = RequestName { id: "<request_id>".to_owned(), ..request.clone() };
    let request = keys.request(&named);
    format!("the key `{request}`{worker} is not a hash: something else was written there")
}

/// Of one that was begun with too often.
fn hopeless(tries: u64) -> String {
    format!(
        "given up after {tries} tries: each time, the manager ended while it handled this command; \
         its log says why"
    )
}

/// To be answered and put aside.
fn given_up(header: Header, message: String) -> Arrival {
    tracing::error!(entry = header.entry_id, request = header.request_id, message);
    let command = Err(Problem::new(ErrorKind::Internal, message));
    Arrival { header, command, worker_id: None, prior: Prior::default(), unproven: None }
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
