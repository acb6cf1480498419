//! `worker-wrapper check ADDRESS`: whether Redis can be reached from here, for `worker-manager
//! doctor`. It says nothing but what anybody may, so that it needs no password.

use serde::Serialize;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// A firewall that drops what it does not like is as good as a no.
const PATIENCE: Duration = Duration::from_secs(3);

/// What was found, as JSON.
#[derive(Debug, Default, Serialize)]
struct Found {
    /// What the name means here.
    addresses: Vec<String>,
    /// The one that took the connection.
    connected: Option<String>,
    /// The first line of its answer.
    answer: Option<String>,
    /// Why there is no answer.
    error: Option<String>,
}

/// Looks, and tells. `address` is `host:port`.
#[must_use]
pub fn check(address: &str) -> String {
    let mut found = Found::default();
    if let Err(error) = look(address, &mut found) {
        found.error = Some(error.to_string());
    }
    serde_json::to_string(&found).unwrap_or_default()
}

fn look(address: &str, found: &mut Found) -> std::io::Result<()> {
    let addresses: Vec<SocketAddr> = address.to_socket_addrs()?.collect();
    found.addresses = addresses.iter().map(|address| address.ip().to_string()).collect();
    let mut last = None;
    for address in &addresses {
        match ask(address, found) {
            Ok(()) => return Ok(()),
            Err(error) => last = Some(error),
        }
    }
    last.map_or(Ok(()), Err)
}

fn ask(address: &SocketAddr, found: &mut Found) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(address, PATIENCE)?;
    found.connected = Some(address.to_string());
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"PING\r\n")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    found.answer = Some(line.trim_end().to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn an_answer_is_told_and_so_is_that_nobody_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"-NOAUTH Authentication required.\r\n").unwrap();
        });
        let told: serde_json::Value = serde_json::from_str(&check(&address)).unwrap();
        server.join().unwrap();
        assert_eq!(told["answer"], "-NOAUTH Authentication required.");
        assert_eq!(told["addresses"][0], "127.0.0.1");
        let told: serde_json::Value = serde_json::from_str(&check(&address)).unwrap();
        assert!(told["answer"].is_null() && told["error"].is_string(), "{told}");
    }
}
