//! The way to Redis as it is at the moment.

use redis::aio::MultiplexedConnection;
use redis::io::tcp::socket2::{SockRef, TcpKeepalive};
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisResult};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use worker_protocol::Secret;
use worker_protocol::gateway::RedisTarget;

use crate::address::{Address, Host, Way};
use crate::connection::{Connection, Stream};
use crate::error::LinkError;
use crate::find::{self, slot};
use crate::tls::Tls;

/// All of it, from the first sentinel to the first answer of Redis.
const CONNECT: Duration = Duration::from_secs(5);
/// One sentinel or node, before the next one is asked.
const ASK: Duration = Duration::from_secs(1);
/// Unacknowledged bytes for so long mean that the peer is gone.
const HALF_OPEN: Duration = Duration::from_secs(30);
/// A connection that says nothing is asked for a sign of life after this time.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Nodes of a cluster that are remembered; a cluster has 1000 at most, and three tell where the
/// others are.
const REMEMBERED: usize = 32;

/// Makes connections to one Redis, each to whoever is its master by then.
#[derive(Clone)]
pub struct Link {
    address: Address,
    tls: Option<Tls>,
    user: RedisConnectionInfo,
    /// As whom sentinels are asked.
    asker: RedisConnectionInfo,
    hash_tag: Option<String>,
    /// Sentinels, or nodes of the cluster: the one that answered last comes first.
    known: Arc<Mutex<Vec<Host>>>,
}

impl Link {
    /// Prepares connections; none is made yet.
    ///
    /// # Errors
    /// When the URL, a certificate or a key is none.
    pub fn new(target: &RedisTarget) -> Result<Self, LinkError> {
        let address = Address::parse(&target.url)?;
        let user = info(target.username.as_deref(), target.password.as_ref());
        let sentinel_user = target.sentinel_username.as_deref();
        let in_a_cluster = address.way == Way::Cluster;
        Ok(Self {
            tls: address.tls.then(|| Tls::new(target)).transpose()?,
            user: user.set_db(address.database),
            asker: info(sentinel_user, target.sentinel_password.as_ref()),
            hash_tag: target.hash_tag.clone().filter(|_| in_a_cluster),
            known: Arc::new(Mutex::new(address.hosts.clone())),
            address,
        })
    }

    /// Where Redis is, for people: without secrets.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Bytes to the Redis that takes writes: TLS is done, nobody has said who he is.
    ///
    /// # Errors
    /// When it cannot be found or reached within 5 s.
    pub async fn dial(&self) -> Result<Stream, LinkError> {
        let found = async { self.open(&self.find().await?).await };
        self.in_time(found).await
    }

    /// A connection as the target's user to the Redis that takes writes.
    ///
    /// # Errors
    /// When it cannot be found or reached within 5 s, does not let the user in, or is no master.
    pub async fn connect(&self, config: &AsyncConnectionConfig) -> Result<Connection, LinkError> {
        let found = async {
            let host = self.find().await?;
            let mut connection = self.enter(&host, &self.user, config).await?;
            let opening = |error| self.denied(&host, &self.user, error);
            // Whoever needs a password says so at the first command.
            redis::cmd("PING").exec_async(&mut connection).await.map_err(opening)?;
            let by_hearsay = matches!(self.address.way, Way::Sentinel(_));
            if by_hearsay && !find::is_current(&mut connection, None).await.map_err(opening)? {
                return Err(LinkError::NotMaster { address: host.to_string() });
            }
            Ok(connection)
        };
        self.in_time(found).await
    }

