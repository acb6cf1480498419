//! The lease: which of several managers acts for a host.
//!
//! Two keys. The lease expires; whoever finds none takes it. The fence stays, and names whoever
//! took the lease last: what another manager still wants to write is refused by it, see
//! [`super::fence`].

use redis::Cmd;
use std::time::Duration;
use worker_link::Connection;

use super::connect::{Store, StoreError};

/// The one host that there is.
pub(super) const HOST: &str = "local";
/// Redis answers within milliseconds. Two tries fit into what a lease has left when it is renewed.
const ANSWER: Duration = Duration::from_secs(2);

/// Takes the lease when nobody has it. Gives who has it otherwise.
const TAKE: &str = r"
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return holder end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('SET', KEYS[2], ARGV[1])
return ARGV[1]";

/// Renews the lease. One that expired is taken again when nobody had it meanwhile: the fence says
/// so, or is gone with everything else. Gives who has it otherwise.
const RENEW: &str = r"
local fence = redis.call('GET', KEYS[2])
local holder = redis.call('GET', KEYS[1]) or fence
if holder and holder ~= ARGV[1] then return holder end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if not fence then redis.call('SET', KEYS[2], ARGV[1]) end
return ARGV[1]";

/// Gives the lease back, so that the next manager need not wait. The fence stays.
const RELEASE: &str = r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return '' end
redis.call('DEL', KEYS[1])
return ARGV[1]";

/// Who has the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Whoever asked.
    Oneself,
    /// The manager of this name.
    Another(String),
}

/// Asks for the lease under one name, on a connection of its own that does not wait for long.
pub struct LeaseHolder {
    store: Store,
    name: String,
    connection: Option<Connection>,
}

impl Store {
    /// Asks for the lease as `name`, which nobody else may have.
    #[must_use]
    pub fn lease_holder(&self, name: &str) -> LeaseHolder {
        LeaseHolder { store: self.clone(), name: name.to_owned(), connection: None }
    }
}

impl LeaseHolder {
    /// Takes the lease for so long, unless another has it.
    ///
    /// # Errors
    /// When Redis does not answer soon.
    pub async fn take(&mut self, time: Duration) -> Result<Holder, StoreError> {
        self.ask(TAKE, time).await
    }

    /// Keeps the lease for so long from now on, unless another has it or had it meanwhile.
    ///
    /// # Errors
    /// When Redis does not answer soon.
    pub async fn renew(&mut self, time: Duration) -> Result<Holder, StoreError> {
        self.ask(RENEW, time).await
    }

    /// Gives it back.
    ///
    /// # Errors
    /// When Redis does not answer soon.
    pub async fn release(&mut self) -> Result<(), StoreError> {
        self.ask(RELEASE, Duration::ZERO).await.map(drop)
    }

    async fn ask(&mut self, script: &str, time: Duration) -> Result<Holder, StoreError> {
        let mut command = redis::cmd("EVAL");
        command.arg(script).arg(2);
        command.arg(self.store.keys.lease(HOST)).arg(self.store.keys.fence(HOST));
        command.arg(&self.name).arg(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let answered = self.query(&command).await;
        if answered.is_err() {
            self.connection = None;
        }
        let holder = answered?;
        let oneself = holder == self.name;
        Ok(if oneself { Holder::Oneself } else { Holder::Another(holder) })
    }

    async fn query(&mut self, command: &Cmd) -> Result<String, StoreError> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(self.store.quick(ANSWER).await?),
        };
        command.query_async(connection).await.map_err(StoreError::during("ask for the lease"))
    }
}

impl Store {
    /// A connection that gives up soon.
    async fn quick(&self, answer: Duration) -> Result<Connection, StoreError> {
        let made = tokio::time::timeout(answer, self.connection(answer)).await;
        made.map_err(|source| self.unreachable(source))?
    }
}
