//! Writing replies, records and events.

use redis::Pipeline;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::time::Duration;
use worker_protocol::key::{COMMAND_GROUP, INPUT_GROUP};
use worker_protocol::reply::plain;
use worker_protocol::{ErrorKind, Header, Problem, Pulse, Reply, RequestName, WorkerId};

use super::connect::{Store, StoreError, is_final};
use crate::driver::Settled;

/// How much is kept of what this system writes, and for how long.
#[derive(Clone, Debug)]
pub struct Retention {
    /// Entries of the commands stream, before what is acknowledged is trimmed.
    pub commands: usize,
    /// Entries of the replies stream, roughly.
    pub responses: usize,
    /// Entries of the events stream, roughly.
    pub events: usize,
    /// How long a reply list waits to be read.
    pub reply_list: Duration,
    /// How long a request's reply is remembered.
    pub requests: Duration,
    /// How long record and output of a worker that is gone are kept.
    pub farewell: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        const HOUR: Duration = Duration::from_secs(3600);
        Self {
            commands: 10_000,
            responses: 10_000,
            events: 10_000,
            reply_list: HOUR,
            requests: 24 * HOUR,
            farewell: 24 * HOUR,
        }
    }
}

/// Writes a reply once for each entry, however often it is tried: the field `entry:<id>` of the
/// request's hash says that this entry was answered. Where something else has that hash's name, or
/// the request is not to be remembered, the acknowledgement does.
const REPLY: &str = r"
local forgotten = KEYS[1] == KEYS[3] and { err = 'WRONGTYPE' }
local fresh = forgotten or redis.pcall('HSETNX', KEYS[1], 'entry:' .. ARGV[1], '1')
if fresh == 1 then
  redis.call('HSETNX', KEYS[1], 'reply', ARGV[2])
  redis.call('EXPIRE', KEYS[1], ARGV[3])
elseif fresh ~= 0 then
  if not string.find(fresh.err, '^WRONGTYPE') then return fresh end
  fresh = redis.call('XACK', KEYS[3], ARGV[8], ARGV[1])
end
if fresh == 1 then
  local fields = cjson.decode(ARGV[4])
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[5], '*', unpack(fields))
  if ARGV[6] ~= '' and type(redis.pcall('RPUSH', ARGV[6], ARGV[2])) == 'number' then
    redis.call('EXPIRE', ARGV[6], ARGV[7])
  end
end
if ARGV[8] ~= '' then redis.call('XACK', KEYS[3], ARGV[8], ARGV[1]) end
return redis.status_reply('OK')";

/// The field `prompted` of the request's hash says that the worker's input has it.
const PUT_IN: &str = r"
if redis.call('HSETNX', KEYS[1], 'prompted', '1') == 1 then
  redis.call('EXPIRE', KEYS[1], ARGV[1])
  redis.call('XADD', KEYS[2], '*', ARGV[2], ARGV[3])
end
return redis.status_reply('OK')";

/// The input of a worker that is gone expires also when it was never made: what somebody writes to
/// it later is to expire with it.
const CLOSE_INPUT: &str = r"
redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
redis.call('EXPIRE', KEYS[1], ARGV[2])
return redis.status_reply('OK')";

/// Several writes that become visible together.
pub(crate) struct Batch<'a> {
    pub(super) store: &'a Store,
    pub(super) pipe: Pipeline,
}

/// A command of a batch that Redis will never carry out. The others were.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Which one, counted from 0.
    pub(crate) at: usize,
    /// What Redis says.
    pub(crate) reason: String,
}

