//! The agent's process: how it starts and how it is signalled.

use nix::libc;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, Uid, setsid};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tokio::net::unix::pipe;

use worker_protocol::boot::BootAgent;

use crate::fence::{self, Fence, Needs};
use crate::terminal::{self, Terminal};

/// What every program expects to find. Nothing of the wrapper's own environment is passed on.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Who goes first when memory runs out, from -1000 to 1000.
const OOM_PLACE: &str = "/proc/self/oom_score_adj";
/// As if it used half of all memory besides what it uses.
const OOM_PLACE_OF_AGENT: &str = "500";

/// A running agent.
#[derive(Clone, Copy, Debug)]
pub struct Agent {
    /// Its process, which leads a session and a process group of its own.
    pub pid: Pid,
}

/// The wrapper's ends of the agent's pipes.
pub struct Pipes {
    /// What the agent reads.
    pub stdin: pipe::Sender,
    /// What it says.
    pub stdout: pipe::Receiver,
    /// What it complains; on a terminal it has no stderr of its own.
    pub stderr: Option<pipe::Receiver>,
}

/// Why the agent could not be started. The text says what to do.
#[derive(Debug, thiserror::Error)]
#[error("failed to start the agent {program}: {reason}")]
pub struct StartError {
    program: String,
    reason: String,
    /// What a shell would exit with: 127 when it is not there, otherwise 126.
    pub code: u8,
}

/// Starts the agent: own session, own user when we are root, chosen environment, three pipes.
///
/// # Errors
/// When its program is missing or may not be executed, or its workspace may not be entered.
pub fn start(
    agent: &BootAgent,
    arguments: &[String],
    fence: Option<&Fence>,
) -> Result<(Agent, Pipes), StartError> {
    let rules = fence.map(Fence::raw);
    let (mut command, program) = command(agent, arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // SAFETY: between fork and exec only system calls are made, and nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            enter_own_session()?;
            rules.map_or(Ok(()), fence::enter)
        });
    }
    let mut child =
        spawn(&mut command).map_err(|error| explain(program, &agent.workspace, &error))?;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(failed(program, "its pipes are missing".to_owned(), 126));
    };
    let pipes = open(stdin.into(), stdout.into(), stderr.into())
        .map_err(|error| failed(program, format!("its pipes cannot be used: {error}"), 126))?;
    Ok((Agent { pid: Pid::from_raw(child.id().cast_signed()) }, pipes))
}

/// Starts the agent on a terminal of its own; the third is what the terminal's size is set by.
///
/// # Errors
/// As [`start`], and when there is no terminal to be had.
pub fn start_on_terminal(
    agent: &BootAgent,
    arguments: &[String],
    fence: Option<&Fence>,
) -> Result<(Agent, Pipes, Terminal), StartError> {
    let rules = fence.map(Fence::raw);
    let (mut command, program) = command(agent, arguments);
    let no_terminal =
        |error: io::Error| failed(program, format!("it got no terminal: {error}"), 126);
    let (terminal, theirs) = Terminal::open(agent.uid).map_err(no_terminal)?;
    let pipes = terminal.pipes().map_err(no_terminal)?;
    let another = || theirs.try_clone().map_err(no_terminal);
    command.stdin(another()?).stdout(another()?).stderr(another()?);
    if !agent.env.contains_key("TERM") {
        command.env("TERM", terminal::NAME);
    }
    // SAFETY: between fork and exec only system calls are made, and nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            enter_own_session()?;
            terminal::take_stdin()?;
            rules.map_or(Ok(()), fence::enter)
        });
    }
    let child = spawn(&mut command).map_err(|error| explain(program, &agent.workspace, &error))?;
    // The command holds their end of the terminal, whose closing by the last of them is the end.
    drop(command);
    Ok((Agent { pid: Pid::from_raw(child.id().cast_signed()) }, pipes, terminal))
}

/// When memory runs out, the kernel is to take the agent or what it started, and not the wrapper,
/// which is to tell of it: a child inherits its parent's place, and who has made a place worse may
/// take that back.
fn spawn(command: &mut Command) -> io::Result<Child> {
    let place = std::fs::read(OOM_PLACE).unwrap_or_default();
    let _ = std::fs::write(OOM_PLACE, OOM_PLACE_OF_AGENT);
    let child = command.spawn();
    let _ = std::fs::write(OOM_PLACE, place);
    child
}

