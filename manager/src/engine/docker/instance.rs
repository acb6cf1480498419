//! A container's life: made, started, stopped, removed. Each may be asked for twice.

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, NetworkingConfig, RestartPolicy,
    RestartPolicyNameEnum,
};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder,
    StartContainerOptions, StopContainerOptionsBuilder, WaitContainerOptionsBuilder,
};
use futures_util::StreamExt;
use std::collections::HashMap;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

use super::companion::{companion_of, network_mode};
use super::connection::{DockerEngine, SLOW, refused, status, unless};
use super::enclosure::endpoint;
use super::hardening::hardened;
use super::volumes::mounts;
use crate::engine::{Enclosure, EngineError, InstanceName, InstancePlan, Quotas};
use crate::failpoint::{Failpoint, pass};

/// A companion has nothing to hand over.
const COMPANION_GRACE: Duration = Duration::from_secs(5);

impl DockerEngine {
    /// The companion first: the instance joins its network.
    pub(super) async fn create_container(&self, plan: &InstancePlan) -> Result<(), EngineError> {
        let labels = plan.labels.clone().into_iter().collect();
        let Some(companion) = &plan.companion else {
            return self.make(&plan.name, &plan.image, &labels, body(plan)).await;
        };
        self.create_companion(plan, companion).await?;
        self.make(&plan.name, &plan.image, &labels, body(plan)).await?;
        if self.waits_for_another(&plan.name).await? {
            self.remove_one(&plan.name).await?;
            self.make(&plan.name, &plan.image, &labels, body(plan)).await?;
        }
        Ok(())
    }

    /// One that was made by an earlier try carries the same labels.
    pub(super) async fn make(
        &self,
        name: &InstanceName,
        image: &str,
        labels: &HashMap<String, String>,
        body: ContainerCreateBody,
    ) -> Result<(), EngineError> {
        let options = CreateContainerOptionsBuilder::new().name(&name.0).build();
        let created = self.client().await?.create_container(Some(options), body).await;
        let Err(error) = created else { return Ok(()) };
        match status(&error) {
            Some(409) => self.accept_existing(name, labels).await,
            // Not only for 404: an image that is on its way out fails in several ways.
            Some(_) if self.inspect_image(image).await?.is_none() => {
                Err(EngineError::NoImage { tag: image.to_owned() })
            }
            _ => Err(self.failed("create", name, error)),
        }
    }

    async fn accept_existing(
        &self,
        name: &InstanceName,
        labels: &HashMap<String, String>,
    ) -> Result<(), EngineError> {
        let found = self.inspect_container(name).await?;
        let same = found.is_some_and(|found| {
            labels.iter().all(|(key, value)| found.labels.get(key) == Some(value))
        });
        if same {
            return Ok(());
        }
        Err(refused("create", name, "another container has this name, with other labels"))
    }

    /// Input goes by way of an attachment, which is there before the start: an upload of a file
    /// would take the daemon 50 ms, and leave it on disk.
    pub(super) async fn start_container(
        &self,
        name: &InstanceName,
        input: &[u8],
    ) -> Result<(), EngineError> {
        self.start_companion(name).await?;
        self.feed_and_start(name, input).await
    }

    pub(super) async fn feed_and_start(
        &self,
        name: &InstanceName,
        input: &[u8],
    ) -> Result<(), EngineError> {
        let client = self.patient_client(SLOW).await?;
        let options = AttachContainerOptionsBuilder::new().stdin(true).stream(true).build();
        let attached = client.attach_container(&name.0, Some(options)).await;
        let mut stdin = attached.map_err(|error| self.failed("attach to", name, error))?.input;
        // Together: more than a pipe holds is taken only when the process runs.
        let write = async {
            stdin.write_all(input).await?;
            stdin.shutdown().await
        };
        let start = client.start_container(&name.0, None::<StartContainerOptions>);
        let (started, written) = tokio::join!(start, write);
        match unless(&[304], started) {
            Err(error) => Err(self.failed("start", name, error)),
            // It ran before, and had its input.
            Ok(None) => Ok(()),
            // One that ends before it has read all of it says why by its exit code.
            Ok(Some(())) => {
                if let Err(error) = written {
                    tracing::debug!(%name, %error, "the first process did not take all of its input");
                }
                Ok(())
            }
        }
    }

    /// The companion ends after its instance, which may still need it.
    pub(super) async fn stop_container(
        &self,
        name: &InstanceName,
        grace: Duration,
    ) -> Result<(), EngineError> {
        self.stop_one(name, grace).await?;
        self.stop_one(&companion_of(name), grace.min(COMPANION_GRACE)).await
    }