impl Store {
    /// Begins a batch.
    pub(crate) fn batch(&self) -> Batch<'_> {
        Batch { store: self, pipe: redis::pipe() }
    }

    /// What `status` tells: the record, with the wrapper's last sign of life.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub(crate) async fn told(
        &self,
        id: WorkerId,
    ) -> Result<Result<Map<String, Value>, Problem>, StoreError> {
        let record: BTreeMap<String, String> = redis::cmd("HGETALL")
            .arg(self.keys.worker(id))
            .query_async(&mut self.short().await?)
            .await
            .map_err(StoreError::during("read a worker's record"))?;
        if record.is_empty() {
            let message = format!("no worker has the id {id}, and none has had it lately");
            return Ok(Err(Problem::new(ErrorKind::UnknownWorker, message)));
        }
        Ok(Ok(record_content(record, self.pulse(id).await?)))
    }
}

/// The record as the content of a reply: numbers as numbers, without what is the manager's own.
fn record_content(record: BTreeMap<String, String>, pulse: Option<Pulse>) -> Map<String, Value> {
    let typed = |name: &str, text: String| match name {
        "exit_code" | "restarts" | "turns" | "cost_usd" | "oom_killed" | "labels" | "egress"
        | "credentials" => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        _ => Value::String(text),
    };
    let own = ["spec", "intent", "said_before", "request_id", "correlation_id"];
    let mut content: Map<_, _> = record
        .into_iter()
        .filter(|(name, _)| !own.contains(&name.as_str()))
        .map(|(name, text)| (name.clone(), typed(&name, text)))
        .collect();
    if let Some(pulse) = pulse {
        content.insert("turns".to_owned(), pulse.turns.into());
        content.insert("cost_usd".to_owned(), pulse.cost_usd.into());
        if let Some(at) = pulse.last_activity_at {
            content.insert("last_activity_at".to_owned(), at.into());
        }
    }
    content
}

