//! Taking commands from their stream.

use redis::streams::{StreamAutoClaimReply, StreamId, StreamRangeReply, StreamReadReply};
use redis::{FromRedisValue, RedisResult, Value};
use std::collections::BTreeMap;
use std::time::Duration;
use worker_link::Connection;
use worker_protocol::key::COMMAND_GROUP;
use worker_protocol::{CallerName, Reply, RequestName, Status, WorkerId};

use super::connect::{Store, StoreError};
use super::lease::HOST;
use crate::decide::PriorRecord;
use crate::driver::Prior;

/// A read that finds nothing returns after this; so the loop sees a shutdown and a dead connection.
const BLOCK: Duration = Duration::from_secs(2);
/// Entries of one read: a burst is taken in a few round trips.
const BATCH: usize = 128;

/// Takes over what other readers took and left, and forgets readers that left nothing. In one go:
/// with a reader that is forgotten would go what it took in between.
const CLAIM: &str = r"
local leader = redis.call('GET', KEYS[2])
if leader and leader ~= ARGV[2] then return {} end
local claimed = {}
for _, reader in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local name, pending = reader[2], reader[4]
  if name ~= ARGV[2] and pending == 0 then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], name)
  elseif name ~= ARGV[2] then
    local ids = {}
    for _, entry in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', ARGV[3], name)) do
      table.insert(ids, entry[1])
    end
    for _, entry in ipairs(redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, unpack(ids))) do
      table.insert(claimed, entry)
    end
  end
end
return claimed";

/// A raw entry of the commands stream.
pub struct Delivered {
    /// Its id.
    pub id: String,
    /// Its fields. Empty, when it was trimmed away before anybody read it.
    pub fields: Vec<(String, Vec<u8>)>,
}

/// What is looked up of an entry.
pub struct Asked<'a> {
    /// The request that it names.
    pub request: &'a RequestName,
    /// Its own id.
    pub entry_id: &'a str,
    /// The worker in question.
    pub worker: Option<WorkerId>,
}

/// The fields of a hash that were asked for.
type Row = Vec<Option<String>>;

/// Reads the commands stream as one consumer of the group, on a connection of its own.
pub struct CommandReader {
    connection: Connection,
    stream: String,
    fence: String,
    consumer: String,
}

impl Store {
    /// Connects a reader and makes sure that stream and group exist.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn command_reader(&self, consumer: &str) -> Result<CommandReader, StoreError> {
        let mut connection = self.blocking(BLOCK).await?;
        let stream = self.keys.commands();
        // From the first entry: what was written before the first start counts too.
        let made: RedisResult<Value> = redis::cmd("XGROUP")
            .arg("CREATE")
            .arg(&stream)
            .arg(COMMAND_GROUP)
            .arg("0")
            .arg("MKSTREAM")
            .query_async(&mut connection)
            .await;
        match made {
            Err(error) if error.code() != Some("BUSYGROUP") => {
                Err(StoreError::during("make the consumer group of the commands")(error))
            }
            _ => {
                let (fence, consumer) = (self.keys.fence(HOST), consumer.to_owned());
                Ok(CommandReader { connection, stream, fence, consumer })
            }
        }
    }

    /// What is remembered of requests and of the workers they are about, in their order. A key
    /// that something else was written to is the failure of that one request.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn priors(
        &self,
        requests: &[Asked<'_>],
    ) -> Result<Vec<Result<Prior, StoreError>>, StoreError> {
        let mut pipe = redis::pipe();
        for asked in requests {
            pipe.cmd("HMGET").arg(self.keys.request(asked.request));
            pipe.arg("reply").arg(format!("entry:{}", asked.entry_id)).arg("retried");
            if let Some(id) = asked.worker {
                pipe.cmd("HMGET").arg(self.keys.worker(id)).arg(&[
                    "status",
                    "request_id",
                    "caller",
                ]);
            }
        }
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let during = StoreError::during("look up a request");
        let rows: Vec<RedisResult<Row>> =
            pipe.ignore_errors().query_async(&mut self.short().await?).await.map_err(&during)?;
        let mut rows = rows.into_iter();
        let prior = |asked: &Asked<'_>| {
            let request = rows.next().unwrap_or_else(|| Ok(Row::new()));
            let worker = asked.worker.and_then(|_| rows.next()).transpose();
            Ok(prior(asked.entry_id, &request.map_err(&during)?, worker.map_err(&during)?))
        };
        Ok(requests.iter().map(prior).collect())
    }

    /// Trims the commands stream, when it has grown over its bound, below what is acknowledged.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn trim_commands(&self) -> Result<(), StoreError> {
        let mut connection = self.short().await?;
        let during = StoreError::during("trim the commands");
        let stream = self.keys.commands();
        let length: usize =
            redis::cmd("XLEN").arg(&stream).query_async(&mut connection).await.map_err(&during)?;
        if length <= self.retention.commands {
            return Ok(());
        }
        let pending: Vec<Value> = redis::cmd("XPENDING")
            .arg(&stream)
            .arg(COMMAND_GROUP)
            .query_async(&mut connection)
            .await
            .map_err(&during)?;
        let oldest = pending.get(1).and_then(|id| Option::<String>::from_redis_value_ref(id).ok());
        let boundary = match oldest.flatten() {
            Some(id) => id,
            None => last_delivered(&stream, &mut connection).await.map_err(&during)?,
        };
        let mut pipe = redis::pipe();
        pipe.cmd("XTRIM").arg(&stream).arg("MINID").arg(boundary);
        self.apply_all(&mut pipe, "trim the commands").await
    }
}

