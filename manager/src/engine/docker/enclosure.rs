//! The network of one container: a bridge that leads nowhere, with the gateway on it.
//!
//! `internal` keeps the host from passing on what comes from it, and `inhibit_ipv4` keeps the host
//! itself off it: the bridge has no address. It is found by its name, and removed with its
//! container.

use bollard::models::{
    EndpointIpamConfig, EndpointSettings, Ipam, IpamConfig, NetworkConnectRequest,
    NetworkCreateRequest, NetworkDisconnectRequest, NetworkInspect,
};
use bollard::query_parameters::ListNetworksOptionsBuilder;
use ipnet::Ipv4Net;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::connection::{DockerEngine, SLOW, refused, status, unless};
use super::found::label_filter;
use crate::engine::{ENCLOSURE_PREFIX, Enclosure, EnclosurePlan, EngineError, InstanceName};

/// What the name of an enclosure ends with.
const NETWORK: &str = "-network";
/// Keeps the host's address off the bridge.
const INHIBIT: &str = "com.docker.network.bridge.inhibit_ipv4";

/// Between two tries to empty and remove a network; each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// After one of this length, removing it has failed: together some six seconds.
const LAST_PAUSE: Duration = Duration::from_secs(3);

pub(super) fn network_of(name: &InstanceName) -> String {
    format!("{name}{NETWORK}")
}

impl DockerEngine {
    pub(super) async fn make_enclosure(
        &self,
        plan: &EnclosurePlan,
    ) -> Result<Enclosure, EngineError> {
        let enclosure = match self.find_enclosure(&plan.of).await? {
            Some(enclosure) => enclosure,
            None => self.create_enclosure(plan).await?,
        };
        self.attach(&plan.gateway, &enclosure).await?;
        Ok(enclosure)
    }

    pub(super) async fn find_enclosure(
        &self,
        of: &InstanceName,
    ) -> Result<Option<Enclosure>, EngineError> {
        let name = network_of(of);
        let Some(found) = self.look_at_network(&name).await? else { return Ok(None) };
        let enclosure = read(found);
        let other = || {
            let reason = "another network has this name: remove it";
            refused("use", format!("network {name}"), reason)
        };
        enclosure.map(Some).ok_or_else(other)
    }

    /// The first place that is free, from one on that the name gives: so two that are made at the
    /// same time seldom want the same.
    async fn create_enclosure(&self, plan: &EnclosurePlan) -> Result<Enclosure, EngineError> {
        let name = network_of(&plan.of);
        let client = self.patient_client(SLOW).await?;
        for subnet in places(plan.range, &name) {
            let wanted = wanted(&name, subnet, plan);
            let Err(error) = client.create_network(wanted).await else {
                return Ok(Enclosure { name: name.clone(), subnet });
            };
            match status(&error) {
                Some(409) => {
                    let made = self.find_enclosure(&plan.of).await?;
                    return made.ok_or_else(|| self.failed("make", &name, error));
                }
                Some(400 | 403 | 500) if error.to_string().contains("overlaps") => {}
                _ => return Err(self.failed("make", format!("network {name}"), error)),
            }
        }
        let reason = format!("all of {} is in use: widen `worker_subnets`", plan.range);
        Err(refused("make", format!("network {name}"), reason))
    }

    /// The gateway's address is always the same, so that those who were told it find it again.
    pub(super) async fn attach(
        &self,
        gateway: &InstanceName,
        enclosure: &Enclosure,
    ) -> Result<(), EngineError> {
        let request = NetworkConnectRequest {
            container: gateway.0.clone(),
            endpoint_config: Some(endpoint(enclosure.gateway())),
        };
        let client = self.patient_client(SLOW).await?;
        let Err(error) = client.connect_network(&enclosure.name, request).await else {
            return Ok(());
        };
        // Already there: 403, with words that differ between versions.
        if status(&error) == Some(403) && error.to_string().contains("already exists") {
            return Ok(());
        }
        Err(self.failed("put on its network", gateway, error))
    }

    /// All with these labels. One that is being removed is none.
    pub(super) async fn list_enclosures(
        &self,
        labels: &[(String, String)],
    ) -> Result<Vec<(InstanceName, Enclosure)>, EngineError> {
        let filters = HashMap::from([("label", label_filter(labels))]);
        let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
        let listed = self.client().await?.list_networks(Some(options)).await;
        let listed = listed.map_err(|error| self.failed("list", "networks", error))?;
        let enclosures = listed.into_iter().filter_map(|network| {
            let name = network.name?;
            let of = InstanceName(name.strip_suffix(NETWORK)?.to_owned());
            Some((of, Enclosure { subnet: subnet(network.ipam?)?, name }))
        });
        Ok(enclosures.collect())
    }

    /// Whoever is still on it is put off it: the gateway stays when its neighbour has gone. A look at
    /// the gateway may be putting that one on it again, and whom the daemon is still attaching it
    /// neither shows nor lets go.
    pub(super) async fn remove_enclosure(&self, of: &InstanceName) -> Result<(), EngineError> {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.empty_and_remove(of).await {
                Err(EngineError::Refused { reason, .. })
                    if reason.contains("active endpoints") && pause < LAST_PAUSE =>
                {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                ended => return ended,
            }
        }
    }

