//! PID 1 of a worker.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use worker_protocol::boot::{BOOT_PATH, GATE_SOCKET};
use worker_wrapper::kept::{FOLDER, Kept};
use worker_wrapper::{boot, chain, check, confined, hook, log, worker};

/// See `docs/decisions/0011-speed-of-the-wrapper.md`.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// The boot document is missing or wrong: EX_CONFIG of sysexits.h.
const CONFIG: u8 = 78;
/// What Claude Code and Droid take for a refusal. Any other failure they may pass over.
const REFUSED: u8 = 2;

/// Ten years: longer than any worker lives.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

fn main() -> ExitCode {
    let mut path = PathBuf::from(BOOT_PATH);
    let mut kept = Kept::at(FOLDER);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), arguments.next()) {
            ("--boot", Some(file)) => path = file.into(),
            ("--state", Some(folder)) => kept = Kept::at(folder),
            ("hook", Some(event)) if event == "pretooluse" => {
                return asked_by_hook(&arguments.next().unwrap_or(GATE_SOCKET.to_owned()));
            }
            ("check", Some(address)) => {
                println!("{}", check::check(&address));
                return ExitCode::SUCCESS;
            }
            ("confined", Some(gateway)) => {
                println!("{}", confined::confined(&gateway, &arguments.collect::<Vec<_>>()));
                return ExitCode::SUCCESS;
            }
            ("--version", None) => {
                println!("worker-wrapper {}", env!("CARGO_PKG_VERSION"));
                return ExitCode::SUCCESS;
            }
            _ => {
                log(format_args!(
                    "use: worker-wrapper [--boot FILE] [--state FOLDER]; without FILE, stdin is \
                     read; without FOLDER, what is to be kept is in {FOLDER}; or: worker-wrapper \
                     hook pretooluse [SOCKET]; or: worker-wrapper check HOST:PORT; or: \
                     worker-wrapper confined GATEWAY ADDRESS:PORT…"
                ));
                return ExitCode::from(CONFIG);
            }
        }
    }
    // No dump of it, whoever asks: it holds what the agent is not to know. The agent's program, as
    // any other that is executed, is as usual again.
    if let Err(error) = nix::sys::prctl::set_dumpable(false) {
        log(format_args!("its memory could be dumped: {error}"));
    }
    // One thread: it starts programs and moves bytes, and every worker carries it. Another looks up
    // names of hosts: it is there from the first and stays, for an agent may leave no room for it.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .thread_keep_alive(FOR_EVER)
        .build()
        .inspect(|runtime| drop(runtime.spawn_blocking(|| ())));
    let begun = boot::read(&path, &kept, boot::PATIENCE)
        .map_err(|error| chain(&error))
        .and_then(|boot| runtime.map_err(|error| error.to_string()).map(|runtime| (boot, runtime)));
    match begun {
        Ok((boot, runtime)) => {
            let code = runtime.block_on(worker::run(boot, kept));
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
