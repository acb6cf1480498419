//! Writes to Redis: output entries, acknowledgements, the sign of life. One connection, one batch
//! in flight. [`backlog`] decides what a batch is, [`waiting`] what waits where: [`item`]s in memory
//! and in a [`spool`] on disk.

pub mod backlog;
pub mod item;
mod spool;
mod waiting;

use jiff::Timestamp;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, Pipeline, RedisError, Value};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

use worker_protocol::boot::BootKeys;
use worker_protocol::key::INPUT_GROUP;
use worker_protocol::{Boot, Output, Pulse};

use crate::connection::{Redis, Retry, trouble};
use backlog::{Answer, Backlog, Flight, Ids, StreamId};

/// Redis answers within a millisecond; after so long the connection is dead.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Bytes that wait before a connected agent is made to wait too.
const ENOUGH: usize = 2 << 20;
/// Redis takes a batch in milliseconds; one that has taken nothing for so long stands still.
const STALLED: Duration = Duration::from_millis(500);
/// Seconds after which a wrapper that no longer beats counts as gone.
const PULSE_EXPIRY: u64 = 30;

/// Of an `XADD`, beside its fields: command, key, `MAXLEN ~ <n>`, id; and bytes of all but the key.
const XADD_ARGUMENTS: usize = 6;
const XADD_BYTES: usize = 64;

/// The side of the bridge: never waits.
#[derive(Clone)]
pub struct Uplink {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// There is something to send.
    work: Notify,
    /// Something was sent, or the connection came or went.
    progress: Notify,
}

struct State {
    backlog: Backlog,
    connected: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Uplink {
    /// Adds an entry.
    pub fn say(&self, output: Output, at: Timestamp) {
        self.shared.state().backlog.push(output, at);
        self.shared.work.notify_one();
    }

    /// Acknowledges an input entry when everything said before is in Redis.
    pub fn acknowledge(&self, id: String, trim_below: StreamId) {
        self.shared.state().backlog.acknowledge(id, trim_below);
        self.shared.work.notify_one();
    }

    /// Renews the sign of life. What of the output had to wait or was lost is added to it.
    pub fn beat(&self, pulse: Pulse) {
        self.shared.state().backlog.beat(pulse);
        self.shared.work.notify_one();
    }

    /// Whether more may be read from the agent. While Redis is away there always is room: the
    /// agent goes on, and the backlog has a bound of its own.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let state = self.shared.state();
        !state.connected || state.backlog.queued_bytes() < ENOUGH
    }

    /// Waits until there is room, but not for a Redis that takes nothing: it may hang for a while
    /// before its connection counts as lost.
    pub async fn room(&self) {
        loop {
            let progress = self.shared.progress.notified();
            if self.has_room() || tokio::time::timeout(STALLED, progress).await.is_err() {
                return;
            }
        }
    }

    /// Waits until Redis has everything.
    pub async fn drained(&self) {
        loop {
            let progress = self.shared.progress.notified();
            if self.shared.state().backlog.is_empty() {
                return;
            }
            progress.await;
        }
    }
}

/// The task that sends.
pub struct Sender {
    redis: Redis,
    keys: BootKeys,
    output_entries: usize,
    shared: Arc<Shared>,
}

/// Both sides.
#[must_use]
pub fn new(redis: Redis, boot: &Boot) -> (Uplink, Sender) {
    let backlog = Backlog::new(&boot.bounds);
    let shared = Arc::new(Shared {
        state: Mutex::new(State { backlog, connected: false }),
        work: Notify::new(),
        progress: Notify::new(),
    });
    let sender = Sender {
        redis,
        keys: boot.keys.clone(),
        output_entries: boot.bounds.output_entries,
        shared: shared.clone(),
    };
    (Uplink { shared }, sender)
}

