//! What the gateway is told on its stdin.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::collections::{BTreeMap, BTreeSet};
use worker_protocol::gateway::{GatewayBoot, RedisTarget};
use worker_protocol::{ErrorKind, Problem, Secret};

use super::host;
use crate::act::Hands;
use crate::engine::ENCLOSURE_PREFIX;

/// What it is told, but for its password, which is new each time.
pub(super) fn compose(hands: &Hands) -> GatewayBoot {
    let settings = &hands.settings;
    let bundle = settings.ca_bundle.as_ref();
    GatewayBoot {
        redis: RedisTarget {
            url: settings.workers_redis_url.clone(),
            username: Some(settings.keys.gateway_name()),
            ..RedisTarget::default()
        },
        keys: hands.store.gateways_keys(),
        events_entries: settings.retention.events,
        prefix: ENCLOSURE_PREFIX,
        refused: host::addresses(),
        private: BTreeSet::new(),
        upstreams: BTreeMap::new(),
        ca_bundle: bundle.map(|file| String::from_utf8_lossy(file.bytes()).into_owned()),
    }
}

/// The document with this password.
pub(super) fn write(boot: GatewayBoot, password: Secret) -> Result<Vec<u8>, Problem> {
    let redis = RedisTarget { password: Some(password), ..boot.redis };
    serde_json::to_vec(&GatewayBoot { redis, ..boot }).map_err(unwritable)
}

/// Tells two documents apart without their passwords. It stands in a label: `key` is a secret that
/// all managers of the installation have, so that nobody else can try what the document may hold.
pub(super) fn seal(boot: &GatewayBoot, key: &Secret) -> Result<String, Problem> {
    let text = serde_json::to_vec(boot).map_err(unwritable)?;
    let mac = Hmac::<Sha256>::new_from_slice(key.reveal().as_bytes());
    let mut mac = mac.map_err(|error| Problem::new(ErrorKind::Internal, error.to_string()))?;
    mac.update(&text);
    Ok(mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn unwritable(error: serde_json::Error) -> Problem {
    Problem::new(ErrorKind::Internal, format!("failed to write the gateway's document: {error}"))
}
