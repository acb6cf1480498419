//! Passes bytes on to Redis. The worker logs in there as its own user; the gateway adds nothing.

use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tracing::debug;

use crate::relay::{IDLE, relay};
use crate::serve::{Gateway, Visit};

/// What a connection over the limit is told, as Redis would.
pub const TOO_MANY: &str = "-ERR max number of clients of this worker reached\r\n";

/// What somebody is told who is on no worker's network.
pub const NO_WORKER: &str = "-ERR this network is no worker's\r\n";

/// Passes one connection on. Without Redis, or without a worker behind it, it is closed at once.
pub async fn serve(gateway: Arc<Gateway>, visit: Arc<Visit>, mut worker: TcpStream) {
    if visit.passage(&gateway).await.is_err() {
        let _ = worker.write_all(NO_WORKER.as_bytes()).await;
        return;
    }
    match gateway.link.dial().await {
        Ok(redis) => {
            // However it ends, both sides know.
            let _ = relay(worker, redis, IDLE).await;
        }
        Err(error) => debug!(%error, "Redis cannot be reached for a worker"),
    }
}
