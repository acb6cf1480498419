//! Making an image.

use bollard::errors::Error;
use bollard::models::BuildInfo;
use bollard::query_parameters::{BuildImageOptions, BuildImageOptionsBuilder, BuilderVersion};
use futures_util::{Stream, StreamExt};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

use super::build_log::BuildLog;
use super::buildkit_log::BuildKitLog;
use super::connection::DockerEngine;
use super::facts::Builder;
use super::printed::Printed;
use super::turn::Turn;
use crate::engine::{BuildError, BuildOrder, BuildStep, ImageFacts};

/// A step that may print and is not heard has this many times as long.
const MUTED: u32 = 4;

/// What is told of a build that waits for its turn, and after how long.
const WAITS: &str = "waiting for other builds: this engine can have one at a time";
const WAITS_WITHOUT_A_WORD: Duration = Duration::from_millis(500);

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
        let version = self.version().await?;
        let builder = self.chosen(&version);
        let mut turn = std::pin::pin!(self.turn(builder, &version));
        let turn = match timeout(WAITS_WITHOUT_A_WORD, turn.as_mut()).await {
            Ok(turn) => turn,
            Err(_) => {
                progress(BuildStep { step: 0, of: 0, line: WAITS.to_owned() });
                turn.await
            }
        };
        self.build_with(builder, turn, order, progress).await
    }

    /// An image that has no step in common with others, so that nobody waits for it and it waits
    /// for nobody.
    pub(super) async fn build_lone_image(
        &self,
        order: BuildOrder,
    ) -> Result<ImageFacts, BuildError> {
        let builder = self.chosen(&self.version().await?);
        self.build_with(builder, None, order, &|_| ()).await
    }

    async fn build_with(
        &self,
        builder: Builder,
        turn: Option<Turn>,
        order: BuildOrder,
        progress: &(dyn Fn(BuildStep) + Send + Sync),
    ) -> Result<ImageFacts, BuildError> {
        let silence = order.silence;
        let mut log: Box<dyn Printed> = match builder {
            Builder::BuildKit => Box::new(BuildKitLog::default()),
            Builder::Auto | Builder::Classic => Box::new(BuildLog::default()),
        };
        let options = options(&order, builder);
        let stream = self.build_apart(options, order.context, silence, turn);
        let ending = follow(stream, silence, &mut *log, progress).await;
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

fn options(order: &BuildOrder, builder: Builder) -> BuildImageOptions {
    let labels: HashMap<_, _> = order.labels.clone().into_iter().collect();
    let options = BuildImageOptionsBuilder::new().t(&order.tag).labels(&labels);
    match builder {
        // By way of its session, BuildKit asks for what a registry wants to know.
        Builder::BuildKit => {
            let session = uuid::Uuid::new_v4().simple().to_string();
            options.version(BuilderVersion::BuilderBuildKit).session(&session).build()
        }
        Builder::Auto | Builder::Classic => options.rm(true).forcerm(true).build(),
    }
}

async fn follow(
    stream: impl Stream<Item = Result<BuildInfo, Error>>,
    silence: Duration,
    log: &mut dyn Printed,
    progress: &(dyn Fn(BuildStep) + Send + Sync),
) -> Ending {
    let mut stream = std::pin::pin!(stream);
    let mut news = Instant::now();
    loop {
        let patience = if log.is_muted() { silence * MUTED } else { silence };
        match timeout_at(news + patience, stream.next()).await {
            Err(_) | Ok(Some(Err(Error::RequestTimeoutError))) => return Ending::Silent,
            Ok(None) => return Ending::Closed(None),
            Ok(Some(Ok(item))) => {
                if let Some(steps) = log.read(item) {
                    news = Instant::now();
                    steps.into_iter().for_each(progress);
                }
            }
            Ok(Some(Err(
                Error::DockerStreamError { error: said }
                | Error::DockerResponseServerError { message: said, .. },
            ))) => return Ending::Failed(said),
            Ok(Some(Err(error))) => return Ending::Closed(Some(error)),
        }
    }
}
