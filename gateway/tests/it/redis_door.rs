//! Redis through the gateway.

use redis::Connection;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::gateway::{Gateway, Worker, hosts};
use crate::redis_server::{ask, until};

/// A client of Redis that comes from the worker's network: the library cannot choose its own
/// address, so that a relay stands between.
fn client(worker: &Worker) -> redis::RedisResult<Connection> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let worker = worker.clone();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let through = worker.to_redis();
        let pass = |mut from: TcpStream, mut to: TcpStream| {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Write);
        };
        let (back, forth) = (stream.try_clone().unwrap(), through.try_clone().unwrap());
        std::thread::spawn(move || pass(through, back));
        pass(stream, forth);
    });
    redis::Client::open(("127.0.0.1", port)).unwrap().get_connection()
}

#[test]
fn a_worker_speaks_with_redis() {
    let gateway = Gateway::start();
    let worker = gateway.worker(1, hosts(&[]));
    let mut connection = client(&worker).unwrap();
    let large = "x".repeat(1_000_000);
    for round in 0..10 {
        let key = format!("k{round}");
        ask::<()>(&mut connection, &["SET", &key, &large]);
        assert_eq!(ask::<String>(&mut connection, &["GET", &key]), large);
    }
}

#[test]
fn a_stranger_does_not() {
    let gateway = Gateway::start();
    let mut stream = gateway.stranger(9).to_redis();
    stream.write_all(b"PING\r\n").unwrap();
    let mut said = Vec::new();
    // The end may come as a cut, since something was not read.
    let _ = stream.read_to_end(&mut said);
    let said = String::from_utf8(said).unwrap();
    assert!(!said.contains("PONG"), "{said}");
}

#[test]
fn a_worker_has_a_share_of_connections_to_redis() {
    let gateway = Gateway::start();
    let (greedy, other) = (gateway.worker(1, hosts(&[])), gateway.worker(9, hosts(&[])));
    let mut held: Vec<_> = (0..8).map(|_| client(&greedy).unwrap()).collect();
    let mut said = String::new();
    greedy.to_redis().read_to_string(&mut said).unwrap();
    assert!(said.starts_with("-ERR max number of clients"), "{said}");
    assert_eq!(ask::<String>(&mut client(&other).unwrap(), &["PING"]), "PONG");
    assert_eq!(ask::<String>(&mut held[7], &["PING"]), "PONG");
    drop(held);
    until("a place", || client(&greedy).ok());
}

#[test]
fn without_redis_connections_are_closed_and_what_is_known_holds() {
    let mut gateway = Gateway::start();
    let port = crate::gateway::echo().port();
    let to = format!("localhost:{port}");
    let known = gateway.worker(1, hosts(&[&to]));
    let new = gateway.worker(9, hosts(&[&to]));
    assert_eq!(known.tunnel_status(&to), 200);
    gateway.redis.kill();
    assert!(client(&known).is_err());
    assert_eq!(known.tunnel_status(&to), 200);
    assert_eq!(new.tunnel_status(&to), 503);
    gateway.redis.restart();
    gateway.allow_again();
    // It was emptied: whoever is not in it is nobody's any more.
    until("its answer", || (known.tunnel_status(&to) == 403).then_some(()));
    let again = gateway.worker(1, hosts(&[&to]));
    assert_eq!(again.tunnel_status(&to), 200);
    assert_eq!(ask::<String>(&mut client(&again).unwrap(), &["PING"]), "PONG");
}
