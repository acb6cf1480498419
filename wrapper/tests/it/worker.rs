//! A wrapper as a process of its own, with an agent that is a line of shell.

use redis::Connection;
use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::rc::Rc;
use std::time::Duration;

use worker_protocol::boot::{Again, BootAgent, BootKeys, Bounds, RedisAccess};
use worker_protocol::create::{Life, Restart};
use worker_protocol::{AgentProtocol, AgentType, Boot, Secret, WorkerId};

use crate::redis_server::{Entry, Redis, ask, entries, until, within};

pub(crate) const WRAPPER: &str = env!("CARGO_BIN_EXE_worker-wrapper");
pub(crate) const INPUT: &str = "t:w:input";
pub(crate) const OUTPUT: &str = "t:w:output";
pub(crate) const HEARTBEAT: &str = "t:w:heartbeat";

/// What the manager gives to a worker's user, and nothing more.
pub(crate) fn allow(connection: &mut Connection) {
    let input = format!("(-@all +xreadgroup +xack +xtrim +xpending ~{INPUT})");
    let output = format!("(-@all +xadd +xrevrange ~{OUTPUT})");
    let heartbeat = format!("(-@all +set ~{HEARTBEAT})");
    let rules = ["reset", "on", ">pw", "-@all", "+ping", &input, &output, &heartbeat];
    ask::<()>(connection, &[&["ACL", "SETUSER", "w"], &rules[..]].concat());
}

/// The user and the input stream, as the manager makes them before a worker starts.
pub(crate) fn prepare(connection: &mut Connection) {
    allow(connection);
    ask::<()>(connection, &["XGROUP", "CREATE", INPUT, "wrapper", "0", "MKSTREAM"]);
}

pub(crate) fn boot(redis: &Redis, script: &str) -> Boot {
    Boot {
        worker_id: WorkerId::new(),
        redis: RedisAccess {
            url: format!("redis://127.0.0.1:{}/0", redis.port),
            username: "w".into(),
            password: Secret::new("pw"),
        },
        keys: BootKeys { input: INPUT.into(), output: OUTPUT.into(), heartbeat: HEARTBEAT.into() },
        agent: BootAgent {
            agent_type: AgentType::Custom,
            version: None,
            protocol: AgentProtocol::Lines,
            command: ["/bin/sh", "-c", script].map(str::to_owned).into(),
            env: BTreeMap::new(),
            system_prompt_file: None,
            model: None,
            mcp_file: None,
            uid: 1000,
            workspace: "/".into(),
        },
        life: Life::Interactive,
        restart: Restart::Never,
        files: Vec::new(),
        policy: None,
        bounds: Bounds::default(),
        operators: BTreeSet::new(),
        token: None,
    }
}

pub(crate) struct Worker {
    process: Child,
    folder: Rc<tempfile::TempDir>,
    pub(crate) redis: Connection,
}

impl Worker {
    pub(crate) fn start(redis: &Redis, boot: &Boot) -> Self {
        Self::start_by(Command::new(WRAPPER), redis, boot)
    }

    /// Starts it by a command that becomes the wrapper.
    pub(crate) fn start_by(command: Command, redis: &Redis, boot: &Boot) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut boot = boot.clone();
        boot.bounds.spool_folder = folder.path().join("spool").to_str().unwrap().to_owned();
        Self::start_in(Rc::new(folder), command, redis, &boot)
    }

    /// Another wrapper in its place, once it has ended, with what it kept.
    pub(crate) fn start_again(&self, redis: &Redis) -> Self {
        let again = Again { env: BTreeMap::new(), tokens: BTreeSet::new() };
        Self::start_in(Rc::clone(&self.folder), Command::new(WRAPPER), redis, &again)
    }

    fn start_in(
        folder: Rc<tempfile::TempDir>,
        mut command: Command,
        redis: &Redis,
        document: &impl serde::Serialize,
    ) -> Self {
        let mut process = command
            .arg("--state")
            .arg(folder.path().join("kept"))
            .stdin(Stdio::piped())
            .stderr(std::fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut stdin = process.stdin.take().unwrap();
        serde_json::to_writer(&mut stdin, document).unwrap();
        drop(stdin);
        Self { process, folder, redis: redis.connect() }
    }

    /// Prepares a Redis and starts a worker with a line of shell for an agent.
    pub(crate) fn with_script(redis: &Redis, script: &str) -> Self {
        prepare(&mut redis.connect());
        Self::start(redis, &boot(redis, script))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The processes whose parent it is.
    pub(crate) fn children(&self) -> String {
        let path = format!("/proc/{0}/task/{0}/children", self.pid());
        std::fs::read_to_string(path).unwrap()
    }

    pub(crate) fn send(&mut self, pairs: &[&str]) -> String {
        ask(&mut self.redis, &[&["XADD", INPUT, "*"], pairs].concat())
    }

    pub(crate) fn said(&mut self) -> Vec<Entry> {
        entries(&mut self.redis, OUTPUT).into_iter().map(|(_, entry)| entry).collect()
    }

    /// The first entry of a kind whose content contains `part`.
    pub(crate) fn heard(&mut self, kind: &str, part: &str) -> Entry {
        let mut said = Vec::new();
        let what = format!("{kind} with {part:?}");
        until(&what, || {
            said = self.said();
            said.iter().find(|e| e["type"] == kind && e["content"].contains(part)).cloned()
        })
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    pub(crate) fn ended(&mut self) -> ExitStatus {
        until("the wrapper's end", || self.process.try_wait().unwrap())
    }

    pub(crate) fn code(&mut self) -> i32 {
        self.ended().code().expect("an exit code")
    }

    pub(crate) fn code_within(&mut self, deadline: Duration) -> i32 {
        let ended = within(deadline, "the wrapper's end", || self.process.try_wait().unwrap());
        ended.code().expect("an exit code")
    }

    /// A file of those that it keeps.
    pub(crate) fn kept(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join("kept").join(name)
    }

    /// Where output waits on disk.
    pub(crate) fn spool(&self) -> std::path::PathBuf {
        self.folder.path().join("spool")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// A value of `/proc/<pid>/status`, in kB.
    pub(crate) fn memory_kb(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.process.try_wait().unwrap().is_none() {
            // First in order, so that its agent does not stay behind.
            self.signal("-TERM");
            let ends = |process: &mut Child| process.try_wait().unwrap();
            for _ in 0..300 {
                if ends(&mut self.process).is_some() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
        if std::thread::panicking() {
            eprintln!("the wrapper's log:\n{}", self.log());
        }
    }
}
