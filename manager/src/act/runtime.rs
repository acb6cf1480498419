//! Whether the engine has what is to run workers.

use worker_protocol::Problem;

use super::Hands;
use crate::engine::HostFacts;

/// # Errors
/// When the engine does not answer, or does not have the runtime that the configuration names.
pub async fn check_runtime(hands: &Hands) -> Result<(), Problem> {
    if hands.settings.runtime.is_none() {
        return Ok(());
    }
    let host = hands.host().await.map_err(|error| Problem::from(&error))?;
    judge_runtime(hands.settings.runtime.as_deref(), host).map_err(Problem::refused)
}

/// # Errors
/// Names the runtimes that there are.
pub(crate) fn judge_runtime(wanted: Option<&str>, host: &HostFacts) -> Result<(), String> {
    match wanted {
        Some(wanted) if !host.runtimes.iter().any(|there| there == wanted) => Err(format!(
            "the configuration (`runtime`, WORKER_RUNTIME) wants workers to be run by {wanted}, and \
             {} has only {}: install it on the engine's machine",
            host.engine,
            host.runtimes.join(", ")
        )),
        _ => Ok(()),
    }
}
