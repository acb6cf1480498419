//! Where workers get, and where not.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::process::Command;

use worker_protocol::gateway::Reach;

use crate::gateway::{Gateway, connect, echo, hosts, status};

fn says_back(mut stream: TcpStream) -> bool {
    stream.write_all(b"hello").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).unwrap();
    heard == "hello"
}

#[test]
fn a_named_host_is_reached_and_bytes_go_both_ways() {
    let gateway = Gateway::start();
    let port = echo().port();
    let worker = gateway.worker(1, hosts(&[&format!("localhost:{port}")]));
    for to in ["localhost", "LOCALHOST", "localhost."] {
        let (stream, head) = worker.tunnel(&format!("{to}:{port}"));
        assert_eq!(status(&head), 200, "{head}");
        assert!(says_back(stream), "{to}");
    }
    assert_eq!(gateway.told(&worker), []);
}

#[test]
fn what_is_not_named_is_refused_and_told() {
    let gateway = Gateway::start();
    let port = echo().port();
    let worker = gateway.worker(1, hosts(&["example.com", "*.example.org"]));
    for (to, host) in [
        (format!("localhost:{port}"), "localhost"),
        (format!("127.0.0.1:{port}"), "127.0.0.1"),
        ("example.com:22".to_owned(), "example.com"),
        ("example.com.evil.test:443".to_owned(), "example.com.evil.test"),
        ("example.org:443".to_owned(), "example.org"),
        ("[::1]:443".to_owned(), "::1"),
    ] {
        let (_, answer) = worker.tunnel(&to);
        assert_eq!(status(&answer), 403, "{answer}");
        assert!(answer.contains(&to) && answer.contains("not in the worker's egress"), "{answer}");
        let told = gateway.told_of(&worker, host);
        assert_eq!(told["reason"], "not in the worker's egress");
        assert!(to.ends_with(&format!(":{}", told["port"])), "{told:?}");
        assert_eq!(told["times"], "1");
    }
}

#[test]
fn a_worker_without_hosts_reaches_nothing() {
    let gateway = Gateway::start();
    let worker = gateway.worker(1, hosts(&[]));
    for to in ["example.com:443", "gateway.test:80", "127.0.0.1:1"] {
        assert_eq!(worker.tunnel_status(to), 403, "{to}");
    }
}

/// As if a name server had been changed after the name was allowed.
#[test]
fn a_name_that_leads_to_a_private_address_is_refused() {
    let gateway = Gateway::start_with(|boot| boot.private.clear());
    let port = echo().port();
    let worker = gateway.worker(1, hosts(&[&format!("localhost:{port}")]));
    let (_, answer) = worker.tunnel(&format!("localhost:{port}"));
    assert_eq!(status(&answer), 403, "{answer}");
    let reason = &gateway.told_of(&worker, "localhost")["reason"];
    assert!(["loopback address 127.0.0.1", "loopback address ::1"].contains(&reason.as_str()));
}

#[test]
fn addresses_that_are_not_public_are_refused_also_by_name_of_them() {
    let gateway = Gateway::start_with(|boot| {
        boot.refused = ["198.20.0.1".parse().unwrap()].into();
        boot.private.clear();
    });
    let all = [
        ("127.0.0.1", "loopback address 127.0.0.1"),
        ("10.213.0.3", "private address 10.213.0.3"),
        ("169.254.169.254", "metadata address 169.254.169.254"),
        ("[fd00:ec2::254]", "metadata address fd00:ec2::254"),
        ("[::ffff:10.0.0.1]", "private address 10.0.0.1"),
        ("198.20.0.1", "address of the host 198.20.0.1"),
        ("0.0.0.0", "address of this network 0.0.0.0"),
    ];
    let named = gateway.worker(1, hosts(&all.map(|(address, _)| address)));
    let open = gateway.worker(9, Reach::Open);
    for (address, reason) in all {
        for worker in [&named, &open] {
            let (_, answer) = worker.tunnel(&format!("{address}:443"));
            assert_eq!(status(&answer), 403, "{answer}");
            assert!(answer.contains(reason), "{answer}");
        }
    }
}

#[test]
fn addresses_in_odd_notations_are_no_hosts() {
    let gateway = Gateway::start();
    let open = gateway.worker(1, Reach::Open);
    for to in ["127.1:80", "2130706433:80", "0x7f000001:80", "a@localhost:80", "localhost", ":80"] {
        assert_eq!(open.tunnel_status(to), 400, "{to}");
    }
}

