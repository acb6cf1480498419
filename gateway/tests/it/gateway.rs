//! A gateway as a process of its own, and the workers that come to it. A worker is an address of
//! loopback: the networks are `127.0.<n>.0/29`, as on an engine with the gateway at 2, the worker at 3.

use serde_json::Value;
use socket2::{Domain, Socket, Type};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};

use worker_protocol::gateway::{GatewayBoot, GatewayKeys, Passage, Reach, RedisTarget};
use worker_protocol::{Secret, WorkerId};

use crate::redis_server::{DEADLINE, Entry, Redis, ask, entries, until};

const PASSAGES: &str = "t:gateway";
const SPENT: &str = "t:gateway:spent";
const EVENTS: &str = "t:events";

pub(crate) struct Gateway {
    process: Child,
    http: u16,
    redis_port: u16,
    pub(crate) redis: Redis,
    log: tempfile::NamedTempFile,
}

/// The document of a gateway that opens loopback to workers that name it.
pub(crate) fn boot(redis: &Redis) -> GatewayBoot {
    GatewayBoot {
        redis: RedisTarget {
            url: format!("redis://127.0.0.1:{}/0", redis.port),
            username: Some("gateway".into()),
            password: Some(Secret::new("pw")),
            ..RedisTarget::default()
        },
        keys: GatewayKeys { passages: PASSAGES.into(), spent: SPENT.into(), events: EVENTS.into() },
        events_entries: 1000,
        prefix: 29,
        refused: BTreeSet::new(),
        private: ["127.0.0.0/8".to_owned()].into(),
        upstreams: BTreeMap::new(),
        ca_bundle: None,
    }
}

/// What the manager gives to the gateway's user, and nothing more.
fn allow(redis: &Redis) {
    let passages = format!("(-@all +hget %R~{PASSAGES})");
    let spent = format!("(-@all +hincrby +hincrbyfloat ~{SPENT})");
    let events = format!("(-@all +xadd ~{EVENTS})");
    let rules = ["reset", "on", ">pw", "-@all", "+ping", &passages, &spent, &events];
    let words = [&["ACL", "SETUSER", "gateway"], &rules[..]].concat();
    ask::<()>(&mut redis.connect(), &words);
}

impl Gateway {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| ())
    }

    /// With a boot document that is changed before.
    pub(crate) fn start_with(change: impl FnOnce(&mut GatewayBoot)) -> Self {
        let redis = Redis::start();
        allow(&redis);
        let mut document = boot(&redis);
        change(&mut document);
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_worker-gateway"))
            .args(["--http", "0.0.0.0:0", "--redis", "0.0.0.0:0"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.reopen().unwrap())
            .spawn()
            .unwrap();
        serde_json::to_writer(process.stdin.take().unwrap(), &document).unwrap();
        let mut doors = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut doors).unwrap();
        let doors: BTreeMap<String, SocketAddr> = serde_json::from_str(&doors).unwrap();
        let (http, redis_port) = (doors["http"].port(), doors["redis"].port());
        Self { process, http, redis_port, redis, log }
    }

    /// A worker with a network of its own.
    pub(crate) fn worker(&self, network: u8, egress: Reach) -> Worker {
        self.worker_with(network, egress, |_| ())
    }

    pub(crate) fn worker_with(
        &self,
        network: u8,
        egress: Reach,
        change: impl FnOnce(&mut Passage),
    ) -> Worker {
        let mut passage = Passage {
            worker_id: WorkerId::new(),
            egress,
            models: BTreeSet::new(),
            token_sha256: None,
            max_requests: None,
            max_cost_usd: None,
        };
        change(&mut passage);
        let worker = self.stranger(network);
        let field = format!("127.0.{network}.0");
        let json = serde_json::to_string(&passage).unwrap();
        ask::<()>(&mut self.redis.connect(), &["HSET", PASSAGES, &field, &json]);
        Worker { id: passage.worker_id, ..worker }
    }

    /// Somebody on a network that is no worker's.
    pub(crate) fn stranger(&self, network: u8) -> Worker {
        Worker { id: WorkerId::new(), network, http: self.http, redis: self.redis_port }
    }

    /// The worker is deleted.
    pub(crate) fn forget(&self, worker: &Worker) {
        let field = format!("127.0.{}.0", worker.network);
        ask::<()>(&mut self.redis.connect(), &["HDEL", PASSAGES, &field]);
    }

    pub(crate) fn allow_again(&self) {
        allow(&self.redis);
    }

    /// The refusals that were told of a worker.
    pub(crate) fn told(&self, worker: &Worker) -> Vec<Entry> {
        let id = worker.id.to_string();
        let of = |entry: &Entry| entry["type"] == "egress" && entry["worker_id"] == id;
        entries(&mut self.redis.connect(), EVENTS).into_iter().filter(of).collect()
    }

    /// The first refusal of a worker that names the host.
    pub(crate) fn told_of(&self, worker: &Worker, host: &str) -> Entry {
        let find = || self.told(worker).into_iter().find(|entry| entry["host"] == host);
        until(&format!("a refusal of {host}"), find)
    }

    /// What a worker has used: `requests` or `usd`.
    pub(crate) fn spent(&self, worker: &Worker, what: &str) -> Option<f64> {
        let field = format!("{}:{what}", worker.id);
        ask(&mut self.redis.connect(), &["HGET", SPENT, &field])
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    pub(crate) fn ended(&mut self) -> ExitStatus {
        until("the gateway's end", || self.process.try_wait().unwrap())
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap()
    }

    pub(crate) fn http_port(&self) -> u16 {
        self.http
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("the gateway's log:\n{}", self.log());
        }
    }
}

