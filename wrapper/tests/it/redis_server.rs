//! A Redis of a test's own, and what a client does with it.

use redis::{Connection, Value};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Long enough for a loaded machine; nothing waits for it when all is well.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) type Entry = BTreeMap<String, String>;

/// Asks until there is an answer; fails when there is none in time.
pub(crate) fn until<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    within(DEADLINE, what, ask)
}

pub(crate) fn within<T>(deadline: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begin.elapsed() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) struct Redis {
    server: Child,
    pub(crate) port: u16,
    folder: tempfile::TempDir,
    options: Vec<String>,
}

impl Redis {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// With options as on its command line; they stay over restarts.
    pub(crate) fn start_with(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let options: Vec<_> = options.iter().map(|option| (*option).to_owned()).collect();
        let server = run(port, folder.path(), &options);
        let redis = Self { server, port, folder, options };
        until("redis", || redis.try_connect());
        redis
    }

    /// Ends it without a word, as a crash would. What it held is gone.
    pub(crate) fn kill(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }

    pub(crate) fn restart(&mut self) {
        self.begin_again(&[]);
        until("redis", || self.try_connect());
    }

    /// Restarts it with more options, and does not wait.
    pub(crate) fn begin_again(&mut self, more: &[&str]) {
        let more = more.iter().map(|option| (*option).to_owned());
        let options: Vec<_> = self.options.iter().cloned().chain(more).collect();
        self.server = run(self.port, self.folder.path(), &options);
    }

    /// Where it keeps its data.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Lets it stand still: its connections stay, and nothing is answered.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.server.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    pub(crate) fn connect(&self) -> Connection {
        self.try_connect().unwrap()
    }

    pub(crate) fn try_connect(&self) -> Option<Connection> {
        let client = redis::Client::open(("127.0.0.1", self.port)).unwrap();
        let mut connection = client.get_connection().ok()?;
        redis::cmd("PING").query::<String>(&mut connection).ok()?;
        Some(connection)
    }
}

fn run(port: u16, folder: &Path, options: &[String]) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
        .args(["--appendonly", "no", "--dir"])
        .arg(folder)
        .args(options)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server must be installed (Debian: redis-server)")
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Runs a command that is written as in `redis-cli`, without quoting.
pub(crate) fn ask<T: redis::FromRedisValue>(connection: &mut Connection, words: &[&str]) -> T {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command.query(connection).unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

/// All entries of a stream, with their ids.
pub(crate) fn entries(connection: &mut Connection, stream: &str) -> Vec<(String, Entry)> {
    let reply: Vec<(String, Vec<String>)> = ask(connection, &["XRANGE", stream, "-", "+"]);
    let pair = |pair: &[String]| (pair[0].clone(), pair[1].clone());
    reply.into_iter().map(|(id, fields)| (id, fields.chunks(2).map(pair).collect())).collect()
}

/// How many entries were delivered and are not acknowledged.
pub(crate) fn pending(connection: &mut Connection, stream: &str) -> i64 {
    match ask::<Value>(connection, &["XPENDING", stream, "wrapper"]) {
        Value::Array(summary) => redis::from_redis_value(summary[0].clone()).unwrap(),
        other => panic!("{other:?}"),
    }
}
