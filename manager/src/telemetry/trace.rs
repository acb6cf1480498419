//! Spans, sent to a collector by OTLP over HTTP.
//!
//! They wait in a queue with a bound, and a thread of the library's sends them in batches. A
//! collector that is slow or away costs spans, never time.

use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, SpanExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::time::Duration;
use tokio::runtime::Handle;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

use crate::config::{Defaults, RawConfig};

/// A collector that takes longer for a batch is as good as none.
const SEND_WITHIN: Duration = Duration::from_secs(5);
/// What waits at the end is sent within this time, or lost.
const LAST_WITHIN: Duration = Duration::from_secs(3);
/// Where a collector takes spans.
const PATH: &str = "/v1/traces";

/// Why spans cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The address is none that this program can send to.
    #[error(
        "`otlp_endpoint` (OTEL_EXPORTER_OTLP_ENDPOINT) must be like http://host:4318, without TLS; \
         a collector on this machine can pass spans on with TLS"
    )]
    Address,
    /// The library refuses.
    #[error("failed to prepare the export of traces")]
    Build(#[source] ExporterBuildError),
}

/// The way to a collector.
pub struct Export {
    provider: SdkTracerProvider,
}

impl Export {
    /// Prepares it. Nothing is sent yet.
    ///
    /// # Errors
    /// When `endpoint` is no address.
    pub(super) fn open(endpoint: &str, raw: &RawConfig) -> Result<Self, ExportError> {
        let url = url::Url::parse(endpoint).map_err(|_| ExportError::Address)?;
        if url.scheme() != "http" || url.host_str().is_none() {
            return Err(ExportError::Address);
        }
        let base = endpoint.trim_end_matches('/');
        let whole = if base.ends_with(PATH) { base.to_owned() } else { format!("{base}{PATH}") };
        let client = HyperClient::with_default_connector(SEND_WITHIN, None);
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(whole)
            .with_timeout(SEND_WITHIN)
            .with_http_client(OnRuntime { client, runtime: Handle::current() })
            .build()
            .map_err(ExportError::Build)?;
        let namespace = raw.namespace.as_deref().unwrap_or(Defaults::NAMESPACE).to_owned();
        let resource = Resource::builder()
            .with_service_name(env!("CARGO_PKG_NAME"))
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(KeyValue::new("service.namespace", namespace))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource)
            .build();
        Ok(Self { provider })
    }

    /// Listens to this program's own spans.
    pub(super) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let own = Targets::new().with_target(env!("CARGO_CRATE_NAME"), LevelFilter::INFO);
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer(env!("CARGO_PKG_NAME")))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(own)
    }

    /// Sends what waits, within a few seconds.
    pub async fn finish(self) {
        let end = move || self.provider.shutdown_with_timeout(LAST_WITHIN);
        let ended = tokio::task::spawn_blocking(end).await;
        if let Ok(Err(error)) = ended {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// The library sends from a thread of its own, and the client needs the runtime.
#[derive(Debug)]
struct OnRuntime {
    client: HyperClient,
    runtime: Handle,
}

#[async_trait]
impl HttpClient for OnRuntime {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        self.runtime.spawn(async move { client.send_bytes(request).await }).await?
    }
}
