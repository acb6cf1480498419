//! A wrapper as a process of this machine.

use redis::IntoConnectionInfo;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use worker_protocol::boot::{BootAgent, BootKeys, Bounds, RedisAccess};
use worker_protocol::create::{Life, Restart};
use worker_protocol::{AgentProtocol, AgentType, Boot, Secret, WorkerId};
use worker_tests::harness::{Entry, Installation, Redis};

use crate::process::{megabytes, seconds};

/// Between two looks at a stream that nobody else reads.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// It runs until it is dropped, and its keys go with it.
pub(crate) struct Wrapped {
    process: Child,
    pub(crate) redis: Redis,
    keys: BootKeys,
    spool: TempDir,
}

impl Wrapped {
    /// Starts one, and does not wait.
    pub(crate) fn start(it: &Installation, protocol: AgentProtocol, command: &[&str]) -> Self {
        Self::start_with(it, protocol, command, |_| ())
    }

    /// The same, told something else.
    pub(crate) fn start_with(
        it: &Installation,
        protocol: AgentProtocol,
        command: &[&str],
        change: impl FnOnce(&mut Boot),
    ) -> Self {
        let id = WorkerId::new();
        let key = |name: &str| it.key(&format!("{id}:{name}"));
        let keys =
            BootKeys { input: key("input"), output: key("output"), heartbeat: key("heartbeat") };
        let redis = Redis::connect(&it.environment.redis_url);
        redis.run::<()>(&["XGROUP", "CREATE", &keys.input, "wrapper", "0", "MKSTREAM"]);
        let spool = tempfile::tempdir().expect("a folder");
        let mut boot = Boot {
            worker_id: id,
            redis: access(&it.environment.redis_url),
            keys: keys.clone(),
            agent: agent(protocol, command),
            operators: BTreeSet::new(),
            token: None,
            life: Life::Interactive,
            restart: Restart::Never,
            files: Vec::new(),
            policy: None,
            bounds: Bounds {
                spool_folder: spool.path().join("spool").to_string_lossy().into_owned(),
                ..Bounds::default()
            },
        };
        change(&mut boot);
        let mut process = Command::new(&it.environment.wrapper)
            .arg("--state")
            .arg(spool.path())
            .stdin(Stdio::piped())
            .spawn()
            .expect("the wrapper");
        let stdin = process.stdin.take().expect("its stdin");
        serde_json::to_writer(stdin, &boot).expect("a boot document");
        Self { process, redis, keys, spool }
    }

    /// The same, when it can take prompts.
    pub(crate) fn ready(it: &Installation, protocol: AgentProtocol, command: &[&str]) -> Self {
        let wrapped = Self::start(it, protocol, command);
        wrapped.comes_to(|entry| entry.kind() == "ready");
        wrapped
    }

    pub(crate) fn send(&self, fields: &[(&str, &str)]) {
        self.redis.xadd(&self.keys.input, fields);
    }

    pub(crate) fn output(&self) -> &str {
        &self.keys.output
    }

    /// Waits until the last entry is such a one.
    pub(crate) fn comes_to(&self, is_it: impl Fn(&Entry) -> bool) {
        while !self.redis.last_entry(&self.keys.output).is_some_and(|entry| is_it(&entry)) {
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// A size in `/proc/<pid>/status`, in MB.
    pub(crate) fn megabytes(&self, name: &str) -> f64 {
        megabytes(self.process.id(), name)
    }

    /// What waits on disk, in MB. The file has no name any more, so it is found as an open one.
    pub(crate) fn spooled(&self) -> f64 {
        let open = fs::read_dir(format!("/proc/{}/fd", self.process.id())).expect("a process");
        let spools = open.flatten().filter(|file| {
            fs::read_link(file.path()).is_ok_and(|target| target.starts_with(self.spool.path()))
        });
        let blocks = spools.filter_map(|file| fs::metadata(file.path()).ok()).map(|it| it.blocks());
        blocks.sum::<u64>() as f64 * 512.0 / 1e6
    }

    /// Processor time so far.
    pub(crate) fn seconds(&self) -> f64 {
        seconds(self.process.id())
    }
}

impl Drop for Wrapped {
    fn drop(&mut self) {
        let pid = self.process.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.process.wait();
        let BootKeys { input, output, heartbeat } = &self.keys;
        self.redis.run::<()>(&["DEL", input, output, heartbeat]);
    }
}

/// Of the tests' Redis: its own password, since a bench is no worker.
pub(crate) fn access(url: &str) -> RedisAccess {
    let info = url.into_connection_info().expect("an address");
    let settings = info.redis_settings();
    RedisAccess {
        url: format!("redis://{}/{}", info.addr(), settings.db()),
        username: settings.username().unwrap_or("default").to_owned(),
        password: Secret::new(settings.password().unwrap_or_default()),
    }
}

fn agent(protocol: AgentProtocol, command: &[&str]) -> BootAgent {
    BootAgent {
        agent_type: AgentType::Custom,
        version: None,
        protocol,
        command: command.iter().map(|&word| word.to_owned()).collect(),
        env: BTreeMap::new(),
        system_prompt_file: None,
        model: None,
        mcp_file: None,
        uid: 1000,
        workspace: "/".to_owned(),
    }
}
