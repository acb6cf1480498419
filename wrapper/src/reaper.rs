//! Waits for every child: the agent, and whatever its descendants left to PID 1.
//!
//! The agent is started by the standard library and waited for here alone, so that nobody else
//! takes its status.

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::io;
use tokio::signal::unix::{SignalKind, signal};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself.
    Exited(u8),
    /// By a signal.
    Killed(i32),
}

impl Ended {
    /// The exit code as a shell tells it.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            Self::Killed(signal) => 128_u8.saturating_add(u8::try_from(signal).unwrap_or(127)),
        }
    }

    /// The signal's name.
    #[must_use]
    pub fn signal(self) -> Option<String> {
        match self {
            Self::Exited(_) => None,
            Self::Killed(number) => Some(
                Signal::try_from(number).map_or_else(|_| number.to_string(), |s| s.to_string()),
            ),
        }
    }
}

/// Must exist before the first child, so that no SIGCHLD is missed.
pub struct Reaper {
    children: tokio::signal::unix::Signal,
}

impl Reaper {
    /// Listens for SIGCHLD.
    ///
    /// # Errors
    /// When the handler cannot be installed.
    pub fn new() -> io::Result<Self> {
        Ok(Self { children: signal(SignalKind::child())? })
    }

    /// Takes orphans over where we are not PID 1 and would not get them anyway.
    pub fn adopt_orphans() {
        let _ = nix::sys::prctl::set_child_subreaper(true);
    }

    /// Reaps until the child `pid` has ended.
    pub async fn until(&mut self, pid: Pid) -> Ended {
        loop {
            if let Some(ended) = reap(pid) {
                return ended;
            }
            self.children.recv().await;
        }
    }

    /// Reaps for ever.
    pub async fn go_on(&mut self) {
        loop {
            self.children.recv().await;
            reap(Pid::from_raw(0));
        }
    }
}

/// Takes all statuses that there are; gives that of `pid` if it is among them.
fn reap(pid: Pid) -> Option<Ended> {
    let mut found = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(of, code)) if of == pid => {
                found = Some(Ended::Exited(u8::try_from(code & 0xff).unwrap_or(u8::MAX)));
            }
            Ok(WaitStatus::Signaled(of, signal, _)) if of == pid => {
                found = Some(Ended::Killed(signal as i32));
            }
            Ok(WaitStatus::StillAlive) | Err(nix::errno::Errno::ECHILD) => return found,
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return found,
        }
    }
}

/// Whether this process is PID 1, whose signal to everybody reaches nothing but this worker.
#[must_use]
pub fn is_init() -> bool {
    nix::unistd::getpid().as_raw() == 1
}

/// Kills every other process of the worker. Does nothing where that would reach further.
pub fn kill_everything() {
    if is_init() {
        let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
    }
}
