//! A Redis of a test's own, which the test may kill, stop, empty and fill.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

use super::{Environment, Redis, until};

/// A start takes a tenth of a second on an idle machine.
const START: Duration = Duration::from_secs(60);
pub(super) const PASSWORD: &str = "of-a-test";

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
    tls_port: Option<u16>,
    /// What else it is told on its command line.
    arguments: Vec<String>,
    folder: TempDir,
    child: Option<Child>,
}

impl RedisServer {
    /// Starts one.
    pub fn start(persistence: Persistence) -> Self {
        let mut server = Self::prepare(persistence);
        server.restart();
        server
    }

    /// Starts one that speaks TLS too, by a certificate of an authority of its own.
    pub fn start_with_tls(persistence: Persistence) -> Self {
        let mut server = Self::prepare(persistence);
        let path = |name: &str| server.folder.path().join(name).to_string_lossy().into_owned();
        let (ca, certificate, key) = (server.ca(), path("redis.pem"), path("redis.key"));
        write_certificates(&server.host, [&ca, &certificate, &key]);
        let tls_port = free_port(&server.host);
        server.tls_port = Some(tls_port);
        server.tell(&["--tls-port", &tls_port.to_string(), "--tls-auth-clients", "no"]);
        server.tell(&["--tls-cert-file", &certificate, "--tls-key-file", &key]);
        server.tell(&["--tls-ca-cert-file", &ca]);
        server.restart();
        server
    }

    /// Starts one that copies what this one has.
    pub fn start_replica(&self) -> Self {
        let mut replica = Self::prepare(self.persistence);
        replica.tell(&["--replicaof", &self.host, &self.port.to_string()]);
        // It would be known by the address from which it asks.
        replica.tell(&["--masterauth", PASSWORD, "--replica-announce-ip", &self.host]);
        replica.restart();
        replica
    }

    fn tell(&mut self, arguments: &[&str]) {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
    }

    /// The file of the authority that its certificate is signed by.
    pub fn ca(&self) -> String {
        self.folder.path().join("ca.pem").to_string_lossy().into_owned()
    }

    /// Its address with TLS, and before that what opens it.
    pub fn tls_url(&self, credentials: &str) -> String {
        let port = self.tls_port.expect("it was started with TLS");
        format!("rediss://{credentials}{}:{port}/0", self.host)
    }

    /// Its password.
    pub fn password(&self) -> &'static str {
        PASSWORD
    }

    fn prepare(persistence: Persistence) -> Self {
        let host = Environment::read().host_address().to_owned();
        let port = free_port(&host);
        let folder = TempDir::new().expect("a temporary folder");
        let (tls_port, arguments) = (None, Vec::new());
        Self { host, port, persistence, tls_port, arguments, folder, child: None }
    }

    /// Its address, with credentials.
    pub fn url(&self) -> String {
        format!("redis://default:{PASSWORD}@{}:{}/0", self.host, self.port)
    }

    /// Its address for workers, and for a proxy.
    pub fn worker_url(&self) -> String {
        format!("redis://{}:{}/0", self.host, self.port)
    }

    pub(super) fn address(&self) -> (&str, u16) {
        (&self.host, self.port)
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
            .args(&self.arguments)
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

/// None of those that the system gives away by itself, 32768 and above: nobody has it before its
/// server does.
pub(super) fn free_port(host: &str) -> u16 {
    loop {
        let port = 10_000 + (uuid::Uuid::new_v4().as_u128() % 20_000) as u16;
        if TcpListener::bind((host, port)).is_ok() {
            return port;
        }
    }
}

/// An authority's certificate, and one for `host` that it has signed, with its key.
fn write_certificates(host: &str, [ca, certificate, key]: [&str; 3]) {
    let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "an authority of a test");
    let own = KeyPair::generate().expect("a key");
    let pem = authority.self_signed(&own).expect("a certificate").pem();
    std::fs::write(ca, pem).expect("a file");
    let params = CertificateParams::new(vec![host.to_owned()]).expect("parameters");
    let servers = KeyPair::generate().expect("a key");
    let signed = params.signed_by(&servers, &Issuer::new(authority, own)).expect("a certificate");
    std::fs::write(certificate, signed.pem()).expect("a file");
    std::fs::write(key, servers.serialize_pem()).expect("a file");
}
