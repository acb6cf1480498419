//! What comes to the door for HTTP: `CONNECT`, requests with an absolute address, and those to the
//! gateway itself.

mod answer;
mod connect;
mod forward;
mod hop;
mod model;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tracing::debug;

pub use answer::{Body, BodyError};

use answer::{Answer, text};
use worker_protocol::gateway::MODEL_PATH;

use crate::passages::NoPassage;
use crate::serve::{Gateway, Visit};

/// What a connection over the limit is told.
pub const TOO_MANY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\n\
    connection: close\r\n\r\nThis worker has too many connections to the gateway.\n";
/// What somebody is told who is on no worker's network.
pub const NO_WORKER: &str = "HTTP/1.1 403 Forbidden\r\ncontent-type: text/plain\r\n\
    connection: close\r\n\r\nThis network is no worker's.\n";
/// Where the gateway says whether it lives, to itself only.
pub const HEALTH_PATH: &str = "/healthz";

/// A request's head must be there in this time; also how long a connection may wait for the next.
const HEAD_WITHIN: Duration = Duration::from_secs(60);
/// Models' clients send some thirty.
const MOST_HEADERS: usize = 100;
/// Of the head, in bytes: room for long cookies and tokens.
const LONGEST_HEAD: usize = 32 * 1024;

/// Answers the requests of one connection.
pub async fn serve(gateway: Arc<Gateway>, visit: Arc<Visit>, stream: TcpStream) {
    let answers = service_fn(|request| {
        let (gateway, visit) = (Arc::clone(&gateway), Arc::clone(&visit));
        async move { Ok::<_, Infallible>(answer(gateway, visit, request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_headers(MOST_HEADERS)
        .max_buf_size(LONGEST_HEAD)
        .serve_connection(TokioIo::new(stream), answers)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        debug!(%error, network = %visit.network, "a connection ended early");
    }
}

async fn answer(gateway: Arc<Gateway>, visit: Arc<Visit>, request: Request<Incoming>) -> Answer {
    if is_own(&visit) && request.uri().path() == HEALTH_PATH {
        return health(&gateway).await;
    }
    let passage = match visit.passage(&gateway).await {
        Ok(passage) => passage,
        Err(NoPassage::NoWorker) => {
            return text(StatusCode::FORBIDDEN, "This network is no worker's.");
        }
        Err(NoPassage::Away) => {
            let what = "The gateway does not know yet what this worker may reach: Redis is away.";
            return text(StatusCode::SERVICE_UNAVAILABLE, what);
        }
    };
    if request.method() == Method::CONNECT {
        return connect::connect(gateway, visit, &passage, request).await;
    }
    // A client may take the gateway for its proxy even on the way to the gateway itself.
    let elsewhere = request.uri().authority().is_some_and(|to| to.as_str() != own_name(&visit));
    if elsewhere {
        return forward::forward(gateway, visit, &passage, request).await;
    }
    if request.uri().path().starts_with(MODEL_PATH) {
        return model::model(gateway, visit, &passage, request).await;
    }
    text(StatusCode::NOT_FOUND, "There is nothing at this address of the gateway.")
}

fn own_name(visit: &Visit) -> String {
    visit.local.to_string()
}

/// Whether somebody in the gateway's own container asks.
fn is_own(visit: &Visit) -> bool {
    let own = IpAddr::V4(Ipv4Addr::LOCALHOST);
    visit.peer.ip() == own && visit.local.ip() == own
}

async fn health(gateway: &Gateway) -> Answer {
    let redis = if gateway.store.is_there().await { "there" } else { "away" };
    text(StatusCode::OK, &format!("The gateway serves. Redis is {redis}."))
}