    /// Whether a connection still leads to the Redis that takes writes: after a failover, an old
    /// master answers as before, and refuses them.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn is_current(&self, connection: &mut Connection) -> RedisResult<bool> {
        find::is_current(connection, self.hash_tag.as_deref()).await
    }

    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, LinkError>>,
    ) -> Result<T, LinkError> {
        let late =
            |_| LinkError::Late { address: self.address.to_string(), seconds: CONNECT.as_secs() };
        timeout(CONNECT, work).await.map_err(late)?
    }

    /// The Redis that takes writes, as those say who know: the first of them that answers.
    async fn find(&self) -> Result<Host, LinkError> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if self.address.way == Way::Direct {
            return known.into_iter().next().ok_or(LinkError::Url("it has no host"));
        }
        let mut failure = None;
        for host in known {
            let late = |_| LinkError::Late { address: host.to_string(), seconds: ASK.as_secs() };
            match timeout(ASK, self.ask(&host)).await.map_err(late).flatten() {
                Ok(found) => return Ok(found),
                Err(error) => failure = Some(worse(failure, error)),
            }
        }
        Err(failure.unwrap_or(LinkError::Url("it has no host")))
    }

    async fn ask(&self, host: &Host) -> Result<Host, LinkError> {
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(ASK));
        match &self.address.way {
            Way::Direct => Ok(host.clone()),
            Way::Sentinel(name) => {
                let mut sentinel = self.enter(host, &self.asker, &config).await?;
                let told = find::master(&mut sentinel, name).await;
                let told = told.map_err(|error| self.denied(host, &self.asker, error))?;
                let unknown =
                    || LinkError::NoSuchMaster { address: host.to_string(), name: name.clone() };
                let found = told.ok_or_else(unknown)?;
                self.learn(host, Vec::new());
                Ok(found)
            }
            Way::Cluster => {
                let slot = slot(self.hash_tag.as_deref().unwrap_or_default());
                let mut node = self.enter(host, &self.user, &config).await?;
                let told = find::nodes(&mut node, host, slot).await;
                let told = told.map_err(|error| self.denied(host, &self.user, error))?;
                let unknown = || LinkError::NoOwner { address: host.to_string(), slot };
                let owner = told.owner.ok_or_else(unknown)?;
                self.learn(&owner, told.all);
                Ok(owner)
            }
        }
    }

    /// Whom to ask next time: this one first, then the others, those of the URL among them.
    fn learn(&self, first: &Host, others: Vec<Host>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = vec![first.clone()];
        for host in others.iter().chain(&*known).chain(&self.address.hosts) {
            if !all.contains(host) {
                all.push(host.clone());
            }
        }
        all.truncate(REMEMBERED.max(self.address.hosts.len()));
        *known = all;
    }

    async fn enter(
        &self,
        host: &Host,
        user: &RedisConnectionInfo,
        config: &AsyncConnectionConfig,
    ) -> Result<Connection, LinkError> {
        let stream = self.open(host).await?;
        let opened = MultiplexedConnection::new_with_config(user, stream, config.clone()).await;
        let (connection, driver) = opened.map_err(|error| self.denied(host, user, error))?;
        Ok(Connection::new(connection, driver))
    }

    async fn open(&self, host: &Host) -> Result<Stream, LinkError> {
        let unreachable = |source| LinkError::Unreachable { address: host.to_string(), source };
        if host.is_socket() {
            return Ok(Box::new(UnixStream::connect(&host.name).await.map_err(unreachable)?));
        }
        let stream = connect_tcp(host).await.map_err(unreachable)?;
        match &self.tls {
            None => Ok(Box::new(stream)),
            Some(tls) => Ok(Box::new(tls.begin(host, stream).await?)),
        }
    }

    fn denied(
        &self,
        host: &Host,
        user: &RedisConnectionInfo,
        error: redis::RedisError,
    ) -> LinkError {
        // In TLS 1.3, a server looks at the client's certificate when the client believes to be in.
        if self.tls.is_some() && error.is_io_error() && !error.is_timeout() {
            return LinkError::hung_up(host.to_string(), error);
        }
        LinkError::opening(host.to_string(), user.username(), error)
    }
}

async fn connect_tcp(host: &Host) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect((host.name.as_str(), host.port)).await?;
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(HALF_OPEN))?;
    Ok(stream)
}

fn info(user: Option<&str>, password: Option<&Secret>) -> RedisConnectionInfo {
    let mut info = RedisConnectionInfo::default().set_skip_set_lib_name();
    if let Some(user) = user {
        info = info.set_username(user);
    }
    if let Some(password) = password {
        info = info.set_password(password.reveal());
    }
    info
}

/// Which of two failures says more: that somebody is not there says the least.
fn worse(one: Option<LinkError>, other: LinkError) -> LinkError {
    match one {
        Some(one) if !matches!(one, LinkError::Unreachable { .. } | LinkError::Late { .. }) => one,
        _ => other,
    }
}
