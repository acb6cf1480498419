//! One headless task from the shell: creates, streams, deletes, and ends as the task did.

use std::collections::BTreeMap;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use worker_protocol::{Output, OutputKind, WorkerId};

use crate::client::{Client, ClientError, Happening, Watch, show, show_build};
use crate::terminal::{print, tell};

const ACCEPT: Duration = Duration::from_secs(30);
/// An agent gets time to end; then it is killed.
const DELETE: Duration = Duration::from_secs(60);

/// What is to be done.
#[derive(Debug)]
pub struct Task {
    /// The fields of the `create`.
    pub fields: Vec<(&'static str, String)>,
    /// What is printed.
    pub print: Print,
}

/// What is printed on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Print {
    /// The agent's text on stdout, all else on stderr.
    Text,
    /// Every entry of the output as a line of JSON on stdout.
    Json,
}

/// How a task ended; the program's exit code says the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was done.
    Done,
    /// It was not.
    Failed,
    /// Somebody stopped it.
    Stopped,
}

/// Runs a task. Whatever happens, the worker is deleted.
///
/// # Errors
/// When Redis or the manager does not answer.
pub async fn run(
    client: &Client,
    task: Task,
    stop: &CancellationToken,
) -> Result<Ending, ClientError> {
    client.ping().await?;
    // Chosen here, so that it can be deleted even before the first reply.
    let id = WorkerId::new();
    let mut watch = client.watch(id).await?;
    let mut fields = task.fields;
    fields.extend([
        ("command", "create".to_owned()),
        ("worker_id", id.to_string()),
        ("headless", "true".to_owned()),
    ]);
    let accepted = client.request(&fields, ACCEPT).await?;
    if !accepted.is_ok() {
        tell(accepted.text("message"));
        return Ok(Ending::Failed);
    }
    let ending = stop.run_until_cancelled(follow(&mut watch, id, task.print)).await;
    let force = if ending.is_none() { "true" } else { "false" };
    let delete = [
        ("command", "delete".to_owned()),
        ("worker_id", id.to_string()),
        ("force", force.to_owned()),
    ];
    let deleted = client.request(&delete, DELETE).await?;
    if !deleted.is_ok() {
        tell(format_args!("the worker {id} was not removed: {}", deleted.text("message")));
    }
    ending.unwrap_or(Ok(Ending::Stopped))
}

async fn follow(watch: &mut Watch, id: WorkerId, print: Print) -> Result<Ending, ClientError> {
    let mut outcome = None;
    loop {
        for happening in watch.next().await? {
            match happening {
                Happening::Event(event) => {
                    if let Some(ending) = note(&event, id) {
                        return Ok(ending);
                    }
                }
                Happening::Output(output) => {
                    put(&output, print);
                    let field = |name: &str| output.data.as_ref().and_then(|data| data.get(name));
                    match output.kind {
                        OutputKind::TurnCompleted => {
                            outcome = field("outcome").and_then(|o| o.as_str().map(str::to_owned));
                        }
                        OutputKind::Exit => {
                            let clean =
                                field("code").and_then(serde_json::Value::as_i64) == Some(0);
                            let good = outcome.as_deref() == Some("success") && clean;
                            return Ok(if good { Ending::Done } else { Ending::Failed });
                        }
                        _ => {}
                    }
                }
            }
        }
    }
}

/// Builds are shared, so their progress is shown whoever asked; of workers, only ours matters.
fn note(event: &BTreeMap<String, String>, id: WorkerId) -> Option<Ending> {
    if let Some(line) = show_build(event) {
        tell(line);
    }
    let text = |name: &str| event.get(name).map(String::as_str).unwrap_or_default();
    if text("type") != "worker" || text("worker_id") != id.to_string() {
        return None;
    }
    // One that got as far as running says itself how it ended.
    if event.contains_key("error") {
        tell(format_args!("{}: {}", text("reason"), text("message")));
        return Some(Ending::Failed);
    }
    (text("reason") == "deleted").then_some(Ending::Failed)
}

fn put(output: &Output, form: Print) {
    match form {
        Print::Json => print(as_json(output)),
        Print::Text => match output.kind {
            OutputKind::Message | OutputKind::Stdout if output.raw.is_none() || is_text(output) => {
                print(&output.content);
            }
            _ => {
                if let Some(line) = show(output) {
                    tell(line);
                }
            }
        },
    }
}

fn is_text(output: &Output) -> bool {
    output.kind == OutputKind::Message
}

fn as_json(output: &Output) -> serde_json::Value {
    serde_json::json!({
        "type": output.kind.as_str(),
        "source": output.source.as_str(),
        "content": output.content,
        "turn": output.turn,
        "session_id": output.session_id,
        "data": output.data,
    })
}
