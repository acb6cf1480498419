//! A Redis of a test's own, which the test may kill, stop, empty and fill.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

use super::{Environment, Redis, until};

/// A start takes a tenth of a second on an idle machine.
const START: Duration = Duration::from_secs(60);
const PASSWORD: &str = "of-a-test";

/// What is on its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// Nothing: a restart empties it.
    None,
    /// An append-only file, synchronised once a second: the loss of a power cut is bounded by that.
    EverySecond,
    /// An append-only file, synchronised before each answer.
    Always,
}

/// A running `redis-server`, where the manager and workers can reach it. It ends with the test.
pub struct RedisServer {
    host: String,
    port: u16,
    persistence: Persistence,
    folder: TempDir,
    child: Option<Child>,
}

impl RedisServer {
    /// Starts one.
    pub fn start(persistence: Persistence) -> Self {
        let host = Environment::read().host_address().to_owned();
        let free = TcpListener::bind((host.as_str(), 0)).expect("a free port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let folder = TempDir::new().expect("a temporary folder");
        let mut server = Self { host, port, persistence, folder, child: None };
        server.restart();
        server
    }

    /// Its address, with credentials.
    pub fn url(&self) -> String {
        format!("redis://default:{PASSWORD}@{}:{}/0", self.host, self.port)
    }

    /// Its address for workers, and for a proxy.
    pub fn worker_url(&self) -> String {
        format!("redis://{}:{}/0", self.host, self.port)
    }

    /// Where it keeps its files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts it, again after it was killed, and waits until it has read its file and answers.
    pub fn restart(&mut self) {
        let (file, sync) = match self.persistence {
            Persistence::None => ("no", "no"),
            Persistence::EverySecond => ("yes", "everysec"),
            Persistence::Always => ("yes", "always"),
        };
        let child = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", &self.host, "--save", ""])
            .args(["--requirepass", PASSWORD, "--appendonly", file, "--appendfsync", sync])
            .arg("--dir")
            .arg(self.folder.path())
            .stdout(Stdio::null())
            .spawn();
        self.child = Some(child.expect("redis-server, of Debian's package of that name"));
        let url = self.url();
        let ready =
            || Redis::try_connect(&url).ok()?.ask::<String>(&["PING"]).is_ok().then_some(());
        assert!(until(START, ready).is_some(), "redis-server does not answer at {}", self.port);
    }

    /// Kills it, as a crash does: what the kernel has of its file stays.
    pub fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let _ = child.kill();
        let _ = child.wait();
    }

    /// It keeps its connections, and says nothing any more.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// It goes on.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let Some(child) = &self.child else { return };
        kill(Pid::from_raw(child.id().cast_signed()), signal).expect("redis-server runs");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
