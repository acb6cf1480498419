//! `worker-manager` as a person has it: on a terminal.

use nix::pty::openpty;
use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use super::{Environment, until};

/// Runs it to its end, and gives all that the terminal was sent.
pub(super) fn shown(
    environment: &Environment,
    arguments: &[&str],
    variables: &[(String, String)],
    limit: Duration,
) -> String {
    let pair = openpty(None, None).expect("a terminal");
    let copy = || Stdio::from(pair.slave.try_clone().expect("a descriptor"));
    let mut child = Command::new(&environment.manager)
        .args(arguments)
        .env_clear()
        .env("PATH", &environment.path)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(copy())
        .stderr(copy())
        .spawn()
        .expect("worker-manager");
    drop(pair.slave);
    let mut screen = File::from(pair.master);
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        // Its end is an error on Linux: nobody has the other side any more.
        let _ = screen.read_to_end(&mut all);
        String::from_utf8_lossy(&all).into_owned()
    });
    if until(limit, || child.try_wait().expect("a child's status")).is_none() {
        let _ = child.kill();
        let _ = child.wait();
        panic!("worker-manager did not end within {limit:?}: {:?}", reader.join());
    }
    reader.join().expect("what was shown")
}
