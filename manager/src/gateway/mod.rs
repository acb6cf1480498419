//! The gateway: the only way out of a worker's network.
//!
//! One instance for an installation. [`image`] is what it is made from, [`document`] what it is told,
//! [`host`] which addresses are this machine's; [`keeper`] has it run as long as this manager leads,
//! and [`trial`] sees, before any worker is started, that nothing gets past it.

mod document;
mod host;
mod image;
pub(crate) mod keeper;
mod trial;

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;
use worker_protocol::{ErrorKind, Problem};

/// Its image is made within seconds, and it starts in one.
const OPENED_WITHIN: Duration = Duration::from_secs(60);

/// How the gateway stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is being started, or looked at.
    #[default]
    Opening,
    /// Workers can go by way of it, and by no other.
    Open,
    /// It cannot be had, or something gets past it.
    Shut(String),
}

/// Where the keeper tells how the gateway stands, and those read it who start workers.
#[derive(Clone, Default)]
pub(crate) struct Gateway {
    standing: Arc<watch::Sender<Standing>>,
}

impl Gateway {
    /// Tells how it stands.
    pub(crate) fn stands(&self, standing: Standing) {
        self.standing.send_replace(standing);
    }

    /// Waits until it is open; for a moment, since a worker waits for it.
    ///
    /// # Errors
    /// Says why no worker can be started.
    pub(crate) async fn open(&self) -> Result<(), Problem> {
        let mut standing = self.standing.subscribe();
        let settled = standing.wait_for(|standing| *standing != Standing::Opening);
        let settled = timeout(OPENED_WITHIN, settled).await;
        let why = match settled.map(|settled| settled.map(|standing| standing.clone())) {
            Ok(Ok(Standing::Open)) => return Ok(()),
            Ok(Ok(Standing::Shut(why))) => why,
            Ok(Ok(Standing::Opening) | Err(_)) | Err(_) => {
                format!("it did not open within {} s", OPENED_WITHIN.as_secs())
            }
        };
        let message = format!("no worker is started without the gateway: {why}");
        Err(Problem::new(ErrorKind::StartFailed, message))
    }
}
