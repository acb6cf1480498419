//! The URL of a Redis.

use percent_encoding::percent_decode_str;
use std::fmt;
use worker_protocol::Secret;

use crate::error::LinkError;

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// A host and its port, or a socket of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// A name, an address without brackets, or the whole path of a socket.
    pub name: String,
    /// The port; 0 of a socket.
    pub port: u16,
}

impl Host {
    /// Whether it is a socket of this machine.
    #[must_use]
    pub fn is_socket(&self) -> bool {
        self.name.starts_with('/')
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            path if self.is_socket() => f.write_str(path),
            name if name.contains(':') => write!(f, "[{name}]:{}", self.port),
            name => write!(f, "{name}:{}", self.port),
        }
    }
}

/// What stands at the hosts of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// Redis itself.
    Direct,
    /// Sentinels, which know the address of the master of this name.
    Sentinel(String),
    /// Nodes of a cluster, each of which knows the others.
    Cluster,
}

/// Where Redis is, as a URL says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// What stands at the hosts.
    pub way: Way,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// At least one.
    pub hosts: Vec<Host>,
    /// The database; 0 in a cluster.
    pub database: i64,
}

/// The parts of a URL.
struct Parts<'a> {
    scheme: &'a str,
    credentials: Option<&'a str>,
    hosts: &'a str,
    path: &'a str,
}

impl<'a> Parts<'a> {
    fn of(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        // A password may hold a slash; a host and a path hold no `@`.
        let (credentials, rest) = match rest.rsplit_once('@') {
            Some((credentials, rest)) => (Some(credentials), rest),
            None => (None, rest),
        };
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        Some(Self { scheme, credentials, hosts, path })
    }
}

impl Address {
    /// Reads a URL without credentials: `redis://host:6379/0`, `rediss://…` with TLS,
    /// `redis+sentinel://host:26379,host/name/0`, `redis+cluster://host:6379,host`, and `rediss+…`;
    /// `redis+unix:///a/path` for a socket of this machine.
    ///
    /// # Errors
    /// When it is none of these. The URL itself is not told: it may hold a password.
    pub fn parse(url: &str) -> Result<Self, LinkError> {
        let parts = Parts::of(url).ok_or(LinkError::Url("it must begin with `redis://`"))?;
        if parts.credentials.is_some() {
            return Err(LinkError::Url("this one must have no credentials"));
        }
        let (tls, kind) = match parts.scheme.split_once('+').unwrap_or((parts.scheme, "")) {
            ("redis", kind) => (false, kind),
            ("rediss", kind) => (true, kind),
            _ => return Err(LinkError::Url("it must begin with `redis` or `rediss`")),
        };
        if kind == "unix" && !tls && parts.hosts.is_empty() && !parts.path.is_empty() {
            let socket = Host { name: format!("/{}", parts.path), port: 0 };
            return Ok(Self { way: Way::Direct, tls, hosts: vec![socket], database: 0 });
        }
        let (first, second) = parts.path.split_once('/').unwrap_or((parts.path, ""));
        let (way, database, port) = match kind {
            "" if second.is_empty() => (Way::Direct, first, REDIS_PORT),
            "sentinel" if first.is_empty() => {
                return Err(LinkError::Url("after the sentinels, `/` and the master's name"));
            }
            "sentinel" => (Way::Sentinel(first.to_owned()), second, SENTINEL_PORT),
            "cluster" if matches!(parts.path, "" | "0") => (Way::Cluster, "", REDIS_PORT),
            "cluster" => return Err(LinkError::Url("a cluster has no databases")),
            _ => return Err(LinkError::Url("after the host, nothing but `/` and a number")),
        };
        let hosts: Option<Vec<_>> = parts.hosts.split(',').map(|text| host(text, port)).collect();
        let hosts =
            hosts.ok_or(LinkError::Url("each host must be a name or an address, with a port"))?;
        if way == Way::Direct && hosts.len() > 1 {
            return Err(LinkError::Url("several hosts need `redis+sentinel` or `redis+cluster`"));
        }
        Ok(Self { way, tls, hosts, database: number(database)? })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<_> = self.hosts.iter().map(Host::to_string).collect();
        let hosts = hosts.join(",");
        match &self.way {
            Way::Direct => f.write_str(&hosts),
            Way::Sentinel(name) => write!(f, "the master {name} of the sentinels {hosts}"),
            Way::Cluster => write!(f, "the cluster {hosts}"),
        }
    }
}

