//! The log, and what listens to spans beside it.

use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer};

use super::trace::{Export, ExportError};
use crate::config::RawConfig;
use crate::terminal::Lines;

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is none.
    #[error("`log` (WORKER_LOG) must be like info, or worker_manager=debug")]
    Filter(#[source] ParseError),
    /// The format is none.
    #[error("`log_format` (WORKER_LOG_FORMAT) must be `text` or `json`")]
    Format,
    /// There is one.
    #[error("failed to open the log")]
    Twice(#[source] TryInitError),
    /// Spans cannot be sent.
    #[error(transparent)]
    Export(#[from] ExportError),
}

/// Opens the log on stderr and, where one is configured, the way to a collector of traces.
///
/// # Errors
/// When the configuration is wrong.
pub fn open(raw: &RawConfig) -> Result<Option<Export>, LogError> {
    let filter = match raw.log.as_deref().unwrap_or("info") {
        detailed if detailed.contains(['=', ',']) => detailed.to_owned(),
        // A bare level means this program: libraries log what they are given, byte by byte.
        level => format!("warn,worker_manager={level}"),
    };
    let filter = EnvFilter::try_new(filter).map_err(LogError::Filter)?;
    let lines = tracing_subscriber::fmt::layer().with_writer(|| Lines(std::io::stderr()));
    let lines = match raw.log_format.as_deref() {
        None | Some("text") => lines.with_ansi(false).with_filter(filter).boxed(),
        Some("json") => lines.json().with_filter(filter).boxed(),
        Some(_) => return Err(LogError::Format),
    };
    let export = raw.otlp_endpoint.as_deref().map(|url| Export::open(url, raw)).transpose()?;
    let spans = export.as_ref().map(Export::layer);
    tracing_subscriber::registry().with(lines).with(spans).try_init().map_err(LogError::Twice)?;
    Ok(export)
}
