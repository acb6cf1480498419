//! `worker-wrapper confined GATEWAY ADDRESS…`: whether a worker's network leads where it should and
//! nowhere else, for the manager before it starts workers. It is run as a worker would be.

use serde::Serialize;
use std::io::{BufRead, BufReader, Error, ErrorKind, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;
use worker_protocol::gateway::{HTTP_PORT, REDIS_PORT, SELF_TEST_HOST};

/// Neighbours of one machine answer in less than a millisecond.
const PATIENCE: Duration = Duration::from_millis(400);
/// The gateway may ask Redis first.
const GATEWAYS_PATIENCE: Duration = Duration::from_secs(3);
/// A name that nobody may reach: it is kept free for ever (RFC 6761).
const FORBIDDEN: &str = "forbidden.invalid:443";
/// Where the engine answers for names, and a server that everybody may ask.
const NAME_SERVERS: [&str; 2] = ["127.0.0.11:53", "8.8.8.8:53"];
/// A question for the address of example.com (RFC 1035, section 4).
const QUESTION: &[u8] =
    b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01";

/// What was found, as JSON.
#[derive(Debug, Default, Serialize)]
struct Found {
    /// What answered that should not, a refusal by the other end included.
    leaks: Vec<String>,
    /// The first line of what the gateway says to a host that is not allowed.
    forbidden: String,
    /// And to one that is.
    allowed: String,
    /// What Redis says to a PING through the gateway.
    redis: String,
}

/// Looks, and tells. All at the same time: what leads nowhere takes its time to say so.
#[must_use]
pub fn confined(gateway: &str, addresses: &[String]) -> String {
    let found = gateway.parse().map(|gateway| look(gateway, addresses));
    let found = found.unwrap_or_else(|_| Found {
        allowed: format!("{gateway} is no address"),
        ..Found::default()
    });
    serde_json::to_string(&found).unwrap_or_default()
}

fn look(gateway: IpAddr, addresses: &[String]) -> Found {
    let proxy = SocketAddr::new(gateway, HTTP_PORT);
    let redis = SocketAddr::new(gateway, REDIS_PORT);
    let allowed = format!("{SELF_TEST_HOST}:443");
    std::thread::scope(|scope| {
        let direct: Vec<_> =
            addresses.iter().map(|address| scope.spawn(move || reached(address))).collect();
        let names: Vec<_> =
            NAME_SERVERS.iter().map(|server| scope.spawn(move || answered(server))).collect();
        let forbidden = scope.spawn(move || connect(proxy, FORBIDDEN));
        let redis = scope.spawn(move || ask(redis, "PING\r\n"));
        let allowed = connect(proxy, &allowed);
        let leaks = direct.into_iter().chain(names).filter_map(|look| look.join().ok().flatten());
        Found {
            leaks: leaks.collect(),
            forbidden: forbidden.join().map(said).unwrap_or_default(),
            allowed: said(allowed),
            redis: redis.join().map(said).unwrap_or_default(),
        }
    })
}

fn said(answer: Result<String, Error>) -> String {
    answer.unwrap_or_else(|error| format!("no answer: {error}"))
}

/// A refusal comes from whoever has the address, so it is reached.
fn reached(address: &str) -> Option<String> {
    let Ok(to) = address.parse() else { return Some(format!("{address} is no address")) };
    match TcpStream::connect_timeout(&to, PATIENCE) {
        Ok(_) => Some(format!("{address} can be reached")),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            Some(format!("{address} can be reached, though it refuses"))
        }
        Err(_) => None,
    }
}

/// The fourth pair of bytes is the number of answers.
fn answered(server: &str) -> Option<String> {
    let mut reply = [0; 512];
    let asked = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.send_to(QUESTION, server)?;
        socket.recv(&mut reply)
    });
    let answers = u16::from_be_bytes([reply[6], reply[7]]);
    (asked.is_ok() && answers > 0).then(|| format!("{server} answers for names"))
}

fn connect(proxy: SocketAddr, host: &str) -> Result<String, Error> {
    ask(proxy, &format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
}

fn ask(to: SocketAddr, question: &str) -> Result<String, Error> {
    let mut stream = TcpStream::connect_timeout(&to, GATEWAYS_PATIENCE)?;
    stream.set_read_timeout(Some(GATEWAYS_PATIENCE))?;
    stream.write_all(question.as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn whoever_answers_or_refuses_is_reached() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        assert!(reached(&address).is_some());
        drop(listener);
        assert!(reached(&address).unwrap().contains("refuses"));
        assert!(reached("nonsense").unwrap().contains("no address"));
    }

    #[test]
    fn a_server_that_answers_for_names_is_told_and_one_that_only_refuses_is_not() {
        for (answers, told) in [(1, true), (0, false)] {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let address = socket.local_addr().unwrap().to_string();
            let server = std::thread::spawn(move || {
                let mut question = [0; 512];
                let (length, from) = socket.recv_from(&mut question).unwrap();
                question[7] = answers;
                socket.send_to(&question[..length], from).unwrap();
            });
            assert_eq!(answered(&address).is_some(), told);
            server.join().unwrap();
        }
    }
}
