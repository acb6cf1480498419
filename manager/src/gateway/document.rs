//! What the gateway is told on its stdin.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use worker_protocol::gateway::{GatewayBoot, RedisTarget};
use worker_protocol::{ErrorKind, Problem, Secret};

use super::host;
use crate::act::Hands;
use crate::chain::chain;
use crate::config::ConfigError;
use crate::engine::ENCLOSURE_PREFIX;

/// What it is told, but for its password, which is new each time.
pub(super) fn compose(hands: &Hands) -> Result<GatewayBoot, Problem> {
    let settings = &hands.settings;
    let bundle = settings.ca_bundle.as_ref();
    let redis = settings.redis.for_gateway().map_err(unreadable)?;
    Ok(GatewayBoot {
        redis: RedisTarget { username: Some(settings.keys.gateway_name()), ..redis },
        keys: hands.store.gateways_keys(),
        events_entries: settings.retention.events,
        prefix: ENCLOSURE_PREFIX,
        refused: host::addresses(),
        private: settings.terms.egress.private.iter().map(ToString::to_string).collect(),
        upstreams: settings.terms.upstreams(&hands.catalogue),
        ca_bundle: bundle.map(|file| String::from_utf8_lossy(file.bytes()).into_owned()),
    })
}

/// The document with this password.
pub(super) fn write(boot: GatewayBoot, password: Secret) -> Result<Vec<u8>, Problem> {
    let redis = RedisTarget { password: Some(password), ..boot.redis };
    serde_json::to_vec(&GatewayBoot { redis, ..boot }).map_err(unwritable)
}

/// Tells two documents apart without their passwords. It stands in a label: the key is what opens
/// Redis, which all managers of the installation have, so that nobody else can try what the document
/// may hold.
pub(super) fn seal(hands: &Hands, boot: &GatewayBoot) -> Result<String, Problem> {
    let text = serde_json::to_vec(boot).map_err(unwritable)?;
    let key = hands.settings.redis.target().map_err(unreadable)?;
    let key = serde_json::to_vec(&key).map_err(unwritable)?;
    let mac = Hmac::<Sha256>::new_from_slice(&key);
    let mut mac = mac.map_err(|error| Problem::new(ErrorKind::Internal, error.to_string()))?;
    mac.update(&text);
    Ok(mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn unreadable(error: ConfigError) -> Problem {
    Problem::new(ErrorKind::Internal, chain(&error))
}

fn unwritable(error: serde_json::Error) -> Problem {
    Problem::new(ErrorKind::Internal, format!("failed to write the gateway's document: {error}"))
}
