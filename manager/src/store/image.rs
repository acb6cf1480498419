//! What is remembered of images: when each was last used, and what is known about it.

use serde_json::{Map, Value};
use std::collections::BTreeMap;
use worker_protocol::reply::plain;

use super::connect::{Store, StoreError};
use super::write::Batch;

impl Batch<'_> {
    /// An image is used now.
    pub(crate) fn touch(&mut self, hash: &str, now: jiff::Timestamp) {
        self.pipe.zadd(self.store.keys.images(), hash, now.as_second());
    }

    /// What is known about an image that was built.
    pub(crate) fn image(&mut self, hash: &str, fields: &Map<String, Value>) {
        for (name, value) in fields {
            self.pipe.hset(self.store.keys.image(hash), name, plain(value));
        }
    }

    /// An image is gone.
    pub(crate) fn forget_image(&mut self, hash: &str) {
        self.pipe.zrem(self.store.keys.images(), hash);
        self.pipe.del(self.store.keys.image(hash));
    }
}

impl Store {
    /// When each of these images was last used, in seconds since 1970. They are all that there
    /// are: one that was never heard of is remembered as seen now, and counts from now on; what is
    /// remembered of others is forgotten, unless it is younger than what is being built.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn last_used(
        &self,
        hashes: &[&str],
        now: jiff::Timestamp,
    ) -> Result<BTreeMap<String, i64>, StoreError> {
        const UNDER_WAY: i64 = 3600;
        let mut pipe = redis::pipe();
        for hash in hashes {
            pipe.cmd("ZADD").arg(self.keys.images()).arg("NX").arg(now.as_second()).arg(hash);
        }
        self.apply_all(&mut pipe, "note which images there are").await?;
        let all: Vec<(String, f64)> = redis::cmd("ZRANGE")
            .arg(self.keys.images())
            .arg(&["0", "-1", "WITHSCORES"])
            .query_async(&mut self.short().await?)
            .await
            .map_err(StoreError::during("read when images were used"))?;
        let all: BTreeMap<_, _> = all.into_iter().map(|(hash, at)| (hash, at as i64)).collect();
        let old = |at: i64| at < now.as_second() - UNDER_WAY;
        let is_gone = |hash: &str, at: i64| old(at) && !hashes.contains(&hash);
        let gone: Vec<_> = all.iter().filter(|(hash, at)| is_gone(hash, **at)).collect();
        if !gone.is_empty() {
            let mut batch = self.batch();
            gone.into_iter().for_each(|(hash, _)| batch.forget_image(hash));
            batch.write_all().await?;
        }
        Ok(all)
    }

    /// Everything that is known about an image, as it was written down.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn about_image(&self, hash: &str) -> Result<Map<String, Value>, StoreError> {
        let fields: BTreeMap<String, String> = redis::cmd("HGETALL")
            .arg(self.keys.image(hash))
            .query_async(&mut self.short().await?)
            .await
            .map_err(StoreError::during("read about an image"))?;
        Ok(fields.into_iter().map(|(name, value)| (name, Value::String(value))).collect())
    }

    /// Writes down what is known about an image that came from elsewhere, and that it is used now.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn note_image(
        &self,
        hash: &str,
        fields: &Map<String, Value>,
        now: jiff::Timestamp,
    ) -> Result<(), StoreError> {
        let mut batch = self.batch();
        batch.touch(hash, now);
        batch.image(hash, fields);
        batch.write_all().await
    }
}