fn number(database: &str) -> Result<i64, LinkError> {
    match database {
        "" => Ok(0),
        _ if database.bytes().all(|byte| byte.is_ascii_digit()) => {
            database.parse().map_err(|_| LinkError::Url("the database's number is too large"))
        }
        _ => Err(LinkError::Url("the database must be a number")),
    }
}

fn host(text: &str, default: u16) -> Option<Host> {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (name, port) = rest.split_once(']')?;
            (name, port.strip_prefix(':').map_or(port.is_empty().then_some(""), Some)?)
        }
        None => text.split_once(':').unwrap_or((text, "")),
    };
    let port = if port.is_empty() { default } else { port.parse().ok()? };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:%".contains(&byte);
    let fits = !name.is_empty() && name.bytes().all(plain);
    fits.then(|| Host { name: name.to_owned(), port })
}

/// A URL without what opens it, and what opens it: the user, and the password.
///
/// # Errors
/// When it has no `://`, or its credentials are not UTF-8.
pub fn without_credentials(
    url: &str,
) -> Result<(String, Option<String>, Option<Secret>), LinkError> {
    let parts = Parts::of(url).ok_or(LinkError::Url("it must begin with `redis://`"))?;
    let (user, password) = match parts.credentials.map(|text| text.split_once(':')) {
        None => (None, None),
        Some(Some((user, password))) => (Some(user), Some(password)),
        Some(None) => (parts.credentials, None),
    };
    let decoded = |text: Option<&str>| match text {
        None | Some("") => Ok(None),
        Some(text) => percent_decode_str(text).decode_utf8().map(|text| Some(text.into_owned())),
    };
    let decoded =
        |text| decoded(text).map_err(|_| LinkError::Url("user and password must be text"));
    let slash = if parts.path.is_empty() { "" } else { "/" };
    let url = format!("{}://{}{slash}{}", parts.scheme, parts.hosts, parts.path);
    Ok((url, decoded(user)?, decoded(password)?.map(Secret::new)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(url: &str) -> String {
        match Address::parse(url) {
            Ok(address) => format!("{address} {} {}", address.database, address.tls),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn urls_are_read() {
        let table = [
            ("redis://localhost", "localhost:6379 0 false"),
            ("redis://10.0.0.1:6380/2", "10.0.0.1:6380 2 false"),
            ("rediss://redis.example/0", "redis.example:6379 0 true"),
            ("redis://[::1]:7000/", "[::1]:7000 0 false"),
            ("redis://[::1]", "[::1]:6379 0 false"),
            ("redis+unix:///run/redis.sock", "/run/redis.sock 0 false"),
            (
                "redis+sentinel://a,b:26380/main/3",
                "the master main of the sentinels a:26379,b:26380 3 false",
            ),
            ("rediss+sentinel://a/main", "the master main of the sentinels a:26379 0 true"),
            ("rediss+cluster://a,b:7001", "the cluster a:6379,b:7001 0 true"),
            ("redis+cluster://a/0", "the cluster a:6379 0 false"),
        ];
        for (url, expected) in table {
            assert_eq!(told(url), expected, "{url}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_without_being_told() {
        let bad = [
            "localhost",
            "http://a",
            "redis://",
            "redis://a/x",
            "redis://a/1/2",
            "redis://a,b",
            "redis://a:port",
            "redis://u:hunter2@a",
            "redis+sentinel://a",
            "redis+cluster://a/1",
            "redis+unix://a",
            "redis://[::1",
            "redis://a?x=1",
            "redis://a/99999999999999999999",
        ];
        for url in bad {
            let error = Address::parse(url).unwrap_err();
            assert!(!error.to_string().contains("hunter2") && matches!(error, LinkError::Url(_)));
        }
    }

    #[test]
    fn credentials_are_taken_out_and_decoded() {
        let taken = |url: &str| {
            let (url, user, password) = without_credentials(url).unwrap();
            (url, user, password.map(|password| password.reveal().to_owned()))
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(taken("redis://a:1/2"), ("redis://a:1/2".to_owned(), None, None));
        assert_eq!(taken("rediss://:p%2F@a"), ("rediss://a".to_owned(), None, text("p/")));
        assert_eq!(
            taken("redis+sentinel://me:a/b@c@x,y/main"),
            ("redis+sentinel://x,y/main".to_owned(), text("me"), text("a/b@c"))
        );
        assert!(without_credentials("redis://:%ff@a").is_err());
    }
}
