//! How much of the gateway one worker may take, so that it takes it from no other.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Package managers open dozens at once; a connection costs some tens of kilobytes.
const HTTP_CONNECTIONS: usize = 256;
/// Of all workers together: so many, each with a head that is not complete, fit into the memory that
/// the gateway is given.
const HTTP_CONNECTIONS_IN_ALL: usize = 4096;
/// The wrapper has three, and for a moment twice as many when it connects anew.
const REDIS_CONNECTIONS: usize = 8;
/// Names that are looked up at once: each takes a thread for as long as a name server lets it wait.
const LOOKUPS: usize = 8;
/// Requests to models at once; others wait. Agents with sub-agents have about ten. What a worker
/// may spend beyond its limit is what so many answers cost.
const MODEL_REQUESTS: usize = 16;
/// Connections over a limit that are told so; others are cut.
const FAREWELLS: usize = 8;

/// What connections are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Those to be passed on by HTTP.
    Http,
    /// Those to be passed on to Redis.
    Redis,
}

/// All networks from which there are connections.
#[derive(Debug)]
pub struct Guests {
    all: Mutex<HashMap<IpAddr, Weak<Guest>>>,
    http: Arc<Semaphore>,
    nobody: Arc<Guest>,
}

/// A connection's place. With it, the place is free again.
#[derive(Debug)]
pub struct Place {
    _own: OwnedSemaphorePermit,
    _of_all: Option<OwnedSemaphorePermit>,
}

/// One network's share. It is forgotten with its last connection.
#[derive(Debug)]
pub struct Guest {
    http: Arc<Semaphore>,
    redis: Arc<Semaphore>,
    farewells: Arc<Semaphore>,
    /// One permit for each name that is being looked up.
    pub lookups: Semaphore,
    /// One permit for each request to a model.
    pub models: Arc<Semaphore>,
}

impl Default for Guests {
    fn default() -> Self {
        Self {
            all: Mutex::default(),
            http: Arc::new(Semaphore::new(HTTP_CONNECTIONS_IN_ALL)),
            nobody: Arc::new(Guest::new()),
        }
    }
}

impl Guests {
    /// The share of those who are no workers: they are told so.
    #[must_use]
    pub fn nobody(&self) -> Arc<Guest> {
        Arc::clone(&self.nobody)
    }

    /// The share of a network.
    #[must_use]
    pub fn of(&self, network: IpAddr) -> Arc<Guest> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(guest) = all.get(&network).and_then(Weak::upgrade) {
            return guest;
        }
        all.retain(|_, guest| guest.strong_count() > 0);
        let guest = Arc::new(Guest::new());
        all.insert(network, Arc::downgrade(&guest));
        guest
    }

    /// A place for one more connection of a network, if there is one.
    #[must_use]
    pub fn enter(&self, guest: &Guest, door: Door) -> Option<Place> {
        let take = |places: &Arc<Semaphore>| Arc::clone(places).try_acquire_owned().ok();
        match door {
            Door::Http => {
                Some(Place { _own: take(&guest.http)?, _of_all: Some(take(&self.http)?) })
            }
            Door::Redis => Some(Place { _own: take(&guest.redis)?, _of_all: None }),
        }
    }
}

impl Guest {
    fn new() -> Self {
        let places = |count| Arc::new(Semaphore::new(count));
        Self {
            http: places(HTTP_CONNECTIONS),
            redis: places(REDIS_CONNECTIONS),
            farewells: places(FAREWELLS),
            lookups: Semaphore::new(LOOKUPS),
            models: places(MODEL_REQUESTS),
        }
    }

    /// A place to be told that there is none.
    #[must_use]
    pub fn leave(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.farewells).try_acquire_owned().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_networks_connections_are_limited_and_others_go_on() {
        let guests = Guests::default();
        let [one, other] = ["10.213.0.0", "10.213.0.8"].map(|net| guests.of(net.parse().unwrap()));
        let places: Vec<_> = std::iter::from_fn(|| guests.enter(&one, Door::Redis)).collect();
        assert_eq!(places.len(), REDIS_CONNECTIONS);
        assert!(guests.enter(&one, Door::Http).is_some());
        assert!(guests.enter(&other, Door::Redis).is_some());
        drop(places);
        assert!(guests.enter(&one, Door::Redis).is_some());
    }

    #[test]
    fn all_together_are_limited_too_and_not_those_to_redis() {
        let guests = Guests::default();
        let mut places = Vec::new();
        for n in 0..=255 {
            let guest = guests.of(IpAddr::from([10, 213, n, 0]));
            places.extend(std::iter::from_fn(|| guests.enter(&guest, Door::Http)));
        }
        assert_eq!(places.len(), HTTP_CONNECTIONS_IN_ALL);
        let guest = guests.of(IpAddr::from([10, 213, 255, 0]));
        assert!(guests.enter(&guest, Door::Redis).is_some());
    }

    #[test]
    fn a_network_without_connections_is_forgotten() {
        let guests = Guests::default();
        for last in 0..100 {
            drop(guests.of(IpAddr::from([10, 213, last, 0])));
        }
        assert!(guests.all.lock().unwrap().len() <= 1);
    }
}
