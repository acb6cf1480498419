//! What operators want to see of Redis: whether it answers, and what waits in it.

use redis::{RedisResult, Value};
use std::collections::BTreeMap;
use worker_protocol::key::COMMAND_GROUP;
use worker_protocol::{Pulse, WorkerId};

use super::connect::{Store, StoreError};

/// Commands that are not done with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Not read yet; 0 where Redis cannot tell, as after entries were deleted.
    pub lag: i64,
    /// Read, and not acknowledged.
    pub pending: i64,
}

impl Store {
    /// Whether it does.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn answers(&self) -> Result<(), StoreError> {
        let mut connection = self.short().await?;
        let _: Value = redis::cmd("PING")
            .query_async(&mut connection)
            .await
            .map_err(StoreError::during("ask for a sign of life"))?;
        Ok(())
    }

    /// Commands that are not done with; none, when there is no stream yet.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn backlog(&self) -> Result<Backlog, StoreError> {
        let mut connection = self.short().await?;
        let stream = self.keys.commands();
        let groups: RedisResult<Vec<BTreeMap<String, Value>>> =
            redis::cmd("XINFO").arg("GROUPS").arg(stream).query_async(&mut connection).await;
        let groups = match groups {
            Err(error) if error.detail() == Some("no such key") => Vec::new(),
            groups => groups.map_err(StoreError::during("look at the commands"))?,
        };
        let name = |group: &BTreeMap<String, Value>| {
            let name = redis::from_redis_value_ref::<String>(group.get("name")?).ok()?;
            Some(name == COMMAND_GROUP)
        };
        let group = groups.into_iter().find(|group| name(group) == Some(true)).unwrap_or_default();
        let number = |name: &str| {
            let value = group.get(name).and_then(|value| redis::from_redis_value_ref(value).ok());
            value.unwrap_or_default()
        };
        Ok(Backlog { lag: number("lag"), pending: number("pending") })
    }

    /// The last signs of life of these workers, of those that have one.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn pulses(&self, ids: &[WorkerId]) -> Result<Vec<(WorkerId, Pulse)>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipe = redis::pipe();
        for id in ids {
            pipe.get(self.keys.heartbeat(*id));
        }
        let mut connection = self.short().await?;
        let texts: Vec<Option<String>> = pipe
            .query_async(&mut connection)
            .await
            .map_err(StoreError::during("read heartbeats"))?;
        let pairs = ids.iter().zip(texts);
        Ok(pairs.filter_map(|(id, text)| Some((*id, serde_json::from_str(&text?).ok()?))).collect())
    }
}
