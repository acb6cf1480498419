//! Making an image.

use bollard::body_full;
use bollard::errors::Error;
use bollard::models::BuildInfo;
use bollard::query_parameters::{BuildImageOptions, BuildImageOptionsBuilder};
use futures_util::{Stream, StreamExt};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::timeout;

use super::build_log::BuildLog;
use super::connection::DockerEngine;
use crate::engine::{BuildError, BuildOrder, BuildStep, ImageFacts};

/// How a build's output ended.
enum Ending {
    /// As it should, or by a connection that broke: an image may be there.
    Closed(Option<Error>),
    /// The daemon says that it failed.
    Failed(String),
    /// Nothing came for as long as is allowed.
    Silent,
}

impl DockerEngine {
    /// The connection closes when the future is dropped, and the daemon then ends the build.
    pub(super) async fn build_image(
        &self,
        order: BuildOrder,
        progress: &(dyn Fn(BuildStep) + Send + Sync),
    ) -> Result<ImageFacts, BuildError> {
        let silence = order.silence;
        let client = self.patient_client(silence).await?;
        let mut log = BuildLog::default();
        let stream =
            client.build_image(options(&order), None, Some(body_full(order.context.into())));
        let ending = follow(stream, silence, &mut log, progress).await;
        let reason = match ending {
            Ending::Failed(said) => log.reason(&said),
            Ending::Silent => log.reason(&format!("no output for {} s", silence.as_secs())),
            // A stream may break at its very end: the image decides.
            Ending::Closed(broke) => match (self.inspect_image(&order.tag).await?, broke) {
                (Some(image), _) => return Ok(image),
                (None, Some(error)) => return Err(self.failed("build", order.tag, error).into()),
                (None, None) => log.reason("the build ended without an image"),
            },
        };
        Err(BuildError::Failed { reason, last_lines: log.last_lines() })
    }
}

/// The classic builder: every engine has it.
fn options(order: &BuildOrder) -> BuildImageOptions {
    let labels: HashMap<_, _> = order.labels.clone().into_iter().collect();
    BuildImageOptionsBuilder::new().t(&order.tag).labels(&labels).rm(true).forcerm(true).build()
}

async fn follow(
    stream: impl Stream<Item = Result<BuildInfo, Error>>,
    silence: Duration,
    log: &mut BuildLog,
    progress: &(dyn Fn(BuildStep) + Send + Sync),
) -> Ending {
    let mut stream = std::pin::pin!(stream);
    loop {
        match timeout(silence, stream.next()).await {
            Err(_) | Ok(Some(Err(Error::RequestTimeoutError))) => return Ending::Silent,
            Ok(None) => return Ending::Closed(None),
            Ok(Some(Ok(item))) => {
                log.push(&item.stream.unwrap_or_default()).into_iter().for_each(progress);
            }
            Ok(Some(Err(
                Error::DockerStreamError { error: said }
                | Error::DockerResponseServerError { message: said, .. },
            ))) => return Ending::Failed(said),
            Ok(Some(Err(error))) => return Ending::Closed(Some(error)),
        }
    }
}
