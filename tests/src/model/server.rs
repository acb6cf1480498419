//! The server: takes requests, remembers them, and plays the answers.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};
use futures_util::stream::{self, Stream};
use serde::Serialize;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::answer::{Answer, answer};
use super::compose::Beat;
use super::responses::tools;
use super::script::Script;

/// A request carries the whole conversation; this is more than an agent's context holds.
const LARGEST_REQUEST: usize = 64 << 20;

/// How many requests are remembered. A test makes a few dozen.
const REMEMBERED: usize = 1000;

/// A request that the model was asked.
#[derive(Debug, Clone, Serialize)]
pub struct SeenRequest {
    /// The HTTP method.
    pub method: String,
    /// The path, without what follows a `?`.
    pub path: String,
    /// The names of the headers. Their values may be secrets and are not shown.
    pub headers: Vec<String>,
    /// What opens the service, as the request showed it.
    #[serde(skip)]
    pub key: Option<String>,
    /// The body; null where it is no JSON.
    pub body: Value,
    /// The status of the answer.
    pub status: u16,
}

impl SeenRequest {
    /// The request's system prompt as one text.
    pub fn system(&self) -> String {
        match &self.body["system"] {
            Value::String(text) => text.clone(),
            Value::Array(blocks) => {
                let texts = blocks.iter().filter_map(|block| block["text"].as_str());
                texts.collect::<Vec<_>>().join("\n")
            }
            _ => String::new(),
        }
    }

    /// Whether a text stands anywhere in the body: in the system prompt, in a message, in what
    /// a tool answered. Agents put instructions in all of these places.
    pub fn mentions(&self, text: &str) -> bool {
        mentions(&self.body, text)
    }

    /// Whether an agent asked this while at work, and not for a title or a number of tokens.
    pub fn is_work(&self) -> bool {
        self.path != "/v1/messages/count_tokens" && !tools(&self.body).is_empty()
    }
}

fn mentions(value: &Value, text: &str) -> bool {
    match value {
        Value::String(string) => string.contains(text),
        Value::Array(values) => values.iter().any(|value| mentions(value, text)),
        Value::Object(fields) => fields.values().any(|value| mentions(value, text)),
        _ => false,
    }
}

/// A running scripted model. It ends when this is dropped.
#[derive(Debug)]
pub struct ScriptedModel {
    addr: SocketAddr,
    stage: Arc<Stage>,
    // Whoever waits for this to close is told so by the drop.
    _running: watch::Sender<()>,
}

#[derive(Debug)]
struct Stage {
    script: Script,
    seen: Mutex<VecDeque<SeenRequest>>,
    running: watch::Receiver<()>,
}

impl ScriptedModel {
    /// Listens at this address (port 0 is any free one) and plays this script. Containers reach
    /// it at an address of the host that they can route to, not at 127.0.0.1.
    pub async fn start(listen: SocketAddr, script: Script) -> io::Result<ScriptedModel> {
        let listener = TcpListener::bind(listen).await?;
        let addr = listener.local_addr()?;
        let (sender, running) = watch::channel(());
        let stage = Arc::new(Stage { script, seen: Mutex::default(), running: running.clone() });
        let app = Router::new()
            .fallback(play)
            .layer(DefaultBodyLimit::max(LARGEST_REQUEST))
            .with_state(Arc::clone(&stage));
        let server = axum::serve(listener, app).with_graceful_shutdown(ended(running));
        tokio::spawn(server.into_future());
        Ok(ScriptedModel { addr, stage, _running: sender })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What an agent's `ANTHROPIC_BASE_URL` is to be.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The requests so far, in order; the oldest are gone after a thousand.
    pub fn requests(&self) -> Vec<SeenRequest> {
        let seen = self.stage.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().cloned().collect()
    }
}

impl Stage {
    fn remember(&self, request: SeenRequest) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() == REMEMBERED {
            seen.pop_front();
        }
        seen.push_back(request);
    }
}

/// Returns when the handle is dropped.
async fn ended(mut running: watch::Receiver<()>) {
    while running.changed().await.is_ok() {}
}

async fn play(
    State(stage): State<Arc<Stage>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let id = uuid::Uuid::new_v4().simple().to_string();
    let answer = answer(&stage.script, method.as_str(), uri.path(), &body, &id);
    stage.remember(SeenRequest {
        method: method.to_string(),
        path: uri.path().to_owned(),
        headers: headers.keys().map(ToString::to_string).collect(),
        key: key(&headers),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        status: answer.status,
    });
    respond(answer, &id, stage.running.clone())
}

/// Each vendor has a header of its own.
fn key(headers: &HeaderMap) -> Option<String> {
    let shown = ["x-api-key", "authorization", "x-goog-api-key"];
    let value = shown.iter().find_map(|name| headers.get(*name))?.to_str().ok()?;
    Some(value.strip_prefix("Bearer ").unwrap_or(value).to_owned())
}

fn respond(answer: Answer, id: &str, running: watch::Receiver<()>) -> Response<Body> {
    let mut response = Response::new(Body::from_stream(performance(answer.beats, running)));
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    if let Ok(id) = HeaderValue::try_from(format!("req_{id}")) {
        headers.insert("request-id", id);
    }
    response
}

/// The beats as pieces of a body. It breaks off where the plan says so, and when the server ends.
fn performance(
    beats: Vec<Beat>,
    running: watch::Receiver<()>,
) -> impl Stream<Item = io::Result<Bytes>> {
    stream::try_unfold((beats.into_iter(), running), |(mut beats, running)| async move {
        for beat in beats.by_ref() {
            match beat {
                Beat::Event(event) => {
                    return Ok(Some((Bytes::from(event_frame(&event)), (beats, running))));
                }
                Beat::Body(body) => {
                    return Ok(Some((Bytes::from(body.to_string()), (beats, running))));
                }
                Beat::Pause(length) => tokio::select! {
                    () = pause(length) => {}
                    () = ended(running.clone()) => return Err(broken()),
                },
                Beat::Break => {
                    // What was said is written while the body waits; without a wait it would be
                    // thrown away with the connection.
                    tokio::task::yield_now().await;
                    return Err(broken());
                }
            }
        }
        Ok(None)
    })
}

async fn pause(length: Option<std::time::Duration>) {
    match length {
        Some(length) => tokio::time::sleep(length).await,
        None => std::future::pending().await,
    }
}

fn broken() -> io::Error {
    io::Error::from(io::ErrorKind::ConnectionAborted)
}

fn event_frame(event: &Value) -> String {
    // Google's API gives its events no names.
    match event["type"].as_str() {
        Some(name) => format!("event: {name}\ndata: {event}\n\n"),
        None => format!("data: {event}\n\n"),
    }
}
