//! Models' services behind the gateway.

use serde_json::Value;
use sha2::{Digest, Sha256};
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};

use worker_protocol::Secret;
use worker_protocol::gateway::{Passage, Price, Upstream};

use crate::gateway::{Gateway, Worker, hosts, json, read_head, server, status};
use crate::redis_server::until;

const TOKEN: &str = "worker-token";
const KEY: &str = "operators-key";
const ANSWER: &str = r#"{"model":"m-1","usage":{"input_tokens":1000,"output_tokens":100}}"#;

/// A service that tells what it was asked, and answers with `ANSWER`.
fn service() -> (SocketAddr, Receiver<String>) {
    let (tell, told) = channel();
    let address = server(move |mut stream| {
        while let Some(asked) = read_request(&mut stream) {
            let _ = tell.send(asked);
            let length = ANSWER.len();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
                 content-length: {length}\r\n\r\n"
            );
            stream.write_all((head + ANSWER).as_bytes()).unwrap();
        }
    });
    (address, told)
}

/// A service that answers with the lines that the test gives it, as they come.
fn streaming() -> (SocketAddr, Sender<&'static str>) {
    let (say, lines) = channel::<&str>();
    let lines = std::sync::Mutex::new(lines);
    let address = server(move |mut stream| {
        read_request(&mut stream);
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
            connection: close\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        for line in lines.lock().unwrap().iter() {
            stream.write_all(line.as_bytes()).unwrap();
        }
    });
    (address, say)
}

fn read_request(stream: &mut TcpStream) -> Option<String> {
    let head = read_head(stream);
    let length = head.to_lowercase();
    let length = length.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).unwrap();
    (!head.is_empty()).then(|| head + &String::from_utf8(body).unwrap())
}

/// A gateway with two services, of which the worker may use the first.
fn gateway(service: SocketAddr) -> Gateway {
    let upstream = |path: &str| Upstream {
        url: format!("http://{service}{path}"),
        headers: [("x-api-key".to_owned(), Secret::new(KEY))].into(),
        prices: vec![Price {
            model: "m".into(),
            input: 100.0,
            output: 1000.0,
            cache_read: 0.0,
            cache_write: 0.0,
        }],
    };
    Gateway::start_with(|boot| {
        boot.upstreams.insert("OWN_KEY".into(), upstream("/base"));
        boot.upstreams.insert("OTHER_KEY".into(), upstream(""));
    })
}

fn worker(gateway: &Gateway, change: impl FnOnce(&mut Passage)) -> Worker {
    gateway.worker_with(1, hosts(&[]), |passage| {
        passage.models = ["OWN_KEY".to_owned()].into();
        let digest = Sha256::digest(TOKEN);
        passage.token_sha256 = Some(digest.iter().map(|byte| format!("{byte:02x}")).collect());
        change(passage);
    })
}

fn post(worker: &Worker, path: &str, header: &str) -> String {
    worker.ask(&format!(
        "POST {path} HTTP/1.1\r\nhost: gateway\r\n{header}\r\naccept-encoding: gzip\r\n\
         anthropic-version: 1\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}"
    ))
}

fn ask(worker: &Worker) -> String {
    post(worker, "/model/OWN_KEY/v1/messages", &format!("x-api-key: {TOKEN}"))
}

