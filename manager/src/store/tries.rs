//! How often an entry of the commands was begun with: one that ends the manager each time is not
//! to do so for ever.

use std::time::Duration;

use super::connect::{Store, StoreError};

/// A count is made and taken away again within milliseconds. One that stays is of a manager that
/// ended in between, and the next one is there sooner.
const KEPT: Duration = Duration::from_secs(24 * 3600);

impl Store {
    /// How often each of these entries was begun with, and not come to an end with.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub(crate) async fn tries(&self, entries: &[&str]) -> Result<Vec<u64>, StoreError> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let counts: Vec<Option<u64>> = redis::cmd("HMGET")
            .arg(self.keys.tries())
            .arg(entries)
            .query_async(&mut self.short().await?)
            .await
            .map_err(StoreError::during("read how often commands were tried"))?;
        Ok(counts.into_iter().map(Option::unwrap_or_default).collect())
    }

    /// These entries are begun with.
    ///
    /// # Errors
    /// When Redis does not answer, or another manager has the lease.
    pub(crate) async fn count_tries(&self, entries: &[&str]) -> Result<(), StoreError> {
        let mut pipe = redis::pipe();
        for entry in entries {
            pipe.hincr(self.keys.tries(), *entry, 1);
        }
        if !entries.is_empty() {
            pipe.expire(self.keys.tries(), i64::try_from(KEPT.as_secs()).unwrap_or(i64::MAX));
        }
        self.apply_all(&mut pipe, "count how often commands were tried").await
    }

    /// These entries did no harm.
    ///
    /// # Errors
    /// When Redis does not answer, or another manager has the lease.
    pub(crate) async fn forget_tries(&self, entries: &[String]) -> Result<(), StoreError> {
        let mut pipe = redis::pipe();
        if !entries.is_empty() {
            pipe.hdel(self.keys.tries(), entries);
        }
        self.apply_all(&mut pipe, "forget how often commands were tried").await
    }
}
