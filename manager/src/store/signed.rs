//! Which signatures were accepted: each for one entry, so that nobody uses it again, and the entry
//! itself may be delivered again.

use std::time::Duration;

use super::connect::{Store, StoreError, is_final};

/// As long as a request is remembered. A signature is good for half of it at most.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// A signature, and what is to become of it.
pub struct Acceptance<'a> {
    /// The signature, in hexadecimal digits.
    pub signature: &'a str,
    /// The entry that has it.
    pub entry_id: &'a str,
    /// Whether it is accepted for this entry, unless it was for another.
    pub accept: bool,
}

impl Store {
    /// Writes down which signatures are accepted, in their order, and tells of each which entry it
    /// belongs to.
    ///
    /// # Errors
    /// When Redis does not answer, or another manager has the lease.
    pub(crate) async fn accept(
        &self,
        asked: &[Acceptance<'_>],
    ) -> Result<Vec<Option<String>>, StoreError> {
        const WHAT: &str = "note which signatures were used";
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipe = redis::pipe();
        for one in asked {
            let key = self.keys.signed(one.signature);
            if one.accept {
                pipe.cmd("SET").arg(&key).arg(one.entry_id).arg(&["NX", "EX"]).arg(KEPT.as_secs());
            }
            pipe.get(key);
        }
        let mut answers = self.apply(&mut pipe, WHAT).await?.into_iter();
        let mut owners = Vec::with_capacity(asked.len());
        for one in asked {
            let noted = if one.accept { answers.next() } else { None };
            let owner = answers.next();
            owners.push(match (noted.transpose(), owner.transpose()) {
                (Ok(_), Ok(owner)) => {
                    owner.and_then(|value| redis::from_redis_value(value).ok()).flatten()
                }
                // Something else has the key's name: the signature belongs to no entry.
                (_, Err(error)) if is_final(&error) => Some(String::new()),
                (Err(error), _) | (_, Err(error)) => return Err(StoreError::during(WHAT)(error)),
            });
        }
        Ok(owners)
    }
}
