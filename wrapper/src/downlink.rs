//! Reads the worker's input stream, on a connection of its own.
//!
//! A read is never abandoned while its connection lives: the entry that it would have got would
//! be lost to the group's pending list. Every new connection therefore begins with what is pending
//! above the last entry that was handed on. Since the group delivers in the order of ids, that is
//! exactly what was delivered and never seen.
//!
//! A Redis that comes back from an older copy, or a group that was made anew at the stream's
//! beginning, delivers again what was handed on. No prompt is run a second time for that.

use redis::aio::MultiplexedConnection;
use redis::{RedisError, Value};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

use worker_protocol::input::Input;
use worker_protocol::key::INPUT_GROUP;
use worker_protocol::problem::Problem;

use crate::bridge::{Delivery, Event};
use crate::connection::{Redis, Retry, trouble};
use crate::uplink::backlog::StreamId;

/// A finite wait is also a test of the connection.
const BLOCK: Duration = Duration::from_secs(3);
const ANSWER_WITHIN: Duration = Duration::from_secs(8);
/// A prompt may have several MB, so a read takes few.
const ENTRIES_PER_READ: usize = 8;
/// The group's one consumer: a stable name, so that what was pending is found again.
const CONSUMER: &str = "wrapper";

/// The task that reads.
pub struct Downlink {
    redis: Redis,
    stream: String,
    events: mpsc::Sender<Event>,
    /// The last entry that was handed on.
    last: StreamId,
    /// Whether what is pending was delivered to this process, or to one before it.
    pending: Delivery,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cursor {
    Pending,
    New,
}

impl Downlink {
    /// A reader of `stream` that hands entries to `events`.
    #[must_use]
    pub fn new(redis: Redis, stream: String, events: mpsc::Sender<Event>) -> Self {
        Self { redis, stream, events, last: StreamId::default(), pending: Delivery::Again }
    }

    /// Reads until nobody listens any more, or Redis does not accept the credentials: then it
    /// gives the reason.
    pub async fn run(mut self) -> Option<String> {
        let mut retry = Retry::default();
        loop {
            let Err(error) = self.serve(&mut retry).await else { return None };
            let Some(pause) = retry.pause(trouble(&error), Instant::now()) else {
                return Some(error.to_string());
            };
            if let Some(lasting) = retry.failed(error.code(), Instant::now()) {
                crate::log(format_args!(
                    "the connection for input failed ({error}), for {} s now; trying again",
                    lasting.as_secs()
                ));
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn serve(&mut self, retry: &mut Retry) -> Result<(), RedisError> {
        let mut connection = self.redis.connect(ANSWER_WITHIN).await?;
        let mut cursor = Cursor::Pending;
        loop {
            let entries = self.read(&mut connection, cursor).await?;
            if let Some(lasting) = retry.worked(Instant::now()) {
                let seconds = lasting.as_secs();
                crate::log(format_args!("redis gives input again, after {seconds} s"));
            }
            if entries.is_empty() && cursor == Cursor::Pending {
                self.pending = Delivery::First;
                cursor = Cursor::New;
            }
            for entry in entries {
                if self.hand_on(entry, cursor).await.is_err() {
                    return Ok(());
                }
            }
        }
    }

    async fn read(
        &self,
        connection: &mut MultiplexedConnection,
        cursor: Cursor,
    ) -> Result<Vec<Entry>, RedisError> {
        let mut command = redis::cmd("XREADGROUP");
        command.arg("GROUP").arg(INPUT_GROUP).arg(CONSUMER).arg("COUNT").arg(ENTRIES_PER_READ);
        match cursor {
            Cursor::Pending => command.arg("STREAMS").arg(&self.stream).arg(self.last.to_string()),
            Cursor::New => {
                command.arg("BLOCK").arg(BLOCK.as_millis() as u64);
                command.arg("STREAMS").arg(&self.stream).arg(">")
            }
        };
        Ok(entries(command.query_async(connection).await?))
    }

    async fn hand_on(&mut self, entry: Entry, cursor: Cursor) -> Result<(), ()> {
        let delivery = match cursor {
            Cursor::Pending => self.pending,
            Cursor::New if entry.id <= self.last => Delivery::Repeated,
            Cursor::New => Delivery::First,
        };
        self.last = self.last.max(entry.id);
        let input = match &entry.pairs {
            Some(pairs) => Input::parse(pairs),
            None => Err(Problem::malformed("the entry was removed before it was read")),
        };
        let event = Event::Input { id: entry.id, delivery, input };
        self.events.send(event).await.map_err(drop)
    }
}

struct Entry {
    id: StreamId,
    /// None when the entry is pending and its content was trimmed away.
    pairs: Option<Vec<(String, Vec<u8>)>>,
}

/// The entries of the one stream of a reply. The crate's own types keep fields in a map, where a
/// field that stands twice would be hidden.
fn entries(reply: Value) -> Vec<Entry> {
    let Value::Array(streams) = reply else { return Vec::new() };
    let Some(Value::Array(stream)) = streams.into_iter().next() else { return Vec::new() };
    let Some(Value::Array(entries)) = stream.into_iter().nth(1) else { return Vec::new() };
    entries.into_iter().filter_map(entry).collect()
}

fn entry(value: Value) -> Option<Entry> {
    let Value::Array(parts) = value else { return None };
    let mut parts = parts.into_iter();
    let Value::BulkString(id) = parts.next()? else { return None };
    let id = StreamId::parse(std::str::from_utf8(&id).ok()?)?;
    let pairs = match parts.next() {
        Some(Value::Array(fields)) => Some(pairs(fields)),
        _ => None,
    };
    Some(Entry { id, pairs })
}

fn pairs(fields: Vec<Value>) -> Vec<(String, Vec<u8>)> {
    let mut fields = fields.into_iter();
    let mut pairs = Vec::new();
    while let (Some(Value::BulkString(name)), Some(Value::BulkString(value))) =
        (fields.next(), fields.next())
    {
        pairs.push((String::from_utf8_lossy(&name).into_owned(), value));
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn replies_are_read_with_fields_that_stand_twice_and_entries_that_are_gone() {
        let fields = ["a", "1", "a", "2"].map(bulk).to_vec();
        let reply = Value::Array(vec![Value::Array(vec![
            bulk("stream"),
            Value::Array(vec![
                Value::Array(vec![bulk("1-1"), Value::Array(fields)]),
                Value::Array(vec![bulk("2-0"), Value::Nil]),
            ]),
        ])]);
        let entries = entries(reply);
        assert_eq!(entries[0].pairs.as_ref().unwrap().len(), 2);
        assert_eq!((entries[1].id, entries[1].pairs.is_none()), (StreamId { ms: 2, n: 0 }, true));
        assert!(super::entries(Value::Nil).is_empty());
    }
}
