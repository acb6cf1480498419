//! What a container printed last.

use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::TryStreamExt;
use tokio::time::timeout;

use super::connection::{DockerEngine, SLOW, unless};
use crate::engine::{EngineError, InstanceName};

/// Enough to see why it failed.
const LINES: &str = "10";
const BYTES: usize = 2048;

impl DockerEngine {
    pub(super) async fn read_last_words(
        &self,
        name: &InstanceName,
    ) -> Result<Option<String>, EngineError> {
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail(LINES).build();
        let lines = self.client().await?.logs(&name.0, Some(options));
        let lines = timeout(SLOW, lines.map_ok(|line| line.to_string()).try_collect()).await;
        let Ok(lines) = lines else { return Ok(None) };
        let lines: Option<Vec<String>> =
            unless(&[404], lines).map_err(|error| self.failed("read the log of", name, error))?;
        let lines = lines.unwrap_or_default();
        let lines = lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty());
        let text = lines.collect::<Vec<_>>().join("\n");
        let from = text.ceil_char_boundary(text.len().saturating_sub(BYTES));
        Ok((!text.is_empty()).then(|| text[from..].to_owned()))
    }
}
