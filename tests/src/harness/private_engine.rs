//! An engine of a test's own, which the test may fill, cut off and kill.
//!
//! Its daemon lives in namespaces of its own, as on a machine of its own: the machine's engine,
//! its bridges and its packet filter are out of its sight and it is out of theirs. It has no way to
//! the internet. Its only neighbour is this machine, at the address where workers find Redis and
//! the scripted model. The first process in there hears when the test ends or is killed, removes
//! what is on disk, and ends; the kernel then takes other processes, mounts and networks away.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use uuid::Uuid;

use super::{Engine, Environment, until};

/// A start takes half a second on an idle machine.
const START: Duration = Duration::from_secs(60);
/// The kernel ends processes at once; a slow disk delays them, and the removal of the folder.
const END: Duration = Duration::from_secs(30);

const FIRST_PROCESS: &str = include_str!("private_engine.sh");

/// A running engine. Dropping it takes away all that it has.
pub struct PrivateEngine {
    /// Of its end of the way to this machine, and of its control group.
    name: String,
    environment: Environment,
    first_process: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    folder: TempDir,
}

impl PrivateEngine {
    /// One that has the base image.
    pub fn start() -> Self {
        let engine = Self::empty();
        engine.load_base_image();
        engine
    }

    /// One that has no image.
    pub fn empty() -> Self {
        Self::on_disk(None, "")
    }

    /// One that has the base image, whose containers outlive its daemon.
    pub fn live_restoring() -> Self {
        Self::with("--live-restore")
    }

    /// One in whose containers root is nobody on this machine. The range of users is the one that the
    /// first process writes down.
    pub fn with_user_namespaces() -> Self {
        Self::with("--userns-remap=nobody:nogroup")
    }

    /// One that has the base image, whose daemon is started with this option.
    pub fn with(option: &str) -> Self {
        let engine = Self::on_disk(None, option);
        engine.load_base_image();
        engine
    }

    /// One with the base image on a disk of this size, such as `300m`.
    pub fn small(size: &str) -> Self {
        let engine = Self::on_disk(Some(size), "");
        engine.load_base_image();
        engine
    }

    fn on_disk(size: Option<&str>, option: &str) -> Self {
        let environment = Environment::read();
        let name = format!("wt{}", &Uuid::new_v4().simple().to_string()[..12]);
        // Not in /tmp, which may be kept in memory.
        let folder = tempfile::Builder::new().prefix("worker-engine-").tempdir_in("/var/tmp");
        let folder = folder.expect("a folder in /var/tmp");
        let mut first_process = first_process(folder.path(), &name, size, option);
        let orders = first_process.stdin.take();
        let answers = BufReader::new(first_process.stdout.take().expect("a pipe"));
        let mut engine = Self { name, environment, first_process, orders, answers, folder };
        engine.expect("ready");
        engine.join();
        engine.restart();
        engine
    }

    /// A cable to this machine, and this machine's address at the end of it.
    fn join(&mut self) {
        let inside = self.first_process.id().to_string();
        let name = self.name.clone();
        must(ip(&["link", "add", &name, "type", "veth", "peer", "name", "eth0", "netns", &inside]));
        must(ip(&["link", "set", &name, "up"]));
        let address = free_address(&name);
        let order = format!("join {address} {}", self.environment.host_address());
        self.order(&order, "joined");
    }

    /// Starts the daemon, again if it was killed, and waits until it answers.
    pub fn restart(&mut self) {
        self.order("start", "started");
        let engine = self.engine();
        let up = until(START, || engine.answers().then_some(()));
        assert!(up.is_some(), "a private engine did not start:\n{}", self.log());
    }

    /// Kills the daemon, as a crash does. Its containers run on until it is started again.
    pub fn kill(&mut self) {
        self.order("kill", "killed");
    }

    /// The daemon keeps its socket, and says nothing any more.
    pub fn pause(&mut self) {
        self.order("pause", "paused");
    }

    /// It goes on.
    pub fn resume(&mut self) {
        self.order("resume", "resumed");
    }

    /// Its address, as in `DOCKER_HOST`.
    pub fn host(&self) -> String {
        format!("unix://{}", self.folder.path().join("docker.sock").display())
    }

    /// Its command line.
    pub fn engine(&self) -> Engine {
        Engine::at(&self.host())
    }

    /// Where it keeps everything.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The network device on this machine that leads to it.
    pub fn device(&self) -> PathBuf {
        Path::new("/sys/class/net").join(&self.name)
    }

    /// The folders of its control groups.
    pub fn control_groups(&self) -> Vec<PathBuf> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let hierarchies = fields.filter(|fields| fields[2].starts_with("cgroup"));
        hierarchies.map(|fields| Path::new(fields[1]).join(&self.name)).collect()
    }

    /// What the daemon said.
    pub fn log(&self) -> String {
        let log = fs::read(self.folder.path().join("engine.log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Copies the base image from the machine's engine: there may be no registry.
    fn load_base_image(&self) {
        let save = ["save", &self.environment.base_image];
        let mut from = Engine::default().command(&save).stdout(Stdio::piped()).spawn();
        let from = from.as_mut().expect("docker save");
        let archive = from.stdout.take().expect("a pipe");
        let loaded = self.engine().command(&["load", "--quiet"]).stdin(archive).output();
        let loaded = loaded.expect("docker load");
        let saved = from.wait().expect("the end of docker save");
        let said = String::from_utf8_lossy(&loaded.stderr);
        assert!(saved.success() && loaded.status.success(), "no base image was loaded: {said}");
    }

    fn order(&mut self, order: &str, answer: &str) {
        let orders = self.orders.as_mut().expect("a pipe");
        writeln!(orders, "{order}").expect("the first process of a private engine has ended");
        self.expect(answer);
    }

    fn expect(&mut self, answer: &str) {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("a pipe");
        let log = self.log();
        assert_eq!(line.trim(), answer, "a private engine needs root, unshare and ip:\n{log}");
    }
}

impl Drop for PrivateEngine {
    fn drop(&mut self) {
        drop(self.orders.take());
        if until(END, || self.first_process.try_wait().ok().flatten()).is_none() {
            let _ = self.first_process.kill();
            let _ = self.first_process.wait();
        }
        // The kernel removes both ends when it comes to it; the address is to be free now.
        let _ = ip(&["link", "delete", &self.name]);
    }
}

/// Starts what everything else starts in; in a process group of its own, so that whoever kills that
/// of the test does not keep it from clearing up.
fn first_process(folder: &Path, name: &str, size: Option<&str>, option: &str) -> Child {
    Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"])
        .args(["bash", "-c", FIRST_PROCESS, "private-engine"])
        .arg(folder)
        .arg(name)
        .arg(option)
        .args(size)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("failed to run unshare: {error}; install util-linux"))
}

/// An address that leads to this device and to no other. The range is for measurements between
/// neighbours, and never routed: no other network of the machine has it.
fn free_address(device: &str) -> String {
    let mut refused = String::new();
    for _ in 0..100 {
        let [a, b, c, ..] = *Uuid::new_v4().as_bytes();
        let address = format!("198.{}.{b}.{c}", 18 + a % 2);
        match ip(&["route", "add", &format!("{address}/32"), "dev", device]) {
            Ok(()) => return address,
            Err(said) => refused = said,
        }
    }
    panic!("no address for a private engine: {refused}");
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output();
    let output =
        output.unwrap_or_else(|error| panic!("failed to run ip: {error}; run `make test`"));
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

fn must(done: Result<(), String>) {
    done.unwrap_or_else(|said| panic!("a private engine needs root: {said}"));
}
