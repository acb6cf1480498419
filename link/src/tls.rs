//! TLS, by certificates in PEM.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use worker_protocol::gateway::RedisTarget;

use crate::address::Host;
use crate::error::LinkError;

const CA: &str = "redis_ca";
const CERTIFICATE: &str = "redis_cert";
const KEY: &str = "redis_key";

/// A Redis without TLS says nothing to what it takes for the beginning of a command.
const HANDSHAKE: Duration = Duration::from_secs(3);

/// Speaks TLS as a client.
#[derive(Clone)]
pub(crate) struct Tls(TlsConnector);

impl Tls {
    /// By the certificates that `target` names, or the usual authorities.
    pub(crate) fn new(target: &RedisTarget) -> Result<Self, LinkError> {
        let mut roots = RootCertStore::empty();
        match &target.ca {
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Some(pem) => {
                for certificate in certificates(CA, pem)? {
                    roots.add(certificate).map_err(|error| unusable(CA, error))?;
                }
            }
        }
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(CA, error))?
            .with_root_certificates(roots);
        let config = match (&target.certificate, &target.key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(_), None) => return Err(unusable(CERTIFICATE, "it needs `redis_key` beside it")),
            (None, Some(_)) => return Err(unusable(KEY, "it needs `redis_cert` beside it")),
            (Some(chain), Some(key)) => {
                let chain = certificates(CERTIFICATE, chain)?;
                let key = PrivateKeyDer::from_pem_slice(key.reveal().as_bytes())
                    .map_err(|error| unusable(KEY, error))?;
                builder.with_client_auth_cert(chain, key).map_err(|error| unusable(KEY, error))?
            }
        };
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// Agrees on TLS with the host that the connection leads to.
    pub(crate) async fn begin(
        &self,
        host: &Host,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, LinkError> {
        let name = ServerName::try_from(host.name.clone())
            .map_err(|_| LinkError::Url("a host is neither a name nor an address"))?;
        let agreed = timeout(HANDSHAKE, self.0.connect(name, stream)).await;
        let agreed = agreed.unwrap_or_else(|late| Err(late.into()));
        agreed.map_err(|error| LinkError::handshake(host.to_string(), error))
    }
}

fn certificates(key: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, LinkError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let read = read.map_err(|error| unusable(key, error))?;
    if read.is_empty() {
        return Err(unusable(key, "it holds no certificate in PEM"));
    }
    Ok(read)
}

fn unusable(key: &'static str, reason: impl std::fmt::Display) -> LinkError {
    LinkError::Pem { key, reason: reason.to_string() }
}
