//! The way to a host: its name judged, looked up once, its addresses judged, and one of them
//! connected to. Whoever answers for the name later can change nothing.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;

use crate::address::Ground;
use crate::guests::Guest;
use crate::host::{self, Allowed, Host};
use crate::surroundings;
use worker_protocol::gateway::Reach;

const LOOKUP_WITHIN: Duration = Duration::from_secs(10);
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 6;

/// Why there is no way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoWay {
    /// A rule forbids it.
    #[error("{0}")]
    Refused(String),
    /// The host cannot be reached.
    #[error("{0}")]
    Failed(String),
}

/// A host at a port, as a worker asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The host.
    pub host: Host,
    /// The port.
    pub port: u16,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host {
            Host::Address(address) => SocketAddr::new(address, self.port).fmt(f),
            Host::Name(ref name) => write!(f, "{name}:{}", self.port),
        }
    }
}

impl Target {
    /// Whether the worker may have it, as far as names go.
    ///
    /// # Errors
    /// When it may not.
    pub fn judge(&self, reach: &Reach) -> Result<Allowed, NoWay> {
        let refused = || NoWay::Refused("not in the worker's egress".to_owned());
        host::allowed(reach, &self.host, self.port).ok_or_else(refused)
    }
}

/// Connects to the target.
///
/// # Errors
/// When a rule forbids it, or it cannot be reached.
pub async fn open(
    target: &Target,
    reach: &Reach,
    ground: &Ground,
    guest: &Guest,
) -> Result<TcpStream, NoWay> {
    let way = target.judge(reach)?;
    let addresses = match &target.host {
        Host::Address(address) => vec![*address],
        Host::Name(name) => look_up(name, target.port, guest).await?,
    };
    let addresses = permitted(&addresses, target.port, way, ground)?;
    connect(target, &addresses).await
}

/// A name that leads to nothing but forbidden addresses is refused by the first of them; of others,
/// those that are permitted are used.
fn permitted(
    addresses: &[IpAddr],
    port: u16,
    way: Allowed,
    ground: &Ground,
) -> Result<Vec<IpAddr>, NoWay> {
    let beside = surroundings::beside();
    let mut refusal = None;
    let mut good = Vec::new();
    for address in addresses {
        match ground.refusal(*address, port, way, &beside) {
            None => good.push(*address),
            Some(reason) => refusal = refusal.or(Some(reason)),
        }
    }
    match refusal {
        Some(reason) if good.is_empty() => Err(NoWay::Refused(reason)),
        _ => Ok(good),
    }
}

async fn look_up(name: &str, port: u16, guest: &Guest) -> Result<Vec<IpAddr>, NoWay> {
    let unknown = |why: String| NoWay::Failed(format!("{name} cannot be looked up: {why}"));
    let _one_of_few = guest.lookups.acquire().await.map_err(|error| unknown(error.to_string()))?;
    let asked = tokio::time::timeout(LOOKUP_WITHIN, tokio::net::lookup_host((name, port)));
    let found = asked.await.map_err(|_| unknown("no answer".to_owned()))?;
    let found = found.map_err(|error| unknown(error.to_string()))?;
    Ok(found.map(|address| address.ip()).collect())
}

async fn connect(target: &Target, addresses: &[IpAddr]) -> Result<TcpStream, NoWay> {
    let mut failure = "it has no address".to_owned();
    for address in addresses.iter().take(MOST_ADDRESSES) {
        let connecting = TcpStream::connect((*address, target.port));
        match tokio::time::timeout(CONNECT_WITHIN, connecting).await {
            Ok(Ok(stream)) => {
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => failure = error.to_string(),
            Err(_) => failure = "no answer".to_owned(),
        }
    }
    Err(NoWay::Failed(format!("{target} cannot be reached: {failure}")))
}
