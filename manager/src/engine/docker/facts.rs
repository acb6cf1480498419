//! What the daemon is, and what it can do.

use bollard::models::{SystemInfo, SystemInfoCgroupVersionEnum, SystemVersion};

use super::connection::DockerEngine;
use crate::engine::{CacheMounts, EngineError, HostDetails, HostFacts};

/// In a label of each image that this project's builds leave behind.
const LABEL: &str = "io.worker-manager.build";

/// In what BuildKit writes of their steps, which is the command, and of their cache mounts, which is
/// the folder and for later engines the name.
const WORDS: [&str; 2] = ["worker-manager", "/var/cache/worker"];

/// The first API behind which BuildKit is always there.
const BUILDKIT_API: (u32, u32) = (1, 40);

/// Which of a daemon's builders makes images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Builder {
    /// BuildKit where the daemon has it.
    #[default]
    Auto,
    /// The one that every daemon has.
    Classic,
    /// BuildKit, and an error where there is none.
    BuildKit,
}

/// How this project's leftovers are told from those of others.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    /// On every image of a build, those without a name too.
    pub(super) label: String,
    /// One of them stands in the description of a record.
    pub(super) words: Vec<String>,
}

impl Default for Mark {
    fn default() -> Self {
        Self { label: LABEL.to_owned(), words: WORDS.map(str::to_owned).to_vec() }
    }
}

impl DockerEngine {
    /// Takes another word for telling leftovers apart, so that several who share a daemon can tidy
    /// up each for himself: it stands in the commands, and with `io.` before and `.build` behind it
    /// it is the label.
    #[must_use]
    pub fn marked(mut self, word: &str) -> Self {
        self.set_mark(Mark { label: format!("io.{word}.build"), words: vec![word.to_owned()] });
        self
    }

    pub(super) async fn facts(&self) -> Result<HostFacts, EngineError> {
        let version = self.version().await?;
        let info = self.client().await?.info().await;
        let info = info.map_err(|error| self.failed("describe", "itself", error))?;
        let details = details(&version, &info);
        let mut runtimes: Vec<String> = info.runtimes.unwrap_or_default().into_keys().collect();
        runtimes.sort_unstable();
        let cache_mounts = match self.chosen(&version) {
            Builder::BuildKit => CacheMounts::Yes,
            Builder::Auto | Builder::Classic => CacheMounts::No,
        };
        Ok(HostFacts {
            engine: format!("docker {}", version.version.unwrap_or_default()),
            architecture: debian_architecture(&version.arch.unwrap_or_default()).to_owned(),
            cache_mounts,
            runtimes,
            details,
        })
    }

    pub(super) async fn ping(&self) -> Result<(), EngineError> {
        let answer = self.client().await?.ping().await;
        answer.map(drop).map_err(|error| self.failed("ping", "itself", error))
    }

    pub(super) async fn version(&self) -> Result<SystemVersion, EngineError> {
        let version = self.client().await?.version().await;
        version.map_err(|error| self.failed("describe", "itself", error))
    }

    /// The builder that the next build takes, which is not `Auto`.
    pub(super) fn chosen(&self, version: &SystemVersion) -> Builder {
        match self.wanted_builder() {
            Builder::Auto if has_buildkit(version) => Builder::BuildKit,
            Builder::Auto => Builder::Classic,
            wanted => wanted,
        }
    }
}

/// What is not told counts as the good case: a warning must have a reason.
fn details(version: &SystemVersion, info: &SystemInfo) -> HostDetails {
    let limits =
        [("memory", info.memory_limit), ("pids", info.pids_limit), ("cpus", info.cpu_cfs_quota)];
    let cannot = limits.into_iter().filter(|(_, can)| *can == Some(false));
    let options = info.security_options.as_deref().unwrap_or_default();
    let is_on = |name: &&str| options.iter().any(|option| option == &format!("name={name}"));
    HostDetails {
        version: version.version.clone().unwrap_or_default(),
        interface: version.api_version.clone().unwrap_or_default(),
        survives_restart: info.live_restore_enabled.unwrap_or_default(),
        cgroup: match info.cgroup_version {
            Some(SystemInfoCgroupVersionEnum::_1) => "1".to_owned(),
            Some(SystemInfoCgroupVersionEnum::_2) => "2".to_owned(),
            _ => String::new(),
        },
        unlimited: cannot.map(|(name, _)| name.to_owned()).collect(),
        storage: info.driver.clone().unwrap_or_default(),
        shields: ["rootless", "userns"].into_iter().filter(is_on).map(str::to_owned).collect(),
        warnings: info.warnings.clone().unwrap_or_default(),
    }
}

/// A daemon of Windows has none, and Podman takes the wish without fulfilling it.
fn has_buildkit(version: &SystemVersion) -> bool {
    let parts = version.components.as_deref().unwrap_or_default();
    let podman = parts.iter().any(|part| part.name.contains("Podman"));
    version.os.as_deref() == Some("linux") && !podman && api(version) >= Some(BUILDKIT_API)
}

/// The newest API that the daemon speaks.
pub(super) fn api(version: &SystemVersion) -> Option<(u32, u32)> {
    let (major, minor) = version.api_version.as_deref()?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The daemon tells Go's names.
fn debian_architecture(go: &str) -> &str {
    match go {
        "386" => "i386",
        "arm" => "armhf",
        "ppc64le" => "ppc64el",
        same => same,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::SystemVersionComponents;

    #[test]
    fn buildkit_is_in_linux_daemons_since_19_03_and_not_in_podman() {
        let version = |os: &str, api: &str, part: &str| SystemVersion {
            os: Some(os.to_owned()),
            api_version: Some(api.to_owned()),
            components: Some(vec![SystemVersionComponents {
                name: part.to_owned(),
                ..Default::default()
            }]),
            ..Default::default()
        };
        assert!(has_buildkit(&version("linux", "1.41", "Engine")));
        assert!(has_buildkit(&version("linux", "1.40", "Engine")));
        assert!(has_buildkit(&version("linux", "2.0", "Engine")));
        assert!(!has_buildkit(&version("linux", "1.39", "Engine")));
        assert!(!has_buildkit(&version("windows", "1.41", "Engine")));
        assert!(!has_buildkit(&version("linux", "1.41", "Podman Engine")));
        assert!(!has_buildkit(&SystemVersion::default()));
    }
}
