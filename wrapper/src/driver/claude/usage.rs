//! What each answer of the model has read, told while the turn goes on.
//!
//! Every block of an answer is a frame of its own, and repeats the tokens of the whole. What has
//! been written is not known by then (`output_tokens` says 1), and comes with the turn's end.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

use worker_protocol::{Output, OutputKind};

use super::said;

/// All that is in the model's context is one of these.
const READ: [&str; 3] = ["input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"];

/// The answer that was told last, of the agent and of each agent within it.
#[derive(Debug, Default)]
pub(super) struct Usage {
    told: BTreeMap<String, String>,
}

impl Usage {
    /// An entry for the first frame of an answer.
    pub(super) fn of(&mut self, frame: &Value) -> Option<Output> {
        let answer = frame.pointer("/message/id")?.as_str()?;
        let tokens = frame.pointer("/message/usage")?;
        let count = |name: &str| Some((name.to_owned(), tokens.get(name)?.as_u64()?));
        let counts: Vec<_> = READ.into_iter().filter_map(count).collect();
        let all: u64 = counts.iter().map(|(_, count)| count).sum();
        let whose = frame.get("parent_tool_use_id").and_then(Value::as_str).unwrap_or_default();
        let before = self.told.insert(whose.to_owned(), answer.to_owned());
        // What the agent says in the model's name has read nothing.
        if all == 0 || before.as_deref() == Some(answer) {
            return None;
        }
        let mut data: Map<String, Value> =
            counts.into_iter().map(|(name, count)| (name, count.into())).collect();
        data.insert("context_used".to_owned(), all.into());
        let content = format!("{all} tokens of context");
        Some(said(OutputKind::Usage, content).with_data(data.into()))
    }

    /// The turn is over, and so are the agents within it.
    pub(super) fn forget(&mut self) {
        self.told.clear();
    }
}
