//! What the gateway asks Redis and writes to it, as its own user.

use redis::{AsyncConnectionConfig, Cmd, FromRedisValue, RedisError};
use std::net::IpAddr;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tracing::{info, warn};

use worker_link::chain::chain as reason;
use worker_link::{Connection, Link};
use worker_protocol::WorkerId;
use worker_protocol::gateway::{GatewayKeys, Passage};

use crate::refusals::Entry;

/// A worker waits for as long at a Redis that stands still.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// A Redis that was away is not asked again before, so that workers wait for it once and not each.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Redis does not answer, or not with what was asked for. It is logged where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Redis does not answer the gateway")]
pub struct Away;

/// Redis, with one connection that all requests share.
pub struct Store {
    link: Link,
    keys: GatewayKeys,
    events_entries: usize,
    line: Mutex<Line>,
}

#[derive(Default)]
struct Line {
    connection: Option<Connection>,
    away_since: Option<Instant>,
    not_before: Option<Instant>,
}

impl Store {
    /// A Redis that is not connected yet. Of events, about `events_entries` are kept.
    #[must_use]
    pub fn new(link: Link, keys: GatewayKeys, events_entries: usize) -> Self {
        Self { link, keys, events_entries, line: Mutex::default() }
    }

    /// What the worker with this network may reach; nothing when there is none.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn passage(&self, network: IpAddr) -> Result<Option<Passage>, Away> {
        let mut command = redis::cmd("HGET");
        command.arg(&self.keys.passages).arg(network.to_string());
        let Some(json) = self.ask::<Option<String>>(&command).await? else { return Ok(None) };
        let read = serde_json::from_str(&json);
        // Its text may show the token's digest: only where it is wrong is told.
        Ok(read.inspect_err(|e| warn!(%network, line = e.line(), column = e.column(), "a passage cannot be read")).ok())
    }

    /// Writes an entry to the stream of events.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn tell(&self, entry: &Entry) -> Result<(), Away> {
        let mut command = redis::cmd("XADD");
        command.arg(&self.keys.events).arg("MAXLEN").arg("~").arg(self.events_entries).arg("*");
        for (field, value) in entry.fields() {
            command.arg(field).arg(value);
        }
        self.ask(&command).await
    }

    /// Counts requests of a worker to models, and tells how many there were then.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn add_requests(&self, worker: &WorkerId, more: u64) -> Result<u64, Away> {
        let mut command = redis::cmd("HINCRBY");
        command.arg(&self.keys.spent).arg(format!("{worker}:requests")).arg(more);
        self.ask(&command).await
    }

    /// Counts what they cost, in US dollars, and tells how much it was then.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn add_cost(&self, worker: &WorkerId, more: f64) -> Result<f64, Away> {
        let mut command = redis::cmd("HINCRBYFLOAT");
        command.arg(&self.keys.spent).arg(format!("{worker}:usd")).arg(more);
        self.ask(&command).await
    }

    /// Whether Redis answers.
    pub async fn is_there(&self) -> bool {
        self.ask::<String>(&redis::cmd("PING")).await.is_ok()
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Away> {
        let mut connection = self.connection().await?;
        match command.query_async(&mut connection).await {
            Ok(answer) => Ok(answer),
            Err(error) => {
                self.failed(&error).await;
                Err(Away)
            }
        }
    }

    async fn connection(&self) -> Result<Connection, Away> {
        let mut line = self.line.lock().await;
        if let Some(connection) = &line.connection {
            return Ok(connection.clone());
        }
        if line.not_before.is_some_and(|moment| Instant::now() < moment) {
            return Err(Away);
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_WITHIN))
            .set_response_timeout(Some(ANSWER_WITHIN));
        match self.link.connect(&config).await {
            Ok(connection) => {
                if let Some(since) = line.away_since.take() {
                    info!(seconds = since.elapsed().as_secs(), "Redis is there again");
                }
                line.connection = Some(connection.clone());
                Ok(connection)
            }
            Err(error) => {
                line.lost(&reason(&error));
                Err(Away)
            }
        }
    }

    async fn failed(&self, error: &RedisError) {
        // What Redis answers shows that the connection is good, but for one that writes no more.
        match error.code() {
            None | Some("READONLY" | "MOVED" | "LOADING" | "MASTERDOWN") => {
                self.line.lock().await.lost(&error.to_string());
            }
            Some(_) => warn!(%error, "Redis refuses a command of the gateway"),
        }
    }
}

impl Line {
    fn lost(&mut self, error: &str) {
        let now = Instant::now();
        if self.away_since.is_none() {
            warn!(error, "Redis does not answer; workers go on with what is known of them");
        }
        self.away_since.get_or_insert(now);
        self.connection = None;
        self.not_before = Some(now + ASK_AGAIN_AFTER);
    }
}
