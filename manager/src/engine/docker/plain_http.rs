//! One question to the daemon without bollard, which reads answers in the newest API's shape only.

use bollard::errors::Error;
use serde::de::DeserializeOwned;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use url::Url;

use super::connection::{Address, DockerEngine, SLOW, refused};
use crate::engine::EngineError;

/// More than a daemon has to say of thousands of images and records.
const LONGEST_ANSWER: u64 = 64 << 20;

impl DockerEngine {
    /// The answer to `GET path`, with the API's version at its beginning.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, EngineError> {
        let asked = match self.address() {
            Address::Unix(address) => {
                let path_of_socket = address.trim_start_matches("unix://");
                timeout(SLOW, over(UnixStream::connect(path_of_socket), path)).await
            }
            Address::Http(address) => timeout(SLOW, over(connect(address), path)).await,
        };
        let answer = asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let answer = answer.map_err(|error| self.failed("answer", path, Error::from(error)))?;
        let body = body(&answer).map_err(|reason| refused("answer", path, reason))?;
        serde_json::from_slice(body)
            .map_err(|error| refused("answer", path, format!("its answer cannot be read: {error}")))
    }
}

async fn connect(address: &str) -> io::Result<TcpStream> {
    // As an address of Docker it has a scheme of its own, without a default port.
    let url = Url::parse(&address.replacen("tcp://", "http://", 1)).map_err(io::Error::other)?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    TcpStream::connect((host, url.port_or_known_default().unwrap_or_default())).await
}

/// In HTTP 1.0 an answer has no pieces, and ends with the connection.
async fn over<S: AsyncRead + AsyncWrite + Unpin>(
    connecting: impl Future<Output = io::Result<S>>,
    path: &str,
) -> io::Result<Vec<u8>> {
    let mut stream = connecting.await?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(LONGEST_ANSWER).read_to_end(&mut answer).await?;
    Ok(answer)
}

fn body(answer: &[u8]) -> Result<&[u8], String> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let (head, body) = answer.split_at(end.ok_or("its answer has no end of its head")? + 4);
    let head = String::from_utf8_lossy(head);
    match head.split_whitespace().nth(1) {
        Some("200") => Ok(body),
        status => {
            Err(format!("status {}: {}", status.unwrap_or("?"), String::from_utf8_lossy(body)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_good_answer_has_a_body() {
        assert_eq!(body(b"HTTP/1.0 200 OK\r\nA: b\r\n\r\n{}"), Ok(&b"{}"[..]));
        let error = body(b"HTTP/1.0 404 Not Found\r\n\r\nno such page").unwrap_err();
        assert_eq!(error, "status 404: no such page");
        assert!(body(b"HTTP/1.0 200 OK\r\n").is_err());
    }
}
