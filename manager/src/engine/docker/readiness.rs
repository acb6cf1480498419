//! Waiting until a companion can be used.

use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::{
    ContainerArchiveInfoOptionsBuilder, StartContainerOptions, WaitContainerOptionsBuilder,
};
use futures_util::StreamExt;
use jiff::Timestamp;
use std::time::Duration;
use tokio::time::sleep;

use super::companion::{READY, companion_of};
use super::connection::{DockerEngine, SLOW, refused, unless};
use super::found::timestamp;
use crate::engine::{EngineError, InstanceName};

/// A Docker daemon of its own needs some seconds on a busy host.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Each look costs the engine some milliseconds.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl DockerEngine {
    /// Starts the companion of an instance, if it has one, and waits until it is ready.
    pub(super) async fn start_companion(&self, of: &InstanceName) -> Result<(), EngineError> {
        let name = companion_of(of);
        let Some(companion) = self.look_at_container(&name).await? else { return Ok(()) };
        let Some(file) = label(&companion, READY) else { return Ok(()) };
        let client = self.patient_client(SLOW).await?;
        let started = client.start_container(&name.0, None::<StartContainerOptions>).await;
        unless(&[304], started).map_err(|error| self.failed("start", &name, error))?;
        // A file of an earlier run shows nothing.
        let ended_before =
            companion.state.and_then(|state| timestamp(state.finished_at.as_deref()?));
        let outcome = tokio::select! {
            ready = self.is_there(&name, &file, ended_before) => return ready,
            () = self.has_ended(&name) => "it ended".to_owned(),
            () = sleep(READY_WITHIN) => {
                format!("there is no {file} after {} s", READY_WITHIN.as_secs())
            }
        };
        let said = self.read_last_words(&name).await?;
        let said = said.map_or_else(|| "none".to_owned(), |said| said.replace('\n', " | "));
        Err(refused("start", &name, format!("{outcome}; its last lines: {said}")))
    }

    async fn is_there(
        &self,
        name: &InstanceName,
        file: &str,
        ended_before: Option<Timestamp>,
    ) -> Result<(), EngineError> {
        let client = self.patient_client(SLOW).await?;
        loop {
            let options = ContainerArchiveInfoOptionsBuilder::new().path(file).build();
            let found = client.get_container_archive_info(&name.0, Some(options)).await;
            let found = unless(&[404], found)
                .map_err(|error| self.failed("look at", format!("{file} in {name}"), error))?;
            let made = found.map(|file| file.modification_time.as_deref().and_then(timestamp));
            // Its time is always told; if it should not be, the file counts.
            if made.is_some_and(|made| made.is_none() || made > ended_before) {
                return Ok(());
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// However it ended, or when that cannot be known.
    async fn has_ended(&self, name: &InstanceName) {
        let Ok(client) = self.patient_client(READY_WITHIN + SLOW).await else { return };
        let options = WaitContainerOptionsBuilder::new().condition("not-running").build();
        let mut ended = std::pin::pin!(client.wait_container(&name.0, Some(options)));
        let _code = ended.next().await;
    }
}

fn label(container: &ContainerInspectResponse, name: &str) -> Option<String> {
    container.config.as_ref()?.labels.as_ref()?.get(name).cloned()
}
