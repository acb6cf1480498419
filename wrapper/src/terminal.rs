//! A terminal: the agent has one end, and the wrapper the other.

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::unistd::{Uid, setfsuid};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use tokio::net::unix::pipe;

use crate::agent::Pipes;
use crate::driver::{COLS, ROWS};

/// What programs know such a terminal by.
pub const NAME: &str = "xterm-256color";

/// The wrapper's end.
pub struct Terminal(OwnedFd);

impl Terminal {
    /// A new one, and the agent's end of it, which is the agent's own.
    ///
    /// # Errors
    /// When the system has none left.
    pub fn open(uid: u32) -> io::Result<(Self, OwnedFd)> {
        // A terminal belongs to who opens it. Programs that open theirs by its name would not be let
        // in otherwise, and a worker's root has no right to give files away.
        let opener = Uid::effective().is_root().then(|| setfsuid(Uid::from_raw(uid)));
        let opened = openpty(Some(&size(ROWS, COLS)), None);
        if let Some(opener) = opener {
            setfsuid(opener);
        }
        let OpenptyResult { master, slave } = opened?;
        fcntl(&master, FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK))?;
        Ok((Self(master), slave))
    }

    /// What goes to the terminal and what comes from it.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn pipes(&self) -> io::Result<Pipes> {
        Ok(Pipes {
            stdin: pipe::Sender::from_owned_fd_unchecked(self.0.try_clone()?)?,
            stdout: pipe::Receiver::from_owned_fd_unchecked(self.0.try_clone()?)?,
            stderr: None,
        })
    }

    /// Gives it a size, and the program in its foreground is told.
    pub fn resize(&self, rows: u16, cols: u16) {
        // SAFETY: the structure outlives the call, which only reads it.
        let done = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::TIOCSWINSZ, &size(rows, cols)) };
        if done != 0 {
            let error = io::Error::last_os_error();
            crate::log(format_args!("failed to resize the agent's terminal: {error}"));
        }
    }
}

/// Makes stdin the controlling terminal of a new session. For a child before its program begins:
/// allocates nothing.
///
/// # Errors
/// When it is no terminal.
pub fn take_stdin() -> io::Result<()> {
    // SAFETY: the call takes two integers and touches no memory.
    match unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn size(rows: u16, cols: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 }
}