impl Sender {
    /// Sends for ever. It ends only when Redis does not accept the credentials, with the reason.
    pub async fn run(self) -> String {
        let mut retry = Retry::default();
        loop {
            let Err(error) = self.serve(&mut retry).await;
            self.connected(false);
            let Some(pause) = retry.pause(trouble(&error), Instant::now()) else {
                return error.to_string();
            };
            if let Some(lasting) = retry.failed(error.code(), Instant::now()) {
                crate::log(format_args!(
                    "the connection for output failed ({error}), for {} s now; trying again",
                    lasting.as_secs()
                ));
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn serve(&self, retry: &mut Retry) -> Result<std::convert::Infallible, RedisError> {
        let mut connection = self.redis.connect(ANSWER_WITHIN).await?;
        self.find_position(&mut connection).await?;
        self.connected(true);
        let mut ready = None;
        loop {
            match self.send(&mut connection, ready.take()).await? {
                Sent::Nothing => self.shared.work.notified().await,
                Sent::All { next } => {
                    if let Some(lasting) = retry.worked(Instant::now()) {
                        let seconds = lasting.as_secs();
                        crate::log(format_args!("redis takes output again, after {seconds} s"));
                    }
                    ready = next;
                }
                Sent::Below => self.find_position(&mut connection).await?,
                // Out of memory, loading, read-only: haste mends none of it, and a new connection
                // mends some.
                Sent::Refused(error) => return Err(error),
            }
        }
    }

    fn connected(&self, connected: bool) {
        self.shared.state().connected = connected;
        self.shared.progress.notify_waiters();
    }

    /// Goes on after the last entry of the stream, whoever wrote it.
    async fn find_position(
        &self,
        connection: &mut MultiplexedConnection,
    ) -> Result<(), RedisError> {
        let last = redis::cmd("XREVRANGE")
            .arg(&self.keys.output)
            .arg(&["+", "-", "COUNT", "1"])
            .query_async::<Value>(connection)
            .await?;
        if let Some((id, seq)) = position(&last) {
            self.shared.state().backlog.continue_after(seq, id);
        }
        Ok(())
    }

    async fn send(
        &self,
        connection: &mut MultiplexedConnection,
        ready: Option<Packed>,
    ) -> Result<Sent, RedisError> {
        let packed = ready.or_else(|| self.pack(Backlog::take));
        let Some(Packed { pipeline, counts }) = packed else { return Ok(Sent::Nothing) };
        let (replies, next) = tokio::join!(
            connection.req_packed_commands(&pipeline, 0, pipeline.len()),
            self.pack_next()
        );
        let mut state = self.shared.state();
        let sent = match replies {
            Err(error) => {
                state.backlog.unanswered();
                return Err(error);
            }
            Ok(replies) => {
                let (answers, refusal) = read_answers(&replies, &counts);
                match (state.backlog.settle(&answers), refusal) {
                    (_, Some(error)) => Sent::Refused(error),
                    (Ids::Passed, None) => Sent::Below,
                    (Ids::Ours, None) => Sent::All { next },
                }
            }
        };
        drop(state);
        self.shared.progress.notify_waiters();
        Ok(sent)
    }

    /// Writes the next batch down while Redis works on this one.
    async fn pack_next(&self) -> Option<Packed> {
        // After this one is on its way.
        tokio::task::yield_now().await;
        self.pack(Backlog::prepare)
    }

    fn pack(&self, choose: impl Fn(&mut Backlog, Timestamp) -> &[Flight]) -> Option<Packed> {
        let mut state = self.shared.state();
        let flights = choose(&mut state.backlog, Timestamp::now());
        let counts: Vec<_> = flights.iter().map(commands).collect();
        (!counts.is_empty()).then(|| Packed { pipeline: self.encode(flights), counts })
    }

    fn encode(&self, flights: &[Flight]) -> Pipeline {
        let mut pipeline = Pipeline::with_capacity(flights.len());
        for flight in flights {
            match flight {
                Flight::Entry { id, fields, .. } => {
                    let id = id.unwrap_or_default().to_string();
                    let bytes = fields.iter().map(|(name, value)| name.len() + value.len());
                    let bytes = bytes.sum::<usize>() + XADD_BYTES + self.keys.output.len();
                    let mut xadd = Cmd::with_capacity(XADD_ARGUMENTS + 2 * fields.len(), bytes);
                    xadd.arg("XADD").arg(&self.keys.output);
                    xadd.arg("MAXLEN").arg("~").arg(self.output_entries).arg(id);
                    for (name, value) in fields {
                        xadd.arg(&**name).arg(&**value);
                    }
                    pipeline.add_command(xadd);
                }
                Flight::Ack { id, trim_below } => {
                    pipeline.cmd("XACK").arg(&self.keys.input).arg(INPUT_GROUP).arg(id);
                    pipeline.cmd("XTRIM").arg(&self.keys.input);
                    pipeline.arg("MINID").arg("~").arg(trim_below.to_string());
                }
                Flight::Pulse(pulse) => {
                    pipeline.cmd("SET").arg(&self.keys.heartbeat).arg(pulse);
                    pipeline.arg("EX").arg(PULSE_EXPIRY);
                }
            }
        }
        pipeline
    }
}

/// A batch as it is written to Redis.
struct Packed {
    pipeline: Pipeline,
    /// Commands of each of its flights.
    counts: Vec<usize>,
}

enum Sent {
    Nothing,
    All {
        /// What was made ready meanwhile, and is the flight now.
        next: Option<Packed>,
    },
    /// Somebody else has written entries above ours.
    Below,
    Refused(RedisError),
}

fn commands(flight: &Flight) -> usize {
    match flight {
        Flight::Ack { .. } => 2,
        Flight::Entry { .. } | Flight::Pulse(_) => 1,
    }
}

/// One answer for each flight, and the first error that is none of the expected ones.
fn read_answers(replies: &[Value], counts: &[usize]) -> (Vec<Answer>, Option<RedisError>) {
    let mut refusal = None;
    let mut replies = replies.iter();
    let answers = counts.iter().map(|count| {
        let errors = replies.by_ref().take(*count).filter_map(|reply| match reply {
            Value::ServerError(error) => Some(error.clone()),
            _ => None,
        });
        let Some(error) = errors.collect::<Vec<_>>().into_iter().next() else {
            return Answer::Done;
        };
        if error.details().is_some_and(|text| text.contains("equal or smaller")) {
            return Answer::IdTooLow;
        }
        refusal.get_or_insert(RedisError::from(error));
        Answer::Refused
    });
    (answers.collect(), refusal)
}

/// Id and `seq` of the one entry of an XREVRANGE.
fn position(reply: &Value) -> Option<(StreamId, u64)> {
    let Value::Array(entries) = reply else { return None };
    let Some(Value::Array(entry)) = entries.first() else { return None };
    let [Value::BulkString(id), Value::Array(fields)] = &entry[..] else { return None };
    let id = StreamId::parse(std::str::from_utf8(id).ok()?)?;
    let seq = fields.chunks_exact(2).find_map(|pair| match pair {
        [Value::BulkString(name), Value::BulkString(value)] if name == b"seq" => {
            std::str::from_utf8(value).ok()?.parse().ok()
        }
        _ => None,
    });
    Some((id, seq.unwrap_or(0)))
}
