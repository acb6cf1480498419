//! PID 1 of a worker.

use std::path::PathBuf;
use std::process::ExitCode;

use worker_protocol::boot::BOOT_PATH;
use worker_wrapper::kept::{FOLDER, Kept};
use worker_wrapper::{boot, chain, log, worker};

/// The boot document is missing or wrong: EX_CONFIG of sysexits.h.
const CONFIG: u8 = 78;

fn main() -> ExitCode {
    let mut path = PathBuf::from(BOOT_PATH);
    let mut kept = Kept::at(FOLDER);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), arguments.next()) {
            ("--boot", Some(file)) => path = file.into(),
            ("--state", Some(folder)) => kept = Kept::at(folder),
            ("--version", None) => {
                println!("worker-wrapper {}", env!("CARGO_PKG_VERSION"));
                return ExitCode::SUCCESS;
            }
            _ => {
                log(format_args!(
                    "use: worker-wrapper [--boot FILE] [--state FOLDER]; without FILE, stdin is \
                     read; without FOLDER, what is to be kept is in {FOLDER}"
                ));
                return ExitCode::from(CONFIG);
            }
        }
    }
    // One thread: it starts programs and moves bytes, and every worker carries it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
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
