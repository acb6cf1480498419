//! What waits for Redis: entries, acknowledgements and the sign of life, in order. No clock, no
//! Redis; all it touches is the spool's file.
//!
//! ```text
//! push ─► queue, in memory ─► take: numbered, given ids ─► flight ─► settle: done, or again
//!    │      ▲ when it is empty
//!    └─► spool, on disk, once the queue is long
//!                over the bound: the oldest become one `gap`
//! ```
//! An entry gets its `seq` when it leaves the queue, so a gap has a number of its own and there
//! are no holes. Ids are chosen here and only grow: an entry that is sent again after a broken
//! connection is refused by Redis if it was there already.

use jiff::Timestamp;
use std::fmt;

use super::item::{Entry, Fields, Item};
use super::waiting::Waiting;
use worker_protocol::boot::Bounds;
use worker_protocol::{Output, Pulse};

/// Of one pipeline; more gain nothing.
const BATCH_ENTRIES: usize = 1024;
const BATCH_BYTES: usize = 512 << 10;

/// The id of a stream entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId {
    /// Milliseconds since 1970.
    pub ms: u64,
    /// Number within the millisecond.
    pub n: u64,
}

impl StreamId {
    /// Reads `<ms>-<n>`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (ms, n) = text.split_once('-')?;
        Some(Self { ms: ms.parse().ok()?, n: n.parse().ok()? })
    }

    /// The next possible one.
    #[must_use]
    pub fn next(self) -> Self {
        Self { n: self.n + 1, ..self }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.n)
    }
}

/// Something that was sent, or is about to be.
#[derive(Debug, PartialEq)]
pub enum Flight {
    /// An entry for the output stream.
    Entry {
        /// Its id; none when the last one was refused.
        id: Option<StreamId>,
        /// Whether it was sent and no answer came: it may be there already.
        uncertain: bool,
        /// Names and values.
        fields: Fields,
    },
    /// An input entry is done, and what lies below another is of no more use.
    Ack {
        /// The done one.
        id: String,
        /// The oldest that is not done.
        trim_below: StreamId,
    },
    /// The sign of life, as JSON.
    Pulse(String),
}

/// What Redis said to one flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Taken.
    Done,
    /// The id is not above that of the last entry.
    IdTooLow,
    /// Not taken.
    Refused,
}

/// Whose ids are the highest in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    /// Ours, as far as the answers tell.
    Ours,
    /// Somebody else has written above ours; find out how far.
    Passed,
}

/// What waits, what is sent, and the numbers.
pub struct Backlog {
    waiting: Waiting,
    flight: Vec<Flight>,
    /// What follows the flight, made ready while that is under way. None of it was sent.
    next: Vec<Flight>,
    pulse: Option<Pulse>,
    seq: u64,
    last_id: StreamId,
}

impl Backlog {
    /// An empty one that keeps about as much as the bounds allow.
    #[must_use]
    pub fn new(bounds: &Bounds) -> Self {
        Self {
            waiting: Waiting::new(bounds),
            flight: Vec::new(),
            next: Vec::new(),
            pulse: None,
            seq: 0,
            last_id: StreamId::default(),
        }
    }

    /// Goes on after what the stream holds. A `seq` only grows.
    pub fn continue_after(&mut self, seq: u64, id: StreamId) {
        self.seq = self.seq.max(seq);
        self.last_id = self.last_id.max(id);
    }

    /// Adds an entry. Over the bound, the oldest go.
    pub fn push(&mut self, output: Output, at: Timestamp) {
        self.waiting.say(output, at);
    }

    /// Adds an acknowledgement, which is sent when everything before it is in Redis.
    pub fn acknowledge(&mut self, id: String, trim_below: StreamId) {
        self.waiting.keep(Item::Ack { id, trim_below });
    }

    /// The newest sign of life replaces one that was not sent yet, and waits for nothing.
    pub fn beat(&mut self, pulse: Pulse) {
        self.pulse = Some(pulse);
    }

