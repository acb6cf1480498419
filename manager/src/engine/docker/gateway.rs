//! The gateway's container: hardened, since it is all that stands between workers and the rest.

use bollard::models::{ContainerCreateBody, HostConfig};
use std::collections::HashMap;

use super::connection::DockerEngine;
use super::instance::{log_config, never_restarted, with_quotas};
use crate::engine::{BuildError, Engine, EngineError, GatewayPlan, Quotas};

/// Bytes: it keeps little of what it passes on.
const MEMORY: u64 = 256 << 20;
/// It has 36 threads at most, and starts no process.
const PIDS: u64 = 64;
/// Nobody's: it listens at high ports only.
const USER: &str = "65534:65534";
/// Seconds that it has to end.
const GRACE: i64 = 1;

impl DockerEngine {
    /// Always a new one: what it was told on stdin, only its memory has.
    pub(super) async fn replace_gateway(
        &self,
        plan: &GatewayPlan,
        input: &[u8],
    ) -> Result<(), EngineError> {
        let tag = &plan.image.tag;
        if self.inspect_image(tag).await?.is_none() {
            self.build_gateway(plan).await?;
        }
        self.remove_one(&plan.name).await?;
        let labels = plan.labels.clone().into_iter().collect();
        self.make(&plan.name, tag, &labels, body(plan)).await?;
        self.feed_and_start(&plan.name, input).await?;
        self.join_all(plan).await?;
        self.forget_earlier_images(plan).await
    }

    pub(super) async fn join_all(&self, plan: &GatewayPlan) -> Result<(), EngineError> {
        let found = self.inspect_container(&plan.name).await?;
        let joined = found.map(|found| found.networks).unwrap_or_default();
        for (of, enclosure) in self.list_enclosures(&plan.enclosures).await? {
            if joined.contains(&enclosure.name) {
                continue;
            }
            let attached = self.attach(&plan.name, &enclosure).await;
            // One that was removed meanwhile needs no gateway.
            if attached.is_err() && self.find_enclosure(&of).await?.is_some() {
                attached?;
            }
        }
        Ok(())
    }

    async fn build_gateway(&self, plan: &GatewayPlan) -> Result<(), EngineError> {
        match self.build_lone_image(plan.image.clone()).await {
            Ok(_) => Ok(()),
            Err(BuildError::Engine(error)) => Err(error),
            Err(failed @ BuildError::Failed { .. }) => Err(super::connection::refused(
                "build",
                format!("image {}", plan.image.tag),
                failed.to_string(),
            )),
        }
    }

    /// One that something uses stays, by the daemon's word.
    async fn forget_earlier_images(&self, plan: &GatewayPlan) -> Result<(), EngineError> {
        let mark: Vec<_> = plan.image.labels.clone().into_iter().collect();
        for image in self.images(&mark).await? {
            if image.tag != plan.image.tag
                && let Err(error) = self.untag(&image.tag).await
            {
                tracing::debug!(image = image.tag, %error, "an earlier image of the gateway stays");
            }
        }
        Ok(())
    }
}

fn body(plan: &GatewayPlan) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some(plan.image.tag.clone()),
        user: Some(USER.to_owned()),
        open_stdin: Some(true),
        stdin_once: Some(true), // it ends when the one who attached is done
        labels: Some(plan.labels.clone().into_iter().collect()),
        stop_timeout: Some(GRACE),
        host_config: Some(host_config(plan)),
        ..Default::default()
    }
}

fn host_config(plan: &GatewayPlan) -> HostConfig {
    let host_config = HostConfig {
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        readonly_rootfs: Some(true),
        // It is a member of every worker's network: nothing is to go through it but by its word.
        sysctls: Some(HashMap::from([("net.ipv4.ip_forward".to_owned(), "0".to_owned())])),
        network_mode: Some(plan.network.clone()),
        log_config: Some(log_config()),
        ..never_restarted()
    };
    with_quotas(host_config, &Quotas { memory: Some(MEMORY), cpus: None, pids: Some(PIDS) })
}
