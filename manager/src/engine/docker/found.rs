//! Reading how containers stand.

use bollard::models::{
    ContainerInspectResponse, ContainerState, ContainerStateStatusEnum as Status, NetworkSettings,
};
use bollard::query_parameters::{InspectContainerOptions, ListContainersOptionsBuilder};
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use std::collections::{BTreeSet, HashMap};

use super::connection::{DockerEngine, unless};
use crate::engine::{End, EngineError, Found, InstanceName, InstanceState};

/// Containers that are looked at side by side. More gains nothing: each is a matter of a millisecond.
const AT_ONCE: usize = 8;

impl DockerEngine {
    pub(super) async fn inspect_container(
        &self,
        name: &InstanceName,
    ) -> Result<Option<Found>, EngineError> {
        let Some(container) = self.look_at_container(name).await? else { return Ok(None) };
        let of = container.host_config.as_ref().and_then(|config| config.network_mode.as_deref());
        let companion = of.and_then(|of| of.strip_prefix("container:")).map(str::to_owned);
        let mut found = read(container);
        // Its address is that of the one whose network it is in.
        if let (true, Some(companion)) = (found.state.lives(), companion) {
            let companion = self.look_at_container(&InstanceName(companion)).await?;
            let at = companion.and_then(|at| at.network_settings).unwrap_or_default();
            (found.networks, found.ip_address) = (networks(&at), ip_address(at));
        }
        Ok(Some(found))
    }

    pub(super) async fn look_at_container(
        &self,
        name: &InstanceName,
    ) -> Result<Option<ContainerInspectResponse>, EngineError> {
        let client = self.client().await?;
        let found = client.inspect_container(&name.0, None::<InspectContainerOptions>).await;
        unless(&[404], found).map_err(|error| self.failed("look at", name, error))
    }

    /// The daemon's list does not say how a container ended: each is looked at.
    pub(super) async fn list_containers(
        &self,
        labels: &[(String, String)],
    ) -> Result<Vec<Found>, EngineError> {
        let filters = HashMap::from([("label", label_filter(labels))]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let all = self.client().await?.list_containers(Some(options)).await;
        let all = all.map_err(|error| self.failed("list", "containers", error))?;
        let ids = all.into_iter().filter_map(|container| container.id).map(InstanceName);
        // One that went away in between is none.
        stream::iter(ids)
            .map(|id| async move { self.inspect_container(&id).await })
            .buffered(AT_ONCE)
            .try_filter_map(|found| async move { Ok(found) })
            .try_collect()
            .await
    }
}

pub(super) fn label_filter(labels: &[(String, String)]) -> Vec<String> {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect()
}

fn read(container: ContainerInspectResponse) -> Found {
    let labels = container.config.and_then(|config| config.labels).unwrap_or_default();
    let state = container.state.unwrap_or_default();
    Found {
        // The daemon writes a slash before it.
        name: InstanceName(container.name.unwrap_or_default().trim_start_matches('/').to_owned()),
        labels: labels.into_iter().collect(),
        networks: container.network_settings.as_ref().map(networks).unwrap_or_default(),
        ip_address: container.network_settings.and_then(ip_address),
        started_at: state.started_at.as_deref().and_then(timestamp),
        state: stands(&state),
    }
}

fn stands(state: &ContainerState) -> InstanceState {
    match state.status {
        Some(Status::RUNNING | Status::RESTARTING | Status::STOPPING) => InstanceState::Running,
        Some(Status::PAUSED) => InstanceState::Paused,
        Some(Status::EXITED | Status::DEAD | Status::REMOVING) => InstanceState::Ended(End {
            code: state.exit_code.unwrap_or_default(),
            oom_killed: state.oom_killed.unwrap_or_default(),
            at: state.finished_at.as_deref().and_then(timestamp),
        }),
        Some(Status::CREATED | Status::EMPTY) | None => InstanceState::Created,
    }
}

fn networks(settings: &NetworkSettings) -> BTreeSet<String> {
    settings.networks.iter().flat_map(|networks| networks.keys().cloned()).collect()
}

fn ip_address(settings: NetworkSettings) -> Option<String> {
    let networks = settings.networks.unwrap_or_default().into_values();
    networks.filter_map(|network| network.ip_address).find(|address| !address.is_empty())
}

/// The daemon writes the year 1 for never.
pub(super) fn timestamp(text: &str) -> Option<Timestamp> {
    text.parse().ok().filter(|at| *at > Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_of_a_container_is_one_of_an_instance() {
        let end = InstanceState::Ended(End {
            code: 137,
            oom_killed: true,
            at: "2026-08-01T10:00:00Z".parse().ok(),
        });
        for (status, expected) in [
            (Status::CREATED, InstanceState::Created),
            (Status::RUNNING, InstanceState::Running),
            (Status::PAUSED, InstanceState::Paused),
            (Status::EXITED, end.clone()),
            (Status::DEAD, end),
        ] {
            let state = ContainerState {
                status: Some(status),
                exit_code: Some(137),
                oom_killed: Some(true),
                finished_at: Some("2026-08-01T10:00:00Z".to_owned()),
                ..Default::default()
            };
            assert_eq!(stands(&state), expected);
        }
    }

    #[test]
    fn the_year_one_is_never() {
        assert_eq!(timestamp("0001-01-01T00:00:00Z"), None);
        assert!(timestamp("2026-08-01T10:00:00.123456789Z").is_some());
    }
}
