//! Volumes that belong to one instance, found by their names.

use bollard::models::{Mount, MountType, MountVolumeOptions};
use bollard::query_parameters::{ListVolumesOptionsBuilder, RemoveVolumeOptions};
use std::collections::{BTreeMap, HashMap};

use super::companion::{SHARED, STATE, companion_of, shared_mount, shared_volume, state_volume};
use super::connection::{DockerEngine, SLOW, unless};
use super::found::label_filter;
use crate::engine::{EngineError, InstanceName, InstancePlan, Leftover};

/// What the name of a home ends with.
const HOME: &str = "-home";

fn home_volume(name: &InstanceName) -> String {
    format!("{name}{HOME}")
}

/// The volumes that an instance sees; none of those that only its companion does.
pub(super) fn mounts(plan: &InstancePlan) -> Vec<Mount> {
    shared_mount(plan).into_iter().chain(home_mount(plan)).collect()
}

/// The daemon copies what the image has at this place, with its owner.
fn home_mount(plan: &InstancePlan) -> Option<Mount> {
    Some(Mount {
        target: Some(plan.home.clone()?),
        source: Some(home_volume(&plan.name)),
        typ: Some(MountType::VOLUME),
        volume_options: Some(MountVolumeOptions {
            labels: Some(plan.labels.clone().into_iter().collect()),
            ..Default::default()
        }),
        ..Default::default()
    })
}

impl DockerEngine {
    /// All of an instance's; those that are not there are fine.
    pub(super) async fn remove_volumes(&self, name: &InstanceName) -> Result<(), EngineError> {
        let client = self.patient_client(SLOW).await?;
        for volume in [shared_volume(name), state_volume(name), home_volume(name)] {
            let removed = client.remove_volume(&volume, None::<RemoveVolumeOptions>).await;
            unless(&[404], removed)
                .map_err(|error| self.failed("remove", format!("volume {volume}"), error))?;
        }
        Ok(())
    }

    /// Volumes and networks without an instance, and the companions that use them.
    pub(super) async fn left_by_instances(
        &self,
        labels: &[(String, String)],
    ) -> Result<Vec<Leftover>, EngineError> {
        let mut left: BTreeMap<InstanceName, Vec<Leftover>> = BTreeMap::new();
        for leftover in self.volumes(labels).await? {
            left.entry(leftover.of.clone()).or_default().push(leftover);
        }
        for (of, network) in self.list_enclosures(labels).await? {
            let what = format!("network {}", network.name);
            left.entry(of.clone()).or_default().push(Leftover { of, what });
        }
        let mut alone = Vec::new();
        for (of, volumes) in left {
            if self.look_at_container(&of).await?.is_some() {
                continue;
            }
            alone.extend(volumes);
            let companion = companion_of(&of);
            if self.look_at_container(&companion).await?.is_some() {
                alone.push(Leftover { of, what: format!("companion {companion}") });
            }
        }
        Ok(alone)
    }

    async fn volumes(&self, labels: &[(String, String)]) -> Result<Vec<Leftover>, EngineError> {
        let filters = HashMap::from([("label", label_filter(labels))]);
        let options = ListVolumesOptionsBuilder::new().filters(&filters).build();
        let listed = self.client().await?.list_volumes(Some(options)).await;
        let listed = listed.map_err(|error| self.failed("list", "volumes", error))?;
        let names = listed.volumes.unwrap_or_default().into_iter().map(|volume| volume.name);
        Ok(names
            .filter_map(|volume| {
                let of = [HOME, SHARED, STATE].iter().find_map(|end| volume.strip_suffix(end))?;
                let of = InstanceName(of.to_owned());
                Some(Leftover { of, what: format!("volume {volume}") })
            })
            .collect())
    }
}
