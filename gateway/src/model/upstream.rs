//! Models' services, and the connections to them.

use hyper::header::{HeaderName, HeaderValue};
use hyper::http::uri::{Authority, Scheme};
use hyper::{HeaderMap, Request, Response, Uri, body::Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, Error, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use worker_protocol::gateway::{Price, Upstream};

use crate::http::Body;

const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// A connection that nobody used for so long is closed; services close theirs later.
const KEEP_FOR: Duration = Duration::from_secs(55);

/// What is wrong with the services of a boot document.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// Its address.
    #[error("the address of the credential {0} is not like https://api.example.com")]
    Address(String),
    /// A header. Its value is not told.
    #[error("the header {header} of the credential {name} cannot be sent")]
    Header {
        /// The credential.
        name: String,
        /// The header.
        header: String,
    },
    /// Certificates.
    #[error("`ca_bundle` holds something that is no certificate: {0}")]
    Bundle(String),
}

/// All services, by the credential's name.
pub struct Upstreams {
    services: BTreeMap<String, Service>,
    client: Client<HttpsConnector<HttpConnector>, Body>,
}

/// One service. It has no `Debug`, since it holds a key.
pub struct Service {
    scheme: Scheme,
    authority: Authority,
    /// Precedes each path; without `/` at its end.
    path: String,
    headers: HeaderMap,
    /// What it charges.
    pub prices: Vec<Price>,
}

impl Upstreams {
    /// Services that are not connected to yet.
    ///
    /// # Errors
    /// When an address, a header or a certificate is none.
    pub fn new(
        upstreams: BTreeMap<String, Upstream>,
        ca_bundle: Option<&str>,
    ) -> Result<Self, UpstreamError> {
        let services = upstreams
            .into_iter()
            .map(|(name, upstream)| Ok((name.clone(), Service::new(&name, upstream)?)))
            .collect::<Result<_, _>>()?;
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_WITHIN));
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls(ca_bundle)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEEP_FOR)
            .build(https);
        Ok(Self { services, client })
    }

    /// The service of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Service> {
        self.services.get(name)
    }

    /// Sends a request that was made for a service.
    ///
    /// # Errors
    /// When it cannot be reached or does not answer.
    pub async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, Error> {
        self.client.request(request).await
    }
}

impl Service {
    fn new(name: &str, upstream: Upstream) -> Result<Self, UpstreamError> {
        let wrong = || UpstreamError::Address(name.to_owned());
        let uri: Uri = upstream.url.parse().map_err(|_| wrong())?;
        let parts = uri.into_parts();
        let scheme = parts.scheme.filter(|s| *s == Scheme::HTTPS || *s == Scheme::HTTP);
        let authority = parts.authority.filter(|a| !a.as_str().contains('@'));
        let path = parts.path_and_query.filter(|path| path.query().is_none());
        let mut headers = HeaderMap::new();
        for (header, value) in upstream.headers {
            let wrong = || UpstreamError::Header { name: name.to_owned(), header: header.clone() };
            let key: HeaderName = header.parse().map_err(|_| wrong())?;
            let mut value = HeaderValue::from_str(value.reveal()).map_err(|_| wrong())?;
            value.set_sensitive(true);
            headers.insert(key, value);
        }
        Ok(Self {
            scheme: scheme.ok_or_else(wrong)?,
            authority: authority.ok_or_else(wrong)?,
            path: path.ok_or_else(wrong)?.path().trim_end_matches('/').to_owned(),
            headers,
            prices: upstream.prices,
        })
    }

    /// Its host.
    #[must_use]
    pub fn host(&self) -> &str {
        self.authority.host()
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        let usual = if self.scheme == Scheme::HTTPS { 443 } else { 80 };
        self.authority.port_u16().unwrap_or(usual)
    }

    /// The address of something there. `rest` begins with `/` or is empty. None when it would not
    /// be below the service's own address.
    #[must_use]
    pub fn address(&self, rest: &str, query: Option<&str>) -> Option<Uri> {
        if rest.split(['/', '\\']).any(climbs) {
            return None;
        }
        let mut path = format!("{}{rest}", self.path);
        if path.is_empty() {
            path.push('/');
        }
        if let Some(query) = query {
            path = format!("{path}?{query}");
        }
        let address = Uri::builder().scheme(self.scheme.clone());
        address.authority(self.authority.clone()).path_and_query(path).build().ok()
    }

    /// Puts the key in, in place of what was there by these names.
    pub fn open(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
    }
}

/// Whether a part of a path means its parent, or might to somebody who decodes it.
fn climbs(part: &str) -> bool {
    let plain = part.to_ascii_lowercase().replace("%2e", ".");
    plain == "." || plain == ".." || plain.contains("%2f") || plain.contains("%5c")
}

fn tls(ca_bundle: Option<&str>) -> Result<ClientConfig, UpstreamError> {
    let unusable = |error: String| UpstreamError::Bundle(error);
    let mut roots = RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    for certificate in CertificateDer::pem_slice_iter(ca_bundle.unwrap_or_default().as_bytes()) {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;
    use worker_protocol::Secret;

    fn service(url: &str) -> Result<Service, UpstreamError> {
        let headers = [("x-api-key".to_owned(), Secret::new("key"))].into();
        Service::new("KEY", Upstream { url: url.to_owned(), headers, prices: Vec::new() })
    }

    #[test]
    fn a_request_stays_below_the_services_address() {
        for (url, rest, query, expected) in [
            ("https://a.test", "/v1/messages", None, Some("https://a.test/v1/messages")),
            ("https://a.test/", "/v1", Some("beta=true"), Some("https://a.test/v1?beta=true")),
            ("http://a.test:81/x/", "/v1", None, Some("http://a.test:81/x/v1")),
            ("https://a.test/x", "", None, Some("https://a.test/x")),
            ("https://a.test", "", None, Some("https://a.test/")),
            ("https://a.test/x", "/m:generate", None, Some("https://a.test/x/m:generate")),
            ("https://a.test/x", "/../y", None, None),
            ("https://a.test/x", "/%2E%2e/y", None, None),
            ("https://a.test/x", "/..%2fy", None, None),
            ("https://a.test/x", "/.", None, None),
        ] {
            let address = service(url).unwrap().address(rest, query);
            assert_eq!(address.map(|uri| uri.to_string()).as_deref(), expected, "{url} {rest}");
        }
    }

    #[test]
    fn what_is_no_service_is_told_without_its_key() {
        for url in ["", "a.test", "ftp://a.test", "https://u:p@a.test", "https://a.test/?k=v"] {
            let error = service(url).err().unwrap().to_string();
            assert!(error.contains("KEY") && !error.contains("u:p"), "{error}");
        }
        let headers = [("x-api-key".to_owned(), Secret::new("sec\nret"))].into();
        let upstream = Upstream { url: "https://a.test".into(), headers, prices: Vec::new() };
        let error = Service::new("KEY", upstream).err().unwrap().to_string();
        assert_eq!(error, "the header x-api-key of the credential KEY cannot be sent");
    }
}
