//! The session of earlier runs of the worker.
//!
//! An agent that can *resume* goes on without a word. One that can only *load* repeats all that was
//! said, which is no news and becomes one entry that counts it.

use serde_json::{Value, json};

use worker_protocol::{Output, OutputKind, Source};

use super::{Acp, Told};
use crate::kept::Past;

/// The session that is to go on, until it does or is lost.
#[derive(Default)]
pub(super) struct Earlier {
    session: Option<String>,
    /// The request by which this agent goes on with a session.
    method: Option<&'static str>,
    /// Lines that repeated what was said.
    replayed: u64,
}

impl Earlier {
    /// What `initialize` said of it.
    pub(super) fn learn(&mut self, answer: &Value) {
        let can = |what: &str| answer.pointer(&format!("/agentCapabilities/{what}"));
        self.method = match (can("sessionCapabilities/resume"), can("loadSession")) {
            (Some(Value::Object(_)), _) => Some("session/resume"),
            (_, Some(Value::Bool(true))) => Some("session/load"),
            _ => None,
        };
    }

    /// The request that leads back to it, if there is one; or why there is no way.
    pub(super) fn way_back(&self) -> Result<Option<(&'static str, String)>, &'static str> {
        let Some(session) = &self.session else { return Ok(None) };
        let method = self.method.ok_or("it offers neither `session/resume` nor `session/load`")?;
        Ok(Some((method, session.clone())))
    }

    /// It goes on: its name, and how many lines repeated what was said.
    pub(super) fn end(&mut self) -> Option<(String, u64)> {
        Some((self.session.take()?, std::mem::take(&mut self.replayed)))
    }

    pub(super) fn count_replayed(&mut self) {
        self.replayed += 1;
    }
}

impl Acp {
    pub(super) fn go_on_after(&mut self, past: &Past) {
        self.earlier.session.clone_from(&past.session_id);
        self.cost = Some(past.cost_usd).filter(|cost| *cost > 0.0);
    }

    /// Whether there was a session to forget. The agent begins at the beginning.
    pub(super) fn forget_earlier(&mut self) -> bool {
        self.stage = super::setup::Stage::Initialize;
        self.cost_before = self.cost.unwrap_or_default();
        self.earlier.end().is_some()
    }

    /// The agent does not go on with the session.
    pub(super) fn lose(&mut self, why: &str, told: &mut Vec<Told>) {
        self.cost_before = self.cost.unwrap_or_default();
        let session = self.earlier.end().map(|(session, _)| session);
        let text = format!(
            "the agent did not go on with its session ({why}), so a new one begins, which knows \
             nothing of what was said before"
        );
        let data = json!({"lost_session_id": session});
        told.push(Told::Say(Output::new(OutputKind::Error, Source::Wrapper, text).with_data(data)));
    }
}
