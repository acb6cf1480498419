//! The socket at which the agent's hooks ask, one question for each connection.
//!
//! Its folder is root's, so that the agent can connect to it and not put another in its place.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::bridge::Event;
use crate::driver::{Question, Verdict};

/// Hooks that are served at one time; each of them is a tool that the agent wants to use.
const CONNECTIONS: usize = 64;
/// The most bytes of a question: a command may have 128 KiB, and JSON may need six for one.
pub(crate) const QUESTION_LIMIT: u64 = 1 << 20;
/// A hook asks at once. One that does not is none.
const QUESTION_WITHIN: Duration = Duration::from_secs(10);

/// Where answers are given.
#[derive(Clone, Default)]
pub(crate) struct Answers(Arc<Mutex<BTreeMap<u64, oneshot::Sender<Verdict>>>>);

impl Answers {
    /// Answers the question of a connection; one that is gone needs none.
    pub(crate) fn give(&self, connection: u64, verdict: Verdict) {
        if let Some(waiting) = self.take(connection) {
            let _ = waiting.send(verdict);
        }
    }

    fn wait_for(&self, connection: u64) -> oneshot::Receiver<Verdict> {
        let (send, receive) = oneshot::channel();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(connection, send);
        receive
    }

    fn take(&self, connection: u64) -> Option<oneshot::Sender<Verdict>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&connection)
    }
}

/// Opens the socket; questions become events.
///
/// # Errors
/// When the socket cannot be made.
pub(crate) fn open(path: &Path, events: mpsc::Sender<Event>) -> io::Result<Answers> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
        fs::set_permissions(folder, Permissions::from_mode(0o755))?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o666))?;
    let answers = Answers::default();
    tokio::spawn(listen(listener, answers.clone(), events));
    Ok(answers)
}

async fn listen(listener: UnixListener, answers: Answers, events: mpsc::Sender<Event>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    for connection in 0.. {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: those of other connections come back.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (answers, events) = (answers.clone(), events.clone());
        tokio::spawn(async move {
            serve(stream, connection, &answers, &events).await;
            drop(place);
        });
    }
}

/// A connection that is closed without an answer means no.
async fn serve(
    mut stream: UnixStream,
    connection: u64,
    answers: &Answers,
    events: &mpsc::Sender<Event>,
) {
    let question = tokio::time::timeout(QUESTION_WITHIN, read(&mut stream)).await;
    let Ok(Some(question)) = question else { return };
    let verdict = answers.wait_for(connection);
    if events.send(Event::HookAsked { connection, question }).await.is_err() {
        return;
    }
    let mut more = [0];
    tokio::select! {
        Ok(verdict) = verdict => {
            let _ = stream.write_all(&written(&verdict)).await;
        }
        // Nothing more is to come: it has hung up, or is no hook.
        _ = stream.read(&mut more) => {
            drop(answers.take(connection));
            let _ = events.send(Event::HookGone { connection }).await;
        }
    }
}

async fn read(stream: &mut UnixStream) -> Option<Question> {
    let mut line = Vec::new();
    BufReader::new(stream.take(QUESTION_LIMIT)).read_until(b'\n', &mut line).await.ok()?;
    let asked: Value = serde_json::from_slice(line.strip_suffix(b"\n")?).ok()?;
    Some(Question {
        tool: asked.get("tool")?.as_str()?.to_owned(),
        input: asked.get("input").cloned().unwrap_or_default(),
        call: asked.get("call").and_then(Value::as_str).map(str::to_owned),
        ..Question::default()
    })
}

fn written(verdict: &Verdict) -> Vec<u8> {
    let answer = match verdict {
        Verdict::Allow => json!({"decision": "allow"}),
        Verdict::Deny(why) => json!({"decision": "deny", "reason": why}),
    };
    format!("{answer}\n").into_bytes()
}