#[test]
fn the_key_takes_the_tokens_place() {
    let (address, told) = service();
    let gateway = gateway(address);
    let worker = worker(&gateway, |_| ());
    for (query, header) in [
        ("?beta=true", format!("x-api-key: {TOKEN}")),
        ("?beta=true", format!("Authorization: Bearer {TOKEN}")),
        ("?beta=true", format!("x-goog-api-key: {TOKEN}")),
        (&format!("?key={TOKEN}&beta=true")[..], "x-other: 1".to_owned()),
    ] {
        let answer = post(&worker, &format!("/model/OWN_KEY/v1/messages{query}"), &header);
        assert_eq!((status(&answer), &json(&answer)["model"]), (200, &Value::from("m-1")));
        let asked = told.recv().unwrap();
        assert!(asked.starts_with("POST /base/v1/messages?beta=true HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains(&format!("x-api-key: {KEY}\r\n")), "{asked}");
        assert!(asked.contains(&format!("host: {address}\r\n")), "{asked}");
        assert!(asked.contains("anthropic-version: 1") && asked.ends_with("{}"), "{asked}");
        assert!(!asked.contains(TOKEN) && !asked.contains("gzip"), "{asked}");
        assert!(!answer.contains(KEY), "{answer}");
    }
    assert!(!gateway.log().contains(KEY) && !gateway.log().contains(TOKEN));
}

#[test]
fn a_client_that_takes_the_gateway_for_its_proxy_gets_there_too() {
    let (address, _told) = service();
    let gateway = gateway(address);
    let worker = worker(&gateway, |_| ());
    let url = format!("http://{}/model/OWN_KEY/v1", worker.gateway());
    assert_eq!(status(&post(&worker, &url, &format!("x-api-key: {TOKEN}"))), 200);
}

#[test]
fn without_the_token_or_for_another_service_nothing_is_sent() {
    let (address, told) = service();
    let gateway = gateway(address);
    let worker = worker(&gateway, |_| ());
    let good = format!("x-api-key: {TOKEN}");
    for (path, header, expected) in [
        ("/model/OWN_KEY/v1", "x-api-key: wrong", 401),
        ("/model/OWN_KEY/v1", "x-other: 1", 401),
        ("/model/OWN_KEY/v1", &*format!("authorization: Basic {TOKEN}"), 401),
        ("/model/OTHER_KEY/v1", &good, 403),
        ("/model/NO_KEY/v1", &good, 403),
        ("/model/", &good, 403),
        ("/model/OWN_KEY/../v1", &good, 400),
        ("/model/OWN_KEY/%2e%2E/v1", &good, 400),
        ("/model/OWN_KEY/v1", &*format!("{good}\r\nupgrade: websocket"), 501),
    ] {
        let answer = post(&worker, path, header);
        assert_eq!(status(&answer), expected, "{path} {header}: {answer}");
        assert!(json(&answer)["error"]["message"].is_string(), "{answer}");
    }
    // Nor with a token of another worker, and one that has none.
    let other = gateway.worker_with(9, hosts(&[]), |passage| {
        passage.models = ["OWN_KEY".to_owned()].into();
    });
    assert_eq!(status(&ask(&other)), 401);
    assert!(told.try_recv().is_err());
}

#[test]
fn events_pass_as_they_come() {
    let (address, say) = streaming();
    let gateway = gateway(address);
    let worker = worker(&gateway, |_| ());
    let mut stream = worker.to_http();
    write!(
        stream,
        "POST /model/OWN_KEY/v1 HTTP/1.1\r\nhost: x\r\nx-api-key: {TOKEN}\r\n\
         content-length: 0\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    assert_eq!(status(&read_head(&mut stream)), 200);
    let mut heard = |wanted: &str| {
        let mut so_far = String::new();
        let mut byte = [0];
        while !so_far.contains(wanted) {
            stream.read_exact(&mut byte).unwrap();
            so_far.push(byte[0] as char);
        }
    };
    // Each is heard before the next is said.
    for line in ["data: {\"n\":1}\n\n", "data: {\"n\":2}\n\n", "data: {\"n\":3}\n\n"] {
        say.send(line).unwrap();
        heard(line);
    }
    let end = "data: {\"usage\":{\"input_tokens\":5,\"output_tokens\":1000},\"model\":\"m\"}\n\n";
    say.send(end).unwrap();
    heard(end);
    drop(say);
    let usd = until("what it cost", || gateway.spent(&worker, "usd").filter(|usd| *usd > 0.0));
    assert!((usd - 1.0005).abs() < 1e-9, "{usd}");
}

#[test]
fn who_hangs_up_in_time_pays_too() {
    let (address, say) = streaming();
    let gateway = gateway(address);
    let worker = worker(&gateway, |_| ());
    let mut stream = worker.to_http();
    write!(
        stream,
        "POST /model/OWN_KEY/v1 HTTP/1.1\r\nhost: x\r\nx-api-key: {TOKEN}\r\n\
         content-length: 0\r\n\r\n"
    )
    .unwrap();
    let begin = "data: {\"message\":{\"usage\":{\"input_tokens\":10000}}}\n\n";
    say.send(begin).unwrap();
    read_head(&mut stream);
    let mut heard = vec![0; begin.len()];
    stream.read_exact(&mut heard).unwrap();
    drop(stream);
    let usd = until("what it cost", || gateway.spent(&worker, "usd").filter(|usd| *usd > 0.0));
    assert!(usd >= 1.0, "{usd}");
}

#[test]
fn the_limit_on_requests_holds_and_is_told_once() {
    let (address, told) = service();
    let gateway = gateway(address);
    let worker = worker(&gateway, |passage| passage.max_requests = Some(3));
    for _ in 0..3 {
        assert_eq!(status(&ask(&worker)), 200);
    }
    for _ in 0..3 {
        let answer = ask(&worker);
        assert_eq!(status(&answer), 429, "{answer}");
        let message = json(&answer)["error"]["message"].to_string();
        assert!(message.contains("limit of 3 requests"), "{message}");
        assert!(answer.contains("x-should-retry: false"), "{answer}");
    }
    assert_eq!(told.try_iter().count(), 3);
    assert_eq!(gateway.spent(&worker, "requests"), Some(3.0));
    let event = gateway.told_of(&worker, "127.0.0.1");
    assert_eq!(event["reason"], "the limit of 3 requests is reached");
    assert_eq!(gateway.told(&worker).len(), 1);
}

#[test]
fn requests_at_one_moment_are_not_more_than_the_limit() {
    let (address, told) = service();
    let gateway = gateway(address);
    let worker = worker(&gateway, |passage| passage.max_requests = Some(5));
    let all: Vec<_> = (0..20)
        .map(|_| {
            let worker = worker.clone();
            std::thread::spawn(move || status(&ask(&worker)))
        })
        .collect();
    let statuses = all.into_iter().map(|one| one.join().unwrap());
    assert_eq!(statuses.filter(|status| *status == 200).count(), 5);
    assert_eq!(told.try_iter().count(), 5);
}

#[test]
fn the_limit_on_cost_holds() {
    let (address, _told) = service();
    let gateway = gateway(address);
    // An answer costs 0.2 USD.
    let worker = worker(&gateway, |passage| passage.max_cost_usd = Some(0.5));
    for n in 1..=3 {
        assert_eq!(status(&ask(&worker)), 200);
        let paid = 0.2 * f64::from(n);
        let usd = || gateway.spent(&worker, "usd").filter(|usd| (usd - paid).abs() < 1e-9);
        until("what it cost", usd);
    }
    let answer = ask(&worker);
    assert_eq!(status(&answer), 429, "{answer}");
    assert!(answer.contains("cost limit of 0.5 USD"), "{answer}");
}

#[test]
fn limits_hold_without_redis_and_are_written_when_it_is_there_again() {
    let (address, _told) = service();
    let mut gateway = gateway(address);
    let worker = worker(&gateway, |passage| passage.max_requests = Some(4));
    assert_eq!(status(&ask(&worker)), 200);
    gateway.redis.kill();
    for _ in 0..3 {
        assert_eq!(status(&ask(&worker)), 200);
    }
    assert_eq!(status(&ask(&worker)), 429);
    gateway.redis.restart();
    gateway.allow_again();
    // It was emptied, so that only what it was not told yet is in it.
    until("what was owed", || gateway.spent(&worker, "requests").filter(|n| *n == 3.0));
}

/// A service that speaks TLS, with a certificate that it has signed itself.
struct Tls {
    process: Child,
    address: SocketAddr,
    certificate: String,
}

impl Tls {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [key, cert] = ["key", "cert"].map(|name| folder.path().join(name));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"])
            .args(["-subj", "/CN=service", "-addext", "subjectAltName=DNS:localhost"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .args([OsStr::new("-keyout"), key.as_os_str(), OsStr::new("-out"), cert.as_os_str()])
            .stderr(Stdio::null())
            .status();
        assert!(made.expect("openssl must be installed").success());
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let process = Command::new("openssl")
            .args(["s_server", "-www", "-quiet", "-accept", &free.to_string()])
            .args([OsStr::new("-key"), key.as_os_str(), OsStr::new("-cert"), cert.as_os_str()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("the service", || TcpStream::connect(free).ok());
        Self { process, address: free, certificate: std::fs::read_to_string(cert).unwrap() }
    }

    fn gateway(&self, ca_bundle: Option<String>) -> Gateway {
        Gateway::start_with(|boot| {
            let url = format!("https://localhost:{}", self.address.port());
            let upstream = Upstream { url, headers: Default::default(), prices: Vec::new() };
            boot.upstreams.insert("OWN_KEY".into(), upstream);
            boot.ca_bundle = ca_bundle;
        })
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_service_must_show_a_certificate_that_is_trusted() {
    let service = Tls::start();
    let get = |gateway: &Gateway| {
        let worker = worker(gateway, |_| ());
        let head = format!("host: x\r\nx-api-key: {TOKEN}\r\nconnection: close");
        status(&worker.ask(&format!("GET /model/OWN_KEY/ HTTP/1.1\r\n{head}\r\n\r\n")))
    };
    assert_eq!(get(&service.gateway(Some(service.certificate.clone()))), 200);
    assert_eq!(get(&service.gateway(None)), 502);
}

#[test]
fn a_service_that_is_away_is_told_by_name() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gateway = gateway(free);
    let worker = worker(&gateway, |_| ());
    let answer = ask(&worker);
    assert_eq!(status(&answer), 502, "{answer}");
    assert!(answer.contains("OWN_KEY"), "{answer}");
}