    async fn empty_and_remove(&self, of: &InstanceName) -> Result<(), EngineError> {
        let Some(network) = self.look_at_network(&network_of(of)).await? else { return Ok(()) };
        let id = network.id.unwrap_or_default();
        let client = self.patient_client(SLOW).await?;
        for container in network.containers.unwrap_or_default().into_keys() {
            let request = NetworkDisconnectRequest { container, force: Some(true) };
            // It may have gone meanwhile; if it has not, the network cannot be removed.
            if let Err(error) = client.disconnect_network(&id, request).await {
                tracing::debug!(network = network_of(of), %error, "nobody was put off");
            }
        }
        match unless(&[404], client.remove_network(&id).await) {
            // Somebody else is removing it, too.
            Err(_) if self.look_at_network(&id).await?.is_none() => Ok(()),
            removed => {
                removed.map(drop).map_err(|error| self.failed("remove", network_of(of), error))
            }
        }
    }
}

/// A fixed address on a network.
pub(super) fn endpoint(address: Ipv4Addr) -> EndpointSettings {
    let ipv4_address = Some(address.to_string());
    let ipam_config = EndpointIpamConfig { ipv4_address, ..Default::default() };
    EndpointSettings { ipam_config: Some(ipam_config), ..Default::default() }
}

fn wanted(name: &str, subnet: Ipv4Net, plan: &EnclosurePlan) -> NetworkCreateRequest {
    let config = IpamConfig { subnet: Some(subnet.to_string()), ..Default::default() };
    NetworkCreateRequest {
        name: name.to_owned(),
        driver: Some("bridge".to_owned()),
        internal: Some(true),
        enable_ipv6: Some(false),
        ipam: Some(Ipam { config: Some(vec![config]), ..Default::default() }),
        options: Some(HashMap::from([(INHIBIT.to_owned(), "true".to_owned())])),
        labels: Some(plan.labels.clone().into_iter().collect()),
        ..Default::default()
    }
}

/// None, when it is not such a network as is made here.
fn read(found: NetworkInspect) -> Option<Enclosure> {
    let inhibited = found.options.unwrap_or_default().get(INHIBIT).is_some_and(|on| on == "true");
    let closed = found.internal == Some(true) && found.enable_ipv6 != Some(true) && inhibited;
    let enclosure = Enclosure { name: found.name?, subnet: subnet(found.ipam?)? };
    closed.then_some(enclosure)
}

fn subnet(ipam: Ipam) -> Option<Ipv4Net> {
    let config = ipam.config.unwrap_or_default();
    let subnet: Ipv4Net = config.first()?.subnet.as_deref()?.parse().ok()?;
    (config.len() == 1 && subnet.prefix_len() == ENCLOSURE_PREFIX).then_some(subnet)
}

/// Every place in the range once.
fn places(range: Ipv4Net, name: &str) -> impl Iterator<Item = Ipv4Net> {
    let size = 1_u32 << (32 - ENCLOSURE_PREFIX);
    let places = 1_u32 << ENCLOSURE_PREFIX.saturating_sub(range.prefix_len());
    let digest = Sha256::digest(name);
    let first = digest.iter().take(4).fold(0, |number, byte| number << 8 | u32::from(*byte));
    (0..places).filter_map(move |number| {
        let place = first.wrapping_add(number) % places;
        let address = Ipv4Addr::from_bits(range.network().to_bits() + place * size);
        Ipv4Net::new(address, ENCLOSURE_PREFIX).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_place_of_a_range_is_tried_once() {
        let range: Ipv4Net = "10.213.0.0/26".parse().unwrap();
        let all: BTreeSet<_> = places(range, "a").collect();
        assert_eq!((places(range, "a").count(), all.len()), (8, 8));
        assert!(all.iter().all(|place| range.contains(place)));
        assert_eq!(places("10.213.0.8/29".parse().unwrap(), "a").count(), 1);
        let wide: Ipv4Net = "10.0.0.0/8".parse().unwrap();
        assert_ne!(places(wide, "a").next(), places(wide, "b").next());
    }

    #[test]
    fn a_network_that_leads_somewhere_is_no_enclosure() {
        let good = || NetworkInspect {
            name: Some("w-network".to_owned()),
            internal: Some(true),
            options: Some(HashMap::from([(INHIBIT.to_owned(), "true".to_owned())])),
            ipam: Some(Ipam {
                config: Some(vec![IpamConfig {
                    subnet: Some("10.213.0.8/29".to_owned()),
                    ..Default::default()
                }]),
                ..Default::default()
            }),
            ..Default::default()
        };
        assert!(read(good()).is_some());
        let changes: [fn(&mut NetworkInspect); 4] = [
            |network| network.internal = Some(false),
            |network| network.options = None,
            |network| network.enable_ipv6 = Some(true),
            |network| network.ipam = None,
        ];
        for change in changes {
            let mut network = good();
            change(&mut network);
            assert_eq!(read(network), None);
        }
    }
}