    /// Bytes that wait, without what is in flight.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.waiting.bytes()
    }

    /// Whether Redis has everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
            && self.flight.is_empty()
            && self.next.is_empty()
            && self.pulse.is_none()
    }

    /// What to send now: what was not settled, or else the next batch. A batch holds entries or
    /// acknowledgements, never both: an acknowledgement must not overtake a refused entry.
    pub fn take(&mut self, now: Timestamp) -> &[Flight] {
        if self.flight.is_empty() {
            self.flight = self.fill();
        }
        self.last_id = give_ids(&mut self.flight, self.last_id, now);
        &self.flight
    }

    /// What will be sent when all of the flight was taken, so that it can be written down while
    /// Redis is at work. Nothing, where it is not known yet, or would be an acknowledgement: that
    /// depends on how the flight ends.
    pub fn prepare(&mut self, now: Timestamp) -> &[Flight] {
        if self.next.is_empty() && self.waiting.next_is_entry() {
            self.next = self.fill();
            self.last_id = give_ids(&mut self.next, self.last_id, now);
        }
        &self.next
    }

    fn fill(&mut self) -> Vec<Flight> {
        let mut batch = Vec::new();
        if let Some(gap) = self.waiting.pop_gap() {
            batch.push(self.number(gap));
        }
        let mut bytes = 0;
        while batch.len() < BATCH_ENTRIES && bytes < BATCH_BYTES {
            let acks = matches!(batch.first(), Some(Flight::Ack { .. }));
            match self.waiting.pop() {
                Some(Item::Ack { id, trim_below }) if acks || batch.is_empty() => {
                    batch.push(Flight::Ack { id, trim_below });
                }
                Some(Item::Entry(entry)) if !acks => {
                    bytes += entry.cost();
                    batch.push(self.number(entry));
                }
                Some(other) => {
                    self.waiting.put_back(other);
                    break;
                }
                None => break,
            }
        }
        batch.extend(self.pulse.take().map(|pulse| Flight::Pulse(self.completed(pulse))));
        batch
    }

    fn completed(&self, pulse: Pulse) -> String {
        let (spooled_bytes, dropped_entries) = self.waiting.toll();
        let pulse = Pulse { spooled_bytes, dropped_entries, ..pulse };
        serde_json::to_string(&pulse).unwrap_or_default()
    }

    fn number(&mut self, entry: Entry) -> Flight {
        self.seq += 1;
        Flight::Entry { id: None, uncertain: false, fields: entry.numbered(self.seq) }
    }

    /// Takes the answers to what was sent, in order. What was not taken is sent again.
    pub fn settle(&mut self, answers: &[Answer]) -> Ids {
        let mut answers = answers.iter();
        let mut ids = Ids::Ours;
        self.flight.retain_mut(|flight| match (flight, answers.next()) {
            (_, Some(Answer::Done)) => false,
            (Flight::Entry { uncertain: true, .. }, Some(Answer::IdTooLow)) => false,
            (Flight::Entry { id, uncertain, .. }, Some(answer)) => {
                if *answer == Answer::IdTooLow {
                    ids = Ids::Passed;
                }
                // It was surely not taken, so a new id cannot double it.
                *id = None;
                *uncertain = false;
                true
            }
            _ => true,
        });
        if self.flight.is_empty() {
            self.flight = std::mem::take(&mut self.next);
        } else {
            self.recall();
        }
        ids
    }

    /// What was made ready comes behind what is sent again, with other ids.
    fn recall(&mut self) {
        for mut flight in self.next.drain(..) {
            if let Flight::Entry { id, .. } = &mut flight {
                *id = None;
            }
            self.flight.push(flight);
        }
    }

    /// The connection broke before the answers came.
    pub fn unanswered(&mut self) {
        for flight in &mut self.flight {
            if let Flight::Entry { uncertain, .. } = flight {
                *uncertain = true;
            }
        }
        self.recall();
    }
}

/// Gives ids to entries that have none, above the last one; gives the last one now.
fn give_ids(batch: &mut [Flight], mut last: StreamId, now: Timestamp) -> StreamId {
    let fresh = StreamId { ms: u64::try_from(now.as_millisecond()).unwrap_or(0), n: 0 };
    for flight in batch {
        if let Flight::Entry { id: id @ None, .. } = flight {
            last = if fresh > last { fresh } else { last.next() };
            *id = Some(last);
        }
    }
    last
}

#[cfg(test)]
#[path = "backlog_tests.rs"]
mod tests;
