//! `/healthz` and `/metrics`.
//!
//! They show names of this installation's host and no secret, and nobody is asked who he is: the
//! address is the operator's choice, and nothing is served where none is configured.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::health::Report;
use super::sample;
use crate::act::Hands;
use crate::chain::chain;

/// Who asks for health waits for seconds at most; a service that needs longer is in trouble.
const ANSWER: Duration = Duration::from_secs(2);
/// What Prometheus reads.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
#[error("failed to listen on {address} for health and metrics; `listen` (WORKER_LISTEN) names it")]
pub struct ListenError {
    address: SocketAddr,
    #[source]
    source: std::io::Error,
}

/// Serves until `stop`, where an address is configured.
///
/// # Errors
/// When the address cannot be had.
pub async fn listen(hands: &Hands, stop: &CancellationToken) -> Result<(), ListenError> {
    let Some(address) = hands.settings.listen else { return Ok(()) };
    let failed = |source| ListenError { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    tracing::info!(%address, "health and metrics are served");
    let routes = Router::new()
        .route("/healthz", get(health))
        .route("/readyz", get(health))
        .route("/livez", get(life))
        .route("/metrics", get(metrics))
        .with_state(hands.clone());
    let until = stop.clone().cancelled_owned();
    tokio::spawn(axum::serve(listener, routes).with_graceful_shutdown(until).into_future());
    tokio::spawn(sample::run(hands.clone(), stop.clone()));
    Ok(())
}

async fn health(State(hands): State<Hands>) -> Response {
    let report = report(&hands).await;
    answer(report.live && report.ready, report)
}

/// For supervisors, who should not restart a manager because Redis is away.
async fn life(State(hands): State<Hands>) -> Response {
    let report = hands.telemetry.health.report(Vec::new(), Instant::now());
    answer(report.live, report)
}

fn answer(well: bool, report: Report) -> Response {
    let status = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report)).into_response()
}

async fn report(hands: &Hands) -> Report {
    let redis = timeout(ANSWER, hands.store.answers());
    let engine = timeout(ANSWER, hands.engine.answers());
    let (redis, engine) = tokio::join!(redis, engine);
    let late = |_| format!("no answer within {} s", ANSWER.as_secs());
    let redis = redis.map_err(late).and_then(|answer| answer.map_err(|error| chain(&error)));
    let engine = engine.map_err(late).and_then(|answer| answer.map_err(|error| chain(&error)));
    let trouble = |name: &str, state: Result<(), String>| {
        state.err().map(|trouble| format!("{name}: {trouble}"))
    };
    let troubles = [trouble("redis", redis), trouble("engine", engine)];
    hands.telemetry.health.report(troubles.into_iter().flatten().collect(), Instant::now())
}

async fn metrics(State(hands): State<Hands>) -> Response {
    ([(header::CONTENT_TYPE, OPEN_METRICS)], hands.telemetry.metrics.text()).into_response()
}
