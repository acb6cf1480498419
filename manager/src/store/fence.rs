//! Writing only while nobody else has taken the lease.
//!
//! Time alone does not keep a manager that was cut off, or stood still, from writing late. So each
//! of its transactions watches the fence, and looks at it first: when another manager is named
//! there, or comes to be, Redis carries none of it out.

use redis::{Pipeline, RedisResult, Value};

use super::connect::{Store, StoreError};
use super::counted::Counted;
use super::lease::HOST;

impl Store {
    /// The same Redis, for a manager that holds the lease under this name.
    #[must_use]
    pub fn fenced(&self, name: &str) -> Self {
        let mut store = self.clone();
        store.holder = Some(name.to_owned());
        store
    }

    /// Carries out all of a pipeline as one transaction, unless another manager has the lease.
    /// What Redis says to each command is data: it goes on after one that fails.
    pub(super) async fn apply(
        &self,
        pipe: &mut Pipeline,
        what: &'static str,
    ) -> Result<Vec<RedisResult<Value>>, StoreError> {
        let during = StoreError::during(what);
        pipe.atomic().ignore_errors();
        let mut connection = self.short().await?;
        loop {
            if let Some(own) = &self.holder
                && let Some(other) =
                    self.other_holder(own, &mut connection).await.map_err(&during)?
            {
                return Err(StoreError::Fenced { what, holder: other });
            }
            let answers: Vec<RedisResult<Value>> =
                pipe.query_async(&mut connection).await.map_err(&during)?;
            if answers.len() >= pipe.len() {
                return Ok(answers);
            }
            // The fence was moved between the look at it and now, or Redis was emptied: look again.
        }
    }

    /// Who else has the lease; from now on, the fence is watched. Without a fence Redis was emptied,
    /// and nobody has taken the lease since.
    async fn other_holder(
        &self,
        own: &str,
        connection: &mut Counted,
    ) -> RedisResult<Option<String>> {
        let fence = self.keys.fence(HOST);
        let mut look = redis::pipe();
        look.cmd("WATCH").arg(&fence).ignore().cmd("GET").arg(&fence);
        let (holder,): (Option<String>,) = look.query_async(connection).await?;
        Ok(holder.filter(|holder| holder != own))
    }

    /// As [`Store::apply`], where the first command that fails is an error of the whole.
    pub(super) async fn apply_all(
        &self,
        pipe: &mut Pipeline,
        what: &'static str,
    ) -> Result<(), StoreError> {
        if pipe.is_empty() {
            return Ok(());
        }
        let answers = self.apply(pipe, what).await?;
        let failed = answers.into_iter().find_map(Result::err);
        failed.map_or(Ok(()), |error| Err(StoreError::during(what)(error)))
    }
}
