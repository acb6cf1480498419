//! What there is in Redis of workers, whether anybody knows them or not.

use std::time::Duration;
use worker_protocol::WorkerId;

use super::connect::{Store, StoreError};
use crate::orphan::Left;

/// Keys that Redis looks at in one go: well below a millisecond.
const AT_ONCE: usize = 500;
/// Then others have their turn: a Redis of a million keys is looked through in half a minute.
const PAUSE: Duration = Duration::from_millis(10);
/// A key that does not expire.
const FOR_EVER: i64 = -1;

impl Store {
    /// Users of workers, and keys of workers that do not expire.
    ///
    /// # Errors
    /// When Redis does not answer, or does not let this program see its users.
    pub async fn belongings(&self) -> Result<Vec<(WorkerId, Left)>, StoreError> {
        let mut found = self.users().await?;
        let mut cursor = 0;
        loop {
            cursor = self.scan(cursor, &mut found).await?;
            if cursor == 0 {
                return Ok(found);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Every user that this Redis has, of whomever.
    pub(super) async fn user_names(&self) -> Result<Vec<String>, StoreError> {
        let mut connection = self.short().await?;
        redis::cmd("ACL")
            .arg("USERS")
            .query_async(&mut connection)
            .await
            .map_err(StoreError::during("list users"))
    }

    async fn users(&self) -> Result<Vec<(WorkerId, Left)>, StoreError> {
        let users = self.user_names().await?;
        let prefix = format!("{}-", self.keys.namespace());
        let ids = users.iter().filter_map(|user| WorkerId::parse(user.strip_prefix(&prefix)?).ok());
        Ok(ids.map(|id| (id, Left::User)).collect())
    }

    async fn scan(
        &self,
        cursor: u64,
        found: &mut Vec<(WorkerId, Left)>,
    ) -> Result<u64, StoreError> {
        let failed = StoreError::during("look through the keys");
        let prefix = self.keys.prefix();
        let mut connection = self.short().await?;
        let (next, keys): (u64, Vec<String>) = redis::cmd("SCAN")
            .arg(cursor)
            .arg(&["MATCH", &format!("{prefix}????????-????-????-????-????????????*")])
            .arg("COUNT")
            .arg(AT_ONCE)
            .query_async(&mut connection)
            .await
            .map_err(&failed)?;
        let owner = |key: &str| {
            let rest = key.strip_prefix(&prefix)?;
            WorkerId::parse(rest.split(':').next()?).ok()
        };
        let owned: Vec<_> = keys.into_iter().filter_map(|key| Some((owner(&key)?, key))).collect();
        if owned.is_empty() {
            return Ok(next);
        }
        let mut pipe = redis::pipe();
        for (_, key) in &owned {
            pipe.cmd("TTL").arg(key);
        }
        let left: Vec<i64> = pipe.query_async(&mut connection).await.map_err(&failed)?;
        let lasting = owned.into_iter().zip(left).filter(|(_, seconds)| *seconds == FOR_EVER);
        found.extend(lasting.map(|((id, key), _)| (id, Left::Key(key))));
        Ok(next)
    }
}
