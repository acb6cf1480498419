//! Requests with an absolute address.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, channel};

use crate::gateway::{Gateway, hosts, read_head, server, status};

/// A server that tells what it was sent, and answers with a body in chunks.
fn http_server() -> (SocketAddr, Receiver<String>) {
    let (tell, told) = channel();
    let address = server(move |mut stream| {
        let mut asked = read_head(&mut stream);
        let mut body = [0; 4];
        if asked.starts_with("POST") {
            stream.read_exact(&mut body).unwrap();
            asked.push_str(&String::from_utf8_lossy(&body));
        }
        tell.send(asked).unwrap();
        let answer = "HTTP/1.1 200 OK\r\nkeep-alive: timeout=5\r\nconnection: x-inner\r\n\
            x-inner: 1\r\nx-outer: 2\r\ntransfer-encoding: chunked\r\n\r\n\
            5\r\nhello\r\n0\r\n\r\n";
        stream.write_all(answer.as_bytes()).unwrap();
    });
    (address, told)
}

#[test]
fn a_request_is_passed_on_without_what_is_meant_for_the_gateway() {
    let gateway = Gateway::start();
    let (address, told) = http_server();
    let to = format!("localhost:{}", address.port());
    let worker = gateway.worker(1, hosts(&[&to]));
    let answer = worker.ask(&format!(
        "POST http://{to}/a/b?c=d HTTP/1.1\r\nHost: evil.test\r\nContent-Length: 4\r\n\
         Proxy-Authorization: Basic abc\r\nProxy-Connection: close\r\nConnection: close, x-mine\r\n\
         X-Mine: 1\r\nX-Kept: 2\r\n\r\nbody"
    ));
    assert_eq!(status(&answer), 200, "{answer}");
    assert!(answer.contains("hello") && answer.contains("x-outer: 2"), "{answer}");
    assert!(!answer.contains("x-inner") && !answer.contains("keep-alive"), "{answer}");
    let asked = told.recv().unwrap().to_lowercase();
    assert!(asked.starts_with("post /a/b?c=d http/1.1\r\n"), "{asked}");
    assert!(asked.contains(&format!("host: {to}\r\n")) && asked.ends_with("body"), "{asked}");
    assert!(asked.contains("x-kept: 2"), "{asked}");
    for gone in ["evil", "proxy", "x-mine", "abc", "via"] {
        assert!(!asked.contains(gone), "{gone}: {asked}");
    }
}

#[test]
fn what_is_not_allowed_is_refused_as_for_connect() {
    let gateway = Gateway::start();
    let (address, _told) = http_server();
    let worker = gateway.worker(1, hosts(&["example.com", "gateway.test"]));
    let get = |url: &str| {
        worker.ask(&format!("GET {url} HTTP/1.1\r\nhost: example.com\r\nconnection: close\r\n\r\n"))
    };
    let refused = get(&format!("http://{address}/"));
    assert_eq!(status(&refused), 403, "{refused}");
    assert_eq!(gateway.told_of(&worker, "127.0.0.1")["port"], address.port().to_string());
    assert_eq!(status(&get("http://gateway.test/anything")), 204);
    assert_eq!(status(&get("https://example.com/")), 400);
    assert_eq!(status(&get("http://a@example.com/")), 400);
    assert_eq!(status(&get("/")), 404);
    // The address of its health is for itself.
    assert_eq!(status(&get("/healthz")), 404);
}

#[test]
fn two_requests_on_one_connection_are_judged_each() {
    let gateway = Gateway::start();
    let (address, told) = http_server();
    let to = format!("localhost:{}", address.port());
    let worker = gateway.worker(1, hosts(&[&to]));
    let answer = worker.ask(&format!(
        "GET http://{to}/1 HTTP/1.1\r\nhost: x\r\n\r\n\
         GET http://example.com/2 HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n\r\n"
    ));
    assert!(told.recv().unwrap().starts_with("GET /1 "));
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 403").count(), 1, "{answer}");
}

#[test]
fn requests_that_could_be_read_in_two_ways_are_not_passed_on() {
    let gateway = Gateway::start();
    let (address, told) = http_server();
    let to = format!("localhost:{}", address.port());
    let worker = gateway.worker(1, hosts(&[&to]));
    for headers in [
        "Content-Length: 4\r\nContent-Length: 5",
        "Content-Length: 4, 5",
        "Transfer-Encoding: chunked, identity",
        "Content-Length : 4",
        "Content-Length: +4",
    ] {
        let answer =
            worker.ask(&format!("POST http://{to}/ HTTP/1.1\r\nhost: x\r\n{headers}\r\n\r\nbody"));
        assert_eq!(status(&answer), 400, "{headers}: {answer}");
    }
    let long = "x".repeat(300_000);
    let mut stream = worker.to_http();
    // The gateway may end it before all is sent.
    let _ = write!(stream, "GET http://{to}/ HTTP/1.1\r\nhost: x\r\nx: {long}\r\n\r\n");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&answer));
    assert!(told.try_recv().is_err());
}
