//! Containers that stand still, by the kernel's freezer. They keep their memory and connections.

use super::companion::companion_of;
use super::connection::{DockerEngine, unless};
use crate::engine::{EngineError, InstanceName};

impl DockerEngine {
    /// The companion after the one that it serves.
    pub(super) async fn pause_container(&self, name: &InstanceName) -> Result<(), EngineError> {
        self.pause_one(name).await?;
        let companion = companion_of(name);
        if self.look_at_container(&companion).await?.is_none() {
            return Ok(());
        }
        self.pause_one(&companion).await
    }

    /// The companion before the one that it serves.
    pub(super) async fn resume_container(&self, name: &InstanceName) -> Result<(), EngineError> {
        self.resume_one(&companion_of(name)).await?;
        self.resume_one(name).await
    }

    async fn pause_one(&self, name: &InstanceName) -> Result<(), EngineError> {
        if self.stands_still(name).await? {
            return Ok(());
        }
        let paused = self.client().await?.pause_container(&name.0).await;
        paused.map_err(|error| self.failed("pause", name, error))
    }

    /// Asked only of one that stands still: the daemon answers with no particular status for others.
    pub(super) async fn resume_one(&self, name: &InstanceName) -> Result<(), EngineError> {
        if !self.stands_still(name).await? {
            return Ok(());
        }
        let resumed = unless(&[404], self.client().await?.unpause_container(&name.0).await);
        match resumed {
            Ok(_) => Ok(()),
            // Somebody else was quicker.
            Err(_) if !self.stands_still(name).await? => Ok(()),
            Err(error) => Err(self.failed("resume", name, error)),
        }
    }

    async fn stands_still(&self, name: &InstanceName) -> Result<bool, EngineError> {
        let state = self.look_at_container(name).await?.and_then(|container| container.state);
        Ok(state.and_then(|state| state.paused).unwrap_or_default())
    }
}
