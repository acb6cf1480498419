//! PID 1 of a worker.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use worker_protocol::boot::{BOOT_PATH, GATE_SOCKET};
use worker_wrapper::{boot, chain, hook, log, worker};

/// The boot document is missing or wrong: EX_CONFIG of sysexits.h.
const CONFIG: u8 = 78;
/// What Claude Code and Droid take for a refusal. Any other failure they may pass over.
const REFUSED: u8 = 2;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let path = match (arguments.next().as_deref(), arguments.next()) {
        (None, _) => PathBuf::from(BOOT_PATH),
        (Some("--boot"), Some(path)) => PathBuf::from(path),
        (Some("hook"), Some(event)) if event == "pretooluse" => {
            return asked_by_hook(&arguments.next().unwrap_or(GATE_SOCKET.to_owned()));
        }
        (Some("--version"), _) => {
            println!("worker-wrapper {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        _ => {
            log(format_args!(
                "use: worker-wrapper [--boot FILE]; without FILE, stdin is read; or: worker-wrapper hook pretooluse [SOCKET]"
            ));
            return ExitCode::from(CONFIG);
        }
    };
    // One thread: it starts programs and moves bytes, and every worker carries it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let begun = boot::read(&path, boot::PATIENCE)
        .map_err(|error| chain(&error))
        .and_then(|boot| runtime.map_err(|error| error.to_string()).map(|runtime| (boot, runtime)));
    match begun {
        Ok((boot, runtime)) => {
            let code = runtime.block_on(worker::run(boot));
            // Reads that nobody waits for any more must not hold up the end.
            runtime.shutdown_background();
            ExitCode::from(code)
        }
        Err(problem) => {
            log(format_args!("{problem}"));
            ExitCode::from(CONFIG)
        }
    }
}

fn asked_by_hook(socket: &str) -> ExitCode {
    match hook::ask(std::io::stdin().lock(), Path::new(socket)) {
        Ok(answer) => {
            println!("{answer}");
            ExitCode::SUCCESS
        }
        Err(refusal) => {
            eprintln!("{refusal}");
            ExitCode::from(REFUSED)
        }
    }
}
