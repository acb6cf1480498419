//! Sentinels of a test's own, which make a replica the master when theirs is gone.

use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

use super::redis_server::{PASSWORD, RedisServer, free_port};
use super::{Redis, until};

/// They meet within some seconds.
const MEETING: Duration = Duration::from_secs(60);

/// Three running sentinels, of which two have to agree. They end with the test.
pub struct Sentinels {
    hosts: Vec<String>,
    running: Vec<Child>,
    folder: TempDir,
}

impl Sentinels {
    /// Starts them, and waits until they know each other and the master's one replica.
    pub fn watch(master: &RedisServer) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let (host, port) = master.address();
        let mut sentinels = Self { hosts: Vec::new(), running: Vec::new(), folder };
        for _ in 0..3 {
            sentinels.start(host, port);
        }
        let ready = || sentinels.hosts.iter().all(|host| has_met(host)).then_some(());
        assert!(until(MEETING, ready).is_some(), "the sentinels do not find each other");
        sentinels
    }

    fn start(&mut self, host: &str, master: u16) {
        let port = free_port(host);
        let file = self.folder.path().join(format!("{port}.conf"));
        let lines = format!(
            "port {port}\nbind {host}\nprotected-mode no\ndir {}\n\
             sentinel monitor main {host} {master} 2\n\
             sentinel auth-pass main {PASSWORD}\n\
             sentinel down-after-milliseconds main 1500\n\
             sentinel failover-timeout main 5000\n",
            self.folder.path().display()
        );
        std::fs::write(&file, lines).expect("a file");
        let child = Command::new("redis-server")
            .arg(&file)
            .arg("--sentinel")
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server, of Debian's package of that name");
        self.running.push(child);
        self.hosts.push(format!("{host}:{port}"));
    }

    /// The address of whom they call the master.
    pub fn url(&self) -> String {
        format!("redis+sentinel://{}/main", self.hosts.join(","))
    }
}

impl Drop for Sentinels {
    fn drop(&mut self) {
        for child in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn has_met(host: &str) -> bool {
    let Ok(sentinel) = Redis::try_connect(&format!("redis://{host}")) else { return false };
    let told: Vec<String> = sentinel.ask(&["SENTINEL", "MASTER", "main"]).unwrap_or_default();
    let says = |name: &str, value: &str| told.windows(2).any(|pair| pair == [name, value]);
    says("num-other-sentinels", "2") && says("num-slaves", "1")
}
