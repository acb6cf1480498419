//! What instances have written to the disk.

use serde::Deserialize;
use std::collections::BTreeMap;

use super::connection::DockerEngine;
use super::volumes::owner;
use crate::engine::{EngineError, InstanceName};

#[derive(Deserialize)]
struct Usage {
    #[serde(rename = "Volumes")]
    volumes: Option<Vec<Volume>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Volume {
    name: String,
    labels: Option<BTreeMap<String, String>>,
    usage_data: Option<Size>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Size {
    /// -1 where the daemon does not know it.
    size: i64,
}

impl DockerEngine {
    /// All that they write is in volumes: what they have of their image is read-only.
    pub(super) async fn written_by_instances(
        &self,
        labels: &[(String, String)],
    ) -> Result<BTreeMap<InstanceName, u64>, EngineError> {
        let usage: Usage = self.disk_usage("volume").await?;
        Ok(add_up(usage.volumes.unwrap_or_default(), labels))
    }
}

fn add_up(volumes: Vec<Volume>, labels: &[(String, String)]) -> BTreeMap<InstanceName, u64> {
    let mut written = BTreeMap::new();
    for volume in volumes {
        let own = volume.labels.unwrap_or_default();
        let Some(of) = owner(&volume.name) else { continue };
        if labels.iter().all(|(key, value)| own.get(key) == Some(value)) {
            let size = volume.usage_data.map_or(0, |data| data.size);
            *written.entry(of).or_default() += u64::try_from(size).unwrap_or_default();
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_volumes_of_an_instance_are_added_up() {
        let text = r#"{"Volumes": [
            {"Name": "w-1-home", "Labels": {"of": "w"}, "UsageData": {"Size": 5, "RefCount": 1}},
            {"Name": "w-1-tmp", "Labels": {"of": "w"}, "UsageData": {"Size": 7, "RefCount": 1}},
            {"Name": "w-2-tmp", "Labels": {"of": "w"}, "UsageData": {"Size": -1, "RefCount": 0}},
            {"Name": "x-1-tmp", "Labels": {"of": "x"}, "UsageData": {"Size": 1, "RefCount": 0}},
            {"Name": "9f3a", "Labels": null, "UsageData": null}], "Images": null}"#;
        let usage: Usage = serde_json::from_str(text).unwrap();
        let written = add_up(usage.volumes.unwrap(), &[("of".to_owned(), "w".to_owned())]);
        let expected = [("w-1", 12), ("w-2", 0)];
        assert_eq!(written, expected.map(|(name, size)| (InstanceName(name.into()), size)).into());
    }
}
