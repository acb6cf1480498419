//! Redis servers, sentinels and certificates of a test's own. They end with the test.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A running `redis-server`, which listens at a socket in its folder too.
pub(crate) struct Server {
    child: Child,
    pub(crate) socket: PathBuf,
}

impl Server {
    /// Starts one whose files lie in `folder`, with these lines of configuration.
    pub(crate) fn start(folder: &Path, lines: &[&str]) -> Self {
        Self::run(folder, lines, &["--save", ""])
    }

    /// Starts a sentinel.
    pub(crate) fn sentinel(folder: &Path, lines: &[&str]) -> Self {
        Self::run(folder, lines, &["--sentinel"])
    }

    fn run(folder: &Path, lines: &[&str], arguments: &[&str]) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let (socket, file) = (folder.join("redis.sock"), folder.join("redis.conf"));
        let _ = std::fs::remove_file(&socket);
        let place = format!("dir {}\nunixsocket {}\n", folder.display(), socket.display());
        std::fs::write(&file, place + &lines.join("\n")).unwrap();
        let child = Command::new("redis-server")
            .arg(&file)
            .args(arguments)
            .stdout(Stdio::null())
            .spawn()
            .expect("these tests need redis-server, of Debian's package of that name");
        Self { child, socket }
    }

    /// Its address without a network, for whoever is to see everything.
    pub(crate) fn url(&self) -> String {
        format!("redis+unix://{}", self.socket.display())
    }

    /// The same with a password.
    pub(crate) fn url_with(&self, password: &str) -> String {
        format!("{}?pass={password}", self.url())
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that is free, as is the one 10000 above it, where a node of a cluster hears of others.
/// Neither is one of those that the system gives away by itself, 32768 and above: nobody has it
/// before its server does.
pub(crate) fn free_port() -> u16 {
    loop {
        let port = 10_000 + (uuid::Uuid::new_v4().as_u128() % 12_000) as u16;
        let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if is_free(port) && is_free(port + 10_000) {
            return port;
        }
    }
}

/// An authority of its own, and the folder with what it signed.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: PathBuf,
    pub(crate) certificate: PathBuf,
}

/// A certificate and its key, as files.
pub(crate) struct Signed {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, format!("the authority {name}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = folder.join(format!("{name}-ca.pem"));
        std::fs::write(&certificate, params.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(params, key), folder: folder.to_owned(), certificate }
    }

    /// Signs a certificate for `host` that is valid to the end of that year.
    pub(crate) fn sign(&self, host: &str, year: i32) -> Signed {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 12, 31);
        let key = KeyPair::generate().unwrap();
        let signed = Signed {
            certificate: self.folder.join(format!("{host}-{year}.pem")),
            key: self.folder.join(format!("{host}-{year}.key")),
        };
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        std::fs::write(&signed.certificate, pem).unwrap();
        std::fs::write(&signed.key, key.serialize_pem()).unwrap();
        signed
    }
}
