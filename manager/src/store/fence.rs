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
        pipe.atomic().ignore_errors();
        let mut connection = self.short().await?;
        loop {
            self.look_at_fence(&mut connection, what).await?;
            let answers: Vec<RedisResult<Value>> =
                pipe.query_async(&mut connection).await.map_err(StoreError::during(what))?;
            // Else the fence was moved between the look at it and now, and nothing was done.
            if answers.len() == pipe.len() {
                return Ok(answers);
            }
        }
    }

    /// Watches the fence, so that a transaction on this connection fails when it is moved.
    async fn look_at_fence(
        &self,
        connection: &mut Counted,
        what: &'static str,
    ) -> Result<(), StoreError> {
        let Some(own) = &self.holder else { return Ok(()) };
        let fence = self.keys.fence(HOST);
        let mut look = redis::pipe();
        look.cmd("WATCH").arg(&fence).ignore().cmd("GET").arg(&fence);
        let (holder,): (Option<String>,) =
            look.query_async(connection).await.map_err(StoreError::during(what))?;
        // None at all: Redis was emptied, and nobody has taken the lease since.
        match holder.filter(|holder| holder != own) {
            Some(holder) => Err(StoreError::Fenced { what, holder }),
            None => Ok(()),
        }
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
