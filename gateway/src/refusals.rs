//! Tells of refusals in the stream of events, and not more often than somebody reads.
//!
//! The first refusal of a host is told at once; the same host of the same worker is told again after
//! a minute, with how often it was refused meanwhile. A worker that tries ever new hosts has so many
//! entries in a minute, and one for all others together.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use worker_protocol::WorkerId;

use crate::store::Store;

/// The same refusal is told once in this time.
const SILENCE: Duration = Duration::from_secs(60);
/// Hosts of one worker that are told apart in that time.
const MOST_HOSTS: usize = 20;
/// Stands for the hosts beyond.
const OTHERS: &str = "*";
/// Refusals that wait to be counted; more are dropped, which only a flood does.
const MOST_WAITING: usize = 1024;
/// Entries that wait for a Redis which is away; the oldest go first.
const MOST_UNTOLD: usize = 1000;
/// How exactly the silence is kept.
const TICK: Duration = Duration::from_millis(500);

/// One refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Whose connection it was.
    pub worker: WorkerId,
    /// Where it was to go.
    pub host: String,
    /// At which port.
    pub port: u16,
    /// The rule that it was refused by.
    pub reason: String,
}

/// An entry for the stream of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    refused: Refused,
    times: u64,
    timestamp: String,
}

impl Entry {
    /// Its fields, as `docs/wire.md` has them.
    #[must_use]
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let Self { refused, times, timestamp } = self;
        vec![
            ("type", "egress".to_owned()),
            ("timestamp", timestamp.clone()),
            ("worker_id", refused.worker.to_string()),
            ("host", refused.host.clone()),
            ("port", refused.port.to_string()),
            ("reason", refused.reason.clone()),
            ("times", times.to_string()),
        ]
    }
}

/// Where refusals are reported.
#[derive(Clone, Debug)]
pub struct Reports(mpsc::Sender<Refused>);

impl Reports {
    /// Reports one. It never waits.
    pub fn report(&self, refused: Refused) {
        // A full queue loses a count of what is told anyway.
        let _ = self.0.try_send(refused);
    }
}

/// Where refusals are reported, and what writes them to Redis until nobody can report any more.
pub fn start(store: Arc<Store>) -> (Reports, impl Future<Output = ()>) {
    let (sender, receiver) = mpsc::channel(MOST_WAITING);
    (Reports(sender), write(store, receiver))
}

async fn write(store: Arc<Store>, mut refusals: mpsc::Receiver<Refused>) {
    let mut told = Told::default();
    let mut untold = VecDeque::new();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let timestamp = || worker_protocol::rfc3339(jiff::Timestamp::now());
        tokio::select! {
            refused = refusals.recv() => match refused {
                Some(refused) => untold.extend(told.note(refused, Instant::now(), timestamp)),
                None => return,
            },
            _ = ticks.tick() => untold.extend(told.due(Instant::now(), timestamp)),
        }
        while untold.len() > MOST_UNTOLD {
            untold.pop_front();
        }
        while let Some(entry) = untold.front() {
            if store.tell(entry).await.is_err() {
                break;
            }
            untold.pop_front();
        }
    }
}

/// What was told in the last minute.
#[derive(Debug, Default)]
struct Told(BTreeMap<WorkerId, Vec<Known>>);

#[derive(Debug)]
struct Known {
    refused: Refused,
    told_at: Instant,
    /// Refused since, and not told.
    more: u64,
}

impl Told {
    /// Takes a refusal, and gives the entry that it is worth at once.
    fn note(
        &mut self,
        refused: Refused,
        now: Instant,
        timestamp: impl Fn() -> String,
    ) -> Option<Entry> {
        let hosts = self.0.entry(refused.worker).or_default();
        let refused = if hosts.len() < MOST_HOSTS || hosts.iter().any(|known| known.is(&refused)) {
            refused
        } else {
            Refused { host: OTHERS.to_owned(), port: 0, ..refused }
        };
        if let Some(known) = hosts.iter_mut().find(|known| known.is(&refused)) {
            known.more += 1;
            known.refused.reason = refused.reason;
            return None;
        }
        hosts.push(Known { refused: refused.clone(), told_at: now, more: 0 });
        Some(Entry { refused, times: 1, timestamp: timestamp() })
    }

    /// The entries whose silence is over, and forgets what has not been refused since.
    fn due(&mut self, now: Instant, timestamp: impl Fn() -> String) -> Vec<Entry> {
        let mut entries = Vec::new();
        self.0.retain(|_, hosts| {
            hosts.retain_mut(|known| {
                if now.duration_since(known.told_at) < SILENCE {
                    return true;
                }
                known.told_at = now;
                let times = std::mem::take(&mut known.more);
                let refused = known.refused.clone();
                let entry = Entry { refused, times, timestamp: timestamp() };
                entries.extend((times > 0).then_some(entry));
                times > 0
            });
            !hosts.is_empty()
        });
        entries
    }
}

impl Known {
    fn is(&self, refused: &Refused) -> bool {
        self.refused.host == refused.host && self.refused.port == refused.port
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(worker: WorkerId, host: &str) -> Refused {
        Refused { worker, host: host.to_owned(), port: 443, reason: "a rule".to_owned() }
    }

    fn short(entry: &Entry) -> (&str, u64) {
        (&entry.refused.host, entry.times)
    }

    #[test]
    fn the_first_is_told_at_once_and_the_others_are_counted() {
        let (mut told, begin, worker) = (Told::default(), Instant::now(), WorkerId::new());
        let at = |seconds| begin + Duration::from_secs(seconds);
        let note = |told: &mut Told, seconds| {
            told.note(refused(worker, "a.test"), at(seconds), String::new)
        };
        assert_eq!(note(&mut told, 0).as_ref().map(short), Some(("a.test", 1)));
        for second in 1..60 {
            assert_eq!(note(&mut told, second), None);
            assert_eq!(told.due(at(second), String::new), []);
        }
        let due = told.due(at(60), String::new);
        assert_eq!(due.iter().map(short).collect::<Vec<_>>(), [("a.test", 59)]);
        assert_eq!(told.due(at(120), String::new), []);
        assert!(told.0.is_empty(), "{told:?}");
        assert_eq!(note(&mut told, 121).as_ref().map(short), Some(("a.test", 1)));
    }

    #[test]
    fn a_worker_that_tries_ever_new_hosts_is_told_of_in_few_entries() {
        let (mut told, begin, worker) = (Told::default(), Instant::now(), WorkerId::new());
        let note = |n| told.note(refused(worker, &format!("{n}.test")), begin, String::new);
        let entries: Vec<_> = (0..1000).filter_map(note).collect();
        assert_eq!(entries.len(), MOST_HOSTS + 1);
        assert_eq!(entries.last().map(short), Some(("*", 1)));
        let due = told.due(begin + SILENCE, String::new);
        let others = 1000 - MOST_HOSTS as u64 - 1;
        assert_eq!(due.iter().map(short).collect::<Vec<_>>(), [("*", others)]);
        let other = told.note(refused(WorkerId::new(), "1.test"), begin, String::new);
        assert_eq!(other.as_ref().map(short), Some(("1.test", 1)));
    }
}
