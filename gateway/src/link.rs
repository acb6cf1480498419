//! How Redis is reached.

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo, RedisError};
use tokio::net::TcpStream;

use worker_protocol::gateway::RedisTarget;

/// A Redis at one address.
#[derive(Debug)]
pub struct Link {
    client: Client,
    address: String,
}

impl Link {
    /// Reads where it is.
    ///
    /// # Errors
    /// When the address cannot be understood.
    pub fn new(target: &RedisTarget) -> Result<Self, RedisError> {
        let info = target.url.as_str().into_connection_info()?;
        let address = info.addr().to_string();
        let mut user = info.redis_settings().clone().set_skip_set_lib_name();
        if let Some(name) = &target.username {
            user = user.set_username(name);
        }
        if let Some(password) = &target.password {
            user = user.set_password(password.reveal());
        }
        Ok(Self { client: Client::open(info.set_redis_settings(user))?, address })
    }

    /// A connection as the user.
    ///
    /// # Errors
    /// When Redis cannot be reached or does not accept the user.
    pub async fn connect(
        &self,
        config: &AsyncConnectionConfig,
    ) -> Result<MultiplexedConnection, RedisError> {
        self.client.get_multiplexed_async_connection_with_config(config).await
    }

    /// A connection on which nothing was said yet.
    ///
    /// # Errors
    /// When Redis cannot be reached.
    pub async fn dial(&self) -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}
