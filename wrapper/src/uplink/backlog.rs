//! What waits for Redis: entries, acknowledgements and the sign of life, in order. Pure.
//!
//! ```text
//! push ─► queue ─► take: numbered, given ids ─► flight ─► settle: done, or again
//!           │
//!           └─ over the bound: the oldest become one `gap`
//! ```
//! An entry gets its `seq` when it leaves the queue, so a gap has a number of its own and there
//! are no holes. Ids are chosen here and only grow: an entry that is sent again after a broken
//! connection is refused by Redis if it was there already.

use jiff::Timestamp;
use serde_json::json;
use std::collections::VecDeque;
use std::fmt;

use worker_protocol::{Output, OutputKind, Source};

/// Of one pipeline; more gain nothing.
const BATCH_ENTRIES: usize = 512;
const BATCH_BYTES: usize = 512 << 10;
/// What an entry costs beside its texts.
const ENTRY_OVERHEAD: usize = 256;
/// When the bound is passed, room is made for some time, so that a gap is one and not many.
const SHED_TO: f64 = 0.75;

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

enum Item {
    Entry { output: Output, at: Timestamp },
    Ack { id: String, trim_below: StreamId },
    Gap(Lost),
}

#[derive(Clone, Copy, Default)]
struct Lost {
    entries: u64,
    bytes: u64,
    since: Timestamp,
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
        fields: Vec<(&'static str, String)>,
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

/// The queue and its bounds.
pub struct Backlog {
    queue: VecDeque<Item>,
    queued_bytes: usize,
    limit_bytes: usize,
    flight: Vec<Flight>,
    pulse: Option<String>,
    seq: u64,
    last_id: StreamId,
}

impl Backlog {
    /// An empty one that keeps at most about `limit_bytes`.
    #[must_use]
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            queued_bytes: 0,
            limit_bytes,
            flight: Vec::new(),
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
        self.queued_bytes += size(&output);
        self.queue.push_back(Item::Entry { output, at });
        if self.queued_bytes > self.limit_bytes {
            self.shed();
        }
    }

    /// Adds an acknowledgement, which is sent when everything before it is in Redis.
    pub fn acknowledge(&mut self, id: String, trim_below: StreamId) {
        self.queue.push_back(Item::Ack { id, trim_below });
    }

    /// The newest sign of life replaces one that was not sent yet, and waits for nothing.
    pub fn beat(&mut self, pulse: String) {
        self.pulse = Some(pulse);
    }

    /// Bytes that wait, without what is in flight.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Whether Redis has everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.flight.is_empty() && self.pulse.is_none()
    }

    /// What to send now: what was not settled, or else the next batch. A batch holds entries or
    /// acknowledgements, never both: an acknowledgement must not overtake a refused entry.
    pub fn take(&mut self, now: Timestamp) -> &[Flight] {
        if self.flight.is_empty() {
            self.fill();
        }
        let now_ms = u64::try_from(now.as_millisecond()).unwrap_or(0);
        for flight in &mut self.flight {
            if let Flight::Entry { id: id @ None, .. } = flight {
                let fresh = StreamId { ms: now_ms, n: 0 };
                self.last_id = if fresh > self.last_id { fresh } else { self.last_id.next() };
                *id = Some(self.last_id);
            }
        }
        &self.flight
    }

    fn fill(&mut self) {
        let (mut bytes, acks) = (0, matches!(self.queue.front(), Some(Item::Ack { .. })));
        while self.flight.len() < BATCH_ENTRIES && bytes < BATCH_BYTES {
            match self.queue.pop_front() {
                Some(Item::Ack { id, trim_below }) if acks => {
                    self.flight.push(Flight::Ack { id, trim_below });
                }
                Some(Item::Entry { output, at }) if !acks => {
                    let size = size(&output);
                    bytes += size;
                    self.queued_bytes -= size;
                    self.number(&output, at);
                }
                Some(Item::Gap(lost)) if !acks => self.number(&lost.describe(), lost.since),
                Some(other) => {
                    self.queue.push_front(other);
                    break;
                }
                None => break,
            }
        }
        self.flight.extend(self.pulse.take().map(Flight::Pulse));
    }

    fn number(&mut self, output: &Output, at: Timestamp) {
        self.seq += 1;
        let fields = output.to_entry(self.seq, at);
        self.flight.push(Flight::Entry { id: None, uncertain: false, fields });
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
        ids
    }

    /// The connection broke before the answers came.
    pub fn unanswered(&mut self) {
        for flight in &mut self.flight {
            if let Flight::Entry { uncertain, .. } = flight {
                *uncertain = true;
            }
        }
    }

    /// Makes one gap of the oldest entries. Acknowledgements and the ends of turns stay, for
    /// somebody waits for them.
    fn shed(&mut self) {
        let target = (self.limit_bytes as f64 * SHED_TO) as usize;
        let (mut lost, mut kept) = (Lost::default(), Vec::new());
        while self.queued_bytes > target {
            match self.queue.pop_front() {
                Some(Item::Entry { output, at }) if !is_an_end(output.kind) => {
                    let size = size(&output);
                    self.queued_bytes -= size;
                    lost.add(1, size as u64, at);
                }
                Some(Item::Gap(gap)) => lost.add(gap.entries, gap.bytes, gap.since),
                Some(other) => kept.push(other),
                None => break,
            }
        }
        for item in kept.into_iter().rev() {
            self.queue.push_front(item);
        }
        if lost.entries > 0 {
            self.queue.push_front(Item::Gap(lost));
        }
    }
}

impl Lost {
    fn add(&mut self, entries: u64, bytes: u64, at: Timestamp) {
        if self.entries == 0 {
            self.since = at;
        }
        self.entries += entries;
        self.bytes += bytes;
    }

    fn describe(self) -> Output {
        let Self { entries, bytes, .. } = self;
        let content = format!(
            "{entries} entries ({bytes} bytes) were lost: Redis was away for longer than the \
             worker's memory for output lasts"
        );
        Output::new(OutputKind::Gap, Source::Wrapper, content)
            .with_data(json!({"entries": entries, "bytes": bytes, "reason": "backlog_full"}))
    }
}

fn is_an_end(kind: OutputKind) -> bool {
    matches!(kind, OutputKind::TurnCompleted | OutputKind::Exit)
}

fn size(output: &Output) -> usize {
    // `data` repeats a part of `raw` or of `content`; to measure it exactly is to write it.
    let data = output.data.as_ref().map_or(0, |_| output.content.len());
    ENTRY_OVERHEAD + output.content.len() + data + output.raw.as_ref().map_or(0, String::len)
}

#[cfg(test)]
#[path = "backlog_tests.rs"]
mod tests;
