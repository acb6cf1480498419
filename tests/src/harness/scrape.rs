//! What a supervisor and Prometheus ask of a manager, by plain HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A manager gives up on Redis and the engine after two seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Clone, Debug)]
pub struct Page {
    /// The status.
    pub status: u16,
    /// What came with it.
    pub body: String,
}

impl Page {
    /// Asks the server at `address` for `path`; none, when nobody answers.
    pub fn get(address: &str, path: &str) -> Option<Self> {
        let mut stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Self { status, body: body.to_owned() })
    }

    /// The body, read as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// The sum of the samples of this name that have all of these labels, each as `name="value"`.
    pub fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let samples = self.body.lines().filter(|line| !line.starts_with('#'));
        let values = samples.filter_map(|line| {
            let (sample, value) = line.rsplit_once(' ')?;
            let (its_name, its_labels) = sample.split_once('{').unwrap_or((sample, ""));
            let fits = its_name == name && labels.iter().all(|label| its_labels.contains(label));
            fits.then(|| value.parse::<f64>().ok())?
        });
        values.sum()
    }
}
