//! Volumes that belong to one instance, found by their names.

use bollard::models::{Mount, MountType, MountVolumeOptions};
use bollard::query_parameters::{ListVolumesOptionsBuilder, RemoveVolumeOptions};
use std::collections::{BTreeMap, HashMap};

use super::companion::{companion_of, shared_mount};
use super::connection::{DockerEngine, SLOW, unless};
use super::found::label_filter;
use crate::engine::{Begins, EngineError, InstanceName, InstancePlan, Leftover, Writable};

/// The volumes that an instance sees; none of those that only its companion does.
pub(super) fn mounts(plan: &InstancePlan) -> Vec<Mount> {
    let kept = plan.writable.iter().flat_map(|place| match place {
        Writable::Kept { word, folders, begins } => {
            folders.iter().map(|folder| mount(plan, word, folder, *begins)).collect()
        }
        Writable::Fleeting { .. } => Vec::new(),
    });
    shared_mount(plan).into_iter().chain(kept).collect()
}

/// An instance's name, a hyphen, and a word without one: so its owner can be read from it.
pub(super) fn volume_name(name: &InstanceName, word: &str) -> String {
    format!("{name}-{word}")
}

pub(super) fn mount(plan: &InstancePlan, word: &str, target: &str, begins: Begins) -> Mount {
    let options = MountVolumeOptions {
        no_copy: Some(begins == Begins::Empty),
        labels: Some(plan.labels.clone().into_iter().collect()),
        ..Default::default()
    };
    Mount {
        target: Some(target.to_owned()),
        source: Some(volume_name(&plan.name, word)),
        typ: Some(MountType::VOLUME),
        volume_options: Some(options),
        ..Default::default()
    }
}

impl DockerEngine {
    /// All of an instance's; those that are not there are fine.
    pub(super) async fn remove_volumes(&self, name: &InstanceName) -> Result<(), EngineError> {
        let client = self.patient_client(SLOW).await?;
        // Any that has it in its name.
        let named = self.volumes("name", vec![format!("{name}-")]).await?;
        for volume in named.into_iter().filter(|volume| owner(volume).as_ref() == Some(name)) {
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
        for volume in self.volumes("label", label_filter(labels)).await? {
            let Some(of) = owner(&volume) else { continue };
            let leftover = Leftover { of: of.clone(), what: format!("volume {volume}") };
            left.entry(of).or_default().push(leftover);
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

    async fn volumes(&self, by: &str, values: Vec<String>) -> Result<Vec<String>, EngineError> {
        let filters = HashMap::from([(by, values)]);
        let options = ListVolumesOptionsBuilder::new().filters(&filters).build();
        let listed = self.client().await?.list_volumes(Some(options)).await;
        let listed = listed.map_err(|error| self.failed("list", "volumes", error))?;
        Ok(listed.volumes.unwrap_or_default().into_iter().map(|volume| volume.name).collect())
    }
}

pub(super) fn owner(volume: &str) -> Option<InstanceName> {
    volume.rsplit_once('-').map(|(name, _)| InstanceName(name.to_owned()))
}
