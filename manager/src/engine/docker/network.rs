//! The network that leads outside.

use bollard::models::{NetworkCreateRequest, NetworkInspect};
use bollard::query_parameters::InspectNetworkOptions;
use std::collections::HashMap;

use super::connection::{DockerEngine, unless};
use crate::engine::EngineError;

impl DockerEngine {
    pub(super) async fn find_network(&self, name: &str) -> Result<bool, EngineError> {
        Ok(self.look_at_network(name).await?.is_some())
    }

    pub(super) async fn look_at_network(
        &self,
        name: &str,
    ) -> Result<Option<NetworkInspect>, EngineError> {
        let client = self.client().await?;
        let found = client.inspect_network(name, None::<InspectNetworkOptions>).await;
        unless(&[404], found)
            .map_err(|error| self.failed("look at", format!("network {name}"), error))
    }

    pub(super) async fn find_or_create_network(&self, name: &str) -> Result<(), EngineError> {
        if self.find_network(name).await? {
            return Ok(());
        }
        let client = self.client().await?;
        let wanted = NetworkCreateRequest {
            name: name.to_owned(),
            labels: Some(HashMap::from([("io.worker-manager".to_owned(), "network".to_owned())])),
            ..Default::default()
        };
        match unless(&[409], client.create_network(wanted).await) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.failed("create", format!("network {name}"), error)),
        }
    }
}
