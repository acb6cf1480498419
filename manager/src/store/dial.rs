//! Connections to whoever is the master by then, opened with what stands in the files by then.

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use redis::{AsyncConnectionConfig, RedisResult};
use std::sync::{Arc, Mutex, PoisonError};
use worker_link::{Connection, Link};
use worker_protocol::gateway::RedisTarget;

use super::connect::StoreError;
use crate::config::RedisSource;

/// Connections that are used again and again.
pub(super) type Pool = deadpool::managed::Pool<Pooled>;

/// Makes connections.
pub(super) struct Dial {
    source: RedisSource,
    /// As the files were when the last connection was made.
    last: Mutex<(RedisTarget, Link)>,
}

impl Dial {
    pub(super) fn new(source: RedisSource) -> Result<Self, StoreError> {
        let target = source.target()?;
        let link = Link::new(&target)?;
        Ok(Self { source, last: Mutex::new((target, link)) })
    }

    /// Where Redis is, for people.
    pub(super) fn address(&self) -> String {
        self.last_link().address().to_string()
    }

    fn last_link(&self) -> Link {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    pub(super) async fn connect(
        &self,
        config: &AsyncConnectionConfig,
    ) -> Result<Connection, StoreError> {
        Ok(self.link()?.connect(config).await?)
    }

    fn link(&self) -> Result<Link, StoreError> {
        let target = self.source.target()?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0 != target {
            *last = (target.clone(), Link::new(&target)?);
        }
        Ok(last.1.clone())
    }

    /// Whether it still leads to the master. It watches nothing any more.
    async fn is_good(&self, connection: &mut Connection) -> RedisResult<bool> {
        let (link, mut same) = (self.last_link(), connection.clone());
        let unwatch = redis::cmd("UNWATCH");
        let (forgotten, current) =
            tokio::join!(unwatch.exec_async(&mut same), link.is_current(connection));
        forgotten.and(current)
    }
}

/// What the pool needs to know.
pub(super) struct Pooled {
    pub(super) dial: Arc<Dial>,
    pub(super) config: AsyncConnectionConfig,
}

impl Manager for Pooled {
    type Type = Connection;
    type Error = StoreError;

    async fn create(&self) -> Result<Connection, StoreError> {
        self.dial.connect(&self.config).await
    }

    async fn recycle(&self, connection: &mut Connection, _: &Metrics) -> RecycleResult<StoreError> {
        match self.dial.is_good(connection).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(RecycleError::message("it is not the master any more")),
            Err(error) => Err(StoreError::during("look at a connection")(error).into()),
        }
    }
}
