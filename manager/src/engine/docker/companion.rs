//! What runs beside an instance, with rights that the instance does not have.
//!
//! A second container of the same image. The instance joins its network, so that what it publishes
//! is at `localhost` for the instance; two volumes belong to them alone. Everything is found by its
//! name, so that each verb goes on where a crash left it.

use bollard::models::{ContainerCreateBody, HostConfig, Mount};
use std::collections::HashMap;

use super::connection::DockerEngine;
use super::instance::{log_config, never_restarted, place, with_quotas, without_names};
use super::volumes::mount;
use crate::engine::{Begins, CompanionPlan, Confinement, EngineError, InstanceName, InstancePlan};

/// Whose companion a container is.
const OF: &str = "io.worker-manager.companion";
/// The file that shows that it is ready.
pub(super) const READY: &str = "io.worker-manager.companion.ready";

/// The volumes: the folder that both see, and the one that only the companion sees.
const SHARED: &str = "shared";
const STATE: &str = "state";

pub(super) fn companion_of(name: &InstanceName) -> InstanceName {
    InstanceName(format!("{name}-companion"))
}

impl DockerEngine {
    pub(super) async fn create_companion(
        &self,
        plan: &InstancePlan,
        companion: &CompanionPlan,
    ) -> Result<(), EngineError> {
        let name = companion_of(&plan.name);
        let (labels, body) = (labels(plan, companion), body(plan, companion));
        self.make(&name, &plan.image, &labels, body).await
    }

    /// Whether an instance that does not run was made for a companion that has since been replaced:
    /// the daemon keeps the id of the one that was there, and would not start it with another.
    pub(super) async fn waits_for_another(&self, name: &InstanceName) -> Result<bool, EngineError> {
        let Some(instance) = self.look_at_container(name).await? else { return Ok(false) };
        let Some(companion) = self.look_at_container(&companion_of(name)).await? else {
            return Ok(false);
        };
        let runs = instance.state.and_then(|state| state.running).unwrap_or_default();
        let joined = instance.host_config.and_then(|config| config.network_mode);
        let id = companion.id.unwrap_or_default();
        let those = [format!("container:{id}"), network_of(name)];
        Ok(!runs && joined.is_some_and(|joined| !those.contains(&joined)))
    }
}

/// The folder that the instance shares with its companion. Writable in both, since one who connects
/// to a socket writes to it.
pub(super) fn shared_mount(plan: &InstancePlan) -> Option<Mount> {
    let companion = plan.companion.as_ref()?;
    Some(mount(plan, SHARED, &companion.shared, Begins::Empty))
}

/// The network of an instance: its companion's, where it has one.
pub(super) fn network_mode(plan: &InstancePlan) -> String {
    match plan.companion {
        Some(_) => network_of(&plan.name),
        None => plan.enclosure.name.clone(),
    }
}

fn network_of(name: &InstanceName) -> String {
    format!("container:{}", companion_of(name))
}

/// By none of the instance's labels may a companion be taken for an instance. An image hands its
/// labels down to every container, so it is not enough to leave them out.
fn labels(plan: &InstancePlan, companion: &CompanionPlan) -> HashMap<String, String> {
    let mut labels: HashMap<_, _> =
        plan.labels.keys().map(|key| (key.clone(), String::new())).collect();
    labels.insert(OF.to_owned(), plan.name.to_string());
    let ready = format!("{}/{}", companion.shared.trim_end_matches('/'), companion.ready);
    labels.insert(READY.to_owned(), ready);
    labels
}

fn body(plan: &InstancePlan, companion: &CompanionPlan) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some(plan.image.clone()),
        entrypoint: Some(companion.command.clone()),
        cmd: Some(Vec::new()),
        user: Some("0".to_owned()),
        labels: Some(labels(plan, companion)),
        stop_timeout: Some(plan.stop_grace_seconds),
        env: Some(companion.env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        host_config: Some(host_config(plan, companion)),
        networking_config: Some(place(&plan.enclosure)),
        ..Default::default()
    }
}

fn host_config(plan: &InstancePlan, companion: &CompanionPlan) -> HostConfig {
    let host_config = HostConfig {
        mounts: Some(vec![
            mount(plan, SHARED, &companion.shared, Begins::Empty),
            mount(plan, STATE, &companion.state, Begins::Empty),
        ]),
        network_mode: Some(plan.enclosure.name.clone()),
        log_config: Some(log_config()),
        ..confined(&companion.confinement)
    };
    without_names(with_quotas(host_config, &plan.quotas))
}

/// What an engine cannot do without: mounts, networks, and system calls that the usual profile
/// keeps from containers. Not Docker's own `privileged`, which would add every right that there is
/// and all devices of the host.
fn confined(by: &Confinement) -> HostConfig {
    match by {
        Confinement::Privileged => HostConfig {
            cap_add: Some(vec!["SYS_ADMIN".to_owned(), "NET_ADMIN".to_owned()]),
            security_opt: Some(vec![
                "seccomp=unconfined".to_owned(),
                "apparmor=unconfined".to_owned(),
            ]),
            masked_paths: Some(Vec::new()),
            readonly_paths: Some(Vec::new()),
            ..never_restarted()
        },
        Confinement::Runtime(runtime) => {
            HostConfig { runtime: Some(runtime.clone()), ..never_restarted() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Enclosure, Quotas, SystemCalls};

    fn plan(confinement: Confinement) -> InstancePlan {
        InstancePlan {
            name: InstanceName("w".into()),
            image: "worker:1".into(),
            labels: [("io.worker-manager.namespace".to_owned(), "worker".to_owned())].into(),
            enclosure: Enclosure {
                name: "w-network".into(),
                subnet: "10.213.0.8/29".parse().expect("a network"),
            },
            quotas: Quotas { memory: Some(64), cpus: Some(0.5), pids: Some(9) },
            stop_grace_seconds: 5,
            companion: Some(CompanionPlan {
                command: vec!["dockerd".into()],
                shared: "/run/shared/".into(),
                env: [("HTTP_PROXY".to_owned(), "http://10.213.0.10:3128".to_owned())].into(),
                ready: "docker.sock".into(),
                state: "/var/lib/docker".into(),
                confinement,
            }),
            writable: Vec::new(),
            system_calls: SystemCalls::Strict,
            runtime: None,
        }
    }

    #[test]
    fn a_companion_has_what_an_engine_needs_or_a_runtime_that_gives_it() {
        let made = |confinement| {
            let plan = plan(confinement);
            host_config(&plan, plan.companion.as_ref().expect("a companion"))
        };
        let privileged = made(Confinement::Privileged);
        assert_eq!(privileged.cap_add.map(|rights| rights.len()), Some(2));
        assert_eq!((privileged.privileged, privileged.runtime), (None, None));
        let confined = made(Confinement::Runtime("sysbox-runc".into()));
        assert_eq!((confined.cap_add, confined.security_opt), (None, None));
        assert_eq!(confined.runtime.as_deref(), Some("sysbox-runc"));
        assert_eq!((confined.memory, confined.pids_limit), (Some(64), Some(9)));
        assert_eq!(confined.network_mode.as_deref(), Some("w-network"));
    }

    #[test]
    fn it_is_no_instance_by_its_labels() {
        let plan = plan(Confinement::Privileged);
        let labels = labels(&plan, plan.companion.as_ref().expect("a companion"));
        assert_eq!(labels["io.worker-manager.namespace"], "");
        assert_eq!((labels[OF].as_str(), labels[READY].as_str()), ("w", "/run/shared/docker.sock"));
        assert_eq!(network_mode(&plan), "container:w-companion");
    }
}
