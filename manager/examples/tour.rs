//! What an orchestrator does, in one page: make a worker, watch its image being built, hear what
//! the agent says and does, give it a second prompt, take it away.
//!
//! Run by `make run`, or by hand beside a manager: `cargo run --example tour`.

use std::process::ExitCode;
use std::time::Duration;
use worker_manager::client::{Client, Happening, Watch, show, show_build};
use worker_manager::config::RawConfig;
use worker_protocol::{OutputKind, WorkerId};

const PROMPTS: [&str; 2] = [
    "Which versions of git and curl are installed here? Look, and answer in one sentence.",
    "Thank you. Now say goodbye.",
];

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    match tour().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("tour: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn tour() -> Result<(), Failure> {
    let client = Client::open(&RawConfig::read(None)?)?;
    let id = WorkerId::new();
    let mut watch = client.watch(id).await?;
    let create = [
        ("command", "create"),
        ("agent_type", "CLAUDE"),
        ("modules", "GIT,CURL"),
        ("instructions", "Be brief."),
        ("prompt", PROMPTS[0]),
        ("worker_id", &id.to_string()),
    ]
    .map(|(name, value)| (name, value.to_owned()));
    request(&client, &create).await?;
    println!("created {id}");
    let talked = talk(&client, &mut watch, id).await;
    let delete = [("command", "delete".to_owned()), ("worker_id", id.to_string())];
    request(&client, &delete).await?;
    println!("deleted {id}");
    talked
}

async fn talk(client: &Client, watch: &mut Watch, id: WorkerId) -> Result<(), Failure> {
    turn(watch, id).await?;
    client.prompt(id, PROMPTS[1]).await?;
    turn(watch, id).await
}

async fn request(client: &Client, fields: &[(&str, String)]) -> Result<(), Failure> {
    let reply = client.request(fields, Duration::from_secs(60)).await?;
    if reply.is_ok() { Ok(()) } else { Err(reply.text("message").into()) }
}

/// Shows what happens until a turn has ended.
async fn turn(watch: &mut Watch, id: WorkerId) -> Result<(), Failure> {
    loop {
        for happening in watch.next().await? {
            match happening {
                Happening::Event(event) => {
                    if let Some(line) = show_build(&event) {
                        println!("{line}");
                    }
                    let ours = event.get("worker_id") == Some(&id.to_string());
                    if ours && event.get("status").is_some_and(|status| status == "FAILED") {
                        let text = |name| event.get(name).cloned().unwrap_or_default();
                        return Err(format!("{}: {}", text("reason"), text("message")).into());
                    }
                }
                Happening::Output(output) => {
                    if let Some(line) = show(&output) {
                        println!("{line}");
                    }
                    if output.kind == OutputKind::TurnCompleted {
                        let outcome = output.data.as_ref().and_then(|data| data.get("outcome"));
                        return match outcome.and_then(|outcome| outcome.as_str()) {
                            Some("success") => Ok(()),
                            other => Err(format!("the turn ended with {other:?}").into()),
                        };
                    }
                }
            }
        }
    }
}
