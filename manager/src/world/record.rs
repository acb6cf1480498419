//! What is written down about a worker: the record, which `status` tells.

use serde_json::{Map, Value, json};
use worker_protocol::{Credentials, Egress, rfc3339};

use super::{Ended, Restarts, Stage, Worker};

/// What a record has of an end.
const OF_THE_END: [&str; 6] =
    ["finished_at", "exit_code", "oom_killed", "last_output", "error", "message"];

impl Worker {
    /// The record. Null takes a field away.
    #[must_use]
    pub fn record(&self) -> Map<String, Value> {
        let mut record = Map::new();
        let mut set = |name: &str, value: Value| {
            record.insert(name.to_owned(), value);
        };
        set("worker_id", json!(self.id.to_string()));
        set("status", json!(self.status().as_str()));
        set("reason", json!(self.reason()));
        set("agent_type", json!(self.spec.agent_type.as_str()));
        set("host", json!("local"));
        set("created_at", json!(rfc3339(self.created_at)));
        set("request_id", json!(self.request_id));
        set("correlation_id", json!(self.correlation_id));
        set("caller", json!(self.spec.caller));
        set("spec", json!(crate::label::spec_text(&self.spec)));
        set("intent", json!(self.intent().as_str()));
        if !self.spec.labels.is_empty() {
            set("labels", json!(self.spec.labels));
        }
        if self.spec.egress != Egress::Usual {
            set("egress", json!(self.spec.egress));
        }
        if self.spec.credentials != Credentials::Usual {
            set("credentials", json!(self.spec.credentials));
        }
        if self.end().is_none() && !self.is_being_made() {
            // It may have ended before, and been started again.
            for name in OF_THE_END {
                set(name, Value::Null);
            }
        }
        if !self.is_being_made() {
            let Restarts { count, next_at, message } = &self.restarts;
            set("restarts", json!((*count > 0).then_some(count)));
            set("next_start_at", json!(next_at.map(rfc3339)));
            if next_at.is_some() {
                set("message", json!(message));
            }
        }
        match &self.stage {
            Stage::Building { image, .. } | Stage::Imaged { image } => {
                set("image", json!(image.tag))
            }
            Stage::Running { image, ip_address, started_at } => {
                set("image", json!(image));
                set("ip_address", json!(ip_address));
                set("started_at", json!(started_at.map(rfc3339)));
            }
            Stage::Wanted | Stage::Kept => {}
            Stage::Broken(end) | Stage::Ended(end) | Stage::Removed(end) => end.add_to(&mut set),
        }
        record
    }
}

impl Ended {
    fn add_to(&self, set: &mut impl FnMut(&str, Value)) {
        set("finished_at", json!(rfc3339(self.at)));
        set("ip_address", Value::Null);
        if let Some(problem) = &self.problem {
            set("error", json!(problem.kind.as_str()));
            set("message", json!(problem.message));
        }
        let evidence = &self.evidence;
        if let Some(code) = evidence.exit_code {
            set("exit_code", json!(code));
            set("oom_killed", json!(evidence.oom_killed));
        }
        if let Some(text) = &evidence.last_output {
            set("last_output", json!(text));
        }
        if let Some(pulse) = &evidence.pulse {
            set("turns", json!(pulse.turns));
            set("cost_usd", json!(pulse.cost_usd));
            set("last_activity_at", json!(pulse.last_activity_at));
        }
    }
}