#[test]
fn open_means_public_hosts_only() {
    let gateway = Gateway::start();
    let port = echo().port();
    let open = gateway.worker(1, Reach::Open);
    assert_eq!(open.tunnel_status("gateway.test:443"), 204);
    // A name that leads nowhere is no refusal.
    assert_eq!(open.tunnel_status("nothing.invalid:443"), 502);
    assert_eq!(open.tunnel_status(&format!("localhost:{port}")), 403);
    assert_eq!(open.tunnel_status(&format!("127.0.0.1:{port}")), 403);
}

#[test]
fn the_self_test_is_for_those_who_may_have_it() {
    let gateway = Gateway::start();
    let named = gateway.worker(1, hosts(&["gateway.test"]));
    let other = gateway.worker(9, hosts(&["example.com"]));
    assert_eq!(named.tunnel_status("gateway.test:80"), 204);
    assert_eq!(named.tunnel_status("gateway.test:22"), 403);
    assert_eq!(other.tunnel_status("gateway.test:80"), 403);
}

#[test]
fn who_is_on_no_workers_network_gets_nothing() {
    let gateway = Gateway::start();
    let port = echo().port();
    let known = gateway.worker(1, hosts(&[&format!("localhost:{port}")]));
    let stranger = gateway.stranger(9);
    assert_eq!(stranger.tunnel_status(&format!("localhost:{port}")), 403);
    // From one network to the gateway's address on another.
    let (from, to) = (Ipv4Addr::new(127, 0, 1, 3), Ipv4Addr::new(127, 0, 9, 2));
    let mut astray = connect(from, SocketAddr::from((to, gateway.http_port())));
    write!(astray, "CONNECT localhost:{port} HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    astray.read_to_string(&mut answer).unwrap();
    assert_eq!(status(&answer), 403, "{answer}");
    // And the known one, once it is deleted.
    assert_eq!(known.tunnel_status(&format!("localhost:{port}")), 200);
    gateway.forget(&known);
    assert_eq!(known.tunnel_status(&format!("localhost:{port}")), 403);
}

#[test]
fn a_worker_has_a_share_of_connections_and_others_go_on() {
    let gateway = Gateway::start();
    let port = echo().port();
    let egress = hosts(&[&format!("localhost:{port}")]);
    let (greedy, other) = (gateway.worker(1, egress.clone()), gateway.worker(9, egress));
    let held: Vec<_> = (0..256).map(|_| greedy.to_http()).collect();
    let refused = greedy.ask("");
    assert_eq!(status(&refused), 503, "{refused}");
    assert_eq!(other.tunnel_status(&format!("localhost:{port}")), 200);
    drop(held);
    let again = || (greedy.tunnel_status(&format!("localhost:{port}")) == 200).then_some(());
    crate::redis_server::until("a place", again);
}

#[test]
fn its_health_is_told_to_its_own_machine_only() {
    let mut gateway = Gateway::start();
    let port = gateway.http_port();
    let check = |address: &str| {
        let address = format!("{address}:{port}");
        let mut program = Command::new(env!("CARGO_BIN_EXE_worker-gateway"));
        program.args(["--check", &address]).status().unwrap().code()
    };
    assert_eq!(check("127.0.0.1"), Some(0));
    assert_eq!(check("127.0.0.2"), Some(1));
    gateway.redis.kill();
    assert_eq!(check("127.0.0.1"), Some(0));
    let worker = gateway.stranger(1);
    let answer = worker.ask("GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert_eq!(status(&answer), 503, "{answer}");
}

#[test]
fn it_ends_when_it_is_told_to() {
    let mut gateway = Gateway::start();
    gateway.signal("-TERM");
    assert_eq!(gateway.ended().code(), Some(0));
}

#[test]
fn a_wrong_document_is_told_without_its_text() {
    let mut process = Command::new(env!("CARGO_BIN_EXE_worker-gateway"));
    let piped = std::process::Stdio::piped;
    let mut process = process.stdin(piped()).stderr(piped()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(br#"{"redis": "hunter2"}"#).unwrap();
    let output = process.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(said.contains("line 1") && !said.contains("hunter2"), "{said}");
}
