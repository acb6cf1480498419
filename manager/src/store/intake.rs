//! What a worker has taken from its input, and what comes for those that stand still.

use redis::Value;
use redis::streams::{StreamInfoGroupsReply, StreamReadReply};
use std::collections::BTreeMap;
use std::time::Duration;
use worker_link::Connection;
use worker_protocol::key::INPUT_GROUP;
use worker_protocol::{Pulse, WorkerId};

use super::connect::{Store, StoreError};

/// A read that finds nothing returns after this; so a dead connection is noticed.
const BLOCK: Duration = Duration::from_secs(5);

/// How far a worker is with its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intake {
    /// The last entry that it was given.
    pub last: String,
    /// Entries that it has and is not done with.
    pub pending: usize,
    /// Entries that it was not given yet; where Redis cannot tell, whether there may be any.
    pub behind: usize,
}

impl Intake {
    /// Whether it has nothing to do.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.pending == 0 && self.behind == 0
    }
}

/// Listens to the inputs of several workers, on a connection of its own. It acknowledges nothing and
/// keeps nothing of what it reads.
pub struct Listener {
    connection: Connection,
}

impl Store {
    /// How far a worker is with its input; none, when it has no input.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn intake(&self, id: WorkerId) -> Result<Option<Intake>, StoreError> {
        let input = self.keys.input(id);
        let failed = StoreError::during("look at a worker's input");
        let mut connection = self.short().await?;
        let exists: bool =
            redis::cmd("EXISTS").arg(&input).query_async(&mut connection).await.map_err(&failed)?;
        if !exists {
            return Ok(None);
        }
        let mut pipe = redis::pipe();
        pipe.cmd("XINFO").arg("GROUPS").arg(&input);
        pipe.cmd("XREVRANGE").arg(&input).arg(&["+", "-", "COUNT", "1"]);
        let (groups, newest): (StreamInfoGroupsReply, Vec<(String, Value)>) =
            pipe.query_async(&mut connection).await.map_err(&failed)?;
        let own = groups.groups.into_iter().find(|group| group.name == INPUT_GROUP);
        let newest = newest.into_iter().next().map(|(id, _)| id);
        Ok(own.map(|group| {
            let maybe = newest.is_some_and(|id| id != group.last_delivered_id);
            Intake {
                behind: group.lag.unwrap_or(usize::from(maybe)),
                last: group.last_delivered_id,
                pending: group.pending,
            }
        }))
    }

    /// Has the last sign of life of a worker that stands still stay: the next one expires again.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn keep_pulse(&self, id: WorkerId) -> Result<(), StoreError> {
        let mut connection = self.short().await?;
        let _: i64 = redis::cmd("PERSIST")
            .arg(self.keys.heartbeat(id))
            .query_async(&mut connection)
            .await
            .map_err(StoreError::during("keep a heartbeat"))?;
        Ok(())
    }

    /// Those of these workers that say that they have had nothing to do for as long as they may.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn idle(&self, ids: &[WorkerId]) -> Result<Vec<WorkerId>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<_> = ids.iter().map(|id| self.keys.heartbeat(*id)).collect();
        let mut connection = self.short().await?;
        let pulses: Vec<Option<String>> = redis::cmd("MGET")
            .arg(keys)
            .query_async(&mut connection)
            .await
            .map_err(StoreError::during("read heartbeats"))?;
        let is_idle = |text: Option<String>| {
            text.and_then(|text| serde_json::from_str::<Pulse>(&text).ok()).is_some_and(|p| p.idle)
        };
        let pairs = ids.iter().zip(pulses);
        Ok(pairs.filter_map(|(id, pulse)| is_idle(pulse).then_some(*id)).collect())
    }

    /// A listener.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn listener(&self) -> Result<Listener, StoreError> {
        Ok(Listener { connection: self.blocking(BLOCK).await? })
    }
}

impl Listener {
    /// Waits until something comes, and says for whom; for none, when nothing does for a while.
    /// May be given up: no entry is lost by that, and the listener is to be dropped then.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn next(
        &mut self,
        store: &Store,
        after: &BTreeMap<WorkerId, String>,
    ) -> Result<Vec<WorkerId>, StoreError> {
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(1).arg("BLOCK").arg(BLOCK.as_secs() * 1000).arg("STREAMS");
        let inputs: Vec<_> = after.keys().map(|id| store.keys.input(*id)).collect();
        command.arg(&inputs).arg(after.values().collect::<Vec<_>>());
        let reply: Option<StreamReadReply> = command
            .query_async(&mut self.connection)
            .await
            .map_err(StoreError::during("listen to inputs"))?;
        let came: Vec<_> = reply.map(|reply| reply.keys).unwrap_or_default();
        let came: Vec<_> = came.into_iter().map(|key| key.key).collect();
        let pairs = after.keys().zip(inputs);
        Ok(pairs.filter(|(_, input)| came.contains(input)).map(|(id, _)| *id).collect())
    }
}
