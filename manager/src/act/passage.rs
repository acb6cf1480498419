//! What a worker may reach, and what its programs are told of the way there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use worker_protocol::gateway::{HTTP_PORT, Passage, Reach};
use worker_protocol::{Create, Problem, WorkerId};

use super::{Hands, store_problem};
use crate::config::Settings;
use crate::image::AgentTemplate;

/// What a worker may reach by way of the gateway: as far as it can be told from what stands on its
/// instance, so that it can be written again.
pub(super) fn passage(
    _settings: &Settings,
    id: WorkerId,
    _spec: &Create,
    _agent: &AgentTemplate,
) -> Passage {
    Passage {
        worker_id: id,
        egress: Reach::Hosts(BTreeSet::new()),
        models: BTreeSet::new(),
        token_sha256: None,
        max_requests: None,
        max_cost_usd: None,
    }
}

/// From now on the gateway lets a worker pass nowhere. One without a network has no passage.
pub(super) async fn close_passage(hands: &Hands, id: WorkerId) -> Result<(), Problem> {
    let enclosure = hands.engine.enclosure(&hands.name(id)).await;
    let Some(enclosure) = enclosure.map_err(|error| Problem::from(&error))? else { return Ok(()) };
    let closed = hands.store.close_passage(enclosure.address()).await;
    closed.map_err(|error| store_problem(&error))
}

/// What has programs go by way of the gateway. They need not heed it: there is no other way.
pub(super) fn proxy_environment(gateway: IpAddr) -> BTreeMap<String, String> {
    let proxy = format!("http://{gateway}:{HTTP_PORT}");
    let near = format!("localhost,127.0.0.1,{gateway}");
    let mut env = BTreeMap::new();
    for (name, value) in [("http_proxy", &proxy), ("https_proxy", &proxy), ("no_proxy", &near)] {
        env.insert(name.to_owned(), value.clone());
        env.insert(name.to_uppercase(), value.clone());
    }
    // Node's own client asks for it by this.
    env.insert("NODE_USE_ENV_PROXY".to_owned(), "1".to_owned());
    env
}
