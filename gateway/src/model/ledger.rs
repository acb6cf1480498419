//! What workers have used of their limits. Redis holds the sums; while it is away, what is known
//! counts on in memory, and is added later.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

use worker_protocol::WorkerId;
use worker_protocol::gateway::Passage;

use crate::store::{Away, Store};

/// Workers that are remembered. One that owes nothing may be forgotten: Redis knows it.
const MOST_REMEMBERED: usize = 8192;
/// What could not be written is tried again after this time.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// A limit that a worker has reached.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{what}")]
pub struct Over {
    /// Which one, in words.
    pub what: String,
    /// Whether it is the first time that this is said.
    pub first: bool,
}

/// All workers' sums.
pub struct Ledger {
    store: Arc<Store>,
    accounts: Mutex<HashMap<WorkerId, Account>>,
    charged: Notify,
}

/// One worker's.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Account {
    /// As Redis said last.
    known: Sum,
    /// What it was not told yet.
    owed: Sum,
    told: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sum {
    requests: u64,
    usd: f64,
}

impl Sum {
    fn plus(self, other: Self) -> Self {
        Self { requests: self.requests + other.requests, usd: self.usd + other.usd }
    }

    fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

impl Ledger {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(store: Arc<Store>) -> Self {
        Self { store, accounts: Mutex::default(), charged: Notify::new() }
    }

    /// Counts a request, unless a limit is reached.
    ///
    /// # Errors
    /// When one is.
    pub async fn admit(&self, passage: &Passage) -> Result<(), Over> {
        let worker = passage.worker_id;
        let before = self.settle(worker, Sum::default()).await;
        if let Some(most) = passage.max_cost_usd.filter(|most| before.usd >= *most) {
            return Err(self.over(worker, format!("the cost limit of {most} USD is reached")));
        }
        let most = passage.max_requests.unwrap_or(u64::MAX);
        let one = Sum { requests: 1, usd: 0.0 };
        if before.requests >= most || self.settle(worker, one).await.requests > most {
            return Err(self.over(worker, format!("the limit of {most} requests is reached")));
        }
        Ok(())
    }

    /// Adds what an answer cost, in US dollars. It is in Redis soon.
    pub fn charge(&self, worker: WorkerId, usd: f64) {
        if usd > 0.0 {
            let mut accounts = self.accounts();
            let account = accounts.entry(worker).or_default();
            account.owed = account.owed.plus(Sum { requests: 0, usd });
            self.charged.notify_one();
        }
    }

    /// Writes what is charged, for ever.
    pub async fn keep(&self) {
        loop {
            self.charged.notified().await;
            while !self.write_owed().await {
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        }
    }

    /// Writes what is owed, and tells whether all was written.
    pub async fn write_owed(&self) -> bool {
        let owing: Vec<_> = {
            let accounts = self.accounts();
            let owing = accounts.iter().filter(|(_, account)| !account.owed.is_nothing());
            owing.map(|(worker, _)| *worker).collect()
        };
        for worker in owing {
            self.settle(worker, Sum::default()).await;
            let owes = |account: &Account| !account.owed.is_nothing();
            if self.accounts().get(&worker).is_some_and(owes) {
                return false;
            }
        }
        true
    }

    /// Adds to what a worker owes, writes that, and tells the sums: those of Redis, or what is
    /// known of them.
    async fn settle(&self, worker: WorkerId, more: Sum) -> Sum {
        let owed = {
            let mut accounts = self.accounts();
            let owed = accounts.entry(worker).or_default();
            std::mem::take(&mut owed.owed).plus(more)
        };
        let requests = self.store.add_requests(&worker, owed.requests).await;
        let usd = self.store.add_cost(&worker, owed.usd).await;
        let mut accounts = self.accounts();
        let account = accounts.entry(worker).or_default();
        match requests {
            Ok(requests) => account.known.requests = requests,
            Err(Away) => account.owed.requests += owed.requests,
        }
        match usd {
            Ok(usd) => account.known.usd = usd,
            Err(Away) => account.owed.usd += owed.usd,
        }
        if !account.owed.is_nothing() {
            self.charged.notify_one();
        }
        let sum = account.known.plus(account.owed);
        if accounts.len() > MOST_REMEMBERED {
            accounts.retain(|_, account| !account.owed.is_nothing());
        }
        sum
    }

    fn over(&self, worker: WorkerId, what: String) -> Over {
        let mut accounts = self.accounts();
        let told = &mut accounts.entry(worker).or_default().told;
        Over { what, first: !std::mem::replace(told, true) }
    }

    fn accounts(&self) -> MutexGuard<'_, HashMap<WorkerId, Account>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
