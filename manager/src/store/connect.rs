//! Connections.

use deadpool::Runtime;
use deadpool::managed::PoolError;
use redis::AsyncConnectionConfig;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use worker_link::Connection;
use worker_protocol::Keys;

use super::counted::Counted;
use super::dial::{Dial, Pool, Pooled};
use super::write::Retention;
use crate::config::{ConfigError, RedisSource};
use crate::telemetry::meters::Meters;

/// A reply that takes longer means a Redis in trouble; the library's own default of 500 ms cuts
/// off healthy ones.
const RESPONSE: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(5);
/// Short commands share these; each loop that blocks has a connection of its own.
const POOLED: usize = 16;

/// Why Redis did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The address is none, or a certificate.
    #[error(transparent)]
    Link(#[from] worker_link::LinkError),
    /// A file with what opens it cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No connection could be had.
    #[error("failed to connect to redis at {address}")]
    Connect {
        /// Host and port.
        address: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A command failed.
    #[error("failed to {what} in redis")]
    Command {
        /// What was to be done.
        what: &'static str,
        /// Why.
        #[source]
        source: redis::RedisError,
    },
    /// Another manager has the lease: nothing was written.
    #[error("did not {what} in redis: {holder} has taken over")]
    Fenced {
        /// What was to be done.
        what: &'static str,
        /// Who has it.
        holder: String,
    },
    /// It is too old.
    #[error("redis {version} is too old: 7.0 or later is needed, for access rules per key")]
    TooOld {
        /// What it says it is.
        version: String,
    },
}

impl StoreError {
    /// Whether a key holds something else than it should: asking again is in vain until somebody
    /// mends that.
    #[must_use]
    pub fn is_wrong_type(&self) -> bool {
        matches!(self, Self::Command { source, .. } if source.code() == Some("WRONGTYPE"))
    }

    /// Wraps the library's error.
    pub(super) fn during(what: &'static str) -> impl Fn(redis::RedisError) -> Self {
        move |source| Self::Command { what, source }
    }
}

/// Whether a command of a transaction fails again whenever it is tried. What a Redis in trouble
/// says passes: `OOM`, `MISCONF`, `READONLY`, `NOPERM`, `BUSY` and others.
pub(super) fn is_final(error: &redis::RedisError) -> bool {
    matches!(error.code(), Some("WRONGTYPE" | "ERR" | "NOGROUP"))
}

/// Redis, as this installation uses it.
#[derive(Clone)]
pub struct Store {
    pool: Pool,
    dial: Arc<Dial>,
    address: String,
    meters: Meters,
    pub(super) keys: Keys,
    pub(super) retention: Retention,
    /// The name under which the lease is held; none for a client.
    pub(super) holder: Option<String>,
}

impl Store {
    /// Prepares connections; none is made yet.
    ///
    /// # Errors
    /// When the address is none, or a file that is needed cannot be read or used.
    pub fn open(
        source: &RedisSource,
        keys: Keys,
        retention: Retention,
    ) -> Result<Self, StoreError> {
        let dial = Arc::new(Dial::new(source.clone())?);
        let address = dial.address();
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(RESPONSE));
        let pool = Pool::builder(Pooled { dial: Arc::clone(&dial), config })
            .max_size(POOLED)
            .wait_timeout(Some(RESPONSE))
            .create_timeout(Some(CONNECT))
            .recycle_timeout(Some(CONNECT))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|source| StoreError::Connect {
                address: address.clone(),
                source: source.into(),
            })?;
        let meters = Meters::default();
        Ok(Self { pool, dial, address, meters, keys, retention, holder: None })
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Where Redis is, without credentials.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What is counted of its use.
    #[must_use]
    pub fn meters(&self) -> &Meters {
        &self.meters
    }

    /// A connection for short commands.
    pub(super) async fn short(&self) -> Result<Counted, StoreError> {
        let connection = self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(source) => self.unreachable(source),
            other => self.unreachable(other),
        })?;
        Ok(Counted::new(connection, self.meters.calls.clone()))
    }

    /// A connection of its own for a loop that blocks for up to `block`. A blocking command on a
    /// shared connection holds up everybody; one that is dropped while it blocks may swallow an
    /// entry, so whoever gives up on it drops the connection.
    pub(super) async fn blocking(&self, block: Duration) -> Result<Connection, StoreError> {
        self.connection(block + CONNECT).await
    }

    /// A connection of its own, whose answers may take so long.
    pub(super) async fn connection(&self, answer: Duration) -> Result<Connection, StoreError> {
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(answer));
        self.dial.connect(&config).await.map_err(|source| self.unreachable(source))
    }

    pub(super) fn unreachable(
        &self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> StoreError {
        self.meters.calls.failed("connect", "connection");
        StoreError::Connect { address: self.address.clone(), source: source.into() }
    }

    /// Makes sure that this Redis can serve.
    ///
    /// # Errors
    /// When it does not answer, or is older than 7.0.
    pub async fn check(&self) -> Result<(), StoreError> {
        let mut connection = self.short().await?;
        let info: String = redis::cmd("INFO")
            .arg("server")
            .query_async(&mut connection)
            .await
            .map_err(StoreError::during("ask for the version"))?;
        let version = info
            .lines()
            .find_map(|line| line.strip_prefix("redis_version:"))
            .unwrap_or_default()
            .trim()
            .to_owned();
        let major: u32 = version.split('.').next().and_then(|n| n.parse().ok()).unwrap_or_default();
        if major < 7 { Err(StoreError::TooOld { version }) } else { Ok(()) }
    }
}

/// A stream entry's fields as text.
pub(super) fn texts(entry: &redis::streams::StreamId) -> BTreeMap<String, String> {
    let text = |value: &redis::Value| redis::from_redis_value_ref::<String>(value).ok();
    entry.map.iter().filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect()
}
