//! `worker-manager` as a child process.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::{Environment, until};

/// A manager writes what it decided before it ends; ten times what that takes on a busy machine.
const END: Duration = Duration::from_secs(30);

/// A running program, with its output in files. It is killed when it is dropped.
pub struct Program {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// How a program ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code or signal.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it complained.
    pub stderr: String,
}

impl Program {
    /// Starts `worker-manager` with these arguments and this environment, and no other: what the
    /// person who runs the tests has configured is not what is tested.
    pub fn start(
        environment: &Environment,
        arguments: &[&str],
        variables: &[(String, String)],
        log: &Path,
    ) -> Self {
        let append = |path: &Path| File::options().create(true).append(true).open(path);
        let (stdout, stderr) = (log.with_extension("out"), log.with_extension("err"));
        let child = Command::new(&environment.manager)
            .args(arguments)
            .env_clear()
            .env("PATH", &environment.path)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(append(&stdout).expect("a log"))
            .stderr(append(&stderr).expect("a log"))
            .spawn()
            .unwrap_or_else(|error| {
                panic!("failed to run {}: {error}", environment.manager.display())
            });
        Self { child, stdout, stderr }
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), signal);
    }

    /// Kills it, as a power cut would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end, and waits for it.
    pub fn stop(&mut self) -> Finished {
        self.signal(Signal::SIGTERM);
        self.finish(END)
    }

    /// Waits for its end.
    pub fn finish(&mut self, limit: Duration) -> Finished {
        let status = until(limit, || self.child.try_wait().expect("a child's status"));
        let Some(status) = status else {
            self.kill();
            panic!("worker-manager did not end within {limit:?}; it said:\n{}", self.said());
        };
        let (stdout, stderr) = (read(&self.stdout), read(&self.stderr));
        Finished { status, stdout, stderr }
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// All that it printed and complained.
    pub fn said(&self) -> String {
        format!("{}{}", read(&self.stdout), read(&self.stderr))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}
