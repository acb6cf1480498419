//! A build in a runtime of its own.

use bollard::body_full;
use bollard::errors::Error;
use bollard::models::BuildInfo;
use bollard::query_parameters::BuildImageOptions;
use futures_util::{Stream, StreamExt, stream};
use std::time::Duration;
use tokio::runtime::Builder as RuntimeBuilder;
use tokio::sync::mpsc::{Sender, channel};

use super::connection::DockerEngine;
use super::turn::Turn;

/// Messages that wait for their reader. The daemon waits when there are more.
const WAITING: usize = 64;

type Told = Result<BuildInfo, Error>;

impl DockerEngine {
    /// What the daemon tells of a build. It ends, with all that it opened, when the stream is
    /// dropped.
    ///
    /// A session of BuildKit is a connection that bollard serves in a task which nobody can end, and
    /// the daemon keeps it as long as the other side does: one for each build, for ever. A runtime
    /// takes its tasks with it.
    pub(super) fn build_apart(
        &self,
        options: BuildImageOptions,
        context: Vec<u8>,
        patience: Duration,
        turn: Option<Turn>,
    ) -> impl Stream<Item = Told> + Send + use<> {
        let (tell, mut told) = channel(WAITING);
        let failed = tell.clone();
        let engine = self.clone();
        let build = move || {
            let runtime = match RuntimeBuilder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(tell.blocking_send(Err(error.into()))),
            };
            let ended_early = runtime.block_on(async {
                tokio::select! {
                    () = tell.closed() => true,
                    () = engine.tell_build(options, context, patience, &tell) => false,
                }
            });
            drop(runtime);
            if let Some(turn) = turn.filter(|_| ended_early) {
                turn.end_with_the_build();
            }
        };
        if let Err(error) = std::thread::Builder::new().name("build".to_owned()).spawn(build) {
            // There is room for this one.
            let _full = failed.try_send(Err(error.into()));
        }
        drop(failed);
        stream::poll_fn(move |context| told.poll_recv(context))
    }

    async fn tell_build(
        &self,
        options: BuildImageOptions,
        context: Vec<u8>,
        patience: Duration,
        tell: &Sender<Told>,
    ) {
        // A client of another runtime has connections there.
        let client = match self.negotiate().await {
            Ok(client) => client.with_timeout(patience),
            Err(error) => return drop(tell.send(Err(error)).await),
        };
        let mut said = client.build_image(options, None, Some(body_full(context.into()))).boxed();
        while let Some(item) = said.next().await {
            if tell.send(item).await.is_err() {
                return;
            }
        }
    }
}
