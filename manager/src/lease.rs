//! Which of several managers acts: the one that holds the lease. The others stand by.
//!
//! A manager knows by its own clock until when the lease is surely its own. After that it
//! suspends: it keeps what it knows and acts on nothing, until Redis tells it that it still leads,
//! or that another has taken over.

use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::chain::chain;
use crate::store::{Holder, LeaseHolder, Store};

/// How long a lease lasts that nobody renews, and what follows from that.
#[derive(Clone, Copy)]
struct Times {
    lease: Duration,
}

impl Times {
    /// Until when one is surely held that was asked for at that time. The holder stops a sixth
    /// earlier: what it has begun by then reaches the engine in that time.
    fn surely_until(self, asked_at: Instant) -> Instant {
        asked_at + self.lease * 5 / 6
    }

    /// Between two renewals: one answer may be lost.
    fn renew_every(self) -> Duration {
        self.lease / 4
    }

    /// After a renewal that failed.
    fn renew_again(self) -> Duration {
        self.lease / 24
    }

    /// How often one that stands by asks.
    fn ask_every(self) -> Duration {
        self.lease / 12
    }
}

/// The lease, while it is held or may be. What holds a clone of its [`Hold`] waits for it.
pub(crate) struct Lease {
    hold: Hold,
    given_up: CancellationToken,
    keeper: JoinHandle<()>,
}

/// Whether this manager leads.
#[derive(Clone)]
pub(crate) struct Hold {
    name: String,
    until: watch::Receiver<Instant>,
    lost: CancellationToken,
    over: CancellationToken,
}

impl Lease {
    /// Waits until the lease can be had; none, when told to stop first. `name` begins the name
    /// under which it is held, which is another each time; `time` is
    /// how long it lasts that nobody renews.
    pub(crate) async fn stand_by(
        store: &Store,
        name: &str,
        time: Duration,
        stop: &CancellationToken,
    ) -> Option<Self> {
        let times = Times { lease: time };
        let own = format!("{name}-{}", &uuid::Uuid::new_v4().simple().to_string()[..12]);
        let mut holder = store.lease_holder(&own);
        let mut said = None;
        while !stop.is_cancelled() {
            let asked_at = Instant::now();
            let why = match holder.take(time).await {
                Ok(Holder::Oneself) => {
                    return Some(Self::begin(own, holder, times, asked_at, stop));
                }
                Ok(Holder::Another(leader)) => format!("{leader} leads"),
                Err(error) => chain(&error),
            };
            if said.as_ref() != Some(&why) {
                tracing::info!("standing by: {why}");
                said = Some(why);
            }
            stop.run_until_cancelled(sleep(times.ask_every())).await?;
        }
        None
    }

    fn begin(
        name: String,
        holder: LeaseHolder,
        times: Times,
        asked_at: Instant,
        stop: &CancellationToken,
    ) -> Self {
        let (until, held) = watch::channel(times.surely_until(asked_at));
        let (lost, over) = (CancellationToken::new(), stop.child_token());
        let hold = Hold { name, until: held, lost, over };
        let given_up = CancellationToken::new();
        let keeper = Keeper { holder, times, until, hold: hold.clone() };
        let keeper = tokio::spawn(keeper.keep(given_up.clone()));
        Self { hold, given_up, keeper }
    }

    pub(crate) fn hold(&self) -> &Hold {
        &self.hold
    }

    /// Gives it back, so that the next manager need not wait.
    pub(crate) async fn give_up(self) {
        self.given_up.cancel();
        let _ = self.keeper.await;
    }
}

impl Hold {
    /// Under which name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Cancelled when another manager has taken over.
    pub(crate) fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// Cancelled then, and when the manager is told to stop.
    pub(crate) fn over(&self) -> &CancellationToken {
        &self.over
    }

    /// Another manager has taken over.
    pub(crate) fn lose(&self) {
        self.lost.cancel();
        self.over.cancel();
    }

    /// Waits while it is not certain that this manager leads; for ever, when it does not any more.
    pub(crate) async fn held(&self) {
        let mut until = self.until.clone();
        while self.lost.is_cancelled() || *until.borrow_and_update() <= Instant::now() {
            if until.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Renews the lease until it is given up or lost.
struct Keeper {
    holder: LeaseHolder,
    times: Times,
    until: watch::Sender<Instant>,
    hold: Hold,
}

impl Keeper {
    async fn keep(mut self, given_up: CancellationToken) {
        let mut suspended = false;
        let mut next = self.times.renew_every();
        while given_up.run_until_cancelled(sleep(next)).await.is_some() {
            let asked_at = Instant::now();
            match self.holder.renew(self.times.lease).await {
                Ok(Holder::Oneself) => {
                    self.until.send_replace(self.times.surely_until(asked_at));
                    if std::mem::take(&mut suspended) {
                        tracing::info!("redis says that this manager still leads; going on");
                    }
                    next = self.times.renew_every();
                }
                Ok(Holder::Another(leader)) => {
                    tracing::warn!(leader, "another manager has taken over");
                    self.hold.lose();
                    return;
                }
                Err(error) => {
                    next = self.times.renew_again();
                    if !suspended && *self.until.borrow() <= Instant::now() {
                        suspended = true;
                        let error = chain(&error);
                        tracing::warn!(error, "acting on nothing until redis says who leads");
                    }
                }
            }
        }
        if let Err(error) = self.holder.release().await {
            tracing::debug!(error = chain(&error), "the lease was left to expire");
        }
    }
}

#[cfg(test)]
impl Hold {
    /// One whose time is over, and what renews it.
    pub(crate) fn uncertain() -> (Self, impl Fn()) {
        let (until, held) = watch::channel(Instant::now());
        let (lost, over) = (CancellationToken::new(), CancellationToken::new());
        let hold = Self { name: "test".to_owned(), until: held, lost, over };
        let renew = move || {
            until.send_replace(Instant::now() + Duration::from_secs(5));
        };
        (hold, renew)
    }
}
