//! A container for a moment: a program runs on the workers' network, and what it prints is read.

use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder,
    StartContainerOptions, UploadToContainerOptionsBuilder,
};
use futures_util::StreamExt;
use std::time::Duration;
use tokio::time::timeout;

use super::connection::{DockerEngine, SLOW, refused, unless};
use super::instance::without_names;
use crate::engine::{EngineError, InstanceName, Names, Trial};

/// Where the program is in the container.
const PROGRAM: &str = "worker-trial";
/// A program for a trial says a line or two.
const MOST: usize = 64 << 10;
/// Enough for whatever a trial does.
const MEMORY: i64 = 64 << 20;
const PIDS: i64 = 32;

impl DockerEngine {
    pub(super) async fn run_trial(&self, trial: &Trial) -> Result<String, EngineError> {
        let ran = self.make_and_run(trial).await;
        let removed = self.remove_trial(&trial.name).await;
        let text = ran?;
        removed.map(|()| text)
    }

    async fn make_and_run(&self, trial: &Trial) -> Result<String, EngineError> {
        let name = &trial.name;
        let failed = |verb| move |error| self.failed(verb, name, error);
        let client = self.patient_client(SLOW).await?;
        let options = CreateContainerOptionsBuilder::new().name(&name.0).build();
        let created = client.create_container(Some(options), body(trial)).await;
        created.map_err(failed("create"))?;
        let files = archive(&trial.program)
            .map_err(|error| refused("fill", name, format!("no archive: {error}")))?;
        let options = UploadToContainerOptionsBuilder::new().path("/").build();
        let body = bollard::body_full(files.into());
        let filled = client.upload_to_container(&name.0, Some(options), body).await;
        filled.map_err(failed("fill"))?;
        let options = AttachContainerOptionsBuilder::new().stdout(true).stderr(true).stream(true);
        let attached = client.attach_container(&name.0, Some(options.build())).await;
        let output = attached.map_err(failed("attach to"))?.output;
        let started = client.start_container(&name.0, None::<StartContainerOptions>).await;
        started.map_err(failed("start"))?;
        read(name, output, trial.patience).await
    }

    async fn remove_trial(&self, name: &InstanceName) -> Result<(), EngineError> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let client = self.patient_client(SLOW).await?;
        let removed = unless(&[404], client.remove_container(&name.0, Some(options)).await);
        removed.map(drop).map_err(|error| self.failed("remove", name, error))
    }
}

/// With fewer rights than a worker, and without its labels: no manager takes it for one.
fn body(trial: &Trial) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some(trial.image.clone()),
        entrypoint: Some(vec![format!("/{PROGRAM}")]),
        cmd: Some(trial.arguments.clone()),
        user: Some("65534:65534".to_owned()),
        host_config: Some(host_config(trial)),
        ..Default::default()
    }
}

fn host_config(trial: &Trial) -> HostConfig {
    let host_config = HostConfig {
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        network_mode: Some(trial.network.clone()),
        memory: Some(MEMORY),
        pids_limit: Some(PIDS),
        ..Default::default()
    };
    match trial.names {
        Names::Known => host_config,
        Names::Unknown => without_names(host_config),
    }
}

fn archive(program: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut header = tar::Header::new_gnu();
    header.set_size(program.len() as u64);
    header.set_mode(0o555);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, PROGRAM, program)?;
    archive.into_inner()
}

/// The output ends when the program does.
async fn read<E: std::fmt::Display>(
    name: &InstanceName,
    mut output: impl futures_util::Stream<Item = Result<bollard::container::LogOutput, E>> + Unpin,
    patience: Duration,
) -> Result<String, EngineError> {
    let mut bytes = Vec::new();
    let all = async {
        while let Some(Ok(piece)) = output.next().await {
            bytes.extend_from_slice(&piece.into_bytes());
            if bytes.len() > MOST {
                break;
            }
        }
    };
    if timeout(patience, all).await.is_err() {
        let reason = format!("it did not end within {} s", patience.as_secs());
        return Err(refused("run", name, reason));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
