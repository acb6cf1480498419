//! What was wrong, and what to change.

use redis::{ErrorKind, RedisError};
use std::io;

/// What a server that speaks TLS and hangs up may want.
const CLIENTS: &str = "it hung up; it may want a certificate, or another one: `redis_cert` and \
                       `redis_key`";

/// Why there is no connection to Redis.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The URL is none. It is not told, since it may hold a password.
    #[error("`redis_url` (REDIS_URL) cannot be understood: {0}")]
    Url(&'static str),
    /// Certificates or a key cannot be used.
    #[error("`{key}` cannot be used: {reason}")]
    Pem {
        /// The key in the configuration.
        key: &'static str,
        /// Why.
        reason: String,
    },
    /// Nothing is there, or it cannot be reached.
    #[error("{address} cannot be reached")]
    Unreachable {
        /// Host and port.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No TLS came about.
    #[error("failed to agree with {address} on TLS: {hint}")]
    Tls {
        /// Host and port.
        address: String,
        /// What to change.
        hint: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It does not let this user in.
    #[error("{address} does not let {user} in: {hint}")]
    Denied {
        /// Host and port.
        address: String,
        /// The user's name, or that there is none.
        user: String,
        /// What to change.
        hint: &'static str,
        /// What it said.
        #[source]
        source: RedisError,
    },
    /// It answered something else than it should.
    #[error("{address} did not answer as it should")]
    Odd {
        /// Host and port.
        address: String,
        /// What it said.
        #[source]
        source: RedisError,
    },
    /// A sentinel does not know the name.
    #[error(
        "the sentinel {address} knows no master `{name}`: correct the name in `redis_url` (REDIS_URL)"
    )]
    NoSuchMaster {
        /// Host and port.
        address: String,
        /// The name.
        name: String,
    },
    /// What sentinels call the master is none, as for a moment after a failover.
    #[error("{address} is not the master")]
    NotMaster {
        /// Host and port.
        address: String,
    },
    /// A node of a cluster knows no owner of the keys' slot.
    #[error("{address} knows no node of its cluster for slot {slot}")]
    NoOwner {
        /// Host and port.
        address: String,
        /// The slot.
        slot: u16,
    },
    /// It took too long.
    #[error("{address} did not answer for {seconds} s")]
    Late {
        /// Host and port, or all that were tried.
        address: String,
        /// For how long.
        seconds: u64,
    },
}

impl LinkError {
    /// Sorts what a server said when a connection began.
    pub(crate) fn opening(address: String, user: Option<&str>, source: RedisError) -> Self {
        let hint = match source.code() {
            Some("NOAUTH") => "it asks for a password: `redis_password_file` or `redis_url`",
            Some("DENIED") => "it is in protected mode, and wants a password or a `bind`",
            Some("NOPERM") => "the user lacks rights that the documentation lists",
            _ if source.kind() == ErrorKind::AuthenticationFailed => {
                "correct user or password, in `redis_password_file` or `redis_url`"
            }
            _ => return Self::Odd { address, source },
        };
        let user = user.map_or_else(|| "a nameless user".to_owned(), |user| format!("`{user}`"));
        Self::Denied { address, user, hint, source }
    }

    /// A server that speaks TLS ends the connection at once.
    pub(crate) fn hung_up(address: String, source: RedisError) -> Self {
        Self::Tls { address, hint: CLIENTS, source: io::Error::other(source) }
    }

    /// Sorts why there is no TLS.
    pub(crate) fn handshake(address: String, source: io::Error) -> Self {
        use rustls::{CertificateError as Bad, Error};
        let inner = source.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        let hint = match inner {
            Some(Error::InvalidCertificate(bad)) => match bad {
                Bad::UnknownIssuer | Bad::BadSignature => {
                    "nobody that is trusted vouches for its certificate; `redis_ca` names who does"
                }
                Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
                    "its certificate is for another name; `redis_url` must have one that it is for"
                }
                Bad::Expired | Bad::ExpiredContext { .. } => {
                    "its certificate has expired; renew it, and restart that Redis"
                }
                Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
                    "its certificate is not valid yet; compare the clocks"
                }
                _ => "its certificate cannot be accepted",
            },
            Some(Error::AlertReceived(_)) => CLIENTS,
            _ => "is this its port for TLS? `redis://` is without",
        };
        Self::Tls { address, hint, source }
    }
}
