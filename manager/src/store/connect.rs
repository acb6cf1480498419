//! Connections.

use deadpool_redis::{Pool, Runtime};
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, IntoConnectionInfo};
use std::collections::BTreeMap;
use std::time::Duration;
use worker_protocol::Keys;

use super::counted::Counted;
use super::write::Retention;
use crate::telemetry::meters::Meters;

/// A reply that takes longer means a Redis in trouble; the library's own default of 500 ms cuts
/// off healthy ones.
const RESPONSE: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(5);
/// Unacknowledged bytes for so long mean that the peer is gone.
const HALF_OPEN: Duration = Duration::from_secs(30);
/// Short commands share these; each loop that blocks has a connection of its own.
const POOLED: usize = 16;

/// Why Redis did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The address is none.
    #[error("`redis_url` (REDIS_URL) must be like redis://user:password@host:6379/0")]
    Address(#[source] redis::RedisError),
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
    client: Client,
    address: String,
    meters: Meters,
    pub(super) keys: Keys,
    pub(super) retention: Retention,
    /// The name under which the lease is held; none for a client.
    pub(super) holder: Option<String>,
}

impl Store {
    /// Prepares connections to `url`; none is made yet.
    ///
    /// # Errors
    /// When the address is none.
    pub fn open(url: &str, keys: Keys, retention: Retention) -> Result<Self, StoreError> {
        let tcp = TcpSettings::default().set_nodelay(true).set_user_timeout(HALF_OPEN);
        let info: ConnectionInfo =
            url.into_connection_info().map_err(StoreError::Address)?.set_tcp_settings(tcp);
        let address = info.addr().to_string();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(RESPONSE));
        let manager = deadpool_redis::Manager::new_with_config(info.clone(), config)
            .map_err(StoreError::Address)?;
        let pool = Pool::builder(manager)
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
        let client = Client::open(info).map_err(StoreError::Address)?;
        let meters = Meters::default();
        Ok(Self { pool, client, address, meters, keys, retention, holder: None })
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
        let connection = self.pool.get().await.map_err(|source| self.unreachable(source))?;
        Ok(Counted::new(connection, self.meters.calls.clone()))
    }

    /// A connection of its own for a loop that blocks for up to `block`. A blocking command on a
    /// shared connection holds up everybody; one that is dropped while it blocks may swallow an
    /// entry, so whoever gives up on it drops the connection.
    pub(super) async fn blocking(
        &self,
        block: Duration,
    ) -> Result<MultiplexedConnection, StoreError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(block + CONNECT));
        self.connection(&config).await
    }

    /// A connection of its own.
    pub(super) async fn connection(
        &self,
        config: &AsyncConnectionConfig,
    ) -> Result<MultiplexedConnection, StoreError> {
        let connection = self.client.get_multiplexed_async_connection_with_config(config).await;
        connection.map_err(|source| self.unreachable(source))
    }

    fn unreachable(
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