fn prior(entry_id: &str, request: &Row, worker: Option<Row>) -> Prior {
    let cell = |column: usize| request.get(column).cloned().flatten();
    Prior {
        reply: cell(0).and_then(|text| Reply::from_json(&text)),
        same_entry: cell(1).is_some(),
        retried: cell(2).is_some_and(|retried| retried == entry_id),
        record: worker.and_then(|worker| {
            let cell = |column: usize| worker.get(column).cloned().flatten();
            let request_id = cell(1).unwrap_or_default();
            let caller = cell(2).and_then(|name| CallerName::parse(&name).ok());
            Some(PriorRecord { status: Status::from_wire(&cell(0)?)?, request_id, caller })
        }),
    }
}

async fn last_delivered(
    stream: &str,
    connection: &mut super::counted::Counted,
) -> RedisResult<String> {
    let groups: Vec<BTreeMap<String, Value>> =
        redis::cmd("XINFO").arg("GROUPS").arg(stream).query_async(connection).await?;
    let id = groups.iter().find_map(|group| {
        let name: String = redis::from_redis_value_ref(group.get("name")?).ok()?;
        (name == COMMAND_GROUP).then(|| group.get("last-delivered-id").cloned()).flatten()
    });
    Ok(id.and_then(|id| redis::from_redis_value(id).ok()).unwrap_or_else(|| "0-0".to_owned()))
}

impl CommandReader {
    /// Where [`CommandReader::claim_all`] begins.
    pub const BEGINNING: &str = "0-0";

    /// Takes over the next entries that anybody took and did not acknowledge, this reader too, in
    /// their order; and tells where to go on.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn claim_all(
        &mut self,
        from: &str,
    ) -> Result<(Vec<Delivered>, Option<String>), StoreError> {
        let reply: StreamAutoClaimReply = redis::cmd("XAUTOCLAIM")
            .arg(&[&self.stream, COMMAND_GROUP, &self.consumer, "0", from])
            .arg("COUNT")
            .arg(BATCH)
            .query_async(&mut self.connection)
            .await
            .map_err(StoreError::during("claim commands that were not finished"))?;
        let gone = reply.deleted_ids.into_iter().map(|id| Delivered { id, fields: Vec::new() });
        let mut entries: Vec<_> = reply.claimed.into_iter().map(delivered).collect();
        entries.extend(gone);
        let next = reply.next_stream_id;
        Ok((entries, (next != Self::BEGINNING).then_some(next)))
    }

    /// Takes over what others took and left.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn claim_from_others(&mut self) -> Result<Vec<Delivered>, StoreError> {
        let reply: StreamRangeReply = redis::cmd("EVAL")
            .arg(CLAIM)
            .arg(2)
            .arg(&[&self.stream, &self.fence, COMMAND_GROUP, &self.consumer])
            .arg(BATCH)
            .query_async(&mut self.connection)
            .await
            .map_err(StoreError::during("claim commands of other readers"))?;
        Ok(reply.ids.into_iter().map(delivered).collect())
    }

    /// New entries; none, when there are none for a while.
    ///
    /// # Errors
    /// When Redis does not answer, or the group is gone.
    pub async fn next(&mut self) -> Result<Vec<Delivered>, StoreError> {
        let mut command = redis::cmd("XREADGROUP");
        command.arg("GROUP").arg(COMMAND_GROUP).arg(&self.consumer).arg("COUNT").arg(BATCH);
        command.arg("BLOCK").arg(u64::try_from(BLOCK.as_millis()).unwrap_or(1000));
        command.arg("STREAMS").arg(&self.stream).arg(">");
        let reply: Option<StreamReadReply> = command
            .query_async(&mut self.connection)
            .await
            .map_err(StoreError::during("read commands"))?;
        let keys = reply.map(|reply| reply.keys).unwrap_or_default();
        Ok(keys.into_iter().flat_map(|key| key.ids).map(delivered).collect())
    }
}

fn delivered(entry: StreamId) -> Delivered {
    let bytes = |value: Value| match value {
        Value::BulkString(bytes) => bytes,
        Value::SimpleString(text) => text.into_bytes(),
        _ => Vec::new(),
    };
    let mut fields: Vec<_> =
        entry.map.into_iter().map(|(name, value)| (name, bytes(value))).collect();
    fields.sort();
    Delivered { id: entry.id, fields }
}
