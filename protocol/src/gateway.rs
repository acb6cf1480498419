//! What the manager tells the gateway, the only way out of a worker's network.
//!
//! The gateway gets one document on its stdin ([`GatewayBoot`]), as a wrapper does, and reads what a
//! worker may reach ([`Passage`]) from Redis, so that it needs no manager for it. It knows a worker
//! by the network that a connection comes from: nobody else is on that one.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::id::WorkerId;
use crate::secret::Secret;

/// Where the gateway listens for what is to be passed on by HTTP: `CONNECT`, requests with an
/// absolute address, and those to a model at [`MODEL_PATH`].
pub const HTTP_PORT: u16 = 3128;
/// Where it listens for what is to be passed on to Redis.
pub const REDIS_PORT: u16 = 6379;
/// Requests to `/model/<NAME>/…` go to the [`Upstream`] of that name.
pub const MODEL_PATH: &str = "/model/";
/// A name that leads to the gateway itself, for tests of the way out: it is allowed when a worker
/// may reach anything by name, or when it is named, and answers `204`.
pub const SELF_TEST_HOST: &str = "gateway.test";

/// The document on its stdin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GatewayBoot {
    /// How it reaches Redis, as a user of its own.
    pub redis: RedisTarget,
    /// The only keys that this user may touch.
    pub keys: GatewayKeys,
    /// Entries of the events stream that are kept, roughly.
    pub events_entries: usize,
    /// The length of a worker's network prefix: a connection's address, cut to so many bits, names
    /// the worker's field in [`GatewayKeys::passages`].
    pub prefix: u8,
    /// Addresses that nobody is to reach besides those that are refused anyway: the host's own.
    pub refused: BTreeSet<IpAddr>,
    /// Private addresses that the operator opens to workers that name them: `10.1.0.0/16`, or with
    /// a port `10.1.2.3:8080`.
    pub private: BTreeSet<String>,
    /// Models' addresses and keys, by the credential's name.
    pub upstreams: BTreeMap<String, Upstream>,
    /// Certificates in PEM that it trusts besides the usual ones.
    pub ca_bundle: Option<String>,
}

/// Redis, as a program is to reach it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedisTarget {
    /// `redis://` or `rediss://` with one address; `redis+sentinel://host,host/name/db` or
    /// `redis+cluster://host,host`, and `rediss+…` for TLS. Without credentials.
    pub url: String,
    /// The user; none: Redis' default one.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// In a cluster: the hash tag that all keys have, so that they lie in one slot.
    #[serde(default)]
    pub hash_tag: Option<String>,
    /// Of the sentinels, where they ask for one.
    pub sentinel_username: Option<String>,
    /// Of the sentinels, where they ask for one.
    pub sentinel_password: Option<Secret>,
    /// Certificates in PEM that servers' are signed by; none: the usual authorities.
    pub ca: Option<String>,
    /// The client's own certificate in PEM, where servers ask for one.
    pub certificate: Option<String>,
    /// Its key in PEM.
    pub key: Option<Secret>,
}

/// The keys of the gateway's Redis user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayKeys {
    /// Hash: a worker's network address, such as `10.213.4.8` → its [`Passage`] as JSON. Read only.
    pub passages: String,
    /// Hash: `<worker id>:requests` and `<worker id>:usd` → what it has used of its limits.
    pub spent: String,
    /// Stream of events. Only written.
    pub events: String,
}

/// What one worker may reach.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Passage {
    /// Whose.
    pub worker_id: WorkerId,
    /// Which hosts.
    pub egress: Reach,
    /// Names of the [`Upstream`]s that it may use.
    #[serde(default)]
    pub models: BTreeSet<String>,
    /// SHA-256, in hexadecimal, of the token that it shows for that.
    #[serde(default)]
    pub token_sha256: Option<String>,
    /// Requests to models, in all.
    #[serde(default)]
    pub max_requests: Option<u64>,
    /// What these may cost in all, in US dollars.
    #[serde(default)]
    pub max_cost_usd: Option<f64>,
}

/// Which hosts may be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// These: `example.com` (ports 80 and 443), `example.com:8080`, `*.example.com` (names below
    /// it); none: nothing.
    Hosts(BTreeSet<String>),
    /// Every public host, at every port.
    Open,
}

/// A model's service, and what opens it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Upstream {
    /// Where requests go: `https://api.anthropic.com`. The operator's word: it may be private.
    pub url: String,
    /// Headers that take the place of the worker's token: `x-api-key`, `authorization`, …
    pub headers: BTreeMap<String, Secret>,
    /// What the service charges, the longest matching prefix of a model's name first; a model that
    /// none matches costs what the dearest does. Without any, cost is not counted.
    #[serde(default)]
    pub prices: Vec<Price>,
}

/// What a model costs, in US dollars for a million tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Price {
    /// What the model's name begins with.
    pub model: String,
    /// Read.
    pub input: f64,
    /// Written.
    pub output: f64,
    /// Read from a cache.
    pub cache_read: f64,
    /// Written to a cache.
    pub cache_write: f64,
}