impl Batch<'_> {
    /// Adds a reply.
    pub(crate) fn reply(&mut self, header: &Header, reply: &Reply, settled: Settled) {
        let keys = &self.store.keys;
        let keep = &self.store.retention;
        let entry: Vec<String> = reply
            .to_entry(header.form)
            .into_iter()
            .flat_map(|(name, value)| [name, value])
            .collect();
        self.pipe
            .cmd("EVAL")
            .arg(REPLY)
            .arg(3)
            .arg(match settled {
                Settled::Forgotten => keys.commands(),
                Settled::Yes | Settled::Later => keys.request(&header.request()),
            })
            .arg(keys.responses())
            .arg(keys.commands())
            .arg(&header.entry_id)
            .arg(reply.to_json())
            .arg(keep.requests.as_secs())
            .arg(Value::from(entry).to_string())
            .arg(keep.responses)
            .arg(header.reply_to.as_deref().unwrap_or_default())
            .arg(keep.reply_list.as_secs())
            .arg(if settled == Settled::Later { "" } else { COMMAND_GROUP });
    }

    /// Sets fields of a record; null takes one away. A record that is new stands in the index.
    pub(crate) fn record(&mut self, id: WorkerId, fields: &Map<String, Value>) {
        let key = self.store.keys.worker(id);
        for (name, value) in fields {
            if value.is_null() {
                self.pipe.hdel(&key, name);
            } else {
                self.pipe.hset(&key, name, plain(value));
            }
        }
        if let Some(Value::String(created)) = fields.get("created_at") {
            let at = created.parse::<jiff::Timestamp>().map(|at| at.as_millisecond());
            let score = at.unwrap_or_default();
            self.pipe.zadd(self.store.keys.index(), id.to_string(), score);
        }
    }

    /// Has a worker's wrapper end it. One that is gone has no input.
    pub(crate) fn over_disk(&mut self, id: WorkerId, limit: u64) {
        let mut add = redis::cmd("XADD");
        add.arg(self.store.keys.input(id)).arg("NOMKSTREAM").arg("*");
        self.pipe.add_command(add.arg("type").arg("stop").arg("disk").arg(limit).clone());
    }

    /// A worker is gone: out of the index, and what it leaves behind expires.
    pub(crate) fn farewell(&mut self, id: WorkerId) {
        let keys = &self.store.keys;
        let seconds = i64::try_from(self.store.retention.farewell.as_secs()).unwrap_or(i64::MAX);
        self.pipe.zrem(keys.index(), id.to_string());
        for key in [keys.worker(id), keys.output(id)] {
            self.pipe.expire(key, seconds);
        }
        self.pipe.cmd("EVAL").arg(CLOSE_INPUT).arg(1).arg(keys.input(id));
        self.pipe.arg(INPUT_GROUP).arg(seconds);
        self.pipe.del(keys.heartbeat(id));
    }

    /// Adds an entry to the events stream.
    pub(crate) fn event(&mut self, fields: &Map<String, Value>) {
        let keep = self.store.retention.events;
        let command = self.pipe.cmd("XADD");
        command.arg(self.store.keys.events()).arg("MAXLEN").arg("~").arg(keep).arg("*");
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            command.arg(name).arg(plain(value));
        }
    }

    /// Adds an entry that could not be understood: who sent it and why it failed, never its body,
    /// which may hold secrets.
    pub(crate) fn dead(&mut self, header: &Header, problem: &Problem, now: jiff::Timestamp) {
        self.put_aside(problem, now)
            .arg(&["entry_id", &header.entry_id])
            .arg(&["request_id", &header.request_id])
            .arg(&["command", &header.command]);
        if let Some(caller) = &header.caller {
            self.pipe.arg(&["caller", caller.as_str()]);
        }
    }

    /// Adds an entry about something that could not be written.
    pub(crate) fn not_written(&mut self, problem: &Problem, now: jiff::Timestamp) {
        self.put_aside(problem, now);
    }

    fn put_aside(&mut self, problem: &Problem, now: jiff::Timestamp) -> &mut Pipeline {
        let keep = self.store.retention.events;
        self.pipe
            .cmd("XADD")
            .arg(self.store.keys.dead())
            .arg(&["MAXLEN", "~"])
            .arg(keep)
            .arg("*")
            .arg(&["error", problem.kind.as_str()])
            .arg(&["message", &problem.message])
            .arg(&["timestamp", &worker_protocol::rfc3339(now)])
    }

    /// Acknowledges a command.
    pub(crate) fn acknowledge(&mut self, entry_id: &str) {
        self.pipe.xack(self.store.keys.commands(), COMMAND_GROUP, &[entry_id]);
    }

    /// Puts something into a worker's input: once for the request, however often tried.
    pub(crate) fn put_in(&mut self, request: &RequestName, id: WorkerId, field: [&str; 2]) {
        self.pipe
            .cmd("EVAL")
            .arg(PUT_IN)
            .arg(2)
            .arg(self.store.keys.request(request))
            .arg(self.store.keys.input(id))
            .arg(self.store.retention.requests.as_secs())
            .arg(&field);
    }

    /// How many commands it has so far.
    pub(crate) fn len(&self) -> usize {
        self.pipe.len()
    }

    /// Writes it all as one transaction, and gives what was refused for good.
    ///
    /// # Errors
    /// When Redis does not answer or is in trouble: then it is to be written again. When another
    /// manager has the lease: then it never is.
    pub(crate) async fn write(mut self) -> Result<Vec<Refused>, StoreError> {
        const WHAT: &str = "write replies and records";
        if self.pipe.is_empty() {
            return Ok(Vec::new());
        }
        let answers = self.store.apply(&mut self.pipe, WHAT).await?;
        let mut refused = Vec::new();
        for (at, answer) in answers.into_iter().enumerate() {
            match answer {
                Err(error) if is_final(&error) => {
                    refused.push(Refused { at, reason: error.to_string() });
                }
                Err(error) => return Err(StoreError::during(WHAT)(error)),
                Ok(_) => {}
            }
        }
        Ok(refused)
    }

    /// Writes it all, where one that is refused is an error too.
    ///
    /// # Errors
    /// When Redis does not do all of it.
    pub(super) async fn write_all(mut self) -> Result<(), StoreError> {
        self.store.apply_all(&mut self.pipe, "write what is known about images").await
    }
}
