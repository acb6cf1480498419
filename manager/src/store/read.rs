//! Taking commands from their stream.

use redis::aio::MultiplexedConnection;
use redis::streams::{StreamAutoClaimReply, StreamId, StreamReadReply};
use redis::{FromRedisValue, RedisResult, Value};
use std::collections::BTreeMap;
use std::time::Duration;
use worker_protocol::key::COMMAND_GROUP;
use worker_protocol::{Reply, Status, WorkerId};

use super::connect::{Store, StoreError};
use crate::decide::PriorRecord;
use crate::driver::Prior;

/// A read that finds nothing returns after this; so the loop sees a shutdown and a dead connection.
const BLOCK: Duration = Duration::from_secs(2);
/// Entries of one read: a burst is taken in a few round trips.
const BATCH: usize = 128;
/// An entry that another manager took and did not finish in this time is taken over.
const ABANDONED: Duration = Duration::from_secs(60);

/// A raw entry of the commands stream.
pub struct Delivered {
    /// Its id.
    pub id: String,
    /// Its fields. Empty, when it was trimmed away before anybody read it.
    pub fields: Vec<(String, Vec<u8>)>,
}

/// Reads the commands stream as one consumer of the group, on a connection of its own.
pub struct CommandReader {
    connection: MultiplexedConnection,
    stream: String,
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
            _ => Ok(CommandReader { connection, stream, consumer: consumer.to_owned() }),
        }
    }

    /// What is remembered of a request and of the worker it is about.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn prior(
        &self,
        request_id: &str,
        entry_id: &str,
        worker: Option<WorkerId>,
    ) -> Result<Prior, StoreError> {
        let mut pipe = redis::pipe();
        pipe.cmd("HMGET")
            .arg(self.keys.request(request_id))
            .arg("reply")
            .arg(format!("entry:{entry_id}"));
        if let Some(id) = worker {
            pipe.cmd("HMGET").arg(self.keys.worker(id)).arg("status").arg("request_id");
        }
        let mut connection = self.short().await?;
        let rows: Vec<Vec<Option<String>>> = pipe
            .query_async(&mut connection)
            .await
            .map_err(StoreError::during("look up a request"))?;
        let cell = |row: usize, column: usize| rows.get(row)?.get(column)?.clone();
        Ok(Prior {
            reply: cell(0, 0).and_then(|text| Reply::from_json(&text)),
            same_entry: cell(0, 1).is_some(),
            record: cell(1, 0).and_then(|word| {
                let request_id = cell(1, 1).unwrap_or_default();
                Some(PriorRecord { status: Status::from_wire(&word)?, request_id })
            }),
        })
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
        let _: i64 = redis::cmd("XTRIM")
            .arg(&stream)
            .arg("MINID")
            .arg(boundary)
            .query_async(&mut connection)
            .await
            .map_err(&during)?;
        Ok(())
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
    /// Entries that this consumer took and has not acknowledged, after `after`.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn own_pending(&mut self, after: &str) -> Result<Vec<Delivered>, StoreError> {
        self.read(after, None).await
    }

    /// New entries; none, when there are none for a while.
    ///
    /// # Errors
    /// When Redis does not answer, or the group is gone.
    pub async fn next(&mut self) -> Result<Vec<Delivered>, StoreError> {
        self.read(">", Some(BLOCK)).await
    }

    async fn read(
        &mut self,
        from: &str,
        block: Option<Duration>,
    ) -> Result<Vec<Delivered>, StoreError> {
        let mut command = redis::cmd("XREADGROUP");
        command.arg("GROUP").arg(COMMAND_GROUP).arg(&self.consumer).arg("COUNT").arg(BATCH);
        if let Some(block) = block {
            command.arg("BLOCK").arg(u64::try_from(block.as_millis()).unwrap_or(1000));
        }
        command.arg("STREAMS").arg(&self.stream).arg(from);
        let reply: Option<StreamReadReply> = command
            .query_async(&mut self.connection)
            .await
            .map_err(StoreError::during("read commands"))?;
        let keys = reply.map(|reply| reply.keys).unwrap_or_default();
        Ok(keys.into_iter().flat_map(|key| key.ids).map(delivered).collect())
    }

    /// Takes over what other consumers took and left.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn claim_abandoned(&mut self) -> Result<Vec<Delivered>, StoreError> {
        let mut claimed = Vec::new();
        let mut cursor = "0-0".to_owned();
        loop {
            let reply: StreamAutoClaimReply = redis::cmd("XAUTOCLAIM")
                .arg(&self.stream)
                .arg(COMMAND_GROUP)
                .arg(&self.consumer)
                .arg(u64::try_from(ABANDONED.as_millis()).unwrap_or(60_000))
                .arg(&cursor)
                .query_async(&mut self.connection)
                .await
                .map_err(StoreError::during("claim abandoned commands"))?;
            claimed.extend(reply.claimed.into_iter().map(delivered));
            if reply.next_stream_id == "0-0" {
                return Ok(claimed);
            }
            cursor = reply.next_stream_id;
        }
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