/// The program, its arguments, environment and user.
fn command<'a>(agent: &'a BootAgent, arguments: &[String]) -> (Command, &'a str) {
    let (program, own) = agent.command.split_first().map_or(("", &[][..]), |(p, o)| (p, o));
    let mut command = Command::new(program);
    command
        .args(own)
        .args(arguments)
        .current_dir(&agent.workspace)
        .env_clear()
        .envs(environment(agent));
    if Uid::effective().is_root() {
        // The standard library clears the supplementary groups with it.
        command.uid(agent.uid).gid(agent.uid);
    }
    (command, program)
}

fn open(stdin: OwnedFd, stdout: OwnedFd, stderr: OwnedFd) -> io::Result<Pipes> {
    Ok(Pipes {
        stdin: pipe::Sender::from_owned_fd(stdin)?,
        stdout: pipe::Receiver::from_owned_fd(stdout)?,
        stderr: Some(pipe::Receiver::from_owned_fd(stderr)?),
    })
}

fn enter_own_session() -> io::Result<()> {
    setsid()?;
    // Whatever the wrapper was started with stays the wrapper's. Old kernels lack the call; there
    // every descriptor of this program is closed on exec all the same.
    // SAFETY: the call takes three integers and touches no memory.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
    }
    Ok(())
}

impl Agent {
    /// Signals the agent's process group. A group that is gone is no error.
    pub fn signal(self, signal: Signal) {
        let _ = killpg(self.pid, signal);
    }
}

/// What of the worker's files the agent has to execute, with these programs.
#[must_use]
pub fn needs(agent: &BootAgent, programs: Vec<String>) -> Needs {
    let path = environment(agent).into_iter().rev().find(|(name, _)| name == "PATH");
    Needs {
        agent: agent.command.first().cloned().unwrap_or_default(),
        programs,
        path: path.map_or_else(|| DEFAULT_PATH.to_owned(), |(_, path)| path),
        uid: agent.uid,
    }
}

fn environment(agent: &BootAgent) -> Vec<(String, String)> {
    let account = account(agent.uid);
    let [user, home, shell] =
        account.unwrap_or_else(|| ["worker", "/tmp", "/bin/sh"].map(str::to_owned));
    let mut env: Vec<_> = [
        ("HOME", home.as_str()),
        ("USER", &user),
        ("LOGNAME", &user),
        ("SHELL", &shell),
        ("PATH", DEFAULT_PATH),
        ("LANG", "C.UTF-8"),
        ("TERM", "dumb"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    // Later ones win.
    env.extend(agent.env.iter().map(|(name, value)| (name.clone(), value.reveal().to_owned())));
    env
}

/// Name, home and shell of a user, from `/etc/passwd` (a static program has no other way).
fn account(uid: u32) -> Option<[String; 3]> {
    let text = std::fs::read_to_string("/etc/passwd").ok()?;
    text.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        match fields[..] {
            [name, _, id, _, _, home, shell] if id.parse() == Ok(uid) => {
                Some([name, home, shell].map(str::to_owned))
            }
            _ => None,
        }
    })
}

fn failed(program: &str, reason: String, code: u8) -> StartError {
    StartError { program: program.to_owned(), reason, code }
}

fn explain(program: &str, workspace: &str, error: &io::Error) -> StartError {
    if !Path::new(workspace).is_dir() {
        let reason = format!("its working directory {workspace} does not exist in the worker");
        return failed(program, reason, 126);
    }
    match error.kind() {
        io::ErrorKind::NotFound => {
            let reason = "there is no such program in the worker (or not the interpreter that its \
                          first line names); add the module that brings it, or correct the command";
            failed(program, reason.to_owned(), 127)
        }
        io::ErrorKind::PermissionDenied => {
            let reason = "the worker's user may not execute it, or not enter the working directory";
            failed(program, reason.to_owned(), 126)
        }
        io::ErrorKind::ArgumentListTooLong => {
            let reason = "its arguments and environment are too long (128 KiB each at most)";
            failed(program, reason.to_owned(), 126)
        }
        _ => failed(program, error.to_string(), 126),
    }
}