    async fn stop_one(&self, name: &InstanceName, grace: Duration) -> Result<(), EngineError> {
        self.resume_one(name).await?; // What stands still does not heed a signal.
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::new().t(seconds).build();
        let client = self.patient_client(grace + Duration::from_secs(30)).await?;
        match unless(&[304, 404], client.stop_container(&name.0, Some(options)).await) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.failed("stop", name, error)),
        }
    }

    /// Each is tried by its name, whatever an earlier try left.
    pub(super) async fn remove_container(&self, name: &InstanceName) -> Result<(), EngineError> {
        self.remove_one(name).await?;
        self.remove_belongings(name).await
    }

    /// What is found by an instance's name, whether that one is there or not.
    pub(super) async fn remove_belongings(&self, name: &InstanceName) -> Result<(), EngineError> {
        self.remove_one(&companion_of(name)).await?;
        pass(Failpoint::ContainerRemoved);
        self.remove_enclosure(name).await?;
        self.remove_volumes(name).await
    }

    pub(super) async fn remove_one(&self, name: &InstanceName) -> Result<(), EngineError> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let client = self.patient_client(SLOW).await?;
        match client.remove_container(&name.0, Some(options)).await {
            Ok(()) => Ok(()),
            Err(error) => match status(&error) {
                Some(404) => Ok(()),
                // Somebody else is removing it.
                Some(409) => self.wait_until_gone(name).await,
                _ => Err(self.failed("remove", name, error)),
            },
        }
    }

    async fn wait_until_gone(&self, name: &InstanceName) -> Result<(), EngineError> {
        let options = WaitContainerOptionsBuilder::new().condition("removed").build();
        let client = self.patient_client(SLOW).await?;
        // How it ends does not matter: the answer is whether the container is there.
        let mut gone = std::pin::pin!(client.wait_container(&name.0, Some(options)));
        let _ended = tokio::time::timeout(SLOW, gone.next()).await;
        match self.inspect_container(name).await? {
            None => Ok(()),
            Some(_) => Err(refused("remove", name, "its removal does not come to an end")),
        }
    }
}

fn body(plan: &InstancePlan) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some(plan.image.clone()),
        open_stdin: Some(true),
        stdin_once: Some(true), // it ends when the one who attached is done
        labels: Some(plan.labels.clone().into_iter().collect()),
        stop_timeout: Some(plan.stop_grace_seconds),
        host_config: Some(host_config(plan)),
        networking_config: plan.companion.is_none().then(|| place(&plan.enclosure)),
        ..Default::default()
    }
}

/// A fixed address on its own network.
pub(super) fn place(enclosure: &Enclosure) -> NetworkingConfig {
    let own = (enclosure.name.clone(), endpoint(enclosure.instance()));
    NetworkingConfig { endpoints_config: Some(HashMap::from([own])) }
}

/// The daemon answers for names itself, and passes on what it does not know, also from a network
/// that leads nowhere. So it is told to ask where nobody answers; and whoever asks gives up soon.
pub(super) fn without_names(host_config: HostConfig) -> HostConfig {
    let options = ["timeout:1", "attempts:1", "ndots:0"].map(str::to_owned).to_vec();
    HostConfig {
        dns: Some(vec!["127.0.0.1".to_owned()]),
        dns_options: Some(options),
        dns_search: Some(vec![".".to_owned()]),
        ..host_config
    }
}

fn host_config(plan: &InstancePlan) -> HostConfig {
    let host_config = HostConfig {
        network_mode: Some(network_mode(plan)),
        mounts: Some(mounts(plan)),
        log_config: Some(log_config()),
        ..hardened(plan, never_restarted())
    };
    let host_config = with_quotas(host_config, &plan.quotas);
    // Beside a companion, these are the companion's.
    if plan.companion.is_some() { host_config } else { without_names(host_config) }
}

pub(super) fn with_quotas(host_config: HostConfig, quotas: &Quotas) -> HostConfig {
    let memory = quotas.memory.map(saturated);
    HostConfig {
        memory,
        memory_swap: memory, // the sum of both: no swap
        nano_cpus: quotas.cpus.map(|cpus| (cpus * 1e9) as i64),
        pids_limit: quotas.pids.map(saturated),
        ..host_config
    }
}

/// Neither removed nor started again by the engine: how it ended must be readable, and what follows
/// is the manager's to decide.
pub(super) fn never_restarted() -> HostConfig {
    HostConfig {
        auto_remove: Some(false),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        ..Default::default()
    }
}

/// Only the wrapper's own diagnostics go there, and a companion's: small, and never a reason to wait.
pub(super) fn log_config() -> HostConfigLogConfig {
    let config = [("max-size", "1m"), ("max-file", "1"), ("mode", "non-blocking")];
    HostConfigLogConfig {
        typ: Some("json-file".to_owned()),
        config: Some(HashMap::from(config.map(|(key, value)| (key.to_owned(), value.to_owned())))),
    }
}

fn saturated(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
