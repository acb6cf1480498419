//! Waits for every child: the agent, and whatever its descendants left to PID 1.
//!
//! The agent is started by the standard library and waited for here alone, so that nobody else
//! takes its status.

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::io;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

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
    asked: mpsc::UnboundedReceiver<(Pid, oneshot::Sender<Ended>)>,
    awaited: Vec<(Pid, oneshot::Sender<Ended>)>,
}

/// Asks the reaper about children.
#[derive(Clone)]
pub struct Ends(mpsc::UnboundedSender<(Pid, oneshot::Sender<Ended>)>);

impl Ends {
    /// Tells when the child `pid` has ended. To be called in the same step as its start: the reaper
    /// looks at what is asked before it takes a status.
    #[must_use]
    pub fn of(&self, pid: Pid) -> oneshot::Receiver<Ended> {
        let (sender, ended) = oneshot::channel();
        let _ = self.0.send((pid, sender));
        ended
    }
}

impl Reaper {
    /// Listens for SIGCHLD.
    ///
    /// # Errors
    /// When the handler cannot be installed.
    pub fn new() -> io::Result<(Self, Ends)> {
        let children = signal(SignalKind::child())?;
        let (sender, asked) = mpsc::unbounded_channel();
        Ok((Self { children, asked, awaited: Vec::new() }, Ends(sender)))
    }

    /// Takes orphans over where we are not PID 1 and would not get them anyway.
    pub fn adopt_orphans() {
        let _ = nix::sys::prctl::set_child_subreaper(true);
    }

    /// Reaps for ever.
    pub async fn run(mut self) {
        loop {
            self.children.recv().await;
            while let Ok(asked) = self.asked.try_recv() {
                self.awaited.push(asked);
            }
            // Whoever asked and went away needs no answer.
            self.awaited.retain(|(_, sender)| !sender.is_closed());
            self.reap();
        }
    }

    /// Takes all statuses that there are.
    fn reap(&mut self) {
        loop {
            let (pid, ended) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => {
                    (pid, Ended::Exited(u8::try_from(code & 0xff).unwrap_or(u8::MAX)))
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, Ended::Killed(signal as i32)),
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(_) => return,
            };
            if let Some(at) = self.awaited.iter().position(|(of, _)| *of == pid) {
                let _ = self.awaited.swap_remove(at).1.send(ended);
            }
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
