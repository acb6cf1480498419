//! What the worker behind a connection may reach.
//!
//! Redis is asked each time, so that a worker's passage begins and ends with what the manager has
//! written. While Redis is away, what was known last holds: workers go on.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use worker_protocol::gateway::Passage;

use crate::store::{Away, Store};

/// Passages that are remembered: as many as a range of /16 has networks of /29, and no more than
/// some tens of megabytes.
const MOST_REMEMBERED: usize = 8192;

/// Why there is no passage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPassage {
    /// The network is no worker's.
    NoWorker,
    /// Redis is away, and this worker was never asked for.
    Away,
}

/// All passages, by the network that a worker is on.
pub struct Passages {
    store: Arc<Store>,
    remembered: Mutex<HashMap<IpAddr, Arc<Passage>>>,
}

impl Passages {
    /// None is known yet.
    #[must_use]
    pub fn new(store: Arc<Store>) -> Self {
        Self { store, remembered: Mutex::default() }
    }

    /// That of the worker with this network.
    ///
    /// # Errors
    /// When there is no worker, or it is not known whether there is one.
    pub async fn of(&self, network: IpAddr) -> Result<Arc<Passage>, NoPassage> {
        let answer = self.store.passage(network).await;
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Ok(Some(passage)) => {
                let passage = Arc::new(passage);
                if remembered.len() >= MOST_REMEMBERED && !remembered.contains_key(&network) {
                    let any = remembered.keys().next().copied();
                    any.map(|any| remembered.remove(&any));
                }
                remembered.insert(network, Arc::clone(&passage));
                Ok(passage)
            }
            Ok(None) => {
                remembered.remove(&network);
                Err(NoPassage::NoWorker)
            }
            Err(Away) => remembered.get(&network).cloned().ok_or(NoPassage::Away),
        }
    }
}

/// The network of a connection: the peer's address with all but the first `prefix` bits zero.
/// Nothing when the address that it came to is on another network: then it went a way that no
/// worker has.
#[must_use]
pub fn network(peer: IpAddr, local: IpAddr, prefix: u8) -> Option<IpAddr> {
    let cut = |address: IpAddr| {
        let net = ipnet::IpNet::new(address.to_canonical(), prefix).ok()?;
        Some(net.network())
    };
    cut(peer).filter(|network| cut(local) == Some(*network))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_the_beginning_of_an_address() {
        let of = |peer: &str, local: &str| {
            network(peer.parse().unwrap(), local.parse().unwrap(), 29).map(|n| n.to_string())
        };
        assert_eq!(of("10.213.4.11", "10.213.4.10").as_deref(), Some("10.213.4.8"));
        assert_eq!(of("::ffff:10.213.4.11", "10.213.4.10").as_deref(), Some("10.213.4.8"));
        assert_eq!(of("10.213.4.11", "10.213.4.18"), None);
    }
}
