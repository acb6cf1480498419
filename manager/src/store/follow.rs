//! For clients: sending a command, waiting for its reply, following a stream.

use redis::streams::StreamReadReply;
use std::collections::BTreeMap;
use std::time::Duration;
use worker_link::Connection;
use worker_protocol::signature::Pair;
use worker_protocol::{Reply, WorkerId};

use super::connect::{Store, StoreError, texts};

const BLOCK: Duration = Duration::from_secs(2);

/// An entry of a stream.
pub struct Seen {
    /// Which stream.
    pub stream: String,
    /// Its fields.
    pub fields: BTreeMap<String, String>,
}

/// Reads streams from where it stands, on a connection of its own.
pub struct Follower {
    connection: Connection,
    at: BTreeMap<String, String>,
}

impl Store {
    /// Sends a command, with the fields that an entry is to have, and gives the entry's id.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn send(&self, fields: &[Pair]) -> Result<String, StoreError> {
        self.append(&self.keys.commands(), fields).await
    }

    /// Writes an entry to a worker's input, and gives the entry's id.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn tell_worker(
        &self,
        id: WorkerId,
        fields: &[(&str, String)],
    ) -> Result<String, StoreError> {
        self.append(&self.keys.input(id), fields).await
    }

    async fn append(
        &self,
        stream: &str,
        fields: &[(impl AsRef<str>, impl AsRef<[u8]>)],
    ) -> Result<String, StoreError> {
        let mut connection = self.short().await?;
        let mut command = redis::cmd("XADD");
        command.arg(stream).arg("*");
        for (name, value) in fields {
            command.arg(name.as_ref()).arg(value.as_ref());
        }
        command.query_async(&mut connection).await.map_err(StoreError::during("send an entry"))
    }

    /// Waits for a reply on a list; none, when there is none in time.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn await_reply(
        &self,
        list: &str,
        limit: Duration,
    ) -> Result<Option<Reply>, StoreError> {
        let mut connection = self.blocking(limit).await?;
        let answer: Option<(String, String)> = redis::cmd("BLPOP")
            .arg(list)
            .arg(limit.as_secs_f64())
            .query_async(&mut connection)
            .await
            .map_err(StoreError::during("wait for a reply"))?;
        Ok(answer.and_then(|(_, text)| Reply::from_json(&text)))
    }

    /// The id of a stream's last entry, to follow from; `0` when there is none.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn last_id(&self, stream: &str) -> Result<String, StoreError> {
        let mut connection = self.short().await?;
        let reply: redis::streams::StreamRangeReply = redis::cmd("XREVRANGE")
            .arg(stream)
            .arg(&["+", "-", "COUNT", "1"])
            .query_async(&mut connection)
            .await
            .map_err(StoreError::during("find the end of a stream"))?;
        Ok(reply.ids.first().map_or_else(|| "0".to_owned(), |entry| entry.id.clone()))
    }

    /// Follows streams, each from after the given id.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn follow(&self, at: BTreeMap<String, String>) -> Result<Follower, StoreError> {
        Ok(Follower { connection: self.blocking(BLOCK).await?, at })
    }
}

impl Follower {
    /// The next entries; none, when there are none for a while.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn next(&mut self) -> Result<Vec<Seen>, StoreError> {
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(256).arg("BLOCK").arg(BLOCK.as_secs() * 1000).arg("STREAMS");
        self.at.keys().for_each(|stream| {
            command.arg(stream);
        });
        self.at.values().for_each(|id| {
            command.arg(id);
        });
        let reply: Option<StreamReadReply> = command
            .query_async(&mut self.connection)
            .await
            .map_err(StoreError::during("follow a stream"))?;
        let mut seen = Vec::new();
        for key in reply.map(|reply| reply.keys).unwrap_or_default() {
            for entry in &key.ids {
                seen.push(Seen { stream: key.key.clone(), fields: texts(entry) });
                self.at.insert(key.key.clone(), entry.id.clone());
            }
        }
        Ok(seen)
    }
}
