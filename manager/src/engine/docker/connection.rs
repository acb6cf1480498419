//! Reaching the daemon, and saying why it could not be reached.

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, Docker};
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::facts::{Builder, Mark};
use super::turn::Turns;
use crate::chain::chain;
use crate::engine::EngineError;

const DEFAULT_SOCKET: &str = "unix:///var/run/docker.sock";

/// For what a daemon answers from memory. It covers the wait for the answer's head.
const QUICK: Duration = Duration::from_secs(30);

/// For what it does with processes and file systems, on a busy host.
pub(super) const SLOW: Duration = Duration::from_secs(120);

/// A Docker daemon. It is reached when it is first needed, so that one that is away at start does
/// not keep the manager from starting. A copy speaks to the same daemon.
#[derive(Clone)]
pub struct DockerEngine {
    address: Address,
    builder: Builder,
    mark: Mark,
    /// Present once the API's version was agreed on.
    client: Arc<OnceLock<Docker>>,
    turns: Turns,
}

#[derive(Clone, Debug)]
pub(super) enum Address {
    Unix(String),
    Http(String),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(address) | Self::Http(address) => f.write_str(address),
        }
    }
}

impl fmt::Debug for DockerEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "docker at {}", self.address)
    }
}

impl DockerEngine {
    /// The daemon at `docker_host`, which means what `DOCKER_HOST` means everywhere; none is the
    /// machine's own. Images are made by `builder`.
    ///
    /// # Errors
    /// When that is no address. Whether a daemon answers there shows when it is used.
    pub fn connect(docker_host: Option<&str>, builder: Builder) -> Result<Self, EngineError> {
        let host = docker_host.filter(|host| !host.is_empty()).unwrap_or(DEFAULT_SOCKET);
        let address = if host.starts_with("unix://") {
            Address::Unix(host.to_owned())
        } else if host.starts_with("tcp://") || host.starts_with("http://") {
            Address::Http(host.to_owned())
        } else {
            return Err(EngineError::Refused {
                verb: "use",
                thing: format!("the address {host}"),
                reason: "DOCKER_HOST must begin with unix://, tcp:// or http://".to_owned(),
            });
        };
        Ok(Self {
            address,
            builder,
            mark: Mark::default(),
            client: Arc::default(),
            turns: Turns::default(),
        })
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    pub(super) fn turns(&self) -> &Turns {
        &self.turns
    }

    pub(super) fn wanted_builder(&self) -> Builder {
        self.builder
    }

    pub(super) fn mark(&self) -> &Mark {
        &self.mark
    }

    pub(super) fn set_mark(&mut self, mark: Mark) {
        self.mark = mark;
    }

    /// A client for what is answered quickly.
    pub(super) async fn client(&self) -> Result<Docker, EngineError> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        // Two may do this at once, which is harmless; waiting for one that hangs is not.
        let client = self.negotiate().await.map_err(|error| self.unavailable(&error))?;
        Ok(self.client.get_or_init(|| client).clone())
    }

    /// A client that waits longer for the head of an answer.
    pub(super) async fn patient_client(&self, patience: Duration) -> Result<Docker, EngineError> {
        Ok(self.client().await?.with_timeout(patience))
    }

    /// A client with connections of its own.
    pub(super) async fn negotiate(&self) -> Result<Docker, Error> {
        let seconds = QUICK.as_secs();
        let client = match &self.address {
            Address::Unix(path) => Docker::connect_with_unix(path, seconds, API_DEFAULT_VERSION),
            Address::Http(url) => Docker::connect_with_http(url, seconds, API_DEFAULT_VERSION),
        };
        client?.negotiate_version().await
    }

    /// What a failure means: the daemon said no, or nothing.
    pub(super) fn failed(
        &self,
        verb: &'static str,
        thing: impl fmt::Display,
        error: Error,
    ) -> EngineError {
        match error {
            Error::DockerResponseServerError { message: reason, .. }
            | Error::DockerStreamError { error: reason } => refused(verb, thing, reason),
            Error::JsonDataError { .. } | Error::JsonSerdeError { .. } => {
                refused(verb, thing, format!("its answer cannot be read: {error}"))
            }
            error => self.unavailable(&error),
        }
    }

    fn unavailable(&self, error: &Error) -> EngineError {
        let check = match self.address {
            Address::Unix(_) => "does the daemon run, and may this user open the socket?",
            Address::Http(_) => "does the daemon run and listen there?",
        };
        let reason = format!("{} ({}); {check}", self.address, chain(error));
        EngineError::Unavailable { reason }
    }
}

/// The daemon, or the manager in its name, says no.
pub(super) fn refused(
    verb: &'static str,
    thing: impl fmt::Display,
    reason: impl Into<String>,
) -> EngineError {
    EngineError::Refused { verb, thing: thing.to_string(), reason: reason.into() }
}

/// The HTTP status of an answer that was no success.
pub(super) fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// An answer with one of these HTTP statuses says that there is nothing left to do.
pub(super) fn unless<T>(statuses: &[u16], result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if status(&error).is_some_and(|status| statuses.contains(&status)) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_socket_or_a_port() {
        for host in [None, Some(""), Some("unix:///x.sock"), Some("tcp://h:2375"), Some("http://h")]
        {
            assert!(DockerEngine::connect(host, Builder::Auto).is_ok(), "{host:?}");
        }
        let error = DockerEngine::connect(Some("ssh://h"), Builder::Auto).unwrap_err().to_string();
        assert!(error.contains("ssh://h") && error.contains("DOCKER_HOST must"), "{error}");
    }
}
