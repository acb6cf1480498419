//! The scripted model as a program, for the tour and for trying things by hand.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use worker_tests::model::{Script, ScriptedModel};

/// A small server that speaks Anthropic's Messages API and plays what the prompt or a script
/// says.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// A JSON file with the plans for prompts that carry none.
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// Where to write the requests, one a line, when the server ends.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let causes = std::iter::successors(error.source(), |cause| cause.source());
            let causes: String = causes.map(|cause| format!(": {cause}")).collect();
            eprintln!("scripted-model: {error}{causes}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let script = match &arguments.script {
        Some(path) => Script::read(path)?,
        None => Script::empty(),
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let model = ScriptedModel::start(arguments.listen, script)
        .await
        .map_err(|error| format!("failed to listen on {}: {error}", arguments.listen))?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening on {}", model.addr())?;
    stdout.flush()?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    if let Some(path) = &arguments.record {
        let requests = model.requests();
        let lines = requests.iter().map(|request| serde_json::json!(request).to_string() + "\n");
        std::fs::write(path, lines.collect::<String>())
            .map_err(|error| format!("failed to write {}: {error}", path.display()))?;
    }
    Ok(())
}