/// Who comes to the gateway.
#[derive(Clone)]
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) network: u8,
    http: u16,
    redis: u16,
}

impl Worker {
    pub(crate) fn to_http(&self) -> TcpStream {
        self.connect(2, self.http)
    }

    pub(crate) fn to_redis(&self) -> TcpStream {
        self.connect(2, self.redis)
    }

    /// To one of the gateway's addresses on the worker's network.
    pub(crate) fn connect(&self, last: u8, port: u16) -> TcpStream {
        let on = |last| Ipv4Addr::new(127, 0, self.network, last);
        connect(on(3), SocketAddr::from((on(last), port)))
    }

    /// The gateway's address, as the worker has it.
    pub(crate) fn gateway(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::new(127, 0, self.network, 2), self.http))
    }

    /// Asks for a way, and gives the answer's head, or its whole text if there is none.
    pub(crate) fn tunnel(&self, to: &str) -> (TcpStream, String) {
        let mut stream = self.to_http();
        write!(stream, "CONNECT {to} HTTP/1.1\r\nhost: {to}\r\n\r\n").unwrap();
        let mut head = read_head(&mut stream);
        if !head.starts_with("HTTP/1.1 200") {
            read_body(&mut stream, &mut head);
        }
        (stream, head)
    }

    /// The status of an answer to `CONNECT`.
    pub(crate) fn tunnel_status(&self, to: &str) -> u16 {
        status(&self.tunnel(to).1)
    }

    /// Sends a request as it is written, and reads the answer to its end.
    pub(crate) fn ask(&self, request: &str) -> String {
        let mut stream = self.to_http();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

pub(crate) fn connect(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Up to the empty line, and not a byte more.
pub(crate) fn read_head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// As much as the head says.
fn read_body(stream: &mut TcpStream, head: &mut String) {
    let length = head.to_lowercase();
    let length = length.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).unwrap();
    head.push_str(&String::from_utf8(body).unwrap());
}

pub(crate) fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap_or_else(|| panic!("no answer: {answer:?}")).parse().unwrap()
}

pub(crate) fn hosts(names: &[&str]) -> Reach {
    Reach::Hosts(names.iter().map(|&name| name.to_owned()).collect())
}

/// A server that has one connection after the other handled, until the test's process ends.
pub(crate) fn server(handle: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let handle = std::sync::Arc::new(handle);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let handle = std::sync::Arc::clone(&handle);
            std::thread::spawn(move || handle(stream));
        }
    });
    address
}

/// A server that says back what it hears.
pub(crate) fn echo() -> SocketAddr {
    server(|mut stream| {
        let mut back = stream.try_clone().unwrap();
        let _ = std::io::copy(&mut stream, &mut back);
        let _ = back.shutdown(std::net::Shutdown::Write);
    })
}

/// The JSON of an answer's body.
pub(crate) fn json(answer: &str) -> Value {
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
}
